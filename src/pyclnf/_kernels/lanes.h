/* Arithmetic on eight floats or four doubles at once, in portable C.
 *
 * GCC and Clang compile their vector types to whatever the target has (SSE2,
 * AVX2, NEON); other compilers get the same arithmetic, in the same order, as
 * plain loops. Each lane is summed in a fixed order, so one variant gives the
 * same bits on every run and every number of threads.
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
#else
#define PYCLNF_INLINE static inline __attribute__((always_inline))
#define PYCLNF_VECTOR_TYPES 1
#endif

#ifdef PYCLNF_VECTOR_TYPES

typedef float floats __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(32), aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(32), aligned(8), may_alias));

PYCLNF_INLINE floats load8(const float *p) { floats v; memcpy(&v, p, sizeof v); return v; }
PYCLNF_INLINE void store8(float *p, floats v) { memcpy(p, &v, sizeof v); }
PYCLNF_INLINE floats splat8(float s) { return (floats){s, s, s, s, s, s, s, s}; }
PYCLNF_INLINE floats add8(floats a, floats b) { return a + b; }
PYCLNF_INLINE floats mul8(floats a, floats b) { return a * b; }
PYCLNF_INLINE floats div8(floats a, floats b) { return a / b; }
PYCLNF_INLINE floats muladd8(floats a, floats b, floats c) { return a * b + c; }
PYCLNF_INLINE float sum8(floats v)
{
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}
PYCLNF_INLINE floats clip8(floats v, float low, float high)
{
    const floats l = splat8(low), h = splat8(high);
    const ints below = v < l, above = v > h;
    return (floats)(((ints)l & below) | ((ints)h & above) | ((ints)v & ~(below | above)));
}
/* 2^n for integral n held as floats, |n| <= 126. */
PYCLNF_INLINE floats exp2_integral8(floats n)
{
    ints bits = (__builtin_convertvector(n, ints) + 127) << 23;
    floats v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
PYCLNF_INLINE doubles load4(const double *p) { doubles v; memcpy(&v, p, sizeof v); return v; }
PYCLNF_INLINE void store4(double *p, doubles v) { memcpy(p, &v, sizeof v); }
PYCLNF_INLINE doubles splat4(double s) { return (doubles){s, s, s, s}; }
PYCLNF_INLINE doubles muladd4(doubles a, doubles b, doubles c) { return a * b + c; }

#else

typedef struct { float v[8]; } floats;
typedef struct { double v[4]; } doubles;

#define PYCLNF_EACH8(expression) \
    floats r; int i; for (i = 0; i < 8; ++i) r.v[i] = (expression); return r
PYCLNF_INLINE floats load8(const float *p) { PYCLNF_EACH8(p[i]); }
PYCLNF_INLINE void store8(float *p, floats v) { memcpy(p, v.v, sizeof v.v); }
PYCLNF_INLINE floats splat8(float s) { PYCLNF_EACH8(s); }
PYCLNF_INLINE floats add8(floats a, floats b) { PYCLNF_EACH8(a.v[i] + b.v[i]); }
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
PYCLNF_INLINE floats exp2_integral8(floats n)
{
    floats r;
    int i;
    for (i = 0; i < 8; ++i) {
        int32_t bits = ((int32_t)n.v[i] + 127) * (1 << 23);
        memcpy(&r.v[i], &bits, sizeof bits);
    }
    return r;
}
PYCLNF_INLINE doubles load4(const double *p) { doubles r; memcpy(r.v, p, sizeof r.v); return r; }
PYCLNF_INLINE void store4(double *p, doubles v) { memcpy(p, v.v, sizeof v.v); }
PYCLNF_INLINE doubles splat4(double s) { doubles r = {{s, s, s, s}}; return r; }
PYCLNF_INLINE doubles muladd4(doubles a, doubles b, doubles c)
{
    doubles r;
    int i;
    for (i = 0; i < 4; ++i) r.v[i] = a.v[i] * b.v[i] + c.v[i];
    return r;
}

#endif

/* 1 / (1 + exp(-x)), absolute error below 2e-7 (tested against float64).
 *
 * exp by range reduction to |r| <= ln(2)/2 and a Taylor polynomial of degree 7,
 * whose remainder there is below 6e-9 relative. Beyond |x| = 80 the result is
 * 0 or 1 to within 2e-35.
 */
PYCLNF_INLINE floats sigmoid8(floats x)
{
    const floats round_magic = splat8(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    floats t = mul8(clip8(x, -80.0f, 80.0f), splat8(-1.0f));
    floats n = add8(mul8(t, splat8(1.44269504088896341f)), round_magic);
    floats r, p;
    n = add8(n, splat8(-12582912.0f));
    r = muladd8(n, splat8(-0.693359375f), t);
    r = muladd8(n, splat8(2.12194440e-4f), r);
    p = splat8(1.0f / 5040.0f);
    p = muladd8(p, r, splat8(1.0f / 720.0f));
    p = muladd8(p, r, splat8(1.0f / 120.0f));
    p = muladd8(p, r, splat8(1.0f / 24.0f));
    p = muladd8(p, r, splat8(1.0f / 6.0f));
    p = muladd8(p, r, splat8(0.5f));
    p = muladd8(p, r, splat8(1.0f));
    p = muladd8(p, r, splat8(1.0f));
    p = mul8(p, exp2_integral8(n));
    return div8(splat8(1.0f), add8(p, splat8(1.0f)));
}

#endif
