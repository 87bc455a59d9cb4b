"""The kernels for x86-64 CPUs with AVX2 and FMA."""

include "kernels.pxi"
