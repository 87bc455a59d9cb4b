"""Plans and outcomes of batches."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from faces import make_face, missing_face
from generate_model import generate_model
from pyclnf import CLNF, Camera, Face, Model, Tracker, batch, formats, tracking
from pyclnf.errors import FormatError, ParameterError
from pyclnf.video import Video


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_plan_keeps_folders_and_order(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = ("b.jpg", "a.PNG", "sub/a.jpg", ".hidden.jpg", "film.mp4", "readme.txt")
    touch(*(folder / name for name in names))
    plan = batch.plan("fit", [str(folder)], Path("out"), Path("pictures"))
    assert [(Path(job.source).relative_to(folder).as_posix(), job.output, job.draw) for job in plan.jobs] == [
        ("a.PNG", str(Path("out/a")), str(Path("pictures/a.jpg"))),
        ("b.jpg", str(Path("out/b")), str(Path("pictures/b.jpg"))),
        ("sub/a.jpg", str(Path("out/sub/a")), str(Path("pictures/sub/a.jpg"))),
    ]
    assert [path.name for path in plan.left_out] == ["film.mp4", "readme.txt"]
    (job,) = batch.plan("track", [str(folder)], Path("out"), None).jobs
    assert Path(job.source).name == "film.mp4"


def test_plan_takes_nothing_that_was_drawn(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.jpg", "sub/b.jpg", "pictures/a.jpg", "pictures/sub/b.jpg")))
    plan = batch.plan("fit", [str(tmp_path)], Path("out"), tmp_path / "pictures")
    assert [Path(job.source).name for job in plan.jobs] == ["a.jpg", "b.jpg"]
    assert (len(plan.drawn), plan.left_out) == (2, [])
    # A folder that is itself named is an input.
    (job,) = batch.plan("fit", [str(tmp_path / "sub")], Path("out"), tmp_path).jobs
    assert Path(job.source).name == "b.jpg"


def test_plan_takes_a_named_file_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path / "photo.dat")
    (job,) = batch.plan("fit", [str(tmp_path / "photo.dat")], Path("out"), Path("x.png")).jobs
    assert job.draw == "x.png"


def test_plan_takes_an_input_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    inputs = [str(tmp_path / "a.jpg"), str(tmp_path / "*.jpg"), str(tmp_path)]
    assert len(batch.plan("fit", inputs, Path("out"), None).jobs) == 1


def test_plan_refuses(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg", tmp_path / "empty" / "x.txt")
    with pytest.raises(ParameterError, match="there are no photographs in"):
        batch.plan("fit", [str(tmp_path / "empty")], Path("out"), None)
    touch(tmp_path / "empty" / "x.MP4")
    with pytest.raises(ParameterError, match=r"there are no videos in .*\), but images: .* --frames for th"):
        batch.plan("track", [str(tmp_path / "a")], Path("out"), None)
    with pytest.raises(ParameterError, match=r"there are no photographs in .*\), but videos: pyclnf track"):
        batch.plan("fit", [str(tmp_path / "empty")], Path("out"), None)
    with pytest.raises(ParameterError, match="would have the same name"):
        batch.plan("fit", [str(tmp_path / "a"), str(tmp_path / "b")], Path("out"), None)
    with pytest.raises(ParameterError, match="one file for 2 inputs"):
        batch.plan("fit", [str(tmp_path)], Path("out"), Path("one.png"))
    with pytest.raises(ParameterError, match="an input is empty"):
        batch.plan("fit", [""], Path("out"), None)
    photo = str(tmp_path / "a" / "x.jpg")
    with pytest.raises(ParameterError, match=r"--output .*x\.txt is a file"):
        batch.plan("fit", [photo], tmp_path / "empty" / "x.txt", None)
    with pytest.raises(ParameterError, match=r"--draw one\.mp4: a picture is written as \.bmp, "):
        batch.plan("fit", [photo], Path("out"), Path("one.mp4"))
    with pytest.raises(ParameterError, match=r"--draw one\.png: a video is written as \.avi, \.mp4"):
        batch.plan("track", [photo], Path("out"), Path("one.png"))
    touch(tmp_path / "file")
    with pytest.raises(ParameterError, match="is a file without a suffix"):
        batch.plan("fit", [photo], Path("out"), tmp_path / "file")
    with pytest.raises(ParameterError, match=r"is the folder of the input"):
        batch.plan("fit", [str(tmp_path / "a")], Path("out"), tmp_path / "a")


def test_what_windows_hides_is_no_input(tmp_path: Path, hide: Callable[..., None]) -> None:
    """As its own desktop.ini, Thumbs.db and AlbumArtSmall.jpg in folders of photographs."""
    touch(*(tmp_path / name for name in ("a.jpg", "a.txt", "desktop.ini", "AlbumArtSmall.jpg", "kept/b.jpg")))
    hide(*(tmp_path / name for name in ("desktop.ini", "AlbumArtSmall.jpg", "kept")))
    for source in (tmp_path, tmp_path / "*.jpg"):
        plan = batch.plan("fit", [str(source)], Path("out"), None)
        assert [Path(job.source).name for job in plan.jobs] == ["a.jpg"]
        assert [path.name for path in plan.left_out] == ["a.txt"] * (source == tmp_path)
    plan = batch.plan("track", [str(tmp_path)], Path("out"), None, frames=True)
    assert [path.name for path in plan.left_out] == ["a.txt"]


def test_what_other_programs_keep_in_hidden_folders_is_no_input(tmp_path: Path) -> None:
    """As the small copies that servers make, under the photographs' own names."""
    touch(*(tmp_path / name for name in ("a.jpg", ".@__thumb/a.jpg", "sub/.thumbnails/large/b.jpg")))
    for source in (tmp_path, tmp_path / "**" / "*.jpg"):
        (job,) = batch.plan("fit", [str(source)], Path("out"), None).jobs
        assert job.source == str(tmp_path / "a.jpg")
    for source in (tmp_path / ".@__thumb", tmp_path / ".@__thumb" / "*.jpg"):  # unless they are named
        (job,) = batch.plan("fit", [str(source)], Path("out"), None).jobs
        assert Path(job.source).parent.name == ".@__thumb"


@pytest.mark.parametrize("platform", ["darwin", "linux", "win32"])
@pytest.mark.parametrize(("one", "other"), [("Face.jpg", "face.jpg"), ("\u00e9.jpg", "e\u0301.jpg")])
def test_outputs_that_are_one_file_on_some_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, one: str, other: str
) -> None:
    """The second would replace the first one's where the file system tells no case or Unicode form."""
    touch(tmp_path / "a" / one, tmp_path / "b" / other)
    inputs = [str(tmp_path / "a"), str(tmp_path / "b")]
    monkeypatch.setattr(sys, "platform", platform)
    if platform == "linux":
        assert len(batch.plan("fit", inputs, Path("out"), None).jobs) == 2
        return
    with pytest.raises(ParameterError, match="would have the same name"):
        batch.plan("fit", inputs, Path("out"), None)


def test_outputs_of_one_folder_that_are_one_file_on_some_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "Face.jpg", tmp_path / "face.png", tmp_path / "Ma\u00dfe.jpg", tmp_path / "Masse.jpg")
    monkeypatch.setattr(sys, "platform", "darwin")
    jobs = batch.plan("fit", [str(tmp_path)], Path("out"), None).jobs
    names = {"Face.jpg", "face.png", "Ma\u00dfe", "Masse"}
    assert {Path(job.output).name for job in jobs} == names


def test_no_input_is_drawn_over_whose_name_is_written_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IMG.jpg is IMG.JPG, as cameras name it, on the file systems of Windows and macOS."""
    touch(tmp_path / "IMG.JPG")
    arguments = ("fit", [str(tmp_path / "*.JPG")], tmp_path / "out", tmp_path / "IMG.jpg")
    if not (tmp_path / "img.jpg").exists():
        assert len(batch.plan(*arguments).jobs) == 1
        monkeypatch.setattr(Path, "samefile", lambda one, other: one.name.lower() == other.name.lower())
    with pytest.raises(ParameterError, match=r"would overwrite the input .*IMG\.jpg: name another"):
        batch.plan(*arguments)


def test_a_folder_for_drawings_may_have_a_dot(tmp_path: Path) -> None:
    touch(tmp_path / "x.jpg", tmp_path / "y.jpg")
    (tmp_path / "drawn.v2").mkdir()
    plan = batch.plan("fit", [str(tmp_path / "?.jpg")], Path("out"), tmp_path / "drawn.v2")
    assert [job.draw for job in plan.jobs] == [str(tmp_path / "drawn.v2" / f"{name}.jpg") for name in "xy"]


def test_further_faces_have_names_of_their_own(tmp_path: Path) -> None:
    """The second face of x.jpg and the first of x.face1.jpg would meet in one .pts file."""
    touch(tmp_path / "x.jpg", tmp_path / "x.face1.jpg", tmp_path / "y.face1.jpg")
    with pytest.raises(ParameterError, match="would have the same name"):
        batch.plan("fit", [str(tmp_path)], Path("out"), None, formats=("csv", "pts"))
    assert len(batch.plan("fit", [str(tmp_path)], Path("out"), None).jobs) == 3
    (tmp_path / "x.jpg").unlink()
    touch(tmp_path / "y.face2.jpg", tmp_path / "z.jpg", tmp_path / "z.face0.jpg", tmp_path / "z.face01.jpg")
    assert len(batch.plan("fit", [str(tmp_path)], Path("out"), None, formats=("pts",)).jobs) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there, and there are no pipes")
def test_what_cannot_be_read_in_a_folder_is_reported(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "good.txt")
    (tmp_path / "in" / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    for inputs in (["in"], ["in/*.jpg"], ["in/link.jpg", "in/pipe.jpg"]):
        plan = batch.plan("fit", [str(tmp_path / name) for name in inputs], tmp_path / "out", None)
        outcomes = {Path(o.source).name: o.failure for o in batch.run(batch.Settings("fit"), plan.jobs)}
        assert "No such file" in str(outcomes["link.jpg"])
        assert outcomes["pipe.jpg"] == "cannot be read: it is no regular file"


def test_folders_that_cannot_be_read_are_named(tmp_path: Path, lock: Callable[[Path], None]) -> None:
    """The photographs in them would be missed without a word."""
    touch(tmp_path / "a.jpg", tmp_path / "locked" / "b.jpg")
    lock(tmp_path / "locked")
    plan = batch.plan("fit", [str(tmp_path)], Path("out"), None)
    assert [Path(job.source).name for job in plan.jobs] == ["a.jpg"]
    assert plan.unread == [tmp_path / "locked"]
    with pytest.raises(ParameterError, match=r"there are no photographs in .*; .*locked cannot be read"):
        batch.plan("fit", [str(tmp_path / "locked")], Path("out"), None)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_to_folders_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.jpg", tmp_path / "other" / "b.jpg")
    link = tmp_path / "in" / "link"
    link.symlink_to("../other")
    plan = batch.plan("fit", [str(tmp_path / "in")], Path("out"), None)
    assert ([Path(job.source).name for job in plan.jobs], plan.linked) == (["a.jpg"], [link])
    (job,) = batch.plan("fit", [str(link)], Path("out"), None).jobs
    assert job.output == str(Path("out/b"))
    (tmp_path / "in" / "a.jpg").unlink()
    with pytest.raises(
        ParameterError, match=r"there are no photographs in .*; links .*link, are not followed"
    ):
        batch.plan("fit", [str(tmp_path / "in")], Path("out"), None)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_to_themselves_are_reported(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "notes.txt")
    (tmp_path / "in" / "loop.jpg").symlink_to("loop.jpg")
    loop = str(tmp_path / "in" / "loop.jpg")
    for inputs in ([loop], [str(tmp_path / "in")], [str(tmp_path / "in" / "*.jpg")]):
        for draw in (None, tmp_path / "drawn", tmp_path / "in" / "drawn"):
            (job,) = batch.plan("fit", inputs, tmp_path / "out", draw).jobs
            (outcome,) = batch.run(batch.Settings("fit"), [job])
            assert "symbolic links" in str(outcome.failure)
    (tmp_path / "in" / "loop.mp4").symlink_to("loop.mp4")
    (job,) = batch.plan("track", [str(tmp_path / "in")], tmp_path / "out", None).jobs
    (outcome,) = batch.run(batch.Settings("track"), [job])
    assert "there is no video" in str(outcome.failure)
    touch(tmp_path / "a.jpg")
    for output, draw, option in ((Path(loop), None, "output"), (tmp_path / "out", Path(loop), "draw")):
        with pytest.raises(ParameterError, match=rf"--{option} .*loop\.jpg is a link that leads nowhere"):
            batch.plan("fit", [str(tmp_path / "a.jpg")], output, draw)


def test_videos_of_cameras_and_broadcasts_are_videos(tmp_path: Path) -> None:
    names = [f"a{suffix}" for suffix in (".dv", ".m2ts", ".mts", ".mxf", ".TS", ".vob")]
    touch(*(tmp_path / name for name in names))
    plan = batch.plan("track", [str(tmp_path)], Path("out"), None)
    assert sorted(Path(job.source).name for job in plan.jobs) == sorted(names)


def test_what_is_unusual_with_frames_is_said(tmp_path: Path, model: Model) -> None:
    model.save(tmp_path / "model.npz")
    (tmp_path / "take").mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / "take" / f"{i}.png"), np.full((48, 64), 900, np.uint16))
    for i in (2, 3):
        (tmp_path / "take" / f"{i}.png").write_bytes(b"")
    settings = batch.Settings("track", str(tmp_path / "model.npz"), box=(9.0, 9.0, 30.0, 30.0))
    (outcome,) = batch.run(settings, [batch.Job(str(tmp_path / "take"), str(tmp_path / "out"))])
    assert (outcome.frames, outcome.failure) == (4, None)
    assert re.fullmatch(
        r"2 broken frames, the first: .*2\.png: the file is empty; 2 images: very dark: .*", str(outcome.note)
    )


@pytest.mark.parametrize("command", ["fit", "track"])
def test_a_camera_of_another_size_is_said(tmp_path: Path, model: Model, command: batch.Command) -> None:
    model.save(tmp_path / "model.npz")
    cv2.imwrite(str(tmp_path / "0.png"), np.full((48, 64), 90, np.uint8))
    job = batch.Job(str(tmp_path / ("0.png" if command == "fit" else "*.png")), str(tmp_path / "out"))
    notes = []
    for camera in (Camera(60, 60, 64, 48), Camera(60, 60, 32, 24)):
        settings = batch.Settings(
            command, str(tmp_path / "model.npz"), box=(9.0, 9.0, 30.0, 30.0), camera=camera
        )
        (outcome,) = batch.run(settings, [job])
        assert outcome.failure is None
        notes.append(outcome.note)
    assert "principal point 64,48 is far from the middle of 64 x 48 px" in str(notes[0])
    assert notes[1] is None


@pytest.mark.parametrize("command", ["fit", "track"])
@pytest.mark.parametrize(
    ("turn", "roll"),
    [
        (cv2.ROTATE_90_CLOCKWISE, 90.0),
        (cv2.ROTATE_90_COUNTERCLOCKWISE, -90.0),
        (cv2.ROTATE_180, 180.0),
    ],
)
@pytest.mark.parametrize("box", [False, True])
def test_a_face_that_lies_is_found(
    tmp_path: Path, command: batch.Command, turn: int, roll: float, box: bool
) -> None:
    """Its landmarks are those in the picture as it is, with a box, too; none is found where there is none."""
    path = Path(__file__).parents[2] / "examples" / "rendered_face.jpg"
    face = cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    clnf, lying = CLNF(parameters="image" if command == "fit" else "video"), cv2.rotate(face, turn)
    (upright,) = clnf.detect(face)
    expected = np.array([turned_point(point, turn, face) for point in upright.landmarks])
    low, size = expected.min(axis=0), np.ptp(expected, axis=0)
    given = (*low.tolist(), *size.tolist()) if box else None
    outcomes, tables = [], []
    for image in (lying, np.full_like(lying, 90)):
        cv2.imwrite(str(tmp_path / "0.png"), image)
        job = batch.Job(str(tmp_path / ("0.png" if command == "fit" else "*.png")), str(tmp_path / "out"))
        (outcome,) = batch.run(batch.Settings(command, box=given), [job])
        outcomes.append((outcome.faces, outcome.note, outcome.failure))
        tables.append(formats.read_csv(tmp_path / "out.csv"))
    assert outcomes == [(1, None, None), (0, None, None)]
    assert np.linalg.norm(tables[0].landmarks[0] - expected, axis=1).mean() < 1.0
    assert tables[0]["confidence"][0] >= 0.9
    off = np.degrees(tables[0]["pose_Rz"][0]) - roll - np.degrees(upright.pose[5])
    assert abs((off + 180) % 360 - 180) < 3


def turned_point(point: np.ndarray, turn: int, image: np.ndarray) -> tuple[float, float]:
    """Return where a point of an image is after `cv2.rotate`."""
    (x, y), (height, width) = point, image.shape[:2]
    return {
        cv2.ROTATE_90_CLOCKWISE: (height - 1 - y, x),
        cv2.ROTATE_90_COUNTERCLOCKWISE: (y, width - 1 - x),
        cv2.ROTATE_180: (width - 1 - x, height - 1 - y),
    }[turn]


def test_an_outcome_counts_faces_and_frames() -> None:
    found = [str(batch.Outcome("v", faces=count, frames=count)) for count in (1, 2)]
    assert found == ["v: 1 face in 1 frame", "v: 2 faces in 2 frames"]


def test_a_photograph_without_points_says_why_there_may_be_none(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((48, 64), 900, np.uint16))
    job = batch.Job(str(tmp_path / "0.png"), str(tmp_path / "out"))
    (outcome,) = batch.run(batch.Settings("fit", formats=("pts",)), [job])
    assert str(outcome.failure).startswith(
        "no face was found: there is nothing to write as .pts; very dark: "
    )


def test_a_box_is_not_looked_for_in_turned_pictures(tmp_path: Path, model: Model) -> None:
    """A box that is given is that of the picture as it is: it would lie outside of a turned one."""
    model.save(tmp_path / "model.npz")
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((48, 90), 90, np.uint8))
    for command in ("fit", "track"):
        settings = batch.Settings(command, str(tmp_path / "model.npz"), box=(55.0, 9.0, 30.0, 30.0))
        source = tmp_path / ("wide.png" if command == "fit" else "*.png")
        (outcome,) = batch.run(settings, [batch.Job(str(source), str(tmp_path / command))])
        assert (outcome.failure, outcome.faces, outcome.note) == (None, 0, None)


def test_what_a_video_and_its_tracker_say_is_noted(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save(tmp_path / "model.npz")
    cv2.imwrite(str(tmp_path / "0.png"), np.full((48, 64), 90, np.uint8))
    settings = batch.Settings("track", str(tmp_path / "model.npz"), box=(9.0, 9.0, 30.0, 30.0))

    class Watchful(Tracker):
        def update(self, *frame: Any, **more: Any) -> list[Face]:
            self.larger_beside = "a larger face is seen"
            return super().update(*frame, **more)

    class Short(Video):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.cut_short = "ends early"

    monkeypatch.setattr(tracking, "Tracker", Watchful)
    monkeypatch.setattr(batch, "Video", Short)
    (outcome,) = batch.run(settings, [batch.Job(str(tmp_path / "*.png"), str(tmp_path / "o"))])
    assert outcome.note == "ends early; a larger face is seen"


def test_what_is_no_frame_is_left_out_and_named(tmp_path: Path) -> None:
    touch(*(tmp_path / "take" / name for name in ("1.png", "2.PNG", "film.mp4", "notes.txt", "._1.png")))
    (tmp_path / "take" / "more").mkdir()
    plan = batch.plan("track", [str(tmp_path / "take")], Path("out"), None, frames=True)
    assert [path.name for path in plan.left_out] == ["film.mp4", "notes.txt"]


def test_empty_files_are_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a power cut leaves them: nothing that is written whole is empty, not even a table of no face."""
    monkeypatch.setattr(batch, "run_job", lambda _, job, __=None: batch.Outcome(job.source))
    settings = batch.Settings("fit", formats=("csv", "pts"))
    job = batch.Job("a.png", str(tmp_path / "a"), str(tmp_path / "a.jpg"))
    outputs = job.outputs(settings.formats)
    for path in outputs:
        path.write_bytes(b"whole")
    (outcome,) = batch.run(settings, [job], resume=True)
    assert outcome.skipped
    for path in outputs:
        path.write_bytes(b"")
        (outcome,) = batch.run(settings, [job], resume=True)
        assert not outcome.skipped
        path.write_bytes(b"whole")


@pytest.mark.parametrize("kind", ["file", "link", "linked folder", "frames"])
def test_what_took_the_place_of_an_input_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whatever its own time: a patient's photograph would come out with the results of another's."""
    monkeypatch.setattr(batch, "run_job", lambda _, job, __=None: batch.Outcome(job.source))
    first, other = tmp_path / "first" / "a.png", tmp_path / "other" / "a.png"
    for file in (first, other):
        file.parent.mkdir()
        file.write_bytes(b"of one size")
        os.utime(file, (1e9, 1e9))
    place = tmp_path / "place"
    source = place / "a.png"
    if kind in ("file", "frames"):
        place.mkdir()
        shutil.copy2(first, source)
    else:
        link, target = (source, first) if kind == "link" else (place, first.parent)
        link.parent.mkdir(exist_ok=True)
        try:
            link.symlink_to(target, target_is_directory=target.is_dir())
        except OSError:
            pytest.skip("this system makes no links")
    time.sleep(0.05)  # more than the steps in which file systems count
    command: batch.Command = "track" if kind == "frames" else "fit"
    job = batch.Job(str(place if kind == "frames" else source), str(tmp_path / "out"))
    (tmp_path / "out.csv").write_bytes(b"whole")
    (outcome,) = batch.run(batch.Settings(command), [job], resume=True)
    assert outcome.skipped
    time.sleep(0.05)
    if kind in ("file", "frames"):
        # Windows gives a file for some seconds the time of the one that had its name.
        copy = shutil.copy if sys.platform == "win32" else shutil.copy2
        copy(other, tmp_path / "copy.png")
        (tmp_path / "copy.png").replace(source)
    else:
        link.unlink()
        target = other if kind == "link" else other.parent
        link.symlink_to(target, target_is_directory=target.is_dir())
    (outcome,) = batch.run(batch.Settings(command), [job], resume=True)
    assert not outcome.skipped


def test_a_photograph_of_a_camera_whose_clock_is_ahead_is_done_once(tmp_path: Path) -> None:
    """It would be done in each run until its time has come."""
    source = tmp_path / "a.png"
    touch(source)
    os.utime(source, (4e9, 4e9))
    time.sleep(0.05)  # more than the steps in which file systems count
    (tmp_path / "out.csv").write_bytes(b"whole")
    job = batch.Job(str(source), str(tmp_path / "out"))
    (outcome,) = batch.run(batch.Settings("fit"), [job], resume=True)
    assert outcome.skipped


def test_tables_of_before_there_was_a_twin_are_named(tmp_path: Path) -> None:
    """And of while there was: a.csv is that of a.png where there was no other, and that of a.jpg later."""
    folder, out = tmp_path / "in", tmp_path / "out"
    touch(folder / "sub" / "a.jpg")
    settings = batch.Settings("fit")

    def left_over() -> list[str]:
        jobs = batch.plan("fit", [str(folder)], out, out / "drawn").jobs
        for job in jobs:
            touch(Path(job.draw or ""))
            formats.write_csv(f"{job.output}.csv", [make_face(0)], layout="image")
        return [path.relative_to(out).as_posix() for path in batch.left_over(settings, jobs)]

    assert left_over() == []
    touch(folder / "sub" / "a.png")
    assert left_over() == ["sub/a.csv", "drawn/sub/a.jpg"]
    (out / "sub" / "a.csv").unlink()
    (out / "drawn" / "sub" / "a.jpg").unlink()
    assert left_over() == []
    (folder / "sub" / "a.png").unlink()
    assert left_over() == ["sub/a.jpg.csv", "drawn/sub/a.jpg.jpg"]
    (out / "drawn" / "sub" / "a.jpg.jpg").unlink()
    # Not those of videos, nor of other takes.
    formats.write_csv(out / "sub" / "a.jpg.csv", [make_face(0, frame=0)])
    assert left_over() == []
    formats.write_csv(out / "take.csv", [make_face(0, frame=0)])
    assert batch.left_over(batch.Settings("track"), [batch.Job("take.1", str(out / "take.1"))]) == []


def test_photographs_are_not_named_as_left_from_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a picture is drawn beside them: who removes what is left would lose them."""
    monkeypatch.chdir(tmp_path)
    touch(*map(Path, ("a.png", "a.png.jpg")))
    (job,) = batch.plan("fit", ["a.png"], Path("out"), Path("a.jpg")).jobs
    assert (job.draw, Path(job.output).name) == ("a.jpg", "a")
    assert batch.left_over(batch.Settings("fit"), [job]) == []


@pytest.mark.parametrize(("command", "suffixes"), [("fit", ("png", "jpg")), ("track", ("avi", "mp4"))])
def test_nothing_is_drawn_into_the_folder_of_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: batch.Command, suffixes: tuple[str, str]
) -> None:
    """It could replace what has the name, but is no input."""
    monkeypatch.chdir(tmp_path)
    source, other = (Path(f"in/a.{suffix}") for suffix in suffixes)
    touch(source, other)
    for draw in (Path("in"), tmp_path / "out" / ".." / "in"):
        with pytest.raises(ParameterError, match=r"is the folder of the input .*name another folder"):
            batch.plan(command, [str(source)], Path("out"), draw)
    assert len(batch.plan(command, [str(source)], Path("in"), Path("in/drawn")).jobs) == 1
    # Who names the file means it.
    assert batch.plan(command, [str(source)], Path("in"), other).jobs[0].draw == str(other)


def test_results_of_an_earlier_run_are_named_where_a_file_fails(tmp_path: Path, model: Model) -> None:
    """Else they are taken for those of the photograph that cannot be read."""
    source, out = tmp_path / "a.png", tmp_path / "out"
    job = batch.Job(str(source), str(out), str(tmp_path / "drawn" / "a.jpg"))
    model.save(tmp_path / "model.npz")
    settings = batch.Settings("fit", model=str(tmp_path / "model.npz"), box=(4, 4, 40, 40))
    source.write_bytes(b"no picture")
    failure = batch.run_job(settings, job).failure
    assert failure is not None and "earlier run" not in failure
    cv2.imwrite(str(source), np.full((64, 64), 90, np.uint8))
    assert batch.run_job(settings, job).failure is None
    source.write_bytes(b"no picture")
    failure = batch.run_job(settings, job).failure
    assert failure is not None
    assert failure.endswith(f"there is still {job.draw}, {out}.csv of an earlier run")
    # A picture that cannot be written leaves an old one beside a new table.
    cv2.imwrite(str(source), np.full((64, 64), 90, np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "write_image", lambda *_: (_ for _ in ()).throw(OSError("full")))
        outcome = batch.run_job(settings, job)
    assert outcome.tabled and outcome.failure == f"full; there is still {job.draw} of an earlier run"


def test_an_output_folder_that_is_locked_is_a_failure_of_its_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_try_job", lambda _, job, __: batch.Outcome(job.source, failure="locked"))
    locked, stat = tmp_path / "locked" / "a.csv", os.stat

    def refuse(path: str | Path, **options: Any) -> os.stat_result:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    jobs = [batch.Job("a.jpg", str(locked.with_suffix(""))), batch.Job("b.jpg", str(tmp_path / "b"))]
    for resume in (False, True):
        outcomes = list(batch.run(batch.Settings("fit"), jobs, resume=resume))
        assert [outcome.failure for outcome in outcomes] == ["locked", "locked"]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(("form", "kind"), [("csv", "CSV"), ("parquet", "Parquet file")])
@pytest.mark.parametrize(
    ("command", "layout", "remedy"),
    [
        ("fit", "video", "of a video: give the photograph another --output"),
        ("track", "image", "of a photograph: give the video another --output"),
    ],
)
def test_the_table_of_the_other_command_is_kept(
    tmp_path: Path, command: batch.Command, layout: Any, remedy: str, form: str, kind: str, resume: bool
) -> None:
    """A photograph and a video of one name have one name for their tables."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    write = {"csv": formats.write_csv, "parquet": formats.write_parquet}[form]
    path = tmp_path / f"x.{form}"
    write(path, [make_face()], layout=layout)
    before = path.read_bytes()
    job = batch.Job("x.png", str(tmp_path / "x"))
    settings = batch.Settings(command, model="missing.npz", formats=(form,))
    (outcome,) = batch.run(settings, [job], resume=resume)
    assert not outcome.skipped
    assert f"{path} is the {kind} {remedy}" in str(outcome.failure)
    assert path.read_bytes() == before
    # Its own is done, or done again.
    write(path, [], layout="image" if command == "fit" else "video")
    (outcome,) = batch.run(settings, [job], resume=resume)
    assert outcome.skipped == resume
    assert "--output" not in str(outcome.failure)


def test_a_damaged_parquet_file_is_replaced(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    settings = batch.Settings("fit", model="missing.npz", formats=("parquet",))
    (outcome,) = batch.run(settings, [batch.Job("x.png", str(tmp_path / "x"))])
    assert "--output" not in str(outcome.failure)


@pytest.mark.parametrize("command", ["fit", "track"])
def test_a_parquet_file_says_whose_it_is(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, command: batch.Command
) -> None:
    pytest.importorskip("pyarrow")
    model.save(tmp_path / "model.npz")
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "x.png"), np.full((48, 64), 90, np.uint8))
    settings = batch.Settings(
        command, str(tmp_path / "model.npz"), box=(9.0, 9.0, 30.0, 30.0), formats=("parquet",)
    )
    source = tmp_path / "in" / "x.png" if command == "fit" else tmp_path / "in"
    (outcome,) = batch.run(settings, [batch.Job(str(source), str(tmp_path / "x"))])
    assert outcome.failure is None
    assert formats.layout_of(tmp_path / "x.parquet") == ("image" if command == "fit" else "video")


def test_a_picture_that_cannot_be_drawn_takes_no_table_with_it(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((4, 70_000), np.uint8))
    model.save(tmp_path / "model.npz")
    settings = batch.Settings(
        "fit", str(tmp_path / "model.npz"), box=(9.0, 0.0, 4.0, 4.0), formats=("csv", "pts")
    )
    face = make_face(n=model.pdm.n_landmarks, m=model.pdm.n_modes)
    monkeypatch.setattr(CLNF, "detect", lambda *_, **__: [face])
    job = batch.Job(str(tmp_path / "wide.png"), str(tmp_path / "out" / "wide"), str(tmp_path / "wide.jpg"))
    (outcome,) = batch.run(settings, [job])
    assert "70000 x 4 px cannot be written as .jpg" in str(outcome.failure)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["wide.csv", "wide.pts"]


def test_frames_of_a_video(tmp_path: Path) -> None:
    touch(*(tmp_path / take / f"{i:02}.png" for take in ("take1", "take.2") for i in range(3)))
    folder, pattern = str(tmp_path / "take1"), str(tmp_path / "take.2" / "%02d.png")
    plan = batch.plan("track", [folder, pattern], Path("out"), Path("drawn"), frames=True)
    assert [(job.source, job.output, job.draw) for job in plan.jobs] == [
        (folder, str(Path("out/take1")), str(Path("drawn/take1.mp4"))),
        (pattern, str(Path("out/take.2")), str(Path("drawn/take.2.mp4"))),
    ]
    with pytest.raises(ParameterError, match="would have the same name"):
        batch.plan("track", [folder, f"{folder}/*.png"], Path("out"), None, frames=True)
    (job,) = batch.plan("track", [f"{folder}/../take1/."], Path("out"), None, frames=True).jobs
    assert job.output == str(Path("out/take1"))
    with pytest.raises(ParameterError, match="nowhere: there is no such folder"):
        batch.plan("track", [str(tmp_path / "nowhere")], Path("out"), None, frames=True)
    with pytest.raises(ParameterError, match=r"folders and \(quoted\) patterns of images, not"):
        batch.plan("track", [str(tmp_path / "take1" / "00.png")], Path("out"), None, frames=True)


@pytest.mark.parametrize(("command", "name"), [("fit", "image"), ("track", "video")])
def test_the_set_of_a_command(command: batch.Command, name: str) -> None:
    assert batch.Settings(command).parameters == name
    assert batch.Settings(command, parameters="tracking").parameters == "tracking"


def test_what_is_to_be_known_before_a_run() -> None:
    assert batch.check(batch.Settings("fit")) == []
    for numbers, commands in (
        ((("iterations", 20),), ("fit", "track")),
        ((("windows", (0, 0, 0, 7)),), ("fit", "track")),
    ):
        for command in commands:
            (note,) = batch.check(batch.Settings(command, numbers=numbers))  # type: ignore[arg-type]
            assert "not calibrated" in note
    assert batch.check(batch.Settings("track")) == []
    assert batch.check(batch.Settings("fit", starts="learned")) == []
    (note,) = batch.check(batch.Settings("fit", starts="multiview"))
    assert "--starts multiview takes the place of the model's learned start" in note


def test_windows_has_no_more_than_61_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Pool:
        def __init__(self, workers: int, **_: object) -> None:
            asked.append(workers)

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(batch, "ProcessPoolExecutor", Pool)
    for platform in ("win32", "linux"):
        monkeypatch.setattr(sys, "platform", platform)
        for workers in (3, 100):
            with batch._pool(workers):
                pass
    assert asked == [3, 61, 3, 100]


def test_an_interruption_ends_no_process_of_others() -> None:
    with pytest.raises(KeyboardInterrupt), batch._pool(1) as pool:
        working = pool.submit(time.sleep, 60)
        other = get_context("spawn").Process(target=time.sleep, args=(2,))
        other.start()
        raise KeyboardInterrupt
    assert working.done() or working.cancelled()
    other.join()
    assert other.exitcode == 0


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    touch(
        tmp_path / ".a.0123abcd.tmp.csv", tmp_path / ".ab.0123abcd.tmp.csv", tmp_path / ".a.0123abcd.tmp.mp4"
    )
    job = batch.Job("missing.jpg", str(tmp_path / "a"))
    (outcome,) = batch.run(batch.Settings("fit", model="missing.npz"), [job])
    assert outcome.failure
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.0123abcd.tmp.mp4", ".ab.0123abcd.tmp.csv"]


def test_pts_of_several_faces(tmp_path: Path) -> None:
    clnf = SimpleNamespace(model=SimpleNamespace(pdm=SimpleNamespace(n_landmarks=68, n_modes=34)))
    job = batch.Job("x.jpg", str(tmp_path / "x"))
    faces = [make_face(0), missing_face(face_id=1), make_face(1, face_id=2)]
    batch._write_faces("pts", job, clnf, faces)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.face2.pts", "x.pts"]
    batch._write_faces("csv", job, clnf, faces)  # type: ignore[arg-type]
    table = formats.read_csv(tmp_path / "x.csv")
    for name, face in (("x.pts", 0), ("x.face2.pts", 2)):
        # One name, one face, whichever file it is read from.
        (row,) = np.flatnonzero(table["face"] == face)
        np.testing.assert_allclose(formats.read_pts(tmp_path / name), table.landmarks[row], atol=0.051)
    # The first of all may have failed.
    batch._write_faces("pts", job, clnf, [missing_face(), *faces[1:]])  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.pts"]
    np.testing.assert_allclose(formats.read_pts(tmp_path / "x.pts"), faces[2].landmarks, atol=0.000501)
    (tmp_path / "x.csv").unlink()
    with pytest.raises(FormatError, match="no face was found"):
        batch._write_faces("pts", job, clnf, [missing_face()])  # type: ignore[arg-type]
    # Those of an earlier run would be taken for this one's.
    assert list(tmp_path.iterdir()) == []


def test_pts_of_an_earlier_run_with_more_faces_are_removed(tmp_path: Path) -> None:
    clnf = SimpleNamespace(model=SimpleNamespace(pdm=SimpleNamespace(n_landmarks=68, n_modes=34)))
    job = batch.Job("x[1].jpg", str(tmp_path / "x[1]"))
    others = ["x1.face2.pts", "x[1].face02.pts", "x[1].face2.csv", "x[1].faces2.pts", "x[1]y.face2.pts"]
    touch(*(tmp_path / name for name in others))
    for count in (4, 2):
        batch._write_faces("pts", job, clnf, [make_face(i) for i in range(count)])  # type: ignore[arg-type]
        further = [f"x[1].face{i}.pts" for i in range(1, count)]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, *further, "x[1].pts"])


def test_what_is_wrong_with_a_file_is_said_without_its_name_twice(tmp_path: Path) -> None:
    image = tmp_path / "x.jpg"
    image.write_bytes(b"no image")
    (outcome,) = batch.run(batch.Settings("fit", model="missing.npz"), [batch.Job(str(image), "out")])
    assert "missing.npz" in (outcome.failure or "")
    assert str(outcome).count(str(image)) == 1


def test_a_batch_takes_the_numbers_that_the_model_has(tmp_path: Path) -> None:
    own = {
        "image": {"windows": [9, 7, 0], "sigma": 2.0},
        "video": {"windows": [7, 5, 0]},
        "tracking": {"windows": [0, 5, 0]},
    }
    model = generate_model()
    changed = Model(model.pdm, model.scales, metadata={"fit": own})
    changed.save(tmp_path / "own.npz")
    clnf = batch._tools(batch.Settings("fit", model=str(tmp_path / "own.npz")))[0]
    assert clnf.parameters == CLNF(changed).parameters
    assert (clnf.parameters.windows, clnf.parameter_set) == ((9, 7, 0), "image")
    tracker = batch._tracker(
        batch.Settings(
            "track",
            model=str(tmp_path / "own.npz"),
        )
    )
    assert (tracker.first.windows, tracker.tracking.windows) == ((7, 5, 0), (0, 5, 0))
    assert (tracker.first_set, tracker.tracking_set) == ("video", "tracking")
    given = batch.Settings(
        "track", model=str(tmp_path / "own.npz"), parameters="video", numbers=(("sigma", 3.0),)
    )
    tracker = batch._tracker(given)
    assert (tracker.first.windows, tracker.first.sigma, tracker.tracking.sigma) == ((7, 5, 0), 3.0, 3.0)


# --- processes that die


class Pool:
    """Stands for a pool of processes: each job is done at once or later, or kills its process."""

    def __init__(self, fates: list[str]) -> None:
        self.fates, self.broken = fates, False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., object], settings: batch.Settings, job: batch.Job) -> Future:
        future: Future[batch.Outcome] = Future()
        outcome = batch.Outcome(job.source, faces=1)
        fate = self.fates.pop(0) if self.fates else "done"
        if fate == "idle process died" or self.broken:
            raise BrokenProcessPool
        if fate == "dies":
            future.set_exception(BrokenProcessPool())
        elif fate == "later":
            threading.Timer(0.1, future.set_result, [outcome]).start()
        else:
            future.set_result(outcome)
        return future


@pytest.mark.parametrize(
    ("fates", "failed"),
    (
        ([], []),
        (["dies", "later", "done"], []),
        (["dies", "later", "later", "dies"], ["0"]),
        (["idle process died", "dies"], ["0"]),
        (["later", "idle process died"], []),
        (["done", "done", "done", "idle process died", "done", "dies", "done", "dies"], ["4"]),
    ),
)
def test_every_file_has_one_outcome_whichever_process_dies(
    monkeypatch: pytest.MonkeyPatch, fates: list[str], failed: list[str]
) -> None:
    """A job is tried again alone if its pool broke, and given up if it breaks that, too."""
    left = list(fates)
    monkeypatch.setattr(batch, "_pool", lambda workers: Pool(left))
    jobs = [batch.Job(str(i), f"out{i}") for i in range(6)]
    outcomes = list(batch.run(batch.Settings("fit"), jobs, workers=2))
    assert sorted(outcome.source for outcome in outcomes) == [job.source for job in jobs]
    assert [outcome.source for outcome in outcomes if outcome.failure] == failed
    assert all("died, twice" in (o.failure or "died, twice") for o in outcomes)
    assert not left
