#include "CShims.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int abz_wake_open(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void abz_wake_signal(int wake) {
    const uint64_t one = 1;
    while (write(wake, &one, sizeof one) < 0 && errno == EINTR) continue;
}

void abz_wake_clear(int wake) {
    uint64_t count;
    while (read(wake, &count, sizeof count) < 0 && errno == EINTR) continue;
}
