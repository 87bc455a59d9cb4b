"""Faces as they are given back, and the boxes by which one is told from another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from faces import make_face
from generate_model import generate_pdm
from pyclnf import Camera, Face
from pyclnf.face import box_distance, box_overlap, boxes_alike, failure_of, is_among, low_likelihood


def box(x: float, y: float, w: float, h: float) -> np.ndarray:
    return np.array([x, y, w, h], np.float64)


def test_a_face_says_where_it_is_and_whether_it_can_be_used() -> None:
    points = np.tile(np.float32([100, 50]), (68, 1))
    points[3], points[9] = (20, 60), (130, 180)
    face = make_face(0, landmarks=points, likelihood=-1.234, face_id=2, frame=5, timestamp=0.2)
    assert face.box == (20.0, 50.0, 110.0, 130.0)
    where = "Face(id 2, frame 5, 0.200 s, box (20, 50, 110, 130), likelihood -1.23, "
    assert repr(face) == where + "ok)"
    pdm = generate_pdm()
    camera = Camera.from_size(640, 480)
    params = pdm.from_box((200, 100, 150, 150))
    failed = Face.from_fit(pdm, params, pdm.landmarks_2d(params), camera, failure="it is dark")
    assert not failed.success and repr(failed).endswith("failed: it is dark)")
    assert Face.from_fit(pdm, params, pdm.landmarks_2d(params), camera).success


def test_where_nothing_was_fitted_there_are_as_many_numbers_and_none_is_one() -> None:
    pdm = generate_pdm()
    params = pdm.from_box((200, 100, 150, 150))
    found = Face.from_fit(pdm, params, pdm.landmarks_2d(params), Camera.from_size(640, 480))
    missing = Face.missing(pdm, "no face found", frame=3, timestamp=0.1)
    assert (missing.success, missing.failure, missing.face_id) == (False, "no face found", -1)
    assert (missing.frame, missing.timestamp, missing.detected) == (3, 0.1, False)
    both = ((f.landmarks, f.landmarks_3d, f.pose, f.params.pose, f.params.shape) for f in (missing, found))
    for one, other in zip(*both, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert np.isnan(one).all()
    assert missing.landmark_likelihoods.shape == missing.visible.shape == (pdm.n_landmarks,)
    assert not missing.visible.any() and np.isnan(missing.box).all()


def test_a_fit_as_likely_as_the_bound_has_not_failed() -> None:
    assert low_likelihood(-2.0, -2.0) is None
    assert low_likelihood(-2.01, -2.0) == "the likelihood -2.01 is below -2.00: no face"
    assert low_likelihood(np.nan, -np.inf) is not None


def test_a_fit_that_is_trusted_shows_a_face_whatever_its_likelihood() -> None:
    assert failure_of(a_fit(likelihood=-3.0), -2.0, 0.5) is None
    for confidence in (0.49, None):
        assert "likelihood" in str(failure_of(a_fit(likelihood=-3.0), -2.0, confidence))
        assert failure_of(a_fit(likelihood=-2.0), -2.0, confidence) is None
    assert failure_of(a_fit(likelihood=0.0, failure="lost"), -2.0, 0.9) == "lost"


def test_a_fit_from_one_look_is_not_trusted_more_than_its_likelihood() -> None:
    assert "likelihood" in str(failure_of(a_fit(likelihood=-3.0, disagreement=None), -2.0, 0.9))
    assert failure_of(a_fit(likelihood=-2.0, disagreement=None), -2.0, 0.1) is None


def a_fit(**values: Any) -> Any:
    return SimpleNamespace(**({"failure": None, "disagreement": 1.0} | values))


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        (box(10, 20, 40, 60), 1.0),
        (box(30, 20, 40, 60), 1 / 3),
        (box(10, 60, 40, 60), 1 / 5),
        (box(20, 30, 20, 30), 1 / 4),
        (box(50, 20, 40, 60), 0.0),  # side by side
        (box(60, 90, 40, 60), 0.0),
        (box(20, 30, 0, 0), 0.0),
    ],
)
def test_boxes_overlap_by_the_share_that_they_have_in_common(other: np.ndarray, overlap: float) -> None:
    own = box(10, 20, 40, 60)
    assert box_overlap(own, other) == box_overlap(other, own) == pytest.approx(overlap)
    assert is_among(own, [box(900, 900, 9, 9), other]) is (overlap > 0.4)
    assert box_overlap(box(5, 5, 0, 0), box(5, 5, 0, 0)) == 0


def test_boxes_are_apart_in_sizes_of_the_larger_one() -> None:
    small, large = (
        box(0, 0, 20, 20),
        box(70, 110, 40, 90),
    )  # of the sizes 20 and 60, from (10, 10) to (90, 155)
    assert box_distance(small, large) == box_distance(large, small) == pytest.approx(np.hypot(80, 145) / 60)
    assert box_distance(box(3, 4, 0, 0), box(3, 4, 0, 0)) == 0


def test_boxes_of_twice_the_size_are_not_alike() -> None:
    own = box(0, 0, 40, 90)
    for width, alike in ((19, False), (21, True), (79, True), (81, False)):
        other = box(500, 0, width, 90 * width / 40)
        assert boxes_alike(own, other) is alike
        assert boxes_alike(other, own) is alike
    assert boxes_alike(own, box(0, 0, 90, 40))  # turned
