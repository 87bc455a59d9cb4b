"""The kernels for any CPU of this platform."""

include "kernels.pxi"
