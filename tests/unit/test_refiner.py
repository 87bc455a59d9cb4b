"""The refiner, after the linear steps of the learned start."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_faces import dataset, smooth_picture

from pyclnf import Model, ModelError, _limits
from pyclnf.descent import upright
from pyclnf.pdm import PDM, axis_angle_to_matrix, euler_to_matrix
from pyclnf.refiner import Refiner
from pyclnf.start import LearnedStart
from pyclnf.training import build_pdm

K, OWN, HIDDEN, SIDE = 4, 6, 5, 40


@pytest.fixture(scope="module")
def pdm() -> PDM:
    return build_pdm(dataset(60, np.random.default_rng(4), yaw=0.8)[3], variance=0.99)


def arrays(seed: int = 0, **changed: np.ndarray) -> dict[str, np.ndarray]:
    """Return a refiner of random numbers."""
    rng = np.random.default_rng(seed)

    def dense(name: str, *shape: int) -> dict[str, np.ndarray]:
        row = shape[:-2] + shape[-1:]
        return {
            f"{name}_weights": rng.integers(-127, 128, shape, dtype=np.int8),
            f"{name}_units": np.full(row, 1 / (73 * np.sqrt(shape[-2])), np.float32),
            f"{name}_bias": rng.normal(0, 0.1, row).astype(np.float32),
        }

    own = {
        "patch": np.float32([SIDE, 0.25]),
        "layers": np.int32([[5, 2, 2, 16, 0, 1], [3, 1, 1, 16, 0, 1]]),
        "limits": np.float32([6, 6]),
        "weights": rng.integers(-127, 128, 25 * 16 + 9 * 16 * 16, dtype=np.int8),
        "units": np.repeat(np.float32([1 / (73 * 5), 1 / (73 * 12)]), 16),
        "biases": np.zeros(32, np.float32),
        "offsets": np.float32([[0, 0], [3, 0], [0, -3]]),
        **dense("point", 68, 3 * 16, OWN),
        **dense("hidden", 68 * OWN + K + 9, HIDDEN),
        **dense("last", 68 * OWN + HIDDEN, 6 + K),
    }
    return {f"refiner/{name}": np.asarray(value) for name, value in (own | changed).items()}


def still(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """Return a refiner that sees nothing: it moves every face by its last bias."""
    nothing = {"last_weights": np.zeros((68 * OWN + HIDDEN, 6 + K), np.int8)}
    return arrays(**nothing | {"last_bias": np.zeros(6 + K, np.float32)} | changed)


def run(refiner: Refiner, picture: np.ndarray, *state: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return rotation, placement and shape of one face after the refiner."""
    after = [np.array(values, np.float64)[None] for values in state]
    refiner.run(picture[None], *after)
    return tuple(values[0] for values in after)


FACE = (euler_to_matrix((0.1, 0.3, 0.4)), np.array([0.4, 60.0, 61.0]), np.array([3.0, -2.0, 1.0, 0.5]))


def test_what_sees_nothing_moves_by_its_bias(pdm: PDM) -> None:
    R, placement, shape = FACE
    bias = np.float32([0.1, 0.05, -0.02, 0.03, 2.0, -3.0, 1.0, -1.0, 0.5, 0.0])
    refiner = Refiner(pdm, still(last_bias=bias))
    rotation, placed, shaped = run(refiner, smooth_picture(), R, placement, shape)
    plane = upright(R)
    assert placed[0] == pytest.approx(0.4 * np.exp(0.1))
    np.testing.assert_allclose(placed[1:], [60, 61] + 0.4 * plane @ [2, -3], atol=1e-6)
    np.testing.assert_allclose(shaped, shape + np.array([1, -1, 0.5, 0]), atol=1e-6)
    np.testing.assert_allclose(
        rotation, axis_angle_to_matrix([*(plane @ [0.05, -0.02]), 0.03]) @ R, atol=1e-6
    )


def test_a_face_moves_with_its_picture(pdm: PDM) -> None:
    """The picture shifted by whole pixels, and the face in it: the same update, from other pixels another."""
    refiner, (R, placement, shape) = Refiner(pdm, arrays()), FACE
    wide = np.pad(smooth_picture(), 20, mode="edge")
    rotation, placed, shaped = run(refiner, wide, R, placement + np.array([0, 20, 20]), shape)
    shifted = np.ascontiguousarray(np.roll(wide, (3, -5), (0, 1)))
    again = run(refiner, shifted, R, placement + np.array([0, 15, 23]), shape)
    np.testing.assert_allclose(again[0], rotation, atol=1e-6)
    np.testing.assert_allclose(again[1] - placed, [0, -5, 3], atol=1e-5)
    np.testing.assert_allclose(again[2], shaped, atol=1e-5)
    other = run(
        refiner, np.pad(smooth_picture(1), 20, mode="edge"), R, placement + np.array([0, 20, 20]), shape
    )
    assert np.abs(other[2] - shaped).max() > 1e-3


def test_light_and_contrast_do_not_matter_much(pdm: PDM) -> None:
    refiner = Refiner(pdm, arrays())
    dark = (smooth_picture() // 2 + 40).astype(np.uint8)
    plain, dimmed = run(refiner, smooth_picture(), *FACE), run(refiner, dark, *FACE)
    # The deviation of the patch is halved, but not what is added to it.
    np.testing.assert_allclose(dimmed[2], plain[2], atol=0.1 * np.abs(plain[2] - FACE[2]).max())


def test_each_face_by_itself(pdm: PDM) -> None:
    """Faces of several crops at once come out as each does alone."""
    refiner, crops = Refiner(pdm, arrays()), np.stack([smooth_picture(0), smooth_picture(1)])
    rng = np.random.default_rng(3)
    faces = [(FACE[0], FACE[1] + [0, *rng.normal(0, 3, 2)], rng.normal(0, 2, K)) for _ in range(4)]
    together = [np.stack(column) for column in zip(*faces, strict=True)]
    refiner.run(crops, *together)
    for i, face in enumerate(faces):
        for whole, alone in zip(together, run(refiner, crops[i // 2], *face), strict=True):
            np.testing.assert_array_equal(whole[i], alone)


def test_modes_beyond_its_own_stay(pdm: PDM) -> None:
    shape = np.arange(7.0)
    _, _, shaped = run(Refiner(pdm, arrays()), smooth_picture(), *FACE[:2], shape)
    np.testing.assert_array_equal(shaped[K:], shape[K:])
    assert (shaped[:K] != shape[:K]).all()


@pytest.mark.parametrize("value", (np.nan, np.inf, 0.0, -1.0))
def test_a_face_that_is_none_is_said_to_be_lost(pdm: PDM, value: float) -> None:
    _, placed, _ = run(
        Refiner(pdm, arrays()), smooth_picture(), FACE[0], np.array([value, 60.0, 61.0]), FACE[2]
    )
    assert np.isnan(placed).all()


def test_a_refiner_sees_far_beyond_the_picture(pdm: PDM) -> None:
    refiner, picture = Refiner(pdm, arrays()), smooth_picture()
    _, placed, _ = run(refiner, picture, FACE[0], np.array([0.4, 1e6, -1e6]), FACE[2])
    assert np.isfinite(placed).all()


# --- in a model file


def test_a_start_looks_once_more(pdm: PDM) -> None:
    """The shipped start with a refiner that shifts: what it says is shifted where it looks at both sides."""
    model = Model.load("src/pyclnf/data/default.npz")
    plain = {name: value for name, value in model.arrays.items() if not name.startswith("refiner/")}
    bias = np.zeros(6 + K, np.float32)
    bias[5] = 4.0  # mm, downwards
    start, moved = (LearnedStart(model.pdm, own) for own in (plain, plain | still(last_bias=bias)))
    assert start.refiner is None and moved.refiner is not None
    picture, box = np.pad(smooth_picture(), 40, mode="edge")[:, :, None], (60, 60, 80, 90)
    (a,), (b,) = (one.hypotheses(picture, box, mirrored=True) for one in (start, moved))
    down = np.array([-np.sin(a.pose[3]), np.cos(a.pose[3])])
    np.testing.assert_allclose(b.pose[4:] - a.pose[4:], 4 * a.pose[0] * down, rtol=0.05, atol=0.1)
    np.testing.assert_allclose(b.shape, a.shape, atol=1e-9)
    # In videos there is no time for it.
    (a,), (b,) = (one.hypotheses(picture, box) for one in (start, moved))
    np.testing.assert_array_equal(b.pose, a.pose)
    (a,), (b,) = (one.near(picture, a) for one in (start, moved))
    np.testing.assert_array_equal(b.pose, a.pose)
    assert set(moved.arrays()) - set(start.arrays()) == set(still())


def test_a_refiner_is_kept_in_a_file(pdm: PDM, tmp_path: pytest.TempPathFactory) -> None:
    file = tmp_path / "model.npz"
    model = Model.load("src/pyclnf/data/default.npz")
    content = {k: v for k, v in model.arrays.items() if not k.startswith("refiner/")} | arrays()
    Model(model.pdm, model.scales, arrays=content).save(file, dtype="float16")
    read = Model.load(file)
    for name, value in arrays().items():
        assert read.arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(read.arrays[name], value)
    assert Refiner.read(read.pdm, read.arrays).n_modes == K
    assert Refiner.read(read.pdm, {}) is None


@pytest.mark.parametrize("name", arrays())
def test_each_array_is_needed(pdm: PDM, name: str) -> None:
    content = arrays()
    del content[name]
    with pytest.raises(ModelError, match=f"lacks the arrays .*{name.removeprefix('refiner/')}"):
        Refiner(pdm, content)


@pytest.mark.parametrize(
    ("changed", "words"),
    (
        ({"patch": np.float32([SIDE])}, "patch"),
        ({"patch": np.float32([_limits.MAX_NETWORK_SIDE + 1, 0.25])}, "patch"),
        ({"patch": np.float32([SIDE, 0])}, "patch"),
        ({"patch": np.float32([np.nan, 1])}, "numbers up to"),
        ({"offsets": np.zeros((0, 2), np.float32)}, "places around"),
        ({"offsets": np.zeros((_limits.MAX_DESCENT_SAMPLES + 1, 2), np.float32)}, "places around"),
        ({"offsets": np.zeros(2, np.float32)}, "places around"),
        ({"offsets": np.float32([[0, 0], [3, 0]])}, "point_weights"),
        ({"offsets": np.float32([[0, 0], [3, 0], [0, np.inf]])}, "numbers up to"),
        ({"layers": np.int32([[5, 2, 2, 16, 0, 1]])}, "the refiner has a limit"),
        ({"weights": np.zeros(25 * 16 + 9 * 16 * 16 + 1, np.int8)}, "the refiner has more weights"),
        ({"limits": np.float32([6, 0])}, "the refiner has a limit"),
        ({"units": np.full(32, np.nan, np.float32)}, "numbers up to"),
        ({"point_units": np.ones((68, OWN + 1), np.float32)}, "point_units"),
        ({"point_weights": np.ones((68, 48, 0), np.int8)}, "point_weights"),
        ({"point_weights": np.ones((68, 48, OWN), np.float32) / 2}, "do not fit into int8"),
        ({"point_weights": np.int8(1)}, "point_weights"),
        ({"hidden_weights": np.ones((68 * OWN + K + 8, HIDDEN), np.int8)}, "hidden_weights"),
        ({"hidden_bias": np.zeros((1, HIDDEN), np.float32)}, "hidden_bias"),
        ({"last_weights": np.ones((68 * OWN + HIDDEN, 5), np.int8)}, "changes -1 modes"),
        ({"last_weights": np.ones((68 * OWN + HIDDEN, 300), np.int8)}, "changes 294 modes"),
        ({"last_weights": np.int8(1)}, "last_weights"),
        ({"last_bias": np.full(6 + K, 1e30, np.float32)}, "numbers up to"),
        ({"last_bias": np.array(["a"] * (6 + K))}, "no numbers"),
    ),
)
def test_damage_is_found(pdm: PDM, changed: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Refiner(pdm, arrays(**changed))


def test_no_more_modes_than_are_predicted(pdm: PDM) -> None:
    trees = {
        "start/landmarks": np.zeros((1, 2), np.uint8),
        "start/offsets": np.zeros((1, 2, 2), np.float16),
        "start/splits": np.zeros((1, 1, 1, 2), np.uint16),
        "start/thresholds": np.zeros((1, 1, 1), np.float16),
        "start/leaves": np.zeros((1, 1, 2, 6 + K - 1), np.int8),
        "start/units": np.ones((1, 6 + K - 1), np.float32),
        "start/crop": np.array([80, 2.0], np.float32),
    }
    with pytest.raises(ModelError, match="more modes than are predicted"):
        LearnedStart(pdm, trees | arrays())
