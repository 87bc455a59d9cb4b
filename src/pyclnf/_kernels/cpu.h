/* Whether this processor, and the operating system's saved state, allow AVX2 with FMA, and AVX-512 with what
 * all of its processors since Skylake have; and, with either, products of pairs that are added at once (VNNI). */
#ifndef PYCLNF_CPU_H
#define PYCLNF_CPU_H

/* F, DQ, BW, VL */
#define AVX512_BITS (1u << 16 | 1u << 17 | 1u << 30 | 1u << 31)

#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_AMD64))
#include <immintrin.h>
#include <intrin.h>
static int has_avx2(void)
{
    int r[4];
    __cpuid(r, 0);
    if (r[0] < 7) return 0;
    __cpuidex(r, 1, 0);
    /* FMA, OSXSAVE, AVX */
    if ((r[2] & (1 << 12)) == 0 || (r[2] & (1 << 27)) == 0 || (r[2] & (1 << 28)) == 0) return 0;
    if ((_xgetbv(0) & 6) != 6) return 0;
    __cpuidex(r, 7, 0);
    return (r[1] & (1 << 5)) != 0;
}
static int has_avx512(void)
{
    int r[4];
    if (!has_avx2() || (_xgetbv(0) & 0xe6) != 0xe6) return 0;
    __cpuidex(r, 7, 0);
    return ((unsigned int)r[1] & AVX512_BITS) == AVX512_BITS;
}
static inline int has_avx_vnni(void)
{
    int r[4];
    if (!has_avx2()) return 0;
    __cpuidex(r, 7, 0);
    if (r[0] < 1) return 0;
    __cpuidex(r, 7, 1);
    return (r[0] & (1 << 4)) != 0;
}
static inline int has_avx512_vnni(void)
{
    int r[4];
    if (!has_avx512()) return 0;
    __cpuidex(r, 7, 0);
    return (r[2] & (1 << 11)) != 0;
}
#elif defined(__x86_64__)
#include <cpuid.h>
/* Not by __builtin_cpu_supports: it reads a table of the compiler's run-time library, which Zig's
 * leaves empty, and which brings that library's own exp, sin and memcpy into the extension. */
static int has_avx2(void)
{
    unsigned int a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    /* FMA, OSXSAVE, AVX */
    if ((c & (1u << 12)) == 0 || (c & (1u << 27)) == 0 || (c & (1u << 28)) == 0) return 0;
    /* The bytes of xgetbv, which some assemblers do not know without a flag. */
    __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 6) != 6) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return (b & (1u << 5)) != 0;
}
static int has_avx512(void)
{
    unsigned int a, b, c, d, low, high;
    if (!has_avx2()) return 0;
#ifdef PYCLNF_EMULATED
    return 1;
#endif
    __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 0xe6) != 0xe6) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return (b & AVX512_BITS) == AVX512_BITS;
}
static inline int has_avx_vnni(void)
{
    unsigned int a, b, c, d;
    if (!has_avx2() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || a < 1) return 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4)) != 0;
}
static inline int has_avx512_vnni(void)
{
    unsigned int a, b, c, d;
    return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & (1u << 11)) != 0;
}
#else
static int has_avx2(void) { return 0; }
static int has_avx512(void) { return 0; }
#endif

#endif
