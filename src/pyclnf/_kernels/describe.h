/* Descriptors of oriented gradients, as DAISY's: the slopes of an image patch in some directions,
 * blurred, and sampled around points.
 *
 * Loops over a row have no conditions and no sums that depend on the one before, so that compilers
 * vectorise them; every number is the same sum in the same order in each variant.
 */
#ifndef PYCLNF_DESCRIBE_H
#define PYCLNF_DESCRIBE_H

#include "lanes.h"

/* Slopes of a patch (n x n) in direction (c, s), negative ones as 0; border replicated. */
static void slopes(const float *PYCLNF_RESTRICT patch, ptrdiff_t n, float c, float s, float *PYCLNF_RESTRICT out)
{
    ptrdiff_t i, j;
    for (i = 0; i < n; ++i) {
        const float *mid = patch + i * n;
        const float *up = i > 0 ? mid - n : mid;
        const float *down = i + 1 < n ? mid + n : mid;
        float *row = out + i * n;
        for (j = 1; j < n - 1; ++j) {
            const float slope = c * (mid[j + 1] - mid[j - 1]) + s * (down[j] - up[j]);
            row[j] = slope > 0.0f ? slope : 0.0f;
        }
        for (j = 0; j < n; j += n - 1) {
            const float dx = mid[j + 1 < n ? j + 1 : j] - mid[j > 0 ? j - 1 : j];
            const float slope = c * dx + s * (down[j] - up[j]);
            row[j] = slope > 0.0f ? slope : 0.0f;
        }
    }
}

#define PYCLNF_BLOCK 16

/* out[j] = sum over k of taps[k] * rows[k][j]. A block of sums at a time stays in registers. */
static void weighted_rows(const float *const *rows, const float *PYCLNF_RESTRICT taps, ptrdiff_t count, ptrdiff_t n,
                          float *PYCLNF_RESTRICT out)
{
    ptrdiff_t j, k, l;
    for (j = 0; j + PYCLNF_BLOCK <= n; j += PYCLNF_BLOCK) {
        float total[PYCLNF_BLOCK] = {0.0f};
        for (k = 0; k < count; ++k) {
            const float *PYCLNF_RESTRICT row = rows[k] + j;
            for (l = 0; l < PYCLNF_BLOCK; ++l) total[l] += taps[k] * row[l];
        }
        for (l = 0; l < PYCLNF_BLOCK; ++l) out[j + l] = total[l];
    }
    for (; j < n; ++j) {
        float total = 0.0f;
        for (k = 0; k < count; ++k) total += taps[k] * rows[k][j];
        out[j] = total;
    }
}

/* Blur a map (n x n) along both axes with the taps (2 r + 1), border replicated. `line` holds n + 2 r
 * values, `other` n x n, `rows` 2 r + 1 pointers. */
static void blur(float *PYCLNF_RESTRICT map, ptrdiff_t n, const float *PYCLNF_RESTRICT taps, ptrdiff_t r,
                 float *PYCLNF_RESTRICT line, float *PYCLNF_RESTRICT other, const float **rows)
{
    ptrdiff_t i, j, k;
    for (k = 0; k <= 2 * r; ++k) rows[k] = line + k;
    for (i = 0; i < n; ++i) {
        const float *row = map + i * n;
        for (j = 0; j < r; ++j) {
            line[j] = row[0];
            line[n + r + j] = row[n - 1];
        }
        for (j = 0; j < n; ++j) line[r + j] = row[j];
        weighted_rows(rows, taps, 2 * r + 1, n, other + i * n);
    }
    for (i = 0; i < n; ++i) {
        for (k = 0; k <= 2 * r; ++k) {
            const ptrdiff_t at = i + k - r;
            rows[k] = other + (at < 0 ? 0 : at < n ? at : n - 1) * n;
        }
        weighted_rows(rows, taps, 2 * r + 1, n, map + i * n);
    }
}

/* total += value * weights, for whole numbers as weights. */
static void add_weighted(float value, const signed char *PYCLNF_RESTRICT weights, ptrdiff_t n,
                         float *PYCLNF_RESTRICT total)
{
    ptrdiff_t j;
    for (j = 0; j < n; ++j) total[j] += value * (float)weights[j];
}

#endif
