/* Small dense linear algebra, in double precision but for the response maps' own.
 *
 * BLAS would start threads for some of these products and sum in an order that
 * depends on their number.
 */
#ifndef PYCLNF_LINEAR_H
#define PYCLNF_LINEAR_H

#include "lanes.h"

/* y += V q for V (rows, columns). */
static void add_product(const double *PYCLNF_RESTRICT V, const double *PYCLNF_RESTRICT q, ptrdiff_t rows, ptrdiff_t columns,
                        double *PYCLNF_RESTRICT y)
{
    ptrdiff_t i, k;
    for (i = 0; i < rows; ++i) {
        const double *row = V + i * columns;
        doubles even = splat4(0.0), odd = splat4(0.0);
        double rest = 0.0;
        for (k = 0; k + 8 <= columns; k += 8) {
            even = muladd4(load4(row + k), load4(q + k), even);
            odd = muladd4(load4(row + k + 4), load4(q + k + 4), odd);
        }
        if (k + 4 <= columns) {
            even = muladd4(load4(row + k), load4(q + k), even);
            k += 4;
        }
        for (; k < columns; ++k) rest += row[k] * q[k];
        y[i] += sum4(add4(even, odd)) + rest;
    }
}

/* A tile of four rows of J' W, VECTORS * WIDTH columns of it, at rows a and columns b; W is diag(w) J.
 *
 * VECTORS is 1 or 2 where this is inlined. */
#define DEFINE_GRAM_TILE(NAME, VECTOR, WIDTH, LOAD, STORE, SPLAT, MULADD)                                  \
    PYCLNF_INLINE void NAME(const int VECTORS, const double *J, const double *W, ptrdiff_t rows,           \
                            ptrdiff_t stride, ptrdiff_t a, ptrdiff_t b, double *H)                         \
    {                                                                                                      \
        const VECTOR zero = SPLAT(0.0);                                                                    \
        VECTOR l0 = zero, l1 = zero, l2 = zero, l3 = zero, r0 = zero, r1 = zero, r2 = zero, r3 = zero;     \
        ptrdiff_t r;                                                                                       \
        for (r = 0; r < rows; ++r) {                                                                       \
            const double *row = J + r * stride + a, *weighted = W + r * stride + b;                        \
            const VECTOR u = LOAD(weighted), v = VECTORS > 1 ? LOAD(weighted + WIDTH) : u;                 \
            VECTOR s = SPLAT(row[0]);                                                                      \
            l0 = MULADD(s, u, l0);                                                                         \
            if (VECTORS > 1) r0 = MULADD(s, v, r0);                                                        \
            s = SPLAT(row[1]);                                                                             \
            l1 = MULADD(s, u, l1);                                                                         \
            if (VECTORS > 1) r1 = MULADD(s, v, r1);                                                        \
            s = SPLAT(row[2]);                                                                             \
            l2 = MULADD(s, u, l2);                                                                         \
            if (VECTORS > 1) r2 = MULADD(s, v, r2);                                                        \
            s = SPLAT(row[3]);                                                                             \
            l3 = MULADD(s, u, l3);                                                                         \
            if (VECTORS > 1) r3 = MULADD(s, v, r3);                                                        \
        }                                                                                                  \
        H += a * stride + b;                                                                               \
        STORE(H, l0), STORE(H + stride, l1), STORE(H + 2 * stride, l2), STORE(H + 3 * stride, l3);         \
        if (VECTORS > 1) {                                                                                 \
            H += WIDTH;                                                                                    \
            STORE(H, r0), STORE(H + stride, r1), STORE(H + 2 * stride, r2), STORE(H + 3 * stride, r3);     \
        }                                                                                                  \
    }

DEFINE_GRAM_TILE(gram_tile, doubles, 4, load4, store4, splat4, muladd4)
#if WIDE > 4
DEFINE_GRAM_TILE(wide_gram_tile, wide, WIDE, load_wide, store_wide, splat_wide, muladd_wide)

/* The same of eight rows: as many sums as keep the units busy. (With all loops unrolled the array is registers.) */
PYCLNF_INLINE void tall_gram_tile(const int VECTORS, const double *J, const double *W, ptrdiff_t rows,
                                  ptrdiff_t stride, ptrdiff_t a, ptrdiff_t b, double *H)
{
    wide sums[8][2];
    ptrdiff_t r;
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sums[i][0] = sums[i][1] = splat_wide(0.0);
    for (r = 0; r < rows; ++r) {
        const double *row = J + r * stride + a, *weighted = W + r * stride + b;
        const wide u = load_wide(weighted), v = VECTORS > 1 ? load_wide(weighted + WIDE) : u;
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            sums[i][0] = muladd_wide(splat_wide(row[i]), u, sums[i][0]);
            if (VECTORS > 1) sums[i][1] = muladd_wide(splat_wide(row[i]), v, sums[i][1]);
        }
    }
    H += a * stride + b;
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i, H += stride) {
        store_wide(H, sums[i][0]);
        if (VECTORS > 1) store_wide(H + WIDE, sums[i][1]);
    }
}
#endif

/* The symmetric product J' diag(w) J, upper triangle by tiles of four or eight rows.
 *
 * J is (rows, stride) with stride a multiple of 4 and zeros beyond p; H is (stride, stride); W is scratch
 * of J's size. */
static void weighted_gram(const double *J, const double *w, ptrdiff_t rows, ptrdiff_t stride, double *W, double *H)
{
    ptrdiff_t a, b, r;
    for (r = 0; r < rows; ++r) {
        for (b = r * stride; b < (r + 1) * stride; ++b) W[b] = J[b] * w[r];
    }
    a = 0;
#if WIDE > 4
    for (; a + 8 <= stride; a += 8) {
        for (b = a; b + 2 * WIDE <= stride; b += 2 * WIDE) tall_gram_tile(2, J, W, rows, stride, a, b, H);
        if (b + WIDE <= stride) {
            tall_gram_tile(1, J, W, rows, stride, a, b, H);
            b += WIDE;
        }
        if (b < stride) {
            gram_tile(1, J, W, rows, stride, a, b, H);
            gram_tile(1, J, W, rows, stride, a + 4, b, H);
        }
    }
#endif
    for (; a < stride; a += 4) {
        b = a;
#if WIDE > 4
        for (; b + 2 * WIDE <= stride; b += 2 * WIDE) wide_gram_tile(2, J, W, rows, stride, a, b, H);
        if (b + WIDE <= stride) {
            wide_gram_tile(1, J, W, rows, stride, a, b, H);
            b += WIDE;
        }
#else
        for (; b + 8 <= stride; b += 8) gram_tile(2, J, W, rows, stride, a, b, H);
#endif
        if (b < stride) gram_tile(1, J, W, rows, stride, a, b, H);
    }
}

/* Decompose four rows of the upper triangle, from their diagonal on; 0 if a pivot is not positive. */
static int factor_rows(double *H, ptrdiff_t first, ptrdiff_t count, ptrdiff_t n, ptrdiff_t stride, double *g)
{
    ptrdiff_t i, j, k;
    for (k = first; k < first + count; ++k) {
        double *row = H + k * stride;
        double scale;
        /* Also false for NaN. */
        if (!(row[k] > 0.0)) return 0;
        scale = 1.0 / sqrt(row[k]);
        for (j = k; j < n; ++j) row[j] *= scale;
        g[k] *= scale;
        for (i = k + 1; i < first + count; ++i) {
            double *target = H + i * stride;
            const double factor = row[i];
            for (j = i; j < n; ++j) target[j] -= factor * row[j];
            g[i] -= factor * g[k];
        }
    }
    return 1;
}

/* Solve H x = g in place by Cholesky's decomposition of the upper triangle; 0 if H is not positive.
 *
 * Four rows at a time, so that each of those below is read and written a quarter as often. */
static int cholesky_solve(double *H, ptrdiff_t n, ptrdiff_t stride, double *g)
{
    ptrdiff_t first, i, j, k;
    for (first = 0; first < n; first += 4) {
        const ptrdiff_t count = n - first < 4 ? n - first : 4;
        const double *r0 = H + first * stride;
        const double *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
        if (!factor_rows(H, first, count, n, stride, g)) return 0;
        if (count < 4) break;
        for (i = first + 4; i < n; ++i) {
            double *target = H + i * stride;
            const double f0 = -r0[i], f1 = -r1[i], f2 = -r2[i], f3 = -r3[i];
            const doubles v0 = splat4(f0), v1 = splat4(f1), v2 = splat4(f2), v3 = splat4(f3);
            for (j = i; j + 4 <= n; j += 4) {
                doubles t = muladd4(v0, load4(r0 + j), load4(target + j));
                t = muladd4(v1, load4(r1 + j), t);
                t = muladd4(v2, load4(r2 + j), t);
                store4(target + j, muladd4(v3, load4(r3 + j), t));
            }
            for (; j < n; ++j) target[j] += f0 * r0[j] + f1 * r1[j] + f2 * r2[j] + f3 * r3[j];
            g[i] += f0 * g[first] + f1 * g[first + 1] + f2 * g[first + 2] + f3 * g[first + 3];
        }
    }
    for (k = n - 1; k >= 0; --k) {
        const double *row = H + k * stride;
        double sum = g[k];
        for (j = k + 1; j < n; ++j) sum -= row[j] * g[j];
        g[k] = sum / row[k];
    }
    return 1;
}

/* The largest of n > 0 numbers; in parts, which compilers keep in one register. */
static float largest(const float *values, ptrdiff_t n)
{
    float parts[16], most = values[0];
    ptrdiff_t i, k;
    for (k = 0; k < 16; ++k) parts[k] = most;
    for (i = 0; i + 16 <= n; i += 16) {
        for (k = 0; k < 16; ++k) parts[k] = values[i + k] > parts[k] ? values[i + k] : parts[k];
    }
    for (; i < n; ++i) most = values[i] > most ? values[i] : most;
    for (k = 0; k < 16; ++k) most = parts[k] > most ? parts[k] : most;
    return most;
}

#define FOR_EACH_LANE_VECTOR(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

/* P vectors of columns of y = S u for a symmetric S (n, stride): the sum of its rows, each times one u.
 *
 * P is a constant where this is inlined. */
PYCLNF_INLINE void sum_rows(const int P, const float *S, ptrdiff_t stride, const float *u, ptrdiff_t n, float *y)
{
    const floats zero = splat8(0.0f);
    floats s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero;
    ptrdiff_t j;
    for (j = 0; j < n; ++j, S += stride) {
        const floats uj = splat8(u[j]);
#define ADD_VECTOR(i) if (P > i) s##i = muladd8(load8(S + i * LANES), uj, s##i);
        FOR_EACH_LANE_VECTOR(ADD_VECTOR)
    }
#define STORE_VECTOR(i) if (P > i) store8(y + i * LANES, s##i);
    FOR_EACH_LANE_VECTOR(STORE_VECTOR)
}

/* y = S u for a symmetric S (n, stride), stride a multiple of 8; y has `stride` places. */
static void symmetric_product(const float *S, ptrdiff_t n, ptrdiff_t stride, const float *u, float *y)
{
    ptrdiff_t at = 0;
    for (; at + 8 * LANES <= stride; at += 8 * LANES) sum_rows(8, S + at, stride, u, n, y + at);
    switch ((stride - at) / LANES) {
    case 1: sum_rows(1, S + at, stride, u, n, y + at); break;
    case 2: sum_rows(2, S + at, stride, u, n, y + at); break;
    case 3: sum_rows(3, S + at, stride, u, n, y + at); break;
    case 4: sum_rows(4, S + at, stride, u, n, y + at); break;
    case 5: sum_rows(5, S + at, stride, u, n, y + at); break;
    case 6: sum_rows(6, S + at, stride, u, n, y + at); break;
    case 7: sum_rows(7, S + at, stride, u, n, y + at); break;
    }
}

/* A map's parts by their symmetry about the middle row and the middle column: even-even, even-odd,
 * odd-even, odd-odd, each padded to a multiple of 8. The change of basis is orthonormal. */
#define HALF_ROOT 0.70710678118654752f

typedef struct {
    ptrdiff_t rows[4], columns[4], size[4], stride[4];
    ptrdiff_t total; /* of all strides */
} map_parts;

static map_parts parts_of_map(ptrdiff_t w)
{
    const ptrdiff_t even = (w + 1) / 2, odd = w / 2;
    map_parts parts;
    ptrdiff_t b;
    parts.total = 0;
    for (b = 0; b < 4; ++b) {
        parts.rows[b] = b < 2 ? even : odd;
        parts.columns[b] = b % 2 ? odd : even;
        parts.size[b] = parts.rows[b] * parts.columns[b];
        parts.stride[b] = (parts.size[b] + LANES - 1) / LANES * LANES;
        parts.total += parts.stride[b];
    }
    return parts;
}

/* out[i] = (first[i] + sign * last[i]) / sqrt(2) */
static void fold_rows(const float *first, const float *last, float sign, ptrdiff_t count, float *PYCLNF_RESTRICT out)
{
    ptrdiff_t i;
    for (i = 0; i < count; ++i) out[i] = (first[i] + sign * last[i]) * HALF_ROOT;
}

static void fold_columns(const float *row, ptrdiff_t w, float *PYCLNF_RESTRICT even, float *PYCLNF_RESTRICT odd)
{
    ptrdiff_t i;
    for (i = 0; i < w / 2; ++i) {
        even[i] = (row[i] + row[w - 1 - i]) * HALF_ROOT;
        odd[i] = (row[i] - row[w - 1 - i]) * HALF_ROOT;
    }
    if (w % 2) even[i] = row[i];
}

static void unfold_columns(const float *even, const float *odd, ptrdiff_t w, float *PYCLNF_RESTRICT row)
{
    ptrdiff_t i;
    for (i = 0; i < w / 2; ++i) {
        row[i] = (even[i] + odd[i]) * HALF_ROOT;
        row[w - 1 - i] = (even[i] - odd[i]) * HALF_ROOT;
    }
    if (w % 2) row[i] = even[i];
}

/* y = Sigma u for a map u (w, w) and a Sigma that has no entries between the parts of a map.
 *
 * scratch holds 2 * (w + total) numbers. */
static void folded_product(const float *sigma, const float *u, ptrdiff_t w, const map_parts *parts, float *scratch,
                           float *y)
{
    float *row = scratch, *in = row + 2 * w, *out = in + parts->total;
    float *at = in;
    ptrdiff_t b, i;
    for (b = 0; b < 4; b += 2) {
        const float sign = b ? -1.0f : 1.0f;
        float *odd = at + parts->stride[b];
        for (i = 0; i < parts->rows[b]; ++i) {
            const float *first = u + i * w, *last = u + (w - 1 - i) * w;
            if (first != last) {
                fold_rows(first, last, sign, w, row);
                first = row;
            }
            fold_columns(first, w, at + i * parts->columns[b], odd + i * parts->columns[b + 1]);
        }
        at = odd + parts->stride[b + 1];
    }
    for (b = 0; b < 4; ++b) {
        symmetric_product(sigma, parts->size[b], parts->stride[b], in, out);
        sigma += parts->size[b] * parts->stride[b];
        in += parts->stride[b];
        out += parts->stride[b];
    }
    out -= parts->total;
    in -= parts->total;
    for (i = 0; i < parts->rows[0]; ++i) {
        const float *even_rows = out + i * parts->columns[0], *odd_rows = out + parts->stride[0] + i * parts->columns[1];
        unfold_columns(even_rows, odd_rows, w, row);
        if (i < parts->rows[2]) {
            even_rows = out + parts->stride[0] + parts->stride[1] + i * parts->columns[2];
            odd_rows = out + parts->total - parts->stride[3] + i * parts->columns[3];
            unfold_columns(even_rows, odd_rows, w, row + w);
            fold_rows(row, row + w, 1.0f, w, y + i * w);
            fold_rows(row, row + w, -1.0f, w, y + (w - 1 - i) * w);
        } else {
            memcpy(y + i * w, row, w * sizeof(float));
        }
    }
}

#endif
