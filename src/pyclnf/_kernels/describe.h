/* Descriptors of oriented gradients, as DAISY's: the slopes of an image patch in some directions,
 * blurred, and sampled around points; and their weighted sums.
 *
 * The lanes are the directions: a map holds all of them side by side, padded to a multiple of eight.
 * Only what the samples read is computed, row by row: for each row the columns from the first to the
 * last that is needed. Every number is the same sum in the same order in each variant.
 */
#ifndef PYCLNF_DESCRIBE_H
#define PYCLNF_DESCRIBE_H

#include "cascade.h"
#include "lanes.h"

/* Where and how a patch is described; `stride`: the directions, padded. */
typedef struct {
    ptrdiff_t side, directions, stride, radius, samples;
    const float *unit_vectors, *taps, *offsets;
    float floor;
} patch_layout;

static patch_layout layout_of_patch(ptrdiff_t side, const float *unit_vectors, ptrdiff_t directions, const float *taps,
                                    ptrdiff_t radius, const float *offsets, ptrdiff_t samples, float floor)
{
    patch_layout layout = {side, directions, (directions + LANES - 1) / LANES * LANES, radius, samples,
                           unit_vectors, taps, offsets, floor};
    return layout;
}

/* Where the memory lies that a description takes. */
typedef struct {
    double *x, *y;                        /* positions of a row of the patch, or of all samples */
    int32_t *columns, *rows, *first, *last, *wide_first, *wide_last;
    float *u, *v, *patch, *line, *maps, *found, *cosines, *sines;
    uint32_t *packed;
} description_scratch;

/* Divide `memory` into the parts; the number of floats that it needs is returned. */
static ptrdiff_t description_parts(const patch_layout *layout, ptrdiff_t points, float *memory,
                                   description_scratch *parts)
{
    const ptrdiff_t n = layout->side, all = points * layout->samples, longest = all > n ? all : n;
    ptrdiff_t at = 0;
#define PYCLNF_PART(NAME, TYPE, COUNT)                                     \
    parts->NAME = memory ? (TYPE *)(memory + at) : NULL;                   \
    at += (ptrdiff_t)(sizeof(TYPE) / sizeof(float)) * (((COUNT) + 15) / 16 * 16);
    PYCLNF_PART(x, double, longest)
    PYCLNF_PART(y, double, longest)
    PYCLNF_PART(columns, int32_t, longest)
    PYCLNF_PART(rows, int32_t, longest)
    PYCLNF_PART(u, float, longest)
    PYCLNF_PART(v, float, longest)
    PYCLNF_PART(packed, uint32_t, longest)
    PYCLNF_PART(first, int32_t, n)
    PYCLNF_PART(last, int32_t, n)
    PYCLNF_PART(wide_first, int32_t, n)
    PYCLNF_PART(wide_last, int32_t, n)
    PYCLNF_PART(cosines, float, layout->stride)
    PYCLNF_PART(sines, float, layout->stride)
    PYCLNF_PART(found, float, layout->samples * layout->directions + layout->stride)
    PYCLNF_PART(patch, float, n * n)
    /* Lines are worked on four registers at a time. */
    PYCLNF_PART(line, float, (n + 2 * layout->radius) * layout->stride + 4 * BROAD)
    PYCLNF_PART(maps, float, n * n * layout->stride + 4 * BROAD)
#undef PYCLNF_PART
    return at;
}

/* The columns, first to last, that each row needs: its own and those of the rows up to `reach` above and below,
 * and as many columns to either side. (None: first > last.) */
static void widen_ranges(const int32_t *first, const int32_t *last, ptrdiff_t n, ptrdiff_t reach, int32_t sideways,
                         int32_t *wide_first, int32_t *wide_last)
{
    ptrdiff_t i, k;
    for (i = 0; i < n; ++i) {
        const ptrdiff_t low = i - reach > 0 ? i - reach : 0, high = i + reach < n - 1 ? i + reach : n - 1;
        int32_t a = (int32_t)n, b = -1;
        for (k = low; k <= high; ++k) {
            a = first[k] < a ? first[k] : a;
            b = last[k] > b ? last[k] : b;
        }
        wide_first[i] = a - sideways > 0 ? a - sideways : 0;
        wide_last[i] = b < 0 ? -1 : b + sideways < (int32_t)n - 1 ? b + sideways : (int32_t)n - 1;
    }
}

/* Between the values at the top, a and b, and at the bottom, c and d, at shares u to the right and v down. The
 * products with what is left of 1 are in double precision. */
PYCLNF_INLINE float between(float a, float b, float c, float d, float u, float v)
{
    const float upper = (float)(a * (1.0 - u) + b * u), lower = (float)(c * (1.0 - u) + d * u);
    return (float)(upper * (1.0 - v) + lower * v);
}

/* Columns from..to of row i of the patch: the crop (side, side) through a matrix (2, 3), bilinear. */
static void sample_row(const uint8_t *crop, ptrdiff_t side, const double *matrix, ptrdiff_t i, ptrdiff_t from,
                       ptrdiff_t to, const description_scratch *s, float *PYCLNF_RESTRICT row)
{
    double *PYCLNF_RESTRICT x = s->x, *PYCLNF_RESTRICT y = s->y;
    const float *PYCLNF_RESTRICT u = s->u, *PYCLNF_RESTRICT v = s->v;
    const uint32_t *PYCLNF_RESTRICT packed = s->packed;
    ptrdiff_t j;
    for (j = from; j <= to; ++j) x[j] = matrix[0] * (double)j + matrix[1] * (double)i + matrix[2];
    for (j = from; j <= to; ++j) y[j] = matrix[3] * (double)j + matrix[4] * (double)i + matrix[5];
    split_coordinates(x + from, to - from + 1, (int32_t)side - 1, s->columns, s->u);
    split_coordinates(y + from, to - from + 1, (int32_t)side - 1, s->rows, s->v);
    read_packed(crop, side, to - from + 1, s->columns, s->rows, s->packed);
    for (j = 0; j <= to - from; ++j) {
        const int32_t four = (int32_t)packed[j];
        row[from + j] = between((float)(four & 255), (float)((four >> 8) & 255), (float)((four >> 16) & 255),
                                (float)((four >> 24) & 255), u[j], v[j]);
    }
}

/* Slopes in all directions at columns from..to of row i of the patch, negative ones as 0; border replicated. */
static void slopes_of_row(const float *patch, ptrdiff_t n, ptrdiff_t i, ptrdiff_t from, ptrdiff_t to,
                          const float *cosines, const float *sines, ptrdiff_t stride, float *out)
{
    const float *mid = patch + i * n, *up = i > 0 ? mid - n : mid, *down = i + 1 < n ? mid + n : mid;
    ptrdiff_t j, b;
    for (b = 0; b < stride; b += LANES) {
        const floats c = load8(cosines + b), s = load8(sines + b);
        const ptrdiff_t last = to < n - 2 ? to : n - 2;
#define PYCLNF_SLOPES(LEFT, RIGHT)                                                      \
    {                                                                                   \
        const floats dx = splat8(mid[RIGHT] - mid[LEFT]), dy = splat8(down[j] - up[j]); \
        store8(out + j * stride + b, positive8(muladd8(c, dx, mul8(s, dy))));           \
    }
        j = from;
        if (j == 0) {
            PYCLNF_SLOPES(0, 1)
            ++j;
        }
        for (; j <= last; ++j) PYCLNF_SLOPES(j - 1, j + 1)
        if (j <= to) PYCLNF_SLOPES(j - 1, j)
#undef PYCLNF_SLOPES
    }
}

/* out[e] = sum over k of taps[k] * line[e + k * stride] for e = 0 to count - 1, and up to 4 * BROAD - 1 more. */
static void blur_line(const float *line, const float *taps, ptrdiff_t n_taps, ptrdiff_t stride, ptrdiff_t count,
                      float *out)
{
    ptrdiff_t e, k;
    for (e = 0; e < count; e += 4 * BROAD) {
        const float *from = line + e;
        broad a = splat_broad(0.0f), b = a, c = a, d = a;
        for (k = 0; k < n_taps; ++k, from += stride) {
            const broad tap = splat_broad(taps[k]);
            a = muladd_broad(tap, load_broad(from), a);
            b = muladd_broad(tap, load_broad(from + BROAD), b);
            c = muladd_broad(tap, load_broad(from + 2 * BROAD), c);
            d = muladd_broad(tap, load_broad(from + 3 * BROAD), d);
        }
        store_broad(out + e, a);
        store_broad(out + e + BROAD, b);
        store_broad(out + e + 2 * BROAD, c);
        store_broad(out + e + 3 * BROAD, d);
    }
}

/* One sample of eight directions: the maps blurred down the columns at four pixels, and what is between them. */
PYCLNF_INLINE void blurred_sample(const float *maps, ptrdiff_t n, ptrdiff_t stride, const float *taps, ptrdiff_t r,
                                    ptrdiff_t row, ptrdiff_t column, float u, float v, float *PYCLNF_RESTRICT out)
{
    float corners[4][LANES], upper[LANES], lower[LANES];
    floats a = splat8(0.0f), b = a, c = a, d = a, left, right;
    const float *at = maps + column * stride;
    ptrdiff_t k;
#define PYCLNF_READ_ROW(OFFSET)                                                      \
    {                                                                                \
        const ptrdiff_t y = row + (OFFSET), inside = y < 0 ? 0 : y < n ? y : n - 1;  \
        left = load8(at + inside * n * stride);                                      \
        right = load8(at + inside * n * stride + stride);                            \
    }
    PYCLNF_READ_ROW(-r)
    a = muladd8(splat8(taps[0]), left, a);
    b = muladd8(splat8(taps[0]), right, b);
    for (k = 1; k <= 2 * r; ++k) {
        const floats tap = splat8(taps[k]), before = splat8(taps[k - 1]);
        PYCLNF_READ_ROW(k - r)
        a = muladd8(tap, left, a);
        b = muladd8(tap, right, b);
        c = muladd8(before, left, c);
        d = muladd8(before, right, d);
    }
    PYCLNF_READ_ROW(r + 1)
    c = muladd8(splat8(taps[2 * r]), left, c);
    d = muladd8(splat8(taps[2 * r]), right, d);
#undef PYCLNF_READ_ROW
    /* As `between`, of all lanes. (Compilers that vectorise it leave out the rounding of `upper`.) */
    store8(corners[0], a);
    store8(corners[1], mul8(b, splat8(u)));
    store8(corners[2], c);
    store8(corners[3], mul8(d, splat8(u)));
    for (k = 0; k < LANES; k += WIDE) {
        const wide rest = splat_wide(1.0 - u);
        narrow_wide(upper + k, muladd_wide(widen_wide(corners[0] + k), rest, widen_wide(corners[1] + k)));
        narrow_wide(lower + k, muladd_wide(widen_wide(corners[2] + k), rest, widen_wide(corners[3] + k)));
    }
    store8(lower, mul8(load8(lower), splat8(v)));
    for (k = 0; k < LANES; k += WIDE) {
        narrow_wide(out + k, muladd_wide(widen_wide(upper + k), splat_wide(1.0 - v), widen_wide(lower + k)));
    }
}

/* Descriptors (count, samples * directions) of points (count, 2) of the patch that a matrix (2, 3) maps to the
 * crop (side, side). */
static void describe(const uint8_t *crop, ptrdiff_t side, const double *matrix, const patch_layout *layout,
                     const double *points, ptrdiff_t count, const description_scratch *s, float *out)
{
    const ptrdiff_t n = layout->side, stride = layout->stride, r = layout->radius, K = layout->samples;
    const ptrdiff_t B = layout->directions, width = K * B;
    ptrdiff_t i, j, k, b;
    memset(s->cosines, 0, stride * sizeof(float));
    memset(s->sines, 0, stride * sizeof(float));
    for (b = 0; b < B; ++b) {
        s->cosines[b] = layout->unit_vectors[2 * b];
        s->sines[b] = layout->unit_vectors[2 * b + 1];
    }
    for (i = 0; i < count; ++i) {
        for (k = 0; k < K; ++k) {
            s->x[i * K + k] = points[2 * i] + layout->offsets[2 * k];
            s->y[i * K + k] = points[2 * i + 1] + layout->offsets[2 * k + 1];
        }
    }
    split_coordinates(s->x, count * K, (int32_t)n - 1, s->columns, s->u);
    split_coordinates(s->y, count * K, (int32_t)n - 1, s->rows, s->v);
    for (i = 0; i < n; ++i) s->first[i] = (int32_t)n, s->last[i] = -1;
    for (i = 0; i < count * K; ++i) {
        const int32_t column = s->columns[i];
        int32_t *first = s->first + s->rows[i], *last = s->last + s->rows[i];
        *first = column < *first ? column : *first;
        *last = column + 1 > *last ? column + 1 : *last;
    }
    for (i = n - 1; i > 0; --i) {
        /* A sample reads the row below its own, too. */
        s->first[i] = s->first[i - 1] < s->first[i] ? s->first[i - 1] : s->first[i];
        s->last[i] = s->last[i - 1] > s->last[i] ? s->last[i - 1] : s->last[i];
    }
    /* What the blur down the columns reads, then the slopes, which are blurred along the rows. */
    widen_ranges(s->first, s->last, n, r, 0, s->wide_first, s->wide_last);
    widen_ranges(s->wide_first, s->wide_last, n, 1, (int32_t)r + 1, s->first, s->last);
    {
        /* The samples' positions are needed again: until there are maps, their memory is that of a row's positions. */
        description_scratch row = *s;
        row.x = (double *)s->maps;
        row.y = row.x + n;
        row.columns = (int32_t *)(row.y + n);
        row.rows = row.columns + n;
        row.u = (float *)(row.rows + n);
        row.v = row.u + n;
        for (i = 0; i < n; ++i) {
            if (s->first[i] <= s->last[i]) {
                sample_row(crop, side, matrix, i, s->first[i], s->last[i], &row, s->patch + i * n);
            }
        }
    }
    memset(s->line, 0, ((n + 2 * r) * stride + 4 * BROAD) * sizeof(float));
    for (i = 0; i < n; ++i) {
        const ptrdiff_t from = s->wide_first[i], to = s->wide_last[i];
        const ptrdiff_t low = from - r > 0 ? from - r : 0, high = to + r < n - 1 ? to + r : n - 1;
        float *line = s->line + r * stride;
        if (from > to) continue;
        slopes_of_row(s->patch, n, i, low, high, s->cosines, s->sines, stride, line);
        for (j = from - r; j < low; ++j) memcpy(line + j * stride, line + low * stride, stride * sizeof(float));
        for (j = high + 1; j <= to + r; ++j) memcpy(line + j * stride, line + high * stride, stride * sizeof(float));
        blur_line(s->line + from * stride, layout->taps, 2 * r + 1, stride, (to - from + 1) * stride,
                  s->maps + (i * n + from) * stride);
    }
    for (i = 0; i < count; ++i, out += width) {
        double total = 0.0;
        float scale;
        for (k = 0; k < K; ++k) {
            const ptrdiff_t at = i * K + k;
            for (b = 0; b < B; b += LANES) {
                blurred_sample(s->maps + b, n, stride, layout->taps, r, s->rows[at], s->columns[at], s->u[at],
                               s->v[at], s->found + k * B + b);
            }
        }
        for (k = 0; k < width; ++k) total += (double)s->found[k] * s->found[k];
        scale = (float)(1.0 / (sqrt(total) + layout->floor));
        for (k = 0; k < width; ++k) out[k] = s->found[k] * scale;
    }
}

/* Sums of values[j] * weights[j] over j, of VECTORS vectors of columns, are added to the sums but for the first
 * `done`. */
PYCLNF_INLINE void add_columns(const int VECTORS, const float *values, const signed char *weights, ptrdiff_t count,
                               ptrdiff_t width, ptrdiff_t done, double *sums)
{
    floats a = splat8(0.0f), b = a, c = a;
    float lanes[3 * LANES];
    ptrdiff_t j;
    for (j = 0; j < count; ++j, weights += width) {
        const floats value = splat8(values[j]);
        a = muladd8(value, widen8(weights), a);
        if (VECTORS > 1) b = muladd8(value, widen8(weights + LANES), b);
        if (VECTORS > 2) c = muladd8(value, widen8(weights + 2 * LANES), c);
    }
    store8(lanes, a);
    if (VECTORS > 1) store8(lanes + LANES, b);
    if (VECTORS > 2) store8(lanes + 2 * LANES, c);
    for (j = done; j < VECTORS * LANES; ++j) sums[j] += lanes[j];
}

/* out = bias + units * sums over the points of sums in float32 of their descriptors' products with the weights. */
static void weigh(const float *descriptors, const signed char *weights, const float *units, const float *bias,
                  ptrdiff_t count, ptrdiff_t length, ptrdiff_t width, double *out)
{
    ptrdiff_t i, j, w;
    for (w = 0; w < width; ++w) out[w] = 0.0;
    for (i = 0; i < count; ++i, descriptors += length, weights += length * width) {
        w = 0;
        while (w < width) {
            const ptrdiff_t rest = width - w;
            ptrdiff_t vectors = (rest + LANES - 1) / LANES, from;
            vectors = vectors > 3 ? 3 : vectors;
            /* The last vectors begin earlier, among columns that are done, so that they end with the row. */
            if (vectors * LANES > width) vectors = width / LANES;
            from = vectors * LANES > rest ? width - vectors * LANES : w;
            if (vectors == 3) {
                add_columns(3, descriptors, weights + from, length, width, w - from, out + from);
            } else if (vectors == 2) {
                add_columns(2, descriptors, weights + from, length, width, w - from, out + from);
            } else if (vectors == 1) {
                add_columns(1, descriptors, weights + from, length, width, w - from, out + from);
            } else {
                for (; w < width; ++w) {
                    float total = 0.0f;
                    for (j = 0; j < length; ++j) total += descriptors[j] * (float)weights[j * width + w];
                    out[w] += total;
                }
            }
            w = from + vectors * LANES;
            if (vectors == 0) break;
        }
    }
    for (w = 0; w < width; ++w) out[w] = bias[w] + units[w] * out[w];
}

#endif
