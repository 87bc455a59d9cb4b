"""The fitting loop: its parameters, its kernel and what a fit tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pyclnf import FitParameters, Model, ParameterError, Parameters
from pyclnf.nu_rlms import PARAMETER_SETS, _Fit, _Level, fit, fit_starts, gaussian_kernel
from pyclnf.pdm import ShapePrior


def test_parameter_sets() -> None:
    assert FitParameters.named("image") == FitParameters((15, 13, 11, 11), 10, 1.25, 35.0, 2.5)
    assert FitParameters.named("video") == FitParameters((11, 9, 7, 5), 5, 1.5, 25.0, 0.0)
    assert FitParameters.named("tracking") == FitParameters((0, 9, 7, 5), 5, 1.5, 25.0, 0.0)
    with pytest.raises(ParameterError, match=", ".join(PARAMETER_SETS)):
        FitParameters.named("photo")


def test_numbers_are_replaced() -> None:
    assert FitParameters().changed(sigma=2.0) == FitParameters(sigma=2.0)
    with pytest.raises(ParameterError, match="sigmas"):
        FitParameters().changed(sigmas=2.0)
    with pytest.raises(ParameterError, match="sigma"):
        FitParameters().changed(sigma=-2.0)
    for power in (-1, 9, 1.5):
        with pytest.raises(ParameterError, match="response_power"):
            FitParameters().changed(response_power=power)


def test_refinement_by_scale() -> None:
    """reg - 15 k, sigma + k / 4 and weight (1 + 2 k), k = log2(scale / 0.25), up to the third scale."""
    settings = FitParameters((11, 9, 7, 5), 5, 1.5, 25.0, 2.0)
    scales = (0.25, 0.5, 1.0, 2.0)
    assert settings.at_scale(scales, 0) == (25.0, 1.5, 2.0)
    assert settings.at_scale(scales, 1) == (10.0, 1.75, 6.0)
    assert settings.at_scale(scales, 2) == (0.001, 2.0, 10.0)
    assert settings.at_scale(scales, 3) == settings.at_scale(scales, 2)


@pytest.mark.parametrize("window", (3, 11))
def test_gaussian_kernel(window: int) -> None:
    kernel = gaussian_kernel(window, 1.5)
    assert kernel.shape == (10 * window, window) and not kernel.flags.writeable
    for k in (0, 7, 10 * window - 1):
        for x in range(window):
            assert kernel[k, x] == pytest.approx(np.exp(-((x - k / 10) ** 2) / 4.5))


def test_a_fit_leaves_its_start(model: Model, picture) -> None:
    start = model.pdm.from_box(picture.disturbed)
    pose, shape = start.pose.copy(), start.shape.copy()
    result = fit(model.pdm, model.scales, FitParameters.named("video"), picture.image[:, :, None], start)
    np.testing.assert_array_equal(start.pose, pose)
    np.testing.assert_array_equal(start.shape, shape)
    assert result.failure is None
    limits = 3 * np.sqrt(model.pdm.eigenvalues)
    assert (np.abs(result.parameters.shape) <= limits).all()


def test_a_strong_prior_keeps_the_mean_shape(model: Model, picture) -> None:
    start, settings = model.pdm.from_box(picture.disturbed), FitParameters.named("video")
    image = picture.image[:, :, None]
    free = fit(model.pdm, model.scales, replace(settings, reg_factor=0.0), image, start)
    bound = fit(model.pdm, model.scales, replace(settings, reg_factor=1e6), image, start)
    assert np.abs(bound.parameters.shape).max() < 0.05 * np.abs(free.parameters.shape).max()


def test_landmarks_without_a_response_count_less(model: Model, picture) -> None:
    """Half of the face is covered: with weights by response the other half is found the better for it."""
    pdm, settings = model.pdm, replace(FitParameters.named("video"), reg_factor=1.0)
    image = picture.image.copy()
    covered = picture.landmarks[:, 0] > np.median(picture.landmarks[:, 0])
    image[:, int(np.median(picture.landmarks[:, 0])) :] = 128
    start = pdm.from_box(picture.disturbed)
    errors = []
    for power in (0, 2):
        found = fit(pdm, model.scales, replace(settings, response_power=power), image[:, :, None], start)
        errors.append(np.linalg.norm(found.landmarks - picture.landmarks, axis=1)[~covered].mean())
    assert errors[1] < 0.9 * errors[0]


def test_weights_follow_the_highest_responses(model: Model, picture) -> None:
    settings, scales = FitParameters.named("video"), model.scales
    one = _Fit(model.pdm, 5, picture.image[:, :, None], model.pdm.from_box(picture.box), None)
    one.respond(_Level(model.pdm.eigenvalues, scales, settings, 0))
    plain, peaks = one.weights.copy(), one.responses.max(axis=(1, 2))
    one.respond(_Level(model.pdm.eigenvalues, scales, replace(settings, response_power=3), 0))
    np.testing.assert_allclose(one.weights, plain * peaks**3 / np.mean(peaks.astype(float) ** 3), rtol=1e-6)
    assert one.weights.mean() == pytest.approx(plain.mean())


def test_skipped_scales_are_not_run(model: Model, picture) -> None:
    start, settings = model.pdm.from_box(picture.box), FitParameters.named("video")
    image = picture.image[:, :, None]
    skipped = fit(model.pdm, model.scales, replace(settings, windows=(0, 0, 7)), image, start)
    alone = fit(model.pdm, model.scales[:2], replace(settings, windows=(0, 9)), image, start)
    assert skipped.iterations <= 2 * settings.iterations and alone.iterations <= 2 * settings.iterations
    assert np.abs(skipped.landmarks - alone.landmarks).max() > 1e-3


def test_a_profile_sees_half_of_the_landmarks(model: Model, picture) -> None:
    start = model.pdm.from_box(picture.box, (0.0, 1.2, 0.0))
    settings = FitParameters((0, 0, 7), 1, 1.5, 25.0, 0.0)
    result = fit(model.pdm, model.scales, settings, picture.image[:, :, None], start)
    scale = model.scales[2]
    assert result.view == scale.nearest_view(start.pose[1:4])
    np.testing.assert_array_equal(np.isfinite(result.landmark_likelihoods), scale.visible[result.view])
    assert 20 < scale.visible[result.view].sum() < 60
    visible = result.landmark_likelihoods[scale.visible[result.view]]
    assert result.likelihood == pytest.approx(np.log(visible + 1e-8).mean())


def test_the_pdms_own_prior_about_the_mean_shape_changes_nothing(model: Model, picture) -> None:
    """In a rotated basis, too; limits are not reached here."""
    pdm, image = model.pdm, picture.image[:, :, None]
    settings = replace(FitParameters.named("video"), reg_factor=200.0)
    start = pdm.from_box(picture.disturbed)
    plain = fit(pdm, model.scales, settings, image, start)
    assert (np.abs(plain.parameters.shape) < 2.5 * np.sqrt(pdm.eigenvalues)).all()
    for basis in (np.eye(pdm.n_modes), np.eye(pdm.n_modes)[:, ::-1]):
        prior = ShapePrior(pdm, basis, pdm.eigenvalues @ np.abs(basis))
        found, _ = fit_starts(pdm, model.scales, settings, image, [start], prior=prior)
        np.testing.assert_allclose(found.landmarks, plain.landmarks, atol=1e-6)
        np.testing.assert_allclose(found.parameters.shape, plain.parameters.shape, atol=1e-6)


def test_a_sure_start_keeps_its_shape(model: Model, picture) -> None:
    """With a prior about the start a fit is held to it, not to the mean shape, as far as the prior says."""
    pdm, image, settings = model.pdm, picture.image[:, :, None], FitParameters.named("video")
    shape = 1.5 * np.sqrt(pdm.eigenvalues) * np.resize([1, -1], pdm.n_modes)
    start = Parameters(pdm.from_box(picture.box).pose, shape)
    free, held = (
        fit_starts(
            pdm, model.scales, settings, image, [start],
            prior=ShapePrior(pdm, np.eye(pdm.n_modes), share * pdm.eigenvalues),
        )[0]
        for share in (1.0, 1e-4)
    )  # fmt: skip
    assert np.abs(held.parameters.shape - shape).max() < 0.05 * np.abs(free.parameters.shape - shape).max()
    np.testing.assert_allclose(held.landmarks, pdm.landmarks_2d(held.parameters), atol=1e-9)


def test_shapes_stay_within_the_pdms_limits(model: Model, picture) -> None:
    pdm, image, settings = model.pdm, picture.image[:, :, None], FitParameters.named("video")
    limits = 3 * np.sqrt(pdm.eigenvalues)
    start = Parameters(pdm.from_box(picture.box).pose, limits)
    wide = ShapePrior(pdm, np.eye(pdm.n_modes), 100 * pdm.eigenvalues)
    settings = replace(settings, reg_factor=0.0)
    found, _ = fit_starts(pdm, model.scales, settings, image, [start], prior=wide)
    assert (np.abs(found.parameters.shape) <= limits).all()
    np.testing.assert_allclose(found.landmarks, pdm.landmarks_2d(found.parameters), atol=1e-9)
