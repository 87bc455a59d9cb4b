/* Parts of the cascade of regression trees: the shape, the pool of pixels and the trees of one stage.
 *
 * What depends on the crop's memory is read in one loop, all arithmetic is done in others,
 * which compilers vectorise.
 */
#ifndef PYCLNF_CASCADE_H
#define PYCLNF_CASCADE_H

#include "lanes.h"

/* sum += scale * v */
static void add_scaled(double scale, const double *PYCLNF_RESTRICT v, ptrdiff_t n, double *PYCLNF_RESTRICT sum)
{
    ptrdiff_t i;
    for (i = 0; i < n; ++i) sum[i] += scale * v[i];
}

/* Image coordinates (x1..xn, y1..yn) of a shape (X1..Xn, Y1..Yn, Z1..Zn). */
static void project(const double *PYCLNF_RESTRICT shape, ptrdiff_t n, const double *R, double scale, double tx,
                    double ty, double *PYCLNF_RESTRICT x, double *PYCLNF_RESTRICT y)
{
    const double *PYCLNF_RESTRICT X = shape, *PYCLNF_RESTRICT Y = shape + n, *PYCLNF_RESTRICT Z = shape + 2 * n;
    ptrdiff_t i;
    for (i = 0; i < n; ++i) x[i] = scale * (R[0] * X[i] + R[1] * Y[i] + R[2] * Z[i]) + tx;
    for (i = 0; i < n; ++i) y[i] = scale * (R[3] * X[i] + R[4] * Y[i] + R[5] * Z[i]) + ty;
}

/* One coordinate of the pool: of each pixel's landmark, and (a, b) times the offset (u, v) from it. */
static void pool_coordinates(const double *landmarks, const uint8_t *PYCLNF_RESTRICT which,
                             const float *PYCLNF_RESTRICT offsets, double a, double b, double scale,
                             ptrdiff_t count, double *PYCLNF_RESTRICT out)
{
    ptrdiff_t i;
    for (i = 0; i < count; ++i) out[i] = landmarks[which[i]];
    for (i = 0; i < count; ++i) out[i] += scale * (a * offsets[2 * i] + b * offsets[2 * i + 1]);
}

/* The first of two neighbours (at most `last` - 1) and the share of the second, of positions in 0..last. */
static void split_coordinates(const double *PYCLNF_RESTRICT at, ptrdiff_t count, int32_t last,
                              int32_t *PYCLNF_RESTRICT first, float *PYCLNF_RESTRICT share)
{
    const double high = last;
    ptrdiff_t i;
    for (i = 0; i < count; ++i) {
        /* 0 for NaN, too. */
        const double bounded = at[i] > 0.0 ? at[i] : 0.0;
        const float x = (float)(bounded < high ? bounded : high);
        const int32_t whole = (int32_t)x;
        first[i] = whole < last ? whole : last - 1;
        share[i] = x - (float)first[i];
    }
}

/* The four values of the crop (side, side) around each pixel (x, y) in one number: it, the next one, and those below;
 * the first in the lowest bits. */
static void read_packed(const uint8_t *crop, ptrdiff_t side, ptrdiff_t count, const int32_t *x, const int32_t *y,
                        uint32_t *PYCLNF_RESTRICT packed)
{
    ptrdiff_t i;
    for (i = 0; i < count; ++i) {
        const uint8_t *p = crop + (y[i] * side + x[i]), *q = p + side;
        packed[i] = (uint32_t)(p[0] | p[1] << 8) | (uint32_t)(q[0] | q[1] << 8) << 16;
    }
}

/* The crop's values (side, side), bilinear, at pixels (x, y) and shares (u, v) of the next ones. */
static void read_pool(const uint8_t *crop, ptrdiff_t side, ptrdiff_t count, const int32_t *x, const int32_t *y,
                      const float *PYCLNF_RESTRICT u, const float *PYCLNF_RESTRICT v,
                      uint32_t *PYCLNF_RESTRICT packed, float *PYCLNF_RESTRICT pool)
{
    ptrdiff_t i;
    read_packed(crop, side, count, x, y, packed);
    for (i = 0; i < count; ++i) {
        const int32_t four = (int32_t)packed[i];
        const float upper = (float)(four & 255) * (1 - u[i]) + (float)((four >> 8) & 255) * u[i];
        const float lower = (float)((four >> 16) & 255) * (1 - u[i]) + (float)((four >> 24) & 255) * u[i];
        pool[i] = upper * (1 - v[i]) + lower * v[i];
    }
}

/* Divide the pool by its standard deviation plus `contrast`. */
static void normalise_pool(float *PYCLNF_RESTRICT pool, ptrdiff_t count, double contrast)
{
    doubles sums = splat4(0.0), squares = sums;
    double average = 0.0, spread = 0.0;
    ptrdiff_t i;
    for (i = 0; i + 4 <= count; i += 4) sums = add4(sums, widen4(pool + i));
    for (; i < count; ++i) average += pool[i];
    average = (sum4(sums) + average) / (double)count;
    for (i = 0; i + 4 <= count; i += 4) {
        const doubles difference = sub4(widen4(pool + i), splat4(average));
        squares = muladd4(difference, difference, squares);
    }
    for (; i < count; ++i) spread += (pool[i] - average) * (pool[i] - average);
    spread = sqrt((sum4(squares) + spread) / (double)count) + contrast;
    for (i = 0; i < count; ++i) pool[i] = (float)(pool[i] / spread);
}

/* Add a leaf of eight-bit numbers. */
static void add_leaf(const signed char *PYCLNF_RESTRICT leaf, ptrdiff_t width, int32_t *PYCLNF_RESTRICT sum)
{
    ptrdiff_t j;
    for (j = 0; j < width; ++j) sum[j] += leaf[j];
}

/* Sum of the leaves that the trees of one stage come to; exact, as all are whole numbers.
 *
 * The leaves are many and seldom in the cache: each is asked for as soon as it is known, and all are
 * added up afterwards. `found` has a place for each tree. */
static void run_trees(const float *pool, const uint16_t *splits, const float *thresholds, const signed char *leaves,
                      ptrdiff_t trees, ptrdiff_t nodes, ptrdiff_t width, int32_t *found, int32_t *sum)
{
    ptrdiff_t tree, node;
    for (tree = 0; tree < trees; ++tree) {
        const signed char *leaf;
        for (node = 0; node < nodes;) {
            const float difference = pool[splits[2 * node]] - pool[splits[2 * node + 1]];
            node = 2 * node + 1 + (difference > thresholds[node]);
        }
        found[tree] = (int32_t)(node - nodes);
        leaf = leaves + (tree * (nodes + 1) + node - nodes) * width;
        PYCLNF_PREFETCH(leaf);
        PYCLNF_PREFETCH(leaf + width - 1);
        splits += 2 * nodes;
        thresholds += nodes;
    }
    memset(sum, 0, width * sizeof(int32_t));
    for (tree = 0; tree < trees; ++tree) add_leaf(leaves + (tree * (nodes + 1) + found[tree]) * width, width, sum);
}

#endif
