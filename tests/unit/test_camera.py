"""Head pose: against constructed truth, OpenCV's solver and another implementation."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from generate_model import generate_pdm
from pyclnf import CLNF, Camera, ModelError, ParameterError, Parameters
from pyclnf.camera import head_in_camera, head_pose
from pyclnf.pdm import PDM, euler_to_matrix, matrix_to_euler


@pytest.fixture(scope="module")
def pdm() -> PDM:
    rng = np.random.default_rng(4)
    mean = rng.normal(0, 40, (3, 30))
    mean[2] *= 0.4
    components, _ = np.linalg.qr(rng.normal(size=(90, 5)))
    return PDM(mean.reshape(-1), components, [200.0, 100, 50, 20, 10])


def weak_perspective(
    pdm: PDM, points: np.ndarray, shape: np.ndarray, rotation: np.ndarray, depth: float, focal: float
) -> Parameters:
    """Return roughly what a fit gives for a head at some depth."""
    scale = focal / depth
    shift = (points - scale * (pdm.shape_3d(shape) @ euler_to_matrix(rotation)[:2].T)).mean(axis=0)
    return Parameters(np.array([scale, *rotation, *shift]), shape)


@pytest.mark.parametrize(
    ("size", "doubtful"),
    [((1920, 1080), False), ((1280, 720), True), ((2880, 1620), True), ((1080, 1920), True)],
)
def test_a_camera_is_doubted_for_images_of_another_size_or_turned(
    size: tuple[int, int], doubtful: bool
) -> None:
    # Those of a calibration are not quite in the middle.
    text = Camera(1400, 1400, 1020, 490).doubt(*size)
    assert (text is not None) is doubtful
    if doubtful:
        assert "principal point 1020,490" in str(text)
        assert f"{size[0]} x {size[1]} px" in str(text)


def test_guessed_intrinsics() -> None:
    assert Camera.from_size(640, 480) == Camera(500.0, 500.0, 320.0, 240.0)
    wide = Camera.from_size(1920, 1080)
    assert wide.fx == wide.fy == pytest.approx((500 * 3 + 500 * 2.25) / 2)
    assert (wide.cx, wide.cy) == (960, 540)


@pytest.mark.parametrize("values", [(0, 500, 1, 1), (500, 0, 1, 1), (500, -1, 1, 1), (500, 500, np.nan, 1)])
def test_refuses_impossible_intrinsics(values: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match="focal"):
        Camera(*values)


@pytest.mark.parametrize("rotation", [(0, 0, 0), (0.3, -0.5, 0.2), (-0.2, 1.1, -0.4), (0.1, -1.4, 0.9)])
@pytest.mark.parametrize("place", [(0, 0, 400), (150, -80, 500), (-300, 200, 900)])
def test_finds_the_pose_that_made_the_picture(
    pdm: PDM, rotation: tuple[float, ...], place: tuple[float, ...]
) -> None:
    camera = Camera(700.0, 650.0, 330.0, 250.0)
    shape = np.array([10.0, -5, 4, 2, 1])
    true = np.array([*place, *rotation])
    points = camera.project(pdm.shape_3d(shape) @ euler_to_matrix(rotation).T + place)
    start = np.add(rotation, (0.1, -0.1, 0.05))
    fitted = weak_perspective(pdm, points, shape, start, place[2], 700)
    found, in_space = head_in_camera(pdm, fitted, points, camera)
    np.testing.assert_allclose(found, true, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found, head_pose(pdm, fitted, points, camera))
    # The landmarks in space project to where they were seen.
    np.testing.assert_allclose(camera.project(in_space), points, atol=1e-6)


def test_agrees_with_opencv_on_noisy_points(pdm: PDM) -> None:
    rng = np.random.default_rng(2)
    camera = Camera.from_size(640, 480)
    K = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    for _ in range(20):
        shape, rotation = rng.normal(0, 3, 5), rng.normal(0, 0.4, 3)
        place = np.array([*rng.normal(0, 80, 2), rng.uniform(350, 800)])
        points = camera.project(pdm.shape_3d(shape) @ euler_to_matrix(rotation).T + place) + rng.normal(
            0, 1, (30, 2)
        )
        ours = head_pose(pdm, weak_perspective(pdm, points, shape, rotation, place[2], 500), points, camera)
        r, t = cv2.Rodrigues(euler_to_matrix(rotation))[0], place.copy()
        _, r, t = cv2.solvePnP(pdm.shape_3d(shape), points, K, None, r, t, True, cv2.SOLVEPNP_ITERATIVE)
        theirs = np.concatenate([t.ravel(), matrix_to_euler(cv2.Rodrigues(r)[0])])
        np.testing.assert_allclose(ours[:3], theirs[:3], atol=5e-3)
        np.testing.assert_allclose(ours[3:], theirs[3:], atol=5e-4)


def test_nothing_seen_has_no_pose(pdm: PDM) -> None:
    camera = Camera.from_size(640, 480)
    seen = Parameters(np.array([2.0, 0.1, -0.2, 0.0, 320.0, 240.0]), np.zeros(5))
    points = pdm.landmarks_2d(seen)
    unseen = np.where(np.arange(30)[:, None] == 7, np.nan, points)
    nan = Parameters(np.full(6, np.nan), np.full(5, np.nan))
    for parameters, landmarks in ((nan, points), (seen, unseen), (nan, unseen)):
        np.testing.assert_array_equal(head_pose(pdm, parameters, landmarks, camera), np.full(6, np.nan))


def test_a_head_in_the_middle_of_the_picture_is_straight_ahead(pdm: PDM) -> None:
    """Of points in a plane before the camera, so that the weak perspective is the right one."""
    flat = PDM(np.concatenate([pdm.mean[:60], np.zeros(30)]), np.zeros((90, 0)), [])
    fitted = Parameters(np.array([1.25, 0.0, 0.0, 0.0, 320.0, 240.0]), np.empty(0))
    pose = head_pose(flat, fitted, flat.landmarks_2d(fitted), Camera(500, 500, 320, 240))
    np.testing.assert_allclose(pose, [0, 0, 400, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize("shape", [(29, 2), (31, 2), (30, 3), (60,)])
def test_refuses_landmarks_of_another_face(pdm: PDM, shape: tuple[int, ...]) -> None:
    fitted = Parameters(np.array([2.0, 0, 0, 0, 320, 240]), np.zeros(5))
    with pytest.raises(ParameterError, match="landmarks"):
        head_pose(pdm, fitted, np.zeros(shape), Camera.from_size(640, 480))


def test_a_head_is_before_the_camera(pdm: PDM) -> None:
    """Also one as large as the picture: steps that lead behind the camera are not taken."""
    camera = Camera.from_size(640, 480)
    shape = np.zeros(5)
    for scale in (2.0, 4.0, 6.0, 20.0, 200.0):
        fitted = Parameters(np.array([scale, 0.3, -0.6, 0.1, 500.0, 100.0]), shape)
        pose = head_pose(pdm, fitted, pdm.landmarks_2d(fitted), camera)
        assert np.isfinite(pose).all()
        assert (pdm.shape_3d(shape) @ euler_to_matrix(pose[3:])[2] + pose[2]).min() > 0


@pytest.mark.parametrize("kind", ("noise", "anywhere", "of another place"))
def test_landmarks_of_no_head_have_a_pose_no_worse_than_the_start(pdm: PDM, kind: str) -> None:
    """Steps that do not help are not taken; the search ends all the same."""
    camera = Camera.from_size(640, 480)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        turn, shift = rng.normal(0, 0.6, 3), rng.uniform(0, 480, 2)
        fitted = Parameters(np.array([rng.uniform(0.5, 4), *turn, *shift]), rng.normal(0, 3, 5))
        points = pdm.landmarks_2d(fitted)
        points = {
            "noise": points + rng.normal(0, 50, points.shape),
            "anywhere": rng.uniform(0, 640, points.shape),
            "of another place": points * rng.uniform(0.1, 5),
        }[kind]
        depth = camera.fx / fitted.pose[0]
        x, y = depth * (fitted.pose[4:] - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
        start = np.array([x, y, depth, *fitted.pose[1:4]])
        found, in_space = head_in_camera(pdm, fitted, points, camera)
        begin = pdm.shape_3d(fitted.shape) @ euler_to_matrix(start[3:]).T + start[:3]
        spaces = begin, in_space
        assert np.isfinite(found).all()
        assert spaces[0][:, 2].min() > 0
        assert spaces[1][:, 2].min() > 0
        before, after = (np.linalg.norm(camera.project(space) - points) for space in spaces)
        assert after <= before * (1 + 1e-9)


def test_equals_the_original_on_photographs(test_data, openface_model) -> None:
    """Given the original's own parameters, the same pose to a tenth of a millimetre."""
    checked = 0
    for line in (test_data / "golden" / "default.jsonl").read_text().splitlines():
        golden = json.loads(line)
        name = golden["image"].rsplit("/", 1)[-1].rsplit(".", 1)[0]
        arrays = np.load(test_data / "golden" / f"{name}.default.npz")
        height, width = arrays["gray"].shape
        parameters = Parameters(
            arrays["final_params_global"].astype(float), arrays["final_params_local"].astype(float).ravel()
        )
        pose = head_pose(
            openface_model.pdm, parameters, arrays["final_landmarks"], Camera.from_size(width, height)
        )
        np.testing.assert_allclose(pose[:3], golden["pose"][:3], atol=0.1, rtol=2e-4)
        np.testing.assert_allclose(pose[3:], golden["pose"][3:], atol=5e-4)
        checked += 1
    assert checked == 8


def test_a_turn_within_the_shape_is_the_heads_turn() -> None:
    """A mode that turns the inner points against the outline; the landmarks stay those of the fit."""
    rng = np.random.default_rng(3)
    mean = rng.normal(0, 40, (3, 30))
    inner = np.arange(10, 30)
    tangent = np.zeros((3, 30))
    # By a small angle about y: x' = x + a z, z' = z - a x.
    about = mean[:, inner] - mean[:, inner].mean(axis=1, keepdims=True)
    tangent[0, inner], tangent[2, inner] = about[2], -about[0]
    size = np.linalg.norm(tangent)
    arguments = mean.reshape(-1), (tangent / size).reshape(-1, 1), [1e6]
    plain, told = PDM(*arguments), PDM(*arguments, rigid=inner)
    camera, angle = Camera.from_size(640, 480), 0.1
    for pitch, yaw, roll in ((0.0, 0.0, 0.0), (0.2, -0.5, 0.3)):
        params = Parameters(np.array([1.2, pitch, yaw, roll, 300.0, 200.0]), np.array([angle * size]))
        landmarks = told.landmarks_2d(params)
        np.testing.assert_array_equal(landmarks, plain.landmarks_2d(params))
        (before, space), (after, told_space) = (
            head_in_camera(pdm, params, landmarks, camera) for pdm in (plain, told)
        )
        np.testing.assert_array_equal(after[:3], before[:3])
        turn = euler_to_matrix(before[3:]).T @ euler_to_matrix(after[3:])
        # Along the tangent: the tangent of the angle.
        np.testing.assert_allclose(turn, euler_to_matrix([0, np.arctan(angle), 0]), atol=1e-9)
        np.testing.assert_array_equal(space, told_space)


def test_the_shipped_model_turns_the_inner_face_within_the_outline() -> None:
    """By its first mode, which follows the outline that is seen of turned heads."""
    pdm = CLNF().model.pdm
    np.testing.assert_array_equal(pdm.rigid, np.arange(17, 48))
    deviation = np.sqrt(pdm.eigenvalues) * np.eye(pdm.n_modes)[0]
    angles = [np.degrees(matrix_to_euler(pdm.turn(sign * deviation))) for sign in (-1, 0, 1)]
    assert 15 < abs(angles[0][1]) < 30 and angles[0][1] * angles[2][1] < 0
    np.testing.assert_allclose(angles[1], 0.0, atol=1e-12)
    without = PDM(pdm.mean, pdm.components, pdm.eigenvalues)
    np.testing.assert_array_equal(without.turn(deviation), np.eye(3))


@pytest.mark.parametrize(
    ("rigid", "message"),
    [
        ([[0, 1]], r"numbers \(r,\), not int(32|64) \(1, 2\)"),
        ([0.0, 1.0], r"not float64 \(2,\)"),
        ([0, 6], "each of 0..5 once"),
        ([-1, 2], "each of 0..5 once"),
        ([1, 1], "each of 0..5 once"),
        ([2], "do not lie apart"),
        ([2, 3], "do not lie apart"),
        ([4, 5], "do not lie apart"),
    ],
)
def test_impossible_rigid_landmarks(rigid: object, message: str) -> None:
    mean = [0, 1, 2, 2, 0, 1e-9, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ModelError, match=message):
        PDM(mean, np.zeros((18, 0)), [], rigid=rigid)  # type: ignore[arg-type]


def test_rigid_landmarks_may_lie_apart_in_depth_alone() -> None:
    mean, deeper = [0, 0, 3, 1, 2, 0, 0, 8, 0], [0, 0, 0, 0, 0, 0, 0, 1, 0]
    pdm = PDM(mean, np.reshape(deeper, (9, 1)), [1.0], rigid=[0, 1])
    np.testing.assert_array_equal(pdm.turn([2.0]), np.eye(3))


def test_intrinsics_may_be_any_numbers() -> None:
    camera = Camera(600, np.float32(600), np.int64(320), 240)
    assert camera == Camera(600.0, 600.0, 320.0, 240.0)
    assert all(type(value) is float for value in vars(camera).values())
    pdm = generate_pdm()
    params = pdm.from_box((200, 100, 150, 150))
    np.testing.assert_array_equal(
        head_pose(pdm, params, pdm.landmarks_2d(params), camera),
        head_pose(pdm, params, pdm.landmarks_2d(params), Camera(600.0, 600.0, 320.0, 240.0)),
    )
    for wrong in ("wide", None, [1, 2], 1j):
        with pytest.raises(ParameterError, match="intrinsics are numbers"):
            Camera(wrong, 600, 320, 240)  # type: ignore[arg-type]


def test_a_camera_of_focal_length_1_gives_what_does_not_depend_on_the_camera() -> None:
    assert Camera(1, 1, 0, 0).project([(30.0, -20.0, 100.0)]).tolist() == [[0.3, -0.2]]


def test_points_of_any_number_are_projected() -> None:
    camera = Camera(500, 400, 320, 240)
    points = np.array([[10.0, 20.0, 500.0], [-10.0, 5.0, 1000.0]])
    expected = np.array([[330.0, 256.0], [315.0, 242.0]])
    np.testing.assert_allclose(camera.project(points), expected)
    np.testing.assert_allclose(camera.project(points[0]), expected[0])
    np.testing.assert_allclose(camera.project(np.stack([points] * 4)), np.stack([expected] * 4))
    for wrong in (5.0, points[:, :2]):
        with pytest.raises(ParameterError, match=r"points have three coordinates, \(\.\.\., 3\)"):
            camera.project(wrong)
    with pytest.raises(ParameterError, match="points are an array of numbers, rows of one length"):
        camera.project([[1.0, 2.0, 3.0], [4.0]])  # type: ignore[list-item]
