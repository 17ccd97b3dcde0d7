#include "CKernels.h"

#include <string.h>

// Fourteen independent sums hide the latency of a multiply-add on every processor with two pipes for it. With sixteen
// registers: twelve sums, two factors.
#define SUMS 14
#define FEW_SUMS 12

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static void peak_avx512(long rounds, float *sink) {
    __m512 a = _mm512_set1_ps(1e-9f), b = _mm512_set1_ps(1), sums[SUMS];
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_set1_ps((float)i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
        __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    for (int i = 0; i < SUMS; i++) a = _mm512_add_ps(a, sums[i]);
    *sink += _mm512_cvtss_f32(a);
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) static void peak_int8_vnni(long rounds, float *sink) {
    __m512i a = _mm512_set1_epi32(0x01010101), b = a, sums[SUMS];
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_set1_epi32(i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
        __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    for (int i = 0; i < SUMS; i++) a = _mm512_add_epi32(a, sums[i]);
    *sink += (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(a));
}

// Without an instruction for bytes: pairs of 16-bit products and their sum.
__attribute__((target("avx512f,avx512bw"))) static void peak_int8_avx512(long rounds, float *sink) {
    __m512i a = _mm512_set1_epi16(1), b = a, sums[SUMS];
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_set1_epi32(i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < SUMS; i++) {
            sums[i] = _mm512_add_epi32(sums[i], _mm512_madd_epi16(a, b));
            __asm__ volatile("" : "+v"(a));
        }
    }
    for (int i = 0; i < SUMS; i++) a = _mm512_add_epi32(a, sums[i]);
    *sink += (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(a));
}

__attribute__((target("avx512f,avx512bf16"))) static void peak_bf16(long rounds, float *sink) {
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
}

__attribute__((target("avx2,fma"))) static void peak_avx2(long rounds, float *sink) {
    __m256 a = _mm256_set1_ps(1e-9f), b = _mm256_set1_ps(1), sums[FEW_SUMS];
    for (int i = 0; i < FEW_SUMS; i++) sums[i] = _mm256_set1_ps((float)i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < FEW_SUMS; i++) sums[i] = _mm256_fmadd_ps(a, b, sums[i]);
        __asm__ volatile("" : "+x"(a), "+x"(b));
    }
    for (int i = 0; i < FEW_SUMS; i++) a = _mm256_add_ps(a, sums[i]);
    *sink += _mm256_cvtss_f32(a);
}

__attribute__((target("avx2"))) static void peak_int8_avx2(long rounds, float *sink) {
    __m256i a = _mm256_set1_epi16(1), b = a, sums[FEW_SUMS];
    for (int i = 0; i < FEW_SUMS; i++) sums[i] = _mm256_set1_epi32(i);
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < FEW_SUMS; i++) {
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(a, b));
            __asm__ volatile("" : "+x"(a));
        }
    }
    for (int i = 0; i < FEW_SUMS; i++) a = _mm256_add_epi32(a, sums[i]);
    *sink += (float)_mm_cvtsi128_si32(_mm256_castsi256_si128(a));
}
#endif

// Vectors of four, as every processor has them, a product and a sum each.
typedef float four __attribute__((vector_size(16)));
#if defined(__x86_64__)
#define ANY_VECTOR "+x"
#elif defined(__aarch64__)
#define ANY_VECTOR "+w"
#else
#define ANY_VECTOR "+m"
#endif

static void peak_portable(long rounds, float *sink) {
    four a = {1e-9f, 1e-9f, 1e-9f, 1e-9f}, b = {1, 1, 1, 1}, sums[FEW_SUMS];
    for (int i = 0; i < FEW_SUMS; i++) sums[i] = a * (float)i;
    for (long n = 0; n < rounds; n++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < FEW_SUMS; i++) {
            sums[i] += a * b;
            __asm__ volatile("" : ANY_VECTOR(a));
        }
    }
    for (int i = 0; i < FEW_SUMS; i++) *sink += sums[i][0];
}

// Chosen by the class, not by what the processor could do besides.
abz_ceiling abz_ceiling_of(const char *instructions, const char *format) {
#if defined(__x86_64__)
    int is_bf16 = strcmp(format, "bf16") == 0, is_int8 = strcmp(format, "int8") == 0;
    int has_dot = strcmp(instructions, "avx512bf16") == 0, has_vnni = has_dot || strcmp(instructions, "avx512vnni") == 0;
    if (is_bf16 && has_dot) return (abz_ceiling){SUMS * 64, peak_bf16};
    if (is_int8 && has_vnni) return (abz_ceiling){SUMS * 128, peak_int8_vnni};
    if (has_vnni || strcmp(instructions, "avx512") == 0)
        return is_int8 ? (abz_ceiling){SUMS * 64, peak_int8_avx512} : (abz_ceiling){SUMS * 32, peak_avx512};
    if (strcmp(instructions, "avx2") == 0)
        return is_int8 ? (abz_ceiling){FEW_SUMS * 32, peak_int8_avx2} : (abz_ceiling){FEW_SUMS * 16, peak_avx2};
#else
    (void)instructions;
    (void)format;
#endif
    return (abz_ceiling){FEW_SUMS * 8, peak_portable};
}
