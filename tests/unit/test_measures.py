"""Measures of a face in mm, and their table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from faces import make_face, missing_face
from pyclnf import formats
from pyclnf.errors import FormatError
from pyclnf.formats import Table
from pyclnf.measures import MEASURES, is_measures, measures, seen_from_the_side, write_measures
from pyclnf.pdm import euler_to_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray


def table_of(points: NDArray[np.float64], turn: tuple[float, float, float]) -> Table:
    """Return two rows of a face (68, 3) in the head's axes, turned before the camera; the second failed."""
    turned = points @ euler_to_matrix(turn).T + (30.0, -40.0, 700.0)
    columns = {f"{axis}_{i}": np.repeat(turned[i, k], 2) for k, axis in enumerate("XYZ") for i in range(68)}
    pose = zip(formats.POSE, (30.0, -40.0, 700.0, *turn), strict=True)
    columns |= {name: np.repeat(value, 2) for name, value in pose}
    return Table(Path("v.csv"), columns | {"confidence": np.ones(2), "success": np.array([1.0, 0.0])})


@pytest.mark.parametrize("turn", ((0.0, 0.0, 0.0), (0.3, -0.7, 0.4)))
def test_heights_are_those_in_the_heads_own_axes(turn: tuple[float, float, float]) -> None:
    points = np.zeros((68, 3))
    points[48] = (-25, 60, 0)
    points[54] = (26, 60 + 8, 0)
    points[[36, 39, 42, 45], 0] = -40, -10, 10, 41
    points[[36, 39, 42, 45], 1] = 1, 3, -2, 4
    points[[37, 38, 41, 40], 1] = -4, -2, 3, 5
    points[[43, 44, 47, 46], 1] = -3, 0, 1, 4
    points[[37, 43], 0] = 1.5
    points[17:22, 1] = -20, -26, -32, -38, -34
    points[22:27, 1] = -22, -24, -20, -18, -16
    points[17:27, 2] = -9
    found = measures(table_of(points, turn))
    assert tuple(found) == MEASURES
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        {
            "outer_canthal_distance": np.hypot(81, 3),
            "mouth_width": np.hypot(51, 8),
            "lid_opening_right": 7,
            "lid_opening_left": 4,
            "brow_height_right": 32,
            "brow_height_left": 21,
            "mouth_corner_right": 58,
            "mouth_corner_left": 67,
        }
    )
    assert all(np.isnan(values[1]) for values in found.values())
    # Landmarks of lids that meet lie beside each other; brow and mouth stay where they are.
    points[[37, 38, 40, 41], 1] = 4
    closed = measures(table_of(points, turn))
    assert closed["lid_opening_right"][0] == pytest.approx(0, abs=1e-9)
    assert closed["brow_height_right"][0] == pytest.approx(32)
    assert closed["mouth_corner_right"][0] == pytest.approx(58)


def test_measures_are_those_of_68_landmarks() -> None:
    columns = {f"{axis}_{i}": np.zeros(1) for axis in "XYZ" for i in range(5)}
    with pytest.raises(FormatError, match=r"v\.csv: the measures are defined for 68 landmarks, not 5"):
        measures(Table(Path("v.csv"), columns | {"confidence": np.ones(1)}))


def test_a_face_that_looks_into_the_camera_is_seen_from_the_front() -> None:
    place = np.array([300.0, -100.0, 600.0])
    turns = ((0.0, np.arctan(0.5), 0.0), (0.0, 0.0, 0.0), (0.0, -np.arctan(0.5), 0.0))
    rows = np.array([[*place, *turn] for turn in turns])
    table = Table(Path("v.csv"), dict(zip(formats.POSE, rows.T, strict=True)))
    once = np.degrees(np.arctan(0.5))
    np.testing.assert_allclose(seen_from_the_side(table), [0, once, 2 * once], atol=1e-9)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_of_videos_has_a_row_for_each_of_theirs(tmp_path: Path) -> None:
    faces = [make_face(i, frame=i // 2, face_id=i % 2, timestamp=i // 2 / 25) for i in range(4)]
    formats.write_csv(tmp_path / "a, b.csv", [*faces, missing_face(frame=2, timestamp=0.08)])
    formats.write_csv(tmp_path / "sub" / "c.csv", faces[:1])
    sources = [tmp_path / "a, b.csv", tmp_path / "sub" / "c.csv"]
    write_measures(tmp_path / "measures.csv", sources)
    found = rows_of(tmp_path / "measures.csv")
    first = ["source", "frame", "face_id", "timestamp", "confidence", "success", "from_side"]
    assert list(found[0]) == [*first, *MEASURES]
    assert [(row["source"], row["frame"], row["face_id"], row["timestamp"]) for row in found] == [
        *[
            ((tmp_path / "a, b").as_posix(), frame, face, time)
            for frame, face, time in (
                *(("1", "0", "0"), ("1", "1", "0"), ("2", "0", "0.04"), ("2", "1", "0.04")),
                ("3", "0", "0.08"),
            )
        ],
        ((tmp_path / "sub" / "c").as_posix(), "1", "0", "0"),
    ]
    table = formats.read_csv(sources[0])
    for name, values in (measures(table) | {"from_side": seen_from_the_side(table)}).items():
        own = np.array([float(row[name]) for row in found[:4]])
        np.testing.assert_allclose(own, values[:4], atol=0.005)
        assert found[4][name] == ""  # not 0, which is a closed eye
    assert [row["success"] for row in found] == ["1", "1", "1", "1", "0", "1"]


def test_a_table_of_photographs_names_their_faces(tmp_path: Path) -> None:
    formats.write_csv(tmp_path / "a.csv", [make_face(0), make_face(1, face_id=1)], layout="image")
    formats.write_csv(tmp_path / "b.csv", [], layout="image")
    write_measures(str(tmp_path / "m.csv"), [str(tmp_path / "a.csv"), tmp_path / "b.csv"])
    found = rows_of(tmp_path / "m.csv")
    assert [(Path(row["source"]).name, row["face"], row["success"]) for row in found] == [
        ("a", "0", "1"),
        ("a", "1", "1"),
    ]


def test_what_a_csv_does_not_say_is_left_empty(tmp_path: Path) -> None:
    """R takes a column with "nan" in it for words, and all programs "-0.00" for a number below 0."""
    lids = {"landmarks_3d": np.zeros((68, 3)), "pose": np.array([0.0, 0.0, 600.0, 0.0, 0.0, 0.0])}
    lids["landmarks_3d"][[37, 38], 1] = 0.001
    formats.write_csv(tmp_path / "v.csv", [make_face(0), make_face(1, **lids)])
    table = formats.read_csv(tmp_path / "v.csv")
    columns = {name: values for name, values in table.columns.items() if name != "face_id"}
    columns["confidence"][0] = columns["X_48"][0] = np.nan
    columns["Y_37"][1] = columns["Y_38"][1] = 0.001
    rows = [", ".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    # As OpenFace wrote them when it followed one face only.
    (tmp_path / "old.csv").write_text("\n".join([", ".join(columns), *rows]))
    write_measures(tmp_path / "m.csv", [tmp_path / "v.csv", tmp_path / "old.csv"])
    found = rows_of(tmp_path / "m.csv")
    assert [row["face_id"] for row in found] == ["0", "0", "", ""]
    empty = {name for name, text in found[2].items() if not text}
    assert empty == {"face_id", "confidence", "mouth_width", "mouth_corner_right"}
    assert float(found[0]["mouth_width"]) > 0 and float(found[2]["mouth_corner_left"])
    assert found[3]["lid_opening_right"] == "0.00"


def test_a_table_of_measures_is_known_by_its_columns(tmp_path: Path) -> None:
    formats.write_csv(tmp_path / "v.csv", [make_face(0)])
    own, other = tmp_path / "m.csv", tmp_path / "other.csv"
    write_measures(own, [tmp_path / "v.csv"])
    # As Excel saves it where numbers have a decimal comma.
    other.write_text("\ufeff" + own.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")
    assert is_measures(own) and is_measures(other)
    other.write_text("source,patient,age\n")
    assert not is_measures(other)
    with pytest.raises(FormatError, match="no table of measures"):
        write_measures(other, [tmp_path / "v.csv"])
    assert other.read_text() == "source,patient,age\n"


def test_no_other_file_is_replaced_and_nothing_half_written(tmp_path: Path) -> None:
    formats.write_csv(tmp_path / "v.csv", [make_face(0)])
    formats.write_csv(tmp_path / "p.csv", [make_face(0)], layout="image")
    before = (tmp_path / "v.csv").read_bytes()
    with pytest.raises(FormatError, match=r"v\.csv is there, and no table of measures"):
        write_measures(tmp_path / "v.csv", [tmp_path / "v.csv"])
    assert (tmp_path / "v.csv").read_bytes() == before
    with pytest.raises(FormatError, match=r"p\.csv: videos and photographs have tables of their own: name"):
        write_measures(tmp_path / "m.csv", [tmp_path / "v.csv", tmp_path / "p.csv"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "v.csv"]
    # One of its own is replaced.
    for _ in range(2):
        write_measures(tmp_path / "m.csv", [tmp_path / "v.csv"])
    assert is_measures(tmp_path / "m.csv")
    assert not is_measures(tmp_path / "v.csv")
    assert not is_measures(tmp_path / "none.csv")


def test_a_table_of_nothing_is_not_begun(tmp_path: Path) -> None:
    """It would be an empty file, which no later table replaces."""
    for nothing in ([], "v.csv", tmp_path / "v.csv"):
        with pytest.raises(FormatError, match=r"made of CSVs, \['a\.csv'\] for one, not of"):
            write_measures(tmp_path / "m.csv", nothing)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
