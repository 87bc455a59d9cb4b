"""The same fit gives the same bytes: compare environments on this machine.

    python tests/golden/same_bytes.py PYTHON PYTHON ...
    python tests/golden/same_bytes.py --build python3.11 python3.14 --opencv 4 5

The first form compares interpreters that have pyclnf. The second builds one wheel of the checkout and,
for each interpreter and version of OpenCV, a new environment with nothing but the wheel and what it needs.
Each environment computes the numbers of default_model.py with each variant of the kernels; the exit code
is 0 if all digests of a variant are equal; those of the reference kernels, which are NumPy, need to be so
for the same NumPy only. Other machines may give other bytes: their C library's sines
and exponentials differ in the last digit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


def run(*command: str | Path, **environment: str) -> str:
    """Run a command and return what it prints; its errors are shown."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def build(pythons: list[str], opencvs: list[str], folder: Path) -> list[str]:
    """Build the wheel and the environments; return their interpreters."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPOSITORY)
    (wheel,) = folder.glob("pyclnf-*.whl")
    found = []
    for i, python in enumerate(pythons):
        for opencv in opencvs:
            environment = folder / f"{i}-{opencv}"
            run(python, "-m", "venv", environment)
            own = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
            run(own, "-m", "pip", "install", "--quiet", wheel, f"opencv-python-headless=={opencv}.*")
            found.append(str(own))
    return found


def digests(python: str, variant: str, **environment: str) -> dict[str, Any]:
    """Return what one interpreter says with one variant of the kernels."""
    output = run(python, HERE / "default_model.py", PYCLNF_KERNELS=variant, **environment)
    content: dict[str, Any] = json.loads(output)
    assert content["kernels"] == variant and content["digests"]
    return content


def differences(found: list[dict[str, Any]]) -> list[str]:
    """Return the parts whose digests are not the same everywhere.

    The reference kernels are NumPy's own sums, which change with its releases: they are
    compared where NumPy is the same.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        same = one["versions"]["numpy"] if one["kernels"] == "reference" else ""
        groups.setdefault(same, []).append(one["digests"])
    parts = {part for one in found for part in one["digests"]}
    return sorted(
        part
        for part in parts
        if any(len({digests.get(part) for digests in group}) > 1 for group in groups.values())
    )


def main() -> int:
    """Compare the environments and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("python", nargs="+", help="interpreters")
    parser.add_argument("--build", action="store_true", help="build environments for these interpreters")
    parser.add_argument("--opencv", nargs="+", default=["4", "5"], help="versions for --build")
    parser.add_argument("--variants", nargs="+", default=["avx512", "avx2", "baseline", "reference"])
    options = parser.parse_args()
    different = False
    with tempfile.TemporaryDirectory() as folder:
        pythons = build(options.python, options.opencv, Path(folder)) if options.build else options.python
        for variant in options.variants:
            found = []
            for python in pythons:
                # Not what happens to be on the path of the interpreter that runs this.
                found.append(digests(python, variant, PYTHONPATH=""))
                versions = " ".join(f"{name} {value}" for name, value in found[-1]["versions"].items())
                whole = " ".join(found[-1]["digests"].values())
                print(f"{variant:9} {versions}: {whole}", flush=True)
            wrong = differences(found)
            print(
                f"{variant:9} {'DIFFERENT: ' + ', '.join(wrong) if wrong else 'the same bytes'}", flush=True
            )
            different |= bool(wrong)
    return int(different)


if __name__ == "__main__":
    sys.exit(main())
