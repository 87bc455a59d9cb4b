"""Freeze examples/freeze with PyInstaller, and print the size of the application and how long it takes.

    python tools/measure_frozen.py

Times are those of new processes, by the clock and of the processor: started without a picture (all is
imported), and with one (the face found and fitted, the result written), frozen and not; the least of several.
tests/e2e/test_freeze.py checks that the landmarks are the same. Needs pyclnf and PyInstaller installed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        subprocess.run(
            [
                *(sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"),
                str(EXAMPLES / "freeze" / "landmarks.spec"),
            ],
            cwd=work,
            check=True,
        )
        application = (work / "dist" / "landmarks").rename(work / "landmarks")
        files = [path for path in application.rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_size for path in files)
        print(f"{len(files)} files, {size / 2**20:.0f} MB\n")
        print("| | start, s | processor | with a picture, s | processor |\n|---|---|---|---|---|")
        script = [sys.executable, str(EXAMPLES / "freeze" / "landmarks.py")]
        for name, command in (("frozen", [str(application / "landmarks")]), ("not frozen", script)):
            cells: list[str] = []
            for arguments in ([], [str(EXAMPLES / "rendered_face.jpg")]):
                seconds = [measured([*command, *arguments], work) for _ in range(options.rounds)]
                cells += [f"{min(column):.2f}" for column in zip(*seconds, strict=True)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command and return its seconds by the clock and of the processor."""
    usage, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
