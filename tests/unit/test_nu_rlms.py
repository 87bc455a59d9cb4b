"""The fitting loop: its parameters, its kernel and what a fit tells."""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyclnf import PDM, FitParameters, ImageError, Model, ParameterError, Parameters, _kernels
from pyclnf._kernels import _reference
from pyclnf.nu_rlms import (
    LIKELIHOOD_FLOOR,
    PARAMETER_SETS,
    FitResult,
    Level,
    _Fit,
    _most_likely,
    astray,
    fit,
    fit_starts,
    gaussian_kernel,
    levels_of,
)
from pyclnf.patch_experts import PatchScale
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


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        (
            "windows",
            [(3,), (0, 31), (np.int64(5), 0), [7, 9]],
            [(1,), (4,), (33,), (5.0,), (-3,), (0, 0), (), 11, None],
        ),
        ("iterations", [1, 1000, np.int32(7)], [0, 1001, 5.0, "5"]),
        ("sigma", [0.1, 1, 1e6, np.float32(2)], [0.099, 1.000001e6, np.nan, "1"]),
        ("reg_factor", [0.0, 1e6], [-1e-9, 1.000001e6, None]),
        ("weight_factor", [0.0, 1e6], [-1e-9, 1.000001e6]),
        ("min_face_scale", [0.01, 1], [0.0099, np.nan]),
        ("response_power", [0, 8, np.int64(2)], [-1, 9, 1.0]),
    ],
)
def test_the_bounds_of_the_numbers(name: str, taken: list[Any], refused: list[Any]) -> None:
    for value in taken:
        assert np.array_equal(getattr(FitParameters(**{name: value}), name), value)
    for value in refused:
        with pytest.raises(ParameterError, match="window" if name == "windows" else name):
            FitParameters(**{name: value})


def test_parameters_made_from_a_list_can_be_a_key() -> None:
    assert {FitParameters([3, 5]): 1}[FitParameters((3, 5))] == 1  # type: ignore[arg-type]


def test_refinement_by_scale() -> None:
    """reg - 15 k, sigma + k / 4 and weight (1 + 2 k), k = log2(scale / 0.25), up to the third scale."""
    settings = FitParameters((11, 9, 7, 5), 5, 1.5, 25.0, 2.0)
    scales = (0.25, 0.5, 1.0, 2.0)
    assert settings.at_scale(scales, 0) == (25.0, 1.5, 2.0)
    assert settings.at_scale(scales, 1) == (10.0, 1.75, 6.0)
    assert settings.at_scale(scales, 2) == (0.001, 2.0, 10.0)
    assert settings.at_scale(scales, 3) == settings.at_scale(scales, 2)
    assert replace(settings, sigma=0.3).at_scale((0.0625,), 0) == (55.0, 0.1, 0.0)


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
    # What does not count is held by the shape alone, which must not be free either.
    pdm, settings = model.pdm, replace(FitParameters.named("video"), reg_factor=10.0)
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
    one.respond(Level(model.pdm.eigenvalues, scales, settings, 0))
    plain, peaks = one.weights.copy(), one.responses.max(axis=(1, 2)).astype(float) + LIKELIHOOD_FLOOR
    one.respond(Level(model.pdm.eigenvalues, scales, replace(settings, response_power=3), 0))
    np.testing.assert_allclose(one.weights, plain * peaks**3 / np.mean(peaks**3), rtol=1e-6)
    assert one.weights.mean() == pytest.approx(plain.mean())


def test_skipped_scales_are_not_run(model: Model, picture) -> None:
    start, settings = model.pdm.from_box(picture.box), FitParameters.named("video")
    image = picture.image[:, :, None]
    skipped = fit(model.pdm, model.scales, replace(settings, windows=(0, 0, 7)), image, start)
    alone = fit(model.pdm, model.scales[:2], replace(settings, windows=(0, 9)), image, start)
    assert 2 <= skipped.iterations <= 2 * settings.iterations and alone.iterations <= 2 * settings.iterations
    assert np.abs(skipped.landmarks - alone.landmarks).max() > 1e-3


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_an_image_that_is_not_finite_is_refused(model: Model, picture, value: float) -> None:
    start, settings = model.pdm.from_box(picture.box), FitParameters((0, 0, 7), 1, 1.5, 25.0, 0.0)
    image = picture.image[:, :, None].astype(np.float32)
    assert fit(model.pdm, model.scales, settings, image, start).failure is None
    x, y = np.rint(start.pose[4:6]).astype(int)
    image[y - 20 : y + 20, x - 20 : x + 20] = value
    with pytest.raises(ImageError, match="finite"):
        fit(model.pdm, model.scales, settings, image, start)


@pytest.mark.parametrize("shape", [(90, 110), (90, 110, 2), (90, 110, 4)])
def test_pixels_are_grey_or_of_three_colours(model: Model, shape: tuple[int, ...]) -> None:
    start = model.pdm.from_box((20, 20, 60, 60))
    with pytest.raises(ImageError, match=r"the pixels of a fit are \(H, W, 1 or 3\)"):
        fit(model.pdm, model.scales, FitParameters.named("video"), np.zeros(shape, np.uint8), start)


def test_a_fit_adds_to_its_shape_what_an_expansion_says(model: Model, picture) -> None:
    settings, m = FitParameters.named("video"), model.pdm.n_modes
    levels = levels_of(model.pdm.eigenvalues, model.scales, settings)
    image, start = picture.image[:, :, None], model.pdm.from_box(picture.box)
    plain, more = (
        fit_starts(model.pdm, levels, settings.iterations, image, [start], expansion=expansion)[0]
        for expansion in (None, 0.1 * np.eye(m))
    )
    expected = model.pdm.clamp(1.1 * plain.parameters.shape)
    np.testing.assert_allclose(more.parameters.shape, expected, atol=1e-12)
    np.testing.assert_array_equal(more.landmarks, model.pdm.landmarks_2d(more.parameters))
    assert more.likelihood == plain.likelihood


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


def fit_about(
    model: Model, prior: ShapePrior, settings: FitParameters, image: np.ndarray, start: Parameters
) -> FitResult:
    """Return a fit that is held to its start."""
    levels = levels_of(prior.variances, model.scales, settings)
    return fit_starts(model.pdm, levels, settings.iterations, image, [start], prior=prior)[0]


def test_the_pdms_own_prior_about_the_mean_shape_changes_nothing(model: Model, picture) -> None:
    """In a rotated basis, too; limits are not reached here."""
    pdm, image = model.pdm, picture.image[:, :, None]
    settings = replace(FitParameters.named("video"), reg_factor=200.0)
    start = pdm.from_box(picture.disturbed)
    plain = fit(pdm, model.scales, settings, image, start)
    assert (np.abs(plain.parameters.shape) < 2.5 * np.sqrt(pdm.eigenvalues)).all()
    for basis in (np.eye(pdm.n_modes), np.eye(pdm.n_modes)[:, ::-1]):
        prior = ShapePrior(pdm, basis, pdm.eigenvalues @ np.abs(basis))
        found = fit_about(model, prior, settings, image, start)
        np.testing.assert_allclose(found.landmarks, plain.landmarks, atol=1e-6)
        np.testing.assert_allclose(found.parameters.shape, plain.parameters.shape, atol=1e-6)


def test_a_sure_start_keeps_its_shape(model: Model, picture) -> None:
    """With a prior about the start a fit is held to it, not to the mean shape, as far as the prior says."""
    pdm, image, settings = model.pdm, picture.image[:, :, None], FitParameters.named("video")
    shape = 1.5 * np.sqrt(pdm.eigenvalues) * np.resize([1, -1], pdm.n_modes)
    start = Parameters(pdm.from_box(picture.box).pose, shape)
    free, held = (
        fit_about(
            model, ShapePrior(pdm, np.eye(pdm.n_modes), share * pdm.eigenvalues), settings, image, start
        )
        for share in (1.0, 1e-4)
    )
    assert np.abs(held.parameters.shape - shape).max() < 0.05 * np.abs(free.parameters.shape - shape).max()
    np.testing.assert_allclose(held.landmarks, pdm.landmarks_2d(held.parameters), atol=1e-9)


def test_shapes_stay_within_the_pdms_limits(model: Model, picture) -> None:
    pdm, image, settings = model.pdm, picture.image[:, :, None], FitParameters.named("video")
    limits = 3 * np.sqrt(pdm.eigenvalues)
    start = Parameters(pdm.from_box(picture.box).pose, limits)
    wide = ShapePrior(pdm, np.eye(pdm.n_modes), 100 * pdm.eigenvalues)
    settings = replace(settings, reg_factor=0.0)
    found = fit_about(model, wide, settings, image, start)
    assert (np.abs(found.parameters.shape) <= limits).all()
    np.testing.assert_allclose(found.landmarks, pdm.landmarks_2d(found.parameters), atol=1e-9)


def kernel_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[dict[str, Any]]:
    """Return a list that gets the arguments, by name, of each call of a kernel."""
    calls: list[dict[str, Any]] = []
    kernel, signature = getattr(_kernels, name), inspect.signature(getattr(_reference, name))

    def noted(*arguments: Any) -> Any:
        calls.append(dict(signature.bind(*arguments).arguments))
        return kernel(*arguments)

    monkeypatch.setattr(_kernels, name, noted)
    return calls


@pytest.mark.parametrize("weight_factor", (0.0, 0.5))
def test_what_the_kernels_are_given(
    model: Model, picture, monkeypatch: pytest.MonkeyPatch, weight_factor: float
) -> None:
    fitted = kernel_calls(monkeypatch, "fit_scale")
    settings = FitParameters((11, 9, 7), 5, 1.5, 25.0, weight_factor)
    start = model.pdm.from_box(picture.disturbed)
    result = fit(model.pdm, model.scales, settings, picture.image[:, :, None], start)
    assert len(fitted) == 3
    eigenvalues, scales = model.pdm.eigenvalues, [scale.scale for scale in model.scales]
    for index, scale in enumerate(model.scales):
        reg_factor, sigma, weight = settings.at_scale(scales, index)
        window = settings.windows[index]
        one = fitted[index]
        assert one["patch_scale"] == scale.scale
        assert one["planes"].shape[2:] == (window + 11 - 1,) * 2
        np.testing.assert_array_equal(one["regularisation"], reg_factor / eigenvalues)
        np.testing.assert_array_equal(one["limits"], 3 * np.sqrt(eigenvalues))
        np.testing.assert_array_equal(one["kernel"], gaussian_kernel(window, sigma))
        confidences = scale.view(result.view).confidences
        expected = weight * confidences if weight_factor else np.ones_like(confidences)
        np.testing.assert_array_equal(one["weights"], expected)
        assert one["max_iterations"] == 5 and one["response_power"] == 0


@pytest.mark.parametrize(
    ("windows", "starts", "keeps"), (((11, 0, 0), 1, False), ((11, 9, 0), 1, True), ((11, 0, 0), 2, True))
)
def test_a_grey_part_is_kept_where_it_is_read_again(
    model: Model, picture, monkeypatch: pytest.MonkeyPatch, windows: tuple[int, ...], starts: int, keeps: bool
) -> None:
    fitted = kernel_calls(monkeypatch, "fit_scale")
    settings = FitParameters(windows)
    levels = levels_of(model.pdm.eigenvalues, model.scales, settings)
    start = model.pdm.from_box(picture.disturbed)
    fit_starts(model.pdm, levels, 5, picture.image[:, :, None], [start] * starts)
    assert len(fitted) == starts * len(levels)
    assert [one["grey_pairs"].size for one in fitted] == [picture.image.size * keeps] * len(fitted)
    assert all(one["grey_pairs"] is fitted[0]["grey_pairs"] for one in fitted)


def test_a_scale_in_one_call_is_its_passes_one_after_the_other(
    model: Model, picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As scales are fitted whose experts the one call does not know, and where starts are compared."""
    image, start = picture.image[:, :, None], model.pdm.from_box(picture.disturbed)
    settings = replace(FitParameters.named("video"), weight_factor=0.5, response_power=2)
    at_once = fit(model.pdm, model.scales, settings, image, start)
    passes = kernel_calls(monkeypatch, "nu_rlms_pass")
    monkeypatch.setattr(PatchScale, "kernel_arguments", lambda *_: None)
    apart = fit(model.pdm, model.scales, settings, image, start)
    assert [one["rigid"] for one in passes] == [True, False] * len(model.scales)
    assert at_once.landmarks.tobytes() == apart.landmarks.tobytes()
    assert at_once.landmark_likelihoods.tobytes() == apart.landmark_likelihoods.tobytes()
    assert (at_once.iterations, at_once.converged) == (apart.iterations, apart.converged)


def test_the_shape_stays_within_three_deviations(model: Model, picture) -> None:
    narrow = PDM(model.pdm.mean, model.pdm.components, model.pdm.eigenvalues / 400)
    settings = replace(FitParameters.named("video"), reg_factor=0.0)
    start = narrow.from_box(picture.disturbed)
    result = fit(narrow, model.scales, settings, picture.image[:, :, None], start)
    deviations = np.abs(result.parameters.shape) / np.sqrt(narrow.eigenvalues)
    assert deviations.max() == pytest.approx(3, rel=1e-12)


def test_a_face_that_becomes_too_small_ends_the_fit(
    model: Model, picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = kernel_calls(monkeypatch, "fit_scale")
    start = model.pdm.from_box((150, 150, 12, 12))
    result = fit(model.pdm, model.scales, FitParameters.named("video"), picture.image[:, :, None], start)
    assert result.failure is not None and "too small" in result.failure
    assert len(fitted) == 1


@pytest.mark.parametrize("least", [0.25, 0.1])
def test_the_smallest_face(model: Model, picture, least: float) -> None:
    start = model.pdm.from_box(picture.box)
    one = _Fit(model.pdm, 5, picture.image[:, :, None], start, None)
    settings = replace(FitParameters.named("video"), min_face_scale=least)
    one.level = Level(model.pdm.eigenvalues, model.scales, settings, 0)
    for scale, failure in ((least, False), (np.nextafter(least, 0), True), (np.nan, True)):
        one.pose[0], one.failure = scale, None
        one.check_size()
        assert (one.failure is not None) == failure


def test_landmarks_that_went_astray() -> None:
    assert astray(np.array([[-1e9, 0.0], [3, 1e9]])) is None
    for value in (1.001e9, -1.001e9, np.nan, np.inf):
        assert "astray" in str(astray(np.array([[0.0, 0], [3, value]])))


def test_fits_that_failed_are_the_least_likely() -> None:
    def a_fit(likelihood: float, failure: str | None = None) -> Any:
        return SimpleNamespace(likelihood=lambda: likelihood, failure=failure)

    fits = [
        a_fit(0.5, "too small"),
        a_fit(-3.0),
        a_fit(np.log(LIKELIHOOD_FLOOR)),
        a_fit(-2.0),
        a_fit(0.1, "x"),
    ]
    assert _most_likely(fits, [0, 1, 2, 3, 4], 4) == [3, 1, 2, 0]
    assert _most_likely(fits, [0, 1, 2], 1) == [1]
    assert _most_likely(fits, [4, 0], 2) == [4, 0]


def test_a_fit_with_a_prior_begins_at_its_start(model: Model, picture) -> None:
    pdm = model.pdm
    start = Parameters(pdm.from_box(picture.box).pose, np.sqrt(pdm.eigenvalues))
    prior = ShapePrior(pdm, np.eye(pdm.n_modes)[::-1], 0.3 * pdm.eigenvalues)
    one = _Fit(pdm, 1, picture.image[:, :, None], start, None, prior)
    shape = (one.mean + one.components @ one.shape).reshape(3, -1).T
    np.testing.assert_allclose(shape, pdm.shape_3d(start.shape), atol=1e-12)
