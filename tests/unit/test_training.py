"""The parts of training: shape model, likelihood of the experts, windows."""

import cv2
import numpy as np
import pytest
from drawn_faces import mean_shape, random_shapes, shape_modes
from scipy.optimize import check_grad
from scipy.spatial.transform import Rotation
from scipy.stats import multivariate_normal

from pyclnf.errors import TrainingError
from pyclnf.patch_experts import PatchScale, ViewExperts
from pyclnf.pdm import PDM
from pyclnf.training import (
    MIRROR_68,
    ExpertConfig,
    Windows,
    build_pdm,
    held_out,
    shape_expansion,
    shape_model,
    sigma_components,
    train_ccnf,
)
from pyclnf.training.ccnf import CCNF, CCNFParameters, log_likelihood, precision
from pyclnf.training.experts import localisation_error
from pyclnf.training.samples import draw_areas, gradient_magnitude, normalised_patches, targets
from pyclnf.training.symmetry import mirror_of, mirror_points, mirror_shapes


def test_mirror_of_the_68_landmarks():
    assert np.array_equal(MIRROR_68[MIRROR_68], np.arange(68))
    # A symmetric face is its own mirror image.
    assert np.allclose(mirror_shapes(mean_shape(), MIRROR_68), mean_shape())
    middle = np.flatnonzero(np.arange(68) == MIRROR_68)
    assert middle.tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_mirrored_points_lie_where_the_flipped_image_has_them():
    points = np.zeros((68, 2))
    points[36] = (3, 5)
    image = np.zeros((10, 20), np.uint8)
    image[5, 3] = 1
    x, y = mirror_points(points, MIRROR_68, 20)[45].astype(int)
    assert image[:, ::-1][y, x] == 1


# --- PDM


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def moved(shapes, rng, angle=0.2):
    """Shapes turned, scaled and shifted at random."""
    R = Rotation.from_rotvec(rng.normal(scale=angle, size=(len(shapes), 3))).as_matrix()
    scale = rng.uniform(0.8, 1.25, (len(shapes), 1, 1))
    return scale * shapes @ R.transpose(0, 2, 1) + rng.normal(scale=50, size=(len(shapes), 1, 3))


def test_pdm_mean_is_symmetric_and_modes_are_of_one_kind(rng):
    shapes = moved(random_shapes(200, rng) + rng.normal(scale=0.5, size=(200, 68, 3)), rng)
    pdm = build_pdm(shapes, n_modes=12)
    mean = pdm.mean.reshape(3, -1).T
    assert np.abs(mirror_shapes(mean, MIRROR_68) - mean).max() < 1e-10
    modes = pdm.components.T.reshape(-1, 3, 68).transpose(0, 2, 1)
    parity = (mirror_shapes(modes, MIRROR_68) * modes).sum(axis=(1, 2))
    assert np.allclose(np.abs(parity), 1, atol=1e-9)
    assert (parity < 0).sum() >= 3
    assert np.allclose(pdm.components.T @ pdm.components, np.eye(12), atol=1e-10)
    assert (np.diff(pdm.eigenvalues) <= 0).all()


def test_pdm_explains_the_shapes_it_was_built_from(rng):
    shapes = random_shapes(300, rng)
    pdm = build_pdm(moved(shapes, rng), variance=0.999)
    # The four directions and their mirror images are five symmetric or antisymmetric ones;
    # the uniform change of size among them is taken out by the alignment.
    assert pdm.n_modes <= 6
    for shape in shapes[:10]:
        centred = shape - shape.mean(axis=0)
        coordinates = centred.T.reshape(-1) - pdm.mean
        shown = pdm.mean + pdm.components @ (pdm.components.T @ coordinates)
        aligned = shown.reshape(3, -1).T
        U, s, Vt = np.linalg.svd(centred.T @ aligned)
        scale = s.sum() / (centred**2).sum()
        assert np.sqrt(((scale * centred @ U @ Vt - aligned) ** 2).sum(axis=1).mean()) < 1.5


def test_pdm_keeps_millimetres_and_orientation(rng):
    pdm = build_pdm(random_shapes(100, rng), variance=0.99)
    mean = pdm.mean.reshape(3, -1).T
    assert np.linalg.norm(mean[45] - mean[36]) == pytest.approx(90, rel=0.03)
    assert mean[30, 2] < mean[36, 2] < mean[0, 2]
    assert mean[8, 1] > mean[30, 1] > mean[27, 1]


def test_pdm_asymmetry_raises_the_variance_of_antisymmetric_modes_only(rng):
    shapes = random_shapes(100, rng) + rng.normal(scale=0.5, size=(100, 68, 3))
    plain, raised = (build_pdm(shapes, n_modes=8, asymmetry=a) for a in (1.0, 4.0))
    modes = raised.components.T.reshape(-1, 3, 68).transpose(0, 2, 1)
    antisymmetric = (mirror_shapes(modes, MIRROR_68) * modes).sum(axis=(1, 2)) < 0
    assert 2 <= antisymmetric.sum() < 8
    expected = np.sort(raised.eigenvalues / np.where(antisymmetric, 4, 1))
    assert np.allclose(np.sort(plain.eigenvalues), expected)
    assert (np.diff(raised.eigenvalues) <= 0).all()


def test_pdm_weights_count_a_shape_as_if_it_were_given_as_often(rng):
    shapes = random_shapes(30, rng)
    weights = np.arange(30) % 3
    repeated = build_pdm(np.repeat(shapes, weights, axis=0), n_modes=4)
    weighted = build_pdm(shapes, weights=weights, n_modes=4)
    assert np.allclose(weighted.mean, repeated.mean, atol=1e-6)
    assert np.allclose(weighted.eigenvalues, repeated.eigenvalues, rtol=1e-6)


def test_pdm_of_other_landmarks_without_mirroring(rng):
    pdm = build_pdm(rng.normal(size=(1, 7, 3)) * 20 + rng.normal(size=(50, 7, 3)), mirror=False, n_modes=3)
    assert (pdm.n_landmarks, pdm.n_modes) == (7, 3)


def align(shape, target, size):
    """Turn a shape onto a target and give it a size."""
    centred = shape - shape.mean(axis=0)
    u, _, vt = np.linalg.svd(centred.T @ target)
    turned = centred @ (u @ vt)
    return turned * size / np.linalg.norm(turned)


def test_pdm_of_symmetric_shapes_has_symmetric_modes(rng):
    """What rounding leaves of the others is none."""
    shapes = rng.normal(0, 40, (68, 3)) + np.einsum(
        "ik,knc->inc", rng.normal(size=(60, 5)), rng.normal(size=(5, 68, 3))
    )
    shapes = (shapes + mirror_shapes(shapes, MIRROR_68)) / 2
    for options in ({}, {"n_modes": 5}):
        pdm = build_pdm(shapes, **options)
        assert pdm.eigenvalues.min() > 1e-3
        modes = pdm.components.reshape(3, 68, -1).transpose(2, 1, 0)
        np.testing.assert_allclose(mirror_shapes(modes, MIRROR_68), modes, atol=1e-9)


@pytest.mark.parametrize("mirror", [True, False])
def test_pdm_has_the_mean_size_of_the_shapes_however_they_are_turned(rng, mirror):
    shapes = moved(random_shapes(60, rng), rng, angle=0.6)
    size = np.linalg.norm(shapes - shapes.mean(axis=1, keepdims=True), axis=(1, 2)).mean()
    assert np.linalg.norm(build_pdm(shapes, n_modes=4, mirror=mirror).mean) == pytest.approx(size, rel=1e-9)


def test_a_single_mode_is_symmetric_unless_it_shall_not_be(rng):
    shapes = random_shapes(60, rng)
    for share, sign in ((0.25, 1), (1.0, -1)):
        pdm = build_pdm(shapes, n_modes=1, min_asymmetric=share)
        mode = pdm.components.reshape(3, 68).T
        np.testing.assert_allclose(mirror_shapes(mode, MIRROR_68), sign * mode, atol=1e-9)


def exchanged(*pairs):
    """The mirror permutation in which landmarks have each other's counterparts."""
    mirror = MIRROR_68.copy()
    for i, j in pairs:
        mirror[[i, j]] = mirror[[j, i]]
        mirror[mirror[[i, j]]] = i, j
    return mirror


@pytest.mark.parametrize(
    ("mirror", "named"),
    [
        (np.arange(68), "0 and 16 of the landmarks 0 and 16"),
        (np.arange(68)[::-1], "mirror: the counterparts"),
        (exchanged((37, 41), (38, 40)), "of the landmarks (37 and 41|38 and 40)"),
        (exchanged((18, 19)), "24 and 25 of the landmarks 18 and 19"),
    ],
)
def test_a_mirror_that_the_shapes_contradict_is_refused_with_the_worst_pair(rng, mirror, named):
    shapes = moved(random_shapes(30, rng), rng)
    with pytest.raises(TrainingError, match=named):
        build_pdm(shapes, mirror=mirror)
    with pytest.raises(TrainingError, match=named):
        mirror_of(build_pdm(shapes), mirror)


def test_shapes_that_are_not_symmetric_have_a_mirror_all_the_same(rng):
    """A mouth drawn to one side, an outline that slides along one cheek, a shape beside the middle."""
    shapes = random_shapes(30, rng)
    shapes[:, 48:, 0] += 6
    shapes[:, 1:9] = shapes[:, :8]
    assert build_pdm(shapes + 20, n_modes=3).n_modes == 3


def test_pdm_of_one_shape_is_refused(rng):
    with pytest.raises(TrainingError, match="all the same"):
        build_pdm(np.repeat(rng.normal(0, 40, (1, 68, 3)), 5, axis=0), mirror=False)


def test_pdm_emphasis_chooses_the_modes_that_explain_what_matters(rng):
    # The jaw varies in eight ways, the mouth in eight others by less.
    ways = np.zeros((16, 68, 3))
    ways[:8, :17] = rng.normal(0, 0.6, (8, 17, 3))
    ways[8:, 48:] = rng.normal(0, 0.3, (8, 20, 3))
    shapes = rng.normal(0, 40, (68, 3)) + np.einsum("ik,knc->inc", rng.normal(size=(400, 16)), ways)
    emphasis = np.ones((68, 3))
    emphasis[48:] = 50.0
    plain = build_pdm(shapes, n_modes=8, mirror=False)
    chosen = build_pdm(shapes, n_modes=8, mirror=False, emphasis=emphasis)

    def unexplained(pdm):
        """Of the mouth, where only it counts."""
        mean = pdm.mean.reshape(3, 68).T
        aligned = np.stack([align(shape, mean, np.linalg.norm(mean)) for shape in shapes])
        x = (aligned - mean)[:, 48:]
        x = x.transpose(0, 2, 1).reshape(len(shapes), -1).T
        modes = pdm.components.reshape(3, 68, 8)[:, 48:].reshape(-1, 8)
        return np.abs(x - modes @ np.linalg.lstsq(modes, x, rcond=None)[0]).mean()

    assert unexplained(chosen) < 0.3 * unexplained(plain)
    # Modes of the shapes themselves: orthonormal, by falling variance.
    np.testing.assert_allclose(chosen.components.T @ chosen.components, np.eye(8), atol=1e-10)
    assert (np.diff(chosen.eigenvalues) <= 0).all()
    even = build_pdm(shapes, n_modes=8, mirror=False, emphasis=np.full((68, 3), 7.0))
    np.testing.assert_allclose(even.eigenvalues, plain.eigenvalues, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"landmarks": s[:, :, :2]}, "shapes"),
        (lambda s: {"landmarks": s[:1]}, "two shapes"),
        (lambda s: {"landmarks": np.where(np.arange(len(s))[:, None, None] == 3, np.nan, s)}, "shape 3"),
        (
            lambda s: {"landmarks": s * (np.arange(len(s)) != 7)[:, None, None]},
            "shape 7 has all its landmarks in",
        ),
        (lambda s: {"landmarks": s, "weights": [1.0]}, "weights"),
        (lambda s: {"landmarks": s, "n_modes": 4000}, "modes"),
        (lambda s: {"landmarks": s, "n_modes": 4.0}, "n_modes is a whole number, not 4.0"),
        (lambda s: {"landmarks": [s[0], s[1, :67]]}, "landmarks are no array of numbers"),
        (lambda s: {"landmarks": s, "emphasis": [(1, 1, 1), (1, 1)]}, "emphasis are no array of numbers"),
        (lambda s: {"landmarks": s, "mirror": np.zeros(68, int)}, "mirror"),
        (lambda s: {"landmarks": s, "variance": 0}, "variance"),
        (lambda s: {"landmarks": s, "emphasis": np.zeros((68, 3))}, "emphasis"),
        (lambda s: {"landmarks": s, "emphasis": np.ones(68)}, "emphasis"),
        (lambda s: {"landmarks": s, "emphasis": 1 + np.arange(204).reshape(68, 3)}, "mirror image"),
    ],
)
def test_pdm_errors(rng, change, message):
    with pytest.raises(TrainingError, match=message):
        build_pdm(**change(random_shapes(10, rng)))


def test_shapes_that_take_long_to_align_end(rng, monkeypatch):
    """After the last round the mean is one of the shapes as they are aligned, if not yet the final one."""
    shapes = moved(random_shapes(60, rng), rng, angle=0.5)
    monkeypatch.setattr(shape_model, "MAX_ROUNDS", 1)
    first = build_pdm(shapes, n_modes=3)
    monkeypatch.undo()
    last = build_pdm(shapes, n_modes=3)
    size = np.linalg.norm(last.mean)
    assert 1e-9 * size < np.linalg.norm(first.mean - last.mean) < 0.05 * size


# --- openings


LIDS = [([37, 38], [41, 40]), ([43, 44], [47, 46])]


@pytest.fixture
def loose_pdm(rng):
    """A PDM whose 30 modes move everything at once."""
    modes = np.linalg.qr(rng.normal(size=(3 * 68, 30)))[0]
    return PDM(mean_shape().T.reshape(-1), modes, np.full(30, 4.0))


def opened(pdm, shapes):
    """How far each of the lids is open, (N, 2)."""
    heights = (pdm.mean + shapes @ pdm.components.T)[:, 68:136]
    edges = [[heights[:, edge].mean(axis=1) for edge in lids] for lids in LIDS]
    return np.column_stack([lower - upper for upper, lower in edges])


def test_openings_grow_by_their_share(loose_pdm, rng):
    expansion = shape_expansion(loose_pdm, LIDS, 0.2)
    shapes = rng.normal(size=(20, 30))
    rest = opened(loose_pdm, np.zeros((1, 30)))
    before, after = opened(loose_pdm, shapes) - rest, opened(loose_pdm, shapes + shapes @ expansion.T) - rest
    np.testing.assert_allclose(after, 1.2 * before, atol=1e-9)
    # It cannot be told from the other eye whether one is open.
    assert np.abs(before[:, 0] - before[:, 1]).min() > 1e-3


def test_openings_may_be_named_by_arrays(loose_pdm):
    arrays = [tuple(np.array(edge) for edge in lids) for lids in LIDS]
    np.testing.assert_array_equal(
        shape_expansion(loose_pdm, arrays, 0.2), shape_expansion(loose_pdm, LIDS, 0.2)
    )


def test_as_little_as_possible_moves_besides(loose_pdm, rng):
    shapes = rng.normal(size=(20, 30))
    change = shapes @ shape_expansion(loose_pdm, LIDS, 0.2).T
    used = [i for edges in LIDS for edge in edges for i in edge]
    weights = np.ones((3, 68))
    weights[:, used] = 0.01

    def moved(change):
        return ((change @ loose_pdm.components.T) ** 2 @ weights.reshape(-1)).sum()

    # Other changes that open the lids as far: add what does not open them at all.
    rows = opened(loose_pdm, np.eye(30)) - opened(loose_pdm, np.zeros((1, 30)))
    still = np.eye(30) - rows @ np.linalg.pinv(rows)
    for size in (1e-3, 0.1, 1.0):
        other = change + size * rng.normal(size=change.shape) @ still
        np.testing.assert_allclose(opened(loose_pdm, other), opened(loose_pdm, change), atol=1e-9)
        assert moved(other) > moved(change)


@pytest.mark.parametrize(
    ("openings", "message"),
    [
        ([([37], [68])], "landmarks from 0 to 67"),
        ([([37], [])], "landmarks from 0 to 67"),
        ([(np.array([37.5]), np.array([41]))], "landmarks from 0 to 67"),
        ([LIDS[0], LIDS[0]], "cannot move the openings one by one"),
        ([([37, 38],)], "an opening is its upper and its lower edge"),
        ([37, 41], "an opening is its upper and its lower edge, not 37"),
    ],
)
def test_openings_that_cannot_grow(loose_pdm, openings, message):
    with pytest.raises(TrainingError, match=message):
        shape_expansion(loose_pdm, openings, 0.1)


def test_a_share_of_openings_is_a_number(loose_pdm):
    with pytest.raises(TrainingError, match=r"a share is a number, not '0\.1'"):
        shape_expansion(loose_pdm, LIDS, "0.1")


def test_modes_that_move_nothing_cannot_open_lids():
    pdm = PDM(mean_shape().T.reshape(-1), np.zeros((3 * 68, 2)), np.ones(2))
    with pytest.raises(TrainingError, match="cannot move the openings one by one"):
        shape_expansion(pdm, LIDS, 0.1)


# --- likelihood


@pytest.mark.parametrize("window", [3, 5, 9, 11])
def test_sigma_components_are_positive_semidefinite(window):
    components = sigma_components(window).astype(float)
    assert components.shape == (3, window**2, window**2)
    for matrix in components:
        assert np.array_equal(matrix, matrix.T)
        assert np.linalg.eigvalsh(matrix).min() > -1e-9
    # Similarity does not mind a constant response; sparsity minds any two positions far apart.
    assert np.abs(components[:2] @ np.ones(window**2)).max() == 0
    y = np.zeros(window**2)
    if window >= 5:
        y[[0, 4]] = 1
        assert y @ components[2] @ y - components[2, 0, 0] - components[2, 4, 4] == 2


NOISE = 0.3


@pytest.fixture
def likelihood(rng):
    n, window, support = 6, 5, 9
    patches = [rng.normal(size=(n * window**2, support)) for _ in range(2)]
    kinds = np.array([0, 0, 1])
    model = CCNF(
        patches, kinds, rng.random((n, window**2)), rng.random(n), sigma_components(window), 0.03, NOISE
    )
    parameters = CCNFParameters(
        rng.normal(size=(3, support)), rng.normal(size=3), rng.random(3) + 0.5, rng.random(3) + 0.1
    )
    return model, parameters


def test_gradient_is_the_numerical_one(likelihood):
    model, parameters = likelihood
    vector = parameters.pack()
    gradient = model.objective(vector)[1]
    steps = 1e-5 * np.eye(vector.size)
    numerical = [(model.objective(vector + d)[0] - model.objective(vector - d)[0]) / 2e-5 for d in steps]
    assert np.abs(gradient - numerical).max() < 1e-6 * np.abs(gradient).max()
    error = check_grad(lambda v: model.objective(v)[0], lambda v: model.objective(v)[1], vector)
    assert error < 1e-5 * np.linalg.norm(gradient)


def test_likelihood_is_that_of_the_normal_distribution(likelihood):
    model, parameters = likelihood
    Lambda = precision(parameters, model.components)
    covariance = np.linalg.inv(Lambda)
    logs = [
        multivariate_normal.logpdf(y, mean, covariance)
        for y, mean in zip(model.targets, model.responses(parameters), strict=True)
    ]
    # White noise on the targets costs half the trace of the precision times its variance.
    expected = model.weights @ logs - 0.5 * NOISE**2 * np.trace(Lambda)
    assert log_likelihood(model, parameters) == pytest.approx(expected, rel=1e-9)
    penalty = 0.03 / 2 * (parameters.weights**2).sum()
    assert model.objective(parameters.pack())[0] == pytest.approx(penalty - expected, rel=1e-9)


def test_parameters_survive_packing(likelihood):
    _, parameters = likelihood
    again = CCNFParameters.unpack(parameters.pack(), 3, 9, 3)
    for name in ("weights", "biases", "alphas", "betas"):
        assert np.allclose(getattr(again, name), getattr(parameters, name), rtol=1e-14)


# --- windows


def test_areas_are_drawn_where_the_similarity_says(rng):
    image = rng.integers(0, 255, (60, 80)).astype(np.uint8)
    areas = draw_areas(image, np.array([[30.0, 20.0], [3.0, 50.0]]), np.eye(2), 9)
    assert np.array_equal(areas[0], image[16:25, 26:35])
    assert np.array_equal(areas[1, :, 1:], image[46:55, 0:8])
    assert (areas[1, :, 0] == 0).all()


def test_areas_of_a_ramp_under_rotation_and_scale():
    y, x = np.mgrid[:100, :100]
    image = (x + y).astype(np.uint8)
    A = 0.5 * np.array([[0.0, -1.0], [1.0, 0.0]])
    area = draw_areas(image, np.array([[50.25, 40.5]]), A, 5)[0]
    steps = np.arange(5) - 2
    offsets = np.stack(np.meshgrid(steps, steps), -1) @ np.linalg.inv(A).T
    assert np.allclose(area, offsets.sum(axis=-1) + 90.75, atol=1e-4)


def test_gradient_magnitude_is_sobel_with_replicated_border(rng):
    area = rng.random((12, 12)).astype(np.float32) * 255
    border = cv2.BORDER_REPLICATE
    gx, gy = (cv2.Sobel(area, cv2.CV_32F, dx, 1 - dx, borderType=border) for dx in (1, 0))
    assert np.allclose(gradient_magnitude(area[None])[0], np.hypot(gx, gy), rtol=1e-5, atol=1e-3)


def test_patches_are_normalised_and_in_order(rng):
    areas = rng.random((2, 8, 8)).astype(np.float32)
    areas[1, :5, :5] = 3
    patches = normalised_patches(areas, 5).reshape(2, 4, 4, 25)
    p = areas[0, 1:6, 2:7].reshape(-1)
    p = p - p.mean()
    assert np.allclose(patches[0, 1, 2], p / np.linalg.norm(p), atol=1e-6)
    assert (patches[1, 0, 0] == 0).all()


def test_targets_peak_at_the_landmark():
    bump = targets(np.array([[1.0, -2.0], [20.0, 0.0]]), 7, 1.0).reshape(2, 7, 7)
    assert bump[0, 1, 4] == 1
    assert bump[0, 1, 5] == pytest.approx(np.exp(-0.5))
    assert bump[1].max() < 1e-9


def test_identities_stay_held_out_when_the_set_grows():
    few = held_out(np.arange(50), 0.3, seed=2)
    many = held_out(np.repeat(np.arange(500), 2), 0.3, seed=2)
    assert np.array_equal(many[:100:2], few)
    assert np.array_equal(many[::2], many[1::2])
    assert 0.25 < many.mean() < 0.35


def test_of_several_people_one_is_held_out_and_one_is_not():
    for seed in range(50):
        few = held_out(np.repeat(np.arange(3), 4), 0.12, seed)
        assert 4 <= few.sum() <= 8
        most = held_out(np.arange(3), 0.9, seed)
        assert 1 <= most.sum() <= 2
    assert held_out(np.zeros(5, int), 0.12).sum() in (0, 5)


@pytest.mark.parametrize(
    ("identities", "share", "message"),
    [
        (["ann", "bob"], 0.1, "number names by"),
        ([0, -1], 0.1, "identities are numbers >= 0, one a face$"),
        ([[0, 1]], 0.1, "identities are numbers >= 0, one a face$"),
        ([0, 1], 10, "a share lies in"),
        ([0, 1], "most", "a share lies in"),
    ],
)
def test_people_that_cannot_be_held_out(identities, share, message):
    with pytest.raises(TrainingError, match=message):
        held_out(identities, share)


# --- one expert


CONFIG = ExpertConfig(n_grey=2, n_gradient=2, starts=2, warm_up=5, max_iterations=40)


def corner_windows(n, rng, config=CONFIG):
    """Windows with a dark quadrant whose corner is the landmark: not symmetric left to right."""
    side = config.area
    offsets = rng.uniform(-3, 3, (n, 2))
    away = np.arange(n) % 5 == 4
    offsets[away] += (0, 12)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    areas = rng.normal(scale=8, size=(n, side, side)) + rng.uniform(120, 200, (n, 1, 1))
    soft = 1 / (1 + np.exp(-2 * (x - offsets[:, :1, None]))) / (1 + np.exp(-2 * (y - offsets[:, 1:, None])))
    areas -= rng.uniform(60, 100, (n, 1, 1)) * soft
    return Windows(areas.astype(np.float32), offsets, np.ones(n), np.arange(n) % 4 == 0)


def one_expert_scale(expert):
    fields = ("types", "weights", "norm_weights", "biases", "alphas", "betas")
    values = [getattr(expert, name)[None] for name in fields]
    view = ViewExperts(np.zeros(1, np.int32), *values, np.array([expert.confidence]))
    components = {w: sigma_components(w) for w in (9, 11)}
    return PatchScale(0.5, np.zeros((1, 3)), np.ones((1, 1), bool), components, [view])


def peak(scale, image, at, window=11):
    """Where the fit's response map has its maximum, px of the image."""
    half = (window + CONFIG.support - 2) / 2
    matrix = np.array([[[1.0, 0, at[0] - half], [0, 1.0, at[1] - half]]])
    response = scale.responses(0, window, image[..., None], matrix)[0]
    y, x = np.unravel_index(response.argmax(), response.shape)
    return np.array([x, y]) - (window - 1) / 2 + at


@pytest.fixture(scope="module")
def corner_expert():
    return train_ccnf(corner_windows(200, np.random.default_rng(3)), CONFIG, seed=4)


def corner_image(corner):
    image = np.full((60, 60), 170, np.float32)
    image[corner[1] :, corner[0] :] = 90
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def test_a_trained_expert_answers_at_the_right_place_in_the_fit(corner_expert):
    scale = one_expert_scale(corner_expert)
    for corner in ((30, 30), (28, 32), (33, 27)):
        found = peak(scale, corner_image(corner), at=(30, 30))
        assert np.abs(found - (np.array(corner) - 0.5)).max() <= 1.0
    assert corner_expert.error < 0.8
    assert 0.5 < corner_expert.confidence <= 1


def test_the_fit_computes_the_response_that_was_trained(corner_expert):
    windows = corner_windows(6, np.random.default_rng(8))
    expert = corner_expert
    patches = [
        normalised_patches(areas, CONFIG.support)
        for areas in (windows.areas, gradient_magnitude(windows.areas))
    ]
    weights = expert.norm_weights[:, None] * expert.weights.reshape(4, -1)
    model = CCNF(
        patches, np.array([0, 0, 1, 1]), np.zeros((6, 81)), np.ones(6), sigma_components(CONFIG.window)
    )
    parameters = CCNFParameters(weights, expert.biases, expert.alphas, expert.betas)
    scale = one_expert_scale(expert)
    place = np.array([[[1.0, 0, 0], [0, 1.0, 0]]])
    for area, expected in zip(windows.areas, model.responses(parameters), strict=True):
        response = scale.responses(0, CONFIG.window, area[..., None], place)[0].reshape(-1)
        assert np.abs(response - (expected - min(expected.min(), 0))).max() < 1e-4


def test_a_mirrored_expert_answers_in_the_mirror_image(corner_expert):
    image = np.ascontiguousarray(corner_image((28, 32))[:, ::-1])
    found = peak(one_expert_scale(corner_expert.mirrored()), image, at=(29, 30))
    assert np.abs(found - (59 - 27.5, 31.5)).max() <= 1.0
    wrong = peak(one_expert_scale(corner_expert), image, at=(29, 30))
    assert np.abs(wrong - (59 - 27.5, 31.5)).max() > 1.0


def test_training_is_repeatable_and_ignores_hidden_landmarks():
    windows = corner_windows(80, np.random.default_rng(5))
    quick = ExpertConfig(n_grey=2, n_gradient=0, starts=1, max_iterations=12)
    first = train_ccnf(windows, quick, seed=1)
    spoilt = windows.areas.copy()
    spoilt[::7] = 0
    weights = np.ones(80)
    weights[::7] = 0
    hidden = [
        train_ccnf(Windows(areas, windows.offsets, weights, windows.held_out), quick, seed=1)
        for areas in (windows.areas, spoilt)
    ]
    assert np.array_equal(train_ccnf(windows, quick, seed=1).weights, first.weights)
    assert np.array_equal(hidden[0].weights, hidden[1].weights)
    assert not np.array_equal(hidden[0].weights, first.weights)


def test_expert_errors():
    windows = corner_windows(20, np.random.default_rng(6))
    with pytest.raises(TrainingError, match="areas of side"):
        train_ccnf(windows, ExpertConfig(window=7))
    with pytest.raises(TrainingError, match="held-out"):
        train_ccnf(Windows(windows.areas, windows.offsets, windows.weights, np.zeros(20, bool)), CONFIG)
    with pytest.raises(TrainingError, match="odd"):
        ExpertConfig(window=8)
    with pytest.raises(TrainingError, match="components"):
        ExpertConfig(components=0)
    with pytest.raises(TrainingError, match="neuron"):
        ExpertConfig(n_grey=0, n_gradient=0)
    for numbers in ({"starts": 0}, {"warm_up": 0}, {"warm_up": 5, "max_iterations": 5}):
        with pytest.raises(TrainingError, match="max_iterations more than warm_up"):
            ExpertConfig(**numbers)


def test_windows_that_cannot_be_learned_from():
    areas, offsets, weights, held = np.zeros((4, 17, 17)), np.zeros((4, 2)), np.ones(4), [True, False] * 2
    for change, message in (
        ({"offsets": offsets[:3]}, r"offsets of shape \(4, 2\), not \(3, 2\)"),
        ({"weights": np.ones((4, 1))}, r"weights of shape \(4,\)"),
        ({"held_out": [True]}, "held_out of shape"),
        ({"areas": np.full_like(areas, np.nan)}, "areas hold values that are not finite"),
        ({"weights": [1, 1, 1, np.inf]}, "weights hold values that are not finite"),
    ):
        with pytest.raises(TrainingError, match=message):
            Windows(**({"areas": areas, "offsets": offsets, "weights": weights, "held_out": held} | change))


def test_windows_of_bytes_are_those_of_floats(rng):
    """The gradients of bytes would overflow."""
    areas = rng.integers(0, 256, (4, 17, 17)).astype(np.uint8)
    windows = Windows(areas, np.zeros((4, 2)), np.ones(4, int), [1, 0, 1, 0])
    assert windows.areas.dtype == np.float32 and windows.held_out.dtype == bool
    np.testing.assert_array_equal(
        gradient_magnitude(windows.areas), gradient_magnitude(areas.astype(np.float32))
    )


def test_windows_without_anything_to_see_are_refused():
    black = Windows(np.zeros((8, 19, 19)), np.zeros((8, 2)), np.ones(8), np.arange(8) % 2 == 0)
    with pytest.raises(TrainingError, match="all of one grey level"):
        train_ccnf(black)


def test_an_error_needs_windows_with_the_landmark_inside():
    offsets = np.array([[0.0, 3.5], [-8, 0], [1, -1]])
    responses = np.zeros((3, 49))
    responses[:, 24] = 1  # a peak in the middle
    with pytest.raises(TrainingError, match="hold out more images"):
        localisation_error(responses[:2], offsets[:2], np.ones(2), 7)
    # Those outside say nothing about the place of the peak.
    assert localisation_error(responses, offsets, np.ones(3), 7) == pytest.approx(np.sqrt(2))


def test_shape_modes_of_the_drawn_faces_hold_a_one_sided_one():
    modes = shape_modes()
    assert not np.allclose(mirror_shapes(modes[3], MIRROR_68), modes[3])
