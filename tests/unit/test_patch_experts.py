"""Patch experts: what belongs together, the choice of a view, Sigma, areas and responses."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from generate_model import tiny_model
from pyclnf import ImageError, Model, ModelError, ParameterError, _kernels, patch_experts
from pyclnf._kernels._reference import area_matrices
from pyclnf._kernels.layout import PAIR
from pyclnf.patch_experts import (
    DEPTH,
    GRADIENT,
    GREY,
    PatchScale,
    ViewExperts,
    procrustes_similarity,
)


@pytest.fixture
def scale() -> PatchScale:
    return tiny_model().scales[0]


def rebuilt(scale: PatchScale, views: list[ViewExperts]) -> PatchScale:
    return PatchScale(scale.scale, scale.centres, scale.visible, scale.sigma_components, views)


def changed_view(scale: PatchScale, **arrays: np.ndarray) -> PatchScale:
    return rebuilt(scale, [replace(scale.view(0), **arrays), scale.view(1)])


def some_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def some_matrices(v: int, side: int) -> np.ndarray:
    landmarks = np.random.default_rng(1).uniform(10, 30, (v, 2))
    return area_matrices(landmarks, np.array([[1.1, -0.3], [0.3, 1.1]]), side)


# --- construction


def test_numbers(scale: PatchScale) -> None:
    assert (scale.n_views, scale.n_landmarks, scale.n_experts) == (2, 4, 6)
    assert scale.support(0) == (3, 3)
    assert repr(scale) == "PatchScale(scale=0.25, n_views=2, n_experts=6)"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", 0.0, "positive"),
        ("scale", np.nan, "positive"),
        ("centres", np.zeros((2, 2)), "three angles"),
        ("centres", np.zeros((0, 3)), "three angles"),
        ("centres", np.full((2, 3), np.nan), "not finite"),
        ("visible", np.ones((3, 4), bool), "one row"),
        ("visible", np.zeros((2, 4), bool), "no landmark"),
        ("visible", np.ones((2, 4), bool), "visible landmarks"),
        ("views", [], "0 views"),
    ],
)
def test_parts_that_do_not_fit(scale: PatchScale, name: str, value: object, message: str) -> None:
    state = scale.__getstate__()
    with pytest.raises(ModelError, match=message):
        PatchScale(**(state | {name: value}))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("landmarks", lambda a: a[::-1], "visible landmarks"),
        ("types", lambda a: a[:, :1], "neurons of shape"),
        ("types", lambda a: a + 7, "neuron types"),
        ("weights", lambda a: a[:, :, :0], "matrix"),
        ("weights", lambda a: a * np.nan, "weights hold values"),
        ("biases", lambda a: a + 1e13, r"biases hold values beyond 1e\+12"),
        ("norm_weights", lambda a: a[:1], "norm_weights must"),
        ("biases", lambda a: a * np.inf, "biases hold values"),
        ("alphas", lambda a: a * 0, "more than 0"),
        ("betas", lambda a: a[:, :2], "2 betas"),
        ("betas", lambda a: a[:1], "betas"),
        ("confidences", lambda a: a[:1], "one confidence"),
        ("confidences", lambda a: a * np.nan, "confidences hold values"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_experts_that_do_not_fit(scale: PatchScale, name: str, change: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        changed_view(scale, **{name: change(getattr(scale.view(0), name))})  # type: ignore[operator]


def test_views_are_loaded_once_and_checked(scale: PatchScale) -> None:
    loaded = []

    def load(index: int) -> ViewExperts:
        loaded.append(index)
        return scale.view(1)

    lazy = PatchScale(scale.scale, scale.centres, scale.visible, scale.sigma_components, load)
    assert loaded == []
    assert lazy.view(1) is lazy.view(1)
    assert loaded == [1]
    with pytest.raises(ModelError, match="view 0"):
        lazy.view(0)


def test_pickling(scale: PatchScale) -> None:
    copy = pickle.loads(pickle.dumps(scale))
    image, matrices = some_image(40, 40, 1), some_matrices(4, 5)
    ours, theirs = (s.responses(0, 3, image, matrices) for s in (scale, copy))
    assert ours.tobytes() == theirs.tobytes()


# --- views


def test_the_nearest_view(model: Model) -> None:
    scale = model.scales[0]
    for index, centre in enumerate(scale.centres):
        assert scale.nearest_view(centre) == index
        assert scale.nearest_view(centre + np.array([0.05, -0.05, 0.1])) == index
    assert scale.nearest_view([0, 3.0, 0]) == int(np.argmax(scale.centres[:, 1]))


# --- Sigma


def test_sigma_inverts_its_definition(model: Model) -> None:
    scale = model.scales[0]
    sigmas = scale.sigma(0, 7)
    assert sigmas is not None and sigmas.dtype == np.float32
    experts = scale.view(0)
    components = scale.sigma_components[7].astype(float)
    for k in (0, 33, 67):
        inverse = 2 * (
            experts.alphas[k].sum() * np.eye(49) + np.tensordot(experts.betas[k], components, axes=1)
        )
        np.testing.assert_allclose(sigmas[k] @ inverse, np.eye(49), atol=1e-5)


def test_sigmas_are_computed_once_and_kept_within_their_bound(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = pickle.loads(pickle.dumps(model.scales[0]))
    first = scale._kept_sigma(0, 7)
    assert scale._kept_sigma(0, 7) is first
    assert scale._kept_sigma(1, 7) is not first and scale._kept_sigma(0, 7) is first
    monkeypatch.setattr(patch_experts, "KEPT_SIGMA_BYTES", first.values.nbytes)
    scale._kept_sigma(0, 9)
    assert list(scale._sigmas) == [(0, 9)]


@pytest.mark.parametrize("step", (1, 3, 100))
def test_a_thinned_scale_responds_as_the_whole_one(model: Model, step: int) -> None:
    scale = model.scales[0]
    thinned = scale.thinned(step)
    assert scale.thinned(step) is thinned and (thinned.scale, thinned.n_views) == (scale.scale, scale.n_views)
    image = some_image(200, 200, 1)
    for view in range(scale.n_views):
        landmarks = scale.view(view).landmarks
        np.testing.assert_array_equal(thinned.view(view).landmarks, landmarks[::step])
        np.testing.assert_array_equal(np.flatnonzero(thinned.visible[view]), landmarks[::step])
        np.testing.assert_array_equal(thinned.view(view).confidences, scale.view(view).confidences[::step])
        centres = np.random.default_rng(view).uniform(50, 150, (landmarks.size, 2))
        matrices = area_matrices(centres, np.eye(2), 11 + scale.support(view)[0] - 1)
        whole = scale.responses(view, 11, image, matrices)
        np.testing.assert_array_equal(
            thinned.responses(view, 11, image, matrices[::step].copy()), whole[::step]
        )


@pytest.mark.parametrize("window", (7, 9, 11))
def test_folded_sigmas_smooth_as_whole_ones(model: Model, window: int) -> None:
    scale = model.scales[0]
    kept, whole = scale._kept_sigma(0, window), scale.sigma(0, window)
    assert kept.folded and 3 * kept.values.nbytes < whole.nbytes
    u = np.random.default_rng(window).uniform(0, 2, (len(whole), window, window)).astype(np.float32)
    ours, theirs = np.empty_like(u), np.empty_like(u)
    _kernels.apply_folded_sigma(kept.values, u, ours)
    _kernels.apply_sigma(whole, u.reshape(len(u), -1), theirs.reshape(len(u), -1))
    np.testing.assert_allclose(ours, theirs, atol=2e-6 * theirs.max())


def test_components_that_differ_from_their_mirror_image_are_not_folded(scale: PatchScale) -> None:
    components = np.stack([np.eye(9), np.diag(np.arange(9.0)), np.eye(9)]).astype(np.float32)
    odd = PatchScale(0.25, scale.centres, scale.visible, {3: components}, [scale.view(0), scale.view(1)])
    kept = odd._kept_sigma(0, 3)
    assert not kept.folded
    np.testing.assert_array_equal(kept.values, odd.sigma(0, 3))


def test_windows_without_components_have_no_sigma(model: Model) -> None:
    assert 13 not in model.scales[0].sigma_components
    assert model.scales[0].sigma(0, 13) is None


def test_singular_sigmas_name_the_expert(scale: PatchScale) -> None:
    zero = {3: np.zeros((3, 9, 9), np.float32)}
    zero[3][0] = -np.eye(9)
    alphas = np.full_like(scale.view(0).alphas, 0.5)
    view = replace(scale.view(0), betas=np.tile([1.0, 0, 0], (4, 1)), alphas=alphas)
    singular = PatchScale(0.25, scale.centres, scale.visible, zero, [view, scale.view(1)])
    with pytest.raises(ModelError, match=r"landmark 0 of patch scale 0\.25 has no Sigma for window side 3"):
        singular.sigma(0, 3)


# --- areas of interest


@pytest.mark.parametrize("angle", (0.0, 0.4, -2.0, np.pi))
def test_similarity_recovers_turn_and_scale(angle: float) -> None:
    source = np.random.default_rng(2).normal(0, 10, (20, 2))
    A = 0.37 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(procrustes_similarity(source + 50, source @ A.T - 7), A, atol=1e-13)


def test_similarity_is_the_best_rotation() -> None:
    random = np.random.default_rng(3)
    source = random.normal(0, 10, (20, 2))
    source -= source.mean(axis=0)
    target = source @ np.array([[0.8, -0.6], [0.6, 0.8]]).T + random.normal(0, 1, (20, 2))
    target -= target.mean(axis=0)
    A = procrustes_similarity(source, target)

    def cost(turn: float) -> float:
        R = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return float(((source @ (R @ A).T - target) ** 2).sum())

    assert cost(0) < min(cost(1e-3), cost(-1e-3))
    sizes = (source**2).sum(), (target**2).sum()
    assert np.linalg.det(A) == pytest.approx(sizes[1] / sizes[0])


def test_area_matrices_put_the_landmark_in_the_middle() -> None:
    landmarks = np.array([[10.25, 20.5], [-3.0, 7.0]])
    A = np.array([[2.0, -0.5], [0.5, 2.0]])
    matrices = area_matrices(landmarks, A, 21)
    np.testing.assert_allclose(matrices @ [10, 10, 1], landmarks, atol=1e-5)
    np.testing.assert_allclose(matrices @ [11, 10, 1], landmarks + A[:, 0], atol=1e-5)
    np.testing.assert_allclose(matrices @ [10, 11, 1], landmarks + A[:, 1], atol=1e-5)


# --- responses


def test_responses_by_their_definition(scale: PatchScale) -> None:
    """Neuron by neuron in plain NumPy, from areas that are read on whole pixels."""
    image = some_image(40, 40, 1)
    corners = np.array([[3, 4], [20, 5], [11, 22], [30, 30]])
    matrices = np.zeros((4, 2, 3))
    matrices[:, :, :2] = np.eye(2)
    matrices[:, :, 2] = corners
    found = scale.responses(0, 3, image, matrices)
    experts = scale.view(0)
    sigmas = scale.sigma(0, 3)
    assert sigmas is not None
    for k, (x, y) in enumerate(corners):
        area = image[y : y + 5, x : x + 5, 0].astype(float)
        p = np.pad(area, 1, mode="edge")
        gx = (p[:-2, 2:] + 2 * p[1:-1, 2:] + p[2:, 2:]) - (p[:-2, :-2] + 2 * p[1:-1, :-2] + p[2:, :-2])
        gy = (p[2:, :-2] + 2 * p[2:, 1:-1] + p[2:, 2:]) - (p[:-2, :-2] + 2 * p[:-2, 1:-1] + p[:-2, 2:])
        u = np.zeros((3, 3))
        for j in range(experts.types.shape[1]):
            plane = area if experts.types[k, j] == GREY else np.hypot(gx, gy)
            for row, column in np.ndindex(3, 3):
                patch = plane[row : row + 3, column : column + 3]
                centred = patch - patch.mean()
                c = (experts.weights[k, j] * centred).sum() / np.linalg.norm(centred)
                x_j = experts.norm_weights[k, j] * c + experts.biases[k, j]
                u[row, column] += 2 * experts.alphas[k, j] / (1 + np.exp(-x_j))
        expected = (sigmas[k].astype(float) @ u.reshape(-1)).reshape(3, 3)
        expected -= min(expected.min(), 0)
        np.testing.assert_allclose(found[k], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("n_grey", "n_gradient", "planes"),
    [
        (4, 4, [PAIR]),
        (1, 3, [PAIR]),
        (5, 3, [0, 1]),
        (8, 2, [0, 1]),
        (12, 3, [0, PAIR]),
        (3, 11, [1, PAIR]),
        (7, 0, [0]),
        (0, 4, [1]),
    ],
)
def test_a_few_neurons_of_both_kinds_share_a_block(
    scale: PatchScale, n_grey: int, n_gradient: int, planes: list[int]
) -> None:
    rng = np.random.default_rng(n_grey)
    v, count = 4, n_grey + n_gradient
    types = np.tile(np.repeat(np.array([GREY, GRADIENT], np.int32), [n_grey, n_gradient]), (v, 1))
    types = rng.permuted(types, axis=1)
    experts = replace(
        scale.view(0),
        types=types,
        weights=rng.normal(size=(v, count, 3, 3)).astype(np.float32),
        norm_weights=rng.uniform(1, 5, (v, count)),
        biases=rng.normal(size=(v, count)),
        alphas=rng.uniform(0.1, 1, (v, count)),
    )
    assert [row.tolist() for row in patch_experts._arrange(experts).planes] == [planes] * v
    # A mean of all neurons is one of the grey ones' and the gradient ones' means.
    image, matrices = some_image(40, 40, 1), some_matrices(v, 7)
    parts = []
    for keep in (np.ones_like(types, bool), types == GREY, types == GRADIENT):
        alphas = np.where(keep, experts.alphas, 1e-9)
        own = rebuilt(scale, [replace(experts, alphas=alphas), scale.view(1)])
        parts.append(own.responses(0, 5, image, matrices) * alphas.sum(axis=1)[:, None, None])
    np.testing.assert_allclose(parts[0], parts[1] + parts[2], rtol=1e-5)


def test_small_alphas_are_skipped(scale: PatchScale) -> None:
    image, matrices = some_image(40, 40, 1), some_matrices(4, 5)
    alphas = scale.view(0).alphas.copy()
    alphas[:, 0], alphas[:, 1] = 1.0, 0.99e-4
    other = scale.view(0).weights.copy()
    other[:, 1] *= -3
    ours, theirs = (
        changed_view(scale, alphas=alphas, weights=w).responses(0, 3, image, matrices)
        for w in (scale.view(0).weights, other)
    )
    assert ours.tobytes() == theirs.tobytes()


def test_responses_take_a_matrix_for_each_landmark(scale: PatchScale) -> None:
    count = scale.view(0).landmarks.size
    for shape, image in (
        ((count + 1, 2, 3), (40, 40, 1)),
        ((count, 3, 2), (40, 40, 1)),
        ((count, 2, 3), (40, 40, 2)),
    ):
        with pytest.raises(ParameterError, match=rf"{count} matrices \(2, 3\)"):
            scale.responses(0, 5, np.zeros(image, np.uint8), np.zeros(shape))


def test_responses_without_components_are_scaled_sums(scale: PatchScale) -> None:
    image, matrices = some_image(40, 40, 1), some_matrices(4, 7)
    assert 5 not in scale.sigma_components
    responses = scale.responses(0, 5, image, matrices)
    assert responses.shape == (4, 5, 5)
    # A mean of sigmoids.
    assert (responses > 0).all() and (responses < 1).all()


def test_components_that_are_not_folded_smooth_all_the_same(scale: PatchScale) -> None:
    """Trained without regard to mirror images, Sigma is applied as it is."""
    image, matrices = some_image(40, 40, 1), some_matrices(4, 5)
    plain = {3: np.zeros((3, 9, 9), np.float32)}
    lopsided = {3: np.array(scale.sigma_components[3])}
    lopsided[3][:, 0, 0] += 1
    sums, smooth = (
        PatchScale(scale.scale, scale.centres, scale.visible, sigma, [scale.view(0), scale.view(1)])
        for sigma in (plain, lopsided)
    )
    assert not smooth._kept_sigma(0, 3).folded
    # Without components Sigma is 1 / (2 sum of the alphas).
    u = sums.responses(0, 3, image, matrices) * 2 * scale.view(0).alphas.sum(axis=1)[:, None, None]
    expected = np.einsum("vij,vj->vi", smooth.sigma(0, 3), u.reshape(4, 9)).reshape(4, 3, 3)
    expected -= np.minimum(expected.min(axis=(1, 2), keepdims=True), 0)
    np.testing.assert_allclose(smooth.responses(0, 3, image, matrices), expected, rtol=1e-5, atol=1e-6)


def test_depth_is_needed_and_used(scale: PatchScale) -> None:
    view = scale.view(0)
    types = np.where(view.types == GREY, DEPTH, view.types).astype(np.int32)
    with_depth = changed_view(scale, types=types)
    image, matrices = some_image(40, 40, 1), some_matrices(4, 5)
    with pytest.raises(ImageError, match="depth"):
        with_depth.responses(0, 3, image, matrices)
    depths = np.random.default_rng(5).uniform(0, 1, (40, 40, 1))
    first = with_depth.responses(0, 3, image, matrices, depths)
    second = with_depth.responses(0, 3, image, matrices, depths[::-1])
    assert np.abs(first - second).max() > 1e-3


def test_images_that_are_not_finite_around_the_face(scale: PatchScale) -> None:
    image = some_image(40, 40, 1).astype(np.float32)
    image[20, 20] = np.nan
    with pytest.raises(ImageError, match="not finite"):
        scale.responses(0, 3, image, area_matrices(np.full((4, 2), 20.0), np.eye(2), 5))


def test_the_support_is_square(scale: PatchScale) -> None:
    oblong = changed_view(scale, weights=scale.view(0).weights[:, :, :, :2])
    with pytest.raises(ModelError, match="square"):
        oblong.responses(0, 3, some_image(40, 40, 1), some_matrices(4, 5))
