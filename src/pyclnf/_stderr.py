"""What libraries in C write to the process' stderr and say nowhere else."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STDERR = 2
# The process has one stderr for all threads.
_LOCK = threading.Lock()


@contextmanager
def captured_stderr() -> Iterator[list[bytes]]:
    """Give a list that holds, when the block has ended, what was written to file descriptor 2 meanwhile.

    Other threads may have written it: what means nothing to the caller belongs to `write_stderr`. Where there
    is no place for a temporary file the list stays empty.
    """
    written: list[bytes] = []
    with _LOCK, ExitStack() as stack:
        # First: where descriptor 2 is closed, the next file that is opened may become it.
        real = _duplicate()
        if real is not None:
            stack.callback(os.close, real)
        file = _temporary_file()
        if file is None:
            yield written
            return
        stack.enter_context(file)
        try:
            # Within: an interrupt may come as soon as it is done.
            if file.fileno() != _STDERR:
                os.dup2(file.fileno(), _STDERR)
            yield written
        finally:
            if real is not None:
                os.dup2(real, _STDERR)
            elif file.fileno() != _STDERR:
                os.close(_STDERR)
            file.seek(0)
            written.append(file.read())


def write_stderr(text: bytes) -> None:
    """Write to file descriptor 2, if it can be written to."""
    with suppress(OSError):
        while text:
            text = text[os.write(_STDERR, text) :]


def _duplicate() -> int | None:
    try:
        return os.dup(_STDERR)
    except OSError:  # closed, as in services
        return None


def _temporary_file() -> IO[bytes] | None:
    try:
        return TemporaryFile(buffering=0)
    except OSError:
        return None
