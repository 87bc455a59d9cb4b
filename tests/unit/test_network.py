"""The learned start's network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from generate_model import generate_model
from pyclnf import CLNF, ModelError, ParameterError, _kernels
from pyclnf._kernels import VARIANT, load_variant
from pyclnf._kernels.layout import LEVELS
from pyclnf.descent import upright
from pyclnf.network import MIN_CONTRAST, Network, weight_units
from pyclnf.pdm import PDM, Parameters, axis_angle_to_matrix
from pyclnf.start import _KEPT, _MOVED, LearnedStart
from pyclnf.training.symmetry import MIRROR_68

# With more modes than a block of the kernel's channels has numbers.
PDM_ = PDM(
    generate_model().pdm.mean,
    np.linalg.qr(np.random.default_rng(1).normal(size=(204, 14)))[0],
    np.linspace(60, 5, 14),
)
M = PDM_.n_modes
OUTPUTS = -(-(6 + M) // 16) * 16
SIDE, LENGTH = 20, 200.0


def arrays(says: np.ndarray | None = None, looks: int = 1, **changed: object) -> dict[str, np.ndarray]:
    """Return a network of a convolution, one that is added, and a last one, which says the same of all."""
    layers = [[5, 2, 2, 16, 0, 1], [3, 1, 1, 16, 1, 1], [10, 1, 0, OUTPUTS, 0, 0]]
    inputs = (1, 16, 16)
    sizes = [row[0] ** 2 * c * row[3] for row, c in zip(layers, inputs, strict=True)]
    biases = np.zeros(16 + 16 + OUTPUTS, np.float32)
    if says is not None:
        biases[32 : 32 + len(says)] = says
    own: dict[str, object] = {
        "patch": np.array([SIDE, LENGTH, looks], np.float32),
        "layers": np.array(layers, np.int32),
        "limits": np.array([8.0, 20.0, 40.0], np.float32),
        "weights": np.zeros(sum(sizes), np.int8),
        # So small that biases, which are whole numbers of sums, are what they are said to be.
        "units": np.full(len(biases), 3e-5, np.float32),
        "biases": biases,
    } | changed
    return {f"start/network_{name}": np.asarray(value) for name, value in own.items()}


def crop() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8)


def run(network: Network, rotation: np.ndarray, placement: list[float]) -> tuple[np.ndarray, ...]:
    rotations, placements, shapes = rotation[None].copy(), np.array([placement]), np.zeros((1, M))
    network.run(crop()[None], rotations, placements, shapes)
    return rotations[0], placements[0], shapes[0]


def said_in_floats(
    content: Mapping[str, np.ndarray], seen: np.ndarray, layers: int | None = None
) -> np.ndarray:
    """Return what a network says of a normalised patch in floats, or what so many layers make of it."""
    own = {name: content[f"start/network_{name}"] for name in ("layers", "weights", "units", "biases")}
    seen, at, first = seen[:, :, None].astype(np.float64), 0, 0
    for kernel, stride, padding, outputs, residual, rectify in own["layers"].tolist()[:layers]:
        inputs, last = seen.shape[2], first + outputs
        size = kernel * kernel * inputs * outputs
        real = own["weights"][at : at + size].reshape(-1, outputs) * own["units"][first:last].astype(
            np.float64
        )
        padded = np.pad(seen, [(padding, padding), (padding, padding), (0, 0)])
        windows = sliding_window_view(padded, (kernel, kernel), axis=(0, 1))[::stride, ::stride]
        found = np.moveaxis(windows, 2, 4).reshape(*windows.shape[:2], -1) @ real + own["biases"][first:last]
        found = found + seen if residual else found
        seen, at, first = np.maximum(found, 0) if rectify else found, at + size, last
    return np.asarray(seen.reshape(-1))


def said_in_whole_numbers(network: Network, seen: np.ndarray) -> np.ndarray:
    limit, table, *numbers = network._arguments
    out = np.empty(int(table[-1, 3]), np.float32)
    _kernels.run_layers(_kernels.layout.in_levels(seen.astype(np.float32), limit), table, *numbers, out)
    return out


def test_what_it_says_is_said_of_the_upright_patch() -> None:
    says = np.zeros(6 + M)
    says[:7] = 0.1, 0.2, -0.3, 0.05, 0.01, -0.02, 0.5
    network = Network(PDM_, arrays(says))
    turn = np.radians(30)
    roll = axis_angle_to_matrix(np.array([0, 0, turn]))
    rotation, placement, shape = run(network, roll, [0.3, 40, 41])
    expected = roll @ axis_angle_to_matrix(np.array([0.2, -0.3, 0.05]))
    np.testing.assert_allclose(rotation, expected, atol=1e-7)
    # 0.01 and -0.02 of 200 mm, 0.3 px a mm, turned with the head.
    shift = 0.3 * LENGTH * roll[:2, :2] @ [0.01, -0.02]
    np.testing.assert_allclose(placement, [0.3 * np.exp(0.1), *(np.array([40, 41]) + shift)], atol=1e-6)
    np.testing.assert_allclose(shape[0], 0.5 * np.sqrt(PDM_.eigenvalues[0]), rtol=1e-6)
    assert (shape[1:] == 0).all()


def test_each_look_starts_where_the_last_one_ended() -> None:
    says = np.zeros(6)
    says[[0, 4]] = 0.1, 0.05
    placement = run(Network(PDM_, arrays(says, looks=3)), np.eye(3), [0.3, 40, 40])[1]
    scales = 0.3 * np.exp([0, 0.1, 0.2])
    np.testing.assert_allclose(
        placement, [0.3 * np.exp(0.3), 40 + LENGTH * 0.05 * scales.sum(), 40], rtol=1e-6
    )


def test_shapes_stay_within_the_limits_of_the_pdm() -> None:
    says = np.zeros(6 + M)
    says[6:] = 100
    np.testing.assert_allclose(run(Network(PDM_, arrays(says)), np.eye(3), [0.3, 40, 40])[2], PDM_.limits)


def test_weights_are_in_the_units_of_their_outputs() -> None:
    rng = np.random.default_rng(3)
    content = arrays()
    weights = rng.integers(-127, 128, content["start/network_weights"].size, dtype=np.int8)
    units = rng.uniform(0.001, 0.003, 32 + OUTPUTS).astype(np.float32)
    # Little above the greatest numbers, so that they are rounded finely.
    network = Network(PDM_, arrays(weights=weights, units=units, limits=np.array([2.0, 4.0, 6.0])))
    image = crop()[:SIDE, :SIDE].astype(np.float64)
    # The patch about the middle of the crop, px for px.
    placements = np.array([[SIDE / LENGTH, (SIDE - 1) / 2, (SIDE - 1) / 2]])
    shapes = np.zeros((1, M))
    network.run(crop()[None], np.eye(3)[None].copy(), placements, shapes)
    seen = (image - image.mean()) / (image.std() + MIN_CONTRAST)
    said = said_in_floats(network.arrays(), seen)
    expected = PDM_.clamp(said[6 : 6 + M] * np.sqrt(PDM_.eigenvalues))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(shapes[0], expected, rtol=1e-3, atol=3e-3)


def test_what_is_added_may_be_far_beyond_what_the_next_layer_sees() -> None:
    # The second layer takes away nearly all of what it adds.
    rng = np.random.default_rng(6)
    content = arrays(units=np.repeat([0.003, 0.0095, 5e-3], [16, 16, OUTPUTS]).astype(np.float32))
    weights = content["start/network_weights"]
    weights[:400] = rng.integers(-127, 128, 400)
    weights[400:2704].reshape(3, 3, 16, 16)[1, 1] = -100 * np.eye(16, dtype=np.int8)
    weights[2704:] = rng.integers(-127, 128, weights.size - 2704)
    seen = rng.normal(size=(SIDE, SIDE)).clip(-2, 2)
    limits = [2.0] + [float(said_in_floats(content, seen, i).max()) for i in (1, 2)]
    assert limits[2] / limits[1] == pytest.approx(0.05, rel=1e-3)
    network = Network(PDM_, content | {"start/network_limits": np.array(limits, np.float32)})
    expected = said_in_floats(content, seen)
    assert np.abs(expected).max() > 0.3
    np.testing.assert_allclose(said_in_whole_numbers(network, seen), expected, atol=2e-3)


def test_the_shipped_network_says_what_floats_do() -> None:
    # Of faces as they are looked for, and of noise, to some of which its layers answer strongly.
    network = CLNF().learned_start.predictor
    assert isinstance(network, Network)
    face = cv2.imread(str(Path(__file__).parents[2] / "examples" / "rendered_face.jpg"), cv2.IMREAD_GRAYSCALE)
    rng, content, side, differences = np.random.default_rng(7), network.arrays(), network.side, []
    for i in range(80):
        turn = cv2.getRotationMatrix2D((276, 230), rng.uniform(-50, 50), side / rng.uniform(150, 500))
        turn[:, 2] += (side - 1) / 2 - np.array([276, 230]) + rng.normal(0, 8, 2)
        patch = cv2.warpAffine(face, turn, (side, side), flags=cv2.INTER_AREA).astype(np.float64)
        if i % 2:
            patch = cv2.GaussianBlur(rng.normal(128, 300, (side, side)), (0, 0), rng.uniform(0.5, 5)).clip(
                0, 255
            )
        seen = (patch - patch.mean()) / (patch.std() + MIN_CONTRAST)
        differences.append(said_in_whole_numbers(network, seen) - said_in_floats(content, seen))
    assert np.abs(differences).max() < 0.05


def test_what_a_layer_sees_goes_up_to_its_limit() -> None:
    # Each layer passes on what is in the middle of the patch.
    weights = [np.zeros((k, k, c, o), np.int8) for k, c, o in ((5, 1, 16), (3, 16, 16), (10, 16, OUTPUTS))]
    weights[0][2, 2, 0, 0] = weights[2][5, 5, 0, 0] = 100
    flat = np.concatenate([layer.reshape(-1) for layer in weights])
    image = np.full((SIDE, SIDE), 100, np.uint8)
    image[10, 10] = 200
    found = []
    for limits in ([20.0, 20.0, 40.0], [4.0, 20.0, 40.0], [20.0, 6.0, 40.0], [20.0, 20.0, 5.0]):
        units = np.full(32 + OUTPUTS, 0.01, np.float32)
        network = Network(PDM_, arrays(weights=flat, units=units, limits=np.array(limits, np.float32)))
        placements = np.array([[SIDE / LENGTH, (SIDE - 1) / 2, (SIDE - 1) / 2]])
        network.run(image[None], np.eye(3)[None].copy(), placements, np.zeros((1, M)))
        found.append(np.log(placements[0, 0] * LENGTH / SIDE))
    seen = (200 - image.mean()) / (image.std() + MIN_CONTRAST)
    assert seen > 6
    # The second layer adds what it sees, so that nothing changes there.
    np.testing.assert_allclose(found, [seen, 4, 6, 5], rtol=1e-3)


def test_brightness_and_contrast_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    weights = rng.integers(-127, 128, arrays()["start/network_weights"].size, dtype=np.int8)
    units = np.repeat([0.002, 1e-5], [32, OUTPUTS])
    network = Network(PDM_, arrays(weights=weights, units=units, limits=np.array([8.0, 8.0, 8.0])))
    image = rng.integers(0, 100, (80, 80), dtype=np.uint8)
    found = []
    for picture in (image, 2 * image + 30):
        placements = np.array([[0.3, 40.0, 40.0]])
        network.run(picture.astype(np.uint8)[None], np.eye(3)[None].copy(), placements, np.zeros((1, M)))
        found.append(placements[0] - [0.3, 40, 40])
    assert np.abs(found[0]).max() > 1e-6
    # The contrast is measured with four grey levels added.
    np.testing.assert_allclose(found[0], found[1], rtol=0.12, atol=1e-6)


def test_it_travels_in_a_start() -> None:
    content = arrays(np.full(6, 0.01)) | {"start/crop": np.array([80, 2.0], np.float32)}
    start = LearnedStart(PDM_, content)
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 1), dtype=np.uint8)
    found = start.hypotheses(image, (100, 60, 90, 80), 3)
    again = LearnedStart(PDM_, start.arrays())
    for one, other in zip(found, again.hypotheses(image, (100, 60, 90, 80), 3), strict=True):
        assert one.pose.tolist() == other.pose.tolist()
    assert {name: value.dtype for name, value in start.arrays().items()}["start/network_weights"] == np.int8
    assert found[0].pose.tolist() != found[1].pose.tolist()


def test_a_face_is_looked_for_near_where_it_was() -> None:
    says = np.zeros(6 + M)
    says[:7] = 0.05, 0.1, 0.2, 0.0, 0.02, -0.01, 1.0
    start = LearnedStart(PDM_, arrays(says) | {"start/crop": np.array([80, 2.0], np.float32)})
    assert start.follows
    image = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    before = Parameters(np.array([1.5, 0.3, -0.2, 0.4, 230.0, 190.0]), np.full(M, 2.0))
    (found,) = start.near(image, before)
    # Said of the upright face; without linear steps it does not matter what it looked like.
    roll = upright(before.rotation)
    shift = 1.5 * LENGTH * roll @ [0.02, -0.01]
    np.testing.assert_allclose(found.pose[[0, 4, 5]], [1.5 * np.exp(0.05), 230 + shift[0], 190 + shift[1]])
    expected = axis_angle_to_matrix(np.array([0.1, 0.2, 0.0]))
    expected[:2] = roll @ expected[:2]
    np.testing.assert_allclose(found.rotation, expected, atol=1e-6)
    np.testing.assert_allclose(found.shape[0], np.sqrt(PDM_.eigenvalues[0]), rtol=1e-6)
    assert (found.shape[1:] == 0).all()


def still_steps(content: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a network's arrays with linear steps that leave the face where it is."""
    still: dict[str, np.ndarray] = {
        "patch": np.array([[40, 0.3, 0.5, 20, 4]], np.float32),
        "offsets": np.zeros((1, 1, 2), np.float32),
        "edges": np.radians([25.0, 50.0]),
        "mirror": np.array(MIRROR_68, np.uint8),
        "weights": np.zeros((1, 3, 68, 4, 6), np.int8),
        "units": np.ones((1, 3, 6), np.float32),
        "bias": np.zeros((1, 3, 6), np.float32),
    }
    content |= {f"start/descent_{name}": value for name, value in still.items()}
    return content | {"start/crop": np.array([80, 2.0], np.float32)}


def test_near_what_a_face_is_looked_for() -> None:
    """Coefficients of any kind of number and place in memory, but as many as there are modes."""
    start = LearnedStart(PDM_, still_steps(arrays()))
    image = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    pose, shape = np.array([1.5, 0.0, 0.0, 0.0, 230.0, 190.0]), np.arange(M) / 2
    (expected,) = start.near(image, Parameters(pose, shape))
    assert expected.shape.any()
    for same in (shape.astype(np.float32), np.repeat(shape, 2)[::2]):
        (found,) = start.near(image, Parameters(pose, same))
        assert found.shape.tolist() == expected.shape.tolist()
    for other in (shape[:1], shape[:0], shape[None], np.zeros(M + 1)):
        with pytest.raises(ParameterError, match="shape coefficients"):
            start.near(image, Parameters(pose, other))
    for change in (0.0, -1.0, np.nan):
        with pytest.raises(ParameterError, match="near finite parameters"):
            start.near(image, Parameters(pose * [change, 1, 1, 1, 1, 1], shape))
    with pytest.raises(ParameterError, match="near finite parameters"):
        start.near(image, Parameters(pose, shape + np.inf))


@pytest.mark.parametrize(("moved", "share"), ((0.0, 0.3), (7.5, 0.15), (15.0, 0.0), (17.0, 0.0)))
def test_linear_steps_begin_nearer_to_the_frame_before_the_less_a_face_has_moved(
    moved: float, share: float
) -> None:
    says = np.zeros(6 + M)
    says[4], says[6] = moved / LENGTH, 1.0
    start = LearnedStart(PDM_, still_steps(arrays(says)))
    image = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    before = Parameters(np.array([1.5, 0.0, 0.0, 0.0, 230.0, 190.0]), np.arange(M) / M)
    (found,) = start.near(image, before)
    pose = before.pose + np.array([0, 0, 0, 0, 1.5 * moved * (1 - share), 0])
    np.testing.assert_allclose(found.pose, pose, atol=1e-4)
    seen = np.sqrt(PDM_.eigenvalues) * (np.arange(M) == 0)
    np.testing.assert_allclose(found.shape, seen + share * (before.shape - seen), atol=1e-5)


@pytest.mark.parametrize(
    ("moved", "grown", "looks"),
    # Hardly; enough for all looks; too much: its middle is no longer where the face was; by its size.
    ((15.0, 0.0, 1), (25.0, 0.0, 3), (40.0, 0.0, 2), (70.0, 0.0, 1), (0.0, 0.2, 1), (0.0, -0.3, 3)),
)
def test_a_face_that_has_moved_far_is_looked_for_again(moved: float, grown: float, looks: int) -> None:
    """Each look of this network finds the face as much further on."""
    says = np.zeros(6 + M)
    says[0], says[4] = grown, moved / LENGTH
    start = LearnedStart(PDM_, arrays(says) | {"start/crop": np.array([80, 2.0], np.float32)})
    image = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    before = Parameters(np.array([1.5, 0.0, 0.0, 0.0, 230.0, 190.0]), np.zeros(M))
    (found,) = start.near(image, before)
    scale, at = 1.5 * np.exp(looks * grown), 230 + looks * 1.5 * moved
    np.testing.assert_allclose(found.pose, [scale, 0, 0, 0, at, 190], atol=1e-4)


def test_a_face_that_turns_or_grows_has_moved() -> None:
    """A turn by a tenth moves the landmarks by less than 15 mm, one by a half by more; so does growth."""
    start = LearnedStart(PDM_, arrays() | {"start/crop": np.array([80, 2.0], np.float32)})
    before = np.eye(3)[None], np.array([[1.5, 40.0, 40.0]]), np.ones((1, M))

    def share(turn: float, growth: float) -> float:
        rotation = axis_angle_to_matrix(np.array([0.0, turn, 0.0]))
        faces = rotation[None], np.array([[1.5 * np.exp(growth), 40.0, 40.0]]), np.zeros((1, M))
        start._mix(faces, before, _KEPT, _MOVED)
        return float(faces[2][0, 0])

    for little, much in ((share(0.1, 0), share(0.5, 0)), (share(0, 0.1), share(0, 0.5))):
        assert 0 < little < 0.3 and much == 0


def layer(**changed: int) -> np.ndarray:
    names = ("kernel", "stride", "padding", "outputs", "residual", "rectify")
    table = arrays()["start/network_layers"].copy()
    for name, value in changed.items():
        table[1, names.index(name)] = value
    return table


@pytest.mark.parametrize(
    ("name", "value", "message"),
    (
        ("patch", np.zeros(2, np.float32), "a number of looks"),
        ("patch", np.array([20, np.nan, 1]), "a number of looks"),
        ("patch", np.array([1, 200, 1]), "out of range"),
        ("patch", np.array([300, 200, 1]), "out of range"),
        ("patch", np.array([20, 0.5, 1]), "out of range"),
        ("patch", np.array([20, 200, 0]), "out of range"),
        ("patch", np.array([20, 200, 5]), "out of range"),
        ("patch", np.array([22, 200, 1]), "2 x 2 places"),
        ("layers", np.zeros((0, 6), np.int32), "1 to 64 layers"),
        ("layers", np.zeros((65, 6), np.int32), "1 to 64 layers"),
        ("layers", np.zeros((2, 5), np.int32), "of six numbers"),
        ("layers", np.zeros(6, np.int32), "of six numbers"),
        ("layers", np.full((1, 6), 0.5), "do not fit"),
        ("layers", layer(kernel=0), "out of range"),
        ("layers", layer(kernel=13), "out of range"),
        ("layers", layer(stride=0), "out of range"),
        ("layers", layer(padding=3), "out of range"),
        ("layers", layer(padding=-1), "out of range"),
        ("layers", layer(outputs=8), "out of range"),
        ("layers", layer(outputs=2048), "out of range"),
        ("layers", layer(residual=2), "out of range"),
        ("layers", layer(rectify=-1), "out of range"),
        ("layers", np.append(layer()[:2], [[10, 1, 0, OUTPUTS, 1, 0]], axis=0), "cannot add"),
        ("layers", layer(outputs=32), "cannot add"),
        ("layers", layer(padding=0), "cannot add"),
        ("layers", layer(outputs=32, residual=0), "fewer weights"),
        ("layers", layer(kernel=1, padding=0), "more weights"),
        ("limits", np.ones(2, np.float32), "a limit"),
        ("limits", np.array([1.0, 0.0, 1.0]), "a limit"),
        ("limits", np.array([1.0, -1.0, 1.0]), "a limit"),
        ("limits", np.array([1.0, np.nan, 1.0]), "a limit"),
        ("limits", np.array([1.0, np.inf, 1.0]), "a limit"),
        ("limits", np.array([1.0, 1e11, 1e-11]), "32 bits"),
        ("weights", np.zeros(10, np.int8), "fewer weights"),
        ("weights", np.zeros((2, 5), np.int8), "a row of weights"),
        ("weights", np.full(10, 300), "do not fit"),
        ("weights", np.array(["a"]), "no numbers"),
        ("units", np.zeros(32 + OUTPUTS, np.float32), "32 bits"),
        ("units", np.ones(3, np.float32), "a unit and a bias"),
        ("units", np.full(32 + OUTPUTS, np.nan, np.float32), "units are a row"),
        ("biases", np.full(32 + OUTPUTS, 1e9, np.float32), "32 bits"),
        ("biases", np.full(32 + OUTPUTS, np.inf, np.float32), "biases are a row"),
        ("biases", np.zeros((2, 2), np.float32), "biases are a row"),
    ),
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Network(PDM_, arrays(**{name: value}))


def test_sums_stay_within_32_bits() -> None:
    # 1600 inputs of the last layer, each up to LEVELS = 16383: weights of 81 are the last that fit.
    assert LEVELS * 1600 * 81 < 2**31 <= LEVELS * 1600 * 82
    for weight in (81, -81, 82, -82):
        content = arrays()
        weights = content["start/network_weights"]
        weights[-1600 * OUTPUTS :].reshape(1600, OUTPUTS)[:, 3] = weight
        if abs(weight) == 81:
            Network(PDM_, content)
        else:
            with pytest.raises(ModelError, match="32 bits"):
                Network(PDM_, content)


@pytest.mark.parametrize("bias", (0.0, 2.0, -500.0))
def test_weights_get_units_in_which_sums_fit(bias: float) -> None:
    rng = np.random.default_rng(5)
    real = rng.normal(0, 0.02, (1600, OUTPUTS))
    real[:, 0] = 0.05  # of 127 each their sum would leave 32 bits
    real[:, 1] = 0
    real[7, 2] = 1  # the others are small beside it
    biases = np.full(OUTPUTS, bias)
    unit = weight_units(real, biases, 8.0)
    content = arrays(limits=np.array([8.0, 20.0, 8.0]))
    content["start/network_weights"][-real.size :] = np.rint(real / unit).astype(np.int8).reshape(-1)
    content["start/network_units"][-OUTPUTS:] = unit
    content["start/network_biases"][-OUTPUTS:] = biases
    assert np.abs(np.rint(real / unit)).max() <= 127
    assert unit[2] == pytest.approx(1 / 127)
    assert unit[0] > 0.05 / 82  # see above
    Network(PDM_, content)


def test_a_network_must_say_all_modes() -> None:
    table = arrays()["start/network_layers"].copy()
    table[2, 3] = 16
    ones = np.ones(48, np.float32)
    few = arrays(
        layers=table, weights=np.zeros(400 + 9 * 256 + 100 * 256, np.int8), units=ones, biases=0 * ones
    )
    with pytest.raises(ModelError, match="at least 20"):
        Network(PDM_, few)


def test_a_network_that_would_take_minutes_is_refused() -> None:
    table = np.array([[3, 1, 1, 1024, 0, 0]] + [[9, 1, 4, 1024, 1, 0]] * 2, np.int32)
    content = arrays(
        patch=np.array([256, 200.0, 1]),
        layers=table,
        limits=np.ones(3, np.float32),
        weights=np.zeros(9 * 1024, np.int8),
        units=np.ones(3072, np.float32),
        biases=np.zeros(3072, np.float32),
    )
    with pytest.raises(ModelError, match="products"):
        Network(PDM_, content)


@pytest.mark.parametrize("name", ("patch", "limits", "weights", "units", "biases"))
def test_a_network_is_whole(name: str) -> None:
    content = arrays()
    del content[f"start/network_{name}"]
    with pytest.raises(ModelError, match=name):
        Network(PDM_, content)


@pytest.mark.parametrize("value", (-1e12, 1e12))
def test_a_damaged_model_is_told(value: float) -> None:
    units = np.full(32 + OUTPUTS, 1e6, np.float32)
    content = arrays(np.array([value]), units=units) | {"start/crop": np.array([80, 2.0], np.float32)}
    start = LearnedStart(PDM_, content)
    with pytest.raises(ModelError, match="not finite"):
        start.hypotheses(np.full((200, 300, 1), 90, np.uint8), (100, 60, 90, 80))


@pytest.mark.parametrize("variant", sorted({"baseline", VARIANT} - {"reference"}))  # it checks nothing
def test_the_kernel_refuses_layers_that_do_not_fit(variant: str) -> None:
    kernels = load_variant(variant)
    table = np.array([[3, 1, 1, 16, 0, 1], [3, 1, 1, 16, 1, 1]], np.int32)
    table = np.append(table, [[1, 1, 0, 16, 0, 0]], axis=0).astype(np.int32)
    image, factors, biases = np.zeros((6, 6), np.int16), np.ones(48, np.float32), np.zeros(48, np.int32)
    # (A row of three weights of one input is read as two pairs.)
    weights, out = np.zeros(3 * 4 * 16 + 9 * 16 * 16 + 16 * 16, np.int8), np.zeros(6 * 6 * 16, np.float32)
    shares = np.ones(3, np.float32)
    right = (image, table, weights, factors, biases, shares, out)
    kernels.run_layers(*right)
    wrong = [(*right[:i], right[i][1:], *right[i + 1 :]) for i in (0, 2, 3, 4, 5, 6)]
    wrong += [
        (image, table[:0], weights[:0], factors[:0], biases[:0], shares[:0], out),
        (image, np.ascontiguousarray(table[:, :5]), *right[2:]),
    ]
    changes = ((0, 0), (0, 9), (1, 0), (2, -1), (3, 15), (3, 0), (2, 0), (10, 1))
    wrong += [
        (image, np.where(np.arange(18).reshape(3, 6) == 6 + i, value, table).astype(np.int32), *right[2:])
        for i, value in changes
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match="do not fit"):
            kernels.run_layers(*arguments)
