#define EVENS_OF_TWO 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ODDS_OF_TWO 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

// Sixteen vectors of sixteen as their transposed matrix: a perfect shuffle of the 256 values, four times.
INLINE void transpose(words v[LANES]) {
    for (int step = 0; step < 4; step++) {
        words w[LANES];
        UNROLLED for (int i = 0; i < LANES / 2; i++) {
            w[2 * i] = __builtin_shufflevector(v[i], v[i + LANES / 2], EVENS_OF_TWO);
            w[2 * i + 1] = __builtin_shufflevector(v[i], v[i + LANES / 2], ODDS_OF_TWO);
        }
        UNROLLED for (int i = 0; i < LANES; i++) v[i] = w[i];
    }
}
