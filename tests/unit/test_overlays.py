"""Faces drawn on photographs and videos."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from faces import make_face, missing_face
from pyclnf.draw import VideoOverlay, as_seen, confidence_colour, draw_axes, draw_faces
from pyclnf.errors import ParameterError, VideoError
from pyclnf.pdm import Parameters, euler_to_matrix
from pyclnf.video import Video

GREY = np.full((400, 400), 100, np.uint8)


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return the places (k, 2), x and y, of a colour."""
    return np.argwhere((np.abs(picture.astype(int) - colour) < 40).all(axis=2))[:, ::-1]


def test_axes_show_where_the_head_points() -> None:
    for rotation in ((0.0, 0.0, 0.0), (0.2, -0.5, 0.3), (-0.4, 0.6, 0.0)):
        picture = np.zeros((400, 400, 3), np.uint8)
        draw_axes(picture, (2.0, *rotation, 200, 200), length=60)
        R = euler_to_matrix(rotation)
        for axis, colour in ((R[:, 0], (60, 60, 235)), (R[:, 1], (80, 200, 60)), (-R[:, 2], (235, 120, 40))):
            end = np.array([200, 200]) + axis[:2] * 120
            if np.linalg.norm(end - 200) < 20:
                continue  # it points at the camera
            places = coloured(picture, colour)
            assert np.linalg.norm(places - end, axis=1).min() < 4
            farthest = places[np.argmax(np.linalg.norm(places - 200, axis=1))]
            assert np.linalg.norm(farthest - end) < 6


def test_axes_of_no_face() -> None:
    picture = np.zeros((50, 50, 3), np.uint8)
    draw_axes(picture, as_seen(np.full(6, np.nan), np.full(6, np.nan)))
    assert not picture.any()


@pytest.mark.parametrize(
    "place", [(0.0, 0.0, 800.0), (300.0, 0.0, 800.0), (0.0, -400.0, 800.0), (-200.0, 350.0, 500.0)]
)
def test_axes_are_those_of_the_pose_as_the_camera_sees_it(place: tuple[float, float, float]) -> None:
    """The parameters leave a part of the turn to the shape."""
    parameters, turn = (1.5, 0.9, 0.9, 0.9, 160.0, 170.0), (0.2, -0.5, 0.3)
    x, y, z = place
    s, rx, ry, rz, *at = as_seen(parameters, (*place, *turn))
    assert [s, *at] == [1.5, 160.0, 170.0]
    # How far each axis points away along the line to the head.
    away = place / np.linalg.norm(place) @ euler_to_matrix(turn)
    np.testing.assert_allclose(euler_to_matrix((rx, ry, rz))[2], away, atol=1e-12)
    if x == y == 0:
        np.testing.assert_allclose((rx, ry, rz), turn, atol=1e-12)
    # Whoever looks straight into the camera is seen from the front, wherever the head is.
    looking = math.atan2(-y, z), math.atan2(x, math.hypot(y, z)), 0.0
    seen = euler_to_matrix(as_seen(parameters, (*place, *looking))[1:4])
    np.testing.assert_allclose(seen[:, 2], (0, 0, 1), atol=1e-12)
    if x == 0 or y == 0:
        np.testing.assert_allclose(seen, np.eye(3), atol=1e-12)


def test_drawn_axes_are_those_of_the_pose() -> None:
    faces = [
        make_face(pose=np.array([0.0, 0.0, 600.0, 0.1, -0.2, 0.05])),
        make_face(
            pose=np.array([0.0, 0.0, 600.0, 0.1, -0.2, 0.05]),
            params=Parameters(np.array([1.5, 0.4, 0.6, -0.3, 160.0, 170.0]), np.zeros(34)),
        ),
        make_face(pose=np.array([300.0, 0.0, 600.0, 0.1, -0.2, 0.05])),
    ]
    first, other_parameters, other_place = (draw_faces(GREY, [face]) for face in faces)
    np.testing.assert_array_equal(first, other_parameters)
    assert (first != other_place).any()


def test_colours_of_confidence() -> None:
    (b0, g0, r0), (b1, g1, r1) = confidence_colour(0.0), confidence_colour(1.0)
    assert r0 > 200 > g0
    assert g1 > 200 > r1
    assert confidence_colour(-3) == (b0, g0, r0)
    assert confidence_colour(7) == (b1, g1, r1)


def test_faces_are_drawn_in_the_colour_of_their_confidence() -> None:
    picture = draw_faces(GREY, [make_face(confidence=0.0), missing_face()])
    assert picture.shape == (400, 400, 3)
    assert len(coloured(picture, confidence_colour(0.0))) > 300
    assert len(coloured(picture, confidence_colour(1.0))) < 300
    assert (GREY == 100).all()
    assert (draw_faces(GREY, [missing_face()]) == 100).all()
    assert not (draw_faces(GREY, [], title="0.00 s") == 100).all()


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_overlay_of_a_video(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    with VideoOverlay(path, 12.5) as overlay:
        overlay.write(np.zeros((240, 320, 3), np.uint8), [])
        overlay.write(np.full((480, 640, 3), 200, np.uint8), [])  # of another size
        overlay.write(None, [])  # broken
        assert not path.exists()
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    frames = [video.read()[1] for _ in range(3)]
    assert not video.read()[0]
    assert [frame.shape for frame in frames] == [(240, 320, 3)] * 3
    assert [abs(frame.mean() - mean) < 5 for frame, mean in zip(frames, (0, 200, 0), strict=True)] == [
        True
    ] * 3
    video.release()
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("rate", "suffix", "written"),
    [
        (239.866, ".mp4", 239.9),
        (30000 / 1001, ".mp4", 29.97),
        (2000.0, ".mp4", 2000.0),
        (7000.5, ".mp4", 7000.0),
        (1e6, ".mp4", 65535.0),
        (2000.0, ".AVI", 600.0),
    ],
)
def test_overlays_of_high_and_odd_rates(tmp_path: Path, rate: float, suffix: str, written: float) -> None:
    with VideoOverlay(tmp_path / f"v{suffix}", rate) as overlay:
        for _ in range(10):
            overlay.write(np.zeros((48, 64, 3), np.uint8), [])
    video = cv2.VideoCapture(str(tmp_path / f"v{suffix}"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(written, rel=1e-3)
    assert sum(video.grab() for _ in range(11)) == 10
    video.release()


@pytest.mark.skipif(sys.platform == "win32", reason="a colon names a stream of a file there")
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_what_is_before_a_colon_is_no_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """As in names with a slash on a Mac, P1/smile: of one without a folder it would be one to FFmpeg."""
    monkeypatch.chdir(tmp_path)
    for name in ("P1:smile", "file:smile"):
        path = Path(f"{name}{suffix}")
        with VideoOverlay(path, 25) as overlay:
            for _ in range(10):
                overlay.write(np.full((48, 64, 3), 90, np.uint8), [])
        assert path.is_file()
        with Video(path) as video:
            assert [round(frame.image.mean(), -1) for frame in video] == [90] * 10


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """OpenCV would end the process."""
    with pytest.raises(VideoError, match="whole path is UTF-8: name another"):
        VideoOverlay(tmp_path / "M\udcfcller.mp4", 25)


def test_an_interrupted_overlay_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), VideoOverlay(tmp_path / "v.mp4", 25) as overlay:
        overlay.write(np.zeros((240, 320, 3), np.uint8), [])
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_an_overlay_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk, which OpenCV's writer does not say."""
    overlay = VideoOverlay(tmp_path / "v.mp4", 25)
    with pytest.raises(VideoError, match=r"v\.mp4: the video cannot be written"), overlay:
        overlay.write(np.zeros((240, 320, 3), np.uint8), [])
        release = overlay._writer.release

        def release_and_cut() -> None:
            release()
            with overlay._temporary.open("r+b") as file:
                file.truncate(200)

        monkeypatch.setattr(overlay, "_writer", SimpleNamespace(release=release_and_cut))
    assert not list(tmp_path.iterdir())


def test_broken_frames_before_the_first_whole_one_have_no_size(tmp_path: Path) -> None:
    with VideoOverlay(tmp_path / "v.avi", 25) as overlay:
        overlay.write(None, [])
        overlay.write(np.full((240, 320, 3), 200, np.uint8), [])
    video = cv2.VideoCapture(str(tmp_path / "v.avi"))
    assert video.read()[1].shape == (240, 320, 3)
    assert not video.read()[0]
    video.release()


def test_of_broken_frames_alone_there_is_no_video(tmp_path: Path) -> None:
    """Nor is that an error: the tables of such a video have rows that say what is wrong."""
    with VideoOverlay(tmp_path / "v.avi", 25) as overlay:
        overlay.write(None, [])
    assert not list(tmp_path.iterdir())


def test_a_video_that_opencv_cannot_write(tmp_path: Path) -> None:
    """Here at a rate of 0; elsewhere because it was built without the codec."""
    overlay = VideoOverlay(tmp_path / "v.mp4", 0.0)
    with pytest.raises(VideoError, match=r"v\.mp4: this OpenCV cannot write \.mp4 videos"), overlay:
        overlay.write(np.zeros((240, 320, 3), np.uint8), [])
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"\.mp4 or \.avi"):
        VideoOverlay(tmp_path / "v.gif", 25)
