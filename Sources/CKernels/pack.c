#include "CKernels.h"

#include <string.h>

// Sixteen rows at a time, so that what is written fills whole cache lines.
void abz_pack_panel(const float *rows, long stride, long count, long depth, long width, float *panel) {
    for (long j0 = 0; j0 < width; j0 += 16) {
        long valid = count - j0 < 16 ? count - j0 : 16;
        for (long k = 0; k < depth; k++) {
            float *out = panel + k * width + j0;
            for (long j = 0; j < 16; j++) out[j] = j < valid ? rows[(j0 + j) * stride + k] : 0;
        }
    }
}

void abz_pack_values(
    const float *rows, long stride, long keys, long padded_keys, long width, long panel_columns, float *panels)
{
    long padded_width = (width + 15) / 16 * 16;
    for (long c = 0; c < padded_width; c += panel_columns) {
        long wide = padded_width - c < panel_columns ? padded_width - c : panel_columns;
        long valid = width - c < wide ? width - c : wide;
        for (long key = 0; key < padded_keys; key++, panels += wide) {
            long copied = key < keys ? valid : 0;
            if (copied) memcpy(panels, rows + key * stride + c, (size_t)copied * sizeof(float));
            memset(panels + copied, 0, (size_t)(wide - copied) * sizeof(float));
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
