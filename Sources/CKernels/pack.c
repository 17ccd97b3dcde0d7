#include "CKernels.h"
#include "tables.h"

#include <math.h>
#include <string.h>

// Sixteen rows at a time, so that what is written fills whole cache lines.
void abz_pack_f32(
    const float *rows, long stride, long count, long depth, long width, void *panel, float *scales, int32_t *sums)
{
    (void)scales, (void)sums;
    for (long j0 = 0; j0 < width; j0 += 16) {
        long valid = count - j0 < 16 ? count - j0 : 16;
        for (long k = 0; k < depth; k++) {
            float *out = (float *)panel + k * width + j0;
            for (long j = 0; j < 16; j++) out[j] = j < valid ? rows[(j0 + j) * stride + k] : 0;
        }
    }
}

// Panels of 8-bit weights in pairs: [k / 2][w][2]. The same integers as in int8/pack.h.
void abz_pack_int8_pairs(
    const float *rows, long stride, long count, long depth, long width, void *panel, float *scales, int32_t *sums)
{
    memset(panel, 0, (size_t)(width * ((depth + 1) / 2 * 2)));
    for (long first = 0; first < depth; first += ABZ_INT8_STRETCH, scales += width, sums += width) {
        long end = depth - first < ABZ_INT8_STRETCH ? depth : first + ABZ_INT8_STRETCH;
        for (long j = 0; j < width; j++) {
            const float *row = rows + j * stride;
            float top = 0;
            int sum = 0, is_finite = 1;
            for (long k = first; k < end && j < count; k++) {
                top = fabsf(row[k]) > top ? fabsf(row[k]) : top;
                // No comparison with NaN is true.
                is_finite &= fabsf(row[k]) < __builtin_inff();
            }
            scales[j] = !is_finite ? __builtin_nanf("") : top < 0x1p-100f ? 0 : top / 127;
            float factor = top < 0x1p-100f ? 0 : 127 / top;
            for (long k = first; is_finite && k < end && j < count; k++) {
                int8_t q = (int8_t)(fmaf(row[k], factor, 12582912) - 12582912);
                ((int8_t *)panel)[k / 2 * 2 * width + j * 2 + k % 2] = q;
                sum += q;
            }
            sums[j] = sum;
        }
    }
}

void abz_pack_transposed_f32(
    const float *rows, long stride, long depth, long padded_depth, long columns, long panel_columns, void *panels)
{
    float *out = panels;
    long padded = (columns + 15) / 16 * 16;
    for (long c = 0; c < padded; c += panel_columns) {
        long wide = padded - c < panel_columns ? padded - c : panel_columns;
        long valid = columns - c < wide ? columns - c : wide;
        for (long k = 0; k < padded_depth; k++, out += wide) {
            long copied = k < depth ? valid : 0;
            if (copied) memcpy(out, rows + k * stride + c, (size_t)copied * sizeof(float));
            memset(out + copied, 0, (size_t)(wide - copied) * sizeof(float));
        }
    }
}

void abz_double_row(const float *row, long width, float *out) {
    for (long i = 0; i < width; i++) out[2 * i] = out[2 * i + 1] = row[i];
}

// One k of a strip of pixels, taken from a plane shifted by (down, right) with zeros outside.
static void shifted_strip(
    const float *plane, long height, long width, long first, long count, long down, long right, float *strip)
{
    for (long done = 0; done < count;) {
        long y = (first + done) / width, x = (first + done) % width;
        long run = width - x < count - done ? width - x : count - done;
        float *out = strip + done;
        long from = x + right, sy = y + down;
        done += run;
        if (sy < 0 || sy >= height) {
            memset(out, 0, (size_t)run * sizeof(float));
            continue;
        }
        long before = from < 0 ? -from : 0;
        if (before > run) before = run;
        long inside = width - (from + before) < run - before ? width - (from + before) : run - before;
        if (inside < 0) inside = 0;
        memset(out, 0, (size_t)before * sizeof(float));
        memcpy(out + before, plane + sy * width + from + before, (size_t)inside * sizeof(float));
        memset(out + before + inside, 0, (size_t)(run - before - inside) * sizeof(float));
    }
}

void abz_pack_pixels(const abz_strip *s, float *panels) {
    long area = s->kernel * s->kernel, padded = s->padded;
    for (long k = 0; k < s->depth; k++) {
        long channel = (s->first_k + k) / area, tap = (s->first_k + k) % area;
        float strip[ABZ_STRIP_PIXELS];
        shifted_strip(
            s->planes + channel * s->height * s->width, s->height, s->width, s->first_pixel, s->count,
            tap / s->kernel - s->kernel / 2, tap % s->kernel - s->kernel / 2, strip);
        memset(strip + s->count, 0, (size_t)(padded - s->count) * sizeof(float));
        for (long j = 0; j < padded; j += s->panel_columns) {
            long wide = padded - j < s->panel_columns ? padded - j : s->panel_columns;
            memcpy(panels + j * s->depth + k * wide, strip + j, (size_t)wide * sizeof(float));
        }
    }
}
