"""The examples in the docstrings run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import shutil
from pathlib import Path

import pytest

import pyclnf

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# Compiled code; and what ends the process that imports it.
LEFT_OUT = (*(f"pyclnf._kernels._{name}" for name in ("avx512", "avx2", "baseline")), "pyclnf.__main__")


def found() -> list[doctest.DocTest]:
    """Return the examples of all modules of the package."""
    names = [module.name for module in pkgutil.walk_packages(pyclnf.__path__, "pyclnf.")]
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [
        test
        for name in names
        if name not in LEFT_OUT
        for test in finder.find(importlib.import_module(name), name)
        if test.examples
    ]


TESTS = found()


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_examples(test: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    # As a reader begins: with no name but Python's own.
    test.globs.clear()
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted > 0


@pytest.mark.parametrize("name", [name for name in pyclnf.__all__ if not name.startswith("_")])
def test_every_public_name_has_an_example(name: str) -> None:
    public = getattr(pyclnf, name)
    assert f"{public.__module__}.{public.__qualname__}" in {test.name for test in TESTS}
