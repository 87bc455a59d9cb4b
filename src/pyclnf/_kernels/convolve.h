/* Convolution of an image of several channels, for small networks.
 *
 * Numbers lie (row, column, channel), weights (row, column, input, output). The lanes are output channels;
 * the sums of some positions of a row are kept in registers, so that each weight is read once for all of
 * them. A lane adds in the same order whatever their number. */
#ifndef PYCLNF_CONVOLVE_H
#define PYCLNF_CONVOLVE_H

#include "lanes.h"

/* Output channels that are worked on at once. */
#define CHANNELS 16

#if defined(__AVX512F__)
typedef __m512 channels;
#define SLICES 1
#define MOST_COLUMNS 12
PYCLNF_INLINE channels load_channels(const float *p) { return _mm512_loadu_ps(p); }
PYCLNF_INLINE void store_channels(float *p, channels v) { _mm512_storeu_ps(p, v); }
PYCLNF_INLINE channels splat_channels(float s) { return _mm512_set1_ps(s); }
PYCLNF_INLINE channels add_channels(channels a, channels b) { return _mm512_add_ps(a, b); }
PYCLNF_INLINE channels muladd_channels(channels a, channels b, channels c) { return _mm512_fmadd_ps(a, b, c); }
/* max(v, 0); NaN stays NaN. */
PYCLNF_INLINE channels rectified(channels v) { return _mm512_max_ps(_mm512_setzero_ps(), v); }
#else
typedef floats channels;
#define SLICES 2
#if defined(__AVX2__)
#define MOST_COLUMNS 6
#else
#define MOST_COLUMNS 2
#endif
PYCLNF_INLINE channels load_channels(const float *p) { return load8(p); }
PYCLNF_INLINE void store_channels(float *p, channels v) { store8(p, v); }
PYCLNF_INLINE channels splat_channels(float s) { return splat8(s); }
PYCLNF_INLINE channels add_channels(channels a, channels b) { return add8(a, b); }
PYCLNF_INLINE channels muladd_channels(channels a, channels b, channels c) { return muladd8(a, b, c); }
PYCLNF_INLINE channels rectified(channels v) { return clip8(v, 0.0f, INFINITY); }
#endif

#define WIDTH (CHANNELS / SLICES)

typedef struct {
    ptrdiff_t kernel, stride, inputs, outputs, columns; /* columns: of the padded image */
    int rectify;
} convolution;

/* P positions of one row, CHANNELS outputs: image at the first position's corner, weights, bias, out and
 * (NULL: none) what is added at the first of the outputs. P is a constant where this is inlined. */
PYCLNF_INLINE void convolve_columns(const int P, const convolution *c, const float *image, const float *weights,
                                    const float *bias, const float *added, float *out)
{
    channels sums[MOST_COLUMNS][SLICES];
    const ptrdiff_t step = c->stride * c->inputs;
    ptrdiff_t y, x;
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
    for (int p = 0; p < P; ++p) {
        for (int s = 0; s < SLICES; ++s) sums[p][s] = load_channels(bias + s * WIDTH);
    }
    for (y = 0; y < c->kernel; ++y) {
        const float *pixels = image + y * c->columns * c->inputs;
        /* The columns of the kernel and their channels lie one after the other in both. */
        for (x = 0; x < c->kernel * c->inputs; ++x, ++pixels, weights += c->outputs) {
            channels w[SLICES];
            for (int s = 0; s < SLICES; ++s) w[s] = load_channels(weights + s * WIDTH);
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
            for (int p = 0; p < P; ++p) {
                const channels pixel = splat_channels(pixels[p * step]);
                for (int s = 0; s < SLICES; ++s) sums[p][s] = muladd_channels(pixel, w[s], sums[p][s]);
            }
        }
    }
#ifdef __GNUC__
#pragma GCC unroll 12
#endif
    for (int p = 0; p < P; ++p) {
        for (int s = 0; s < SLICES; ++s) {
            channels sum = sums[p][s];
            if (added) sum = add_channels(sum, load_channels(added + p * c->outputs + s * WIDTH));
            if (c->rectify) sum = rectified(sum);
            store_channels(out + p * c->outputs + s * WIDTH, sum);
        }
    }
}

#define DEFINE_CONVOLVE(P)                                                                              \
    static void convolve_##P(const convolution *c, const float *image, const float *weights,            \
                             const float *bias, const float *added, float *out)                         \
    {                                                                                                   \
        convolve_columns(P, c, image, weights, bias, added, out);                                       \
    }
DEFINE_CONVOLVE(1)
DEFINE_CONVOLVE(2)
#if MOST_COLUMNS > 2
DEFINE_CONVOLVE(3)
DEFINE_CONVOLVE(4)
DEFINE_CONVOLVE(5)
DEFINE_CONVOLVE(6)
#endif
#if MOST_COLUMNS > 6
DEFINE_CONVOLVE(7)
DEFINE_CONVOLVE(8)
DEFINE_CONVOLVE(9)
DEFINE_CONVOLVE(10)
DEFINE_CONVOLVE(11)
DEFINE_CONVOLVE(12)
#endif

typedef void (*convolve_function)(const convolution *, const float *, const float *, const float *, const float *,
                                  float *);
static const convolve_function CONVOLVE[] = {
    NULL, convolve_1, convolve_2,
#if MOST_COLUMNS > 2
    convolve_3, convolve_4, convolve_5, convolve_6,
#endif
#if MOST_COLUMNS > 6
    convolve_7, convolve_8, convolve_9, convolve_10, convolve_11, convolve_12,
#endif
};

/* A whole layer: image (padded), out (rows, columns, outputs), added as out or NULL. */
static void convolve_image(const convolution *c, const float *image, const float *weights, const float *bias,
                           const float *added, ptrdiff_t rows, ptrdiff_t columns, float *out)
{
    const ptrdiff_t blocks = (columns + MOST_COLUMNS - 1) / MOST_COLUMNS;
    ptrdiff_t first, i;
    for (first = 0; first < c->outputs; first += CHANNELS) {
        for (i = 0; i < rows; ++i) {
            const float *corner = image + i * c->stride * c->columns * c->inputs;
            ptrdiff_t at = i * columns * c->outputs + first, left = columns, n;
            for (n = blocks; n > 0; --n) {
                /* Blocks of nearly equal size. */
                const ptrdiff_t p = (left + n - 1) / n;
                CONVOLVE[p](c, corner, weights + first, bias + first, added ? added + at : NULL, out + at);
                corner += p * c->stride * c->inputs;
                at += p * c->outputs;
                left -= p;
            }
        }
    }
}

#endif
