"""Measures of a face in mm: openings, heights and widths, from what a CSV says of each row.

They are taken in the fitted shape, whatever the head's turn, its distance and the camera. Heights are
along the head's own vertical axis: landmarks on lids that meet lie beside each other, a millimetre apart.
*Right* and *left* are the face's own.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from pyclnf._files import replacing
from pyclnf.errors import FormatError
from pyclnf.formats import read_csv
from pyclnf.pdm import euler_to_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyclnf.formats import Table

    Float = NDArray[np.float64]

__all__ = ["HEIGHTS", "MEASURES", "SIDES", "is_measures", "measures", "seen_from_the_side", "write_measures"]

# Heights from the middle of some landmarks down to that of others, of the right side and of the left one.
HEIGHTS = {
    "lid_opening": (((37, 38), (40, 41)), ((43, 44), (46, 47))),
    "brow_height": ((range(17, 22), (36, 39)), (range(22, 27), (42, 45))),
    "mouth_corner": (((36, 39), (48,)), ((42, 45), (54,))),
}
SIDES = ("right", "left")
# With which a table of measures begins.
_FIRST = b"source,"
MEASURES = ("mouth_width", *(f"{name}_{side}" for name in HEIGHTS for side in SIDES))


def measures(table: Table) -> dict[str, Float]:
    """Return measures of the faces of a table, mm; NaN where a row has no success.

    Parameters
    ----------
    table : Table
        Of faces with 68 landmarks, see `formats.read_csv`.

    Returns
    -------
    dict of str to ndarray, shape (rows,), float64
        By the names in `MEASURES`: the distance of the mouth's corners; for each side the height from the
        lower lid's points to the upper one's, from the eye's corners to the brow's points, and from the
        mouth's corner to the eye's corners, which grows as the mouth's corner droops.

    Raises
    ------
    FormatError
        If the faces have another number of landmarks, or the table has no 3D landmarks or pose.
    """
    points = table.landmarks_3d
    if points.shape[1] != 68:
        raise FormatError(f"{table.path}: the measures are defined for 68 landmarks, not {points.shape[1]}")
    down = _rotations(table)[:, :, 1]
    found = {"mouth_width": np.linalg.norm(points[:, 48] - points[:, 54], axis=1)}
    for name, sides in HEIGHTS.items():
        for side, (upper, lower) in zip(SIDES, sides, strict=True):
            between = points[:, lower].mean(axis=1) - points[:, upper].mean(axis=1)
            found[f"{name}_{side}"] = (between * down).sum(axis=1)
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
    ahead = np.einsum("nji,nj->ni", _rotations(table), table.pose[:, :3])
    return np.asarray(np.degrees(np.abs(np.arctan2(ahead[:, 0], ahead[:, 2]))))


def write_measures(path: Path, sources: Sequence[Path]) -> None:
    """Write the measures of all faces of some CSVs as one table, a CSV with a row for each of theirs.

    Its columns are ``source`` (the CSV, without its suffix), ``frame``, ``face_id`` and ``timestamp`` of
    videos or ``face`` of photographs, ``confidence``, ``success`` (0 or 1), ``from_side`` (degrees, see
    `seen_from_the_side`) and `MEASURES` (mm). Values of rows without success are left empty.

    Parameters
    ----------
    path : Path
    sources : sequence of Path
        CSVs, all of videos or all of photographs.

    Raises
    ------
    FormatError
        If a CSV is none, some are of videos and some of photographs, or the path is that of another file.
    """
    if path.exists() and not is_measures(path):
        raise FormatError(f"{path} is there, and no table of measures: give them another name")
    first: tuple[str, ...] | None = None
    with (
        replacing(path) as temporary,
        # Names that are not UTF-8 are escaped.
        temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        for source in sources:
            table = read_csv(source)
            own = _first_columns(table)
            if first is None:
                writer.writerow(["source", *own, "confidence", "success", "from_side", *MEASURES])
                first = own
            if own != first:
                raise FormatError(f"{source}: videos and photographs have tables of their own")
            writer.writerows(_rows(source, table, own))


def is_measures(path: Path) -> bool:
    """Return whether a file is one of `write_measures`, by its first column."""
    try:
        with path.open("rb") as file:
            return file.read(len(_FIRST)) == _FIRST
    except OSError:
        return False


def _first_columns(table: Table) -> tuple[str, ...]:
    names = ("frame", "face_id", "timestamp") if table.layout == "video" else ("face",)
    return tuple(name for name in names if name in table.columns)


def _rows(source: Path, table: Table, first: Sequence[str]) -> Iterable[list[str]]:
    """Return the rows of one table as they are written."""
    numbers = [seen_from_the_side(table), *measures(table).values()]
    for row, success in enumerate(table.success):
        values = [f"{column[row]:.2f}" if success else "" for column in numbers]
        names = [f"{table[name][row]:.10g}" for name in (*first, "confidence")]
        yield [source.with_suffix("").as_posix(), *names, str(int(success)), *values]


def _rotations(table: Table) -> Float:
    return np.array([euler_to_matrix(turn) for turn in table.pose[:, 3:]]).reshape(-1, 3, 3)
