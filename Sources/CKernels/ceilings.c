#include "CKernels.h"

#include <string.h>

// Fourteen independent sums hide the latency of a multiply-add on every processor with two pipes for it.
#define SUMS 14

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static double peak_avx512(long rounds, float *sink) {
    __m512 a = _mm512_set1_ps(1e-9f), b = _mm512_set1_ps(1), sums[SUMS];
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_set1_ps((float)i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
        __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    for (int i = 0; i < SUMS; i++) a = _mm512_add_ps(a, sums[i]);
    *sink += _mm512_cvtss_f32(a);
    return (double)rounds * SUMS * 32;
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) static double peak_int8_vnni(long rounds, float *sink) {
    __m512i a = _mm512_set1_epi32(0x01010101), b = a, sums[SUMS];
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_set1_epi32(i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
        __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    for (int i = 0; i < SUMS; i++) a = _mm512_add_epi32(a, sums[i]);
    *sink += (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(a));
    return (double)rounds * SUMS * 128;
}

__attribute__((target("avx512f,avx512bf16"))) static double peak_bf16(long rounds, float *sink) {
    __m512bh a = (__m512bh)_mm512_set1_epi32(0x3c003c00), b = a;
    __m512 sums[SUMS];
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_set1_ps((float)i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
        __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    __m512 total = sums[0];
    for (int i = 1; i < SUMS; i++) total = _mm512_add_ps(total, sums[i]);
    *sink += _mm512_cvtss_f32(total);
    return (double)rounds * SUMS * 64;
}

// Sixteen registers: twelve sums, two factors.
__attribute__((target("avx2,fma"))) static double peak_avx2(long rounds, float *sink) {
    __m256 a = _mm256_set1_ps(1e-9f), b = _mm256_set1_ps(1), sums[12];
    for (int i = 0; i < 12; i++) sums[i] = _mm256_set1_ps((float)i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) sums[i] = _mm256_fmadd_ps(a, b, sums[i]);
        __asm__ volatile("" : "+x"(a), "+x"(b));
    }
    for (int i = 0; i < 12; i++) a = _mm256_add_ps(a, sums[i]);
    *sink += _mm256_cvtss_f32(a);
    return (double)rounds * 12 * 16;
}

// Without an instruction for bytes: pairs of 16-bit products and their sum.
__attribute__((target("avx2"))) static double peak_int8_avx2(long rounds, float *sink) {
    __m256i a = _mm256_set1_epi16(1), b = a, sums[12];
    for (int i = 0; i < 12; i++) sums[i] = _mm256_set1_epi32(i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < 12; i++) {
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(a, b));
            __asm__ volatile("" : "+x"(a));
        }
    }
    for (int i = 0; i < 12; i++) a = _mm256_add_epi32(a, sums[i]);
    *sink += (float)_mm_cvtsi128_si32(_mm256_castsi256_si128(a));
    return (double)rounds * 12 * 32;
}
#endif

static double peak_portable(long rounds, float *sink) {
    float a = 1e-9f, b = 1, sums[16];
    for (int i = 0; i < 16; i++) sums[i] = (float)i;
    for (long n = 0; n < rounds; n++) {
        for (int i = 0; i < 16; i++) sums[i] += a * b;
        __asm__ volatile("" : "+m"(a), "+m"(b));
    }
    for (int i = 0; i < 16; i++) *sink += sums[i];
    return (double)rounds * 32;
}

double abz_peak(const char *instructions, const char *format, long rounds, float *sink) {
#if defined(__x86_64__)
    int is_bf16 = strcmp(format, "bf16") == 0, is_int8 = strcmp(format, "int8") == 0;
    if (strncmp(instructions, "avx512", 6) == 0) {
        if (is_bf16 && __builtin_cpu_supports("avx512bf16")) return peak_bf16(rounds, sink);
        if (is_int8 && __builtin_cpu_supports("avx512vnni")) return peak_int8_vnni(rounds, sink);
        if (!is_int8) return peak_avx512(rounds, sink);
        return peak_int8_avx2(rounds, sink);
    }
    if (strcmp(instructions, "avx2") == 0) {
        return is_int8 ? peak_int8_avx2(rounds, sink) : peak_avx2(rounds, sink);
    }
#else
    (void)instructions;
    (void)format;
#endif
    return peak_portable(rounds, sink);
}
