// A row of floats as 8-bit integers with one scale: x[i] ~ q[i] * scale.
//
//     top = max |x[i]|; scale = top / 127; q[i] = round(x[i] * (127 / top)), ties to even
// Rows that are all but zero (top < 2^-100) give zeros; a row with a NaN or infinity gives zeros and a NaN scale, so
// that it stays visible. Exact arithmetic throughout: all classes agree.
static float quantise(const float *x, long count, int8_t *q) {
    // Without the sign, floats order as integers do, NaN above infinity.
    words most = {0};
    long i = 0;
    for (; i + LANES <= count; i += LANES) {
        words u = load_words((const uint32_t *)(x + i)) & 0x7fffffffu;
        words larger = (words)(u > most);
        most = (larger & u) | (~larger & most);
    }
    if (i < count) {
        words u = (words)load_part(x + i, count - i) & 0x7fffffffu;
        words larger = (words)(u > most);
        most = (larger & u) | (~larger & most);
    }
    uint32_t v[LANES];
    memcpy(v, &most, sizeof v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) v[l] = v[l] > v[l + half] ? v[l] : v[l + half];
    float top;
    memcpy(&top, v, sizeof top);
    if (v[0] >= 0x7f800000u || top < 0x1p-100f) {
        memset(q, 0, (size_t)count);
        return v[0] >= 0x7f800000u ? __builtin_nanf("") : 0;
    }
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the mantissa.
    lanes factor = all(127 / top), magic = all(12582912.0f);
    for (i = 0; i < count; i += LANES) {
        long rest = count - i;
        lanes value = rest >= LANES ? load(x + i) : load_part(x + i, rest);
        words integers = (words)fma_lanes(value, factor, magic) - (words)magic;
        bytes eighths = __builtin_convertvector((ints)integers, bytes);
        memcpy(q + i, &eighths, (size_t)(rest < LANES ? rest : LANES));
    }
    return top / 127;
}
