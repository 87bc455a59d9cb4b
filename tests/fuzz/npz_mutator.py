"""Mutations of ``.npz`` files: of the arrays within, packed again with the right checksums.

Random changes to a zip file's bytes are nearly all found by its checksums and
get no further than the container.
"""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable

import numpy as np

Members = list[tuple[str, bytes]]
Mutate = Callable[[bytes, int], bytes]

NUMBERS = (0, 1, -1, 2, 127, 255, -128, 32767, 65535, 2**31 - 1, -(2**31), 2**62, 0.5, -0.5, 1e-300, 1e300)
NUMBERS += (1e38, -1e38, 1e-45, 31, 63, 64, 65, 1e6, float("nan"), float("inf"), -float("inf"))
DTYPES = ("<f2", "<f4", "<f8", ">f8", "|b1", "|i1", "|u1", "<i4", "<i8", "<u8", "<c16", "|O", "|S3", "<U2")
VALUES = (
    None,
    True,
    -1,
    0,
    1e308,
    "x",
    [],
    {},
    [3],
    [31],
    [0],
    [15, 15, 15, 15, 15],
    10**400,
    {"windows": 5},
)


def unpack(data: bytes) -> Members | None:
    """Return names and contents, or None if this is no zip file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > 2**20:
                return None
            return [(info.filename, archive.read(info)) for info in infos]
    except Exception:  # damaged in one of many ways
        return None


def pack(members: Members, compress: bool) -> bytes:
    """Return the zip file."""
    file = io.BytesIO()
    compression = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore", UserWarning)  # of a name that is there twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, archive.compression)
    return file.getvalue()


def mutate_npz(data: bytes, max_size: int, seed: int, mutate: Mutate) -> bytes:
    """Return the file with a change to an array, to the list of arrays, or to the bytes of the file.

    Parameters
    ----------
    data : bytes
    max_size : int
    seed : int
    mutate : callable
        Changes bytes at random, up to a size.
    """
    chance = random.Random(seed)
    members = unpack(data)
    if not members or chance.random() < 0.05:
        return mutate(data, max_size)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        _change(members, chance, mutate)
    result = pack(members, chance.random() < 0.7)
    return result if len(result) <= max_size else data


def crossed_npz(one: bytes, other: bytes, max_size: int, seed: int) -> bytes:
    """Return the first file with some of the other's arrays."""
    chance = random.Random(seed)
    members, others = unpack(one), unpack(other)
    if not members or not others:
        return one
    for name, content in chance.sample(others, min(len(others), 3)):
        members = [(own, content if own == name else old) for own, old in members]
        if name not in dict(members):
            members.append((name, content))
    result = pack(members, True)
    return result if len(result) <= max_size else one


def _change(members: Members, chance: random.Random, mutate: Mutate) -> None:
    if not members:
        return
    index = chance.randrange(len(members))
    name, content = members[index]
    action = chance.random()
    if action < 0.03:
        del members[index]
    elif action < 0.05:
        other = chance.randrange(len(members))
        members[index] = name, members[other][1]
    elif action < 0.08:
        parts = name.replace("0", chance.choice(("0", "1", "2", "31", "-1", "x", "")))
        members.append((parts, content))
    elif action < 0.15:
        members[index] = name, mutate(content, len(content) + 64)
    elif name.endswith("metadata.npy"):
        members[index] = name, _other_metadata(content, chance, mutate)
    else:
        members[index] = name, _other_array(content, chance, mutate)


def _other_metadata(content: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    try:
        text = np.lib.format.read_array(io.BytesIO(content)).tobytes()
        value = json.loads(text)
        node, keys = value, list(value)
        while keys:  # down to a random depth
            key = chance.choice(keys)
            below = node[key]
            if not isinstance(below, dict) or not below or chance.random() < 0.3:
                node[key] = chance.choice((*VALUES, *NUMBERS[:-3]))
                break
            node, keys = below, list(below)
        text = json.dumps(value).encode()
    except Exception:  # no longer an object
        text = mutate(b"{}", 200)
    return _npy(np.frombuffer(text, np.uint8))


def _other_array(content: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception:  # damaged before
        return mutate(content, len(content) + 64)
    action = chance.random()
    with np.errstate(all="ignore"):
        if array.size and array.dtype.kind in "biuf" and action < 0.55:
            array = array.copy()
            number = chance.choice(NUMBERS)
            if array.dtype.kind in "biu":
                number = int(number) if np.isfinite(number) else 0
                info = np.iinfo(array.dtype) if array.dtype.kind != "b" else None
                number = bool(number) if info is None else min(max(number, info.min), info.max)
            array.reshape(-1)[chance.randrange(array.size) if chance.random() < 0.7 else slice(None)] = number
        elif array.dtype.kind in "biuf" and action < 0.75:
            data = mutate(array.tobytes(), array.nbytes)
            array = np.resize(
                np.frombuffer(data[: len(data) // array.itemsize * array.itemsize], array.dtype), array.shape
            )
        elif action < 0.9:
            shape = list(array.shape)
            if shape and chance.random() < 0.8:
                axis = chance.randrange(len(shape))
                shape[axis] = chance.choice(
                    (0, 1, 2, 3, 5, 8, 31, 64, 65, shape[axis] + 1, max(0, shape[axis] - 1))
                )
            else:
                shape.insert(chance.randint(0, len(shape)), chance.choice((0, 1, 2)))
            if np.prod(shape, dtype=float) < 2**16:
                array = np.resize(array, shape)
        elif array.dtype.kind in "biuf":
            dtype = chance.choice(DTYPES)
            array = array.astype(object if dtype == "|O" else dtype)
    return _npy(array)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()
