"""Files that appear whole or not at all, under names of any kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyclnf._files import escaped, is_utf8, remove_leftovers, replacing


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


def test_what_was_left_of_long_names_is_removed_and_of_no_others(tmp_path: Path) -> None:
    paths = [tmp_path / f"{'n' * 230}{end}.csv" for end in "ab"]
    left = []
    for path in paths:
        with pytest.raises(KeyError), replacing(path) as temporary:
            raise KeyError
        temporary.touch()  # as by a process that was killed
        left.append(temporary)
    remove_leftovers(paths[0])
    assert [file.exists() for file in left] == [False, True]


def test_what_paths_are_utf8() -> None:
    assert is_utf8(Path("Müller") / "顔.png")
    assert not is_utf8(Path("M\udcfcller") / "a.png")


def test_patterns_that_match_one_name(tmp_path: Path) -> None:
    for name in ("a[1]b.txt", "a1b.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in tmp_path.glob(escaped("a[1]b.txt"))] == ["a[1]b.txt"]
