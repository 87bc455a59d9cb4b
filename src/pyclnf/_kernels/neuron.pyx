# Neuron responses of patch experts, and the field's smoothing by Sigma.

cdef extern from "correlate.h":
    int LANES
    void correlate_row(const float *area, Py_ssize_t side, const float *weights, int rows, int cols,
                       int count, float *out) noexcept nogil
    float neuron_sum(const float *sums, const float *weight_sums, float mean, float inverse_norm,
                     const float *norm_weights, const float *biases, const float *alphas) noexcept nogil

# A patch whose squared norm is below this share of its squared length is flat: the
# rest is rounding noise, and 1 is used in place of the norm.
cdef double FLAT = 1e-9


cdef void window_statistics(const float *area, Py_ssize_t side, Py_ssize_t rows, Py_ssize_t cols,
                            Py_ssize_t window, bint whole, double *column_sums, float *means,
                            float *inverse_norms) noexcept nogil:
    """Mean and 1 / norm of the patch at each position, by running sums down the columns and along the rows."""
    cdef Py_ssize_t i, j, y
    cdef double total, squares, norm, p, count = rows * cols
    cdef double *column_squares = column_sums + side
    if whole:
        # Depth: one mean and norm for the whole area.
        total = squares = 0.0
        for i in range(side * side):
            total += area[i]
            squares += <double>area[i] * area[i]
        norm = squares - total * total / (side * side)
        norm = sqrt(norm) if norm > FLAT * squares else 1.0
        for i in range(window * window):
            means[i] = <float>(total / (side * side))
            inverse_norms[i] = <float>(1.0 / norm)
        return
    for j in range(side):
        column_sums[j] = column_squares[j] = 0.0
    for y in range(rows - 1):
        for j in range(side):
            p = area[y * side + j]
            column_sums[j] += p
            column_squares[j] += p * p
    for i in range(window):
        for j in range(side):
            p = area[(i + rows - 1) * side + j]
            column_sums[j] += p
            column_squares[j] += p * p
        total = squares = 0.0
        for j in range(cols - 1):
            total += column_sums[j]
            squares += column_squares[j]
        for j in range(window):
            total += column_sums[j + cols - 1]
            squares += column_squares[j + cols - 1]
            norm = squares - total * total / count
            norm = sqrt(norm) if norm > FLAT * squares else 1.0
            means[i * window + j] = <float>(total / count)
            inverse_norms[i * window + j] = <float>(1.0 / norm)
            total -= column_sums[j]
            squares -= column_squares[j]
        for j in range(side):
            p = area[i * side + j]
            column_sums[j] -= p
            column_squares[j] -= p * p


cdef void c_neuron_responses(const float[:, :, :, ::1] planes, const int32_t[:, ::1] block_planes,
                             const float[:, :, :, :, ::1] weights, const float[:, :, ::1] weight_sums,
                             const float[:, :, ::1] norm_weights, const float[:, :, ::1] biases,
                             const float[:, :, ::1] alphas, float *scratch, double *column_sums,
                             float[:, :, ::1] out) noexcept nogil:
    cdef Py_ssize_t k, b, i, j, at
    cdef Py_ssize_t side = planes.shape[2], rows = weights.shape[2], cols = weights.shape[3]
    cdef Py_ssize_t window = out.shape[1], area_size = side * side, positions = window * window
    cdef int plane
    cdef float *centred = scratch
    cdef float *means = centred + area_size
    cdef float *inverse_norms = means + positions
    cdef float *sums = inverse_norms + positions
    cdef float offset
    cdef double total
    cdef const float *area
    for k in range(out.shape[0]):
        for i in range(window):
            for j in range(window):
                out[k, i, j] = 0.0
        plane = -1
        for b in range(weights.shape[1]):
            if block_planes[k, b] < 0:
                continue
            if block_planes[k, b] != plane:
                plane = block_planes[k, b]
                area = &planes[plane, k, 0, 0]
                # The patch's own mean is removed below; taking the area's off first keeps the
                # float32 sums small, so that little is lost when they cancel.
                total = 0.0
                for i in range(area_size):
                    total += area[i]
                offset = <float>(total / area_size)
                for i in range(area_size):
                    centred[i] = area[i] - offset
                window_statistics(centred, side, rows, cols, window, plane == 2, column_sums,
                                  means, inverse_norms)
            for i in range(window):
                correlate_row(centred + i * side, side, &weights[k, b, 0, 0, 0], <int>rows, <int>cols,
                              <int>window, sums)
                for j in range(window):
                    at = i * window + j
                    out[k, i, j] += neuron_sum(sums + j * LANES, &weight_sums[k, b, 0], means[at],
                                               inverse_norms[at], &norm_weights[k, b, 0],
                                               &biases[k, b, 0], &alphas[k, b, 0])


def neuron_responses(const float[:, :, :, ::1] planes, const int32_t[:, ::1] block_planes,
                     const float[:, :, :, :, ::1] weights, const float[:, :, ::1] weight_sums,
                     const float[:, :, ::1] norm_weights, const float[:, :, ::1] biases,
                     const float[:, :, ::1] alphas, float[:, :, ::1] out):
    """Sum the neurons of each expert at each window position.

    Parameters
    ----------
    planes : ndarray, shape (P, v, a, a), float32
        Areas of interest: grey values, then Sobel gradient magnitudes, then depths, as many as are needed.
    block_planes : ndarray, shape (v, B), int32
        The plane that each block of eight neurons works on; -1: none.
    weights : ndarray, shape (v, B, h, w, 8), float32
        The neuron is the last axis; places without a neuron have alpha = 0.
    weight_sums, norm_weights, biases, alphas : ndarray, shape (v, B, 8), float32
        Sum of each neuron's weights; the sigmoid's gain and offset; the neuron's share.
    out : ndarray, shape (v, a - h + 1, a - h + 1), float32
        ``sum_k 2 alpha_k / (1 + exp(-(norm_weight_k c_k + bias_k)))`` with
        ``c = sum(w (p - mean p)) / |p - mean p|``.
    """
    cdef Py_ssize_t side = planes.shape[2], window = out.shape[1]
    cdef float *scratch = <float *>malloc((side * side + 2 * window * window + LANES * window) * sizeof(float))
    cdef double *column_sums = <double *>malloc(2 * side * sizeof(double))
    try:
        if scratch == NULL or column_sums == NULL:
            raise MemoryError
        with nogil:
            c_neuron_responses(planes, block_planes, weights, weight_sums, norm_weights, biases, alphas,
                               scratch, column_sums, out)
    finally:
        free(scratch)
        free(column_sums)


cdef void c_apply_sigma(const float[:, :, ::1] sigmas, const float[:, ::1] u, float[:, ::1] out) noexcept nogil:
    cdef Py_ssize_t k, i, j, n = u.shape[1]
    cdef float uj, low
    cdef const float *row
    cdef float *y
    for k in range(u.shape[0]):
        y = &out[k, 0]
        for i in range(n):
            y[i] = 0.0
        # Sigma is symmetric: adding up its rows is the product, and vectorises in a fixed order.
        for j in range(n):
            uj = u[k, j]
            row = &sigmas[k, j, 0]
            for i in range(n):
                y[i] += row[i] * uj
        low = y[0]
        for i in range(1, n):
            low = y[i] if y[i] < low else low
        if low < 0.0:
            for i in range(n):
                y[i] -= low


def apply_sigma(const float[:, :, ::1] sigmas, const float[:, ::1] u, float[:, ::1] out):
    """Smooth each expert's neuron sums by its Sigma and lift negative maps to zero.

    Parameters
    ----------
    sigmas : ndarray, shape (v, w*w, w*w), float32
        Symmetric.
    u : ndarray, shape (v, w*w), float32
        Neuron sums; not changed.
    out : ndarray, shape (v, w*w), float32
        ``Sigma u``, less its minimum where that is negative.
    """
    with nogil:
        c_apply_sigma(sigmas, u, out)
