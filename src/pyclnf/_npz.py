"""Reading of untrusted ``.npz`` files, array by array.

`numpy.load` would do for files that are what they should be. Here nothing is
allocated before a header was checked against the size of its zip member, no
object is unpickled, and every error is a `ModelError` with the file and key.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from pyclnf._limits import MAX_ARRAYS, MAX_DIRECTORY_BYTES, MAX_MODEL_BYTES, MAX_TEXT_BYTES
from pyclnf.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

T = TypeVar("T")

_LOCAL_HEADER = struct.Struct("<4s22xHH")
# The record at the end of a zip file, and what stands before it in one of the 64-bit kind.
_END_OF_DIRECTORY = struct.Struct("<4s8xI6x")
_LOCATOR_64 = 20  # bytes


class Archive:
    """The arrays of an ``.npz`` file, read one at a time.

    The file is opened for each array anew: nothing is shared between threads
    or forked processes, and no file stays open.

    Parameters
    ----------
    source : Path or bytes
        The file, or its content.

    Raises
    ------
    ModelError
        If the file is missing, no zip file, or breaks a bound.
    """

    def __init__(self, source: Path | bytes) -> None:
        self.source = source
        self.name = str(source) if isinstance(source, Path) else "the pickled model"
        self._stamp: tuple[int, ...] | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}
        if isinstance(source, Path):
            self._check_file(source)
        with self._open() as file:
            self._read_directory(file)

    def _check_file(self, path: Path) -> None:
        try:
            if not path.is_file():
                raise ModelError(f"{self.name}: no such file")
            if path.stat().st_size > MAX_MODEL_BYTES:
                raise ModelError(
                    f"{self.name}: larger than {MAX_MODEL_BYTES} bytes: save the model with "
                    "dtype='float16' or fewer views"
                )
        except OSError as error:
            raise ModelError(f"{self.name}: cannot be read: {error}") from error

    def _open(self) -> BinaryIO:
        if isinstance(self.source, bytes):
            return io.BytesIO(self.source)
        try:
            file = self.source.open("rb")
        except OSError as error:
            raise ModelError(f"{self.name}: cannot be read: {error}") from error
        stamp = _stamp(file)
        if self._stamp not in (None, stamp):
            file.close()
            raise ModelError(f"{self.name}: the file has changed since the model was opened: load it again")
        self._stamp = stamp
        return file

    def _read_directory(self, file: BinaryIO) -> None:
        try:
            size = file.seek(0, io.SEEK_END)
            # zipfile reads the whole directory, of any size: it is looked at before.
            last = min(size, _END_OF_DIRECTORY.size + _LOCATOR_64)
            file.seek(-last, io.SEEK_END)
            end = file.read(last)
            self._check_end(end[: -_END_OF_DIRECTORY.size], end[-_END_OF_DIRECTORY.size :])
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except ModelError:
            raise
        except Exception as error:  # zipfile raises half a dozen types for damaged directories
            raise ModelError(f"{self.name}: not an .npz file: {error}") from error
        if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > MAX_MODEL_BYTES:
            raise ModelError(f"{self.name}: holds more than {MAX_ARRAYS} arrays or {MAX_MODEL_BYTES} bytes")
        for member in members:
            key = member.filename.removesuffix(".npy")
            if key in self._members or key == member.filename:
                raise ModelError(f"{self.name}: {member.filename!r} is no array or there twice")
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self.error(key, "encrypted, or compressed by a method other than deflate")
            if member.header_offset + member.compress_size > size:
                raise self.error(key, f"reaches beyond the end of the file at byte {size}")
            self._members[key] = member

    def _check_end(self, before: bytes, end: bytes) -> None:
        magic, directory = _END_OF_DIRECTORY.unpack(end)
        if magic != b"PK\5\6":
            raise ModelError(f"{self.name}: not an .npz file, cut off, or it goes on after its end")
        if directory > MAX_DIRECTORY_BYTES or before.startswith(b"PK\6\7"):
            raise ModelError(
                f"{self.name}: the zip file's directory has more than {MAX_DIRECTORY_BYTES} bytes, or is "
                "of the 64-bit kind: this is no model that pyclnf saved"
            )

    def error(self, key: str, message: str) -> ModelError:
        """Return the error to raise for an array."""
        return ModelError(f"{self.name}, {key!r}: {message}")

    def checked(self, make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call *make*, with the file named in its `ModelError`."""
        try:
            return make(*args, **kwargs)
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def under(self, prefix: str) -> list[str]:
        """Return what follows *prefix* in the keys that begin with it."""
        return [key.removeprefix(prefix) for key in self._members if key.startswith(prefix)]

    def count(self, prefix: str) -> int:
        """Return the number k of groups PREFIX0/ to PREFIX(k-1)/."""
        names = {key.partition("/")[0] for key in self.under(prefix)}
        if names != {str(i) for i in range(len(names))}:
            raise self.error(prefix, f"is not numbered from 0 on without a gap: {sorted(names)[:8]}")
        return len(names)

    def text(self, key: str) -> str:
        """Return a text."""
        array = self._load(key, MAX_TEXT_BYTES, kinds="U")
        if array.shape:
            raise self.error(key, f"{array.dtype} of shape {array.shape}, not a text")
        try:
            # Not str(array[()]): NumPy ends in a SystemError for a number that is no character.
            return array.astype(array.dtype.newbyteorder("<")).tobytes().decode("utf-32-le").rstrip("\0")
        except UnicodeDecodeError as error:
            raise self.error(key, f"not a text: {error}") from error

    def json(self, key: str) -> dict[str, Any]:
        """Return the JSON object in an array of bytes."""
        data = self.array(key, np.uint8, (None,)).tobytes()
        try:
            if len(data) > MAX_TEXT_BYTES:
                raise ValueError(f"longer than {MAX_TEXT_BYTES} bytes")
            value = json.loads(data.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise self.error(key, f"not JSON: {error}") from error
        if not isinstance(value, dict):
            raise self.error(key, "not a JSON object")
        return value

    def array(self, key: str, dtype: DTypeLike, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Return an array of a shape, in which `None` stands for any length, converted to *dtype*."""
        array = self._load(key, MAX_MODEL_BYTES)
        fits = len(array.shape) == len(shape) and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if want is None else str(want) for want in shape)
            raise self.error(key, f"has shape {array.shape}, not ({wanted})")
        if not np.can_cast(array.dtype, dtype, "safe"):
            raise self.error(key, f"is {array.dtype}, which does not fit into {np.dtype(dtype)}")
        return np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)

    def _load(self, key: str, limit: int, kinds: str = "biuf") -> NDArray[Any]:
        data = self._read(key, limit)
        file = io.BytesIO(data)
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read_header(file)
        except Exception as error:  # the header is Python source: what its parsers raise is open-ended
            raise self.error(key, f"the header is damaged: {error}") from error
        left = len(data) - file.tell()
        if dtype.kind not in kinds or dtype.subdtype is not None:
            raise self.error(key, f"{dtype} is not what this array may hold")
        if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != left:
            raise self.error(key, f"{dtype} of shape {shape}, but {left} bytes")
        try:
            array = np.frombuffer(data, dtype, offset=file.tell()) if left else np.empty(0, dtype)
            array = array.reshape(shape, order="F" if fortran else "C")
        except ValueError as error:
            raise self.error(key, f"shape {shape}: {error}") from error
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise self.error(key, "holds values that are not finite")
        return array

    def _read(self, key: str, limit: int) -> bytes:
        """Return the content of a member."""
        member = self._members.get(key)
        if member is None:
            raise self.error(key, "is missing")
        if member.file_size > limit:
            raise self.error(key, f"{member.file_size} bytes, more than {limit}")
        try:
            with self._open() as file:
                file.seek(member.header_offset)
                magic, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
                file.seek(name_length + extra_length, io.SEEK_CUR)
                data = file.read(member.compress_size)
            if member.compress_type == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.file_size + 1)
        except (OSError, ValueError, struct.error, zlib.error) as error:
            raise self.error(key, f"cannot be read: {error}") from error
        if magic != b"PK\3\4" or len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise self.error(key, "damaged: its length or checksum is wrong")
        return data


class LazyArrays(Mapping[str, "NDArray[Any]"]):
    """The arrays of a file below a prefix, read at each access."""

    def __init__(self, archive: Archive, prefix: str) -> None:
        self._archive, self._prefix = archive, prefix
        self._names = archive.under(prefix)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._archive._load(self._prefix + name, MAX_MODEL_BYTES)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _stamp(file: BinaryIO) -> tuple[int, ...]:
    """Return what tells a file from another that has taken its place."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")
