/* Multiply-adds that depend on nothing but themselves: what the processor's arithmetic can do. */
#include "lanes.h"

#if defined(_MSC_VER)
__declspec(dllexport)
#endif
/* 10 * 8 * 2 operations a turn, float32. */
float multiply_add(long turns)
{
    const floats factor = splat8(0.999f), term = splat8(1e-3f);
    floats a = splat8(0.0f), b = splat8(0.1f), c = splat8(0.2f), d = splat8(0.3f), e = splat8(0.4f);
    floats f = splat8(0.5f), g = splat8(0.6f), h = splat8(0.7f), i = splat8(0.8f), j = splat8(0.9f);
    long turn;
    for (turn = 0; turn < turns; ++turn) {
        a = muladd8(a, factor, term);
        b = muladd8(b, factor, term);
        c = muladd8(c, factor, term);
        d = muladd8(d, factor, term);
        e = muladd8(e, factor, term);
        f = muladd8(f, factor, term);
        g = muladd8(g, factor, term);
        h = muladd8(h, factor, term);
        i = muladd8(i, factor, term);
        j = muladd8(j, factor, term);
    }
    a = add8(add8(add8(a, b), add8(c, d)), add8(add8(e, f), add8(add8(g, h), add8(i, j))));
    return sum8(a);
}
