"""What importing costs: only what is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyclnf

# Heavy packages that no fit needs, and modules that take long to import.
NOT_AT_IMPORT = ("cv2", "scipy", "concurrent.futures.thread", "matplotlib", "pandas", "pyarrow", "tqdm")


def run(code: str) -> str:
    """Run code in a new interpreter that finds this pyclnf."""
    root = str(Path(pyclnf.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", NOT_AT_IMPORT)
def test_import_brings_nothing_heavy(module: str) -> None:
    loaded = run(
        "import sys, numpy; before = set(sys.modules); import pyclnf; print(*set(sys.modules) - before)"
    )
    assert "pyclnf.clnf" in loaded.split()
    assert module not in loaded.split()


def test_a_fit_needs_neither_opencv_nor_scipy(openface_model: pyclnf.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    openface_model.save(path)
    code = f"""
import sys
sys.modules["cv2"] = sys.modules["scipy"] = None
import numpy as np
from pyclnf import CLNF
image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
landmarks, info = CLNF({str(path)!r}).fit(image, (50, 50, 100, 100))
print(landmarks.shape)
"""
    assert run(code).strip() == "(68, 2)"


def test_only_the_views_in_use_are_loaded(openface_model: pyclnf.Model, tmp_path: Path, picture) -> None:
    path = tmp_path / "model.npz"
    openface_model.save(path)
    clnf = pyclnf.CLNF(path, parameters="video")
    assert all(view is None for scale in clnf.model.scales for view in scale._views)
    _, info = clnf.fit(picture.image, picture.box)
    for scale in clnf.model.scales:
        assert 1 <= sum(view is not None for view in scale._views) <= 2
    assert clnf.model.scales[-1]._views[info["view"]] is not None
