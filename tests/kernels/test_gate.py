"""The gate to the kernels: it takes what it is told to, or says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import pyclnf
from pyclnf import _kernels
from variants import usable_variants


def run(code: str, variant: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that finds this pyclnf."""
    environment = {k: v for k, v in os.environ.items() if k != "PYCLNF_KERNELS"}
    if variant is not None:
        environment["PYCLNF_KERNELS"] = variant
    root = str(Path(pyclnf.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("variant", usable_variants())
def test_a_variant_is_forced(variant: str) -> None:
    done = run("from pyclnf import _kernels as k; print(k.VARIANT, k.solve.__module__)", variant)
    assert done.returncode == 0, done.stderr
    name, module = done.stdout.split()
    assert name == variant
    assert module == f"pyclnf._kernels._{variant}"


def test_the_best_variant_is_the_default() -> None:
    done = run("from pyclnf import _kernels as k; print(k.VARIANT)")
    assert done.stdout.strip() == usable_variants()[0], done.stderr


@pytest.mark.parametrize(
    ("avx2", "avx512", "best"),
    ((False, False, "baseline"), (True, False, "avx2"), (True, True, "avx512")),
)
def test_the_best_variant_of_other_processors(
    monkeypatch: pytest.MonkeyPatch, avx2: bool, avx512: bool, best: str
) -> None:
    cpu = SimpleNamespace(has_avx2=lambda: avx2, has_avx512=lambda: avx512)
    monkeypatch.setattr(_kernels, "load_variant", lambda name: cpu)
    assert _kernels._best() == best


def test_unknown_variants_are_an_error_that_names_the_choices() -> None:
    done = run("import pyclnf", "fast")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "KernelImportError" in last and "'fast'" in last
    assert all(name in last for name in _kernels.VARIANTS)


@pytest.mark.parametrize("variant", (None, *(v for v in usable_variants() if v != "reference")))
def test_missing_extensions_are_an_error_and_no_fallback(variant: str | None) -> None:
    hide = (
        "import sys; "
        "sys.modules.update({f'pyclnf._kernels._{v}': None for v in ('avx512', 'avx2', 'baseline')}); "
    )
    done = run(hide + "import pyclnf", variant)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "KernelImportError" in last and "PYCLNF_KERNELS=reference" in last
    # Only when asked.
    asked = run(hide + "import pyclnf; from pyclnf import _kernels; print(_kernels.VARIANT)", "reference")
    assert asked.stdout.strip() == "reference", asked.stderr


@pytest.mark.parametrize(("variant", "name"), (("avx2", "AVX2"), ("avx512", "AVX-512")))
def test_a_variant_is_refused_where_the_cpu_cannot_run_it(
    monkeypatch: pytest.MonkeyPatch, variant: str, name: str
) -> None:
    from pyclnf._kernels import _reference

    monkeypatch.setitem(sys.modules, "pyclnf._kernels._baseline", _reference)  # says that it has neither
    with pytest.raises(_kernels.KernelImportError, match=f"no {name}"):
        _kernels.load_variant(variant)
