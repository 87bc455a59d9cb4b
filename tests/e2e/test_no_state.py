"""Photographs have nothing to do with each other, and numbers nothing to do with OpenCV's version."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import pyclnf
from pyclnf import CLNF
from pyclnf.detection import MTCNNDetector, find_faces
from pyclnf.nu_rlms import MULTI_VIEW_STARTS

NAMES = ("1004467229_1", "2302182824_1", "2084520102_1", "2119231041_1")


@pytest.fixture(scope="module")
def photographs(test_data: Path) -> list[np.ndarray]:
    images = [cv2.imread(str(test_data / "faces" / "helen_train" / f"{name}.jpg")) for name in NAMES]
    assert all(image is not None for image in images)
    return images


@pytest.fixture(scope="module")
def boxes(photographs: list[np.ndarray]) -> list[np.ndarray]:
    return [find_faces(MTCNNDetector(), image)[0, :4] for image in photographs]


def test_a_loop_of_fits_uses_each_new_box(
    openface_model: pyclnf.Model, photographs: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    """One object gives what a fresh one gives for each photograph, in any order, and follows the box."""
    clnf = CLNF(openface_model)
    jobs = list(zip(photographs, boxes, strict=True))
    alone = [CLNF(openface_model).fit(image, box)[0] for image, box in jobs]
    for order in ((0, 1, 2, 3), (3, 2, 1, 0)):
        for i in order:
            np.testing.assert_array_equal(clnf.fit(*jobs[i])[0], alone[i])
    far = boxes[0] + np.array([boxes[0][2], 0, 0, 0])
    there = clnf.fit(photographs[0], far)[0]
    assert np.abs(there.mean(axis=0) - alone[0].mean(axis=0)).max() > 0.3 * boxes[0][2]
    np.testing.assert_array_equal(clnf.fit(*jobs[0])[0], alone[0])


def test_detection_on_unrelated_photographs_starts_anew(
    openface_model: pyclnf.Model, photographs: list[np.ndarray]
) -> None:
    """Also after a video was tracked with the same object."""
    clnf = CLNF(openface_model)
    tracker = pyclnf.Tracker(clnf)
    for image in photographs[:2]:
        tracker.update(image)
    alone = [CLNF(openface_model).detect(image) for image in photographs]
    for i in (2, 0, 3, 1, 1):
        again = clnf.detect(photographs[i])
        assert len(again) == len(alone[i]) >= 1
        for a, b in zip(again, alone[i], strict=True):
            np.testing.assert_array_equal(a.landmarks, b.landmarks)
            assert a.detected
    grey = np.full_like(photographs[0], 120)
    assert clnf.detect(grey) == []


def test_faces_of_one_picture_do_not_start_from_each_other(
    openface_model: pyclnf.Model, photographs: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    """Each face is that of its own box alone, whatever else was found."""
    clnf = CLNF(openface_model)
    tiles = [cv2.resize(image, (500, 500)) for image in photographs]
    found = [find_faces(MTCNNDetector(), tile)[0, :4] for tile in tiles]
    picture = np.hstack(tiles)
    placed = [box + np.array([500 * i, 0, 0, 0]) for i, box in enumerate(found)]
    faces = clnf.detect(picture, detector=lambda image: placed)
    assert len(faces) == len(tiles)
    by_place = sorted(faces, key=lambda face: face.box[0])
    for face, box in zip(by_place, placed, strict=True):
        np.testing.assert_array_equal(face.landmarks, clnf.fit(picture, box)[0])
    fewer = clnf.detect(picture, detector=lambda image: placed[2:])
    for face, other in zip(sorted(fewer, key=lambda face: face.box[0]), by_place[2:], strict=True):
        np.testing.assert_array_equal(face.landmarks, other.landmarks)


def test_starts_have_likelihoods_of_their_own(
    openface_model: pyclnf.Model, photographs: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    """Eleven starts, each judged by its own fit; the best of them wins."""
    clnf = CLNF(openface_model, parameters="video")
    each = [
        clnf.fit(photographs[1], boxes[1], starts=[start])[1]["likelihood"] for start in MULTI_VIEW_STARTS
    ]
    assert len(set(np.round(each, 4))) >= 8
    _, best = clnf.fit(photographs[1], boxes[1], starts="multiview")
    assert best["likelihood"] == max(each)
    assert best["start"] == int(np.argmax(each))


def test_poses_differ_and_are_not_zero(openface_model: pyclnf.Model, photographs: list[np.ndarray]) -> None:
    poses = np.array([CLNF(openface_model).detect(image)[0].pose for image in photographs])
    assert (np.abs(poses) > 1e-4).all()
    assert (poses[:, 2] > 50).all()
    assert (np.ptp(poses, axis=0) > [1, 1, 10, 0.02, 0.02, 0.02]).all()


def test_a_fit_needs_no_opencv(test_data: Path, tmp_path: Path) -> None:
    """Fits are the same with any version of OpenCV because they are done without it."""
    image, box = tmp_path / "image.npy", (195, 70, 170, 170)
    np.save(image, cv2.imread(str(test_data / "faces" / "helen_train" / f"{NAMES[0]}.jpg")))
    code = (
        "import sys; sys.modules['cv2'] = None\n"
        "import numpy as np, pyclnf\n"
        f"clnf = pyclnf.CLNF({str(test_data / 'openface' / 'model')!r})\n"
        f"landmarks, info = clnf.fit(np.load({str(image)!r}), {box})\n"
        "print(landmarks.astype(float).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours, _ = CLNF(test_data / "openface" / "model").fit(np.load(image), box)
    np.testing.assert_array_equal(np.array(json.loads(done.stdout)), ours.astype(float))


def test_the_detectors_networks_say_what_another_runtime_says() -> None:
    """OpenCV 4 and 5 disagree on them by up to 0.08; these numbers are those of ONNX Runtime."""
    networks = MTCNNDetector()._networks

    def noise(count: int, side: int) -> np.ndarray:
        rgb = np.random.default_rng(0).normal(size=(count, side, side, 3)).astype(np.float32)
        return np.ascontiguousarray(rgb[..., ::-1])

    shifts, scores = networks.refine(noise(3, 24))
    expected = [
        [-0.00800631, 0.0105729, -0.19960853, 0.02408675],
        [0.04137845, 0.03014355, -0.0817011, 0.18176582],
        [0.00038152, -0.03800566, -0.15332162, 0.18007532],
    ]
    np.testing.assert_allclose(shifts, expected, atol=2e-6)
    np.testing.assert_allclose(scores, [8.4707403e-04, 8.2717923e-04, 1.7934974e-02], rtol=1e-4)
    shifts, points, scores = networks.output(noise(2, 48))
    expected = [
        [0.12122209, 0.0598283, -0.12743865, 0.02693836],
        [0.07037746, -0.01065927, -0.12037753, -0.02556899],
    ]
    np.testing.assert_allclose(shifts, expected, atol=2e-6)
    expected = [
        [0.3035042, 0.69222045, 0.49485487, 0.30721161],
        [0.23146559, 0.61919099, 0.37211037, 0.23630972],
    ]
    np.testing.assert_allclose(points[:, :4], expected, atol=2e-6)
    np.testing.assert_allclose(scores, [6.3205080e-04, 4.8171785e-03], rtol=1e-4)
