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

int abz_pin_process(const int *cores, int count) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < count; i++) CPU_SET(cores[i], &set);
    // The caller first: what it starts from here on inherits the set.
    if (sched_setaffinity(0, sizeof set, &set) != 0) return errno;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) return errno;
    int code = 0;
    for (struct dirent *entry; code == 0 && (entry = readdir(tasks));) {
        pid_t thread = (pid_t)atol(entry->d_name);
        // A thread that ended meanwhile is none.
        if (thread > 0 && sched_setaffinity(thread, sizeof set, &set) != 0 && errno != ESRCH) code = errno;
    }
    closedir(tasks);
    return code;
}
