#ifndef ABBOZZO_PNG_SHIM_H
#define ABBOZZO_PNG_SHIM_H

#include <stddef.h>
#include <stdint.h>

/// One text chunk. `key` is 1 to 79 Latin-1 bytes; `text` ends at its first NUL.
typedef struct {
    char *key;
    char *text;
    /// 0: `text` is Latin-1 (tEXt or zTXt), 1: UTF-8 (iTXt).
    int utf8;
} abz_png_text;

/// A decoded picture; owned by the caller, freed by `abz_png_release`.
typedef struct {
    uint32_t width;
    uint32_t height;
    /// width * height * 3 bytes, interleaved.
    uint8_t *rgb;
    abz_png_text *texts;
    int text_count;
} abz_png_image;

/// Room for an error text of libpng, its end included.
#define ABZ_PNG_ERROR 160

/// Writes 8-bit RGB rows as PNG into memory that the caller frees with `free`; 0, or -1 with a text in `error`.
int abz_png_encode(
    const uint8_t *rgb, uint32_t width, uint32_t height, const abz_png_text *texts, int text_count, uint8_t **bytes,
    size_t *length, char error[ABZ_PNG_ERROR]);

/// Reads any PNG of at most `pixel_limit` pixels as 8-bit RGB without alpha; 0, or -1 with a text in `error`.
int abz_png_decode(
    const uint8_t *bytes, size_t length, uint64_t pixel_limit, abz_png_image *image, char error[ABZ_PNG_ERROR]);

/// Frees what a successful `abz_png_decode` allocated.
void abz_png_release(abz_png_image *image);

#endif
