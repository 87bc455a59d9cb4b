"""The default model finds rendered people that it has not learned from, with every variant of the kernels.

Two kernels that agree can both be wrong, and the two pictures of test_default_model.py need not show it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import rendered_faces

from pyclnf import CLNF, Parameters, Tracker
from pyclnf.images import as_pixels
from pyclnf.start import LearnedStart
from pyclnf.training import MIRROR_68
from pyclnf.training.start import _mirrored
from pyclnf.training.symmetry import mirror_points


@pytest.mark.parametrize("parameters", ("image", "video"))
def test_faces_are_found_or_not_trusted(parameters: str, kernels_in_use: object) -> None:
    faces, clnf = rendered_faces.read(), CLNF(parameters=parameters)
    assert len(faces) == len(rendered_faces.STRONG) + rendered_faces.OTHERS
    found = [clnf.fit(face.image, face.box) for face in faces]
    errors = np.array([face.error(landmarks) for face, (landmarks, _) in zip(faces, found, strict=True)])
    trusted = np.array([(info["confidence"] or 0.0) > 0.5 for _, info in found])
    # Measured, with candidate 24 of the model: 0.023 and 0.024; 0.043; 0.035 and 0.039; one is not trusted.
    assert np.median(errors) < 0.026
    assert errors[trusted].max() < 0.06
    assert errors[: len(rendered_faces.STRONG)].max() < 0.06
    assert np.sum(~trusted) <= 3


@pytest.mark.parametrize("parameters", ("image", "video"))
def test_faces_that_fill_their_pictures_are_found_as_well(parameters: str, kernels_in_use: object) -> None:
    """What is made up beyond the picture draws no outlines to its edges."""
    clnf = CLNF(parameters=parameters)
    errors = []
    for face in rendered_faces.read():
        cut, low = _filled(face)
        landmarks, _ = clnf.fit(cut, face.box - [*low, 0, 0])
        errors.append(face.error(landmarks + low))
    # Measured: 0.029 and 0.029, as in whole pictures; 0.036 and 0.038 with black beyond the cut.
    assert np.mean(errors) < 0.032


def test_faces_that_fill_their_pictures_are_detected() -> None:
    clnf = CLNF()
    pictures = [_filled(face)[0] for face in rendered_faces.read()]
    detected = {more: sum(bool(clnf.detect(one, lying=more)) for one in pictures) for more in (False, True)}
    tracked = sum(face.success for one in pictures for face in Tracker(clnf).update(one))
    # Measured: 21 of 24 where the detector is shown the pictures as they are, 23 with something around them.
    assert detected[True] >= 23 > detected[False]
    assert tracked >= 23


def test_small_faces_are_trusted_that_are_hardly_likely() -> None:
    clnf = CLNF()
    likely = found = 0
    for face in rendered_faces.read():
        small, box, share = _small(face)
        landmarks, info = clnf.fit(small, box)
        if info["success"]:
            assert face.error((landmarks + 0.5) / share - 0.5) < 0.1
        likely += info["likelihood"] >= clnf.min_likelihood
        found += info["success"]
    # Measured: 21 of 24, where 18 are likely enough (22 with candidate 26 of the model, 23 with 24).
    assert found >= 21 > likely


def test_small_faces_are_found_in_videos_as_in_photographs() -> None:
    """With the set of photographs. Where a least likelihood is given it alone counts, as with one look."""
    clnf, fast = CLNF(), CLNF(parameters="video")
    unlikely = 0
    for face in rendered_faces.read():
        small, box, _ = _small(face)
        infos = [one.fit(small, box)[1] for one in (clnf, fast)]
        likely = [info["likelihood"] >= clnf.min_likelihood for info in infos]
        bound = {"min_likelihood": clnf.min_likelihood}
        assert _tracked(clnf, small, box, parameters="image") == [infos[0]["success"]] * 3
        assert _tracked(clnf, small, box, parameters="image", **bound)[0] is likely[0]
        assert _tracked(clnf, small, box)[0] is infos[1]["success"] is likely[1]
        unlikely += infos[0]["success"] and not likely[0]
    assert unlikely > 0  # measured: 4


def _tracked(clnf: CLNF, image: np.ndarray, box: tuple[float, ...], **options: Any) -> list[bool]:
    """Return which of three frames that are alike a face is found in."""
    tracker = Tracker(clnf, detector=lambda _: [box], lying=False, **options)
    return [tracker.update(image)[0].success for _ in range(3)]


def _small(face: rendered_faces.RenderedFace) -> tuple[np.ndarray, tuple[float, ...], float]:
    """Return a face that is 22 px wide, its box, and how much smaller it is."""
    share = 22 / np.sqrt(face.box[2] * face.box[3])
    small = cv2.resize(face.image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    corner = (face.box[:2] + 0.5) * share - 0.5
    return small, (*corner, *(face.box[2:] * share)), float(share)


def _filled(face: rendered_faces.RenderedFace) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture cut at the outermost landmarks, and where it begins."""
    size = face.image.shape[1::-1]
    low = np.clip(np.floor(face.landmarks.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(face.landmarks.max(axis=0)) + 1, 0, size).astype(int)
    return np.ascontiguousarray(face.image[low[1] : high[1], low[0] : high[0]]), low


def test_the_mirror_image_of_a_face_has_the_mirror_image_of_its_guess() -> None:
    clnf = CLNF()
    start, pdm = clnf.learned_start, clnf.model.pdm
    assert clnf.mirrored and start is not None
    own = {name: values for name, values in clnf.model.arrays.items() if not name.startswith("refiner/")}
    plain = LearnedStart(pdm, own)  # whose one look is half of both
    differences: dict[bool, list[float]] = {True: [], False: []}
    for face in rendered_faces.read():
        pixels, (x, y, w, h) = as_pixels(face.image), face.box
        last = pixels.shape[1] - 1
        other = np.ascontiguousarray(pixels[:, ::-1]), (last - (x + w), y, w, h)
        for mirrored, found in differences.items():
            (one,) = start.hypotheses(pixels, face.box, mirrored=mirrored)
            (two,) = start.hypotheses(*other, mirrored=mirrored)
            flipped = mirror_points(pdm.landmarks_2d(two), MIRROR_68, last + 1)
            found.append(np.abs(flipped - pdm.landmarks_2d(one)).max())
            if mirrored:
                (one,) = plain.hypotheses(pixels, face.box, mirrored=True)
                (left,), (right,) = plain.hypotheses(pixels, face.box), plain.hypotheses(*other)
                _assert_in_the_middle(one, left, _mirrored(pdm, right, MIRROR_68, last + 1))
    # Measured: below 0.0005 px; 2.1 px at the median otherwise.
    assert max(differences[True]) < 0.01 < np.median(differences[False])


def _assert_in_the_middle(face: Parameters, one: Parameters, other: Parameters) -> None:
    """What is seen in a picture and in its mirror image counts alike.

    Asked of the parameters: where two faces differ in rotation and shape, the middle's landmarks need not be
    the landmarks' middle.
    """
    # A crop that is flipped and a crop of the flipped picture differ by rounding.
    np.testing.assert_allclose(face.shape, (one.shape + other.shape) / 2, atol=0.01)
    np.testing.assert_allclose(face.pose[4:], (one.pose[4:] + other.pose[4:]) / 2, atol=0.01)
    assert face.pose[0] == pytest.approx(np.sqrt(one.pose[0] * other.pose[0]), rel=1e-4)
    np.testing.assert_allclose(one.rotation.T @ face.rotation, face.rotation.T @ other.rotation, atol=1e-4)
