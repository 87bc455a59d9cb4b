# The learned start's network.

cdef extern from "convolve.h":
    int CHANNELS
    int WIDENS_BLOCKS
    ctypedef struct convolution:
        Py_ssize_t kernel
        Py_ssize_t stride
        Py_ssize_t inputs
        Py_ssize_t outputs
        Py_ssize_t columns
        int rectify
    void convolve_image(const convolution *c, const float *image, const signed char *weights, const float *units,
                        const float *bias, const float *added, Py_ssize_t rows, Py_ssize_t columns,
                        float *scratch, float *out) noexcept nogil

cdef struct layers_size:
    # Numbers that go through the layers, at most: of an image with its padding, and of a result.
    Py_ssize_t padded
    Py_ssize_t result
    # Weights of a block, at most.
    Py_ssize_t block
    # Of all layers together; -1 if the layers do not fit each other.
    Py_ssize_t weights
    Py_ssize_t biases
    # Of the last result.
    Py_ssize_t last


cdef layers_size size_of_layers(const int32_t[:, ::1] table, Py_ssize_t side) noexcept nogil:
    cdef layers_size size
    cdef Py_ssize_t i, kernel, stride, padding, outputs, result, inputs = 1
    size.padded = size.result = size.block = size.weights = size.biases = size.last = 0
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
        if table[i, 4] and (result != side or outputs != inputs):
            size.weights = -1
            return size
        size.padded = max(size.padded, (side + 2 * padding) * (side + 2 * padding) * inputs)
        size.result = max(size.result, result * result * outputs)
        size.block = max(size.block, kernel * kernel * inputs * CHANNELS)
        size.weights += kernel * kernel * inputs * outputs
        size.biases += outputs
        side, inputs = result, outputs
    size.last = side * side * inputs
    return size


def run_layers(const float[:, ::1] image, const int32_t[:, ::1] table, const signed char[::1] weights,
               const float[::1] units, const float[::1] biases, float[::1] out):
    """Send an image through convolutions, one after the other.

    ``out[i, j, o] = bias[o] + unit[o] sum(image[stride i + y - padding, stride j + x - padding, c] w[y, x, c, o])``

    Parameters
    ----------
    image : ndarray, shape (N, N), float32
        0 outside, as the results of the layers are.
    table : ndarray, shape (L, 6), int32
        Of each layer: side of its weights, distance of its positions, how far the first lies outside, outputs
        (a multiple of 16), whether what it sees is added to its result, and whether what is negative then
        becomes 0.
    weights : ndarray, int8
        (outputs / 16, k, k, inputs, 16) of each layer, one after the other.
    units, biases : ndarray, float32
        (outputs,) of each layer, one after the other.
    out : ndarray, float32
        (rows, columns, outputs) of the last layer.
    """
    cdef Py_ssize_t side = image.shape[0], wide, result, i, row, at = 0, first = 0, inputs = 1
    cdef layers_size size = size_of_layers(table, side)
    cdef convolution c
    cdef float *padded
    cdef float *seen
    cdef float *found
    cdef float *scratch
    if (image.shape[1] != side or table.shape[0] < 1 or size.weights != weights.shape[0]
            or size.biases != units.shape[0] or size.biases != biases.shape[0] or size.last != out.shape[0]):
        raise ValueError("the layers, their weights and their result do not fit each other")
    padded = <float *>malloc((size.padded + 2 * max(size.result, side * side) + WIDENS_BLOCKS * size.block)
                             * sizeof(float))
    if padded == NULL:
        raise MemoryError
    with nogil:
        seen = padded + size.padded
        found = seen + max(size.result, side * side)
        scratch = found + max(size.result, side * side)
        memcpy(seen, &image[0, 0], side * side * sizeof(float))
        for i in range(table.shape[0]):
            c.kernel, c.stride, c.inputs, c.outputs = table[i, 0], table[i, 1], inputs, table[i, 3]
            wide = side + 2 * table[i, 2]
            c.columns, c.rectify = wide, table[i, 5]
            result = (wide - c.kernel) // c.stride + 1
            memset(padded, 0, wide * wide * inputs * sizeof(float))
            for row in range(side):
                memcpy(padded + ((row + table[i, 2]) * wide + table[i, 2]) * inputs, seen + row * side * inputs,
                       side * inputs * sizeof(float))
            convolve_image(&c, padded, &weights[at], &units[first], &biases[first], seen if table[i, 4] else NULL,
                           result, result, scratch, found)
            at += c.kernel * c.kernel * inputs * c.outputs
            first += c.outputs
            side, inputs = result, c.outputs
            seen, found = found, seen
        memcpy(&out[0], seen, out.shape[0] * sizeof(float))
    free(padded)
