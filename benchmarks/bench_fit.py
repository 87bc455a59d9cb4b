"""Whole fits: parameter sets, sizes of the image, NumPy, several cores.

pytest benchmarks/bench_fit.py --benchmark-enable
"""

from __future__ import annotations

import numpy as np
import pytest
from cases import BOX, MEGAPIXELS_12, fits, kernels_in_use, measured_model, photograph

from pyclnf import CLNF

NAMES = [fit.name for fit in fits(measured_model())]


@pytest.mark.parametrize("size", [(480, 640), MEGAPIXELS_12], ids=["640x480", "12MP"])
@pytest.mark.parametrize("name", NAMES)
def test_fit(benchmark, name: str, size: tuple[int, int]) -> None:
    (fit,) = (fit for fit in fits(measured_model(), *size) if fit.name == name)
    benchmark(fit)


@pytest.mark.parametrize("name", NAMES[:3])
def test_numpy_fit(benchmark, name: str) -> None:
    (fit,) = (fit for fit in fits(measured_model()) if fit.name == name)
    with kernels_in_use("reference"):
        benchmark.pedantic(fit, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("faces", [1, 10, 100])
def test_fit_many(benchmark, faces: int, workers: int) -> None:
    clnf = CLNF(measured_model(), parameters="video")
    boxes = np.array(BOX) + np.random.default_rng(0).uniform(-5, 5, (faces, 4))
    benchmark(clnf.fit_many, photograph(480, 640), boxes, workers=workers)
