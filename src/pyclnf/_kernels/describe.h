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

/* Blur a map (n x n) along both axes with the taps (2 r + 1), border replicated. `line` holds n + 2 r
 * values, `other` n x n. */
static void blur(float *PYCLNF_RESTRICT map, ptrdiff_t n, const float *PYCLNF_RESTRICT taps, ptrdiff_t r,
                 float *PYCLNF_RESTRICT line, float *PYCLNF_RESTRICT other)
{
    ptrdiff_t i, j, k;
    for (i = 0; i < n; ++i) {
        float *row = map + i * n;
        float *out = other + i * n;
        for (j = 0; j < r; ++j) {
            line[j] = row[0];
            line[n + r + j] = row[n - 1];
        }
        for (j = 0; j < n; ++j) line[r + j] = row[j];
        for (j = 0; j < n; ++j) out[j] = taps[0] * line[j];
        for (k = 1; k <= 2 * r; ++k) {
            for (j = 0; j < n; ++j) out[j] += taps[k] * line[j + k];
        }
    }
    for (i = 0; i < n; ++i) {
        float *out = map + i * n;
        for (j = 0; j < n; ++j) out[j] = 0.0f;
        for (k = 0; k <= 2 * r; ++k) {
            ptrdiff_t at = i + k - r;
            const float *row = other + (at < 0 ? 0 : at < n ? at : n - 1) * n;
            for (j = 0; j < n; ++j) out[j] += taps[k] * row[j];
        }
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
