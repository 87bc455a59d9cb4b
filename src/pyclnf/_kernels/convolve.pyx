# The learned start's network: its layers, and whole looks at a face.

cdef extern from "convolve.h":
    int CHANNELS
    int LEVELS
    int WIDENS_BLOCKS
    ctypedef struct convolution:
        Py_ssize_t kernel
        Py_ssize_t stride
        Py_ssize_t inputs
        Py_ssize_t outputs
        Py_ssize_t columns
        int rectify
        float share
    int c_fuse_pairs "fuse_pairs" (int wanted) noexcept nogil
    Py_ssize_t row_numbers(Py_ssize_t kernel, Py_ssize_t inputs) noexcept nogil
    void convolve_image(const convolution *c, const int16_t *image, const signed char *weights, const float *factors,
                        const int32_t *bias, const int16_t *added, Py_ssize_t rows, Py_ssize_t columns,
                        int16_t *scratch, int16_t *out, float *said) noexcept nogil


def fuse_pairs(wanted: bool) -> bool:
    """Multiply and add pairs of whole numbers in one instruction, or not; return whether this CPU can, and does.

    It does unless a test says no; the results are the same.
    """
    return c_fuse_pairs(wanted) != 0


fuse_pairs(True)


cdef struct layers_size:
    # Numbers that go through the layers, at most: of an image with its padding, and of a result.
    Py_ssize_t padded
    Py_ssize_t result
    # Weights of a block, at most.
    Py_ssize_t block
    # Of all layers together; -1 if the layers do not fit each other.
    Py_ssize_t weights
    Py_ssize_t biases
    # Of the last result, and its side.
    Py_ssize_t last
    Py_ssize_t side


cdef layers_size size_of_layers(const int32_t[:, ::1] table, Py_ssize_t side) noexcept nogil:
    cdef layers_size size
    cdef Py_ssize_t i, kernel, stride, padding, outputs, result, inputs = 1
    size.padded = size.result = size.block = size.weights = size.biases = size.last = size.side = 0
    if table.shape[1] != 6:
        size.weights = -1
        return size
    for i in range(table.shape[0]):
        kernel, stride, padding, outputs = table[i, 0], table[i, 1], table[i, 2], table[i, 3]
        if (kernel < 1 or stride < 1 or padding < 0 or side + 2 * padding < kernel
                or outputs < CHANNELS or outputs % CHANNELS):
            size.weights = -1
            return size
        result = (side + 2 * padding - kernel) // stride + 1
        # (The last result is not of the kind of number that would be added to it.)
        if table[i, 4] and (result != side or outputs != inputs or i == table.shape[0] - 1):
            size.weights = -1
            return size
        size.padded = max(size.padded, (side + 2 * padding) * (side + 2 * padding) * inputs)
        size.result = max(size.result, result * result * outputs)
        size.block = max(size.block, kernel * row_numbers(kernel, inputs) * CHANNELS)
        size.weights += kernel * row_numbers(kernel, inputs) * outputs
        size.biases += outputs
        side, inputs = result, outputs
    size.last = side * side * inputs
    size.side = side
    return size


cdef int check_layers(const int32_t[:, ::1] table, Py_ssize_t side, Py_ssize_t weights, Py_ssize_t factors,
                      Py_ssize_t biases, Py_ssize_t shares, Py_ssize_t last) except -1:
    """Raise ValueError unless the layers and their numbers fit each other."""
    cdef layers_size size = size_of_layers(table, side)
    if (table.shape[0] < 1 or size.weights != weights or size.biases != factors or size.biases != biases
            or shares != table.shape[0] or size.last != last):
        raise ValueError("the layers, their weights and their result do not fit each other")
    return 0


cdef bint layered(const int16_t *image, Py_ssize_t side, const int32_t[:, ::1] table, const signed char *weights,
                  const float *factors, const int32_t *biases, const float *shares, float *out) noexcept nogil:
    """The same as `run_layers`; whether there was memory for it."""
    cdef Py_ssize_t wide, result, i, row, at = 0, first = 0, inputs = 1
    cdef layers_size size = size_of_layers(table, side)
    cdef Py_ssize_t most = max(size.result, side * side)
    cdef convolution c
    cdef int16_t *seen
    cdef int16_t *found
    cdef int16_t *scratch
    cdef bint last
    # A number more than the padded image has, since numbers are read in pairs.
    cdef int16_t *padded = <int16_t *>malloc(
        (size.padded + 1 + 2 * most + WIDENS_BLOCKS * size.block) * sizeof(int16_t))
    if padded == NULL:
        return False
    seen = padded + size.padded + 1
    found = seen + most
    scratch = found + most
    memcpy(seen, image, side * side * sizeof(int16_t))
    for i in range(table.shape[0]):
        c.kernel, c.stride, c.inputs, c.outputs = table[i, 0], table[i, 1], inputs, table[i, 3]
        wide = side + 2 * table[i, 2]
        c.columns, c.rectify, c.share = wide, table[i, 5], shares[i]
        result = (wide - c.kernel) // c.stride + 1
        last = i == table.shape[0] - 1
        memset(padded, 0, (wide * wide * inputs + 1) * sizeof(int16_t))
        for row in range(side):
            memcpy(padded + ((row + table[i, 2]) * wide + table[i, 2]) * inputs, seen + row * side * inputs,
                   side * inputs * sizeof(int16_t))
        convolve_image(&c, padded, weights + at, factors + first, biases + first, seen if table[i, 4] else NULL,
                       result, result, scratch, NULL if last else found, out if last else NULL)
        at += c.kernel * row_numbers(c.kernel, c.inputs) * c.outputs
        first += c.outputs
        side, inputs = result, c.outputs
        seen, found = found, seen
    free(padded)
    return True


def run_layers(const int16_t[:, ::1] image, const int32_t[:, ::1] table, const signed char[::1] weights,
               const float[::1] factors, const int32_t[::1] biases, const float[::1] shares, float[::1] out):
    """Send an image through convolutions, one after the other.

    ``out[i, j, o] = factor[o] (bias[o] + sum(image[stride i + y - p, stride j + x - p, c] w[y, x, c, o]))`` with a
    padding p, which the last layer gives as it is. From the others it goes on with what is added, rounded, within
    +-16383. Sums are whole and exact, so that all variants give the same.

    Parameters
    ----------
    image : ndarray, shape (N, N), int16
        0 outside, as the results of the layers are; within +-16383.
    table : ndarray, shape (L, 6), int32
        Of each layer: side of its weights, distance of its positions, how far the first lies outside, outputs
        (a multiple of 16), whether what it sees is added to its result (not of the last), and whether what is
        negative then becomes 0.
    weights : ndarray, int8
        (outputs / 16, k, pairs, 16, 2) of each layer, one after the other: the columns of a row and their inputs in
        pairs, and a 0 where they are odd.
    factors : ndarray, float32
    biases : ndarray, int32
        (outputs,) of each layer, one after the other. No sum may leave 32 bits.
    shares : ndarray, shape (L,), float32
        How much of what a layer sees is added.
    out : ndarray, float32
        (rows, columns, outputs) of the last layer.
    """
    cdef bint done
    check_layers(table, image.shape[0], weights.shape[0], factors.shape[0], biases.shape[0], shares.shape[0],
                 out.shape[0])
    if image.shape[1] != image.shape[0]:
        raise ValueError("the image of a network is square")
    with nogil:
        done = layered(&image[0, 0], image.shape[0], table, &weights[0], &factors[0], &biases[0], &shares[0], &out[0])
    if not done:
        raise MemoryError


cdef void normalise_patch(float *patch, Py_ssize_t count, double contrast, double limit,
                          int16_t *numbers) noexcept nogil:
    """Bring grey values to mean 0 and, as far as they differ by more than the contrast, to deviation 1.

    Then round them to numbers of which 16383 is the limit. The samples of a crop are multiples of 1/1024, so that
    both sums are exact, and what rounding makes of them does not depend on their order.
    """
    cdef Py_ssize_t i
    cdef double mean = 0.0, squares = 0.0
    cdef float value, unit = <float>(LEVELS / limit)
    for i in range(count):
        mean += patch[i]
        squares += <double>patch[i] * patch[i]
    mean /= count
    squares = squares / count - mean * mean
    squares = (sqrt(squares) if squares > 0.0 else 0.0) + contrast
    for i in range(count):
        patch[i] = <float>((patch[i] - mean) / squares)
        value = patch[i] * unit
        value = LEVELS if value > LEVELS else value
        value = -LEVELS if value < -LEVELS else value
        value += <float>12582912.0
        numbers[i] = <int16_t>(value - <float>12582912.0)


cdef bint c_place_face(const double *matrix, Py_ssize_t side, const double *plane, const float *said,
                       const double[::1] mode_units, const double[::1] limits, double *R, double *placement,
                       double *shape) noexcept nogil:
    """Move a face to where it is seen in a patch; whether its numbers can be used."""
    cdef Py_ssize_t i
    cdef double turn[3]
    cdef double x, y, scale = placement[0] * exp(said[0])
    for i in range(9):
        R[i] = 1.0 if i % 4 == 0 else 0.0
    for i in range(3):
        turn[i] = said[1 + i]
    c_turn(R, turn)
    for i in range(3):
        x = plane[0] * R[i] + plane[1] * R[3 + i]
        y = plane[2] * R[i] + plane[3] * R[3 + i]
        R[i] = x
        R[3 + i] = y
    placement[1] += side * (matrix[0] * said[4] + matrix[1] * said[5])
    placement[2] += side * (matrix[3] * said[4] + matrix[4] * said[5])
    placement[0] = scale
    for i in range(limits.shape[0]):
        shape[i] = c_limited(said[6 + i] * mode_units[i], limits[i])
    # (Not finite: the difference from itself is not zero.)
    if (scale >= MIN_SCALE and scale - scale == 0.0 and placement[1] - placement[1] == 0.0
            and placement[2] - placement[2] == 0.0):
        return True
    placement[0] = placement[1] = placement[2] = NAN
    return False


def look_at_faces(const uint8_t[:, :, :, ::1] crops, double length, int looks, double contrast, double limit,
                  const int32_t[:, ::1] table, const signed char[::1] weights, const float[::1] factors,
                  const int32_t[::1] biases, const float[::1] shares,
                  const double[::1] mode_units, const double[::1] limits, double[:, :, ::1] matrix,
                  float[:, :, ::1] patch, const double[::1] mean, const double[:, ::1] modes,
                  const double[::1] step_limits, const int32_t[::1] mirror, const double[::1] signs,
                  const double[::1] edges, double width, const double[:, ::1] patches,
                  const float[:, ::1] directions, const float[:, ::1] taps, const float[:, :, ::1] offsets,
                  const signed char[:, :, :, :, ::1] step_weights, const float[:, :, ::1] step_units,
                  const float[:, :, ::1] bias, double[:, :, ::1] rotations, double[:, ::1] placements,
                  double[:, ::1] shapes):
    """Move faces from where they are taken to be to where a network sees them, and take steps from there.

    Each is sampled upright, brought to mean 0 and deviation 1, and sent through `run_layers`; then `take_steps`. In
    one call: between two Python's lock would have to be got back, which threads that fit other faces hold.

    Parameters
    ----------
    crops : ndarray, shape (k, L, L, 1), uint8
        Of each, as many guesses, one after the other.
    length : float
        Side of the patch, mm of the face.
    looks : int
        How often: from the second on, at what was found before.
    contrast : float
        Added to the deviation, grey levels.
    limit : float
        Greatest magnitude of what the network sees, in deviations.
    table, weights, factors, biases, shares
        See `run_layers`; the first 6 + m numbers that the last layer gives are log scale, rotation vector, translation
        in sides of the patch and shape.
    mode_units, limits : ndarray, shape (m,), float64
        Value of 1 in the shape, and the bound of each coefficient's magnitude.
    matrix : ndarray, shape (1, 2, 3), float64
        Gets the last map from the patch (column, row, 1) to the crop.
    patch : ndarray, shape (1, N, N), float32
        Gets the last patch.
    mean, modes, step_limits, mirror, signs, edges, width, patches, directions, taps, offsets, step_weights, step_units,
    bias
        See `take_steps`; S may be 0.
    rotations : ndarray, shape (g, 3, 3), float64
        Of g guesses, each of which is changed in place by itself, as are
    placements : ndarray, shape (g, 3), float64
        (scale, tx, ty), px of the crop; NaN where a damaged model's network leads out of all bounds; and
    shapes : ndarray, shape (g, m), float64
    """
    cdef Py_ssize_t guess, side = patch.shape[1], last = 0, i, k, each
    cdef const uint8_t[:, :, :] crop
    cdef double plane[4]
    cdef double value
    cdef bint done = True
    cdef float *said
    cdef int16_t *numbers
    cdef double *shape
    if table.shape[0] > 0:
        last = table[table.shape[0] - 1, 3]
    check_layers(table, side, weights.shape[0], factors.shape[0], biases.shape[0], shares.shape[0], last)
    if last < 6 + limits.shape[0]:
        raise ValueError("the network says fewer numbers than a face has")
    if crops.shape[0] == 0 or placements.shape[0] % crops.shape[0] != 0:
        raise ValueError("each crop has as many guesses")
    # And the patch in whole numbers.
    said = <float *>malloc(last * sizeof(float) + side * side * sizeof(int16_t))
    numbers = <int16_t *>(said + last)
    if said == NULL:
        raise MemoryError
    each = placements.shape[0] // crops.shape[0]
    with nogil:
        for k in range(crops.shape[0]):
            crop = crops[k]
            for guess in range(k * each, (k + 1) * each):
                shape = &shapes[guess, 0] if limits.shape[0] > 0 else NULL
                for _ in range(looks):
                    c_upright(&rotations[guess, 0, 0], plane)
                    value = placements[guess, 0] * length / side
                    for i in range(2):
                        matrix[0, i, 0] = plane[2 * i] * value
                        matrix[0, i, 1] = plane[2 * i + 1] * value
                        matrix[0, i, 2] = (placements[guess, 1 + i]
                                           - (matrix[0, i, 0] + matrix[0, i, 1]) * ((side - 1) / 2.0))
                    done = done and sampled(crop, matrix, patch, NULL)
                    if done:
                        normalise_patch(&patch[0, 0, 0], side * side, contrast, limit, numbers)
                        done = layered(numbers, side, table, &weights[0], &factors[0], &biases[0], &shares[0], said)
                    if not done or not c_place_face(&matrix[0, 0, 0], side, plane, said, mode_units, limits,
                                                    &rotations[guess, 0, 0], &placements[guess, 0], shape):
                        break
            if step_weights.shape[0] > 0 and each > 0:
                done = done and stepped(&crops[k, 0, 0, 0], crops.shape[1], mean, modes, step_limits, mirror, signs,
                                        edges, width, patches, directions, taps, offsets, step_weights, step_units,
                                        bias, rotations[k * each:(k + 1) * each], placements[k * each:(k + 1) * each],
                                        shapes[k * each:(k + 1) * each])
    free(said)
    if not done:
        raise MemoryError
