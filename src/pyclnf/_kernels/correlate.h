/* Correlation of an area with eight neurons' weights at once.
 *
 * The lanes are the neurons: weights lie (row, column, neuron), each pixel is
 * read once a position and multiplied into all eight sums. P positions of one
 * row are kept in registers; the compiler unrolls the loops over them.
 */
#ifndef PYCLNF_CORRELATE_H
#define PYCLNF_CORRELATE_H

#include "lanes.h"

/* As many sums as the registers hold, with two left for the weights and the pixel: sixteen of
 * eight floats with AVX, sixteen of four floats (half as many positions) without. */
#if defined(__AVX2__)
#define MAX_POSITIONS 13
#else
#define MAX_POSITIONS 6
#endif

#define FOR_EACH_POSITION(DO) \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12)

/* P is a constant where this is inlined. The sums are variables of their own rather than an
 * array, which compilers would keep in memory. */
PYCLNF_INLINE void correlate_positions(const int P, const float *area, ptrdiff_t side, const float *weights,
                                       int rows, int cols, float *out)
{
    const floats zero = splat8(0.0f);
    floats s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero;
    floats s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero, s12 = zero;
    int x, y;
    for (y = 0; y < rows; ++y) {
        const float *pixels = area + y * side;
        for (x = 0; x < cols; ++x, ++pixels, weights += LANES) {
            const floats w = load8(weights);
#define ADD_POSITION(i) if (P > i) s##i = muladd8(splat8(pixels[i]), w, s##i);
            FOR_EACH_POSITION(ADD_POSITION)
        }
    }
#define STORE_POSITION(i) if (P > i) store8(out + i * LANES, s##i);
    FOR_EACH_POSITION(STORE_POSITION)
}

#define DEFINE_CORRELATE(P)                                                                      \
    static void correlate_##P(const float *area, ptrdiff_t side, const float *weights, int rows, \
                              int cols, float *out)                                              \
    {                                                                                            \
        correlate_positions(P, area, side, weights, rows, cols, out);                            \
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
DEFINE_CORRELATE(13)
#endif

typedef void (*correlate_function)(const float *, ptrdiff_t, const float *, int, int, float *);

static const correlate_function CORRELATE[] = {
    NULL, correlate_1, correlate_2, correlate_3, correlate_4, correlate_5, correlate_6,
#if MAX_POSITIONS > 6
    correlate_7, correlate_8, correlate_9, correlate_10, correlate_11, correlate_12, correlate_13,
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
    int a, b, r;
    for (a = 0; a < stride; a += 4) {
        for (b = a; b < stride; b += 8) {
            const int wide = b + 4 < stride;
            doubles l0 = splat4(0.0), l1 = l0, l2 = l0, l3 = l0, r0 = l0, r1 = l0, r2 = l0, r3 = l0;
            for (r = 0; r < rows; ++r) {
                const double *row = J + (ptrdiff_t)r * stride;
                const doubles u = load4(row + b);
                const doubles v = wide ? load4(row + b + 4) : splat4(0.0);
#define ADD_ROW(i)                                              \
    do {                                                        \
        const doubles s = splat4(row[a + i] * w[r]);            \
        l##i = muladd4(s, u, l##i);                             \
        r##i = muladd4(s, v, r##i);                             \
    } while (0)
                ADD_ROW(0);
                ADD_ROW(1);
                ADD_ROW(2);
                ADD_ROW(3);
            }
#define STORE_ROW(i)                                            \
    do {                                                        \
        double *target = H + (ptrdiff_t)(a + i) * stride + b;   \
        store4(target, l##i);                                   \
        if (wide) store4(target + 4, r##i);                     \
    } while (0)
            STORE_ROW(0);
            STORE_ROW(1);
            STORE_ROW(2);
            STORE_ROW(3);
        }
    }
}

#endif
