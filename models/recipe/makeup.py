"""Painted lips, lids, cheeks and brows: what is drawn, and where on the skin."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from mesh import smooth_step
from numpy.typing import NDArray

__all__ = ["MakeUp", "makeup_maps", "sample_brows", "sample_makeup"]

_LEFT_LID = (36, 37, 38, 39), (39, 40, 41, 36)  # upper, lower


def _black() -> NDArray[np.float32]:
    return np.zeros(3, np.float32)


@dataclass
class MakeUp:
    """How strongly lips, lids, lid edges and cheeks are painted (4,), and in which linear colours."""

    strength: NDArray[np.float32] = field(default_factory=lambda: np.zeros(4, np.float32))
    lips: NDArray[np.float32] = field(default_factory=_black)
    lids: NDArray[np.float32] = field(default_factory=_black)
    cheeks: NDArray[np.float32] = field(default_factory=_black)
    gloss: float = 0.0
    """Added to the specular strength of painted lips."""


def sample_makeup(rng: np.random.Generator, skin: float) -> MakeUp:
    """Draw make-up for a skin of some albedo: often the lips alone, or eyes and lips."""
    red, green, blue = rng.uniform(0.18, 0.62), rng.uniform(0.02, 0.2), rng.uniform(0.03, 0.22)
    shade = np.exp(rng.normal(0, 0.35)) * np.clip(skin / 0.4, 0.4, 1.2)
    lips = np.array([red, min(green, 0.7 * red), min(blue, 0.8 * red)]) * shade
    hue = rng.uniform(0.3, 1.0, 3)
    lids = hue * skin * rng.choice([rng.uniform(0.05, 0.5), rng.uniform(0.9, 1.5)], p=[0.8, 0.2])
    cheeks = np.array([1.0, 0.5, 0.5]) * skin * rng.uniform(0.6, 1.1)
    strength = np.array(
        [
            rng.uniform(0.3, 0.95) * (rng.random() < 0.85),
            rng.uniform(0.2, 0.8) * (rng.random() < 0.5),
            rng.uniform(0.4, 0.95) * (rng.random() < 0.6),
            rng.uniform(0.1, 0.5) * (rng.random() < 0.5),
        ]
    )
    gloss = float(rng.uniform(0.0, 0.25))
    colours = (colour.astype(np.float32) for colour in (lips, lids, cheeks))
    return MakeUp(strength.astype(np.float32), *colours, gloss)


def sample_brows(
    rng: np.random.Generator, hair: NDArray[np.floating], painted: bool
) -> tuple[NDArray[np.float32], float]:
    """Draw colour and opacity of brows that are not simply those of the hair: drawn darker, or thin."""
    if painted:
        colour = rng.uniform(0.1, 0.6) * np.array([1.0, 0.8, 0.65])
        return colour.astype(np.float32), float(rng.uniform(0.8, 1.3))
    return np.asarray(hair, np.float32), float(rng.uniform(0.25, 0.75))


def makeup_maps(at: NDArray[np.float32], points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Where lips, lids, lid edges and cheeks lie; shape (s, s, 4), 0 to 1.

    ``at`` (s, s, 4) are the positions of the texels on the mean head, ``points`` its 68 points.
    """
    x, y, z = (np.ascontiguousarray(at[..., k]) for k in range(3))
    front = (at[..., 3] > 0) & (z > 90)
    face = np.flatnonzero(front & (np.abs(x) < 70) & (y > points[8, 1]) & (y < points[19, 1] + 20))
    where = np.column_stack([np.abs(x.ravel()[face]), y.ravel()[face]])
    maps = np.zeros((at.shape[0] * at.shape[1], 4), np.float32)
    half = points.copy()
    half[:, 0] = np.abs(half[:, 0])

    border = _smooth(points[48:60, :2], closed=True)
    inside = np.array(
        [cv2.pointPolygonTest(border.astype(np.float32), (float(a), float(b)), True) for a, b in where]
    )
    lips = smooth_step(inside, -0.6, 0.6) * (z.ravel()[face] > points[[48, 54], 2].mean() - 12)

    upper, lower = (_smooth(half[list(lid), :2], closed=False) for lid in _LEFT_LID)
    order = np.argsort(upper[:, 0])
    lid = np.interp(where[:, 0], upper[order, 0], upper[order, 1])
    brow = np.interp(where[:, 0], np.sort(half[17:22, 0]), half[17:22, 1][np.argsort(half[17:22, 0])])
    share = (where[:, 1] - lid) / np.maximum(brow - lid, 1.0)
    inner, outer = half[39, 0], half[36, 0]
    lids = smooth_step(share, -0.12, 0.02) * smooth_step(-share, -0.75, -0.3)
    lids *= smooth_step(where[:, 0], inner - 2, inner + 4) * smooth_step(-where[:, 0], -outer - 7, -outer - 1)

    edge = np.minimum(_distance(where, upper), 0.4 + 1.4 * _distance(where, lower))
    edges = smooth_step(-edge, -1.5, -0.6)

    middle = half[[36, 48], :2].mean(axis=0) + np.array([8.0, 0.0])
    away = (where - middle) / [17.0, 11.0]
    cheeks = np.exp(-(away**2).sum(axis=1))
    maps[face] = np.stack([lips, lids, edges, cheeks], -1)
    return cv2.GaussianBlur(maps.reshape(*at.shape[:2], 4), (0, 0), 0.6)


def _distance(where: NDArray[np.floating], line: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(np.min([np.hypot(*(where - point).T) for point in line], axis=0))


def _smooth(corners: NDArray[np.floating], closed: bool) -> NDArray[np.float64]:
    """Return points on a Catmull-Rom curve through corners (n, 2), twelve between two of them."""
    n = len(corners)
    at = [i % n if closed else min(max(i, 0), n - 1) for i in range(-1, n + 2)]
    c = np.asarray(corners, np.float64)[at]
    t = np.arange(12)[:, None] / 12
    pieces = []
    for i in range(n if closed else n - 1):
        a, b, d, e = c[i : i + 4]
        pieces.append(b + 0.5 * t * (d - a + t * (2 * a - 5 * b + 4 * d - e + t * (3 * (b - d) + e - a))))
    return np.concatenate(pieces + ([] if closed else [c[n : n + 1]]))
