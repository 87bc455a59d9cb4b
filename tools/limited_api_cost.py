"""Measure what the limited API costs a fit: the same kernels, built with it and for this Python alone.

    python tools/limited_api_cost.py      # processor time, and instructions where valgrind is installed

Builds both in temporary folders and runs the same fits with each, in turns. Prints the processor time of one
fit (the least of all rounds, and the median) and the instructions that valgrind's callgrind counts, which are
the same however busy the machine is; the exit code is 1 if the limited API costs more than --bound percent.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from build_release import copy_tracked

REPOSITORY = Path(__file__).resolve().parent.parent
KINDS = {"limited": "1", "specific": "0"}

# Prints the processor time of a fit, ms, after a first one that opens the model.
FITS = """
import sys, time
from pathlib import Path
import cv2
import pyclnf
from pyclnf import CLNF
folder, parameters, count = sys.argv[1:4]
assert Path(pyclnf.__file__).is_relative_to(folder), pyclnf.__file__
clnf = CLNF(parameters=parameters)
image = cv2.imread(sys.argv[4])
for i in range(int(count) + 1):
    if i == 1:
        begin = time.process_time()
    clnf.fit(image, (165, 108, 222, 267))
print((time.process_time() - begin) * 1e3 / int(count))
"""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="processes of each kind")
    parser.add_argument("--fits", type=int, default=40, help="fits a process")
    parser.add_argument("--bound", type=float, default=5.0, help="percent")
    options = parser.parse_args()
    costs = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary).resolve()
        folders = {kind: build(work / kind, work / f"{kind}-source", value) for kind, value in KINDS.items()}
        print("| parameters | measure | limited API | this Python only | cost |\n|---|---|---|---|---|")
        for parameters in ("image", "video"):
            times: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for _ in range(options.rounds):
                for kind, folder in folders.items():
                    times[kind].append(float(run(folder, parameters, options.fits)))
            for name, one in (("least", min), ("median", statistics.median)):
                limited, specific = (one(times[kind]) for kind in KINDS)
                cost = percent(limited, specific)
                print(
                    f"| {parameters} | processor time, {name} of {options.rounds}, ms "
                    f"| {limited:.3f} | {specific:.3f} | {cost:+.1f} % |",
                    flush=True,
                )
                if name == "least":
                    costs.append(cost)
            if shutil.which("valgrind"):
                limited, specific = (instructions(folder, parameters) / 1e6 for folder in folders.values())
                costs.append(percent(limited, specific))
                print(
                    f"| {parameters} | instructions, millions | {limited:.2f} | {specific:.2f} "
                    f"| {costs[-1]:+.1f} % |",
                    flush=True,
                )
    return int(max(costs) > options.bound)


def build(folder: Path, source: Path, limited: str) -> Path:
    """Install a copy of the checkout into a folder."""
    copy_tracked(source)  # built in the checkout, the second would find what is left of the first
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            "--target",
            str(folder),
            str(source),
        ],
        env={**os.environ, "PYCLNF_LIMITED_API": limited},
        check=True,
    )
    modules = list((folder / "pyclnf" / "_kernels").glob("_baseline.*"))
    if [".abi3." in path.name for path in modules] != [limited == "1"]:
        raise SystemExit(f"not the build that was asked for: {modules}")
    return folder


def run(folder: Path, parameters: str, fits: int, *before: str) -> str:
    """Run fits with the build in a folder; return what is printed, the errors' stream included."""
    return subprocess.run(
        [
            *before,
            *(sys.executable, "-c", FITS, str(folder), parameters, str(fits)),
            str(REPOSITORY / "examples" / "rendered_face.jpg"),
        ],
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if before else None,
        text=True,
        check=True,
    ).stdout


def instructions(folder: Path, parameters: str) -> float:
    """Return the instructions of a fit: the difference of two runs, start-up cancels."""
    counts = []
    for fits in (2, 12):
        said = run(folder, parameters, fits, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
        (collected,) = re.findall(r"Collected : (\d+)", said)
        counts.append(int(collected))
    return (counts[1] - counts[0]) / 10


def percent(limited: float, specific: float) -> float:
    """Return by how much the first is more than the second, in percent."""
    return (limited / specific - 1) * 100


if __name__ == "__main__":
    sys.exit(main())
