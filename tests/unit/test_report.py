"""The pages to check results by."""

from __future__ import annotations

import base64
import json
import re
import sys
import weakref
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from faces import make_face, missing_face
from pyclnf import formats, report
from pyclnf.draw import as_seen, confidence_colour, draw_axes, draw_landmarks
from pyclnf.errors import FormatError
from pyclnf.measures import HEIGHTS, measures
from pyclnf.pdm import Parameters


class Page(HTMLParser):
    """Collects what a page is made of, and checks that its elements are closed in order."""

    VOID = frozenset({"meta", "img", "line", "rect", "circle", "polyline", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def read_page(path: Path) -> tuple[Page, dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    # Nothing is fetched from anywhere.
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    return Page(text), json.loads(data[1])


def photographs_of(folder: Path) -> list[tuple[Path, Path | None]]:
    """Return the CSVs in a folder, each with its photograph."""
    csvs = dict.fromkeys(sorted(folder.glob("*.csv")), folder)
    return report.told_apart(report.find_images(csvs, None))[0]


def write_video(path: Path, count: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 320))
    for i in range(count):
        writer.write(np.full((320, 320, 3), 20 * i % 256, np.uint8))
    writer.release()


def test_page_of_a_video(tmp_path: Path) -> None:
    faces = [make_face(i, frame=i, timestamp=i / 10, confidence=0.5 + i / 100) for i in range(30)]
    faces[12] = missing_face(frame=12, timestamp=1.2)
    formats.write_csv(tmp_path / "v.csv", faces)
    write_video(tmp_path / "v.avi", 30)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    page, data = read_page(tmp_path / "v.html")
    assert "30 frames over 2.9 s; success in 29 (96.7%)" in page.words
    for name in (
        "Confidence",
        "Head pose",
        "Mouth width",
        "Lid opening",
        "Brow height",
        "Mouth corner",
        "Worst frames",
    ):
        assert name in page.words
    assert page.words.count("Left against right") == page.count("h3") == 1
    assert page.count("svg") == 6 + 3
    table = formats.read_csv(tmp_path / "v.csv")
    np.testing.assert_allclose(data["chart0"]["confidence"], table["confidence"])
    widths = data["chart2"]["mouth width"]
    assert widths[12] is None
    true = [np.linalg.norm(face.landmarks_3d[48] - face.landmarks_3d[54]) for face in faces]
    np.testing.assert_allclose(np.delete(np.array(widths, float), 12), np.delete(true, 12), atol=0.2)
    images = pictures_of(page)
    assert len(images) == report.WORST_FRAMES
    assert abs(int(images[0].mean()) - 240) < 4  # frame 12, without a face on it, is the worst
    assert "1.20 s, frame 13, failed" in page.words


def drawings_of(page: Path) -> list[ElementTree.Element]:
    """Return the charts of a page, in their order."""
    return [
        ElementTree.fromstring(svg)
        for svg in re.findall(r"<svg.*?</svg>", page.read_text(encoding="utf-8"), re.DOTALL)
    ]


def scale_of(svg: ElementTree.Element, across: bool) -> Callable[[Any], Any]:
    """Return what reads values off an axis: those at the ticks are written beside it."""
    name, anchor, unit = ("x", "middle", " s") if across else ("y", "end", "")
    ticks = [
        # Words are written 4 px below the middle of their height.
        (float(text.attrib[name]) - (0 if across else 4), float((text.text or "").removesuffix(unit)))
        for text in svg.iter("text")
        if text.attrib["text-anchor"] == anchor and re.fullmatch(rf"[-\d.]+({unit})?", text.text or "")
    ]
    assert len(ticks) > 2
    slope, offset = np.polyfit(*np.array(ticks).T, 1)
    places, values = np.array(ticks).T
    np.testing.assert_allclose(slope * places + offset, values, atol=0.2 * abs(slope))
    return lambda place: slope * place + offset


def test_curves_and_points_are_read_off_by_the_ticks(tmp_path: Path) -> None:
    """Of a recording that begins at 7 s, has a gap, and is no whole number of anything."""
    frames = [*range(210, 240), *range(300, 330)]
    poses = np.random.default_rng(0).uniform(-0.2, 0.2, (60, 3))
    faces = [
        make_face(
            i, frame=k, timestamp=k / 30, pose=np.array([0, 0, 600, *poses[i]]), confidence=0.6 + i / 200
        )
        for i, k in enumerate(frames)
    ]
    formats.write_csv(tmp_path / "v.csv", faces)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv")
    page, data = read_page(tmp_path / "v.html")
    assert "60 frames over 4.0 s; success in 60 (100.0%); mean confidence of these 0.75" in page.words
    table = formats.read_csv(tmp_path / "v.csv")
    found = measures(table)
    curves = [
        {"confidence": table["confidence"]},
        dict(zip(("pitch (rx)", "yaw (ry)", "roll (rz)"), np.degrees(table.pose[:, 3:]).T, strict=True)),
        {"mouth width": found["mouth_width"]},
        *({side: found[f"{name}_{side}"] for side in ("right", "left")} for name in HEIGHTS),
    ]
    mouse = re.search(r"const left = (\d+), right = (\d+)", (tmp_path / "v.html").read_text("utf-8"))
    assert mouse is not None
    drawings = drawings_of(tmp_path / "v.html")
    for number, (svg, lines) in enumerate(zip(drawings, curves, strict=False)):
        read = data[f"chart{number}"]
        assert list(read) == ["t", *lines]
        # The gap is halfway between the frames beside it.
        assert read["t"][30] == pytest.approx((239 + 300) / 60, abs=1e-3)
        to_time, to_value = scale_of(svg, True), scale_of(svg, False)
        drawn: dict[str, list[list[float]]] = {}
        for line in svg.iter("polyline"):
            points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
            drawn.setdefault(line.attrib["stroke"], []).extend(map(list, points))
        assert list(drawn) == list(report.COLOURS[: len(lines)])
        for (name, values), places in zip(lines.items(), drawn.values(), strict=True):
            x, y = np.array(places).T
            assert x.min() >= report.MARGIN and x.max() <= report.WIDTH
            assert y.min() >= 0 and y.max() <= report.HEIGHT - 20
            np.testing.assert_allclose(to_time(x), table["timestamp"], atol=0.005)
            np.testing.assert_allclose(to_value(y), values, atol=0.005 * max(np.ptp(values), 1))
            np.testing.assert_allclose(np.delete(np.array(read[name], float), 30), values, atol=0.001)
        # What is read under the mouse is at that place of the curves.
        figure = next(attributes for _, attributes in page.tags if attributes.get("id") == f"chart{number}")
        for edge, place in zip(("begin", "end"), mouse.groups(), strict=True):
            at = to_time(np.array([float(place)]))[0]
            assert at == pytest.approx(float(str(figure[f"data-{edge}"])), abs=0.005)
        if number == 0:  # all of 0 to 1 is shown
            assert to_value(np.array([6.0]))[0] > 1 and to_value(np.array([report.HEIGHT - 20.0]))[0] < 0
    for name, svg in zip(HEIGHTS, drawings[6:], strict=True):
        x, y = np.array([(float(p.attrib["cx"]), float(p.attrib["cy"])) for p in svg.iter("circle")]).T
        for axis, side in ((scale_of(svg, True)(x), "right"), (scale_of(svg, False)(y), "left")):
            values = found[f"{name}_{side}"]
            np.testing.assert_allclose(axis, values, atol=0.005 * np.ptp(values))
        assert {"right", "left"} < {text.text for text in svg.iter("text")}
        (line,) = (line.attrib for line in svg.iter("line"))
        for end in "12":  # of the line on which both are equal
            right, left = (scale_of(svg, axis == "x")(float(line[axis + end])) for axis in "xy")
            assert right == pytest.approx(left, abs=0.005 * np.ptp(values))


def test_sides_are_compared_where_the_face_is_seen_from_the_front(tmp_path: Path) -> None:
    """Also of a head beside the middle, whose yaw before the camera is not that from which it is seen."""
    beside = (300.0, 0.0, 600.0)  # seen from 27 degrees if it is turned as the camera is
    poses = [
        *[(0.0, 0, 600, 0, 0.2, 0), (0.0, 0, 600, 0, 0.35, 0)],
        *[(*beside, 0, 0.0, 0), (*beside, 0, np.arctan(0.5), 0), (*beside, 0, -np.arctan(0.5), 0)],
    ]
    faces = [
        make_face(i, frame=i, timestamp=i / 10, pose=np.array(pose, float)) for i, pose in enumerate(poses)
    ]
    faces += [make_face(5, frame=5, timestamp=0.5, confidence=0.3), missing_face(frame=6, timestamp=0.6)]
    formats.write_csv(tmp_path / "v.csv", faces)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv")
    page, _ = read_page(tmp_path / "v.html")
    assert "2 of 6 frames with success, seen from within 15° of the front" in page.words
    found = measures(formats.read_csv(tmp_path / "v.csv"))
    for name in HEIGHTS:
        apart = found[f"{name}_left"] - found[f"{name}_right"]
        # The first, and the one that looks into the camera.
        assert f"left minus right: mean {apart[[0, 3]].mean():+.2f} mm" in page.words


def test_sides_that_are_alike_differ_by_no_negative_number() -> None:
    assert "left minus right: mean +0.00 mm" in report._scatter(
        "Lid opening", np.array([7.0]), np.array([6.999])
    )


def test_several_faces_have_a_picture_each_that_says_who_is_who(tmp_path: Path) -> None:
    """Also where two are clearest in one frame, and one was never fitted."""
    confidences = [(0.5, 0.6, 0.0), (0.9, 0.8, 0.0), (0.7, 0.2, 0.0)]
    faces = [
        make_face(
            k,
            frame=i,
            timestamp=i / 10,
            face_id=k,
            confidence=value,
            success=value > 0,
            pose=np.array([0, 0, 500 if i == 1 else 600, 0, 0, 0], float),
        )
        for i, values in enumerate(confidences)
        for k, value in enumerate(values)
    ]
    formats.write_csv(tmp_path / "v.csv", faces)
    write_video(tmp_path / "v.avi", 3)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    page, _ = read_page(tmp_path / "v.html")
    words = " ".join(page.words.split())
    for head in (
        "Face 0 0.10 s, frame 2, face 0, confidence 0.90 3 frames over",
        "Face 1 0.10 s, frame 2, face 1, confidence 0.80 3 frames over",
        "Face 2 0.00 s, frame 1, face 2, failed 3 frames over",
    ):
        assert head in words
    pictures = pictures_of(page)
    assert len(pictures) > 3 and (pictures[0] != pictures[1]).any()


def test_the_picture_that_says_who_is_who_shows_the_face_from_its_front(tmp_path: Path) -> None:
    """As near as it comes, not a profile or a doubtful fit; the surest where there is no such frame."""
    rows = [  # x, z, yaw; confidence
        ((0, 300, 0.8), 0.99),  # a profile
        ((0, 500, 0.1), 0.80),  # as wanted
        ((0, 900, 0.0), 0.95),  # farther away
        ((300, 450, 0.0), 0.98),  # at the edge, seen from its side
        ((0, 200, 0.0), 0.30),  # doubtful
    ]
    faces = []
    for i, ((x, z, yaw), confidence) in enumerate(rows):
        pose = np.array([x, 0, z, 0, yaw, 0], float)
        own = {"frame": i, "timestamp": i / 10, "confidence": confidence}
        faces += [make_face(0, face_id=0, pose=pose, **own)]
        faces += [make_face(1, face_id=1, pose=np.array([0, 0, z, 0, 0.8, 0], float), **own)]
    formats.write_csv(tmp_path / "v.csv", faces)
    write_video(tmp_path / "v.avi", len(rows))
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    words = " ".join(read_page(tmp_path / "v.html")[0].words.split())
    assert "Face 0 0.10 s, frame 2, face 0, confidence 0.80 5 frames over" in words
    assert "Face 1 0.00 s, frame 1, face 1, confidence 0.99 5 frames over" in words


def test_the_worst_frames_of_several_faces_say_whose_they_are(tmp_path: Path) -> None:
    faces = [
        make_face(i, frame=i // 2, timestamp=i // 2 / 10, face_id=i % 2, confidence=0.9 - 0.1 * (i % 2))
        for i in range(20)
    ]
    formats.write_csv(tmp_path / "v.csv", faces)
    write_video(tmp_path / "v.avi", 10)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    assert "0.00 s, frame 1, face 1, confidence 0.80" in read_page(tmp_path / "v.html")[0].words


def test_pictures_have_the_times_of_the_curves(tmp_path: Path) -> None:
    """Those of the CSV, which `track --frame-rate` may have made others than the video's."""
    formats.write_csv(tmp_path / "v.csv", [make_face(i, frame=i, timestamp=i / 4) for i in range(4)])
    write_video(tmp_path / "v.avi", 4)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    page, data = read_page(tmp_path / "v.html")
    assert re.findall(r"([\d.]+) s, frame (\d)", page.words) == [
        ("0.00", "1"),
        ("0.25", "2"),
        ("0.50", "3"),
        ("0.75", "4"),
    ]
    assert data["chart0"]["t"] == [0, 0.25, 0.5, 0.75]


def test_page_of_a_video_with_two_faces(tmp_path: Path) -> None:
    faces = [make_face(i, frame=i // 2, timestamp=i // 2 / 10, face_id=i % 2) for i in range(20)]
    formats.write_csv(tmp_path / "v.csv", faces)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv")
    page, data = read_page(tmp_path / "v.html")
    assert "Face 0" in page.words
    assert "Face 1" in page.words
    assert len(data) == 12
    assert len(data["chart5"]["t"]) == 10
    found = measures(formats.read_csv(tmp_path / "v.csv"))["mouth_width"]
    np.testing.assert_allclose(data["chart2"]["mouth width"], found[::2], atol=1e-3)
    np.testing.assert_allclose(data["chart8"]["mouth width"], found[1::2], atol=1e-3)


@pytest.mark.parametrize("step", [1, 10])
def test_curves_break_off_where_a_face_was_not_followed(tmp_path: Path, step: int) -> None:
    """As where another one stands in for it; not in a table of every tenth frame."""
    frames = [*range(0, 10 * step, step), *range(50 * step, 60 * step, step)]
    faces = [make_face(i, frame=i, timestamp=i / 10, confidence=0.9) for i in frames]
    formats.write_csv(tmp_path / "v.csv", faces)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv")
    page, data = read_page(tmp_path / "v.html")
    assert page.count("polyline") == 2 * sum(len(lines) - 1 for lines in data.values())
    for values in data.values():
        for name, line in values.items():
            assert len(line) == 21
            assert [i for i, value in enumerate(line) if value is None] == ([] if name == "t" else [10])


@pytest.mark.parametrize("rows", [0, 1])
def test_page_of_hardly_anything(tmp_path: Path, rows: int) -> None:
    formats.write_csv(tmp_path / "v.csv", [missing_face()] * rows)
    write_video(tmp_path / "v.avi", 2)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    page, _ = read_page(tmp_path / "v.html")
    assert ("No frames" in page.words) == (rows == 0)
    assert ("1 frame over 0.0 s; success in 0 (0.0%)" in page.words) == (rows == 1)


def test_one_of_a_kind_is_counted_as_one(tmp_path: Path) -> None:
    for layout in ("video", "image"):
        formats.write_csv(tmp_path / f"{layout}.csv", [make_face(0, frame=0)], layout=layout)
    report.write_video_report(tmp_path / "v.html", tmp_path / "video.csv")
    assert "1 of 1 frame with success" in read_page(tmp_path / "v.html")[0].words
    report.write_image_report(tmp_path / "p.html", [(tmp_path / "image.csv", None)])
    assert "1 photograph with 1 face; 0 without one" in read_page(tmp_path / "p.html")[0].words


def test_a_long_video_keeps_its_peaks(tmp_path: Path) -> None:
    time = np.arange(100_000) / 30
    values = np.sin(time)
    values[54_321], values[77_777] = 9.0, -9.0
    values[0], values[-1] = 5.0, -5.0
    values[10_000:12_000] = np.nan
    t, lines = report._thinned(time, {"values": values})
    v = lines["values"]
    assert len(t) <= report.MAX_POINTS
    assert np.all(np.diff(t) >= 0)
    assert np.nanmax(v) == 9.0
    assert np.nanmin(v) == -9.0
    assert t[np.nanargmax(v)] == time[54_321]
    assert (t[0], v[0], t[-1], v[-1]) == (0.0, 5.0, time[-1], -5.0)
    assert np.isnan(v[(t > 340) & (t < 390)]).all()


def test_curves_of_a_long_video_are_read_at_the_same_times() -> None:
    """Both eyes blink together, the peaks about it lie on either side of it; one frame has failed."""
    time = np.arange(9000) / 30
    right = np.where(np.arange(9000) % 127 < 5, 0.0, 7.0)
    left = right.copy()
    right[6::127] += 0.1
    left[126::127] += 0.1
    right[4000] = left[4000] = np.nan
    data: dict[str, dict[str, list[float]]] = {}
    chart = report._chart("c", "Lid opening", "mm", time, {"right": right, "left": left}, data)
    read = {name: np.array(values, float) for name, values in data["c"].items()}
    assert np.nanmax(np.abs(read["right"] - read["left"])) == pytest.approx(0.1)
    assert np.isnan(read["left"]).sum() == 1
    assert chart.count("<polyline") == 4


@pytest.mark.parametrize(
    ("low", "high"), [(-0.05, 1.05), (-1.0, 1.0), (3.2, 3.9), (0.0, 0.001), (0.0, 7261.0), (-812.0, -95.0)]
)
@pytest.mark.parametrize("count", [4, 8])
def test_ticks_are_all_round_numbers_of_a_range(low: float, high: float, count: int) -> None:
    ticks = report._ticks(low, high, count)
    steps = np.diff(ticks)
    step = steps.mean()
    np.testing.assert_allclose(steps, step)
    assert f"{step:.6e}".rstrip("0123456789+-").removesuffix("e").strip("0.") in ("1", "2", "5")
    assert low <= ticks[0] < low + step and high - step < ticks[-1] <= high
    np.testing.assert_allclose(np.array(ticks) / step, np.rint(np.array(ticks) / step), atol=1e-9)
    assert count / 2 <= len(ticks) <= 2 * count
    assert "-0" not in [f"{tick:g}" for tick in ticks]


def test_a_frame_between_two_that_failed_is_a_point(tmp_path: Path) -> None:
    faces = [missing_face(frame=i, timestamp=i / 10) for i in range(5)]
    faces[2] = make_face(2, frame=2, timestamp=0.2)
    formats.write_csv(tmp_path / "v.csv", faces)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv")
    svg = drawings_of(tmp_path / "v.html")[2]
    assert not list(svg.iter("polyline"))
    (point,) = svg.iter("circle")
    x, y = (
        scale_of(svg, across)(float(point.attrib[name])) for across, name in ((True, "cx"), (False, "cy"))
    )
    (width,) = measures(formats.read_csv(tmp_path / "v.csv"))["mouth_width"][2:3]
    assert (x, y) == (pytest.approx(0.2, abs=0.01), pytest.approx(width, abs=0.01))


def test_page_of_photographs(tmp_path: Path) -> None:
    for name, faces in (
        ("a", [make_face(0)]),
        ("b", []),
        ("c", [make_face(1, confidence=0.2), make_face(2)]),
    ):
        formats.write_csv(tmp_path / f"{name}.csv", faces, layout="image")
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((320, 320), 128, np.uint8))
    (tmp_path / "a.png").write_bytes(b"broken")
    items = photographs_of(tmp_path)
    report.write_image_report(tmp_path / "report.html", items)
    page, _ = read_page(tmp_path / "report.html")
    assert "3 photographs with 3 faces; 1 without one" in page.words
    order = [page.words.index(text) for text in ("b: 0 faces", "c: 2 faces, confidence 0.20", "a: 1 face")]
    assert order == sorted(order)
    assert "cannot be read" in page.words
    assert page.count("img") == 2


def test_fits_that_failed_are_counted_as_no_faces(tmp_path: Path) -> None:
    """As on the command line; their pictures' captions say so."""
    for name, ends in (("a", [True, False]), ("b", [False])):
        faces = [make_face(i, success=success, confidence=0.9) for i, success in enumerate(ends)]
        formats.write_csv(tmp_path / f"{name}.csv", faces, layout="image")
    csvs = [tmp_path / "a.csv", tmp_path / "b.csv"]
    report.write_image_report(tmp_path / "report.html", [(csv, None) for csv in csvs])
    words = read_page(tmp_path / "report.html")[0].words
    assert "2 photographs with 1 face; 1 without one" in words
    assert "a: 1 face, 1 failed fit, confidence 0.90" in words and "b: 0 faces, 1 failed fit" in words


def pictures_of(page: Page) -> list[np.ndarray]:
    sources = [(attributes["src"] or "").partition(",")[2] for tag, attributes in page.tags if tag == "img"]
    data = [np.frombuffer(base64.b64decode(source), np.uint8) for source in sources]
    return [cv2.imdecode(bytes_of_one, cv2.IMREAD_COLOR) for bytes_of_one in data]


def test_faces_of_large_photographs_are_seen_on_small_pictures(tmp_path: Path) -> None:
    """Lines that are drawn on 3600 px and shrunk to 360 are not."""
    landmarks = np.full((68, 2), 1800.0, np.float32)
    landmarks[0], landmarks[1:17] = (300, 200), (300, 1700)
    pose = Parameters(np.array([10.0, 0, 0, 0, 2500.0, 1200.0]), np.zeros(34))
    face = make_face(landmarks=landmarks, params=pose, confidence=1.0)
    formats.write_csv(tmp_path / "a.csv", [face], layout="image")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((2400, 3600, 3), np.uint8))
    report.write_image_report(tmp_path / "report.html", [(tmp_path / "a.csv", tmp_path / "a.png")])
    (picture,) = pictures_of(read_page(tmp_path / "report.html")[0])
    assert picture.shape == (240, 360, 3)
    # Down the jaw's line, and to the side from the origin of the head.
    assert (picture[40:150, 28:32, 1].max(axis=1) > 120).all()
    assert (picture[118:123, 255:300, 2].max(axis=0) > 120).all()


def test_photographs_of_one_name_are_told_apart_on_their_page(tmp_path: Path) -> None:
    """As of one patient before and after; of many faces those with the least confidence are named."""
    for i, name in enumerate(("before/rest", "after/rest", "after/smile")):
        faces = [make_face(j, confidence=(90 - 10 * j - i) / 100) for j in range(8 if i else 6)]
        formats.write_csv(tmp_path / "out" / f"{name}.csv", faces, layout="image")
    csvs = sorted(tmp_path.rglob("*.csv"))
    report.write_image_report(tmp_path / "report.html", [(csv, None) for csv in csvs])
    words = read_page(tmp_path / "report.html")[0].words
    assert "before/rest: 6 faces, confidence 0.40, 0.50, 0.60, 0.70, 0.80, 0.90" in words
    assert "after/rest: 8 faces, confidence 0.19, 0.29, 0.39, 0.49, 0.59, 0.69, ..." in words
    assert "after/smile: 8 faces" in words
    assert "out/" not in words


def test_not_all_tables_of_photographs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csvs = [tmp_path / f"{i}.csv" for i in range(20)]
    for csv in csvs:
        formats.write_csv(csv, [make_face(0)], layout="image")
    tables: weakref.WeakSet[formats.Table] = weakref.WeakSet()

    def read(path: Path) -> formats.Table:
        assert len(tables) < 3
        tables.add(table := formats.read_csv(path))
        return table

    monkeypatch.setattr(report, "read_csv", read)
    report.write_image_report(tmp_path / "report.html", [(csv, None) for csv in csvs])
    page, _ = read_page(tmp_path / "report.html")
    assert "20 photographs with 20 faces; 0 without one" in page.words


def test_faces_are_drawn_into_their_pictures(tmp_path: Path) -> None:
    """As `draw_faces` does, in the colour of their confidence; those that failed are not."""
    faces = {"a": make_face(3, success=False), "b": make_face(1, confidence=0.3), "c": make_face(2)}
    grey = np.full((320, 320, 3), 128, np.uint8)
    for name, face in faces.items():
        formats.write_csv(tmp_path / f"{name}.csv", [face], layout="image")
        cv2.imwrite(str(tmp_path / f"{name}.png"), grey)
    report.write_image_report(tmp_path / "report.html", photographs_of(tmp_path))
    found = pictures_of(read_page(tmp_path / "report.html")[0])
    assert np.ptp(found[0]) < 3
    for name, picture in zip("bc", found[1:], strict=True):
        table = formats.read_csv(tmp_path / f"{name}.csv")
        colour = confidence_colour(table["confidence"][0])
        drawn = draw_landmarks(grey, table.landmarks[0], colour=colour)
        columns = ([table[name][0] for name in names] for names in (formats.PARAMETERS, formats.POSE))
        draw_axes(drawn, as_seen(*columns))
        jpeg = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        expected = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), int)
        assert np.abs(picture - expected).max() <= 2


def test_pictures_are_made_smaller_but_not_larger(tmp_path: Path) -> None:
    sizes = {"a": (900, 600), "b": (50, 40), "c": (2, 3000)}
    for name, (width, height) in sizes.items():
        formats.write_csv(tmp_path / f"{name}.csv", [], layout="image")
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((height, width, 3), 128, np.uint8))
    report.write_image_report(tmp_path / "report.html", photographs_of(tmp_path))
    found = [picture.shape[1::-1] for picture in pictures_of(read_page(tmp_path / "report.html")[0])]
    assert found == [(360, 240), (50, 40), (1, 360)]
    page, _ = read_page(tmp_path / "report.html")
    said = [(at["width"], at["height"]) for tag, at in page.tags if tag == "img"]
    assert said == [(str(width), str(height)) for width, height in found]


def test_of_many_photographs_the_least_certain_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_PICTURES", 3)
    for i in range(4):
        face = make_face(i, confidence=0.9 - i / 10)
        formats.write_csv(tmp_path / f"p{i}.csv", [face, make_face(9)], layout="image")
    for count in (3, 4):
        csvs = sorted(tmp_path.glob("p*.csv"))[:count]
        report.write_image_report(tmp_path / "report.html", [(csv, None) for csv in csvs])
        page, _ = read_page(tmp_path / "report.html")
        assert f"{count} photographs with {2 * count} faces; 0 without one" in page.words
        assert re.findall(r"p(\d): 2 faces", page.words) == [str(i) for i in range(count)][:-4:-1]
        assert ("the first 3 are shown" in page.words) is (count == 4)


def test_photographs_are_found_by_their_names(tmp_path: Path) -> None:
    """Beside the CSV or a folder up, with or without their suffix; each folder is listed once."""
    out, other = tmp_path / "out", tmp_path / "other"
    for folder in (out, other):
        folder.mkdir()
    for path in (tmp_path / "a.png", tmp_path / "a.bmp", out / "b.JPG", other / "a.tif", tmp_path / "c.txt"):
        path.touch()
    csvs = [out / f"{name}.csv" for name in ("a", "a.png", "b", "c", "d")]
    found = report.find_images(dict.fromkeys(csvs, out), None)
    both = [tmp_path / "a.bmp", tmp_path / "a.png"]
    assert found == dict(zip(csvs, (both, both[1:], [out / "b.JPG"], [], []), strict=True))
    items, doubts = report.told_apart(found)
    assert items == list(zip(csvs, (None, both[1], out / "b.JPG", None, None), strict=True))
    assert list(doubts) == csvs[:1] and f"{both[0]} and {both[1]} have its name" in doubts[csvs[0]]
    found = report.find_images(dict.fromkeys(csvs[:3], out), other)
    assert found == {csvs[0]: [other / "a.tif"], csvs[1]: [], csvs[2]: []}
    assert report.find_images({csvs[0]: out}, tmp_path / "nowhere") == {csvs[0]: []}


def test_what_a_table_is_of_is_found_from_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path v.csv does not tell the folder above it, and ../v.csv another one."""
    inner = tmp_path / "processed" / "inner"
    inner.mkdir(parents=True)
    for path in (tmp_path / "v.mp4", tmp_path / "p.png"):
        path.touch()
    for folder, before in ((tmp_path / "processed", ""), (inner, "../")):
        monkeypatch.chdir(folder)
        csv = Path(f"{before}v.csv")
        assert report.find_videos({csv: csv.parent}, None) == {csv: [tmp_path / "v.mp4"]}
        csv = Path(f"{before}p.csv")
        assert report.find_images({csv: csv.parent}, None) == {csv: [tmp_path / "p.png"]}


def test_a_folder_above_that_is_locked_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the home of all users may be; one that is named is an error."""
    csv = tmp_path / "out" / "a.csv"
    csv.parent.mkdir()
    listed = Path.iterdir

    def refuse(folder: Path) -> Any:
        if folder == tmp_path:
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    for find in (report.find_images, report.find_videos):
        assert find({csv: csv.parent}, None) == {csv: []}
        with pytest.raises(PermissionError):
            find({csv: csv.parent}, tmp_path)


def test_names_are_escaped(tmp_path: Path) -> None:
    # Windows has no names with angle brackets.
    name = "&amp;" if sys.platform == "win32" else "<b>&amp;"
    formats.write_csv(tmp_path / f"{name}.csv", [make_face()])
    report.write_video_report(tmp_path / "v.html", tmp_path / f"{name}.csv")
    page, _ = read_page(tmp_path / "v.html")
    assert page.count("b") == 5 + 6  # the readings in the legends, none of the name
    assert name in page.words


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """As from archives of other systems, whose bytes Python keeps as surrogates."""
    csv = tmp_path / "bad\udcff.csv"
    try:
        formats.write_csv(csv, [make_face()], layout="image")
    except (OSError, UnicodeError):
        pytest.skip("this system takes no such names")
    report.write_image_report(tmp_path / "report.html", [(csv, None)])
    page, _ = read_page(tmp_path / "report.html")
    assert "bad?: 1 face" in page.words


def test_the_wrong_file(tmp_path: Path) -> None:
    formats.write_csv(tmp_path / "p.csv", [make_face()], layout="image")
    with pytest.raises(FormatError, match="the CSV of a photograph"):
        report.write_video_report(tmp_path / "v.html", tmp_path / "p.csv")
    formats.write_csv(tmp_path / "v.csv", [make_face(n=5, frame=0)], n_landmarks=5)
    with pytest.raises(FormatError, match="defined for 68 landmarks"):
        report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv")
    assert not (tmp_path / "v.html").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    (
        ("frame", np.nan, "are not finite"),
        ("face_id", np.inf, "are not finite"),
        ("timestamp", -np.inf, "are not finite"),
        ("confidence", np.nan, "are not finite"),
        ("timestamp", 1e300, "beyond 1e[+]09"),
        ("X_7", -1e300, "beyond 1e[+]09"),
        ("x_7", np.nan, None),
        ("Z_7", np.inf, None),
        ("pose_Rx", np.nan, None),
        ("X_7", 1e9, None),
        ("timestamp", -1e9, None),
    ),
)
def test_numbers_that_cannot_be_drawn(tmp_path: Path, name: str, value: float, message: str | None) -> None:
    """Missing landmarks are left out; what a page is ordered by must be there."""
    csv, video = tmp_path / "v.csv", tmp_path / "v.avi"
    formats.write_csv(csv, [make_face(i, frame=i, timestamp=i / 25) for i in range(3)])
    header, *rows = csv.read_text().splitlines()
    cells = rows[1].split(", ")
    cells[header.split(", ").index(name)] = str(value)
    csv.write_text("\n".join([header, rows[0], ", ".join(cells), rows[2]]))
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    if message is None:
        report.write_video_report(tmp_path / "page.html", csv, video)
        read_page(tmp_path / "page.html")
    else:
        with pytest.raises(FormatError, match=rf"v\.csv: the column '{name}' holds numbers .*{message}"):
            report.write_video_report(tmp_path / "page.html", csv, video)


def test_page_of_a_table_without_rows_and_ids(tmp_path: Path) -> None:
    csv = tmp_path / "v.csv"
    csv.write_text("frame, timestamp, confidence, success\n")
    report.write_video_report(tmp_path / "page.html", csv, None)
    page, _ = read_page(tmp_path / "page.html")
    assert "No frames." in page.words


def test_of_frames_that_are_all_alike_some_are_shown_from_the_first_to_the_last(tmp_path: Path) -> None:
    formats.write_csv(tmp_path / "v.csv", [make_face(i, frame=i, timestamp=i / 10) for i in range(20)])
    write_video(tmp_path / "v.avi", 20)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    page, _ = read_page(tmp_path / "v.html")
    assert "Frames" in page.words and "Worst" not in page.words
    found = [int(number) for number in re.findall(r"frame (\d+), confidence", page.words)]
    assert len(found) == report.WORST_FRAMES and (found[0], found[-1]) == (1, 20)
    assert set(np.diff(found)) <= {2, 3}


def test_not_all_points_of_a_long_video_are_drawn() -> None:
    """But the mean is of all."""
    left = np.arange(10_001.0)
    drawn = report._scatter("Lid opening", np.zeros(10_001), np.where(left < 9999, left, -left))
    assert 1000 < drawn.count("<circle") < 2 * report.MAX_POINTS
    assert f"mean {(left[:9999].sum() - left[9999:].sum()) / 10_001:+.2f} mm" in drawn


def test_the_worst_frames_are_not_those_of_one_moment(tmp_path: Path) -> None:
    """With fewer than the page has room for, and one beside a worse one left out."""
    times, confidences = [5.0, 5.1, 5.4, 10.0, 15.0], [0.1, 0.2, 0.4, 0.9, 0.3]
    faces = [
        make_face(i, frame=i, timestamp=time, confidence=confidence)
        for i, (time, confidence) in enumerate(zip(times, confidences, strict=True))
    ]
    formats.write_csv(tmp_path / "v.csv", faces)
    write_video(tmp_path / "v.avi", 5)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    page, _ = read_page(tmp_path / "v.html")
    found = re.findall(r"frame (\d), confidence", page.words)
    assert found == ["1", "5", "3", "4"]


def test_a_video_that_ends_before_the_table_begins(tmp_path: Path) -> None:
    """Another one of the same name: the page has its curves, and no pictures."""
    faces = [make_face(i, frame=50 + i, timestamp=2 + i / 25, confidence=i / 5) for i in range(5)]
    formats.write_csv(tmp_path / "v.csv", faces)
    write_video(tmp_path / "v.avi", 3)
    report.write_video_report(tmp_path / "v.html", tmp_path / "v.csv", tmp_path / "v.avi")
    page, _ = read_page(tmp_path / "v.html")
    assert "5 frames over" in page.words and "orst frames" not in page.words
    assert page.count("img") == 0


def test_photographs_that_are_not_there_have_a_card_without_a_picture(tmp_path: Path) -> None:
    formats.write_csv(tmp_path / "a.csv", [make_face()], layout="image")
    report.write_image_report(tmp_path / "report.html", [(tmp_path / "a.csv", None)])
    page, _ = read_page(tmp_path / "report.html")
    assert "a: 1 face, confidence 0.88" in page.words
    assert "cannot be read" not in page.words
    assert (page.count("figure"), page.count("img")) == (1, 0)
