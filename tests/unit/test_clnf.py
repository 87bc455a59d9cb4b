"""CLNF: what it takes, what it gives, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from generate_model import generate_image
from pyclnf import (
    CLNF,
    BoxError,
    FitParameters,
    ImageError,
    Model,
    ModelError,
    ParameterError,
    Parameters,
    Tracker,
)
from pyclnf import clnf as clnf_module
from pyclnf.clnf import FitInfo
from pyclnf.nu_rlms import MULTI_VIEW_STARTS, PARAMETER_SETS


@pytest.fixture(scope="module")
def clnf(model: Model) -> CLNF:
    return CLNF(model, parameters="video")


@pytest.fixture
def fitted(clnf: CLNF, picture) -> tuple[np.ndarray, FitInfo]:
    return clnf.fit(picture.image, picture.disturbed)


def assert_same(a: tuple[np.ndarray, FitInfo], b: tuple[np.ndarray, FitInfo]) -> None:
    """The same bytes: landmarks and everything that is told of the fit."""
    assert a[0].tobytes() == b[0].tobytes()
    assert a[1].keys() == b[1].keys()
    for key in a[1]:
        x, y = a[1][key], b[1][key]
        if isinstance(x, Parameters):
            assert x.pose.tobytes() == y.pose.tobytes() and x.shape.tobytes() == y.shape.tobytes()
        else:
            np.testing.assert_array_equal(x, y)


# --- what it gives


def test_what_a_fit_gives(model: Model, picture, fitted: tuple[np.ndarray, FitInfo]) -> None:
    landmarks, info = fitted
    assert landmarks.shape == (68, 2) and landmarks.dtype == np.float32
    assert set(info) == set(FitInfo.__annotations__)
    assert info["success"] is True and info["failure"] is None
    assert 1 <= info["iterations"] <= 30
    assert info["view"] == 0 and info["start"] == 0
    assert info["visible"].shape == (68,) and info["visible"].all()
    assert info["landmark_likelihoods"].shape == (68,)
    assert np.log(info["landmark_likelihoods"] + 1e-8).mean() == pytest.approx(info["likelihood"])
    np.testing.assert_allclose(model.pdm.landmarks_2d(info["params"]), landmarks, atol=1e-4)
    pose = info["params"].pose
    np.testing.assert_allclose(pose[0] * info["landmarks_3d"][:, :2] + pose[4:], landmarks, atol=1e-4)


def test_convergence_is_told(model: Model, picture) -> None:
    _, long = CLNF(model, parameters="video", iterations=500).fit(picture.image, picture.disturbed)
    assert long["converged"] and long["iterations"] < 3000
    _, short = CLNF(model, parameters="video", iterations=1).fit(picture.image, picture.disturbed)
    assert not short["converged"] and short["iterations"] == 6


# --- images


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_float_images(clnf: CLNF, picture, fitted: tuple[np.ndarray, FitInfo], dtype: type) -> None:
    assert_same(clnf.fit(picture.image.astype(dtype), picture.disturbed), fitted)


def test_grey_images_of_three_dimensions(clnf: CLNF, picture, fitted: tuple[np.ndarray, FitInfo]) -> None:
    assert_same(clnf.fit(picture.image[:, :, None], picture.disturbed), fitted)


def test_colour_images_of_grey(clnf: CLNF, picture, fitted: tuple[np.ndarray, FitInfo]) -> None:
    """A pixel with three equal values has that grey value exactly."""
    assert_same(clnf.fit(np.repeat(picture.image[:, :, None], 3, axis=2), picture.disturbed), fitted)
    transparent = np.repeat(picture.image[:, :, None], 4, axis=2)
    transparent[:, :, 3] = np.arange(transparent.shape[1]) % 256
    assert_same(clnf.fit(transparent, picture.disturbed), fitted)


def test_colour_images_are_fitted_in_grey(clnf: CLNF, picture) -> None:
    random = np.random.default_rng(0)
    shift = random.integers(-20, 20, (*picture.image.shape, 3))
    colour = np.clip(picture.image[:, :, None] + shift, 0, 255).astype(np.uint8)
    grey = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
    assert_same(clnf.fit(colour, picture.disturbed), clnf.fit(grey, picture.disturbed))


@pytest.mark.parametrize("layout", ("fortran", "steps", "reversed", "part", "read-only"))
def test_images_of_any_layout(clnf: CLNF, picture, fitted: tuple[np.ndarray, FitInfo], layout: str) -> None:
    image = picture.image.copy()
    if layout == "fortran":
        image = np.asfortranarray(image)
    elif layout == "steps":
        image = np.repeat(image, 2, axis=1)[:, ::2]
    elif layout == "reversed":
        image = np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1]
    elif layout == "part":
        image = np.pad(image, 9)[9:-9, 9:-9]
    else:
        image.flags.writeable = False
    assert layout == "read-only" or not image.flags.c_contiguous
    before = image.copy()
    assert_same(clnf.fit(image, picture.disturbed), fitted)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "imread"),
        ([[1, 2], [3, 4]], "NumPy array"),
        (np.zeros((5, 5, 2), np.uint8), "shape"),
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((2, 5, 5, 3), np.uint8), "shape"),
        (np.zeros((0, 5), np.uint8), "empty"),
        (np.zeros((5, 5), np.uint16), "16 bits"),
        (np.zeros((5, 5), np.int64), "int64"),
        (np.zeros((5, 5), bool), "bool"),
        (np.full((5, 5), "a"), "not <U1"),
        (np.full((90, 90), np.nan), "not finite"),
        (np.full((90, 90), np.inf, np.float32), "not finite"),
        (np.linspace(0, 1, 90 * 90).reshape(90, 90), "in 0..1: scale it"),
        (np.linspace(-1, 1, 90 * 270, dtype=np.float32).reshape(90, 90, 3), "in -1..1: scale it"),
        (np.linspace(-2, 2.6, 90 * 90).reshape(90, 90), "in -2..2.6: scale it"),
        (np.linspace(0, 65535, 90 * 90).reshape(90, 90), r"in 0..6.55e\+04: scale it"),
        (np.linspace(-128, 127, 90 * 90).reshape(90, 90), "in -128..127: scale it"),
    ],
)
def test_images_that_cannot_be_fitted(clnf: CLNF, image: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        clnf.fit(image, (0, 0, 5, 5))  # type: ignore[arg-type]


def test_floats_may_go_a_little_beyond_bytes(clnf: CLNF, picture) -> None:
    image = picture.image.astype(np.float32)
    image[::7, ::7] = 275.0
    image[::5, ::5] = -20.0
    landmarks, _ = clnf.fit(image, picture.disturbed)
    assert np.linalg.norm(landmarks - picture.landmarks, axis=1).mean() < 5


@pytest.mark.parametrize("bright", [0.0, 255.0], ids=["black", "a bright pixel"])
def test_dark_floats_are_no_floats_up_to_one(clnf: CLNF, bright: float) -> None:
    image = np.zeros((200, 200))
    image[101, 103] = bright
    image[50:60, 50:60] = min(bright, 1.0)
    landmarks, info = clnf.fit(image, (20, 20, 150, 150))
    assert np.isfinite(landmarks).all() and not info["success"]


def test_values_that_are_not_finite_away_from_the_face(clnf: CLNF, picture) -> None:
    image = picture.image.astype(np.float32)
    image = np.pad(image, ((0, 0), (0, 400)))
    expected = clnf.fit(image, picture.disturbed)
    image[:, -50:] = np.nan
    assert_same(clnf.fit(image, picture.disturbed), expected)


# --- boxes


def test_boxes_partly_outside(clnf: CLNF, model: Model, picture) -> None:
    """The part of the face that is in the picture is found where it is."""
    cut = 70
    landmarks, _ = clnf.fit(picture.image[:, cut:], np.subtract(picture.box, (cut, 0, 0, 0)))
    assert picture.box[0] < cut
    errors = np.linalg.norm(landmarks + np.array([cut, 0]) - picture.landmarks, axis=1)
    inside = picture.landmarks[:, 0] > cut + 10
    assert 40 < inside.sum() < 68
    assert errors[inside].mean() < 3
    assert np.isfinite(landmarks).all()


@pytest.mark.parametrize(
    "box", [(-300, 0, 100, 100), (0, -300, 100, 100), (320, 0, 10, 10), (0, 320, 10, 10)]
)
def test_boxes_outside(clnf: CLNF, picture, box: tuple[int, ...]) -> None:
    assert picture.image.shape == (320, 320)
    with pytest.raises(BoxError, match="outside the image of 320 x 320"):
        clnf.fit(picture.image, box)


@pytest.mark.parametrize("box", [(0, 0, 9), (0, 0, 0, 9), (0, 0, 9, -9), (0, np.nan, 9, 9), "face", None])
def test_impossible_boxes(clnf: CLNF, picture, box: object) -> None:
    with pytest.raises(BoxError):
        clnf.fit(picture.image, box)  # type: ignore[arg-type]


def test_tiny_faces_fail_and_say_so(clnf: CLNF, picture) -> None:
    landmarks, info = clnf.fit(picture.image, (100, 100, 8, 9))
    assert not info["success"] and "too small" in str(info["failure"])
    assert np.isfinite(landmarks).all()


@pytest.mark.parametrize("value", (0, 128, 255))
def test_images_without_anything(clnf: CLNF, value: int) -> None:
    landmarks, info = clnf.fit(np.full((200, 200), value, np.uint8), (50, 50, 100, 110))
    assert np.isfinite(landmarks).all() and np.isfinite(info["likelihood"])


# --- one fit and another


def test_a_fit_depends_on_its_image_and_box_alone(model: Model, picture) -> None:
    other = generate_image(
        model, Parameters(picture.parameters.pose + np.array([0, 0, 0.6, 0, 5, 5]), picture.parameters.shape)
    )
    calls = [(picture.image, picture.disturbed), (other, picture.box), (picture.image, (100, 90, 120, 140))]
    fresh = [CLNF(model, parameters="video").fit(*call) for call in calls]
    shared = CLNF(model, parameters="video")
    for order in ((0, 1, 2), (2, 1, 0), (1, 1, 0)):
        for i in order:
            assert_same(shared.fit(*calls[i]), fresh[i])


def test_threads_give_the_same(model: Model, picture) -> None:
    # A new object: its caches are filled by all threads at once.
    clnf = CLNF(pickle.loads(pickle.dumps(model)), parameters="video")
    boxes = [np.add(picture.disturbed, (i % 4, 0, 0, 0)) for i in range(16)]
    expected = [CLNF(model, parameters="video").fit(picture.image, box) for box in boxes]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda box: clnf.fit(picture.image, box), boxes))
    for a, b in zip(found, expected, strict=True):
        assert_same(a, b)


def test_pickling(clnf: CLNF, picture, fitted: tuple[np.ndarray, FitInfo]) -> None:
    copy = pickle.loads(pickle.dumps(clnf))
    assert copy.parameters == clnf.parameters and copy.starts == clnf.starts
    assert_same(copy.fit(picture.image, picture.disturbed), fitted)


def test_a_model_from_a_file(
    model: Model, tmp_path: Path, picture, fitted: tuple[np.ndarray, FitInfo]
) -> None:
    path = tmp_path / "model.npz"
    model.save(path)
    for clnf in (CLNF(path, parameters="video"), CLNF(model_dir=str(path), parameters="video")):
        assert_same(clnf.fit(picture.image, picture.disturbed), fitted)


# --- how it is made


@pytest.mark.parametrize("scale", (0.25, 0.35, 0.5))
def test_one_scale(model: Model, picture, scale: float) -> None:
    index = (0.25, 0.35, 0.5).index(scale)
    for name in ("image", "video", "tracking"):
        clnf = CLNF(model, parameters=name, scale=scale)
        # Tracking would skip the coarsest.
        usual = PARAMETER_SETS["image" if name == "image" else "video"].windows
        assert clnf.parameters.windows == tuple(usual[i] if i == index else 0 for i in range(3))
    clnf = CLNF(model, scale=scale)
    landmarks, info = clnf.fit(picture.image, picture.box)
    assert info["iterations"] <= 20
    assert np.linalg.norm(landmarks - picture.landmarks, axis=1).mean() < 5


def test_scales_that_the_model_has_not(model: Model) -> None:
    for scale in (0.3, math.nan, "0.25", True):
        with pytest.raises(ParameterError, match=rf"no patch scale {scale!r}; it has 0\.25, 0\.35, 0\.5"):
            CLNF(model, scale=scale)


def test_a_scale_alone_is_fitted_as_among_the_others() -> None:
    """Of the model in the package, whose fits use the finest scale alone, in any case."""
    image = cv2.imread(str(Path(__file__).parents[2] / "examples" / "rendered_face.jpg"))
    box = (165, 108, 222, 267)
    for parameters in ("image", "video"):
        expected, _ = CLNF(parameters=parameters).fit(image, box)
        found, _ = CLNF(parameters=parameters, scale=0.8).fit(image, box)
        np.testing.assert_array_equal(found, expected)


def test_starts(model: Model) -> None:
    assert CLNF(model).starts == ((0.0, 0.0, 0.0),)
    assert CLNF(model, starts="multiview").starts == MULTI_VIEW_STARTS
    assert len(MULTI_VIEW_STARTS) == 11
    assert CLNF(model, starts=np.array([[0, 1, 0]])).starts == ((0.0, 1.0, 0.0),)


@pytest.mark.parametrize("starts", ("all", (0, 0, 0), [], [(0, 0)], [(0, np.nan, 0)], [("a", 0, 0)], 3))
def test_impossible_starts(model: Model, picture, starts: object) -> None:
    with pytest.raises(ParameterError, match="starts"):
        CLNF(model, starts=starts)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="starts"):
        CLNF(model).fit(picture.image, picture.box, starts=starts)  # type: ignore[arg-type]


def test_the_likeliest_start_wins(clnf: CLNF, picture) -> None:
    starts = [(0, 0.6, 0), (0, 0, 0), (0, -0.6, 0)]
    alone = [clnf.fit(picture.image, picture.box, starts=[start])[1]["likelihood"] for start in starts]
    _, info = clnf.fit(picture.image, picture.box, starts=starts)
    assert info["start"] == int(np.argmax(alone)) and info["likelihood"] == max(alone)


def test_numbers_replace_those_of_the_set(model: Model) -> None:
    clnf = CLNF(model, parameters="video", sigma=1.75, windows=[9, 7, 5], iterations=3)
    assert clnf.parameters == FitParameters((9, 7, 5), 3, 1.75, 25.0, 0.0)
    assert CLNF(model, parameters=FitParameters(sigma=2)).parameters.sigma == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"parameters": "photo"}, ParameterError, "image, video, tracking"),
        ({"parameters": 3}, ParameterError, "FitParameters"),
        ({"windows": (8, 7, 5)}, ParameterError, "odd"),
        ({"windows": (9, 7)}, ParameterError, "3 scales"),
        ({"windows": (0, 0, 0)}, ParameterError, "at least one"),
        ({"windows": (0, 0, 0, 5)}, ParameterError, "skip every scale"),
        ({"windows": (1, 7, 5)}, ParameterError, "odd number"),
        ({"windows": (99, 7, 5)}, ParameterError, "31"),
        ({"iterations": 0}, ParameterError, "iterations"),
        ({"iterations": 2.5}, ParameterError, "iterations"),
        ({"sigma": 0}, ParameterError, "sigma"),
        ({"sigma": float("nan")}, ParameterError, "sigma"),
        ({"reg_factor": -1}, ParameterError, "reg_factor"),
        ({"weight_factor": "much"}, ParameterError, "weight_factor"),
        ({"parameters": FitParameters((0, 7, 5)), "scale": 0.25}, ParameterError, "skip every scale"),
    ],
)
def test_impossible_parameters(model: Model, arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        CLNF(model, **arguments)


def test_its_text_names_the_model_and_the_numbers(model: Model) -> None:
    text = repr(CLNF(model, parameters="video", sigma=1.75))
    assert text.startswith(f"CLNF({model!r}, parameters=FitParameters(")
    assert "sigma=1.75" in text


def test_another_set_must_suit_the_model(clnf: CLNF) -> None:
    assert clnf.settings("tracking").windows[0] == 0
    with pytest.raises(ParameterError, match="give a window for each, not \\(9, 7\\)"):
        clnf.settings(FitParameters((9, 7)))


def test_a_subclass_that_fits_in_another_way_does_so_everywhere(model: Model, picture) -> None:
    fitted = []

    class Own(CLNF):
        def fit_from(self, *given, **named):
            fitted.append(given)
            return super().fit_from(*given, **named)

    own, image, box = Own(model, parameters="video"), picture.image, picture.box
    for fit in (
        lambda: own.fit(image, box),
        lambda: own.fit_many(image, [box, box], workers=2),
        lambda: own.detect(image, detector=lambda _: [box]),
        lambda: Tracker(own).update(image, boxes=[box]),
    ):
        fitted.clear()
        fit()
        assert fitted


def test_one_face_found_twice_is_one(clnf: CLNF, picture) -> None:
    """Detectors give overlapping boxes; the fits from both end in the same face."""
    x, y, w, h = picture.box
    both = [(x, y, w, h), (x + 2, y + 1, w, h)]
    assert len(clnf.detect(picture.image, detector=lambda image: both)) == 1


def test_a_face_tells_which_landmarks_its_view_sees(clnf: CLNF, picture) -> None:
    (face,) = clnf.detect(picture.image, detector=lambda image: [picture.box])
    assert face.visible.dtype == bool and face.visible.all()
    likelihoods = face.landmark_likelihoods.copy()
    likelihoods[3:5] = np.nan
    assert np.flatnonzero(~dataclasses.replace(face, landmark_likelihoods=likelihoods).visible).tolist() == [
        3,
        4,
    ]


def test_cores_where_the_system_does_not_tell_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows say how many there are."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert clnf_module._available_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert clnf_module._available_cores() == 1


def test_depth_changes_nothing_where_no_neuron_works_on_it() -> None:
    """Also of a large face, which is reduced where there is no depth."""
    image = cv2.imread(str(Path(__file__).parents[2] / "examples" / "rendered_face.jpg"))
    clnf, box = CLNF(), (165, 108, 222, 267)
    assert_same(clnf.fit(image, box, depth=np.zeros(image.shape[:2])), clnf.fit(image, box))


@pytest.mark.parametrize(
    "depth", (np.zeros((5, 5)), [[1.0]], np.zeros((240, 320), np.int32), np.zeros((240, 320, 1)))
)
def test_depth_that_does_not_fit_the_image(clnf: CLNF, picture, depth: object) -> None:
    with pytest.raises(ImageError, match="depth is a float array of the image's size"):
        clnf.fit(picture.image, picture.box, depth=depth)


def test_models_that_are_not_there(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give model or model_dir, not both"):
        CLNF(model, model_dir=tmp_path)
    with pytest.raises(ModelError, match=r"absent\.npz"):
        CLNF(tmp_path / "absent.npz")
