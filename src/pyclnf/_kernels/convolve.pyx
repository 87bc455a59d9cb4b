# Layers of the learned start's network.

cdef extern from "convolve.h":
    int CHANNELS
    ctypedef struct convolution:
        Py_ssize_t kernel
        Py_ssize_t stride
        Py_ssize_t inputs
        Py_ssize_t outputs
        Py_ssize_t columns
        int rectify
    void convolve_image(const convolution *c, const float *image, const float *weights, const float *bias,
                        const float *added, Py_ssize_t rows, Py_ssize_t columns, float *out) noexcept nogil


def convolve(const float[:, :, ::1] image, const float[:, :, :, ::1] weights, const float[::1] bias,
             Py_ssize_t stride, Py_ssize_t padding, bint residual, bint rectify, float[:, :, ::1] out):
    """Convolve an image of several channels, as layers of networks do.

    ``out[i, j, o] = bias[o] + sum(image[stride i + y - padding, stride j + x - padding, c] weights[y, x, c, o])``

    Parameters
    ----------
    image : ndarray, shape (H, W, C), float32
        0 outside.
    weights : ndarray, shape (k, k, C, O), float32
        O is a multiple of 16.
    bias : ndarray, shape (O,), float32
    stride, padding : int
        Distance of the positions, px, and how far the first lies outside.
    residual : bool
        Add the image, which must have the shape of the result.
    rectify : bool
        Negative results become 0.
    out : ndarray, shape ((H + 2 padding - k) // stride + 1, (W + 2 padding - k) // stride + 1, O), float32
    """
    cdef convolution c
    cdef Py_ssize_t height = image.shape[0], width = image.shape[1], row
    cdef float *padded
    c.kernel, c.stride, c.inputs, c.outputs = weights.shape[0], stride, image.shape[2], weights.shape[3]
    c.columns = width + 2 * padding
    c.rectify = rectify
    if (stride < 1 or padding < 0 or weights.shape[1] != c.kernel or weights.shape[2] != c.inputs
            or c.outputs % CHANNELS or bias.shape[0] != c.outputs or out.shape[2] != c.outputs
            or min(height, width) + 2 * padding < c.kernel
            or out.shape[0] != (height + 2 * padding - c.kernel) // stride + 1
            or out.shape[1] != (width + 2 * padding - c.kernel) // stride + 1
            or (residual and (out.shape[0] != height or out.shape[1] != width or c.outputs != c.inputs))):
        raise ValueError("shapes of a convolution do not fit each other")
    padded = <float *>malloc((height + 2 * padding) * c.columns * c.inputs * sizeof(float) + 1)
    if padded == NULL:
        raise MemoryError
    with nogil:
        if padding:
            memset(padded, 0, (height + 2 * padding) * c.columns * c.inputs * sizeof(float))
        for row in range(height):
            memcpy(padded + ((row + padding) * c.columns + padding) * c.inputs, &image[row, 0, 0],
                   width * c.inputs * sizeof(float))
        convolve_image(&c, padded, &weights[0, 0, 0, 0], &bias[0], &image[0, 0, 0] if residual else NULL,
                       out.shape[0], out.shape[1], &out[0, 0, 0])
    free(padded)
