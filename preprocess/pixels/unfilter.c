/* The filters of PNG undone (PNG specification, clause 9), while the inflated bytes come in pieces of any length.

   Each row is a byte that names its filter, and bytes to which those of the pixel on the left, of the row above, or of
   both are added modulo 256. Only whole bytes: pixels of 1 byte (grey) or 3 (RGB). What is on the left is kept in
   registers, one for each channel, since a loop that reads back what it has just written waits for memory. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PUBLIC __attribute__((visibility("default")))

enum { NONE, SUB, UP, AVERAGE, PAETH };

/* Mirrored by png.py. */
typedef struct {
    uint8_t *out;         /* where the next row goes; behind it the rows that are left, without a gap */
    const uint8_t *above; /* the row before it, of zeros at the start */
    uint8_t *row;         /* 1 + row_bytes, to gather one that comes in several pieces */
    int64_t row_bytes, rows_left, gathered;
    int32_t pixel_bytes;
} Unfilter;

/* Chosen by masks: what is nearest is chance, so that branches would be guessed wrongly. */
static inline int32_t paeth(int32_t left, int32_t above, int32_t corner) {
    const int32_t by_left = above - corner, by_above = left - corner, by_corner = left + (above - 2 * corner);
    const int32_t a = by_left < 0 ? -by_left : by_left, b = by_above < 0 ? -by_above : by_above;
    const int32_t c = by_corner < 0 ? -by_corner : by_corner;
    const int32_t not_left = ((b - a) | (c - a)) >> 31, not_above = (c - b) >> 31;
    const int32_t other = above ^ ((above ^ corner) & not_above);
    return left ^ ((left ^ other) & not_left);
}

/* One row of pixels of `size` bytes, which compilers know when they inline it. Returns -1 where there is no such filter. */
static inline int unfilter(int filter, const uint8_t *restrict in, const uint8_t *restrict above, uint8_t *restrict out,
                           size_t bytes, size_t size) {
    uint8_t left[3] = {0, 0, 0}, corner[3] = {0, 0, 0};
    switch (filter) {
    case NONE:
        memcpy(out, in, bytes);
        return 0;
    case SUB:
        for (size_t x = 0; x < bytes; x += size)
            for (size_t c = 0; c < size; c++) out[x + c] = left[c] = (uint8_t)(in[x + c] + left[c]);
        return 0;
    case UP:
        for (size_t x = 0; x < bytes; x++) out[x] = (uint8_t)(in[x] + above[x]);
        return 0;
    case AVERAGE:
        for (size_t x = 0; x < bytes; x += size)
            for (size_t c = 0; c < size; c++)
                out[x + c] = left[c] = (uint8_t)(in[x + c] + (left[c] + above[x + c]) / 2);
        return 0;
    case PAETH:
        for (size_t x = 0; x < bytes; x += size)
            for (size_t c = 0; c < size; c++) {
                left[c] = (uint8_t)(in[x + c] + paeth(left[c], above[x + c], corner[c]));
                corner[c] = above[x + c];
                out[x + c] = left[c];
            }
        return 0;
    default:
        return -1;
    }
}

static int next_row(Unfilter *state, const uint8_t *row) {
    const size_t bytes = state->row_bytes;
    const int failed = state->pixel_bytes == 1 ? unfilter(row[0], row + 1, state->above, state->out, bytes, 1)
                                               : unfilter(row[0], row + 1, state->above, state->out, bytes, 3);
    state->above = state->out;
    state->out += bytes;
    state->rows_left--;
    return failed;
}

/* The next `length` inflated bytes. Returns 0, or -1 where a filter is unknown or there are more bytes than rows. */
PUBLIC int32_t pixels_unfilter(Unfilter *state, const uint8_t *piece, int64_t length) {
    const int64_t whole = state->row_bytes + 1;
    while (length > 0) {
        if (!state->rows_left) return -1;
        if (!state->gathered && length >= whole) {
            if (next_row(state, piece)) return -1;
            piece += whole, length -= whole;
            continue;
        }
        const int64_t missing = whole - state->gathered, count = length < missing ? length : missing;
        memcpy(state->row + state->gathered, piece, count);
        state->gathered += count, piece += count, length -= count;
        if (state->gathered == whole) {
            state->gathered = 0;
            if (next_row(state, state->row)) return -1;
        }
    }
    return 0;
}
