/* Bilinear samples along one row of an area of interest.
 *
 * Coordinates are fixed-point numbers with 5 bits of fraction. What depends on
 * the image's memory is read in one loop, all arithmetic is done in others,
 * which compilers vectorise.
 */
#ifndef PYCLNF_SAMPLE_H
#define PYCLNF_SAMPLE_H

#include "lanes.h"

/* The row's samples: pixel (x, y), fraction (u, v) and the grey values of the four pixels around. */
typedef struct {
    int32_t *x, *y;
    float *u, *v;
    float *grey[4]; /* top left, top right, bottom left, bottom right */
} sample_row;

/* Split positions (start + steps, 1/1024 px) into pixel and fraction (1/32 px). */
static void split_positions(int32_t start, const int32_t *PYCLNF_RESTRICT steps, ptrdiff_t count,
                            int32_t *PYCLNF_RESTRICT pixel, float *PYCLNF_RESTRICT fraction)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const int32_t position = (start + steps[j]) >> 5;
        pixel[j] = position >> 5;
        fraction[j] = (float)(position & 31) * (1.0f / 32.0f);
    }
}

static void blend(const sample_row *row, ptrdiff_t count, float *PYCLNF_RESTRICT out)
{
    const float *PYCLNF_RESTRICT u = row->u, *PYCLNF_RESTRICT v = row->v;
    const float *PYCLNF_RESTRICT a = row->grey[0], *PYCLNF_RESTRICT b = row->grey[1];
    const float *PYCLNF_RESTRICT c = row->grey[2], *PYCLNF_RESTRICT d = row->grey[3];
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        out[j] = a[j] * ((1 - v[j]) * (1 - u[j])) + b[j] * ((1 - v[j]) * u[j]) + c[j] * (v[j] * (1 - u[j]))
                 + d[j] * (v[j] * u[j]);
    }
}

/* Four bytes as one number; compilers make one load of it where bytes are in this order anyway. */
PYCLNF_INLINE uint32_t four_bytes(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Grey values of pixels whose first three bytes are BGR, by OpenCV's 15-bit weights, in place. */
static void bgr_to_grey(uint32_t *PYCLNF_RESTRICT pixels, ptrdiff_t count, float *PYCLNF_RESTRICT grey)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const int32_t bgr = (int32_t)pixels[j];
        const int32_t sum = 3735 * (bgr & 255) + 19235 * ((bgr >> 8) & 255) + 9798 * ((bgr >> 16) & 255);
        grey[j] = (float)((sum + 16384) >> 15);
    }
}

/* Grey values of pixels that lie side by side: by OpenCV's weights of 8-bit BGR, or as they are. */
static void bgr_line(const uint8_t *PYCLNF_RESTRICT image, ptrdiff_t count, float *PYCLNF_RESTRICT grey)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const int32_t sum = 3735 * image[3 * j] + 19235 * image[3 * j + 1] + 9798 * image[3 * j + 2];
        grey[j] = (float)((sum + 16384) >> 15);
    }
}

static void bgr_bytes(const uint8_t *PYCLNF_RESTRICT image, ptrdiff_t count, uint8_t *PYCLNF_RESTRICT grey)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const int32_t sum = 3735 * image[3 * j] + 19235 * image[3 * j + 1] + 9798 * image[3 * j + 2];
        grey[j] = (uint8_t)((sum + 16384) >> 15);
    }
}

static void grey_line(const uint8_t *PYCLNF_RESTRICT image, ptrdiff_t count, float *PYCLNF_RESTRICT grey)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) grey[j] = (float)image[j];
}

static void add_line(float weight, const float *PYCLNF_RESTRICT line, ptrdiff_t count, float *PYCLNF_RESTRICT sum)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) sum[j] += weight * line[j];
}

/* Read the pixels around each sample from an image of 8-bit BGR (or BGRA) pixels.
 *
 * A pixel is read as four bytes: the pixel to the right of the samples' right neighbours must exist. */
static void read_bgr(const uint8_t *image, ptrdiff_t row_step, ptrdiff_t pixel_step, ptrdiff_t count,
                     uint32_t *packed, const sample_row *row)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const uint8_t *p = image + row->y[j] * row_step + row->x[j] * pixel_step;
        packed[j] = four_bytes(p);
        packed[count + j] = four_bytes(p + pixel_step);
        packed[2 * count + j] = four_bytes(p + row_step);
        packed[3 * count + j] = four_bytes(p + row_step + pixel_step);
    }
    for (j = 0; j < 4; ++j) bgr_to_grey(packed + j * count, count, row->grey[j]);
}

/* The same from an image of 8-bit grey values. */
static void read_grey(const uint8_t *image, ptrdiff_t row_step, ptrdiff_t pixel_step, ptrdiff_t count,
                      const sample_row *row)
{
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const uint8_t *p = image + row->y[j] * row_step + row->x[j] * pixel_step;
        row->grey[0][j] = p[0];
        row->grey[1][j] = p[pixel_step];
        row->grey[2][j] = p[row_step];
        row->grey[3][j] = p[row_step + pixel_step];
    }
}

/* The same where the grey values of a row lie side by side, `before` of them are not there, and the
 * four of a sample are read as two pairs. */
static void read_pairs(const uint8_t *image, ptrdiff_t row_step, ptrdiff_t before, ptrdiff_t count,
                       uint32_t *PYCLNF_RESTRICT packed, const sample_row *row)
{
    float *PYCLNF_RESTRICT a = row->grey[0], *PYCLNF_RESTRICT b = row->grey[1];
    float *PYCLNF_RESTRICT c = row->grey[2], *PYCLNF_RESTRICT d = row->grey[3];
    ptrdiff_t j;
    for (j = 0; j < count; ++j) {
        const uint8_t *p = image + (row->y[j] * row_step + row->x[j] - before), *q = p + row_step;
        packed[j] = (uint32_t)(p[0] | p[1] << 8) | (uint32_t)(q[0] | q[1] << 8) << 16;
    }
    for (j = 0; j < count; ++j) {
        const int32_t four = (int32_t)packed[j];
        a[j] = (float)(four & 255);
        b[j] = (float)((four >> 8) & 255);
        c[j] = (float)((four >> 16) & 255);
        d[j] = (float)((four >> 24) & 255);
    }
}

#endif
