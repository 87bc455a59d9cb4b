# The linear stage of the learned start: descriptors around the landmarks, and their weighted sums.


cdef extern from "describe.h":
    void slopes(const float *patch, Py_ssize_t n, float c, float s, float *out) noexcept nogil
    void blur(float *map, Py_ssize_t n, const float *taps, Py_ssize_t r, float *line, float *other,
              const float **rows) noexcept nogil
    void add_weighted(float value, const signed char *weights, Py_ssize_t n, float *total) noexcept nogil


cdef inline float c_bilinear(const uint8_t[:, ::1] crop, double px, double py) noexcept nogil:
    """The crop's value at a point; its border goes on outside."""
    cdef double last = crop.shape[0] - 1
    # Also true for NaN.
    if not px > 0.0:
        px = 0.0
    if not py > 0.0:
        py = 0.0
    cdef float x = <float>(px if px < last else last)
    cdef float y = <float>(py if py < last else last)
    cdef Py_ssize_t left = <Py_ssize_t>x, top = <Py_ssize_t>y
    if left > crop.shape[0] - 2:
        left = crop.shape[0] - 2
    if top > crop.shape[0] - 2:
        top = crop.shape[0] - 2
    cdef float fx = x - left, fy = y - top
    cdef float upper = crop[top, left] * (1 - fx) + crop[top, left + 1] * fx
    cdef float lower = crop[top + 1, left] * (1 - fx) + crop[top + 1, left + 1] * fx
    return upper * (1 - fy) + lower * fy


cdef inline float c_sample(const float *map, Py_ssize_t n, float x, float y) noexcept nogil:
    """The map's value at a point; its border goes on outside."""
    cdef float last = <float>(n - 1)
    # Also true for NaN.
    if not x > 0.0:
        x = 0.0
    if not y > 0.0:
        y = 0.0
    x = x if x < last else last
    y = y if y < last else last
    cdef Py_ssize_t left = <Py_ssize_t>x, top = <Py_ssize_t>y
    if left > n - 2:
        left = n - 2
    if top > n - 2:
        top = n - 2
    cdef float fx = x - left, fy = y - top
    cdef const float *at = map + top * n + left
    cdef float upper = at[0] * (1 - fx) + at[1] * fx
    cdef float lower = at[n] * (1 - fx) + at[n + 1] * fx
    return upper * (1 - fy) + lower * fy


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
    cdef float *work = <float *>malloc((area * (n_directions + 2) + side + 2 * r) * sizeof(float))
    cdef const float **rows = <const float **>malloc((2 * r + 1) * sizeof(void *))
    cdef float *patch = work
    cdef float *other = work + area
    cdef float *maps = work + 2 * area
    cdef float *line = work + (n_directions + 2) * area
    cdef double total
    cdef float factor
    if work == NULL or rows == NULL:
        free(work)
        free(rows)
        raise MemoryError
    with nogil:
        for i in range(side):
            for j in range(side):
                patch[i * side + j] = c_bilinear(crop, matrix[0, 0] * j + matrix[0, 1] * i + matrix[0, 2],
                                                 matrix[1, 0] * j + matrix[1, 1] * i + matrix[1, 2])
        for b in range(n_directions):
            slopes(patch, side, directions[b, 0], directions[b, 1], maps + b * area)
            blur(maps + b * area, side, &taps[0], r, line, other, rows)
        for i in range(points.shape[0]):
            total = 0.0
            for k in range(n_offsets):
                for b in range(n_directions):
                    factor = c_sample(maps + b * area, side, <float>(points[i, 0] + offsets[k, 0]),
                                      <float>(points[i, 1] + offsets[k, 1]))
                    out[i, k * n_directions + b] = factor
                    total += <double>factor * factor
            factor = <float>(1.0 / (sqrt(total) + floor))
            for k in range(out.shape[1]):
                out[i, k] *= factor
    free(work)
    free(rows)


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
