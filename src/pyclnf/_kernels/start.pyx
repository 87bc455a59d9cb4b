# The learned start: areas of an image averaged into a crop, and a cascade of regression trees on it.


cdef void read_line(const pixel_t[:, :, :] image, Py_ssize_t row, const int32_t[::1] columns,
                    float *out) noexcept nogil:
    """Grey values of one row of the image at some columns."""
    cdef Py_ssize_t j, step = image.strides[1], channel = image.strides[2]
    cdef const char *pixels = <const char *>&image[row, 0, 0]
    cdef const pixel_t *b
    cdef const pixel_t *g
    cdef const pixel_t *r
    if pixel_t is uint8_t:
        # Without a gap in memory or among the columns (ascending, each once): a loop that vectorises.
        if columns[columns.shape[0] - 1] - columns[0] + 1 == columns.shape[0]:
            b = <const uint8_t *>(pixels + columns[0] * step)
            if image.shape[2] == 1 and step == 1:
                grey_line(b, columns.shape[0], out)
                return
            if image.shape[2] == 3 and step == 3 and channel == 1:
                bgr_line(b, columns.shape[0], out)
                return
    for j in range(columns.shape[0]):
        b = <const pixel_t *>(pixels + columns[j] * step)
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


def average_areas(const pixel_t[:, :, :] image, const int32_t[::1] rows, const int32_t[:, ::1] row_taps,
                  const float[:, ::1] row_weights, const int32_t[::1] columns,
                  const int32_t[:, ::1] column_taps, const float[:, ::1] column_weights, average_t[:, ::1] out):
    """Average grey values over the areas of a grid, one axis after the other.

    Parameters
    ----------
    image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
        Grey or BGR; any strides.
    rows, columns : ndarray, shapes (R,) and (L,), int32
        Rows and columns of the image that are looked at; ascending, each once, all inside.
    row_taps, column_taps : ndarray, shapes (m, K) and (n, K), int32
        Which of these go into each row and column of the grid.
    row_weights, column_weights : ndarray, shapes (m, K) and (n, K), float32
    out : ndarray, shape (m, n), float32 or uint8
        uint8: rounded, a half upwards, for grey values of 0..255.
    """
    cdef Py_ssize_t i, j, k, slot, width = columns.shape[0], kept = row_taps.shape[1]
    cdef float weight, total
    cdef float *lines = <float *>malloc(kept * (width + 1) * sizeof(float))
    cdef float *line = <float *>malloc((width + 1) * sizeof(float))
    cdef int32_t *held = <int32_t *>malloc((kept + 1) * sizeof(int32_t))
    cdef const float *source
    if lines == NULL or line == NULL or held == NULL:
        free(lines)
        free(line)
        free(held)
        raise MemoryError
    with nogil:
        for k in range(kept):
            held[k] = -1
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
                    read_line(image, rows[row_taps[i, k]], columns, lines + slot * width)
                add_line(weight, source, width, line)
            for j in range(out.shape[1]):
                total = 0.0
                for k in range(column_taps.shape[1]):
                    total += column_weights[j, k] * line[column_taps[j, k]]
                if average_t is uint8_t:
                    out[i, j] = <uint8_t><int>(total + <float>0.5)
                else:
                    out[i, j] = total
    free(lines)
    free(line)
    free(held)


cdef inline float c_bilinear(const uint8_t[:, ::1] crop, double px, double py) noexcept nogil:
    """The crop's value at a point; its border goes on outside."""
    cdef double last = crop.shape[0] - 1
    # Also true for NaN.
    if not px > 0.0:
        px = 0.0
    if not py > 0.0:
        py = 0.0
    cdef float x = <float>(px if px < last else last)
    cdef float y = <float>(py if py < last else last)
    cdef Py_ssize_t left = <Py_ssize_t>x, top = <Py_ssize_t>y
    if left > crop.shape[0] - 2:
        left = crop.shape[0] - 2
    if top > crop.shape[0] - 2:
        top = crop.shape[0] - 2
    cdef float fx = x - left, fy = y - top
    cdef float upper = crop[top, left] * (1 - fx) + crop[top, left + 1] * fx
    cdef float lower = crop[top + 1, left] * (1 - fx) + crop[top + 1, left + 1] * fx
    return upper * (1 - fy) + lower * fy


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


def run_cascade(const uint8_t[:, ::1] crop, const double[::1] mean, const double[:, ::1] modes,
                const double[::1] limits, const uint8_t[:, ::1] landmarks, const float[:, :, ::1] offsets,
                const uint16_t[:, :, :, ::1] splits, const float[:, :, ::1] thresholds,
                const signed char[:, :, :, ::1] leaves, const float[:, ::1] units, double contrast,
                double[:, ::1] rotation, double[::1] placement, double[::1] shape):
    """Run a cascade of regression trees on differences of pixels that move with the shape.

    Parameters
    ----------
    crop : ndarray, shape (side, side), uint8
    mean, modes : ndarray, shapes (3n,) and (3n, k), float64
        The PDM's mean, and those of its modes that are predicted.
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
    rotation : ndarray, shape (3, 3), float64
        Changed in place, as are
    placement : ndarray, shape (3,), float64
        (scale, tx, ty), px of the crop, and
    shape : ndarray, shape (k,), float64
    """
    cdef Py_ssize_t n = mean.shape[0] // 3, modes_count = shape.shape[0], pool_size = landmarks.shape[1]
    cdef Py_ssize_t stage, i, j, tree, node, nodes = splits.shape[2], width = 6 + modes_count
    cdef double *points = <double *>malloc(2 * n * sizeof(double))
    cdef float *pool = <float *>malloc(pool_size * sizeof(float))
    cdef double *update = <double *>malloc(width * sizeof(double))
    cdef double R[9]
    cdef double turn[3]
    cdef double c, s, length, scale, x, y, value, average, spread
    cdef double xyz[3]
    cdef const signed char *leaf
    if points == NULL or pool == NULL or update == NULL:
        free(points)
        free(pool)
        free(update)
        raise MemoryError
    with nogil:
        memcpy(R, &rotation[0, 0], 9 * sizeof(double))
        for stage in range(landmarks.shape[0]):
            scale = placement[0]
            for i in range(n):
                for j in range(3):
                    value = mean[j * n + i]
                    for node in range(modes_count):
                        value = value + modes[j * n + i, node] * shape[node]
                    xyz[j] = value
                points[2 * i] = scale * (R[0] * xyz[0] + R[1] * xyz[1] + R[2] * xyz[2]) + placement[1]
                points[2 * i + 1] = scale * (R[3] * xyz[0] + R[4] * xyz[1] + R[5] * xyz[2]) + placement[2]
            # The rotation in the image plane that brings an upright face to this roll.
            c = R[4]
            s = -R[1]
            length = hypot(c, s)
            length = length if length > 1e-300 else 1e-300
            c /= length
            s /= length
            average = 0.0
            for i in range(pool_size):
                x = offsets[stage, i, 0]
                y = offsets[stage, i, 1]
                pool[i] = c_bilinear(crop, points[2 * landmarks[stage, i]] + scale * (c * x - s * y),
                                     points[2 * landmarks[stage, i] + 1] + scale * (s * x + c * y))
                average += pool[i]
            average /= pool_size
            spread = 0.0
            for i in range(pool_size):
                spread += (pool[i] - average) * (pool[i] - average)
            spread = sqrt(spread / pool_size) + contrast
            for i in range(pool_size):
                pool[i] = <float>(pool[i] / spread)
            for j in range(width):
                update[j] = 0.0
            for tree in range(splits.shape[1]):
                node = 0
                while node < nodes:
                    value = pool[splits[stage, tree, node, 0]] - pool[splits[stage, tree, node, 1]]
                    node = 2 * node + 1 + (value > thresholds[stage, tree, node])
                leaf = &leaves[stage, tree, node - nodes, 0]
                for j in range(width):
                    update[j] += leaf[j]
            for j in range(width):
                update[j] *= units[stage, j]
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
        memcpy(&rotation[0, 0], R, 9 * sizeof(double))
    free(points)
    free(pool)
    free(update)
