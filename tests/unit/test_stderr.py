"""What is written to the process' stderr, and comes back to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyclnf import _stderr
from pyclnf._stderr import captured_stderr, write_stderr


def test_what_is_written_meanwhile_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with captured_stderr() as written:
        os.write(2, b"during")
        assert written == []
    os.write(2, b"after")
    assert written == [b"during"]
    assert capfd.readouterr().err == "before after"


def test_an_error_within_leaves_stderr_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="within"), captured_stderr() as written:
        os.write(2, b"during")
        raise ValueError("within")
    assert written == [b"during"]
    write_stderr(b"after")
    assert capfd.readouterr().err == "after"


def test_an_interrupt_at_once_leaves_stderr_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    dup2 = os.dup2

    def interrupted(source: int, target: int) -> None:
        monkeypatch.setattr(os, "dup2", dup2)
        dup2(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "dup2", interrupted)
    with pytest.raises(KeyboardInterrupt), captured_stderr():
        pytest.fail("it was interrupted before")
    write_stderr(b"after")
    assert capfd.readouterr().err == "after"


def test_without_a_place_for_a_file_nothing_is_captured(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise OSError

    monkeypatch.setattr(_stderr, "TemporaryFile", fail)
    with captured_stderr() as written:
        os.write(2, b"as always")
    assert written == []
    assert capfd.readouterr().err == "as always"


def test_no_descriptor_is_left_open() -> None:
    def number() -> int:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    first = number()
    for _ in range(3):
        with captured_stderr():
            pass
    assert number() == first


def test_threads_take_turns(capfd: pytest.CaptureFixture[str]) -> None:
    found: dict[int, list[bytes]] = {}

    def work(name: int) -> None:
        for _ in range(20):
            with captured_stderr() as written:
                os.write(2, b"%d" % name)
            found.setdefault(name, []).extend(written)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [b"%d" % name] * 20 for name in range(4)}
    assert capfd.readouterr().err == ""


CLOSED = """
import os, sys
# First: a library that keeps a file open (libffi may) would take the free place.
from pyclnf._stderr import captured_stderr, write_stderr
os.close(2)
if sys.argv[1] == "file":  # takes the free place
    file = open(sys.argv[2], "rb")
    assert file.fileno() == 2
for _ in range(2):
    with captured_stderr() as written:
        os.write(2, b"heard")
    assert written == [b"heard"], written
write_stderr(b"nobody hears it")
if sys.argv[1] == "file":
    assert file.read() == b"content"
else:
    try:
        os.fstat(2)
    except OSError:
        pass
    else:
        raise AssertionError("it was closed before")
print("good")
"""


@pytest.mark.parametrize("state", ["closed", "file"])
def test_a_closed_stderr_is_captured_and_closed_again(tmp_path: Path, state: str) -> None:
    """A service may have none; what it opens next has its number."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED, state, str(path)], capture_output=True, check=False, text=True
    )
    assert ended.stdout.strip() == "good"
