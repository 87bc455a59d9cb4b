# Where the areas of interest lie: from the parameters to the landmarks and the maps around them.


cdef void c_place_areas(const double[::1] mean, const double[:, ::1] components, const double[::1] pose,
                        const double[::1] shape, const int32_t[::1] visible, double patch_scale, Py_ssize_t side,
                        double[:, ::1] base, double[:, ::1] to_reference, double[:, ::1] to_image,
                        double[:, :, ::1] matrices, double *flat) noexcept nogil:
    cdef Py_ssize_t n = base.shape[0], i, k, axis
    cdef const double *X = flat
    cdef const double *Y = X + n
    cdef const double *Z = Y + n
    cdef double R[9]
    cdef double mean_x = 0.0, mean_y = 0.0, mean_X = 0.0, mean_Y = 0.0
    cdef double cosine = 0.0, sine = 0.0, size = 0.0, reference_size = 0.0, factor, px, py, qx, qy
    cdef double half = (side - 1) / 2.0
    cdef float along[2]
    cdef float down[2]
    cdef float corner
    memcpy(flat, &mean[0], 3 * n * sizeof(double))
    if shape.shape[0] > 0:
        add_product(&components[0, 0], &shape[0], 3 * n, shape.shape[0], flat)
    c_euler_to_matrix(&pose[1], R)
    for i in range(n):
        base[i, 0] = pose[0] * (R[0] * X[i] + R[1] * Y[i] + R[2] * Z[i]) + pose[4]
        base[i, 1] = pose[0] * (R[3] * X[i] + R[4] * Y[i] + R[5] * Z[i]) + pose[5]
        mean_x += base[i, 0]
        mean_y += base[i, 1]
        mean_X += X[i]
        mean_Y += Y[i]
    mean_x /= n
    mean_y /= n
    mean_X /= n
    mean_Y /= n
    # Procrustes alignment with the frontal shape at the patch scale.
    for i in range(n):
        px = base[i, 0] - mean_x
        py = base[i, 1] - mean_y
        qx = patch_scale * (X[i] - mean_X)
        qy = patch_scale * (Y[i] - mean_Y)
        cosine += px * qx + py * qy
        sine += px * qy - py * qx
        size += px * px + py * py
        reference_size += qx * qx + qy * qy
    factor = sqrt(reference_size / size) / hypot(cosine, sine)
    to_reference[0, 0] = to_reference[1, 1] = factor * cosine
    to_reference[1, 0] = factor * sine
    to_reference[0, 1] = -to_reference[1, 0]
    factor = 1.0 / (factor * (cosine * cosine + sine * sine))
    to_image[0, 0] = to_image[1, 1] = factor * cosine
    to_image[0, 1] = factor * sine
    to_image[1, 0] = -to_image[0, 1]
    # Rounded as the reference rounds them: sampling quantises coordinates, and what falls on the other side
    # of a step would differ by 1/32 px. (Products of two floats are exact in double: each cast rounds once.)
    for axis in range(2):
        along[axis] = <float>to_image[axis, 0]
        down[axis] = <float>to_image[axis, 1]
        corner = <float>(<double><float>(along[axis] * half) + <double><float>(down[axis] * half))
        for k in range(visible.shape[0]):
            matrices[k, axis, 0] = along[axis]
            matrices[k, axis, 1] = down[axis]
            matrices[k, axis, 2] = <float>(<double><float>base[visible[k], axis] - corner)


def place_areas(const double[::1] mean, const double[:, ::1] components, const double[::1] pose,
                const double[::1] shape, const int32_t[::1] visible, double patch_scale, Py_ssize_t side,
                double[:, ::1] base, double[:, ::1] to_reference, double[:, ::1] to_image,
                double[:, :, ::1] matrices):
    """Compute the landmarks in the image and the affine maps of the areas of interest around them.

    Parameters
    ----------
    mean, components : ndarray, shapes (3n,) and (3n, m), float64
        The PDM.
    pose, shape : ndarray, shapes (6,) and (m,), float64
    visible : ndarray, shape (v,), int32
        The landmark of each area.
    patch_scale : float
        Pixels per mm of the reference frame.
    side : int
        Side a of the areas.
    base : ndarray, shape (n, 2), float64
        Gets the landmarks, px.
    to_reference, to_image : ndarray, shape (2, 2), float64
        Get the similarity A that aligns them with the frontal shape at the patch scale (Procrustes), and A^-1.
    matrices : ndarray, shape (v, 2, 3), float64
        Get the maps: position (column j, row i) of an area is
        ``landmark + A^-1 (j - (a-1)/2, i - (a-1)/2)`` in the image.
    """
    cdef double *flat = <double *>malloc(mean.shape[0] * sizeof(double))
    if flat == NULL:
        raise MemoryError
    # Python's lock is kept: to get it back from another thread would take longer than this does.
    c_place_areas(mean, components, pose, shape, visible, patch_scale, side, base, to_reference, to_image,
                  matrices, flat)
    free(flat)


cdef void c_close_openings(const int32_t[:, ::1] contacts, const double[::1] sides, double depth, Py_ssize_t n,
                           double *points) noexcept nogil:
    cdef Py_ssize_t row, covered, covering
    cdef double past
    for row in range(contacts.shape[0]):
        covered, covering = n + contacts[row, 0], n + contacts[row, 1]
        past = (points[covering] - points[covered]) * sides[row]
        if past > 0:
            points[covered] = points[covering]
            # Not at once: landmarks are continuous in the shape.
            points[n + covered] += (points[n + covering] - points[n + covered]) * min(past / depth, 1.0)


def close_openings(const int32_t[:, ::1] contacts, const double[::1] sides, double depth, double[:, ::1] points):
    """Put landmarks that have passed the other edge of their opening onto it.

    Parameters
    ----------
    contacts : ndarray, shape (k, 2), int32
        The landmark that is covered where the edges meet, and the one that covers it.
    sides : ndarray, shape (k,), float64
        1 where the first belongs below the second, -1 where above.
    depth : float
        How far it has to pass it until it has its depth, too, mm.
    points : ndarray, shape (3, n), float64
        x, y, z in the head's axes, mm; changed.
    """
    c_close_openings(contacts, sides, depth, points.shape[1], &points[0, 0])


def turned_landmarks(const double[::1] mean, const double[:, ::1] components, const int32_t[:, ::1] contacts,
                     const double[::1] sides, double depth, const double[::1] pose, const double[::1] shape,
                     double[:, ::1] out):
    """Compute the landmarks as they are turned, their openings closed: in the image, or in mm.

    Parameters
    ----------
    mean, components : ndarray, shapes (3n,) and (3n, m), float64
        The PDM.
    contacts, sides, depth
        See `close_openings`.
    pose, shape : ndarray, shapes (6,) and (m,), float64
    out : ndarray, shape (n, 2) or (n, 3), float64
        Two columns: scaled and moved, px. Three: only turned, mm.
    """
    cdef Py_ssize_t n = mean.shape[0] // 3, i, axis
    cdef bint flat = out.shape[1] == 2
    cdef double R[9]
    cdef double turned
    cdef double *points = <double *>malloc(mean.shape[0] * sizeof(double))
    if points == NULL:
        raise MemoryError
    # Python's lock is kept: to get it back from another thread would take longer than this does.
    memcpy(points, &mean[0], mean.shape[0] * sizeof(double))
    if shape.shape[0] > 0:
        add_product(&components[0, 0], &shape[0], mean.shape[0], shape.shape[0], points)
    c_close_openings(contacts, sides, depth, n, points)
    c_euler_to_matrix(&pose[1], R)
    for axis in range(out.shape[1]):
        for i in range(n):
            turned = R[3 * axis] * points[i] + R[3 * axis + 1] * points[n + i] + R[3 * axis + 2] * points[2 * n + i]
            out[i, axis] = pose[0] * turned + pose[4 + axis] if flat else turned
    free(points)


def deform(const double[::1] mean, const double[:, ::1] components, const double[::1] shape, double[::1] out):
    """Compute ``mean + components @ shape``.

    BLAS would let a second thread take part, which waits for more work at full speed.

    Parameters
    ----------
    mean, components, shape : ndarray, shapes (3n,), (3n, m) and (m,), float64
    out : ndarray, shape (3n,), float64
    """
    memcpy(&out[0], &mean[0], mean.shape[0] * sizeof(double))
    if shape.shape[0] > 0:
        add_product(&components[0, 0], &shape[0], mean.shape[0], shape.shape[0], &out[0])


def extent(const double[:, ::1] points, double[::1] out):
    """Find the lowest and the highest coordinates of points.

    Parameters
    ----------
    points : ndarray, shape (n, 2), float64
        At least one.
    out : ndarray, shape (4,), float64
        Left, top, right, bottom; NaN where a coordinate is.
    """
    cdef Py_ssize_t i, axis
    cdef double low, high, value
    if points.shape[0] == 0 or points.shape[1] != 2:
        raise ValueError(f"points are (n, 2), at least one, not ({points.shape[0]}, {points.shape[1]})")
    for axis in range(2):
        low = high = points[0, axis]
        for i in range(1, points.shape[0]):
            value = points[i, axis]
            # (Also true for NaN, which then stays, as nothing is less or more.)
            if not value >= low and low == low:
                low = value
            if not value <= high and high == high:
                high = value
        out[axis] = low
        out[2 + axis] = high
