// libpng reports errors by longjmp, which Swift cannot receive: all calls of libpng are here.
#include "CShims.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

// Compression is fixed, so that one picture has one encoding. Filtered rows of rendered pictures repeat themselves only in
// runs: looking for those alone took 14.6 ms instead of 69.9 for a picture of 512x512, and 0.4 % fewer bytes (measured).
enum { LEVEL = 6 };
// A damaged length must not make libpng allocate without bound, nor a small file many texts that are large when inflated. Our
// own longest one, of two prompts at their limit, is below 2 MiB, and we write two.
static const png_alloc_size_t CHUNK_LIMIT = 4u << 20;
static const png_uint_32 CHUNKS = 32;

// State lives here, not in locals: locals changed after setjmp are undefined after longjmp.
typedef struct {
    char *error;
    // Writing.
    uint8_t *bytes;
    size_t used, capacity;
    // Reading.
    const uint8_t *input;
    size_t left;
    abz_png_image *image;
    png_bytep *rows;
} state;

static void on_error(png_structp png, png_const_charp text) {
    state *s = png_get_error_ptr(png);
    strncpy(s->error, text, ABZ_PNG_ERROR - 1);
    s->error[ABZ_PNG_ERROR - 1] = 0;
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void on_write(png_structp png, png_bytep data, png_size_t count) {
    state *s = png_get_io_ptr(png);
    if (count > s->capacity - s->used) {
        size_t wanted = s->capacity * 2 + count + 4096;
        uint8_t *grown = realloc(s->bytes, wanted);
        if (!grown) png_error(png, "out of memory");
        s->bytes = grown;
        s->capacity = wanted;
    }
    memcpy(s->bytes + s->used, data, count);
    s->used += count;
}

static void on_flush(png_structp png) { (void)png; }

static void on_read(png_structp png, png_bytep data, png_size_t count) {
    state *s = png_get_io_ptr(png);
    if (count > s->left) png_error(png, "the file ends too early");
    memcpy(data, s->input, count);
    s->input += count;
    s->left -= count;
}

int abz_png_encode(
    const uint8_t *rgb, uint32_t width, uint32_t height, const abz_png_text *texts, int text_count, uint8_t **bytes,
    size_t *length, char error[ABZ_PNG_ERROR]) {
    state s = {.error = error};
    strcpy(error, "out of memory");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &s, on_error, on_warning);
    if (!png) return -1;
    png_infop info = png_create_info_struct(png);
    png_text *chunks = calloc(text_count > 0 ? (size_t)text_count : 1, sizeof *chunks);
    if (!info || !chunks || setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        free(chunks);
        free(s.bytes);
        return -1;
    }
    png_set_write_fn(png, &s, on_write, on_flush);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_compression_level(png, LEVEL);
    png_set_compression_strategy(png, Z_RLE);
    png_set_compression_mem_level(png, 8);
    png_set_compression_window_bits(png, 15);
    png_set_filter(png, 0, PNG_ALL_FILTERS);
    png_set_IHDR(
        png, info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
        PNG_FILTER_TYPE_DEFAULT);
    for (int i = 0; i < text_count; i++) {
        chunks[i].compression = texts[i].utf8 ? PNG_ITXT_COMPRESSION_NONE : PNG_TEXT_COMPRESSION_NONE;
        chunks[i].key = texts[i].key;
        chunks[i].text = texts[i].text;
    }
    if (text_count > 0) png_set_text(png, info, chunks, text_count);
    png_write_info(png, info);
    for (uint32_t y = 0; y < height; y++) png_write_row(png, rgb + (size_t)y * width * 3);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(chunks);
    *bytes = s.bytes;
    *length = s.used;
    return 0;
}

static void collect_texts(png_structp png, png_infop info, abz_png_image *image) {
    png_textp found = NULL;
    int count = 0;
    png_get_text(png, info, &found, &count);
    if (count <= 0) return;
    abz_png_text *grown = realloc(image->texts, ((size_t)image->text_count + (size_t)count) * sizeof *grown);
    if (!grown) png_error(png, "out of memory");
    image->texts = grown;
    for (int i = 0; i < count; i++) {
        abz_png_text *text = &image->texts[image->text_count];
        text->utf8 = found[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        text->key = strdup(found[i].key ? found[i].key : "");
        text->text = strdup(found[i].text ? found[i].text : "");
        image->text_count++;
        if (!text->key || !text->text) png_error(png, "out of memory");
    }
}

int abz_png_decode(
    const uint8_t *bytes, size_t length, uint64_t pixel_limit, abz_png_image *image, char error[ABZ_PNG_ERROR]) {
    memset(image, 0, sizeof *image);
    state s = {.error = error, .input = bytes, .left = length, .image = image};
    strcpy(error, "out of memory");
    if (length < 8 || png_sig_cmp(bytes, 0, 8)) {
        strcpy(error, "not a PNG file");
        return -1;
    }
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &s, on_error, on_warning);
    if (!png) return -1;
    png_infop info = png_create_info_struct(png);
    png_infop end = png_create_info_struct(png);
    if (!info || !end || setjmp(png_jmpbuf(png))) {
        png_destroy_read_struct(&png, &info, &end);
        free(s.rows);
        abz_png_release(image);
        return -1;
    }
    png_set_read_fn(png, &s, on_read);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_chunk_malloc_max(png, CHUNK_LIMIT);
    png_set_chunk_cache_max(png, CHUNKS);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_read_info(png, info);
    image->width = png_get_image_width(png, info);
    image->height = png_get_image_height(png, info);
    if ((uint64_t)image->width * image->height > pixel_limit) png_error(png, "it has too many pixels");
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    size_t stride = (size_t)image->width * 3;
    if (png_get_rowbytes(png, info) != stride) png_error(png, "unexpected layout of pixels");
    image->rgb = malloc(stride * image->height);
    s.rows = malloc(image->height * sizeof *s.rows);
    if (!image->rgb || !s.rows) png_error(png, "out of memory");
    for (uint32_t y = 0; y < image->height; y++) s.rows[y] = image->rgb + y * stride;
    png_read_image(png, s.rows);
    png_read_end(png, end);
    collect_texts(png, info, image);
    collect_texts(png, end, image);
    png_destroy_read_struct(&png, &info, &end);
    free(s.rows);
    return 0;
}

void abz_png_release(abz_png_image *image) {
    for (int i = 0; i < image->text_count; i++) {
        free(image->texts[i].key);
        free(image->texts[i].text);
    }
    free(image->texts);
    free(image->rgb);
    memset(image, 0, sizeof *image);
}
