"""Fixtures that all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import pyclnf
from generate_model import generate_image, generate_model
from pyclnf import _kernels
from variants import usable_variants

REPOSITORY = Path(__file__).resolve().parent.parent


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


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Hide files and folders as Windows does, on other systems as if they were it."""

    def hide_all(*paths: Path) -> None:
        if sys.platform == "win32":
            import ctypes

            assert all(ctypes.windll.kernel32.SetFileAttributesW(str(path), 2) for path in paths)
            return
        lstat = Path.lstat

        def as_on_windows(path: Path) -> SimpleNamespace:
            return SimpleNamespace(st_mode=lstat(path).st_mode, st_file_attributes=0x20 | 2 * (path in paths))

        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(Path, "lstat", as_on_windows)

    return hide_all


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let a folder be as one of another user of the computer."""

    def lock_one(folder: Path) -> None:
        scandir = os.scandir

        def refuse(path: str) -> object:
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)

    return lock_one


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


@pytest.fixture(scope="session")
def model() -> pyclnf.Model:
    """The generated model."""
    return generate_model()


@dataclass(frozen=True)
class Picture:
    """A generated picture, (h, w) uint8, of a face whose landmarks are known.

    `box` is tight around the landmarks; `disturbed` is larger and beside them.
    """

    image: np.ndarray
    parameters: pyclnf.Parameters
    landmarks: np.ndarray
    box: tuple[float, float, float, float]
    disturbed: tuple[float, float, float, float]


@pytest.fixture(scope="session")
def picture(model: pyclnf.Model) -> Picture:
    """A generated picture of a face, 1.3 px per mm, slightly turned."""
    shape = np.array([1.0, 0.5, -0.5, 1.0, 0.3, -1.0, 0.5, 0.0]) * 0.6 * np.sqrt(model.pdm.eigenvalues)
    parameters = pyclnf.Parameters(np.array([1.3, 0.05, -0.1, 0.06, 162.0, 158.0]), shape)
    landmarks = model.pdm.landmarks_2d(parameters)
    (x, y), (w, h) = landmarks.min(axis=0), np.ptp(landmarks, axis=0)
    return Picture(
        generate_image(model, parameters),
        parameters,
        landmarks,
        (x, y, w, h),
        (x - 0.02 * w, y - 0.05 * h, 1.08 * w, 1.06 * h),
    )
