"""Many faces, many threads: the same results as one after the other."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from generate_model import generate_model, tiny_model
from pyclnf import CLNF, BoxError, ImageError, Model, ParameterError, PyclnfError


@pytest.fixture(scope="module")
def clnf(model: Model) -> CLNF:
    return CLNF(model, parameters="video")


def boxes_around(box: np.ndarray, count: int) -> np.ndarray:
    """Return boxes that differ a little, so that no two fits are the same."""
    random = np.random.default_rng(count)
    return np.asarray(box, np.float64) + random.uniform(-4, 4, (count, 4))


def assert_same_fits(results: list, expected: list) -> None:
    assert len(results) == len(expected)
    for ours, theirs in zip(results, expected, strict=True):
        assert not isinstance(ours, PyclnfError)
        assert ours[0].tobytes() == theirs[0].tobytes()
        assert ours[1]["likelihood"] == theirs[1]["likelihood"]


@pytest.mark.parametrize("workers", (None, 1, 2, 7, np.int64(3)))
def test_equals_single_fits_in_order(clnf: CLNF, picture, workers: int | None) -> None:
    boxes = boxes_around(picture.box, 9)
    expected = [clnf.fit(picture.image, box) for box in boxes]
    assert len({landmarks.tobytes() for landmarks, _ in expected}) == 9
    assert_same_fits(clnf.fit_many(picture.image, boxes, workers=workers), expected)


def test_an_image_for_each_box(clnf: CLNF, picture) -> None:
    boxes = boxes_around(picture.box, 3)
    images = [picture.image, picture.image[:, ::-1], picture.image.astype(np.float32)]
    expected = [clnf.fit(image, box) for image, box in zip(images, boxes, strict=True)]
    assert_same_fits(clnf.fit_many(images, boxes.tolist(), workers=2), expected)
    grey = picture.image if picture.image.ndim == 2 else picture.image[:, :, 0]
    batch = np.stack([np.repeat(grey[:, :, None], 3, axis=2), np.repeat(grey[:, ::-1, None], 3, axis=2)])
    expected = [clnf.fit(image, box) for image, box in zip(batch, boxes[:2], strict=True)]
    assert_same_fits(clnf.fit_many(batch, boxes[:2], workers=2), expected)


@pytest.mark.parametrize("workers", (1, 2))
def test_a_bad_face_is_told_and_loses_no_other(clnf: CLNF, picture, workers: int) -> None:
    far = (1e6, 1e6, 10.0, 10.0)
    boxes = [picture.box, far, picture.box, (0, 0, -1, 5), picture.box]
    images = [picture.image, picture.image, picture.image[:0], picture.image, picture.image]
    results = clnf.fit_many(images, boxes, workers=workers)
    assert [type(result) for result in results] == [tuple, BoxError, ImageError, BoxError, tuple]
    assert_same_fits([results[0], results[4]], [clnf.fit(picture.image, picture.box)] * 2)


def test_no_faces(clnf: CLNF, picture) -> None:
    assert clnf.fit_many(picture.image, []) == []
    assert clnf.fit_many([], np.empty((0, 4))) == []


def test_other_starts(clnf: CLNF, picture) -> None:
    starts = [(0, 0.4, 0), (0, 0, 0), (0, -0.4, 0)]
    expected = [clnf.fit(picture.image, picture.box, starts=starts)] * 2
    assert_same_fits(clnf.fit_many(picture.image, [picture.box] * 2, starts=starts), expected)


@pytest.mark.parametrize("boxes", (5, (1, 2, 3, 4), [(1, 2, 3, 4), 5]))
def test_what_are_no_boxes(clnf: CLNF, picture, boxes: object) -> None:
    with pytest.raises(BoxError, match="boxes"):
        clnf.fit_many(picture.image, boxes)  # type: ignore[arg-type]


def test_as_many_images_as_boxes(clnf: CLNF, picture) -> None:
    with pytest.raises(ParameterError, match="2 images for 3 boxes"):
        clnf.fit_many([picture.image] * 2, [picture.box] * 3)


@pytest.mark.parametrize("workers", (0, -1, 1.5, "all"))
def test_impossible_numbers_of_workers(clnf: CLNF, picture, workers: object) -> None:
    with pytest.raises(ParameterError, match="workers"):
        clnf.fit_many(picture.image, [picture.box], workers=workers)  # type: ignore[arg-type]


def test_programming_errors_are_not_swallowed(clnf: CLNF, picture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(clnf, "fit", broken)
    with pytest.raises(ZeroDivisionError):
        clnf.fit_many(picture.image, [picture.box] * 3, workers=2)


def test_an_interruption_ends_the_fits_of_other_threads(
    clnf: CLNF, picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook it would end the call only after all faces."""
    calls = []

    def slow(image: np.ndarray, box: np.ndarray, **_: object) -> None:
        calls.append(box)
        if box[0] == 0:
            raise KeyboardInterrupt
        time.sleep(0.02)

    monkeypatch.setattr(clnf, "fit", slow)
    with pytest.raises(KeyboardInterrupt):
        clnf.fit_many(picture.image, [(number, 0, 9, 9) for number in range(200)], workers=2)
    assert len(calls) < 200


def test_threads_that_all_start_on_a_fresh_model(picture) -> None:
    """Views, blocks and Sigmas are made on first use; every thread must see whole ones."""
    expected = CLNF(generate_model(), parameters="video").fit(picture.image, picture.box)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(2):
            fresh = CLNF(generate_model(), parameters="video")
            barrier = threading.Barrier(8)

            def one(_: int, clnf: CLNF = fresh, barrier: threading.Barrier = barrier):
                barrier.wait()
                return clnf.fit(picture.image, picture.box)

            with ThreadPoolExecutor(8) as pool:
                assert_same_fits(list(pool.map(one, range(8))), [expected] * 8)
    finally:
        sys.setswitchinterval(interval)


def test_many_short_fits_at_the_same_time() -> None:
    """Most of the time is spent in kernels, side by side: what they shared would be changed under them."""
    clnf = CLNF(tiny_model(), windows=(15,))
    image = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    boxes = boxes_around((40, 40, 100, 100), 200)
    expected = clnf.fit_many(image, boxes, workers=1)
    for _ in range(3):
        assert_same_fits(clnf.fit_many(image, boxes, workers=4), expected)
