"""The compiled extensions and a reproducible sdist; everything else is in pyproject.toml.

Builds for tests only (tools/sanitize.sh makes them and runs the tests): with ``PYCLNF_CHECKED=1`` every
index is checked, with ``PYCLNF_SANITIZE=address`` or ``thread`` GCC's or Clang's sanitizer is compiled in,
with ``PYCLNF_EMULATED=1`` the AVX-512 variant runs on a CPU with AVX2 (tools/emulated_avx512.h).
"""

import gzip
import os
import platform
import subprocess
import sys
import sysconfig
import tarfile
import time
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

KERNELS = "src/pyclnf/_kernels"

# The one place for compiler directives: every kernel is checked at the door
# of the public call, so none checks again inside its loops.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "embedsignature.format": "python",
    "freethreading_compatible": True,
}

CHECKED = os.environ.get("PYCLNF_CHECKED") == "1"
if CHECKED:
    DIRECTIVES.update(boundscheck=True, initializedcheck=True, show_performance_hints=False)

# One wheel a platform for every CPython from 3.11 on. The free-threaded builds
# have no limited API. (0: tools/limited_api_cost.py compares the two.)
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED") and os.environ.get("PYCLNF_LIMITED_API") != "0"
X86_64 = platform.machine().lower() in ("x86_64", "amd64")

if sys.platform == "win32":
    COMMON = ["/O2", "/fp:precise"]
    AVX2 = ["/arch:AVX2"]
    AVX512 = ["/arch:AVX512"]
else:
    # No contraction of a * b + c except where the variant asks for FMA: the
    # baseline gives the same bits on every machine. Nothing reads errno or
    # the floating-point flags, which would keep loops from being vectorised.
    # GCC's predictive commoning would pass pixels from one turn of the correlation's loop to
    # the next through memory, which halves its speed.
    COMMON = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-predictive-commoning", "-Wno-psabi"]
    # Where a loop begins is otherwise left to chance, which costs the network up to a tenth.
    COMMON += ["-falign-loops=64"]
    # Debug information would be three quarters of a module, and name the folder where it was built.
    COMMON += ["-g0"]
    AVX2 = ["-mavx2", "-mfma", "-ffp-contract=fast"]
    AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", *AVX2]

# Clang has no such pass, and takes the option for a mistake.
GCC_ONLY = ["-fno-predictive-commoning"]

SANITIZERS = {
    "": [],
    # An error ends the process: a test that only prints one would pass.
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}
SANITIZE = SANITIZERS[os.environ.get("PYCLNF_SANITIZE", "")]
if SANITIZE:
    COMMON += [*SANITIZE, "-g", "-fno-omit-frame-pointer"]
if SANITIZE or CHECKED:
    COMMON += ["-O1"]
if os.environ.get("PYCLNF_EMULATED") == "1":
    COMMON += ["-DPYCLNF_EMULATED"]
    AVX512 = [*AVX2, "-include", "tools/emulated_avx512.h"]


def kernels(variant: str, flags: list[str]) -> Extension:
    """Return the extension with all kernels, compiled with the flags of one variant."""
    return Extension(
        f"pyclnf._kernels._{variant}",
        [f"{KERNELS}/_{variant}.pyx"],
        # What the .pyx includes: a change of any of them compiles the module again.
        depends=[str(path) for pattern in ("*.pyx", "*.pxi", "*.h") for path in Path(KERNELS).glob(pattern)],
        include_dirs=[KERNELS],
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED_API else [],
        py_limited_api=LIMITED_API,
        extra_compile_args=COMMON + flags,
        extra_link_args=SANITIZE,
    )


class AnyCompiler(build_ext):
    """Leaves out what the compiler does not know."""

    def build_extensions(self):
        for option in GCC_ONLY if self.compiler.compiler_type == "unix" else []:
            check = [*self.compiler.compiler, option, "-fsyntax-only", "-x", "c", os.devnull]
            if subprocess.run(check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                for extension in self.extensions:
                    extension.extra_compile_args.remove(option)
        super().build_extensions()


class ReproducibleSdist(sdist):
    """An archive of its files and SOURCE_DATE_EPOCH alone, which setuptools heeds in wheels only."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        if format != "gztar" or root_dir is not None:
            raise ValueError(f"an sdist is a .tar.gz, not {format}")
        moment = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))

        def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.mtime, member.uid, member.gid, member.uname, member.gname = moment, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        name = f"{base_name}.tar.gz"
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with (
            Path(name).open("wb") as file,
            # Without a name, which would be written into the archive.
            gzip.GzipFile("", "wb", fileobj=file, mtime=moment) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=anonymous)  # sorted by name
        return name


extensions = [kernels("baseline", [] if sys.platform == "win32" else ["-ffp-contract=off"])]
if X86_64:
    extensions += [kernels("avx2", AVX2), kernels("avx512", AVX512)]

setup(
    cmdclass={"build_ext": AnyCompiler, "sdist": ReproducibleSdist},
    ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, include_path=[KERNELS]),
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
)
