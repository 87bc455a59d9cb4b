"""The limits of docs/limits.md: each is enforced, with an error that names the input and the remedy."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import tempfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generate_model import tiny_model
from pyclnf import CLNF, Tracker, _image_size, _limits, images
from pyclnf.detection import find_faces
from pyclnf.errors import DetectionError, FormatError, ImageError, ModelError, ParameterError, VideoError
from pyclnf.formats import csv_columns, read_csv, read_parquet, read_pts
from pyclnf.measures import measures
from pyclnf.model import Model, Part, load_model
from pyclnf.patch_experts import GREY, PatchScale, ViewExperts
from pyclnf.pdm import PDM
from pyclnf.start import LearnedStart
from pyclnf.video import Video

DOCS = Path(__file__).resolve().parents[2] / "docs" / "limits.md"


@pytest.mark.skipif(not DOCS.is_file(), reason="not a checkout")
def test_the_table_has_every_limit() -> None:
    rows = re.findall(r"^\| .+ \| ([\d.e-]+)[^|]* \| `(\w+)` \|$", DOCS.read_text(encoding="utf-8"), re.M)
    stated = {name: float(value) for value, name in rows}
    assert stated == {name: value for name, value in vars(_limits).items() if name.isupper()}


# --- models

START_ARRAYS = {
    "start/landmarks": np.array([[0, 1]], np.uint8),
    "start/offsets": np.zeros((1, 2, 2), np.float32),
    "start/splits": np.array([[[[0, 1]]]], np.uint16),
    "start/thresholds": np.zeros((1, 1, 1), np.float32),
    "start/leaves": np.zeros((1, 1, 2, 7), np.int8),
    "start/units": np.zeros((1, 7), np.float32),
    "start/crop": np.array([16, 1.5], np.float32),
}


def a_view(n_neurons: int = 1, side: int = 1, landmarks: int = 2) -> ViewExperts:
    shape = landmarks, n_neurons
    return ViewExperts(
        landmarks=np.arange(landmarks, dtype=np.int32),
        types=np.full(shape, GREY, np.int32),
        weights=np.zeros((*shape, side, side), np.float32),
        norm_weights=np.ones(shape),
        biases=np.zeros(shape),
        alphas=np.ones(shape),
        betas=np.zeros((landmarks, 0)),
        confidences=np.ones(landmarks),
    )


def a_scale(
    scale: float = 1.0, *, views: int = 1, view: ViewExperts | None = None, sigma: dict | None = None
) -> PatchScale:
    view = a_view() if view is None else view
    n = len(view.landmarks)
    return PatchScale(
        scale, np.zeros((views, 3)), np.ones((views, n), bool), {} if sigma is None else sigma, [view] * views
    )


def a_pdm(landmarks: int = 2, modes: int = 0) -> PDM:
    return PDM(np.arange(3.0 * landmarks), np.zeros((3 * landmarks, modes)), np.ones(modes))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: a_pdm(1025), r"1025 landmarks and 0 modes: at most 1024 and 512"),
        (lambda: a_pdm(200, 513), r"200 landmarks and 513 modes: at most .* leave out the modes"),
        (lambda: PDM([1e13, 0, 0], np.zeros((3, 0)), []), "mean hold values beyond 1e"),
        (lambda: PDM([1, 0, 0], np.eye(3)[:, :1], [1e-13]), "must all be positive, at least 1e-12"),
        (lambda: a_scale(100.5), "at most 100, not 100.5"),
        (lambda: a_scale(views=65), "65 views of patch scale 1: at most 64"),
        (lambda: a_scale(view=a_view(257)), "257 neurons .* at most 256"),
        (lambda: a_scale(view=a_view(1, 65)), r"neurons of \(65, 65\) px: at most 256 of 64 px"),
        (lambda: a_scale(view=a_view(250, 64, 17)), "the neurons have 69632000 bytes, at most 67108864"),
        (lambda: a_scale(sigma={33: np.zeros((0, 1089, 1089))}), "for windows up to 31"),
        (lambda: a_scale(sigma={1: np.zeros((65, 1, 1))}), "65 sigma components .* at most 64"),
        (lambda: a_scale(sigma={1: np.full((1, 1, 1), np.nan)}), "hold values beyond"),
        (lambda: a_scale(sigma={3: np.zeros((1, 3, 3))}), "have side 9, not"),
        (
            lambda: a_scale(view=a_view(landmarks=80), sigma={31: np.zeros((1, 961, 961), np.float32)}),
            "need 591053440 bytes, at most 536870912 .*leave out this window",
        ),
        (lambda: Model(a_pdm(), [a_scale(1 + k) for k in range(9)]), "9 patch scales and 0 parts: at most 8"),
        (
            lambda: Model(
                a_pdm(),
                [a_scale()],
                parts=[Part("p", Model(a_pdm(), [a_scale()]), np.zeros((1, 2), np.int32))] * 17,
            ),
            "1 patch scales and 17 parts: at most 8 and 16",
        ),
    ],
)
def test_models_that_are_too_large(make, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"fit": []}, "metadata's fit must be an object"),
        ({"fit": {"image": 3}}, "fit/image must be an object"),
        ({"fit": {"image": {"windows": 5}}}, "fit/image/windows must be whole numbers"),
        ({"fit": {"image": {"windows": [5.5]}}}, "fit/image/windows must be whole numbers"),
        ({"fit": {"image": {"sigma": "1"}}}, "fit/image/sigma must be a number"),
        ({"fit": {"image": {"hypotheses": 1.5}}}, "fit/image/hypotheses must be a whole number"),
        ({"fit": {"image": {"mirrored": 1}}}, "fit/image/mirrored must be true or false"),
        ({"confidence": 1}, "confidence must be an object"),
        ({"confidence": {"image": None}}, "confidence/image must be an object"),
        ({"confidence": {"image": {"intercept": 1.0}}}, "confidence must be three numbers a set"),
        (
            {"confidence": {"image": {"intercept": 10**400, "likelihood": 1, "shape": 1}}},
            "confidence/image/intercept",
        ),
        ({"max_scale": "2"}, "max_scale must be a number"),
        ({"max_scale": -1}, "max_scale must be a number from"),
        ({"min_likelihood": []}, "min_likelihood must be a number"),
        ({"max_disagreement": "1"}, "max_disagreement must be a number"),
        ({"max_disagreement": -1.0}, "max_disagreement must be a number that is not negative"),
    ],
)
def test_metadata_that_a_fit_cannot_use(tmp_path: Path, metadata: dict, message: str) -> None:
    tiny = tiny_model()
    with pytest.raises(ModelError, match=message):
        Model(tiny.pdm, tiny.scales, metadata=metadata)
    tiny.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        arrays = dict(file) | {"metadata": np.frombuffer(json.dumps(metadata).encode(), np.uint8)}
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ModelError, match=rf"odd\.npz: .*{message}"):
        load_model(tmp_path / "odd.npz")
    tiny.metadata.update(metadata)
    with pytest.raises(ModelError, match=message):
        tiny.save(tmp_path / "odd.npz")


def test_tracking_with_a_video_set_that_names_no_windows() -> None:
    tiny = tiny_model()
    model = Model(tiny.pdm, tiny.scales, metadata={"fit": {"video": {"sigma": 2.0}}})
    assert CLNF(model, parameters="video").settings("tracking").sigma == 2.0


def test_a_face_without_modes_is_followed() -> None:
    tiny = tiny_model()
    rigid = Model(PDM(tiny.pdm.mean, tiny.pdm.components[:, :0], []), tiny.scales)
    tracker = Tracker(CLNF(rigid), detector=lambda _: [(5, 5, 50, 50)], min_likelihood=-100.0)
    image = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    assert [tracker.update(image)[0].success for _ in range(2)] == [True, True]


def test_what_a_fit_says_of_landmarks_that_are_not_finite() -> None:
    """Weights at the limits overflow; the fit may fail, but must not call that a success."""
    huge = a_view(1, 3)
    huge.weights[:] = 1e12
    huge.alphas[:] = 1e12
    scale = a_scale(0.5, view=huge)
    model = Model(PDM([-40, 40, -30, 30, 0, 5], np.eye(6)[:, :1], [1e12]), [scale])
    image = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    with np.errstate(all="ignore"):
        landmarks, info = CLNF(model).fit(image, (5, 5, 50, 50))
    assert np.isfinite(landmarks).all() or not info["success"]


def test_a_fit_that_ends_where_float32_does(tmp_path: Path) -> None:
    """A scale of 1e109 px per mm is finite; the landmarks in float32 are not."""
    view = a_view(1, 3)
    pdm = PDM([-40, 40, -(2.0**31), 30, 0, 5], np.eye(6)[:, :1], [20.0])
    arrays = dict(START_ARRAYS)
    arrays["start/leaves"] = np.full((1, 1, 2, 7), 100, np.int8)
    arrays["start/units"] = np.array([[2.5, 0, 0, 0, 0, 0, 0]], np.float32)  # exp(250)
    clnf = CLNF(Model(pdm, [a_scale(0.25, view=view)], arrays=arrays))
    image = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    with np.errstate(all="ignore"):
        _, info = clnf.fit(image, (8, 8, 32, 32))
    assert not info["success"]
    assert "astray" in info["failure"]


def test_a_mean_shape_without_area() -> None:
    pdm = PDM([1, 1, 0, 5, 0, 9], np.zeros((6, 0)), [])
    with pytest.raises(ModelError, match="spans no area"):
        pdm.from_box((0, 0, 10, 10))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("crop", np.array([16.0]), "a side and a margin"),
        ("crop", np.array([np.inf, 1.0]), "a side and a margin"),
        ("landmarks", np.array([[300, 1]]), "landmarks do not fit into uint8"),
        ("landmarks", np.array([[0.5, 1]]), "landmarks do not fit into uint8"),
        ("splits", np.array([[[[-1, 0]]]]), "splits do not fit into uint16"),
        ("leaves", np.full((1, 1, 2, 7), 128), "leaves do not fit into int8"),
        ("units", np.full((1, 7), 1e300), "units hold values that are not finite or beyond"),
        ("units", np.full((1, 7), "x"), "units are no numbers"),
    ],
)
def test_learned_starts_that_would_be_cut_to_fit(name: str, value: np.ndarray, message: str) -> None:
    LearnedStart(a_pdm(modes=1), START_ARRAYS)
    with pytest.raises(ModelError, match=message):
        LearnedStart(a_pdm(modes=1), {**START_ARRAYS, f"start/{name}": value})


@pytest.mark.parametrize(("trees", "nodes", "width"), [(1, 2, 7), (1, 1, 5), (1, 1, 8), (0, 1, 7)])
def test_trees_that_the_kernel_cannot_walk(trees: int, nodes: int, width: int) -> None:
    arrays = START_ARRAYS | {
        "start/splits": np.zeros((1, trees, nodes, 2), np.uint16),
        "start/thresholds": np.zeros((1, trees, nodes), np.float32),
        "start/leaves": np.zeros((1, trees, nodes + 1, width), np.int8),
        "start/units": np.zeros((1, width), np.float32),
    }
    message = f"the learned start has {trees} trees of {nodes} nodes, and leaves of {width} numbers"
    with pytest.raises(ModelError, match=message):
        LearnedStart(a_pdm(modes=1), arrays)


def test_a_learned_start_that_leaves_all_numbers() -> None:
    arrays = {
        "start/landmarks": np.array([[0, 1]], np.uint8),
        "start/offsets": np.zeros((1, 2, 2), np.float32),
        "start/splits": np.array([[[[0, 1]]]], np.uint16),
        "start/thresholds": np.zeros((1, 1, 1), np.float32),
        "start/leaves": np.full((1, 1, 2, 7), 127, np.int8),
        "start/units": np.full((1, 7), 1e12, np.float32),
        "start/crop": np.array([16, 1.5], np.float32),
    }
    start = LearnedStart(PDM([-40, 40, -30, 30, 0, 5], np.eye(6)[:, :1], [20.0]), arrays)
    with np.errstate(all="ignore"), pytest.raises(ModelError, match="not finite: its model is damaged"):
        start.hypotheses(np.zeros((40, 40, 1), np.uint8), (5, 5, 30, 30))


# --- zip files


def test_a_directory_larger_than_any_model_has(tmp_path: Path) -> None:
    """zipfile makes an object of half a kilobyte of each entry of 50 bytes."""
    path = tmp_path / "directory.npz"
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    directory = (entry + b"x") * 100_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1000, 1000, len(directory), 0, 0)
    path.write_bytes(directory + end)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=r"directory\.npz: the zip file's directory has more than"):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_directory_of_the_64_bit_kind(tmp_path: Path) -> None:
    """It may say another size than the record that was checked."""
    path = tmp_path / "model.npz"
    tiny_model().save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + content[-22:])
    with pytest.raises(ModelError, match=r"model\.npz: .*of the 64-bit kind"):
        load_model(path)


def test_an_array_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("format.npy", "w") as out:
        for _ in range(6):
            out.write(bytes(100 * 2**20))
    with pytest.raises(ModelError, match=r"bomb\.npz: holds more than 10000 arrays or 536870912 bytes"):
        load_model(path)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", format=np.array([print], dtype=object))
    with pytest.raises(ModelError, match=r"objects\.npz, 'format': object is not what this array may hold"):
        load_model(tmp_path / "objects.npz")


# --- tables


def test_empty_lines_make_no_table_of_millions(tmp_path: Path) -> None:
    """A header of 2000 names and 20,000 empty lines would be a table of 320 MB."""
    path = tmp_path / "lines.csv"
    path.write_text("confidence," + ",".join(f"c{i}" for i in range(2000)) + "\n" * 20_000)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"lines\.csv, line 2: 0 values for 2001 columns"):
            read_csv(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_long_table_takes_little_more_room_than_its_numbers(tmp_path: Path) -> None:
    """Of an hour's video these are 340 MB; its text, or its points once more, would double that."""
    names = csv_columns(68, 34, "video")[0]
    path, row = tmp_path / "v.csv", np.random.default_rng(0).uniform(1, 1000, len(names))
    path.write_text("\n".join([", ".join(names), *[", ".join(f"{value:.3f}" for value in row)] * 6000]))
    size = 6000 * len(names) * 8
    tracemalloc.start()
    try:
        table = read_csv(path)
        assert tracemalloc.get_traced_memory()[1] < 1.6 * size
        tracemalloc.reset_peak()
        measures(table)
        assert tracemalloc.get_traced_memory()[1] < 1.2 * size
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(
        np.stack(list(table.columns.values())), np.round(row, 3)[:, None] + np.zeros(6000)
    )


@pytest.mark.parametrize(("read", "name"), [(read_csv, "MAX_CSV_BYTES"), (read_pts, "MAX_PTS_BYTES")])
def test_tables_that_are_too_large_or_no_files(tmp_path: Path, monkeypatch, read, name: str) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(101))
    monkeypatch.setattr(f"pyclnf.formats.{name}", 100)
    with pytest.raises(FormatError, match="large: 101 bytes, at most 100 are read: cut it"):
        read(path)
    for odd in (tmp_path, tmp_path / "x\0y", Path(os.devnull)):
        with pytest.raises(FormatError, match="cannot be read"):
            read(odd)


def test_parquet_of_equal_values_makes_no_table_of_gigabytes(tmp_path: Path, monkeypatch) -> None:
    """A file of two MB held 3.4 GB."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / "flat.parquet"
    table = pyarrow.table({"confidence": np.zeros(10**5), "x_0": np.zeros(10**5)})
    with parquet.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(2):
            writer.write_table(table)
    assert path.stat().st_size < 2**14
    monkeypatch.setattr("pyclnf.formats.MAX_TABLE_BYTES", 3_200_000)
    assert len(read_parquet(path)) == 2 * 10**5
    monkeypatch.setattr("pyclnf.formats.MAX_TABLE_BYTES", 3_199_999)
    monkeypatch.setattr(parquet.ParquetFile, "read", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(FormatError, match=r"flat\.parquet: 3200000 bytes unpacked, at most 3199999 are read"):
        read_parquet(path)


# --- images, videos, faces


def png(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says how large it is."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_an_image_that_says_it_is_too_large_is_not_decoded(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30_000, 30_000))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"bomb\.png: 30000 x 30000 px are more than .*: scale it down"):
        images.read_photograph(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".gif", ".ppm"])
def test_declared_sizes(suffix: str) -> None:
    try:
        done, data = cv2.imencode(suffix, np.zeros((19, 301, 3), np.uint8))
    except cv2.error:
        done = False
    if not done:
        pytest.skip("this OpenCV does not write it")
    assert _image_size.declared_size(data.tobytes()) == (301, 19)


@pytest.mark.parametrize("quality", [50, 101])  # lossy and lossless WebP are two formats
def test_declared_sizes_of_webp(quality: int) -> None:
    _, data = cv2.imencode(".webp", np.zeros((19, 301, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert _image_size.declared_size(data.tobytes()) == (301, 19)


def jpeg_with(between: bytes) -> bytes:
    """Return a JPEG with bytes between its first two segments."""
    data = cv2.imencode(".jpg", np.full((19, 301, 3), 90, np.uint8))[1].tobytes()
    end = 4 + int.from_bytes(data[4:6], "big")
    return data[:end] + between + data[end:]


def tiff(order: str, tags: list[tuple[int, int, int]], *, big: bool = False) -> bytes:
    """Return a TIFF of one zero byte a pixel (19 x 301), with tags (number, type, value)."""
    tags = [*tags, (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 400), (277, 3, 1), (278, 3, 19)]
    tags.append((279, 4, 19 * 301))
    count, offset, layout = ("Q", 16, "HHQ") if big else ("H", 8, "HHI")
    data = b"II" if order == "<" else b"MM"
    data += struct.pack(f"{order}HHHQ", 43, 8, 0, offset) if big else struct.pack(f"{order}HI", 42, offset)
    data += struct.pack(order + count, len(tags))
    for tag, kind, value in tags:
        data += struct.pack(order + layout, tag, kind, 1)
        data += struct.pack(order + {1: "B", 3: "H", 4: "I", 16: "Q"}[kind], value).ljust(
            8 if big else 4, b"\0"
        )
    return (data + bytes(8)).ljust(400, b"\0") + bytes(19 * 301)


SIZE = [(256, 3, 301), (257, 3, 19)]


@pytest.mark.parametrize(
    "data",
    (
        b"\xff\xd8\xff\xd9" + jpeg_with(b"")[2:],  # a JPEG that ends before its picture begins
        b"\xff\xd8\xff\xe0\0\x04AB\xff\xda" + bytes(9),  # data without a frame
        b"\xff\xd8\xff\xff\xff",
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP9 " + bytes(22),
    ),
)
def test_pictures_that_say_no_size(tmp_path: Path, data: bytes) -> None:
    assert _image_size.declared_size(data) is None
    (tmp_path / "picture").write_bytes(data)
    with pytest.raises(ImageError, match="not an image, or damaged"):
        images.read_photograph(tmp_path / "picture")


@pytest.mark.parametrize(
    "data",
    (
        # What decoders forgive: bytes between segments, fill bytes, markers that nothing belongs to.
        jpeg_with(b"\0garbage"),
        jpeg_with(b"\xff\xff\xff"),
        jpeg_with(b"\xff\0"),
        jpeg_with(b"\xff\xd3"),
        # The width and height of a BMP have two bytes or four.
        b"BM" + struct.pack("<IHHI", 26 + 904 * 19, 0, 0, 26) + struct.pack("<IHHHH", 12, 301, 19, 1, 24)
        + bytes(904 * 19),
        tiff("<", SIZE),
        tiff(">", SIZE),
        tiff("<", SIZE, big=True),
        tiff(">", [(256, 4, 301), (257, 16, 19)], big=True),
        # The first counts, or the last: here the larger.
        tiff("<", [(256, 3, 301), (256, 3, 2), (257, 3, 19), (257, 3, 1)]),
        b"P5 # comment\n301\n# another\n 19 255\n" + bytes(301 * 19),
    ),
)  # fmt: skip
def test_declared_sizes_are_those_that_are_decoded(tmp_path: Path, data: bytes) -> None:
    assert _image_size.declared_size(data) == (301, 19)
    path = tmp_path / "picture"
    path.write_bytes(data)
    assert images.read_photograph(str(path))[0].shape == (19, 301, 3)


@pytest.mark.parametrize(
    ("suffix", "data"),
    (
        (".tif", tiff("<", [(256, 4, 60_000), (257, 4, 60_000)], big=True)),
        (".tif", tiff("<", [(256, 3, 60_000), (256, 3, 2), (257, 3, 60_000)])),
        (".pgm", b"P5\n60000 60000\n255\n" + bytes(99)),
    ),
)
def test_more_images_that_say_they_are_too_large(
    tmp_path: Path, monkeypatch, suffix: str, data: bytes
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="60000 x 60000 px are more than"):
        images.read_photograph(path)


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (".jp2", "not an image, or damaged: JPEG, .* can be read"),
        (".avif", "AVIF is not read: convert it to JPEG or PNG"),
        (".hdr", "not an image, or damaged: JPEG, .* can be read"),
    ],
)
def test_formats_of_unknown_size_are_not_decoded(tmp_path: Path, suffix: str, message: str) -> None:
    try:
        done, data = cv2.imencode(suffix, np.zeros((19, 301, 3), np.uint8))
    except cv2.error:
        done = False
    if not done:
        pytest.skip("this OpenCV does not write it")
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(data.tobytes())
    with pytest.raises(ImageError, match=message):
        images.read_photograph(path)


def test_image_files_that_are_too_large_or_no_files(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(2, 2))
    monkeypatch.setattr("pyclnf.images.MAX_IMAGE_BYTES", 50)
    with pytest.raises(ImageError, match=r"large\.png: \d+ bytes, an image file has at most 50"):
        images.read_photograph(path)
    for odd in (tmp_path, tmp_path / "x\0y", tmp_path / "missing.png", Path(os.devnull)):
        with pytest.raises(ImageError, match="cannot be read"):
            images.read_photograph(odd)


def test_what_opencv_refuses_is_an_error_of_ours(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png(2, 2))
    for message, ours in (("CV_IO_MAX_IMAGE_PIXELS", "too large to be decoded"), ("bad", r"damaged: .*bad")):

        def refuse(*_: object, message: str = message) -> None:
            raise cv2.error(message)

        monkeypatch.setattr(cv2, "imdecode", refuse)
        with pytest.raises(ImageError, match=rf"picture\.png: {ours}"):
            images.read_photograph(path)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    with pytest.raises(ImageError, match="not an image, or damaged"):
        images.read_photograph(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.gif", "reads no GIF: convert it to PNG, or update OpenCV"), ("x.tif", "32 bits or more a value")],
)
def test_images_that_this_opencv_does_not_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    """GIFs before 4.12, and TIFFs of floats."""
    image, path = pytest.importorskip("PIL.Image"), tmp_path / name
    if name == "x.gif":
        image.fromarray(np.zeros((9, 9), np.uint8)).save(path)
        monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    else:
        image.fromarray(np.zeros((9, 9), np.float32)).save(path)
    with pytest.raises(ImageError, match=message):
        images.read_photograph(path)


def test_pictures_of_twelve_bits_in_sixteen_are_noted(tmp_path: Path) -> None:
    levels = np.tile(np.arange(256, dtype=np.uint16), (40, 1))
    for factor, dark in ((257, False), (16, True), (4, True)):
        for name in ("x.png", "x.tif"):
            cv2.imwrite(str(tmp_path / name), levels * factor)
            note = images.read_photograph(tmp_path / name)[1]
            assert ("10 or 12 bits" in note) if dark else note is None
    cv2.imwrite(str(tmp_path / "x.png"), (levels // 16).astype(np.uint8))
    assert images.read_photograph(tmp_path / "x.png")[1] is None
    (tmp_path / "x.tif").write_text("MMXXIV: no picture")
    with pytest.raises(ImageError, match="not an image, or damaged"):
        images.read_photograph(tmp_path / "x.tif")


@pytest.mark.parametrize("white", [1, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_white_of_portable_maps_is_what_their_header_says(tmp_path: Path, kind: str, white: int) -> None:
    channels = 3 if kind in ("P3", "P6") else 1
    values = np.linspace(0, white, 40 * 50).round().astype(int).reshape(40, 50)
    values = np.repeat(values[:, :, None], channels, axis=2)
    if kind in ("P2", "P3"):  # without a blank at the end
        data = " ".join(map(str, values.ravel())).encode()
    else:
        data = values.astype(">u2" if white > 255 else np.uint8).tobytes()
    path = tmp_path / "x.pnm"
    path.write_bytes(f"{kind}\n# 8 8 8\n50 40\n{white}\n".encode() + data)
    image, note = images.read_photograph(path)
    assert (image.dtype, image.shape, note) == (np.uint8, (40, 50, 3), None)
    np.testing.assert_allclose(image, np.broadcast_to(values * 255 / white, image.shape), atol=1)


def test_bitmaps_have_no_white_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "x.pbm").write_bytes(b"P1\n3 2\n1 0 1\n0 1 0")
    assert images.read_photograph(tmp_path / "x.pbm")[0][:, :, 0].tolist() == [[0, 255, 0], [255, 0, 255]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypmif1" + bytes(99), "HEIC is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypavif" + bytes(99), "AVIF is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypcrx " + bytes(99), "a camera's raw file is not read: convert it to JPEG or PNG"),
        (b"%PDF-1.4" + bytes(99), "PDF is not read: convert it to JPEG or PNG"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypisom" + bytes(99), "this is a video: use pyclnf track"),
        (b"\x1aE\xdf\xa3" + bytes(99), "this is a video: use pyclnf track"),
        (b"0&\xb2u\x8ef\xcf\x11" + bytes(99), "this is a video: use pyclnf track"),
        (b"RIFF\0\0\0\0AVI LIST" + bytes(99), "this is a video: use pyclnf track"),
        (b"RIFF\0\0\0\0WAVE" + bytes(99), "not an image, or damaged"),
    ],
)
def test_files_that_are_often_taken_for_images_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=rf"x\.jpg: {message}"):
        images.read_photograph(tmp_path / "x.jpg")


def test_on_windows_it_is_said_why_opencv_may_not_have_read_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    for system, said in (("linux", False), ("win32", True)):
        monkeypatch.setattr(sys, "platform", system)
        with pytest.raises(ImageError, match=r"not NoneType: read files with cv2\.imread") as caught:
            images.as_pixels(None)  # type: ignore[arg-type]
        assert ("path is not ASCII: pyclnf.images.read_photograph reads" in str(caught.value)) == said


def test_pictures_are_counted_whatever_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's functions for image files find on Windows none whose path is not ASCII."""
    path = tmp_path / "M\u00fcller.tif"
    cv2.imwritemulti(str(tmp_path / "two.tif"), [np.full((8, 8), 200, np.uint8)] * 2)
    (tmp_path / "two.tif").rename(path)
    imcount = cv2.imcount
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(cv2, "imcount", lambda name: imcount(name) if name.isascii() else 0)
    assert images.read_photograph(path)[1] == "the first of 2 pictures in the file"
    # Nor does a copy help where the user's name is in its path: OpenCV would complain of each file.
    monkeypatch.setattr(cv2, "imcount", pytest.fail)
    (tmp_path / "M\u00fcller").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "M\u00fcller"))
    image, note = images.read_photograph(path)
    assert image.shape == (8, 8, 3)
    assert note is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_pictures_in_files_whose_names_are_not_utf8_are_counted(tmp_path: Path) -> None:
    """OpenCV would end the process."""
    assert cv2.imwritemulti(str(tmp_path / "x.tif"), [np.full((9, 9, 3), 99, np.uint8)] * 2)
    path = (tmp_path / "x.tif").rename(tmp_path / os.fsdecode(b"M\xfcller.tif"))
    image, note = images.read_photograph(path)
    assert image.shape == (9, 9, 3)
    assert note == "the first of 2 pictures in the file"


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_pictures_too_large_for_their_format(tmp_path: Path, suffix: str) -> None:
    picture = np.zeros((2, 70_000, 3), np.uint8)
    with pytest.raises(ImageError, match=rf"70000 x 2 px cannot be written as \{suffix} .*name a \.png"):
        images.write_image(tmp_path / f"a{suffix}", picture)
    images.write_image(str(tmp_path / "a.png"), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_pictures_that_cannot_be_written(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    images.write_image(tmp_path / "new" / "a.png", picture)
    assert images.read_photograph(tmp_path / "new" / "a.png")[0].shape == (4, 4, 3)
    with pytest.raises(ParameterError, match=r"are written as \.png, \.jpg or \.tif, not '\.xyz'"):
        images.write_image(tmp_path / "a.xyz", picture)
    with pytest.raises(ImageError, match=r"b\.png: cannot be written"):
        images.write_image(tmp_path / "new" / "a.png" / "b.png", picture)
    assert [file.name for file in tmp_path.rglob("*.*")] == ["a.png"]


@pytest.mark.parametrize(
    ("image", "message"),
    (
        (None, "an image is a NumPy array, not NoneType: read files with cv2.imread"),
        (np.zeros((2, 2, 2), np.uint8), r"not an array of shape \(2, 2, 2\)"),
        (np.zeros((0, 2), np.uint8), "the image is empty"),
        (np.zeros((2, 2), np.uint16), "the image has 16 bits"),
        (np.zeros((2, 2), np.int8), "not int8"),
    ),
)
def test_arrays_that_are_no_images(image: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        images.as_pixels(image)  # type: ignore[arg-type]


MAGIC = (b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"\xff\xd8", b"RIFF0000WEBPVP8X", b"RIFF0000WEBPVP8L")
MAGIC += (b"RIFF0000WEBPVP8 ", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0", b"", b"P5\n", b"P6 7 8", b"MM\0+")
MAGIC += (b"II+\0\x08\0\0\0" + struct.pack("<Q", 16), b"II+\0\x08\0\0\0" + b"\xff" * 8, b"\xff\xd8\xff")


@given(st.sampled_from(MAGIC), st.binary(max_size=60))
def test_declared_sizes_of_damaged_files(start: bytes, rest: bytes) -> None:
    size = _image_size.declared_size(start + rest)
    assert size is None or (len(size) == 2 and min(size) >= 0)


def test_images_that_are_too_large() -> None:
    # No memory is behind it: all rows are the same.
    huge = np.broadcast_to(np.zeros((1, 20_000), np.uint8), (10_000, 20_000))
    with pytest.raises(ImageError, match="20000 x 10000 px are more than 180000000 pixels"):
        images.as_pixels(huge)
    long = np.broadcast_to(np.zeros((1, 1), np.uint8), (1, 1_000_001))
    with pytest.raises(ImageError, match="or 1000000 along a side: scale it down first"):
        images.as_pixels(long)


def test_videos_of_frames_that_are_too_large(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    with Video(path) as video:
        assert video.size == (64, 48)
    monkeypatch.setattr("pyclnf.video.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError, match=r"v\.avi: frames of 64 x 48 px are more than 3071"):
        Video(path)


def test_a_detector_that_finds_faces_everywhere() -> None:
    def everywhere(image: np.ndarray) -> np.ndarray:
        return np.tile([1.0, 1.0, 5.0, 5.0], (1001, 1))

    with pytest.raises(DetectionError, match="found 1001 faces in an image, at most 1000 are taken"):
        find_faces(everywhere, np.zeros((20, 20), np.uint8))


def test_more_faces_at_once_than_a_call_takes(monkeypatch) -> None:
    monkeypatch.setattr("pyclnf.clnf.MAX_FACES_AT_ONCE", 3)
    clnf = CLNF(tiny_model())
    with pytest.raises(ParameterError, match="4 boxes at once, at most 3: call fit_many for some"):
        clnf.fit_many(np.zeros((20, 20), np.uint8), [(1, 1, 9, 9)] * 4)
