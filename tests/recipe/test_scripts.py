"""What is run by hand can be: each script of the recipe and of the benchmarks says how it is called."""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [
    path
    for folder in ("models/recipe", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "ArgumentParser" in path.read_text(encoding="utf-8")
]
OPTIONAL = {"moderngl", "OpenEXR", "tqdm"}


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_a_script_says_how_it_is_called(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    try:
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(script), run_name="__main__")
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"needs {error.name}")
    finally:
        for name in set(sys.modules) - before:
            if str(script.parent) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
    if "PyTorch" in str(left.value.code):
        assert script.name == "train_network.py" and find_spec("torch") is None
        return
    assert left.value.code == 0
    assert script.name in capsys.readouterr().out
