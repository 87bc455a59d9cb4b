/* Sums of a response map under a separable Gaussian. */
#ifndef PYCLNF_MEAN_SHIFT_H
#define PYCLNF_MEAN_SHIFT_H

#include "lanes.h"

/* Total, first moment along x and first moment along y of g[y] g[x] map[y][x].
 *
 * gy has 2w places: the Gaussian at each row, then the same times the row's number. Columns are
 * taken four at a time; the last four overlap those before, whose share is left out there. */
static void weighted_moments(const float *map, ptrdiff_t w, const double *gx, const double *gy, double *moments)
{
    static const double KEEP[8] = {0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0};
    static const double INDEX[4] = {0.0, 1.0, 2.0, 3.0};
    doubles total = splat4(0.0), first_x = total, first_y = total;
    ptrdiff_t x = 0, y;
    if (w < 4) {
        moments[0] = moments[1] = moments[2] = 0.0;
        for (y = 0; y < w; ++y) {
            for (x = 0; x < w; ++x) {
                const double value = gx[x] * map[y * w + x];
                moments[0] += gy[y] * value;
                moments[1] += gy[y] * value * (double)x;
                moments[2] += gy[w + y] * value;
            }
        }
        return;
    }
    while (x < w) {
        const ptrdiff_t from = x + 4 <= w ? x : w - 4;
        const float *column = map + from;
        doubles sum = splat4(0.0), moment = sum, even = sum, even_moment = sum, g;
        for (y = 0; y + 2 <= w; y += 2) {
            const doubles a = widen4(column + y * w), b = widen4(column + (y + 1) * w);
            sum = muladd4(splat4(gy[y]), a, sum);
            moment = muladd4(splat4(gy[w + y]), a, moment);
            even = muladd4(splat4(gy[y + 1]), b, even);
            even_moment = muladd4(splat4(gy[w + y + 1]), b, even_moment);
        }
        if (y < w) {
            const doubles a = widen4(column + y * w);
            sum = muladd4(splat4(gy[y]), a, sum);
            moment = muladd4(splat4(gy[w + y]), a, moment);
        }
        g = mul4(load4(gx + from), load4(KEEP + 4 - (x - from)));
        sum = mul4(g, add4(sum, even));
        total = add4(total, sum);
        first_x = muladd4(add4(splat4((double)from), load4(INDEX)), sum, first_x);
        first_y = muladd4(g, add4(moment, even_moment), first_y);
        x = from + 4;
    }
    moments[0] = sum4(total);
    moments[1] = sum4(first_x);
    moments[2] = sum4(first_y);
}

#endif
