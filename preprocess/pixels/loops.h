/* The inner loops of resize.c, for each instruction set: AVX2, AVX-512 with VNNI and (blocks.h) with VBMI, NEON. Other
   processors have none: what compilers make of plain loops is slower than Pillow.

   A quad is 4 bytes that are multiplied by one weight: R, G, B and an unused byte of one pixel, or the same column of 4
   grey rows. So one loop along x serves both.

   VNNI multiplies unsigned bytes by signed bytes, four at a time. A weight of 24 bits is three signed digits to the
   base 256; the three sums are put together modulo 2^32, in which the sum of a pixel fits. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    BITS = 22, /* of a weight, behind the point */
    HALF = 1 << (BITS - 1),
    QUAD = 4,     /* bytes */
    TOGETHER = 4, /* rows of quads that go along x at a time */
    SLACK = 64,   /* bytes that the loops along x may read behind a row: as many as 16 quads */
};

/* One side of the image. size_out equal to size_in means that there is no pass along it. */
typedef struct {
    int32_t size_in, size_out;
    int32_t taps;             /* coefficients of an output pixel, those at the end may be 0 */
    const int32_t *first;     /* (size_out): the input pixel of the first coefficient, rising or falling; first + taps is
                                 at most size_in */
    const int32_t *weights;   /* (size_out, taps) */
} Axis;

/* TOGETHER rows along x. weights: as `prepare` made them, each repeated QUAD times where that is of use. */
typedef void RowsLoop(const uint8_t *const in[TOGETHER], uint8_t *const out[TOGETHER], int32_t size_out,
                      const int32_t *first, const void *weights, int32_t taps);
/* One output row along y, from `taps` input rows of `bytes` bytes each. weights: those of this row. */
typedef void ColumnsLoop(const uint8_t *const *in, uint8_t *out, size_t bytes, const void *weights, int32_t taps);
/* int32 (size_out, taps) -> the form that the loops read. */
typedef void Prepare(void *to, int32_t size_out, const int32_t *weights, int32_t taps, int repeat);
/* RGB -> RGB and a byte of any value. Reads and writes up to SLACK bytes behind the row. */
typedef void Widen(const uint8_t *in, uint8_t *out, int32_t width);

/* Another way along x, from pixels 3 or 4 bytes apart to quads, of the first 3 or all 4 channels; for an Axis of which
   `bytes` (of what `prepare` makes) is not 0. Reads nothing behind a row. */
typedef struct {
    size_t (*bytes)(const Axis *x);
    void (*prepare)(void *to, const Axis *x);
    void (*rows)(const uint8_t *const in[TOGETHER], uint8_t *const out[TOGETHER], const Axis *x, const void *weights,
                 int apart, int channels);
} Blocks;

typedef struct {
    const char *name;
    RowsLoop *rows;
    ColumnsLoop *columns;
    Prepare *prepare;
    Widen *widen;
    int32_t multiple, tap_bytes; /* prepared: taps are rounded up to a multiple, each takes so many bytes */
    const Blocks *blocks; /* or NULL */
} Loops;

static inline uint8_t clipped(int32_t sum) {
    sum >>= BITS;
    return sum < 0 ? 0 : sum > 255 ? 255 : (uint8_t)sum;
}

/* For rows shorter than a vector. */
static inline void columns_singly(const uint8_t *const *in, uint8_t *out, size_t bytes, const int32_t *weights,
                                  int32_t taps) {
    for (size_t at = 0; at < bytes; at++) {
        int32_t sum = HALF;
        for (int32_t t = 0; t < taps; t++) sum += in[t][at] * weights[t];
        out[at] = clipped(sum);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* ---- AVX2 ----------------------------------------------------------------------------------------------------- */

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i two_quads(const uint8_t *from) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

AVX2 static void rows_avx2(const uint8_t *const in[TOGETHER], uint8_t *const out[TOGETHER], int32_t size_out,
                           const int32_t *first, const void *weights, int32_t taps) {
    const uint8_t *const a = in[0], *const b = in[1], *const c = in[2], *const d = in[3];
    const __m256i *weight = weights;
    const __m256i half = _mm256_set1_epi32(HALF);
    for (int32_t x = 0; x < size_out; x++) {
        size_t at = (size_t)first[x] * QUAD;
        __m256i sum_a = _mm256_setzero_si256(), sum_b = sum_a, sum_c = sum_a, sum_d = sum_a;
        for (int32_t t = 0; t < taps; t += 2, at += 2 * QUAD, weight++) {
            const __m256i two = _mm256_load_si256(weight);
            sum_a = _mm256_add_epi32(sum_a, _mm256_mullo_epi32(two_quads(a + at), two));
            sum_b = _mm256_add_epi32(sum_b, _mm256_mullo_epi32(two_quads(b + at), two));
            sum_c = _mm256_add_epi32(sum_c, _mm256_mullo_epi32(two_quads(c + at), two));
            sum_d = _mm256_add_epi32(sum_d, _mm256_mullo_epi32(two_quads(d + at), two));
        }
        /* Even and odd taps were summed apart; afterwards a and b (c and d) share a vector. */
        __m256i ab = _mm256_add_epi32(_mm256_permute2x128_si256(sum_a, sum_b, 0x20),
                                      _mm256_permute2x128_si256(sum_a, sum_b, 0x31));
        __m256i cd = _mm256_add_epi32(_mm256_permute2x128_si256(sum_c, sum_d, 0x20),
                                      _mm256_permute2x128_si256(sum_c, sum_d, 0x31));
        ab = _mm256_srai_epi32(_mm256_add_epi32(ab, half), BITS);
        cd = _mm256_srai_epi32(_mm256_add_epi32(cd, half), BITS);
        const __m256i words = _mm256_packs_epi32(ab, cd); /* a c | b d */
        const __m256i bytes = _mm256_packus_epi16(words, words);
        const uint64_t ac = (uint64_t)_mm256_extract_epi64(bytes, 0), bd = (uint64_t)_mm256_extract_epi64(bytes, 2);
        const uint32_t quads[TOGETHER] = {(uint32_t)ac, (uint32_t)bd, (uint32_t)(ac >> 32), (uint32_t)(bd >> 32)};
        for (int i = 0; i < TOGETHER; i++) memcpy(out[i] + (size_t)x * QUAD, &quads[i], QUAD);
    }
}

AVX2 static void columns_avx2(const uint8_t *const *in, uint8_t *out, size_t bytes, const void *prepared,
                              int32_t taps) {
    const int32_t *weights = prepared;
    const size_t block = 32;
    if (bytes < block) {
        columns_singly(in, out, bytes, weights, taps);
        return;
    }
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (size_t at = 0; at < bytes; at += block) {
        if (at + block > bytes) at = bytes - block; /* partly once more */
        __m256i sums[4];
        for (int i = 0; i < 4; i++) sums[i] = _mm256_set1_epi32(HALF);
        for (int32_t t = 0; t < taps; t++) {
            const __m256i weight = _mm256_set1_epi32(weights[t]);
            for (int i = 0; i < 4; i++)
                sums[i] = _mm256_add_epi32(sums[i], _mm256_mullo_epi32(two_quads(in[t] + at + 8 * i), weight));
        }
        for (int i = 0; i < 4; i++) sums[i] = _mm256_srai_epi32(sums[i], BITS);
        const __m256i packed = _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]),
                                                   _mm256_packs_epi32(sums[2], sums[3]));
        _mm256_storeu_si256((__m256i *)(out + at), _mm256_permutevar8x32_epi32(packed, order));
    }
}

/* int32 (size_out, taps, repeat), taps made even. */
static void prepare_avx2(void *to, int32_t size_out, const int32_t *weights, int32_t taps, int repeat) {
    int32_t *next = to;
    for (int32_t x = 0; x < size_out; x++, weights += taps)
        for (int32_t t = 0; t < taps + (taps & 1); t++)
            for (int i = 0; i < repeat; i++) *next++ = t < taps ? weights[t] : 0;
}

/* 4 pixels at a time. */
AVX2 static void widen_avx2(const uint8_t *in, uint8_t *out, int32_t width) {
    const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    for (int32_t x = 0; x < width; x += 4)
        _mm_storeu_si128((__m128i *)(out + 4 * (size_t)x),
                         _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(in + 3 * (size_t)x)), spread));
}

static const Loops avx2_loops = {"avx2", rows_avx2, columns_avx2, prepare_avx2, widen_avx2, 2, 4, NULL};

/* ---- AVX-512 with VNNI ---------------------------------------------------------------------------------------- */

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* weight = low + 256 * middle + 65536 * high, each from -128 to 127. */
static inline void digits(int32_t weight, int8_t digit[3]) {
    digit[0] = (int8_t)weight;
    weight = (weight - digit[0]) / 256;
    digit[1] = (int8_t)weight;
    digit[2] = (int8_t)((weight - digit[1]) / 256);
}

VNNI static inline __m512i together(__m512i low, __m512i middle, __m512i high) {
    const __m512i sum = _mm512_add_epi32(low, _mm512_slli_epi32(middle, 8));
    return _mm512_srai_epi32(_mm512_add_epi32(sum, _mm512_slli_epi32(high, 16)), BITS);
}

/* A vector holds 4 quads of each of the 4 rows. */
VNNI static void rows_vnni(const uint8_t *const in[TOGETHER], uint8_t *const out[TOGETHER], int32_t size_out,
                           const int32_t *first, const void *weights, int32_t taps) {
    const uint8_t *const a = in[0], *const b = in[1], *const c = in[2], *const d = in[3];
    const __m128i *digit = weights;
    const __m512i half = _mm512_set1_epi32(HALF), zero = _mm512_setzero_si512();
    const __m512i by_channel =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    for (int32_t x = 0; x < size_out; x++) {
        size_t at = (size_t)first[x] * QUAD;
        __m512i low = half, middle = zero, high = zero;
        for (int32_t t = 0; t < taps; t += 4, at += 4 * QUAD, digit += 3) {
            __m512i quads = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(a + at)));
            quads = _mm512_inserti32x4(quads, _mm_loadu_si128((const __m128i *)(b + at)), 1);
            quads = _mm512_inserti32x4(quads, _mm_loadu_si128((const __m128i *)(c + at)), 2);
            quads = _mm512_inserti32x4(quads, _mm_loadu_si128((const __m128i *)(d + at)), 3);
            quads = _mm512_shuffle_epi8(quads, by_channel);
            low = _mm512_dpbusd_epi32(low, quads, _mm512_broadcast_i32x4(_mm_load_si128(digit)));
            middle = _mm512_dpbusd_epi32(middle, quads, _mm512_broadcast_i32x4(_mm_load_si128(digit + 1)));
            high = _mm512_dpbusd_epi32(high, quads, _mm512_broadcast_i32x4(_mm_load_si128(digit + 2)));
        }
        const __m512i sums = _mm512_max_epi32(together(low, middle, high), zero);
        const __m128i bytes = _mm512_cvtusepi32_epi8(sums);
        const uint64_t ab = (uint64_t)_mm_cvtsi128_si64(bytes), cd = (uint64_t)_mm_extract_epi64(bytes, 1);
        const uint32_t quads[TOGETHER] = {(uint32_t)ab, (uint32_t)(ab >> 32), (uint32_t)cd, (uint32_t)(cd >> 32)};
        for (int i = 0; i < TOGETHER; i++) memcpy(out[i] + (size_t)x * QUAD, &quads[i], QUAD);
    }
}

/* 4 rows of 64 bytes are interleaved so that each 4 bytes are one column, which packing undoes. */
VNNI static inline __m512i columns_block(const uint8_t *const *in, size_t at, __mmask64 wanted, const int32_t *digit,
                                         int32_t taps) {
    __m512i low[4], middle[4], high[4];
    for (int i = 0; i < 4; i++) {
        low[i] = _mm512_set1_epi32(HALF);
        middle[i] = high[i] = _mm512_setzero_si512();
    }
    for (int32_t t = 0; t < taps; t += 4, digit += 3) {
        __m512i row[4];
        for (int j = 0; j < 4; j++)
            row[j] = t + j < taps ? _mm512_maskz_loadu_epi8(wanted, in[t + j] + at) : _mm512_setzero_si512();
        const __m512i ab_low = _mm512_unpacklo_epi8(row[0], row[1]), ab_high = _mm512_unpackhi_epi8(row[0], row[1]);
        const __m512i cd_low = _mm512_unpacklo_epi8(row[2], row[3]), cd_high = _mm512_unpackhi_epi8(row[2], row[3]);
        const __m512i columns[4] = {_mm512_unpacklo_epi16(ab_low, cd_low), _mm512_unpackhi_epi16(ab_low, cd_low),
                                    _mm512_unpacklo_epi16(ab_high, cd_high), _mm512_unpackhi_epi16(ab_high, cd_high)};
        const __m512i weight[3] = {_mm512_set1_epi32(digit[0]), _mm512_set1_epi32(digit[1]),
                                   _mm512_set1_epi32(digit[2])};
        for (int i = 0; i < 4; i++) {
            low[i] = _mm512_dpbusd_epi32(low[i], columns[i], weight[0]);
            middle[i] = _mm512_dpbusd_epi32(middle[i], columns[i], weight[1]);
            high[i] = _mm512_dpbusd_epi32(high[i], columns[i], weight[2]);
        }
    }
    __m512i sums[4];
    for (int i = 0; i < 4; i++) sums[i] = together(low[i], middle[i], high[i]);
    return _mm512_packus_epi16(_mm512_packs_epi32(sums[0], sums[1]), _mm512_packs_epi32(sums[2], sums[3]));
}

VNNI static void columns_vnni(const uint8_t *const *in, uint8_t *out, size_t bytes, const void *weights,
                              int32_t taps) {
    size_t at = 0;
    for (; at + 64 <= bytes; at += 64)
        _mm512_storeu_si512(out + at, columns_block(in, at, ~(__mmask64)0, weights, taps));
    if (at < bytes) {
        const __mmask64 left = ~(__mmask64)0 >> (64 - (bytes - at));
        _mm512_mask_storeu_epi8(out + at, left, columns_block(in, at, left, weights, taps));
    }
}

/* int8 (size_out, taps / 4, 3 digits, repeat, 4 taps), taps rounded up. */
static void prepare_vnni(void *to, int32_t size_out, const int32_t *weights, int32_t taps, int repeat) {
    int8_t *next = to;
    for (int32_t x = 0; x < size_out; x++, weights += taps)
        for (int32_t t = 0; t < taps; t += 4, next += 3 * repeat * 4)
            for (int j = 0; j < 4; j++) {
                int8_t digit[3];
                digits(t + j < taps ? weights[t + j] : 0, digit);
                for (int i = 0; i < 3; i++)
                    for (int k = 0; k < repeat; k++) next[(i * repeat + k) * 4 + j] = digit[i];
            }
}

static const Loops vnni_loops = {"avx512-vnni", rows_vnni, columns_vnni, prepare_vnni, widen_avx2, 4, 3, NULL};

#include "blocks.h"

static const Loops vbmi_loops = {"avx512-vbmi", rows_vnni, columns_vnni, prepare_vnni, widen_avx2, 4, 3, &vbmi_blocks};

#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_neon.h>

/* ---- NEON ----------------------------------------------------------------------------------------------------- */

/* 8 bytes -> twice 4 integers. */
static inline int32x4x2_t two_quads(const uint8_t *from) {
    const uint16x8_t wide = vmovl_u8(vld1_u8(from));
    return (int32x4x2_t){{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide))),
                          vreinterpretq_s32_u32(vmovl_high_u16(wide))}};
}

static inline uint8x8_t packed(int32x4_t low, int32x4_t high) {
    return vqmovn_u16(vcombine_u16(vqmovun_s32(vshrq_n_s32(low, BITS)), vqmovun_s32(vshrq_n_s32(high, BITS))));
}

static void rows_neon(const uint8_t *const in[TOGETHER], uint8_t *const out[TOGETHER], int32_t size_out,
                      const int32_t *first, const void *weights, int32_t taps) {
    const int32_t *weight = weights;
    for (int32_t x = 0; x < size_out; x++) {
        size_t at = (size_t)first[x] * QUAD;
        int32x4_t sums[TOGETHER];
        for (int i = 0; i < TOGETHER; i++) sums[i] = vdupq_n_s32(HALF);
        for (int32_t t = 0; t < taps; t += 2, at += 2 * QUAD, weight += 2) {
            const int32x2_t two = vld1_s32(weight);
            for (int i = 0; i < TOGETHER; i++) {
                const int32x4x2_t quads = two_quads(in[i] + at);
                sums[i] = vmlaq_lane_s32(sums[i], quads.val[0], two, 0);
                sums[i] = vmlaq_lane_s32(sums[i], quads.val[1], two, 1);
            }
        }
        for (int i = 0; i < TOGETHER; i += 2) {
            const uint32x2_t quads = vreinterpret_u32_u8(packed(sums[i], sums[i + 1]));
            vst1_lane_u32((uint32_t *)(out[i] + (size_t)x * QUAD), quads, 0);
            vst1_lane_u32((uint32_t *)(out[i + 1] + (size_t)x * QUAD), quads, 1);
        }
    }
}

static void columns_neon(const uint8_t *const *in, uint8_t *out, size_t bytes, const void *prepared, int32_t taps) {
    const int32_t *weights = prepared;
    const size_t block = 32;
    if (bytes < block) {
        columns_singly(in, out, bytes, weights, taps);
        return;
    }
    for (size_t at = 0; at < bytes; at += block) {
        if (at + block > bytes) at = bytes - block; /* partly once more */
        int32x4_t sums[8];
        for (int i = 0; i < 8; i++) sums[i] = vdupq_n_s32(HALF);
        for (int32_t t = 0; t < taps; t++)
            for (int i = 0; i < 4; i++) {
                const int32x4x2_t eight = two_quads(in[t] + at + 8 * i);
                sums[2 * i] = vmlaq_n_s32(sums[2 * i], eight.val[0], weights[t]);
                sums[2 * i + 1] = vmlaq_n_s32(sums[2 * i + 1], eight.val[1], weights[t]);
            }
        for (int i = 0; i < 4; i++) vst1_u8(out + at + 8 * i, packed(sums[2 * i], sums[2 * i + 1]));
    }
}

/* int32 (size_out, taps), taps made even. */
static void prepare_neon(void *to, int32_t size_out, const int32_t *weights, int32_t taps, int repeat) {
    (void)repeat; /* a vector is multiplied by one lane of another */
    int32_t *next = to;
    for (int32_t x = 0; x < size_out; x++, weights += taps)
        for (int32_t t = 0; t < taps + (taps & 1); t++) *next++ = t < taps ? weights[t] : 0;
}

/* 8 pixels at a time, which is within what may be read and written behind a row. */
static void widen_neon(const uint8_t *in, uint8_t *out, int32_t width) {
    for (int32_t x = 0; x < width; x += 8) {
        const uint8x8x3_t rgb = vld3_u8(in + 3 * (size_t)x);
        vst4_u8(out + 4 * (size_t)x, ((uint8x8x4_t){{rgb.val[0], rgb.val[1], rgb.val[2], vdup_n_u8(0)}}));
    }
}

static const Loops neon_loops = {"neon", rows_neon, columns_neon, prepare_neon, widen_neon, 2, 4, NULL};

#endif

/* The best of this processor (`wanted` NULL), or those of that name; NULL where it has none such. */
static const Loops *chosen_loops(const char *wanted) {
    const Loops *all[3] = {NULL, NULL, NULL};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        all[1] = &vnni_loops;
    if (all[1] && __builtin_cpu_supports("avx512vbmi")) all[0] = &vbmi_loops;
    if (__builtin_cpu_supports("avx2")) all[2] = &avx2_loops;
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    all[0] = &neon_loops;
#endif
    for (int i = 0; i < 3; i++)
        if (all[i] && (!wanted || !strcmp(all[i]->name, wanted))) return all[i];
    return NULL;
}
