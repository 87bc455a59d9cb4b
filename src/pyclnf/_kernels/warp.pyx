# Areas of interest: bilinear samples of the image on a turned and scaled grid.

ctypedef fused pixel_t:
    uint8_t
    float
    double

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


cdef inline float grey(const pixel_t[:, :, :] image, Py_ssize_t y, Py_ssize_t x) noexcept nogil:
    if image.shape[2] == 1:
        return <float>image[y, x, 0]
    if pixel_t is uint8_t:
        # OpenCV's BGR to grey conversion: 15-bit fixed point, rounded.
        return <float>((3735 * <int>image[y, x, 0] + 19235 * <int>image[y, x, 1]
                        + 9798 * <int>image[y, x, 2] + 16384) >> 15)
    else:
        return <float>(0.114 * image[y, x, 0] + 0.587 * image[y, x, 1] + 0.299 * image[y, x, 2])


cdef inline float grey_or_zero(const pixel_t[:, :, :] image, Py_ssize_t y, Py_ssize_t x) noexcept nogil:
    if y < 0 or x < 0 or y >= image.shape[0] or x >= image.shape[1]:
        return 0.0
    return grey(image, y, x)


cdef void c_sample_areas(const pixel_t[:, :, :] image, const double[:, :, ::1] matrices,
                         float[:, :, ::1] out) noexcept nogil:
    cdef Py_ssize_t k, i, j, x, y, height = image.shape[0], width = image.shape[1], side = out.shape[1]
    cdef long fx, fy, row_x, row_y
    cdef float u, v
    for k in range(out.shape[0]):
        for i in range(side):
            row_x = lrint(bounded(matrices[k, 0, 1] * i + matrices[k, 0, 2]) * FIXED_ONE) + FIXED_HALF
            row_y = lrint(bounded(matrices[k, 1, 1] * i + matrices[k, 1, 2]) * FIXED_ONE) + FIXED_HALF
            for j in range(side):
                fx = (row_x + lrint(bounded(matrices[k, 0, 0] * j) * FIXED_ONE)) >> 5
                fy = (row_y + lrint(bounded(matrices[k, 1, 0] * j) * FIXED_ONE)) >> 5
                x = fx >> 5
                y = fy >> 5
                u = <float>(fx & 31) * <float>(1.0 / 32.0)
                v = <float>(fy & 31) * <float>(1.0 / 32.0)
                if 0 <= x and x + 1 < width and 0 <= y and y + 1 < height:
                    out[k, i, j] = (grey(image, y, x) * ((1 - v) * (1 - u))
                                    + grey(image, y, x + 1) * ((1 - v) * u)
                                    + grey(image, y + 1, x) * (v * (1 - u))
                                    + grey(image, y + 1, x + 1) * (v * u))
                else:
                    out[k, i, j] = (grey_or_zero(image, y, x) * ((1 - v) * (1 - u))
                                    + grey_or_zero(image, y, x + 1) * ((1 - v) * u)
                                    + grey_or_zero(image, y + 1, x) * (v * (1 - u))
                                    + grey_or_zero(image, y + 1, x + 1) * (v * u))


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
    with nogil:
        c_sample_areas(image, matrices, out)
