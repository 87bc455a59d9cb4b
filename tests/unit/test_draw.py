"""Pictures of fits."""

from __future__ import annotations

import numpy as np
import pytest

from pyclnf import ImageError, ParameterError
from pyclnf.draw import IBUG_68_LINES, draw_landmarks, write_text

GREEN = (0, 255, 0)


def test_landmarks_are_where_they_are() -> None:
    image = np.zeros((60, 80), np.uint8)
    drawn = draw_landmarks(image, [(20, 10), (70.0, 50.0), (10, 40)], colour=GREEN)
    assert drawn.shape == (60, 80, 3) and drawn.dtype == np.uint8
    assert (image == 0).all()
    for x, y in ((20, 10), (70, 50), (10, 40)):
        assert tuple(drawn[y, x]) == GREEN
    touched = np.argwhere(drawn.any(axis=2))
    for y, x in touched:
        assert min(abs(x - a) + abs(y - b) for a, b in ((20, 10), (70, 50), (10, 40))) <= 4


def test_the_parts_of_a_face_are_joined() -> None:
    assert sorted(i for first, last, _ in IBUG_68_LINES for i in range(first, last + 1)) == list(range(68))
    image = np.zeros((60, 370), np.uint8)
    points = np.zeros((68, 2))
    points[:17] = np.column_stack([np.linspace(20, 340, 17), np.full(17, 30)])
    lines = draw_landmarks(image, points, colour=GREEN)
    assert (lines[30, 21:339, 1] > 100).all()
    points_only = draw_landmarks(image, points[:67], colour=GREEN)
    assert (points_only[30, 21:339, 1] == 0).any()


@pytest.mark.parametrize("shape", ((40, 50), (40, 50, 1), (40, 50, 3), (40, 50, 4)))
@pytest.mark.parametrize("dtype", (np.uint8, np.float32, np.float64))
def test_images_of_every_kind(shape: tuple[int, ...], dtype: type) -> None:
    image = np.full(shape, 77, dtype)
    image.flags.writeable = False
    drawn = draw_landmarks(image, [(10, 10)])
    assert drawn.shape == (40, 50, 3)
    assert (drawn[30:, 30:] == 77).all()
    assert (drawn[10, 10] != 77).any()


def test_a_large_face_has_lines_and_numbers_as_large() -> None:
    """They would be seen no more when the picture is shown as small as a screen is."""
    shape = np.zeros((68, 2))
    shape[:17] = np.column_stack([np.linspace(20, 180, 17), np.full(17, 100)])
    shape[17:] = np.column_stack([np.linspace(20, 180, 51), np.full(51, 180)])
    shares, shares_of_numbers = [], []
    for times in (1, 10):
        image = np.zeros((200 * times, 200 * times), np.uint8)
        plain = draw_landmarks(image, shape * times, colour=GREEN)
        shares.append((plain.max(axis=2) > 99).mean())
        numbered = draw_landmarks(image, shape * times, colour=GREEN, numbers=True)
        shares_of_numbers.append((numbered.min(axis=2) > 99).mean())
    for small, large in (shares, shares_of_numbers):
        assert 0.3 * small < large < 2 * small


def test_box_and_numbers() -> None:
    image = np.zeros((80, 80), np.uint8)
    plain = draw_landmarks(image, [(40, 40)])
    boxed = draw_landmarks(image, [(40, 40)], box=(10, 20, 60, 50))
    assert boxed[20, 40].any() and boxed[70, 40].any() and boxed[45, 10].any() and boxed[45, 70].any()
    assert not boxed[25, 15].any()
    assert (draw_landmarks(image, [(40, 40)], numbers=True) != plain).any()


@pytest.mark.parametrize("place", [(298.0, 90.0), (-40.0, 90.0), (50.0, -20.0), (50.0, 300.0)])
def test_labels_are_whole_at_the_border(place: tuple[float, float]) -> None:
    """Of a face at the right border 0: 0.97 read 0."""
    amounts = []
    for where in ((100.0, 90.0), place):
        picture = np.zeros((180, 300, 3), np.uint8)
        write_text(picture, "0: 0.97", where, (255, 255, 255))
        amounts.append(np.count_nonzero(picture))
    assert amounts[0] == amounts[1] > 0


@pytest.mark.parametrize("width", [400, 2000])
def test_the_dark_rim_of_a_label_is_around_it(width: int) -> None:
    picture = np.full((200, width, 3), 128, np.uint8)
    write_text(picture, "0: 0.96", (100, 120), GREEN)
    label, rim = (np.argwhere(those) for those in (picture[:, :, 1] > 200, picture.max(axis=2) < 60))
    assert len(rim) > 50
    for corner in (np.min, np.max):
        assert np.abs(corner(rim, axis=0) - corner(label, axis=0)).max() <= 3


def test_points_outside_and_unknown() -> None:
    drawn = draw_landmarks(np.zeros((30, 30), np.uint8), [(np.nan, 5), (-1e12, 5), (5, np.inf), (1e12, 1e12)])
    assert not drawn.any()


@pytest.mark.parametrize("landmarks", ([1, 2], np.zeros((3, 3)), np.zeros((1, 3, 2))))
def test_impossible_landmarks(landmarks: object) -> None:
    with pytest.raises(ParameterError, match=r"\(n, 2\)"):
        draw_landmarks(np.zeros((9, 9), np.uint8), landmarks)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", ((9,), (9, 9, 2), (1, 9, 9, 3)))
def test_impossible_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="shape"):
        draw_landmarks(np.zeros(shape, np.uint8), [(1, 1)])
