"""Faces that lie, are upside down or fill their image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pyclnf import CLNF, DetectionError, Face, Model, Parameters, Tracker
from pyclnf._lying import ROLLS, Quarter, counts_lying, find_filling, find_lying, roll_of, with_roll
from pyclnf.detection import MTCNNDetector
from pyclnf.draw import draw_faces
from pyclnf.images import as_pixels
from pyclnf.pdm import box_of, euler_to_matrix

QUARTERS = (90, 180, 270)
BOX = (82.0, 54.0, 111.0, 133.0)


@pytest.fixture(scope="module")
def clnf() -> CLNF:
    return CLNF()


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A rendered face, 256 px."""
    path = Path(__file__).parents[2] / "examples" / "rendered_face.jpg"
    return cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def turned(image: np.ndarray, points: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an image on a larger canvas, turned clockwise by an angle in degrees, and its points."""
    side, middle = 400, (np.array(image.shape[1::-1]) - 1) / 2
    matrix = cv2.getRotationMatrix2D(tuple(middle), -angle, 1.0)
    matrix[:, 2] += (side - 1) / 2 - middle
    grey = (110, 110, 110)
    out = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_CONSTANT, borderValue=grey)
    return out, points @ matrix[:, :2].T + matrix[:, 2]


def at_quarters(image: np.ndarray, points: np.ndarray, angle: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image turned clockwise by a multiple of 90 degrees, and its points, exactly."""
    for _ in range(angle // 90):
        points = np.stack([image.shape[0] - 1 - points[:, 1], points[:, 0]], axis=1)
        image = np.ascontiguousarray(np.rot90(image, -1))
    return image, points


def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=1).mean())


def between(a: float, b: float) -> float:
    """Return the difference of two angles, radians."""
    return abs((a - b + math.pi) % (2 * math.pi) - math.pi)


# --- turned images


@pytest.mark.parametrize("angle", [0, *QUARTERS])
def test_a_quarter_turn_carries_points_boxes_and_poses_both_ways(model: Model, angle: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pose = np.array([0.25, 0.2, -0.3, math.radians(angle) + 0.1, 36.0, 29.0])
    own = Parameters(pose, np.sqrt(model.pdm.eigenvalues))
    quarter = Quarter.of(roll_of(own), image)
    assert (quarter.count, quarter.roll) == (angle // 90, pytest.approx(math.radians(angle)))
    assert abs(quarter.rest) < 0.3
    upright, landmarks = quarter.image(image), model.pdm.landmarks_2d(own)
    assert np.shares_memory(upright, image)
    inside = quarter.parameters_in(own)
    assert abs(roll_of(inside)) < 0.3
    points = model.pdm.landmarks_2d(inside)
    for (x, y), (column, row) in zip(
        np.rint(landmarks).astype(int), np.rint(points).astype(int), strict=True
    ):
        np.testing.assert_array_equal(upright[row, column], image[y, x])
    np.testing.assert_allclose(box_of(points), quarter.box_in(tuple(box_of(landmarks))), atol=1e-9)
    clnf = CLNF(model, starts="frontal")
    fit, _ = clnf.fit_from(as_pixels(upright), [inside], clnf.parameters)
    out = quarter.result_out(fit)
    np.testing.assert_allclose(model.pdm.landmarks_2d(out.parameters), out.landmarks, atol=1e-9)
    back = quarter.parameters_in(out.parameters)
    np.testing.assert_allclose(back.rotation, fit.parameters.rotation, atol=1e-12)
    np.testing.assert_allclose(back.pose[[0, 4, 5]], fit.parameters.pose[[0, 4, 5]], atol=1e-9)


def test_the_roll_is_where_the_vertical_axis_points() -> None:
    rng = np.random.default_rng(0)
    for pose in rng.uniform(-1.5, 1.5, (50, 6)) * [1, 1, 1, 2, 1, 1]:
        own = Parameters(pose, np.zeros(0))
        across, down = own.rotation[0, 1], own.rotation[1, 1]
        assert between(roll_of(own), math.atan2(-across, down)) < 1e-9


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("roll", ROLLS)
def test_boxes_in_turned_images_are_where_the_face_is(roll: float, whole: bool) -> None:
    """A bright field in a wide image, which is shrunk unless all of it is shown."""
    image = np.zeros((500, 1500), np.uint8)
    image[300:380, 1000:1120] = 255

    def brightest(seen: np.ndarray) -> list[tuple[float, ...]]:
        assert whole or max(seen.shape) <= 640
        x, y, w, h = cv2.boundingRect((seen > 40).astype(np.uint8))
        return [(x, y, w - 1, h - 1, 0.75)]  # from the middle of a pixel to that of another

    ((x, y, w, h, score, found),) = find_lying(brightest, image, [roll], whole=whole)
    assert (score, found) == (0.75, roll)
    # What is 1500 px wide is shown 640 px wide, or within 320 px.
    quarter = round(math.degrees(roll)) % 90 == 0
    pixel = 1.0 if whole else 1500 / 640 if quarter else 1500 * math.sqrt(2) * (2 / 3) / 320
    assert (x + w / 2, y + h / 2) == pytest.approx((1059.5, 339.5), abs=pixel)
    # Turned by an eighth, the field is as wide as high.
    size = (119, 79) if quarter else (198 / math.sqrt(2),) * 2
    assert (w, h) == pytest.approx(size, abs=2 * pixel)
    if whole and quarter:
        assert (x, y, w, h) == pytest.approx((1000, 300, 119, 79), abs=1e-6)


@pytest.mark.parametrize("shape", [(120, 90), (1000, 1600, 3)])
def test_boxes_in_images_that_go_on_are_where_the_face_is(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    image[30:80, 40:80] = 255

    def brightest(seen: np.ndarray) -> list[tuple[float, ...]]:
        assert max(seen.shape) <= 1.5 * 320 + 2
        x, y, w, h = cv2.boundingRect((seen.reshape(*seen.shape[:2], -1)[..., 0] > 100).astype(np.uint8))
        return [(x, y, w - 1, h - 1, 0.75)]

    ((x, y, w, h, score, roll),) = find_filling(brightest, image)
    assert (score, roll) == (0.75, 0.0)
    assert (x, y, x + w, y + h) == pytest.approx((40, 30, 79, 79), abs=max(1e-9, max(shape) / 320 - 1))


def test_boxes_beside_the_image_are_left_out(clnf: CLNF, face: np.ndarray) -> None:
    """What goes on beyond an image, or lies beside it once it is turned, is seen by detectors, too."""
    wide = np.ascontiguousarray(np.rot90(face, 2)[60:190])

    def corner(image: np.ndarray) -> list[list[float]]:
        return [[0, 0, 30, 30]]

    assert find_filling(corner, wide).shape == (0, 6)
    assert len(find_lying(corner, wide)) == 3, "of the quarter turns"
    faces = clnf.detect(wide, detector=corner)
    assert not any(found.success for found in faces)
    assert len(Tracker(clnf, detector=corner).update(wide)) == 1


def test_a_detector_that_fails_at_turned_images_finds_nothing_there(clnf: CLNF) -> None:
    image = np.full((48, 64), 90, np.uint8)

    def fails(seen: np.ndarray) -> list[list[float]]:
        if seen.shape != image.shape:
            raise DetectionError("no networks for such a size")
        return []

    assert find_lying(fails, image).shape == find_filling(fails, image).shape == (0, 6)
    assert clnf.detect(image, detector=fails) == []
    (row,) = Tracker(clnf, detector=fails).update(image)
    assert row.failure == "no face found"


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2000), (30, 40, 1), (300, 2, 4)])
def test_no_image_is_too_narrow_to_be_turned(shape: tuple[int, ...]) -> None:
    for dtype in (np.uint8, np.float64):
        assert not len(find_lying(MTCNNDetector(), np.full(shape, 90, dtype)))


@pytest.mark.parametrize(
    ("failure", "confidence", "margin", "counts"),
    [
        (None, 0.4, 1.0, False),
        (None, 0.5, 0.0, True),
        (None, None, 0.1, False),
        (None, None, 0.3, True),
        (None, None, math.nan, False),
        ("lost", 0.9, 1.0, False),
        ("lost", None, 1.0, False),
    ],
)
def test_a_fit_of_a_face_that_lies_has_to_be_sure(
    failure: str | None, confidence: float | None, margin: float, counts: bool
) -> None:
    assert counts_lying(failure, confidence, margin) is counts


# --- boxes


@pytest.mark.parametrize("angle", QUARTERS)
def test_in_a_box_a_face_that_lies_is_fitted_as_an_upright_one(
    clnf: CLNF, face: np.ndarray, angle: int
) -> None:
    landmarks, info = clnf.fit(face, BOX)
    corners = np.array([BOX[:2], np.add(BOX[:2], BOX[2:])])
    image, expected = at_quarters(face, landmarks.astype(float), angle)
    _, corners = at_quarters(face, corners, angle)
    found, lying = clnf.fit(image, box_of(corners))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert lying["success"] and lying["confidence"] == pytest.approx(info["confidence"], abs=1e-6)
    assert (lying["view"], lying["iterations"]) == (info["view"], info["iterations"])
    np.testing.assert_allclose(lying["params"].shape, info["params"].shape, atol=1e-4)
    turn = euler_to_matrix((0, 0, math.radians(angle)))
    np.testing.assert_allclose(lying["params"].rotation, turn @ info["params"].rotation, atol=1e-6)
    np.testing.assert_allclose(clnf.model.pdm.landmarks_2d(lying["params"]), found, atol=1e-3)
    np.testing.assert_allclose(lying["landmarks_3d"], info["landmarks_3d"] @ turn.T, atol=1e-3)


@pytest.mark.parametrize("angle", [60, 75, 105, 120, 150, 200, 250, 300])
@pytest.mark.parametrize("parameters", ["image", "video"])
def test_in_a_box_a_face_that_is_rolled_in_any_way_is_fitted(
    face: np.ndarray, angle: int, parameters: str
) -> None:
    own = CLNF(parameters=parameters)
    landmarks, _ = own.fit(face, BOX)
    image, expected = turned(face, landmarks, angle)
    found, info = own.fit(image, box_of(expected))
    assert info["success"]
    assert mean_distance(found, expected) < 2.5, "px, of eyes 59 px apart"
    assert between(roll_of(info["params"]), math.radians(angle)) < 0.1


@pytest.mark.parametrize("angle", [-50, -40, 35, 45])
@pytest.mark.parametrize("parameters", ["image", "video"])
def test_a_tilted_face_is_fitted_as_exactly_as_an_upright_one(
    face: np.ndarray, parameters: str, angle: int
) -> None:
    """A start that is off by so much leaves the jaw behind, by 16 px."""
    own = CLNF(parameters=parameters)
    landmarks, _ = own.fit(face, BOX)
    image, expected = turned(face, landmarks, angle)
    box = box_of(expected)
    off = np.linalg.norm(own.fit(image, box)[0] - expected, axis=1)
    assert off.mean() < 1.0 and off.max() < 4.0
    (tracked,) = Tracker(own).update(image, boxes=[box])
    assert np.linalg.norm(tracked.landmarks - expected, axis=1).max() < 4.0


def test_a_face_that_lies_is_detected_with_a_frontal_start(openface_model: Model, face: np.ndarray) -> None:
    own = CLNF(openface_model)
    (upright,) = own.detect(face)
    (lying,) = own.detect(np.ascontiguousarray(np.rot90(face)))
    assert mean_distance(lying.landmarks, at_quarters(face, upright.landmarks.astype(float), 270)[1]) < 3.0


def test_an_upright_face_is_fitted_once(
    clnf: CLNF, face: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolls = []
    fit = CLNF.fit_rolled

    def counted(self: CLNF, *given: Any, **named: Any) -> Any:
        rolls.append(given[2])
        return fit(self, *given, **named)

    monkeypatch.setattr(CLNF, "fit_rolled", counted)
    landmarks, info = clnf.fit(face, BOX)
    assert info["success"] and rolls == [0.0]
    for angle, tried in ((25, [0.0]), (45, [0.0, math.pi / 4])):
        rolls.clear()
        image, points = turned(face, landmarks, angle)
        clnf.fit(image, box_of(points))
        assert rolls == tried
    rolls.clear()
    _, info = clnf.fit(np.full_like(face, 90), BOX)
    assert not info["success"] and rolls == [0.0, *ROLLS]
    # Too small, whichever way it lies.
    rolls.clear()
    _, info = clnf.fit(np.ascontiguousarray(face[::8, ::8]), np.array(BOX) / 8)
    assert "too small" in (info["failure"] or "") and rolls == [0.0]
    # Others are those of the image as it is, as OpenFace's are.
    for starts in ("frontal", "multiview", [(0.0, 0.0, 0.5)]):
        rolls.clear()
        clnf.fit(np.full_like(face, 90), BOX, starts=starts)
        assert rolls == [0.0]


def test_a_fit_that_is_not_sure_leaves_the_upright_one(
    face: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.ascontiguousarray(np.rot90(face))
    box = box_of(at_quarters(face, np.array([BOX[:2], np.add(BOX[:2], BOX[2:])]), 270)[1])
    doubtful = CLNF()
    monkeypatch.setattr(doubtful, "confidence_of", lambda *_: 0.4)
    _, info = doubtful.fit(image, box)
    assert not info["success"] and abs(roll_of(info["params"])) < 1.0
    assert doubtful.detect(image) == []
    (row,) = Tracker(doubtful).update(image)
    assert row.failure == "no face found"


def test_depth_is_turned_with_the_image(clnf: CLNF, face: np.ndarray) -> None:
    seen = []

    class Own(CLNF):
        _uses_depth = True

        def fit_from(self, pixels: Any, starts: Any, settings: Any, depth: Any = None) -> Any:
            seen.append((pixels.shape[:2], depth[0, 0, 0]))
            return super().fit_from(pixels, starts, settings)

    depth = np.zeros((100, 160), np.float32)
    depth[0, -1] = 1.0
    Own().fit(np.full((100, 160), 90, np.uint8), (50, 20, 60, 60), depth=depth)
    # Turned counterclockwise the upper right corner comes to the upper left.
    assert seen[:4] == [((100, 160), 0.0), ((160, 100), 1.0), ((160, 100), 0.0), ((100, 160), 0.0)]


# --- photographs


@pytest.mark.parametrize("angle", [*QUARTERS, 45, 60, 75, 105, 120, 225, 300])
def test_a_face_that_lies_is_detected(clnf: CLNF, face: np.ndarray, angle: int) -> None:
    (upright,) = clnf.detect(face)
    turn = at_quarters if angle in QUARTERS else turned
    image, expected = turn(face, upright.landmarks.astype(float), angle)
    (found,) = clnf.detect(image)
    assert found.success and found.detected and found.confidence is not None and found.confidence > 0.9
    assert mean_distance(found.landmarks, expected) < (0.5 if turn is at_quarters else 2.5)
    assert between(found.pose[5], upright.pose[5] + math.radians(angle)) < 0.1
    drawn = draw_faces(image, [found])
    x, y = np.rint(found.landmarks[30]).astype(int)
    assert (drawn[y - 2 : y + 3, x - 2 : x + 3] != image[y - 2 : y + 3, x - 2 : x + 3]).any()


@pytest.mark.parametrize("channels", ["grey", "one", "alpha", "floats", "strided"])
def test_a_face_that_lies_is_detected_in_any_kind_of_image(
    clnf: CLNF, face: np.ndarray, channels: str
) -> None:
    grey = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)
    upright = {
        "grey": grey,
        "one": grey[:, :, None],
        "alpha": cv2.cvtColor(face, cv2.COLOR_BGR2BGRA),
        "floats": face.astype(np.float32),
        "strided": face,
    }[channels]
    image = np.rot90(upright, 2)
    assert not image.flags.c_contiguous
    (other,) = clnf.detect(upright)
    (found,) = clnf.detect(image if channels == "strided" else np.ascontiguousarray(image))
    assert mean_distance(found.landmarks, [255, 255] - other.landmarks) < 0.5


@pytest.mark.parametrize("roll", [-60, -45, 0, 45, 60])
def test_the_learned_start_can_be_told_the_roll(clnf: CLNF, face: np.ndarray, roll: int) -> None:
    assert clnf.learned_start is not None
    (upright,) = clnf.starts_in(as_pixels(face), BOX)
    landmarks = clnf.model.pdm.landmarks_2d(upright)
    image, expected = turned(face, landmarks, roll)
    (found,) = clnf.starts_in(as_pixels(image), box_of(expected), roll=math.radians(roll))
    assert mean_distance(clnf.model.pdm.landmarks_2d(found), expected) < 1.5
    if abs(roll) == 60:
        (lost,) = clnf.starts_in(as_pixels(image), box_of(expected))
        assert mean_distance(clnf.model.pdm.landmarks_2d(lost), expected) > 10


def test_images_are_looked_at_again_only_where_no_face_is_upright(clnf: CLNF, face: np.ndarray) -> None:
    sizes = []
    detector = MTCNNDetector()

    def counted(image: np.ndarray) -> np.ndarray:
        sizes.append(image.shape[:2])
        return detector(image)

    assert len(clnf.detect(face, detector=counted)) == 1
    assert sizes == [face.shape[:2]]
    sizes.clear()
    large = np.full((960, 1280), 90, np.uint8)
    assert clnf.detect(large, detector=counted, lying=False) == []
    assert sizes == [(960, 1280)]
    sizes.clear()
    assert clnf.detect(large, detector=counted) == []
    assert sizes == [(960, 1280), (400, 480), (640, 480), (640, 480), (480, 640), *[(320, 320)] * 4]


def test_others_lie_as_the_surest_does_and_may_be_small(clnf: CLNF, face: np.ndarray) -> None:
    image = np.full((720, 1280, 3), 110, np.uint8)
    image[20:276, 20:276] = face
    small = cv2.resize(face, (96, 96), interpolation=cv2.INTER_AREA)
    image[300:396, 900:996] = small
    faces = clnf.detect(np.ascontiguousarray(np.rot90(image, 2)))
    assert [found.success for found in faces] == [True, True]
    assert [found.face_id for found in faces] == [0, 1]
    upright = clnf.detect(image)
    for found, other in zip(faces, upright, strict=True):
        assert mean_distance(found.landmarks, [1279, 719] - other.landmarks) < 1.0


# --- videos


def test_a_video_on_its_side_is_tracked_as_an_upright_one(clnf: CLNF, face: np.ndarray) -> None:
    frames = [np.roll(face, (i, 2 * i), axis=(0, 1)) for i in range(8)]
    upright = list(track(Tracker(clnf), frames))
    for angle in QUARTERS:
        calls = []
        detector = MTCNNDetector()

        def counted(
            image: np.ndarray, calls: list[int] = calls, detector: MTCNNDetector = detector
        ) -> np.ndarray:
            calls.append(1)
            return detector(image)

        lying = track(
            Tracker(clnf, detector=counted), [at_quarters(f, np.zeros((1, 2)), angle)[0] for f in frames]
        )
        for image, one, other in zip(frames, lying, upright, strict=True):
            assert one.success and one.detected is other.detected
            expected = at_quarters(image, other.landmarks.astype(float), angle)[1]
            assert mean_distance(one.landmarks, expected) < 0.5
        assert len(calls) == 2 + len(ROLLS)


def track(tracker: Tracker, frames: list[np.ndarray]) -> list[Face]:
    return [face for i, image in enumerate(frames) for face in tracker.update(image, i / 25)]


@pytest.mark.parametrize("smooth", [False, True])
def test_a_head_is_followed_all_the_way_round(clnf: CLNF, face: np.ndarray, smooth: bool) -> None:
    landmarks = clnf.detect(face)[0].landmarks
    tracker = Tracker(clnf, smooth=smooth)
    detected = 0
    for i, angle in enumerate(range(0, 361, 8)):
        image, expected = turned(face, landmarks, angle)
        (found,) = tracker.update(image, i / 25)
        assert found.success and found.face_id == 0
        assert mean_distance(found.landmarks, expected) < (9.0 if smooth else 3.0)
        detected += found.detected
    assert detected == 1


@pytest.mark.parametrize("interval", [0.5, 1.0, 9.0])
def test_long_stretches_without_a_face_are_turned_ever_less(clnf: CLNF, interval: float) -> None:
    """At once, after one interval, two more, four more, and so on, and then every 5 s."""
    looks = []

    def nothing(image: np.ndarray) -> list[list[float]]:
        looks[-1] += 1
        return []

    tracker = Tracker(clnf, detector=nothing, search_interval=interval)
    for i in range(121):
        looks.append(0)
        tracker.update(np.full((48, 64), 90, np.uint8), i / 4)
    times = [i / 4 for i, count in enumerate(looks) if count > 1]
    assert set(looks) <= {1, 2 + len(ROLLS)}
    assert (
        times
        == {
            0.5: [0.0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5, 22.5, 27.5],
            1.0: [0.0, 1.0, 3.0, 7.0, 12.0, 17.0, 22.0, 27.0],
            9.0: [0.0, 9.0, 18.0, 27.0],
        }[interval]
    )


def test_a_face_that_lies_is_found_again_at_once(clnf: CLNF, face: np.ndarray) -> None:
    """Wherever it comes back, though small copies are turned once a minute only."""
    empty = np.full((256, 900, 3), 110, np.uint8)
    here, there = empty.copy(), empty.copy()
    here[:, :256] = there[:, 644:] = np.rot90(face)
    tracker, rows = Tracker(clnf, search_interval=60.0), []
    for i, image in enumerate([here, here, *[empty] * 8, there, there]):
        rows += tracker.update(image, i / 4)
    assert [row.success for row in rows] == [True, True, *[False] * 8, True, True]
    assert rows[-2].detected and not rows[-1].detected
    assert between(rows[-1].pose[5], -math.pi / 2) < 0.2
    # And upright, too.
    upright = empty.copy()
    upright[:, :256] = face
    for i, image in enumerate([empty, upright]):
        (row,) = tracker.update(image, 3.0 + i)
    assert row.success and row.detected and abs(row.pose[5]) < 0.2


def test_the_next_fit_of_a_box_without_a_face_begins_as_the_box_is_rolled(
    clnf: CLNF, face: np.ndarray
) -> None:
    """Also where the fit from where the face was is the more likely one of two that failed."""
    image = np.ascontiguousarray(np.rot90(face))
    share, seen = [1.0], MTCNNDetector()
    tracker = Tracker(clnf, detector=lambda shown: seen(shown)[:, :4] * [1, 1, share[0], share[0]])
    (found,) = tracker.update(image)
    assert found.success
    # Now all fits fail, and those of the detector's boxes are the worse ones.
    tracker.min_likelihood, share[0] = 99.0, 0.3
    (lost,) = tracker.update(image, 1.0)
    assert not lost.success and not lost.detected
    (track,) = tracker._tracks
    assert track.box[2:].max() < found.box[2] / 2
    assert between(roll_of(track.parameters), -math.pi / 2) < 0.1


def test_a_face_that_lies_is_found_again_beside_one_that_is_upright(clnf: CLNF, face: np.ndarray) -> None:
    empty = np.full((256, 900, 3), 110, np.uint8)
    upright, here, there = empty.copy(), empty.copy(), empty.copy()
    upright[:, 644:] = here[:, 644:] = there[:, 644:] = face
    here[:, :256] = there[:, 300:556] = np.rot90(face)
    lying = here.copy()
    lying[:, 644:] = 110
    tracker, rows = Tracker(clnf, max_faces=2, search_interval=0.0), []
    for i, image in enumerate([lying, here, *[upright] * 3, there, there]):
        rows.append(tracker.update(image, i / 4))
    assert [[row.face_id for row in found] for found in rows] == [[0], *[[0, 1]] * 6]
    assert [found[0].success for found in rows] == [True, True, *[False] * 3, True, True]
    assert between(rows[-1][0].pose[5], -math.pi / 2) < 0.2
    assert all(found[1].success and abs(found[1].pose[5]) < 0.2 for found in rows[1:])


def test_of_faces_that_lie_the_largest_is_followed(clnf: CLNF, face: np.ndarray) -> None:
    """One that a detector sees without a turn, in what goes on beyond the frame, does not fill it."""
    image = np.full((256, 640, 3), 110, np.uint8)
    image[:, :256] = face
    image[60:188, 400:528] = cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA)
    lying, seen = np.ascontiguousarray(np.rot90(image)), MTCNNDetector()

    def small_one(shown: np.ndarray) -> object:
        # Of 256 x 640 px half, within 80 px.
        return [[80 + 45, 80 + 75, 50, 50]] if shown.shape[:2] == (480, 288) else seen(shown)

    (found,) = Tracker(clnf, detector=small_one).update(lying)
    assert found.success and found.box[1] > 384
    both = Tracker(clnf, detector=small_one, max_faces=2).update(lying)
    assert [other.success for other in both] == [True, True]
    assert find_filling(small_one, lying)[0, :4] == pytest.approx((90, 150, 100, 100), abs=1)


def test_faces_that_lie_too_far_away_are_looked_for_again_soon(clnf: CLNF, face: np.ndarray) -> None:
    """Where those that were followed are given up, which they could not be taken for."""
    small = cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA)
    upright, lying = np.full((2, 128, 1600, 3), 110, np.uint8)
    upright[:, :256] = np.hstack([small, small])
    lying[:, 1344:] = np.hstack([np.rot90(small)] * 2)
    tracker = Tracker(clnf, max_faces=2, search_interval=60.0, patience=0.5)
    rows = [tracker.update(upright if i < 2 else lying, i / 8) for i in range(10)]
    assert [row.success for row in rows[0] + rows[1]] == [True] * 4
    assert not any(row.success for row in rows[2])
    assert [row.success for row in rows[-1]] == [True, True]
    assert all(between(row.pose[5], -math.pi / 2) < 0.2 for row in rows[-1])


def test_one_that_stands_in_waits_for_a_face_that_lies(clnf: CLNF, face: np.ndarray) -> None:
    empty = np.full((256, 900, 3), 110, np.uint8)
    lying, upright, both = empty.copy(), empty.copy(), empty.copy()
    lying[:, :256] = both[:, :256] = np.rot90(face)
    upright[:, 644:] = both[:, 644:] = face
    tracker, rows = Tracker(clnf, retry_interval=0.5, patience=1.0), []
    for i, image in enumerate([*[lying] * 2, *[both] * 12, *[upright] * 12, *[both] * 8]):
        rows += tracker.update(image, i / 2)
    assert rows[13].face_id == 0 and rows[13].success
    assert rows[25].face_id == 1 and rows[25].success and abs(rows[25].pose[5]) < 0.2
    assert rows[-1].face_id == 0 and between(rows[-1].pose[5], -math.pi / 2) < 0.2


def test_rows_of_boxes_have_a_roll() -> None:
    np.testing.assert_array_equal(with_roll(np.ones((2, 5)), 0.5), [[1, 1, 1, 1, 1, 0.5]] * 2)
