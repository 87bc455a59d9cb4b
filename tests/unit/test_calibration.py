"""Confidence and the bound of failures, found for a model on faces drawn from it."""

from __future__ import annotations

import numpy as np
import pytest

from generate_model import generate_image, generate_model
from pyclnf import CLNF, Model, Parameters, TrainingError
from pyclnf.training import calibrate, calibration
from pyclnf.training.calibration import logistic, sample_fits

SIZE = (260, 300)
Data = tuple[list[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def model() -> Model:
    return generate_model()


@pytest.fixture(scope="module")
def data(model: Model) -> Data:
    random = np.random.default_rng(0)
    faces = []
    for _ in range(24):
        pose = [1.0, *random.uniform(-0.08, 0.08, 3), *(np.array([140, 130]) + random.uniform(-9, 9, 2))]
        shape = random.normal(size=model.pdm.n_modes) * np.sqrt(model.pdm.eigenvalues) / 2
        faces.append(Parameters(np.array(pose), shape))
    images = [np.asarray(generate_image(model, face, SIZE), np.uint8) for face in faces]
    return images, np.array([model.pdm.landmarks_2d(face) for face in faces])


def with_metadata(model: Model, metadata: dict) -> Model:
    return Model(model.pdm, model.scales, metadata=metadata, arrays=model.arrays)


def test_confidence_tells_right_fits_from_others(model: Model, data: Data) -> None:
    """On faces that it was not calibrated with; and the bound lies between both kinds."""
    images, landmarks = data
    done: list[tuple[str, int, int]] = []
    found = calibrate(
        model, images[:16], landmarks[:16], parameters=("image",), progress=lambda *step: done.append(step)
    )
    assert list(found["confidence"]) == ["image"]
    assert done == [("image", i + 1, 16) for i in range(16)]
    assert found == calibrate(model, images[:16], landmarks[:16], parameters=("image",))
    clnf = CLNF(with_metadata(model, found))
    assert clnf.min_likelihood == found["min_likelihood"]
    for image, points in zip(images[16:], landmarks[16:], strict=True):
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        fitted, info = clnf.fit(image, [*low, *size])
        assert np.linalg.norm(fitted - points, axis=1).mean() < 7
        assert info["success"] and info["confidence"] is not None and info["confidence"] > 0.5
        noise = np.random.default_rng(1).integers(0, 256, SIZE).astype(np.uint8)
        _, info = clnf.fit(noise, [*low, *size])
        assert not info["success"] and info["confidence"] is not None and info["confidence"] < 0.5
    # Others are not calibrated.
    assert CLNF(clnf.model, parameters="video").fit(images[0], (50, 40, 150, 150))[1]["confidence"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 1}, "20 of each are needed"),
        ({"tolerance": 0.0}, "tolerance is a positive number of mm"),
        ({"tolerance": 1e-3}, "20 of each are needed"),
        ({"tolerance": "7"}, "tolerance is a positive number of mm"),
        ({"parameters": ()}, "names of parameter sets"),
        ({"parameters": "image"}, "names of parameter sets"),
        ({"mixed": True}, "image 3: the landmarks are not those of a face"),
        ({"wrong": np.zeros((9, 9))}, "image 3 cannot be used.*uint8"),
        ({"wrong": None}, "image 3 cannot be used.*imread"),
        ({"offset": 500.0}, "outside their image"),
    ],
)
def test_what_cannot_be_calibrated_with(model: Model, data: Data, change: dict, message: str) -> None:
    count = change.get("count", 5)
    images, landmarks = list(data[0][:count]), data[1][:count] + change.get("offset", 0.0)
    if "wrong" in change:
        images[3] = change["wrong"]
    if "mixed" in change:
        landmarks[3] = landmarks[3][np.random.default_rng(0).permutation(68)]
    options = {name: change[name] for name in ("tolerance", "parameters") if name in change}
    with pytest.raises(TrainingError, match=message):
        calibrate(model, images, landmarks, **options)


def test_hidden_landmarks_do_not_count(model: Model, data: Data) -> None:
    images, landmarks, mouth = data[0][:10], data[1][:10].copy(), slice(48, 68)
    visible = np.ones(landmarks.shape[:2])
    visible[:, mouth] = 0
    guessed = landmarks[0].copy()
    guessed[mouth] += 9.0  # within the box of the others
    clnf = CLNF(model, parameters="video")
    rows, same, all_of_them = (
        sample_fits(clnf, images[0], points, 7.0, np.random.default_rng(0), weights)
        for points, weights in ((landmarks[0], visible[0]), (guessed, visible[0]), (guessed, None))
    )
    np.testing.assert_array_equal(rows, same)
    assert all_of_them[0][3] > rows[0][3] + 0.2
    landmarks[:, mouth] = np.nan
    assert (
        "video" in calibrate(model, images, landmarks, visible=visible, parameters=("video",))["confidence"]
    )
    visible[2] = 0
    with pytest.raises(TrainingError, match="image 2: no landmark can be seen"):
        calibrate(model, images, data[1][:10], visible=visible)


def test_what_is_fitted_for_a_face(model: Model, data: Data) -> None:
    """Noise is never right, boxes outside are left out; of the sets' bounds the least counts."""
    image, points = data[0][0], data[1][0]
    clnf = CLNF(model)
    rows = sample_fits(clnf, image, points, 1e9, np.random.default_rng(0))
    assert [row[3] < 1 for row in rows] == [True] * (len(rows) - 1) + [False]
    # Cut so tightly that the boxes to the right of the face and above it lie outside.
    low, high = points.min(axis=0).astype(int), points.max(axis=0).astype(int) + 1
    width = high[0] - low[0]
    cut = image[low[1] : high[1], low[0] : low[0] + width * 3 // 4]
    assert len(sample_fits(clnf, cut, points - low, 7.0, np.random.default_rng(0))) == len(rows) - 2
    # Of a colour picture as of a grey one.
    colour = sample_fits(clnf, np.dstack([image] * 3), points, 1e9, np.random.default_rng(0))
    np.testing.assert_allclose(colour, rows)
    both = calibrate(model, data[0][:8], data[1][:8])
    alone = [calibrate(model, data[0][:8], data[1][:8], parameters=(name,)) for name in ("image", "video")]
    assert both["min_likelihood"] == min(one["min_likelihood"] for one in alone)
    assert both["confidence"] == alone[0]["confidence"] | alone[1]["confidence"]


def test_boxes_are_a_detectors_bad_ones_and_one_on_noise(data: Data) -> None:
    """At most eight a face. The good ones are moved by up to a tenth, and resized alike by up to 15 %."""
    image, points = data[0][0], data[1][0] * (1.0, 1.5)
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    pictures, boxes = zip(
        *(
            one
            for seed in range(100)
            for one in calibration._boxes(image, points, np.random.default_rng(seed))
        ),
        strict=True,
    )
    on_image = np.array([picture is image for picture in pictures]).reshape(100, -1)
    assert on_image.shape[1] == 9 and (on_image.sum(axis=1) == 8).all()
    assert not on_image[:, -1].any()
    found = np.array(boxes).reshape(100, 9, 4)
    growth = found[:, :8, 2:] / size
    shifts = (found[:, :3, :2] + found[:, :3, 2:] / 2 - low - size / 2) / size
    np.testing.assert_allclose(growth[..., 0], growth[..., 1])
    for off, most in ((shifts, 0.1), (np.log(growth[:, :3]), 0.15)):
        assert -most <= off.min() < -0.9 * most
        assert 0.9 * most < off.max() <= most
    # The bad ones are those that the module names.
    where = np.dstack([(found[:, 3:8, :2] - low) / size, growth[:, 3:, 0]])
    np.testing.assert_allclose(where, np.broadcast_to(calibration.ELSEWHERE, (100, 5, 3)))


def test_a_face_of_a_larger_picture_may_be_off_by_more_pixels(
    model: Model, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By as many mm."""
    tolerances = []

    def sampled(clnf, image, truth, tolerance, random, visible):
        tolerances.append(tolerance)
        return [(float(i % 2), 1.0, np.nan, 5.0 * (i % 2)) for i in range(10)]

    monkeypatch.setattr(calibration, "sample_fits", sampled)
    for times in (1, 3):
        images = [np.kron(image, np.ones((times, times), np.uint8)) for image in data[0][:5]]
        calibrate(model, images, data[1][:5] * times, parameters=("video",), tolerance=5.0)
    assert tolerances[:5] == pytest.approx([5.0] * 5, rel=0.1)
    np.testing.assert_allclose(tolerances[5:], 3 * np.array(tolerances[:5]), rtol=0.01)


@pytest.mark.parametrize(("count", "expected"), [(19, None), (20, 8.0), (40, 8.0)])
def test_how_far_looks_at_doubtful_faces_lie_apart(
    model: Model, data: Data, monkeypatch: pytest.MonkeyPatch, count: int, expected: float | None
) -> None:
    """Of right fits alone that are hardly likely; in whole mm."""
    likely = [(8.0, 2.0, np.log1p(40.0), 0.5)] * 100
    doubtful = [(0.1, 2.0, np.log1p(2.0 if i < 2 else 7.2), 0.5) for i in range(count)]
    wrong = [(0.1, 9.0, np.log1p(50.0), np.inf)] + [(0.0, 9.0, np.log1p(60.0), np.inf)] * 200
    given = [[*likely, *doubtful, *wrong], [], [], [], []]
    monkeypatch.setattr(calibration, "sample_fits", lambda *_: given.pop())
    found = calibrate(model, data[0][:5], data[1][:5], parameters=("image",))
    assert found["min_likelihood"] == 0.05
    assert found.get("max_disagreement") == expected


def test_the_bound_lies_halfway_between_right_fits_and_clearly_wrong_ones(
    model: Model, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 of each are enough; what lies between them, or failed altogether, does not count."""
    rows = [(-1.0 - i % 2, 2.0, 0.1, 0.9) for i in range(20)]
    rows += [(-8.0 + i % 2 / 2, 9.0, 3.0, 3.1 if i % 3 else np.inf) for i in range(20)]
    between = [(-50.0, 2.0, 0.1, 1.1), (50.0, 9.0, 3.0, 2.9)]
    failed = [(np.nan, 1.0, 0.1, 0.5)]
    given = []
    monkeypatch.setattr(calibration, "sample_fits", lambda *_: given.pop())
    found = []
    for more in ([], [*between, *failed] * 9):
        given += [[], [], [], [], [*rows, *more]]
        found.append(calibrate(model, data[0][:5], data[1][:5], parameters=("image",)))
    # From -2 to -7.5.
    assert [one["min_likelihood"] for one in found] == [-4.75, -4.75]
    # Where all starts were looked at twice there is a confidence for that.
    assert set(found[0]["confidence"]) == {"image", "image_mirrored"}
    usual, mirrored = found[0]["confidence"].values()
    assert set(mirrored) - set(usual) == {"disagreement"}
    assert mirrored["disagreement"] <= 0 < usual["likelihood"]
    # None of the right ones is doubtful.
    assert "max_disagreement" not in found[0]
    given += [[], [], [], [], rows[1:]]
    with pytest.raises(TrainingError, match="19 are right and 20 clearly wrong: 20 of each are needed"):
        calibrate(model, data[0][:5], data[1][:5], parameters=("image",))


def test_the_likeliest_logistic_function() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(20_000, 2))
    right = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 + 2.0 * features[:, 0] - 1.0 * features[:, 1])))
    np.testing.assert_allclose(logistic(features, right), [0.5, 2.0, -1.0], atol=0.1)
    # A higher likelihood never lowers the confidence, an unusual shape never raises it.
    assert logistic(-features, right)[1:] == pytest.approx([0.0, 0.0], abs=1e-6)
