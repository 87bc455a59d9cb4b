/* Sobel gradient magnitude of one area, border replicated.
 *
 * Each pixel by the same sums in the same order, inside and at the border; the loops over the
 * inside have no conditions, so that compilers vectorise them.
 */
#ifndef PYCLNF_SOBEL_H
#define PYCLNF_SOBEL_H

#include "lanes.h"

PYCLNF_INLINE float sobel_pixel(const float *up, const float *mid, const float *down, ptrdiff_t left,
                                ptrdiff_t at, ptrdiff_t right)
{
    const float gx = (up[right] - up[left]) + 2.0f * (mid[right] - mid[left]) + (down[right] - down[left]);
    const float gy = (down[left] - up[left]) + 2.0f * (down[at] - up[at]) + (down[right] - up[right]);
    return sqrtf(gx * gx + gy * gy);
}

PYCLNF_INLINE void sobel_columns(const float *up, const float *mid, const float *down, ptrdiff_t from, ptrdiff_t to,
                                 float *row)
{
    ptrdiff_t j;
    for (j = from; j < to; ++j) row[j] = sobel_pixel(up, mid, down, j - 1, j, j + 1);
}

static void sobel_area(const float *PYCLNF_RESTRICT area, ptrdiff_t rows, ptrdiff_t cols,
                       float *PYCLNF_RESTRICT out)
{
    const ptrdiff_t last = cols - 1, inner = (rows - 1) * cols;
    ptrdiff_t i, j;
    /* Of the rows inside all pixels in one go: those at the ends of rows, which come out wrong, follow. */
    for (j = 1; j + 1 < inner - cols; ++j) {
        out[cols + j] = sobel_pixel(area, area + cols, area + 2 * cols, j - 1, j, j + 1);
    }
    for (i = 0; i < rows; ++i) {
        const float *mid = area + i * cols;
        const float *up = i > 0 ? mid - cols : mid;
        const float *down = i + 1 < rows ? mid + cols : mid;
        float *row = out + i * cols;
        row[0] = sobel_pixel(up, mid, down, 0, 0, last > 0 ? 1 : 0);
        if (i == 0 || i + 1 == rows) sobel_columns(up, mid, down, 1, last, row);
        if (last > 0) row[last] = sobel_pixel(up, mid, down, last - 1, last, last);
    }
}

#endif
