"""Each compiled kernel beside its NumPy twin.

pytest benchmarks/bench_kernels.py --benchmark-enable --benchmark-group-by=param:name,param:window
"""

from __future__ import annotations

import pytest
from cases import Kernel, kernels, kernels_of_detection, kernels_of_fit, measured_model

from pyclnf import _kernels

WINDOWS = (7, 11, 15)
CALLS: list[Kernel] = [
    *(kernel for window in WINDOWS for kernel in kernels(measured_model(), window)),
    *kernels_of_fit(measured_model()),
    *kernels_of_detection(),
]
COMPILED = _kernels.VARIANTS[_kernels.VARIANTS.index(_kernels.VARIANT) : -1]


@pytest.mark.parametrize("variant", [*COMPILED, "reference"])
@pytest.mark.parametrize(("name", "window"), [(kernel.name, kernel.window) for kernel in CALLS])
def test_kernel(benchmark, name: str, window: int, variant: str) -> None:
    (kernel,) = (kernel for kernel in CALLS if (kernel.name, kernel.window) == (name, window))
    benchmark(kernel.call(variant))
