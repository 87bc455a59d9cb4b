"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyclnf

# One worker says who it is, and then waits for ever.
SCRIPT = """
import os, time
from pyclnf.training.train import _executor

if __name__ == "__main__":
    with _executor(2) as submit:
        print(submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_a_training_that_is_killed_leaves_no_workers(tmp_path: Path) -> None:
    """They would go on with what was handed to them, beside those of the training that takes it up again."""
    psutil = pytest.importorskip("psutil")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    root = str(Path(pyclnf.__file__).parents[1])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    worker = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.communicate()
    try:
        assert not psutil.wait_procs([worker], timeout=60)[1]
    finally:
        if worker.is_running():
            worker.kill()
