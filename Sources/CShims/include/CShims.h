#ifndef ABBOZZO_CSHIMS_H
#define ABBOZZO_CSHIMS_H

#include <stdint.h>

/// Names the calling thread (15 characters at most are kept); shown by `top -H` and debuggers.
void abz_name_thread(const char *name);

/// Keeps the calling thread on one core; 0 or an error code.
int abz_pin_thread(int core);

#endif
