"""Readers of OpenFace's model files: text files that name a PDM and CCNF patch experts.

A main file (``main_clnf_*.txt``) names a landmark detector and its part
models; the detector's file (``clnf_*.txt``) names a PDM, a triangulation and
one file of patch experts a scale. Paths are relative to the file that names
them, may be written with either slash, and may not leave the folder of the
main file.

The readers trust nothing: a count is checked against what is left of the file
before anything is allocated, values must be finite, and a file must end where
its content ends. Every error is a `ModelError` with the file and the byte
offset or line.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyclnf._limits import (
    MAX_FILE_BYTES,
    MAX_LANDMARKS,
    MAX_NEURONS,
    MAX_PARTS,
    MAX_PATCH_SCALE,
    MAX_SCALES,
    MAX_SIGMA_COMPONENTS,
    MAX_SUPPORT,
    MAX_VIEW_BYTES,
    MAX_VIEWS,
    MAX_WINDOW,
)
from pyclnf.errors import ModelError
from pyclnf.model import Model, Part
from pyclnf.patch_experts import DEPTH, GRADIENT, GREY, PatchScale, ViewExperts
from pyclnf.pdm import PDM

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAIN_FILE", "read_ccnf", "read_model", "read_pdm"]

# The main file looked for in a folder.
MAIN_FILE = "main_clnf_general.txt"

# OpenCV's type codes of a matrix.
_DTYPES: dict[int, np.dtype[Any]] = {4: np.dtype("<i4"), 5: np.dtype("<f4"), 6: np.dtype("<f8")}

# What stands before an expert and before a neuron.
_EXPERT, _NEURON = 5, 2
_EXPERT_HEADER = 16  # bytes: mark, width, height, number of neurons
_NEURON_TYPES = (GREY, GRADIENT, DEPTH)


def read_model(source: str | Path, *, parts: bool = True) -> Model:
    """Read a model of OpenFace.

    Parameters
    ----------
    source : str or Path
        A main file, or a folder that holds ``main_clnf_general.txt``. A
        detector's file (``clnf_*.txt``) gives the model without parts.
    parts : bool
        Read the part models (inner face, eyes) too.

    Returns
    -------
    Model
        The experts are decoded view by view, when they are first needed.

    Raises
    ------
    ModelError
        If a needed file is missing, damaged, foreign or outside of the folder.
    """
    path = Path(source)
    if is_folder(path):
        path = path / MAIN_FILE
        if not path.is_file():
            raise ModelError(f"{path}: no such file: give OpenFace's model folder or a main file in it")
    return _read_main(path, path.parent, path.stem, parts)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; one that cannot be looked at is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _read_main(path: Path, root: Path, name: str, parts: bool) -> Model:
    """Read a main file, or the file of a detector, whose files all lie below *root*."""
    entries = _read_entries(path)
    if not any(entry.key == "LandmarkDetector" for entry in entries):
        return _read_detector(path, entries, root, name, ())
    detector = _resolve(path, _single(path, entries, "LandmarkDetector"), root)
    part_entries = [entry for entry in entries if entry.key == "LandmarkDetector_part"] if parts else []
    if len(part_entries) > MAX_PARTS:
        raise ModelError(f"{path}: {len(part_entries)} part models are named, at most {MAX_PARTS} are read")
    read_parts = tuple(_read_part(path, entry, root) for entry in part_entries)
    return _read_detector(detector, _read_entries(detector), root, name, read_parts)


def _read_part(path: Path, entry: _Entry, root: Path) -> Part:
    """Read the model that a line ``LandmarkDetector_part FILE NAME PAIRS`` names."""
    tokens = entry.value.split()
    pairs = tokens[2:]
    if not pairs or len(pairs) % 2 or not all(token.isdecimal() and len(token) < 6 for token in pairs):
        raise ModelError(
            f"{path}, line {entry.line}: a part needs a file, a name and pairs of landmarks (face, part)"
        )
    file = _resolve(path, _Entry(entry.key, tokens[0], entry.line), root)
    # Parts have no parts of their own: a file that names itself ends here.
    model = _read_main(file, root, tokens[1], parts=False)
    try:
        return Part(tokens[1], model, np.array(pairs, dtype=np.int32).reshape(-1, 2))
    except ModelError as error:
        raise ModelError(f"{path}, line {entry.line}: {error}") from error


def _read_detector(
    path: Path, entries: list[_Entry], root: Path, name: str, parts: tuple[Part, ...]
) -> Model:
    """Read what a detector's file (``clnf_*.txt``) names."""
    pdm = read_pdm(_resolve(path, _single(path, entries, "PDM"), root))
    patches = [_resolve(path, entry, root) for entry in entries if entry.key == "PatchesCCNF"]
    if not 1 <= len(patches) <= MAX_SCALES:
        raise ModelError(f"{path}: {len(patches)} lines PatchesCCNF; a model has 1 to {MAX_SCALES} scales")
    scales = tuple(read_ccnf(file) for file in patches)
    triangles = None
    if any(entry.key == "Triangulations" for entry in entries):
        file = _resolve(path, _single(path, entries, "Triangulations"), root)
        # Only drawing uses them.
        triangles = _read_triangles(file) if file.is_file() else None
    try:
        metadata = {"origin": "OpenFace"}
        return Model(pdm, scales, parts=parts, triangles=triangles, name=name, metadata=metadata)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


# --- text files that name other files


class _Entry(NamedTuple):
    key: str
    value: str
    line: int


def _read_entries(path: Path) -> list[_Entry]:
    """Return the lines ``KEY VALUE`` of a text file."""
    entries = []
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        key, _, value = line.strip().partition(" ")
        if key:
            entries.append(_Entry(key, value.strip(), number))
    return entries


def _single(path: Path, entries: list[_Entry], key: str) -> _Entry:
    """Return the one entry of a key."""
    found = [entry for entry in entries if entry.key == key]
    if len(found) != 1:
        raise ModelError(f"{path}: {len(found)} lines begin with {key}, not one")
    return found[0]


def _resolve(path: Path, entry: _Entry, root: Path) -> Path:
    """Return the file that an entry names, which must lie below *root* even after following links."""
    where = f"{path}, line {entry.line}"
    # A Windows path is the more general: it splits at both slashes and knows drives and shares.
    named = PureWindowsPath(entry.value)
    if not named.parts or not entry.value.isprintable():
        raise ModelError(f"{where}: {entry.key} names no file")
    if named.drive or named.root:
        raise ModelError(f"{where}: {entry.value!r} is not relative to the model's folder")
    file = path.parent.joinpath(*named.parts)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            file.lstat()  # raises for a name that no file can have, and for a folder that is closed to us
        inside = file.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{where}: {entry.value!r} cannot be followed: {error}") from error
    if not inside:
        raise ModelError(f"{where}: {entry.value!r} leaves the model's folder {root}")
    return file


def _read_bytes(path: Path) -> bytes:
    """Return the content of a regular file of a sane size."""
    try:
        if not path.is_file():
            raise ModelError(f"{path}: no such file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelError(f"{path}: {size} bytes, a model file has at most {MAX_FILE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


def _read_text(path: Path) -> str:
    data = _read_bytes(path)
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}, byte {error.start}: not a text file") from error


# --- matrices in text files


def read_pdm(path: str | Path) -> PDM:
    """Read a point distribution model of OpenFace.

    Three matrices in text: mean shape, principal components, eigenvalues.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    PDM

    Raises
    ------
    ModelError
        If the file is missing, damaged or is no PDM.
    """
    path = Path(path)
    text = _TextMatrices(path)
    mean, components, eigenvalues = text.matrix(6), text.matrix(6), text.matrix(6)
    text.end()
    for name, matrix in (("mean shape", mean), ("eigenvalues", eigenvalues)):
        if 1 not in matrix.shape:
            raise ModelError(f"{path}: the {name} are a matrix {matrix.shape}, not one column")
    try:
        return PDM(mean, components, eigenvalues)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _read_triangles(path: Path) -> NDArray[np.int32]:
    """Read the triangles of the first (frontal) view, (t, 3)."""
    text = _TextMatrices(path)
    meshes = [text.matrix(4) for _ in range(text.integer("number of triangulations", 1, MAX_VIEWS))]
    text.end()
    return meshes[0].astype(np.int32)


class _TextMatrices:
    """The numbers of a text file in order; lines that begin with ``#`` are comments."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokens: list[str] = []
        self.lines: list[int] = []
        for number, line in enumerate(_read_text(path).splitlines(), 1):
            if not line.lstrip().startswith("#"):
                words = line.split()
                self.tokens += words
                self.lines += [number] * len(words)
        self.next = 0

    def error(self, index: int, message: str) -> ModelError:
        line = self.lines[index] if index < len(self.lines) else "its end"
        return ModelError(f"{self.path}, line {line}: {message}")

    def integer(self, what: str, low: int, high: int) -> int:
        index = self.next
        if index >= len(self.tokens):
            raise self.error(index, f"the file ends before the {what}")
        token = self.tokens[index]
        if not token.isdecimal() or len(token) > 9 or not low <= int(token) <= high:
            raise self.error(index, f"the {what} is {token!r}, not a whole number from {low} to {high}")
        self.next += 1
        return int(token)

    def matrix(self, code: int) -> NDArray[np.float64]:
        """Read rows, columns, type code and values."""
        rows = self.integer("number of rows", 1, MAX_FILE_BYTES)
        columns = self.integer("number of columns", 1, MAX_FILE_BYTES)
        self.integer(f"type code of a matrix of {_DTYPES[code].name}", code, code)
        start, end = self.next, self.next + rows * columns
        if end > len(self.tokens):
            left = len(self.tokens) - start
            raise self.error(start - 3, f"a matrix of {rows} x {columns}, but {left} numbers are left")
        values = np.array([self.number(index) for index in range(start, end)])
        self.next = end
        return values.reshape(rows, columns)

    def number(self, index: int) -> float:
        token = self.tokens[index]
        try:
            # float() takes "1_0", which no writer of numbers means.
            value = float("nan") if "_" in token else float(token)
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise self.error(index, f"{token!r} is not a finite number")
        return value

    def end(self) -> None:
        if self.next < len(self.tokens):
            raise self.error(self.next, "the file goes on after its last matrix")


# --- CCNF patch experts


def read_ccnf(path: str | Path) -> PatchScale:
    """Read the CCNF patch experts of one scale.

    The headers of all experts are checked now; an expert's neurons are
    checked when its view is first needed.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    PatchScale

    Raises
    ------
    ModelError
        If the file is missing, damaged or holds no CCNF experts; from
        `PatchScale.view` too.
    """
    path = Path(path)
    cursor = _Cursor(path, _read_bytes(path))
    scale = cursor.float64("patch scale")
    if not 0 < scale <= MAX_PATCH_SCALE:
        raise cursor.error(0, f"the patch scale is {scale}, not in (0, {MAX_PATCH_SCALE:g}] px per mm")
    n_views = cursor.int32("number of views", 1, MAX_VIEWS)
    centres = np.radians([cursor.matrix("a view's centre", 6, 3, 1)[:, 0] for _ in range(n_views)])
    visible = _read_visibility(cursor, n_views)
    components, n_components = _read_sigma_components(cursor)
    views = _ViewReader(cursor, visible, n_components)
    cursor.end()
    try:
        return PatchScale(scale, centres, visible, components, views, str(path))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


class _Cursor:
    """A place in a binary file, from which values are read one after the other."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.offset = path, data, 0

    def error(self, offset: int, message: str) -> ModelError:
        return ModelError(f"{self.path}, byte {offset}: {message}")

    def skip(self, size: int, what: str) -> int:
        """Move past *size* bytes and return where they begin."""
        start, left = self.offset, len(self.data) - self.offset
        if size > left:
            raise self.error(start, f"the {what} needs {size} bytes, but {left} are left")
        self.offset += size
        return start

    def int32(self, what: str, low: int, high: int) -> int:
        start = self.skip(4, what)
        value: int = struct.unpack_from("<i", self.data, start)[0]
        if not low <= value <= high:
            expected = str(low) if low == high else f"from {low} to {high}"
            raise self.error(start, f"the {what} is {value}, not {expected}")
        return value

    def float64(self, what: str) -> float:
        start = self.skip(8, what)
        return float(struct.unpack_from("<d", self.data, start)[0])

    def matrix(self, what: str, code: int, rows: int | None, columns: int) -> NDArray[Any]:
        """Read a matrix of a type and shape; `None` takes any number of rows up to `MAX_LANDMARKS`."""
        low, high = (1, MAX_LANDMARKS) if rows is None else (rows, rows)
        n_rows = self.int32(f"number of rows of {what}", low, high)
        self.int32(f"number of columns of {what}", columns, columns)
        self.int32(f"type code of {what}", code, code)
        dtype = _DTYPES[code]
        start = self.skip(n_rows * columns * dtype.itemsize, what)
        values = np.frombuffer(self.data, dtype, n_rows * columns, start)
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise self.error(start + int(bad[0]) * dtype.itemsize, f"{what} is not finite")
        return values.reshape(n_rows, columns)

    def end(self) -> None:
        left = len(self.data) - self.offset
        if left:
            raise self.error(self.offset, f"{left} bytes follow after the last expert")


def _read_visibility(cursor: _Cursor, n_views: int) -> NDArray[np.bool_]:
    rows: list[NDArray[np.int32]] = []
    for _ in range(n_views):
        row = cursor.matrix("a view's visibility", 4, rows[0].size if rows else None, 1)[:, 0]
        if not np.isin(row, (0, 1)).all():
            raise cursor.error(cursor.offset - row.nbytes, "a landmark's visibility is neither 0 nor 1")
        if not row.any():
            raise cursor.error(cursor.offset - row.nbytes, "a view in which no landmark is visible")
        rows.append(row)
    return np.array(rows, dtype=bool)


def _read_sigma_components(cursor: _Cursor) -> tuple[dict[int, NDArray[np.float32]], int]:
    """Return the sigma components by window side, and their number, which all windows share."""
    components: dict[int, NDArray[np.float32]] = {}
    n_components = None
    for _ in range(cursor.int32("number of window sizes", 0, MAX_WINDOW)):
        window = cursor.int32("window side", 1, MAX_WINDOW)
        if window in components:
            raise cursor.error(cursor.offset - 4, f"a second set of components for the window {window}")
        low, high = (0, MAX_SIGMA_COMPONENTS) if n_components is None else (n_components, n_components)
        n_components = cursor.int32("number of sigma components", low, high)
        matrices = [cursor.matrix("a sigma component", 5, window**2, window**2) for _ in range(n_components)]
        components[window] = np.array(matrices, np.float32).reshape(n_components, window**2, window**2)
    return components, n_components or 0


class _ViewReader:
    """Decodes the experts of one view at a time.

    Creating it walks over all experts, from header to header, and leaves the
    cursor at the end of the last one.
    """

    def __init__(self, cursor: _Cursor, visible: NDArray[np.bool_], n_components: int) -> None:
        self.cursor, self.visible, self.n_components = cursor, visible, n_components
        self.support: tuple[int, int] | None = None
        # By view: where the visible landmarks' experts begin, and their numbers of neurons.
        self.index = [self._walk_view(row) for row in visible]

    def _walk_view(self, visible: NDArray[np.bool_]) -> NDArray[np.int64]:
        experts = np.array([self._walk_expert(seen) for seen in visible.tolist()], dtype=np.int64)[visible]
        height, width = self.support or (0, 0)
        # All experts of a view are padded to the largest.
        size = len(experts) * int(experts[:, 1].max()) * height * width * 4
        if size > MAX_VIEW_BYTES:
            raise self.cursor.error(
                int(experts[0, 0]),
                f"the experts of a view need {size} bytes, at most {MAX_VIEW_BYTES} are taken",
            )
        return experts

    def _walk_expert(self, seen: bool) -> tuple[int, int]:
        cursor, start = self.cursor, self.cursor.offset
        cursor.int32("mark of an expert", _EXPERT, _EXPERT)
        width = cursor.int32("width of an expert", 1, MAX_SUPPORT)
        height = cursor.int32("height of an expert", 1, MAX_SUPPORT)
        low, high = (1, MAX_NEURONS) if seen else (0, 0)
        n_neurons = cursor.int32("number of neurons", low, high)
        if not seen:
            cursor.skip(4, "end of an empty expert")
            return start, 0
        self.support = self.support or (height, width)
        if (height, width) != self.support:
            raise cursor.error(start + 4, f"an expert of {width} x {height} px among others of another size")
        layout = _expert_layout(self.support, n_neurons, self.n_components)
        cursor.skip(layout.itemsize - _EXPERT_HEADER, "neurons of an expert")
        return start, n_neurons

    def __call__(self, view: int) -> ViewExperts:
        offsets, counts = self.index[view].T
        v, K, B = len(counts), int(counts.max()), self.n_components
        height, width = self.support or (0, 0)
        experts = ViewExperts(
            landmarks=np.flatnonzero(self.visible[view]).astype(np.int32),
            types=np.full((v, K), GREY, np.int32),
            weights=np.zeros((v, K, height, width), np.float32),
            norm_weights=np.zeros((v, K)),
            biases=np.zeros((v, K)),
            alphas=np.zeros((v, K)),
            betas=np.zeros((v, B)),
            confidences=np.zeros(v),
        )
        for count in np.unique(counts).tolist():
            rows = np.flatnonzero(counts == count)
            records = self._records(offsets[rows].tolist(), count)
            neurons = records["neurons"]
            experts.types[rows, :count] = neurons["type"]
            experts.weights[rows, :count] = neurons["weights"]
            experts.norm_weights[rows, :count] = neurons["norm_weight"]
            experts.biases[rows, :count] = neurons["bias"]
            experts.alphas[rows, :count] = neurons["alpha"]
            experts.betas[rows] = records["betas"]
            experts.confidences[rows] = records["confidence"]
        return experts

    def _records(self, offsets: list[int], n_neurons: int) -> NDArray[np.void]:
        """Return the checked experts at some offsets, which all have the same number of neurons."""
        height, width = self.support or (0, 0)
        layout = _expert_layout((height, width), n_neurons, self.n_components)
        records = np.concatenate([np.frombuffer(self.cursor.data, layout, 1, start) for start in offsets])

        def require(field: NDArray[Any], valid: NDArray[np.bool_], message: str) -> None:
            if not valid.all():
                expert, *position = (int(index) for index in np.argwhere(~valid)[0])
                within = field.ctypes.data - records.ctypes.data
                within += sum(i * stride for i, stride in zip(position, field.strides[1:], strict=True))
                raise self.cursor.error(offsets[expert] + within, message)

        neurons = records["neurons"]
        require(neurons["mark"], neurons["mark"] == _NEURON, f"the mark of a neuron is not {_NEURON}")
        require(neurons["type"], np.isin(neurons["type"], _NEURON_TYPES), "the type of a neuron is unknown")
        require(
            neurons["matrix"],
            neurons["matrix"] == (height, width, 5),
            f"a neuron's weights are no {height} x {width} matrix of float32",
        )
        for name in ("norm_weight", "bias", "alpha", "weights"):
            require(neurons[name], np.isfinite(neurons[name]), f"the {name} of a neuron is not finite")
        total = neurons["alpha"].sum(axis=1)
        require(neurons["alpha"][:, 0], total > 0, "the alphas of an expert do not add up to more than 0")
        for name in ("betas", "confidence"):
            require(records[name], np.isfinite(records[name]), f"the {name} of an expert is not finite")
        return records


@cache
def _expert_layout(support: tuple[int, int], n_neurons: int, n_components: int) -> np.dtype[np.void]:
    """Return the layout of an expert that has neurons."""
    neuron = [
        ("mark", "<i4"),
        ("type", "<i4"),
        ("norm_weight", "<f8"),
        ("bias", "<f8"),
        ("alpha", "<f8"),
        ("matrix", "<i4", (3,)),
        ("weights", "<f4", support),
    ]
    return np.dtype(
        [
            ("header", "<i4", (4,)),
            ("neurons", neuron, (n_neurons,)),
            ("betas", "<f8", (n_components,)),
            ("confidence", "<f8"),
        ]
    )
