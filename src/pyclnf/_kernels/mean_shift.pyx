# Mean shift over response maps with a separable Gaussian kernel on a grid of 0.1 px.


cdef extern from "mean_shift.h":
    void weighted_moments(const float *map, Py_ssize_t w, const double *gx, const double *gy,
                          double *moments) noexcept nogil


cdef inline double clamped(double d, Py_ssize_t window) noexcept nogil:
    cdef double high = window - 0.1
    if d > high:
        return high
    # Also true for NaN.
    if not d > 0.0:
        return 0.0
    return d


cdef inline void find_moments(const float *response, Py_ssize_t window, Py_ssize_t at_x, Py_ssize_t at_y,
                              const double[:, ::1] kernel, double *rows, double *moments) noexcept nogil:
    """Total and first moments of a map under the Gaussian around a place of the grid of 0.1 px."""
    cdef Py_ssize_t y
    cdef const double *gy = &kernel[at_y, 0]
    for y in range(window):
        rows[y] = gy[y]
        rows[window + y] = y * gy[y]
    weighted_moments(response, window, &kernel[at_x, 0], rows, moments)


cdef inline void c_mean_shift_one(const float *response, Py_ssize_t window, double dx, double dy,
                                  const double[:, ::1] kernel, double *rows, Py_ssize_t *place, double *moments,
                                  double *shift) noexcept nogil:
    """Find a shift; place (2,) and moments (3,) are those of the same map before; none: -1."""
    cdef Py_ssize_t at_x, at_y
    dx = clamped(dx, window)
    dy = clamped(dy, window)
    at_x, at_y = <Py_ssize_t>(dx * 10.0 + 0.5), <Py_ssize_t>(dy * 10.0 + 0.5)
    if at_x != place[0] or at_y != place[1]:
        find_moments(response, window, at_x, at_y, kernel, rows, moments)
        place[0], place[1] = at_x, at_y
    if moments[0] > 0.0:
        shift[0] = moments[1] / moments[0] - dx
        shift[1] = moments[2] / moments[0] - dy
    else:
        # A map without mass draws nowhere.
        shift[0] = 0.0
        shift[1] = 0.0


def mean_shift(const float[:, :, ::1] responses, const double[:, ::1] offsets, const double[:, ::1] kernel,
               double[:, ::1] out):
    """Compute the mean shift of each landmark over its response map.

    Parameters
    ----------
    responses : ndarray, shape (v, w, w), float32
        Not negative.
    offsets : ndarray, shape (v, 2), float64
        Position (x, y) in the map; clamped to [0, w - 0.1].
    kernel : ndarray, shape (10 w, w), float64
        Row k: the Gaussian around k / 10 at 0, 1, ..., w - 1.
    out : ndarray, shape (v, 2), float64
        Shift in the map's pixels, measured from the clamped position.
    """
    cdef Py_ssize_t k, window = responses.shape[1]
    cdef Py_ssize_t[2] place
    cdef double[3] moments
    cdef double *rows = <double *>malloc(2 * window * sizeof(double))
    if rows == NULL:
        raise MemoryError
    with nogil:
        for k in range(responses.shape[0]):
            place[0] = place[1] = -1
            c_mean_shift_one(&responses[k, 0, 0], window, offsets[k, 0], offsets[k, 1], kernel, rows, place, moments,
                             &out[k, 0])
    free(rows)


def likelihoods(const float[:, :, ::1] responses, const double[:, ::1] offsets, double sigma,
                const int32_t[::1] visible, double[::1] every, double[::1] out):
    """Compute each landmark's kernel density at its exact position.

    Parameters
    ----------
    responses : ndarray, shape (v, w, w), float32
    offsets : ndarray, shape (v, 2), float64
        Position (x, y) in the map, neither clamped nor rounded.
    sigma : float
        Standard deviation of the Gaussian, map pixels.
    visible : ndarray, shape (v,), int32
        The landmark of each map.
    every : ndarray, shape (n,), float64
        Gets the densities by landmark, NaN where there is no map.
    out : ndarray, shape (v,), float64
        ``sum r exp(-|x - d|^2 / (2 sigma^2))``.
    """
    cdef Py_ssize_t k, x, y, window = responses.shape[1]
    cdef double scale = -0.5 / (sigma * sigma), total, row
    cdef double *gx = <double *>malloc(window * sizeof(double))
    if gx == NULL:
        raise MemoryError
    # Python's lock is kept: to get it back from another thread would take longer than this does.
    for k in range(every.shape[0]):
        every[k] = NAN
    for k in range(responses.shape[0]):
        for x in range(window):
            gx[x] = exp(scale * (x - offsets[k, 0]) * (x - offsets[k, 0]))
        total = 0.0
        for y in range(window):
            row = 0.0
            for x in range(window):
                row += gx[x] * responses[k, y, x]
            total += row * exp(scale * (y - offsets[k, 1]) * (y - offsets[k, 1]))
        out[k] = every[visible[k]] = total
    free(gx)
