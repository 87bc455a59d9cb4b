/* Multiply-adds that depend on nothing but themselves: what the processor's arithmetic can do. */
#include "lanes.h"

#if defined(_MSC_VER)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

#if defined(__AVX512F__)
#define WIDTH 16
typedef __m512 vector;
#define SPLAT(s) splat16(s)
#define MULTIPLY_ADD(a, b, c) muladd16(a, b, c)
#define TOTAL(v) _mm512_reduce_add_ps(v)
#else
#define WIDTH 8
typedef floats vector;
#define SPLAT(s) splat8(s)
#define MULTIPLY_ADD(a, b, c) muladd8(a, b, c)
#define TOTAL(v) sum8(v)
#endif

/* Of a turn, float32. */
EXPORT int operations(void) { return 10 * WIDTH * 2; }

EXPORT float multiply_add(long turns)
{
    const vector factor = SPLAT(0.999f), term = SPLAT(1e-3f);
    vector a = SPLAT(0.0f), b = SPLAT(0.1f), c = SPLAT(0.2f), d = SPLAT(0.3f), e = SPLAT(0.4f);
    vector f = SPLAT(0.5f), g = SPLAT(0.6f), h = SPLAT(0.7f), i = SPLAT(0.8f), j = SPLAT(0.9f);
    long turn;
    for (turn = 0; turn < turns; ++turn) {
        a = MULTIPLY_ADD(a, factor, term);
        b = MULTIPLY_ADD(b, factor, term);
        c = MULTIPLY_ADD(c, factor, term);
        d = MULTIPLY_ADD(d, factor, term);
        e = MULTIPLY_ADD(e, factor, term);
        f = MULTIPLY_ADD(f, factor, term);
        g = MULTIPLY_ADD(g, factor, term);
        h = MULTIPLY_ADD(h, factor, term);
        i = MULTIPLY_ADD(i, factor, term);
        j = MULTIPLY_ADD(j, factor, term);
    }
    return TOTAL(a) + TOTAL(b) + TOTAL(c) + TOTAL(d) + TOTAL(e) + TOTAL(f) + TOTAL(g) + TOTAL(h) + TOTAL(i)
           + TOTAL(j);
}
