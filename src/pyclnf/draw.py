"""Pictures of fits: landmarks, boxes, the head's axes and confidence on images and videos."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf._arrays import as_bytes
from pyclnf._files import as_file, is_utf8, replacing
from pyclnf.errors import ParameterError, VideoError
from pyclnf.images import as_pixels
from pyclnf.pdm import axis_angle_to_matrix, check_box, euler_to_matrix, matrix_to_euler

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    from pyclnf.face import Face

__all__ = ["IBUG_68_LINES", "VideoOverlay", "draw_axes", "draw_faces", "draw_landmarks"]

# BGR from no confidence over 0.5 to full.
CONFIDENCE_COLOURS = np.array([(60, 60, 235), (40, 190, 250), (80, 230, 60)], np.float64)
# Of the videos that are written, by suffix.
VIDEO_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
# And what they cannot exceed, frames a second.
HIGHEST_RATES = {".mp4": 65535.0, ".avi": 600.0}
# Length of the drawn axes, mm: about the half of a face's width.
AXIS_LENGTH = 70.0

# Runs of landmarks in the iBUG 68 mark-up: (first, last, closed).
IBUG_68_LINES = (
    (0, 16, False),  # jaw
    (17, 21, False),  # right brow
    (22, 26, False),  # left brow
    (27, 30, False),  # bridge of the nose
    (31, 35, False),  # nostrils
    (36, 41, True),  # right eye
    (42, 47, True),  # left eye
    (48, 59, True),  # outer lips
    (60, 67, True),  # inner lips
)


def draw_landmarks(
    image: NDArray[Any],
    landmarks: ArrayLike,
    *,
    box: ArrayLike | None = None,
    numbers: bool = False,
    colour: ArrayLike = (80, 230, 60),
) -> NDArray[np.uint8]:
    """Draw landmarks on a copy of an image.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, 3), uint8, float32 or float64
        Grey or BGR, 0..255; not changed.
    landmarks : array_like, shape (n, 2)
        Pixels. Of 68 landmarks the parts of the face are joined by lines.
    box : array_like, shape (4,), optional
        (x, y, w, h), drawn as a rectangle.
    numbers : bool
        Write each landmark's index (0-based) beside it.
    colour : array_like, shape (3,)
        BGR, 0..255.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        BGR.

    Raises
    ------
    ImageError, ParameterError, BoxError
        If the image (see `CLNF.fit`), the landmarks or the box cannot be drawn, or the colour is none.
    """
    import cv2

    try:
        points = np.asarray(landmarks, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"landmarks are an array (n, 2) of numbers, not {landmarks!r}") from error
    if points.ndim != 2 or points.shape[1] != 2:
        raise ParameterError(f"landmarks are an array (n, 2), not {points.shape}")
    ink = _bgr(colour)
    picture = as_bytes(as_pixels(image))
    # A copy in any case.
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else np.array(picture, order="C")
    finite = points[np.isfinite(points).all(axis=1)]
    extent = float(np.ptp(finite, axis=0).max()) if len(finite) else 0.0
    # Points far outside the picture must not blow up the dots of those inside.
    radius = max(1, round(min(extent, max(picture.shape[:2])) / 120))
    thickness = max(1, round(radius / 3))
    fixed = _fixed(points)
    if box is not None:
        x, y, w, h = check_box(box)
        corners = _fixed([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
        cv2.polylines(picture, [corners], True, (0, 200, 255), radius, cv2.LINE_AA, 4)
    if len(points) == 68:
        for first, last, closed in IBUG_68_LINES:
            cv2.polylines(picture, [fixed[first : last + 1]], closed, ink, thickness, cv2.LINE_AA, 4)
    for index, (point, whole) in enumerate(zip(fixed, points, strict=True)):
        if not np.isfinite(whole).all():
            continue
        centre = (int(point[0]), int(point[1]))
        cv2.circle(picture, centre, radius * 16, ink, -1, cv2.LINE_AA, 4)
        if numbers:
            place = (centre[0] // 16 + radius + 1, centre[1] // 16)
            _write(picture, str(index), place, (255, 255, 255), max(0.3, 0.1 * radius), thickness)
    return picture


def draw_axes(picture: NDArray[np.uint8], pose: ArrayLike, length: float = AXIS_LENGTH) -> None:
    """Draw the axes of a head into a picture.

    Red goes to the head's side (right in the image), green down, blue to where it looks.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3), uint8
        BGR; changed.
    pose : array_like, shape (6,)
        (s, rx, ry, rz, tx, ty) of the PDM: px per mm, radians, px.
    length : float
        Of an axis, mm.
    """
    import cv2

    s, rx, ry, rz, tx, ty = np.asarray(pose, np.float64)
    if not np.isfinite([s, rx, ry, rz, tx, ty]).all():
        return
    # The face looks against the z axis, which points away from the camera.
    ends = euler_to_matrix((rx, ry, rz)) @ np.diag([1.0, 1.0, -1.0]) * length * s
    begin = _fixed((tx, ty)).tolist()
    thickness = max(1, round(s * 1.2))
    for end, colour in zip(ends[:2].T, ((60, 60, 235), (80, 200, 60), (235, 120, 40)), strict=True):
        cv2.line(
            picture, begin, _fixed((tx + end[0], ty + end[1])).tolist(), colour, thickness, cv2.LINE_AA, 4
        )


def as_seen(parameters: ArrayLike, pose: ArrayLike) -> NDArray[np.float64]:
    """Return what `draw_axes` takes: where and how large a face is, and how its head is seen turned.

    The parameters leave a part of the turn to the shape, the pose does not. That is the turn before the
    camera: a head beside the image's middle is seen turned by as much as it lies off the camera's axis.

    Parameters
    ----------
    parameters : array_like, shape (6,)
        (s, rx, ry, rz, tx, ty) of the PDM.
    pose : array_like, shape (6,)
        (X, Y, Z, rx, ry, rz) before the camera.

    Returns
    -------
    ndarray, shape (6,), float64
    """
    s, _, _, _, tx, ty = np.asarray(parameters, np.float64)
    x, y, z, *turn = np.asarray(pose, np.float64).tolist()
    off = math.hypot(x, y)
    angle = math.atan2(off, z) / off if off else 0.0
    to_head = axis_angle_to_matrix((-y * angle, x * angle, 0.0))
    return np.array([s, *matrix_to_euler(to_head.T @ euler_to_matrix(turn)), tx, ty])


def _fixed(points: ArrayLike) -> NDArray[np.int32]:
    """Return points in sixteenths of a pixel, which OpenCV's drawing takes with shift 4."""
    return np.asarray(np.rint(np.nan_to_num(np.clip(points, -1e5, 1e5)) * 16), np.int32)


def _bgr(colour: ArrayLike) -> tuple[float, float, float]:
    """Return a colour as OpenCV takes it."""
    try:
        b, g, r = np.asarray(colour, np.float64).tolist()
        valid = all(0 <= value <= 255 for value in (b, g, r))
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ParameterError(f"a colour is three numbers, blue, green and red, 0..255, not {colour!r}")
    return b, g, r


def confidence_colour(confidence: float) -> tuple[int, int, int]:
    """Return red, over orange, to green, as BGR."""
    place = float(np.clip(np.nan_to_num(confidence), 0, 1)) * (len(CONFIDENCE_COLOURS) - 1)
    stops = np.arange(len(CONFIDENCE_COLOURS))
    b, g, r = (int(np.interp(place, stops, channel)) for channel in CONFIDENCE_COLOURS.T)
    return b, g, r


def draw_faces(image: NDArray[Any], faces: Iterable[Face], *, title: str = "") -> NDArray[np.uint8]:
    """Draw faces on a copy of an image: landmarks, box, axes of the head, id and confidence.

    The colour goes from red (no confidence) over orange to green.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, 3), uint8, float32 or float64
        Grey or BGR, 0..255; not changed.
    faces : iterable of Face
        Failed ones are left out.
    title : str
        Written in the upper left corner.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        BGR.

    Raises
    ------
    ImageError
        If the image has another shape, dtype or range.
    ParameterError
        If the faces are no list of `Face`.
    """
    picture = draw_landmarks(image, np.empty((0, 2)))
    if not isinstance(faces, Iterable):
        raise ParameterError(f"faces are a list of Face, not {faces!r}: for one, [face]")
    for face in faces:
        if not hasattr(face, "success"):
            raise ParameterError(
                f"faces are a list of Face, not of {type(face).__name__}: landmarks are drawn by "
                "draw_landmarks"
            )
        if not face.success:
            continue
        colour = confidence_colour(1.0 if face.confidence is None else face.confidence)
        picture = draw_landmarks(picture, face.landmarks, box=face.box, colour=colour)
        draw_axes(picture, as_seen(face.params.pose, face.pose))
        low = face.landmarks.min(axis=0)
        known = "" if face.confidence is None else f": {face.confidence:.2f}"
        write_text(picture, f"{face.face_id}{known}", (low[0], low[1] - 6), colour)
    if title:
        write_text(picture, title, (6, 24), (255, 255, 255))
    return picture


def write_text(
    picture: NDArray[np.uint8], text: str, place: tuple[float, float], colour: tuple[int, int, int]
) -> None:
    """Write text into a picture, its lower left corner at a place, in a size that goes with the picture's."""
    import cv2

    height, width = picture.shape[:2]
    size = float(np.clip(max(height, width) / 1300, 0.5, 2.0))
    thickness = max(1, round(size * 2))
    # Within the picture, as far as it can.
    (length, _), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    corner = (
        int(np.clip(place[0], 0, max(width - length, 0))),
        int(np.clip(place[1], 30 * size, max(height - 1 - below, 30 * size))),
    )
    _write(picture, text, corner, colour, size, thickness)


def _write(
    picture: NDArray[np.uint8],
    text: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    size: float,
    thickness: int,
) -> None:
    """Write text with a dark rim. It is made of shifted texts: in OpenCV 5 a thicker text is a wider one."""
    import cv2

    rim = [((0, 0, 0), shift) for shift in product((-1, 0, 1), repeat=2)]
    for ink, (right, down) in (*rim, (colour, (0, 0))):
        start = (corner[0] + right, corner[1] + down)
        cv2.putText(picture, text, start, cv2.FONT_HERSHEY_SIMPLEX, size, ink, thickness, cv2.LINE_AA)


def _writable_rate(rate: float, suffix: str) -> float:
    """Return a frame rate that the video can have: of MPEG-4 a fraction of whole numbers below 65536."""
    if rate <= 60:
        return rate
    return round(min(rate, HIGHEST_RATES[suffix]), 1 if rate < 6000 else 0)


class VideoOverlay:
    """Writes a video of frames with their faces drawn on them; a context manager.

    The file has a temporary name until the block ends; if it ends with an
    exception nothing is left.

    Parameters
    ----------
    path : str or Path
        ``.mp4`` or ``.avi``.
    frame_rate : float
        Frames a second: a constant rate, whatever the source's.

    Raises
    ------
    ParameterError
        If the suffix is another.
    VideoError
        If the path is not UTF-8, or this OpenCV cannot write such a video.
    """

    def __init__(self, path: str | Path, frame_rate: float) -> None:
        self.path, self.frame_rate = Path(path), frame_rate
        if self.path.suffix.lower() not in VIDEO_CODECS:
            raise ParameterError(f"{path}: videos are written as .mp4 or .avi")
        if not is_utf8(self.path):
            raise VideoError(f"{path}: OpenCV writes only videos whose whole path is UTF-8: name another")
        self._codec = VIDEO_CODECS[self.path.suffix.lower()]
        self._size: tuple[int, int] | None = None
        self._target: AbstractContextManager[Path] | None = None
        self._temporary: Path | None = None
        self._writer: Any = None
        self._frames = 0

    def __enter__(self) -> Self:
        return self

    def write(self, image: NDArray[np.uint8] | None, faces: Iterable[Face], title: str = "") -> None:
        """Add a frame; None, a broken one, is black. Frames of another size are scaled to the first one's."""
        import cv2

        if image is None:
            if self._size is None:
                return
            image = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        picture = draw_faces(image, faces, title=title)
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            codec = cv2.VideoWriter.fourcc(*self._codec)
            # Not before: of a video without a whole frame there is none to put in place.
            target = replacing(self.path)
            self._temporary = target.__enter__()
            self._target, self._writer = target, cv2.VideoWriter()
            rate = _writable_rate(self.frame_rate, self.path.suffix.lower())
            self._writer.open(as_file(self._temporary), codec, rate, self._size)
            if not self._writer.isOpened():
                raise VideoError(f"{self.path}: this OpenCV cannot write {self.path.suffix} videos")
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        self._writer.write(picture)
        self._frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._target is not None:
            self._writer.release()
            if kind is None and not self._is_whole():
                failure = VideoError(f"{self.path}: the video cannot be written: is there room for it?")
                self._target.__exit__(VideoError, failure, None)
                raise failure
            self._target.__exit__(kind, error, trace)

    def _is_whole(self) -> bool:
        """Return whether what was written can be read: the writer does not say that a disk is full."""
        import cv2

        assert self._temporary is not None
        video = cv2.VideoCapture(as_file(self._temporary))
        # Headers are estimates.
        whole = video.isOpened() and video.grab() and video.get(cv2.CAP_PROP_FRAME_COUNT) > 0.9 * self._frames
        video.release()
        return bool(whole)
