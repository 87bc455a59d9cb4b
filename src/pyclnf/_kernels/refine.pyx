# The refiner: features of a patch that a network finds, read around all landmarks at once.


cdef void c_read_features(const float *features, Py_ssize_t side, Py_ssize_t channels, double x, double y,
                          float *out) noexcept nogil:
    """Interpolate all channels at a place, px of the features; beyond their edge the outermost go on."""
    cdef double last = side - 1
    cdef Py_ssize_t left, top, right, bottom, j
    cdef float u, v
    cdef const float *a
    cdef const float *b
    cdef const float *c
    cdef const float *d
    # (Also where they are not numbers.)
    x = x if x > 0.0 else 0.0
    y = y if y > 0.0 else 0.0
    x = x if x < last else last
    y = y if y < last else last
    left, top = <Py_ssize_t>x, <Py_ssize_t>y
    right, bottom = min(left + 1, side - 1), min(top + 1, side - 1)
    u, v = <float>(x - left), <float>(y - top)
    a, b = features + (top * side + left) * channels, features + (top * side + right) * channels
    c, d = features + (bottom * side + left) * channels, features + (bottom * side + right) * channels
    for j in range(channels):
        out[j] = ((<float>1.0 - v) * ((<float>1.0 - u) * a[j] + u * b[j])
                  + v * ((<float>1.0 - u) * c[j] + u * d[j]))


cdef inline void c_rectify(const double *values, Py_ssize_t count, float *out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = <float>values[i] if values[i] > 0.0 else <float>0.0


def refine_faces(const uint8_t[:, :, :, ::1] crops, double patch_scale, double contrast, double limit,
                 const int32_t[:, ::1] table, const signed char[::1] weights, const float[::1] factors,
                 const int32_t[::1] biases, const float[::1] shares, const double[:, ::1] offsets,
                 const signed char[:, :, ::1] point_weights, const float[:, ::1] point_units,
                 const float[:, ::1] point_bias, const signed char[:, ::1] hidden_weights,
                 const float[::1] hidden_units, const float[::1] hidden_bias, const signed char[:, ::1] last_weights,
                 const float[::1] last_units, const float[::1] last_bias, const double[::1] mean,
                 const double[:, ::1] modes, const double[::1] mode_units, const double[::1] limits,
                 double[:, :, ::1] matrix, float[:, :, ::1] patch, double[:, :, ::1] rotations,
                 double[:, ::1] placements, double[:, ::1] shapes):
    """Move faces by what a network sees around their landmarks.

    Each is sampled upright about the middle of its landmarks, brought to mean 0 and deviation 1, and sent through
    `run_layers`. What the last layer gives, features of each place, is read around each landmark, where a layer of
    the landmark's own follows. What these say of all landmarks, with pose and shape, goes through one more, and the
    update is a weighted sum of both.

    Parameters
    ----------
    crops : ndarray, shape (k, L, L, 1), uint8
        Of each, as many guesses, one after the other.
    patch_scale : float
        Px of the patch per mm of the face.
    contrast, limit : float
        See `look_at_faces`.
    table, weights, factors, biases, shares
        See `run_layers`; the last layer leaves (F, F, C) features.
    offsets : ndarray, shape (P, 2), float64
        Where around a landmark of an upright face they are read, mm.
    point_weights : ndarray, shape (n, P C, H), int8
    point_units, point_bias : ndarray, shape (n, H), float32
        Of a landmark's own layer, see `weigh_descriptors`; what is negative then becomes 0.
    hidden_weights : ndarray, shape (n H + m + 9, W), int8
    hidden_units, hidden_bias : ndarray, shape (W,), float32
        Of the layer that sees what all landmarks' layers say, the shape and the rotation of the upright face; what is
        negative then becomes 0.
    last_weights : ndarray, shape (n H + W, 6 + m), int8
    last_units, last_bias : ndarray, shape (6 + m,), float32
        Of the update, see `take_steps`, from what all landmarks' layers and the layer after them say.
    mean, modes : ndarray, shapes (3n,) and (m, 3n), float64
        The PDM's mean, and those of its modes that change, one a row.
    mode_units, limits : ndarray, shape (m,), float64
        Value of 1 in the shape, and the bound of each coefficient's magnitude.
    matrix : ndarray, shape (1, 2, 3), float64
        Gets the last map from the patch (column, row, 1) to the crop.
    patch : ndarray, shape (1, N, N), float32
        Gets the last patch.
    rotations : ndarray, shape (g, 3, 3), float64
        Of g guesses, each of which is changed in place by itself, as are
    placements : ndarray, shape (g, 3), float64
        (scale, tx, ty), px of the crop; NaN if the guess is not finite, or has no extent; and
    shapes : ndarray, shape (g, m or more), float64
        Of which the first m change.
    """
    cdef Py_ssize_t n = mean.shape[0] // 3, count = limits.shape[0], side = patch.shape[1], channels, places
    cdef Py_ssize_t around = offsets.shape[0], own = point_weights.shape[2], hidden = hidden_weights.shape[1]
    cdef Py_ssize_t guess, each, i, j
    cdef const uint8_t[:, :, :] crop
    cdef layers_size size = size_of_layers(table, side)
    cdef double[2] centre
    cdef double c, s, scale, a, b, value, middle = (side - 1) / 2.0, ratio
    cdef double plane[4]
    cdef double *work
    cdef double *x
    cdef double *y
    cdef double *said
    cdef double *R
    cdef double *placement
    cdef double *shape
    cdef float *features
    cdef float *read
    cdef float *seen
    cdef float *numbers
    cdef int16_t *pixels
    cdef bint done = True
    check_layers(table, side, weights.shape[0], factors.shape[0], biases.shape[0], shares.shape[0], size.last)
    channels = table[table.shape[0] - 1, 3]
    places = size.side
    if crops.shape[0] == 0 or placements.shape[0] % crops.shape[0] != 0:
        raise ValueError("each crop has as many guesses")
    if (point_weights.shape[0] != n or point_weights.shape[1] != around * channels
            or hidden_weights.shape[0] != n * own + count + 9 or last_weights.shape[0] != n * own + hidden
            or last_weights.shape[1] != 6 + count or modes.shape[0] != count or shapes.shape[1] < count):
        raise ValueError("the layers of the landmarks and those after them do not fit each other")
    # Doubles: points in object space and in the crop, and what a layer says; then numbers of four bytes and fewer.
    work = <double *>malloc((5 * n + max(own, hidden, 6 + count)) * sizeof(double)
                            + (size.last + around * channels + 2 * n * own + count + 9 + hidden) * sizeof(float)
                            + side * side * sizeof(int16_t))
    if work == NULL:
        raise MemoryError
    x = work + 3 * n
    y = x + n
    said = y + n
    features = <float *>(said + max(own, hidden, 6 + count))
    read = features + size.last
    # What the landmarks' layers say, and behind it what one layer or the other sees besides.
    seen = read + around * channels
    numbers = seen + n * own
    pixels = <int16_t *>(numbers + n * own + count + 9 + hidden)
    each = placements.shape[0] // crops.shape[0]
    ratio = <double>places / side
    with nogil:
        for guess in range(placements.shape[0]):
            R, placement = &rotations[guess, 0, 0], &placements[guess, 0]
            shape = &shapes[guess, 0] if count > 0 else NULL
            if not c_see_face(mean, modes, R, placement, shape, work, x, y, centre):
                continue
            scale = placement[0]
            c_upright(R, plane)
            c, s = plane[0], plane[2]
            value = scale / patch_scale
            matrix[0, 0, 0] = matrix[0, 1, 1] = c * value
            matrix[0, 1, 0] = s * value
            matrix[0, 0, 1] = -s * value
            matrix[0, 0, 2] = centre[0] - (matrix[0, 0, 0] + matrix[0, 0, 1]) * middle
            matrix[0, 1, 2] = centre[1] - (matrix[0, 1, 0] + matrix[0, 1, 1]) * middle
            crop = crops[guess // each]
            done = sampled(crop, matrix, patch, NULL)
            if done:
                normalise_patch(&patch[0, 0, 0], side * side, contrast, limit, pixels)
                done = layered(pixels, side, table, &weights[0], &factors[0], &biases[0], &shares[0], features)
            if not done:
                break
            for i in range(n):
                # In the upright face, mm.
                a = ((x[i] - centre[0]) * c + (y[i] - centre[1]) * s) / scale
                b = ((y[i] - centre[1]) * c - (x[i] - centre[0]) * s) / scale
                for j in range(around):
                    c_read_features(features, places, channels,
                                    ((a + offsets[j, 0]) * patch_scale + middle + 0.5) * ratio - 0.5,
                                    ((b + offsets[j, 1]) * patch_scale + middle + 0.5) * ratio - 0.5,
                                    read + j * channels)
                weigh(read, &point_weights[i, 0, 0], &point_units[i, 0], &point_bias[i, 0], 1, around * channels, own,
                      said)
                c_rectify(said, own, seen + i * own)
            memcpy(numbers, seen, n * own * sizeof(float))
            for i in range(count):
                numbers[n * own + i] = <float>(shape[i] / mode_units[i])
            for i in range(3):
                numbers[n * own + count + i] = <float>(c * R[i] + s * R[3 + i])
                numbers[n * own + count + 3 + i] = <float>(c * R[3 + i] - s * R[i])
                numbers[n * own + count + 6 + i] = <float>R[6 + i]
            weigh(numbers, &hidden_weights[0, 0], &hidden_units[0], &hidden_bias[0], 1, n * own + count + 9, hidden,
                  said)
            c_rectify(said, hidden, numbers + n * own)
            weigh(numbers, &last_weights[0, 0], &last_units[0], &last_bias[0], 1, n * own + hidden, 6 + count, said)
            c_move_face(said, c, s, limits, R, placement, shape)
    free(work)
    if not done:
        raise MemoryError
