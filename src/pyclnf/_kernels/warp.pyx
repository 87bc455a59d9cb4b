# Areas of interest: bilinear samples of the image on a turned and scaled grid.

cdef extern from "sample.h":
    int32_t FIXED_HALF
    double FIXED_LIMIT
    double bounded(double value) noexcept nogil
    void fixed_numbers(double factor, double offset, Py_ssize_t count, int32_t *out) noexcept nogil
    void split_positions(int32_t start, const int32_t *steps, Py_ssize_t count, int32_t *pixel,
                         int32_t *fraction) noexcept nogil
    void blend(const float *a, const float *b, const float *c, const float *d, const int32_t *u, const int32_t *v,
               Py_ssize_t count, float *out) noexcept nogil
    void blend_packed(const uint32_t *packed, const int32_t *u, const int32_t *v, Py_ssize_t count,
                      float *out) noexcept nogil
    void read_bgr(const uint8_t *image, Py_ssize_t row_step, Py_ssize_t pixel_step, Py_ssize_t count,
                  const int32_t *x, const int32_t *y, uint32_t *scratch, uint32_t *packed) noexcept nogil
    void read_grey(const uint8_t *image, Py_ssize_t row_step, Py_ssize_t pixel_step, Py_ssize_t count,
                   const int32_t *x, const int32_t *y, uint32_t *packed) noexcept nogil
    void read_pairs(const uint16_t *pairs, int32_t columns, int32_t before, Py_ssize_t count, const int32_t *x,
                    const int32_t *y, int32_t *scratch, uint32_t *packed) noexcept nogil
    void pair_lines(const uint8_t *line, const uint8_t *next, Py_ssize_t count, uint16_t *pairs) noexcept nogil
    void bgr_line(const uint8_t *image, Py_ssize_t count, float *grey) noexcept nogil
    void bgr_bytes(const uint8_t *image, Py_ssize_t count, uint8_t *grey) noexcept nogil
    void grey_line(const uint8_t *image, Py_ssize_t count, float *grey) noexcept nogil

ctypedef fused pixel_t:
    uint8_t
    float
    double

# A part of the image is turned to grey at once if it has no more than so many pixels a sample, or is kept.
cdef int GREY_SHARE = 7


cdef inline float grey(const pixel_t[:, :, :] image, Py_ssize_t y, Py_ssize_t x) noexcept nogil:
    """The grey value of a pixel; 0 outside the image."""
    if y < 0 or x < 0 or y >= image.shape[0] or x >= image.shape[1]:
        return 0.0
    if image.shape[2] == 1:
        return <float>image[y, x, 0]
    if pixel_t is uint8_t:
        # OpenCV's BGR to grey conversion: 15-bit fixed point, rounded.
        return <float>((3735 * <int>image[y, x, 0] + 19235 * <int>image[y, x, 1]
                        + 9798 * <int>image[y, x, 2] + 16384) >> 15)
    else:
        return <float>(0.114 * image[y, x, 0] + 0.587 * image[y, x, 1] + 0.299 * image[y, x, 2])


cdef inline bint is_inside(const pixel_t[:, :, :] image, int32_t x0, int32_t y0, int32_t x1,
                           int32_t y1) noexcept nogil:
    """Whether two pixels have neighbours in the image: two to the right, one below."""
    cdef Py_ssize_t rows = image.shape[0] - 1, columns = image.shape[1] - 2
    return (0 <= x0 and 0 <= x1 and x0 < columns and x1 < columns
            and 0 <= y0 and 0 <= y1 and y0 < rows and y1 < rows)


ctypedef struct grey_part:
    # A part of the image in pairs of grey values, one above the other; its first row and column; no pairs
    # if there is none. Room: for so many pairs.
    uint16_t *pairs
    Py_ssize_t room
    Py_ssize_t top
    Py_ssize_t left
    Py_ssize_t rows
    Py_ssize_t columns


cdef grey_part kept_part(uint16_t[::1] pairs, const int32_t[::1] bounds) noexcept nogil:
    """What is kept from one call to the next."""
    cdef grey_part part
    part.room = pairs.shape[0]
    part.pairs = &pairs[0] if part.room > 0 else NULL
    part.top, part.left, part.rows, part.columns = bounds[0], bounds[1], bounds[2], bounds[3]
    return part


cdef void keep_bounds(const grey_part *part, int32_t[::1] bounds) noexcept nogil:
    # Bounds without room may be those of many fits at once.
    if part.room > 0:
        bounds[0], bounds[1] = <int32_t>part.top, <int32_t>part.left
        bounds[2], bounds[3] = <int32_t>part.rows, <int32_t>part.columns


cdef inline bint holds(const grey_part *part, const grey_part *other) noexcept nogil:
    return (part.top <= other.top and part.left <= other.left
            and other.top + other.rows <= part.top + part.rows
            and other.left + other.columns <= part.left + part.columns)


cdef grey_part around_both(const grey_part *one, const grey_part *other, Py_ssize_t height,
                           Py_ssize_t width) noexcept nogil:
    """A part that holds two, and what lies a little further: where one start ends, the next may go on."""
    cdef grey_part part = one[0]
    cdef Py_ssize_t bottom = max(one.top + one.rows, other.top + other.rows)
    cdef Py_ssize_t right = max(one.left + one.columns, other.left + other.columns)
    cdef Py_ssize_t more_rows, more_columns
    part.top, part.left = min(one.top, other.top), min(one.left, other.left)
    more_rows, more_columns = (bottom - part.top) // 8, (right - part.left) // 8
    part.top, part.left = max(part.top - more_rows, 0), max(part.left - more_columns, 0)
    part.rows = min(bottom + more_rows, height) - part.top
    part.columns = min(right + more_columns, width) - part.left
    return part


cdef grey_part part_around(const double[:, :, ::1] matrices, Py_ssize_t side, Py_ssize_t height,
                           Py_ssize_t width) noexcept nogil:
    """The part of the image that the areas lie in."""
    cdef Py_ssize_t k, corner, axis
    cdef double value
    cdef double[2] low
    cdef double[2] high
    cdef grey_part part
    for axis in range(2):
        low[axis], high[axis] = FIXED_LIMIT, -FIXED_LIMIT
        for k in range(matrices.shape[0]):
            for corner in range(4):
                value = bounded(matrices[k, axis, 2] + (side - 1) * (
                    matrices[k, axis, 0] * (corner % 2) + matrices[k, axis, 1] * (corner // 2)))
                low[axis] = min(low[axis], value)
                high[axis] = max(high[axis], value)
    # Rounding moves a position by less than a pixel; each has a neighbour to the right and below.
    part.left = min(max(<Py_ssize_t>low[0] - 2, 0), width)
    part.top = min(max(<Py_ssize_t>low[1] - 2, 0), height)
    part.columns = max(min(<Py_ssize_t>high[0] + 4, width) - part.left, 0)
    part.rows = max(min(<Py_ssize_t>high[1] + 4, height) - part.top, 0)
    part.pairs, part.room = NULL, 0
    return part


cdef void fill_part(const uint8_t[:, :, :] image, grey_part *part, uint8_t *lines) noexcept nogil:
    """Read the part's pixels, of a fast layout (see `sampled`); lines has room for two of its rows."""
    cdef Py_ssize_t i
    cdef const uint8_t *line
    cdef const uint8_t *before = NULL
    for i in range(part.rows):
        if image.shape[2] == 1:
            line = &image[part.top + i, part.left, 0]
        else:
            line = lines + (i % 2) * part.columns
            bgr_bytes(&image[part.top + i, part.left, 0], part.columns, lines + (i % 2) * part.columns)
        if i > 0:
            pair_lines(before, line, part.columns, part.pairs + (i - 1) * part.columns)
        before = line


cdef void read_samples(const pixel_t[:, :, :] image, const grey_part *part, bint inside, Py_ssize_t count,
                       const int32_t *x, const int32_t *y, uint32_t *scratch, uint32_t *packed) noexcept nogil:
    """The 8-bit grey values around samples that lie inside the image, with a pixel to spare, or anywhere."""
    cdef Py_ssize_t j
    if pixel_t is uint8_t:
        if inside:
            if part.pairs != NULL:
                read_pairs(part.pairs, <int32_t>part.columns, <int32_t>(part.top * part.columns + part.left), count,
                           x, y, <int32_t *>scratch, packed)
                return
            if image.shape[2] == 1:
                read_grey(&image[0, 0, 0], image.strides[0], image.strides[1], count, x, y, packed)
                return
            if image.strides[2] == 1 and image.strides[1] >= 3:
                read_bgr(&image[0, 0, 0], image.strides[0], image.strides[1], count, x, y, scratch, packed)
                return
        for j in range(count):
            packed[j] = (<uint32_t>grey(image, y[j], x[j]) | <uint32_t>grey(image, y[j] + 1, x[j]) << 8
                         | <uint32_t>grey(image, y[j], x[j] + 1) << 16
                         | <uint32_t>grey(image, y[j] + 1, x[j] + 1) << 24)


cdef void c_sample_areas(const pixel_t[:, :, :] image, const double[:, :, ::1] matrices,
                         float[:, :, ::1] out, int32_t *scratch, const grey_part *part) noexcept nogil:
    cdef Py_ssize_t k, i, j, at
    cdef Py_ssize_t side = out.shape[1], size = side * side, last = size - side
    # Rows are split eight positions at a time: what is beyond a row's end, the next one writes anew.
    cdef Py_ssize_t padded = (side + 7) // 8 * 8, room = size + 8
    cdef int32_t *steps_x = scratch               # along a row
    cdef int32_t *steps_y = steps_x + padded
    cdef int32_t *starts_x = steps_y + padded     # of the rows
    cdef int32_t *starts_y = starts_x + padded
    cdef int32_t *x = starts_y + padded
    cdef int32_t *y = x + room
    cdef int32_t *u = y + room
    cdef int32_t *v = u + room
    cdef float *values = <float *>(v + room)
    cdef uint32_t *packed = <uint32_t *>values
    cdef uint32_t *read_scratch = packed + size
    cdef bint first_row, last_row
    for k in range(out.shape[0]):
        # As a rule all areas are turned and scaled alike.
        if k == 0 or matrices[k, 0, 0] != matrices[k - 1, 0, 0]:
            fixed_numbers(matrices[k, 0, 0], 0.0, padded, steps_x)
        if k == 0 or matrices[k, 1, 0] != matrices[k - 1, 1, 0]:
            fixed_numbers(matrices[k, 1, 0], 0.0, padded, steps_y)
        fixed_numbers(matrices[k, 0, 1], matrices[k, 0, 2], padded, starts_x)
        fixed_numbers(matrices[k, 1, 1], matrices[k, 1, 2], padded, starts_y)
        for i in range(side):
            at = i * side
            split_positions(starts_x[i] + FIXED_HALF, steps_x, padded, x + at, u + at)
            split_positions(starts_y[i] + FIXED_HALF, steps_y, padded, y + at, v + at)
        if pixel_t is uint8_t:
            # Positions go one way along rows and columns: an area's corners tell whether all of it is inside,
            # a row's ends whether the row is.
            first_row = is_inside(image, x[0], y[0], x[side - 1], y[side - 1])
            last_row = is_inside(image, x[last], y[last], x[size - 1], y[size - 1])
            if first_row and last_row:
                read_samples(image, part, True, size, x, y, read_scratch, packed)
            else:
                for i in range(side):
                    at = i * side
                    read_samples(image, part, is_inside(image, x[at], y[at], x[at + side - 1], y[at + side - 1]),
                                 side, x + at, y + at, read_scratch, packed + at)
            blend_packed(packed, u, v, size, &out[k, 0, 0])
        else:
            for j in range(size):
                values[j] = grey(image, y[j], x[j])
                values[size + j] = grey(image, y[j], x[j] + 1)
                values[2 * size + j] = grey(image, y[j] + 1, x[j])
                values[3 * size + j] = grey(image, y[j] + 1, x[j] + 1)
            blend(values, values + size, values + 2 * size, values + 3 * size, u, v, size, &out[k, 0, 0])


cdef bint find_part(const uint8_t[:, :, :] image, const grey_part *needed, grey_part *part) noexcept nogil:
    """Have a part hold what is needed, if there is room for it.

    What it holds is of the same image; what it has to be filled with anew goes around that, too, if it can.
    """
    cdef grey_part wanted = needed[0]
    cdef uint8_t *lines
    if part.rows > 0:
        if holds(part, needed):
            return True
        wanted = around_both(part, needed, image.shape[0], image.shape[1])
        if wanted.rows * wanted.columns > part.room:
            wanted = needed[0]
    if not 0 < wanted.rows * wanted.columns <= part.room:
        return False
    lines = <uint8_t *>malloc(2 * wanted.columns)
    if lines == NULL:
        return False
    part.top, part.left, part.rows, part.columns = wanted.top, wanted.left, wanted.rows, wanted.columns
    fill_part(image, part, lines)
    free(lines)
    return True


cdef bint sampled(const pixel_t[:, :, :] image, const double[:, :, ::1] matrices, float[:, :, ::1] out,
                  grey_part *kept) noexcept nogil:
    """The same as `sample_areas`; whether there was memory for it. kept: of the same image, or NULL."""
    cdef Py_ssize_t side = out.shape[1], pixels
    # Four rows of numbers, padded, four arrays of positions and shares, five of values.
    cdef int32_t *scratch = <int32_t *>malloc((4 * (side + 7) + 4 * (side * side + 8) + 5 * side * side)
                                              * sizeof(int32_t))
    cdef grey_part needed, own
    cdef grey_part *part = &own
    if scratch == NULL:
        return False
    own.pairs, own.room, own.top, own.left, own.rows, own.columns = NULL, 0, 0, 0, 0, 0
    if pixel_t is uint8_t:
        if image.strides[1] == image.shape[2] and (image.shape[2] == 1 or image.strides[2] == 1):
            # Of a face that is not large each pixel is read several times: turned to grey but once, and put
            # beside the one below.
            needed = part_around(matrices, side, image.shape[0], image.shape[1])
            pixels = needed.rows * needed.columns
            if kept != NULL and find_part(image, &needed, kept):
                part = kept
            elif 0 < pixels <= GREY_SHARE * out.shape[0] * side * side:
                own.room = pixels
                own.pairs = <uint16_t *>malloc(pixels * sizeof(uint16_t))
                if own.pairs == NULL or not find_part(image, &needed, &own):
                    free(own.pairs)
                    own.pairs = NULL
    c_sample_areas(image, matrices, out, scratch, part)
    free(own.pairs)
    free(scratch)
    return True


def sample_areas(const pixel_t[:, :, :] image, const double[:, :, ::1] matrices, float[:, :, ::1] out):
    """Sample square areas of an image through affine maps.

    Parameters
    ----------
    image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
        Grey or BGR; any strides.
    matrices : ndarray, shape (v, 2, 3), float64
        Position (column j, row i) of area k is ``matrices[k] @ (j, i, 1)`` in the image, px.
    out : ndarray, shape (v, a, a), float32
        Grey values, bilinear, 0 outside the image.
    """
    cdef bint done
    with nogil:
        done = sampled(image, matrices, out, NULL)
    if not done:
        raise MemoryError
