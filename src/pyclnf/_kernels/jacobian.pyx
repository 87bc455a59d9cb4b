# The PDM's Jacobian, the normal equations and their solution.

cdef extern from "linear.h":
    void weighted_gram(const double *J, const double *w, Py_ssize_t rows, Py_ssize_t stride, double *W,
                       double *H) noexcept nogil
    bint cholesky_solve(double *H, Py_ssize_t n, Py_ssize_t stride, double *g) noexcept nogil
    void add_product(const double *V, const double *q, Py_ssize_t rows, Py_ssize_t columns, double *y) noexcept nogil


cdef inline void c_jacobian_rows(double X, double Y, double Z, const double *R, double s,
                                 const double *vx, const double *vy, const double *vz, Py_ssize_t modes,
                                 double *row_x, double *row_y) noexcept nogil:
    """Both rows of one landmark at (X, Y, Z) in object space; vx, vy, vz are its rows of the components."""
    cdef Py_ssize_t j
    row_x[0] = R[0] * X + R[1] * Y + R[2] * Z
    row_y[0] = R[3] * X + R[4] * Y + R[5] * Z
    row_x[1] = s * (Y * R[2] - Z * R[1])
    row_y[1] = s * (Y * R[5] - Z * R[4])
    row_x[2] = -s * (X * R[2] - Z * R[0])
    row_y[2] = -s * (X * R[5] - Z * R[3])
    row_x[3] = s * (X * R[1] - Y * R[0])
    row_y[3] = s * (X * R[4] - Y * R[3])
    row_x[4] = 1.0
    row_y[4] = 0.0
    row_x[5] = 0.0
    row_y[5] = 1.0
    for j in range(modes):
        row_x[6 + j] = s * (R[0] * vx[j] + R[1] * vy[j] + R[2] * vz[j])
        row_y[6 + j] = s * (R[3] * vx[j] + R[4] * vy[j] + R[5] * vz[j])


def jacobian(const double[:, ::1] shape_3d, const double[:, ::1] rotation, double scale,
             const double[:, ::1] components, double[:, ::1] out):
    """Compute the derivative of the image landmarks by pose and shape.

    Parameters
    ----------
    shape_3d : ndarray, shape (n, 3), float64
        Landmarks in object space, mm.
    rotation : ndarray, shape (3, 3), float64
    scale : float
        Pixels per mm.
    components : ndarray, shape (3n, m), float64
        Shape modes; rows x1..xn, y1..yn, z1..zn.
    out : ndarray, shape (2n, 6 + k), float64
        Rows x1, y1, x2, y2, ...; k <= m modes.
    """
    cdef Py_ssize_t i, n = shape_3d.shape[0], modes = out.shape[1] - 6
    cdef const double *v = NULL
    cdef Py_ssize_t step = components.shape[1]
    if modes > 0:
        v = &components[0, 0]
    with nogil:
        for i in range(n):
            c_jacobian_rows(shape_3d[i, 0], shape_3d[i, 1], shape_3d[i, 2], &rotation[0, 0], scale,
                            v + i * step, v + (n + i) * step, v + (2 * n + i) * step, modes,
                            &out[2 * i, 0], &out[2 * i + 1, 0])


def normal_equations(const double[:, ::1] J, const double[::1] weights, double[:, ::1] out):
    """Compute ``J' diag(weights) J``.

    Parameters
    ----------
    J : ndarray, shape (r, p), float64
        p is a multiple of 4.
    weights : ndarray, shape (r,), float64
    out : ndarray, shape (p, p), float64
        The symmetric product.
    """
    cdef Py_ssize_t i, j
    cdef double *work = <double *>malloc(J.shape[0] * J.shape[1] * sizeof(double))
    if work == NULL:
        raise MemoryError
    with nogil:
        weighted_gram(&J[0, 0], &weights[0], J.shape[0], J.shape[1], work, &out[0, 0])
        for i in range(out.shape[0]):
            for j in range(i):
                out[i, j] = out[j, i]
    free(work)


def solve(const double[:, ::1] H, const double[::1] g, double[::1] out) -> bool:
    """Solve ``H x = g`` for a symmetric positive definite H.

    Parameters
    ----------
    H : ndarray, shape (p, p), float64
        Only the upper triangle is read.
    g : ndarray, shape (p,), float64
    out : ndarray, shape (p,), float64
        x; undefined if the answer is False.

    Returns
    -------
    bool
        False if H is not positive definite.
    """
    cdef Py_ssize_t i, n = g.shape[0]
    cdef bint positive
    cdef double *work = <double *>malloc(n * n * sizeof(double))
    if work == NULL:
        raise MemoryError
    with nogil:
        for i in range(n):
            out[i] = g[i]
            memcpy(work + i * n, &H[i, 0], n * sizeof(double))
        positive = cholesky_solve(work, n, n, &out[0])
    free(work)
    return positive
