"""Confidence and the bound of failures, found for a model on faces drawn from it."""

from __future__ import annotations

import numpy as np
import pytest

from generate_model import generate_image, generate_model
from pyclnf import CLNF, Model, Parameters, TrainingError
from pyclnf.training import calibrate
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
    both = calibrate(model, data[0][:8], data[1][:8])
    alone = [calibrate(model, data[0][:8], data[1][:8], parameters=(name,)) for name in ("image", "video")]
    assert both["min_likelihood"] == min(one["min_likelihood"] for one in alone)
    assert both["confidence"] == alone[0]["confidence"] | alone[1]["confidence"]


def test_the_likeliest_logistic_function() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(20_000, 2))
    right = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 + 2.0 * features[:, 0] - 1.0 * features[:, 1])))
    np.testing.assert_allclose(logistic(features, right), [0.5, 2.0, -1.0], atol=0.1)
    # A higher likelihood never lowers the confidence, an unusual shape never raises it.
    assert logistic(-features, right)[1:] == pytest.approx([0.0, 0.0], abs=1e-6)
