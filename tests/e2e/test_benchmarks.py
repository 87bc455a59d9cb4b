"""What the benchmarks measure can be called. How long it takes is theirs to say."""

from __future__ import annotations

from types import ModuleType

import pytest

from benchmark_scripts import load_benchmark
from pyclnf import CLNF


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    return load_benchmark("cases")


def test_kernels_are_called_as_they_take_it(cases: ModuleType) -> None:
    model = CLNF().model
    called = set()
    for kernel in (*cases.kernels(model, 7), *cases.kernels_of_fit(model), *cases.kernels_of_detection()):
        kernel.call("baseline")()
        called.add(kernel.name)
    assert {"likelihoods", "look_at_faces", "mix_faces", "run_layers", "fit_scale", "pool_images"} <= called


def test_fits_run(cases: ModuleType) -> None:
    fits = cases.fits(CLNF().model)
    for fit in fits:
        fit()
    assert {"video", "tracking", "image"} <= {fit.name for fit in fits}
