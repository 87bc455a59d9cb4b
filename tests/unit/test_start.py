"""Crops and the learned start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from generate_model import generate_image, generate_model
from pyclnf import CLNF, Model, ModelError, ParameterError, Parameters
from pyclnf.clnf import MAX_DISAGREEMENT
from pyclnf.confidence import shape_energy
from pyclnf.crop import Crop
from pyclnf.pdm import PDM, axis_angle_to_matrix
from pyclnf.start import BOX_CHANGES, Guesses, LearnedStart

MODEL = generate_model()
EXAMPLE = Path(__file__).parents[2] / "examples" / "rendered_face.jpg"


def arrays(side: int = 40, stages: int = 2) -> dict[str, np.ndarray]:
    """Return a start whose every leaf moves the face by (1, -2) mm a stage and turns it by 0.1 rad."""
    trees, nodes = 5, 3
    leaves = np.zeros((stages, trees, nodes + 1, 8), np.int8)
    leaves[..., 2], leaves[..., 4], leaves[..., 5] = 20, 20, -40
    return {
        "start/landmarks": np.arange(2 * stages, dtype=np.uint8).reshape(stages, 2),
        "start/offsets": np.zeros((stages, 2, 2), np.float16),
        "start/splits": np.zeros((stages, trees, nodes, 2), np.uint16),
        "start/thresholds": np.zeros((stages, trees, nodes), np.float16),
        "start/leaves": leaves,
        "start/units": np.full((stages, 8), 0.01, np.float32) * [1, 1, 0.1, 1, 1, 1, 1, 1],
        "start/crop": np.array([side, 2.0], np.float32),
    }


def with_prior(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """Return a start with a prior about its guesses."""
    m = MODEL.pdm.n_modes
    prior = {"basis": np.eye(m, dtype=np.float32), "variances": np.full(m, 0.5, np.float32)} | changed
    return arrays() | {f"start/{name}": value for name, value in prior.items()}


def with_start(**changed: np.ndarray) -> Model:
    content = arrays() | {f"start/{name}": value for name, value in changed.items()}
    return Model(MODEL.pdm, MODEL.scales, name="with start", arrays=content)


# --- crops


# A pixel is of one colour, so that the part of it in an area has its middle up to 1/8 px elsewhere than
# the ramp has; beyond 6 px a step, pixels stand for areas whose middles lie within half a pixel.
@pytest.mark.parametrize(
    ("step", "offset"),
    ((0.5, 0.0), (1.0, 0.125), (1.6, 0.125), (2.0, 0.125), (2.7, 0.125), (5.9, 0.125), (9.3, 0.5)),
)
def test_a_ramp_stays_a_ramp(step: float, offset: float) -> None:
    y, x = np.mgrid[:400, :400].astype(np.float32)
    image = (0.2 * x + 0.3 * y)[:, :, None]
    side = 30
    crop = Crop.cut(image, (203.2, 198.9), side * step, side)
    v, u = np.mgrid[:side, :side].astype(float)
    at = crop.points_out(np.stack([u, v], axis=-1))
    expected = 0.2 * at[..., 0] + 0.3 * at[..., 1]
    np.testing.assert_allclose(crop.pixels, expected, atol=1e-3 + (0.2 + 0.3) * offset)


def test_whole_areas_are_averaged_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    blocks = image[10:50, 20:60].reshape(20, 2, 20, 2).mean(axis=(1, 3))
    exact = Crop.cut(image[:, :, None].astype(np.float32), (39.5, 29.5), 40.0, 20)
    np.testing.assert_allclose(exact.pixels, blocks, atol=1e-4)
    crop = Crop.cut(image[:, :, None], (39.5, 29.5), 40.0, 20)
    np.testing.assert_array_equal(crop.pixels, np.floor(blocks + 0.5))


@pytest.mark.parametrize("step", (0.5, 1.0, 1.6, 2.0, 9.3))
@pytest.mark.parametrize("centre", ((0.0, 12.0), (29.0, 23.0), (-100.0, 10.0), (14.0, 300.0)))
def test_beyond_the_image_its_outermost_pixels_go_on(step: float, centre: tuple[float, float]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 1)).astype(np.float32)
    side, around = 20, 400
    crop = Crop.cut(image, centre, side * step, side)
    wide = np.pad(image, [(around, around), (around, around), (0, 0)], mode="edge")
    x, y = centre
    whole = Crop.cut(wide, (x + around, y + around), side * step, side)
    np.testing.assert_allclose(crop.pixels, whole.pixels, atol=1e-3)


def test_parameters_go_in_and_out() -> None:
    crop = Crop(np.empty((0, 0), np.float32), 12.5, -7.0, 3.3)
    parameters = Parameters(np.array([4.0, 0.1, -0.2, 0.3, 250.0, 180.0]), np.ones(MODEL.pdm.n_modes))
    inside = crop.parameters_in(parameters)
    np.testing.assert_allclose(
        crop.points_out(MODEL.pdm.landmarks_2d(inside)), MODEL.pdm.landmarks_2d(parameters), atol=1e-9
    )
    back = crop.parameters_out(inside)
    np.testing.assert_allclose(back.pose, parameters.pose, atol=1e-12)


# --- the start


def test_every_stage_adds_its_leaves() -> None:
    image = np.zeros((300, 300, 1), np.uint8)
    (found,) = LearnedStart(MODEL.pdm, arrays()).hypotheses(image, (100, 100, 120, 110))
    begin = MODEL.pdm.from_box((100, 100, 120, 110))
    # Five trees of 20 and -40 hundredths of a mm, twice; turns of 5 * 20 * 0.001 rad about y.
    moved = (found.pose[4:6] - begin.pose[4:6]) / begin.pose[0]
    np.testing.assert_allclose(moved, [2.0, -4.0], atol=1e-5)
    np.testing.assert_allclose(found.pose[1:4], [0, 0.2, 0], atol=1e-6)
    assert found.pose[0] == pytest.approx(begin.pose[0])


def test_hypotheses_start_from_other_boxes() -> None:
    start = LearnedStart(MODEL.pdm, arrays())
    image = np.zeros((300, 300, 3), np.uint8)
    found = start.hypotheses(image, (100, 100, 120, 110), 5)
    assert len({tuple(one.pose.round(6)) for one in found}) == 5
    assert found[0].pose.tolist() == start.hypotheses(image, (100, 100, 120, 110))[0].pose.tolist()
    with pytest.raises(ParameterError, match="1 to 9"):
        start.hypotheses(image, (0, 0, 9, 9), len(BOX_CHANGES) + 1)


def test_landmarks_too_far_for_single_precision_are_a_failure_without_a_warning(monkeypatch) -> None:
    clnf, image = CLNF(MODEL, starts="frontal"), np.zeros((300, 300), np.uint8)
    fit_from = clnf.fit_from

    def astray(*arguments: object) -> object:
        result, start = fit_from(*arguments)
        return replace(result, landmarks=result.landmarks * 1e300, failure="astray"), start

    monkeypatch.setattr(clnf, "fit_from", astray)
    landmarks, info = clnf.fit(image, (100, 100, 120, 110))
    assert landmarks.dtype == np.float32 and not info["success"]
    assert np.isfinite(landmarks).all() and np.abs(landmarks).max() > 1e38


def test_a_start_that_knows_no_counterparts_looks_at_no_mirror_image() -> None:
    with pytest.raises(ModelError, match="mirror"):
        LearnedStart(MODEL.pdm, arrays()).hypotheses(
            np.zeros((300, 300, 1), np.uint8), (100, 100, 120, 110), mirrored=True
        )
    own = {"image": {"mirrored": True}}
    assert not CLNF(Model(MODEL.pdm, MODEL.scales, metadata={"fit": own}, arrays=arrays())).mirrored


@pytest.mark.parametrize(
    ("name", "value", "message"),
    (
        ("landmarks", np.full((2, 2), 68, np.uint8), "do not exist"),
        ("splits", np.full((2, 5, 3, 2), 2, np.uint16), "do not exist"),
        ("offsets", np.full((2, 2, 2), np.nan, np.float16), "not finite"),
        ("thresholds", np.zeros((2, 5, 4), np.float16), "have shape"),
        ("leaves", np.zeros((2, 5, 4, 5), np.int8), "units have shape"),
        ("leaves", np.zeros((2, 5, 4), np.int8), "number of dimensions"),
        ("crop", np.array([40.0, 0.0]), "out of range"),
    ),
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LearnedStart(MODEL.pdm, arrays() | {f"start/{name}": value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    (
        ("basis", np.eye(3), "have shapes"),
        ("basis", 1.01 * np.eye(MODEL.pdm.n_modes), "not orthonormal"),
        ("basis", np.full((MODEL.pdm.n_modes, MODEL.pdm.n_modes), np.nan), "not orthonormal"),
        ("variances", np.zeros(MODEL.pdm.n_modes), "variances must lie"),
        ("variances", np.full(MODEL.pdm.n_modes, np.inf), "variances must lie"),
        ("variances", np.ones(3), "have shapes"),
    ),
)
def test_priors_that_cannot_be_are_refused(name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LearnedStart(MODEL.pdm, with_prior(**{name: value}))


def test_a_prior_is_whole_or_absent() -> None:
    assert LearnedStart(MODEL.pdm, arrays()).prior is None
    content = with_prior()
    start = LearnedStart(MODEL.pdm, content)
    again = LearnedStart(MODEL.pdm, start.arrays())
    assert start.prior is not None and again.prior is not None
    np.testing.assert_array_equal(again.prior.components, start.prior.components)
    del content["start/variances"]
    with pytest.raises(ModelError, match="variances"):
        LearnedStart(MODEL.pdm, content)


@pytest.mark.parametrize("name", ["units", "crop"])
def test_a_missing_array_is_named(name: str) -> None:
    content = arrays()
    del content[f"start/{name}"]
    with pytest.raises(ModelError, match=rf"lacks .*{name}"):
        LearnedStart(MODEL.pdm, content)


def test_a_model_with_a_start_uses_it() -> None:
    clnf = CLNF(with_start())
    assert clnf.starts == "learned"
    image = np.zeros((300, 300), np.uint8)
    starts = clnf.starts_in(image[:, :, None], (100, 100, 120, 110))
    assert starts[0].pose[2] == pytest.approx(0.2, abs=1e-6)
    assert CLNF(with_start(), starts="frontal").starts == ((0.0, 0.0, 0.0),)


def test_a_prior_holds_the_fit_to_the_learned_start() -> None:
    """But not one that starts elsewhere."""
    truth = Parameters(np.array([1.2, 0, 0, 0, 150.0, 160.0]), np.zeros(MODEL.pdm.n_modes))
    points = MODEL.pdm.landmarks_2d(truth)
    image, box = generate_image(MODEL, truth), [*(points.min(axis=0) + 5), *np.ptp(points, axis=0)]
    tiny = np.full(MODEL.pdm.n_modes, 1e-5)
    plain, held = (
        CLNF(Model(MODEL.pdm, MODEL.scales, arrays=content))
        for content in (arrays(), with_prior(variances=tiny))
    )
    start = held.starts_in(image[:, :, None], box)[0]
    shapes = [np.abs(clnf.fit(image, box)[1]["params"].shape - start.shape).max() for clnf in (plain, held)]
    assert shapes[1] < 0.1 * shapes[0]
    frontal = [clnf.fit(image, box, starts="frontal")[0] for clnf in (plain, held)]
    np.testing.assert_array_equal(*frontal)


def test_a_model_without_a_start_says_so() -> None:
    model = Model(MODEL.pdm, MODEL.scales, name="plain")
    assert CLNF(model).starts == ((0.0, 0.0, 0.0),)
    with pytest.raises(ParameterError, match="no learned start"):
        CLNF(model, starts="learned")


# --- numbers in the model


def test_a_model_brings_its_own_numbers() -> None:
    own = {"video": {"windows": [9, 7, 7], "sigma": 2.0, "hypotheses": 3}}
    model = Model(MODEL.pdm, MODEL.scales, metadata={"fit": own})
    clnf = CLNF(model, parameters="video")
    assert (clnf.parameters.windows, clnf.parameters.sigma, clnf.hypotheses) == ((9, 7, 7), 2.0, 3)
    assert clnf.settings("tracking").windows == (0, 7, 7)
    assert CLNF(model).parameters == CLNF(MODEL, starts="frontal").parameters
    assert CLNF(model, parameters="video", sigma=1.0).parameters.sigma == 1.0
    with pytest.raises(ModelError, match="sigma"):
        CLNF(Model(MODEL.pdm, MODEL.scales, metadata={"fit": {"image": {"sigma": "wide"}}}))


def test_other_starts_have_numbers_of_their_own() -> None:
    own = {
        "image": {"windows": [0, 0, 7], "sigma": 2.0},
        "image_far": {"windows": [11, 9, 7]},
        "video": {"windows": [0, 0, 5]},
        "video_far": {"windows": [9, 7, 5]},
        "tracking": {"windows": [0, 0, 3]},
    }
    model = Model(MODEL.pdm, MODEL.scales, metadata={"fit": own}, arrays=arrays())
    learned, frontal = CLNF(model), CLNF(model, starts="frontal")
    assert (learned.parameters.windows, learned.parameters.sigma) == ((0, 0, 7), 2.0)
    assert (frontal.parameters.windows, frontal.parameters.sigma) == ((11, 9, 7), 1.25)
    assert [clnf.settings("video").windows for clnf in (learned, frontal)] == [(0, 0, 5), (9, 7, 5)]
    assert [clnf.settings("tracking").windows for clnf in (learned, frontal)] == [(0, 0, 3), (0, 7, 5)]
    # The start of a single fit counts, too.
    truth = Parameters(np.array([1.2, 0, 0, 0, 150.0, 160.0]), np.zeros(MODEL.pdm.n_modes))
    points = MODEL.pdm.landmarks_2d(truth)
    box, image = [*points.min(axis=0), *np.ptp(points, axis=0)], generate_image(MODEL, truth)
    near, far = (
        [clnf.fit(image, box, starts=to)[0] for clnf in (learned, frontal)] for to in ("learned", "frontal")
    )
    np.testing.assert_array_equal(*near)
    np.testing.assert_array_equal(*far)
    assert not np.array_equal(near[0], far[0])
    # What is given by name holds for every start.
    assert CLNF(model, starts="frontal", windows=(5, 5, 5)).parameters.windows == (5, 5, 5)
    # A scale that they skip has the window of other models.
    scales = [scale.scale for scale in MODEL.scales]
    assert [CLNF(model, scale=scale).parameters.windows for scale in scales] == [
        (15, 0, 0),
        (0, 13, 0),
        (0, 0, 7),
    ]


def test_a_cascade_does_not_follow() -> None:
    assert not LearnedStart(MODEL.pdm, arrays()).follows


def test_large_faces_are_reduced() -> None:
    truth = Parameters(np.array([4.0, 0, 0.05, 0, 330.0, 340.0]), np.zeros(MODEL.pdm.n_modes))
    image = generate_image(MODEL, truth, (700, 680))
    points = MODEL.pdm.landmarks_2d(truth)
    box = [*(points.min(axis=0) + 12), *np.ptp(points, axis=0)]
    limited = Model(MODEL.pdm, MODEL.scales, metadata={"max_scale": 1.25})
    landmarks, info = CLNF(limited).fit(image, box)
    assert np.linalg.norm(landmarks - points, axis=1).mean() < 6  # 1.5 mm
    assert info["params"].pose[0] == pytest.approx(4.0, rel=0.03)
    np.testing.assert_allclose(landmarks, MODEL.pdm.landmarks_2d(info["params"]), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("centre", "length", "side"),
    [((150.3, 120.7), 180.0, 64), ((20.0, 10.0), 300.0, 50), ((381.0, 290.0), 90.0, 128)],
)
def test_a_crop_does_not_depend_on_how_the_image_lies_in_memory(
    centre: tuple[float, float], length: float, side: int, channels: int, dtype: type
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, channels)).astype(dtype)
    whole = Crop.cut(image, centre, length, side)
    for turns in range(4):
        for way in (1, -1):
            laid = np.ascontiguousarray(np.rot90(image, -turns)[:, ::way])
            seen = np.rot90(laid[:, ::way], turns)
            np.testing.assert_array_equal(seen, image)
            crop = Crop.cut(seen, centre, length, side)
            np.testing.assert_allclose(crop.pixels, whole.pixels, atol=1 if dtype == np.uint8 else 1e-3)
            assert (crop.left, crop.top, crop.step) == pytest.approx(
                (whole.left, whole.top, whole.step), abs=1e-9
            )


@pytest.mark.parametrize("kept", (True, False))
def test_a_large_face_is_fitted_in_the_crop_in_which_it_was_seen(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same landmarks as in one of its own, and what is found is where the image has it."""
    truth = Parameters(np.array([4.0, 0, 0.05, 0, 330.0, 340.0]), np.zeros(MODEL.pdm.n_modes))
    image = generate_image(MODEL, truth, (700, 680))
    points = MODEL.pdm.landmarks_2d(truth)
    box = [*points.min(axis=0), *np.ptp(points, axis=0)]
    says = arrays(side=300) | {"start/leaves": np.zeros((2, 5, 4, 8), np.int8)}
    model = Model(MODEL.pdm, MODEL.scales, metadata={"max_scale": 1.25}, arrays=says)
    if not kept:
        monkeypatch.setattr(Guesses, "fits_in_crop", lambda self, limit: False)
    crops: list[Crop] = []
    cut = Crop.cut.__func__

    def counted(cls: type[Crop], *args: object) -> Crop:
        crops.append(cut(cls, *args))
        return crops[-1]

    monkeypatch.setattr(Crop, "cut", classmethod(counted))
    landmarks, info = CLNF(model).fit(image, box)
    assert len(crops) == (1 if kept else 2)
    assert np.linalg.norm(landmarks - points, axis=1).mean() < 6  # 1.5 mm
    assert info["params"].pose[0] == pytest.approx(4.0, rel=0.03)


@pytest.mark.parametrize(
    ("pose", "fits"),
    (
        ((1.0, 150.0, 150.0), True),
        ((0.76, 150.0, 150.0), True),
        ((0.74, 150.0, 150.0), False),  # seen too small
        ((1.26, 150.0, 150.0), False),
        ((1.0, 40.0, 150.0), False),  # too close to an edge
        ((1.0, 150.0, 260.0), False),
        ((1.0, np.nan, 150.0), False),
        ((np.inf, 150.0, 150.0), False),
    ),
)
def test_which_faces_are_fitted_in_the_crop(pose: tuple[float, float, float], fits: bool) -> None:
    crop = Crop(np.zeros((300, 300), np.uint8), 0.0, 0.0, 1.0)
    face = Parameters(np.array([pose[0], 0, 0, 0, *pose[1:]]), np.zeros(MODEL.pdm.n_modes))
    assert Guesses([face], crop, 120.0).fits_in_crop(1.0) is fits


# --- boxes that do not fit


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sides of all squares that learned starts look at."""
    found: list[float] = []
    original = LearnedStart._looked_at

    def counted(
        start: LearnedStart, image: np.ndarray, centre: object, length: float, *args, **more
    ) -> Guesses:
        found.append(length)
        return original(start, image, centre, length, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(LearnedStart, "_looked_at", counted)
    return found


BOX = (165.0, 108.0, 222.0, 267.0)  # of the face in examples/rendered_face.jpg


@pytest.mark.parametrize("parameters", ("image", "video"))
@pytest.mark.parametrize(
    ("right", "down", "size"),
    ((0.35, 0, 1), (-0.35, 0.2, 1), (0, -0.4, 1.2), (0.2, 0.2, 1.5), (-0.1, 0, 0.6)),
)
def test_a_face_is_found_from_a_box_that_is_off(
    looks: list[float], parameters: str, right: float, down: float, size: float
) -> None:
    clnf, image = CLNF(parameters=parameters), rendered_picture()
    expected, _ = clnf.fit(image, BOX)
    assert len(looks) == 1
    x, y, w, h = BOX
    box = (x + right * w - (size - 1) / 2 * w, y + down * h - (size - 1) / 2 * h, size * w, size * h)
    found, info = clnf.fit(image, box)
    assert len(looks) in (3, 4)
    assert np.linalg.norm(found - expected, axis=1).mean() < 0.015 * w
    assert info["success"] and info["confidence"] is not None and info["confidence"] > 0.5


def rendered_picture() -> np.ndarray:
    return np.asarray(cv2.imread(str(EXAMPLE)))


# --- confidence


def test_confidence_follows_likelihood_and_shape() -> None:
    calibrated = {"image": {"intercept": 0.0, "likelihood": 2.0, "shape": -0.5}}
    model = Model(MODEL.pdm, MODEL.scales, metadata={"confidence": calibrated})
    truth = Parameters(np.array([1.2, 0, 0, 0, 150.0, 160.0]), np.zeros(MODEL.pdm.n_modes))
    points = MODEL.pdm.landmarks_2d(truth)
    box = [*points.min(axis=0), *np.ptp(points, axis=0)]
    _, info = CLNF(model).fit(generate_image(MODEL, truth), box)
    q = info["params"].shape
    logit = 2 * info["likelihood"] - 0.5 * np.mean(q * q / MODEL.pdm.eigenvalues)
    assert info["confidence"] == pytest.approx(1 / (1 + np.exp(-logit)))
    # A start far away has a lower likelihood, and other numbers than the calibrated ones have no confidence.
    _, elsewhere = CLNF(model).fit(generate_image(MODEL, truth), [box[0] + 130, *box[1:]])
    assert elsewhere["confidence"] is not None and elsewhere["confidence"] < info["confidence"]
    assert CLNF(model, sigma=2.0).fit(generate_image(MODEL, truth), box)[1]["confidence"] is None
    assert CLNF(model, parameters="video").fit(generate_image(MODEL, truth), box)[1]["confidence"] is None


def test_fits_with_two_looks_have_a_confidence_of_their_own() -> None:
    """Which falls as the looks lie apart; fits from other starts have the usual one."""
    model = CLNF().model
    plain = {"intercept": 0.5, "likelihood": 0.0, "shape": 0.0}
    model.metadata["confidence"] = {
        "image": plain,
        "image_mirrored": {"intercept": 3.0, "likelihood": 0.1, "shape": -0.2, "disagreement": -0.7},
    }
    clnf, image = CLNF(model), np.random.default_rng(0).integers(0, 256, (200, 220), dtype=np.uint8)
    box, usual = (60, 50, 90, 100), 1 / (1 + np.exp(-0.5))
    pixels = image[:, :, None]
    starts = clnf.starts_in(pixels, box)
    assert isinstance(starts, Guesses) and starts.disagreements is not None
    result, _ = clnf.fit_from(pixels, starts, clnf.parameters)
    # Two looks at noise do not agree.
    assert result.disagreement == starts.disagreements[0] > 1
    energy = np.mean(result.parameters.shape**2 / model.pdm.eigenvalues)
    logit = 3 + 0.1 * result.likelihood - 0.2 * energy - 0.7 * np.log1p(result.disagreement)
    assert clnf.confidence_of(result, "image") == pytest.approx(1 / (1 + np.exp(-logit)))
    assert clnf.confidence_of(replace(result, disagreement=np.inf), "image") == 0.0
    assert clnf.confidence_of(replace(result, likelihood=np.nan), "image") == 0.0
    # A shape that cannot change is as usual as can be.
    stiff = PDM(model.pdm.mean, np.zeros((len(model.pdm.mean), 0)), [])
    stiff_fit = replace(result, parameters=Parameters(result.parameters.pose, np.empty(0)))
    assert shape_energy(stiff, stiff_fit) == 0
    assert clnf.confidence_of(replace(result, disagreement=None), "image") == pytest.approx(usual)
    assert clnf.fit(image, box, starts="frontal")[1]["confidence"] == pytest.approx(usual)
    single = CLNF(model, parameters="video")
    assert single.starts_in(pixels, box).disagreements is None  # type: ignore[attr-defined]
    del model.metadata["confidence"]["image_mirrored"]
    assert clnf.confidence_of(result, "image") == pytest.approx(usual)


@pytest.mark.parametrize("mirrored", [True, False])
def test_how_far_two_looks_at_a_doubtful_face_may_lie_apart_is_of_the_model(mirrored: bool) -> None:
    """And nothing of a model whose confidence does not go by it."""
    model = CLNF().model
    model.metadata["max_disagreement"] = 4.0
    if not mirrored:
        del model.metadata["confidence"]["image_mirrored"]
    clnf = CLNF(model)
    assert clnf.max_disagreement == 4.0
    pixels = np.zeros((200, 220, 1), np.uint8)
    starts = clnf.starts_in(pixels, (60, 50, 90, 100))
    result, _ = clnf.fit_from(pixels, starts, clnf.parameters)
    for likelihood, apart, fails in ((0.1, 4.0, False), (0.1, 4.6, True), (0.3, 4.6, False)):
        seen = replace(result, likelihood=0.5 + likelihood, disagreement=apart, failure=None)
        again = clnf.looked_at_again(pixels, starts, seen, 0.5)
        assert (again.failure is not None) is (fails and mirrored)
        assert not fails or not mirrored or "by 5 mm" in str(again.failure)
    del model.metadata["max_disagreement"]
    assert CLNF(model).max_disagreement == MAX_DISAGREEMENT


def test_how_far_two_looks_lie_apart() -> None:
    """As far for a picture as for its mirror image, and far for one without a face."""
    start = CLNF().learned_start
    assert start is not None
    image = np.random.default_rng(1).integers(0, 256, (240, 200, 1), dtype=np.uint8)
    found = [
        start.hypotheses(picture, (x, 70, 100, 100), mirrored=True).disagreements
        for picture, x in ((image, 40), (image[:, ::-1], 199 - 140))
    ]
    face = start.hypotheses(cv2.imread(str(EXAMPLE)), BOX, mirrored=True).disagreements
    # Measured: 9.2 and 0.50 mm.
    assert found[0] is not None and face is not None and found[0][0] > 5 > 5 * face[0]
    assert found[1] == pytest.approx(found[0], rel=0.02)
    rotations, places = np.eye(3)[None], np.array([[2.0, 10.0, 20.0]])
    shapes = np.zeros((1, start.predictor.n_modes))
    turned = axis_angle_to_matrix([0.0, 0.2, 0.0])[None]
    moved, radius = np.array([[4.0, 13.0, 24.0]]), start.pdm.radius
    for others, expected in (
        ((rotations, places, shapes), 0.0),
        ((turned, places, shapes), 0.2 * radius),
        ((rotations, moved, shapes), 2.5 + radius * np.log(2)),
        ((rotations, np.array([[0.0, 10.0, 20.0]]), shapes), np.inf),
        ((rotations, np.array([[np.nan, 10.0, 20.0]]), shapes), np.inf),
    ):
        faces = rotations.copy(), places.copy(), shapes.copy()
        assert start._mix(faces, others, 0.5) == pytest.approx(expected, abs=1e-6)


def test_a_second_look_depends_less_on_the_box() -> None:
    clnf, image = CLNF(), cv2.imread(str(Path(__file__).parents[2] / "examples/rendered_face.jpg"))
    start = clnf.learned_start
    assert start is not None
    x, y, w, h = 165.0, 108.0, 222.0, 267.0
    boxes = [(x + a * w, y + b * h, w, h) for a, b in ((0.1, 0.0), (-0.1, 0.05), (0.0, -0.1))]
    spread, largest = {}, {}
    for again in (False, True):
        found = [start.hypotheses(image, box, mirrored=True, again=again) for box in boxes]
        points = np.array([clnf.model.pdm.landmarks_2d(guess) for (guess,) in found])
        spread[again] = float(np.linalg.norm(points - points.mean(axis=0), axis=2).mean())
        largest[again] = [guesses.disagreements[0] for guesses in found]  # type: ignore[index]
    # Measured: 0.28 and 0.05 px.
    assert spread[True] < 0.6 * spread[False]
    # Of both looks' doubts the larger one counts.
    assert all(two >= one for one, two in zip(largest[False], largest[True], strict=True))
    assert start.hypotheses(image, boxes[0], again=True).disagreements is None


@pytest.mark.parametrize(("value", "seen"), [(-20.0, 0.0), (275.0, 255.0), (np.nan, 0.0), (np.inf, 255.0)])
def test_floats_beyond_bytes_are_seen_as_black_and_white(value: float, seen: float) -> None:
    """Where enlarging a picture has made them, or nothing is known, beside the face."""
    clnf, image = CLNF(), cv2.imread(str(EXAMPLE)).astype(np.float32)
    assert clnf.learned_start is not None
    found = []
    for number in (value, seen):
        image[:, :110] = number
        found += clnf.learned_start.hypotheses(image, (165, 108, 222, 267), mirrored=True)
    points = [clnf.model.pdm.landmarks_2d(guess) for guess in found]
    # Apart but for the edge, in whose pixels of the crop values are mixed.
    assert np.abs(points[0] - points[1]).max() < 0.5


def test_failed_fits_have_no_confidence() -> None:
    calibrated = {"video": {"intercept": 9.0, "likelihood": 2.0, "shape": -0.5}}
    model = Model(MODEL.pdm, MODEL.scales, metadata={"confidence": calibrated})
    _, info = CLNF(model, parameters="video").fit(np.zeros((60, 60), np.uint8), (20, 20, 15, 15))
    assert info["failure"] is not None and info["confidence"] == 0.0


def test_a_wrong_calibration_is_an_error() -> None:
    model = Model(MODEL.pdm, MODEL.scales)
    model.metadata["confidence"] = {"image": {"intercept": 1.0}}  # changed after they were checked
    with pytest.raises(ModelError, match="confidence"):
        CLNF(model).fit(np.full((200, 200), 90, np.uint8), (40, 40, 120, 110))


# --- what a model adds to the shapes of its fits


def test_a_fit_adds_what_the_model_says() -> None:
    """Whatever its start, and within the limits of shapes; the likelihoods are those of before."""
    m = MODEL.pdm.n_modes
    truth = Parameters(np.array([1.2, 0, 0, 0, 150.0, 160.0]), np.full(m, 2.0))
    points = MODEL.pdm.landmarks_2d(truth)
    image, box = generate_image(MODEL, truth), (*points.min(axis=0), *np.ptp(points, axis=0))
    expansion = np.random.default_rng(0).normal(scale=0.3, size=(m, m)).astype(np.float32)
    expansion[0] = 1e3
    for content in (with_prior(), {}):
        plain = CLNF(Model(MODEL.pdm, MODEL.scales, arrays=content))
        landmarks, info = plain.fit(image, box)
        other = CLNF(Model(MODEL.pdm, MODEL.scales, arrays={**content, "fit/expansion": expansion}))
        expanded, told = other.fit(image, box)
        shape = info["params"].shape
        expected = MODEL.pdm.clamp(shape + expansion @ shape)
        assert abs(expected[0]) == MODEL.pdm.limits[0]
        np.testing.assert_allclose(told["params"].shape, expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(told["params"].pose, info["params"].pose)
        np.testing.assert_allclose(expanded, MODEL.pdm.landmarks_2d(told["params"]), rtol=1e-6)
        assert np.abs(expanded - landmarks).max() > 1
        np.testing.assert_array_equal(told["landmark_likelihoods"], info["landmark_likelihoods"])


@pytest.mark.parametrize(
    ("value", "message"),
    (
        (np.eye(3), r"'fit/expansion' must be .* not float64 \(3, 3\)"),
        (np.eye(MODEL.pdm.n_modes, dtype=np.int64), "not int64"),
        (np.full((MODEL.pdm.n_modes, MODEL.pdm.n_modes), np.nan), "not finite"),
        (np.full((MODEL.pdm.n_modes, MODEL.pdm.n_modes), 1e13), "beyond 1e"),
    ),
)
def test_additions_that_cannot_be_are_refused(value: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        CLNF(Model(MODEL.pdm, MODEL.scales, arrays={"fit/expansion": value}))
