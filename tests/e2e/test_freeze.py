"""An application frozen by PyInstaller gives what it gives unfrozen, without Python or pyclnf beside it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from pyclnf import _pyinstaller

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Windows loads its own libraries by these.
SYSTEM = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP") if name in os.environ}


def why_not() -> str | None:
    """Return what keeps PyInstaller from freezing here."""
    if importlib.util.find_spec("PyInstaller") is None:
        return "PyInstaller is not installed"
    if sys.platform == "linux" and not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return "this Python was built without the library that PyInstaller needs"
    return None


def run(*command: str | Path, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frozen application, moved away from where it was built."""
    reason = why_not()
    if reason and os.environ.get("PYCLNF_REQUIRE_TEST_DATA") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    work = tmp_path_factory.mktemp("freeze")
    environment = {**os.environ, **with_package()}
    if not entry_points(group="pyinstaller40").select(name="hook-dirs", module=_pyinstaller.__name__):
        # A checkout on the path, not installed: PyInstaller finds the hook as it would if it were.
        (work / "pyclnf-0.dist-info").mkdir()
        project = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        (hooks,) = project["entry-points"]["pyinstaller40"].items()
        text = "[pyinstaller40]\n{} = {}\n".format(*hooks)
        (work / "pyclnf-0.dist-info" / "entry_points.txt").write_text(text)
        (work / "pyclnf-0.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: pyclnf\nVersion: 0\n"
        )
        environment["PYTHONPATH"] += os.pathsep + str(work)
    build = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    run(*build, EXAMPLES / "freeze" / "landmarks.spec", folder=work, environment=environment)
    moved = work / "another place"
    shutil.move(work / "dist" / "landmarks", moved)
    shutil.rmtree(work / "build")
    return moved


def test_equals_the_unfrozen_application(frozen: Path, tmp_path: Path) -> None:
    picture = EXAMPLES / "rendered_face.jpg"
    results = {}
    for name, command, environment in (
        ("frozen", [frozen / "landmarks"], SYSTEM),
        ("unfrozen", [sys.executable, EXAMPLES / "freeze" / "landmarks.py"], with_package()),
    ):
        folder = tmp_path / name
        folder.mkdir()
        said = run(*command, picture, folder=folder, environment=environment)
        assert ": 1 face" in said
        results[name] = (folder / "landmarks.json").read_text(), (folder / "landmarks.png").read_bytes()
    (face,) = json.loads(results["frozen"][0])
    landmarks = np.array(face["landmarks"])
    assert landmarks.shape == (68, 2) and np.isfinite(landmarks).all()
    assert face["confidence"] > 0.5
    assert results["frozen"] == results["unfrozen"]


def test_uses_its_own_package_and_the_same_kernels(frozen: Path, tmp_path: Path) -> None:
    said = run(frozen / "landmarks", folder=tmp_path, environment=SYSTEM)
    usual = run(
        sys.executable,
        EXAMPLES / "freeze" / "landmarks.py",
        folder=tmp_path,
        environment=with_package(),
    )
    (kernels, place), (usual_kernels, _) = (text.strip().split(", from ") for text in (said, usual))
    assert kernels == usual_kernels
    assert Path(place).resolve().is_relative_to(frozen.resolve())


def test_brings_nothing_that_it_does_not_use(frozen: Path) -> None:
    names = {path.name for path in frozen.rglob("*")}
    assert "default.npz" in names and "onet.onnx" in names
    assert not names & {"scipy", "pandas", "pyarrow", "matplotlib"}


def with_package() -> dict[str, str]:
    return {**SYSTEM, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
