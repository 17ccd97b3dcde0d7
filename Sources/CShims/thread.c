#define _GNU_SOURCE
#include "CShims.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

void abz_name_thread(const char *name) {
    char kept[16];
    strncpy(kept, name, sizeof kept - 1);
    kept[sizeof kept - 1] = 0;
    pthread_setname_np(pthread_self(), kept);
}

int abz_pin_thread(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

int abz_allowed_cores(int *cores, int room) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return -1;
    int count = 0;
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, &set)) continue;
        if (count < room) cores[count] = core;
        count++;
    }
    return count;
}

// One pass over the threads: how many had another set, or -1 with errno.
static int pin_threads(DIR *tasks, const cpu_set_t *set) {
    int changed = 0;
    rewinddir(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        pid_t thread = (pid_t)atol(entry->d_name);
        cpu_set_t before;
        if (thread <= 0) continue;
        if (sched_getaffinity(thread, sizeof before, &before) == 0 && CPU_EQUAL(&before, set)) continue;
        if (sched_setaffinity(thread, sizeof *set, set) == 0) changed++;
        // A thread that ended meanwhile is none.
        else if (errno != ESRCH) return -1;
    }
    return changed;
}

int abz_pin_process(const int *cores, int count) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < count; i++) CPU_SET(cores[i], &set);
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) return errno;
    // Threads inherit the set of who starts them, so a pass that finds all in place leaves none out.
    int changed = 1;
    while (changed > 0) changed = pin_threads(tasks, &set);
    int code = changed < 0 ? errno : 0;
    closedir(tasks);
    return code;
}
