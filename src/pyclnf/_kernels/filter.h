/* Convolution of images of several channels with small filters, for a detector's networks.
 *
 * Numbers are floats and lie (row, column, channel). Weights lie in blocks of sixteen filters, (block, row, number,
 * filter), where the columns of a row and their channels are numbered one after the other. The lanes are the filters:
 * the sums of some places of a row are kept in registers, so that each weight is read once for all of them. */
#ifndef PYCLNF_FILTER_H
#define PYCLNF_FILTER_H

#include "lanes.h"

/* Filters of a block, and the registers that hold a number of each. */
#define FILTERS 16
#define PARTS (FILTERS / BROAD)

/* So many places of a row at once: their sums leave room for the weights and a pixel. */
#if defined(__AVX512F__)
#define MOST_PLACES 12
#elif defined(__AVX2__) || defined(__aarch64__)
#define MOST_PLACES 6
#else
#define MOST_PLACES 2
#endif

#define FOR_EACH_PLACE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

/* Some places of a row, whose sums are put down one after the other. P is a constant where this is inlined. The sums are
 * variables of their own rather than arrays, which compilers would keep in memory: a of a block's first filters, b of
 * the others, where a register does not hold all. */
PYCLNF_INLINE void filter_places(const int P, const float *pixels, ptrdiff_t line, ptrdiff_t channels,
                                 const float *weights, ptrdiff_t rows, ptrdiff_t along, float *found)
{
    const broad zero = splat_broad(0.0f);
    broad a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero;
    broad a6 = zero, a7 = zero, a8 = zero, a9 = zero, a10 = zero, a11 = zero;
    broad b0 = zero, b1 = zero, b2 = zero, b3 = zero, b4 = zero, b5 = zero;
    broad b6 = zero, b7 = zero, b8 = zero, b9 = zero, b10 = zero, b11 = zero;
    ptrdiff_t y, x;
    for (y = 0; y < rows; ++y) {
        const float *from = pixels + y * line;
        for (x = 0; x < along; ++x, ++from, weights += FILTERS) {
            const broad first = load_broad(weights), others = PARTS > 1 ? load_broad(weights + BROAD) : first;
#define ADD_PLACE(i)                                                  \
    if (P > i) {                                                      \
        const broad pixel = splat_broad(from[i * channels]);          \
        a##i = muladd_broad(pixel, first, a##i);                      \
        if (PARTS > 1) b##i = muladd_broad(pixel, others, b##i);      \
    }
            FOR_EACH_PLACE(ADD_PLACE)
        }
    }
#define STORE_PLACE(i)                                                        \
    if (P > i) {                                                              \
        store_broad(found + i * FILTERS, a##i);                               \
        if (PARTS > 1) store_broad(found + i * FILTERS + BROAD, b##i);        \
    }
    FOR_EACH_PLACE(STORE_PLACE)
}

typedef void (*filter_function)(const float *, ptrdiff_t, ptrdiff_t, const float *, ptrdiff_t, ptrdiff_t, float *);
#define DEFINE_FILTER(P)                                                                                              \
    static void filter_##P(const float *pixels, ptrdiff_t line, ptrdiff_t channels, const float *weights,             \
                           ptrdiff_t rows, ptrdiff_t along, float *found)                                             \
    {                                                                                                                 \
        filter_places(P, pixels, line, channels, weights, rows, along, found);                                        \
    }
DEFINE_FILTER(1)
DEFINE_FILTER(2)
#if MOST_PLACES >= 6
DEFINE_FILTER(3)
DEFINE_FILTER(4)
DEFINE_FILTER(5)
DEFINE_FILTER(6)
#endif
#if MOST_PLACES == 12
DEFINE_FILTER(7)
DEFINE_FILTER(8)
DEFINE_FILTER(9)
DEFINE_FILTER(10)
DEFINE_FILTER(11)
DEFINE_FILTER(12)
#endif
static const filter_function FILTER[MOST_PLACES + 1] = {
    NULL, filter_1, filter_2,
#if MOST_PLACES >= 6
    filter_3, filter_4, filter_5, filter_6,
#endif
#if MOST_PLACES == 12
    filter_7, filter_8, filter_9, filter_10, filter_11, filter_12,
#endif
};

/* What a layer says at a place: sum + bias, times the slope where that is negative; of the first `count` filters. */
PYCLNF_INLINE void say_place(const float *found, const float *biases, const float *slopes, ptrdiff_t count, float *out)
{
    ptrdiff_t first, j;
    for (first = 0; first < FILTERS && first < count; first += LANES) {
        const floats value = add8(load8(found + first), load8(biases + first)), zero = splat8(0.0f);
        const floats positive = max8(value, zero), negative = muladd8(positive, splat8(-1.0f), value);
        const floats said = muladd8(negative, load8(slopes + first), positive);
        if (first + LANES <= count) {
            store8(out + first, said);
        } else {
            float last[LANES];
            store8(last, said);
            for (j = first; j < count; ++j) out[j] = last[j - first];
        }
    }
}

/* One image (rows, line) with all filters: weights (blocks, height, along, FILTERS), biases and slopes
 * (blocks, FILTERS); out (out_rows, out_columns, filters). */
static void filter_image(const float *image, ptrdiff_t line, ptrdiff_t channels, const float *weights, ptrdiff_t height,
                         ptrdiff_t along, const float *biases, const float *slopes, ptrdiff_t out_rows,
                         ptrdiff_t out_columns, ptrdiff_t filters, float *out)
{
    const ptrdiff_t parts = (out_columns + MOST_PLACES - 1) / MOST_PLACES;
    float found[MOST_PLACES * FILTERS];
    ptrdiff_t i, first, n, p;
    for (i = 0; i < out_rows; ++i) {
        for (first = 0; first < filters; first += FILTERS) {
            const float *own = weights + first * height * along, *pixels = image + i * line;
            float *to = out + i * out_columns * filters + first;
            ptrdiff_t left = out_columns;
            for (n = parts; n > 0; --n) {
                /* Parts of nearly equal size. */
                const ptrdiff_t places = (left + n - 1) / n;
                FILTER[places](pixels, line, channels, own, height, along, found);
                for (p = 0; p < places; ++p, to += filters) {
                    say_place(found + p * FILTERS, biases + first, slopes + first, filters - first, to);
                }
                pixels += places * channels;
                left -= places;
            }
        }
    }
}

/* The greatest numbers of windows, 2 places apart, the first of which begins so many places before the image; what
 * lies outside does not count. */
static void pool_image(const float *image, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t channels, ptrdiff_t window,
                       ptrdiff_t rows_before, ptrdiff_t columns_before, ptrdiff_t out_rows, ptrdiff_t out_columns,
                       float *out)
{
    ptrdiff_t i, j, x, y, c;
    for (i = 0; i < out_rows; ++i) {
        const ptrdiff_t top = 2 * i - rows_before, bottom = top + window < rows ? top + window : rows;
        for (j = 0; j < out_columns; ++j, out += channels) {
            const ptrdiff_t left = 2 * j - columns_before, right = left + window < columns ? left + window : columns;
            const ptrdiff_t first_row = top > 0 ? top : 0, first_column = left > 0 ? left : 0;
            float *PYCLNF_RESTRICT most = out;
            memcpy(most, image + (first_row * columns + first_column) * channels, channels * sizeof(float));
            for (y = first_row; y < bottom; ++y) {
                for (x = first_column; x < right; ++x) {
                    const float *PYCLNF_RESTRICT from = image + (y * columns + x) * channels;
                    for (c = 0; c < channels; ++c) most[c] = from[c] > most[c] ? from[c] : most[c];
                }
            }
        }
    }
}

#endif
