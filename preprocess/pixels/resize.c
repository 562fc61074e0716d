/* Pillow's antialiased bicubic filter on 8-bit pixels, to the bit, several pixels at a time.

   The arithmetic (Pillow, src/libImaging/Resample.c): coefficients in double, normalised to a sum of 1, rounded half
   away from zero to 22 bits; each pass sums int32 products from one half, shifts right by 22 and clips to 0..255; what
   stands between the two passes is 8 bits wide. Sums of integers are the same in any order, so only three things
   decide the result: the coefficients, the order of the passes, and the clipping between them.

   "rows" is the pass along x, "columns" the one along y. Rows of the image stream through: no pass sees more of the
   image than the rows that the next output row needs. */

#include "loops.h"

#include <limits.h>
#include <math.h>

#define PUBLIC __attribute__((visibility("default")))

/* Where finished rows go. patch 0: planes (3 or 1, height, width). Else patches in the merger's order, channel, frame,
   row, column inside. */
typedef struct {
    uint8_t *out;
    int32_t patch, merge, frames, frame;
} Target;

/* ---- coefficients -------------------------------------------------------------------------------------------- */

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

typedef struct {
    int32_t start, end; /* input pixels with a weight */
    double center;
} Window;

static Window window(int32_t i, double scale, int32_t size_in) {
    const double center = (i + 0.5) * scale, support = 2.0 * (scale < 1.0 ? 1.0 : scale);
    const int32_t start = (int32_t)(center - support + 0.5), end = (int32_t)(center + support + 0.5);
    return (Window){start < 0 ? 0 : start, end > size_in ? size_in : end, center};
}

/* The largest number of input pixels that an output pixel is made of. */
PUBLIC int32_t pixels_taps(int32_t size_in, int32_t size_out) {
    int32_t most = 0;
    for (int32_t i = 0; i < size_out; i++) {
        const Window at = window(i, (double)size_in / size_out, size_in);
        if (at.end - at.start > most) most = at.end - at.start;
    }
    return most;
}

/* Fill first (size_out) and weights (size_out, taps), with taps from pixels_taps. Returns how many weights lie so near
   the middle of two integers that Pillow may have rounded them to the other side if its compiler fused multiplications
   with additions, as GCC does on aarch64; -1 without memory. */
PUBLIC int32_t pixels_weights(int32_t size_in, int32_t size_out, int32_t taps, int32_t *first, int32_t *weights) {
    const double too_near = 1e-7; /* fused or not, scaled weights differ by less than 1e-8 */
    const double scale = (double)size_in / size_out, inverse = 1.0 / (scale < 1.0 ? 1.0 : scale);
    int32_t doubtful = 0;
    double *exact = malloc(sizeof(double) * taps);
    if (!exact) return -1;
    for (int32_t i = 0; i < size_out; i++) {
        const Window at = window(i, scale, size_in);
        const int32_t count = at.end - at.start;
        double sum = 0.0;
        for (int32_t t = 0; t < count; t++) sum += exact[t] = bicubic((t + at.start - at.center + 0.5) * inverse);
        first[i] = at.start + taps > size_in ? size_in - taps : at.start; /* all taps stay inside */
        int32_t *row = weights + (size_t)i * taps;
        memset(row, 0, sizeof(int32_t) * taps);
        for (int32_t t = 0; t < count; t++) {
            const double weight = (sum != 0.0 ? exact[t] / sum : exact[t]) * (1 << BITS);
            row[t + at.start - first[i]] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
            doubtful += fabs(fabs(weight) - floor(fabs(weight)) - 0.5) < too_near;
        }
    }
    free(exact);
    return doubtful;
}

/* ---- an image ------------------------------------------------------------------------------------------------- */

typedef struct {
    const Loops *loops;
    const Blocks *blocks; /* NULL where they can't be used */
    const uint8_t *source;
    size_t stride;
    int32_t channels; /* 1 grey, 3 RGB, 4 RGB and an unused byte */
    const Axis *x, *y;
    Target target;
    void *x_weights, *y_weights; /* as the loops read them */
    size_t y_stride;             /* bytes of an output row's y_weights */
    int32_t group;         /* rows that go along x together: TOGETHER, or QUAD times as many grey ones */
    uint8_t *scratch;      /* TOGETHER rows of quads, input */
    uint8_t *quads;        /* TOGETHER rows of quads, output (grey) */
    uint8_t *spare;        /* a row: of nothing, where a group of grey rows is not full; of RGB, to read behind it */
    uint8_t *planes;       /* 3 rows of finished bytes */
    uint8_t *nowhere;      /* 4 rows, for what is not wanted */
} Job;

/* Four rows of bytes <-> one of quads, and pixels -> three rows. (Counted in size_t, which may not wrap: else compilers
   would not vectorise these loops with the options that Python was built with.) */
static void join(const uint8_t *restrict a, const uint8_t *restrict b, const uint8_t *restrict c,
                 const uint8_t *restrict d, uint8_t *restrict quads, size_t width) {
    for (size_t x = 0; x < width; x++) {
        quads[4 * x] = a[x];
        quads[4 * x + 1] = b[x];
        quads[4 * x + 2] = c[x];
        quads[4 * x + 3] = d[x];
    }
}

static void part(const uint8_t *restrict quads, uint8_t *restrict a, uint8_t *restrict b, uint8_t *restrict c,
                 uint8_t *restrict d, size_t width) {
    for (size_t x = 0; x < width; x++) {
        a[x] = quads[4 * x];
        b[x] = quads[4 * x + 1];
        c[x] = quads[4 * x + 2];
        d[x] = quads[4 * x + 3];
    }
}

static void split_rgbx(const uint8_t *restrict in, uint8_t *restrict r, uint8_t *restrict g, uint8_t *restrict b,
                       size_t width) {
    for (size_t x = 0; x < width; x++) {
        r[x] = in[4 * x];
        g[x] = in[4 * x + 1];
        b[x] = in[4 * x + 2];
    }
}

static void split_rgb(const uint8_t *restrict in, uint8_t *restrict r, uint8_t *restrict g, uint8_t *restrict b,
                      size_t width) {
    for (size_t x = 0; x < width; x++) {
        r[x] = in[3 * x];
        g[x] = in[3 * x + 1];
        b[x] = in[3 * x + 2];
    }
}

static void *aligned(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, 64, bytes + SLACK) ? NULL : memory;
}

/* Pixels of a row of the source, or of what columns made of it, stand this many bytes apart. */
static size_t bytes_along_x(const Job *job, int32_t pixels) {
    return (size_t)pixels * job->channels;
}

/* After the pass along x colours are quads. */
static int32_t channels_after_rows(const Job *job) {
    return job->channels == 1 ? 1 : job->x->size_in == job->x->size_out ? job->channels : QUAD;
}

/* TOGETHER rows of quads, or of pixels 3 bytes apart where there are blocks. So many channels are of use. */
static void quads_along_x(const Job *job, const uint8_t *const *in, uint8_t *const *out, int32_t channels) {
    const Axis *x = job->x;
    if (job->blocks)
        job->blocks->rows(in, out, x, job->x_weights, job->channels == 3 ? 3 : QUAD, channels);
    else
        job->loops->rows(in, out, x->size_out, x->first, job->x_weights, x->taps);
}

/* `count` rows (at most job->group) of the source's channels along x -> rows of channels_after_rows. `readable`: up to
   where reading behind a row is allowed. */
static void along_x(const Job *job, const uint8_t *const *in, uint8_t *const *out, int32_t count,
                    const uint8_t *readable) {
    const size_t width = job->x->size_in, width_out = job->x->size_out;
    const size_t quad_row = (size_t)width * QUAD + SLACK;
    const uint8_t *quads_in[TOGETHER];
    uint8_t *quads_out[TOGETHER];
    if (job->channels == 1) {
        for (int32_t i = 0; i < TOGETHER; i++) {
            const uint8_t *row[QUAD];
            for (int32_t j = 0; j < QUAD; j++) row[j] = i * QUAD + j < count ? in[i * QUAD + j] : job->spare;
            quads_in[i] = i * QUAD < count ? job->scratch + i * quad_row : job->scratch;
            quads_out[i] = job->quads + (size_t)i * width_out * QUAD;
            if (i * QUAD < count) join(row[0], row[1], row[2], row[3], job->scratch + i * quad_row, width);
        }
        quads_along_x(job, quads_in, quads_out, QUAD);
        for (int32_t i = 0; i < count; i += QUAD) {
            uint8_t *row[QUAD];
            for (int32_t j = 0; j < QUAD; j++) row[j] = i + j < count ? out[i + j] : job->nowhere + j * width_out;
            part(quads_out[i / QUAD], row[0], row[1], row[2], row[3], width_out);
        }
        return;
    }
    for (int32_t i = 0; i < TOGETHER; i++) {
        const int32_t row = i < count ? i : 0; /* again, for nothing */
        quads_out[i] = i < count ? out[i] : job->quads;
        if (job->blocks || (job->channels == QUAD && in[row] + quad_row <= readable)) {
            quads_in[i] = in[row];
            continue;
        }
        quads_in[i] = job->scratch + row * quad_row;
        if (i >= count) continue;
        if (job->channels == QUAD) {
            memcpy(job->scratch + i * quad_row, in[i], (size_t)width * QUAD);
        } else {
            const int at_end = in[i] + (size_t)width * 3 + SLACK > readable;
            if (at_end) memcpy(job->spare, in[i], (size_t)width * 3);
            job->loops->widen(at_end ? job->spare : in[i], job->scratch + i * quad_row, width);
        }
    }
    quads_along_x(job, quads_in, quads_out, 3);
}

/* A finished row, of channels 1, 3 or 4, to its place. */
static void finish(const Job *job, const uint8_t *row, int32_t y, int32_t channels) {
    const Target *target = &job->target;
    const int32_t width = job->x->size_out, height = job->y->size_out;
    const size_t plane = (size_t)width * height;
    const uint8_t *from[3];
    uint8_t *to[3];
    for (int32_t c = 0; c < 3; c++)
        to[c] = target->patch ? job->planes + (size_t)c * width : target->out + c * plane + (size_t)y * width;
    if (channels == 1) {
        if (!target->patch) memcpy(to[0], row, width);
        from[0] = from[1] = from[2] = row;
    } else {
        (channels == 3 ? split_rgb : split_rgbx)(row, to[0], to[1], to[2], width);
        for (int32_t c = 0; c < 3; c++) from[c] = to[c];
    }
    if (!target->patch) return;
    const int32_t p = target->patch, m = target->merge, row_in_patch = y % p, patch_row = y / p;
    const size_t run = p, in_channel = run * p * target->frames, in_patch = 3 * in_channel;
    const size_t in_token_row = (size_t)(width / p) * m; /* patches */
    uint8_t *start = target->out + (patch_row / m * in_token_row + (size_t)(patch_row % m) * m) * in_patch +
                     (size_t)target->frame * run * p + row_in_patch * run;
    for (int32_t column = 0; column < width / p; column++) {
        uint8_t *patch = start + ((size_t)(column / m) * m * m + column % m) * in_patch;
        for (int32_t c = 0; c < 3; c++) memcpy(patch + c * in_channel, from[c] + column * run, run);
    }
}

/* Rows first: a ring of rows that went along x, from which output rows are summed as soon as they can be. */
static int rows_first(const Job *job) {
    const Axis *y = job->y;
    const int both = y->size_in != y->size_out, along = job->x->size_in != job->x->size_out;
    const int32_t channels = channels_after_rows(job);
    const size_t bytes = (size_t)job->x->size_out * channels;
    const int32_t taps = both ? y->taps : 1, room = taps + job->group;
    const uint8_t *readable = job->source + (size_t)(y->size_in - 1) * job->stride + bytes_along_x(job, job->x->size_in);
    uint8_t *ring = aligned((size_t)room * bytes), *finished = aligned(bytes);
    const uint8_t **rows = malloc(sizeof *rows * (taps > job->group ? taps : job->group));
    uint8_t *places[TOGETHER * QUAD];
    int32_t done = 0;
    if (!ring || !finished || !rows) goto out;
    const int backwards = both && y->first[0] > y->first[y->size_out - 1]; /* the result is upside down */
    for (int32_t n = 0; n < y->size_out; n++) {
        const int32_t i = backwards ? y->size_out - 1 - n : n, first = both ? y->first[i] : i;
        while (along && done < first + taps) {
            const int32_t left = y->size_in - done, count = left < job->group ? left : job->group;
            for (int32_t j = 0; j < count; j++) {
                rows[j] = job->source + (size_t)(done + j) * job->stride;
                places[j] = ring + (size_t)((done + j) % room) * bytes;
            }
            along_x(job, rows, places, count, readable);
            done += count;
        }
        for (int32_t t = 0; t < taps; t++)
            rows[t] = along ? ring + (size_t)((first + t) % room) * bytes : job->source + (size_t)(first + t) * job->stride;
        if (both) job->loops->columns(rows, finished, bytes, (const char *)job->y_weights + i * job->y_stride, taps);
        finish(job, both ? finished : rows[0], i, channels);
    }
    done = INT32_MAX;
out:
    free(ring), free(finished), free(rows);
    return done == INT32_MAX ? 0 : -1;
}

/* Columns first, where there are two passes: groups of rows that columns made go along x. */
static int columns_first(const Job *job) {
    const Axis *y = job->y;
    const int32_t group = job->group, channels = channels_after_rows(job);
    const size_t bytes = bytes_along_x(job, job->x->size_in), out_bytes = (size_t)job->x->size_out * channels;
    uint8_t *between = aligned((size_t)group * bytes), *finished = aligned((size_t)group * out_bytes);
    const uint8_t **rows = malloc(sizeof *rows * y->taps);
    const uint8_t *made[TOGETHER * QUAD];
    uint8_t *places[TOGETHER * QUAD];
    const int failed = !between || !finished || !rows;
    for (int32_t i = 0; !failed && i < y->size_out; i += group) {
        const int32_t left = y->size_out - i, count = left < group ? left : group;
        for (int32_t j = 0; j < count; j++) {
            const int32_t first = y->first[i + j];
            for (int32_t t = 0; t < y->taps; t++) rows[t] = job->source + (size_t)(first + t) * job->stride;
            made[j] = between + j * bytes;
            places[j] = finished + j * out_bytes;
            job->loops->columns(rows, between + j * bytes, bytes, (const char *)job->y_weights + (i + j) * job->y_stride,
                                y->taps);
        }
        along_x(job, made, places, count, between + group * bytes + SLACK);
        for (int32_t j = 0; j < count; j++) finish(job, places[j], i + j, channels);
    }
    free(between), free(finished), free(rows);
    return failed ? -1 : 0;
}

/* The best loops of this processor, or those called `wanted`; NULL where there are none such. */
PUBLIC const Loops *pixels_loops(const char *wanted) {
    return chosen_loops(wanted);
}

PUBLIC const char *pixels_name(const Loops *loops) {
    return loops->name;
}

static size_t prepared_bytes(const Loops *loops, const Axis *axis, int repeat) {
    const int32_t multiple = loops->multiple, taps = (axis->taps + multiple - 1) / multiple * multiple;
    return (size_t)taps * loops->tap_bytes * repeat;
}

static void *prepared(const Loops *loops, const Axis *axis, int repeat) {
    void *weights = aligned(prepared_bytes(loops, axis, repeat) * axis->size_out);
    if (weights) loops->prepare(weights, axis->size_out, axis->weights, axis->taps, repeat);
    return weights;
}

/* Resize `source`, whose rows stand `stride` bytes apart. Returns 0, or -1 without memory. */
PUBLIC int pixels_resize(const Loops *loops, const uint8_t *source, int64_t stride, int32_t channels, const Axis *x,
                         const Axis *y, int32_t is_columns_first, const Target *target) {
    const int along = x->size_in != x->size_out, both = along && y->size_in != y->size_out;
    Job job = {.loops = loops, .source = source, .stride = stride, .channels = channels, .x = x, .y = y};
    job.target = *target;
    job.group = channels == 1 ? TOGETHER * QUAD : TOGETHER;
    job.planes = aligned((size_t)x->size_out * 3);
    int failed = !job.planes;
    if (along && !failed) {
        const size_t bytes = loops->blocks ? loops->blocks->bytes(x) : 0;
        if (bytes) {
            job.blocks = loops->blocks;
            job.x_weights = aligned(bytes);
            if (job.x_weights) job.blocks->prepare(job.x_weights, x);
        } else {
            job.x_weights = prepared(loops, x, QUAD);
        }
        job.scratch = aligned(((size_t)x->size_in * QUAD + SLACK) * TOGETHER);
        job.quads = aligned((size_t)x->size_out * QUAD * TOGETHER);
        job.spare = calloc((size_t)x->size_in * 3 + SLACK, 1);
        job.nowhere = aligned((size_t)x->size_out * QUAD);
        failed = !job.nowhere || !job.x_weights || !job.scratch || !job.quads || !job.spare;
    }
    if (y->size_in != y->size_out && !failed) {
        job.y_stride = prepared_bytes(loops, y, 1);
        job.y_weights = prepared(loops, y, 1);
        failed = !job.y_weights;
    }
    if (!failed) failed = is_columns_first && both ? columns_first(&job) : rows_first(&job);
    free(job.x_weights), free(job.y_weights), free(job.scratch), free(job.quads), free(job.spare), free(job.nowhere), free(job.planes);
    return failed ? -1 : 0;
}
