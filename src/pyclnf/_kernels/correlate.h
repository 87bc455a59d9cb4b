/* Correlation of an area with eight neurons' weights at once.
 *
 * The lanes are the neurons: weights lie (row, column, neuron), each pixel is
 * read once a position and multiplied into all eight sums. P positions of one
 * row are kept in registers; the compiler unrolls the loops over them.
 *
 * Neurons of two kinds may share a block: then the even lanes work on one plane and the odd
 * lanes on another, and the area holds the pixels of both in turn.
 */
#ifndef PYCLNF_CORRELATE_H
#define PYCLNF_CORRELATE_H

#include "lanes.h"

/* As many sums as the registers hold, with two left for the weights and the pixel: sixteen of
 * eight floats with AVX, sixteen of four floats (half as many positions) without. */
#if defined(__AVX2__)
#define MAX_POSITIONS 13
/* Beside the weights of two columns and the pixel there is room for as many sums, of four for so many. */
#define MAX_POSITIONS_OF_TWO 13
#define MAX_POSITIONS_OF_FOUR 11
#else
#define MAX_POSITIONS 6
#define MAX_POSITIONS_OF_TWO 0
#define MAX_POSITIONS_OF_FOUR 0
#endif

#define FOR_EACH_POSITION(DO) \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12)

/* P and PLANES are constants where this is inlined. The sums are variables of their own rather than
 * an array, which compilers would keep in memory. */
PYCLNF_INLINE void correlate_positions(const int P, const int PLANES, const float *area, ptrdiff_t side,
                                       const float *weights, ptrdiff_t rows, ptrdiff_t cols, float *out)
{
    const floats zero = splat8(0.0f);
    floats s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero;
    floats s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero, s12 = zero;
    ptrdiff_t x, y;
    for (y = 0; y < rows; ++y) {
        const float *pixels = area + y * side * PLANES;
#define PIXEL(i) (PLANES == 2 ? splat_pair8(pixels + 2 * (i)) : splat8(pixels[i]))
        x = 0;
        /* Four columns at once, then two: each pixel, which takes longer to read than to multiply, is read but
         * once for all of them. Every sum is added up in the same order. */
        for (; P <= MAX_POSITIONS_OF_FOUR && x + 4 <= cols; x += 4, pixels += 4 * PLANES, weights += 4 * LANES) {
            const floats w0 = load8(weights), w1 = load8(weights + LANES);
            const floats w2 = load8(weights + 2 * LANES), w3 = load8(weights + 3 * LANES);
#define ADD_COLUMN(i, s, w) if ((i) >= 0 && (i) < P) s = muladd8(pixel, w, s);
/* Pixel t, and the sums of positions t, t - 1, t - 2 and t - 3 (any, where there is no such position). */
#define ADD_PIXEL(t, a, b, c, d)                                                               \
    if ((t) < P + 3) {                                                                         \
        const floats pixel = PIXEL(t);                                                         \
        ADD_COLUMN(t, a, w0)                                                                   \
        ADD_COLUMN((t) - 1, b, w1)                                                             \
        ADD_COLUMN((t) - 2, c, w2)                                                             \
        ADD_COLUMN((t) - 3, d, w3)                                                             \
    }
            ADD_PIXEL(0, s0, s0, s0, s0)
            ADD_PIXEL(1, s1, s0, s0, s0)
            ADD_PIXEL(2, s2, s1, s0, s0)
            ADD_PIXEL(3, s3, s2, s1, s0)
            ADD_PIXEL(4, s4, s3, s2, s1)
            ADD_PIXEL(5, s5, s4, s3, s2)
            ADD_PIXEL(6, s6, s5, s4, s3)
            ADD_PIXEL(7, s7, s6, s5, s4)
            ADD_PIXEL(8, s8, s7, s6, s5)
            ADD_PIXEL(9, s9, s8, s7, s6)
            ADD_PIXEL(10, s10, s9, s8, s7)
            ADD_PIXEL(11, s10, s10, s9, s8)
            ADD_PIXEL(12, s10, s10, s10, s9)
            ADD_PIXEL(13, s10, s10, s10, s10)
        }
        for (; P <= MAX_POSITIONS_OF_TWO && x + 2 <= cols; x += 2, pixels += 2 * PLANES, weights += 2 * LANES) {
            const floats w0 = load8(weights), w1 = load8(weights + LANES);
/* Pixel t, and the sums of positions t and t - 1. */
#define ADD_PIXEL_OF_TWO(t, a, b)                                                              \
    if ((t) < P + 1) {                                                                         \
        const floats pixel = PIXEL(t);                                                         \
        ADD_COLUMN(t, a, w0)                                                                   \
        ADD_COLUMN((t) - 1, b, w1)                                                             \
    }
            ADD_PIXEL_OF_TWO(0, s0, s0)
            ADD_PIXEL_OF_TWO(1, s1, s0)
            ADD_PIXEL_OF_TWO(2, s2, s1)
            ADD_PIXEL_OF_TWO(3, s3, s2)
            ADD_PIXEL_OF_TWO(4, s4, s3)
            ADD_PIXEL_OF_TWO(5, s5, s4)
            ADD_PIXEL_OF_TWO(6, s6, s5)
            ADD_PIXEL_OF_TWO(7, s7, s6)
            ADD_PIXEL_OF_TWO(8, s8, s7)
            ADD_PIXEL_OF_TWO(9, s9, s8)
            ADD_PIXEL_OF_TWO(10, s10, s9)
            ADD_PIXEL_OF_TWO(11, s11, s10)
            ADD_PIXEL_OF_TWO(12, s12, s11)
            ADD_PIXEL_OF_TWO(13, s12, s12)
        }
        for (; x < cols; ++x, pixels += PLANES, weights += LANES) {
            const floats w = load8(weights);
#define ADD_POSITION(i) if (P > i) s##i = muladd8(PIXEL(i), w, s##i);
            FOR_EACH_POSITION(ADD_POSITION)
        }
    }
#define STORE_POSITION(i) if (P > i) store8(out + i * LANES, s##i);
    FOR_EACH_POSITION(STORE_POSITION)
}

#define DEFINE_CORRELATE(P)                                                                            \
    static void correlate_##P(const float *area, ptrdiff_t side, const float *weights, ptrdiff_t rows, \
                              ptrdiff_t cols, float *out)                                              \
    {                                                                                                  \
        correlate_positions(P, 1, area, side, weights, rows, cols, out);                               \
    }                                                                                                  \
    static void correlate_pair_##P(const float *area, ptrdiff_t side, const float *weights,            \
                                   ptrdiff_t rows, ptrdiff_t cols, float *out)                         \
    {                                                                                                  \
        correlate_positions(P, 2, area, side, weights, rows, cols, out);                               \
    }

DEFINE_CORRELATE(1)
DEFINE_CORRELATE(2)
DEFINE_CORRELATE(3)
DEFINE_CORRELATE(4)
DEFINE_CORRELATE(5)
DEFINE_CORRELATE(6)
#if MAX_POSITIONS > 6
DEFINE_CORRELATE(7)
DEFINE_CORRELATE(8)
DEFINE_CORRELATE(9)
DEFINE_CORRELATE(10)
DEFINE_CORRELATE(11)
DEFINE_CORRELATE(12)
DEFINE_CORRELATE(13)
#endif

typedef void (*correlate_function)(const float *, ptrdiff_t, const float *, ptrdiff_t, ptrdiff_t, float *);

#define BOTH(P) {correlate_##P, correlate_pair_##P}
static const correlate_function CORRELATE[][2] = {
    {NULL, NULL}, BOTH(1), BOTH(2), BOTH(3), BOTH(4), BOTH(5), BOTH(6),
#if MAX_POSITIONS > 6
    BOTH(7), BOTH(8), BOTH(9), BOTH(10), BOTH(11), BOTH(12), BOTH(13),
#endif
};

/* One row of `count` window positions: out is (count, 8). */
PYCLNF_INLINE void correlate_row(const float *area, ptrdiff_t planes, ptrdiff_t side, const float *weights,
                                 ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t count, float *out)
{
    ptrdiff_t blocks = (count + MAX_POSITIONS - 1) / MAX_POSITIONS;
    while (blocks > 0) {
        /* Blocks of nearly equal size: a block of one or two positions would leave the units idle. */
        ptrdiff_t p = (count + blocks - 1) / blocks;
        CORRELATE[p][planes - 1](area, side, weights, rows, cols, out);
        area += p * planes;
        out += p * LANES;
        count -= p;
        --blocks;
    }
}

/* What one block of neurons has besides its weights. */
typedef struct {
    const float *weight_sums, *norm_weights, *biases, *alphas;
} block_numbers;

/* Add the sum over the eight neurons of 2 alpha sigmoid(gain * sum + bias) at each of some positions; a mean and a
 * norm for each plane. PLANES is a constant where this is inlined. */
PYCLNF_INLINE void add_neurons(const int PLANES, const float *sums, const block_numbers *block, const float *means,
                               const float *inverse_norms, ptrdiff_t count, float *out)
{
    const floats minus_weight_sums = mul8(load8(block->weight_sums), splat8(-1.0f)), alphas = load8(block->alphas);
    const floats down = splat8(LOG2_E_DOWN);
    const floats norm_weights = mul8(load8(block->norm_weights), down), biases = mul8(load8(block->biases), down);
    ptrdiff_t j;
#define OF_PLANES(numbers, i) (PLANES == 2 ? splat_pair8((numbers) + 2 * (i)) : splat8((numbers)[i]))
#define OF_FOUR(numbers) \
    (floats32){OF_PLANES(numbers, j), OF_PLANES(numbers, j + 1), OF_PLANES(numbers, j + 2), OF_PLANES(numbers, j + 3)}
    for (j = 0; j + 4 <= count; j += 4) {
        const floats32 c = muladd32(same32(minus_weight_sums), OF_FOUR(means), load32(sums + j * LANES));
        const floats32 t = muladd32(mul32(c, OF_FOUR(inverse_norms)), same32(norm_weights), same32(biases));
        add_sums32(mul32(same32(alphas), sigmoid32(t)), 2.0f, out + j);
    }
    for (; j < count; ++j) {
        const floats c = muladd8(minus_weight_sums, OF_PLANES(means, j), load8(sums + j * LANES));
        const floats t = muladd8(mul8(c, OF_PLANES(inverse_norms, j)), norm_weights, biases);
        out[j] += 2.0f * sum8(mul8(alphas, sigmoid8(t)));
    }
}

/* Apart, so that the loop gets all registers. */
PYCLNF_APART void add_neurons_of_one(const float *sums, const block_numbers *block, const float *means,
                                     const float *inverse_norms, ptrdiff_t count, float *out)
{
    add_neurons(1, sums, block, means, inverse_norms, count, out);
}
PYCLNF_APART void add_neurons_of_two(const float *sums, const block_numbers *block, const float *means,
                                     const float *inverse_norms, ptrdiff_t count, float *out)
{
    add_neurons(2, sums, block, means, inverse_norms, count, out);
}

#if defined(__AVX512F__)

/* Two rows of positions at once: sixteen lanes are eight neurons at two positions, in turn by twos: neurons
 * 0 and 1 at the upper, then at the lower position, neurons 2 and 3 at the upper one... Of a block whose
 * lanes work on two planes in turn, each lane then reads one of four numbers: the pixels of both planes at
 * both positions, which lie side by side. All sums are those of the eight lanes, in the same order. */
PYCLNF_INLINE __m512 both_positions(__m256 neurons)
{
    const __m512i order = _mm512_setr_epi32(0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7);
    return _mm512_permutexvar_ps(order, _mm512_castps256_ps512(neurons));
}

/* With the usual number of columns, a row's weights stay in registers and each of its pixels is read but once:
 * these loads would take longer than the arithmetic. (With all loops unrolled the arrays are registers.) */
#define USUAL_COLUMNS 11
PYCLNF_INLINE void correlate_both_usual(const int P, const float *quads, ptrdiff_t side, const float *weights,
                                        ptrdiff_t rows, float *out)
{
    __m512 s[MAX_POSITIONS], w[USUAL_COLUMNS];
    ptrdiff_t y;
#pragma GCC unroll 16
    for (int j = 0; j < P; ++j) s[j] = _mm512_setzero_ps();
    for (y = 0; y < rows; ++y, weights += USUAL_COLUMNS * LANES) {
        const float *pixels = quads + y * side * 4;
#pragma GCC unroll 16
        for (int x = 0; x < USUAL_COLUMNS; ++x) w[x] = both_positions(load8(weights + x * LANES));
#pragma GCC unroll 32
        for (int t = 0; t < P + USUAL_COLUMNS - 1; ++t) {
            const __m512 pixel = _mm512_broadcast_f32x4(_mm_loadu_ps(pixels + 4 * t));
#pragma GCC unroll 16
            for (int j = 0; j < P; ++j) {
                if (j <= t && t - j < USUAL_COLUMNS) s[j] = _mm512_fmadd_ps(pixel, w[t - j], s[j]);
            }
        }
    }
#pragma GCC unroll 16
    for (int j = 0; j < P; ++j) _mm512_storeu_ps(out + j * 2 * LANES, s[j]);
}

PYCLNF_INLINE void correlate_both(const int P, const float *quads, ptrdiff_t side, const float *weights,
                                  ptrdiff_t rows, ptrdiff_t cols, float *out)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero;
    __m512 s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero, s12 = zero;
    ptrdiff_t x, y;
    if (cols == USUAL_COLUMNS) {
        correlate_both_usual(P, quads, side, weights, rows, out);
        return;
    }
    for (y = 0; y < rows; ++y) {
        const float *pixels = quads + y * side * 4;
        for (x = 0; x < cols; ++x, pixels += 4, weights += LANES) {
            const __m512 w = both_positions(load8(weights));
#define ADD_BOTH(i) \
    if (P > i) s##i = _mm512_fmadd_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(pixels + 4 * i)), w, s##i);
            FOR_EACH_POSITION(ADD_BOTH)
        }
    }
#define STORE_BOTH(i) if (P > i) _mm512_storeu_ps(out + i * 2 * LANES, s##i);
    FOR_EACH_POSITION(STORE_BOTH)
}

#define DEFINE_CORRELATE_BOTH(P)                                                                        \
    static void correlate_both_##P(const float *quads, ptrdiff_t side, const float *weights,            \
                                   ptrdiff_t rows, ptrdiff_t cols, float *out)                          \
    {                                                                                                   \
        correlate_both(P, quads, side, weights, rows, cols, out);                                       \
    }
DEFINE_CORRELATE_BOTH(1)
DEFINE_CORRELATE_BOTH(2)
DEFINE_CORRELATE_BOTH(3)
DEFINE_CORRELATE_BOTH(4)
DEFINE_CORRELATE_BOTH(5)
DEFINE_CORRELATE_BOTH(6)
DEFINE_CORRELATE_BOTH(7)
DEFINE_CORRELATE_BOTH(8)
DEFINE_CORRELATE_BOTH(9)
DEFINE_CORRELATE_BOTH(10)
DEFINE_CORRELATE_BOTH(11)
DEFINE_CORRELATE_BOTH(12)
DEFINE_CORRELATE_BOTH(13)

static const correlate_function CORRELATE_BOTH[] = {
    NULL, correlate_both_1, correlate_both_2, correlate_both_3, correlate_both_4, correlate_both_5,
    correlate_both_6, correlate_both_7, correlate_both_8, correlate_both_9, correlate_both_10,
    correlate_both_11, correlate_both_12, correlate_both_13,
};

/* The four numbers that the sixteen lanes read in turn, of an area or a map of `planes` numbers a place. */
PYCLNF_INLINE __m128 quad(const float *upper, const float *lower, ptrdiff_t planes)
{
    if (planes == 2) return _mm_loadh_pi(_mm_loadl_pi(_mm_setzero_ps(), (const __m64 *)upper), (const __m64 *)lower);
    return _mm_setr_ps(upper[0], upper[0], lower[0], lower[0]);
}

/* A block's numbers in the sixteen lanes' order: the sums of its weights with the sign changed, and what the sigmoid
 * takes. */
typedef struct {
    __m512 minus_weight_sums, norm_weights, biases, alphas;
} both_numbers;

/* The sum that `add_neurons` adds, at both positions. */
PYCLNF_INLINE void neuron_sums(const float *sums, const both_numbers *block, __m128 means, __m128 inverse_norms,
                               float *upper, float *lower)
{
    const __m512 c = _mm512_fmadd_ps(block->minus_weight_sums, _mm512_broadcast_f32x4(means), _mm512_loadu_ps(sums));
    const __m512 t = _mm512_fmadd_ps(_mm512_mul_ps(c, _mm512_broadcast_f32x4(inverse_norms)), block->norm_weights,
                                     block->biases);
    const __m512 shares = _mm512_mul_ps(block->alphas, sigmoid16(t));
    /* Neurons 0 and 4, 1 and 5, 2 and 6, 3 and 7; then those of two and three: as sum8 adds them. */
    const __m256 four = _mm256_add_ps(_mm512_castps512_ps256(shares), _mm512_extractf32x8_ps(shares, 1));
    const __m128 two = _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
    const __m128 one = _mm_add_ps(two, _mm_movehdup_ps(two));
    *upper += 2.0f * _mm_cvtss_f32(one);
    *lower += 2.0f * _mm_cvtss_f32(_mm_movehl_ps(one, one));
}

/* Rows of positions, in twos, of which the number is returned; quads is scratch of 4 numbers a pixel. */
static ptrdiff_t add_rows_by_twos(const float *area, ptrdiff_t planes, ptrdiff_t side, const float *weights,
                                  ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t window, const block_numbers *block,
                                  const float *means, const float *inverse_norms, float *sums, float *quads, float *out)
{
    const ptrdiff_t blocks = (window + MAX_POSITIONS - 1) / MAX_POSITIONS, next = side * planes;
    const __m512 down = _mm512_set1_ps(LOG2_E_DOWN);
    const both_numbers both = {
        _mm512_mul_ps(both_positions(load8(block->weight_sums)), _mm512_set1_ps(-1.0f)),
        _mm512_mul_ps(both_positions(load8(block->norm_weights)), down),
        _mm512_mul_ps(both_positions(load8(block->biases)), down),
        both_positions(load8(block->alphas)),
    };
    ptrdiff_t i, j;
    for (i = 0; i < (side - 1) * side; ++i) {
        _mm_storeu_ps(quads + 4 * i, quad(area + i * planes, area + i * planes + next, planes));
    }
    for (i = 0; i + 2 <= window; i += 2) {
        ptrdiff_t left = blocks, count = window;
        for (j = 0; left > 0; --left) {
            const ptrdiff_t p = (count + left - 1) / left;
            CORRELATE_BOTH[p](quads + (i * side + j) * 4, side, weights, rows, cols, sums + j * 2 * LANES);
            j += p;
            count -= p;
        }
        for (j = 0; j < window; ++j) {
            const ptrdiff_t upper = i * window + j, lower = upper + window;
            neuron_sums(sums + j * 2 * LANES, &both, quad(means + upper * planes, means + lower * planes, planes),
                        quad(inverse_norms + upper * planes, inverse_norms + lower * planes, planes), out + upper,
                        out + lower);
        }
    }
    return i;
}

#else

static ptrdiff_t add_rows_by_twos(const float *area, ptrdiff_t planes, ptrdiff_t side, const float *weights,
                                  ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t window, const block_numbers *block,
                                  const float *means, const float *inverse_norms, float *sums, float *quads, float *out)
{
    (void)area, (void)planes, (void)side, (void)weights, (void)rows, (void)cols, (void)window, (void)block;
    (void)means, (void)inverse_norms, (void)sums, (void)quads, (void)out;
    return 0;
}

#endif

/* Add one block of neurons at all positions of a map (window, window).
 *
 * The area, means and norms have a number for each plane, in turn; scratch has BLOCK_SCRATCH places. */
#define BLOCK_SCRATCH(side, window) (LANES * (window) * ((window) + 1) + 4 * (side) * (side))
static void add_block(const float *area, ptrdiff_t planes, ptrdiff_t side, const float *weights, ptrdiff_t rows,
                      ptrdiff_t cols, ptrdiff_t window, const block_numbers *block, const float *means,
                      const float *inverse_norms, float *scratch, float *out)
{
    const ptrdiff_t done = add_rows_by_twos(area, planes, side, weights, rows, cols, window, block, means,
                                            inverse_norms, scratch, scratch + LANES * window * (window + 1), out);
    const ptrdiff_t first = done * window, count = window * window - first;
    ptrdiff_t i;
    for (i = done; i < window; ++i) {
        correlate_row(area + i * side * planes, planes, side, weights, rows, cols, window,
                      scratch + (i - done) * window * LANES);
    }
    (planes == 2 ? add_neurons_of_two : add_neurons_of_one)(scratch, block, means + first * planes,
                                                            inverse_norms + first * planes, count, out + first);
}

/* Put two arrays into one, a number of each in turn. */
static void interleave(const float *PYCLNF_RESTRICT a, const float *PYCLNF_RESTRICT b, ptrdiff_t n,
                       float *PYCLNF_RESTRICT out)
{
    ptrdiff_t i;
    for (i = 0; i < n; ++i) {
        out[2 * i] = a[i];
        out[2 * i + 1] = b[i];
    }
}

/* Places that an array of n numbers needs so that it can be worked on WIDE at a time. */
#define PADDED(n) (((n) + WIDE - 1) / WIDE * WIDE)

/* Take the mean off an area: the patch's own mean is removed later, but the correlation's float32
 * sums then stay small, so that little is lost when they cancel. */
static void centre_area(const float *PYCLNF_RESTRICT area, ptrdiff_t size, float *PYCLNF_RESTRICT centred)
{
    floats sums = splat8(0.0f);
    float total = 0.0f, mean;
    ptrdiff_t i;
    for (i = 0; i + LANES <= size; i += LANES) sums = add8(sums, load8(area + i));
    for (; i < size; ++i) total += area[i];
    mean = (sum8(sums) + total) / (float)size;
    for (i = 0; i < size; ++i) centred[i] = area[i] - mean;
}

/* Mean and 1 / norm of the patch (rows, cols) at each position of a (window, window) map.
 *
 * Sums down the columns run from row to row; those along the rows are added up afresh.
 * `flat`: a patch whose squared norm is below this share of its squared length is flat, and the
 * norm 1. All is done WIDE at a time: the area and both results need WIDE - 1 more places than they
 * have numbers. In steps, each over the whole map, as what has only just been written would be waited for. */
#define STATISTICS_SCRATCH(side, window) (2 * (window) * (PADDED(side) + (window)) + 4 * WIDE)
static void window_statistics(const float *area, ptrdiff_t side, ptrdiff_t rows, ptrdiff_t cols,
                              ptrdiff_t window, double flat, double *scratch, float *means,
                              float *inverse_norms)
{
    const ptrdiff_t stride = PADDED(side), positions = window * window;
    double *column_sums = scratch, *column_squares = column_sums + window * stride + WIDE;
    double *totals = column_squares + window * stride + WIDE, *total_squares = totals + positions + WIDE;
    const double share = 1.0 / ((double)rows * (double)cols);
    ptrdiff_t i, j, x, y;
    for (j = 0; j < side; j += WIDE) {
        wide sums = splat_wide(0.0), squares = sums;
        for (y = 0; y < rows - 1; ++y) {
            const wide p = widen_wide(area + y * side + j);
            sums = add_wide(sums, p);
            squares = muladd_wide(p, p, squares);
        }
        for (i = 0; i < window; ++i) {
            const wide p = widen_wide(area + (i + rows - 1) * side + j), gone = widen_wide(area + i * side + j);
            sums = add_wide(sums, p);
            squares = muladd_wide(p, p, squares);
            store_wide(column_sums + i * stride + j, sums);
            store_wide(column_squares + i * stride + j, squares);
            sums = sub_wide(sums, gone);
            squares = sub_wide(squares, mul_wide(gone, gone));
        }
    }
    for (i = 0; i < window; ++i) {
        for (j = 0; j < window; j += WIDE) {
            wide total = splat_wide(0.0), squares = total;
            for (x = i * stride + j; x < i * stride + j + cols; ++x) {
                total = add_wide(total, load_wide(column_sums + x));
                squares = add_wide(squares, load_wide(column_squares + x));
            }
            store_wide(totals + i * window + j, total);
            store_wide(total_squares + i * window + j, squares);
        }
    }
    for (i = 0; i < positions; i += WIDE) {
        const wide total = load_wide(totals + i), squares = load_wide(total_squares + i);
        const wide mean = mul_wide(total, splat_wide(share));
        narrow_wide(means + i, mean);
        narrow_wide(inverse_norms + i,
                    inverse_root_wide(sub_wide(squares, mul_wide(total, mean)), mul_wide(squares, splat_wide(flat))));
    }
}

/* The same where one mean and norm, of the whole area, serve all positions. */
static void area_statistics(const float *area, ptrdiff_t size, ptrdiff_t positions, double flat, float *means,
                            float *inverse_norms)
{
    double total = 0.0, squares = 0.0, mean, norm;
    ptrdiff_t i;
    for (i = 0; i < size; ++i) {
        total += area[i];
        squares += (double)area[i] * area[i];
    }
    mean = total / size;
    norm = squares - total * mean;
    norm = norm > flat * squares ? 1.0 / sqrt(norm) : 1.0;
    for (i = 0; i < positions; ++i) {
        means[i] = (float)mean;
        inverse_norms[i] = (float)norm;
    }
}

#endif
