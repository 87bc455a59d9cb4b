"""How the kernels are compiled."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
OPTION = "-fno-predictive-commoning"


@pytest.mark.skipif(not (REPOSITORY / "setup.py").is_file(), reason="not a checkout")
@pytest.mark.skipif(sys.platform == "win32", reason="other options are for Windows")
@pytest.mark.parametrize("refused", [True, False])
def test_an_option_of_gcc_is_for_compilers_that_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """Clang, macOS' compiler, ends with an error at any that it does not know."""
    setuptools = pytest.importorskip("setuptools")
    build = pytest.importorskip("Cython.Build")
    from setuptools.command.build_ext import build_ext

    said: dict[str, dict[str, type]] = {}
    monkeypatch.setattr(setuptools, "setup", said.update)
    monkeypatch.setattr(build, "cythonize", lambda extensions, **_: extensions)
    monkeypatch.setattr(build_ext, "build_extensions", lambda command: None)
    monkeypatch.chdir(REPOSITORY)
    extensions = runpy.run_path("setup.py")["extensions"]

    compiler = tmp_path / "cc.py"
    compiler.write_text(f"import sys\nsys.exit({refused} and {OPTION!r} in sys.argv)")
    command = said["cmdclass"]["build_ext"](setuptools.Distribution())
    command.extensions = extensions
    command.compiler = SimpleNamespace(compiler_type="unix", compiler=[sys.executable, str(compiler)])
    command.build_extensions()
    assert [OPTION in extension.extra_compile_args for extension in extensions] == [not refused] * len(
        extensions
    )
    assert all("-fno-trapping-math" in extension.extra_compile_args for extension in extensions)
