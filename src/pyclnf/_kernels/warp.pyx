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
    void bgr_line(const uint8_t *image, Py_ssize_t count, float *grey) noexcept nogil
    void grey_line(const uint8_t *image, Py_ssize_t count, float *grey) noexcept nogil
    void add_line(float weight, const float *line, Py_ssize_t count, float *sum) noexcept nogil

ctypedef fused pixel_t:
    uint8_t
    float
    double

# Numbers of four bytes that one sample of a row needs as scratch.
cdef int SAMPLE_WORDS = 14

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


cdef void c_sample_areas(const pixel_t[:, :, :] image, const double[:, :, ::1] matrices,
                         float[:, :, ::1] out, int32_t *scratch) noexcept nogil:
    cdef Py_ssize_t k, i, j
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
                    if image.shape[2] == 1:
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
    if scratch == NULL:
        raise MemoryError
    with nogil:
        c_sample_areas(image, matrices, out, scratch)
    free(scratch)
