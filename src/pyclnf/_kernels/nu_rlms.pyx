# One pass of NU-RLMS: all iterations at one scale, without Python in between.


cdef inline void c_euler_to_matrix(const double *euler, double *R) noexcept nogil:
    cdef double cx = cos(euler[0]), cy = cos(euler[1]), cz = cos(euler[2])
    cdef double sx = sin(euler[0]), sy = sin(euler[1]), sz = sin(euler[2])
    R[0] = cy * cz
    R[1] = -cy * sz
    R[2] = sy
    R[3] = cx * sz + sx * sy * cz
    R[4] = cx * cz - sx * sy * sz
    R[5] = -sx * cy
    R[6] = sx * sz - cx * sy * cz
    R[7] = sx * cz + cx * sy * sz
    R[8] = cx * cy


cdef inline void c_matrix_to_euler(const double *R, double *euler) noexcept nogil:
    cdef double cy = hypot(R[0], R[1])
    euler[1] = atan2(R[2], cy)
    if cy < 1e-12:
        euler[0] = atan2(R[7], R[4])
        euler[2] = 0.0
    else:
        euler[0] = atan2(-R[5], R[8])
        euler[2] = atan2(-R[1], R[0])


cdef inline void c_rotate(double *euler, const double *w) noexcept nogil:
    """R <- R times the orthonormal factor of I + [w]x, which is the rotation about w by atan |w|."""
    cdef double R[9]
    cdef double small[9]
    cdef double product[9]
    cdef double length = sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2])
    cdef double x, y, z, c, s
    cdef int i, j
    if length == 0.0:
        return
    # cos and sin of atan(length).
    c = 1.0 / sqrt(1.0 + length * length)
    s = length * c
    x = w[0] / length
    y = w[1] / length
    z = w[2] / length
    small[0] = c + (1 - c) * x * x
    small[1] = (1 - c) * x * y - s * z
    small[2] = (1 - c) * x * z + s * y
    small[3] = (1 - c) * x * y + s * z
    small[4] = c + (1 - c) * y * y
    small[5] = (1 - c) * y * z - s * x
    small[6] = (1 - c) * x * z - s * y
    small[7] = (1 - c) * y * z + s * x
    small[8] = c + (1 - c) * z * z
    c_euler_to_matrix(euler, R)
    for i in range(3):
        for j in range(3):
            product[3 * i + j] = (R[3 * i] * small[j] + R[3 * i + 1] * small[3 + j]
                                  + R[3 * i + 2] * small[6 + j])
    c_matrix_to_euler(product, euler)
    for i in range(3):
        if isnan(euler[i]):
            euler[i] = 0.0


cdef inline Py_ssize_t work_of_pass(Py_ssize_t n, Py_ssize_t visible, Py_ssize_t modes,
                                    Py_ssize_t window) noexcept nogil:
    """Numbers that a pass works with, of n landmarks: Jacobians, normal equations, points, moments and places."""
    cdef Py_ssize_t stride = (6 + modes + WIDE - 1) // WIDE * WIDE, rows = 2 * visible
    return 10 * n + rows * (2 * stride + 4) + stride * (stride + 1) + 2 * window


cdef (int, bint) c_nu_rlms_pass(
        const double[::1] mean, const double[:, ::1] components, const double[::1] regularisation,
        const double[::1] limits, double[::1] pose, double[::1] shape, const double[:, ::1] base,
        const int32_t[::1] visible, const float[:, :, ::1] responses, const double[:, ::1] to_reference,
        const double[:, ::1] to_image, const double[:, ::1] kernel, const double[::1] weights, bint rigid,
        int max_iterations, double tolerance, double[:, ::1] offsets, double *work) noexcept nogil:
    cdef Py_ssize_t n = mean.shape[0] // 3, m = shape.shape[0], modes = 0 if rigid else m
    cdef Py_ssize_t p = 6 + modes, stride = (p + WIDE - 1) // WIDE * WIDE, rows = 2 * visible.shape[0]
    cdef Py_ssize_t window = responses.shape[1], i, j, k
    cdef double *J = work                         # (rows, stride)
    cdef double *weighted = J + rows * stride     # the same, weighted
    cdef double *H = weighted + rows * stride     # (stride, stride)
    cdef double *points = H + stride * stride     # (n, 3) in object space
    cdef double *flat = points + 3 * n            # the same as x1..xn, y1..yn, z1..zn
    cdef double *current = flat + 3 * n           # (n, 2) in the image
    cdef double *previous = current + 2 * n
    cdef double *row_weights = previous + 2 * n
    cdef double *g = row_weights + rows
    cdef double *gaussian = g + stride            # the mean shift's, two rows
    cdef double *moments = gaussian + 2 * window  # of each map, about the place where it was last
    cdef Py_ssize_t *places = <Py_ssize_t *>(moments + 3 * visible.shape[0])
    cdef double R[9]
    cdef double shift[2]
    cdef double centre = (window - 1) / 2.0, s, x, y, dx, dy, vx, vy, moved
    cdef const double *V = &components[0, 0] if m > 0 else &mean[0]  # never read without modes
    cdef int iteration
    memset(J, 0, rows * stride * sizeof(double))
    for k in range(visible.shape[0]):
        row_weights[2 * k] = row_weights[2 * k + 1] = weights[k]
        places[2 * k] = places[2 * k + 1] = -1
    for iteration in range(max_iterations):
        s = pose[0]
        c_euler_to_matrix(&pose[1], R)
        if iteration == 0 or not rigid:
            memcpy(flat, &mean[0], 3 * n * sizeof(double))
            if m > 0:
                add_product(V, &shape[0], (3 * n), m, flat)
            for i in range(n):
                for j in range(3):
                    points[3 * i + j] = flat[j * n + i]
        moved = 0.0
        for i in range(n):
            x = s * (R[0] * points[3 * i] + R[1] * points[3 * i + 1] + R[2] * points[3 * i + 2]) + pose[4]
            y = s * (R[3] * points[3 * i] + R[4] * points[3 * i + 1] + R[5] * points[3 * i + 2]) + pose[5]
            current[2 * i] = x
            current[2 * i + 1] = y
            if iteration > 0:
                dx = x - previous[2 * i]
                dy = y - previous[2 * i + 1]
                moved += dx * dx + dy * dy
            previous[2 * i] = x
            previous[2 * i + 1] = y
        if iteration > 0 and sqrt(moved) < tolerance:
            return iteration, True
        memset(g, 0, stride * sizeof(double))
        for k in range(visible.shape[0]):
            i = visible[k]
            x = current[2 * i] - base[i, 0]
            y = current[2 * i + 1] - base[i, 1]
            offsets[k, 0] = to_reference[0, 0] * x + to_reference[0, 1] * y + centre
            offsets[k, 1] = to_reference[1, 0] * x + to_reference[1, 1] * y + centre
            c_mean_shift_one(&responses[k, 0, 0], window, offsets[k, 0], offsets[k, 1], kernel, gaussian,
                             places + 2 * k, moments + 3 * k, shift)
            vx = weights[k] * (to_image[0, 0] * shift[0] + to_image[0, 1] * shift[1])
            vy = weights[k] * (to_image[1, 0] * shift[0] + to_image[1, 1] * shift[1])
            c_jacobian_rows(points[3 * i], points[3 * i + 1], points[3 * i + 2], R, s,
                            V + i * m, V + (n + i) * m, V + (2 * n + i) * m, modes,
                            J + 2 * k * stride, J + (2 * k + 1) * stride)
            for j in range(p):
                g[j] += J[2 * k * stride + j] * vx + J[(2 * k + 1) * stride + j] * vy
        weighted_gram(J, row_weights, rows, stride, weighted, H)
        for j in range(modes):
            H[(6 + j) * stride + 6 + j] += regularisation[j]
            g[6 + j] -= regularisation[j] * shape[j]
        if not cholesky_solve(H, p, stride, g):
            # Nothing determines the step (no mass in any map, or NaN): the parameters stay.
            return iteration, False
        pose[0] += g[0]
        pose[4] += g[4]
        pose[5] += g[5]
        c_rotate(&pose[1], g + 1)
        for j in range(modes):
            x = shape[j] + g[6 + j]
            x = limits[j] if x > limits[j] else x
            shape[j] = -limits[j] if x < -limits[j] else x
    return max_iterations, False


def nu_rlms_pass(
        const double[::1] mean, const double[:, ::1] components, const double[::1] regularisation,
        const double[::1] limits, double[::1] pose, double[::1] shape, const double[:, ::1] base,
        const int32_t[::1] visible, const float[:, :, ::1] responses, const double[:, ::1] to_reference,
        const double[:, ::1] to_image, const double[:, ::1] kernel, const double[::1] weights, bint rigid,
        int max_iterations, double tolerance, double[:, ::1] offsets):
    """Run the iterations of one NU-RLMS pass.

    Parameters
    ----------
    mean, components : ndarray, shapes (3n,) and (3n, m), float64
        The PDM.
    regularisation, limits : ndarray, shape (m,), float64
        reg_factor / eigenvalue, and the bound of each shape coefficient's magnitude.
    pose, shape : ndarray, shapes (6,) and (m,), float64
        Parameters to start from; changed in place.
    base : ndarray, shape (n, 2), float64
        Landmarks around which the responses were taken, px.
    visible : ndarray, shape (v,), int32
        The landmark of each response map.
    responses : ndarray, shape (v, w, w), float32
    to_reference, to_image : ndarray, shape (2, 2), float64
        Similarity from the image to the response maps and back.
    kernel : ndarray, shape (10 w, w), float64
        The mean shift's Gaussians, see `mean_shift`.
    weights : ndarray, shape (v,), float64
        Weight of each landmark.
    rigid : bool
        Only the pose moves.
    max_iterations : int
    tolerance : float
        Stop when the landmarks have moved less, L2 norm over all, px.
    offsets : ndarray, shape (v, 2), float64
        Gets the positions in the maps before the last update.

    Returns
    -------
    iterations : int
        Updates done.
    converged : bool
        Whether the tolerance ended the pass.
    """
    cdef Py_ssize_t room = work_of_pass(base.shape[0], visible.shape[0], shape.shape[0], responses.shape[1])
    cdef int iterations
    cdef bint converged
    cdef double *work = <double *>malloc((room + 8) * sizeof(double))
    if work == NULL:
        raise MemoryError
    with nogil:
        iterations, converged = c_nu_rlms_pass(
            mean, components, regularisation, limits, pose, shape, base, visible, responses, to_reference,
            to_image, kernel, weights, rigid, max_iterations, tolerance, offsets,
            # Rows of vectors begin where a line of the cache does: none is read from two.
            <double *>((<uintptr_t>work + 63) // 64 * 64))
    free(work)
    return iterations, converged
