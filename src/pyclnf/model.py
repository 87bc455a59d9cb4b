"""Models: a PDM, patch experts by scale and part models, in one file.

The file is a NumPy ``.npz`` (a zip file of ``.npy`` arrays; `numpy.load` opens
it) without pickled objects. The arrays of a view are read when the view is
first needed, so that a fit from one pose reads one view a scale.

Arrays of format version 1, those of part *i* again below ``parts/i/``:

==================================  =========================================
``format``, ``version``             ``"pyclnf-model"``, 1
``name``                            name of the model
``metadata``                        UTF-8 JSON object, as bytes
``pdm/mean``                        (3n,), and ``components``, ``eigenvalues``
``pdm/contacts``                    (k, 2), and ``pdm/rigid``, (r,), optional
``triangles``                       (t, 3), optional
``scales/i/scale``                  px per mm
``scales/i/centres``                (V, 3), radians
``scales/i/visible``                (V, n), bool
``scales/i/sigma/W``                (B, W*W, W*W), one a window side W
``scales/i/views/j/...``            the fields of `ViewExperts`
``arrays/NAME``                     any further array
``parts/i/mapping``                 (k, 2), landmarks of the face and the part
==================================  =========================================
"""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from pyclnf._files import move
from pyclnf._limits import MAX_NUMBER, MAX_PARTS, MAX_SCALES, MAX_TEXT_BYTES
from pyclnf._npz import Archive, LazyArrays
from pyclnf.errors import ModelError, ParameterError
from pyclnf.patch_experts import PatchScale, ViewExperts
from pyclnf.pdm import PDM
from pyclnf.store import resolve

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["FORMAT", "VERSION", "Model", "Part", "load_model"]

FORMAT = "pyclnf-model"
VERSION = 1

# Faces are not reduced below this, px per mm: it is half of what a fit needs.
MIN_MAX_SCALE = 0.125

# dtypes in the file and in memory; weights may be stored as float16.
_VIEW_DTYPES: dict[str, DTypeLike] = {
    "landmarks": np.int32,
    "types": np.int32,
    "weights": np.float32,
    "norm_weights": np.float64,
    "biases": np.float64,
    "alphas": np.float64,
    "betas": np.float64,
    "confidences": np.float64,
}


@dataclass(frozen=True, eq=False)
class Part:
    """A part model (inner face, eye) and how its landmarks map to the face's.

    Attributes
    ----------
    name : str
    model : Model
        Without parts of its own.
    mapping : ndarray, shape (k, 2), int32
        Pairs (landmark of the face, landmark of the part).
    """

    name: str
    model: Model
    mapping: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.model.parts:
            raise ModelError(f"the part {self.name!r} has parts of its own")
        mapping, n = self.mapping, self.model.pdm.n_landmarks
        what = f"the mapping of the part {self.name!r}"
        if mapping.ndim != 2 or mapping.shape[1] != 2 or not len(mapping):
            raise ModelError(f"{what} has shape {mapping.shape}, not (k, 2)")
        if mapping.min() < 0 or mapping[:, 1].max() >= n:
            raise ModelError(f"{what} names landmarks that are not in 0..{n - 1}")
        if any(len(np.unique(column)) != len(column) for column in mapping.T):
            raise ModelError(f"{what} names a landmark twice")


class Model:
    """All that a fit needs to know about a kind of face.

    Parameters
    ----------
    pdm : PDM
    scales : sequence of PatchScale
        Coarse to fine.
    parts : sequence of Part
        In the order in which they are fitted.
    triangles : ndarray, shape (t, 3), int32, optional
        Triangulation of the landmarks, for drawing.
    name : str
    metadata : mapping
        Licence, origin and whatever else JSON can hold.
    arrays : mapping of str to ndarray
        Further arrays by name.

    Raises
    ------
    ModelError
        If the parts of the model do not fit together.

    Examples
    --------
    >>> from pyclnf import CLNF, Model
    >>> model = CLNF().model
    >>> model.pdm.n_landmarks, len(model.scales) > 0
    (68, True)
    >>> model.save("copy.npz")
    >>> Model.load("copy.npz").name == model.name
    True
    """

    def __init__(
        self,
        pdm: PDM,
        scales: tuple[PatchScale, ...] | list[PatchScale],
        *,
        parts: tuple[Part, ...] | list[Part] = (),
        triangles: NDArray[np.int32] | None = None,
        name: str = "",
        metadata: Mapping[str, Any] | None = None,
        arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.pdm = pdm
        self.scales = tuple(scales)
        self.parts = tuple(parts)
        self.triangles = triangles
        self.name = name
        if not isinstance(metadata, Mapping | None):
            raise ModelError(f"a model's metadata are a dict, or None, not {metadata!r:.200}")
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.arrays: Mapping[str, NDArray[Any]] = MappingProxyType({}) if arrays is None else arrays
        self._check()

    def _check(self) -> None:
        n = self.pdm.n_landmarks
        if not self.scales:
            raise ModelError("a model needs patch experts of at least one scale")
        if len(self.scales) > MAX_SCALES or len(self.parts) > MAX_PARTS:
            raise ModelError(
                f"{len(self.scales)} patch scales and {len(self.parts)} parts: at most {MAX_SCALES} and "
                f"{MAX_PARTS} are taken"
            )
        for scale in self.scales:
            if scale.n_landmarks != n:
                raise ModelError(
                    f"the patch experts of scale {scale.scale:g} are for {scale.n_landmarks} landmarks, "
                    f"the PDM has {n}"
                )
        values = [scale.scale for scale in self.scales]
        if any(a >= b for a, b in pairwise(values)):
            raise ModelError(f"the patch scales {values} do not go from coarse to fine")
        for part in self.parts:
            if part.mapping[:, 0].max() >= n:
                raise ModelError(f"the part {part.name!r} maps landmarks that the face does not have")
        _check_metadata(self.metadata)
        t = self.triangles
        if t is not None and (t.ndim != 2 or t.shape[1] != 3 or (t.size and (t.min() < 0 or t.max() >= n))):
            raise ModelError(f"the triangles are not (t, 3) landmarks in 0..{n - 1}")

    def __repr__(self) -> str:
        scales = ", ".join(f"{scale.scale:g}" for scale in self.scales)
        parts = ", ".join(part.name for part in self.parts)
        return f"Model({self.name!r}, n_landmarks={self.pdm.n_landmarks}, scales=[{scales}], parts=[{parts}])"

    def __reduce__(self) -> tuple[Any, ...]:
        # By content: the copy does not depend on the file that this one came from.
        buffer = io.BytesIO()
        self._write(buffer, zipfile.ZIP_STORED, np.dtype(np.float32))
        return _from_bytes, (buffer.getvalue(),)

    # --- our file

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Open a model file.

        Views are read when they are first needed; the file must not be
        changed until then (replacing it is noticed).

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Model

        Raises
        ------
        ModelError
            If the file is missing, damaged, foreign or of another version;
            when a view is read later, too.
        """
        return _read_file(Archive(Path(path)))

    def save(
        self,
        path: str | Path,
        *,
        dtype: Literal["float32", "float16"] = "float32",
        compress: bool = False,
    ) -> None:
        """Write the model into a file, in one piece or not at all.

        The same model gives the same bytes.

        Parameters
        ----------
        path : str or Path
            Replaced if it exists.
        dtype : {"float32", "float16"}
            How the weights of the experts are stored. float16 takes half
            of their room and rounds them to 11 bits.
        compress : bool
            Deflate the arrays: a smaller file that is slower to read.

        Raises
        ------
        ModelError
            If the file cannot be written, the weights do not fit into float16, an array holds what is no
            finite number, or the metadata hold what JSON cannot, or numbers of a fit that cannot be.
        ParameterError
            If the dtype is another.
        """
        if dtype not in ("float32", "float16"):
            raise ParameterError(f"weights are stored as 'float32' or 'float16', not {dtype!r}")
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        compression = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        try:
            try:
                with temporary.open("xb") as file:
                    self._write(file, compression, np.dtype(dtype))
                move(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise ModelError(f"{path}: the model cannot be written: {error}") from error

    def _write(self, file: IO[bytes], compression: int, weights: np.dtype[Any]) -> None:
        with zipfile.ZipFile(file, "w", compression) as archive:
            for key, item in self._items(weights):
                value = np.asanyarray(item)
                # No file with others can be read.
                kinds = "biufU" if isinstance(item, str) else "biuf"
                if value.dtype.kind not in kinds or (
                    value.dtype.kind == "f" and not np.isfinite(value).all()
                ):
                    raise ModelError(f"the array {key!r} ({value.dtype}) holds what is no finite number")
                # A fixed date: equal models give equal files.
                member = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
                member.compress_type = compression
                with archive.open(member, "w") as out:
                    np.lib.format.write_array(out, value, allow_pickle=False)

    def _items(self, weights: np.dtype[Any]) -> Iterator[tuple[str, Any]]:
        """Yield the keys and arrays of the file, one view at a time."""
        yield "format", FORMAT
        yield "version", VERSION
        yield from _model_items(self, weights)
        for i, part in enumerate(self.parts):
            for key, value in _model_items(part.model, weights):
                yield f"parts/{i}/{key}", part.name if key == "name" else value
            yield f"parts/{i}/mapping", part.mapping


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    """Check those of the metadata by which fits go."""

    def require(valid: bool, key: str, wanted: str) -> None:
        if not valid:
            raise ModelError(
                f"the metadata's {key} must be {wanted}, not {metadata[key.split('/')[0]]!r:.200}"
            )

    for key in ("fit", "confidence"):
        groups = metadata.get(key, {})
        require(isinstance(groups, Mapping), key, "an object")
        for name, numbers in groups.items():
            require(isinstance(numbers, Mapping), f"{key}/{name}", "an object")
            for field, value in numbers.items():
                if field == "windows":
                    valid = isinstance(value, list | tuple) and all(_is_number(side, int) for side in value)
                    require(valid, f"{key}/{name}/{field}", "whole numbers")
                elif field == "mirrored":
                    require(isinstance(value, bool), f"{key}/{name}/{field}", "true or false")
                else:
                    require(_is_number(value), f"{key}/{name}/{field}", f"a number within ±{MAX_NUMBER:g}")
    for name, numbers in metadata.get("fit", {}).items():
        require(_is_number(numbers.get("hypotheses", 1), int), f"fit/{name}/hypotheses", "a whole number")
    for numbers in metadata.get("confidence", {}).values():
        require({"intercept", "likelihood", "shape"} <= set(numbers), "confidence", "three numbers a set")
    require(_is_number(metadata.get("min_likelihood", 0.0)), "min_likelihood", "a number")
    apart = metadata.get("max_disagreement", 1.0)
    require(_is_number(apart) and apart >= 0, "max_disagreement", "a number that is not negative")
    limit = metadata.get("max_scale", 1.0)
    require(_is_number(limit) and limit >= MIN_MAX_SCALE, "max_scale", f"a number from {MIN_MAX_SCALE} on")


def _is_number(value: Any, kind: Any = int | float) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and -MAX_NUMBER <= value <= MAX_NUMBER


def load_model(source: str | Path | None = None) -> Model:
    """Load a model from our file or from OpenFace's.

    Parameters
    ----------
    source : str or Path, optional
        The name of a stored model (``"openface"``), an ``.npz`` file, OpenFace's model folder, or a main
        ``.txt`` file in it. By default the model that is shipped.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is no such model or it is damaged.

    Examples
    --------
    >>> from pyclnf import load_model
    >>> load_model().save("own.npz")
    >>> load_model("own.npz").pdm.n_landmarks
    68
    """
    from pyclnf.openface import is_folder, read_model

    path = resolve(source)
    return read_model(path) if path.suffix.lower() == ".txt" or is_folder(path) else Model.load(path)


def _from_bytes(data: bytes) -> Model:
    """Return the model that a pickle holds as the bytes of its file."""
    return _read_file(Archive(data))


# --- writing


def _model_items(model: Model, weights: np.dtype[Any]) -> Iterator[tuple[str, Any]]:
    yield "name", model.name
    yield "metadata", _encode_metadata(model.metadata)
    yield "pdm/mean", model.pdm.mean
    yield "pdm/components", model.pdm.components
    yield "pdm/eigenvalues", model.pdm.eigenvalues
    if len(model.pdm.contacts):
        yield "pdm/contacts", model.pdm.contacts
    if len(model.pdm.rigid):
        yield "pdm/rigid", model.pdm.rigid
    if model.triangles is not None:
        yield "triangles", np.asarray(model.triangles, np.int32)
    for i, scale in enumerate(model.scales):
        yield f"scales/{i}/scale", np.float64(scale.scale)
        yield f"scales/{i}/centres", scale.centres
        yield f"scales/{i}/visible", scale.visible
        for window, components in scale.sigma_components.items():
            yield f"scales/{i}/sigma/{window}", components
        for j in range(scale.n_views):
            view = scale.view(j)
            for field in fields(ViewExperts):
                value = getattr(view, field.name)
                if field.name == "weights":
                    value = _narrow(value, weights)
                yield f"scales/{i}/views/{j}/{field.name}", value
    for name, array in model.arrays.items():
        yield f"arrays/{name}", np.asanyarray(array)


def _narrow(weights: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    largest = np.abs(weights).max(initial=0)
    if largest > np.finfo(dtype).max:
        raise ModelError(f"the weights reach {largest:g}, too large for {dtype.name}: use float32")
    return weights.astype(dtype, copy=False)


def as_python(value: Any) -> Any:
    """Return a NumPy scalar as a number of Python's, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")


def _encode_metadata(metadata: Mapping[str, Any]) -> NDArray[np.uint8]:
    try:
        text = json.dumps(metadata, sort_keys=True, allow_nan=False, default=as_python)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"the metadata are not what JSON can hold: {error}") from error
    # They may have been changed since the model was made; what is saved can be read again.
    _check_metadata(json.loads(text))
    data = np.frombuffer(text.encode(), np.uint8)
    if data.size > MAX_TEXT_BYTES:
        raise ModelError(f"the metadata have {data.size} bytes, at most {MAX_TEXT_BYTES} are read")
    return data


# --- reading


def _read_file(archive: Archive) -> Model:
    if archive.text("format") != FORMAT:
        raise archive.error("format", f"not a model of pyclnf (format {archive.text('format')!r})")
    version = int(archive.array("version", np.int64, ()))
    if version != VERSION:
        raise archive.error("version", f"format version {version}; this release reads version {VERSION}")
    parts = [_read_part(archive, f"parts/{i}/") for i in range(archive.count("parts/"))]
    return _read_model(archive, "", parts)


def _read_part(archive: Archive, prefix: str) -> Part:
    model = _read_model(archive, prefix, [])
    mapping = archive.array(f"{prefix}mapping", np.int32, (None, 2))
    return archive.checked(Part, model.name, model, mapping)


def _read_model(archive: Archive, prefix: str, parts: list[Part]) -> Model:
    mean = archive.array(f"{prefix}pdm/mean", np.float64, (None,))
    eigenvalues = archive.array(f"{prefix}pdm/eigenvalues", np.float64, (None,))
    components = archive.array(f"{prefix}pdm/components", np.float64, (len(mean), len(eigenvalues)))
    optional = {
        name: archive.array(f"{prefix}pdm/{name}", np.int32, shape)
        for name, shape in {"contacts": (None, 2), "rigid": (None,)}.items()
        if f"{prefix}pdm/{name}" in archive
    }
    pdm = archive.checked(PDM, mean, components, eigenvalues, **optional)
    n_scales = archive.count(f"{prefix}scales/")
    has_triangles = f"{prefix}triangles" in archive
    return archive.checked(
        Model,
        pdm,
        [_read_scale(archive, f"{prefix}scales/{i}/", pdm.n_landmarks) for i in range(n_scales)],
        parts=parts,
        triangles=archive.array(f"{prefix}triangles", np.int32, (None, 3)) if has_triangles else None,
        name=archive.text(f"{prefix}name"),
        metadata=archive.json(f"{prefix}metadata"),
        arrays=LazyArrays(archive, f"{prefix}arrays/"),
    )


def _read_scale(archive: Archive, prefix: str, n: int) -> PatchScale:
    centres = archive.array(f"{prefix}centres", np.float64, (None, 3))
    visible = archive.array(f"{prefix}visible", np.bool_, (len(centres), n))
    sigma = {}
    for name in archive.under(f"{prefix}sigma/"):
        if not (name.isdecimal() and len(name) <= 3):
            raise archive.error(f"{prefix}sigma/{name}", "the name is not the side of a window")
        side = int(name)
        sigma[side] = archive.array(f"{prefix}sigma/{name}", np.float32, (None, side**2, side**2))
    scale = float(archive.array(f"{prefix}scale", np.float64, ()))
    views = partial(_read_view, archive, prefix, visible.sum(axis=1).tolist())
    return archive.checked(PatchScale, scale, centres, visible, sigma, views, archive.name)


def _read_view(archive: Archive, prefix: str, n_visible: list[int], view: int) -> ViewExperts:
    v = n_visible[view]
    shapes = {"landmarks": (v,), "confidences": (v,), "betas": (v, None), "weights": (v, None, None, None)}
    return ViewExperts(
        **{
            name: archive.array(f"{prefix}views/{view}/{name}", dtype, shapes.get(name, (v, None)))
            for name, dtype in _VIEW_DTYPES.items()
        }
    )
