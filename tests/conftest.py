"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest

import pyclnf
from pyclnf import _kernels

REPOSITORY = Path(__file__).resolve().parent.parent


def usable_variants() -> tuple[str, ...]:
    """Return the variants of the kernels that this CPU can run, whether they are installed or not."""
    runs_avx2 = _kernels.load_variant("baseline").has_avx2()
    return tuple(name for name in _kernels.VARIANTS if name != "avx2" or runs_avx2)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the data that is not in the repository (OpenFace's model, golden files, photographs)."""
    path = Path(os.environ.get("PYCLNF_TEST_DATA", REPOSITORY.parent / "shared"))
    if not (path / "golden").is_dir():
        message = f"no test data in {path}: set PYCLNF_TEST_DATA"
        if os.environ.get("PYCLNF_REQUIRE_TEST_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def openface_model(test_data: Path) -> pyclnf.Model:
    """OpenFace's model, read from its own files."""
    return pyclnf.load_model(test_data / "openface" / "model")


@pytest.fixture(params=usable_variants())
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    """Each variant of the kernels in turn."""
    return _kernels.load_variant(request.param)


@pytest.fixture
def kernels_in_use(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Each variant of the kernels in turn, used by the whole package."""
    for name in _kernels.__all__:
        if name.islower() and name != "load_variant":
            monkeypatch.setattr(_kernels, name, getattr(kernels, name))
    monkeypatch.setattr(_kernels, "VARIANT", kernels.__name__.rpartition("._")[2])
    return kernels
