"""Faces that are not followed, and where they are."""

from __future__ import annotations

import numpy as np

from pyclnf._bystanders import Bystanders

HERE, NEAR, BESIDE, FAR = (np.array([x, 50.0, 100.0, 100.0]) for x in (0.0, 20.0, 90.0, 400.0))


def seen_here() -> Bystanders:
    """Return one who was seen at 0 s."""
    bystanders = Bystanders(patience=2.0)
    assert not bystanders
    bystanders.update([HERE], [], 0.0)
    assert bystanders
    return bystanders


def test_one_is_where_it_was_seen_for_a_while() -> None:
    bystanders = seen_here()
    assert NEAR in bystanders  # they overlap by two thirds
    assert BESIDE not in bystanders
    bystanders.update([], [], 2.0)
    assert HERE in bystanders
    bystanders.update([], [], 2.1)
    assert not bystanders


def test_one_who_is_followed_is_none() -> None:
    bystanders = seen_here()
    bystanders.update([FAR], [NEAR], 0.1)
    assert HERE not in bystanders
    assert FAR in bystanders


def test_one_who_moves_is_followed_to_the_nearest_box_alike() -> None:
    bystanders = seen_here()
    bystanders.follow([FAR], [], 1.0)  # further than a face
    assert FAR not in bystanders
    large = np.array([20.0, -60.0, 250.0, 250.0])
    bystanders.follow([large], [], 1.0)  # of another size
    assert large not in bystanders
    bystanders.follow([BESIDE], [], 1.0)
    assert BESIDE in bystanders
    assert HERE not in bystanders
    bystanders.update([], [], 2.5)  # seen at 1 s, when it moved
    assert BESIDE in bystanders


def test_of_several_near_by_only_the_nearest_goes_to_a_box() -> None:
    further, between, left = (np.array([x, 50.0, 100.0, 100.0]) for x in (130.0, 60.0, -95.0))
    bystanders = Bystanders(patience=2.0)
    for box in (further, HERE):
        bystanders.add(box, 0.0)
    bystanders.follow([between], [], 1.0)
    assert between in bystanders and further in bystanders
    assert HERE not in bystanders
    bystanders = seen_here()
    bystanders.follow([left, BESIDE], [], 1.0)
    assert BESIDE in bystanders
    assert left not in bystanders


def test_one_who_was_seen_in_this_frame_goes_nowhere() -> None:
    """Of a second look at the frame, at faces that lie, come other boxes."""
    bystanders = seen_here()
    bystanders.update([HERE], [], 1.0)
    bystanders.follow([BESIDE], [], 1.0)
    assert HERE in bystanders
    assert BESIDE not in bystanders


def test_one_who_stays_takes_no_box_beside_it() -> None:
    bystanders = seen_here()
    bystanders.follow([HERE, BESIDE], [], 1.0)
    assert BESIDE not in bystanders


def test_a_box_nearer_to_a_lost_face_is_left_to_that() -> None:
    lost = np.array([150.0, 50.0, 100.0, 100.0])
    bystanders = seen_here()
    bystanders.follow([BESIDE], [lost], 1.0)
    assert BESIDE not in bystanders
    bystanders.follow([BESIDE], [FAR], 1.0)
    assert BESIDE in bystanders
