# The learned start: areas of an image averaged into a crop, and a cascade of regression trees on it.

cdef extern from "cascade.h":
    void add_scaled(double scale, const double *v, Py_ssize_t n, double *sum) noexcept nogil
    void project(const double *shape, Py_ssize_t n, const double *R, double scale, double tx, double ty, double *x,
                 double *y) noexcept nogil
    void pool_coordinates(const double *landmarks, const uint8_t *which, const float *offsets, double a, double b,
                          double scale, Py_ssize_t count, double *out) noexcept nogil
    void split_coordinates(const double *at, Py_ssize_t count, int32_t last, int32_t *first,
                           float *share) noexcept nogil
    void read_pool(const uint8_t *crop, Py_ssize_t side, Py_ssize_t count, const int32_t *x, const int32_t *y,
                   const float *u, const float *v, uint32_t *packed, float *pool) noexcept nogil
    void normalise_pool(float *pool, Py_ssize_t count, double contrast) noexcept nogil
    void run_trees(const float *pool, const uint16_t *splits, const float *thresholds, const signed char *leaves,
                   Py_ssize_t trees, Py_ssize_t nodes, Py_ssize_t width, int32_t *found, int32_t *sum) noexcept nogil


cdef extern from "average.h":
    Py_ssize_t BROAD
    double grid_edge(double start, double step, Py_ssize_t i) noexcept nogil
    void expect_line(const char *line, Py_ssize_t bytes) noexcept nogil
    void sum_lines(const float *const *lines, const float *weights, Py_ssize_t lines_count, Py_ssize_t count,
                   float *out) noexcept nogil
    void turn_strip(const float *strip, Py_ssize_t pitch, Py_ssize_t count, float *columns) noexcept nogil
    void sum_columns(const float *columns, const int32_t *picked, const float *weights, Py_ssize_t count,
                     Py_ssize_t taps, float *sums) noexcept nogil
    void write_floats(const float *sums, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t pitch, float *out) noexcept nogil
    void write_bytes(const float *sums, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t pitch, uint8_t *bytes,
                     uint8_t *out) noexcept nogil


cdef void c_axis_taps(double edge, double step, Py_ssize_t size, bint sampled, Py_ssize_t count, int32_t *taps,
                      float *weights) noexcept nogil:
    """The pixels that one pixel of a grid is the average of."""
    cdef Py_ssize_t k
    cdef double first, index, weight
    if step < 1.0:
        edge = edge + step / 2 - 0.5
    first = floor(edge)
    for k in range(count):
        index = first + k
        if sampled:
            index = floor(edge + step * (k + 0.5) / count)
            weight = 1.0 / count
        elif step < 1.0:
            weight = 1.0 - fabs(edge - index)
        else:
            weight = min(edge + step, index + 1) - max(edge, index)
            weight = (weight if weight > 0.0 else 0.0) / step
        # Also true for NaN.
        if not weight >= 0.0:
            weight = 0.0
        index = index if index > 0.0 else 0.0
        taps[k] = <int32_t>(index if index < size - 1 else size - 1)
        weights[k] = <float>weight


def axis_taps(const double[::1] edges, double step, Py_ssize_t size, bint sampled, int32_t[:, ::1] taps,
              float[:, ::1] weights):
    """Find the pixels along one axis of an image that each pixel of a grid is the average of.

    Parameters
    ----------
    edges : ndarray, shape (m,), float64
        Where the grid's pixels begin; pixel p of the image reaches from p to p + 1.
    step : float
        Their size.
    size : int
        Pixels of the image along the axis.
    sampled : bool
        Some pixels, side by side in equal parts of the grid's pixel, stand for all that it covers. Otherwise each
        counts as far as it is covered or, where the step is below 1, two are interpolated between.
    taps : ndarray, shape (m, K), int32
        Get the pixels, all inside: beyond the image its outermost ones go on.
    weights : ndarray, shape (m, K), float32
        Get their shares.
    """
    cdef Py_ssize_t i
    for i in range(edges.shape[0]):
        c_axis_taps(edges[i], step, size, sampled, taps.shape[1], &taps[i, 0], &weights[i, 0])


cdef void read_line(const pixel_t[:, :, :] image, Py_ssize_t row, Py_ssize_t first, const int32_t *columns,
                    Py_ssize_t count, float *out) noexcept nogil:
    """Grey values of one row of the image: of some columns or, without their numbers, from the first one on."""
    cdef Py_ssize_t j, step = image.strides[1], channel = image.strides[2]
    cdef const char *pixels = <const char *>&image[row, 0, 0]
    cdef const pixel_t *b
    cdef const pixel_t *g
    cdef const pixel_t *r
    if pixel_t is uint8_t:
        # Without a gap: a loop that vectorises.
        if columns == NULL:
            b = <const uint8_t *>(pixels + first * step)
            if image.shape[2] == 1 and step == 1:
                grey_line(b, count, out)
                return
            if image.shape[2] == 3 and step == 3 and channel == 1:
                bgr_line(b, count, out)
                return
    for j in range(count):
        b = <const pixel_t *>(pixels + (first + j if columns == NULL else columns[j]) * step)
        if image.shape[2] == 1:
            out[j] = <float>b[0]
            continue
        g = <const pixel_t *>(<const char *>b + channel)
        r = <const pixel_t *>(<const char *>b + 2 * channel)
        if pixel_t is uint8_t:
            out[j] = <float>((3735 * <int>b[0] + 19235 * <int>g[0] + 9798 * <int>r[0] + 16384) >> 15)
        else:
            out[j] = <float>(0.114 * b[0] + 0.587 * g[0] + 0.299 * r[0])


ctypedef fused average_t:
    uint8_t
    float


ctypedef struct axis_areas:
    # Which pixels go into each of `count` rows or columns of a grid, and their weights.
    const int32_t *taps
    const float *weights
    Py_ssize_t taps_count
    Py_ssize_t count


cdef Py_ssize_t slot_of(int32_t tap, Py_ssize_t row, int32_t *held, int32_t *used, Py_ssize_t kept) noexcept nogil:
    """Where a line of the image is held, or will be, whose place is then marked as used by a row of the grid."""
    cdef Py_ssize_t i, slot
    # Lines side by side have places of their own; of lines further apart two may want the same.
    for i in range(kept):
        slot = (tap + i) % kept
        if held[slot] == tap:
            used[slot] = <int32_t>row
            return slot
    slot = tap % kept
    while used[slot] == row:
        slot = (slot + 1) % kept
    used[slot] = <int32_t>row
    return slot


# So many rows ahead of the one that is read, the image is asked for: it may lie outside of the processor's caches,
# which begin to guess what is read next only after some of each row.
cdef Py_ssize_t AHEAD = 2


cdef bint averaged(const pixel_t[:, :, :] image, axis_areas rows, axis_areas columns,
                   average_t[:, ::1] out) noexcept nogil:
    """The same as `average_areas`; whether there was memory for it."""
    cdef Py_ssize_t i, j, k, slot, lines_count, at = 0, kept = rows.taps_count, taps = columns.taps_count
    cdef Py_ssize_t count = columns.count, width, pitch
    cdef int32_t first = columns.taps[0], last = columns.taps[0]
    cdef float *memory
    cdef float *held_lines
    cdef float *strip
    cdef float *turned
    cdef float *sums
    cdef float *weights
    cdef const float **lines
    cdef int32_t *picked
    cdef int32_t *all_columns
    cdef int32_t *held
    cdef int32_t *used
    for j in range(count * taps):
        first = min(first, columns.taps[j])
        last = max(last, columns.taps[j])
    # Every pixel between the first and the last if these are few, or else only those that are needed.
    width = min(last - first + 1, taps * count)
    pitch = (width + BROAD - 1) // BROAD * BROAD
    memory = <float *>malloc((pitch * (kept + 2 * BROAD) + 2 * count * BROAD + kept) * sizeof(float)
                             + kept * sizeof(float *) + 2 * (taps * count + kept) * sizeof(int32_t))
    if memory == NULL:
        return False
    lines = <const float **>memory
    held_lines = <float *>(lines + kept)
    strip = held_lines + kept * pitch
    turned = strip + BROAD * pitch
    sums = turned + BROAD * pitch
    weights = sums + 2 * count * BROAD
    picked = <int32_t *>(weights + kept)
    all_columns = picked + taps * count
    held = all_columns + taps * count
    used = held + kept
    # What is beyond a line's end, or the last row of the grid, is added up, too.
    memset(held_lines, 0, pitch * (kept + BROAD) * sizeof(float))
    for k in range(kept):
        held[k] = used[k] = -1
    for j in range(taps * count):
        all_columns[j] = columns.taps[j]
        picked[j] = <int32_t>(columns.taps[j] - first if width > last - first else j)
    for i in range(rows.count):
        lines_count = 0
        for k in range(i * kept, (i + 1) * kept):
            if rows.weights[k] == 0.0:
                continue
            # The next row of the grid uses the last of these lines again: read each but once.
            slot = slot_of(rows.taps[k], i, held, used, kept)
            if held[slot] != rows.taps[k]:
                held[slot] = rows.taps[k]
                if width > last - first and image.strides[1] > 0 and rows.taps[k] + AHEAD < image.shape[0]:
                    expect_line(<const char *>&image[rows.taps[k] + AHEAD, first, 0], width * image.strides[1])
                read_line(image, rows.taps[k], first, NULL if width > last - first else all_columns, width,
                          held_lines + slot * pitch)
            lines[lines_count] = held_lines + slot * pitch
            weights[lines_count] = rows.weights[k]
            lines_count += 1
        sum_lines(lines, weights, lines_count, pitch, strip + at * pitch)
        at += 1
        if at == BROAD or i == rows.count - 1:
            turn_strip(strip, pitch, width, turned)
            sum_columns(turned, picked, columns.weights, count, taps, sums)
            if average_t is uint8_t:
                write_bytes(sums, count, at, out.shape[1], <uint8_t *>(sums + count * BROAD), &out[i + 1 - at, 0])
            else:
                write_floats(sums, count, at, out.shape[1], &out[i + 1 - at, 0])
            at = 0
    free(memory)
    return True


def average_areas(const pixel_t[:, :, :] image, const int32_t[:, ::1] row_taps, const float[:, ::1] row_weights,
                  const int32_t[:, ::1] column_taps, const float[:, ::1] column_weights, average_t[:, ::1] out):
    """Average grey values over the areas of a grid, one axis after the other.

    Parameters
    ----------
    image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
        Grey or BGR; any strides.
    row_taps, column_taps : ndarray, shapes (m, K) and (n, L), int32
        Which rows and columns of the image go into each row and column of the grid; all inside.
    row_weights, column_weights : ndarray, shapes (m, K) and (n, L), float32
    out : ndarray, shape (m, n), float32 or uint8
        uint8: rounded, a half upwards, for grey values of 0..255.
    """
    cdef axis_areas rows
    cdef axis_areas columns
    cdef bint done
    rows.taps, rows.weights, rows.taps_count = &row_taps[0, 0], &row_weights[0, 0], row_taps.shape[1]
    rows.count = row_taps.shape[0]
    columns.taps, columns.weights, columns.taps_count = &column_taps[0, 0], &column_weights[0, 0], column_taps.shape[1]
    columns.count = column_taps.shape[0]
    with nogil:
        done = averaged(image, rows, columns, out)
    if not done:
        raise MemoryError


def cut_square(const pixel_t[:, :, :] image, double left, double top, double step, Py_ssize_t taps, bint sampled,
               average_t[:, ::1] out):
    """Cut a square out of an image and reduce it, by `axis_taps` and `average_areas`.

    Parameters
    ----------
    image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
        Grey or BGR; any strides.
    left, top : float
        Outer corner of the square's first pixel; pixel p of the image reaches from p to p + 1.
    step : float
        Side of the square's pixels, px of the image.
    taps : int
        Pixels of the image along each axis that go into one of the square.
    sampled : bool
        See `axis_taps`.
    out : ndarray, shape (N, N), float32 or uint8
        See `average_areas`.
    """
    cdef Py_ssize_t i, side = out.shape[0]
    cdef axis_areas rows
    cdef axis_areas columns
    cdef bint done = False
    cdef int32_t *places = <int32_t *>malloc(2 * side * taps * (sizeof(int32_t) + sizeof(float)))
    cdef float *weights = <float *>(places + 2 * side * taps)
    if places == NULL:
        raise MemoryError
    with nogil:
        for i in range(side):
            c_axis_taps(grid_edge(top, step, i), step, image.shape[0], sampled, taps, places + i * taps,
                        weights + i * taps)
            c_axis_taps(grid_edge(left, step, i), step, image.shape[1], sampled, taps, places + (side + i) * taps,
                        weights + (side + i) * taps)
        rows.taps, rows.weights, rows.taps_count, rows.count = places, weights, taps, side
        columns.taps, columns.weights, columns.taps_count = places + side * taps, weights + side * taps, taps
        columns.count = side
        done = averaged(image, rows, columns, out)
    free(places)
    if not done:
        raise MemoryError


cdef void c_upright(const double *R, double *plane) noexcept nogil:
    """The rotation (2, 2) in the image plane that brings an upright face to the roll of R."""
    cdef double c = R[4], s = -R[1], length = hypot(R[4], R[1])
    length = length if length > 1e-300 else 1e-300
    plane[0] = plane[3] = c / length
    plane[2] = s / length
    plane[1] = -plane[2]


cdef void c_turn(double *R, const double *w) noexcept nogil:
    """R <- the rotation about w by |w|, times R."""
    cdef double angle = sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2])
    cdef double T[9]
    cdef double product[9]
    cdef double c = cos(angle), s, v, x = w[0], y = w[1], z = w[2]
    cdef int i, j
    # sin(a) / a and (1 - cos a) / a^2, without cancellation.
    s = sin(angle) / angle if angle > 1e-8 else 1.0
    v = sin(angle / 2) / (angle / 2) if angle > 1e-8 else 1.0
    v = 0.5 * v * v
    T[0] = c + v * x * x
    T[1] = v * x * y - s * z
    T[2] = v * x * z + s * y
    T[3] = v * x * y + s * z
    T[4] = c + v * y * y
    T[5] = v * y * z - s * x
    T[6] = v * x * z - s * y
    T[7] = v * y * z + s * x
    T[8] = c + v * z * z
    for i in range(3):
        for j in range(3):
            product[3 * i + j] = T[3 * i] * R[j] + T[3 * i + 1] * R[3 + j] + T[3 * i + 2] * R[6 + j]
    memcpy(R, product, 9 * sizeof(double))


cdef double c_turn_of(const double *R, double *w) noexcept nogil:
    """The axis times the angle of a rotation, and the angle, in [0, pi]."""
    cdef double products[16]
    cdef double *q = products
    cdef double sine, factor
    cdef int i
    # By way of the quaternion, built from its largest component: no division by a small number anywhere.
    products[0] = 1.0 + R[0] + R[4] + R[8]
    products[5] = 1.0 + R[0] - R[4] - R[8]
    products[10] = 1.0 - R[0] + R[4] - R[8]
    products[15] = 1.0 - R[0] - R[4] + R[8]
    products[1] = products[4] = R[7] - R[5]
    products[2] = products[8] = R[2] - R[6]
    products[3] = products[12] = R[3] - R[1]
    products[6] = products[9] = R[3] + R[1]
    products[7] = products[13] = R[2] + R[6]
    products[11] = products[14] = R[7] + R[5]
    for i in range(1, 4):
        if products[5 * i] > q[(q - products) // 4]:
            q = products + 4 * i
    sine = sqrt(q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    w[0] = w[1] = w[2] = 0.0
    if sine == 0.0:
        return 0.0
    factor = 2.0 * atan2(sine, fabs(q[0]))
    for i in range(3):
        w[i] = factor / (sine if q[0] >= 0.0 else -sine) * q[1 + i]
    return factor


def mirror_image(const uint8_t[:, ::1] image, uint8_t[:, :, ::1] out):
    """Copy an image and its mirror image.

    NumPy takes longer, and gives up Python's lock, which other threads then get.

    Parameters
    ----------
    image : ndarray, shape (H, W), uint8
    out : ndarray, shape (2, H, W), uint8
    """
    cdef Py_ssize_t i, j, last = image.shape[1] - 1
    for i in range(image.shape[0]):
        memcpy(&out[0, i, 0], &image[i, 0], image.shape[1])
        for j in range(last + 1):
            out[1, i, j] = image[i, last - j]


def mirror_faces(double last, const double[::1] signs, double[:, :, ::1] rotations, double[:, ::1] placements,
                 double[:, ::1] shapes):
    """Turn faces into those of the mirror image, in place.

    Parameters
    ----------
    last : float
        The last column of the image.
    signs : ndarray, shape (m,), float64
        By which the shape coefficients differ in the mirror image.
    rotations, placements, shapes : ndarray, shapes (g, 3, 3), (g, 3) and (g, m), float64
        (scale, tx, ty), px.
    """
    cdef Py_ssize_t guess, j
    # Python's lock is kept: to get it back from another thread would take longer than this does.
    for guess in range(placements.shape[0]):
        # What turns around where x becomes -x before and after.
        rotations[guess, 0, 1] = -rotations[guess, 0, 1]
        rotations[guess, 0, 2] = -rotations[guess, 0, 2]
        rotations[guess, 1, 0] = -rotations[guess, 1, 0]
        rotations[guess, 2, 0] = -rotations[guess, 2, 0]
        placements[guess, 1] = last - placements[guess, 1]
        for j in range(signs.shape[0]):
            shapes[guess, j] *= signs[j]


def mix_faces(const double[:, :, ::1] other_rotations, const double[:, ::1] other_placements,
              const double[:, ::1] other_shapes, double radius, double share, double reach, double[::1] apart,
              double[:, :, ::1] rotations, double[:, ::1] placements, double[:, ::1] shapes):
    """Move faces towards others, less the further they lie apart.

    Parameters
    ----------
    other_rotations, other_placements, other_shapes : ndarray, shapes (g, 3, 3), (g, 3) and (g, m), float64
        The others.
    radius : float
        By how much a landmark moves when the face turns by a radian, or grows by its size, mm.
    share : float
        How much of the way is gone where both are the same.
    reach : float
        How far apart nothing of it is gone any more, mm; inf: the share is always that.
    apart : ndarray, shape (g,), float64
        Gets about how far each is from the other: its shift, turn and growth, mm; inf if one has no size.
    rotations, placements, shapes : ndarray, shapes (g, 3, 3), (g, 3) and (g, m), float64
        (scale, tx, ty), px; changed.
    """
    cdef Py_ssize_t guess, i, j
    cdef double *R
    cdef double between[9]
    cdef double turn[3]
    cdef double step[3]
    cdef double angle, scale, other, own
    # Python's lock is kept: to get it back from another thread would take longer than this does.
    for guess in range(placements.shape[0]):
        R = &rotations[guess, 0, 0]
        for i in range(3):
            for j in range(3):
                between[3 * i + j] = (R[i] * other_rotations[guess, 0, j] + R[3 + i] * other_rotations[guess, 1, j]
                                      + R[6 + i] * other_rotations[guess, 2, j])
        angle = c_turn_of(between, turn)
        scale, other = placements[guess, 0], other_placements[guess, 0]
        # (Also false for NaN.)
        if not (0.0 < scale < HUGE_VAL and 0.0 < other < HUGE_VAL):
            apart[guess] = HUGE_VAL
            continue
        apart[guess] = (hypot(other_placements[guess, 1] - placements[guess, 1],
                              other_placements[guess, 2] - placements[guess, 2]) / scale
                        + radius * (angle + fabs(log(other / scale))))
        own = share * (1.0 - apart[guess] / reach)
        if not own > 0.0:
            continue
        # A turn before the rotation is one about the turned axis after it.
        for i in range(3):
            step[i] = own * (R[3 * i] * turn[0] + R[3 * i + 1] * turn[1] + R[3 * i + 2] * turn[2])
        c_turn(R, step)
        placements[guess, 0] = pow(scale, 1.0 - own) * pow(other, own)
        for j in range(1, 3):
            placements[guess, j] += own * (other_placements[guess, j] - placements[guess, j])
        for j in range(shapes.shape[1]):
            shapes[guess, j] += own * (other_shapes[guess, j] - shapes[guess, j])


cdef double c_limited(double value, double limit) noexcept nogil:
    value = limit if value > limit else value
    return -limit if value < -limit else value


cdef void c_move_face(const double *update, double c, double s, const double[::1] limits, double *R, double *placement,
                      double *shape) noexcept nogil:
    """Move a face by an update: log scale, turn and shift as an upright face has them, and shape.

    c, s: cosine and sine of the face's roll.
    """
    cdef Py_ssize_t j
    cdef double turn[3]
    cdef double scale = placement[0]
    turn[0] = c * update[1] - s * update[2]
    turn[1] = s * update[1] + c * update[2]
    turn[2] = update[3]
    placement[1] += scale * (c * update[4] - s * update[5])
    placement[2] += scale * (s * update[4] + c * update[5])
    placement[0] = scale * exp(update[0])
    c_turn(R, turn)
    for j in range(limits.shape[0]):
        shape[j] = c_limited(shape[j] + update[6 + j], limits[j])


cdef void c_run_stage(Py_ssize_t stage, const uint8_t[:, ::1] crop, const double[::1] mean,
                      const double[:, ::1] modes, const double[::1] limits, const uint8_t[:, ::1] landmarks,
                      const float[:, :, ::1] offsets, const uint16_t[:, :, :, ::1] splits,
                      const float[:, :, ::1] thresholds, const signed char[:, :, :, ::1] leaves,
                      const float[:, ::1] units, double contrast, double *R, double *placement, double *shape,
                      double *work) noexcept nogil:
    cdef Py_ssize_t n = mean.shape[0] // 3, modes_count = limits.shape[0], pool_size = landmarks.shape[1]
    cdef Py_ssize_t j, width = 6 + modes_count
    cdef int32_t last = <int32_t>crop.shape[0] - 1
    cdef double *points = work                        # x1..xn, y1..yn, z1..zn in object space
    cdef double *x = points + 3 * n                   # in the crop
    cdef double *y = x + n
    cdef double *at = y + n                           # one coordinate of the pool
    cdef double *update = at + pool_size
    cdef float *pool = <float *>(update + width)
    cdef float *u = pool + pool_size
    cdef float *v = u + pool_size
    cdef int32_t *left = <int32_t *>(v + pool_size)
    cdef int32_t *top = left + pool_size
    cdef uint32_t *packed = <uint32_t *>(top + pool_size)
    cdef int32_t *sums = <int32_t *>(packed + pool_size)
    cdef int32_t *found = sums + width                # a leaf of each tree
    cdef double plane[4]
    cdef double c, s, scale = placement[0]
    memcpy(points, &mean[0], 3 * n * sizeof(double))
    for j in range(modes_count):
        add_scaled(shape[j], &modes[j, 0], 3 * n, points)
    project(points, n, R, scale, placement[1], placement[2], x, y)
    c_upright(R, plane)
    c, s = plane[0], plane[2]
    pool_coordinates(x, &landmarks[stage, 0], &offsets[stage, 0, 0], c, -s, scale, pool_size, at)
    split_coordinates(at, pool_size, last, left, u)
    pool_coordinates(y, &landmarks[stage, 0], &offsets[stage, 0, 0], s, c, scale, pool_size, at)
    split_coordinates(at, pool_size, last, top, v)
    read_pool(&crop[0, 0], crop.shape[1], pool_size, left, top, u, v, packed, pool)
    normalise_pool(pool, pool_size, contrast)
    run_trees(pool, &splits[stage, 0, 0, 0], &thresholds[stage, 0, 0], &leaves[stage, 0, 0, 0],
              splits.shape[1], splits.shape[2], width, found, sums)
    for j in range(width):
        update[j] = <double>sums[j] * units[stage, j]
    c_move_face(update, c, s, limits, R, placement, shape)


def run_cascade(const uint8_t[:, ::1] crop, const double[::1] mean, const double[:, ::1] modes,
                const double[::1] limits, const uint8_t[:, ::1] landmarks, const float[:, :, ::1] offsets,
                const uint16_t[:, :, :, ::1] splits, const float[:, :, ::1] thresholds,
                const signed char[:, :, :, ::1] leaves, const float[:, ::1] units, double contrast,
                double[:, :, ::1] rotations, double[:, ::1] placements, double[:, ::1] shapes):
    """Run a cascade of regression trees on differences of pixels that move with the shape.

    Parameters
    ----------
    crop : ndarray, shape (side, side), uint8
    mean, modes : ndarray, shapes (3n,) and (k, 3n), float64
        The PDM's mean, and those of its modes that are predicted, one a row.
    limits : ndarray, shape (k,), float64
        Bound of each shape coefficient's magnitude.
    landmarks : ndarray, shape (S, F), uint8
        Landmark that each pixel of a stage's pool moves with.
    offsets : ndarray, shape (S, F, 2), float32
        Its distance from the landmark in the upright frame, mm.
    splits : ndarray, shape (S, T, M, 2), uint16
        Pixels whose difference each node compares; M = 2**D - 1 nodes by level.
    thresholds : ndarray, shape (S, T, M), float32
        A larger difference goes right.
    leaves : ndarray, shape (S, T, M + 1, 6 + k), int8
    units : ndarray, shape (S, 6 + k), float32
        Value of 1 in a leaf: log scale, rotation, translation (mm), shape.
    contrast : float
        Added to the pool's standard deviation, by which its pixels are divided.
    rotations : ndarray, shape (g, 3, 3), float64
        Of g guesses, each of which is changed in place by itself, as are
    placements : ndarray, shape (g, 3), float64
        (scale, tx, ty), px of the crop, and
    shapes : ndarray, shape (g, k), float64
    """
    cdef Py_ssize_t stage, guess, modes_count = limits.shape[0], pool_size = landmarks.shape[1]
    cdef double *shape
    # Doubles: 5n of points, the pool's coordinates, updates; then numbers of four bytes.
    cdef double *work = <double *>malloc(
        (5 * (mean.shape[0] // 3) + pool_size + 6 + modes_count) * sizeof(double)
        + (6 * pool_size + 6 + modes_count + splits.shape[1]) * sizeof(int32_t))
    if work == NULL:
        raise MemoryError
    with nogil:
        # All guesses stage by stage: they read the same trees.
        for stage in range(landmarks.shape[0]):
            for guess in range(placements.shape[0]):
                shape = &shapes[guess, 0] if modes_count > 0 else NULL
                c_run_stage(stage, crop, mean, modes, limits, landmarks, offsets, splits, thresholds, leaves, units,
                            contrast, &rotations[guess, 0, 0], &placements[guess, 0], shape, work)
    free(work)
