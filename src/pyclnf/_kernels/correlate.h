/* Correlation of an area with eight neurons' weights at once.
 *
 * The lanes are the neurons: weights lie (row, column, neuron), each pixel is
 * read once a position and multiplied into all eight sums. P positions of one
 * row are kept in registers; the compiler unrolls the loops over them.
 *
 * Neurons of two kinds may share a block: then the even lanes work on one plane and the odd
 * lanes on another, and the area holds the pixels of both in turn.
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

/* P and PLANES are constants where this is inlined. The sums are variables of their own rather than
 * an array, which compilers would keep in memory. */
PYCLNF_INLINE void correlate_positions(const int P, const int PLANES, const float *area, ptrdiff_t side,
                                       const float *weights, ptrdiff_t rows, ptrdiff_t cols, float *out)
{
    const floats zero = splat8(0.0f);
    floats s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero;
    floats s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero, s12 = zero;
    ptrdiff_t x, y;
    for (y = 0; y < rows; ++y) {
        const float *pixels = area + y * side * PLANES;
        for (x = 0; x < cols; ++x, pixels += PLANES, weights += LANES) {
            const floats w = load8(weights);
#define PIXEL(i) (PLANES == 2 ? splat_pair8(pixels + 2 * i) : splat8(pixels[i]))
#define ADD_POSITION(i) if (P > i) s##i = muladd8(PIXEL(i), w, s##i);
            FOR_EACH_POSITION(ADD_POSITION)
        }
    }
#define STORE_POSITION(i) if (P > i) store8(out + i * LANES, s##i);
    FOR_EACH_POSITION(STORE_POSITION)
}

#define DEFINE_CORRELATE(P)                                                                            \
    static void correlate_##P(const float *area, ptrdiff_t side, const float *weights, ptrdiff_t rows, \
                              ptrdiff_t cols, float *out)                                              \
    {                                                                                                  \
        correlate_positions(P, 1, area, side, weights, rows, cols, out);                               \
    }                                                                                                  \
    static void correlate_pair_##P(const float *area, ptrdiff_t side, const float *weights,            \
                                   ptrdiff_t rows, ptrdiff_t cols, float *out)                         \
    {                                                                                                  \
        correlate_positions(P, 2, area, side, weights, rows, cols, out);                               \
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

typedef void (*correlate_function)(const float *, ptrdiff_t, const float *, ptrdiff_t, ptrdiff_t, float *);

#define BOTH(P) {correlate_##P, correlate_pair_##P}
static const correlate_function CORRELATE[][2] = {
    {NULL, NULL}, BOTH(1), BOTH(2), BOTH(3), BOTH(4), BOTH(5), BOTH(6),
#if MAX_POSITIONS > 6
    BOTH(7), BOTH(8), BOTH(9), BOTH(10), BOTH(11), BOTH(12), BOTH(13),
#endif
};

/* One row of `count` window positions: out is (count, 8). */
PYCLNF_INLINE void correlate_row(const float *area, ptrdiff_t planes, ptrdiff_t side, const float *weights,
                                 ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t count, float *out)
{
    ptrdiff_t blocks = (count + MAX_POSITIONS - 1) / MAX_POSITIONS;
    while (blocks > 0) {
        /* Blocks of nearly equal size: a block of one or two positions would leave the units idle. */
        ptrdiff_t p = (count + blocks - 1) / blocks;
        CORRELATE[p][planes - 1](area, side, weights, rows, cols, out);
        area += p * planes;
        out += p * LANES;
        count -= p;
        --blocks;
    }
}

/* Sum over the eight neurons of 2 alpha sigmoid(gain * sum + bias); a mean and a norm for each plane. */
PYCLNF_INLINE float neuron_sum(const float *sums, const float *weight_sums, ptrdiff_t planes,
                               const float *means, const float *inverse_norms, const float *norm_weights,
                               const float *biases, const float *alphas)
{
    const floats mean = planes == 2 ? splat_pair8(means) : splat8(means[0]);
    const floats inverse_norm = planes == 2 ? splat_pair8(inverse_norms) : splat8(inverse_norms[0]);
    floats c = muladd8(mul8(load8(weight_sums), splat8(-1.0f)), mean, load8(sums));
    floats x = muladd8(mul8(c, inverse_norm), load8(norm_weights), load8(biases));
    return 2.0f * sum8(mul8(load8(alphas), sigmoid8(x)));
}

/* Put two arrays into one, a number of each in turn. */
static void interleave(const float *PYCLNF_RESTRICT a, const float *PYCLNF_RESTRICT b, ptrdiff_t n,
                       float *PYCLNF_RESTRICT out)
{
    ptrdiff_t i;
    for (i = 0; i < n; ++i) {
        out[2 * i] = a[i];
        out[2 * i + 1] = b[i];
    }
}

/* Places that an array of n numbers needs so that it can be worked on four at a time. */
#define PADDED4(n) (((n) + 3) / 4 * 4)

/* Take the mean off an area: the patch's own mean is removed later, but the correlation's float32
 * sums then stay small, so that little is lost when they cancel. */
static void centre_area(const float *PYCLNF_RESTRICT area, ptrdiff_t size, float *PYCLNF_RESTRICT centred)
{
    floats sums = splat8(0.0f);
    float total = 0.0f, mean;
    ptrdiff_t i;
    for (i = 0; i + LANES <= size; i += LANES) sums = add8(sums, load8(area + i));
    for (; i < size; ++i) total += area[i];
    mean = (sum8(sums) + total) / (float)size;
    for (i = 0; i < size; ++i) centred[i] = area[i] - mean;
}

/* Mean and 1 / norm of the patch (rows, cols) at each position of a (window, window) map.
 *
 * Sums down the columns run from row to row; those along the rows are added up afresh.
 * `flat`: a patch whose squared norm is below this share of its squared length is flat, and the
 * norm 1. The area and both results need three more places than they have numbers, as all is
 * done four at a time; scratch has 2 * PADDED4(side + 3) places. */
static void window_statistics(const float *area, ptrdiff_t side, ptrdiff_t rows, ptrdiff_t cols,
                              ptrdiff_t window, double flat, double *scratch, float *means,
                              float *inverse_norms)
{
    double *sums = scratch, *squares = sums + PADDED4(side + 3);
    const double share = 1.0 / ((double)rows * (double)cols);
    ptrdiff_t i, j, x, y;
    for (j = 0; j < 2 * PADDED4(side + 3); ++j) scratch[j] = 0.0;
    for (y = 0; y < rows - 1; ++y) {
        for (j = 0; j < side; j += 4) {
            const doubles p = widen4(area + y * side + j);
            store4(sums + j, add4(load4(sums + j), p));
            store4(squares + j, muladd4(p, p, load4(squares + j)));
        }
    }
    for (i = 0; i < window; ++i) {
        for (j = 0; j < side; j += 4) {
            const doubles p = widen4(area + (i + rows - 1) * side + j);
            store4(sums + j, add4(load4(sums + j), p));
            store4(squares + j, muladd4(p, p, load4(squares + j)));
        }
        for (j = 0; j < window; j += 4) {
            doubles total = splat4(0.0), total_squares = splat4(0.0), mean;
            for (x = j; x < j + cols; ++x) {
                total = add4(total, load4(sums + x));
                total_squares = add4(total_squares, load4(squares + x));
            }
            mean = mul4(total, splat4(share));
            narrow4(means + i * window + j, mean);
            narrow4(inverse_norms + i * window + j,
                    inverse_root4(sub4(total_squares, mul4(total, mean)), mul4(total_squares, splat4(flat))));
        }
        for (j = 0; j < side; j += 4) {
            const doubles p = widen4(area + i * side + j);
            store4(sums + j, sub4(load4(sums + j), p));
            store4(squares + j, sub4(load4(squares + j), mul4(p, p)));
        }
    }
}

/* The same where one mean and norm, of the whole area, serve all positions. */
static void area_statistics(const float *area, ptrdiff_t size, ptrdiff_t positions, double flat, float *means,
                            float *inverse_norms)
{
    double total = 0.0, squares = 0.0, mean, norm;
    ptrdiff_t i;
    for (i = 0; i < size; ++i) {
        total += area[i];
        squares += (double)area[i] * area[i];
    }
    mean = total / size;
    norm = squares - total * mean;
    norm = norm > flat * squares ? 1.0 / sqrt(norm) : 1.0;
    for (i = 0; i < positions; ++i) {
        means[i] = (float)mean;
        inverse_norms[i] = (float)norm;
    }
}

#endif
