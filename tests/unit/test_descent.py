"""The linear stage of the learned start."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from drawn_faces import dataset, smooth_picture

from pyclnf import ModelError, Parameters, _limits
from pyclnf.descent import GO_OVER, Descent, DescentStep, PatchLayout, upright
from pyclnf.errors import TrainingError
from pyclnf.pdm import PDM, axis_angle_to_matrix, euler_to_matrix
from pyclnf.start import LearnedStart
from pyclnf.training import (
    MIRROR_68,
    AnnotatedFaces,
    DescentConfig,
    StartConfig,
    build_pdm,
    refine_start,
    train_start,
)
from pyclnf.training.start import CHUNK, _ridge

K = 4
PATCH = np.float32([[60, 0.3, 1.2, 20, 5]] * 2)
LAYOUT = PatchLayout(60, 0.3, 1.2, 20.0, 5, np.array([[0, 0], [4, 0], [0, -4]], np.float32))


@pytest.fixture(scope="module")
def pdm() -> PDM:
    return build_pdm(dataset(60, np.random.default_rng(4), yaw=0.8)[3], variance=0.99)


def descent(pdm: PDM, bias: np.ndarray, *, steps: int = 1) -> Descent:
    """Return steps that are the same everywhere; the bias is that of all three views, or one row each."""
    weights = np.zeros((3, 68, LAYOUT.width, 6 + K), np.int8)
    units = np.full((3, 6 + K), 1e-3, np.float32)
    biases = np.broadcast_to(np.float32(bias), (3, 6 + K))
    step = DescentStep(pdm, LAYOUT, np.radians([25, 50]), MIRROR_68, weights, units, biases)
    return Descent([step] * steps)


def run(taken: Descent, *state: np.ndarray, picture: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Return rotation, placement and shape of one face after the steps."""
    after = [np.array(values, np.float64)[None] for values in state]
    taken.take(smooth_picture() if picture is None else picture, *after)
    return tuple(values[0] for values in after)


def test_a_step_without_weights_moves_by_its_bias(pdm: PDM) -> None:
    bias = np.array([0.1, 0.05, -0.02, 0.03, 2.0, -3.0, 1.0, -1.0, 0.5, 0.0])
    R = euler_to_matrix((0.1, 0.3, 0.4))
    placement, shape = np.array([0.4, 60.0, 61.0]), np.zeros(K)
    rotation, placed, shaped = run(descent(pdm, bias), R, placement, shape)
    plane = upright(R)
    assert placed[0] == pytest.approx(0.4 * np.exp(0.1))
    np.testing.assert_allclose(placed[1:], [60, 61] + 0.4 * plane @ [2, -3], atol=1e-6)
    np.testing.assert_allclose(shaped, [1, -1, 0.5, 0], atol=1e-6)
    turn = axis_angle_to_matrix([*(plane @ [0.05, -0.02]), 0.03])
    np.testing.assert_allclose(rotation, turn @ R, atol=1e-6)


@pytest.mark.parametrize("yaw", (0.6, 0.03))
@pytest.mark.parametrize("directions", (4, 5))
@pytest.mark.parametrize("sideways", (4, 3), ids=("the same in the mirror", "not"))
def test_a_face_turned_the_other_way_gets_the_mirrored_step(
    pdm: PDM, yaw: float, directions: int, sideways: int
) -> None:
    """The picture flipped, and the face in it: the same descriptors, and the mirrored step.

    Near the front the face is seen both ways, of which one may be told from the other.
    """
    rng = np.random.default_rng(1)
    offsets = np.array([[0, 0], [4, 0], [0, -4], [-sideways, 0]], np.float32)
    layout = PatchLayout(60, 0.3, 1.2, 20.0, directions, offsets)
    weights = rng.integers(-127, 128, (3, 68, layout.width, 6 + K)).astype(np.int8)
    units, biases = np.full((3, 6 + K), 1e-3, np.float32), rng.normal(0, 0.05, (3, 6 + K)).astype(np.float32)
    step = DescentStep(pdm, layout, np.radians([25, 50]), MIRROR_68, weights, units, biases)
    taken = Descent([step])
    picture, shape = smooth_picture(), rng.normal(0, 2, K)
    euler = np.array([0.1, yaw, 0.2])
    placement = np.array([0.4, 55.0, 62.0])
    flipped = (
        np.ascontiguousarray(picture[:, ::-1]),
        euler_to_matrix(euler * [1, -1, -1]),
        np.array([0.4, picture.shape[1] - 1 - 55.0, 62.0]),
        shape * step.signs[6:],
    )
    plain = (picture, euler_to_matrix(euler), placement, shape)
    a, b = step.describe(*plain, mirrored=False), step.describe(*flipped, mirrored=True)
    np.testing.assert_allclose(b, a, atol=2e-5)
    assert (np.linalg.norm(a, axis=1) < 1).all()
    found, mirrored = (run(taken, *state, picture=seen) for seen, *state in (plain, flipped))
    np.testing.assert_allclose(mirrored[0] * [[1, -1, -1], [-1, 1, 1], [-1, 1, 1]], found[0], atol=1e-4)
    assert mirrored[1][1] == pytest.approx(picture.shape[1] - 1 - found[1][1], abs=1e-2)
    np.testing.assert_allclose(mirrored[1][[0, 2]], found[1][[0, 2]], atol=1e-2)
    np.testing.assert_allclose(mirrored[2] * step.signs[6:], found[2], atol=1e-2)
    assert np.abs(found[2] - shape).max() > 0.05  # else the picture would not matter


def test_steps_are_taken_one_after_the_other(pdm: PDM) -> None:
    bias = np.array([0.0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0])
    state = (euler_to_matrix((0, 0.3, 0)), np.array([0.4, 60.0, 60.0]), np.zeros(K))
    _, placed, _ = run(descent(pdm, bias, steps=3), *state)
    np.testing.assert_allclose(placed, [0.4, 61.2, 60.0], atol=1e-6)


@pytest.mark.parametrize(
    ("yaw", "share"),
    (
        (89.0, 4), (60.1, 4), (55.0, 3.5), (50.0, 3), (45.0, 2.5), (37.5, 2), (30.0, 1.75), (25.0, 1.5),
        (14.9, 1), (10.1, 1), (5.0, 0.5), (1.0, 0.1), (0.0, 0), (-5.0, -0.5), (-12.0, -1), (-25.0, -1.5),
        (-50.0, -3), (-70.0, -4),
    ),
)  # fmt: skip
def test_what_is_said_goes_over_with_the_yaw(pdm: PDM, yaw: float, share: float) -> None:
    """From one view to the next, and from the face as it is to the mirror: nothing jumps in a video."""
    assert np.degrees(GO_OVER) == pytest.approx(10)
    sideways = np.zeros((3, 6 + K))
    sideways[:, 4] = 1, 2, 4
    R = euler_to_matrix((0, np.radians(yaw), 0))
    _, placed, _ = run(descent(pdm, sideways), R, np.array([0.4, 60.0, 60.0]), np.zeros(K))
    assert (placed[1] - 60) / 0.4 == pytest.approx(share, abs=1e-6)


def test_modes_must_be_symmetric_or_not(pdm: PDM) -> None:
    rng = np.random.default_rng(2)
    mixed = PDM(pdm.mean, np.linalg.qr(rng.normal(size=pdm.components.shape))[0], pdm.eigenvalues)
    with pytest.raises(ModelError, match="symmetric"):
        descent(mixed, np.zeros(6 + K))


# --- in a model file


def start_arrays(pdm: PDM, **changed: np.ndarray) -> dict[str, np.ndarray]:
    """Return a start whose trees do nothing, with a descent."""
    trees = {
        "start/landmarks": np.zeros((1, 2), np.uint8),
        "start/offsets": np.zeros((1, 2, 2), np.float16),
        "start/splits": np.zeros((1, 1, 1, 2), np.uint16),
        "start/thresholds": np.zeros((1, 1, 1), np.float16),
        "start/leaves": np.zeros((1, 1, 2, 6 + K), np.int8),
        "start/units": np.ones((1, 6 + K), np.float32),
        "start/crop": np.array([80, 2.0], np.float32),
    }
    own = descent(pdm, np.array([0.0, 0, 0, 0, 0.5, -1.0, 0, 0, 0, 0]), steps=2).arrays()
    return trees | own | {f"start/descent_{name}": value for name, value in changed.items()}


def test_a_start_ends_with_the_step(pdm: PDM) -> None:
    start = LearnedStart(pdm, start_arrays(pdm))
    (found,) = start.hypotheses(np.zeros((300, 300, 1), np.uint8), (100, 100, 120, 110))
    begin = pdm.from_box((100, 100, 120, 110))
    # (Frontal: seen in the mirror, too, the step goes as far to the other side.)
    np.testing.assert_allclose((found.pose[4:6] - begin.pose[4:6]) / begin.pose[0], [0, -2], atol=1e-5)
    again = LearnedStart(pdm, start.arrays())
    assert again.descent is not None and start.descent is not None and len(again.descent.steps) == 2
    for one, other in zip(again.descent.steps, start.descent.steps, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.signs, other.signs)
        assert one.layout.taps.tolist() == other.layout.taps.tolist()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    (
        ("patch", PATCH[:, :4], "patches of 5"),
        ("patch", np.repeat(PATCH, 20, axis=0), "patches of 5"),
        ("patch", PATCH * [0, 1, 1, 1, 1], "out of range"),
        ("patch", PATCH * [1, 1, 1, 0, 1], "out of range"),
        ("patch", PATCH * [1, 1, 1, 1e-9, 1], "out of range"),
        ("patch", PATCH * [1, 1e-9, 1, 1, 1], "out of range"),
        ("patch", PATCH * [5, 1, 1, 1, 1], "out of range"),
        ("patch", PATCH * [1, 1, 10, 1, 1], "out of range"),
        ("patch", PATCH * [1, 1, 1, 1, 4], "out of range"),
        ("patch", PATCH * [1, 1, 1, 1, 2], "weights has shape"),
        ("patch", PATCH * [[1, 1, 1, 1, 1], [1, 1, 1, 1, 2]], "several numbers of directions"),
        ("patch", PATCH * [1, np.nan, 1, 1, 1], "must hold numbers"),
        ("patch", PATCH[:1], "offsets has shape"),
        ("offsets", np.zeros((2, 3, 3), np.float32), "offsets of 2"),
        ("offsets", np.zeros((3, 3, 2), np.float32), "offsets has shape"),
        ("offsets", np.full((2, 3, 2), np.inf, np.float32), "must hold numbers"),
        ("edges", np.radians([50.0, 25.0]), "must rise"),
        ("edges", np.array([2, 1], np.uint8), "must rise"),
        ("edges", np.radians([25.0]), "has shape"),
        ("edges", np.zeros((2, 2)), "has shape"),
        ("mirror", np.zeros(68, np.uint8), "permutation"),
        ("mirror", np.arange(68.0), "permutation"),
        ("mirror", np.array(["left"] * 68), "must hold numbers"),
        ("units", np.ones((2, 3, 9), np.float32), "has shape"),
        ("units", np.float32(1), "has shape"),
        ("weights", np.zeros((2, 3, 68, 15, 6 + K), np.int16), "int8"),
        ("bias", np.full((2, 3, 6 + K), np.nan, np.float32), "must hold numbers"),
    ),
)
def test_arrays_that_do_not_fit_are_refused(pdm: PDM, name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LearnedStart(pdm, start_arrays(pdm, **{name: value}))


def test_a_descent_is_whole_or_absent(pdm: PDM) -> None:
    content = start_arrays(pdm)
    del content["start/descent_bias"]
    with pytest.raises(ModelError, match="bias"):
        LearnedStart(pdm, content)


def test_a_descent_changes_no_modes_that_are_not_predicted(pdm: PDM) -> None:
    content = start_arrays(pdm) | {
        "start/leaves": np.zeros((1, 1, 2, 5 + K), np.int8),
        "start/units": np.ones((1, 5 + K), np.float32),
    }
    with pytest.raises(ModelError, match="more modes than are predicted"):
        LearnedStart(pdm, content)


def test_a_descent_of_few_modes_leaves_the_others_as_they_are(pdm: PDM) -> None:
    leaves = np.zeros((1, 1, 2, 6 + K), np.int8)
    leaves[..., -1] = 1
    content = start_arrays(pdm) | {"start/leaves": leaves}
    for name in ("weights", "units", "bias"):
        content[f"start/descent_{name}"] = content[f"start/descent_{name}"][..., :-1]
    (found,) = LearnedStart(pdm, content).hypotheses(np.zeros((300, 300, 1), np.uint8), (100, 100, 120, 110))
    assert found.shape.tolist() == [*[0.0] * (K - 1), 1.0]


@pytest.mark.parametrize("number", (0, 1, 5))  # frontal: sideways it would be neither here nor there
@pytest.mark.parametrize("value", (-1e12, 1e12))
def test_a_step_out_of_all_bounds_is_a_damaged_model(pdm: PDM, number: int, value: float) -> None:
    bias = np.zeros((2, 3, 6 + K), np.float32)
    bias[..., number] = value
    content = start_arrays(pdm, bias=bias)
    start = LearnedStart(pdm, content)
    image = np.full((300, 300, 1), 90, np.uint8)
    if number == 1:  # a rotation by any angle is one
        assert np.isfinite(start.hypotheses(image, (100, 100, 120, 110))[0].pose).all()
    elif number == 5:
        assert abs(start.hypotheses(image, (100, 100, 120, 110))[0].pose[5]) > 1e11
    else:
        with pytest.raises(ModelError, match="not finite"):
            start.hypotheses(image, (100, 100, 120, 110))


# --- training

TREES = StartConfig(stages=3, trees=15, depth=4, pool=150, modes=4, boxes=4)
LINEAR = DescentConfig(
    extent=200.0, scales=(0.3, 0.4), radii=(6.0, 4.0), blurs=(2.0, 1.2), around=4, directions=4, edges=(20.0,)
)


def test_the_step_brings_the_start_nearer_to_faces_it_has_not_seen() -> None:
    images, landmarks, rotations, shapes = dataset(260, np.random.default_rng(4), yaw=0.8)
    pdm = build_pdm(shapes, variance=0.99)
    faces = AnnotatedFaces.fitted(pdm, images, landmarks, rotations=rotations)
    chosen = np.arange(260) < 220
    with_step = StartConfig(**{**vars(TREES), "descent": LINEAR})
    errors = []
    for config in (TREES, with_step):
        start = train_start(faces, pdm, chosen, config, seed=1)
        rng, own = np.random.default_rng(5), []
        for i in range(220, 260):
            points = faces.landmarks[i]
            low, size = points.min(axis=0), np.ptp(points, axis=0)
            box = [*(low + rng.uniform(-0.1, 0.1, 2) * size), *(size * rng.uniform(0.85, 1.15))]
            (found,) = start.hypotheses(faces.grey(i)[:, :, None], box)
            assert isinstance(found, Parameters)
            own.append(np.linalg.norm(pdm.landmarks_2d(found) - points, axis=1).mean() / faces.poses[i, 0])
        errors.append(np.median(own))
    assert errors[1] < 0.8 * errors[0]


def test_regression_from_some_rows_at_a_time_is_that_from_all() -> None:
    rng = np.random.default_rng(0)
    n, d = 2 * CHUNK + 5, 6
    X = (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3).astype(np.float32)
    Y = X @ rng.normal(size=(d, 2)) + rng.standard_t(2, size=(n, 2))
    W, x_mean, y_mean = _ridge(iter(X), Y.copy(), 0.5)
    squared = ((Y - np.median(Y, axis=0)) ** 2).sum(axis=1)
    w = 1 / (1 + squared / (3 * np.median(squared)))
    w /= w.sum()
    np.testing.assert_allclose(x_mean, w @ X, rtol=1e-6)
    np.testing.assert_allclose(y_mean, w @ Y)
    C = np.cov(X.T.astype(np.float64), aweights=w, ddof=0)
    expected = np.linalg.solve(C + 0.5 * np.trace(C) / d * np.eye(d), (w[:, None] * (X - w @ X)).T @ Y)
    np.testing.assert_allclose(W, expected, rtol=1e-3, atol=1e-4)


def test_several_draws_of_others_errors_lead_nearer_than_one() -> None:
    """To faces that were not learned from; those that were are seen in one box each."""
    images, landmarks, rotations, shapes = dataset(150, np.random.default_rng(4), yaw=0.8)
    pdm = build_pdm(shapes, variance=0.99)
    faces = AnnotatedFaces.fitted(pdm, images, landmarks, rotations=rotations)
    chosen = np.arange(150) < 60
    trees = train_start(faces, pdm, chosen, TREES, seed=1)
    arrays = trees.predictor.arrays() | {"start/crop": trees.arrays()["start/crop"]}
    errors = []
    for draws in (1, 6):
        config = replace(TREES, boxes=1, descent=replace(LINEAR, draws=draws))
        start = refine_start(arrays, faces, pdm, chosen, config, seed=1)
        own = []
        for i in range(60, 150):
            points = faces.landmarks[i]
            (found,) = start.hypotheses(faces.grey(i)[:, :, None], [*points.min(0), *np.ptp(points, axis=0)])
            assert isinstance(found, Parameters)
            own.append(np.linalg.norm(pdm.landmarks_2d(found) - points, axis=1).mean() / faces.poses[i, 0])
        errors.append(np.mean(own))
    assert errors[1] < 0.95 * errors[0]


def test_configurations_that_cannot_be_are_refused() -> None:
    for changed in (
        {"extent": 10.0},
        {"scales": (0.45, 0.45, 0.0)},
        {"blurs": (1, 1, 0)},
        {"directions": 0},
        {"penalty": 0.0},
        {"draws": 0},
        {"radii": (1.0,)},
        {"scales": (0.45,)},
        # The file could not be read.
        {"scales": (0.45, 0.45, 1.04)},
        {"blurs": (1, 1, 11)},
        {"directions": 17},
        {"around": 64},
        {"scales": (0.45,) * 9, "radii": (1.0,) * 9, "blurs": (1.0,) * 9},
    ):
        with pytest.raises(TrainingError):
            DescentConfig(**changed)


def test_the_largest_descent_that_is_taken(pdm: PDM) -> None:
    """A file of a few KB can say all this: it takes seconds at most, even with the reference kernels."""
    steps, n = _limits.MAX_DESCENT_STEPS, pdm.n_landmarks
    samples, directions = _limits.MAX_DESCENT_SAMPLES, _limits.MAX_DESCENT_DIRECTIONS
    numbers = [_limits.MAX_DESCENT_SIDE, 1, _limits.MAX_DESCENT_BLUR, 1, directions]
    own = {
        "patch": np.float32([numbers] * steps),
        "offsets": np.zeros((steps, samples, 2), np.float32),
        "edges": np.zeros(0, np.float32),
        "weights": np.zeros((steps, 1, n, samples * directions, 6 + K), np.int8),
        "units": np.zeros((steps, 1, 6 + K), np.float32),
        "bias": np.zeros((steps, 1, 6 + K), np.float32),
    }
    start = LearnedStart(pdm, start_arrays(pdm, **own))
    found = start.hypotheses(np.zeros((300, 300, 1), np.uint8), (100, 100, 120, 110), 9)
    assert all(np.isfinite(guess.pose).all() for guess in found)
    assert start.arrays()["start/descent_patch"].tolist() == [numbers] * steps


def test_what_does_not_fit_is_refused_before_it_is_converted(pdm: PDM) -> None:
    """As float64 and its magnitudes a file's weights could take sixteen times their bytes."""
    weights = np.zeros((1, 2**22), np.float16)
    content = start_arrays(pdm, weights=weights)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="weights has shape"):
            LearnedStart(pdm, content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < weights.nbytes
