"""Each compiled kernel beside its NumPy twin.

pytest benchmarks/bench_kernels.py --benchmark-enable --benchmark-group-by=param:name,param:window
"""

from __future__ import annotations

import pytest
from cases import kernels, measured_model

from pyclnf import _kernels

NAMES = sorted(kernel.name for kernel in kernels(measured_model(), 11))
COMPILED = _kernels.VARIANTS[_kernels.VARIANTS.index(_kernels.VARIANT) : -1]


@pytest.mark.parametrize("variant", [*COMPILED, "reference"])
@pytest.mark.parametrize("window", [7, 11, 15])
@pytest.mark.parametrize("name", NAMES)
def test_kernel(benchmark, name: str, window: int, variant: str) -> None:
    (kernel,) = (kernel for kernel in kernels(measured_model(), window) if kernel.name == name)
    benchmark(kernel.call(variant))
