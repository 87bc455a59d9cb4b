"""Fits of generated pictures, whose landmarks are known, with the generated model."""

from __future__ import annotations

import numpy as np
import pytest

from generate_model import generate_image
from pyclnf import CLNF, Model, Parameters

# Of faces of 190 px, which start 8 to 18 px from the truth on average.
MEAN_ERROR, LARGEST_ERROR = 1.5, 4.0  # px


@pytest.mark.parametrize("parameters", ("image", "video"))
@pytest.mark.parametrize("seed", range(6))
def test_fits_converge_to_the_truth(model: Model, parameters: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = random.uniform(-1, 1, model.pdm.n_modes) * np.sqrt(model.pdm.eigenvalues)
    pose = np.array([1.3, *random.uniform(-0.15, 0.15, 3), 162.0, 158.0])
    truth = Parameters(pose, shape)
    expected = model.pdm.landmarks_2d(truth)
    image = generate_image(model, truth, seed=seed)
    (x, y), (w, h) = expected.min(axis=0), np.ptp(expected, axis=0)
    box = (x - 0.02 * w, y - 0.05 * h, 1.08 * w, 1.06 * h)
    start = model.pdm.landmarks_2d(model.pdm.from_box(box))
    assert np.linalg.norm(start - expected, axis=1).mean() > 5
    landmarks, info = CLNF(model, parameters=parameters).fit(image, box)
    errors = np.linalg.norm(landmarks - expected, axis=1)
    assert errors.mean() < MEAN_ERROR and errors.max() < LARGEST_ERROR
    assert info["success"] and info["failure"] is None


@pytest.mark.parametrize("parameters", ("image", "video"))
def test_every_variant_finds_the_same(picture, model: Model, parameters: str, kernels_in_use: object) -> None:
    landmarks, _ = CLNF(model, parameters=parameters).fit(picture.image, picture.disturbed)
    errors = np.linalg.norm(landmarks - picture.landmarks, axis=1)
    assert errors.mean() < MEAN_ERROR and errors.max() < LARGEST_ERROR


def test_a_turned_head_is_found_by_several_starts(model: Model) -> None:
    truth = Parameters(np.array([1.3, 0.0, 0.75, 0.0, 162.0, 158.0]), np.zeros(model.pdm.n_modes))
    expected = model.pdm.landmarks_2d(truth)
    (x, y), (w, h) = expected.min(axis=0), np.ptp(expected, axis=0)
    clnf = CLNF(model, parameters="video", starts=[(0, -0.75, 0), (0, 0.75, 0)])
    landmarks, info = clnf.fit(generate_image(model, truth), (x, y, w, h))
    assert info["start"] == 1
    assert np.linalg.norm(landmarks - expected, axis=1).mean() < MEAN_ERROR
    # A start of the call's own wins over those of the object.
    _, info = clnf.fit(generate_image(model, truth), (x, y, w, h), starts=[(0, 0.75, 0)])
    assert info["start"] == 0 and info["params"].pose[2] > 0.5
