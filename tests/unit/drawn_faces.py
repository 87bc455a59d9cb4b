"""Schematic faces, drawn: 68 landmarks in 3D, and images with something to see at each of them."""

import cv2
import numpy as np

from pyclnf.pdm import PDM, Parameters


def mean_shape():
    """A face of 68 points, (68, 3), mm."""
    jaw = np.linspace(-np.pi / 2, np.pi / 2, 17)
    points = [(70 * np.sin(a), -30 + 100 * np.cos(a), 60 * (1 - np.cos(a)) - 5) for a in jaw]
    brow = [(-60 + 10 * i, -55 - 6 * np.sin(np.pi * i / 4), 5 - 3 * i) for i in range(5)]
    points += brow + [(-x, y, z) for x, y, z in reversed(brow)]
    points += [(0, -40 + 11 * i, -14 - 8 * i) for i in range(4)]
    points += [(-12 + 6 * i, 5, -22 - 4 * (2 - abs(i - 2))) for i in range(5)]
    eye = [(-45, -38, 6), (-37, -43, 2), (-28, -43, 1), (-20, -37, 2), (-28, -33, 1), (-37, -33, 2)]
    points += eye + [(-eye[k][0], *eye[k][1:]) for k in (3, 2, 1, 0, 5, 4)]
    for count, width, top, bottom in ((12, 27, 22, 40), (8, 22, 28, 33)):
        for angle in np.linspace(np.pi, 3 * np.pi, count, endpoint=False):
            y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(angle)
            points.append((width * np.cos(angle), y, -12 * np.sqrt(1 - 0.5 * np.cos(angle) ** 2)))
    shape = np.array(points, float)
    return shape - shape.mean(axis=0)


def shape_modes():
    """Wider, longer, smiling and a one-sided smile: four directions (68, 3) and their deviations in mm."""
    mean = mean_shape()
    mouth = np.zeros(68)
    mouth[[48, 49, 59, 60]], mouth[[54, 53, 55, 64]] = 1, 1
    left = mouth * (mean[:, 0] < 0)
    smile, one_sided = np.zeros((2, 68, 3))
    smile[:, 1], one_sided[:, 1] = -5 * mouth, -5 * left
    return np.stack([mean * (0.06, 0, 0), mean * (0, 0.06, 0), smile, one_sided])


def random_shapes(n, rng):
    """n shapes, (n, 68, 3)."""
    return mean_shape() + np.tensordot(rng.normal(size=(n, 4)), shape_modes(), axes=1)


def draw(landmarks, rng, size=160):
    """The image of a face, uint8."""
    points = np.round(landmarks * 16).astype(np.int32)
    image = np.full((size, size), rng.integers(30, 80), np.uint8)

    def fill(chosen, value):
        cv2.fillPoly(image, [points[chosen]], int(value), cv2.LINE_AA, 4)

    fill([*range(17), *range(26, 16, -1)], rng.integers(140, 190))
    for first in (17, 22):
        cv2.polylines(image, [points[first : first + 5]], False, 20, 3, cv2.LINE_AA, 4)
    fill([27, *range(31, 36)], 220)
    fill(list(range(36, 42)), 25)
    fill(list(range(42, 48)), 25)
    fill(list(range(48, 60)), 70)
    fill(list(range(60, 68)), 10)
    noise = rng.normal(scale=4, size=image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def dataset(n, rng, yaw=0.3, size=160):
    """n images with landmarks (n, 68, 2), rotations (n, 3) and the 3D shapes."""
    shapes = random_shapes(n, rng)
    images, landmarks, rotations = [], [], []
    for shape in shapes:
        pdm = PDM(shape.T.reshape(-1), np.zeros((204, 0)), [])
        rotation = rng.uniform(-1, 1, 3) * (0.1, yaw, 0.2)
        pose = [rng.uniform(0.55, 0.75), *rotation, *(size / 2 + rng.normal(scale=4, size=2))]
        points = pdm.landmarks_2d(Parameters(np.array(pose), np.zeros(0)))
        images.append(draw(points, rng, size))
        landmarks.append(points)
        rotations.append(rotation)
    return images, np.array(landmarks), np.array(rotations), shapes


def smooth_picture(seed: int = 0) -> np.ndarray:
    """Return a smooth random picture (121, 121), so that positions matter."""
    small = np.random.default_rng(seed).uniform(0, 255, (12, 12))
    grid = np.linspace(0, 11, 121)
    rows = np.array([np.interp(grid, np.arange(12), row) for row in small])
    columns = np.array([np.interp(grid, np.arange(12), column) for column in rows.T])
    return np.ascontiguousarray(columns.T.round().astype(np.uint8))
