/* Averages over the areas of a grid: sums of lines of pixels, then sums of columns of a strip of these.
 *
 * A strip has as many rows as a register has lanes, and is turned so that they lie side by side: what goes into a
 * column of the grid is then read as it lies, and not picked number by number. Products are rounded by themselves:
 * no variant fuses them with the sums, so that averages, which are rounded to 8 bits, are the same in all. */
#ifndef PYCLNF_AVERAGE_H
#define PYCLNF_AVERAGE_H

#include "lanes.h"

#if defined(__AVX512F__)
PYCLNF_INLINE broad add_broad(broad a, broad b) { return add16(a, b); }
PYCLNF_INLINE broad mul_broad(broad a, broad b) { return mul16(a, b); }
#else
PYCLNF_INLINE broad add_broad(broad a, broad b) { return add8(a, b); }
PYCLNF_INLINE broad mul_broad(broad a, broad b) { return mul8(a, b); }
#endif

/* a * b, out of the compiler's sight. */
PYCLNF_INLINE broad product_broad(broad a, broad b)
{
    broad product = mul_broad(a, b);
#if defined(__GNUC__) && defined(PYCLNF_EMULATED)
    __asm__("" : "+m"(product));
#elif defined(__GNUC__) && defined(__AVX512F__)
    __asm__("" : "+v"(product));
#elif defined(__GNUC__) && defined(__FMA__)
    __asm__("" : "+x"(product));
#endif
    return product;
}

/* start + step * i, the product rounded by itself as well: so that what is at a pixel's edge is there in all variants. */
PYCLNF_INLINE double grid_edge(double start, double step, ptrdiff_t i)
{
    double product = step * (double)i;
#if defined(__GNUC__) && defined(__FMA__)
    __asm__("" : "+x"(product));
#endif
    return start + product;
}

/* Ask for a line of an image that will soon be read. */
static void expect_line(const char *line, ptrdiff_t bytes)
{
    ptrdiff_t i;
    for (i = 0; i < bytes; i += 64) PYCLNF_PREFETCH(line + i);
}

/* out = sum of weights[k] * lines[k], all of which have room for whole registers. */
static void sum_lines(const float *const *lines, const float *weights, ptrdiff_t lines_count, ptrdiff_t count, float *out)
{
    ptrdiff_t j = 0, k;
    for (; j + 4 * BROAD <= count; j += 4 * BROAD) {
        broad a = splat_broad(0.0f), b = a, c = a, d = a;
        for (k = 0; k < lines_count; ++k) {
            const float *line = lines[k] + j;
            const broad weight = splat_broad(weights[k]);
            a = add_broad(a, product_broad(weight, load_broad(line)));
            b = add_broad(b, product_broad(weight, load_broad(line + BROAD)));
            c = add_broad(c, product_broad(weight, load_broad(line + 2 * BROAD)));
            d = add_broad(d, product_broad(weight, load_broad(line + 3 * BROAD)));
        }
        store_broad(out + j, a);
        store_broad(out + j + BROAD, b);
        store_broad(out + j + 2 * BROAD, c);
        store_broad(out + j + 3 * BROAD, d);
    }
    for (; j < count; j += BROAD) {
        broad sum = splat_broad(0.0f);
        for (k = 0; k < lines_count; ++k) {
            sum = add_broad(sum, product_broad(splat_broad(weights[k]), load_broad(lines[k] + j)));
        }
        store_broad(out + j, sum);
    }
}

/* Eight rows of eight numbers, `pitch` apart, to eight columns, BROAD apart. */
PYCLNF_INLINE void turn_eight(const float *rows, ptrdiff_t pitch, float *columns)
{
#if defined(__AVX2__)
    __m256 pairs[8], fours[8];
    int i;
#ifdef __GNUC__
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
        const __m256 a = load8(rows + 2 * i * pitch), b = load8(rows + (2 * i + 1) * pitch);
        pairs[2 * i] = _mm256_unpacklo_ps(a, b);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(a, b);
    }
#ifdef __GNUC__
#pragma GCC unroll 2
#endif
    for (i = 0; i < 2; ++i) {
        fours[4 * i] = _mm256_shuffle_ps(pairs[4 * i], pairs[4 * i + 2], 0x44);
        fours[4 * i + 1] = _mm256_shuffle_ps(pairs[4 * i], pairs[4 * i + 2], 0xee);
        fours[4 * i + 2] = _mm256_shuffle_ps(pairs[4 * i + 1], pairs[4 * i + 3], 0x44);
        fours[4 * i + 3] = _mm256_shuffle_ps(pairs[4 * i + 1], pairs[4 * i + 3], 0xee);
    }
#ifdef __GNUC__
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
        store8(columns + i * BROAD, _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20));
        store8(columns + (4 + i) * BROAD, _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31));
    }
#else
    ptrdiff_t i, j;
    for (i = 0; i < 8; ++i) {
        for (j = 0; j < 8; ++j) columns[j * BROAD + i] = rows[i * pitch + j];
    }
#endif
}

/* A strip (BROAD, pitch), of whose columns the first `count` are needed, to (count, BROAD); pitch is a multiple of
 * BROAD, and as many columns are written. */
static void turn_strip(const float *strip, ptrdiff_t pitch, ptrdiff_t count, float *columns)
{
    ptrdiff_t i, j;
    for (j = 0; j < count; j += 8) {
        for (i = 0; i < BROAD; i += 8) turn_eight(strip + i * pitch + j, pitch, columns + j * BROAD + i);
    }
}

/* See `sum_columns`, which calls it with the usual numbers of taps as constants. */
PYCLNF_INLINE void sum_taps(const float *columns, const int32_t *picked, const float *weights, ptrdiff_t count,
                            const ptrdiff_t TAPS, float *sums)
{
    ptrdiff_t j, k;
    for (j = 0; j < count; ++j, picked += TAPS, weights += TAPS) {
        broad sum = splat_broad(0.0f);
        for (k = 0; k < TAPS; ++k) {
            sum = add_broad(sum, product_broad(splat_broad(weights[k]), load_broad(columns + picked[k] * BROAD)));
        }
        store_broad(sums + j * BROAD, sum);
    }
}

/* sums (count, BROAD): of each of the grid's columns the sum of `taps` columns of the strip that are picked, each with
 * its weight. */
static void sum_columns(const float *columns, const int32_t *picked, const float *weights, ptrdiff_t count,
                        ptrdiff_t taps, float *sums)
{
    if (taps == 2) {
        sum_taps(columns, picked, weights, count, 2, sums);
    } else if (taps == 3) {
        sum_taps(columns, picked, weights, count, 3, sums);
    } else if (taps == 4) {
        sum_taps(columns, picked, weights, count, 4, sums);
    } else {
        sum_taps(columns, picked, weights, count, taps, sums);
    }
}

/* The first `rows` rows of what such sums are turned: floats. */
static void write_floats(const float *sums, ptrdiff_t count, ptrdiff_t rows, ptrdiff_t pitch, float *out)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; ++i) {
        for (j = 0; j < count; ++j) out[i * pitch + j] = sums[j * BROAD + i];
    }
}

/* The same, rounded to bytes, a half upwards; bytes has room for (count, BROAD). */
static void write_bytes(const float *sums, ptrdiff_t count, ptrdiff_t rows, ptrdiff_t pitch, uint8_t *bytes,
                        uint8_t *out)
{
    ptrdiff_t i, j, from = 0;
    for (i = 0; i < count * BROAD; ++i) bytes[i] = (uint8_t)(int32_t)(sums[i] + 0.5f);
#if defined(__AVX2__)
    if (rows == BROAD) {
        for (; from + 8 <= count; from += 8) {
            for (i = 0; i < BROAD; i += 8) {
                const uint8_t *at = bytes + from * BROAD + i;
                __m128i pairs[4], low, high, fours[4];
#ifdef __GNUC__
#pragma GCC unroll 4
#endif
                for (j = 0; j < 4; ++j) {
                    pairs[j] = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(at + 2 * j * BROAD)),
                                                 _mm_loadl_epi64((const __m128i *)(at + (2 * j + 1) * BROAD)));
                }
                fours[0] = _mm_unpacklo_epi16(pairs[0], pairs[1]);
                fours[1] = _mm_unpackhi_epi16(pairs[0], pairs[1]);
                fours[2] = _mm_unpacklo_epi16(pairs[2], pairs[3]);
                fours[3] = _mm_unpackhi_epi16(pairs[2], pairs[3]);
#ifdef __GNUC__
#pragma GCC unroll 2
#endif
                for (j = 0; j < 2; ++j) {
                    uint8_t *row = out + (i + 4 * j) * pitch + from;
                    low = _mm_unpacklo_epi32(fours[j], fours[2 + j]);
                    high = _mm_unpackhi_epi32(fours[j], fours[2 + j]);
                    _mm_storel_epi64((__m128i *)row, low);
                    _mm_storel_epi64((__m128i *)(row + pitch), _mm_unpackhi_epi64(low, low));
                    _mm_storel_epi64((__m128i *)(row + 2 * pitch), high);
                    _mm_storel_epi64((__m128i *)(row + 3 * pitch), _mm_unpackhi_epi64(high, high));
                }
            }
        }
    }
#endif
    for (i = 0; i < rows; ++i) {
        for (j = from; j < count; ++j) out[i * pitch + j] = bytes[j * BROAD + i];
    }
}

#endif
