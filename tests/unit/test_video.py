"""Frames and timestamps."""

from __future__ import annotations

import base64
import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pyclnf import VideoError
from pyclnf import video as video_module
from pyclnf.images import read_photograph
from pyclnf.video import MAX_BROKEN_IN_A_ROW, Video

# Three grey frames each of MPEG-2, 64 x 48.
INTERLACED = base64.b64decode(
    "AAABswQAMCP//+AYAAABtRSCAAEAAAAAAbgACABAAAABAAAP//gAAAG1j//zgAAAAAEB+3p5Z6ROwpSkSsIwjKdpSlJygAAAAQL7"
    "enpGEotIRjEWFKRnFljSkRAAAAED+3qKSxiVjLGETtJoUiLSlKROAAABBPt6eEYRFjSlInaUpSqi0pSllXAAAAEAAFf/+4AAAAG1"
    "gR/zgAAAAAEB+m0bAAABAvptGwAAAQP6bRsAAAEE+jenhGERRjSlInRpSlJxRhow0YiAAAABAACX//uAAAABtYEf84AAAAABAfpt"
    "GwAAAQL6bRsAAAED+m0bAAABBPo3p4RhEUY0pSJ0aUpSJUZoRhOU"
)
PROGRESSIVE = base64.b64decode(
    "AAABswQAMCP//+AYAAABtRSKAAEAAAAAAbgACABAAAABAAAP//gAAAG1j//zQYAAAAEB+/Tyz0idilKRKxGEZTuUpScoAAABAvv0"
    "9IwlFyEYxFilIzi1jSkRAAAAAQP79RSWMSsyxhE7k0KRFylKROAAAAEAAFf/+4AAAAG1gR/zQYAAAAEB+nRwAAABAvp0cAAAAQP6"
    "dHAAAAEAAJf/+4AAAAG1gR/zQYAAAAEB+nRwAAABAvp0cAAAAQP6dHA="
)


def grey_frame(level: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), level, np.uint8)


def write_video(path: Path, frames: list[np.ndarray], rate: float, code: str = "MJPG") -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 10, 9):
        cv2.imwrite(str(folder / f"frame{number}.png"), grey_frame(number * 10))
    (folder / "notes.txt").write_text("no image")
    return folder


def levels(video: Video) -> list[int | None]:
    return [None if frame.image is None else round(float(frame.image.mean())) for frame in video]


# --- files


def test_every_frame_of_a_file_with_its_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [grey_frame(10 * i) for i in range(12)], 25.0)
    with Video(path) as video:
        assert (video.frame_count, video.frame_rate, video.size) == (12, 25.0, (64, 48))
        frames = list(video)
    assert [frame.index for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.timestamp for frame in frames], np.arange(12) / 25, atol=1e-3)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], np.arange(12) * 10, atol=3)


def test_a_rate_may_be_given(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0)
    assert [frame.timestamp for frame in Video(path, frame_rate=10)] == [0.0, 0.1, 0.2]


def test_timestamps_are_those_of_the_file(test_data: Path) -> None:
    """The recording of 15 frames a second holds a frame each 64 ms, not each 66.7."""
    timestamps = np.array([frame.timestamp for frame in Video(test_data / "videos" / "changeLighting.wmv")])
    assert len(timestamps) == 88
    np.testing.assert_allclose(timestamps[:4], [0, 0.064, 0.129, 0.193], atol=1e-6)
    assert (np.diff(timestamps) > 0).all()


def test_variable_frame_rate(tmp_path: Path) -> None:
    """The times between frames of an MP4 are changed in its table (stts): what comes out must follow it."""
    path = write_video(tmp_path / "a.mp4", [grey_frame(20 * i) for i in range(8)], 25.0, "mp4v")
    data = bytearray(path.read_bytes())
    at = data.index(b"stts")
    count, samples, step = struct.unpack(">III", data[at + 8 : at + 20])
    assert (count, samples) == (1, 8)
    # One entry becomes two: 4 frames with the old step, 4 with the triple. The boxes around the table grow.
    longer = struct.pack(">IIIII", 2, 4, step, 4, 3 * step)
    data[at + 8 : at + 20] = longer
    for name in (b"stts", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = data.index(name) - 4
        size = struct.unpack(">I", data[place : place + 4])[0]
        data[place : place + 4] = struct.pack(">I", size + 8)
    assert data.index(b"mdat") < data.index(b"moov"), "the frames' places would move"
    # Without the edit list, which would cut the video at its old length.
    path.write_bytes(data.replace(b"edts", b"free"))
    steps = np.diff([frame.timestamp for frame in Video(path)])
    np.testing.assert_allclose(steps, [0.04] * 4 + [0.12] * 3, atol=2e-3)


@pytest.mark.parametrize(("turn", "corner"), [(0, (0, 0)), (90, (0, 1)), (180, (1, 1)), (270, (1, 0))])
def test_videos_of_turned_phones_come_upright(tmp_path: Path, turn: int, corner: tuple[int, int]) -> None:
    """The matrix of the track header tells how to turn: the white corner must follow."""
    frame = grey_frame(0, (96, 64))
    frame[:24, :24] = 255
    path = write_video(tmp_path / "phone.mp4", [frame] * 4, 25.0, "mp4v")
    data = bytearray(path.read_bytes())
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(
        ">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30
    )
    path.write_bytes(data)
    with Video(path) as video:
        size = video.size
        image = next(iter(video)).image
    assert image is not None
    expected = (64, 96) if turn in (90, 270) else (96, 64)
    assert (image.shape[1], image.shape[0]) == expected == size
    height, width = image.shape[:2]
    y, x = (np.array(corner) * (height - 1, width - 1)).astype(int)
    brightest = np.unravel_index(cv2.blur(image[:, :, 0], (9, 9)).argmax(), (height, width))
    assert abs(brightest[0] - y) < 24
    assert abs(brightest[1] - x) < 24


def insert_pixel_aspect(path: Path, horizontal: int, vertical: int) -> None:
    """Give the frames of an MP4 oblong pixels (pasp): the boxes around grow."""
    data = bytearray(path.read_bytes())
    assert data.index(b"mdat") < data.index(b"moov"), "the frames' places would move"
    end = data.index(b"esds") - 4
    end += struct.unpack_from(">I", data, end)[0]
    data[end:end] = struct.pack(">I4sII", 16, b"pasp", horizontal, vertical)
    for name in (b"mp4v", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = data.rindex(name, 0, end) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + 16)
    path.write_bytes(data)


def turn_clockwise(path: Path) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        ((2, 1), (192, 64)),
        ((1, 2), (96, 128)),
        ((16, 15), (102, 64)),
        ((1, 1), (96, 64)),
        ((99, 1), (96, 64)),
    ],
)
def test_pixels_come_square(
    tmp_path: Path, aspect: tuple[int, int], size: tuple[int, int], turned: bool
) -> None:
    """As stored the frame is 96 x 64, white to the right of its middle; impossible pixels are left."""
    frame = grey_frame(0, (96, 64))
    frame[:, 48:] = 255
    path = write_video(tmp_path / "a.mp4", [frame] * 3, 25.0, "mp4v")
    insert_pixel_aspect(path, *aspect)
    if turned:
        turn_clockwise(path)
    with Video(path) as video:
        images = [found.image for found in video]
        assert video.size == (size[::-1] if turned else size)
    for image in images:
        assert image is not None
        assert image.dtype == np.uint8
        upright = np.rot90(image) if turned else image  # as stored
        assert upright.shape == (size[1], size[0], 3)
        means = upright.mean(axis=(0, 2))
        middle = size[0] // 2
        assert means[: middle - 8].max() < 40
        assert means[middle + 8 :].min() > 215


def test_images_are_called_by_their_folder_and_have_the_size_of_the_last(tmp_path: Path) -> None:
    for name, width in (("a", 64), ("b", 40)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((48, width), np.uint8))
    for source in (tmp_path, str(tmp_path), [tmp_path / "a.png", tmp_path / "b.png"]):
        video = Video(source)
        assert (video.name, video.size) == (str(tmp_path), None)
        assert [video.size for _ in video] == [(64, 48), (40, 48)]
    assert Video([tmp_path / "a.png"]).name == str(tmp_path)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"no video .*gone\.mp4.*check the path"):
        Video(tmp_path / "gone.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="empty"):
        Video(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("this is no video " * 100)
    with pytest.raises(VideoError, match=r"text\.mp4 cannot be opened: it is no video, or of a format"):
        Video(tmp_path / "text.mp4")


def test_a_video_that_may_not_be_read_is_not_called_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows, as long as the program that records or copies it has it open."""

    def refuse(path: Path, mode: str = "r") -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = write_video(tmp_path / "locked.avi", [grey_frame(20)] * 3, 25.0)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(VideoError, match=r"locked\.avi: cannot be read: Permission denied"):
        Video(path)


@pytest.mark.parametrize("number", [-1, 2**31, True])
def test_numbers_that_no_camera_has(number: int) -> None:
    with pytest.raises(VideoError, match=f"a camera's number is 0, 1, 2 and so on, not {number}"):
        Video(number)


def test_no_such_camera() -> None:
    with pytest.raises(VideoError, match="camera 97 cannot be opened: check that it is connected"):
        Video(97)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """OpenCV would end the process."""
    path = write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0)
    odd = path.rename(tmp_path / os.fsdecode(b"M\xfcller.avi"))
    with pytest.raises(VideoError, match="whole path is UTF-8: rename it"):
        Video(odd)


class Capture:
    """A camera's or a file's frames, without a camera."""

    def __init__(self, frames: list[np.ndarray], settings: dict[int, float]) -> None:
        self.frames, self.settings = iter(frames), settings
        self.frame: np.ndarray | None = None
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, name: int, value: float) -> bool:
        return name in self.settings and name != cv2.CAP_PROP_ORIENTATION_AUTO

    def get(self, name: int) -> float:
        return self.settings.get(name, 0.0)

    def grab(self) -> bool:
        self.frame = next(self.frames, None)
        return self.frame is not None

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return True, self.frame

    def release(self) -> None:
        self.frame = None
        self.released = True


def test_a_file_is_released_at_the_end_of_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows lets nobody remove it before."""
    capture = Capture([grey_frame(1)] * 2, {cv2.CAP_PROP_FRAME_COUNT: 2.0})
    (tmp_path / "v.mp4").write_bytes(b"0")
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: capture)
    with Video(tmp_path / "v.mp4") as video:
        next(iter(video))
    assert capture.released
    with pytest.raises(VideoError, match=r"v\.mp4 is closed: open it again to read it again"):
        next(iter(video))


def test_a_camera_gives_frames_with_the_time_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [np.full((3, 4), value, np.uint8) for value in (10, 20)]
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Capture(frames, {}))
    clock = iter([5.0, 5.0, 5.25])
    monkeypatch.setattr(video_module.time, "perf_counter", lambda: next(clock))
    with Video(2) as camera:
        assert camera.name == "camera 2"
        assert camera.frame_count is None
        found = list(camera)
    assert [frame.timestamp for frame in found] == [0.0, 0.25]
    # Grey as BGR.
    assert [frame.image.tolist() for frame in found] == [np.full((3, 4, 3), v).tolist() for v in (10, 20)]


@pytest.mark.parametrize(("turn", "place"), ((0, (0, 0)), (90, (0, 2)), (180, (2, 3)), (270, (3, 0))))
def test_an_opencv_that_does_not_turn_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int, place: tuple[int, int]
) -> None:
    """The metadata say by how much, clockwise; the bright pixel was at the top left."""
    frame = np.zeros((3, 4, 3), np.uint8)
    frame[0, 0] = 255
    (tmp_path / "v.mp4").write_bytes(b"0")
    settings = {cv2.CAP_PROP_ORIENTATION_META: float(turn), cv2.CAP_PROP_FRAME_COUNT: 1.0}
    settings |= {cv2.CAP_PROP_FRAME_WIDTH: 4.0, cv2.CAP_PROP_FRAME_HEIGHT: 3.0}
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Capture([frame], settings))
    with Video(tmp_path / "v.mp4") as video:
        size = video.size
        (found,) = video
    assert size == found.image.shape[1::-1]
    assert found.image.shape == ((4, 3, 3) if turn in (90, 270) else (3, 4, 3))
    assert np.argwhere(found.image[:, :, 0]).tolist() == [list(place)]


class TimedCapture(Capture):
    """A file's frames at times of their own, ms."""

    def __init__(self, times: list[float], settings: dict[int, float]) -> None:
        super().__init__([grey_frame(i) for i in range(len(times))], settings)
        self.times, self.at = times, -1

    def grab(self) -> bool:
        self.at += 1
        return super().grab()

    def get(self, name: int) -> float:
        return self.times[self.at] if name == cv2.CAP_PROP_POS_MSEC else super().get(name)


@pytest.mark.parametrize(
    ("rate", "times", "expected", "found"),
    [
        # Matroska's times are whole milliseconds.
        (2000.0, [0, 1, 1, 2, 2, 3], 2000.0, [0, 1, 1.5, 2, 2.5, 3]),
        (1000.0, [0, 1, 2, 3], 1000.0, [0, 1, 2, 3]),
        (240.0, [0, 4, 8, 13], 240.0, [0, 4, 8, 13]),
        # The rate of the clock, as browsers write it.
        (1000.0, [0, 33, 66, 100], 30.0, [0, 33, 66, 100]),
        (90000.0, [0, 40, 80, 120], 25.0, [0, 40, 80, 120]),
        (90000.0, [2000, 2040, 2080, 2120], 25.0, [2000, 2040, 2080, 2120]),
        # Nothing that could be believed.
        (90000.0, [0, 0, 0], 30.0, [0, 100 / 3, 200 / 3]),
        (0.0, [0, 40, 80], 30.0, [0, 40, 80]),
        # Time lapse, with times of its own and without.
        (0.5, [0, 2100, 4200], 0.5, [0, 2100, 4200]),
        (0.5, [0, 0, 0], 0.5, [0, 2000, 4000]),
    ],
)
def test_rates_are_those_of_the_frames(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rate: float,
    times: list[float],
    expected: float,
    found: list[float],
) -> None:
    (tmp_path / "v.mkv").write_bytes(b"0")
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: TimedCapture(times, {cv2.CAP_PROP_FPS: rate}))
    with Video(tmp_path / "v.mkv") as video:
        assert video.frame_rate == pytest.approx(expected, rel=1e-9)
        np.testing.assert_allclose([frame.timestamp * 1000 for frame in video], found, atol=1e-9)


# --- interlaced videos

# As docs/video.md says of it.
unheard = pytest.mark.xfail(
    sys.platform == "win32", reason="FFmpeg's library may have a stderr of its own there", strict=False
)


@unheard
def test_an_interlaced_video_is_read_or_refused(tmp_path: Path) -> None:
    """OpenCV with FFmpeg 8 gives what lies in the memory, of other videos too."""
    list(Video(write_video(tmp_path / "other.avi", [grey_frame(20)] * 3, 25.0)))
    path = tmp_path / "broadcast.m2v"
    path.write_bytes(INTERLACED)
    try:
        found = levels(Video(path))
    except VideoError as error:
        assert "is interlaced" in str(error)
        assert "ffmpeg -i broadcast.m2v -vf yadif broadcast_converted.mp4" in str(error)
    else:
        np.testing.assert_allclose(found, 175, atol=3)


@unheard
def test_interlaced_frames_among_others_have_no_image_of_another(tmp_path: Path) -> None:
    path = tmp_path / "mixed.m2v"
    path.write_bytes(PROGRESSIVE + INTERLACED)
    frames = list(Video(path))
    assert len(frames) >= 5
    for frame in frames:
        if frame.image is None:
            assert frame.index >= 2
            assert "the frame is interlaced" in str(frame.error)
        else:
            assert abs(frame.image.mean() - 175) < 3
    path.write_bytes(PROGRESSIVE)
    np.testing.assert_allclose(levels(Video(path)), [175] * 3, atol=3)


class InterlacedCapture(Capture):
    """Stands for OpenCV with FFmpeg 8: for an interlaced frame (None) it gives the last one again."""

    def __init__(self, frames: list[np.ndarray | None]) -> None:
        super().__init__([grey_frame(0)] * len(frames), {})
        self.levels, self.at, self.conversions = frames, -1, 0
        self.buffer = grey_frame(99)

    def grab(self) -> bool:
        self.at += 1
        return super().grab()

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        self.conversions += 1
        os.write(2, b"[h264 @ 0x1] another message\n")
        found = self.levels[self.at]
        if found is None:
            message = "[swscaler @ 0x1] Cannot convert interlaced to progressive frames or vice versa.\n"
            os.write(2, (message + " (Invalid argument): fmt:yuv420p -> fmt:bgr24\n").encode())
        else:
            self.buffer = found
        return True, self.buffer.copy()


@pytest.fixture
def interlaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "v.mp4").write_bytes(b"0")

    def open_video(frames: list[np.ndarray | None]) -> tuple[Video, InterlacedCapture]:
        capture = InterlacedCapture(frames)
        monkeypatch.setattr(cv2, "VideoCapture", lambda _: capture)
        return Video(tmp_path / "v.mp4"), capture

    return open_video


def test_a_video_whose_first_frame_is_interlaced_is_refused(interlaced, capfd) -> None:
    video, _ = interlaced([None, grey_frame(1)])
    with pytest.raises(VideoError, match=r"v\.mp4: the video is interlaced.*ffmpeg -i v\.mp4 -vf yadif"):
        list(video)
    # What is said of other things still is.
    assert capfd.readouterr().err == "[h264 @ 0x1] another message\n"


def test_interlaced_frames_are_errors_and_do_not_end_a_video(interlaced) -> None:
    many = [None] * (MAX_BROKEN_IN_A_ROW + 1)
    video, _ = interlaced([grey_frame(1), None, None, grey_frame(2), grey_frame(3), *many, grey_frame(3)])
    found = list(video)
    assert [frame.image is None for frame in found] == [
        False,
        True,
        True,
        False,
        False,
        *[True] * len(many),
        False,
    ]
    assert {frame.error for frame in found if frame.image is None} == {
        "the frame is interlaced, which this OpenCV cannot convert: convert the video, for example "
        "ffmpeg -i v.mp4 -vf yadif v_converted.mp4"
    }


def test_frames_alike_are_frames_and_no_others_are_converted_twice(interlaced, capfd) -> None:
    video, capture = interlaced([grey_frame(level) for level in (1, 1, 2, 3, 3, 3)])
    assert levels(video) == [1, 1, 2, 3, 3, 3]
    assert capture.conversions == 6 + 3
    assert capfd.readouterr().err == "[h264 @ 0x1] another message\n" * 9


def test_a_frame_that_was_drawn_on_is_compared_as_it_came(interlaced) -> None:
    video, _ = interlaced([grey_frame(1), None])
    for frame in video:
        if frame.image is not None:
            frame.image[:] = 200
    assert frame.image is None


def test_frames_of_a_camera_are_asked_for_once(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    capture = InterlacedCapture([grey_frame(1)] * 3)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: capture)
    monkeypatch.setattr(video_module, "captured_stderr", pytest.fail)
    assert levels(Video(0)) == [1, 1, 1]
    assert capture.conversions == 3
    assert capfd.readouterr().err == "[h264 @ 0x1] another message\n" * 3


@pytest.mark.parametrize("rate", [0, -1.0, float("inf"), float("nan"), "25"])
def test_refuses_impossible_rates(pictures: Path, rate: Any) -> None:
    with pytest.raises(VideoError, match="frame rate"):
        Video(pictures, frame_rate=rate)


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.avi", list(noise), 25.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = Video(path)
    frames = list(video)
    assert 5 <= len(frames) < 20
    # Less than half a second is missing, which a header's estimate may be off by.
    assert video.cut_short is None


@pytest.mark.parametrize("fixed", [None, 10.0])
def test_a_file_that_is_cut_short_says_so(tmp_path: Path, fixed: float | None) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 240, 320, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.avi", list(noise), 25.0)
    with Video(path, frame_rate=fixed) as video:
        assert len(list(video)) == 30
        assert video.cut_short is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Video(path, frame_rate=fixed) as video:
        read = len(list(video)) / 25.0
    assert video.cut_short == f"ends after {read:.1f} of 1.2 s, as if cut short"


@pytest.mark.parametrize(
    ("settings", "short"),
    [
        # The rate that browsers write: milliseconds.
        ({cv2.CAP_PROP_FPS: 1000.0, cv2.CAP_PROP_FRAME_COUNT: 4000.0, cv2.CAP_PROP_POS_MSEC: 3960.0}, False),
        ({cv2.CAP_PROP_FPS: 1000.0, cv2.CAP_PROP_FRAME_COUNT: 9000.0, cv2.CAP_PROP_POS_MSEC: 3960.0}, True),
        # An estimate that is off by less than a fiftieth.
        ({cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: 10150.0, cv2.CAP_PROP_POS_MSEC: 400e3}, False),
        ({cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: 10250.0, cv2.CAP_PROP_POS_MSEC: 400e3}, True),
        # Times that begin at 5 s, which the header counts.
        (
            {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: 165.0, cv2.CAP_PROP_POS_MSEC: 1560.0}
            | {getattr(cv2, "CAP_PROP_PTS", -1): 164.0},
            not hasattr(cv2, "CAP_PROP_PTS"),
        ),
        # Headers that say nothing.
        ({cv2.CAP_PROP_FPS: 0.0, cv2.CAP_PROP_FRAME_COUNT: 10250.0}, False),
        ({cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: -1.0}, False),
    ],
)
def test_what_a_header_says_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[int, float], short: bool
) -> None:
    (tmp_path / "v.mp4").write_bytes(b"0")
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Capture([grey_frame(9)] * 3, settings))
    with Video(tmp_path / "v.mp4") as video:
        list(video)
    assert (video.cut_short is not None) == short


def with_header_first(data: bytes) -> bytes:
    """Return an MP4 with its header (moov) before the frames, whose places move."""
    begin, header = data.index(b"mdat") - 4, bytearray(data[data.index(b"moov") - 4 :])
    assert len(header) == struct.unpack_from(">I", header)[0]
    at = header.index(b"stco") + 4
    (count,) = struct.unpack_from(">I", header, at + 4)
    places = struct.unpack_from(f">{count}I", header, at + 8)
    struct.pack_into(f">{count}I", header, at + 8, *(place + len(header) for place in places))
    return data[:begin] + header + data[begin : len(data) - len(header)]


def test_an_edit_list_leaves_out_frames_and_cuts_nothing_short(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mp4", list(noise), 25.0, "mp4v")
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    step = struct.unpack_from(">I", data, data.index(b"stts") + 16)[0]
    # From the 21st frame on, in ms and in the track's own time.
    struct.pack_into(">II", data, at, 800, 20 * step)
    path.write_bytes(data)
    with Video(path) as video:
        assert len(list(video)) <= 21
        assert video.cut_short is None
    # A copy that was broken off has the same header.
    whole = with_header_first(write_video(tmp_path / "a.mp4", list(noise), 25.0, "mp4v").read_bytes())
    for share, short in ((1.0, False), (0.5, True)):
        path.write_bytes(whole[: int(len(whole) * share)])
        with Video(path) as video:
            list(video)
        assert (video.cut_short is not None) == short


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be taken away there")
def test_a_file_that_is_taken_away_while_it_is_read_ends_as_any_other(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [grey_frame(9)] * 5, 25.0, "mp4v")
    with Video(path) as video:
        video.frame_count = 100
        path.unlink()
        assert len(list(video)) == 5
        assert video.cut_short == "ends after 0.2 of 4.0 s, as if cut short"


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (
            struct.pack(">I4sIIQ", 16, b"ftyp", 0, 0, 0x10_0000_0008)[:-8] + struct.pack(">I4s", 8, b"moov"),
            True,
        ),
        (struct.pack(">I4sI4sQ", 8, b"ftyp", 1, b"mdat", 20) + bytes(4), True),
        (struct.pack(">I4sI4sQ", 8, b"ftyp", 1, b"mdat", 21) + bytes(4), False),
        (struct.pack(">I4sI4s", 8, b"ftyp", 0, b"mdat") + bytes(9), False),  # to the end, wherever it was
        (struct.pack(">I4sI", 8, b"ftyp", 9), False),
        (struct.pack(">I4s", 8, b"free"), False),
        (b"", False),
    ],
)
def test_where_the_boxes_of_an_mp4_end(tmp_path: Path, data: bytes, whole: bool) -> None:
    (tmp_path / "a.mp4").write_bytes(data)
    assert video_module._is_whole_mp4(tmp_path / "a.mp4") == whole


class BrokenCapture:
    """Stands for a file with frames that cannot be decoded."""

    def __init__(self, broken: set[int], count: int) -> None:
        self.broken, self.count, self.at = broken, count, -1

    def grab(self) -> bool:
        self.at += 1
        return self.at < self.count

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return (False, None) if self.at in self.broken else (True, grey_frame(100))

    def get(self, _: int) -> float:
        return self.at * 40.0

    def release(self) -> None:
        pass


def test_broken_frames_are_said_and_skipped(tmp_path: Path) -> None:
    video = Video(write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0))
    video.close()
    video._capture = BrokenCapture({2, 3}, 6)
    frames = list(video)
    assert [frame.image is None for frame in frames] == [False, False, True, True, False, False]
    assert "frame 3 of" in str(frames[2].error)  # counted as in the tables
    np.testing.assert_allclose([frame.timestamp for frame in frames], np.arange(6) * 0.04)


class HoledCapture(BrokenCapture):
    """Stands for a file with frames that are not even grabbed."""

    def grab(self) -> bool:
        self.at += 1
        return self.at < self.count and self.at not in self.broken


@pytest.mark.parametrize("rate", [None, 10.0])
def test_frames_that_are_not_grabbed_are_said_and_skipped(tmp_path: Path, rate: float | None) -> None:
    path = write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0)
    video = Video(path, frame_rate=rate)
    video.close()
    video._capture, video.frame_count = HoledCapture({0, 3, 4}, 7), 7
    frames = list(video)
    assert [frame.image is None for frame in frames] == [True, False, False, True, True, False, False]
    assert "frame 4 of" in str(frames[3].error)  # counted as in the tables
    assert [frame.index for frame in frames] == list(range(7))
    np.testing.assert_allclose([frame.timestamp for frame in frames], np.arange(7) / (rate or 25.0))


def test_the_end_of_a_file_is_no_broken_frame(tmp_path: Path) -> None:
    """Whether its header promises more frames, or fewer."""
    for promised in (3, 6, 10**6, None):
        video = Video(write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0))
        video.close()
        video._capture, video.frame_count = HoledCapture(set(), 6), promised
        assert [frame.image is None for frame in video] == [False] * 6


def test_a_damaged_frame_is_a_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.avi", list(noise), 25.0)
    data = bytearray(path.read_bytes())
    # The eighth picture's bytes, not its chunk's header; the first is in the file's.
    begin = [match.start() for match in re.finditer(b"00dc", data)][8] + 8
    data[begin : begin + 4000] = bytes(4000)
    path.write_bytes(data)
    frames = list(Video(path))
    assert [frame.image is None for frame in frames] == [i == 7 for i in range(20)]
    np.testing.assert_allclose([frame.timestamp for frame in frames], np.arange(20) / 25, atol=1e-3)


def test_a_file_of_broken_frames_ends(tmp_path: Path) -> None:
    video = Video(write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0))
    video.close()
    video._capture = BrokenCapture(set(range(10**6)), 10**6)
    assert len(list(video)) == MAX_BROKEN_IN_A_ROW


def test_a_file_without_a_frame(tmp_path: Path) -> None:
    """Its header may promise some."""
    video = Video(write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0))
    video.close()
    video._capture = BrokenCapture(set(), 0)
    with pytest.raises(
        VideoError,
        match=r"a\.avi holds no frame that can be read: it is damaged, or of a codec .*ffmpeg -i a\.avi",
    ):
        list(video)


def test_a_file_without_timestamps_has_those_of_its_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = Video(write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0))
    video.close()
    video._capture = BrokenCapture(set(), 4)
    monkeypatch.setattr(video._capture, "get", lambda name: 0.0)
    np.testing.assert_allclose([frame.timestamp for frame in video], [0, 0.04, 0.08, 0.12])


def test_closes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [grey_frame(9)] * 3, 25.0)
    with Video(path) as video:
        next(iter(video))
    video.close()
    with pytest.raises(VideoError, match="closed"):
        next(iter(video))


# --- image sequences


@pytest.mark.parametrize("pattern", ["", "*.png", "frame%d.png", "frame*.[pP]ng"])
def test_sequences_in_natural_order(pictures: Path, pattern: str) -> None:
    video = Video(str(pictures / pattern) if pattern else pictures, frame_rate=50)
    assert video.frame_count == 4
    assert levels(video) == [10, 20, 90, 100]
    assert [frame.timestamp for frame in Video(pictures)] == [0, 1 / 30, 2 / 30, 3 / 30]


def test_lists_in_their_own_order(pictures: Path) -> None:
    paths = [pictures / "frame9.png", str(pictures / "frame1.png")]
    assert levels(Video(paths)) == [90, 10]


def test_one_image_is_a_sequence_of_one(pictures: Path) -> None:
    assert levels(Video(pictures / "frame2.png")) == [20]


def test_broken_images_are_rows(pictures: Path) -> None:
    (pictures / "frame3.png").write_bytes(b"")
    (pictures / "frame4.png").write_bytes(b"no picture")
    frames = list(Video([*sorted(pictures.glob("*.png")), pictures / "gone.png"]))
    assert [frame.image is None for frame in frames] == [False, False, False, True, True, False, True]
    with pytest.raises(FileNotFoundError) as missing:
        (pictures / "gone.png").stat()
    assert f"gone.png: cannot be read: {missing.value.strerror}" in str(frames[-1].error)
    assert "frame3.png: the file is empty" in str(frames[3].error)
    assert "frame4.png: not an image, or damaged" in str(frames[4].error)


def test_what_is_unusual_with_images_is_noted_once(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "dark1.png"), np.full((48, 64), 900, np.uint16))
    cv2.imwrite(str(pictures / "dark2.png"), np.full((48, 64), 900, np.uint16))
    assert cv2.imwritemulti(str(pictures / "pages.tif"), [grey_frame(90)] * 3)
    with Video(pictures) as video:
        assert video.notes == []
        assert len(list(video)) == 7
    assert video.notes == [
        "2 images: very dark: if it has 10 or 12 bits in 16, scale it up first",
        "1 image: the first of 3 pictures in the file",
    ]


def test_a_file_of_several_pictures_is_no_video(tmp_path: Path) -> None:
    assert cv2.imwritemulti(str(tmp_path / "pages.tif"), [grey_frame(9)] * 3)
    video = Video(tmp_path / "pages.tif")
    with pytest.raises(VideoError, match=r"pages\.tif: its 3 pictures .*ffmpeg -i pages\.tif pages\.mp4"):
        list(video)


def test_hidden_files_are_no_frames(pictures: Path) -> None:
    (pictures / "._frame1.png").write_bytes(b"of another system")
    for source in (pictures, pictures / "*.png", pictures / "frame%d.png"):
        assert levels(Video(source)) == [10, 20, 90, 100]
    assert levels(Video(pictures / "._*.png")) == [None]


def test_what_windows_hides_is_no_frame(pictures: Path, hide: Callable[..., None]) -> None:
    hide(pictures / "frame1.png")
    for source in (pictures, pictures / "*.png", pictures / "frame%d.png"):
        assert levels(Video(source)) == [20, 90, 100]
    assert levels(Video(pictures / "frame1.png")) == [10]


def test_patterns_and_folders_without_images(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "*.png", tmp_path / "a%04d.png"):
        with pytest.raises(VideoError, match=r"no images|no file matches"):
            Video(source)
    with pytest.raises(VideoError, match="empty"):
        Video([])
    with pytest.raises(VideoError, match="no folder"):
        Video(tmp_path / "none" / "a%d.png")


def test_reads_names_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / "Gesicht äöü 顔.png"
    path.write_bytes(cv2.imencode(".png", grey_frame(77))[1].tobytes())
    assert read_photograph(path)[0].mean() == 77
