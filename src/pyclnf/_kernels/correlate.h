/* Correlation of an area with eight neurons' weights at once.
 *
 * The lanes are the neurons: weights lie (row, column, neuron), each pixel is
 * read once a position and multiplied into all eight sums. P positions of one
 * row are kept in registers; the compiler unrolls the loops over them.
 */
#ifndef PYCLNF_CORRELATE_H
#define PYCLNF_CORRELATE_H

#include "lanes.h"

/* As many accumulators as the registers hold: sixteen of eight floats with
 * AVX, sixteen of four floats (half as many positions) without. */
#if defined(__AVX2__)
#define MAX_POSITIONS 12
#else
#define MAX_POSITIONS 6
#endif

#define DEFINE_CORRELATE(P)                                                                    \
    static void correlate_##P(const float *area, ptrdiff_t side, const float *weights, int rows, \
                              int cols, float *out)                                            \
    {                                                                                          \
        floats sums[P];                                                                        \
        int i, x, y;                                                                           \
        for (i = 0; i < P; ++i) sums[i] = splat8(0.0f);                                        \
        for (y = 0; y < rows; ++y) {                                                           \
            const float *pixels = area + y * side;                                             \
            for (x = 0; x < cols; ++x, ++pixels, weights += LANES) {                           \
                const floats w = load8(weights);                                               \
                for (i = 0; i < P; ++i) sums[i] = muladd8(splat8(pixels[i]), w, sums[i]);      \
            }                                                                                  \
        }                                                                                      \
        for (i = 0; i < P; ++i) store8(out + i * LANES, sums[i]);                              \
    }

DEFINE_CORRELATE(1)
DEFINE_CORRELATE(2)
DEFINE_CORRELATE(3)
DEFINE_CORRELATE(4)
DEFINE_CORRELATE(5)
DEFINE_CORRELATE(6)
#if MAX_POSITIONS > 6
DEFINE_CORRELATE(7)
DEFINE_CORRELATE(8)
DEFINE_CORRELATE(9)
DEFINE_CORRELATE(10)
DEFINE_CORRELATE(11)
DEFINE_CORRELATE(12)
#endif

typedef void (*correlate_function)(const float *, ptrdiff_t, const float *, int, int, float *);

static const correlate_function CORRELATE[] = {
    NULL, correlate_1, correlate_2, correlate_3, correlate_4, correlate_5, correlate_6,
#if MAX_POSITIONS > 6
    correlate_7, correlate_8, correlate_9, correlate_10, correlate_11, correlate_12,
#endif
};

/* One row of `count` window positions: out is (count, 8). */
PYCLNF_INLINE void correlate_row(const float *area, ptrdiff_t side, const float *weights, int rows,
                                 int cols, int count, float *out)
{
    int blocks = (count + MAX_POSITIONS - 1) / MAX_POSITIONS;
    while (blocks > 0) {
        /* Blocks of nearly equal size: a block of one or two positions would leave the units idle. */
        int p = (count + blocks - 1) / blocks;
        CORRELATE[p](area, side, weights, rows, cols, out);
        area += p;
        out += p * LANES;
        count -= p;
        --blocks;
    }
}

/* Sum over the eight neurons of 2 alpha sigmoid(gain * sum + bias). */
PYCLNF_INLINE float neuron_sum(const float *sums, const float *weight_sums, float mean, float inverse_norm,
                               const float *norm_weights, const float *biases, const float *alphas)
{
    floats c = muladd8(load8(weight_sums), splat8(-mean), load8(sums));
    floats x = muladd8(mul8(c, splat8(inverse_norm)), load8(norm_weights), load8(biases));
    return 2.0f * sum8(mul8(load8(alphas), sigmoid8(x)));
}

/* Rows of four columns of the symmetric product J' diag(w) J, upper triangle by tiles.
 *
 * J is (rows, stride) with stride a multiple of 4 and zeros beyond p; H is (stride, stride).
 */
PYCLNF_INLINE void weighted_gram(const double *J, const double *w, int rows, int stride, double *H)
{
    int a, b, r, i;
    for (a = 0; a < stride; a += 4) {
        for (b = a; b < stride; b += 8) {
            const int wide = b + 4 < stride;
            doubles left[4], right[4];
            for (i = 0; i < 4; ++i) left[i] = right[i] = splat4(0.0);
            for (r = 0; r < rows; ++r) {
                const double *row = J + (ptrdiff_t)r * stride;
                const doubles u = load4(row + b);
                const doubles v = wide ? load4(row + b + 4) : splat4(0.0);
                for (i = 0; i < 4; ++i) {
                    const doubles s = splat4(row[a + i] * w[r]);
                    left[i] = muladd4(s, u, left[i]);
                    right[i] = muladd4(s, v, right[i]);
                }
            }
            for (i = 0; i < 4; ++i) {
                store4(H + (ptrdiff_t)(a + i) * stride + b, left[i]);
                if (wide) store4(H + (ptrdiff_t)(a + i) * stride + b + 4, right[i]);
            }
        }
    }
}

#endif
