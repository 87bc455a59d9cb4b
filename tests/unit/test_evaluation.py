"""What is measured of fits to annotated faces, on faces drawn from a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from generate_model import generate_image, generate_model
from pyclnf import CLNF, Parameters, TrainingError
from pyclnf.training import Evaluation, evaluate, landmark_errors
from pyclnf.training.evaluation import _box_beside, _checked_corners

SIZE = (260, 300)
Data = tuple[list[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def clnf() -> CLNF:
    return CLNF(generate_model(), parameters="video")


@pytest.fixture(scope="module")
def data(clnf: CLNF) -> Data:
    random, pdm = np.random.default_rng(0), clnf.model.pdm
    faces = []
    for _ in range(5):
        pose = [1.0, *random.uniform(-0.08, 0.08, 3), *(np.array([140, 130]) + random.uniform(-9, 9, 2))]
        shape = random.normal(size=pdm.n_modes) * np.sqrt(pdm.eigenvalues) / 2
        faces.append(Parameters(np.array(pose), shape))
    images = [np.asarray(generate_image(clnf.model, face, SIZE), np.uint8) for face in faces]
    return images, np.array([pdm.landmarks_2d(face) for face in faces])


def boxes_of(landmarks: np.ndarray) -> np.ndarray:
    return np.hstack([landmarks.min(axis=1), np.ptp(landmarks, axis=1)])


def test_errors_are_those_of_the_fits(clnf: CLNF, data: Data) -> None:
    images, landmarks = data
    boxes, done = boxes_of(landmarks), []
    found = evaluate(clnf, images, landmarks, boxes=boxes, progress=lambda *step: done.append(step))
    assert done == [("fits", i + 1, 5) for i in range(5)]
    for i in range(5):
        points, info = clnf.fit(images[i], boxes[i])
        eyes = np.linalg.norm(landmarks[i, 36] - landmarks[i, 45])
        own = np.linalg.norm(points - landmarks[i], axis=1) / eyes
        np.testing.assert_allclose(found.landmark_errors[i], own)
        assert found.errors[i] == pytest.approx(own.mean())
        assert found.success[i] == info["success"]
    assert found.errors.max() < 0.08
    assert np.isnan(found.confidences).all(), "the model is not calibrated"


def test_boxes_are_beside_the_face_as_the_seed_says(clnf: CLNF, data: Data) -> None:
    images, landmarks = data
    used: list[np.ndarray] = []

    class Watched(CLNF):
        def fit(self, image, box, **more):
            used.append(np.array(box))
            return super().fit(image, box, **more)

    watched = Watched(clnf.model, parameters="video")
    first, second = (evaluate(watched, images, landmarks, seed=3).errors for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, evaluate(watched, images, landmarks, seed=4).errors)
    # Moved by up to a tenth, to all sides, and resized by up to 15 %.
    random, exact = np.random.default_rng(3), boxes_of(landmarks)
    np.testing.assert_array_equal(used[:5], [_box_beside(truth, random) for truth in landmarks])
    boxes = np.array([[_box_beside(truth, random) for truth in landmarks] for _ in range(200)])
    middles = (boxes - exact)[..., :2] + (boxes - exact)[..., 2:] / 2
    for off, most in ((middles / exact[:, 2:], 0.1), (boxes[..., 2:] / exact[:, 2:] - 1, 0.15)):
        assert -most <= off.min() < -0.9 * most
        assert 0.9 * most < off.max() <= most


def test_hidden_landmarks_do_not_count(clnf: CLNF, data: Data) -> None:
    images, landmarks = data
    boxes, points, visible = boxes_of(landmarks), landmarks.copy(), np.ones((5, 68))
    points[1, 50:53] += 9.0
    points[2, 36] = np.nan
    visible[1, 50:53] = visible[2, 36] = 0
    visible[3, :34] = 0.5
    found = evaluate(clnf, images, points, visible=visible, boxes=boxes)
    clear = evaluate(clnf, images, landmarks, boxes=boxes)
    assert np.argwhere(np.isnan(found.landmark_errors)).tolist() == [[1, 50], [1, 51], [1, 52], [2, 36]]
    seen = np.delete(clear.landmark_errors[1], [50, 51, 52])
    assert found.errors[1] == pytest.approx(seen.mean())
    # A corner that is hidden is where the PDM's fit to the others has it.
    assert found.errors[2] == pytest.approx(np.delete(clear.landmark_errors[2], 36).mean(), rel=0.1)
    halves = clear.landmark_errors[3].reshape(2, 34).mean(axis=1)
    assert found.errors[3] == pytest.approx((halves[0] + 2 * halves[1]) / 3)
    assert found.errors[0] == clear.errors[0]


def test_a_fit_without_landmarks_is_wrong_by_any_measure(
    clnf: CLNF, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, landmarks = data
    _, info = clnf.fit(images[0], boxes_of(landmarks)[0])
    nothing = np.full((68, 2), np.nan, np.float32)
    monkeypatch.setattr(clnf, "fit", lambda *_: (nothing, {**info, "success": False, "confidence": 0.25}))
    visible = np.ones((5, 68))
    visible[:, :9] = 0
    with np.errstate(invalid="raise"):
        found = evaluate(clnf, images, landmarks, visible=visible)
    assert np.isinf(found.errors).all() and not found.success.any() and (found.confidences == 0.25).all()
    assert (found.failure_rate(), found.auc()) == (1.0, 0.0)


def test_what_is_told_of_errors() -> None:
    errors = np.array([0.0, 0.02, 0.04, 0.08, np.inf])
    found = Evaluation(errors, errors[:, None], errors < 1, errors)
    assert found.ced([[0.0, 0.03], [0.08, 1.0]]).tolist() == [[0.2, 0.4], [0.8, 0.8]]
    assert found.ced(0.04) == 0.6
    assert (found.failure_rate(), found.failure_rate(0.03)) == (0.2, 0.6)
    assert found.auc() == pytest.approx((1 + 0.75 + 0.5) / 5)
    bounds = np.linspace(0, 0.1, 100_001)
    assert found.auc(0.1) == pytest.approx(found.ced(bounds).mean(), abs=1e-4)
    assert repr(found) == (
        "Evaluation(5 faces: median 0.0400, mean inf, failure rate 20.0 %, AUC 0.450, both to 0.08)"
    )


def test_errors_of_points_are_over_the_distance_of_the_eyes() -> None:
    truth = np.zeros((2, 68, 2))
    truth[:, 45] = [[30.0, 40.0], [0.0, 10.0]]
    truth[:, 7] = [[100.0, 0.0], [0.0, 25.0]]
    moved = truth + np.array([3.0, 4.0])
    errors = landmark_errors(moved, truth)
    np.testing.assert_allclose(errors, np.broadcast_to([[0.1], [0.5]], (2, 68)))
    np.testing.assert_allclose(landmark_errors(moved[1], truth[1], (36, 7)), np.full(68, 0.2))


@pytest.mark.parametrize(
    ("found", "truth", "corners", "message"),
    [
        # 36 and 45 are points of the mouth there.
        (np.ones((3, 51, 2)), np.ones((3, 51, 2)), None, "name the outer eye corners of the 51 landmarks"),
        (np.ones((68, 2)), np.ones((66, 2)), None, r"not \(68, 2\) and \(66, 2\)"),
        (np.ones((68, 2)), np.ones((1, 68, 2)), None, r"not \(68, 2\) and \(1, 68, 2\)"),
        (np.ones((68, 3)), np.ones((68, 3)), None, r"\(\.\.\., n, 2\), not \(68, 3\)"),
        (np.ones((68, 2)), np.ones((68, 2)), (36, 68), "two landmarks from 0 to 67"),
        ([[1, 2], [3]], np.ones((68, 2)), None, "found landmarks are no array of numbers"),
    ],
)
def test_landmarks_that_cannot_be_compared(
    found: Any, truth: np.ndarray, corners: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        landmark_errors(found, truth, corners)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corners": (36, 36)}, "two landmarks from 0 to 67"),
        ({"corners": (36, 68)}, "two landmarks from 0 to 67"),
        ({"corners": (36.0, 45)}, "two landmarks from 0 to 67"),
        ({"corners": 36}, "two landmarks from 0 to 67"),
        ({"boxes": np.ones((4, 4))}, r"boxes are \(5, 4\), one \(x, y, w, h\) an image, not \(4, 4\)"),
        ({"boxes": [(9, 9, 90, 90)] * 4 + [(999, 9, 9, 9)]}, "image 4: the box .* lies outside"),
        ({"visible": np.arange(5)[:, None] * np.ones(68) > 0}, "image 0: no landmark can be seen"),
        ({"image": None}, "image 3 cannot be used.*imread"),
        ({"landmarks": lambda points: points / 300}, "landmarks in pixels"),
        ({"landmarks": lambda points: points[:, :51]}, "need landmarks of shape"),
        ({"landmarks": lambda points: points[:, [*range(45), 36, *range(46, 68)]]}, "are one point"),
        ({"clnf": "own.npz"}, "a CLNF is evaluated"),
    ],
)
def test_what_cannot_be_evaluated(clnf: CLNF, data: Data, change: dict, message: str) -> None:
    change, images = dict(change), list(data[0])
    landmarks = change.pop("landmarks", lambda points: points)(data[1])
    if "image" in change:
        images[3] = change.pop("image")
    with pytest.raises(TrainingError, match=message):
        evaluate(change.pop("clnf", clnf), images, landmarks, **change)


def test_eye_corners_of_other_landmarks_are_named() -> None:
    with pytest.raises(TrainingError, match=r"outer eye corners of the 51 landmarks, corners=\(i, j\)"):
        _checked_corners(None, 51)
    assert _checked_corners(np.array([19, 28]), 51) == (19, 28)
    assert _checked_corners((4, 0), 5) == (4, 0)
