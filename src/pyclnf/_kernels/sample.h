/* Bilinear samples of areas of interest, and grey values of lines of pixels.
 *
 * Coordinates are fixed-point numbers with 5 bits of fraction. What depends on
 * the image's memory is read in one loop, all arithmetic is done in others,
 * which compilers vectorise.
 */
#ifndef PYCLNF_SAMPLE_H
#define PYCLNF_SAMPLE_H

#include "lanes.h"

/* Coordinates are rounded as OpenCV 4's warpAffine rounds them: products to 1/1024 px, their sum to
 * 1/32 px. Done here, so that the result does not depend on OpenCV's version. */
#define FIXED_ONE 1024.0
#define FIXED_HALF 16
/* Beyond this many pixels a coordinate is outside every image that fits in memory; the bound keeps
 * the fixed-point numbers within 32 bits. */
#define FIXED_LIMIT 1e6

/* Within the limit; NaN, which must not reach the conversion to an integer, is its lower end. */
PYCLNF_INLINE double bounded(double value)
{
    const double high = value > FIXED_LIMIT ? FIXED_LIMIT : value;
    return high > -FIXED_LIMIT ? high : -FIXED_LIMIT;
}

/* The numbers factor * i + offset, i = 0, 1, ..., in 1/1024 px. */
static void fixed_numbers(double factor, double offset, ptrdiff_t count, int32_t *PYCLNF_RESTRICT out)
{
    ptrdiff_t i;
    for (i = 0; i < count; ++i) out[i] = (int32_t)lrint(bounded(factor * (double)i + offset) * FIXED_ONE);
}

/* Parts of a pixel that a position's fraction is counted in. */
#define FRACTIONS 32

/* Split positions (start + steps, 1/1024 px) into pixel and fraction (1/32 px). */
static void split_positions(int32_t start, const int32_t *PYCLNF_RESTRICT steps, ptrdiff_t count,
                            int32_t *PYCLNF_RESTRICT pixel, int32_t *PYCLNF_RESTRICT fraction)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const int32_t position = (start + steps[j]) >> 5;
        pixel[j] = position >> 5;
        fraction[j] = position & (FRACTIONS - 1);
    }
}

PYCLNF_INLINE float blended(float a, float b, float c, float d, int32_t parts_right, int32_t parts_down)
{
    const float u = (float)parts_right * (1.0f / FRACTIONS), v = (float)parts_down * (1.0f / FRACTIONS);
    return a * ((1 - v) * (1 - u)) + b * ((1 - v) * u) + c * (v * (1 - u)) + d * (v * u);
}

/* Samples from the values of the pixels around them: top left, top right, bottom left, bottom right. */
static void blend(const float *PYCLNF_RESTRICT a, const float *PYCLNF_RESTRICT b, const float *PYCLNF_RESTRICT c,
                  const float *PYCLNF_RESTRICT d, const int32_t *PYCLNF_RESTRICT u, const int32_t *PYCLNF_RESTRICT v,
                  ptrdiff_t count, float *PYCLNF_RESTRICT out)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) out[j] = blended(a[j], b[j], c[j], d[j], u[j], v[j]);
}

/* The same from 8-bit values, four in one number: top left, bottom left, top right, bottom right, the
 * first in the lowest bits. All numbers are exact, so that whole ones give the same bits. */
static void blend_packed(const uint32_t *PYCLNF_RESTRICT packed, const int32_t *PYCLNF_RESTRICT u,
                         const int32_t *PYCLNF_RESTRICT v, ptrdiff_t count, float *PYCLNF_RESTRICT out)
{
    ptrdiff_t j = 0;
#if defined(__AVX2__)
    const __m256i parts = _mm256_set1_epi32(FRACTIONS);
    const floats unit = splat8(1.0f / (FRACTIONS * FRACTIONS));
    for (; j + 8 <= count; j += 8) {
        const __m256i four = _mm256_loadu_si256((const __m256i *)(packed + j));
        const __m256i right = _mm256_loadu_si256((const __m256i *)(u + j));
        const __m256i down = _mm256_loadu_si256((const __m256i *)(v + j));
        /* Parts of the upper and of the lower pixel, one byte each, for the left and for the right column, then of
         * the columns, one word each: 2^8 d + (32 - d), 2^16 r + (32 - r). */
        const __m256i one = _mm256_add_epi32(_mm256_sub_epi32(_mm256_slli_epi32(down, 8), down), parts);
        const __m256i columns = _mm256_maddubs_epi16(four, _mm256_or_si256(one, _mm256_slli_epi32(one, 16)));
        const __m256i shares = _mm256_add_epi32(_mm256_sub_epi32(_mm256_slli_epi32(right, 16), right), parts);
        store8(out + j, mul8(_mm256_cvtepi32_ps(_mm256_madd_epi16(columns, shares)), unit));
    }
#endif
    for (; j < count; ++j) {
        const int32_t four = (int32_t)packed[j];
        out[j] = blended((float)(four & 255), (float)((four >> 16) & 255), (float)((four >> 8) & 255),
                         (float)((four >> 24) & 255), u[j], v[j]);
    }
}

/* Four bytes as one number; compilers make one load of it where bytes are in this order anyway. */
PYCLNF_INLINE uint32_t four_bytes(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Grey value of a pixel whose first three bytes are BGR, by OpenCV's 15-bit weights. */
PYCLNF_INLINE uint32_t grey_of(uint32_t bgr)
{
    return (3735 * (bgr & 255) + 19235 * ((bgr >> 8) & 255) + 9798 * ((bgr >> 16) & 255) + 16384) >> 15;
}

/* The pixels around samples at (x, y), from an image of 8-bit BGR (or BGRA) pixels.
 *
 * A pixel is read as four bytes: the pixel to the right of the samples' right neighbours must exist.
 * scratch has 4 * count places. */
static void read_bgr(const uint8_t *image, ptrdiff_t row_step, ptrdiff_t pixel_step, ptrdiff_t count,
                     const int32_t *x, const int32_t *y, uint32_t *PYCLNF_RESTRICT scratch,
                     uint32_t *PYCLNF_RESTRICT packed)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const uint8_t *p = image + y[j] * row_step + x[j] * pixel_step;
        scratch[j] = four_bytes(p);
        scratch[count + j] = four_bytes(p + row_step);
        scratch[2 * count + j] = four_bytes(p + pixel_step);
        scratch[3 * count + j] = four_bytes(p + row_step + pixel_step);
    }
    for (j = 0; j < count; ++j) {
        packed[j] = grey_of(scratch[j]) | grey_of(scratch[count + j]) << 8 | grey_of(scratch[2 * count + j]) << 16
                    | grey_of(scratch[3 * count + j]) << 24;
    }
}

/* The same from an image of 8-bit grey values. */
static void read_grey(const uint8_t *image, ptrdiff_t row_step, ptrdiff_t pixel_step, ptrdiff_t count,
                      const int32_t *x, const int32_t *y, uint32_t *PYCLNF_RESTRICT packed)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const uint8_t *p = image + y[j] * row_step + x[j] * pixel_step, *q = p + row_step;
        packed[j] = (uint32_t)(p[0] | q[0] << 8) | (uint32_t)(p[pixel_step] | q[pixel_step] << 8) << 16;
    }
}

/* Lines of 8-bit values and the next ones, a value of each in turn. */
static void pair_lines(const uint8_t *PYCLNF_RESTRICT line, const uint8_t *PYCLNF_RESTRICT next, ptrdiff_t count,
                       uint16_t *PYCLNF_RESTRICT pairs)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) pairs[j] = (uint16_t)(line[j] | next[j] << 8);
}

/* The pixels around samples at (x, y) from such pairs, of which `before` are not there; compilers make one
 * load of a sample's two pairs where bytes are in this order anyway. */
static void read_pairs(const uint16_t *pairs, int32_t columns, int32_t before, ptrdiff_t count,
                       const int32_t *PYCLNF_RESTRICT x, const int32_t *PYCLNF_RESTRICT y,
                       int32_t *PYCLNF_RESTRICT scratch, uint32_t *PYCLNF_RESTRICT packed)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) scratch[j] = y[j] * columns + x[j] - before;
    for (j = 0; j < count; ++j) {
        const uint16_t *pair = pairs + scratch[j];
        packed[j] = pair[0] | (uint32_t)pair[1] << 16;
    }
}

#if defined(__AVX2__)
/* Of four BGR pixels in each 16 bytes: blue and green of each beside each other as words, and red with nothing. */
#define BLUE_GREEN 0, -1, 1, -1, 3, -1, 4, -1, 6, -1, 7, -1, 9, -1, 10, -1
#define RED_NOTHING 2, -1, -1, -1, 5, -1, -1, -1, 8, -1, -1, -1, 11, -1, -1, -1
#define BLUE_GREEN_SHARES (19235 << 16 | 3735)
#define RED_SHARE 9798
/* Grey values of eight BGR pixels that lie side by side; 28 bytes are read. */
PYCLNF_INLINE __m256i grey_of_eight(const uint8_t *bgr)
{
    const __m256i first = _mm256_setr_epi8(BLUE_GREEN, BLUE_GREEN), rest = _mm256_setr_epi8(RED_NOTHING, RED_NOTHING);
    const __m256i pixels = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)bgr)), _mm_loadu_si128((const __m128i *)(bgr + 12)), 1);
    const __m256i sums = _mm256_add_epi32(
        _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, first), _mm256_set1_epi32(BLUE_GREEN_SHARES)),
        _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, rest), _mm256_set1_epi32(RED_SHARE)));
    return _mm256_srli_epi32(_mm256_add_epi32(sums, _mm256_set1_epi32(16384)), 15);
}
#endif
#if defined(__AVX512F__)
/* The same of sixteen; 48 bytes are read. */
PYCLNF_INLINE __m512i grey_of_sixteen(const uint8_t *bgr)
{
    const __m512i fours = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const __m512i first = _mm512_broadcast_i32x4(_mm_setr_epi8(BLUE_GREEN));
    const __m512i rest = _mm512_broadcast_i32x4(_mm_setr_epi8(RED_NOTHING));
    const __m512i pixels = _mm512_permutexvar_epi32(fours, _mm512_maskz_loadu_epi32(0xfff, bgr));
    const __m512i sums = _mm512_add_epi32(
        _mm512_madd_epi16(_mm512_shuffle_epi8(pixels, first), _mm512_set1_epi32(BLUE_GREEN_SHARES)),
        _mm512_madd_epi16(_mm512_shuffle_epi8(pixels, rest), _mm512_set1_epi32(RED_SHARE)));
    return _mm512_srli_epi32(_mm512_add_epi32(sums, _mm512_set1_epi32(16384)), 15);
}
#endif

/* Grey values of BGR pixels that lie side by side. */
static void bgr_line(const uint8_t *PYCLNF_RESTRICT image, ptrdiff_t count, float *PYCLNF_RESTRICT grey)
{
    ptrdiff_t j = 0;
#if defined(__AVX512F__)
    for (; j + 16 <= count; j += 16) _mm512_storeu_ps(grey + j, _mm512_cvtepi32_ps(grey_of_sixteen(image + 3 * j)));
#endif
#if defined(__AVX2__)
    for (; j + 10 <= count; j += 8) store8(grey + j, _mm256_cvtepi32_ps(grey_of_eight(image + 3 * j)));
#endif
    for (; j < count; ++j) {
        const int32_t sum = 3735 * image[3 * j] + 19235 * image[3 * j + 1] + 9798 * image[3 * j + 2];
        grey[j] = (float)((sum + 16384) >> 15);
    }
}

static void bgr_bytes(const uint8_t *PYCLNF_RESTRICT image, ptrdiff_t count, uint8_t *PYCLNF_RESTRICT grey)
{
    ptrdiff_t j = 0;
#if defined(__AVX512F__)
    for (; j + 16 <= count; j += 16) {
        _mm_storeu_si128((__m128i *)(grey + j), _mm512_cvtepi32_epi8(grey_of_sixteen(image + 3 * j)));
    }
#endif
#if defined(__AVX2__)
    for (; j + 10 <= count; j += 8) {
        const __m256i eight = grey_of_eight(image + 3 * j);
        const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
        _mm_storel_epi64((__m128i *)(grey + j), _mm_packus_epi16(words, words));
    }
#endif
    for (; j < count; ++j) {
        const int32_t sum = 3735 * image[3 * j] + 19235 * image[3 * j + 1] + 9798 * image[3 * j + 2];
        grey[j] = (uint8_t)((sum + 16384) >> 15);
    }
}

/* Grey values as they are. */
static void grey_line(const uint8_t *PYCLNF_RESTRICT image, ptrdiff_t count, float *PYCLNF_RESTRICT grey)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) grey[j] = (float)image[j];
}

#endif
