"""The kernels for x86-64 CPUs with AVX-512 (F, DQ, BW and VL)."""

include "kernels.pxi"
