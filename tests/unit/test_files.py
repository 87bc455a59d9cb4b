"""Files that appear whole or not at all, under names of any kind."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from generate_model import generate_model
from pyclnf import _download, _files, store
from pyclnf._files import head, is_openable, is_utf8, remove_leftovers, replacing


@pytest.mark.parametrize("name", ["n" * 251 + ".csv", "ä" * 120 + ".csv", "short.csv"])
def test_a_name_may_be_as_long_as_the_file_system_has_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    try:
        path.touch()
        path.unlink()
    except OSError:
        pytest.skip("this file system has no such names")
    with replacing(path) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("text")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_file_that_cannot_be_replaced_on_windows_is_no_surprise_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a table that is open in Excel: what replaces it may be the work of hours."""
    path = tmp_path / "v.csv"

    def refuse(path: Path, mode: str = "r", **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sys, "platform", "win32")
    for _ in range(2):
        with replacing(path) as temporary:
            temporary.write_bytes(b"a table")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match=r"open in another program.*v\.csv"), replacing(path):
        pytest.fail("the work was begun")
    assert [file.name for file in tmp_path.iterdir()] == ["v.csv"]


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many moves are still refused, and after it how long was waited before each try but the first."""
    waits: list[float] = [3]
    replace = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if waits[0] > 0:
            waits[0] -= 1
            raise PermissionError(13, "Access is denied", str(path), 5, str(target))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(_files.time, "sleep", waits.append)
    return waits


def test_on_windows_what_has_a_new_file_open_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: list[float]
) -> None:
    """As virus scanners and indexers have."""
    monkeypatch.setattr(sys, "platform", "win32")
    path = tmp_path / "v.csv"
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert [file.name for file in tmp_path.iterdir()] == ["v.csv"]
    assert len(refusals) == 1 + 3 and sum(refusals) < 0.2


def test_models_and_downloads_are_waited_for_likewise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: list[float]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    generate_model().save(tmp_path / "model.npz")
    assert refusals[0] == 0
    refusals[0] = 3
    monkeypatch.setattr(_download, "receive", lambda url, part, size: part.write_bytes(b"whole"))
    expected = store.RemoteFile("x", 5, hashlib.sha256(b"whole").hexdigest())
    store.fetch("https://localhost/x", tmp_path / "x", expected)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.npz", "x"]


def test_on_windows_what_keeps_a_file_open_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: list[float]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    refusals[0] = 1000
    with pytest.raises(PermissionError) as caught, replacing(tmp_path / "v.csv") as temporary:
        temporary.write_text("whole")
    path = str(tmp_path / "v.csv")
    said = f"Access is denied (is it open in another program, or read-only?): {path!r}"
    assert str(caught.value).endswith(f"] {said}")  # after [Errno 13], on Windows [WinError 5]
    assert not list(tmp_path.iterdir())
    assert 1 < sum(refusals[1:]) < 5


def test_on_windows_it_is_said_that_a_path_may_be_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it is called missing."""
    for system, name, said in (
        ("win32", "n" * 245 + ".csv", True),
        ("win32", "n.csv", False),
        ("linux", "n" * 245 + ".csv", False),
    ):
        monkeypatch.setattr(sys, "platform", system)
        with pytest.raises(FileNotFoundError, match=r"n\.csv'$") as caught, replacing(tmp_path / name) as own:
            raise FileNotFoundError(2, "No such file or directory", str(own))
        assert ("too long a path for Windows? name a folder" in str(caught.value)) == said


def test_elsewhere_a_refusal_is_final(tmp_path: Path, refusals: list[float]) -> None:
    if sys.platform == "win32":
        pytest.skip("it is not on Windows")
    with (
        pytest.raises(PermissionError, match=r"Access is denied: .*v\.csv"),
        replacing(tmp_path / "v.csv") as temporary,
    ):
        temporary.write_text("whole")
    assert len(refusals) == 1


def test_what_was_left_of_long_names_is_removed_and_of_no_others(tmp_path: Path) -> None:
    paths = [tmp_path / f"{'n' * 230}{end}.csv" for end in "ab"]
    left = []
    for path in paths:
        with pytest.raises(KeyError), replacing(path) as temporary:
            raise KeyError
        temporary.touch()  # as by a process that was killed
        left.append(temporary)
    remove_leftovers(paths[:1])
    assert [file.exists() for file in left] == [False, True]


def test_a_leftover_that_cannot_be_removed_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, one that another process has open."""
    files = [tmp_path / f".{name}.01234567.tmp.csv" for name in "abc"]
    for file in files:
        file.touch()
    unlink = Path.unlink

    def fail_at_one(path: Path, missing_ok: bool = False) -> None:
        if path == files[1]:
            raise PermissionError
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fail_at_one)
    remove_leftovers(tmp_path / f"{name}.csv" for name in "abc")
    assert [file.exists() for file in files] == [False, True, False]


def test_the_head_of_a_file(tmp_path: Path) -> None:
    """None of what cannot be read, or could be read for ever."""
    (tmp_path / "a").write_bytes(b"abcdef")
    assert [head(tmp_path / "a", size) for size in (4, 9)] == [b"abcd", b"abcdef"]
    for path in (tmp_path, tmp_path / "none", tmp_path / "a\0b", Path(os.devnull)):
        assert head(path, 4) == b""
    if Path("/dev/zero").exists():
        assert head(Path("/dev/zero"), 4) == b""


def test_what_paths_are_utf8() -> None:
    assert is_utf8(Path("Müller") / "顔.png")
    assert not is_utf8(Path("M\udcfcller") / "a.png")


def test_what_opencv_opens_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a.png", "Müller.png", "M\udcfcller.png")
    for system, openable in (("linux", [True, True, False]), ("win32", [True, False, False])):
        monkeypatch.setattr(sys, "platform", system)
        assert [is_openable(Path(name)) for name in names] == openable


def test_leftovers_go_by_the_whole_name(tmp_path: Path) -> None:
    left = {}
    # Windows knows no names of several lines.
    for name in ("a[1].csv", "a1.csv", "a.csv", "a.b.csv", "a", *["a\nb.csv"] * (sys.platform != "win32")):
        with pytest.raises(KeyError), replacing(tmp_path / name) as temporary:
            raise KeyError
        left[name] = temporary
    others = [tmp_path / name for name in (".a.csv", ".a.0123456.tmp.csv", ".a.0123456g.tmp.csv", ".tmp.csv")]
    for name in left:
        for file in (*left.values(), *others):
            file.touch()
        remove_leftovers([tmp_path / name])
        assert {other for other, file in left.items() if not file.exists()} == {name}
        assert all(file.exists() for file in others)
    remove_leftovers(tmp_path / name for name in left)
    assert sorted(tmp_path.iterdir()) == sorted(others)
