"""Write the seeds again: ``python tests/fuzz/make_corpus.py``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from targets import Targets, seeds  # noqa: E402

for name in Targets.NAMES:
    folder = HERE / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in seeds(name).items():
        (folder / file).write_bytes(content)
