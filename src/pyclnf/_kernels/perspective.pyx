# The head's pose before a perspective camera.

# Every landmark lies at least so far before the camera, mm.
cdef double NEAREST = 1.0


cdef double c_linearised(const double[:, ::1] shape, const double[:, ::1] landmarks, const double[::1] camera,
                         const double *R, const double *t, double *H, double *g) noexcept nogil:
    """The squared error of a pose, with the normal equations of its linearisation; -1 if part is not before the camera.

    H (6, 6), the upper triangle, and g (6,): small rotations on the left, then the translation.
    """
    cdef Py_ssize_t i, j, k
    cdef double x, y, z, u, v, depth, along, down, error = 0.0, right, below
    cdef double a[6]
    cdef double b[6]
    memset(H, 0, 36 * sizeof(double))
    memset(g, 0, 6 * sizeof(double))
    # (What is right of the middle does not move with the translation down, nor what is below with that to the right.)
    a[4] = b[3] = 0.0
    for i in range(shape.shape[0]):
        x = R[0] * shape[i, 0] + R[1] * shape[i, 1] + R[2] * shape[i, 2]
        y = R[3] * shape[i, 0] + R[4] * shape[i, 1] + R[5] * shape[i, 2]
        z = R[6] * shape[i, 0] + R[7] * shape[i, 1] + R[8] * shape[i, 2]
        depth = z + t[2]
        # Also true for NaN.
        if not depth > NEAREST:
            return -1.0
        along = camera[0] / depth
        down = camera[1] / depth
        u = (x + t[0]) / depth
        v = (y + t[1]) / depth
        right = landmarks[i, 0] - (camera[0] * u + camera[2])
        below = landmarks[i, 1] - (camera[1] * v + camera[3])
        error += right * right + below * below
        a[0] = -along * u * y
        a[1] = along * (z + u * x)
        a[2] = -along * y
        a[3] = along
        a[5] = -along * u
        b[0] = -down * (z + v * y)
        b[1] = down * v * x
        b[2] = down * x
        b[4] = down
        b[5] = -down * v
        for j in range(6):
            g[j] += a[j] * right + b[j] * below
            for k in range(j, 6):
                H[6 * j + k] += a[j] * a[k] + b[j] * b[k]
    return error


def perspective_pose(const double[:, ::1] shape, const double[:, ::1] landmarks, const double[::1] camera,
                     int max_iterations, double tolerance, double[:, ::1] rotation, double[::1] translation):
    """Find the pose in which a shape looks most like its landmarks, by Levenberg-Marquardt.

    Parameters
    ----------
    shape : ndarray, shape (n, 3), float64
        In object space, mm.
    landmarks : ndarray, shape (n, 2), float64
        Px.
    camera : ndarray, shape (4,), float64
        fx, fy, cx, cy, px.
    max_iterations : int
    tolerance : float
        A step that changes the squared error by less than this share is the last.
    rotation, translation : ndarray, shapes (3, 3) and (3,), float64
        Pose to start from; changed in place. Stays if part of the shape is not before the camera there.
    """
    cdef double H[36]
    cdef double trial_H[36]
    cdef double damped[36]
    cdef double g[6]
    cdef double trial_g[6]
    cdef double step[6]
    cdef double R[9]
    cdef double t[3]
    cdef double error, trial, damping = 1e-3
    cdef bint converged
    cdef int i
    # Python's lock is kept: to get it back from another thread would take longer than this does.
    error = c_linearised(shape, landmarks, camera, &rotation[0, 0], &translation[0], H, g)
    if error < 0.0:
        return
    for _ in range(max_iterations):
        memcpy(damped, H, sizeof(H))
        memcpy(step, g, sizeof(g))
        for i in range(6):
            damped[7 * i] += damping * H[7 * i]
        trial = -1.0
        if cholesky_solve(damped, 6, 6, step):
            memcpy(R, &rotation[0, 0], sizeof(R))
            c_turn(R, step)
            for i in range(3):
                t[i] = translation[i] + step[3 + i]
            # A head behind the camera, or around it, is not a solution.
            trial = c_linearised(shape, landmarks, camera, R, t, trial_H, trial_g)
        if not 0.0 <= trial <= error:
            damping *= 10.0
            if damping > 1e10:
                break
            continue
        converged = error - trial <= tolerance * error
        memcpy(&rotation[0, 0], R, sizeof(R))
        memcpy(&translation[0], t, sizeof(t))
        error = trial
        memcpy(H, trial_H, sizeof(H))
        memcpy(g, trial_g, sizeof(g))
        damping = max(damping / 10.0, 1e-12)
        if converged:
            break
