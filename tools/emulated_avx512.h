/* The AVX-512 intrinsics that the kernels use, in plain C, lane by lane as Intel's manual defines them.
 *
 * For tests only (tools/sanitize.sh emulated): with this header the AVX-512 variant is compiled for AVX2 and can be
 * tested on any processor that has it, some times slower. Results may differ in last bits from those of a processor
 * with AVX-512 where the compiler makes one instruction of a product and a sum there and not here. The instruction of
 * VNNI is not emulated: it is chosen at run time, and has a test of its own against what takes its place.
 *
 * GCC or Clang; included before everything else. */
#ifndef PYCLNF_EMULATED_AVX512_H
#define PYCLNF_EMULATED_AVX512_H

#include <immintrin.h> /* which declares the types, and must not see what is defined below */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define __AVX512F__ 1
#define __AVX512DQ__ 1
#define __AVX512BW__ 1
#define __AVX512VL__ 1

#define EMULATED static inline __attribute__((always_inline, unused))

/* The same 64 bytes as numbers of every kind. */
typedef union {
    __m512 ps;
    __m512d pd;
    __m512i si;
    float f[16];
    double d[8];
    int32_t i[16];
    uint32_t u[16];
    int16_t h[32];
    int8_t b[64];
} lanes512;

#define EMULATED_LANES(count, element, value)      \
    lanes512 r;                                    \
    for (int k = 0; k < (count); ++k) r.element[k] = (value)

/* Of one or two operands, each made lanes512 first. */
#define EMULATED_1(name, type, member, count, element, value) \
    EMULATED type name(type x)                                \
    {                                                         \
        const lanes512 a = {.member = x};                     \
        EMULATED_LANES(count, element, value);                \
        return r.member;                                      \
    }
#define EMULATED_2(name, type, member, count, element, value) \
    EMULATED type name(type x, type y)                        \
    {                                                         \
        const lanes512 a = {.member = x}, b = {.member = y};  \
        EMULATED_LANES(count, element, value);                \
        return r.member;                                      \
    }

EMULATED_2(emulated_add_ps, __m512, ps, 16, f, a.f[k] + b.f[k])
EMULATED_2(emulated_sub_ps, __m512, ps, 16, f, a.f[k] - b.f[k])
EMULATED_2(emulated_mul_ps, __m512, ps, 16, f, a.f[k] * b.f[k])
EMULATED_2(emulated_div_ps, __m512, ps, 16, f, a.f[k] / b.f[k])
/* The second operand where one is no number, or both are zeros. */
EMULATED_2(emulated_min_ps, __m512, ps, 16, f, a.f[k] < b.f[k] ? a.f[k] : b.f[k])
EMULATED_2(emulated_max_ps, __m512, ps, 16, f, a.f[k] > b.f[k] ? a.f[k] : b.f[k])
EMULATED_2(emulated_add_pd, __m512d, pd, 8, d, a.d[k] + b.d[k])
EMULATED_2(emulated_sub_pd, __m512d, pd, 8, d, a.d[k] - b.d[k])
EMULATED_2(emulated_mul_pd, __m512d, pd, 8, d, a.d[k] * b.d[k])
EMULATED_1(emulated_sqrt_pd, __m512d, pd, 8, d, sqrt(a.d[k]))
EMULATED_2(emulated_add_epi32, __m512i, si, 16, u, a.u[k] + b.u[k])
EMULATED_2(emulated_madd_epi16, __m512i, si, 16, u,
           (uint32_t)(a.h[2 * k] * b.h[2 * k]) + (uint32_t)(a.h[2 * k + 1] * b.h[2 * k + 1]))
/* Within each sixteen bytes. */
EMULATED_2(emulated_shuffle_epi8, __m512i, si, 64, b, b.b[k] < 0 ? 0 : a.b[k / 16 * 16 + (b.b[k] & 15)])
EMULATED_2(emulated_permutexvar_epi32, __m512i, si, 16, i, b.i[a.i[k] & 15])

EMULATED __m512 emulated_permutexvar_ps(__m512i order, __m512 x)
{
    const lanes512 a = {.si = order}, b = {.ps = x};
    EMULATED_LANES(16, f, b.f[a.i[k] & 15]);
    return r.ps;
}
EMULATED __m512 emulated_fmadd_ps(__m512 x, __m512 y, __m512 z)
{
    const lanes512 a = {.ps = x}, b = {.ps = y}, c = {.ps = z};
    EMULATED_LANES(16, f, fmaf(a.f[k], b.f[k], c.f[k]));
    return r.ps;
}
EMULATED __m512d emulated_fmadd_pd(__m512d x, __m512d y, __m512d z)
{
    const lanes512 a = {.pd = x}, b = {.pd = y}, c = {.pd = z};
    EMULATED_LANES(8, d, fma(a.d[k], b.d[k], c.d[k]));
    return r.pd;
}
EMULATED __m512i emulated_slli_epi32(__m512i x, unsigned int by)
{
    const lanes512 a = {.si = x};
    EMULATED_LANES(16, u, by > 31 ? 0 : a.u[k] << by);
    return r.si;
}
EMULATED __m512i emulated_srli_epi32(__m512i x, unsigned int by)
{
    const lanes512 a = {.si = x};
    EMULATED_LANES(16, u, by > 31 ? 0 : a.u[k] >> by);
    return r.si;
}

EMULATED __m512 emulated_set1_ps(float x) { EMULATED_LANES(16, f, x); return r.ps; }
EMULATED __m512d emulated_set1_pd(double x) { EMULATED_LANES(8, d, x); return r.pd; }
EMULATED __m512i emulated_set1_epi32(int x) { EMULATED_LANES(16, i, x); return r.si; }
EMULATED __m512 emulated_setzero_ps(void) { return emulated_set1_ps(0.0f); }
EMULATED __m512i emulated_setzero_si512(void) { return emulated_set1_epi32(0); }
EMULATED __m512i emulated_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l,
                                     int m, int n, int o, int p)
{
    const lanes512 r = {.i = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p}};
    return r.si;
}
EMULATED __m512 emulated_broadcast_f32x4(__m128 x)
{
    float a[4];
    memcpy(a, &x, sizeof a);
    EMULATED_LANES(16, f, a[k % 4]);
    return r.ps;
}
EMULATED __m512i emulated_broadcast_i32x4(__m128i x)
{
    int32_t a[4];
    memcpy(a, &x, sizeof a);
    EMULATED_LANES(16, i, a[k % 4]);
    return r.si;
}

EMULATED __m512 emulated_loadu_ps(const void *p) { lanes512 r; memcpy(&r, p, sizeof r); return r.ps; }
EMULATED __m512d emulated_loadu_pd(const void *p) { lanes512 r; memcpy(&r, p, sizeof r); return r.pd; }
/* Nothing is read where the mask has no bit. */
EMULATED __m512i emulated_maskz_loadu_epi32(__mmask16 mask, const void *p)
{
    lanes512 r;
    for (int k = 0; k < 16; ++k) {
        r.i[k] = 0;
        if (mask >> k & 1) memcpy(&r.i[k], (const char *)p + 4 * k, 4);
    }
    return r.si;
}
EMULATED void emulated_storeu_ps(void *p, __m512 x) { memcpy(p, &x, sizeof x); }
EMULATED void emulated_storeu_pd(void *p, __m512d x) { memcpy(p, &x, sizeof x); }
EMULATED void emulated_storeu_si512(void *p, __m512i x) { memcpy(p, &x, sizeof x); }

EMULATED __m512 emulated_castsi512_ps(__m512i x) { const lanes512 r = {.si = x}; return r.ps; }
EMULATED __m512i emulated_castps_si512(__m512 x) { const lanes512 r = {.ps = x}; return r.si; }
EMULATED __m256 emulated_extractf32x8_ps(__m512 x, int half)
{
    __m256 r;
    memcpy(&r, (const char *)&x + 32 * half, sizeof r);
    return r;
}
EMULATED __m256 emulated_castps512_ps256(__m512 x) { return emulated_extractf32x8_ps(x, 0); }
/* The upper half is undefined: no numbers, so that who uses it is found out. */
EMULATED __m512 emulated_castps256_ps512(__m256 x)
{
    __m512 r = emulated_set1_ps(NAN);
    memcpy(&r, &x, sizeof x);
    return r;
}

EMULATED __m512d emulated_cvtps_pd(__m256 x)
{
    float a[8];
    memcpy(a, &x, sizeof a);
    EMULATED_LANES(8, d, a[k]);
    return r.pd;
}
EMULATED __m256 emulated_cvtpd_ps(__m512d x)
{
    const lanes512 a = {.pd = x};
    float f[8];
    __m256 r;
    for (int k = 0; k < 8; ++k) f[k] = (float)a.d[k];
    memcpy(&r, f, sizeof r);
    return r;
}
EMULATED __m512 emulated_cvtepi32_ps(__m512i x)
{
    const lanes512 a = {.si = x};
    EMULATED_LANES(16, f, (float)a.i[k]);
    return r.ps;
}
EMULATED __m512i emulated_cvtepi8_epi16(__m256i x)
{
    int8_t a[32];
    memcpy(a, &x, sizeof a);
    EMULATED_LANES(32, h, a[k]);
    return r.si;
}
EMULATED __m128i emulated_cvtepi32_epi8(__m512i x)
{
    const lanes512 a = {.si = x};
    int8_t b[16];
    __m128i r;
    for (int k = 0; k < 16; ++k) b[k] = (int8_t)a.u[k];
    memcpy(&r, b, sizeof r);
    return r;
}

EMULATED __mmask8 emulated_cmp_pd_mask(__m512d x, __m512d y, int how)
{
    const lanes512 a = {.pd = x}, b = {.pd = y};
    unsigned int mask = 0;
    if (how != _CMP_GT_OQ) __builtin_trap();
    for (int k = 0; k < 8; ++k) mask |= (unsigned int)(a.d[k] > b.d[k]) << k;
    return (__mmask8)mask;
}
EMULATED __m512d emulated_mask_div_pd(__m512d otherwise, __mmask8 mask, __m512d x, __m512d y)
{
    const lanes512 o = {.pd = otherwise}, a = {.pd = x}, b = {.pd = y};
    EMULATED_LANES(8, d, mask >> k & 1 ? a.d[k] / b.d[k] : o.d[k]);
    return r.pd;
}

#undef EMULATED
#undef EMULATED_1
#undef EMULATED_2
#undef EMULATED_LANES

#undef _mm512_setr_epi32 /* a macro itself */
#define _mm512_add_epi32 emulated_add_epi32
#define _mm512_add_pd emulated_add_pd
#define _mm512_add_ps emulated_add_ps
#define _mm512_broadcast_f32x4 emulated_broadcast_f32x4
#define _mm512_broadcast_i32x4 emulated_broadcast_i32x4
#define _mm512_castps256_ps512 emulated_castps256_ps512
#define _mm512_castps512_ps256 emulated_castps512_ps256
#define _mm512_castps_si512 emulated_castps_si512
#define _mm512_castsi512_ps emulated_castsi512_ps
#define _mm512_cmp_pd_mask emulated_cmp_pd_mask
#define _mm512_cvtepi32_epi8 emulated_cvtepi32_epi8
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_cvtepi8_epi16 emulated_cvtepi8_epi16
#define _mm512_cvtpd_ps emulated_cvtpd_ps
#define _mm512_cvtps_pd emulated_cvtps_pd
#define _mm512_div_ps emulated_div_ps
#define _mm512_extractf32x8_ps emulated_extractf32x8_ps
#define _mm512_fmadd_pd emulated_fmadd_pd
#define _mm512_fmadd_ps emulated_fmadd_ps
#define _mm512_loadu_pd emulated_loadu_pd
#define _mm512_loadu_ps emulated_loadu_ps
#define _mm512_madd_epi16 emulated_madd_epi16
#define _mm512_mask_div_pd emulated_mask_div_pd
#define _mm512_maskz_loadu_epi32 emulated_maskz_loadu_epi32
#define _mm512_max_ps emulated_max_ps
#define _mm512_min_ps emulated_min_ps
#define _mm512_mul_pd emulated_mul_pd
#define _mm512_mul_ps emulated_mul_ps
#define _mm512_permutexvar_epi32 emulated_permutexvar_epi32
#define _mm512_permutexvar_ps emulated_permutexvar_ps
#define _mm512_set1_epi32 emulated_set1_epi32
#define _mm512_set1_pd emulated_set1_pd
#define _mm512_set1_ps emulated_set1_ps
#define _mm512_setr_epi32 emulated_setr_epi32
#define _mm512_setzero_ps emulated_setzero_ps
#define _mm512_setzero_si512 emulated_setzero_si512
#define _mm512_shuffle_epi8 emulated_shuffle_epi8
#define _mm512_slli_epi32 emulated_slli_epi32
#define _mm512_sqrt_pd emulated_sqrt_pd
#define _mm512_srli_epi32 emulated_srli_epi32
#define _mm512_storeu_pd emulated_storeu_pd
#define _mm512_storeu_ps emulated_storeu_ps
#define _mm512_storeu_si512 emulated_storeu_si512
#define _mm512_sub_pd emulated_sub_pd
#define _mm512_sub_ps emulated_sub_ps

#endif
