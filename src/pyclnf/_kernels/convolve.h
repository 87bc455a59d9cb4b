/* Convolution of an image of several channels, for small networks.
 *
 * Numbers are whole, of sixteen bits, and lie (row, column, channel). Weights have eight bits, as all of a network
 * then fit into the cache of a core. They lie in blocks of sixteen outputs, (block, row, pair, output, 2), where the
 * columns of a row and their channels follow each other in pairs: the processor multiplies two numbers of sixteen
 * bits and adds both products in one instruction, twice as many as it multiplies floats. Sums are exact, so that
 * every variant gives the same bits.
 *
 * The sums of some positions of a row and some blocks are kept in registers, so that each weight is read once for
 * all the positions and each pixel for all the blocks. */
#ifndef PYCLNF_CONVOLVE_H
#define PYCLNF_CONVOLVE_H

#include <float.h>

#include "cpu.h"
#include "lanes.h"

/* Many processors with AVX2 or AVX-512 multiply pairs and add them to sums in one instruction (VNNI). It is chosen at
 * run time within a variant, as the results are the same. GCC and Clang get it by name, if their assembler knows it: an
 * intrinsic would want all of the module to be compiled for such processors. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(PYCLNF_EMULATED) \
    && ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define KNOWS_FUSED 1
#elif defined(_M_X64) && !defined(__clang__) && _MSC_VER >= 1930
#define KNOWS_FUSED 1
#else
#define KNOWS_FUSED 0
#endif

/* Output channels of a block. */
#define CHANNELS 16

/* Greatest magnitude of the numbers that a layer sees: with it, sums of some thousands of products fit into 32 bits. */
#define LEVELS 16383

/* Two numbers as one of 32 bits. */
PYCLNF_INLINE int32_t both_of(const int16_t *p)
{
    int32_t both;
    memcpy(&both, p, sizeof both);
    return both;
}

/* What a processor does with pairs. SLICES of sums_t hold the sums of a block; beside the weights, a pixel and its
 * products there is room for those of so many positions of a row and blocks at once: MOST_..., and COLUMNS_OF so many
 * blocks. */
#if defined(__AVX512BW__)
#define SLICES 1
#define WIDENS_BLOCKS 0
#define MOST_BLOCKS 4
#define MOST_COLUMNS 12
static const ptrdiff_t COLUMNS_OF[] = {0, 12, 12, 8, 6};
typedef __m512i sums_t;
typedef __m512i pairs_t;
typedef __m512i pixels_t;
typedef signed char weight;
PYCLNF_INLINE sums_t no_sums(void) { return _mm512_setzero_si512(); }
PYCLNF_INLINE void store_sums(int32_t *p, sums_t v) { _mm512_storeu_si512(p, v); }
PYCLNF_INLINE pixels_t splat_pair(const int16_t *p) { return _mm512_set1_epi32(both_of(p)); }
PYCLNF_INLINE pairs_t hold_pairs(const weight *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
PYCLNF_INLINE sums_t add_pairs(pixels_t pixels, pairs_t weights, sums_t sums)
{
    return _mm512_add_epi32(sums, _mm512_madd_epi16(pixels, weights));
}
#if KNOWS_FUSED
#define HAS_FUSED has_avx512_vnni
PYCLNF_INLINE sums_t add_pairs_fused(pixels_t pixels, pairs_t weights, sums_t sums)
{
#ifdef __GNUC__
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(pixels), "v"(weights));
    return sums;
#else
    return _mm512_dpwssd_epi32(sums, pixels, weights);
#endif
}
#endif
#elif defined(__AVX2__)
#define SLICES 2
#define WIDENS_BLOCKS 0
#define MOST_BLOCKS 1
#define MOST_COLUMNS 6
static const ptrdiff_t COLUMNS_OF[] = {0, 6};
typedef __m256i sums_t;
typedef __m256i pairs_t;
typedef __m256i pixels_t;
typedef signed char weight;
PYCLNF_INLINE sums_t no_sums(void) { return _mm256_setzero_si256(); }
PYCLNF_INLINE void store_sums(int32_t *p, sums_t v) { _mm256_storeu_si256((__m256i *)p, v); }
PYCLNF_INLINE pixels_t splat_pair(const int16_t *p) { return _mm256_set1_epi32(both_of(p)); }
PYCLNF_INLINE pairs_t hold_pairs(const weight *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
}
PYCLNF_INLINE sums_t add_pairs(pixels_t pixels, pairs_t weights, sums_t sums)
{
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pixels, weights));
}
#if KNOWS_FUSED
#define HAS_FUSED has_avx_vnni
PYCLNF_INLINE sums_t add_pairs_fused(pixels_t pixels, pairs_t weights, sums_t sums)
{
#ifdef __GNUC__
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sums) : "x"(pixels), "x"(weights));
    return sums;
#else
    return _mm256_dpwssd_avx_epi32(sums, pixels, weights);
#endif
}
#endif
#elif defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define SLICES 4
#define WIDENS_BLOCKS 1
#define MOST_BLOCKS 1
#define MOST_COLUMNS 2
static const ptrdiff_t COLUMNS_OF[] = {0, 2};
typedef __m128i sums_t;
typedef __m128i pairs_t;
typedef __m128i pixels_t;
typedef int16_t weight;
PYCLNF_INLINE sums_t no_sums(void) { return _mm_setzero_si128(); }
PYCLNF_INLINE void store_sums(int32_t *p, sums_t v) { _mm_storeu_si128((__m128i *)p, v); }
PYCLNF_INLINE pixels_t splat_pair(const int16_t *p) { return _mm_set1_epi32(both_of(p)); }
PYCLNF_INLINE pairs_t hold_pairs(const weight *p) { return _mm_loadu_si128((const __m128i *)p); }
PYCLNF_INLINE sums_t add_pairs(pixels_t pixels, pairs_t weights, sums_t sums)
{
    return _mm_add_epi32(sums, _mm_madd_epi16(pixels, weights));
}
#elif defined(__ARM_NEON) || defined(_M_ARM64)
#include <arm_neon.h>
#define SLICES 2
#define WIDENS_BLOCKS 0
#define MOST_BLOCKS 1
#define MOST_COLUMNS 5
static const ptrdiff_t COLUMNS_OF[] = {0, 5};
typedef struct { int32x4_t low, high; } sums_t;
typedef struct { int16x8_t first, second; } pairs_t;
typedef int16x4_t pixels_t;
typedef signed char weight;
PYCLNF_INLINE sums_t no_sums(void)
{
    const sums_t none = {vdupq_n_s32(0), vdupq_n_s32(0)};
    return none;
}
PYCLNF_INLINE void store_sums(int32_t *p, sums_t v)
{
    vst1q_s32(p, v.low);
    vst1q_s32(p + 4, v.high);
}
PYCLNF_INLINE pixels_t splat_pair(const int16_t *p) { return vreinterpret_s16_s32(vdup_n_s32(both_of(p))); }
PYCLNF_INLINE pairs_t hold_pairs(const weight *p)
{
    const int8x8x2_t eight = vld2_s8(p);
    const pairs_t pairs = {vmovl_s8(eight.val[0]), vmovl_s8(eight.val[1])};
    return pairs;
}
PYCLNF_INLINE sums_t add_pairs(pixels_t pixels, pairs_t weights, sums_t sums)
{
    sums.low = vmlal_lane_s16(sums.low, vget_low_s16(weights.first), pixels, 0);
    sums.high = vmlal_lane_s16(sums.high, vget_high_s16(weights.first), pixels, 0);
    sums.low = vmlal_lane_s16(sums.low, vget_low_s16(weights.second), pixels, 1);
    sums.high = vmlal_lane_s16(sums.high, vget_high_s16(weights.second), pixels, 1);
    return sums;
}
#else
/* The first of all pairs, then the second; what the compiler makes of loops over four. */
#define SLICES 4
#define WIDENS_BLOCKS 1
#define MOST_BLOCKS 1
#define MOST_COLUMNS 2
static const ptrdiff_t COLUMNS_OF[] = {0, 2};
typedef struct { int32_t v[4]; } sums_t;
typedef struct { int32_t v[2][4]; } pairs_t;
typedef pairs_t pixels_t;
typedef int16_t weight;
PYCLNF_INLINE sums_t no_sums(void)
{
    const sums_t none = {{0, 0, 0, 0}};
    return none;
}
PYCLNF_INLINE void store_sums(int32_t *p, sums_t v) { memcpy(p, v.v, sizeof v.v); }
PYCLNF_INLINE pixels_t splat_pair(const int16_t *p)
{
    const pixels_t pair = {{{p[0], p[0], p[0], p[0]}, {p[1], p[1], p[1], p[1]}}};
    return pair;
}
PYCLNF_INLINE pairs_t hold_pairs(const weight *p)
{
    const pairs_t pairs = {{{p[0], p[2], p[4], p[6]}, {p[1], p[3], p[5], p[7]}}};
    return pairs;
}
PYCLNF_INLINE sums_t add_pairs(pixels_t pixels, pairs_t weights, sums_t sums)
{
    int i;
    for (i = 0; i < 4; ++i) sums.v[i] += pixels.v[0][i] * weights.v[0][i] + pixels.v[1][i] * weights.v[1][i];
    return sums;
}
#endif

#define WIDTH (CHANNELS / SLICES)

#ifndef HAS_FUSED
static int has_none(void) { return 0; }
#define HAS_FUSED has_none
#define add_pairs_fused add_pairs
#undef KNOWS_FUSED
#define KNOWS_FUSED 0
#endif

#if WIDENS_BLOCKS
/* Without an instruction that widens eight bits the weights of a block are widened first. */
static void widen_block(const signed char *PYCLNF_RESTRICT weights, ptrdiff_t count, int16_t *PYCLNF_RESTRICT out)
{
    ptrdiff_t i;
    for (i = 0; i < count; ++i) out[i] = weights[i];
}
#endif

typedef struct {
    ptrdiff_t kernel, stride, inputs, outputs, columns; /* columns: of the padded image */
    int rectify;
    float share; /* of what is added */
} convolution;

/* Numbers of a row of the weights of one output: an even number, the last of which may meet a weight of 0. */
PYCLNF_INLINE ptrdiff_t row_numbers(ptrdiff_t kernel, ptrdiff_t inputs) { return (kernel * inputs + 1) / 2 * 2; }

PYCLNF_INLINE float at_least(float least, float value) { return value < least ? least : value; }

/* A whole number between least and LEVELS; see ROUNDS. */
PYCLNF_INLINE int16_t whole_number(float least, float value)
{
    value = at_least(least, value) + ROUNDS;
    value = value > ROUNDS + LEVELS ? ROUNDS + LEVELS : value;
    return (int16_t)(int32_t)(value - ROUNDS);
}

/* A product as it is, rounded by itself: no compiler knows that nothing is less, and so makes one instruction of it and
 * the sum that it goes into, which would round otherwise. (What is added may be far beyond what the next layer sees, and
 * the sum not: a nearer bound would take part of it away.) */
PYCLNF_INLINE float by_itself(float product) { return at_least(-FLT_MAX, product); }

/* What the next layer sees of n sums: (sum + bias) factor, and what is added (NULL: nothing), rounded and within bounds.
 * (n is not said as a constant, for which GCC writes all out instead of using vectors; a loop of its own where nothing is
 * added, since Clang uses none otherwise.) */
PYCLNF_APART void keep_numbers(ptrdiff_t n, const int32_t *PYCLNF_RESTRICT sums, const int32_t *PYCLNF_RESTRICT bias,
                               const float *PYCLNF_RESTRICT factors, int rectify,
                               const int16_t *PYCLNF_RESTRICT added, float share, int16_t *PYCLNF_RESTRICT out)
{
    const float least = rectify ? 0.0f : (float)-LEVELS;
    ptrdiff_t o;
    if (!added) {
        for (o = 0; o < n; ++o) out[o] = whole_number(least, (float)(sums[o] + bias[o]) * factors[o]);
        return;
    }
    for (o = 0; o < n; ++o) {
        const float found = by_itself((float)(sums[o] + bias[o]) * factors[o]);
        out[o] = whole_number(least, found + by_itself((float)added[o] * share));
    }
}

/* The last layer's. */
PYCLNF_APART void say_numbers(ptrdiff_t n, const int32_t *PYCLNF_RESTRICT sums, const int32_t *PYCLNF_RESTRICT bias,
                              const float *PYCLNF_RESTRICT factors, int rectify, float *PYCLNF_RESTRICT out)
{
    ptrdiff_t o;
    for (o = 0; o < n; ++o) {
        const float value = (float)(sums[o] + bias[o]) * factors[o];
        out[o] = rectify && value < 0.0f ? 0.0f : value;
    }
}

/* P positions of one row, B blocks of outputs: image at the first position's corner, weights, factors, bias, and out
 * and (NULL: none) what is added at the first of the outputs; said in place of out in the last layer. P, B and whether
 * pairs are multiplied and added at once are constants where this is inlined. */
PYCLNF_INLINE void convolve_columns(const int P, const int B, const int FUSED, const convolution *c,
                                    const int16_t *image, const weight *weights, const float *factors,
                                    const int32_t *bias, const int16_t *added, int16_t *out, float *said)
{
    sums_t sums[MOST_BLOCKS * SLICES][MOST_COLUMNS];
    int32_t found[MOST_COLUMNS][MOST_BLOCKS * CHANNELS];
    const ptrdiff_t step = c->stride * c->inputs, along = row_numbers(c->kernel, c->inputs);
    const ptrdiff_t block = c->kernel * along * CHANNELS;
    ptrdiff_t y, x;
#ifdef __GNUC__
#pragma GCC unroll 8
#endif
    for (int s = 0; s < B * SLICES; ++s) {
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
        for (int p = 0; p < P; ++p) sums[s][p] = no_sums();
    }
    for (y = 0; y < c->kernel; ++y) {
        const int16_t *pixels = image + y * c->columns * c->inputs;
        /* The columns of the kernel and their channels lie one after the other in both. */
        for (x = 0; x < along; x += 2, pixels += 2, weights += 2 * CHANNELS) {
            pairs_t w[MOST_BLOCKS * SLICES];
#ifdef __GNUC__
#pragma GCC unroll 8
#endif
            for (int s = 0; s < B * SLICES; ++s) {
                w[s] = hold_pairs(weights + s / SLICES * block + s % SLICES * 2 * WIDTH);
            }
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
            for (int p = 0; p < P; ++p) {
                const pixels_t pair = splat_pair(pixels + p * step);
#ifdef __GNUC__
#pragma GCC unroll 8
#endif
                for (int s = 0; s < B * SLICES; ++s) {
                    sums[s][p] = FUSED ? add_pairs_fused(pair, w[s], sums[s][p]) : add_pairs(pair, w[s], sums[s][p]);
                }
            }
        }
    }
#ifdef __GNUC__
#pragma GCC unroll 8
#endif
    for (int s = 0; s < B * SLICES; ++s) {
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
        for (int p = 0; p < P; ++p) store_sums(found[p] + s * WIDTH, sums[s][p]);
    }
    for (int p = 0; p < P; ++p) {
        const ptrdiff_t at = p * c->outputs;
        if (said) say_numbers(B * CHANNELS, found[p], bias, factors, c->rectify, said + at);
        else keep_numbers(B * CHANNELS, found[p], bias, factors, c->rectify, added ? added + at : NULL, c->share, out + at);
    }
}

typedef void (*convolve_function)(const convolution *, const int16_t *, const weight *, const float *, const int32_t *,
                                  const int16_t *, int16_t *, float *);
#define DEFINE_CONVOLVE(NAME, P, B, FUSED)                                                                          \
    static void NAME##_##P##_##B(const convolution *c, const int16_t *image, const weight *weights,                 \
                                 const float *factors, const int32_t *bias, const int16_t *added, int16_t *out,     \
                                 float *said)                                                                       \
    {                                                                                                               \
        convolve_columns(P, B, FUSED, c, image, weights, factors, bias, added, out, said);                          \
    }
#define TO_2(DO, B) DO(1, B) DO(2, B)
#define TO_5(DO, B) TO_2(DO, B) DO(3, B) DO(4, B) DO(5, B)
#define TO_6(DO, B) TO_5(DO, B) DO(6, B)
#define TO_8(DO, B) TO_6(DO, B) DO(7, B) DO(8, B)
#define TO_12(DO, B) TO_8(DO, B) DO(9, B) DO(10, B) DO(11, B) DO(12, B)
#if MOST_BLOCKS == 4
#define DEFINE_ALL(DO) TO_12(DO, 1) TO_12(DO, 2) TO_8(DO, 3) TO_6(DO, 4)
#define NAME_ALL(DO) {NULL, TO_12(DO, 1)}, {NULL, TO_12(DO, 2)}, {NULL, TO_8(DO, 3)}, {NULL, TO_6(DO, 4)},
#elif MOST_COLUMNS == 6
#define DEFINE_ALL(DO) TO_6(DO, 1)
#define NAME_ALL(DO) {NULL, TO_6(DO, 1)},
#elif MOST_COLUMNS == 5
#define DEFINE_ALL(DO) TO_5(DO, 1)
#define NAME_ALL(DO) {NULL, TO_5(DO, 1)},
#else
#define DEFINE_ALL(DO) TO_2(DO, 1)
#define NAME_ALL(DO) {NULL, TO_2(DO, 1)},
#endif
#define DEFINE_APART(P, B) DEFINE_CONVOLVE(apart, P, B, 0)
#define NAME_APART(P, B) apart_##P##_##B,
DEFINE_ALL(DEFINE_APART)
static const convolve_function CONVOLVE[MOST_BLOCKS + 1][MOST_COLUMNS + 1] = {{NULL}, NAME_ALL(NAME_APART)};
#if KNOWS_FUSED
#define DEFINE_FUSED(P, B) DEFINE_CONVOLVE(fused, P, B, 1)
#define NAME_FUSED(P, B) fused_##P##_##B,
DEFINE_ALL(DEFINE_FUSED)
static const convolve_function CONVOLVE_FUSED[MOST_BLOCKS + 1][MOST_COLUMNS + 1] = {{NULL}, NAME_ALL(NAME_FUSED)};
#else
#define CONVOLVE_FUSED CONVOLVE
#endif

/* What is used of the two. Set when the module is imported, and by tests. */
static int fuses = 0;

/* Multiply and add pairs at once where the processor can, or not; whether it is done is returned. */
static int fuse_pairs(int wanted)
{
    fuses = wanted && HAS_FUSED();
    return fuses;
}

/* Blocks that are worked on at once, of those that are left: few positions leave registers for more. */
static ptrdiff_t blocks_at_once(ptrdiff_t left, ptrdiff_t columns)
{
    ptrdiff_t blocks = MOST_BLOCKS < left ? MOST_BLOCKS : left;
    if (blocks > 2 && columns > 2) blocks = left % 2 ? 3 : 2;
    return blocks < left ? blocks : left;
}

/* A whole layer: image (padded, and one number beyond its end may be read), out (rows, columns, outputs), added as out
 * or NULL; said in place of out in the last layer, otherwise NULL. scratch has room for the weights of a block if
 * WIDENS_BLOCKS. */
static void convolve_image(const convolution *c, const int16_t *image, const signed char *weights,
                           const float *factors, const int32_t *bias, const int16_t *added, ptrdiff_t rows,
                           ptrdiff_t columns, int16_t *scratch, int16_t *out, float *said)
{
    const ptrdiff_t block = c->kernel * row_numbers(c->kernel, c->inputs) * CHANNELS;
    const convolve_function (*const convolve)[MOST_COLUMNS + 1] = fuses ? CONVOLVE_FUSED : CONVOLVE;
    ptrdiff_t first, i, many;
    for (first = 0; first < c->outputs; first += many * CHANNELS) {
#if WIDENS_BLOCKS
        const weight *own = scratch;
        widen_block(weights + first / CHANNELS * block, block, scratch);
#else
        const weight *own = weights + first / CHANNELS * block;
        (void)scratch;
#endif
        many = blocks_at_once((c->outputs - first) / CHANNELS, columns);
        for (i = 0; i < rows; ++i) {
            const int16_t *corner = image + i * c->stride * c->columns * c->inputs;
            ptrdiff_t at = i * columns * c->outputs + first, left = columns;
            ptrdiff_t n = (columns + COLUMNS_OF[many] - 1) / COLUMNS_OF[many];
            for (; n > 0; --n) {
                /* Parts of nearly equal size. */
                const ptrdiff_t p = (left + n - 1) / n;
                convolve[many][p](c, corner, own, factors + first, bias + first, added ? added + at : NULL,
                                  said ? NULL : out + at, said ? said + at : NULL);
                corner += p * c->stride * c->inputs;
                at += p * c->outputs;
                left -= p;
            }
        }
    }
}

#endif
