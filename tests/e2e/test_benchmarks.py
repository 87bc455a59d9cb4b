"""What the benchmarks measure can be called. How long it takes is theirs to say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pyclnf import CLNF

CASES = Path(__file__).resolve().parents[2] / "benchmarks" / "cases.py"


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cases", CASES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cases"] = module  # its dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


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
