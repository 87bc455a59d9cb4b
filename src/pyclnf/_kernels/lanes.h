/* Arithmetic on eight floats or four doubles at once.
 *
 * AVX2 by its intrinsics; elsewhere GCC and Clang compile their vector types to
 * whatever the target has (SSE2, NEON), and other compilers get plain loops.
 * Each lane is summed in a fixed order, so one variant gives the same bits on
 * every run and every number of threads.
 *
 * Indices are ptrdiff_t throughout: Python builds extensions with -fwrapv, under
 * which an int index may wrap and keeps loops from being vectorised.
 */
#ifndef PYCLNF_LANES_H
#define PYCLNF_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 8

#if defined(_MSC_VER) && !defined(__clang__)
#define PYCLNF_INLINE static __forceinline
#define PYCLNF_APART static __declspec(noinline)
#define PYCLNF_RESTRICT __restrict
#else
#define PYCLNF_RESTRICT restrict
#define PYCLNF_INLINE static inline __attribute__((always_inline))
#define PYCLNF_APART static __attribute__((noinline))
#endif

#if defined(__GNUC__)
#define PYCLNF_PREFETCH(p) __builtin_prefetch(p)
#else
#define PYCLNF_PREFETCH(p) ((void)(p))
#endif

#if defined(__AVX2__)

#include <immintrin.h>

typedef __m256 floats;
typedef __m256d doubles;

PYCLNF_INLINE floats load8(const float *p) { return _mm256_loadu_ps(p); }
PYCLNF_INLINE void store8(float *p, floats v) { _mm256_storeu_ps(p, v); }
PYCLNF_INLINE floats splat8(float s) { return _mm256_set1_ps(s); }
/* p[0], p[1], p[0], p[1]...: one load that fills all lanes. */
PYCLNF_INLINE floats splat_pair8(const float *p)
{
    double both;
    memcpy(&both, p, sizeof both);
    return _mm256_castpd_ps(_mm256_set1_pd(both));
}
PYCLNF_INLINE floats add8(floats a, floats b) { return _mm256_add_ps(a, b); }
PYCLNF_INLINE floats sub8(floats a, floats b) { return _mm256_sub_ps(a, b); }
PYCLNF_INLINE floats mul8(floats a, floats b) { return _mm256_mul_ps(a, b); }
PYCLNF_INLINE floats div8(floats a, floats b) { return _mm256_div_ps(a, b); }
PYCLNF_INLINE floats muladd8(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
PYCLNF_INLINE __m128 sum_of_halves(floats v)
{
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}
PYCLNF_INLINE float sum8(floats v)
{
    __m128 s = sum_of_halves(v);
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
PYCLNF_INLINE floats clip8(floats v, float low, float high)
{
    /* In this order NaN stays NaN: both instructions return their second operand then. */
    return _mm256_min_ps(splat8(high), _mm256_max_ps(splat8(low), v));
}
/* The greater ones. */
PYCLNF_INLINE floats max8(floats a, floats b) { return _mm256_max_ps(a, b); }
/* Eight whole numbers of eight bits. */
PYCLNF_INLINE floats widen8(const signed char *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
/* v 2^k, where n is k + ROUNDS, as long as that is a normal number: k is added to the exponents. */
PYCLNF_INLINE floats times_power8(floats v, floats n)
{
    const __m256i exponents = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), exponents));
}
PYCLNF_INLINE doubles load4(const double *p) { return _mm256_loadu_pd(p); }
PYCLNF_INLINE void store4(double *p, doubles v) { _mm256_storeu_pd(p, v); }
PYCLNF_INLINE doubles splat4(double s) { return _mm256_set1_pd(s); }
PYCLNF_INLINE doubles add4(doubles a, doubles b) { return _mm256_add_pd(a, b); }
PYCLNF_INLINE doubles mul4(doubles a, doubles b) { return _mm256_mul_pd(a, b); }
PYCLNF_INLINE doubles sub4(doubles a, doubles b) { return _mm256_sub_pd(a, b); }
PYCLNF_INLINE doubles muladd4(doubles a, doubles b, doubles c) { return _mm256_fmadd_pd(a, b, c); }
PYCLNF_INLINE doubles widen4(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
PYCLNF_INLINE void narrow4(float *p, doubles v) { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
/* 1 / sqrt(v) where v > bound, else 1. */
PYCLNF_INLINE doubles inverse_root4(doubles v, doubles bound)
{
    const doubles one = splat4(1.0), inverse = _mm256_div_pd(one, _mm256_sqrt_pd(v));
    return _mm256_blendv_pd(one, inverse, _mm256_cmp_pd(v, bound, _CMP_GT_OQ));
}
PYCLNF_INLINE double sum4(doubles v)
{
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

#elif defined(__GNUC__)

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Of sixteen bytes, which SSE2 and NEON have registers for: GCC keeps what is longer in memory. The types are aligned
 * like their elements and alias anything, so a plain access is allowed anywhere. (Through memcpy GCC goes by way of
 * the stack.) */
typedef float float_half __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t int_half __attribute__((vector_size(16), aligned(4), may_alias));
typedef double double_half __attribute__((vector_size(16), aligned(8), may_alias));
typedef struct { float_half low, high; } floats;
typedef struct { double_half low, high; } doubles;

PYCLNF_INLINE floats load8(const float *p)
{
    return (floats){*(const float_half *)p, *(const float_half *)(p + 4)};
}
PYCLNF_INLINE void store8(float *p, floats v)
{
    *(float_half *)p = v.low;
    *(float_half *)(p + 4) = v.high;
}
PYCLNF_INLINE floats splat8(float s)
{
    const float_half half = {s, s, s, s};
    return (floats){half, half};
}
PYCLNF_INLINE floats splat_pair8(const float *p)
{
    const float_half half = {p[0], p[1], p[0], p[1]};
    return (floats){half, half};
}
PYCLNF_INLINE floats add8(floats a, floats b) { return (floats){a.low + b.low, a.high + b.high}; }
PYCLNF_INLINE floats sub8(floats a, floats b) { return (floats){a.low - b.low, a.high - b.high}; }
PYCLNF_INLINE floats mul8(floats a, floats b) { return (floats){a.low * b.low, a.high * b.high}; }
PYCLNF_INLINE floats div8(floats a, floats b) { return (floats){a.low / b.low, a.high / b.high}; }
PYCLNF_INLINE floats muladd8(floats a, floats b, floats c)
{
    return (floats){a.low * b.low + c.low, a.high * b.high + c.high};
}
PYCLNF_INLINE float sum8(floats v)
{
    const float_half s = v.low + v.high;
    return (s[0] + s[2]) + (s[1] + s[3]);
}
PYCLNF_INLINE float_half clip_half(float_half v, float low, float high)
{
    const float_half l = {low, low, low, low}, h = {high, high, high, high};
    const int_half below = v < l, above = v > h;
    return (float_half)(((int_half)l & below) | ((int_half)h & above) | ((int_half)v & ~(below | above)));
}
PYCLNF_INLINE floats clip8(floats v, float low, float high)
{
    return (floats){clip_half(v.low, low, high), clip_half(v.high, low, high)};
}
PYCLNF_INLINE float_half max_half(float_half a, float_half b)
{
    const int_half greater = a > b;
    return (float_half)(((int_half)a & greater) | ((int_half)b & ~greater));
}
/* The greater ones. */
PYCLNF_INLINE floats max8(floats a, floats b) { return (floats){max_half(a.low, b.low), max_half(a.high, b.high)}; }
/* Eight whole numbers of eight bits. */
PYCLNF_INLINE floats widen8(const signed char *p)
{
#if defined(__SSE2__)
    /* GCC would read one after the other, which takes five times as long: each is put into the upper half of a number
     * twice as long, and moved down with its sign. */
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)p);
    const __m128i words = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    const __m128i low = _mm_srai_epi32(_mm_unpacklo_epi16(words, words), 16);
    const __m128i high = _mm_srai_epi32(_mm_unpackhi_epi16(words, words), 16);
    return (floats){(float_half)_mm_cvtepi32_ps(low), (float_half)_mm_cvtepi32_ps(high)};
#else
    const float_half low = {p[0], p[1], p[2], p[3]}, high = {p[4], p[5], p[6], p[7]};
    return (floats){low, high};
#endif
}
PYCLNF_INLINE float_half times_power_half(float_half v, float_half n)
{
    return (float_half)((int_half)v + ((int_half)n << 23));
}
/* v 2^k, where n is k + ROUNDS, as long as that is a normal number: k is added to the exponents. */
PYCLNF_INLINE floats times_power8(floats v, floats n)
{
    return (floats){times_power_half(v.low, n.low), times_power_half(v.high, n.high)};
}
PYCLNF_INLINE doubles load4(const double *p)
{
    return (doubles){*(const double_half *)p, *(const double_half *)(p + 2)};
}
PYCLNF_INLINE void store4(double *p, doubles v)
{
    *(double_half *)p = v.low;
    *(double_half *)(p + 2) = v.high;
}
PYCLNF_INLINE doubles splat4(double s)
{
    const double_half half = {s, s};
    return (doubles){half, half};
}
PYCLNF_INLINE doubles add4(doubles a, doubles b) { return (doubles){a.low + b.low, a.high + b.high}; }
PYCLNF_INLINE doubles mul4(doubles a, doubles b) { return (doubles){a.low * b.low, a.high * b.high}; }
PYCLNF_INLINE doubles sub4(doubles a, doubles b) { return (doubles){a.low - b.low, a.high - b.high}; }
PYCLNF_INLINE doubles muladd4(doubles a, doubles b, doubles c)
{
    return (doubles){a.low * b.low + c.low, a.high * b.high + c.high};
}
PYCLNF_INLINE doubles widen4(const float *p)
{
    const double_half low = {p[0], p[1]}, high = {p[2], p[3]};
    return (doubles){low, high};
}
PYCLNF_INLINE void narrow4(float *p, doubles v)
{
    p[0] = (float)v.low[0], p[1] = (float)v.low[1], p[2] = (float)v.high[0], p[3] = (float)v.high[1];
}
/* 1 / sqrt(v) where v > bound, else 1. */
PYCLNF_INLINE doubles inverse_root4(doubles v, doubles bound)
{
    int i;
    for (i = 0; i < 2; ++i) {
        v.low[i] = v.low[i] > bound.low[i] ? 1.0 / sqrt(v.low[i]) : 1.0;
        v.high[i] = v.high[i] > bound.high[i] ? 1.0 / sqrt(v.high[i]) : 1.0;
    }
    return v;
}
PYCLNF_INLINE double sum4(doubles v)
{
    const double_half s = v.low + v.high;
    return s[0] + s[1];
}

#else

typedef struct { float v[8]; } floats;
typedef struct { double v[4]; } doubles;

#define PYCLNF_EACH8(expression) \
    floats r; int i; for (i = 0; i < 8; ++i) r.v[i] = (expression); return r
PYCLNF_INLINE floats load8(const float *p) { PYCLNF_EACH8(p[i]); }
PYCLNF_INLINE void store8(float *p, floats v) { memcpy(p, v.v, sizeof v.v); }
PYCLNF_INLINE floats splat8(float s) { PYCLNF_EACH8(s); }
PYCLNF_INLINE floats splat_pair8(const float *p) { PYCLNF_EACH8(p[i % 2]); }
PYCLNF_INLINE floats add8(floats a, floats b) { PYCLNF_EACH8(a.v[i] + b.v[i]); }
PYCLNF_INLINE floats sub8(floats a, floats b) { PYCLNF_EACH8(a.v[i] - b.v[i]); }
PYCLNF_INLINE floats mul8(floats a, floats b) { PYCLNF_EACH8(a.v[i] * b.v[i]); }
PYCLNF_INLINE floats div8(floats a, floats b) { PYCLNF_EACH8(a.v[i] / b.v[i]); }
PYCLNF_INLINE floats muladd8(floats a, floats b, floats c) { PYCLNF_EACH8(a.v[i] * b.v[i] + c.v[i]); }
PYCLNF_INLINE float sum8(floats v)
{
    return ((v.v[0] + v.v[4]) + (v.v[2] + v.v[6])) + ((v.v[1] + v.v[5]) + (v.v[3] + v.v[7]));
}
PYCLNF_INLINE floats clip8(floats a, float low, float high)
{
    PYCLNF_EACH8(a.v[i] < low ? low : (a.v[i] > high ? high : a.v[i]));
}
PYCLNF_INLINE floats max8(floats a, floats b) { PYCLNF_EACH8(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
PYCLNF_INLINE floats widen8(const signed char *p) { PYCLNF_EACH8(p[i]); }
/* v 2^k, where n is k + ROUNDS, as long as that is a normal number: k is added to the exponents. */
PYCLNF_INLINE floats times_power8(floats v, floats n)
{
    floats r;
    int i;
    for (i = 0; i < 8; ++i) {
        uint32_t bits, power;
        memcpy(&bits, &v.v[i], sizeof bits);
        memcpy(&power, &n.v[i], sizeof power);
        bits += power << 23;
        memcpy(&r.v[i], &bits, sizeof bits);
    }
    return r;
}
PYCLNF_INLINE doubles load4(const double *p) { doubles r; memcpy(r.v, p, sizeof r.v); return r; }
PYCLNF_INLINE void store4(double *p, doubles v) { memcpy(p, v.v, sizeof v.v); }
PYCLNF_INLINE doubles splat4(double s) { doubles r = {{s, s, s, s}}; return r; }
#define PYCLNF_EACH4(expression) \
    doubles r; int i; for (i = 0; i < 4; ++i) r.v[i] = (expression); return r
PYCLNF_INLINE doubles add4(doubles a, doubles b) { PYCLNF_EACH4(a.v[i] + b.v[i]); }
PYCLNF_INLINE doubles mul4(doubles a, doubles b) { PYCLNF_EACH4(a.v[i] * b.v[i]); }
PYCLNF_INLINE doubles sub4(doubles a, doubles b) { PYCLNF_EACH4(a.v[i] - b.v[i]); }
PYCLNF_INLINE doubles muladd4(doubles a, doubles b, doubles c) { PYCLNF_EACH4(a.v[i] * b.v[i] + c.v[i]); }
PYCLNF_INLINE doubles widen4(const float *p) { PYCLNF_EACH4(p[i]); }
PYCLNF_INLINE void narrow4(float *p, doubles v)
{
    int i;
    for (i = 0; i < 4; ++i) p[i] = (float)v.v[i];
}
PYCLNF_INLINE doubles inverse_root4(doubles v, doubles bound)
{
    PYCLNF_EACH4(v.v[i] > bound.v[i] ? 1.0 / sqrt(v.v[i]) : 1.0);
}
PYCLNF_INLINE double sum4(doubles a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }

#endif

#if defined(__AVX512F__)

PYCLNF_INLINE __m512 splat16(float s) { return _mm512_set1_ps(s); }
PYCLNF_INLINE __m512 add16(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
PYCLNF_INLINE __m512 sub16(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); }
PYCLNF_INLINE __m512 mul16(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
PYCLNF_INLINE __m512 div16(__m512 a, __m512 b) { return _mm512_div_ps(a, b); }
PYCLNF_INLINE __m512 muladd16(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
/* As clip8 and times_power8. */
PYCLNF_INLINE __m512 clip16(__m512 v, float low, float high)
{
    return _mm512_min_ps(splat16(high), _mm512_max_ps(splat16(low), v));
}
PYCLNF_INLINE __m512 times_power16(__m512 v, __m512 n)
{
    const __m512i exponents = _mm512_slli_epi32(_mm512_castps_si512(n), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), exponents));
}

#endif

/* 1.5 * 2^23: a number that it is added to is rounded to an integer, which stands in the sum's last bits. */
#define ROUNDS 12582912.0f

/* Four times eight floats, worked on in turn: while one waits for its result, the others are computed. */
typedef struct {
    floats a, b, c, d;
} floats32;

PYCLNF_INLINE floats32 same32(floats v) { return (floats32){v, v, v, v}; }
PYCLNF_INLINE floats32 splat32(float s) { return same32(splat8(s)); }
PYCLNF_INLINE floats32 load32(const float *p)
{
    return (floats32){load8(p), load8(p + LANES), load8(p + 2 * LANES), load8(p + 3 * LANES)};
}
PYCLNF_INLINE floats32 add32(floats32 x, floats32 y)
{
    return (floats32){add8(x.a, y.a), add8(x.b, y.b), add8(x.c, y.c), add8(x.d, y.d)};
}
PYCLNF_INLINE floats32 sub32(floats32 x, floats32 y)
{
    return (floats32){sub8(x.a, y.a), sub8(x.b, y.b), sub8(x.c, y.c), sub8(x.d, y.d)};
}
PYCLNF_INLINE floats32 mul32(floats32 x, floats32 y)
{
    return (floats32){mul8(x.a, y.a), mul8(x.b, y.b), mul8(x.c, y.c), mul8(x.d, y.d)};
}
PYCLNF_INLINE floats32 div32(floats32 x, floats32 y)
{
    return (floats32){div8(x.a, y.a), div8(x.b, y.b), div8(x.c, y.c), div8(x.d, y.d)};
}
PYCLNF_INLINE floats32 muladd32(floats32 x, floats32 y, floats32 z)
{
    return (floats32){muladd8(x.a, y.a, z.a), muladd8(x.b, y.b, z.b), muladd8(x.c, y.c, z.c), muladd8(x.d, y.d, z.d)};
}
PYCLNF_INLINE floats32 clip32(floats32 x, float low, float high)
{
    return (floats32){clip8(x.a, low, high), clip8(x.b, low, high), clip8(x.c, low, high), clip8(x.d, low, high)};
}
PYCLNF_INLINE floats32 times_power32(floats32 v, floats32 n)
{
    return (floats32){times_power8(v.a, n.a), times_power8(v.b, n.b), times_power8(v.c, n.c), times_power8(v.d, n.d)};
}
/* Add factor times the sum of each eight, as sum8 adds them up, to the four numbers in out. */
PYCLNF_INLINE void add_sums32(floats32 v, float factor, float *out)
{
#if defined(__AVX2__)
    const __m128 a = sum_of_halves(v.a), b = sum_of_halves(v.b), c = sum_of_halves(v.c), d = sum_of_halves(v.d);
    const __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    const __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    const __m128 sums = _mm_add_ps(_mm_shuffle_ps(ab, cd, _MM_SHUFFLE(2, 0, 2, 0)),
                                   _mm_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 1, 3, 1)));
    _mm_storeu_ps(out, _mm_fmadd_ps(_mm_set1_ps(factor), sums, _mm_loadu_ps(out)));
#else
    out[0] += factor * sum8(v.a);
    out[1] += factor * sum8(v.b);
    out[2] += factor * sum8(v.c);
    out[3] += factor * sum8(v.d);
#endif
}

/* 1 / (1 + 2^t), absolute error below 2e-7 (tested against float64): with t = LOG2_E_DOWN x it is 1 / (1 + exp(-x)).
 *
 * 2^t by range reduction to |r| <= 1/2 and a polynomial through 2^r at five Chebyshev nodes and 0, within 2.1e-7 of it.
 * Beyond |t| = 115 the result is 0 or 1 to within 3e-35. LANES is 8, 16 or 32.
 */
#define LOG2_E_DOWN -1.44269504088896341f
#define DEFINE_SIGMOID(LANES, VECTOR)                                                                         \
    PYCLNF_INLINE VECTOR sigmoid##LANES(VECTOR t)                                                             \
    {                                                                                                         \
        const VECTOR one = splat##LANES(1.0f), clipped = clip##LANES(t, -115.0f, 115.0f);                     \
        const VECTOR n = add##LANES(clipped, splat##LANES(ROUNDS));                                           \
        const VECTOR r = sub##LANES(clipped, sub##LANES(n, splat##LANES(ROUNDS)));                            \
        VECTOR p = splat##LANES(0.00133813021f);                                                              \
        p = muladd##LANES(p, r, splat##LANES(0.00966636837f));                                                \
        p = muladd##LANES(p, r, splat##LANES(0.0555038117f));                                                 \
        p = muladd##LANES(p, r, splat##LANES(0.240223497f));                                                  \
        p = muladd##LANES(p, r, splat##LANES(0.693147182f));                                                  \
        p = muladd##LANES(p, r, one);                                                                         \
        return div##LANES(one, add##LANES(times_power##LANES(p, n), one));                                    \
    }

DEFINE_SIGMOID(8, floats)
DEFINE_SIGMOID(32, floats32)

#if defined(__AVX512F__)

DEFINE_SIGMOID(16, __m512)

/* As many doubles, or floats, as a register holds; lanes are independent, so that their number changes no result. */
#define WIDE 8
#define BROAD 16
typedef __m512 broad;
PYCLNF_INLINE broad load_broad(const float *p) { return _mm512_loadu_ps(p); }
PYCLNF_INLINE void store_broad(float *p, broad v) { _mm512_storeu_ps(p, v); }
PYCLNF_INLINE broad splat_broad(float s) { return splat16(s); }
PYCLNF_INLINE broad muladd_broad(broad a, broad b, broad c) { return muladd16(a, b, c); }
typedef __m512d wide;
PYCLNF_INLINE wide load_wide(const double *p) { return _mm512_loadu_pd(p); }
PYCLNF_INLINE void store_wide(double *p, wide v) { _mm512_storeu_pd(p, v); }
PYCLNF_INLINE wide splat_wide(double s) { return _mm512_set1_pd(s); }
PYCLNF_INLINE wide add_wide(wide a, wide b) { return _mm512_add_pd(a, b); }
PYCLNF_INLINE wide mul_wide(wide a, wide b) { return _mm512_mul_pd(a, b); }
PYCLNF_INLINE wide sub_wide(wide a, wide b) { return _mm512_sub_pd(a, b); }
PYCLNF_INLINE wide muladd_wide(wide a, wide b, wide c) { return _mm512_fmadd_pd(a, b, c); }
PYCLNF_INLINE wide widen_wide(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
PYCLNF_INLINE void narrow_wide(float *p, wide v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
PYCLNF_INLINE wide inverse_root_wide(wide v, wide bound)
{
    const wide one = splat_wide(1.0);
    return _mm512_mask_div_pd(one, _mm512_cmp_pd_mask(v, bound, _CMP_GT_OQ), one, _mm512_sqrt_pd(v));
}

#else

#define WIDE 4
#define BROAD 8
typedef floats broad;
PYCLNF_INLINE broad load_broad(const float *p) { return load8(p); }
PYCLNF_INLINE void store_broad(float *p, broad v) { store8(p, v); }
PYCLNF_INLINE broad splat_broad(float s) { return splat8(s); }
PYCLNF_INLINE broad muladd_broad(broad a, broad b, broad c) { return muladd8(a, b, c); }
typedef doubles wide;
PYCLNF_INLINE wide load_wide(const double *p) { return load4(p); }
PYCLNF_INLINE void store_wide(double *p, wide v) { store4(p, v); }
PYCLNF_INLINE wide splat_wide(double s) { return splat4(s); }
PYCLNF_INLINE wide add_wide(wide a, wide b) { return add4(a, b); }
PYCLNF_INLINE wide mul_wide(wide a, wide b) { return mul4(a, b); }
PYCLNF_INLINE wide sub_wide(wide a, wide b) { return sub4(a, b); }
PYCLNF_INLINE wide muladd_wide(wide a, wide b, wide c) { return muladd4(a, b, c); }
PYCLNF_INLINE wide widen_wide(const float *p) { return widen4(p); }
PYCLNF_INLINE void narrow_wide(float *p, wide v) { narrow4(p, v); }
PYCLNF_INLINE wide inverse_root_wide(wide v, wide bound) { return inverse_root4(v, bound); }

#endif

#endif
