"""The point distribution model: rotations, projections, derivatives and fits to landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from generate_model import generate_pdm
from pyclnf import CLNF, PDM, BoxError, ModelError, ParameterError, Parameters
from pyclnf.pdm import (
    ShapePrior,
    _turn_between,
    axis_angle_to_matrix,
    box_of,
    check_box,
    euler_to_matrix,
    matrix_to_axis_angle,
    matrix_to_euler,
)

# Rounding of a few operations on numbers of size one.
ROUNDING = 4e-15

quick = settings(deadline=None, max_examples=200)
component = st.floats(-1, 1).filter(lambda x: x == 0 or abs(x) > 1e-3)
axes = st.tuples(component, component, component).filter(any).map(lambda a: np.array(a) / np.linalg.norm(a))
angles = st.floats(-np.pi, np.pi)


@pytest.fixture(scope="module")
def pdm() -> PDM:
    return generate_pdm()


def some_parameters(pdm: PDM, seed: int) -> Parameters:
    """Return parameters of a face that is turned by less than 60 degrees, within two deviations."""
    random = np.random.default_rng(seed)
    pose = [random.uniform(0.3, 3), *random.uniform(-1, 1, 3), *random.uniform(-100, 900, 2)]
    shape = random.uniform(-2, 2, pdm.n_modes) * np.sqrt(pdm.eigenvalues)
    return Parameters(np.array(pose), shape)


# --- rotations


@quick
@given(rx=angles, ry=angles, rz=angles)
def test_euler_matrix_is_rx_ry_rz(rx: float, ry: float, rz: float) -> None:
    expected = Rotation.from_euler("XYZ", [rx, ry, rz]).as_matrix()
    np.testing.assert_allclose(euler_to_matrix([rx, ry, rz]), expected, rtol=0, atol=ROUNDING)


@quick
@given(rx=angles, ry=st.floats(-np.pi / 2 + 1e-6, np.pi / 2 - 1e-6), rz=angles)
def test_euler_round_trip_of_the_matrix(rx: float, ry: float, rz: float) -> None:
    R = euler_to_matrix([rx, ry, rz])
    np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(R)), R, rtol=0, atol=ROUNDING)


@quick
@given(rx=st.floats(-3.1, 3.1), ry=st.floats(-1.5, 1.5), rz=st.floats(-3.1, 3.1))
def test_euler_round_trip_of_the_angles(rx: float, ry: float, rz: float) -> None:
    np.testing.assert_allclose(
        matrix_to_euler(euler_to_matrix([rx, ry, rz])), [rx, ry, rz], rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("roll", np.radians([-170, -120, -90, -50, 0, 50, 90, 120, 180]))
@pytest.mark.parametrize("yaw", [-0.6, 0.0, 0.6])
def test_landmarks_of_faces_that_lie_or_stand_on_their_heads(roll: float, yaw: float) -> None:
    pdm = CLNF().model.pdm
    tilt = euler_to_matrix((0.0, 0.0, roll)) @ euler_to_matrix((0.2, yaw, 0.0))
    pose = np.array([1.5, *matrix_to_euler(tilt), 300.0, 200.0])
    shape = np.sqrt(pdm.eigenvalues) * np.random.default_rng(0).normal(0, 0.5, pdm.n_modes)
    landmarks = pdm.landmarks_2d(Parameters(pose, shape))
    for visible in (None, np.arange(68) >= 17):
        found = pdm.fit_landmarks(landmarks, visible=visible)
        assert found.pose[0] == pytest.approx(1.5, rel=0.05)
        angle = np.degrees(np.arccos(np.clip((np.trace(found.rotation.T @ tilt) - 1) / 2, -1, 1)))
        assert angle < 6
        used = slice(None) if visible is None else visible
        assert np.abs(pdm.landmarks_2d(found) - landmarks)[used].max() < 2


@pytest.mark.parametrize("size", [0, 5, 7])
def test_a_pose_has_six_numbers(size: int) -> None:
    with pytest.raises(ParameterError, match=rf"\({size},\)"):
        Parameters(np.ones(size), np.zeros(3))


def test_no_rotation_is_exact() -> None:
    np.testing.assert_array_equal(euler_to_matrix(np.zeros(3)), np.eye(3))
    np.testing.assert_array_equal(axis_angle_to_matrix(np.zeros(3)), np.eye(3))
    np.testing.assert_array_equal(matrix_to_euler(np.eye(3)), np.zeros(3))
    np.testing.assert_array_equal(matrix_to_axis_angle(np.eye(3)), np.zeros(3))


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_rotations_that_are_not_finite(value: float) -> None:
    assert np.isnan(axis_angle_to_matrix([0.0, value, 0.0])).all()
    assert np.isnan(euler_to_matrix([0.0, value, 0.0])).all()
    assert np.isnan(matrix_to_axis_angle(np.full((3, 3), value))).all()


@pytest.mark.parametrize("place", (0, 1, 2))
@pytest.mark.parametrize("angle", (np.nan, np.inf, -np.inf))
def test_angles_that_are_not_finite_are_no_rotation(place: int, angle: float) -> None:
    found = euler_to_matrix(np.where(np.arange(3) == place, angle, 0.3))
    assert found.shape == (3, 3) and np.isnan(found).all()


@pytest.mark.parametrize("ry", (np.pi / 2, -np.pi / 2))
@pytest.mark.parametrize("rx", (0.0, 0.7, -2.5, np.pi))
@pytest.mark.parametrize("rz", (0.0, -0.4, 3.0))
def test_gimbal_lock(rx: float, ry: float, rz: float) -> None:
    R = euler_to_matrix([rx, ry, rz])
    euler = matrix_to_euler(R)
    assert euler[1] == pytest.approx(ry, abs=1e-15)
    assert euler[2] == 0
    np.testing.assert_allclose(euler_to_matrix(euler), R, rtol=0, atol=ROUNDING)


@quick
@given(axis=axes, angle=angles)
@example(axis=np.array([-0.6, 0.0, 0.8]), angle=-3.0)
@example(axis=np.array([-0.6, 0.0, 0.8]), angle=3.0)
def test_rodrigues_against_scipy(axis: np.ndarray, angle: float) -> None:
    R = axis_angle_to_matrix(axis * angle)
    np.testing.assert_allclose(R, Rotation.from_rotvec(axis * angle).as_matrix(), rtol=0, atol=ROUNDING)
    w = matrix_to_axis_angle(R)
    np.testing.assert_allclose(axis_angle_to_matrix(w), R, rtol=0, atol=ROUNDING)
    assert np.linalg.norm(w) <= np.pi * (1 + 1e-15)


@quick
@given(axis=axes, exponent=st.floats(-290, 0))
def test_rodrigues_round_trip_of_small_angles(axis: np.ndarray, exponent: float) -> None:
    """The angle is right to its own last digits, however small."""
    w = axis * 10.0**exponent
    np.testing.assert_allclose(
        matrix_to_axis_angle(axis_angle_to_matrix(w)), w, rtol=1e-14, atol=10 ** (exponent - 14)
    )


@quick
@given(axis=axes)
def test_rodrigues_at_pi(axis: np.ndarray) -> None:
    """R = 2 a a' - I; both signs of the axis are right."""
    exact = 2 * np.outer(axis, axis) - np.eye(3)
    np.testing.assert_allclose(axis_angle_to_matrix(axis * np.pi), exact, rtol=0, atol=ROUNDING)
    found = matrix_to_axis_angle(exact)
    assert np.linalg.norm(found) == pytest.approx(np.pi, abs=1e-14)
    assert found[np.flatnonzero(found)[0]] > 0
    sign = 1 if found @ axis > 0 else -1
    np.testing.assert_allclose(found, sign * np.pi * axis, rtol=0, atol=1e-13)


@pytest.mark.parametrize("axis", np.vstack([np.eye(3), -np.eye(3)]))
def test_half_turns_about_the_axes(axis: np.ndarray) -> None:
    exact = np.diag(2 * axis**2 - 1)
    np.testing.assert_array_equal(matrix_to_axis_angle(exact), np.abs(axis) * np.pi)


@quick
@given(axis=axes, below=st.floats(1e-15, 1e-3))
def test_rodrigues_just_below_pi(axis: np.ndarray, below: float) -> None:
    w = axis * (np.pi - below)
    R = axis_angle_to_matrix(w)
    np.testing.assert_allclose(axis_angle_to_matrix(matrix_to_axis_angle(R)), R, rtol=0, atol=ROUNDING)


# --- projection and derivatives


def test_landmarks_are_the_scaled_turned_shape(pdm: PDM) -> None:
    parameters = some_parameters(pdm, 0)
    flat = pdm.mean + pdm.components @ parameters.shape
    turned = Rotation.from_euler("XYZ", parameters.pose[1:4]).apply(flat.reshape(3, -1).T)
    np.testing.assert_allclose(pdm.landmarks_3d(parameters), turned, atol=1e-12)
    expected = parameters.pose[0] * turned[:, :2] + parameters.pose[4:]
    np.testing.assert_allclose(pdm.landmarks_2d(parameters), expected, atol=1e-11)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rigid", (True, False))
def test_jacobian_against_numerical_derivatives(
    pdm: PDM, seed: int, rigid: bool, kernels_in_use: object
) -> None:
    """Below 1e-7 of each column's largest entry, by central differences extrapolated to h = 0."""
    parameters = some_parameters(pdm, seed)
    J = pdm.jacobian(parameters, rigid=rigid)
    assert J.shape == (2 * pdm.n_landmarks, 6 if rigid else 6 + pdm.n_modes)
    for column in range(J.shape[1]):
        h = 1e-3 if column < 4 else 1e-1

        def difference(h: float, column: int = column) -> np.ndarray:
            step = np.zeros(J.shape[1])
            step[column] = h
            return (moved(pdm, parameters, step) - moved(pdm, parameters, -step)) / (2 * h)

        # Richardson: the error of order h^2 cancels.
        numerical = (4 * difference(h / 2) - difference(h)) / 3
        np.testing.assert_allclose(J[:, column], numerical, rtol=0, atol=1e-7 * np.abs(numerical).max())


def moved(pdm: PDM, parameters: Parameters, step: np.ndarray) -> np.ndarray:
    """Return x1, y1, x2, ... after a step, written out independently of `PDM.update`: R' = R exp([w]x)."""
    R = parameters.rotation @ Rotation.from_rotvec(step[1:4]).as_matrix()
    points = pdm.shape_3d(parameters.shape + (step[6:] if step.size > 6 else 0))
    scale = parameters.pose[0] + step[0]
    return (scale * points @ R[:2].T + parameters.pose[4:6] + step[4:6]).reshape(-1)


# --- start from a box


@pytest.mark.parametrize("rotation", ((0.0, 0.0, 0.0), (0.2, -1.2, 0.4)))
def test_from_box(pdm: PDM, rotation: tuple[float, float, float]) -> None:
    x, y, w, h = box = (40.5, -12.0, 130.0, 155.0)
    start = pdm.from_box(box, rotation)
    landmarks = pdm.landmarks_2d(start)
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, [x + w / 2, y + h / 2], atol=1e-10)
    at_scale_one = (high - low) / start.pose[0]
    assert start.pose[0] == pytest.approx((w / at_scale_one[0] + h / at_scale_one[1]) / 2)
    np.testing.assert_array_equal(start.pose[1:4], rotation)
    np.testing.assert_array_equal(start.shape, 0)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 10),
        (0, 0, 0, 10),
        (0, 0, 10, 0),
        (0, 0, 10, -1),
        (np.nan, 0, 1, 1),
        (0, 0, np.inf, 1),
        "face",
        None,
        [[1, 2, 3, 4]],
    ],
)
def test_impossible_boxes(pdm: PDM, box: object) -> None:
    with pytest.raises(BoxError, match="box"):
        pdm.from_box(box)  # type: ignore[arg-type]


@pytest.mark.parametrize("rotation", [(0, 0), (0, np.nan, 0), np.eye(3), ["a"] * 3])
def test_impossible_rotations(pdm: PDM, rotation: object) -> None:
    with pytest.raises(ParameterError, match="rotation"):
        pdm.from_box((0, 0, 9, 9), rotation)  # type: ignore[arg-type]


@pytest.mark.parametrize("flat", (0, 1))
def test_a_mean_shape_that_is_a_line(flat: int) -> None:
    mean = np.array([[0.0, 40, 80], [0, 50, 20], [0, 10, 5]])
    mean[flat] = 7.0
    with pytest.raises(ModelError, match="spans no area"):
        PDM(mean, np.zeros((9, 0)), []).from_box((0, 0, 10, 10))


def test_a_mean_shape_of_less_than_a_millimetre() -> None:
    pdm = PDM([0, 0.5, 0, 0, 0, 0.25, 0, 0, 0], np.zeros((9, 0)), [])
    np.testing.assert_allclose(pdm.from_box((3, 4, 50, 25)).pose, [100, 0, 0, 0, 3, 4], atol=1e-12)
    # Nor need a box be larger than a pixel.
    np.testing.assert_allclose(pdm.from_box((3, 4, 0.5, 0.25)).pose, [1, 0, 0, 0, 3, 4], atol=1e-12)


# --- fit to landmarks


@pytest.mark.parametrize("seed", range(8))
def test_fit_landmarks_recovers_the_parameters(pdm: PDM, seed: int) -> None:
    """Up to the prior's pull: the landmarks are exact, and 1 / eigenvalue is small beside them."""
    truth = some_parameters(pdm, seed)
    landmarks = pdm.landmarks_2d(truth)
    found = pdm.fit_landmarks(landmarks, truth.pose[1:4] * 0.7)
    error = np.linalg.norm(pdm.landmarks_2d(found) - landmarks, axis=1)
    assert error.max() < 0.01 * np.ptp(landmarks, axis=0).max()
    np.testing.assert_allclose(found.rotation, truth.rotation, atol=0.05)
    assert found.pose[0] == pytest.approx(truth.pose[0], rel=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_fit_landmarks_recovers_the_pose_of_the_mean_shape(pdm: PDM, seed: int) -> None:
    """The prior pulls to the mean shape, so that nothing stands between the fit and the truth."""
    pose = some_parameters(pdm, seed).pose
    landmarks = pdm.landmarks_2d(Parameters(pose, np.zeros(pdm.n_modes)))
    found = pdm.fit_landmarks(landmarks, pose[1:4] * 0.7)
    np.testing.assert_allclose(found.pose, pose, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.shape, 0, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_fit_landmarks_looks_at_visible_ones_only(pdm: PDM, seed: int) -> None:
    truth = some_parameters(pdm, seed)
    landmarks = pdm.landmarks_2d(truth)
    visible = np.ones(68, bool)
    visible[:8] = False
    hidden = landmarks.copy()
    hidden[~visible] = np.nan
    found = pdm.fit_landmarks(hidden, truth.pose[1:4] * 0.7, visible=visible)
    other = landmarks.copy()
    other[~visible] = 1e6
    same = pdm.fit_landmarks(other, truth.pose[1:4] * 0.7, visible=visible)
    np.testing.assert_array_equal(found.pose, same.pose)
    np.testing.assert_array_equal(found.shape, same.shape)
    error = np.linalg.norm(pdm.landmarks_2d(found) - landmarks, axis=1)
    assert error[visible].max() < 0.01 * np.ptp(landmarks, axis=0).max()


@pytest.mark.parametrize("seed", range(4))
def test_fit_landmarks_ends_at_the_minimum(pdm: PDM, seed: int) -> None:
    """Half of the squared distances plus half of q^2 / eigenvalue: its derivatives are 0 there."""
    # As if seen from far away, so that the prior has something to say.
    truth = Parameters(np.array([0.02, 0.3, -0.4, 0.1, 5, 6]), some_parameters(pdm, seed).shape)
    landmarks = pdm.landmarks_2d(truth)
    visible = np.random.default_rng(seed).uniform(size=68) < 0.8
    found = pdm.fit_landmarks(landmarks, truth.pose[1:4] * 0.7, visible=visible)
    J = pdm.jacobian(found) * np.repeat(visible, 2)[:, None]
    pull = J.T @ (landmarks - pdm.landmarks_2d(found)).reshape(-1)
    prior = np.concatenate([np.zeros(6), found.shape / pdm.eigenvalues])
    assert np.linalg.norm(prior) > 1e-3
    # It ends when the distances no longer improve, which is a little earlier.
    assert np.linalg.norm((pull - prior)[6:]) < 0.1 * np.linalg.norm(prior)


def test_fit_landmarks_to_three_of_them(pdm: PDM) -> None:
    landmarks = pdm.landmarks_2d(some_parameters(pdm, 0))
    visible = np.isin(np.arange(68), (0, 8, 16))
    found = pdm.fit_landmarks(landmarks, visible=visible)
    assert np.abs(pdm.landmarks_2d(found) - landmarks)[visible].max() < 1


def test_fit_landmarks_of_a_flat_shape() -> None:
    """Seen from the front, nothing says about two of the rotations: the damping keeps them."""
    x, y = np.random.default_rng(0).uniform(-50, 50, (2, 9))
    flat = PDM(np.concatenate([x, y, np.zeros(9)]), np.zeros((27, 0)), [])
    truth = np.array([2, 0, 0, 0.5, 70, 80])
    found = flat.fit_landmarks(flat.landmarks_2d(Parameters(truth, np.zeros(0))))
    np.testing.assert_allclose(found.pose, truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("part", (slice(0, 68), slice(27, 60)))
def test_fit_landmarks_starts_in_the_box_of_the_visible(pdm: PDM, part: slice) -> None:
    landmarks = pdm.landmarks_2d(some_parameters(pdm, 3))
    visible = np.zeros(68, bool)
    visible[part] = True
    start = pdm.fit_landmarks(landmarks, (0.1, -0.2, 0.3), visible=visible, max_iterations=0)
    placed, points = pdm.landmarks_2d(start)[visible], landmarks[visible]
    np.testing.assert_allclose(
        placed.min(axis=0) + placed.max(axis=0), points.min(axis=0) + points.max(axis=0), atol=1e-9
    )
    assert np.mean(np.ptp(points, axis=0) / np.ptp(placed, axis=0)) == pytest.approx(1)
    np.testing.assert_array_equal(start.pose[1:4], (0.1, -0.2, 0.3))
    np.testing.assert_array_equal(start.shape, np.zeros(pdm.n_modes))


class Steered(PDM):
    """Its landmarks are off by ty, and a step changes that by a share; steps are counted."""

    points = np.random.default_rng(0).uniform(0, 90, (68, 2))
    share, steps = 0.0, 0

    def _projected(self, parameters: Parameters, axes: int, *, closed: bool) -> np.ndarray:
        return self.points + parameters.pose[5]

    def update(self, parameters: Parameters, step: object) -> Parameters:
        self.steps += 1
        return Parameters(parameters.pose * ([1] * 5 + [1 - self.share]), parameters.shape)


@pytest.mark.parametrize(("share", "steps"), [(0.0, 4), (2e-7, 4), (-1e-3, 4), (2e-6, 50)])
def test_fit_landmarks_ends_where_nothing_improves(pdm: PDM, share: float, steps: int) -> None:
    """Four steps in a row that improve the error by less than a millionth; the best so far counts."""
    steered = Steered(pdm.mean, pdm.components, pdm.eigenvalues)
    start = steered.fit_landmarks(steered.points, max_iterations=0)
    steered.share = share
    found = steered.fit_landmarks(steered.points, max_iterations=50)
    assert steered.steps == steps
    better = steps - 1 if steps == 50 else 0
    assert found.pose[5] == pytest.approx(start.pose[5] * (1 - share) ** better, rel=1e-9)


def test_fit_landmarks_that_overflow_its_equations(pdm: PDM) -> None:
    """There is no step to take: what is left is the box, which is finite."""
    points = pdm.landmarks_2d(some_parameters(pdm, 1)) * 1e158
    with np.errstate(all="ignore"):
        found = pdm.fit_landmarks(points)
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    np.testing.assert_array_equal(found.pose, pdm.from_box([*low, *size]).pose)
    assert np.isfinite(found.pose).all() and (found.shape == 0).all()


def test_coefficients_of_another_pdm_are_refused(pdm: PDM) -> None:
    of_a_shape = (pdm.shape_3d, pdm.deformed, pdm.turn, pdm.coefficients, pdm.clamp)
    of_parameters = (
        pdm.landmarks_2d,
        pdm.landmarks_3d,
        pdm.jacobian,
        lambda parameters: pdm.update(parameters, np.zeros(6)),
        lambda parameters: pdm.update(parameters, np.zeros(14)),
    )
    for shape, message in (
        *((np.zeros(count), rf"8 shape coefficients: give \(8,\), not \({count},\)") for count in (7, 9, 0)),
        (np.zeros((8, 1)), r"8 shape coefficients: give \(8,\), not \(8, 1\)"),
        (["a"] * 8, "shape coefficients are an array of numbers"),
    ):
        for method in of_a_shape:
            with pytest.raises(ParameterError, match=message):
                method(shape)
        for method in of_parameters:
            with pytest.raises(ParameterError, match=message):
                method(Parameters(np.array([1.0, 0, 0, 0, 0, 0]), shape))


def test_fit_landmarks_refuses(pdm: PDM) -> None:
    landmarks = pdm.landmarks_2d(some_parameters(pdm, 0))
    broken = landmarks.copy()
    broken[3] = np.nan
    for arguments, message in (
        ({"landmarks": landmarks[:-1]}, "68 landmarks"),
        ({"landmarks": broken}, "not finite"),
        ({"landmarks": np.ones((68, 2))}, "no area"),
        ({"landmarks": landmarks, "visible": np.arange(68) < 2}, "at least 3"),
        ({"landmarks": landmarks, "visible": np.ones(5, bool)}, "visible"),
        ({"landmarks": landmarks, "visible": [[1], [1, 2]]}, "marks of visible landmarks are an array"),
    ):
        with pytest.raises(ParameterError, match=message):
            pdm.fit_landmarks(**arguments)


# --- limits and priors


def test_limits_are_three_deviations() -> None:
    pdm = PDM(np.arange(6), np.eye(6)[:, :2], [4.0, 9.0])
    np.testing.assert_array_equal(pdm.limits, [6, 9])


def test_a_prior_has_its_own_directions_and_limits(pdm: PDM) -> None:
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(pdm.n_modes, pdm.n_modes)))
    variances = np.arange(1.0, pdm.n_modes + 1)
    prior = ShapePrior(pdm, basis, variances)
    np.testing.assert_array_equal(prior.basis, basis)
    np.testing.assert_array_equal(prior.variances, variances)
    np.testing.assert_allclose(prior.components, pdm.components @ basis, atol=1e-14)
    assert prior.components.flags.c_contiguous
    np.testing.assert_array_equal(prior.limits, 4 * np.sqrt(variances))
    for other in (basis[:-1], np.vstack([basis, basis[:1]])):
        with pytest.raises(ValueError, match="zip"):
            ShapePrior(pdm, other, variances)


def test_extents_are_kept_for_few_rotations(pdm: PDM) -> None:
    """A face's rotation is another each time: what is kept must not grow."""
    own = PDM(pdm.mean, pdm.components, pdm.eigenvalues)
    for i in range(40):
        own.from_box((0, 0, 9, 9), (0, i / 40, 0))
    assert len(own._extents) == 16


# --- update and clamping


@quick
@given(axis=axes, length=st.floats(0, 2), seed=st.integers(0, 100))
def test_update_turns_by_the_orthonormal_factor(axis: np.ndarray, length: float, seed: int) -> None:
    pdm = generate_pdm()
    before = some_parameters(pdm, seed)
    step = np.zeros(6)
    step[0], step[1:4], step[4:] = 0.1, axis * length, (3, -4)
    after = pdm.update(before, step)
    wx, wy, wz = step[1:4]
    U, _, Vt = np.linalg.svd([[1, -wz, wy], [wz, 1, -wx], [-wy, wx, 1]])
    np.testing.assert_allclose(after.rotation, before.rotation @ U @ Vt, rtol=0, atol=1e-13)
    np.testing.assert_allclose(after.pose[[0, 4, 5]], before.pose[[0, 4, 5]] + [0.1, 3, -4], rtol=1e-15)
    np.testing.assert_array_equal(after.shape, before.shape)


def test_update_clamps_the_shape_and_leaves_its_input(pdm: PDM) -> None:
    before = some_parameters(pdm, 1)
    copy = Parameters(before.pose.copy(), before.shape.copy())
    step = np.zeros(6 + pdm.n_modes)
    step[6:] = 1e4 * (-1.0) ** np.arange(pdm.n_modes)
    after = pdm.update(before, step)
    limits = 3 * np.sqrt(pdm.eigenvalues)
    np.testing.assert_allclose(after.shape, limits * np.sign(step[6:]), rtol=1e-15)
    np.testing.assert_allclose(after.pose, before.pose, rtol=1e-13)
    np.testing.assert_array_equal(pdm.clamp(limits / 2), limits / 2)
    np.testing.assert_array_equal(before.pose, copy.pose)
    np.testing.assert_array_equal(before.shape, copy.shape)


def test_nan_angles_become_zero(pdm: PDM) -> None:
    after = pdm.update(some_parameters(pdm, 1), [0, np.nan, 0, 0, 0, 0])
    np.testing.assert_array_equal(after.pose[1:4], 0)


def test_steps_of_another_length(pdm: PDM) -> None:
    for step in (np.zeros(7), np.zeros((2, 3)), ["a"] * 6):
        with pytest.raises(ParameterError, match="step"):
            pdm.update(some_parameters(pdm, 0), step)


# --- construction


@pytest.mark.parametrize(
    ("mean", "components", "eigenvalues", "message"),
    [
        (np.zeros(4), np.zeros((4, 1)), [1.0], "three coordinates"),
        ([[1, 2], [3]], np.zeros((6, 1)), [1.0], "a PDM's mean are an array of numbers"),
        (np.zeros(6), [[1.0], [1.0, 2.0]], [1.0], "a PDM's components are an array of numbers"),
        (np.zeros(6), np.zeros((6, 1)), ["large"], "a PDM's eigenvalues are an array of numbers"),
        (np.zeros(0), np.zeros((0, 1)), [1.0], "three coordinates"),
        (np.zeros(6), np.zeros((6, 2)), [1.0], "components of shape"),
        (np.full(6, np.nan), np.zeros((6, 1)), [1.0], "mean"),
        (np.zeros(6), np.full((6, 1), np.inf), [1.0], "components"),
        (np.zeros(6), np.zeros((6, 1)), [np.nan], "eigenvalues"),
        (np.zeros(6), np.zeros((6, 1)), [0.0], "positive"),
        (np.zeros(6), np.zeros((6, 1)), [0.9e-12], "at least 1e-12"),
        (np.zeros(3075), np.zeros((3075, 1)), [1.0], "1025 landmarks and 1 modes: at most 1024"),
        (np.zeros(6), np.zeros((6, 513)), np.ones(513), "2 landmarks and 513 modes: .* and 512"),
        (np.full(6, -1.1e12), np.zeros((6, 1)), [1.0], "mean hold values beyond 1e"),
        (np.zeros(6), np.zeros((6, 1)), [1.1e12], "eigenvalues hold values beyond 1e"),
    ],
)
def test_impossible_models(mean: object, components: object, eigenvalues: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        PDM(mean, components, eigenvalues)  # type: ignore[arg-type]


def test_the_largest_model() -> None:
    largest = PDM(np.full(3072, 1e12), np.zeros((3072, 512)), np.full(512, 1e-12))
    assert repr(largest) == "PDM(n_landmarks=1024, n_modes=512)"


@pytest.mark.parametrize("name", ("mean", "components", "eigenvalues"))
def test_a_model_cannot_be_changed(name: str) -> None:
    model = PDM(np.arange(6), np.eye(6)[:, :1], [1.0])
    with pytest.raises(ValueError, match="read-only"):
        getattr(model, name)[0] = 1


@pytest.mark.parametrize("span", (0.0, 1e-310, 1e-9))
def test_a_shape_without_extent_has_no_place_in_a_box(span: float) -> None:
    flat = PDM([-40, 40, span, 0, 0, 5], np.eye(6)[:, :1], [20.0])
    with pytest.raises(ModelError, match="spans no area"):
        flat.from_box((0, 0, 50, 50))


def test_the_flattest_shape_that_has_a_place_in_a_box() -> None:
    flat = PDM([-40, 40, np.nextafter(1e-9, 1), 0, 0, 5], np.eye(6)[:, :1], [20.0])
    assert np.isfinite(flat.from_box((0, 0, 50, 50)).pose).all()


def test_a_mean_in_rows_of_coordinates_is_taken_and_one_of_landmarks_is_not() -> None:
    for n in (3, 4):
        mean = np.arange(3.0 * n).reshape(3, n)
        np.testing.assert_array_equal(PDM(mean, np.zeros((3 * n, 0)), []).mean, np.arange(3.0 * n))
    with pytest.raises(ModelError, match="their transpose"):
        PDM(np.zeros((4, 3)), np.zeros((12, 0)), [])


def test_the_radius_is_how_far_landmarks_lie_from_the_middle() -> None:
    assert PDM([3, -3, 0, 0, 4, 4, 0, 0, 0], np.zeros((9, 0)), []).radius == pytest.approx(np.sqrt(50 / 3))


def test_a_copy_of_parameters_shares_nothing(pdm: PDM) -> None:
    parameters = some_parameters(pdm, 0)
    before = parameters.pose.copy(), parameters.shape.copy()
    copy = parameters.copy()
    copy.pose[:], copy.shape[:] = 7, 7
    np.testing.assert_array_equal(parameters.pose, before[0])
    np.testing.assert_array_equal(parameters.shape, before[1])
    np.testing.assert_array_equal(np.concatenate([copy.pose, copy.shape]), 7)


def test_the_box_of_landmarks() -> None:
    """Of any memory layout and float type; there is none of a landmark that is no number."""
    points = np.random.default_rng(0).uniform(-50, 300, (68, 2)).astype(np.float32)
    points[[3, 40, 7, 22]] = [(-60, 5), (5, -70), (310, 8), (9, 330)]
    for layout in (
        points,
        points.astype(np.float64),
        np.asfortranarray(points),
        points[::-1],
        points.tolist(),
    ):
        assert box_of(layout).tolist() == [-60, -70, 370, 400]
    points[50, 1] = np.nan
    x, y, w, h = box_of(points).tolist()
    assert (x, w) == (-60, 370) and np.isnan([y, h]).all()


@pytest.mark.parametrize("turn", [-3.0, -1.2, 0.0, 0.4, 2.5])
def test_how_far_points_are_turned(turn: float) -> None:
    """Whatever their size and place."""
    points = np.random.default_rng(1).normal((7, -4), 1.0, (20, 2))
    plane = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert _turn_between(points, np.add(3 * points @ plane.T, (40, 90))) == pytest.approx(turn)


@pytest.mark.parametrize(("w", "h"), [(0, 5), (5, 0), (-1, -1), (1e-200, 1e-200)])
def test_boxes_without_an_area(w: float, h: float) -> None:
    with pytest.raises(BoxError, match="has no area"):
        check_box((1, 2, w, h))
    assert check_box((1, 2, 0.5, 2)) == (1, 2, 0.5, 2)
