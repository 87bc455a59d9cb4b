# What a detector needs: images made smaller, and the layers of its networks.

cdef extern from "shrink.h":
    ctypedef struct shrunk_column:
        pass
    Py_ssize_t SHRINK_SUMS(Py_ssize_t columns, Py_ssize_t channels) noexcept nogil
    Py_ssize_t SHRINK_WEIGHTS(Py_ssize_t columns, Py_ssize_t out_columns) noexcept nogil
    void shrink(const uint8_t *image, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t channels, Py_ssize_t out_rows,
                Py_ssize_t out_columns, float *sums, double *weights, shrunk_column *covers,
                uint8_t *out) noexcept nogil

cdef extern from "filter.h":
    int FILTERS
    void filter_image(const float *image, Py_ssize_t line, Py_ssize_t channels, const float *weights,
                      Py_ssize_t height, Py_ssize_t along, const float *biases, const float *slopes,
                      Py_ssize_t out_rows, Py_ssize_t out_columns, Py_ssize_t filters, float *out) noexcept nogil
    void pool_image(const float *image, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t channels, Py_ssize_t window,
                    Py_ssize_t rows_before, Py_ssize_t columns_before, Py_ssize_t out_rows, Py_ssize_t out_columns,
                    float *out) noexcept nogil


def filter_images(const float[:, :, :, ::1] images, const float[:, :, :, ::1] weights, const float[:, ::1] biases,
                  const float[:, ::1] slopes, float[:, :, :, ::1] out):
    """Convolve images of several channels with small filters, and rectify the results.

    Parameters
    ----------
    images : ndarray, shape (k, H, W, c), float32
    weights : ndarray, shape (B, h, w c, 16), float32
        Of blocks of `layout.FILTERS` filters, see `layout.filters_in_blocks`.
    biases, slopes : ndarray, shape (B, 16), float32
        What is added to a sum, and the factor of one that is then negative.
    out : ndarray, shape (k, H - h + 1, W - w + 1, f), float32
        Of the first f filters, f <= 16 B.

    Raises
    ------
    ValueError
        If the filters do not fit the images or the result.
    """
    cdef Py_ssize_t k, channels = images.shape[3], line = images.shape[2] * channels, blocks = weights.shape[0]
    # Of a file that another program has made.
    if (channels < 1 or weights.shape[2] % channels or weights.shape[3] != FILTERS or out.shape[0] != images.shape[0]
            or out.shape[1] != images.shape[1] - weights.shape[1] + 1
            or out.shape[2] != images.shape[2] - weights.shape[2] // channels + 1
            or out.shape[3] > FILTERS * blocks or biases.shape[0] != blocks or slopes.shape[0] != blocks
            or biases.shape[1] != FILTERS or slopes.shape[1] != FILTERS):
        raise ValueError("images, filters and their results do not fit each other")
    with nogil:
        for k in range(images.shape[0]):
            filter_image(&images[k, 0, 0, 0], line, channels, &weights[0, 0, 0, 0], weights.shape[1],
                         weights.shape[2], &biases[0, 0], &slopes[0, 0], out.shape[1], out.shape[2], out.shape[3],
                         &out[k, 0, 0, 0])


def pool_images(const float[:, :, :, ::1] images, Py_ssize_t window, Py_ssize_t rows_before,
                Py_ssize_t columns_before, float[:, :, :, ::1] out):
    """Find the greatest numbers of square windows, 2 places apart.

    Parameters
    ----------
    images : ndarray, shape (k, H, W, c), float32
    window : int
        Side of the windows.
    rows_before, columns_before : int
        How far before the image the first windows begin. What lies outside does not count, but something of each
        window lies inside.
    out : ndarray, shape (k, h, w, c), float32
    """
    cdef Py_ssize_t k
    with nogil:
        for k in range(images.shape[0]):
            pool_image(&images[k, 0, 0, 0], images.shape[1], images.shape[2], images.shape[3], window, rows_before,
                       columns_before, out.shape[1], out.shape[2], &out[k, 0, 0, 0])


def shrink_image(const uint8_t[:, :, ::1] image, uint8_t[:, :, ::1] out):
    """Make an image smaller: each pixel is the mean of the area that it covers, rounded, a half to an even number.

    Parameters
    ----------
    image : ndarray, shape (H, W, c), uint8
        Of one to four channels.
    out : ndarray, shape (h, w, c), uint8
        h <= H <= 256 h and w <= W. The edges of the areas are rounded to 1/256 px.
    """
    cdef Py_ssize_t columns = image.shape[1], channels = image.shape[2], places = SHRINK_SUMS(columns, channels)
    cdef float *sums = <float *>malloc(places * sizeof(float))
    cdef double *weights = <double *>malloc(SHRINK_WEIGHTS(columns, out.shape[1]) * sizeof(double))
    cdef shrunk_column *covers = <shrunk_column *>malloc(out.shape[1] * sizeof(shrunk_column))
    cdef bint done = sums != NULL and weights != NULL and covers != NULL
    if done:
        with nogil:
            memset(sums, 0, places * sizeof(float))
            shrink(&image[0, 0, 0], image.shape[0], columns, channels, out.shape[0], out.shape[1],
                   sums, weights, covers, &out[0, 0, 0])
    free(sums)
    free(weights)
    free(covers)
    if not done:
        raise MemoryError
