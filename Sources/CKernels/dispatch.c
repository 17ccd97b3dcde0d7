#include "tables.h"

#include <string.h>

// AMX (bf16 and int8 tiles) and ARM classes join here: a table each, and a line below.

#if defined(__x86_64__)
static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static int has_avx512vnni(void) { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

static int has_avx512bf16(void) { return has_avx512vnni() && __builtin_cpu_supports("avx512bf16"); }
#endif

const abz_kernels *abz_kernels_named(const char *name) {
#if defined(__x86_64__)
    if (strcmp(name, "avx512bf16") == 0) return has_avx512bf16() ? &abz_avx512bf16 : NULL;
    if (strcmp(name, "avx512vnni") == 0) return has_avx512vnni() ? &abz_avx512vnni : NULL;
    if (strcmp(name, "avx512") == 0) return has_avx512() ? &abz_avx512 : NULL;
    if (strcmp(name, "avx2") == 0) return has_avx2() ? &abz_avx2 : NULL;
#endif
    if (strcmp(name, "portable-bytes") == 0) return &abz_portable_bytes;
    return strcmp(name, "portable") == 0 ? &abz_portable : NULL;
}

const abz_kernels *abz_kernels_best(void) {
    const char *const order[] = {"avx512bf16", "avx512vnni", "avx512", "avx2"};
    for (int i = 0; i < 4; i++) {
        const abz_kernels *kernels = abz_kernels_named(order[i]);
        if (kernels) return kernels;
    }
    return &abz_portable;
}
