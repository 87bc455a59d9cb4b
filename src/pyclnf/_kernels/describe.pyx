# The linear stage of the learned start: descriptors around the landmarks, their weighted sums, and whole steps.


cdef extern from "describe.h":
    ctypedef struct patch_layout:
        Py_ssize_t side
        Py_ssize_t directions
        Py_ssize_t samples
        int mirrored
    ctypedef struct description_scratch:
        pass
    patch_layout layout_of_patch(Py_ssize_t side, const float *unit_vectors, Py_ssize_t directions, const float *taps,
                                 Py_ssize_t radius, const float *offsets, Py_ssize_t samples,
                                 float floor) noexcept nogil
    Py_ssize_t description_parts(const patch_layout *layout, Py_ssize_t points, float *memory,
                                 description_scratch *parts) noexcept nogil
    void pair_crop(const uint8_t *crop, Py_ssize_t side, uint16_t *pairs) noexcept nogil
    void describe(const uint16_t *pairs, Py_ssize_t side, const double *matrix, const patch_layout *layout,
                  const double *points, Py_ssize_t count, const int32_t *counterparts,
                  description_scratch *scratch, float *out, float *turned) noexcept nogil
    void weigh(const float *descriptors, const signed char *weights, const float *units, const float *bias,
               Py_ssize_t count, Py_ssize_t length, Py_ssize_t width, double *out) noexcept nogil


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
    cdef patch_layout layout = layout_of_patch(side, &directions[0, 0], directions.shape[0], &taps[0],
                                               taps.shape[0] // 2, &offsets[0, 0], offsets.shape[0], floor)
    cdef description_scratch scratch
    cdef Py_ssize_t size = description_parts(&layout, points.shape[0], NULL, &scratch)
    cdef float *memory = <float *>malloc(
        size * sizeof(float) + crop.shape[0] * crop.shape[0] * sizeof(uint16_t))
    cdef uint16_t *pairs = <uint16_t *>(memory + size)
    if memory == NULL:
        raise MemoryError
    with nogil:
        description_parts(&layout, points.shape[0], memory, &scratch)
        pair_crop(&crop[0, 0], crop.shape[0], pairs)
        describe(pairs, crop.shape[0], &matrix[0, 0], &layout, &points[0, 0], points.shape[0], NULL, &scratch,
                 &out[0, 0], NULL)
    free(memory)


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
    with nogil:
        weigh(&descriptors[0, 0], &weights[0, 0, 0], &units[0], &bias[0], descriptors.shape[0],
              descriptors.shape[1], out.shape[0], &out[0])


# A face of less has no extent, px of the crop per mm.
cdef double MIN_SCALE = 1e-6


# A share of two steps between which a face goes over: 0 at `width` before an edge, 1 at so much beyond it.
cdef inline double c_beyond(double turn, double edge, double width) noexcept nogil:
    if width > 0.0:
        return c_limited((turn - edge) / width, 1.0) * 0.5 + 0.5
    return 1.0 if turn > edge else 0.0


cdef bint c_see_face(const double[::1] mean, const double[:, ::1] modes, const double *R, double *placement,
                     const double *shape, double *points, double *x, double *y, double *centre) noexcept nogil:
    """Find a face's landmarks in object space and in the crop, and the middle of these.

    False, and no number in its placement, if it is not finite or has no extent.
    """
    cdef Py_ssize_t n = mean.shape[0] // 3, i, j
    cdef double scale = placement[0]
    cdef bint usable = scale >= MIN_SCALE and scale < HUGE_VAL
    # (Not finite: the difference from itself is not zero.)
    for i in range(9):
        usable = usable and R[i] - R[i] == 0.0
    for i in range(1, 3):
        usable = usable and placement[i] - placement[i] == 0.0
    if not usable:
        placement[0] = placement[1] = placement[2] = NAN
        return False
    memcpy(points, &mean[0], 3 * n * sizeof(double))
    for j in range(modes.shape[0]):
        add_scaled(shape[j], &modes[j, 0], 3 * n, points)
    project(points, n, R, scale, placement[1], placement[2], x, y)
    centre[0] = centre[1] = 0.0
    for i in range(n):
        centre[0] += x[i]
        centre[1] += y[i]
    centre[0] /= n
    centre[1] /= n
    return True


cdef void c_take_step(const uint16_t *pairs, Py_ssize_t crop_side, const double[::1] mean, const double[:, ::1] modes,
                      const double[::1] limits, const int32_t[::1] mirror, const double[::1] signs,
                      const double[::1] edges, double width, double patch_scale, const patch_layout *layout,
                      const signed char[:, :, :, ::1] weights, const float[:, ::1] units, const float[:, ::1] bias,
                      double *R, double *placement, double *shape, description_scratch *scratch,
                      float *descriptors, float *turned, double *work) noexcept nogil:
    cdef Py_ssize_t n = mean.shape[0] // 3, count = limits.shape[0], views = edges.shape[0] + 1, i, j, view
    cdef double *points = work                    # x1..xn, y1..yn, z1..zn in object space
    cdef double *x = points + 3 * n               # in the crop
    cdef double *y = x + n
    cdef double *seen = y + n                     # (n, 2) in the patch, as it is described
    cdef double *update = seen + 2 * n
    cdef double *said = update + 6 + count        # by one view
    cdef double[6] matrix
    cdef double[4] plane
    cdef double scale = placement[0], c, s, turn, own, share, beyond, further
    cdef double[2] centre
    cdef double middle = (layout.side - 1) / 2.0, a, b, value
    cdef float *described
    cdef bint mirrored, both
    if not c_see_face(mean, modes, R, placement, shape, points, x, y, centre):
        return
    turn = asin(c_limited(R[2], 1.0))
    c_upright(R, plane)
    c, s = plane[0], plane[2]
    memset(update, 0, (6 + count) * sizeof(double))
    own = 1.0 - c_beyond(-turn, 0.0, width)
    both = layout.mirrored != 0 and own > 0.0 and own < 1.0
    for mirrored in range(2):
        if mirrored:
            turn, own = -turn, 1.0 - own
        if own == 0.0:
            continue
        if mirrored and both:
            described = turned
        else:
            described = descriptors
            # From the patch to the crop; the columns are orthogonal, and as long as each other.
            value = scale / patch_scale
            matrix[0] = -c * value if mirrored else c * value
            matrix[3] = -s * value if mirrored else s * value
            matrix[1] = -s * value
            matrix[4] = c * value
            matrix[2] = centre[0] - (matrix[0] + matrix[1]) * middle
            matrix[5] = centre[1] - (matrix[3] + matrix[4]) * middle
            value = matrix[0] * matrix[0] + matrix[3] * matrix[3]
            for i in range(n):
                j = mirror[i] if mirrored else i
                a = x[j] - centre[0]
                b = y[j] - centre[1]
                seen[2 * i] = (a * matrix[0] + b * matrix[3]) / value + middle
                seen[2 * i + 1] = (a * matrix[1] + b * matrix[4]) / value + middle
            describe(pairs, crop_side, matrix, layout, seen, n, &mirror[0] if both else NULL, scratch, descriptors,
                     turned)
        beyond = 1.0
        for view in range(views):
            further = c_beyond(turn, edges[view], width) if view + 1 < views else 0.0
            share = own * (beyond - further)
            beyond = further
            if share <= 0.0:
                continue
            weigh(described, &weights[view, 0, 0, 0], &units[view, 0], &bias[view, 0], n, weights.shape[2],
                  weights.shape[3], said)
            for j in range(6 + count):
                update[j] += share * (said[j] * signs[j] if mirrored else said[j])
    c_move_face(update, c, s, limits, R, placement, shape)


cdef bint stepped(const uint8_t *crop, Py_ssize_t crop_side, const double[::1] mean, const double[:, ::1] modes,
                  const double[::1] limits, const int32_t[::1] mirror, const double[::1] signs,
                  const double[::1] edges, double width, const double[:, ::1] patches,
                  const float[:, ::1] directions, const float[:, ::1] taps, const float[:, :, ::1] offsets,
                  const signed char[:, :, :, :, ::1] weights, const float[:, :, ::1] units,
                  const float[:, :, ::1] bias, double[:, :, ::1] rotations, double[:, ::1] placements,
                  double[:, ::1] shapes) noexcept nogil:
    """The same as `take_steps`; whether there was memory for it."""
    cdef Py_ssize_t n = mean.shape[0] // 3, guess, step, length = weights.shape[3]
    cdef patch_layout layout
    cdef description_scratch scratch
    cdef float *memory
    cdef float *descriptors
    cdef Py_ssize_t numbers = 7 * n + 2 * (6 + limits.shape[0])
    cdef double *work = <double *>malloc(numbers * sizeof(double) + crop_side * crop_side * sizeof(uint16_t))
    cdef double *shape
    cdef uint16_t *pairs = <uint16_t *>(work + numbers)
    if work == NULL:
        return False
    pair_crop(crop, crop_side, pairs)
    for step in range(weights.shape[0]):
        layout = layout_of_patch(<Py_ssize_t>patches[step, 1], &directions[0, 0], directions.shape[0],
                                 &taps[step, 0], <Py_ssize_t>patches[step, 3] // 2, &offsets[step, 0, 0],
                                 offsets.shape[1], <float>patches[step, 2])
        memory = <float *>malloc((description_parts(&layout, n, NULL, &scratch) + 2 * n * length) * sizeof(float))
        if memory == NULL:
            free(work)
            return False
        # Behind the parts, which hold doubles and must begin where they may.
        descriptors = memory + description_parts(&layout, n, memory, &scratch)
        for guess in range(placements.shape[0]):
            shape = &shapes[guess, 0] if limits.shape[0] > 0 else NULL
            c_take_step(pairs, crop_side, mean, modes, limits, mirror, signs, edges, width, patches[step, 0], &layout,
                        weights[step], units[step], bias[step], &rotations[guess, 0, 0], &placements[guess, 0], shape,
                        &scratch, descriptors, descriptors + n * length, work)
        free(memory)
    free(work)
    return True


def take_steps(const uint8_t[:, ::1] crop, const double[::1] mean, const double[:, ::1] modes,
               const double[::1] limits, const int32_t[::1] mirror, const double[::1] signs, const double[::1] edges,
               double width, const double[:, ::1] patches, const float[:, ::1] directions,
               const float[:, ::1] taps, const float[:, :, ::1] offsets,
               const signed char[:, :, :, :, ::1] weights, const float[:, :, ::1] units,
               const float[:, :, ::1] bias, double[:, :, ::1] rotations, double[:, ::1] placements,
               double[:, ::1] shapes):
    """Take linear steps from each guess: describe the face around its landmarks, and move by the weighted sum.

    Faces turned to the side where R[0, 2] < 0 are looked at in the mirror, those hardly turned at all in both ways.
    What the views say goes over from one to the next, and from one way to the other, along with the yaw: a face that
    turns in a video would jump otherwise.

    Parameters
    ----------
    crop : ndarray, shape (L, L), uint8
    mean, modes : ndarray, shapes (3n,) and (k, 3n), float64
        The PDM's mean, and those of its modes that are predicted, one a row.
    limits : ndarray, shape (k,), float64
        Bound of each shape coefficient's magnitude.
    mirror : ndarray, shape (n,), int32
        Counterpart of each landmark.
    signs : ndarray, shape (6 + k,), float64
        By which an update is multiplied that was seen in the mirror.
    edges : ndarray, shape (V - 1,), float64
        Yaws between the views, rising from 0.
    width : float
        So far to either side of the edges, and of 0, two views, or both ways, have a share; 0 or more.
    patches : ndarray, shape (S, 4), float64
        Of each step: patch px per mm, side of the patch and floor, see `describe_points`, and how many taps it has.
    directions : ndarray, shape (B, 2), float32
    taps, offsets : ndarray, shapes (S, T) and (S, K, 2), float32
        See `describe_points`; only so many of a step's taps are used as it has.
    weights : ndarray, shape (S, V, n, D, 6 + k), int8
    units, bias : ndarray, shape (S, V, 6 + k), float32
        See `weigh_descriptors`. The update: log scale, rotation, translation (mm) in the frame that turns with the
        head's roll, shape.
    rotations : ndarray, shape (g, 3, 3), float64
        Of g guesses, each of which is changed in place by itself, as are
    placements : ndarray, shape (g, 3), float64
        (scale, tx, ty), px of the crop; NaN if the guess is not finite, or has no extent; and
    shapes : ndarray, shape (g, k or more), float64
        Of which the first k change.
    """
    cdef bint done
    with nogil:
        done = stepped(&crop[0, 0], crop.shape[0], mean, modes, limits, mirror, signs, edges, width, patches,
                       directions, taps, offsets, weights, units, bias, rotations, placements, shapes)
    if not done:
        raise MemoryError
