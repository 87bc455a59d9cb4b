# Every kernel, in one module a variant, so that the fused pass can inline the others.
from libc.math cimport HUGE_VAL, NAN, asin, atan2, cos, exp, fabs, floor, hypot, isnan, log, pow, sin, sqrt
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

include "warp.pyx"
include "gradient.pyx"
include "neuron.pyx"
include "mean_shift.pyx"
include "jacobian.pyx"
include "nu_rlms.pyx"
include "start.pyx"
include "describe.pyx"
include "convolve.pyx"
include "refine.pyx"
include "place.pyx"
include "scale.pyx"
include "perspective.pyx"
include "filter.pyx"

cdef extern from "cpu.h":
    int c_has_avx2 "has_avx2" () noexcept nogil
    int c_has_avx512 "has_avx512" () noexcept nogil


def has_avx2() -> bool:
    """Whether this CPU and operating system can run the AVX2 variant."""
    return c_has_avx2() != 0


def has_avx512() -> bool:
    """Whether this CPU and operating system can run the AVX-512 variant."""
    return c_has_avx512() != 0
