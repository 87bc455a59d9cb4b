"""What the readers of files promise, as functions of a file's bytes.

A reader takes any bytes: it returns what it should, or raises one of pyclnf's
own errors (or OSError). Anything else is a finding: another exception, a crash,
a file opened outside of the model's folder, a number that is not finite. The
time and the memory are bounded by `fuzz.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from generate_model import ccnf_bytes, pdm_text, sigma_components, text_matrix, tiny_model
from pyclnf import CLNF
from pyclnf._image_size import declared_size
from pyclnf.errors import FormatError, ImageError, ModelError, PyclnfError
from pyclnf.formats import read_csv, read_pts
from pyclnf.images import read_photograph
from pyclnf.model import Model, Part, load_model
from pyclnf.openface import read_ccnf, read_model, read_pdm
from pyclnf.patch_experts import GRADIENT, GREY, PatchScale, ViewExperts
from pyclnf.pdm import PDM

# Between the parts of an input of `Targets.openface` that is three text files.
SEPARATOR = b"\xff"

_IMAGE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
_BOX = (8.0, 8.0, 32.0, 32.0)


class Targets:
    """The readers, each with a file of its own in a folder.

    Parameters
    ----------
    folder : Path
        Empty; memory (``/dev/shm``) is fastest.
    """

    NAMES = ("openface", "npz", "csv", "pts", "image")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model_folder = folder / "model"
        self._watched = False
        self._opened: list[str] = []
        self._write_model_folder()
        sys.addaudithook(self._note_open)

    def _write_model_folder(self) -> None:
        """Write a good model beside what the fuzzed text files may name: links out, loops, folders."""
        model = tiny_model()
        (self.model_folder / "data").mkdir(parents=True)
        (self.model_folder / "data/p.txt").write_bytes(pdm_text(model.pdm).encode())
        (self.model_folder / "data/e.bin").write_bytes(ccnf_bytes(model.scales[0]))
        (self.model_folder / "part.txt").write_text("LandmarkDetector clnf2.txt")
        (self.model_folder / "clnf2.txt").write_text("PDM data/p.txt\nPatchesCCNF data/e.bin")
        (self.folder / "outside.txt").write_bytes(pdm_text(model.pdm).encode())
        for name, target in (("out", "../outside.txt"), ("up", ".."), ("root", "/"), ("loop", "loop")):
            with contextlib.suppress(OSError):  # links need a privilege on Windows
                (self.model_folder / name).symlink_to(target)

    def _note_open(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._watched and event == "open" and isinstance(arguments[0], str | bytes | Path):
            self._opened.append(str(arguments[0]))

    def openface(self, data: bytes) -> bool:
        """Read OpenFace's files: a PDM, experts, or the texts that name them, as the first byte says."""
        kind, content = data[:1], data[1:]
        if kind == b"P":
            return self._allowed(read_pdm, "pdm.txt", content)
        if kind == b"E":
            return self._allowed(_read_experts, "experts.bin", content)
        texts = [*content.split(SEPARATOR, 2), b"", b""]
        names = ("main_clnf_general.txt", "clnf.txt", "triangles.txt")
        for name, text in zip(names, texts, strict=False):
            (self.model_folder / name).write_bytes(text)
        self._opened, self._watched = [], True
        try:
            _check_model(read_model(self.model_folder))
        except ModelError:
            return False
        finally:
            self._watched = False
            inside = self.model_folder.resolve()
            for name in self._opened:
                assert Path(name).resolve().is_relative_to(inside), f"opened {name}"
        return True

    def npz(self, data: bytes) -> bool:
        """Load a model with all that is read later, and fit it to a picture."""
        if not self._allowed(lambda path: _check_model(load_model(path)), "model.npz", data):
            return False
        return self._allowed(_fit, "model.npz", data, PyclnfError, named=False)

    def csv(self, data: bytes) -> bool:
        """Read a CSV and what is computed from it."""
        return self._allowed(_read_table, "table.csv", data, FormatError)

    def pts(self, data: bytes) -> bool:
        """Read landmarks."""

        def read(path: Path) -> None:
            points = read_pts(path)
            assert points.ndim == 2
            assert points.shape[1] == 2
            assert np.isfinite(points).all()

        return self._allowed(read, "face.pts", data, FormatError)

    def image(self, data: bytes) -> bool:
        """Read a photograph: what is decoded is no larger than the size that was checked before."""

        def read(path: Path) -> None:
            with mock.patch("pyclnf.images.MAX_PIXELS", 2**20):  # more would take long, and test nothing else
                pixels, _ = read_photograph(path)
            assert pixels.dtype == np.uint8
            size, (height, width) = declared_size(data), pixels.shape[:2]
            # EXIF may turn it. Of sizes that a file says twice the larger is checked.
            fits = any(width <= w and height <= h for w, h in (size, size[::-1]))
            assert fits, f"{size}, decoded as {pixels.shape}"

        return self._allowed(read, "photograph", data, ImageError)

    def _allowed(
        self,
        read: Any,
        name: str,
        data: bytes,
        error_type: type[PyclnfError] = ModelError,
        named: bool = True,
    ) -> bool:
        path = self.folder / name
        path.write_bytes(data)
        try:
            read(path)
        except error_type as error:
            assert not named or name in str(error), f"the error does not name the file: {error}"
            return False
        return True


def _read_experts(path: Path) -> None:
    _check_scale(read_ccnf(path))


def _check_scale(scale: PatchScale) -> None:
    arrays = [np.array(scale.scale), scale.centres, *scale.sigma_components.values()]
    for i in range(scale.n_views):
        arrays += [getattr(scale.view(i), field.name) for field in dataclasses.fields(ViewExperts)]
    assert all(np.isfinite(array).all() for array in arrays)


def _check_model(model: Model) -> None:
    """Check that every number of a model is finite, which reads all of it."""
    for own in (model, *(part.model for part in model.parts)):
        for array in (own.pdm.mean, own.pdm.components, own.pdm.eigenvalues, *own.arrays.values()):
            assert array.dtype.kind not in "fc" or np.isfinite(array).all()
        for scale in own.scales:
            _check_scale(scale)


def _fit(path: Path) -> None:
    clnf = CLNF(path)
    landmarks, info = clnf.fit(_IMAGE, _BOX)
    assert landmarks.shape == (clnf.model.pdm.n_landmarks, 2)
    assert np.isfinite(landmarks).all() or not info["success"], "success with landmarks that are not finite"


def _read_table(path: Path) -> None:
    table = read_csv(path)
    assert table.layout in ("image", "video")
    n = len(table)
    for name in ("landmarks", "landmarks_3d", "pose", "success"):
        try:
            assert len(getattr(table, name)) == n
        except FormatError as error:
            assert path.name in str(error)


# --- seeds


def small_model() -> Model:
    """Return a model of two landmarks in one view: few arrays, so that many files a second are tried."""
    random = np.random.default_rng(0)
    view = ViewExperts(
        landmarks=np.array([0, 1], np.int32),
        types=np.array([[GREY, GRADIENT]] * 2, np.int32),
        weights=random.normal(size=(2, 2, 3, 3)).astype(np.float32),
        norm_weights=random.normal(size=(2, 2)),
        biases=random.normal(size=(2, 2)),
        alphas=np.array([[1.0, 2.0], [1.5, 0.0]]),
        betas=random.uniform(size=(2, 3)),
        confidences=random.uniform(size=2),
    )
    scale = PatchScale(0.25, np.zeros((1, 3)), np.ones((1, 2), bool), {3: sigma_components(3)}, [view])
    pdm = PDM([-40, 40, -30, 30, 0, 5], np.eye(6)[:, :1], [20.0])
    arrays = {
        "start/landmarks": np.array([[0, 1]], np.uint8),
        "start/offsets": random.normal(size=(1, 2, 2)).astype(np.float16),
        "start/splits": np.array([[[[0, 1]]]], np.uint16),
        "start/thresholds": np.zeros((1, 1, 1), np.float16),
        "start/leaves": random.integers(-9, 9, (1, 1, 2, 7)).astype(np.int8),
        "start/units": np.full((1, 7), 0.01, np.float32),
        "start/crop": np.array([16, 1.5], np.float32),
    }
    fit = {"windows": [3], "iterations": 2, "sigma": 1.5, "reg_factor": 25.0, "hypotheses": 2}
    metadata = {
        "fit": {"image": fit},
        "confidence": {"image": {"intercept": 1.0, "likelihood": 0.5, "shape": -0.1}},
        "max_scale": 0.4,
        "min_likelihood": -2.0,
    }
    return Model(pdm, [scale], triangles=np.array([[0, 1, 1]], np.int32), metadata=metadata, arrays=arrays)


def model_with_steps() -> Model:
    """Return the small model with a learned start whose linear steps and prior are there, too."""
    random = np.random.default_rng(1)
    small = small_model()
    # A mode must be symmetric or antisymmetric: both landmarks move apart.
    pdm = PDM(small.pdm.mean, np.array([[-0.5], [0.5], [0.5], [0.5], [0.0], [0.0]]), [20.0])
    arrays = {
        # Two steps for heads that look ahead and aside: side, scale, blur, floor, directions.
        "start/descent_patch": np.array([[8, 0.1, 0.5, 1, 2], [9, 0.2, 0.7, 2, 2]], np.float32),
        "start/descent_offsets": random.normal(size=(2, 1, 2)).astype(np.float32),
        "start/descent_edges": np.array([0.4], np.float32),
        "start/descent_mirror": np.array([1, 0], np.uint8),
        "start/descent_weights": random.integers(-9, 9, (2, 2, 2, 2, 7)).astype(np.int8),
        "start/descent_units": np.full((2, 2, 7), 0.01, np.float32),
        "start/descent_bias": random.normal(0, 0.02, (2, 2, 7)).astype(np.float32),
        "start/basis": np.eye(1, dtype=np.float32),
        "start/variances": np.array([4.0], np.float32),
    }
    return Model(
        pdm,
        small.scales,
        triangles=small.triangles,
        metadata=dict(small.metadata),
        arrays={**small.arrays, **arrays},
    )


def model_with_network() -> Model:
    """Return the small model with steps, whose learned start is a network instead of trees."""
    random = np.random.default_rng(2)
    model = model_with_steps()
    arrays = {name: model.arrays[name] for name in model.arrays if "descent" in name or name == "start/crop"}
    arrays |= {
        "start/network_patch": np.array([6, 90.0, 2], np.float32),
        # A layer that halves the patch, one that is added to what it sees, and the last one.
        "start/network_layers": np.array(
            [[3, 2, 1, 16, 0, 1], [1, 1, 0, 16, 1, 1], [3, 1, 0, 16, 0, 0]], np.int32
        ),
        "start/network_limits": np.full(3, 4.0, np.float32),
        "start/network_weights": random.integers(-9, 9, 9 * 16 + 16 * 16 + 9 * 16 * 16).astype(np.int8),
        "start/network_units": np.full(48, 0.001, np.float32),
        "start/network_biases": random.normal(0, 0.02, 48).astype(np.float32),
        "fit/expansion": np.array([[0.1]], np.float32),
    }
    return Model(model.pdm, model.scales, metadata=dict(model.metadata), arrays=arrays)


def seeds(name: str) -> dict[str, bytes]:
    """Return the seeds of a target by file name."""
    return _SEEDS[name]()


def _openface_seeds() -> dict[str, bytes]:
    model = tiny_model()
    clnf = b"PDM data/p.txt\nPatchesCCNF data\\e.bin\nTriangulations triangles.txt"
    main = b"LandmarkDetector clnf.txt\nLandmarkDetector_part part.txt inner 0 0 2 2\nFaceDetConversion x"
    triangles = f"# one\n1\n{text_matrix(np.array([[0, 1, 2]]), 4)}".encode()
    out = b"PDM out\nPatchesCCNF up/model/data/e.bin"
    return {
        "pdm": b"P" + pdm_text(model.pdm).encode(),
        "experts": b"E" + ccnf_bytes(model.scales[0]),
        "texts": b"T" + SEPARATOR.join([main, clnf, triangles]),
        "links": b"T" + SEPARATOR.join([b"LandmarkDetector clnf.txt", out, b""]),
    }


def _npz_seeds() -> dict[str, bytes]:
    small = small_model()
    part = Part("p", Model(small.pdm, small.scales), np.array([[1, 0]], np.int32))
    found = {}
    for name, model in (
        ("small", small),
        ("steps", model_with_steps()),
        ("network", model_with_network()),
        ("plain", Model(small.pdm, small.scales)),
        ("part", Model(small.pdm, small.scales, parts=[part])),
    ):
        file = io.BytesIO()
        model._write(file, zipfile.ZIP_DEFLATED, np.dtype(np.float16))
        found[name] = file.getvalue()
    return found


def _csv_seeds() -> dict[str, bytes]:
    video = (
        "frame, face_id, timestamp, confidence, success, pose_Tx, pose_Ty, pose_Tz, pose_Rx, pose_Ry, pose_Rz"
    )
    video += ", x_0, x_1, y_0, y_1, X_0, X_1, Y_0, Y_1, Z_0, Z_1, p_scale, p_rx, p_0\n"
    row = "0, 0.033, 0.98, 1, 1.0, -2.0, 300.5, 0.1, -0.2, 0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1.2, 0, 0\n"
    photo = "face, confidence, x_0, y_0\n0, 0.9, 1.5, nan\n1, 0, -inf, 2e3\n"
    return {"video": f"{video}1, {row}2, {row}".encode(), "photo": b"\xef\xbb\xbf" + photo.encode()}


def _pts_seeds() -> dict[str, bytes]:
    return {
        "header": b"version: 1\nn_points: 2\n{\n1.000 2.5\n3e2 -4\n}\n",
        "plain": b"1 2\r\n3 4\r\n",
    }


def _image_seeds() -> dict[str, bytes]:
    """Return pictures of each format; written by hand those that OpenCV does not write, or not always."""
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    found = {
        name: cv2.imencode(f".{name.partition('_')[0]}", picture, options)[1].tobytes()
        for name, options in {
            "png": [],
            "jpg": [],
            "jpg_progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
            "bmp": [],
            "ppm": [],
            "tiff": [],
            "webp": [cv2.IMWRITE_WEBP_QUALITY, 50],
            "webp_lossless": [cv2.IMWRITE_WEBP_QUALITY, 101],
        }.items()
    }
    # Turned by a quarter, as EXIF says.
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x112, 3, 1, 6, 0, 0)
    found["jpg_turned"] = b"\xff\xd8\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + found["jpg"][2:]
    tags = [(256, 7), (257, 5), (258, 8), (259, 1), (262, 1), (273, 220), (277, 1), (278, 5), (279, 35)]
    big = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(tags))
    found["tiff_big"] = big + b"".join(struct.pack("<HHQQ", tag, 3, 1, value) for tag, value in tags)
    found["tiff_big"] = found["tiff_big"].ljust(220, b"\0") + bytes(35)
    found["bmp_core"] = b"BM" + struct.pack("<IHHIIHHHH", 26 + 120, 0, 0, 26, 12, 7, 5, 1, 24) + bytes(120)
    found["pgm_ascii"] = b"P2 # comment\n7 5\n255\n" + b"1 " * 35
    return found


_SEEDS = {
    "openface": _openface_seeds,
    "npz": _npz_seeds,
    "csv": _csv_seeds,
    "pts": _pts_seeds,
    "image": _image_seeds,
}
