/* Descriptors of oriented gradients, as DAISY's: the slopes of an image patch in some directions,
 * blurred, and sampled around points; and their weighted sums.
 *
 * The lanes are the directions: a map holds all of them side by side, padded to a multiple of eight.
 * Only what the samples read is computed, row by row: for each row the runs of columns that are needed,
 * since between the landmarks lie wide parts of a face that nobody asks for. Every number is the same sum
 * in the same order in each variant.
 */
#ifndef PYCLNF_DESCRIBE_H
#define PYCLNF_DESCRIBE_H

#include <float.h>

#include "cascade.h"
#include "lanes.h"
#include "sample.h"

/* Where a row of a patch may begin in the crop, and how far apart its pixels may lie, px: with them, and up to 256
 * pixels in a row, positions fit into 32 bits. What is further off is outside of any crop. */
#define FURTHEST 8192.0
#define LONGEST_STEP 64.0

/* Where and how a patch is described; `stride`: the directions, padded; `mirrored`: in the mirror each direction is one
 * of them, and each offset (1); the opposite of each direction is (-1); neither (0). */
typedef struct {
    ptrdiff_t side, directions, stride, radius, samples;
    const float *unit_vectors, *taps, *offsets;
    float floor;
    int mirrored;
} patch_layout;

/* Which of the vectors (count, 2) is one of them in the mirror, or the opposite of that (sign -1); -1: none. */
static ptrdiff_t in_mirror(const float *vectors, ptrdiff_t count, ptrdiff_t one, float sign)
{
    const float x = -sign * vectors[2 * one], y = sign * vectors[2 * one + 1];
    ptrdiff_t i;
    for (i = 0; i < count; ++i) {
        if (fabsf(vectors[2 * i] - x) < 1e-4f && fabsf(vectors[2 * i + 1] - y) < 1e-4f) return i;
    }
    return -1;
}

static int are_in_mirror(const float *vectors, ptrdiff_t count, float sign)
{
    ptrdiff_t i;
    for (i = 0; i < count; ++i) {
        if (in_mirror(vectors, count, i, sign) < 0) return 0;
    }
    return 1;
}

/* So many directions, padded; with the slopes along x and y if those in the mirror are made of them. */
static ptrdiff_t stride_of(ptrdiff_t directions, int mirrored)
{
    return (directions + (mirrored < 0 ? 2 : 0) + LANES - 1) / LANES * LANES;
}

static patch_layout layout_of_patch(ptrdiff_t side, const float *unit_vectors, ptrdiff_t directions, const float *taps,
                                    ptrdiff_t radius, const float *offsets, ptrdiff_t samples, float floor)
{
    patch_layout layout = {side, directions, 0, radius, samples, unit_vectors, taps, offsets, floor, 0};
    if (are_in_mirror(offsets, samples, 1.0f)) {
        if (are_in_mirror(unit_vectors, directions, 1.0f)) layout.mirrored = 1;
        else if (are_in_mirror(unit_vectors, directions, -1.0f)) layout.mirrored = -1;
    }
    layout.stride = stride_of(directions, layout.mirrored);
    return layout;
}

/* From the first to the last of some columns, or rows. */
typedef struct {
    int32_t from, to;
} span;

/* Columns of a row, the last included, and where the maps of the first lie among those of all runs, px. */
typedef struct {
    int32_t from, to, at;
} run;

/* For each row of the patch so many runs, from left to right; there is room for `most` of them a row. */
typedef struct {
    int32_t *counts;
    run *runs;
    ptrdiff_t most;
} row_runs;

/* Where the memory lies that a description takes. */
typedef struct {
    double *x, *y;                        /* positions of all samples */
    int32_t *columns, *rows, *order;
    int32_t *sample_turned, *direction_turned; /* which each is in the mirror */
    int32_t *lines;                       /* for a row of the patch, where column 0 would lie among the maps, px */
    span *boxes_x, *boxes_y;              /* what the samples of each point read */
    row_runs seen, blurred;               /* of the patch, and of its maps */
    float *u, *v, *patch, *line, *maps, *found, *turned, *cosines, *sines, *least;
    uint32_t *packed;
} description_scratch;

/* Divide `memory` into the parts; the number of floats that it needs is returned. */
static ptrdiff_t description_parts(const patch_layout *layout, ptrdiff_t points, float *memory,
                                   description_scratch *parts)
{
    const ptrdiff_t n = layout->side, all = points * layout->samples;
    /* Runs do not touch. */
    const ptrdiff_t most = points < (n + 1) / 2 ? points : (n + 1) / 2;
    ptrdiff_t at = 0;
    parts->seen.most = parts->blurred.most = most;
#define PYCLNF_PART(NAME, TYPE, COUNT)                                     \
    parts->NAME = memory ? (TYPE *)(memory + at) : NULL;                   \
    at += (ptrdiff_t)(sizeof(TYPE) / sizeof(float)) * (((COUNT) + 15) / 16 * 16);
    PYCLNF_PART(x, double, all)
    PYCLNF_PART(y, double, all)
    PYCLNF_PART(columns, int32_t, all)
    PYCLNF_PART(rows, int32_t, all)
    PYCLNF_PART(u, float, all)
    PYCLNF_PART(v, float, all)
    PYCLNF_PART(packed, uint32_t, n + BROAD)
    PYCLNF_PART(order, int32_t, points)
    PYCLNF_PART(sample_turned, int32_t, layout->samples)
    PYCLNF_PART(direction_turned, int32_t, layout->directions)
    PYCLNF_PART(boxes_x, span, points)
    PYCLNF_PART(boxes_y, span, points)
    PYCLNF_PART(seen.counts, int32_t, n)
    PYCLNF_PART(seen.runs, run, n * most)
    PYCLNF_PART(blurred.counts, int32_t, n)
    PYCLNF_PART(blurred.runs, run, n * most)
    PYCLNF_PART(cosines, float, layout->stride)
    PYCLNF_PART(sines, float, layout->stride)
    PYCLNF_PART(least, float, layout->stride)
    PYCLNF_PART(found, float, layout->samples * layout->stride)
    PYCLNF_PART(turned, float, layout->samples * layout->stride)
    PYCLNF_PART(lines, int32_t, n)
    PYCLNF_PART(patch, float, n * n + BROAD)
    /* Lines are worked on four registers at a time. The maps lie run after run: of what all would take little is used,
     * which then stays in the cache. */
    PYCLNF_PART(line, float, (n + 2 * layout->radius) * layout->stride + 4 * BROAD)
    PYCLNF_PART(maps, float, n * n * layout->stride + 4 * BROAD)
#undef PYCLNF_PART
    return at;
}

/* Add columns from..to to rows top..bottom, all of them as far as they lie in a patch of side n. What is added begins
 * no further left than what was added before; runs with up to `gap` columns between them become one. */
static void add_runs(row_runs *rows, ptrdiff_t n, ptrdiff_t top, ptrdiff_t bottom, ptrdiff_t from, ptrdiff_t to,
                     ptrdiff_t gap)
{
    const run own = {(int32_t)(from > 0 ? from : 0), (int32_t)(to < n - 1 ? to : n - 1), 0};
    const ptrdiff_t last = bottom < n - 1 ? bottom : n - 1;
    ptrdiff_t i;
    for (i = top > 0 ? top : 0; i <= last; ++i) {
        run *runs = rows->runs + i * rows->most;
        const ptrdiff_t k = rows->counts[i];
        if (k > 0 && own.from <= runs[k - 1].to + 1 + gap) {
            runs[k - 1].to = own.to > runs[k - 1].to ? own.to : runs[k - 1].to;
        } else {
            runs[k] = own;
            rows->counts[i] = (int32_t)k + 1;
        }
    }
}

/* The runs of the maps that the samples (count points of K each) read, and of the patch that those are made of. */
static void find_runs(description_scratch *s, ptrdiff_t n, ptrdiff_t r, ptrdiff_t count, ptrdiff_t K)
{
    ptrdiff_t i, k;
    for (i = 0; i < count; ++i) {
        span x = {(int32_t)n, -1}, y = {(int32_t)n, -1};
        for (k = i * K; k < (i + 1) * K; ++k) {
            x.from = s->columns[k] < x.from ? s->columns[k] : x.from;
            x.to = s->columns[k] > x.to ? s->columns[k] : x.to;
            y.from = s->rows[k] < y.from ? s->rows[k] : y.from;
            y.to = s->rows[k] > y.to ? s->rows[k] : y.to;
        }
        s->boxes_x[i] = x;
        s->boxes_y[i] = y;
        /* From left to right. */
        for (k = i; k > 0 && s->boxes_x[s->order[k - 1]].from > x.from; --k) s->order[k] = s->order[k - 1];
        s->order[k] = (int32_t)i;
    }
    memset(s->seen.counts, 0, n * sizeof(int32_t));
    memset(s->blurred.counts, 0, n * sizeof(int32_t));
    for (i = 0; i < count; ++i) {
        const span x = s->boxes_x[s->order[i]], y = s->boxes_y[s->order[i]];
        /* A sample reads the pixels right of and below its own, too, and the blur r rows around them. The slopes that
         * are blurred along the rows, r columns to either side, come from the pixels around them. */
        add_runs(&s->blurred, n, y.from - r, y.to + 1 + r, x.from, x.to + 1, 2 * r);
        add_runs(&s->seen, n, y.from - r - 1, y.to + r + 2, x.from - r - 1, x.to + r + 2, 0);
    }
}

/* Find the lines of the maps that the samples of a point read: each lies in one run, with all that they read of it. */
static void find_lines(const description_scratch *s, ptrdiff_t n, ptrdiff_t r, ptrdiff_t point)
{
    const ptrdiff_t top = s->boxes_y[point].from - r, bottom = s->boxes_y[point].to + 1 + r;
    ptrdiff_t i;
    for (i = top > 0 ? top : 0; i <= bottom && i < n; ++i) {
        const run *own = s->blurred.runs + i * s->blurred.most;
        while (own->to < s->boxes_x[point].from) ++own;
        s->lines[i] = own->at - own->from;
    }
}

/* Between the values at the top, a and b, and at the bottom, c and d, at shares u to the right and v down. */
PYCLNF_INLINE float between(float a, float b, float c, float d, float u, float v)
{
    const float upper = a * (1.0f - u) + b * u, lower = c * (1.0f - u) + d * u;
    return upper * (1.0f - v) + lower * v;
}

/* A number in units of 2^-16, bounded (also for NaN). */
PYCLNF_INLINE int32_t fixed_point(double value, double bound)
{
    value = value < bound ? value : bound;
    return (int32_t)floor((value > -bound ? value : -bound) * 65536.0 + 0.5);
}

/* Where a row of the patch begins in the crop, and how far apart its pixels lie, in units of 2^-16. */
typedef struct {
    int32_t x, y, step_x, step_y;
} patch_row;

static patch_row row_of_patch(const double *matrix, ptrdiff_t i)
{
    const patch_row row = {fixed_point(matrix[1] * (double)i + matrix[2], FURTHEST),
                           fixed_point(matrix[4] * (double)i + matrix[5], FURTHEST),
                           fixed_point(matrix[0], LONGEST_STEP), fixed_point(matrix[3], LONGEST_STEP)};
    return row;
}

/* As `split_coordinates`, of positions start + step * j for j = 0 to count - 1, in units of 2^-16. */
static void split_line(int32_t start, int32_t step, ptrdiff_t count, int32_t last, int32_t *PYCLNF_RESTRICT whole,
                       float *PYCLNF_RESTRICT share)
{
    const int32_t high = last * 65536;
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const int32_t at = start + (int32_t)j * step, bounded = at > 0 ? at : 0, x = bounded < high ? bounded : high;
        const int32_t n = x >> 16;
        whole[j] = n < last ? n : last - 1;
        share[j] = (float)(x - whole[j] * 65536) * (1.0f / 65536.0f);
    }
}

/* Columns from..to of a row of the patch, and up to BROAD - 1 more: the crop (side, side), whose lines lie in pairs,
 * bilinear. Positions are whole numbers, and so the same in all variants. memory has five places for each column. */
static void sample_row(const uint16_t *pairs, ptrdiff_t side, const patch_row *where, ptrdiff_t from, ptrdiff_t to,
                       float *memory, uint32_t *PYCLNF_RESTRICT packed, float *PYCLNF_RESTRICT row)
{
    /* Whole registers. */
    const ptrdiff_t count = (to - from + BROAD) / BROAD * BROAD;
    float *u = memory, *v = u + count;
    int32_t *x = (int32_t *)(v + count), *y = x + count;
    const int32_t first = (int32_t)from, last = (int32_t)side - 1;
    ptrdiff_t j;
    split_line(where->x + first * where->step_x, where->step_x, count, last, x, u);
    split_line(where->y + first * where->step_y, where->step_y, count, last, y, v);
    read_pairs(pairs, (int32_t)side, 0, count, x, y, y + count, packed);
    for (j = 0; j < count; ++j) {
        const int32_t four = (int32_t)packed[j];
        row[from + j] = between((float)(four & 255), (float)((four >> 16) & 255), (float)((four >> 8) & 255),
                                (float)((four >> 24) & 255), u[j], v[j]);
    }
}

/* Slopes in all directions at columns from..to of row i of the patch, or the least that counts; border replicated. */
static void slopes_of_row(const float *patch, ptrdiff_t n, ptrdiff_t i, ptrdiff_t from, ptrdiff_t to,
                          const float *cosines, const float *sines, const float *least, ptrdiff_t stride, float *out)
{
    const float *mid = patch + i * n, *up = i > 0 ? mid - n : mid, *down = i + 1 < n ? mid + n : mid;
    ptrdiff_t j, b;
    for (b = 0; b < stride; b += LANES) {
        const floats c = load8(cosines + b), s = load8(sines + b), low = load8(least + b);
        const ptrdiff_t last = to < n - 2 ? to : n - 2;
#define PYCLNF_SLOPES(LEFT, RIGHT)                                                      \
    {                                                                                   \
        const floats dx = splat8(mid[RIGHT] - mid[LEFT]), dy = splat8(down[j] - up[j]); \
        store8(out + j * stride + b, max8(muladd8(c, dx, mul8(s, dy)), low));           \
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
PYCLNF_INLINE void blurred_sample(const float *maps, const int32_t *lines, ptrdiff_t n, ptrdiff_t stride,
                                  const float *taps, ptrdiff_t r, ptrdiff_t row, ptrdiff_t column, float u, float v,
                                  float *PYCLNF_RESTRICT out)
{
    floats a = splat8(0.0f), b = a, c = a, d = a, left, right;
    ptrdiff_t k;
#define PYCLNF_READ_ROW(OFFSET)                                                      \
    {                                                                                \
        const ptrdiff_t y = row + (OFFSET), inside = y < 0 ? 0 : y < n ? y : n - 1;  \
        left = load8(maps + (lines[inside] + column) * stride);                      \
        right = load8(maps + (lines[inside] + column + 1) * stride);                 \
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
    /* As `between`, of all lanes. */
    a = muladd8(a, splat8(1.0f - u), mul8(b, splat8(u)));
    c = muladd8(c, splat8(1.0f - u), mul8(d, splat8(u)));
    store8(out, muladd8(a, splat8(1.0f - v), mul8(c, splat8(v))));
}

/* The lines of a crop (side, side) in pairs (side - 1, side), see `pair_lines`. */
static void pair_crop(const uint8_t *crop, ptrdiff_t side, uint16_t *pairs)
{
    pair_lines(crop, crop + side, (side - 1) * side, pairs);
}

/* out (K, B) = values (K, B, padded to stride) over their length and a bit more. */
static void keep_direction(const float *values, ptrdiff_t K, ptrdiff_t B, ptrdiff_t stride, float floor, float *out)
{
    double total = 0.0;
    float scale;
    ptrdiff_t k, b;
    for (k = 0; k < K; ++k) {
        for (b = 0; b < B; ++b) total += (double)values[k * stride + b] * values[k * stride + b];
    }
    scale = (float)(1.0 / (sqrt(total) + floor));
    for (k = 0; k < K; ++k) {
        for (b = 0; b < B; ++b) out[k * B + b] = values[k * stride + b] * scale;
    }
}

/* What is found around a point, as it is found around its place in the mirror. Where directions are the opposites of
 * those in the mirror, the positive part of a slope that way is that of the slope itself, less the slope. */
static void turn_found(const patch_layout *layout, const description_scratch *s, ptrdiff_t stride)
{
    const ptrdiff_t K = layout->samples, B = layout->directions;
    ptrdiff_t k, b;
    for (k = 0; k < K; ++k) {
        const float *from = s->found + s->sample_turned[k] * stride;
        float *out = s->turned + k * stride;
        for (b = 0; b < B; ++b) {
            const int32_t other = s->direction_turned[b];
            out[b] = from[other];
            if (layout->mirrored < 0) out[b] -= s->cosines[other] * from[B] + s->sines[other] * from[B + 1];
        }
    }
}

/* Descriptors (count, samples * directions) of points (count, 2) of the patch that a matrix (2, 3) maps to the
 * crop (side, side), whose lines lie in pairs. With a counterpart for each point (otherwise NULL), also what is found
 * in the mirror, where its counterpart lies in its place; for layouts that are the same in the mirror. */
static void describe(const uint16_t *pairs, ptrdiff_t side, const double *matrix, const patch_layout *layout,
                     const double *points, ptrdiff_t count, const int32_t *counterparts, description_scratch *s,
                     float *out, float *turned)
{
    const ptrdiff_t n = layout->side, r = layout->radius, K = layout->samples;
    const ptrdiff_t B = layout->directions, width = K * B;
    const ptrdiff_t stride = counterparts ? layout->stride : stride_of(B, 0);
    ptrdiff_t i, j, k, b, done = 0;
    memset(s->cosines, 0, stride * sizeof(float));
    memset(s->sines, 0, stride * sizeof(float));
    memset(s->least, 0, stride * sizeof(float));
    if (counterparts) {
        for (k = 0; k < K; ++k) s->sample_turned[k] = (int32_t)in_mirror(layout->offsets, K, k, 1.0f);
        for (b = 0; b < B; ++b) {
            s->direction_turned[b] = (int32_t)in_mirror(layout->unit_vectors, B, b, (float)layout->mirrored);
        }
    }
    if (counterparts && layout->mirrored < 0) {
        /* The slopes along x and y, of either sign. */
        s->cosines[B] = s->sines[B + 1] = 1.0f;
        s->least[B] = s->least[B + 1] = -FLT_MAX;
    }
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
    find_runs(s, n, r, count, K);
    for (i = 0; i < n; ++i) {
        const run *own = s->seen.runs + i * s->seen.most, *end = own + s->seen.counts[i];
        const patch_row row = row_of_patch(matrix, i);
        for (; own < end; ++own) {
            /* (Until there are maps, their memory is to be had; what is written beyond a run is written anew with the
             * next one.) */
            sample_row(pairs, side, &row, own->from, own->to, s->maps, s->packed, s->patch + i * n);
        }
    }
    memset(s->line, 0, ((n + 2 * r) * stride + 4 * BROAD) * sizeof(float));
    for (i = 0; i < n; ++i) {
        run *own = s->blurred.runs + i * s->blurred.most;
        const run *end = own + s->blurred.counts[i];
        for (; own < end; ++own) {
            const ptrdiff_t from = own->from, to = own->to;
            const ptrdiff_t low = from - r > 0 ? from - r : 0, high = to + r < n - 1 ? to + r : n - 1;
            float *line = s->line + r * stride;
            slopes_of_row(s->patch, n, i, low, high, s->cosines, s->sines, s->least, stride, line);
            for (j = from - r; j < low; ++j) memcpy(line + j * stride, line + low * stride, stride * sizeof(float));
            for (j = high + 1; j <= to + r; ++j) {
                memcpy(line + j * stride, line + high * stride, stride * sizeof(float));
            }
            /* (What is written beyond the run is written anew with the next one.) */
            blur_line(s->line + from * stride, layout->taps, 2 * r + 1, stride, (to - from + 1) * stride,
                      s->maps + done * stride);
            own->at = (int32_t)done;
            done += to - from + 1;
        }
    }
    for (j = 0; j < count; ++j) {
        i = counterparts ? counterparts[j] : j;
        find_lines(s, n, r, i);
        for (k = 0; k < K; ++k) {
            const ptrdiff_t at = i * K + k;
            for (b = 0; b < stride; b += LANES) {
                blurred_sample(s->maps + b, s->lines, n, stride, layout->taps, r, s->rows[at], s->columns[at],
                               s->u[at], s->v[at], s->found + k * stride + b);
            }
        }
        keep_direction(s->found, K, B, stride, layout->floor, out + i * width);
        if (counterparts) {
            turn_found(layout, s, stride);
            keep_direction(s->turned, K, B, stride, layout->floor, turned + j * width);
        }
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
