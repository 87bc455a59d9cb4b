"""Install a wheel in fresh environments and run the tests against it, away from the checkout.

    python tools/check_wheels.py dist/pyclnf-*.whl --python python3.11 python3.13 --opencv '5.*' '4.12.*'

Each Python meets each OpenCV; --only keeps some pairs. The tests are copied without src/, so they can import
nothing but the installed wheel. Prints a Markdown table, one row a pair (docs/wheels.md has the last one);
the exit code is 1 if a test failed or the wheel is too large. Needs pip, nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parent.parent

# The package index' limit is far above; this one keeps an installation small.
MAX_SIZE_MIB = 12.0

VERSIONS = """
import platform, cv2, numpy, pyclnf
from pyclnf.nu_rlms import KERNEL_VARIANT
for value in (platform.python_version(), cv2.__version__, numpy.__version__, KERNEL_VARIANT, pyclnf.__file__):
    print(value)
"""


@dataclass
class Row:
    """What one environment showed."""

    python: str
    opencv: str
    numpy: str
    kernels: str
    tests: str
    passed: int
    failed: int
    skipped: int
    minutes: float


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("--opencv", nargs="+", default=["5.*", "4.12.*"], help="versions, as pip takes them")
    parser.add_argument(
        "--only", nargs="+", metavar="PYTHON+OPENCV", help="such as 3.11+5 3.13+4: no other pairs"
    )
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="REQUIREMENT", help="such as numpy==1.26.* scipy==1.11.*"
    )
    parser.add_argument("--tests", nargs="+", default=["tests"], help="what to run (default: all)")
    parser.add_argument("--table", type=Path, help="add the rows to this file as well, which may have rows")
    options = parser.parse_args()

    wheel = options.wheel.resolve()
    size = wheel.stat().st_size / 2**20
    rows = []
    for python in options.python:
        version = output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        for opencv in options.opencv:
            if options.only and f"{version}+{opencv.split('.')[0]}" not in options.only:
                continue
            print(f"Python {version}, OpenCV {opencv} ...", file=sys.stderr, flush=True)
            rows.append(check(wheel, python, opencv, options.also, options.tests))
    lines = [
        f"| {row.python} | {row.opencv} | {row.numpy} | {row.kernels} | {row.tests} "
        f"| {row.passed} | {row.failed} | {row.skipped} | {row.minutes:.1f} |"
        for row in rows
    ]
    heading = [
        f"`{wheel.name}`: {size:.2f} MiB",
        "",
        "| Python | OpenCV | NumPy | kernels | tests | passed | failed | skipped | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join([*heading, *lines]))
    if options.table:
        before = options.table.read_text(encoding="utf-8").splitlines() if options.table.exists() else heading
        options.table.write_text("\n".join([*before, *lines, ""]), encoding="utf-8")
    if size > MAX_SIZE_MIB:
        print(f"the wheel has {size:.1f} MiB, more than {MAX_SIZE_MIB:.0f}", file=sys.stderr)
    return int(size > MAX_SIZE_MIB or not rows or any(row.failed or not row.passed for row in rows))


def check(wheel: Path, python: str, opencv: str, also: list[str], tests: list[str]) -> Row:
    """Test the wheel in one new environment."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        # Without pip: not every interpreter can put its own there.
        subprocess.run([python, "-m", "venv", "--without-pip", work / "venv"], check=True)
        binaries = work / "venv" / ("Scripts" if os.name == "nt" else "bin")
        # With its suffix: pip looks for that very file.
        own = str(binaries / ("python.exe" if os.name == "nt" else "python"))
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", own, "install", "--quiet"),
                *(f"{wheel}[test]", f"opencv-python-headless=={opencv}", *also),
            ],
            check=True,
        )
        copy_tests(work / "copy")
        environment = {
            # The tests call what is installed beside the interpreter.
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": os.pathsep.join([str(binaries), os.environ["PATH"]]),
            "PYCLNF_TEST_DATA": os.environ.get("PYCLNF_TEST_DATA", str(REPOSITORY.parent / "shared")),
        }
        versions = output(own, "-c", VERSIONS, cwd=work, environment=environment).splitlines()
        installed = Path(versions.pop()).resolve()
        if not installed.is_relative_to((work / "venv").resolve()):
            raise SystemExit(f"the tests would run against {installed}, not the wheel")
        report = work / "report.xml"
        done = subprocess.run(
            [own, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *tests],
            cwd=work / "copy",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout[-20000:], file=sys.stderr, flush=True)
        suite = next(ElementTree.parse(report).iter("testsuite"))
        total, skipped, failed = (
            int(suite.get("tests", 0)),
            int(suite.get("skipped", 0)),
            int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
        )
        if done.returncode and not failed:
            raise SystemExit(f"the tests ended with {done.returncode}, though none of them failed")
        return Row(
            *versions,
            tests=", ".join(tests) if tests != ["tests"] else "all",
            passed=total - failed - skipped,
            failed=failed,
            skipped=skipped,
            minutes=(time.monotonic() - begin) / 60,
        )


def copy_tests(folder: Path) -> None:
    """Copy all that git tracks but the package."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=REPOSITORY, text=True).split("\0")
    for name in names:
        if name and not name.startswith("src/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)


def output(*command: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Return what a command prints."""
    return subprocess.check_output(command, cwd=cwd, env=environment, text=True).strip()


if __name__ == "__main__":
    sys.exit(main())
