"""The files of landmarks: what is written is what is read, to the byte where others have set it."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from faces import make_face, missing_face
from pyclnf import formats
from pyclnf.errors import FormatError
from pyclnf.face import Face
from pyclnf.pdm import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def small_face(**changes: object) -> Face:
    """Return a face of two landmarks and one mode whose numbers can be read."""
    return make_face(
        n=2,
        m=1,
        **{
            "landmarks": np.array([[10.25, 20.75], [30.04, -0.06]], np.float32),
            "landmarks_3d": np.array([[1.0, 2.0, 500.04], [3.0, 4.0, 499.96]]),
            "pose": np.array([1.04, -2.06, 500.0, 0.12345, -0.0004, 3.0]),
            "params": Parameters(np.array([1.5, 0.1, -0.2, 0.05, 160.0, 170.1234]), np.array([-1.2345])),
            "confidence": 0.876,
            "frame": 4,
            "timestamp": 0.13333,
            **changes,
        },
    )


def test_the_csv_of_a_video_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    missing = missing_face(2, 1, frame=5, timestamp=0.1667)
    formats.write_csv(path, [small_face(), missing], n_landmarks=2, n_modes=1)
    assert path.read_bytes() == (
        b"frame, face_id, timestamp, confidence, success, "
        b"pose_Tx, pose_Ty, pose_Tz, pose_Rx, pose_Ry, pose_Rz, "
        b"x_0, x_1, y_0, y_1, X_0, X_1, Y_0, Y_1, Z_0, Z_1, p_scale, p_rx, p_ry, p_rz, p_tx, p_ty, p_0\n"
        b"5, 0, 0.133, 0.88, 1, 1.0, -2.1, 500.0, 0.123, -0.000, 3.000, "
        b"10.2, 30.0, 20.8, -0.1, 1.0, 3.0, 2.0, 4.0, 500.0, 500.0, "
        b"1.500, 0.100, -0.200, 0.050, 160.000, 170.123, -1.234\n"
        b"6, 0, 0.167, 0.00, 0, 0.0, 0.0, 0.0, 0.000, 0.000, 0.000, "
        b"0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "
        b"0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000\n"
    )


def test_the_csv_of_a_photograph_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    formats.write_csv(path, [small_face(face_id=1)], n_landmarks=2, n_modes=1, layout="image")
    header, row = path.read_text().splitlines()
    assert header.startswith("face, confidence, pose_Tx, ")
    assert row.startswith("1, 0.876, 1.0, -2.1, 500.0, 0.123, ")


def test_without_calibration_confidence_is_success(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    formats.write_csv(path, [make_face(confidence=None), missing_face(confidence=None)])
    assert formats.read_csv(path)["confidence"].tolist() == [1.0, 0.0]


def test_csv_reads_back(tmp_path: Path) -> None:
    faces = [make_face(i, frame=i, timestamp=i / 30) for i in range(5)]
    formats.write_csv(tmp_path / "v.csv", faces)
    table = formats.read_csv(tmp_path / "v.csv")
    assert len(table) == 5
    assert table.layout == "video"
    assert table["frame"].tolist() == [1, 2, 3, 4, 5]
    assert table.success.all()
    # The halves of the last decimals, and float32's own rounding.
    np.testing.assert_allclose(table.landmarks, [face.landmarks for face in faces], atol=0.0501, rtol=0)
    np.testing.assert_allclose(table.landmarks_3d, [face.landmarks_3d for face in faces], atol=0.0501, rtol=0)
    np.testing.assert_allclose(table.pose[:, 3:], [face.pose[3:] for face in faces], atol=0.000501, rtol=0)
    np.testing.assert_allclose(table["p_7"], [face.params.shape[7] for face in faces], atol=0.000501, rtol=0)


def test_csv_of_no_face_reads_back(tmp_path: Path) -> None:
    formats.write_csv(tmp_path / "p.csv", [], layout="image")
    table = formats.read_csv(tmp_path / "p.csv")
    assert len(table) == 0
    assert table.landmarks.shape == (0, 68, 2)


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    def faces() -> object:
        yield make_face()
        raise RuntimeError("broken")

    for write in (formats.write_csv, formats.write_parquet):
        with pytest.raises(RuntimeError, match="broken"):
            write(tmp_path / "v", faces())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    formats.write_csv(path, [make_face()])
    before = path.read_bytes()
    with pytest.raises(FormatError, match="landmarks"):
        formats.write_csv(path, [make_face(), make_face(n=5)])
    assert path.read_bytes() == before


def test_the_first_face_says_how_many_landmarks_and_modes_there_are(tmp_path: Path) -> None:
    faces = [make_face(n=5, m=3), missing_face(5, 3)]
    formats.write_csv(tmp_path / "v.csv", iter(faces))
    table = formats.read_csv(tmp_path / "v.csv")
    assert table.landmarks.shape == (2, 5, 2) and "p_2" in table.columns and "p_3" not in table.columns
    formats.write_csv(tmp_path / "none.csv", [])
    names = (tmp_path / "none.csv").read_text().strip().split(", ")
    assert len(names) == 11 + 5 * 68 + 6 + 34


@pytest.mark.parametrize("sizes", [{"n_landmarks": 4}, {"n_modes": 2}, {"n_modes": 5}])
def test_faces_of_another_model_are_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    """Also by Parquet: a column left out is a number lost."""
    pytest.importorskip("pyarrow")
    for write in (formats.write_csv, formats.write_parquet):
        with pytest.raises(FormatError, match="5 landmarks and 3 modes"):
            write(tmp_path / "v", [make_face(n=5, m=3)], **sizes)  # type: ignore[arg-type]
        with pytest.raises(FormatError, match="5 landmarks and 4 modes"):
            write(tmp_path / "v", [make_face(n=5, m=3), make_face(n=5, m=4)])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_fit_of_a_photograph_has_no_confidence(tmp_path: Path) -> None:
    """There is no other column that would say it."""
    failed = make_face(confidence=0.3, success=False, failure="lost")
    faces = [make_face(confidence=0.7), failed, make_face(confidence=0.0003)]
    formats.write_csv(tmp_path / "p.csv", faces, layout="image")
    table = formats.read_csv(tmp_path / "p.csv")
    assert table["confidence"].tolist() == [0.7, 0.0, 0.001]
    assert table.success.tolist() == [True, False, True]


def test_a_fit_of_a_video_has_failed_if_its_column_says_so(tmp_path: Path) -> None:
    """Whatever its confidence."""
    formats.write_csv(tmp_path / "v.csv", [make_face(confidence=0.3, success=on) for on in (True, False)])
    table = formats.read_csv(tmp_path / "v.csv")
    assert (table["confidence"].tolist(), table.success.tolist()) == ([0.3, 0.3], [True, False])


@pytest.mark.parametrize("layout", ["video", "image"])
def test_a_file_says_whose_landmarks_it_holds(tmp_path: Path, layout: formats.Layout) -> None:
    path = tmp_path / "own.csv"
    formats.write_csv(path, [make_face()], layout=layout)
    # As Excel saves it.
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert formats.layout_of(path) == formats.layout_of(tmp_path / "bom.csv") == layout
    for i, text in enumerate([b"", b"x", b"frames, a", b"face_id, a", b"\xff, a"]):
        (tmp_path / f"{i}.csv").write_bytes(text)
        assert formats.layout_of(tmp_path / f"{i}.csv") is None
    assert formats.layout_of(tmp_path / "none.csv") is None


@pytest.mark.parametrize("layout", ["video", "image"])
def test_a_parquet_file_says_whose_landmarks_it_holds(tmp_path: Path, layout: formats.Layout) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "own.parquet"
    formats.write_parquet(path, [make_face()], layout=layout)
    assert formats.layout_of(path) == layout
    other = tmp_path / "other.parquet"
    parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), other)
    assert formats.layout_of(other) is None
    other.write_bytes(b"PAR1")
    assert formats.layout_of(other) is None
    assert formats.layout_of(tmp_path / "none.parquet") is None


def test_a_folder_in_the_place_of_a_file_is_said_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for writer in (formats.CSVWriter(tmp_path, 68, 34), formats.ParquetWriter(tmp_path, 68, 34)):
        with pytest.raises(IsADirectoryError) as caught:
            writer.__enter__()
        assert caught.value.filename == str(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of a file's size")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, kind: str) -> None:
    """What the last bytes say, which are written when the file is closed."""
    import resource
    import signal

    pytest.importorskip("pyarrow")
    writer_class = formats.CSVWriter if kind == "csv" else formats.ParquetWriter
    writer = writer_class(tmp_path / f"v.{kind}", 68, 34)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OSError), writer:
            writer.write(make_face())
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_reads_openface_with_further_columns(tmp_path: Path) -> None:
    path = tmp_path / "openface.csv"
    header = "frame, timestamp, confidence, success, gaze_0_x, x_0, y_0, AU01_r"
    path.write_bytes(f"{header}\r\n1, 0.0, 0.98, 1, 0.1, 5, 6, 0.2\r\n".encode())
    table = formats.read_csv(path)
    assert table["gaze_0_x"].tolist() == [0.1]
    assert table.landmarks.tolist() == [[[5.0, 6.0]]]
    with pytest.raises(FormatError, match="no columns X_0"):
        _ = table.landmarks_3d
    with pytest.raises(FormatError, match="no column 'pose_Tx'"):
        _ = table.pose


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line names no column 'confidence'"),
        ("a,b\n1,2\n", "first line names no column 'confidence'"),
        ("confidence, confidence\n1, 2\n", "names a column twice"),
        ("confidence, x_0\n1, 2\n1\n", "line 3: 1 value for 2 columns"),
        ("confidence, x_0\n1, two\n", "line 2: could not convert"),
        ("confidence, x_0,\r\n1, 2,\r\n", "line 2: could not convert string to float: ''"),
        ("confidence, x_0\n" + "1, 2\n" * 1500 + "1,\n", "line 1502: could not convert"),
        ("confidence\n1\n\n2\n", "line 3: 0 values for 1 column$"),
    ],
)
def test_damaged_csv(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        formats.read_csv(path)


def test_what_is_no_text_is_called_none(tmp_path: Path) -> None:
    """As a Parquet file, or an Excel workbook, in place of the CSV."""
    (tmp_path / "v.parquet").write_bytes(b"PAR1\x80\xff")
    for read in (formats.read_csv, formats.read_pts):
        with pytest.raises(FormatError, match=r"v\.parquet: cannot be read: it is no text file"):
            read(tmp_path / "v.parquet")


@pytest.mark.parametrize("lines", (5, formats.READ_AT_ONCE - 1, formats.READ_AT_ONCE + 5))
def test_csv_that_is_written_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """As OpenFace's own is: lines that come after they were counted are not missed, lost ones are said."""
    path, line, empty = tmp_path / "v.csv", "0.5,1\n", np.empty

    def changed(content: str) -> formats.Table:
        def allocate(*given: object) -> object:
            path.write_text("confidence,x\n" + content, encoding="ascii")
            return empty(*given)

        path.write_text("confidence,x\n" + lines * line, encoding="ascii")
        with monkeypatch.context() as patch:
            patch.setattr(formats.np, "empty", allocate)
            return formats.read_csv(path)

    table = changed(lines * line + "0.7,2\n0.8")
    assert table["confidence"].tolist() == lines * [0.5]
    for left in (0, 2):
        with pytest.raises(FormatError, match=r"v\.csv: has lost lines while it was read"):
            changed(left * line)


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\x80")
    for path in (tmp_path / "x.csv", tmp_path / "missing.csv", tmp_path):
        with pytest.raises(FormatError, match="cannot be read"):
            formats.read_csv(path)


def test_pts_to_the_byte_and_back(tmp_path: Path) -> None:
    path = tmp_path / "x.pts"
    formats.write_pts(path, [[0, 0], [10.25, 20.5]])
    assert path.read_bytes() == b"version: 1\nn_points: 2\n{\n1.000 1.000\n11.250 21.500\n}\n"
    np.testing.assert_array_equal(formats.read_pts(path), [[0, 0], [10.25, 20.5]])


def test_pts_of_annotations(test_data: Path) -> None:
    path = next(iter(sorted((test_data / "faces" / "helen_train").glob("*.pts"))))
    first = np.array(path.read_text().split("{")[-1].split("}")[0].split()[:2], float)
    points = formats.read_pts(path)
    assert points.shape == (68, 2)
    np.testing.assert_allclose(points[0], first - 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nn_points: 3\n{\n1 1\n2 2\n}\n", "2 points, but the header says 3"),
        ("version: 1\nn_points: 3\n{\n1 1\n}\n", "1 point, but the header says 3"),
        ("version: 1\nn_points: 2\n{\n1 1\n2 2\n", "cut off"),
        ("1 2 3\n4 5 6\n", "two finite numbers"),
        ("1 2\n3\n", r"not a \.pts file"),
        ("a b\n", r"not a \.pts file"),
        ("1 nan\n", "two finite numbers"),
        ("", "two finite numbers"),
    ],
)
def test_damaged_pts(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.pts").write_text(text)
    with pytest.raises(FormatError, match=message):
        formats.read_pts(tmp_path / "x.pts")


def test_pts_refuses_what_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="finite"):
        formats.write_pts(tmp_path / "x.pts", [[np.nan, 1]])
    for wrong in ([[1, 2], [3]], make_face()):
        with pytest.raises(FormatError, match=r"x\.pts: landmarks are \(n, 2\) finite numbers"):
            formats.write_pts(tmp_path / "x.pts", wrong)
    assert not list(tmp_path.iterdir())


# --- extras


def test_parquet_keeps_full_precision(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    faces = [make_face(i, frame=i, timestamp=i / 7) for i in range(3)] + [
        missing_face(frame=3, timestamp=3 / 7)
    ]
    formats.write_parquet(tmp_path / "v.parquet", faces, source="v.mp4")
    table = formats.read_parquet(tmp_path / "v.parquet")
    np.testing.assert_array_equal(table.landmarks, [face.landmarks for face in faces])
    np.testing.assert_array_equal(table.pose, [face.pose for face in faces])
    np.testing.assert_array_equal(table["timestamp"], [face.timestamp for face in faces])
    np.testing.assert_array_equal(table["l_5"], [face.landmark_likelihoods[5] for face in faces])
    np.testing.assert_allclose(table["box_w"][:3], [face.box[2] for face in faces[:3]])
    assert table.success.tolist() == [True, True, True, False]


@pytest.mark.parametrize("count", [0, 2, 3, 7, 9])
def test_parquet_is_written_in_groups_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """So that memory does not grow with the video; a multiple of a group leaves none over."""
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(formats, "ROW_GROUP", 3)
    path = tmp_path / "v.parquet"
    with formats.ParquetWriter(path, 68, 34) as writer:
        for i in range(count):
            writer.write(make_face(i, frame=i))
        assert not path.exists()
    assert parquet.ParquetFile(path).num_row_groups == -(-count // 3)
    assert formats.read_parquet(path)["frame"].tolist() == list(range(1, count + 1))


def test_parquet_of_names_that_are_no_text(tmp_path: Path) -> None:
    """As from archives of other systems: the file has the name, and says it escaped."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "bad\udcff.parquet"
    try:
        path.touch()
    except (OSError, UnicodeError):
        pytest.skip("this system takes no such names")
    formats.write_parquet(path, [make_face(0)], source="bad\udcff.png", layout="image")
    assert formats.layout_of(path) == "image" and len(formats.read_parquet(path)) == 1
    with path.open("rb") as file:
        assert parquet.read_table(file)["source"].to_pylist() == ["bad\\udcff.png"]


def test_parquet_and_dataframe_agree(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    faces = [make_face(), missing_face(frame=1)]
    frame = formats.to_dataframe(faces, source="v.mp4")
    formats.write_parquet(tmp_path / "v.parquet", faces, source="v.mp4")
    read = pandas.read_parquet(tmp_path / "v.parquet")
    pandas.testing.assert_frame_equal(frame, read, check_dtype=False)
    assert frame["failure"].tolist()[1] == "no face"


def test_foreign_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FormatError, match="cannot be read"):
        formats.read_parquet(tmp_path / "x.parquet")


@pytest.mark.parametrize("values", (["a", "b"], [[1.0], [2.0]], [b"x", None]))
def test_parquet_of_other_kinds(tmp_path: Path, values: list) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"confidence": [0.5, 1.0], "x_0": values})
    parquet.write_table(table, tmp_path / "odd.parquet")
    with pytest.raises(FormatError, match=r"odd\.parquet: the column 'x_0' holds no numbers"):
        formats.read_parquet(tmp_path / "odd.parquet")


def test_parquet_that_names_a_column_twice(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    values = pyarrow.array([0.5, 1.0])
    table = pyarrow.Table.from_arrays([values] * 3, ["confidence", "x_0", "x_0"])
    parquet.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(FormatError, match=r"twice\.parquet: two columns have the same name"):
        formats.read_parquet(tmp_path / "twice.parquet")
    parquet.write_table(pyarrow.table({"x_0": values}), tmp_path / "other.parquet")
    with pytest.raises(FormatError, match=r"other\.parquet: not a file of landmarks"):
        formats.read_parquet(tmp_path / "other.parquet")


def test_parquet_of_other_numbers(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    columns = {
        "confidence": pyarrow.array([1, 0], pyarrow.int8()),
        "success": [True, False],
        "x_0": pyarrow.array([0.5, None], pyarrow.float32()),
        "y_0": pyarrow.array([None, None]),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "odd.parquet")
    table = formats.read_parquet(tmp_path / "odd.parquet")
    np.testing.assert_array_equal(table.landmarks, [[[0.5, np.nan]], [[np.nan, np.nan]]])
    assert table.success.tolist() == [True, False]


def test_a_parquet_file_that_is_too_large_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    columns = {"source": ["a"] * 10, "confidence": np.ones(10), "x_0": np.zeros(10)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "v.parquet", row_group_size=4)
    monkeypatch.setattr(formats, "MAX_TABLE_BYTES", 160)
    assert len(formats.read_parquet(tmp_path / "v.parquet")) == 10
    monkeypatch.setattr(formats, "MAX_TABLE_BYTES", 159)
    with pytest.raises(FormatError, match=r"v\.parquet: 160 bytes unpacked, at most 159 are read"):
        formats.read_parquet(tmp_path / "v.parquet")


def test_parquet_of_dates_is_no_table(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    days = pyarrow.array([1, 2], pyarrow.date32())
    parquet.write_table(pyarrow.table({"confidence": [1.0, 0.0], "x_0": days}), tmp_path / "dates.parquet")
    with pytest.raises(FormatError, match=r"dates\.parquet: cannot be read"):
        formats.read_parquet(tmp_path / "dates.parquet")


def test_a_table_of_no_faces_has_the_columns() -> None:
    pytest.importorskip("pandas")
    none, some = formats.to_dataframe([]), formats.to_dataframe([make_face()])
    assert list(none.columns) == list(some.columns)
    assert len(none) == 0


def test_columns_of_a_dataframe_have_one_kind_whatever_is_in_them() -> None:
    """A column of None, or of nothing, would hold objects: no mean, and no concatenation with others."""
    pytest.importorskip("pandas")
    usual = formats.to_dataframe([make_face()]).drop(columns=["source", "failure"]).dtypes
    for faces in ([], [make_face(confidence=None)], [missing_face(confidence=None), make_face()]):
        frame = formats.to_dataframe(faces)
        assert frame.drop(columns=["source", "failure"]).dtypes.equals(usual)
    assert np.isnan(frame["confidence"][0]) and frame["confidence"].mean() == 0.875
    assert set(usual.astype(str)) == {"float64", "int64", "bool"}


def test_layouts_that_there_are_none_of(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for write in (formats.write_csv, formats.write_parquet):
        with pytest.raises(FormatError, match="a layout is 'video' or 'image', not 'photo'"):
            write(tmp_path / "x", [make_face()], layout="photo")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_supervision() -> None:
    pytest.importorskip("supervision")
    faces = [make_face(0), missing_face(), make_face(1)]
    keypoints = formats.to_keypoints(faces)
    np.testing.assert_array_equal(keypoints.xy, [faces[0].landmarks, faces[2].landmarks])
    assert len(formats.to_keypoints([missing_face()])) == 0


def test_keypoints_are_those_of_the_faces_that_were_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for supervision: also of models that tell no confidence."""

    class KeyPoints(SimpleNamespace):
        @classmethod
        def empty(cls) -> KeyPoints:
            return cls(xy=None)

    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(KeyPoints=KeyPoints))
    faces = [make_face(0), missing_face(), make_face(1, confidence=None)]
    found = formats.to_keypoints(faces)
    np.testing.assert_array_equal(found.xy, [faces[0].landmarks, faces[2].landmarks])
    np.testing.assert_array_equal(found.keypoint_confidence, [[0.875] * 68, [1.0] * 68])
    assert found.class_id.tolist() == [0, 0]
    assert formats.to_keypoints([missing_face()]).xy is None


@pytest.mark.parametrize(
    ("package", "call"),
    (
        ("pandas", lambda path: formats.to_dataframe([make_face()])),
        ("pyarrow", lambda path: formats.ParquetWriter(path, 68, 34)),
        ("pyarrow", formats.read_parquet),
        ("supervision", lambda path: formats.to_keypoints([make_face()])),
    ),
)
def test_packages_that_are_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, call: Callable[[Path], object]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FormatError, match=f"{package} is not installed: pip install"):
        call(tmp_path / "x.parquet")


def test_a_package_that_others_do_not_suit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new pyarrow with an old NumPy: installing it again would not help."""
    (tmp_path / "pyarrow.py").write_text("raise ImportError('it needs NumPy 2')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(FormatError, match=r"pyarrow cannot be imported \(it needs NumPy 2\): pip install"):
        formats.read_parquet(tmp_path / "x.parquet")


@pytest.mark.filterwarnings("ignore")
def test_exploface_reads_our_csv(tmp_path: Path) -> None:
    exploface = pytest.importorskip("exploface")
    path = tmp_path / "v.csv"
    formats.write_csv(path, [make_face(i, frame=i, timestamp=i / 25) for i in range(50)])
    info = exploface.get_info(str(path))
    assert info["number_of_columns"] == 11 + 5 * 68 + 6 + 34
    assert info["duration"] == pytest.approx(49 / 25, abs=0.001)
    assert info["time_resolution"] == pytest.approx(0.04, abs=0.001)
    series = exploface.get_feature_time_series(str(path))
    assert len(series) == 50
    # No action units, so none is detected; but the table is there.
    assert list(exploface.get_detections(series).columns) == ["start", "end", "feature"]


@pytest.mark.filterwarnings("ignore")
def test_py_feat_reads_our_csv(tmp_path: Path) -> None:
    feat = pytest.importorskip("feat.utils.io")
    path = tmp_path / "v.csv"
    face = make_face()
    formats.write_csv(path, [face, replace(face, frame=1, timestamp=0.04)])
    fex = feat.read_openface(str(path))
    assert len(fex) == 2
    np.testing.assert_allclose(fex.landmarks.iloc[0, :68], face.landmarks[:, 0], atol=0.0501)
    np.testing.assert_allclose(fex.facepose.iloc[0], face.pose, atol=0.0501)
