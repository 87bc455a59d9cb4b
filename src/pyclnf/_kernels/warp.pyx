# Areas of interest: bilinear samples of the image on a turned and scaled grid.

cdef extern from "sample.h":
    ctypedef struct sample_row:
        int32_t *x
        int32_t *y
        float *u
        float *v
        float *grey[4]
    void split_positions(int32_t start, const int32_t *steps, Py_ssize_t count, int32_t *pixel,
                         float *fraction) noexcept nogil
    void blend(const sample_row *row, Py_ssize_t count, float *out) noexcept nogil
    void read_bgr(const uint8_t *image, Py_ssize_t row_step, Py_ssize_t pixel_step, Py_ssize_t count, uint32_t *packed,
                  const sample_row *row) noexcept nogil
    void read_grey(const uint8_t *image, Py_ssize_t row_step, Py_ssize_t pixel_step, Py_ssize_t count,
                   const sample_row *row) noexcept nogil
    void read_pairs(const uint8_t *image, Py_ssize_t row_step, Py_ssize_t before, Py_ssize_t count, uint32_t *packed,
                    const sample_row *row) noexcept nogil
    void bgr_line(const uint8_t *image, Py_ssize_t count, float *grey) noexcept nogil
    void bgr_bytes(const uint8_t *image, Py_ssize_t count, uint8_t *grey) noexcept nogil
    void grey_line(const uint8_t *image, Py_ssize_t count, float *grey) noexcept nogil
    void add_line(float weight, const float *line, Py_ssize_t count, float *sum) noexcept nogil

ctypedef fused pixel_t:
    uint8_t
    float
    double

# Numbers of four bytes that one sample of a row needs as scratch.
cdef int SAMPLE_WORDS = 14

# A part of the image is turned to grey at once if it has no more than so many pixels a sample.
cdef int GREY_SHARE = 4

# Coordinates are rounded as OpenCV 4's warpAffine rounds them: products to
# 1/1024 px, their sum to 1/32 px. Done here, so that the result does not
# depend on OpenCV's version.
cdef double FIXED_ONE = 1024.0
cdef int FIXED_HALF = 16
# Beyond this many pixels a coordinate is outside every image that fits in memory;
# the bound keeps the fixed-point numbers within 32 bits.
cdef double FIXED_LIMIT = 1e6


cdef inline double bounded(double value) noexcept nogil:
    if value > FIXED_LIMIT:
        return FIXED_LIMIT
    # Also true for NaN, which must not reach the conversion to an integer.
    if not value > -FIXED_LIMIT:
        return -FIXED_LIMIT
    return value


cdef inline int32_t fixed(double value) noexcept nogil:
    return <int32_t>lrint(bounded(value) * FIXED_ONE)


cdef inline float grey(const pixel_t[:, :, :] image, Py_ssize_t y, Py_ssize_t x) noexcept nogil:
    """The grey value of a pixel; 0 outside the image."""
    if y < 0 or x < 0 or y >= image.shape[0] or x >= image.shape[1]:
        return 0.0
    if image.shape[2] == 1:
        return <float>image[y, x, 0]
    if pixel_t is uint8_t:
        # OpenCV's BGR to grey conversion: 15-bit fixed point, rounded.
        return <float>((3735 * <int>image[y, x, 0] + 19235 * <int>image[y, x, 1]
                        + 9798 * <int>image[y, x, 2] + 16384) >> 15)
    else:
        return <float>(0.114 * image[y, x, 0] + 0.587 * image[y, x, 1] + 0.299 * image[y, x, 2])


cdef void read_any(const pixel_t[:, :, :] image, Py_ssize_t count, const sample_row *row) noexcept nogil:
    """Read the pixels around each sample from an image of any type and strides."""
    cdef Py_ssize_t j
    for j in range(count):
        row.grey[0][j] = grey(image, row.y[j], row.x[j])
        row.grey[1][j] = grey(image, row.y[j], row.x[j] + 1)
        row.grey[2][j] = grey(image, row.y[j] + 1, row.x[j])
        row.grey[3][j] = grey(image, row.y[j] + 1, row.x[j] + 1)


cdef inline bint between(int32_t first, int32_t last, Py_ssize_t end) noexcept nogil:
    return 0 <= first and 0 <= last and first < end and last < end


ctypedef struct grey_part:
    # A part of the image in grey values, its first row and column; no pixels if there is none.
    uint8_t *pixels
    Py_ssize_t top
    Py_ssize_t left
    Py_ssize_t rows
    Py_ssize_t columns


cdef grey_part part_around(const double[:, :, ::1] matrices, Py_ssize_t side, Py_ssize_t height,
                           Py_ssize_t width) noexcept nogil:
    """The part of the image that the areas lie in."""
    cdef Py_ssize_t k, corner, axis
    cdef double value
    cdef double[2] low
    cdef double[2] high
    cdef grey_part part
    for axis in range(2):
        low[axis], high[axis] = FIXED_LIMIT, -FIXED_LIMIT
        for k in range(matrices.shape[0]):
            for corner in range(4):
                value = bounded(matrices[k, axis, 2] + (side - 1) * (
                    matrices[k, axis, 0] * (corner % 2) + matrices[k, axis, 1] * (corner // 2)))
                low[axis] = min(low[axis], value)
                high[axis] = max(high[axis], value)
    # Rounding moves a position by less than a pixel; each has a neighbour to the right and below.
    part.left = min(max(<Py_ssize_t>low[0] - 2, 0), width)
    part.top = min(max(<Py_ssize_t>low[1] - 2, 0), height)
    part.columns = max(min(<Py_ssize_t>high[0] + 4, width) - part.left, 0)
    part.rows = max(min(<Py_ssize_t>high[1] + 4, height) - part.top, 0)
    part.pixels = NULL
    return part


cdef void c_sample_areas(const pixel_t[:, :, :] image, const double[:, :, ::1] matrices,
                         float[:, :, ::1] out, int32_t *scratch, const grey_part *part) noexcept nogil:
    cdef Py_ssize_t k, i, j, before
    cdef Py_ssize_t side = out.shape[1], last = side - 1
    cdef int32_t *steps_x = scratch
    cdef int32_t *steps_y = steps_x + side
    cdef uint32_t *packed = <uint32_t *>(steps_y + side)
    cdef sample_row row
    row.x = <int32_t *>(packed + 4 * side)
    row.y = row.x + side
    row.u = <float *>(row.y + side)
    row.v = row.u + side
    for j in range(4):
        row.grey[j] = row.v + (j + 1) * side
    before = part.top * part.columns + part.left
    for k in range(out.shape[0]):
        for j in range(side):
            steps_x[j] = fixed(matrices[k, 0, 0] * j)
            steps_y[j] = fixed(matrices[k, 1, 0] * j)
        for i in range(side):
            split_positions(fixed(matrices[k, 0, 1] * i + matrices[k, 0, 2]) + FIXED_HALF, steps_x, side,
                            row.x, row.u)
            split_positions(fixed(matrices[k, 1, 1] * i + matrices[k, 1, 2]) + FIXED_HALF, steps_y, side,
                            row.y, row.v)
            if pixel_t is uint8_t:
                # Positions go one way along a row, so that its ends tell whether all of it is inside.
                if (between(row.x[0], row.x[last], image.shape[1] - 2)
                        and between(row.y[0], row.y[last], image.shape[0] - 1)):
                    if part.pixels != NULL:
                        read_pairs(part.pixels, part.columns, before, side, packed, &row)
                        blend(&row, side, &out[k, i, 0])
                        continue
                    if image.shape[2] == 1:
                        if image.strides[1] == 1:
                            read_pairs(&image[0, 0, 0], image.strides[0], 0, side, packed, &row)
                        else:
                            read_grey(&image[0, 0, 0], image.strides[0], image.strides[1], side, &row)
                        blend(&row, side, &out[k, i, 0])
                        continue
                    if image.strides[2] == 1 and image.strides[1] >= 3:
                        read_bgr(&image[0, 0, 0], image.strides[0], image.strides[1], side, packed, &row)
                        blend(&row, side, &out[k, i, 0])
                        continue
            read_any(image, side, &row)
            blend(&row, side, &out[k, i, 0])


def sample_areas(const pixel_t[:, :, :] image, const double[:, :, ::1] matrices, float[:, :, ::1] out):
    """Sample square areas of an image through affine maps.

    Parameters
    ----------
    image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
        Grey or BGR; any strides.
    matrices : ndarray, shape (v, 2, 3), float64
        Position (column j, row i) of area k is ``matrices[k] @ (j, i, 1)`` in the image, px.
    out : ndarray, shape (v, a, a), float32
        Grey values, bilinear, 0 outside the image.
    """
    cdef int32_t *scratch = <int32_t *>malloc(SAMPLE_WORDS * out.shape[1] * sizeof(int32_t))
    cdef grey_part part
    cdef Py_ssize_t i, pixels
    if scratch == NULL:
        raise MemoryError
    part.pixels, part.top, part.left, part.rows, part.columns = NULL, 0, 0, 0, 0
    with nogil:
        if pixel_t is uint8_t:
            if image.shape[2] == 3 and image.strides[2] == 1 and image.strides[1] == 3:
                # Of a face that is not large each pixel is read several times: turned to grey but once.
                part = part_around(matrices, out.shape[1], image.shape[0], image.shape[1])
                pixels = part.rows * part.columns
                if 0 < pixels <= GREY_SHARE * out.shape[0] * out.shape[1] * out.shape[1]:
                    part.pixels = <uint8_t *>malloc(pixels)
                if part.pixels != NULL:
                    for i in range(part.rows):
                        bgr_bytes(&image[part.top + i, part.left, 0], part.columns, part.pixels + i * part.columns)
        c_sample_areas(image, matrices, out, scratch, &part)
        free(part.pixels)
    free(scratch)
