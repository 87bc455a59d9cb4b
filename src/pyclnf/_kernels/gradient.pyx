# Sobel gradient magnitude of areas of interest, border replicated.


cdef void c_sobel_magnitude(const float[:, :, ::1] areas, float[:, :, ::1] out) noexcept nogil:
    cdef Py_ssize_t k, i, j, n = areas.shape[1], m = areas.shape[2]
    cdef Py_ssize_t up, down, left, right
    cdef float gx, gy
    for k in range(areas.shape[0]):
        for i in range(n):
            up = i - 1 if i > 0 else 0
            down = i + 1 if i + 1 < n else n - 1
            for j in range(m):
                left = j - 1 if j > 0 else 0
                right = j + 1 if j + 1 < m else m - 1
                gx = ((areas[k, up, right] - areas[k, up, left])
                      + 2 * (areas[k, i, right] - areas[k, i, left])
                      + (areas[k, down, right] - areas[k, down, left]))
                gy = ((areas[k, down, left] - areas[k, up, left])
                      + 2 * (areas[k, down, j] - areas[k, up, j])
                      + (areas[k, down, right] - areas[k, up, right]))
                out[k, i, j] = <float>sqrt(<double>gx * gx + <double>gy * gy)


def sobel_magnitude(const float[:, :, ::1] areas, float[:, :, ::1] out):
    """Compute the Sobel gradient magnitude of each area.

    Parameters
    ----------
    areas : ndarray, shape (v, a, a), float32
    out : ndarray, shape (v, a, a), float32
        ``sqrt(gx^2 + gy^2)`` with the 3x3 Sobel operators, border replicated.
    """
    with nogil:
        c_sobel_magnitude(areas, out)
