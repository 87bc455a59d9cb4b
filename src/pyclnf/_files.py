"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pyclnf.errors import FormatError, PyclnfError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO


# Bytes that a name may have on most file systems: 255, less what a temporary name adds.
_LONGEST_STEM = 200

# Characters from which on paths are called missing by Windows, unless it is set up for longer ones.
_MAX_PATH = 260

# Seconds between tries to move a file on Windows, where scanners have new ones open for a moment.
_WAITS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)

# Stem and suffix of the file that a temporary one is for.
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp(|\.[^.]+)", re.DOTALL)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside *path*; it takes its place unless the block raises.

    The temporary name keeps the suffix: what writes images and videos goes by it.
    """
    if path.is_dir():  # said before the work is done that is to be written
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if sys.platform == "win32" and path.exists():
        # Likewise: no file takes the place of one that another program, such as Excel, has open.
        with _naming_the_cause(), path.open("r+b"):
            pass
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{_short_stem(path)}.{os.urandom(4).hex()}.tmp{path.suffix}")
    try:
        yield temporary
        move(temporary, path)
    except OSError as error:
        # Who reads it knows nothing of temporary names.
        if error.filename == str(temporary):
            error.filename = str(path)
            del error.filename2  # None would be written, too
            longest = max(len(str(name.absolute())) for name in (path, temporary))
            if sys.platform == "win32" and longest >= _MAX_PATH:
                error.strerror = (
                    f"{error.strerror} (too long a path for Windows? name a folder nearer to the drive)"
                )
        raise
    finally:
        # Where nothing can be written nothing can be removed either.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Put a file in the place of another, on Windows as soon as whoever has one of them open lets it go."""
    for wait in _WAITS if sys.platform == "win32" else ():
        try:
            source.replace(target)
            return
        except PermissionError:
            time.sleep(wait)
    with _naming_the_cause():
        source.replace(target)


@contextmanager
def _naming_the_cause() -> Iterator[None]:
    """Let an error say what on Windows is behind most refusals."""
    try:
        yield
    except PermissionError as error:
        if sys.platform == "win32":
            error.strerror = f"{error.strerror} (is it open in another program, or read-only?)"
        raise


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove the temporary files that killed processes left beside *paths*; folders are listed once.

    One that cannot be removed, as where another process has it open, keeps nobody from working.
    """
    names: dict[Path, set[tuple[str, str]]] = defaultdict(set)
    for path in paths:
        names[path.parent].add((_short_stem(path), path.suffix))
    for folder, own in names.items():
        for file in folder.glob(".*.tmp*"):
            found = _TEMPORARY.fullmatch(file.name)
            if found is not None and (found[1], found[2]) in own:
                with suppress(OSError):
                    file.unlink(missing_ok=True)


def _short_stem(path: Path) -> str:
    """Return the stem, or what stands for one that is too long to be added to."""
    encoded = os.fsencode(path.stem)
    if len(encoded) <= _LONGEST_STEM:
        return path.stem
    return f"{path.stem[:40]}{hashlib.sha256(encoded).hexdigest()[:16]}"


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder, as systems keep for themselves, is left out unless it is named."""
    if path.name.startswith("."):
        return True
    if sys.platform != "win32":
        return False
    try:
        return bool(getattr(path.lstat(), "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN)
    except OSError:  # taken away meanwhile
        return False


def written_at(path: str | Path) -> int | None:
    """Return when a file was written, ns, or None: there is none, or it cannot be looked at.

    Unlike `Path.is_file`, which raises where a name is too long or a folder locked.
    """
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else None


def files_in(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the files in a folder and its sub-folders, the folders that cannot be read, links to folders.

    All are sorted. Links are not followed: they may lead back. What is hidden, or in a hidden folder, is left
    out.
    """
    found, unread, linked = [], [], []
    for place, folders, names in os.walk(folder, onerror=lambda error: unread.append(Path(error.filename))):
        folders[:] = [name for name in folders if not is_hidden(Path(place, name))]
        linked += [path for name in folders if (path := Path(place, name)).is_symlink()]
        found += [Path(place, name) for name in names]
    return sorted(path for path in found if not is_hidden(path)), sorted(unread), sorted(linked)


def meant(pattern: str, files: Iterable[Path]) -> list[Path]:
    """Return what a pattern means of the files that match it: hidden ones if it has their dot, as shells."""
    if Path(pattern).name.startswith("."):
        return list(files)
    return [file for file in files if not is_hidden(file)]


def is_openable(path: Path) -> bool:
    """Return whether OpenCV opens a file by its name, if it is no video.

    On Windows it opens files whose path the system's old encoding has, but is given UTF-8.
    """
    return str(path).isascii() if sys.platform == "win32" else is_utf8(path)


def as_file(path: Path) -> str:
    """Return a path as FFmpeg takes it for one: of ``P1:smile.mp4`` it takes ``P1`` for a protocol."""
    return os.path.join(".", path)  # noqa: PTH118


def is_utf8(path: Path) -> bool:
    """Return whether a path is UTF-8, as OpenCV needs it: others end the process."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_regular(path: Path, kind: type[PyclnfError] = FormatError) -> None:
    """Refuse what is there and no regular file: a pipe would be waited for, a device read for ever."""
    if path.exists() and not path.is_file():
        raise kind(f"{path}: cannot be read: it is no regular file")


def head(path: Path, size: int) -> bytes:
    """Return the first bytes of a regular file, none of what cannot be read."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            return file.read(size)
    except (OSError, ValueError, FormatError):  # a name with a NUL is a ValueError
        return b""


@contextmanager
def reading(path: Path, limit: int, encoding: str) -> Iterator[IO[str]]:
    """Give the text of a regular file of at most *limit* bytes, its line ends as they are.

    Raises
    ------
    FormatError
        If it cannot be read, is no text or is larger.
    """
    try:
        check_regular(path)
        size = path.stat().st_size
        if size > limit:
            raise FormatError(f"{path}: {size} bytes, at most {limit} are read: cut it into several files")
        with path.open(encoding=encoding, newline="") as file:
            yield file
    except FormatError:
        raise
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: cannot be read: it is no text file: {error}") from error
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise FormatError(f"{path}: cannot be read: {error}") from error


def read_text(path: Path, limit: int, encoding: str) -> str:
    """Return the text of a file; see `reading`."""
    with reading(path, limit, encoding) as file:
        return file.read()
