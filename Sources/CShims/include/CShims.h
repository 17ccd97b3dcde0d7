#ifndef ABBOZZO_CSHIMS_H
#define ABBOZZO_CSHIMS_H

#include <stdint.h>

#include "png_shim.h"

/// Names the calling thread (15 characters at most are kept); shown by `top -H` and debuggers.
void abz_name_thread(const char *name);

/// Keeps the calling thread on one core; 0 or an error code.
int abz_pin_thread(int core);

/// Writes the cores that the calling thread may run on and that are on line, ascending, `room` at most; how many there are,
/// or -1 with errno.
int abz_allowed_cores(int *cores, int room);

/// Keeps all threads of the process, and those that they will start, on the `count` cores; 0 or an error code.
int abz_pin_process(const int *cores, int count);

/// Tells the processor that the calling thread polls: some tens of nanoseconds at little power.
static inline void abz_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/// Bytes that a TCP connection has received since it was made and that were read; -1 if the system does not say.
int64_t abz_read_bytes(int socket);

/// Opens a counter that a poll loop waits on (eventfd, non-blocking, closed on exec); -1 with errno on failure.
int abz_wake_open(void);

/// Makes the counter readable; never blocks.
void abz_wake_signal(int wake);

/// Makes it unreadable again.
void abz_wake_clear(int wake);

#endif
