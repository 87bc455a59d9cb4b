"""Pages to check results by: one self-contained HTML file of a video's CSV, or of many photographs'."""

from __future__ import annotations

import base64
import html
import json
import os
from collections import defaultdict
from importlib import resources
from itertools import chain, pairwise
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf._files import replacing, written_at
from pyclnf._limits import MAX_COORDINATE
from pyclnf.confidence import TRUSTED
from pyclnf.draw import as_seen, confidence_colour, draw_axes, draw_landmarks
from pyclnf.errors import FormatError, PyclnfError
from pyclnf.formats import PARAMETERS, POSE, Table, read_csv
from pyclnf.images import IMAGE_SUFFIXES, read_photograph, shrunk
from pyclnf.measures import HEIGHTS, SIDES, measures, seen_from_the_side
from pyclnf.progress import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["write_image_report", "write_video_report"]

# Points of a curve: longer videos show the range within each of half as many parts.
MAX_POINTS = 1500
WORST_FRAMES = 8
SOON = 5_000_000_000  # ns after its CSV a picture may be written that is drawn of it
MAX_PICTURES = 200
THUMBNAIL = 360  # px, the longer side
WIDTH, HEIGHT, MARGIN = 900, 150, 52  # of a chart, px
SCATTER = 260  # px
# Both sides of a face are compared in frames that show it from within so many degrees of its front, and
# that can be trusted: of a turned head the far brow comes out too low.
FRONTAL = 15.0
TITLES = {
    "lid_opening": "Lid opening",
    "brow_height": "Brow height",
    "mouth_corner": "Mouth corner, below the eye",
}
COLOURS = ("#1f77b4", "#d95f02", "#2a9d55")


# --- videos


def write_video_report(page: Path, csv: Path, video: Path | None = None) -> None:
    """Write a page of a video's CSV: curves over time, left against right, the worst frames.

    Parameters
    ----------
    page : Path
        The HTML file, which needs nothing else.
    csv : Path
        Of `formats.CSVWriter`, or OpenFace's own.
    video : Path, optional
        The video, for the pictures of the worst frames and, of several faces, of each.

    Raises
    ------
    FormatError
        If the CSV is none.
    VideoError
        If the video cannot be read.
    """
    table = _read_table(csv)
    if table.layout != "video":
        raise FormatError(f"{csv}: this is the CSV of a photograph: it has no timestamps")
    faces = np.unique(table["face_id"]) if "face_id" in table.columns else np.zeros(min(len(table), 1))
    several = len(faces) > 1
    title, worst = _worst_rows(table)
    # Who is who.
    clearest = {face: _clearest_row(table, face) for face in faces} if several else {}
    cards = {} if video is None else _cards(table, video, {*worst, *clearest.values()}, several=several)
    sections = [] if len(table) else ["<p>No frames.</p>"]
    if video is not None and is_newer(video, csv):
        sections.append("<p>The video is newer than its CSV, which may be of another.</p>")
    data: dict[str, dict[str, list[float]]] = {}
    for face in faces:
        own = table
        if several:
            own = table.rows(table["face_id"] == face)
            sections += [f"<h2>Face {face:g}</h2>", *_row_of_cards(cards, [clearest[face]])]
        found = measures(own)
        sections += [_summary(own), *_charts(own, found, data), _left_against_right(own, found)]
    if pictures := _row_of_cards(cards, worst):
        sections += [f"<h2>{title}</h2>", *pictures]
    _write_page(page, f"{csv.stem}", str(csv.name), sections, data)


def _read_table(csv: Path) -> Table:
    """Read a CSV and check that it holds nothing that cannot be drawn."""
    table = read_csv(csv)
    for name, values in table.columns.items():
        finite = np.isfinite(values)
        if np.abs(values[finite]).max(initial=0) > MAX_COORDINATE:
            raise FormatError(f"{csv}: the column {name!r} holds numbers beyond {MAX_COORDINATE:g}")
        if name in ("frame", "face_id", "timestamp", "confidence") and not finite.all():
            raise FormatError(f"{csv}: the column {name!r} holds numbers that are not finite")
    return table


def _summary(table: Table) -> str:
    success, confidence = table.success, table["confidence"]
    seconds = float(table["timestamp"].max() - table["timestamp"].min())
    mean = f"{confidence[success].mean():.2f}" if success.any() else "none"
    return (
        f"<p>{counted(len(table), 'frame')} over {seconds:.1f} s; success in {success.sum()} "
        f"({success.mean():.1%}); mean confidence of these {mean}.</p>"
    )


def _charts(table: Table, found: dict[str, Float], data: dict[str, dict[str, list[float]]]) -> list[str]:
    pose = np.where(table.success[:, None], np.degrees(table.pose[:, 3:]), np.nan)
    charts: list[tuple[str, str, dict[str, Float]]] = [
        ("Confidence", "", {"confidence": table["confidence"]}),
        ("Head pose", "degrees", dict(zip(("pitch (rx)", "yaw (ry)", "roll (rz)"), pose.T, strict=True))),
        ("Mouth width", "mm", {"mouth width": found["mouth_width"]}),
    ]
    for name in HEIGHTS:
        charts.append((TITLES[name], "mm", {side: found[f"{name}_{side}"] for side in SIDES}))
    return [
        _chart(f"chart{len(data)}", title, unit, *_with_gaps(table, lines), data)
        for title, unit, lines in charts
    ]


def _with_gaps(table: Table, lines: dict[str, Float]) -> tuple[Float, dict[str, Float]]:
    """Return times and curves that break off where the face has no rows in between."""
    time, steps = table["timestamp"], np.diff(table["frame"])
    # Tables of every tenth frame have no gaps.
    gaps = np.flatnonzero(steps > 2 * np.median(steps)) + 1 if len(steps) else np.empty(0, int)
    broken = {label: np.insert(values, gaps, np.nan) for label, values in lines.items()}
    return np.insert(time, gaps, (time[gaps - 1] + time[gaps]) / 2), broken


def _chart(
    name: str,
    title: str,
    unit: str,
    time: Float,
    lines: dict[str, Float],
    data: dict[str, dict[str, list[float]]],
) -> str:
    """Return a chart as SVG, and put its values into *data* for the readings under the mouse."""
    times, shown = _thinned(time, lines)
    low, high = _padded(np.concatenate(list(shown.values())))
    if title == "Confidence":
        low, high = -0.05, 1.05
    begin, end = (float(time.min()), float(time.max())) if len(time) else (0.0, 1.0)
    end = max(end, begin + 1e-3)
    inner_width, inner_height = WIDTH - MARGIN - 8, HEIGHT - 26

    def x(t: Any) -> Any:
        return MARGIN + (t - begin) / (end - begin) * inner_width

    def y(v: Any) -> Any:
        return 6 + (high - v) / (high - low) * inner_height

    parts = []
    for tick in _ticks(low, high, 4):
        at = y(tick)
        parts.append(f'<line class="grid" x1="{MARGIN}" x2="{WIDTH - 8}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(begin, end, 8):
        at = x(tick)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 4}" text-anchor="middle">{tick:g} s</text>')
    for colour, v in zip(COLOURS, shown.values(), strict=False):
        for run in _runs(np.isfinite(v)):
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x(times[run]), y(v[run]), strict=True))
            shape = "polyline" if run.stop - run.start > 1 else "circle"
            if shape == "circle":
                a, b = points.split(",")
                parts.append(f'<circle cx="{a}" cy="{b}" r="1.2" fill="{colour}"/>')
            else:
                parts.append(f'<polyline points="{points}" stroke="{colour}"/>')
    data[name] = {"t": _rounded(times), **{label: _rounded(v) for label, v in shown.items()}}
    legend = " ".join(
        f'<span><i style="background:{colour}"></i>{html.escape(label)} <b></b></span>'
        for colour, label in zip(COLOURS, shown, strict=False)
    )
    return (
        f'<figure class="chart" id="{name}" data-begin="{begin}" data-end="{end}"><figcaption>{title}'
        f'{f" <small>({unit})</small>" if unit else ""} <em class="legend">{legend}</em></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title} over time">{"".join(parts)}'
        f'<line class="cursor" y1="6" y2="{HEIGHT - 20}" x1="-9" x2="-9"/></svg></figure>'
    )


def _thinned(time: Float, lines: dict[str, Float]) -> tuple[Float, dict[str, Float]]:
    """Return the curves at common times: of each part the least and the greatest of each, and a gap."""
    if len(time) <= MAX_POINTS:
        return time, lines
    edges = np.linspace(0, len(time), MAX_POINTS // 2 + 1).astype(int)
    kept = set()
    for begin, end in pairwise(edges.tolist()):
        for values in lines.values():
            part = values[begin:end]
            gaps = np.isnan(part)
            if gaps.any():
                kept.add(begin + int(gaps.argmax()))
            if not gaps.all():
                kept |= {begin + int(np.nanargmin(part)), begin + int(np.nanargmax(part))}
    rows = sorted(kept)
    return time[rows], {label: values[rows] for label, values in lines.items()}


def _runs(valid: NDArray[np.bool_]) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], valid, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Return round numbers within a range, about *count* of them."""
    rough = (high - low) / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough)))
    first = np.ceil(low / step)
    return [float(np.round(k * step, 10)) + 0.0 for k in np.arange(first, np.floor(high / step) + 1)]


def _rounded(values: Float) -> list[float]:
    return [round(float(v), 3) if np.isfinite(v) else None for v in values]  # type: ignore[misc]


def _frontal(table: Table) -> NDArray[np.bool_]:
    """Return which rows show a face from its front, and can be trusted."""
    near = seen_from_the_side(table) <= FRONTAL
    return np.asarray(table.success & near & (table["confidence"] >= TRUSTED))


def _left_against_right(table: Table, measured: dict[str, Float]) -> str:
    rows = _frontal(table)
    found = {name: values[rows] for name, values in measured.items()}
    count = f"{rows.sum()} of {counted(table.success.sum(), 'frame')} with success"
    scatters = [_scatter(TITLES[name], *(found[f"{name}_{side}"] for side in SIDES)) for name in HEIGHTS]
    return (
        f'<h3>Left against right</h3><div class="row">{"".join(scatters)}</div><p><small>{count}, '
        f"seen from within {FRONTAL:g}° of the front with a confidence of {TRUSTED:g} or more. In a mirrored "
        "recording the sides have changed places.</small></p>"
    )


def _scatter(title: str, right: Float, left: Float) -> str:
    both = np.isfinite(right) & np.isfinite(left)
    right, left = right[both], left[both]
    if not len(right):
        return ""
    low, high = _padded(np.concatenate([right, left]))
    inner = SCATTER - MARGIN - 8
    bottom = 8 + inner

    def x(value: float) -> float:
        return MARGIN + (value - low) / (high - low) * inner

    def y(value: float) -> float:
        return 8 + (high - value) / (high - low) * inner

    step = max(1, len(right) // MAX_POINTS)
    parts = [f'<rect class="frame" x="{MARGIN}" y="8" width="{inner}" height="{inner}"/>']
    parts.append(f'<line class="grid" x1="{MARGIN}" y1="{bottom}" x2="{MARGIN + inner}" y2="8"/>')
    parts += [
        f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="1.6"/>'
        for a, b in zip(right[::step], left[::step], strict=True)
    ]
    for tick in _ticks(low, high, 4):
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = 8 + inner / 2
    parts.append(f'<text x="{MARGIN + inner / 2}" y="{bottom + 30}" text-anchor="middle">right</text>')
    parts.append(
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">left</text>'
    )
    return (
        f"<figure><figcaption>{title} <small>(mm)</small></figcaption>"
        f'<svg class="scatter" viewBox="0 0 {SCATTER} {bottom + 36}" role="img" '
        f'aria-label="{title}: left against right">'
        f"{''.join(parts)}</svg>"
        f"<p><small>left minus right: mean {np.mean(left - right):+z.2f} mm</small></p></figure>"
    )


def _padded(values: Float) -> tuple[float, float]:
    """Return the range of values with a margin; 0 to 1 for none."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    pad = 0.05 * (high - low) or 0.5
    return low - pad, high + pad


def _cards(table: Table, video: Path, rows: Collection[int], *, several: bool) -> dict[int, str]:
    """Return the pictures of some rows, by row; several: say whose face it is."""
    from pyclnf.video import Video

    wanted: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        wanted[int(table["frame"][row]) - 1].append(row)
    cards: dict[int, str] = {}
    if not wanted:
        return cards
    with Video(video) as frames:
        for frame in frames:
            if frame.index > max(wanted):
                break
            if frame.image is None:
                continue
            for row in wanted.get(frame.index, []):
                state = f"confidence {table['confidence'][row]:.2f}" if table.success[row] else "failed"
                if several:
                    state = f"face {table['face_id'][row]:g}, {state}"
                # By the CSV's time, as the curves are: a --frame-rate is not known here.
                text = f"{table['timestamp'][row]:.2f} s, frame {frame.index + 1}, {state}"
                cards[row] = _card(text, frame.image, table.rows(np.array([row])))
    return cards


def _row_of_cards(cards: dict[int, str], rows: Iterable[int]) -> list[str]:
    """Return those of some rows side by side, if there are any."""
    found = [cards[row] for row in rows if row in cards]
    return ['<div class="cards">', *found, "</div>"] if found else []


def _clearest_row(table: Table, face: float) -> int:
    """Return where a face is told best: as near as it comes from its front, or where the fit is surest."""
    own = table["face_id"] == face
    frontal = own & _frontal(table)
    worth = np.where(frontal, -table["pose_Tz"], -np.inf) if frontal.any() else table["confidence"]
    return int(np.argmax(np.where(own, worth, -np.inf)))


def _worst_rows(table: Table) -> tuple[str, list[int]]:
    """Return the rows with the least confidence, no two of them close in time, and what they are called."""
    time, confidence = table["timestamp"], table["confidence"]
    if not len(table):
        return "", []
    if np.ptp(confidence) == 0:  # all alike: no frame is the worst
        return "Frames", sorted({int(row) for row in np.linspace(0, len(table) - 1, WORST_FRAMES)})
    chosen: list[int] = []
    apart = (time.max() - time.min()) / (4 * WORST_FRAMES)
    for row in np.argsort(confidence, kind="stable"):
        if len(chosen) == WORST_FRAMES:
            break
        if all(abs(time[row] - time[other]) > apart for other in chosen):
            chosen.append(int(row))
    return "Worst frames", chosen


# --- photographs


def write_image_report(page: Path, items: Iterable[tuple[Path, Path | None]]) -> None:
    """Write a page of photographs' CSVs: the pictures with their faces, those without confidence first.

    Parameters
    ----------
    page : Path
        The HTML file, which needs nothing else.
    items : iterable of (Path, Path or None)
        A CSV and its photograph.

    Raises
    ------
    FormatError
        If a CSV is none.
    """
    # Of tens of thousands there is no room for all tables at once.
    found: list[tuple[float, Path, Path | None]] = []
    faces = empty = 0
    for csv, image in items:
        table = _read_table(csv)
        found.append((table["confidence"].min() if len(table) else -1.0, csv, image))
        # As `fit` counts them: a fit that failed is no face.
        faces, empty = faces + table.success.sum(), empty + (not table.success.any())
    found.sort(key=lambda item: item[:2])
    sections = [
        f"<p>{counted(len(found), 'photograph')} with {counted(faces, 'face')}; {empty} without one. "
        + "Those with the least confidence come first"
        + (f"; the first {MAX_PICTURES} are shown" if len(found) > MAX_PICTURES else "")
        + ".</p>",
        '<div class="cards">',
    ]
    shown = found[:MAX_PICTURES]
    for name, (_, csv, image) in zip(_names([csv for _, csv, _ in shown]), shown, strict=True):
        table = _read_table(csv)
        confidences = np.sort(table["confidence"][table.success])
        text = f"{name}: {counted(len(confidences), 'face')}"
        if failed := len(table) - len(confidences):
            text += f", {counted(failed, 'failed fit')}"
        if len(confidences):
            least = [f"{value:.2f}" for value in confidences[:6]]
            text += f", confidence {', '.join(least)}{', ...' if len(confidences) > 6 else ''}"
        picture = None
        if image is not None:
            try:
                picture = read_photograph(image)[0]
                text += " (the photograph is newer than its CSV)" if is_newer(image, csv) else ""
            except PyclnfError:
                text += " (the photograph cannot be read)"
        sections.append(_card(text, picture, table))
    _write_page(page, "Photographs", "", [*sections, "</div>"], {})


def _names(csvs: Sequence[Path]) -> list[str]:
    """Return what CSVs are called on a page: the part of their paths that they do not have in common."""
    paths = [Path(os.path.abspath(csv)).with_suffix("") for csv in csvs]  # noqa: PTH100
    try:
        common = os.path.commonpath([path.parent for path in paths])
    except ValueError:  # there are none, or they are on several drives of Windows
        return [path.as_posix() for path in paths]
    return [path.relative_to(common).as_posix() for path in paths]


def is_newer(file: Path, csv: Path) -> bool:
    """Return whether a file was written after a CSV, which may then be of one that had its name before."""
    written, table = written_at(file), written_at(csv)
    if written is None or table is None:  # a folder of frames, or taken away meanwhile
        return False
    # Not what `fit --draw` draws beside the CSV, just after it, nor by a camera whose clock is wrong.
    return table + SOON < written <= time_ns()


def find_videos(csvs: Mapping[Path, Path], folder: Path | None) -> dict[Path, list[Path]]:
    """Return the videos of CSVs' names in a folder, or beside them or one folder up: one, where it is known.

    csvs: with the folder by which each was given. Its sub-folders may be those of the videos.
    """
    from pyclnf.batch import VIDEO_SUFFIXES

    found = _find(csvs, folder, VIDEO_SUFFIXES)
    # Of `track --frames`. Not of a folder that nobody named: it may hold a patient's photographs.
    for csv, places in _places(csvs, folder).items() if folder is not None else ():
        frames = places[0] / csv.stem
        if not found[csv] and frames.is_dir() and holds_frames(frames, csv):
            found[csv] = [frames]
    return found


def find_images(csvs: Mapping[Path, Path], folder: Path | None) -> dict[Path, list[Path]]:
    """Return the photographs of CSVs' names, as `find_videos`."""
    return _find(csvs, folder, IMAGE_SUFFIXES)


def told_apart(
    found: Mapping[Path, Sequence[Path]],
) -> tuple[list[tuple[Path, Path | None]], dict[Path, str]]:
    """Return CSVs with what they are of, if that is known, and why it is not of those that have more to it.

    Of several patients whose files have one name it may be any one's.
    """
    claims: dict[str, list[Path]] = defaultdict(list)
    for csv, files in found.items():
        for file in files:
            claims[os.path.realpath(file)].append(csv)
    doubts: dict[Path, str] = {}
    for csv, files in found.items():
        place = os.path.realpath(csv.parent)
        rivals = chain.from_iterable(claims[os.path.realpath(file)] for file in files)
        rival = next((other for other in rivals if os.path.realpath(other.parent) != place), None)
        tables = [csv.with_name(f"{file.name}.csv") for file in files]
        full = [path for path in tables if written_at(path) is not None]
        if full and csv not in full:
            doubts[csv] = (
                f"{' and '.join(map(str, files))} may be that of {full[0]}; if {csv} is left from "
                "an earlier run, remove it"
            )
        elif len(files) > 1:
            doubts[csv] = (
                f"{' and '.join(map(str, files))} have its name; name the right one's folder, without the "
                "other, or do both again in one run"
            )
            if beside := [file for file in files if os.path.realpath(file.parent) == place]:
                doubts[csv] += f"; if {beside[0]} was drawn by --draw, move it elsewhere"
        elif rival is not None:
            doubts[csv] = (
                f"{files[0]} may be that of another folder's CSV, {rival}; report the CSVs of one folder "
                "at a time"
            )
    return [(csv, files[0] if files and csv not in doubts else None) for csv, files in found.items()], doubts


def holds_frames(folder: Path, csv: Path) -> bool:
    """Return whether a folder may be that of a CSV's frames: it holds as many images."""
    from pyclnf.video import is_frame

    count = sum(is_frame(file) for file in folder.iterdir())
    # Of some images of a folder, such as take1/left*.png, the first is not the folder's first.
    return bool(count and count == read_csv(csv)["frame"].max(initial=0))


def _places(csvs: Mapping[Path, Path], folder: Path | None) -> dict[Path, list[Path]]:
    """Return where to look for what each CSV is of."""
    if folder is None:
        return {csv: [csv.parent, *_above(csv)] for csv in csvs}
    own = {csv: folder / csv.parent.relative_to(top) for csv, top in csvs.items()}
    # Not in both: another patient's may have the name.
    kept = any(place != folder and place.is_dir() for place in own.values())
    return {csv: [place if kept else folder] for csv, place in own.items()}


def _above(csv: Path) -> list[Path]:
    """Return the folder above that of a CSV, unless what it holds of that name has a CSV there."""
    folder = Path(os.path.abspath(csv.parent)).parent  # noqa: PTH100  # v.csv and ../v.csv do not tell it
    return [folder] if written_at(folder / csv.name) is None else []


def _find(csvs: Mapping[Path, Path], folder: Path | None, suffixes: Sequence[str]) -> dict[Path, list[Path]]:
    """Return the files of each CSV's name in the first of its places that has one."""
    known: dict[Path, dict[str, list[Path]]] = {}

    def named(stem: str, place: Path) -> list[Path]:
        if place not in known:  # each is listed once
            known[place] = defaultdict(list)
            try:
                files = sorted(place.iterdir()) if place.is_dir() else []
            except OSError:
                if folder is not None:
                    raise
                files = []  # nobody named it: the folder above may be another user's
            for file in files:
                if file.suffix.lower() in suffixes:
                    known[place][file.stem].append(file)
                    known[place][file.name].append(file)
        return known[place].get(stem, [])

    found: dict[Path, list[Path]] = {}
    for csv, places in _places(csvs, folder).items():
        files = next(filter(None, (named(csv.stem, place) for place in places)), [])
        if files and folder is not None and places == [folder]:
            # Of a/p.csv that is given without its folder both p.jpg and a/p.jpg may be the photograph.
            own = Path(os.path.abspath(csv.parent))  # noqa: PTH100
            tails = [own.relative_to(above) for above in own.parents]
            files = [*files, *(file for tail in tails for file in named(csv.stem, folder / tail))]
        found[csv] = list({os.path.realpath(file): file for file in files}.values())
    return found


# --- both


def _card(text: str, image: NDArray[np.uint8] | None, table: Table) -> str:
    picture = "" if image is None else _picture(image, table)
    return f"<figure>{picture}<figcaption>{html.escape(text)}</figcaption></figure>"


def _picture(image: NDArray[np.uint8], table: Table) -> str:
    """Return an image with the faces of a table, so small that many of them make a page."""
    import cv2

    # First: of lines on a large picture little is seen when it is small.
    picture, shrink = shrunk(image, THUMBNAIL)
    height, width = picture.shape[:2]
    for row in np.flatnonzero(table.success):
        colour = confidence_colour(float(table["confidence"][row]))
        # The middles of pixels have whole coordinates.
        picture = draw_landmarks(picture, (table.landmarks[row] + 0.5) * shrink - 0.5, colour=colour)
        parameters, pose = ([table[name][row] for name in names] for names in (PARAMETERS, POSE))
        s, rx, ry, rz, tx, ty = as_seen(parameters, pose)
        draw_axes(picture, [s * shrink, rx, ry, rz, (tx + 0.5) * shrink - 0.5, (ty + 0.5) * shrink - 0.5])
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return f'<img width="{width}" height="{height}" alt="" src="{source}">'


def _write_page(
    page: Path, title: str, subtitle: str, sections: Sequence[str], data: dict[str, dict[str, list[float]]]
) -> None:
    template = (resources.files("pyclnf") / "data" / "report.html").read_text(encoding="utf-8")
    # Within a script element only '</' would end the data.
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    filled = (
        template.replace("{{title}}", html.escape(title))
        .replace("{{subtitle}}", html.escape(subtitle))
        .replace("{{data}}", text)
        .replace("{{body}}", "\n".join(sections))
    )
    with replacing(page) as temporary:
        # Names of files need not be UTF-8.
        temporary.write_text(filled, encoding="utf-8", errors="replace", newline="\n")
