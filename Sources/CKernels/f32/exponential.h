// exp and erf for sixteen values, from fused multiply-adds only: the same bits in all classes; and 2^x for bf16, which has
// instructions of its own in the class with VDPBF16PS.
//
// Coefficients: least-maximum fits made for this project (weighted least squares on Chebyshev nodes, repeated with
// weights that follow the error), rounded to float. Accuracy is tested against double precision.

// e^x to 2 units in the last place for -87.3 <= x <= 88; clamped outside, so at least 1e-38 and at most 3e38.
// exp(0) is exactly 1; NaN stays NaN.
INLINE lanes exp_lanes(lanes x) {
    x = pick((words)(x < -87.3f), all(-87.3f), x);
    x = pick((words)(x > 88.3f), all(88.3f), x);
    // n = round(x / ln 2): adding 1.5 * 2^23 leaves the integer in the low bits of the mantissa.
    const lanes magic = all(12582912.0f);
    lanes shifted = fma_lanes(x, all(1.44269504f), magic);
    lanes n = shifted - magic;
    // x - n ln 2 with ln 2 in two parts, the first with few enough bits that n times it is exact.
    lanes r = fma_lanes(n, all(-0.693359375f), x);
    r = fma_lanes(n, all(2.12194440e-4f), r);
    lanes p = all(0.00019919921760447323f);
    p = fma_lanes(p, r, all(0.0013947212137281895f));
    p = fma_lanes(p, r, all(0.008333261124789715f));
    p = fma_lanes(p, r, all(0.04166625440120697f));
    p = fma_lanes(p, r, all(0.1666666716337204f));
    p = fma_lanes(p, r, all(0.5f));
    p = fma_lanes(p, r * r, r) + 1.0f;
    words power = ((words)shifted - (words)magic + 127u) << 23;
    return p * (lanes)power;
}

// 2^x to 1e-4 of its value, for shares that are rounded to bf16 next: exactly 1 at 0, exactly 0 at -infinity, NaN stays NaN.
// x is at most 2^-12. What is below -126 gives 0, with VDPBF16PS what is below -149: it takes numbers that small as 0.
INLINE lanes short_exp2_lanes(lanes x) {
#ifdef BF16_DOT
    // Where there are instructions for it: x less its floor, and a power of two whose exponent is a floor. Their class has
    // bits of its own anyway.
    __m512 v = (__m512)x;
    lanes r = (lanes)_mm512_reduce_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    lanes p = all(0.07706703990697861f);
    p = fma_lanes(p, r, all(0.22764499485492706f));
    p = fma_lanes(p, r, all(0.6951167583465576f));
    p = fma_lanes(p, r, all(1));
    return (lanes)_mm512_scalef_ps((__m512)p, v);
#else
    const lanes magic = all(12582912.0f);
    lanes shifted = x + magic;
    lanes r = x - (shifted - magic);
    lanes p = all(0.05500892922282219f);
    p = fma_lanes(p, r, all(0.24221095442771912f));
    p = fma_lanes(p, r, all(0.6932829022407532f));
    p = fma_lanes(p, r, all(1));
    // The exponent of p, which is from 0.7 to 1.4, goes up by the integer in the low bits of `shifted`.
    lanes y = (lanes)((words)p + ((words)shifted << 23));
    return pick((words)(x < -126.0f), all(0), y);
#endif
}

// erf(x) to 1.5e-7 absolute: x + x P(x^2) below 1, 1 - exp(-Q(|x|)) above; 1 from 4 on.
INLINE lanes erf_lanes(lanes x) {
    words sign = (words)x & 0x80000000u;
    lanes z = (lanes)((words)x & 0x7fffffffu);
    lanes s = z * z;
    lanes p = all(7.889122935011983e-05f);
    p = fma_lanes(p, s, all(-0.0008020842215046287f));
    p = fma_lanes(p, s, all(0.005189535673707724f));
    p = fma_lanes(p, s, all(-0.026854444295167923f));
    p = fma_lanes(p, s, all(0.11283600330352783f));
    p = fma_lanes(p, s, all(-0.3761262595653534f));
    p = fma_lanes(p, s, all(0.12837916612625122f));
    lanes inner = fma_lanes(p, z, z);
    lanes far = pick((words)(z > 4.0f), all(4.0f), z);
    lanes q = all(2.168675018765498e-05f);
    q = fma_lanes(q, far, all(-0.00044133514165878296f));
    q = fma_lanes(q, far, all(0.004204555414617062f));
    q = fma_lanes(q, far, all(-0.025208238512277603f));
    q = fma_lanes(q, far, all(0.1084185466170311f));
    q = fma_lanes(q, far, all(0.6332198977470398f));
    q = fma_lanes(q, far, all(1.1295783519744873f));
    q = fma_lanes(q, far, all(-0.00018803635612130165f));
    lanes outer = 1.0f - exp_lanes(-q);
    return (lanes)((words)pick((words)(z < 1.0f), inner, outer) | sign);
}
