/* AVX-512 with VBMI: 16 output pixels at a time along x. Included by loops.h.

   The loops of AVX-512 with VNNI alone take one output pixel of 4 rows, and shuffle each input pixel once for each
   output pixel that it is part of. Here the input pixels of 16 output pixels are sorted by colour once, 64 or 128 bytes
   of each; one permutation then finds 4 taps of all 16. So the input pixels of 16 neighbours must lie within 64 or 128:
   to a sixth of the width, or so. */

#define VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")))
#define INLINED static inline __attribute__((always_inline)) /* so that loops over channels are unrolled */

enum { BLOCK = 16, VECTOR = 64 }; /* output pixels; bytes */

/* Of a block, in front of its weights. */
typedef struct {
    int32_t base, left; /* the first input pixel; how many there are in a row from there on */
    uint8_t unused[VECTOR - 8];
    uint8_t index[VECTOR]; /* of 4 taps of each output pixel, from base on */
} Block;

static int32_t tap_groups(const Axis *x) {
    return (x->taps + 3) / 4;
}

static int32_t outputs_of(const Axis *x, int32_t start) {
    return x->size_out - start < BLOCK ? x->size_out - start : BLOCK;
}

static int32_t block_base(const Axis *x, int32_t start) {
    const int32_t a = x->first[start], b = x->first[start + outputs_of(x, start) - 1];
    return a < b ? a : b; /* they rise or fall */
}

/* The largest number of input pixels that a block is made of. */
static int32_t block_span(const Axis *x) {
    int32_t most = 0;
    for (int32_t start = 0; start < x->size_out; start += BLOCK) {
        const int32_t base = block_base(x, start);
        for (int32_t i = 0; i < outputs_of(x, start); i++) {
            const int32_t span = x->first[start + i] - base + x->taps;
            if (span > most) most = span;
        }
    }
    return most;
}

static size_t block_bytes(const Axis *x) {
    return sizeof(Block) + (size_t)tap_groups(x) * 3 * VECTOR;
}

/* Of all weights; 0 where blocks are made of too many pixels. */
static size_t blocks_bytes(const Axis *x) {
    return block_span(x) > 2 * VECTOR ? 0 : block_bytes(x) * ((x->size_out + BLOCK - 1) / BLOCK);
}

static uint64_t first_bits(int32_t count) {
    return count >= 64 ? ~(uint64_t)0 : count <= 0 ? 0 : ((uint64_t)1 << count) - 1;
}

/* Blocks, each with int8 (tap_groups, 3 digits, BLOCK, 4 taps) behind it. */
static void prepare_blocks(void *to, const Axis *x) {
    uint8_t *next = to;
    memset(to, 0, blocks_bytes(x));
    for (int32_t start = 0; start < x->size_out; start += BLOCK, next += block_bytes(x)) {
        Block *block = (Block *)next;
        int8_t *weights = (int8_t *)(next + sizeof *block);
        block->base = block_base(x, start);
        block->left = x->size_in - block->base;
        for (int32_t i = 0; i < outputs_of(x, start); i++) {
            const int32_t *row = x->weights + (size_t)(start + i) * x->taps;
            for (int32_t j = 0; j < 4; j++) block->index[4 * i + j] = (uint8_t)(x->first[start + i] - block->base + j);
            for (int32_t t = 0; t < x->taps; t++) {
                int8_t digit[3];
                digits(row[t], digit);
                for (int k = 0; k < 3; k++) weights[((t / 4) * 3 + k) * VECTOR + 4 * i + t % 4] = digit[k];
            }
        }
    }
}

/* The bytes of one channel of 64 pixels, which stand 3 or 4 bytes apart. */
static const uint8_t apart_3[VECTOR] __attribute__((aligned(VECTOR))) = {
    0,   3,   6,   9,   12,  15,  18,  21,  24,  27,  30,  33,  36,  39,  42,  45,  48,  51,  54,  57,  60,  63,
    66,  69,  72,  75,  78,  81,  84,  87,  90,  93,  96,  99,  102, 105, 108, 111, 114, 117, 120, 123, 126, 129,
    132, 135, 138, 141, 144, 147, 150, 153, 156, 159, 162, 165, 168, 171, 174, 177, 180, 183, 186, 189};
static const uint8_t apart_4[VECTOR] __attribute__((aligned(VECTOR))) = {
    0,  4,  8,  12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52,  56,  60,  64,  68,  72,  76,  80, 84,
    88, 92, 96, 100, 104, 108, 112, 116, 120, 124, 0, 4,  8,  12,  16,  20,  24,  28,  32, 36, 40, 44,
    48, 52, 56, 60, 64, 68, 72, 76, 80, 84, 88, 92, 96, 100, 104, 108, 112, 116, 120, 124};

/* 64 pixels of `apart` bytes -> the bytes of each channel. `left`: pixels in the row from there on. */
VBMI INLINED void sort(const uint8_t *from, int32_t left, int is_whole, int apart, int channels, __m512i to[QUAD]) {
    __m512i in[4];
    for (int i = 0; i < apart; i++)
        in[i] = is_whole ? _mm512_loadu_si512(from + VECTOR * i)
                         : _mm512_maskz_loadu_epi8(first_bits(left * apart - VECTOR * i), from + VECTOR * i);
    for (int c = 0; c < channels; c++) {
        const __m512i first = _mm512_load_si512(apart == 3 ? apart_3 : apart_4);
        const __m512i index = _mm512_add_epi8(first, _mm512_set1_epi8((char)c));
        const __m512i low = _mm512_permutex2var_epi8(in[0], index, in[1]);
        if (apart == 3) /* of which those from 128 on are in the third */
            to[c] = _mm512_mask_permutexvar_epi8(low, ~first_bits((128 - c + 2) / 3), index, in[2]);
        else
            to[c] = _mm512_mask_blend_epi64(0xF0, low, _mm512_permutex2var_epi8(in[2], index, in[3]));
    }
}

/* One block of one row, of inputs within `halves` times 64 pixels -> 16 quads. */
VBMI INLINED __m512i one_block(const uint8_t *row, const Block *block, int32_t groups, int is_whole, int apart,
                               int channels, int halves) {
    const __m512i half = _mm512_set1_epi32(HALF), zero = _mm512_setzero_si512(), four = _mm512_set1_epi8(4);
    const __m512i most = _mm512_set1_epi32(255);
    const uint8_t *from = row + (size_t)block->base * apart;
    __m512i near[QUAD], far[QUAD], low[QUAD], middle[QUAD], high[QUAD];
    sort(from, block->left, is_whole, apart, channels, near);
    if (halves > 1) sort(from + VECTOR * apart, block->left - VECTOR, is_whole, apart, channels, far);
    for (int c = 0; c < channels; c++) low[c] = half, middle[c] = high[c] = zero;
    __m512i index = _mm512_load_si512(block->index);
    const __m512i *weight = (const __m512i *)(block + 1);
    for (int32_t g = 0; g < groups; g++, weight += 3) {
        for (int c = 0; c < channels; c++) {
            const __m512i taps = halves > 1 ? _mm512_permutex2var_epi8(near[c], index, far[c])
                                            : _mm512_permutexvar_epi8(index, near[c]);
            low[c] = _mm512_dpbusd_epi32(low[c], taps, weight[0]);
            middle[c] = _mm512_dpbusd_epi32(middle[c], taps, weight[1]);
            high[c] = _mm512_dpbusd_epi32(high[c], taps, weight[2]);
        }
        index = _mm512_add_epi8(index, four);
    }
    __m512i quads = zero;
    for (int c = 0; c < channels; c++) {
        const __m512i sum = together(low[c], middle[c], high[c]);
        const __m512i byte = _mm512_min_epi32(_mm512_max_epi32(sum, zero), most);
        quads = _mm512_or_si512(quads, _mm512_slli_epi32(byte, 8 * c));
    }
    return quads;
}

/* While TOGETHER rows are at work, the same place of the next ones is fetched, which the processor does not guess. */
VBMI INLINED void rows_by_blocks(const uint8_t *const in[TOGETHER], uint8_t *const out[TOGETHER], const Axis *x,
                                 const void *weights, int apart, int channels, int halves) {
    const uint8_t *next = weights;
    const int32_t groups = tap_groups(x);
    const ptrdiff_t ahead = (in[1] - in[0]) * TOGETHER;
    for (int32_t start = 0; start < x->size_out; start += BLOCK, next += block_bytes(x)) {
        const Block *block = (const Block *)next;
        if (outputs_of(x, start) == BLOCK && block->left >= halves * VECTOR) {
            for (int i = 0; i < TOGETHER; i++)
                for (int j = 0; j < 3; j++)
                    __builtin_prefetch(in[i] + ahead + (size_t)block->base * apart + VECTOR * j, 0, 2);
            for (int i = 0; i < TOGETHER; i++)
                _mm512_storeu_si512(out[i] + (size_t)start * QUAD,
                                    one_block(in[i], block, groups, 1, apart, channels, halves));
            continue;
        }
        const __mmask16 wanted = (__mmask16)first_bits(outputs_of(x, start));
        for (int i = 0; i < TOGETHER; i++)
            _mm512_mask_storeu_epi32(out[i] + (size_t)start * QUAD, wanted,
                                     one_block(in[i], block, groups, 0, apart, channels, halves));
    }
}

VBMI static void blocks_vbmi(const uint8_t *const in[TOGETHER], uint8_t *const out[TOGETHER], const Axis *x,
                             const void *weights, int apart, int channels) {
    const int is_near = block_span(x) <= VECTOR;
    if (apart == 3 && is_near) rows_by_blocks(in, out, x, weights, 3, 3, 1);
    else if (apart == 3) rows_by_blocks(in, out, x, weights, 3, 3, 2);
    else if (channels == 3 && is_near) rows_by_blocks(in, out, x, weights, 4, 3, 1);
    else if (channels == 3) rows_by_blocks(in, out, x, weights, 4, 3, 2);
    else if (is_near) rows_by_blocks(in, out, x, weights, 4, 4, 1);
    else rows_by_blocks(in, out, x, weights, 4, 4, 2);
}

static const Blocks vbmi_blocks = {blocks_bytes, prepare_blocks, blocks_vbmi};
