// Norms. Sums run in sixteen lanes (value i in lane i mod 16) that are added in a tree at the end.

// Sum of f(x) over a row; a partial last vector adds zeros.
#define ROW_SUM(TOTAL, ROW, WIDTH, V, EXPRESSION, PADDING)                                                      \
    do {                                                                                                        \
        lanes total_ = all(0);                                                                                  \
        long i_ = 0;                                                                                            \
        for (; i_ + LANES <= (WIDTH); i_ += LANES) {                                                            \
            lanes V = load((ROW) + i_);                                                                         \
            total_ = EXPRESSION;                                                                                \
        }                                                                                                       \
        if (i_ < (WIDTH)) {                                                                                     \
            float part_[LANES];                                                                                 \
            for (long l_ = 0; l_ < LANES; l_++) part_[l_] = i_ + l_ < (WIDTH) ? (ROW)[i_ + l_] : (PADDING);     \
            lanes V = load(part_);                                                                              \
            total_ = EXPRESSION;                                                                                \
        }                                                                                                       \
        TOTAL = sum_of(total_);                                                                                 \
    } while (0)

// y = fma((x - mean) * factor, weight, bias): a missing weight is 1, a missing bias 0.
INLINE void scaled_row(
    const float *x, float *y, const float *weight, const float *bias, long width, float mean, float factor)
{
    long i = 0;
    for (; i < width; i += LANES) {
        long rest = width - i;
        if (rest >= LANES) {
            lanes v = (load(x + i) - mean) * factor;
            if (weight) v = bias ? fma_lanes(v, load(weight + i), load(bias + i)) : v * load(weight + i);
            else if (bias) v = v + load(bias + i);
            store(y + i, v);
        } else {
            lanes v = (load_part(x + i, rest) - mean) * factor;
            lanes w = weight ? load_part(weight + i, rest) : all(1), b = bias ? load_part(bias + i, rest) : all(0);
            if (weight) v = bias ? fma_lanes(v, w, b) : v * w;
            else if (bias) v = v + b;
            store_part(y + i, v, rest);
        }
    }
}

// y = (x - mean) / sqrt(variance + epsilon) * weight + bias for each row; variance = mean of (x - mean)^2.
static void layer_norm(
    const float *x, float *y, const float *weight, const float *bias, long rows, long width, float epsilon)
{
    for (long row = 0; row < rows; row++, x += width, y += width) {
        float total, squares;
        ROW_SUM(total, x, width, v, total_ + v, 0);
        float mean = total / (float)width;
        ROW_SUM(squares, x, width, v, fma_lanes(v - mean, v - mean, total_), mean);
        scaled_row(x, y, weight, bias, width, mean, 1 / sqrtf(squares / (float)width + epsilon));
    }
}

// y = x / sqrt(mean(x^2) + epsilon) * weight for each row.
static void rms_norm(const float *x, float *y, const float *weight, long rows, long width, float epsilon) {
    for (long row = 0; row < rows; row++, x += width, y += width) {
        float squares;
        ROW_SUM(squares, x, width, v, fma_lanes(v, v, total_), 0);
        scaled_row(x, y, weight, NULL, width, 0, 1 / sqrtf(squares / (float)width + epsilon));
    }
}

// Sum of (x - center)^power over `count` values in double precision; power is 1 or 2.
static double moment(const float *x, long count, double center, int power) {
    wide_lanes total = {0};
    long i = 0;
    for (; i + LANES <= count; i += LANES) {
        wide_lanes d = __builtin_convertvector(load(x + i), wide_lanes) - center;
        total += power == 2 ? d * d : d;
    }
    double v[LANES];
    memcpy(v, &total, sizeof v);
    for (; i < count; i++) {
        double d = (double)x[i] - center;
        v[i % LANES] += power == 2 ? d * d : d;
    }
    memcpy(&total, v, sizeof v);
    return wide_sum_of(total);
}

// y = fma(x, scale, shift), one scale and shift for all: the last step of a group norm, for one channel.
static void scaled(const float *x, float *y, long count, float scale, float shift) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) store(y + i, fma_lanes(load(x + i), all(scale), all(shift)));
    for (; i < count; i++) y[i] = fmaf(x[i], scale, shift);
}
