# A whole scale of a fit: where the areas lie, what the experts respond, and both passes over the responses.


cdef void c_weigh_maps(const float[:, :, ::1] responses, int power, double floor, double[::1] weights,
                       double *relative) noexcept nogil:
    cdef Py_ssize_t k, v = weights.shape[0]
    cdef double peak, total = 0.0
    for k in range(v):
        peak = largest(&responses[k, 0, 0], responses.shape[1] * responses.shape[2]) + floor
        relative[k] = peak
        # Products: a power function rounds otherwise on another machine.
        for _ in range(power - 1):
            relative[k] *= peak
        total += relative[k]
    for k in range(v):
        weights[k] *= relative[k] / (total / v)


def weigh_maps(const float[:, :, ::1] responses, int power, double floor, double[::1] weights):
    """Multiply weights by a power of the highest response in each map, relative to the others'.

    Parameters
    ----------
    responses : ndarray, shape (v, w, w), float32
    power : int
        At least 1.
    floor : float
        Added to the highest responses.
    weights : ndarray, shape (v,), float64
        Changed in place.
    """
    cdef double *relative = <double *>malloc(weights.shape[0] * sizeof(double))
    if relative == NULL:
        raise MemoryError
    # Python's lock is kept: to get it back from another thread would take longer than this does.
    c_weigh_maps(responses, power, floor, weights, relative)
    free(relative)


def fit_scale(const pixel_t[:, :, :] image, uint16_t[::1] grey_pairs, int32_t[::1] grey_bounds,
              const double[::1] mean, const double[:, ::1] components, const double[::1] regularisation,
              const double[::1] limits, const int32_t[::1] visible, double patch_scale,
              const int32_t[:, ::1] block_planes, const float[:, :, :, :, ::1] neurons,
              const float[:, :, ::1] weight_sums, const float[:, :, ::1] norm_weights, const float[:, :, ::1] biases,
              const float[:, :, ::1] alphas, const float[:, ::1] sigmas, const double[:, ::1] kernel,
              int response_power, double floor, bint rigid, int max_iterations, double tolerance, double[:, ::1] base,
              double[:, ::1] to_reference, double[:, ::1] to_image, double[:, :, ::1] matrices,
              float[:, :, :, ::1] planes, float[:, :, ::1] sums, float[:, :, ::1] maps, double[::1] weights,
              double[:, ::1] offsets, double[::1] pose, double[::1] shape):
    """Fit pose and shape to the image at one scale, in one call.

    `place_areas`, `response_maps`, `weigh_maps`, and `nu_rlms_pass` twice, first rigid: between them Python's lock
    would have to be got back, which threads that fit other faces hold.

    Parameters
    ----------
    image, mean, components, regularisation, limits, visible, patch_scale
        See `place_areas`, `nu_rlms_pass` and `sample_areas`.
    grey_pairs, grey_bounds
        See `response_maps`.
    block_planes, neurons, weight_sums, norm_weights, biases, alphas
        See `response_maps`.
    sigmas : ndarray, shape (v, d), float32
        See `apply_folded_sigma`; if v = 0, Sigma is not applied.
    kernel, max_iterations, tolerance
        See `nu_rlms_pass`.
    response_power : int
        See `weigh_maps`; 0: the responses do not count.
    floor : float
        See `weigh_maps`.
    rigid : bool
        Leave out the second pass, in which the shape moves, too.
    base, to_reference, to_image, matrices, planes, sums, maps, offsets
        Get what the kernels give.
    weights : ndarray, shape (v,), float64
        Weight of each landmark; changed in place if the responses count.
    pose, shape : ndarray, shapes (6,) and (m,), float64
        Changed in place.

    Returns
    -------
    iterations : int
        Updates done in all passes.
    converged : bool
        Whether the tolerance ended the last pass.
    """
    # What a pass works with is more than what the areas and the weights of the maps need.
    cdef Py_ssize_t room = work_of_pass(base.shape[0], visible.shape[0], shape.shape[0], maps.shape[1])
    cdef int iterations = 0, more = 0
    cdef bint converged = False, done
    cdef double *memory
    cdef double *work
    cdef grey_part kept = kept_part(grey_pairs, grey_bounds)
    memory = <double *>malloc((room + 8) * sizeof(double))
    if memory == NULL:
        raise MemoryError
    # Rows of vectors begin where a line of the cache does: none is read from two.
    work = <double *>((<uintptr_t>memory + 63) // 64 * 64)
    with nogil:
        c_place_areas(mean, components, pose, shape, visible, patch_scale, planes.shape[2], base, to_reference,
                      to_image, matrices, work)
        done = sampled(image, matrices, planes[0], &kept)
        if planes.shape[0] > 1:
            magnitudes(planes[0], planes[1])
        done = done and summed(planes, block_planes, neurons, weight_sums, norm_weights, biases, alphas, sums)
        if sigmas.shape[0] > 0:
            done = done and smoothed(sigmas, sums, maps)
        else:
            memcpy(&maps[0, 0, 0], &sums[0, 0, 0], maps.shape[0] * maps.shape[1] * maps.shape[2] * sizeof(float))
        if done:
            if response_power > 0:
                c_weigh_maps(maps, response_power, floor, weights, work)
            iterations, converged = c_nu_rlms_pass(
                mean, components, regularisation, limits, pose, shape, base, visible, maps, to_reference, to_image,
                kernel, weights, True, max_iterations, tolerance, offsets, work)
            if not rigid:
                more, converged = c_nu_rlms_pass(
                    mean, components, regularisation, limits, pose, shape, base, visible, maps, to_reference, to_image,
                    kernel, weights, False, max_iterations, tolerance, offsets, work)
    free(memory)
    keep_bounds(&kept, grey_bounds)
    if not done:
        raise MemoryError
    return iterations + more, converged
