"""Frames with true timestamps from whatever OpenCV opens: video files, image sequences, cameras.

Frames are read one at a time: memory does not grow with the length of a video.
"""

from __future__ import annotations

import re
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf._files import as_file, is_hidden, is_utf8, meant
from pyclnf._limits import MAX_PIXELS
from pyclnf._stderr import captured_stderr, write_stderr
from pyclnf.errors import ImageError, VideoError
from pyclnf.images import IMAGE_SUFFIXES, count_pictures, read_photograph
from pyclnf.progress import counted

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["Frame", "Video"]

# Frames a second where a source does not tell: image sequences, damaged headers.
DEFAULT_RATE = 30.0
# Headers that claim more may name their clock's rate instead of the frames': so many frames tell.
HIGH_RATE, FRAMES_TO_MEASURE = 1000.0, 30
# Pixels are not believed to be more oblong.
MAX_PIXEL_ASPECT = 8.0
# A video file is believed to end when this many frames in a row cannot be decoded.
MAX_BROKEN_IN_A_ROW = 100
# A file that ends by more than this, in s and as a share, before its header says is cut short.
CUT_SHORT_SECONDS, CUT_SHORT_SHARE = 0.5, 0.02
# What FFmpeg says of a frame that it has not converted, in two lines; OpenCV gives an old one in its place.
_INTERLACED = re.compile(rb"[^\n]*convert interlaced[^\n]*\n?(?: \(Invalid argument\)[^\n]*\n?)?")
# Of so many rows one tells whether a frame may be the one before.
_ROWS_APART = 16


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes
    ----------
    index : int
        0-based, broken frames counted.
    timestamp : float
        Seconds from the beginning of the video, as the file says (cameras: since the first frame).
    image : ndarray, shape (H, W, 3), uint8, or None
        BGR, upright, of square pixels; None if the frame is broken.
    error : str or None
        What is wrong with a broken frame.
    """

    index: int
    timestamp: float
    image: NDArray[np.uint8] | None
    error: str | None = None


class Video:
    """A video file, an image sequence or a camera, frame by frame.

    A context manager and an iterator; a file or sequence can be iterated once.

    Parameters
    ----------
    source : str, Path, int or sequence of str or Path
        A video file; a folder of images, a glob pattern (``frames/*.png``), a
        numbered pattern (``frames/%04d.png``) or a list of images; a camera's index.
        Images of a folder or a pattern are taken in the natural order of their
        names (``2.png`` before ``10.png``).
    frame_rate : float, optional
        Frames a second of an image sequence (default 30), or of a video instead
        of the timestamps that it holds.

    Attributes
    ----------
    name : str
        What to call the source in messages and outputs.
    frame_rate : float
        Frames a second on average.
    frame_count : int or None
        Number of frames as the file's header has it (an estimate), None if unknown.
    size : tuple of int or None
        (width, height) of the frames as shown, None before the first image of a sequence is read.
    cut_short : str or None
        After the last frame: where a file ends that should be longer by its header, as a recording or a
        copy that was broken off.
    notes : list of str
        After the last image of a sequence: what was unusual with some of them.

    Raises
    ------
    VideoError
        If the source is missing or cannot be opened, or the rate is not positive.

    Examples
    --------
    >>> from pyclnf.video import Video
    >>> with Video(["examples/rendered_face.jpg"] * 2, frame_rate=25) as video:
    ...     for frame in video:
    ...         print(frame.timestamp, frame.image.shape)
    0.0 (512, 512, 3)
    0.04 (512, 512, 3)
    """

    name: str
    frame_rate: float
    frame_count: int | None
    size: tuple[int, int] | None
    cut_short: str | None
    notes: list[str]

    def __init__(
        self, source: str | Path | int | Sequence[str | Path], *, frame_rate: float | None = None
    ) -> None:
        if frame_rate is not None and not (isinstance(frame_rate, Real) and 0 < frame_rate < float("inf")):
            raise VideoError(f"a frame rate is a positive number of frames a second, not {frame_rate!r}")
        self._fixed_rate = frame_rate
        self._capture: Any = None
        self.cut_short, self.notes = None, []
        # OpenCV ends the process at -1, any camera, where there is none.
        if isinstance(source, bool) or (isinstance(source, int) and not 0 <= source < 2**31):
            raise VideoError(f"a camera's number is 0, 1, 2 and so on, not {source!r}")
        self._is_camera = isinstance(source, int)
        try:
            self._images = None if isinstance(source, int) else image_files(source)
        except TypeError as error:
            raise VideoError(
                "a video is a file, a folder, a pattern or list of image files, or a camera's number, not "
                f"{type(source).__name__}: frames in memory go to Tracker.update, one by one"
            ) from error
        except OSError as error:  # too long a name, a folder that cannot be read
            raise VideoError(f"{source}: cannot be read: {error.strerror}") from error
        if self._images is not None:
            self.name = str(source) if isinstance(source, str | Path) else str(self._images[0].parent)
            self.frame_rate = frame_rate or DEFAULT_RATE
            self.frame_count = len(self._images)
            self.size = None
        else:
            assert isinstance(source, str | Path | int)
            self.name = f"camera {source}" if self._is_camera else str(source)
            self._open(source)

    def _open(self, source: str | Path | int) -> None:
        import cv2

        if not isinstance(source, int):
            path = Path(source)
            if not path.is_file():
                raise VideoError(
                    f"there is no video {path}: check the path (a camera is given by its number)"
                )
            if path.stat().st_size == 0:
                raise VideoError(f"the video {path} is empty (0 bytes): copy or record it again")
            if not is_utf8(path):
                raise VideoError(f"{path}: OpenCV opens only videos whose whole path is UTF-8: rename it")
            try:  # OpenCV calls what it may not read no video
                path.open("rb").close()
            except OSError as error:
                raise VideoError(f"{path}: cannot be read: {error.strerror}") from error
            source = as_file(path)
        capture = cv2.VideoCapture(source)
        if not capture.isOpened():
            capture.release()
            remedy = (
                "check that it is connected, not in use elsewhere, and that you may use it"
                if self._is_camera
                else "it is no video, or of a format that this OpenCV does not read; convert it to mp4"
            )
            raise VideoError(f"{self.name} cannot be opened: {remedy}")
        self._capture = capture
        self._rows: bytes | None = None  # of the last frame, some
        self._interlaced = False
        # Phones store videos as the sensor lies and say by how much to turn them.
        self._turn = 0
        if not capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1):
            self._turn = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = self._fixed_rate or (rate if rate > 0 else DEFAULT_RATE)
        if self._fixed_rate is None and rate >= HIGH_RATE and isinstance(source, str):
            self.frame_rate = _measured_rate(source, rate)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count = int(count) if 0 < count < 1e9 else None
        # By the header's own rate: frames without a steady one are counted in whatever it names.
        self._frame_seconds = 1.0 / rate if rate > 0 else 0.0
        self._aspect = 1.0 if self._is_camera else self._pixel_aspect()
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if self._turn in (90, 270):
            width, height = height, width
        width, height = self.size = _square_size(width, height, self._aspect)
        if width * height > MAX_PIXELS:
            self.close()
            raise VideoError(
                f"{self.name}: frames of {width} x {height} px are more than {MAX_PIXELS} pixels: "
                "scale it down"
            )

    def _pixel_aspect(self) -> float:
        """Return the width of a pixel of upright frames, by its height."""
        import cv2

        width, height = (self._capture.get(p) for p in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN))
        aspect = width / height if width > 0 and height > 0 else 1.0
        if not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
            return 1.0
        # It is that of frames as they are stored, however OpenCV turns them.
        turned = int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90
        return 1 / aspect if turned else aspect

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file or the camera; may be called twice."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order, broken ones (``image`` None) too."""
        if self._images is not None:
            yield from self._iterate_images(self._images)
        elif self._capture is not None:
            yield from self._iterate_capture()
        else:
            raise VideoError(f"{self.name} is closed: open it again to read it again")

    def _iterate_images(self, paths: Sequence[Path]) -> Iterator[Frame]:
        noted: Counter[str] = Counter()
        for index, path in enumerate(paths):
            timestamp = index / self.frame_rate
            try:
                image, note = read_photograph(path)
            except ImageError as error:
                yield Frame(index, timestamp, None, str(error))
                continue
            if len(paths) == 1 and (count := count_pictures(path)) > 1:
                raise VideoError(
                    f"{path}: its {count} pictures are not read as a video: convert it, for example "
                    f"ffmpeg -i {path.name} {path.stem}.mp4"
                )
            noted.update([note] if note else [])
            self.size = (image.shape[1], image.shape[0])
            yield Frame(index, timestamp, image)
        self.notes = [f"{counted(count, 'image')}: {note}" for note, count in noted.items()]

    def _iterate_capture(self) -> Iterator[Frame]:
        held: list[Frame] = []
        index, lost, previous, begin = 0, 0, None, None
        while self._capture is not None:
            if not self._capture.grab():
                # A damaged frame, if the header says that there are more; otherwise the end.
                lost += 1
                if self._is_camera or index + lost >= (self.frame_count or 0) or lost >= MAX_BROKEN_IN_A_ROW:
                    break
                continue
            begin = time.perf_counter() if begin is None else begin
            timestamp = self._timestamp(index + lost, previous, begin)
            # Between their neighbours in time.
            step = (timestamp - previous) / (lost + 1) if previous is not None else 1.0 / self.frame_rate
            held += [self._broken(index + k, timestamp - (lost - k) * step) for k in range(lost)]
            index, lost = index + lost, 0
            previous = timestamp
            image, interlaced = self._retrieve()
            if interlaced or image is not None:
                yield from held
                held = []
                yield Frame(index, timestamp, None if image is None else self._upright(image), interlaced)
            else:
                held.append(self._broken(index, timestamp))
                if len(held) >= MAX_BROKEN_IN_A_ROW:
                    break
            index += 1
        yield from held
        if index == 0:
            raise VideoError(
                f"{self.name} holds no frame that can be read: it is damaged, or of a codec that this OpenCV "
                f"cannot decode: convert it, for example {self._conversion('-c:v libx264')}"
            )
        self._compare_with_header(index)

    def _retrieve(self) -> tuple[NDArray[np.uint8] | None, str | None]:
        """Return the grabbed frame, or None and, if it is interlaced, what to do about that.

        Some OpenCV give in place of an interlaced frame, with no word but on stderr, what lies in the memory
        for it: the last one that they converted, of this video or of another.
        """
        before = self._rows
        # Cameras may give a frame once only.
        if not self._is_camera and (before is None or self._interlaced):
            ok, image, message = self._converted_and_heard()
        else:
            (ok, image), message = self._capture.retrieve(), False
        if not ok or image is None or not image.size:
            return None, None
        if self._is_camera:
            return image, None
        self._rows = image[::_ROWS_APART].tobytes()
        if before == self._rows and not self._interlaced:
            _, _, message = self._converted_and_heard()
        self._interlaced = message
        if not message:
            return image, None
        text = "interlaced, which this OpenCV cannot convert: convert the video, for example "
        text += self._conversion("-vf yadif")
        if before is None:
            raise VideoError(f"{self.name}: the video is {text}")
        return None, f"the frame is {text}"

    def _converted_and_heard(self) -> tuple[bool, NDArray[np.uint8] | None, bool]:
        """Return what OpenCV gives for the grabbed frame, and whether it says that it is interlaced."""
        with captured_stderr() as written:
            ok, image = self._capture.retrieve()
        rest, found = _INTERLACED.subn(b"", b"".join(written))
        write_stderr(rest)
        return ok, image, found > 0

    def _conversion(self, option: str) -> str:
        path = Path(self.name)
        return f"ffmpeg -i {path.name} {option} {path.stem}_converted.mp4"

    def _broken(self, index: int, timestamp: float) -> Frame:
        return Frame(index, timestamp, None, f"frame {index + 1} of {self.name} cannot be decoded")

    def _compare_with_header(self, frames: int) -> None:
        import cv2

        if self._capture is None or self.frame_count is None or self._is_camera:
            return
        said = self.frame_count * self._frame_seconds
        last = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0
        # The header may count the time before the first frame.
        if hasattr(cv2, "CAP_PROP_PTS"):
            last = max(last, float(self._capture.get(cv2.CAP_PROP_PTS)) * self._frame_seconds)
        read = max(frames * self._frame_seconds, last + self._frame_seconds)
        short = said - read > max(CUT_SHORT_SECONDS, CUT_SHORT_SHARE * said)
        # Or the frames that an edit list leaves out.
        if short and not _is_whole_mp4(Path(self.name)):
            self.cut_short = f"ends after {read:.1f} of {said:.1f} s, as if cut short"

    def _timestamp(self, index: int, previous: float | None, begin: float) -> float:
        import cv2

        if self._is_camera:
            # Not monotonic(), which on Windows may go on by 16 ms at a time: two frames would be of one time.
            return time.perf_counter() - begin
        if self._fixed_rate is not None:
            return index / self._fixed_rate
        timestamp = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0
        # Files without timestamps repeat the last one (or 0).
        if previous is not None and not timestamp > previous:
            return previous + 1.0 / self.frame_rate
        return timestamp

    def _upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return BGR as it is to be seen: turned, and of square pixels."""
        import cv2

        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        # The metadata count clockwise quarter turns, np.rot90 anticlockwise ones.
        if self._turn:
            image = np.ascontiguousarray(np.rot90(image, -(self._turn // 90)))
        size = _square_size(image.shape[1], image.shape[0], self._aspect)
        if size == (image.shape[1], image.shape[0]):
            return image
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _square_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Return the size of a frame whose pixels have been made square, none of them smaller."""
    if aspect >= 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def _measured_rate(file: str, rate: float) -> float:
    """Return a high rate that a header names, or that of the first frames if they are much slower."""
    import cv2

    capture = cv2.VideoCapture(file)
    times: list[float] = []
    while len(times) < FRAMES_TO_MEASURE and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)
    capture.release()
    span = times[-1] - times[0] if times else 0.0
    if span <= 0:
        return DEFAULT_RATE
    measured = (len(times) - 1) / span
    return measured if measured < rate / 2 else rate


def _is_whole_mp4(path: Path) -> bool:
    """Return whether the boxes of an MP4 file end where the file does; False for other files."""
    try:
        return _has_whole_boxes(path)
    except OSError:  # taken away since it was opened
        return False


def _has_whole_boxes(path: Path) -> bool:
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return False
        while place < size:
            file.seek(place)
            header = file.read(16)
            if len(header) < 8:
                return False
            (length,) = struct.unpack_from(">I", header)
            if length == 1 and len(header) == 16:
                (length,) = struct.unpack_from(">Q", header, 8)
            if length < 8:  # 0: to the end of the file, wherever that was
                return False
            place += length
    return place == size


def image_files(source: str | Path | Sequence[str | Path]) -> list[Path] | None:
    """Return the files of an image sequence, or None if the source is a video file."""
    if not isinstance(source, str | Path):
        files = [Path(item) for item in source]
        if not files:
            raise VideoError("the list of images is empty")
        return files
    path = Path(source)
    if path.is_dir():
        files = [p for p in path.iterdir() if is_frame(p)]
        if not files:
            raise VideoError(f"the folder {path} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    elif path.exists():
        return [path] if path.suffix.lower() in IMAGE_SUFFIXES else None
    elif re.search(r"%0?\d*d", path.name):
        before, _, after = re.split(r"(%0?\d*d)", path.name, maxsplit=1)
        number = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        files = meant(path.name, (p for p in _in_folder(path) if number.fullmatch(p.name)))
    elif re.search(r"[*?\[]", path.name):
        files = meant(path.name, path.parent.glob(path.name))
    else:
        return None
    if not files:
        raise VideoError(f"no file matches {path}: check the folder and the pattern")
    return sorted(files, key=_natural_order)


def is_frame(path: Path) -> bool:
    """Return whether a file in a folder of frames is one: by its suffix, unless it is hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path)


def _in_folder(pattern: Path) -> list[Path]:
    if not pattern.parent.is_dir():
        raise VideoError(f"there is no folder {pattern.parent}: check the path")
    return list(pattern.parent.iterdir())


def _natural_order(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    # re's digits, too, are decimal ones alone.
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
