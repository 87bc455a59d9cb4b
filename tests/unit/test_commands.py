"""The command line's smaller commands, and how it ends: without a model's fit."""

from __future__ import annotations

import argparse
import base64
import importlib
import io
import json
import multiprocessing
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import pyclnf
from faces import make_face
from generate_model import tiny_model, write_openface
from pyclnf import Model, cli, formats, report, store
from pyclnf.draw import VideoOverlay
from pyclnf.errors import DownloadError


def run(*arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


# --- how it ends


def test_the_package_is_a_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pyclnf", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pyclnf", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pyclnf {pyclnf.__version__}\n"


@pytest.mark.parametrize("command", ["fit", "track"])
def test_the_help_quotes_patterns_as_all_shells_do(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """A single quote is a character of the name on Windows' command line."""
    assert run(command, "--help") == 0
    text = capsys.readouterr().out
    assert "*." in text and not re.search(r"'[^\s']*\*", text)


def test_a_frozen_command_line_lets_its_processes_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They have the application's arguments, which are none of ours."""

    def worker() -> None:
        raise SystemExit(0)

    monkeypatch.setattr(multiprocessing, "freeze_support", worker)
    arguments = ["--multiprocessing-fork", "parent_pid=1", "pipe_handle=2"]
    assert run(*arguments) == 2
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert run(*arguments) == 0
    assert capsys.readouterr().err.count("usage: ") == 1


def test_a_tool_that_imports_every_module_starts_no_program() -> None:
    """As generators of documentation and freezers do."""
    assert importlib.import_module("pyclnf.__main__").main is cli.main


@pytest.mark.parametrize(
    ("error", "code", "message"),
    (
        (KeyboardInterrupt(), 130, "pyclnf: interrupted\n"),
        (OSError(28, "No space left on device"), 1, "pyclnf: [Errno 28] No space left on device\n"),
        (pyclnf.ModelError("m.npz: damaged"), 1, "pyclnf: m.npz: damaged\n"),
        (pyclnf.ParameterError("no such set"), 2, "pyclnf: no such set\n"),
    ),
)
def test_what_ends_a_command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_version", fail)
    assert run("version") == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("command", ["fit", "track"])
def test_where_an_interrupted_command_can_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    def fail(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_batch", fail)
    assert run(command, "a.jpg", "--output", "out") == 130
    assert capsys.readouterr().err == "pyclnf: interrupted; --resume goes on with what is left\n"


def test_on_windows_a_backslash_before_the_closing_mark_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `pyclnf measure "my csvs\\" --output out.csv` all that follows is one argument."""
    swallowed = 'my csvs" --output out.csv'
    for platform, said in (("win32", True), ("linux", False)):
        monkeypatch.setattr(sys, "platform", platform)
        assert run("measure", swallowed) == 2
        error = capsys.readouterr().err
        assert (f"{swallowed}: no path has a quotation mark: leave out the backslash" in error) == said


@pytest.mark.parametrize(
    ("platform", "error"), [(sys.platform, BrokenPipeError()), ("win32", OSError(22, "Invalid argument"))]
)
def test_a_reader_that_has_gone_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    platform: str,
    error: OSError,
) -> None:
    """Python writes what is left at its exit, which must not fail once more."""
    monkeypatch.setattr(sys, "platform", platform)

    def fail(_: object) -> int:
        raise error

    with (tmp_path / "gone").open("w+") as gone:
        monkeypatch.setattr(cli, "_version", fail)
        monkeypatch.setattr(sys, "stdout", gone)
        assert run("version") == 1
        gone.write("what is left")
        gone.flush()
    assert (tmp_path / "gone").read_text() == ""
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="the shell is another")
def test_a_reader_that_is_gone_before_the_last_line_is_no_traceback() -> None:
    """What is written is buffered until the end."""
    words = f"{sys.executable} -m pyclnf version; echo $? >&2"
    script = f"({words}) | exec true"
    ended = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert ended.stderr in ("0\n", "1\n"), ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_names_that_the_output_cannot_say(tmp_path: Path, encoding: str) -> None:
    """They are escaped, and end nothing: also bytes that are no UTF-8, on a file system that takes them."""
    names = ["图.jpg", "b.jpg"]
    if sys.platform == "linux":
        names.insert(1, os.fsdecode(b"caf\xe9.jpg"))
    for name in names:
        (tmp_path / name).write_bytes(b"no image")
    ended = subprocess.run(
        [sys.executable, "-m", "pyclnf", "fit", ".", "--output", "out"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 1 and not ended.stderr
    assert ended.stdout.count(b"b.jpg: failed") == 1
    assert b"%d failed" % len(names) in ended.stdout


def test_a_page_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = tmp_path / "v.csv"
    formats.write_csv(csv, [make_face(i, frame=i, timestamp=i / 25) for i in range(3)])
    (tmp_path / "file").touch()
    assert run("report", csv, "--output", tmp_path / "file" / "page.html") == 1
    assert capsys.readouterr().err.startswith("pyclnf: ")


# --- numbers of a parameter set


@pytest.mark.parametrize(
    ("text", "expected"),
    (
        ("video", ("parameters", "video")),
        ("windows=11,9,7", ("windows", (11, 9, 7))),
        ("iterations=5", ("iterations", 5)),
        ("response_power=2", ("response_power", 2)),
        ("sigma=1.5", ("sigma", 1.5)),
        ("min_face_scale=0.1", ("min_face_scale", 0.1)),
    ),
)
def test_settings(text: str, expected: tuple[str, object]) -> None:
    found = cli._setting(text)
    assert found == expected
    assert type(found[1]) is type(expected[1])
    if found[0] != "parameters":
        assert pyclnf.CLNF(tiny_model(), **({"windows": (11,)} | dict([found]))) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("iterations=1.5", "iterations is a whole number, not '1.5'"),
        ("windows=a", "windows is whole numbers with commas, not 'a'"),
        ("sigma=x", "sigma is a number, not 'x'"),
    ),
)
def test_numbers_that_are_none(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        cli._setting(text)


def test_cameras() -> None:
    assert cli._camera("500,510,320,240.5") == pyclnf.Camera(500, 510, 320, 240.5)
    for text in ("500", "a,b,c,d", "0,1,2,3", "nan,1,2,3"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"not {text}"):
            cli._camera(text)


# --- reports


def test_reports_of_several_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run("report", tmp_path / "empty") == 2
    assert "there are no CSVs" in capsys.readouterr().err
    folder = tmp_path / "tables"
    faces = [make_face(i, frame=i, timestamp=i / 25) for i in range(3)]
    formats.write_csv(folder / "v.csv", faces)
    formats.write_csv(folder / "p.csv", faces[:1], layout="image")
    cv2.imwrite(str(folder / "p.png"), np.full((400, 400, 3), 90, np.uint8))
    assert run("report", folder, "--output", tmp_path / "one.html") == 2
    assert "--output is one page" in capsys.readouterr().err
    assert run("report", folder / "p.csv", "--video", tmp_path / "v.mp4") == 2
    assert "--video belongs to the CSV of one video" in capsys.readouterr().err
    # As macOS keeps beside files on other file systems, and what a killed run has begun to write.
    (folder / "._v.csv").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (folder / ".w.0123abcd.tmp.csv").touch()
    assert run("report", folder) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / "v.html"), str(folder / "report.html")]
    photographs = (folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in photographs
    (folder / "p.png").write_bytes(b"no picture")
    assert run("report", folder / "p.csv", "--output", tmp_path / "one.html") == 0
    assert "the photograph cannot be read" in (tmp_path / "one.html").read_text(encoding="utf-8")


def test_videos_are_found_in_a_folder_and_missing_ones_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csvs, videos, frames = tmp_path / "processed", tmp_path / "clinic" / "videos", tmp_path / "frames"
    faces = [make_face(i, frame=i, timestamp=i / 25) for i in range(3)]
    for name in ("a/v", "w"):
        formats.write_csv(csvs / f"{name}.csv", faces)
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        with VideoOverlay(videos / f"{name}.avi", 25) as overlay:
            for _ in range(3):
                overlay.write(np.full((64, 64, 3), 90, np.uint8), [])
    assert run("report", csvs, "--video", videos / "w.avi") == 2
    assert "--video belongs to the CSV of one video: of several name their folder" in capsys.readouterr().err
    for given, found in ((["--video", videos], True), ([], False)):
        assert run("report", csvs, *given) == 0
        assert ("w.html has no frames: name the video" not in capsys.readouterr().err) == found
        for name in ("a/v", "w"):
            page = (csvs / f"{name}.html").read_text(encoding="utf-8")
            assert ("data:image/jpeg;base64," in page) == found
    # Of track --frames.
    frames.mkdir()
    for i in range(3):
        assert run("report", csvs / "w.csv", "--video", frames) == 0
        # Photographs are not taken for them.
        assert f"w.csv is not found in {frames}" in capsys.readouterr().err
        assert "data:image/jpeg;base64," not in (csvs / "w.html").read_text(encoding="utf-8")
        cv2.imwrite(str(frames / f"{i}.png"), np.full((64, 64, 3), 90, np.uint8))
    assert run("report", csvs / "w.csv", "--video", frames) == 0
    assert "data:image/jpeg;base64," in (csvs / "w.html").read_text(encoding="utf-8")
    assert run("report", csvs, "--video", frames) == 0
    assert capsys.readouterr().err.count("note:") == 2


def test_folders_of_frames_are_found_in_a_folder_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One is not, as nobody says that it holds frames."""
    csvs, folders = tmp_path / "takes" / "processed", tmp_path / "takes"
    for name in ("a/walk.2", "run", "talk"):
        formats.write_csv(csvs / f"{name}.csv", [make_face(0, frame=0)])
        (folders / name).mkdir(parents=True)
    for name in ("a/walk.2", "run"):
        cv2.imwrite(str(folders / name / "0.png"), np.full((64, 64, 3), 90, np.uint8))
    for given, pictures in ([], 0), (["--video", folders], 1):
        assert run("report", csvs, *given) == 0
        for name in ("a/walk.2", "run", "talk"):
            page = (csvs / f"{name}.html").read_text(encoding="utf-8")
            assert page.count("data:image/jpeg;base64,") == pictures * (name != "talk")
    assert f"the video of {csvs / 'talk.csv'} is not found in {folders}" in capsys.readouterr().err


def test_a_folder_without_the_video_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It holds no frames either: as of a CSV alone out of several folders of them."""
    formats.write_csv(tmp_path / "a" / "v.csv", [make_face(0, frame=0)])
    (tmp_path / "videos" / "a").mkdir(parents=True)
    assert run("report", tmp_path / "a", "--video", tmp_path / "videos") == 0
    assert f"is not found in {tmp_path / 'videos'}" in capsys.readouterr().err
    assert (tmp_path / "a" / "v.html").is_file()


def test_pages_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One would be lost: the photographs' page has a name that a video's may have, too."""
    formats.write_csv(tmp_path / "report.csv", [make_face(0, frame=0)])
    formats.write_csv(tmp_path / "p.csv", [make_face(0)], layout="image")
    assert run("report", tmp_path) == 2
    assert "report.html would be the page of several CSVs" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
    assert run("report", tmp_path / "report.csv") == 0


def test_a_folder_of_photographs_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    formats.write_csv(tmp_path / "p.csv", [make_face(0)], layout="image")
    formats.write_csv(tmp_path / "v.csv", [make_face(0, frame=0)])
    for csv, given, message in (
        ("p.csv", tmp_path / "phtographs", f"there is no folder {tmp_path / 'phtographs'}"),
        ("p.csv", tmp_path / "p.csv", f"there is no folder {tmp_path / 'p.csv'}"),
        ("v.csv", tmp_path, "--images belongs to the CSVs of photographs"),
    ):
        assert run("report", tmp_path / csv, "--images", given) == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.glob("*.html"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_are_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    # Nobody writes to it: one that is read keeps the command for ever.
    for command in (["report", tmp_path], ["measure", tmp_path, "--output", tmp_path / "m.csv"]):
        done = subprocess.run(
            [sys.executable, "-m", "pyclnf", *map(str, command)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert "pipe.csv: cannot be read: it is no regular file" in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_in_place_of_parquet_files_are_not_waited_for(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    os.mkfifo(tmp_path / "pipe.parquet")
    script = "import sys, pyclnf.formats; pyclnf.formats.read_parquet(sys.argv[1])"
    for command in (["-m", "pyclnf", "report"], ["-c", script]):
        done = subprocess.run(
            [sys.executable, *command, str(tmp_path / "pipe.parquet")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert "pipe.parquet: cannot be read: it is no regular file" in done.stderr


@pytest.mark.parametrize("reordered", [False, True])
def test_a_long_table_is_not_read_to_learn_what_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reordered: bool
) -> None:
    """Unless its columns are in another order than ours and OpenFace's."""
    path = tmp_path / "v.csv"
    formats.write_csv(path, [make_face(i, frame=i, timestamp=i / 25) for i in range(3)])
    if reordered:
        rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(",".join([*row[1:], row[0]]) + "\n" for row in rows), encoding="utf-8")
    read, reads = formats.read_csv, []
    assert report.read_csv is read  # which is not counted
    monkeypatch.setattr(formats, "read_csv", lambda path: reads.append(path) or read(path))
    assert run("report", path) == 0
    assert "3 frames over" in (tmp_path / "v.html").read_text(encoding="utf-8")
    assert len(reads) == reordered


def test_measures_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = [make_face(i, frame=i, timestamp=i / 25) for i in range(3)]
    formats.write_csv(tmp_path / "v.csv", faces)
    table = tmp_path / "measures.csv"
    for _ in range(2):  # the table is not taken for one of landmarks
        assert run("measure", tmp_path, "--output", table) == 0
        assert capsys.readouterr().out.splitlines() == [str(table)]
    # A CSV that is given twice counts once.
    assert run("measure", tmp_path, tmp_path / "v.csv", "--output", table) == 0
    assert len(table.read_text(encoding="utf-8").splitlines()) == 4
    capsys.readouterr()
    assert run("report", tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "v.html")]
    # As the shell makes it of *.csv.
    for command in (["report"], ["measure", "--output", table]):
        assert run(*command, table, tmp_path / "v.csv") == 0
        assert f"note: left out as tables of measures: {table}" in capsys.readouterr().err
        assert run(*command, table) == 2
        assert f"{table} is a table of measures: name the CSVs that it was" in capsys.readouterr().err
    assert len(table.read_text(encoding="utf-8").splitlines()) == 4
    formats.write_csv(tmp_path / "p.csv", faces[:1], layout="image")
    assert run("measure", tmp_path, "--output", table) == 1
    assert "videos and photographs have tables of their own" in capsys.readouterr().err
    assert run("measure", tmp_path / "p.csv", "--output", tmp_path / "v.csv") == 1
    assert "no table of measures" in capsys.readouterr().err


def test_patterns_of_tables_are_expanded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shells of Windows do not do it."""
    for name in ("a/v", "b/v", "b/.v", "b/w[1]"):
        formats.write_csv(tmp_path / f"{name}.csv", [make_face(0, frame=0)])
    assert (
        run("measure", tmp_path / "?" / "v*.csv", tmp_path / "b" / "w[1].csv", "--output", tmp_path / "m.csv")
        == 0
    )
    rows = (tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == [
        (tmp_path / name).as_posix() for name in ("a/v", "b/v", "b/w[1]")
    ]
    assert run("report", tmp_path / "b" / "*.csv") == 0
    pages = [str(tmp_path / "b" / f"{name}.html") for name in ("v", "w[1]")]
    assert capsys.readouterr().out.splitlines()[1:] == pages
    assert run("report", tmp_path / "x*.csv") == 1
    assert f"{tmp_path / 'x*.csv'}: cannot be read" in capsys.readouterr().err


def test_hidden_tables_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hide: Callable[..., None]
) -> None:
    for name in ("v", "old", ".trash/v", "kept/v"):
        formats.write_csv(tmp_path / f"{name}.csv", [make_face(0, frame=0)])
    hide(tmp_path / "old.csv", tmp_path / "kept")
    assert run("report", tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "v.html")]


def test_folders_of_tables_that_cannot_be_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lock: Callable[[Path], None]
) -> None:
    for name in ("v", "locked/v"):
        formats.write_csv(tmp_path / f"{name}.csv", [make_face(0, frame=0)])
    lock(tmp_path / "locked")
    assert run("measure", tmp_path, "--output", tmp_path / "m.csv") == 0
    assert f"note: left out as they cannot be read: {tmp_path / 'locked'}\n" in capsys.readouterr().err
    assert len((tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_to_folders_of_tables_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in/v", "other/w"):
        formats.write_csv(tmp_path / f"{name}.csv", [make_face(0, frame=0)])
    link = tmp_path / "in" / "link"
    link.symlink_to("../other")
    assert run("measure", link.parent, "--output", tmp_path / "m.csv") == 0
    assert capsys.readouterr().err == f"note: left out as links to folders: {link}\n"
    assert run("measure", link.parent, link, "--output", tmp_path / "m.csv") == 0
    assert len((tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_photographs_in_sub_folders_have_one_page_in_the_folder_that_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/p.csv", "b/p.csv"):
        formats.write_csv(tmp_path / name, [make_face(0)], layout="image")
    # A CSV that is given twice counts once, in whatever way.
    assert run("report", tmp_path, tmp_path / "a" / "p.csv", tmp_path / "b" / ".." / "a") == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "report.html")]
    assert "2 photographs with 2 faces" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert run("report", tmp_path / "a" / "p.csv") == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "a" / "report.html")]


def test_photographs_in_sub_folders_are_found_and_missing_ones_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As fit left them: the page must not lose its pictures without a word when it is made again."""
    csvs, images = tmp_path / "processed", tmp_path / "clinic" / "photographs"
    for name in ("a/p", "b/p", "q"):
        formats.write_csv(csvs / f"{name}.csv", [make_face(0)], layout="image")
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(images / f"{name}.png"), np.full((400, 400, 3), 90, np.uint8))
    assert run("report", csvs) == 0
    assert "note: 3 of 3 photographs not found, such as that of" in capsys.readouterr().err
    for missing in (False, True):
        assert run("report", csvs, "--images", images) == 0
        assert ("note: 1 of 3" in capsys.readouterr().err) == missing
        page = (csvs / "report.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg;base64,") == 3 - missing
        # That of another folder is not taken for it.
        if not missing:
            (images / "b" / "p.png").replace(images / "p.png")


@pytest.mark.parametrize("beside", [False, True])
def test_no_face_of_another_patient_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    """Whose photographs and videos have the same names, in one folder where there is room for one of each."""
    csvs = tmp_path / "processed"
    files = csvs if beside else tmp_path / "clinic"
    files.mkdir()
    for name in ("a", "b"):
        formats.write_csv(csvs / name / "p.csv", [make_face(0)], layout="image")
        formats.write_csv(csvs / name / "v.csv", [make_face(0, frame=0)])
    formats.write_csv(csvs / "a" / "q.csv", [make_face(0)], layout="image")
    for name in "pq":
        cv2.imwrite(str(files / f"{name}.png"), np.full((400, 400, 3), 90, np.uint8))
    with VideoOverlay(files / "v.avi", 25) as overlay:
        overlay.write(np.full((64, 64, 3), 90, np.uint8), [])
    for path in csvs.rglob("*.csv"):
        path.touch()
    monkeypatch.chdir(csvs)
    given = [] if beside else ["--images", files, "--video", files]

    def pictures(page: str) -> int:
        return (csvs / page).read_text(encoding="utf-8").count("data:image/jpeg;base64,")

    assert run("report", ".", *given) == 0
    said = capsys.readouterr().err
    assert [pictures(page) for page in ("report.html", "a/v.html", "b/v.html")] == [1, 0, 0]
    assert "note: 2 of 3 photographs not shown, such as that of a" in said and "not found" not in said
    for name in ("a", "b"):
        assert (
            f"{Path(name, 'v.html')} has no frames: {files / 'v.avi'} may be that of another folder's" in said
        )
    # It is known for each alone.
    assert run("report", "a", *given) == 0
    assert [pictures(page) for page in ("a/report.html", "a/v.html")] == [2, 1]
    # The right ones are found.
    for path in list(files.glob("[pqv].*")):
        (files / "a").mkdir(exist_ok=True)
        path.replace(files / "a" / path.name)
    (files / "b").mkdir(exist_ok=True)
    shutil.copy2(files / "a" / "p.png", files / "b" / "p.png")
    assert run("report", ".", *given) == 0
    assert [pictures(page) for page in ("report.html", "a/v.html", "b/v.html")] == [3, 1, 0]
    assert capsys.readouterr().err.count("note:") == 1


@pytest.mark.parametrize(
    ("csvs", "images", "given", "shown", "said"),
    [
        # Photographs that differ in their suffix alone, as where "x/*.png" was fitted.
        (
            ["lm/p"],
            ["x/p.jpg", "x/p.png"],
            ["lm", "--images", "x"],
            {},
            "{x/p.jpg} and {x/p.png} have its name",
        ),
        (
            ["lm/p.jpg"],
            ["x/p.jpg", "x/p.jpg.png"],
            ["lm", "--images", "x"],
            {},
            "{x/p.jpg.png} have its name",
        ),
        # A table that is left from before there was another.
        (
            ["lm/p", "lm/p.jpg"],
            ["x/p.jpg"],
            ["lm", "--images", "x"],
            {"p.jpg": "x/p.jpg"},
            "{x/p.jpg} may be that of {lm/p.jpg.csv}; if {lm/p.csv} is left",
        ),
        # One of a folder, another above it.
        (
            ["lm/a/p", "lm/b/p"],
            ["x/p.jpg", "x/a/p.jpg"],
            ["lm", "--images", "x"],
            {"a/p": "x/a/p.jpg"},
            "1 of 2",
        ),
        (["lm/a/p"], ["x/p.jpg", "x/a/p.jpg"], ["lm/a", "--images", "x"], {}, "{x/a/p.jpg} have its name"),
        (
            ["lm/a/p"],
            ["x/p.jpg", "x/a/p.jpg"],
            ["lm/a/p.csv", "--images", "x"],
            {},
            "{x/a/p.jpg} have its name",
        ),
        (["lm/a/p"], ["x/p.jpg", "x/a/p.jpg"], ["lm", "--images", "x"], {"p": "x/a/p.jpg"}, ""),
        # The photograph above is that of the table beside it.
        (["x/p", "x/a/p"], ["x/p.jpg"], ["x/a"], {}, "1 of 1 photograph not found"),
        (["x/p", "x/a/p"], ["x/p.jpg"], ["x"], {"p": "x/p.jpg"}, "1 of 2 photographs not found"),
        (
            ["lm/a/p", "lm/b/p"],
            ["x/p.jpg"],
            ["lm", "--images", "x"],
            {},
            "another folder's CSV, {lm/b/p.csv}",
        ),
    ],
)
def test_photographs_that_may_be_others_are_not_shown(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    csvs: list[str],
    images: list[str],
    given: list[str],
    shown: dict[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(images):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, np.full((64, 64, 3), 40 + 100 * i, np.uint8))
    for name in csvs:
        formats.write_csv(f"{name}.csv", [make_face(0)], layout="image")
    assert run("report", *given, "--output", "page.html") == 0
    page = Path("page.html").read_text(encoding="utf-8")
    found = {}
    for picture, name in re.findall(r'<figure><img[^>]*base64,([^"]*)"><figcaption>(.*?):', page):
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_GRAYSCALE)
        found[name] = images[round((np.median(pixels) - 40) / 100)]
    assert found == shown
    notes = capsys.readouterr().err
    assert re.sub(r"{(.*?)}", lambda match: str(Path(match[1])), said) in notes
    assert notes.count("note:") == bool(said)


def test_what_is_newer_than_its_table_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be another of the name, as of a camera that begins anew with IMG_0001."""
    formats.write_csv(tmp_path / "p.csv", [make_face(0)], layout="image")
    formats.write_csv(tmp_path / "v.csv", [make_face(0, frame=0)])
    cv2.imwrite(str(tmp_path / "p.png"), np.full((64, 64, 3), 90, np.uint8))
    with VideoOverlay(tmp_path / "v.avi", 25) as overlay:
        overlay.write(np.full((64, 64, 3), 90, np.uint8), [])
    # Just after it comes what is drawn; in the future, a file of a camera whose clock is wrong.
    for seconds in (6, 0, 4, 7e9):
        later = seconds == 6
        for name in ("p.csv", "p.png", "v.csv", "v.avi"):
            time = 1e9 + seconds * (not name.endswith(".csv"))
            os.utime(tmp_path / name, (time, time))
        assert run("report", tmp_path) == 0
        notes = capsys.readouterr().err
        assert ("note: 1 of 1 photograph newer than the CSV, such as that of" in notes) == later
        assert (f"note: {tmp_path / 'v.avi'} is newer than {tmp_path / 'v.csv'}" in notes) == later
        for page, text in (
            ("report.html", "the photograph is newer than its CSV"),
            ("v.html", "The video is newer than its CSV"),
        ):
            assert (text in (tmp_path / page).read_text(encoding="utf-8")) == later


def test_what_is_drawn_beside_its_table_may_be_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of `fit . --output processed --draw processed`: no folder holds the right one alone."""
    monkeypatch.chdir(tmp_path)
    formats.write_csv("processed/p.csv", [make_face(0)], layout="image")
    for name in ("p.png", "processed/p.jpg"):
        cv2.imwrite(name, np.full((64, 64, 3), 90, np.uint8))
    drawn = Path("processed/p.jpg")
    assert run("report", "processed", "--images", ".") == 0
    assert f"if {drawn} was drawn by --draw, move it elsewhere" in capsys.readouterr().err
    drawn.rename("p_drawn.jpg")
    assert run("report", "processed", "--images", ".") == 0
    assert "note:" not in capsys.readouterr().err


def test_some_images_of_a_folder_are_not_taken_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of take/left*.png, as `track --frames` takes it, each row would be shown with another's image."""
    formats.write_csv(tmp_path / "take.csv", [make_face(i, frame=i, timestamp=i / 30) for i in range(2)])
    take = tmp_path / "frames" / "take"
    take.mkdir(parents=True)
    for name in ("left1", "left2", "and"):
        cv2.imwrite(str(take / f"{name}.png"), np.full((64, 64, 3), 90, np.uint8))
    for given, pictures in (take.parent, 0), (take, 0), (take / "left*.png", 2):
        assert run("report", tmp_path / "take.csv", "--video", given) == 0
        page = (tmp_path / "take.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg;base64,") == pictures
        assert ("by a pattern if there are other images" in capsys.readouterr().err) == (not pictures)


@pytest.mark.parametrize(
    ("command", "name", "message"),
    [
        ("report", "v.csv", r"--output is a page, OUT\.html, not .*v\.csv: pyclnf measure writes a table"),
        ("report", "new.CSV", r"--output is a page"),
        ("measure", "new.xlsx", r"--output is a CSV, OUT\.csv, not .*new\.xlsx"),
    ],
)
def test_pages_and_tables_have_names_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, message: str
) -> None:
    path = tmp_path / "v.csv"
    formats.write_csv(path, [make_face(0)])
    before = path.read_bytes()
    assert run(command, path, "--output", tmp_path / name) == 2
    assert re.search(message, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_no_report_of_photographs_that_all_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model().save(tmp_path / "tiny.npz")
    (tmp_path / "a.png").write_bytes(b"no picture")
    options = ["--model", tmp_path / "tiny.npz", "--box", "1,1,9,9", "--output", tmp_path / "out", "--report"]
    assert run("fit", tmp_path / "a.png", *options) == 1
    out = capsys.readouterr().out
    assert "1 failed" in out and "report: " not in out
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("command", ["fit", "track"])
def test_a_page_of_an_earlier_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Model, command: str
) -> None:
    """It lies beside the new results, and shows the old ones."""
    model.save(tmp_path / "model.npz")
    source = tmp_path / ("a.png" if command == "fit" else "a.avi")
    page = tmp_path / "out" / ("report.html" if command == "fit" else "a.html")
    options = ["--model", tmp_path / "model.npz", "--box", "4,4,40,40", "--output", tmp_path / "out"]

    def write() -> None:
        if command == "fit":
            cv2.imwrite(str(source), np.full((64, 64), 90, np.uint8))
            return
        with VideoOverlay(source, 25) as overlay:
            overlay.write(np.full((64, 64, 3), 90, np.uint8), [])

    def named(*more: object) -> bool:
        run(command, source, *options, *more)
        return f"note: left from an earlier run, not of these results: {page}" in capsys.readouterr().out

    write()
    assert not named() and not page.exists()
    assert not named("--report") and page.is_file()
    assert not named("--resume")
    assert named() and not named("--report")
    if command == "fit":
        shutil.copy(tmp_path / "out" / "a.csv", tmp_path / "out" / "a.png.csv")
        run(command, source, *options, "--report")
        assert f"not of these results: {tmp_path / 'out' / 'a.png.csv'}" in capsys.readouterr().out
    source.write_bytes(b"neither")
    assert named("--report")


@pytest.mark.skipif(sys.platform == "win32", reason="paths are short there")
@pytest.mark.parametrize("command", ["fit", "track"])
def test_names_that_can_hardly_be_longer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Model, command: str
) -> None:
    """Nor is what a twin's table would be called: one in Chinese has 80 characters then."""
    model.save(tmp_path / "model.npz")
    source = tmp_path / f"{'x' * 251}.{'png' if command == 'fit' else 'avi'}"
    if command == "fit":
        cv2.imwrite(str(source), np.full((64, 64), 90, np.uint8))
    else:
        with VideoOverlay(tmp_path / "v.avi", 25) as overlay:
            overlay.write(np.full((64, 64, 3), 90, np.uint8), [])
        (tmp_path / "v.avi").rename(source)
    out = tmp_path / "out"
    options = ["--model", tmp_path / "model.npz", "--box", "4,4,40,40", "--output", out]
    assert run(command, source, *options) == 0
    assert run(command, source, *options, "--resume") == 0
    assert [path.name for path in out.iterdir()] == [f"{'x' * 251}.csv"]
    shown = ["report", out, "--images" if command == "fit" else "--video", tmp_path]
    assert run(*shown, "--output", tmp_path / "page.html") == 0
    assert "note:" not in capsys.readouterr().err
    if command == "fit":
        # Nor are those that would be too long a failure of all others.
        cv2.imwrite(str(source.with_suffix(".bmp")), np.full((64, 64), 90, np.uint8))
        cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64), 90, np.uint8))
        assert run(command, source, source.with_suffix(".bmp"), tmp_path / "a.png", *options) == 1
        assert "3 files: 1 done, 2 failed" in capsys.readouterr().out


def test_a_photograph_without_a_face_is_on_the_page_whatever_the_formats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no .pts, and has failed for that."""
    tiny_model().save(tmp_path / "tiny.npz")
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((64, 64, 3), 90, np.uint8))
    monkeypatch.setattr(pyclnf.CLNF, "detect", lambda *_, **__: [])
    out = tmp_path / "out"
    options = ["--model", tmp_path / "tiny.npz", "--box", "1,1,9,9", "--output", out, "--report"]
    for form, code in (([], 0), (["--format", "csv", "--format", "pts"], 1)):
        (out / "report.html").unlink(missing_ok=True)
        assert run("fit", tmp_path / "a.png", tmp_path / "b.png", *options, *form) == code
        said = capsys.readouterr().out
        assert ("a.png: failed: no face was found" in said) == bool(form)
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "2 photographs with 0 faces; 2 without one" in page
        assert page.count("data:image/jpeg;base64,") == 2


# --- models


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYCLNF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_without_models(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "_shipped", lambda: home / "none.npz")
    assert run("models", "list") == 0
    assert capsys.readouterr().out.startswith("no models\nopenface     not here: ")
    assert run("version") == 0
    assert "models: none\n" in capsys.readouterr().out
    assert run("models", "path") == 1
    assert "this installation holds no model" in capsys.readouterr().err
    assert run("models", "path", home / "x.npz") == 1
    assert "x.npz: there is no such file" in capsys.readouterr().err


def test_a_model_is_imported_to_where_it_is_told(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_openface(tiny_model(), tmp_path / "openface")
    assert run("models", "import", tmp_path / "openface", tmp_path / "mine.npz") == 0
    # It has no name that it could be used by.
    assert capsys.readouterr().out == f"{tmp_path / 'mine.npz'}: 4 landmarks, 6 patch experts, 0 parts\n"
    assert pyclnf.load_model(tmp_path / "mine.npz").pdm.n_landmarks == 4
    assert not home.exists()


@pytest.mark.parametrize(
    ("answer", "accepted"), ((" Yes\n", True), ("y\n", True), ("\n", False), ("no\n", False), ("", False))
)
def test_a_download_asks_on_a_terminal(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    accepted: bool,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def download(*, accept_terms: bool, progress) -> Path:  # type: ignore[no-untyped-def]
        assert accept_terms
        progress("tris_68.txt", 1, 4)
        return home / "openface-2.2.0"

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(store, "download_openface", download)
    assert run("models", "download", "openface") == (0 if accepted else 1)
    out, err = capsys.readouterr()
    assert out.startswith(store.OPENFACE_TERMS)
    assert (" 25% tris_68.txt\n" in out) == ("use it with --model openface" in out) == accepted
    assert ("nothing was downloaded: accept the terms" in err) == (not accepted)


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None])
def test_a_download_does_not_ask_without_a_terminal(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: io.StringIO | None
) -> None:
    def download(*, accept_terms: bool, progress) -> Path:  # type: ignore[no-untyped-def]
        raise DownloadError("https://example.org: the server answers 404")

    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(store, "download_openface", download)
    assert run("models", "download", "openface") == 1
    assert "accept the terms with --accept-terms" in capsys.readouterr().err
    assert run("models", "download", "openface", "--accept-terms") == 1
    assert "answers 404" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    (
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/pyclnf"),
        ("win32", {"LOCALAPPDATA": ""}, "/home/AppData/Local/pyclnf"),
        ("darwin", {}, "/home/Library/Caches/pyclnf"),
        ("linux", {"XDG_CACHE_HOME": "/c"}, "/c/pyclnf"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/.cache/pyclnf"),
    ),
)
def test_where_models_are_kept(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("PYCLNF_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(store.sys, "platform", platform)
    monkeypatch.setattr(store.Path, "home", lambda: Path("/home"))
    assert store.cache_dir() == Path(expected)


# --- bench


def test_bench_times_what_a_face_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its noise is no face: the second look that the shipped model takes at such a fit is not counted."""
    looks: list[object] = []
    monkeypatch.setattr(pyclnf.CLNF, "looked_at_again", lambda *args: looks.append(args) or args[3])
    assert run("bench", "--repeat", 2) == 0
    assert capsys.readouterr().out.count("median") == 2
    assert looks == []


def test_bench_in_words_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.npz"
    tiny_model().save(path)
    assert run("bench", "--model", path, "--repeat", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("kernels ")
    assert [line.partition(": median ")[0] for line in lines[2:]] == [
        "fit, parameter set 'image'",
        "fit, parameter set 'video'",
    ]
    assert run("bench", "--model", path, "--repeat", 2, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {
        "model",
        "load_ms",
        "kernels",
        "fit_image_ms",
        "fit_video_ms",
    }
