"""Mistakes of users: each is said by an error of ours that names it, not by a traceback from within."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pyclnf import (
    CLNF,
    PDM,
    BoxError,
    DetectionError,
    FitParameters,
    ImageError,
    Model,
    ModelError,
    ParameterError,
    Parameters,
    PyclnfError,
    Tracker,
    VideoError,
)
from pyclnf.detection import find_faces
from pyclnf.draw import draw_faces, draw_landmarks
from pyclnf.images import as_pixels
from pyclnf.video import Video

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = np.full((200, 200), 128, np.uint8)
POINTS = np.array([[10.0, 10.0], [20.0, 30.0]])
BOX = (20.0, 20.0, 150.0, 150.0)


class LikeAnArray:
    """What PIL's images and torch's tensors have in common."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return IMAGE


@pytest.fixture(scope="module")
def clnf() -> CLNF:
    return CLNF(parameters="video")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: CLNF(3), ModelError, "a name or a path, not 3"),
        (lambda c: CLNF("n" * 300), ModelError, "nnn"),
        (lambda c: CLNF("~no such user/x.npz"), ModelError, "no such user"),
        (lambda c: c.settings(123), ParameterError, "not 123"),
        (lambda c: c.fit(IMAGE, (0, 0, 1e-300, 1e-300)), BoxError, "no area"),
        (lambda c: c.fit_many(None, [BOX]), ImageError, "not NoneType"),
        (lambda c: c.fit_many(IMAGE, [BOX], starts="upright"), ParameterError, "not 'upright'"),
        (lambda c: c.fit(LikeAnArray(), BOX), ImageError, r"not LikeAnArray: give np\.asarray\(image\)"),
        (lambda c: c.fit(np.empty((3, 9, 8), np.uint8), BOX), ImageError, r"transpose\(1, 2, 0\)"),
        (lambda c: c.fit(IMAGE.astype(np.int32), BOX), ImageError, r"int32: convert it, .*float32"),
        (lambda c: c.detect(IMAGE, camera=(9, 9, 4, 4)), ParameterError, r"give Camera\(fx, fy, cx, cy\)"),
        (lambda c: Tracker(c.model), ParameterError, r"a tracker is made of a CLNF"),
        (lambda c: c.model.pdm.fit_landmarks([[1, 2], [3]]), ParameterError, "rows of one length"),
        (lambda c: next(c.track([IMAGE])), VideoError, r"Tracker\.update, one by one"),
        (lambda c: next(c.track(None)), VideoError, "not NoneType"),
        (lambda c: next(c.track(IMAGE)), VideoError, "not ndarray"),
        (lambda c: Video("v" * 300), VideoError, "vvv"),
        (lambda c: draw_landmarks(None, POINTS), ImageError, "not NoneType"),
        (lambda c: draw_landmarks(IMAGE.astype(np.uint16), POINTS), ImageError, "16 bits"),
        (lambda c: draw_landmarks(IMAGE / 255, POINTS), ImageError, "scale it"),
        (lambda c: draw_landmarks(np.empty((0, 0), np.uint8), POINTS), ImageError, "empty"),
        (lambda c: draw_landmarks(IMAGE, [[1, 2], [3]]), ParameterError, "not .*3"),
        (lambda c: draw_landmarks(IMAGE, POINTS, box=(1, 2, 3)), BoxError, "four numbers"),
        (lambda c: draw_landmarks(IMAGE, POINTS, colour="red"), ParameterError, "a colour is .*, not 'red'"),
        (lambda c: draw_landmarks(IMAGE, POINTS, colour=(1, 2)), ParameterError, "three numbers"),
        (lambda c: draw_landmarks(IMAGE, POINTS, colour=(0, np.nan, 0)), ParameterError, "not .*nan"),
        (lambda c: draw_landmarks(IMAGE, POINTS, colour=(0, 300, 0)), ParameterError, "0..255, not"),
        (lambda c: draw_landmarks(IMAGE, POINTS, colour=-1), ParameterError, "not -1"),
        (lambda c: Model(c.model.pdm, c.model.scales, metadata=[1]), ModelError, r"a dict.*\[1\]"),
        (lambda c: draw_faces(IMAGE, 3), ParameterError, "list of Face, not 3"),
        (lambda c: draw_faces(IMAGE, [POINTS]), ParameterError, "not of ndarray: .* by draw_landmarks"),
    ],
)
def test_says_what_is_wrong(
    clnf: CLNF, call: Callable[[CLNF], object], error: type[PyclnfError], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(clnf)


def test_a_bad_box_among_many_is_one_error(clnf: CLNF) -> None:
    """And images may come from a generator."""
    found = clnf.fit_many((IMAGE for _ in range(2)), [[1, 2, [3], 4], BOX])
    assert isinstance(found[0], BoxError)
    assert not isinstance(found[1], PyclnfError)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"starts": []}, ParameterError, "there is none"),
        ({"modes": 5000}, ParameterError, r"not \(5000,\)"),
        ({"modes": 60}, ParameterError, r"not \(60,\)"),
        ({"pixels": np.zeros((90, 90, 2), np.uint8)}, ImageError, r"\(90, 90, 2\)"),
        ({"pixels": np.zeros((90, 90), np.uint8)}, ImageError, r"\(90, 90\)"),
        ({"windows": (5,)}, ParameterError, "4 scales"),
    ],
)
def test_fits_from_parameters_that_are_wrong(
    change: dict, error: type[PyclnfError], message: str, clnf: CLNF
) -> None:
    """Kernels would read beyond arrays."""
    pose = np.array([0.5, 0.0, 0.0, 0.0, 45.0, 45.0])
    starts = change.get("starts", [Parameters(pose, np.zeros(change.get("modes", clnf.model.pdm.n_modes)))])
    settings = clnf.parameters
    if "windows" in change:
        settings = replace(settings, windows=change["windows"])
    with pytest.raises(error, match=message):
        clnf.fit_from(change.get("pixels", as_pixels(IMAGE)), starts, settings)


def test_parameters_of_another_precision_are_taken() -> None:
    clnf = CLNF(starts="frontal")
    start = clnf.model.pdm.from_box(BOX)
    rounded = Parameters(start.pose.astype(np.float32), start.shape.astype(np.float32))
    exact = Parameters(rounded.pose.astype(np.float64), rounded.shape.astype(np.float64))
    found, expected = (
        clnf.fit_from(as_pixels(IMAGE), [one], clnf.parameters)[0].landmarks for one in (rounded, exact)
    )
    np.testing.assert_array_equal(found, expected)


def test_a_mean_in_rows_of_landmarks_is_refused() -> None:
    """It would be read in another order, without a word."""
    rows, mode = np.arange(12.0).reshape(4, 3), np.ones((12, 1)) / np.sqrt(12)
    with pytest.raises(ModelError, match=r"not \(4, 3\): of landmarks \(n, 3\) it is their transpose"):
        PDM(rows, mode, np.ones(1))
    for mean in (rows.T, rows.T.reshape(-1), rows.T.reshape(-1, 1)):
        np.testing.assert_array_equal(PDM(mean, mode, np.ones((1, 1))).shape_3d([0.0]), rows)


def test_an_array_that_a_pdm_is_made_of_stays_the_callers() -> None:
    mean, components, eigenvalues = np.arange(9.0), np.ones((9, 1)) / 3, np.ones(1)
    pdm = PDM(mean, components, eigenvalues)
    mean[0] = components[0] = eigenvalues[0] = 7.0
    assert pdm.mean[0] == 0.0 and pdm.components[0] == 1 / 3 and pdm.eigenvalues[0] == 1.0


@pytest.mark.parametrize("count", [0, 10])
def test_a_model_with_an_impossible_number_of_guesses(count: int) -> None:
    model = CLNF().model
    metadata = model.metadata | {"fit": {"image": {"hypotheses": count}}}
    wrong = Model(model.pdm, model.scales, metadata=metadata, arrays=model.arrays)
    with pytest.raises(ModelError, match=f"1 to 9, not {count}"):
        CLNF(wrong)


def test_a_parameter_that_is_called_self_is_none() -> None:
    with pytest.raises(ParameterError, match="self"):
        FitParameters().changed(self=1)


@pytest.mark.parametrize("found", ["boxes", [[1, 2, 3, 4], [5]], RuntimeError("no network")])
def test_detectors_that_fail_are_named(found: object) -> None:
    def detector(image: np.ndarray) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    with pytest.raises(DetectionError, match=r"the detector .*detector.* failed"):
        find_faces(detector, IMAGE)  # type: ignore[arg-type]


def test_an_error_of_ours_within_a_detector_stays_what_it_is() -> None:
    def detector(image: np.ndarray) -> np.ndarray:
        raise BoxError("outside")

    with pytest.raises(BoxError, match="outside"):
        find_faces(detector, IMAGE)


def test_detectors_see_rounded_floats_and_no_numbers_as_black() -> None:
    image = np.array([[99.6, np.nan], [np.inf, 300.0]])
    seen = []
    find_faces(lambda pixels: seen.append(pixels) or [], image)  # type: ignore[arg-type,func-returns-value]
    assert seen[0].dtype == np.uint8
    assert seen[0].tolist() == [[100, 0], [255, 255]]


def test_a_picture_without_a_face_is_no_success() -> None:
    """In what `fit` says as in what `detect` does."""
    clnf = CLNF()
    for image in (np.zeros((400, 400), np.uint8), np.random.default_rng(0).integers(0, 256, (400, 400))):
        _, info = clnf.fit(image.astype(np.uint8), (100, 100, 200, 200))
        (face,) = clnf.detect(image.astype(np.uint8), detector=lambda _: np.array([(100, 100, 200, 200)]))
        unlikely = info["likelihood"] < clnf.min_likelihood
        assert unlikely or "mirror image" in str(info["failure"])
        assert not info["success"] and not face.success
        assert info["failure"] == face.failure and "no face" in str(face.failure)


def test_a_failed_fit_does_not_hide_a_good_one() -> None:
    """Whichever box is larger, and comes first."""
    import cv2

    image = cv2.imread(str(Path(__file__).parents[2] / "examples" / "rendered_face.jpg"))
    clnf = CLNF()
    box = np.array([165, 108, 222, 267])
    fits = {True: clnf.fit(image, box), False: clnf.fit(image, box)}
    fits[False][1]["success"] = False
    fits[False][1]["failure"] = "lost"
    # Faces of their own keep the order of their boxes, those that failed among them.
    apart = [(fits[success][0] + 1000 * k, fits[success][1]) for k, success in enumerate((True, False, True))]

    class Apart(CLNF):
        def _fit(self, image: object, box: object, **options: object) -> object:  # type: ignore[override]
            return apart.pop(0)

    faces = Apart().detect(image, detector=lambda _: np.array([box, box, box]))
    assert [face.success for face in faces] == [True, False, True]
    for order in ((False, True), (True, False), (False, False)):
        found = iter(fits[success] for success in order)

        class Fits(CLNF):
            def _fit(self, image: object, box: object, **options: object) -> object:  # type: ignore[override]
                return next(found)  # noqa: B023 - used within this turn of the loop

        faces = Fits().detect(image, detector=lambda _: np.array([box, box]), lying=False)
        assert [face.success for face in faces] == [any(order)]
        assert [face.face_id for face in faces] == [0]
