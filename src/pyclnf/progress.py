"""How far a batch is: a bar on a terminal, plain lines elsewhere, and a summary."""

from __future__ import annotations

import io
import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pyclnf.batch import Outcome

# Seconds between two updates of the bar.
INTERVAL = 0.1
BAR_WIDTH = 24


class Progress:
    """Reports on a batch of files.

    Parameters
    ----------
    total : int
        Number of files.
    stream : file
        Where to write. On a terminal there is one line that is rewritten
        (failures stand above it), elsewhere one line a file.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        # An application without a console has no stdout: what it would say is lost.
        self.stream = stream or sys.stdout or io.StringIO()
        self.is_terminal = self.stream.isatty()
        self.outcomes: list[Outcome] = []
        self._started = time.monotonic()
        self._drawn = 0.0
        self._width = 0  # of what stands in the line, characters

    def file_done(self, outcome: Outcome) -> None:
        """Take note of a file."""
        self.outcomes.append(outcome)
        if not self.is_terminal:
            print(f"[{len(self.outcomes)}/{self.total}] {outcome}", file=self.stream, flush=True)
            return
        if outcome.failure or outcome.note:
            self._clear()
            print(outcome, file=self.stream)
        self._draw(len(self.outcomes), self.total, "files", force=len(self.outcomes) == self.total)

    def frame_done(self, done: int, total: int | None) -> None:
        """Show how far the only running file, a video, is."""
        if self.is_terminal:
            self._draw(done, total, "frames")

    def close(self) -> None:
        """End the bar and write the summary."""
        if self.is_terminal:
            self._clear()
        seconds = time.monotonic() - self._started
        failed = [outcome for outcome in self.outcomes if outcome.failure]
        skipped = sum(outcome.skipped for outcome in self.outcomes)
        parts = [f"{len(self.outcomes) - len(failed) - skipped} done"]
        parts += [f"{skipped} skipped, already done"] if skipped else []
        parts += [f"{len(failed)} failed"] if failed else []
        missing = self.total - len(self.outcomes)
        parts += [f"{missing} not reached"] if missing else []
        faces = sum(outcome.faces for outcome in self.outcomes)
        frames = sum(outcome.frames for outcome in self.outcomes)
        found = (
            f"{counted(faces, 'face')} in {counted(frames, 'frame')}" if frames else counted(faces, "face")
        )
        empty = sum(not (outcome.faces or outcome.failure or outcome.skipped) for outcome in self.outcomes)
        found += f", {counted(empty, 'file')} without one" if empty else ""
        print(
            f"{counted(self.total, 'file')}: {', '.join(parts)}; {found}; {_clock(seconds)}", file=self.stream
        )
        for outcome in failed:
            print(f"  failed: {outcome.source}: {outcome.failure}", file=self.stream)
        self.stream.flush()

    def _clear(self) -> None:
        # Not by an escape sequence, which consoles of Windows print.
        self.stream.write("\r" + " " * self._width + "\r")
        self._width = 0

    def _draw(self, done: int, total: int | None, unit: str, *, force: bool = False) -> None:
        now = time.monotonic()
        if now - self._drawn < INTERVAL and not force:
            return
        self._drawn = now
        rate = done / max(now - self._started, 1e-6)
        if total:
            filled = BAR_WIDTH * min(done, total) // total
            left = _clock((total - done) / rate) if rate and done < total else _clock(0)
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            text = f"[{bar}] {done}/{total} {unit}, {rate:.1f}/s, {left} left"
        else:
            text = f"{done} {unit}, {rate:.1f}/s"
        text = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write("\r" + text.ljust(self._width))
        self._width = len(text)
        self.stream.flush()


def counted(number: int, noun: str) -> str:
    """Return a number of things, of one or of several."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _clock(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
