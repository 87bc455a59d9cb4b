"""Fuzz a reader of files with atheris: ``python tests/fuzz/fuzz.py TARGET [libFuzzer's options]``.

See README.md in this folder.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
INSTRUMENTED = ["pyclnf", "zipfile", "json"]

# Bounds of one input: inputs have at most 32 KB, models that they unpack to at most a thousand times as much.
SECONDS, MEGABYTES = 5, 512

with atheris.instrument_imports(include=INSTRUMENTED):
    from npz_mutator import crossed_npz, mutate_npz
    from targets import Targets, seeds


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in Targets.NAMES:
        sys.exit(f"usage: fuzz.py {{{','.join(Targets.NAMES)}}} [corpus folder] [-runs=N ...]")
    warnings.simplefilter("ignore")  # NumPy's, about numbers that overflow in absurd models
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir=memory if memory.is_dir() else None))
    target = getattr(Targets(folder), name)
    arguments = [sys.argv[0], *sys.argv[2:]]
    given = {argument.partition("=")[0] for argument in arguments}
    defaults = {"-timeout": SECONDS, "-max_len": 32768, "-rss_limit_mb": 2048, "-print_final_stats": 1}
    arguments += [f"{key}={value}" for key, value in defaults.items() if key not in given]
    if (words := HERE / f"{name}.dict").is_file():
        arguments.append(f"-dict={words}")
    # libFuzzer writes what it finds into the first folder: the committed seeds come last.
    if not any(not argument.startswith("-") for argument in arguments[1:]):
        arguments.append(tempfile.mkdtemp(prefix=f"corpus-{name}-"))
    arguments.append(str(HERE / "corpus" / name))
    mutators = {}
    if name == "npz":
        mutators = {
            "custom_mutator": lambda data, size, seed: mutate_npz(data, size, seed, atheris.Mutate),
            "custom_crossover": crossed_npz,
        }
    for content in seeds(name).values():  # also warms all caches, before memory is counted
        target(content)
    with contextlib.suppress(ValueError, OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bound = pages * os.sysconf("SC_PAGE_SIZE") + MEGABYTES * 2**20
        # More is a MemoryError, and so a finding. libFuzzer's own corpus takes some of it.
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    atheris.Setup(arguments, target, **mutators)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
