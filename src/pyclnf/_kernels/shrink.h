/* Images of several channels made smaller: each pixel of the result is the mean of the area that it covers.
 *
 * Edges of areas lie on a grid of 1/256 px, so that weights are whole numbers and every sum is exact: those down a
 * column in floats, those along a row in doubles. Every variant then gives the same bytes. */
#ifndef PYCLNF_SHRINK_H
#define PYCLNF_SHRINK_H

#include "lanes.h"

/* (An area has at most 256 rows, as 255 times STEPS times so many fits into the 24 bits of a float.) */
#define STEPS 256

/* The edge between the parts i - 1 and i of `count`, into which `length` pixels are divided; in steps. */
PYCLNF_INLINE ptrdiff_t edge_between(ptrdiff_t i, ptrdiff_t length, ptrdiff_t count)
{
    return (2 * i * length * STEPS + count) / (2 * count);
}

/* How much of a pixel lies between two edges, in steps. */
PYCLNF_INLINE ptrdiff_t covered(ptrdiff_t pixel, ptrdiff_t from, ptrdiff_t to)
{
    const ptrdiff_t first = pixel * STEPS > from ? pixel * STEPS : from;
    const ptrdiff_t last = (pixel + 1) * STEPS < to ? (pixel + 1) * STEPS : to;
    return last - first;
}

/* Numbers in the tables of `shrink`: a row's sums, some more that are read, and weights of columns. */
#define SHRINK_SUMS(columns, channels) ((columns) * (channels) + LANES)
#define SHRINK_WEIGHTS(columns, out_columns) ((columns) + (out_columns))

/* Where an area begins, how many columns it has, and one over its width in steps. */
typedef struct {
    ptrdiff_t first, count;
    double share;
} shrunk_column;

/* What the columns of the result cover; their weights one after the other. */
static void cover_columns(ptrdiff_t columns, ptrdiff_t out_columns, shrunk_column *covers, double *weights)
{
    ptrdiff_t j, x, left, right = 0;
    for (j = 0; j < out_columns; ++j) {
        left = right;
        right = edge_between(j + 1, columns, out_columns);
        for (x = left / STEPS; x * STEPS < right; ++x) *weights++ = (double)covered(x, left, right);
        covers[j].first = left / STEPS;
        covers[j].count = x - left / STEPS;
        covers[j].share = 1.0 / (double)(right - left);
    }
}

/* The sums of a row's area down its columns: of lines of `count` bytes, from one edge to another. */
static void sum_lines_between(const uint8_t *image, ptrdiff_t count, ptrdiff_t top, ptrdiff_t bottom,
                              float *PYCLNF_RESTRICT sums)
{
    ptrdiff_t y = top / STEPS, j;
    const uint8_t *line = image + y * count;
    const float first = (float)covered(y, top, bottom);
    for (j = 0; j < count; ++j) sums[j] = first * (float)line[j];
    for (++y; y * STEPS < bottom; ++y) {
        const float weight = (float)covered(y, top, bottom);
        line = image + y * count;
        for (j = 0; j < count; ++j) sums[j] += weight * (float)line[j];
    }
}

/* image (rows, columns, channels); out (out_rows, out_columns, channels), no larger.
 * sums, weights and covers have SHRINK_SUMS, SHRINK_WEIGHTS and out_columns places; the last of the sums must hold
 * numbers. */
static void shrink(const uint8_t *image, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t channels, ptrdiff_t out_rows,
                   ptrdiff_t out_columns, float *sums, double *weights, shrunk_column *covers,
                   uint8_t *out)
{
    ptrdiff_t i, j, k, c, top, bottom = 0;
    cover_columns(columns, out_columns, covers, weights);
    for (i = 0; i < out_rows; ++i) {
        const double *weight = weights;
        double share;
        top = bottom;
        bottom = edge_between(i + 1, rows, out_rows);
        share = 1.0 / (double)(bottom - top);
        sum_lines_between(image, columns * channels, top, bottom, sums);
        for (j = 0; j < out_columns; ++j, out += channels) {
            const float *from = sums + covers[j].first * channels;
            doubles total = splat4(0.0);
            double mean[4];
            for (k = 0; k < covers[j].count; ++k, from += channels) {
                total = muladd4(splat4(*weight++), widen4(from), total);
            }
            store4(mean, mul4(total, splat4(covers[j].share * share)));
            for (c = 0; c < channels; ++c) out[c] = (uint8_t)lrint(mean[c]);
        }
    }
}

#endif
