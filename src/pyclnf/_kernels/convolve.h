/* Convolution of an image of several channels, for small networks.
 *
 * Numbers lie (row, column, channel). Weights are whole numbers of eight bits, as all of a network then fit into
 * the cache of a core; they lie in blocks of sixteen outputs, (block, row, column, input, output), so that they
 * are read as they lie. The lanes are output channels; the sums of some positions of a row and some blocks are
 * kept in registers, so that each weight is read once for all the positions and each pixel for all the blocks.
 * A lane adds in the same order whatever their numbers. */
#ifndef PYCLNF_CONVOLVE_H
#define PYCLNF_CONVOLVE_H

#include "lanes.h"

/* Output channels of a block. */
#define CHANNELS 16

#if defined(__AVX512F__)
typedef __m512 channels;
#define SLICES 1
PYCLNF_INLINE channels load_channels(const float *p) { return _mm512_loadu_ps(p); }
PYCLNF_INLINE void store_channels(float *p, channels v) { _mm512_storeu_ps(p, v); }
PYCLNF_INLINE channels splat_channels(float s) { return _mm512_set1_ps(s); }
PYCLNF_INLINE channels add_channels(channels a, channels b) { return _mm512_add_ps(a, b); }
PYCLNF_INLINE channels muladd_channels(channels a, channels b, channels c) { return _mm512_fmadd_ps(a, b, c); }
PYCLNF_INLINE channels widen_channels(const signed char *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
/* max(v, 0); NaN stays NaN. */
PYCLNF_INLINE channels rectified(channels v) { return _mm512_max_ps(_mm512_setzero_ps(), v); }
#else
typedef floats channels;
#define SLICES 2
PYCLNF_INLINE channels load_channels(const float *p) { return load8(p); }
PYCLNF_INLINE void store_channels(float *p, channels v) { store8(p, v); }
PYCLNF_INLINE channels splat_channels(float s) { return splat8(s); }
PYCLNF_INLINE channels add_channels(channels a, channels b) { return add8(a, b); }
PYCLNF_INLINE channels muladd_channels(channels a, channels b, channels c) { return muladd8(a, b, c); }
PYCLNF_INLINE channels rectified(channels v) { return clip8(v, 0.0f, INFINITY); }
#endif

#define WIDTH (CHANNELS / SLICES)

/* Without instructions that make floats of eight bytes the weights of a block are made floats first. */
#if defined(__AVX2__)
#define WIDENS_BLOCKS 0
typedef signed char weight;
#if !defined(__AVX512F__)
PYCLNF_INLINE channels widen_channels(const signed char *p) { return widen8(p); }
#endif
#else
#define WIDENS_BLOCKS 1
typedef float weight;
PYCLNF_INLINE channels widen_channels(const float *p) { return load8(p); }
static void widen_block(const signed char *PYCLNF_RESTRICT weights, ptrdiff_t count, float *PYCLNF_RESTRICT out)
{
    ptrdiff_t i;
    for (i = 0; i < count; ++i) out[i] = (float)weights[i];
}
#endif

/* Sums that the registers hold beside the weights and a pixel: positions by blocks. */
#if defined(__AVX512F__)
#define MOST_BLOCKS 4
#define MOST_COLUMNS 12
static const ptrdiff_t COLUMNS_OF[] = {0, 12, 12, 8, 6};
#elif defined(__AVX2__)
#define MOST_BLOCKS 1
#define MOST_COLUMNS 6
static const ptrdiff_t COLUMNS_OF[] = {0, 6};
#else
#define MOST_BLOCKS 1
#define MOST_COLUMNS 2
static const ptrdiff_t COLUMNS_OF[] = {0, 2};
#endif

typedef struct {
    ptrdiff_t kernel, stride, inputs, outputs, columns; /* columns: of the padded image */
    int rectify;
} convolution;

/* P positions of one row, B blocks of outputs: image at the first position's corner, weights, units, bias, out and
 * (NULL: none) what is added at the first of the outputs. P and B are constants where this is inlined. */
PYCLNF_INLINE void convolve_columns(const int P, const int B, const convolution *c, const float *image,
                                    const weight *weights, const float *units, const float *bias,
                                    const float *added, float *out)
{
    channels sums[MOST_BLOCKS * SLICES][MOST_COLUMNS];
    const ptrdiff_t step = c->stride * c->inputs, along = c->kernel * c->inputs;
    const ptrdiff_t block = c->kernel * along * CHANNELS;
    ptrdiff_t y, x;
#ifdef __GNUC__
#pragma GCC unroll 8
#endif
    for (int s = 0; s < B * SLICES; ++s) {
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
        for (int p = 0; p < P; ++p) sums[s][p] = splat_channels(0.0f);
    }
    for (y = 0; y < c->kernel; ++y) {
        const float *pixels = image + y * c->columns * c->inputs;
        /* The columns of the kernel and their channels lie one after the other in both. */
        for (x = 0; x < along; ++x, ++pixels, weights += CHANNELS) {
            channels w[MOST_BLOCKS * SLICES];
#ifdef __GNUC__
#pragma GCC unroll 8
#endif
            for (int s = 0; s < B * SLICES; ++s) {
                w[s] = widen_channels(weights + s / SLICES * block + s % SLICES * WIDTH);
            }
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
            for (int p = 0; p < P; ++p) {
                const channels pixel = splat_channels(pixels[p * step]);
#ifdef __GNUC__
#pragma GCC unroll 8
#endif
                for (int s = 0; s < B * SLICES; ++s) sums[s][p] = muladd_channels(pixel, w[s], sums[s][p]);
            }
        }
    }
#ifdef __GNUC__
#pragma GCC unroll 8
#endif
    for (int s = 0; s < B * SLICES; ++s) {
        const channels unit = load_channels(units + s * WIDTH), offset = load_channels(bias + s * WIDTH);
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
        for (int p = 0; p < P; ++p) {
            channels sum = muladd_channels(unit, sums[s][p], offset);
            if (added) sum = add_channels(sum, load_channels(added + p * c->outputs + s * WIDTH));
            if (c->rectify) sum = rectified(sum);
            store_channels(out + p * c->outputs + s * WIDTH, sum);
        }
    }
}

typedef void (*convolve_function)(const convolution *, const float *, const weight *, const float *, const float *,
                                  const float *, float *);
#define DEFINE_CONVOLVE(P, B)                                                                                  \
    static void convolve_##P##_##B(const convolution *c, const float *image, const weight *weights,            \
                                   const float *units, const float *bias, const float *added, float *out)      \
    {                                                                                                          \
        convolve_columns(P, B, c, image, weights, units, bias, added, out);                                    \
    }
#define TO_2(DO, B) DO(1, B) DO(2, B)
#define TO_6(DO, B) TO_2(DO, B) DO(3, B) DO(4, B) DO(5, B) DO(6, B)
#define TO_8(DO, B) TO_6(DO, B) DO(7, B) DO(8, B)
#define TO_12(DO, B) TO_8(DO, B) DO(9, B) DO(10, B) DO(11, B) DO(12, B)
#define NAME_CONVOLVE(P, B) convolve_##P##_##B,
#if MOST_BLOCKS == 4
TO_12(DEFINE_CONVOLVE, 1)
TO_12(DEFINE_CONVOLVE, 2)
TO_8(DEFINE_CONVOLVE, 3)
TO_6(DEFINE_CONVOLVE, 4)
#elif MOST_COLUMNS == 6
TO_6(DEFINE_CONVOLVE, 1)
#else
TO_2(DEFINE_CONVOLVE, 1)
#endif
static const convolve_function CONVOLVE[MOST_BLOCKS + 1][MOST_COLUMNS + 1] = {
    {NULL},
#if MOST_BLOCKS == 4
    {NULL, TO_12(NAME_CONVOLVE, 1)},
    {NULL, TO_12(NAME_CONVOLVE, 2)},
    {NULL, TO_8(NAME_CONVOLVE, 3)},
    {NULL, TO_6(NAME_CONVOLVE, 4)},
#elif MOST_COLUMNS == 6
    {NULL, TO_6(NAME_CONVOLVE, 1)},
#else
    {NULL, TO_2(NAME_CONVOLVE, 1)},
#endif
};

/* Blocks that are worked on at once, of those that are left: few positions leave registers for more. */
static ptrdiff_t blocks_at_once(ptrdiff_t left, ptrdiff_t columns)
{
    ptrdiff_t blocks = MOST_BLOCKS < left ? MOST_BLOCKS : left;
    if (blocks > 2 && columns > 2) blocks = left % 2 ? 3 : 2;
    return blocks < left ? blocks : left;
}

/* A whole layer: image (padded), out (rows, columns, outputs), added as out or NULL. scratch has room for the
 * weights of a block if WIDENS_BLOCKS. */
static void convolve_image(const convolution *c, const float *image, const signed char *weights, const float *units,
                           const float *bias, const float *added, ptrdiff_t rows, ptrdiff_t columns, float *scratch,
                           float *out)
{
    const ptrdiff_t block = c->kernel * c->kernel * c->inputs * CHANNELS;
    ptrdiff_t first, i, many;
    for (first = 0; first < c->outputs; first += many * CHANNELS) {
#if WIDENS_BLOCKS
        const float *own = scratch;
        widen_block(weights + first / CHANNELS * block, block, scratch);
#else
        const signed char *own = weights + first / CHANNELS * block;
        (void)scratch;
#endif
        many = blocks_at_once((c->outputs - first) / CHANNELS, columns);
        for (i = 0; i < rows; ++i) {
            const float *corner = image + i * c->stride * c->columns * c->inputs;
            ptrdiff_t at = i * columns * c->outputs + first, left = columns;
            ptrdiff_t n = (columns + COLUMNS_OF[many] - 1) / COLUMNS_OF[many];
            for (; n > 0; --n) {
                /* Parts of nearly equal size. */
                const ptrdiff_t p = (left + n - 1) / n;
                CONVOLVE[many][p](c, corner, own, units + first, bias + first, added ? added + at : NULL, out + at);
                corner += p * c->stride * c->inputs;
                at += p * c->outputs;
                left -= p;
            }
        }
    }
}

#endif
