# The linear stage of the learned start: descriptors around the landmarks, and their weighted sums.


cdef extern from "describe.h":
    void slopes(const float *patch, Py_ssize_t n, float c, float s, float *out) noexcept nogil
    void blur(float *map, Py_ssize_t n, const float *taps, Py_ssize_t r, float *line, float *other,
              const float **rows) noexcept nogil
    void add_weighted(float value, const signed char *weights, Py_ssize_t n, float *total) noexcept nogil


cdef inline float c_blend(float a, float b, float c, float d, float u, float v) noexcept nogil:
    """Interpolate between the values at the top, a and b, and at the bottom, c and d."""
    cdef float upper = a * (1 - u) + b * u
    cdef float lower = c * (1 - u) + d * u
    return upper * (1 - v) + lower * v


def describe_points(const uint8_t[:, ::1] crop, const double[:, ::1] matrix, Py_ssize_t side,
                    const float[:, ::1] directions, const float[::1] taps, const double[:, ::1] points,
                    const float[:, ::1] offsets, float floor, float[:, ::1] out):
    """Describe points of a patch by the slopes around them in some directions.

    Parameters
    ----------
    crop : ndarray, shape (L, L), uint8
    matrix : ndarray, shape (2, 3), float64
        From the patch (column, row, 1) to the crop (x, y). The crop's border goes on outside.
    side : int
        Side N of the patch, px.
    directions : ndarray, shape (B, 2), float32
        Unit vectors (x, y).
    taps : ndarray, shape (2 r + 1,), float32
        By which the slopes are blurred along both axes.
    points : ndarray, shape (n, 2), float64
        Patch px.
    offsets : ndarray, shape (K, 2), float32
        Where around each point the slopes are taken, patch px.
    floor : float
        Added to the length of a point's descriptor, by which it is divided.
    out : ndarray, shape (n, K * B), float32
        K samples of B slopes a point.
    """
    cdef Py_ssize_t n_directions = directions.shape[0], r = taps.shape[0] // 2, n_offsets = offsets.shape[0]
    cdef Py_ssize_t i, j, k, b, area = side * side
    cdef Py_ssize_t longest = side if side > n_offsets else n_offsets
    # Of a row of the patch, or of the samples around a point: positions, pixels, shares of the next ones.
    cdef double *x = <double *>malloc(2 * longest * sizeof(double))
    cdef int32_t *columns = <int32_t *>malloc(2 * longest * sizeof(int32_t))
    cdef float *work = <float *>malloc((area * (n_directions + 2) + side + 2 * r + 2 * longest) * sizeof(float))
    cdef const float **taps_rows = <const float **>malloc((2 * r + 1) * sizeof(void *))
    cdef double *y = x + longest
    cdef int32_t *rows = columns + longest
    cdef float *patch = work
    cdef float *other = work + area
    cdef float *maps = work + 2 * area
    cdef float *line = work + (n_directions + 2) * area
    cdef float *u = line + side + 2 * r
    cdef float *v = u + longest
    cdef const uint8_t *pixel
    cdef const float *at
    cdef double total
    cdef float value
    if x == NULL or columns == NULL or work == NULL or taps_rows == NULL:
        free(x)
        free(columns)
        free(work)
        free(taps_rows)
        raise MemoryError
    with nogil:
        for i in range(side):
            for j in range(side):
                x[j] = matrix[0, 0] * j + matrix[0, 1] * i + matrix[0, 2]
                y[j] = matrix[1, 0] * j + matrix[1, 1] * i + matrix[1, 2]
            split_coordinates(x, side, <int32_t>(crop.shape[0] - 1), columns, u)
            split_coordinates(y, side, <int32_t>(crop.shape[0] - 1), rows, v)
            for j in range(side):
                pixel = &crop[rows[j], columns[j]]
                patch[i * side + j] = c_blend(pixel[0], pixel[1], pixel[crop.shape[1]], pixel[crop.shape[1] + 1],
                                              u[j], v[j])
        for b in range(n_directions):
            slopes(patch, side, directions[b, 0], directions[b, 1], maps + b * area)
            blur(maps + b * area, side, &taps[0], r, line, other, taps_rows)
        for i in range(points.shape[0]):
            for k in range(n_offsets):
                x[k] = points[i, 0] + offsets[k, 0]
                y[k] = points[i, 1] + offsets[k, 1]
            split_coordinates(x, n_offsets, <int32_t>(side - 1), columns, u)
            split_coordinates(y, n_offsets, <int32_t>(side - 1), rows, v)
            total = 0.0
            for k in range(n_offsets):
                at = maps + rows[k] * side + columns[k]
                for b in range(n_directions):
                    value = c_blend(at[0], at[1], at[side], at[side + 1], u[k], v[k])
                    at += area
                    out[i, k * n_directions + b] = value
                    total += <double>value * value
            value = <float>(1.0 / (sqrt(total) + floor))
            for k in range(out.shape[1]):
                out[i, k] *= value
    free(x)
    free(columns)
    free(work)
    free(taps_rows)


def weigh_descriptors(const float[:, ::1] descriptors, const signed char[:, :, ::1] weights,
                      const float[::1] units, const float[::1] bias, double[::1] out):
    """Compute ``bias + units * sum(descriptors * weights)``.

    Parameters
    ----------
    descriptors : ndarray, shape (n, D), float32
    weights : ndarray, shape (n, D, W), int8
    units, bias : ndarray, shape (W,), float32
    out : ndarray, shape (W,), float64
    """
    cdef Py_ssize_t i, j, w, width = out.shape[0]
    cdef float *total = <float *>malloc((width + 1) * sizeof(float))
    if total == NULL:
        raise MemoryError
    with nogil:
        for w in range(width):
            out[w] = 0.0
        for i in range(descriptors.shape[0]):
            memset(total, 0, width * sizeof(float))
            for j in range(descriptors.shape[1]):
                add_weighted(descriptors[i, j], &weights[i, j, 0], width, total)
            for w in range(width):
                out[w] += total[w]
        for w in range(width):
            out[w] = bias[w] + units[w] * out[w]
    free(total)
