"""The command line as people use it, on generated photographs and videos."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from pyclnf import batch, cli, formats
from pyclnf._files import replacing
from pyclnf.cli import main
from pyclnf.progress import Progress

if TYPE_CHECKING:
    from conftest import Generated


def run(*arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture
def options(generated: Generated) -> list[object]:
    return ["--model", generated.path, "--box", generated.box]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_folder_of_photographs(
    generated: Generated, options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated.write_images(tmp_path / "in" / "sub", 3)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    code = run("fit", tmp_path / "in", "--output", out, "--draw", out / "pictures", "--report", *options)
    assert code == 0
    names = ["face00", "face01", "face02"]
    assert sorted(contents(out)) == sorted(
        [f"sub/{name}.csv" for name in names]
        + [f"pictures/sub/{name}.jpg" for name in names]
        + ["report.html"]
    )
    for seed, name in enumerate(names):
        table = formats.read_csv(out / "sub" / f"{name}.csv")
        assert table.layout == "image"
        error = np.linalg.norm(table.landmarks[0] - generated.landmarks(seed), axis=1).mean()
        assert error < 1.5
    text = capsys.readouterr().out
    assert "left out because of their suffix: " in text
    assert "notes.txt" in text
    assert "face01.png: 1 face" in text
    assert "3 files: 3 done; 3 faces; " in text


def test_formats_and_patterns(generated: Generated, options: list[object], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    generated.write_images(tmp_path, 2)
    out = tmp_path / "out"
    wanted = ["--format", "csv", "--format", "pts", "--format", "parquet"]
    assert run("fit", tmp_path / "face*.png", "--output", out, *wanted, *options) == 0
    assert sorted(contents(out)) == sorted(
        f"face0{i}.{s}" for i in range(2) for s in ("csv", "pts", "parquet")
    )
    exact = formats.read_parquet(out / "face01.parquet")
    assert np.abs(formats.read_csv(out / "face01.csv").landmarks - exact.landmarks).max() <= 0.0501
    assert np.abs(formats.read_pts(out / "face01.pts") - exact.landmarks[0]).max() <= 0.000501


def test_one_picture_with_a_name(generated: Generated, options: list[object], tmp_path: Path) -> None:
    generated.write_images(tmp_path, 1)
    picture = tmp_path / "fit.png"
    assert run("fit", tmp_path / "face00.png", "--output", tmp_path, "--draw", picture, *options) == 0
    drawn = cv2.imread(str(picture))
    assert drawn.shape == (*generated.image(0).shape[:2], 3)
    grey = drawn.max(axis=2).astype(int) - drawn.min(axis=2)
    assert (grey > 60).sum() > 500  # coloured lines on a grey picture


# --- unusual and broken files


def write_bad_files(folder: Path, good: np.ndarray) -> dict[str, str]:
    """Write unusual files; return the names of those that fail, with what must be said of them."""
    image = pytest.importorskip("PIL.Image")
    grey = good if good.ndim == 2 else cv2.cvtColor(good, cv2.COLOR_BGR2GRAY)
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    pil = image.fromarray(rgb)
    pil.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    pil.convert("P").save(folder / "palette.png")
    pil.convert("RGBA").save(folder / "alpha.png")
    pil.save(folder / "animated.gif", save_all=True, append_images=[image.fromarray(255 - rgb)])
    cv2.imwrite(str(folder / "sixteen.png"), grey.astype(np.uint16) * 257)
    large = np.zeros((6000, 6000), np.uint8)
    large[: grey.shape[0], : grey.shape[1]] = grey
    cv2.imwrite(str(folder / "large.png"), large)
    (folder / "tiny.png").write_bytes(cv2.imencode(".png", grey[:1, :1])[1].tobytes())
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no image")
    (folder / "cut.png").write_bytes(cv2.imencode(".png", grey)[1].tobytes()[:200])
    (folder / "enormous.png").write_bytes(enormous_png(100_000))
    reads_gif = cv2.imread(str(folder / "animated.gif")) is not None  # since 4.12
    return ({} if reads_gif else {"animated.gif": "reads no GIF"}) | {
        "tiny.png": "outside the image",
        "empty.jpg": "empty",
        "text.jpg": "not an image",
        "cut.png": "not an image, or damaged",
        "enormous.png": "scale it down first",
    }


def enormous_png(side: int) -> bytes:
    """Return a PNG that claims to be side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")]
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_files_are_reported_and_the_rest_is_done(
    generated: Generated,
    options: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    generated.write_images(folder, 1)
    failing = write_bad_files(folder, generated.image(0))
    assert run("fit", folder, "--output", out, "--workers", workers, *options) == 1
    text = capsys.readouterr().out
    for name, why in failing.items():
        (line,) = [line for line in text.splitlines() if line.startswith("  failed: ") and name in line]
        assert why in line
    handled = {"face00", "cmyk", "palette", "alpha", "animated", "sixteen", "large"}
    handled -= {Path(name).stem for name in failing}
    assert f"{len(handled)} done, {len(failing)} failed" in text
    assert {path.stem for path in out.glob("*.csv")} == handled
    assert ("the first of 2 pictures" in text) == ("animated" in handled)
    reference = formats.read_csv(out / "face00.csv").landmarks
    for name in handled - {"palette", "cmyk", "animated"}:
        np.testing.assert_allclose(formats.read_csv(out / f"{name}.csv").landmarks, reference, atol=0.11)
    for name in handled & {"palette", "cmyk", "animated"}:  # whose colours are rounded
        np.testing.assert_allclose(formats.read_csv(out / f"{name}.csv").landmarks, reference, atol=2.0)


def test_no_face_is_no_failure(
    generated: Generated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((200, 200), 90, np.uint8))
    assert run("fit", tmp_path / "flat.png", "--model", generated.path, "--output", tmp_path) == 0
    assert len(formats.read_csv(tmp_path / "flat.csv")) == 0
    assert "flat.png: 0 faces" in capsys.readouterr().out


def test_a_photograph_and_a_video_on_their_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables, points and pictures are those of the files as they are."""
    image = cv2.imread(str(Path(__file__).parents[2] / "examples" / "rendered_face.jpg"))
    height = image.shape[0]
    (tmp_path / "take").mkdir()
    for name in ("lying.png", *(f"take/{i}.png" for i in range(3))):
        cv2.imwrite(str(tmp_path / name), cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE))
    cv2.imwrite(str(tmp_path / "upright.png"), image)
    names = [tmp_path / name for name in ("lying.png", "upright.png")]
    out = ["--output", tmp_path / "out", "--draw", tmp_path / "drawn"]
    assert run("fit", *names, *out, "--format", "csv", "--format", "pts", "--report") == 0
    assert run("track", "--frames", tmp_path / "take", *out) == 0
    said = capsys.readouterr().out
    assert "lying.png: 1 face\n" in said and "take: 3 faces in 3 frames\n" in said
    upright = formats.read_csv(tmp_path / "out" / "upright.csv")
    x, y = upright.landmarks[0].T
    expected = np.stack([height - 1 - y, x], axis=1)
    for table in (formats.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("lying", "take")):
        assert (np.linalg.norm(table.landmarks - expected, axis=2).mean(axis=1) < 2.0).all()
        assert np.abs(table["pose_Rz"] - upright["pose_Rz"][0] - np.pi / 2).max() < 0.05
        assert (table["confidence"] > 0.9).all()
    points = formats.read_pts(tmp_path / "out" / "lying.pts")
    assert np.linalg.norm(points - expected, axis=1).mean() < 2.0
    drawn = cv2.imread(str(tmp_path / "drawn" / "lying.jpg"))
    assert drawn.shape == cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE).shape


# --- interruption and workers


def test_results_do_not_depend_on_workers(
    generated: Generated, options: list[object], tmp_path: Path
) -> None:
    generated.write_images(tmp_path / "in", 5)
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        assert (
            run("fit", tmp_path / "in", "--output", out, "--draw", out, "--workers", workers, *options) == 0
        )
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")


def test_resume_skips_what_is_done(
    generated: Generated, options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated.write_images(tmp_path / "in", 3)
    out = tmp_path / "out"
    arguments = ["fit", tmp_path / "in", "--output", out, "--resume", *options]
    assert run(*arguments) == 0
    (out / "face01.csv").unlink()
    before = (out / "face00.csv").stat().st_mtime_ns
    capsys.readouterr()
    assert run(*arguments) == 0
    assert "3 files: 1 done, 2 skipped" in capsys.readouterr().out
    assert (out / "face00.csv").stat().st_mtime_ns == before
    assert (out / "face01.csv").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process group")
@pytest.mark.parametrize(("command", "workers"), [("fit", 1), ("fit", 2), ("track", 1)])
def test_killed_and_resumed_gives_the_same_files(
    generated: Generated, options: list[object], tmp_path: Path, command: str, workers: int
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    if command == "fit":
        generated.write_images(folder, 12)
    else:
        for i in range(3):
            generated.write_video(folder / f"v{i}.avi", 40)

    def arguments(out: Path) -> list[str]:
        words = [command, folder, "--output", out, "--draw", out, "--workers", workers, *options]
        return [str(word) for word in words]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(*arguments(whole)) == 0

    process = subprocess.Popen(
        [sys.executable, "-m", "pyclnf", *arguments(broken)], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while not list(broken.glob("[!.]*.csv")) and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finished = {name: data for name, data in contents(broken).items() if not name.startswith(".")}
    assert finished, "killed before the first file was done"
    assert finished.items() <= contents(whole).items()  # no half file
    assert len(finished) < len(contents(whole)), "killed after the last file was done"

    assert run(*arguments(broken), "--resume") == 0
    assert contents(broken) == contents(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process")
def test_a_worker_that_dies_costs_one_file(
    generated: Generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated.write_images(tmp_path / "in", 4)
    box = tuple(float(value) for value in generated.box.split(","))
    settings = batch.Settings("fit", model=str(generated.path), box=box)  # type: ignore[arg-type]
    plan = batch.plan("fit", [str(tmp_path / "in")], tmp_path / "out", None)
    monkeypatch.setattr(batch, "run_job", deadly_job)
    outcomes = {Path(outcome.source).stem: outcome for outcome in batch.run(settings, plan.jobs, workers=2)}
    assert len(outcomes) == 4
    assert "died" in (outcomes.pop("face02").failure or "")
    assert all(outcome.failure is None and outcome.faces == 1 for outcome in outcomes.values())


@pytest.mark.skipif(sys.platform == "win32", reason="an interruption goes to all processes of a console")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_workers_end_with_the_process_that_started_them(
    generated: Generated, tmp_path: Path, how: str
) -> None:
    """Though an interruption may reach it alone; that leaves nothing half-done."""
    psutil = pytest.importorskip("psutil")
    generated.write_video(tmp_path / "v0.avi", 600)
    for i in range(1, 4):
        shutil.copy(tmp_path / "v0.avi", tmp_path / f"v{i}.avi")
    out = tmp_path / "out"
    words = ["track", str(tmp_path), "--output", str(out), "--workers", "2", "--model", str(generated.path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pyclnf", *words, "--box", generated.box],
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a shell interruptions are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while len(list(out.glob(".*.tmp.csv"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(getattr(signal, how))
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert len(children) >= 2 and not psutil.wait_procs(children, timeout=60)[1]
    if how == "SIGINT":
        assert process.returncode == 130
        assert said.strip().splitlines()[-1].startswith("pyclnf: interrupted") and "Traceback" not in said
        assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """What is said names the file, not its temporary one, and nothing is raised while tidying up."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    path = tmp_path / "face.csv"
    for name in ("write_text", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(OSError, match="Read-only file system") as raised, replacing(path) as temporary:
        temporary.write_text("text")
    assert raised.value.filename == str(path)
    assert not recwarn.list


def deadly_job(settings: batch.Settings, job: batch.Job, tick: object = None) -> batch.Outcome:
    """Do a job, but die of one."""
    if "face02" in job.source:
        os.kill(os.getpid(), signal.SIGKILL)
    return batch.Outcome(job.source, faces=1)


# --- videos


def test_a_video(
    generated: Generated, options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated.write_video(tmp_path / "v.avi", 20)
    out = tmp_path / "out"
    code = run("track", tmp_path / "v.avi", "--output", out, "--draw", out, "--report", *options)
    assert code == 0
    assert sorted(contents(out)) == ["v.csv", "v.html", "v.mp4"]
    table = formats.read_csv(out / "v.csv")
    assert table["frame"].tolist() == list(range(1, 21))
    np.testing.assert_allclose(table["timestamp"], np.arange(20) / 25, atol=0.001)
    assert table.success.all()
    for row in (0, 19):
        error = np.linalg.norm(table.landmarks[row] - generated.landmarks(row // 5), axis=1).mean()
        assert error < 2
    overlay = cv2.VideoCapture(str(out / "v.mp4"))
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 20
    overlay.release()
    assert "v.avi: 20 faces in 20 frames" in capsys.readouterr().out


def test_frames_in_a_folder_are_a_video(generated: Generated, options: list[object], tmp_path: Path) -> None:
    """With the camera's numbers, which the pose goes by."""
    generated.write_images(tmp_path / "take1", 3)
    words = ["track", "--frames", tmp_path / "take1", "--output", tmp_path / "out", *options]
    assert run(*words, "--frame-rate", "10") == 0
    table = formats.read_csv(tmp_path / "out" / "take1.csv")
    assert table["timestamp"].tolist() == [0.0, 0.1, 0.2]
    depth = table["pose_Tz"]
    guessed, known = tmp_path / "guessed", tmp_path / "known"
    assert run("fit", tmp_path / "take1", "--output", guessed, *options) == 0
    assert run("fit", tmp_path / "take1", "--output", known, *options, "--camera", "2000,2000,0,0") == 0
    near, far = (formats.read_csv(folder / "face00.csv")["pose_Tz"][0] for folder in (guessed, known))
    assert far > 3 * near
    assert run(*words, "--camera", "2000,2000,160,160") == 0
    nearer = formats.read_csv(tmp_path / "out" / "take1.csv")
    np.testing.assert_allclose(nearer["timestamp"], [0, 1 / 30, 2 / 30], atol=0.001)
    height, width = generated.image(0).shape[:2]
    guess = (500 * width / 640 + 500 * height / 480) / 2
    np.testing.assert_allclose(nearer["pose_Tz"] / depth, 2000 / guess, rtol=0.1)


def test_a_table_is_there_though_a_photograph_has_no_face(
    generated: Generated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "grey.png"), np.full((90, 90), 128, np.uint8))
    for order in (("csv", "pts"), ("pts", "csv")):
        out = tmp_path / "-".join(order)
        words = [word for name in order for word in ("--format", name)]
        assert run("fit", tmp_path / "in", "--output", out, "--model", generated.path, *words) == 1
        assert sorted(contents(out)) == ["grey.csv"]
        assert "nothing to write as .pts" in capsys.readouterr().out


def test_every_start_to_its_end(generated: Generated, options: list[object], tmp_path: Path) -> None:
    generated.write_images(tmp_path, 1)
    settings = []
    for words in ([], ["--exhaustive"]):
        arguments = ["fit", tmp_path / "face00.png", *words, "--starts", "multiview", *options]
        parsed = cli.parser().parse_args([str(argument) for argument in arguments])
        clnf, _ = batch._tools(cli._settings(parsed))
        settings.append((clnf.exhaustive, len(clnf.starts)))
    assert settings == [(False, 11), (True, 11)]


def test_a_video_that_is_cut_short(
    generated: Generated, options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a row for each frame that is there, and the end that is missing is said."""
    path = tmp_path / "v.avi"
    generated.write_video(path, 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert run("track", path, "--output", tmp_path, *options) == 0
    rows = len(formats.read_csv(tmp_path / "v.csv")["frame"])
    assert 5 < rows < 20
    found = f"v.avi: {rows} faces in {rows} frames (ends after {rows / 25:.1f} of 1.6 s, as if cut short)"
    assert found in capsys.readouterr().out


def test_a_video_of_pictures_of_which_one_is_broken(generated: Generated, tmp_path: Path) -> None:
    """Its row says so, and the face is found again after it; in both formats, and in the video drawn."""
    pytest.importorskip("pyarrow")
    generated.write_images(tmp_path, 5)
    (tmp_path / "face02.png").write_bytes(b"no picture")
    x, y, w, h = map(float, generated.box.split(","))
    settings = batch.Settings(
        "track",
        model=str(generated.path),
        parameters="video",
        box=(x, y, w, h),
        formats=("csv", "parquet"),
    )
    out = tmp_path / "out"
    job = batch.Job(str(tmp_path / "face*.png"), str(out / "v"), str(out / "v.avi"))
    outcome = batch.run_job(settings, job)
    assert (outcome.failure, outcome.faces, outcome.frames) == (None, 4, 5)
    assert str(outcome.note).startswith(
        f"1 broken frame: {tmp_path / 'face02.png'}: not an image, or damaged"
    )
    assert sorted(contents(out)) == ["v.avi", "v.csv", "v.parquet"]
    csv, parquet = formats.read_csv(out / "v.csv"), formats.read_parquet(out / "v.parquet")
    for table in (csv, parquet):
        assert table["frame"].tolist() == [1, 2, 3, 4, 5]
        assert table.success.tolist() == [True, True, False, True, True]
        assert (table.landmarks[[0, 1, 3, 4]] > 0).all()
    # OpenFace's CSV has zeros where there is nothing.
    assert (csv.landmarks[2] == 0).all() and np.isnan(parquet.landmarks[2]).all()
    drawn = cv2.VideoCapture(str(out / "v.avi"))
    levels = [drawn.read()[1].mean() for _ in range(5)]
    assert not drawn.read()[0]
    drawn.release()
    assert levels[2] < 20 < min(levels[:2] + levels[3:])


def test_a_video_of_broken_pictures_alone_has_its_table(generated: Generated, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"face{i}.png").write_bytes(b"no picture")
    settings = batch.Settings("track", model=str(generated.path), parameters="video", box=(9, 9, 90, 90))
    out = tmp_path / "out"
    outcome = batch.run_job(settings, batch.Job(str(tmp_path / "*.png"), str(out / "v"), str(out / "v.mp4")))
    assert (outcome.failure, outcome.faces, outcome.frames) == (None, 0, 3)
    assert list(contents(out)) == ["v.csv"]
    assert not formats.read_csv(out / "v.csv").success.any()


def test_bad_videos_are_reported(
    generated: Generated, options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    generated.write_video(folder / "good.avi", 3)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video")
    assert run("track", folder, "--output", out, *options) == 1
    text = capsys.readouterr().out
    assert "3 files: 1 done, 2 failed" in text
    assert [path.name for path in out.iterdir()] == ["good.csv"]


# --- usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "the following arguments are required: INPUT"),
        (["fit", "missing.jpg"], "there is no such file or folder"),
        (["fit", "missing/*.jpg"], "the pattern matches no file"),
        (["fit", "x.jpg", "--box", "1,2,3"], "a box is x,y,width,height"),
        (["fit", "x.jpg", "--box", "1,2,0,5"], "a box is x,y,width,height"),
        (["fit", "x.jpg", "--workers", "0"], "at least 1"),
        (["fit", "x.jpg", "--camera", "1,2"], "a camera is fx,fy,cx,cy"),
        (["track", "x.avi", "--frame-rate", "0"], "a positive number of frames a second"),
        (["fit", ""], "an input is empty"),
        (["fit", "x.jpg", "--set", "sharp"], "a parameter set is one of image, video"),
        (["fit", "x.jpg", "--set", "sharp=1"], "there is no 'sharp'"),
        (["fit", "x.jpg", "--format", "xml"], "invalid choice"),
        (["track", "x.avi", "--format", "pts"], "invalid choice"),
        (["fit", "x.jpg", "--format", "pts", "--report"], "--report is made of the CSV"),
        (["report", "nowhere"], "cannot be read"),
    ],
)
def test_bad_usage(
    generated: Generated, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    if arguments[0] in ("fit", "track") and len(arguments) > 1:
        arguments = [*arguments, "--model", str(generated.path)]
    code = run(*arguments)
    assert code == (1 if arguments[0] == "report" else 2)
    assert message in capsys.readouterr().err


def test_the_whole_run_fails_before_it_begins(
    generated: Generated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated.write_images(tmp_path, 1)
    image = tmp_path / "face00.png"
    assert run("fit", image, "--model", tmp_path / "no.npz", "--output", tmp_path / "out") == 1
    assert "no.npz" in capsys.readouterr().err
    assert run("fit", image, "--model", generated.path, "--detector", "magic") == 2
    assert "magic" in capsys.readouterr().err
    assert run("fit", image, "--model", generated.path, "--box", "1,1,9,9", "--draw", image) == 2
    assert "overwrite" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_outputs_with_the_same_name(generated: Generated, options: list[object], tmp_path: Path) -> None:
    generated.write_images(tmp_path / "in", 1)
    image = cv2.imread(str(tmp_path / "in" / "face00.png"))
    cv2.imwrite(str(tmp_path / "in" / "face00.bmp"), image)
    out = tmp_path / "out"
    assert run("fit", tmp_path / "in", "--output", out, *options) == 0
    assert sorted(contents(out)) == ["face00.bmp.csv", "face00.png.csv"]
    both = tmp_path / "in" / "face00.png", tmp_path / "other" / "face00.png"
    generated.write_images(tmp_path / "other", 1)
    assert run("fit", *both, "--output", out, *options) == 2


@pytest.mark.parametrize("command", ["", "fit", "track", "models", "report", "measure", "bench", "version"])
def test_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run(*command.split(), "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: pyclnf")
    if command in ("", "fit", "track", "models", "report", "measure"):
        assert "examples:" in text


def test_version_and_bench(generated: Generated, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("version") == 0
    assert "kernels: " in capsys.readouterr().out
    assert run("bench", "--model", generated.path, "--repeat", 3, "--json") == 0
    results = json.loads(capsys.readouterr().out)
    assert 0 < results["fit_video_ms"]["median"] < results["fit_image_ms"]["p95"] * 100


def test_models(
    generated: Generated, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYCLNF_HOME", str(tmp_path / "home"))
    assert run("models", "path", "openface") == 1
    assert "models download openface" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run("models", "download", "openface") == 1
    captured = capsys.readouterr()
    assert "non-commercial" in captured.out
    assert "nothing was downloaded" in captured.err
    assert not (tmp_path / "home").exists()


def test_an_imported_model_has_a_name(
    test_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYCLNF_HOME", str(tmp_path / "home"))
    assert run("models", "import", test_data / "openface" / "model") == 0
    assert run("models", "path", "openface") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "home" / "openface.npz")
    assert run("models", "list") == 0
    assert "openface     imported" in capsys.readouterr().out


# --- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal() -> None:
    terminal = Terminal()
    progress = Progress(4, terminal)
    progress.file_done(batch.Outcome("a.jpg", faces=2))
    progress.file_done(batch.Outcome("d.jpg"))
    progress.file_done(batch.Outcome("b.jpg", failure="broken"))
    progress.file_done(batch.Outcome("c.jpg", skipped=True))
    progress.close()
    text = terminal.getvalue()
    assert "4/4 files, " in text
    assert " left" in text
    assert "b.jpg: failed: broken\n" in text
    assert "a.jpg: 2 faces" not in text
    assert "\x1b" not in text
    last = text.rpartition("\r")[2]
    # Which nobody would see among thousands.
    assert last.startswith(
        "4 files: 2 done, 1 skipped, already done, 1 failed; 2 faces, 1 file without one; "
    )
    assert last.endswith("  failed: b.jpg: broken\n")


def test_progress_of_one_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frames are shown, with or without their number; what is left is told in minutes or hours."""
    clock = iter([0.0, 0.02, 1.0, 2.0, 100.0, 100.0, 7325.4])
    monkeypatch.setattr("pyclnf.progress.time.monotonic", lambda: next(clock))
    terminal = Terminal()
    progress = Progress(1, terminal)
    shown = []
    for done, total in ((1, 7500), (2, 7500), (30, 7500), (40, None), (10, 10)):
        terminal.truncate(terminal.seek(0))
        progress.frame_done(done, total)
        shown.append(terminal.getvalue().rpartition("\r")[2])
    # Each covers what stood in the line before.
    assert len(shown[2]) == len(shown[1]) and len(shown[3]) == len(shown[2].rstrip())
    assert [text.rstrip() for text in shown] == [
        "",  # too soon after the last
        f"[{'.' * 24}] 2/7500 frames, 2.0/s, 1:02:29 left",
        f"[{'.' * 24}] 30/7500 frames, 15.0/s, 8:18 left",
        "40 frames, 0.4/s",
        "",
    ]
    progress.outcomes.append(batch.Outcome("v.mp4", faces=10, frames=10))
    progress.close()
    assert terminal.getvalue().endswith("1 file: 1 done; 10 faces in 10 frames; 2:02:05\n")


def test_progress_when_piped() -> None:
    pipe = io.StringIO()
    progress = Progress(2, pipe)
    progress.frame_done(3, 10)
    progress.file_done(batch.Outcome("v.mp4", faces=1, frames=10))
    progress.file_done(batch.Outcome("w.mp4", faces=2, frames=1))
    assert pipe.getvalue() == "[1/2] v.mp4: 1 face in 10 frames\n[2/2] w.mp4: 2 faces in 1 frame\n"


def test_progress_without_a_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a windowed application: there is no stdout."""
    monkeypatch.setattr(sys, "stdout", None)
    progress = Progress(1)
    progress.frame_done(3, 10)
    progress.file_done(batch.Outcome("v.mp4", faces=1, frames=10))
    progress.close()
    assert len(progress.outcomes) == 1


# --- real photographs


def test_real_photographs(test_data: Path, tmp_path: Path) -> None:
    """The whole chain: detector, fit, files; one of the pictures shows twelve faces."""
    model = test_data / "openface" / "model"
    samples = test_data / "faces" / "samples"
    for workers in (1, 2):
        out = tmp_path / str(workers)
        words = ["--model", model, "--output", out, "--draw", out, "--report", "--workers", workers]
        assert run("fit", samples, *words) == 0
    tables = {path.stem: formats.read_csv(path) for path in (tmp_path / "1").glob("*.csv")}
    assert {name: len(table) for name, table in tables.items()} == {
        **{f"sample{i}": 1 for i in range(1, 6)},
        "sample6": 12,
    }
    for name, table in tables.items():
        height, width = cv2.imread(str(samples / f"{name}.jpg")).shape[:2]
        middles = table.landmarks.mean(axis=1)
        assert ((middles > 0) & (middles < (width, height))).all()
        assert (table.pose[:, 2] > 100).all()  # before the camera
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
