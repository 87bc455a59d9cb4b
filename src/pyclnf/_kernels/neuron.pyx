# Neuron responses of patch experts, and the field's smoothing by Sigma.

cdef extern from "correlate.h":
    ctypedef struct block_numbers:
        const float *weight_sums
        const float *norm_weights
        const float *biases
        const float *alphas
    Py_ssize_t WIDE
    Py_ssize_t STATISTICS_SCRATCH(Py_ssize_t side, Py_ssize_t window) noexcept nogil
    Py_ssize_t BLOCK_SCRATCH(Py_ssize_t side, Py_ssize_t window) noexcept nogil
    void centre_area(const float *area, Py_ssize_t size, float *centred) noexcept nogil
    void add_block(const float *area, Py_ssize_t planes, Py_ssize_t side, const float *weights, Py_ssize_t rows,
                   Py_ssize_t cols, Py_ssize_t window, const block_numbers *block, const float *means,
                   const float *inverse_norms, float *scratch, float *out) noexcept nogil
    void interleave(const float *a, const float *b, Py_ssize_t n, float *out) noexcept nogil
    void window_statistics(const float *area, Py_ssize_t side, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t window,
                           double flat, double *scratch, float *means, float *inverse_norms) noexcept nogil
    void area_statistics(const float *area, Py_ssize_t size, Py_ssize_t positions, double flat, float *means,
                         float *inverse_norms) noexcept nogil

cdef extern from "linear.h":
    ctypedef struct map_parts:
        Py_ssize_t total
    map_parts parts_of_map(Py_ssize_t w) noexcept nogil
    float largest(const float *values, Py_ssize_t n) noexcept nogil
    void folded_product(const float *sigma, const float *u, Py_ssize_t w, const map_parts *parts, float *scratch,
                        float *y) noexcept nogil

# A patch whose squared norm is below this share of its squared length is flat: the
# rest is rounding noise, and 1 is used in place of the norm.
cdef double FLAT = 1e-9


# The number that `layout.PAIR` gives to blocks whose even lanes work on plane 0 and whose odd lanes on plane 1.
cdef int PAIR = 3


cdef void prepare_plane(const float *area, Py_ssize_t side, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t window,
                        bint whole, double *statistics, float *centred, float *means,
                        float *inverse_norms) noexcept nogil:
    """Centre an area and find mean and norm of its patches."""
    centre_area(area, side * side, centred)
    if whole:
        # Depth: one mean and norm for the whole area.
        area_statistics(centred, side * side, window * window, FLAT, means, inverse_norms)
    else:
        window_statistics(centred, side, rows, cols, window, FLAT, statistics, means, inverse_norms)


cdef void c_neuron_responses(const float[:, :, :, ::1] planes, const int32_t[:, ::1] block_planes,
                             const float[:, :, :, :, ::1] weights, const float[:, :, ::1] weight_sums,
                             const float[:, :, ::1] norm_weights, const float[:, :, ::1] biases,
                             const float[:, :, ::1] alphas, float *scratch, double *statistics,
                             float[:, :, ::1] out) noexcept nogil:
    cdef Py_ssize_t k, b, i, j, at, n
    cdef Py_ssize_t side = planes.shape[2], rows = weights.shape[2], cols = weights.shape[3]
    cdef Py_ssize_t window = out.shape[1], area_size = side * side, positions = window * window
    # Of one plane: area, means, norms, each with room for the last vector; of two: the same in turn.
    cdef Py_ssize_t one = area_size + 2 * positions + 3 * WIDE
    cdef int plane
    cdef float *areas[3]
    cdef float *means[3]
    cdef float *inverse_norms[3]
    cdef float *block_scratch = scratch + 4 * one
    cdef block_numbers block
    for i in range(3):
        areas[i] = scratch + i * one
        means[i] = areas[i] + (1 + i // 2) * (area_size + WIDE)
        inverse_norms[i] = means[i] + (1 + i // 2) * (positions + WIDE)
    for k in range(out.shape[0]):
        for i in range(window):
            for j in range(window):
                out[k, i, j] = 0.0
        plane = -1
        n = 0
        for b in range(weights.shape[1]):
            if block_planes[k, b] < 0:
                continue
            if block_planes[k, b] != plane:
                plane = block_planes[k, b]
                if plane == PAIR:
                    for i in range(2):
                        prepare_plane(&planes[i, k, 0, 0], side, rows, cols, window, False, statistics, areas[i],
                                      means[i], inverse_norms[i])
                    interleave(areas[0], areas[1], area_size, areas[2])
                    interleave(means[0], means[1], positions, means[2])
                    interleave(inverse_norms[0], inverse_norms[1], positions, inverse_norms[2])
                    n = 2
                else:
                    prepare_plane(&planes[plane, k, 0, 0], side, rows, cols, window, plane == 2, statistics,
                                  areas[0], means[0], inverse_norms[0])
                    n = 1
            at = 2 * (n - 1)
            block.weight_sums = &weight_sums[k, b, 0]
            block.norm_weights = &norm_weights[k, b, 0]
            block.biases = &biases[k, b, 0]
            block.alphas = &alphas[k, b, 0]
            add_block(areas[at], n, side, &weights[k, b, 0, 0, 0], rows, cols, window, &block, means[at],
                      inverse_norms[at], block_scratch, &out[k, 0, 0])


cdef bint summed(const float[:, :, :, ::1] planes, const int32_t[:, ::1] block_planes,
                 const float[:, :, :, :, ::1] weights, const float[:, :, ::1] weight_sums,
                 const float[:, :, ::1] norm_weights, const float[:, :, ::1] biases, const float[:, :, ::1] alphas,
                 float[:, :, ::1] out) noexcept nogil:
    """The same as `neuron_responses`; whether there was memory for it."""
    cdef Py_ssize_t side = planes.shape[2], window = out.shape[1]
    cdef Py_ssize_t places = 4 * (side * side + 2 * window * window + 3 * WIDE) + BLOCK_SCRATCH(side, window)
    cdef float *scratch = <float *>malloc(places * sizeof(float))
    cdef double *statistics = <double *>malloc(STATISTICS_SCRATCH(side, window) * sizeof(double))
    cdef bint done = scratch != NULL and statistics != NULL
    if done:
        memset(scratch, 0, places * sizeof(float))
        memset(statistics, 0, STATISTICS_SCRATCH(side, window) * sizeof(double))
        c_neuron_responses(planes, block_planes, weights, weight_sums, norm_weights, biases, alphas, scratch,
                           statistics, out)
    free(scratch)
    free(statistics)
    return done


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
        The plane that each block of eight neurons works on; `layout.PAIR`: planes 0 (even neurons) and 1
        (odd neurons); -1: none.
    weights : ndarray, shape (v, B, h, w, 8), float32
        The neuron is the last axis; places without a neuron have alpha = 0.
    weight_sums, norm_weights, biases, alphas : ndarray, shape (v, B, 8), float32
        Sum of each neuron's weights; the sigmoid's gain and offset; the neuron's share.
    out : ndarray, shape (v, a - h + 1, a - h + 1), float32
        ``sum_k 2 alpha_k / (1 + exp(-(norm_weight_k c_k + bias_k)))`` with
        ``c = sum(w (p - mean p)) / |p - mean p|``.
    """
    cdef bint done
    with nogil:
        done = summed(planes, block_planes, weights, weight_sums, norm_weights, biases, alphas, out)
    if not done:
        raise MemoryError


cdef inline void lift(float *y, Py_ssize_t n) noexcept nogil:
    """Subtract the minimum of a map where it is negative."""
    cdef Py_ssize_t i
    cdef float low = y[0]
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
    cdef Py_ssize_t k, i, j, n = u.shape[1]
    cdef float uj
    cdef const float *row
    cdef float *y
    with nogil:
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
            lift(y, n)


cdef bint smoothed(const float[:, ::1] sigmas, const float[:, :, ::1] u, float[:, :, ::1] out) noexcept nogil:
    """The same as `apply_folded_sigma`; whether there was memory for it."""
    cdef Py_ssize_t k, window = u.shape[1]
    cdef map_parts parts = parts_of_map(window)
    cdef float *scratch = <float *>malloc(2 * (window + parts.total) * sizeof(float))
    if scratch == NULL:
        return False
    memset(scratch, 0, 2 * (window + parts.total) * sizeof(float))
    for k in range(u.shape[0]):
        folded_product(&sigmas[k, 0], &u[k, 0, 0], window, &parts, scratch, &out[k, 0, 0])
        lift(&out[k, 0, 0], window * window)
    free(scratch)
    return True


def apply_folded_sigma(const float[:, ::1] sigmas, const float[:, :, ::1] u, float[:, :, ::1] out):
    """Do the same as `apply_sigma` for Sigmas that commute with the reflections of the map.

    Parameters
    ----------
    sigmas : ndarray, shape (v, d), float32
        The four blocks of each Sigma in the basis of `layout.reflection_basis`, one after the other,
        see `layout.folded_blocks`.
    u : ndarray, shape (v, w, w), float32
        Neuron sums; not changed.
    out : ndarray, shape (v, w, w), float32
    """
    cdef bint done
    with nogil:
        done = smoothed(sigmas, u, out)
    if not done:
        raise MemoryError


def response_maps(const pixel_t[:, :, :] image, uint16_t[::1] grey_pairs, int32_t[::1] grey_bounds,
                  const double[:, :, ::1] matrices, const int32_t[:, ::1] block_planes,
                  const float[:, :, :, :, ::1] weights, const float[:, :, ::1] weight_sums,
                  const float[:, :, ::1] norm_weights, const float[:, :, ::1] biases,
                  const float[:, :, ::1] alphas, const float[:, ::1] sigmas, float[:, :, :, ::1] planes,
                  float[:, :, ::1] sums, float[:, :, ::1] out):
    """Compute the response maps of all landmarks, in one call.

    `sample_areas`, `sobel_magnitude`, `neuron_responses` and `apply_folded_sigma`, one after the other: between
    them Python's lock would have to be got back, which threads that fit other faces hold.

    Parameters
    ----------
    image, matrices
        See `sample_areas`.
    grey_pairs : ndarray, shape (c,), uint16
        Where a part of the image may be kept as grey values, for later calls with the same image.
    grey_bounds : ndarray, shape (4,), int32
        First row and column, and numbers of rows and columns of the part that is kept; 0 before the first call.
    block_planes, weights, weight_sums, norm_weights, biases, alphas
        See `neuron_responses`.
    sigmas : ndarray, shape (v, d), float32
        See `apply_folded_sigma`.
    planes : ndarray, shape (P, v, a, a), float32
        Gets the grey values and, if P > 1, the gradient magnitudes; depths are there already.
    sums : ndarray, shape (v, w, w), float32
        Gets the neurons' sums.
    out : ndarray, shape (v, w, w), float32
        Gets the maps; if v = 0, Sigma is not applied.
    """
    cdef grey_part kept = kept_part(grey_pairs, grey_bounds)
    cdef bint done
    with nogil:
        done = sampled(image, matrices, planes[0], &kept)
        if planes.shape[0] > 1:
            magnitudes(planes[0], planes[1])
        done = done and summed(planes, block_planes, weights, weight_sums, norm_weights, biases, alphas, sums)
        if out.shape[0] > 0:
            done = done and smoothed(sigmas, sums, out)
    keep_bounds(&kept, grey_bounds)
    if not done:
        raise MemoryError
