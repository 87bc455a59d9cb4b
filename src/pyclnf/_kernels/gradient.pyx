# Sobel gradient magnitude of areas of interest, border replicated.


cdef extern from "sobel.h":
    void sobel_area(const float *area, Py_ssize_t rows, Py_ssize_t cols, float *out) noexcept nogil


cdef void magnitudes(const float[:, :, ::1] areas, float[:, :, ::1] out) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(areas.shape[0]):
        sobel_area(&areas[k, 0, 0], areas.shape[1], areas.shape[2], &out[k, 0, 0])


def sobel_magnitude(const float[:, :, ::1] areas, float[:, :, ::1] out):
    """Compute the Sobel gradient magnitude of each area.

    Parameters
    ----------
    areas : ndarray, shape (v, a, a), float32
    out : ndarray, shape (v, a, a), float32
        ``sqrt(gx^2 + gy^2)`` with the 3x3 Sobel operators, border replicated.
    """
    with nogil:
        magnitudes(areas, out)
