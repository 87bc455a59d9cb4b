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
        Get the pixels, all inside.
    weights : ndarray, shape (m, K), float32
        Get their shares; 0 for pixels outside.
    """
    cdef Py_ssize_t i, k, count = taps.shape[1]
    cdef double edge, first, index, weight
    for i in range(edges.shape[0]):
        edge = edges[i]
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
            if not (index >= 0.0 and index < size):
                weight = 0.0
            index = index if index > 0.0 else 0.0
            taps[i, k] = <int32_t>(index if index < size - 1 else size - 1)
            weights[i, k] = <float>weight


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
    cdef Py_ssize_t i, j, k, slot, kept = row_taps.shape[1], count = out.shape[1], taps = column_taps.shape[1]
    cdef Py_ssize_t first, last, width
    cdef float weight
    cdef float *lines = NULL
    cdef float *sums = <float *>malloc((taps + 2) * count * sizeof(float))
    cdef float *weights = sums + 2 * count
    cdef int32_t *columns = <int32_t *>malloc(taps * count * sizeof(int32_t))
    cdef int32_t *picked = <int32_t *>malloc(taps * count * sizeof(int32_t))
    cdef int32_t *held = <int32_t *>malloc(kept * sizeof(int32_t))
    cdef float *line
    cdef const float *source
    first = last = column_taps[0, 0]
    for j in range(count):
        for k in range(taps):
            first = min(first, column_taps[j, k])
            last = max(last, column_taps[j, k])
    # Every pixel between the first and the last if these are few, or else only those that are needed.
    width = min(last - first + 1, taps * count)
    lines = <float *>malloc((kept + 2) * width * sizeof(float))
    if lines == NULL or sums == NULL or columns == NULL or picked == NULL or held == NULL:
        free(lines)
        free(sums)
        free(columns)
        free(picked)
        free(held)
        raise MemoryError
    line = lines + kept * width
    with nogil:
        for k in range(kept):
            held[k] = -1
        # The same taps of all columns side by side.
        for j in range(count):
            for k in range(taps):
                columns[k * count + j] = column_taps[j, k]
                weights[k * count + j] = column_weights[j, k]
        for j in range(taps * count):
            picked[j] = <int32_t>(columns[j] - first if width > last - first else j)
        for i in range(out.shape[0]):
            memset(line, 0, width * sizeof(float))
            for k in range(kept):
                weight = row_weights[i, k]
                if weight == 0.0:
                    continue
                # The next row of the grid uses the last of these lines again: read each but once.
                slot = row_taps[i, k] % kept
                source = lines + slot * width
                if held[slot] != row_taps[i, k]:
                    held[slot] = row_taps[i, k]
                    read_line(image, row_taps[i, k], first, NULL if width > last - first else columns, width,
                              lines + slot * width)
                add_line(weight, source, width, line + width, line)
            memset(sums, 0, count * sizeof(float))
            for k in range(taps):
                add_picked(weights + k * count, picked + k * count, line, count, sums + count, sums)
            for j in range(count):
                if average_t is uint8_t:
                    out[i, j] = <uint8_t><int>(sums[j] + <float>0.5)
                else:
                    out[i, j] = sums[j]
    free(lines)
    free(sums)
    free(columns)
    free(picked)
    free(held)


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
    cdef double turn[3]
    cdef double c, s, length, scale = placement[0], value
    memcpy(points, &mean[0], 3 * n * sizeof(double))
    for j in range(modes_count):
        add_scaled(shape[j], &modes[j, 0], 3 * n, points)
    project(points, n, R, scale, placement[1], placement[2], x, y)
    # The rotation in the image plane that brings an upright face to this roll.
    c = R[4]
    s = -R[1]
    length = hypot(c, s)
    length = length if length > 1e-300 else 1e-300
    c /= length
    s /= length
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
    turn[0] = c * update[1] - s * update[2]
    turn[1] = s * update[1] + c * update[2]
    turn[2] = update[3]
    placement[1] += scale * (c * update[4] - s * update[5])
    placement[2] += scale * (s * update[4] + c * update[5])
    placement[0] = scale * exp(update[0])
    c_turn(R, turn)
    for j in range(modes_count):
        value = shape[j] + update[6 + j]
        value = limits[j] if value > limits[j] else value
        shape[j] = -limits[j] if value < -limits[j] else value


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
