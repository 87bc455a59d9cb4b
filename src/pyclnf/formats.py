"""Files of landmarks: OpenFace's CSV, ``.pts``, Parquet; pandas and supervision.

The CSV is OpenFace 2's, without the columns of what is not computed here (gaze,
eye landmarks, action units). Videos have the columns

    frame, face_id, timestamp, confidence, success, pose_Tx, pose_Ty, pose_Tz, pose_Rx, pose_Ry,
    pose_Rz, x_0 .., y_0 .., X_0 .., Y_0 .., Z_0 .., p_scale, p_rx, p_ry, p_rz, p_tx, p_ty, p_0 ..

and one row or more a frame, failed or not; frames count from 1. Photographs
have ``face, confidence`` in place of the first five and one row a face.
Landmarks are 0-based pixels (x, y) and mm before the camera (X, Y, Z), angles
radians, translations mm. What a failed frame lacks is 0 in the CSV, as in
OpenFace's, and missing (NaN) everywhere else. Where the model is not
calibrated to tell a confidence, the CSV's is 1 for success and 0 for failure.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from pyclnf._files import check_regular, head, read_text, reading, replacing
from pyclnf._limits import MAX_CSV_BYTES, MAX_PTS_BYTES, MAX_TABLE_BYTES
from pyclnf.errors import FormatError
from pyclnf.pdm import euler_to_matrix
from pyclnf.progress import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import IO, Self

    from numpy.typing import ArrayLike, NDArray

    from pyclnf.face import Face

    Float = NDArray[np.float64]
    Layout = Literal["image", "video"]

__all__ = [
    "CSVWriter",
    "ParquetWriter",
    "Table",
    "read_csv",
    "read_parquet",
    "read_pts",
    "to_dataframe",
    "to_keypoints",
    "write_csv",
    "write_parquet",
    "write_pts",
]

POSE = ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")
PARAMETERS = ("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty")
BOX = ("box_x", "box_y", "box_w", "box_h")
# Landmarks and modes of OpenFace's models: the columns of a file without a face.
OPENFACE_SIZES = (68, 34)
# Rows that a Parquet file is written in groups of.
ROW_GROUP = 1024
# Lines of a CSV that are made numbers together.
READ_AT_ONCE = 1024


# Of a Parquet file's metadata.
_LAYOUT = b"layout"

# Names and formats of the columns that come first.
_FIRST: dict[Layout, list[tuple[str, str]]] = {
    "video": [
        ("frame", "%d"),
        ("face_id", "%d"),
        ("timestamp", "%.3f"),
        ("confidence", "%.2f"),
        ("success", "%d"),
    ],
    "image": [("face", "%d"), ("confidence", "%.3f")],
}


def csv_columns(n_landmarks: int, n_modes: int, layout: Layout) -> tuple[list[str], list[str]]:
    """Return the names of the CSV's columns and the formats of their values."""
    _check_layout(layout)
    rest = [(name, "%.1f") for name in POSE[:3]] + [(name, "%.3f") for name in POSE[3:]]
    rest += [(f"{axis}_{i}", "%.1f") for axis in "xyXYZ" for i in range(n_landmarks)]
    rest += [(name, "%.3f") for name in PARAMETERS] + [(f"p_{i}", "%.3f") for i in range(n_modes)]
    names, formats = zip(*_FIRST[layout], *rest, strict=True)
    return list(names), list(formats)


def _check_layout(layout: str) -> None:
    if layout not in _FIRST:
        raise FormatError(f"a layout is 'video' or 'image', not {layout!r}")


def _missing(requirement: str, error: ImportError) -> FormatError:
    """Return the error of a package that cannot be imported: there is none, or others do not suit it."""
    name = requirement.partition(">")[0]
    why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
    return FormatError(f'{name} {why}: pip install "{requirement}"')


class Writer(Protocol):
    """Takes faces one by one; the file appears when the block ends without an error."""

    def write(self, face: Face) -> None:
        """Add a row."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class CSVWriter:
    """Writes OpenFace's CSV row by row, in constant memory.

    A context manager. The file has a temporary name until the block ends;
    if it ends with an exception nothing is left.

    Parameters
    ----------
    path : str or Path
    n_landmarks, n_modes : int
        Of the model's PDM.
    layout : {"video", "image"}
        Which columns come first.
    """

    def __init__(self, path: str | Path, n_landmarks: int, n_modes: int, layout: Layout = "video") -> None:
        self.path, self.layout = Path(path), layout
        names, formats = csv_columns(n_landmarks, n_modes, layout)
        self._header, self._format = ", ".join(names) + "\n", ", ".join(formats) + "\n"
        self._shape = n_landmarks, n_modes
        self._stack = ExitStack()
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._file = stack.enter_context(temporary.open("x", encoding="ascii", newline=""))
            self._file.write(self._header)
            self._stack = stack.pop_all()
        return self

    def write(self, face: Face) -> None:
        """Add a row.

        Raises
        ------
        FormatError
            If the face has other numbers of landmarks or modes than the file.
        """
        assert self._file is not None, "write within the with block"
        face_id, confidence = max(face.face_id, 0), _confidence(face)
        # Photographs have no column that says which fits failed: the confidence of those alone is 0.
        first: tuple[float, ...] = (face_id, max(confidence, 0.001) if face.success else 0.0)
        if self.layout == "video":
            first = (face.frame + 1, face_id, face.timestamp, confidence, face.success)
        values = np.concatenate([first, *(values for _, values in _groups(face, *self._shape))])
        self._file.write(self._format % tuple(np.where(np.isfinite(values), values, 0.0)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A disk that is found full when the file is closed is an error as any within the block.
        self._stack.__exit__(kind, error, trace)


def _check_size(face: Face, n: int, m: int) -> None:
    if face.landmarks.shape != (n, 2) or face.params.shape.shape != (m,):
        raise FormatError(
            f"a face of {len(face.landmarks)} landmarks and {len(face.params.shape)} modes "
            f"does not belong in a file for {n} and {m}"
        )


def _groups(face: Face, n: int, m: int) -> list[tuple[list[str], NDArray[Any]]]:
    """Return the columns that all files have, and their values.

    Raises
    ------
    FormatError
        If the face has other numbers of landmarks or modes than n and m.
    """
    _check_size(face, n, m)
    groups: list[tuple[list[str], NDArray[Any]]] = [(list(POSE), face.pose)]
    groups += [([f"{axis}_{i}" for i in range(n)], face.landmarks[:, k]) for k, axis in enumerate("xy")]
    groups += [([f"{axis}_{i}" for i in range(n)], face.landmarks_3d[:, k]) for k, axis in enumerate("XYZ")]
    return [*groups, (list(PARAMETERS), face.params.pose), ([f"p_{i}" for i in range(m)], face.params.shape)]


def _confidence(face: Face) -> float:
    """Return the confidence, or the success where the model is not calibrated to tell one."""
    return float(face.success) if face.confidence is None else face.confidence


def write_csv(
    path: str | Path,
    faces: Iterable[Face],
    *,
    n_landmarks: int | None = None,
    n_modes: int | None = None,
    layout: Layout = "video",
) -> None:
    """Write OpenFace's CSV.

    Parameters
    ----------
    path : str or Path
    faces : iterable of Face
        Taken one by one: ``write_csv("out.csv", clnf.track("video.mp4"))`` needs constant memory.
    n_landmarks, n_modes : int, optional
        Of the model's PDM. Default: those of the first face, or OpenFace's 68 and 34 where there is none.
    layout : {"video", "image"}

    Raises
    ------
    FormatError
        If a face has other numbers of landmarks or modes, or the layout is another.
    """
    rows, n, m = _sized(faces, n_landmarks, n_modes)
    with CSVWriter(path, n, m, layout) as writer:
        for face in rows:
            writer.write(face)


def _sized(
    faces: Iterable[Face], n_landmarks: int | None, n_modes: int | None
) -> tuple[Iterable[Face], int, int]:
    """Return the faces with the numbers of landmarks and modes of their file."""
    rows = iter(faces)
    first = next(rows, None)
    if first is None:
        sizes = OPENFACE_SIZES
    else:
        sizes = len(first.landmarks), len(first.params.shape)
        rows = chain([first], rows)
    return (
        rows,
        sizes[0] if n_landmarks is None else n_landmarks,
        sizes[1] if n_modes is None else n_modes,
    )


@dataclass(frozen=True, eq=False)
class Table:
    """What a CSV or Parquet file holds, by column.

    Attributes
    ----------
    path : Path
    columns : dict of str to ndarray, shape (rows,), float64
        By name, in the file's order.
    """

    path: Path
    columns: dict[str, Float] = field(repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> Float:
        try:
            return self.columns[name]
        except KeyError:
            raise FormatError(f"{self.path}: there is no column {name!r}") from None

    @property
    def layout(self) -> Layout:
        """``"video"`` if the rows have timestamps, as those of Parquet files always do, else ``"image"``."""
        return "video" if "timestamp" in self.columns else "image"

    @property
    def landmarks(self) -> Float:
        """Landmarks, (rows, n, 2), px."""
        return self._points("xy")

    @property
    def landmarks_3d(self) -> Float:
        """Landmarks before the camera, (rows, n, 3), mm."""
        return self._points("XYZ")

    @property
    def pose(self) -> Float:
        """Head pose, (rows, 6): mm and radians."""
        return np.stack([self[name] for name in POSE], axis=1)

    @cached_property
    def rotations(self) -> Float:
        """Rotations of the heads before the camera, (rows, 3, 3)."""
        return np.array([euler_to_matrix(turn) for turn in self.pose[:, 3:]]).reshape(-1, 3, 3)

    @property
    def success(self) -> NDArray[np.bool_]:
        """Which rows can be used, (rows,). Of photographs those with a confidence: of failed fits it is 0."""
        column = self.columns.get("success")
        return (self["confidence"] > 0) if column is None else column == 1

    def rows(self, which: NDArray[Any]) -> Table:
        """Return the table of some rows: their numbers, or a bool for each row."""
        return Table(self.path, {name: values[which] for name, values in self.columns.items()})

    def n_points(self, axis: str) -> int:
        """Return how many landmarks there are along an axis, one of x, y, X, Y and Z.

        Raises
        ------
        FormatError
            If there are none.
        """
        n = sum(name.startswith(f"{axis}_") and name[2:].isdecimal() for name in self.columns)
        if not n:
            raise FormatError(f"{self.path}: there are no columns {axis}_0, {axis}_1 ...")
        return n

    def _points(self, axes: str) -> Float:
        n = self.n_points(axes[0])
        return np.stack([np.stack([self[f"{axis}_{i}"] for i in range(n)], axis=1) for axis in axes], axis=-1)


def read_csv(path: str | Path) -> Table:
    """Read OpenFace's CSV, ours or its own with any columns.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Table

    Raises
    ------
    FormatError
        If the file is missing, or no such CSV: the message names the line.
    """
    path = Path(path)
    with reading(path, MAX_CSV_BYTES, "utf-8-sig") as file:
        names = [name.strip() for name in file.readline().split(",")]
        if "confidence" not in names:
            raise FormatError(f"{path}: not a CSV of OpenFace: its first line names no column 'confidence'")
        if len(set(names)) != len(names):
            raise FormatError(f"{path}: the first line names a column twice")
        # Before anything is allocated: a file of empty lines must not make a table of millions of values.
        count = 0
        for line in file:
            values = line.count(",") + 1 if line.strip() else 0
            if values != len(names):
                sizes = f"{counted(values, 'value')} for {counted(len(names), 'column')}"
                raise FormatError(f"{path}, line {count + 2}: {sizes}")
            count += 1
        columns = np.empty((len(names), count))
        file.seek(0)
        file.readline()
        # All of the text would take as much again as the numbers.
        for begin in range(0, count, READ_AT_ONCE):
            # Not what is added meanwhile, as to a table that OpenFace is still writing.
            lines = list(islice(file, min(READ_AT_ONCE, count - begin)))
            if len(lines) < min(READ_AT_ONCE, count - begin):
                raise FormatError(f"{path}: has lost lines while it was read: wait until it is written")
            columns[:, begin : begin + len(lines)] = _numbers(path, begin + 2, lines).T
    return Table(path, dict(zip(names, columns, strict=True)))


def _numbers(path: Path, number: int, lines: list[str]) -> Float:
    """Return the values of some lines of a CSV, (lines, columns); number: of the first line."""
    try:
        return np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:  # which does not say the line well
        rows = []
    for i, line in enumerate(lines):
        try:
            rows.append([float(value) for value in line.rstrip("\r\n").split(",")])
        except ValueError as error:
            raise FormatError(f"{path}, line {number + i}: {error}") from error
    return np.array(rows)


# --- .pts


def layout_of(path: Path) -> Layout | None:
    """Return whose landmarks a CSV (by its first column) or Parquet file holds; None if it cannot be told."""
    return _layout_of_parquet(path) if path.suffix == ".parquet" else _layout_of_csv(path)


def _layout_of_csv(path: Path) -> Layout | None:
    name = head(path, 16).partition(b",")[0].strip().decode("utf-8-sig", "replace")
    return next((layout for layout, columns in _FIRST.items() if columns[0][0] == name), None)


def _layout_of_parquet(path: Path) -> Layout | None:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise _missing("pyarrow>=14", error) from error
    try:
        check_regular(path)
        with path.open("rb") as file:
            said = (parquet.read_schema(file).metadata or {}).get(_LAYOUT)
    except (OSError, ValueError, FormatError, ArrowException):
        return None
    return next((layout for layout in _FIRST if layout.encode() == said), None)


def write_pts(path: str | Path, landmarks: ArrayLike) -> None:
    """Write landmarks as the field's annotations are: 1-based pixels under a header.

    Parameters
    ----------
    path : str or Path
    landmarks : array_like, shape (n, 2)
        0-based pixels.

    Raises
    ------
    FormatError
        If the landmarks have another shape or are not finite.
    """
    try:
        points = np.asarray(landmarks, np.float64)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: landmarks are (n, 2) finite numbers: {error}") from error
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise FormatError(f"{path}: landmarks are (n, 2) finite numbers, not an array {points.shape}")
    lines = [f"{x:.3f} {y:.3f}" for x, y in points + 1]
    with replacing(Path(path)) as temporary:
        temporary.write_text(
            "\n".join(["version: 1", f"n_points: {len(points)}", "{", *lines, "}", ""]),
            encoding="ascii",
            newline="\n",
        )


def read_pts(path: str | Path) -> Float:
    """Read a ``.pts`` file.

    Parameters
    ----------
    path : str or Path
        With its header, or plain lines of two numbers.

    Returns
    -------
    ndarray, shape (n, 2), float64
        0-based pixels.

    Raises
    ------
    FormatError
        If the file is missing, or not of this format.
    """
    path = Path(path)
    lines = [line.strip() for line in read_text(path, MAX_PTS_BYTES, "ascii").splitlines()]
    count, body = None, [line for line in lines if line]
    if "{" in body:
        start = body.index("{")
        if body[-1] != "}":
            raise FormatError(f"{path}: the closing '}}' is missing: the file is cut off")
        counts = [line.partition(":")[2] for line in body[:start] if line.startswith("n_points")]
        count, body = counts[0].strip() if counts else None, body[start + 1 : -1]
    try:
        points = np.array([[float(value) for value in line.split()] for line in body])
    except ValueError as error:
        raise FormatError(f"{path}: not a .pts file: {error}") from error
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise FormatError(f"{path}: not a .pts file: the lines are not two finite numbers each")
    if count is not None and count != str(len(points)):
        raise FormatError(f"{path}: {counted(len(points), 'point')}, but the header says {count}")
    return points - 1


# --- pandas, Parquet, supervision


def record(face: Face, source: str = "") -> dict[str, Any]:
    """Return a face as a row of full precision: the CSV's columns and more.

    Further columns: source, failure, detected, score, likelihood, box_x to
    box_h, and the likelihood of each landmark, l_0 ...

    Parameters
    ----------
    face : Face
    source : str
        The file that the face was found in.
    """
    row: dict[str, Any] = {
        "source": source,
        "frame": face.frame + 1,
        "face_id": face.face_id,
        "timestamp": face.timestamp,
        "confidence": face.confidence,
        "success": face.success,
        "failure": face.failure,
        "detected": face.detected,
        "score": face.score,
        "likelihood": face.likelihood,
    }
    row.update(zip(BOX, face.box, strict=True))
    for names, values in _groups(face, len(face.landmarks), len(face.params.shape)):
        row.update(zip(names, values.tolist(), strict=True))
    row.update({f"l_{i}": value for i, value in enumerate(face.landmark_likelihoods.tolist())})
    return row


def to_dataframe(faces: Iterable[Face], source: str = "") -> Any:
    """Return faces as a pandas DataFrame of full precision, one row a face; see `record`.

    Parameters
    ----------
    faces : iterable of Face
    source : str
        The file that the faces were found in.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    FormatError
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise _missing("pandas>=2.1", error) from error
    rows = [record(face, source) for face in faces]
    frame = pandas.DataFrame.from_records(rows, columns=None if rows else _record_names(*OPENFACE_SIZES))
    # Also where there is no row, or no confidence, to tell it by.
    kinds = {name: _KINDS.get(name, "float64").rstrip("_") for name in frame.columns}
    return frame.astype({name: kind for name, kind in kinds.items() if kind != "string"})


def _record_names(n_landmarks: int, n_modes: int) -> list[str]:
    """Return the names of the columns of `record`, in their order."""
    names = list(_RECORD_START) + list(BOX) + csv_columns(n_landmarks, n_modes, "video")[0][5:]
    return names + [f"l_{i}" for i in range(n_landmarks)]


class ParquetWriter:
    """Writes Parquet row by row, in constant memory; a context manager as `CSVWriter`.

    Parameters
    ----------
    path : str or Path
    n_landmarks, n_modes : int
        Of the model's PDM.
    source : str
        The file that the faces were found in.
    layout : {"video", "image"}
        What that is: the columns are the same, but the file says it.

    Raises
    ------
    FormatError
        If pyarrow is not installed, or the layout is another.
    """

    def __init__(
        self, path: str | Path, n_landmarks: int, n_modes: int, source: str = "", layout: Layout = "video"
    ) -> None:
        _check_layout(layout)
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise _missing("pyarrow>=14", error) from error
        # Names that are not UTF-8 are escaped.
        self.path, self.source = Path(path), source.encode(errors="backslashreplace").decode()
        self._sizes = n_landmarks, n_modes
        self._pyarrow = pyarrow
        names = _record_names(n_landmarks, n_modes)
        kinds = {name: getattr(pyarrow, _KINDS.get(name, "float64"))() for name in names}
        self._schema = pyarrow.schema(kinds, metadata={_LAYOUT: layout})
        self._stack = ExitStack()
        self._writer: Any = None
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            # Opened here: pyarrow takes no names that are not UTF-8, and its errors name the temporary file.
            file = stack.enter_context(temporary.open("xb"))
            self._writer = self._pyarrow.parquet.ParquetWriter(file, self._schema)
            stack.enter_context(self._writer)
            self._stack = stack.pop_all()
        return self

    def write(self, face: Face) -> None:
        """Add a row.

        Raises
        ------
        FormatError
            If the face has other numbers of landmarks or modes than the file.
        """
        _check_size(face, *self._sizes)
        self._rows.append(record(face, self.source))
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._pyarrow.Table.from_pylist(self._rows, self._schema))
            self._rows = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            # Whatever goes wrong in it ends the rest as an error within the block does.
            self._stack.callback(self._flush)
        self._stack.__exit__(kind, error, trace)


# Of the columns that are no float64, as pyarrow calls it.
_KINDS = {
    "source": "string",
    "frame": "int64",
    "face_id": "int64",
    "success": "bool_",
    "failure": "string",
    "detected": "bool_",
}
_RECORD_START = (
    "source",
    "frame",
    "face_id",
    "timestamp",
    "confidence",
    "success",
    "failure",
    "detected",
    "score",
    "likelihood",
)


def write_parquet(
    path: str | Path,
    faces: Iterable[Face],
    *,
    n_landmarks: int | None = None,
    n_modes: int | None = None,
    source: str = "",
    layout: Layout = "video",
) -> None:
    """Write faces as Parquet, at full precision.

    Parameters
    ----------
    path, faces, n_landmarks, n_modes
        See `write_csv`.
    source, layout
        See `ParquetWriter`.

    Raises
    ------
    FormatError
        If a face has other numbers of landmarks or modes, the layout is another, or pyarrow is not installed.
    """
    rows, n, m = _sized(faces, n_landmarks, n_modes)
    with ParquetWriter(path, n, m, source, layout) as writer:
        for face in rows:
            writer.write(face)


def read_parquet(path: str | Path) -> Table:
    """Read the numbers of a Parquet file that `ParquetWriter` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Table

    Raises
    ------
    FormatError
        If the file is missing, another or too large, or pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise _missing("pyarrow>=14", error) from error
    columns = {}
    try:
        check_regular(Path(path))
        with Path(path).open("rb") as opened, parquet.ParquetFile(opened) as file:
            for name in _number_columns(Path(path), file):
                values = file.read(columns=[name], use_pandas_metadata=False)[name]
                columns[name] = np.asarray(values.to_pandas(), np.float64)
    except FormatError:
        raise
    except (OSError, TypeError, ValueError, ArrowException) as error:  # a name with a NUL is a ValueError
        raise FormatError(f"{path}: cannot be read: {error}") from error
    return Table(Path(path), columns)


def _number_columns(path: Path, file: Any) -> list[str]:
    """Return the columns of a Parquet file that are numbers; nothing is unpacked before this is known."""
    import pyarrow

    kinds = [(column.name, column.type) for column in file.schema_arrow]
    kinds = [(name, kind) for name, kind in kinds if name not in ("source", "failure")]
    names = [name for name, _ in kinds]
    if "confidence" not in names:
        raise FormatError(f"{path}: not a file of landmarks: it has no column 'confidence'")
    if len(set(names)) != len(names):
        raise FormatError(f"{path}: two columns have the same name")
    for name, kind in kinds:
        if not (pyarrow.types.is_primitive(kind) or pyarrow.types.is_null(kind)):
            raise FormatError(f"{path}: the column {name!r} holds no numbers, but {kind}")
    # Equal values, however many, take no place in the file.
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    size = sum(group.num_rows for group in groups) * len(names) * 8
    if size > MAX_TABLE_BYTES:
        raise FormatError(
            f"{path}: {size} bytes unpacked, at most {MAX_TABLE_BYTES} are read: cut it into several files"
        )
    return names


def to_keypoints(faces: Iterable[Face]) -> Any:
    """Return the faces of one image as supervision's ``KeyPoints``.

    Parameters
    ----------
    faces : iterable of Face
        Those that failed are left out.

    Returns
    -------
    supervision.KeyPoints

    Raises
    ------
    FormatError
        If supervision (0.29 or later) is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise _missing("supervision>=0.29", error) from error
    found = [face for face in faces if face.success]
    if not found:
        return supervision.KeyPoints.empty()
    return supervision.KeyPoints(
        xy=np.stack([face.landmarks for face in found]),
        keypoint_confidence=np.stack(
            [np.full(len(face.landmarks), _confidence(face), np.float32) for face in found]
        ),
        class_id=np.zeros(len(found), int),
    )
