"""Measures of a face in mm: openings, heights and widths, from what a CSV says of each row.

They are taken in the fitted shape, whatever the head's turn, its distance and the camera. Heights are
along the head's own vertical axis: landmarks on lids that meet lie beside each other, a millimetre apart.
*Right* and *left* are the face's own.
"""

from __future__ import annotations

import csv
import math
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf._files import head, replacing
from pyclnf.errors import FormatError
from pyclnf.formats import read_csv

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pyclnf.formats import Layout, Table

    Float = NDArray[np.float64]

__all__ = [
    "DISTANCES",
    "HEIGHTS",
    "MEASURES",
    "SIDES",
    "is_measures",
    "measures",
    "seen_from_the_side",
    "write_measures",
]

# Heights from the middle of some landmarks down to that of others, of the right side and of the left one.
HEIGHTS = {
    "lid_opening": (((37, 38), (40, 41)), ((43, 44), (46, 47))),
    "brow_height": ((range(17, 22), (36, 39)), (range(22, 27), (42, 45))),
    "mouth_corner": (((36, 39), (48,)), ((42, 45), (54,))),
}
SIDES = ("right", "left")
# Distances of two landmarks; by that of the outer eye corners people are compared.
DISTANCES = {"outer_canthal_distance": (36, 45), "mouth_width": (48, 54)}
MEASURES = (*DISTANCES, *(f"{name}_{side}" for name in HEIGHTS for side in SIDES))
# What tells the rows of one CSV from each other.
_OWN = {"video": ("frame", "face_id", "timestamp"), "image": ("face",)}
# The first line of a table is shorter, in bytes.
_LONGEST_LINE = 4096


def measures(table: Table) -> dict[str, Float]:
    """Return measures of the faces of a table, mm; NaN where a row has no success.

    Parameters
    ----------
    table : Table
        Of faces with 68 landmarks, see `formats.read_csv`.

    Returns
    -------
    dict of str to ndarray, shape (rows,), float64
        By the names in `MEASURES`: the distance of the outer eye corners, to divide the others by where
        people are compared, and that of the mouth's corners; for each side the height from the lower lid's
        points to the upper one's, from the eye's corners to the brow's points, and from the mouth's corner
        to the eye's corners, which grows as the mouth's corner droops.

    Raises
    ------
    FormatError
        If the faces have another number of landmarks, or the table has no 3D landmarks or pose.
    """
    if (count := table.n_points("X")) != 68:
        raise FormatError(f"{table.path}: the measures are defined for 68 landmarks, not {count}")

    # One by one: all points of an hour's video would take as much room as half its table.
    def point(landmark: int) -> Float:
        return np.stack([table[f"{axis}_{landmark}"] for axis in "XYZ"], axis=1)

    def middle(landmarks: Sequence[int]) -> Float:
        return np.asarray(np.mean([point(landmark) for landmark in landmarks], axis=0))

    down = table.rotations[:, :, 1]
    found = {
        name: np.linalg.norm(point(one) - point(other), axis=1) for name, (one, other) in DISTANCES.items()
    }
    for name, sides in HEIGHTS.items():
        for side, (upper, lower) in zip(SIDES, sides, strict=True):
            found[f"{name}_{side}"] = ((middle(lower) - middle(upper)) * down).sum(axis=1)
    return {name: np.where(table.success, values, np.nan) for name, values in found.items()}


def seen_from_the_side(table: Table) -> Float:
    """Return how far from its front the camera sees each face: the yaw, wherever the head is.

    Parameters
    ----------
    table : Table

    Returns
    -------
    ndarray, shape (rows,), float64
        Degrees, from 0 on. Of a head beside the picture's middle it is not ``pose_Ry``.
    """
    ahead = np.einsum("nji,nj->ni", table.rotations, table.pose[:, :3])
    return np.asarray(np.degrees(np.abs(np.arctan2(ahead[:, 0], ahead[:, 2]))))


def write_measures(path: str | Path, sources: Sequence[str | Path]) -> None:
    """Write the measures of all faces of some CSVs as one table, a CSV with a row for each of theirs.

    Its columns are ``source`` (the CSV, without its suffix), ``frame``, ``face_id`` and ``timestamp`` of
    videos or ``face`` of photographs, ``confidence``, ``success`` (0 or 1), ``from_side`` (degrees, see
    `seen_from_the_side`) and `MEASURES` (mm). Values of rows without success, and what a CSV does not say,
    are left empty.

    Parameters
    ----------
    path : str or Path
    sources : sequence of str or Path
        CSVs, one at least, all of videos or all of photographs.

    Raises
    ------
    FormatError
        If there is no CSV or one is none, some are of videos and some of photographs, or the path is that of
        another file.
    """
    csvs = [] if isinstance(sources, str | Path) else [Path(source) for source in sources]
    if not csvs:
        raise FormatError(f"a table of measures is made of CSVs, ['a.csv'] for one, not of {sources!r}")
    path = Path(path)
    if path.exists() and not is_measures(path):
        raise FormatError(f"{path} is there, and no table of measures: give them another name")
    layout: Layout | None = None
    with (
        replacing(path) as temporary,
        # Names that are not UTF-8 are escaped.
        temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        for source in csvs:
            table = read_csv(source)
            if layout is None:
                layout = table.layout
                writer.writerow(["source", *_OWN[layout], "confidence", "success", "from_side", *MEASURES])
            if table.layout != layout:
                raise FormatError(
                    f"{source}: videos and photographs have tables of their own: name the CSVs of one kind"
                )
            writer.writerows(_rows(source, table))


def is_measures(path: Path) -> bool:
    """Return whether a file is one of `write_measures`, by its first line, or one that was made of it.

    Excel may separate its columns by semicolons, and begin it with a byte order mark.
    """
    line = head(path, _LONGEST_LINE).partition(b"\n")[0]
    return all(name.encode() in line for name in ("source", *MEASURES))


def _rows(source: Path, table: Table) -> Iterator[tuple[str, ...]]:
    """Yield the rows of one table as they are written."""
    unknown = np.full(len(table), np.nan)
    numbers = [table.columns.get(name, unknown) for name in (*_OWN[table.layout], "confidence")]
    lengths = [np.where(table.success, seen_from_the_side(table), np.nan), *measures(table).values()]
    return zip(
        repeat(source.with_suffix("").as_posix(), len(table)),
        *(_texts(column, ".10g") for column in (*numbers, table.success)),
        *(_texts(column, "z.2f") for column in lengths),
        strict=True,
    )


def _texts(values: NDArray[Any], form: str) -> Iterator[str]:
    return (format(value, form) if math.isfinite(value) else "" for value in values.tolist())
