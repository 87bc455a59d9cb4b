"""Hair that falls beside or over the face, hats and headscarves, as simple procedural surfaces.

The ready-made hair styles are few and leave the outline of the face free. On photographs it is often
hair that hides the outline, or an edge of hair that looks like one.

All are made in the head's coordinates (mm, x to the subject's left, y up, z to the front).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from accessories import cloth_material, grid_triangles, joined, shell_of_skin, split_quads
from mesh import Surface
from numpy.typing import NDArray
from raster import Geometry, Material, Part

__all__ = ["Hairdo", "Skull", "fringe", "hat", "headscarf", "long_hair", "sample_hairdo", "strand_texture"]

Rng = np.random.Generator
_STEPS = 16  # points along a lock


@dataclass(frozen=True)
class Skull:
    """An ellipsoid about the skull: centre and half axes, shape (3,), mm."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]

    @classmethod
    def of(cls, used: NDArray[np.floating], eyes: float) -> Skull:
        """Measure a head from the used vertices of its skin and the height of its eyes."""
        upper = used[(used[:, 1] > eyes + 35) & (np.abs(used[:, 0]) < 110)]
        low, high = upper.min(0).astype(float), upper.max(0).astype(float)
        centre = np.array([(low[0] + high[0]) / 2, eyes + 10, (low[2] + high[2]) / 2])
        return cls(centre, np.array([(high[0] - low[0]) / 2, high[1] - centre[1], (high[2] - low[2]) / 2]))


@dataclass(frozen=True)
class Hairdo:
    """What stays with a person: length of the hair, how it falls, its texture.

    ``end`` is the height of its ends above the chin, ``front`` how far before the ear it falls at the side,
    both mm; ``fringe`` how low a fringe hangs above the eyes, mm, or None.
    """

    end: float | None
    front: float
    parting: float
    wave: float
    wave_length: float
    locks: int
    fringe: float | None
    sweep: float


def sample_hairdo(rng: Rng, long_probability: float, fringe_probability: float) -> Hairdo:
    """Draw a hairdo; without long hair and fringe it adds nothing."""
    long = rng.random() < long_probability
    return Hairdo(
        end=float(rng.choice([rng.uniform(-15, 40), rng.uniform(-110, -15)])) if long else None,
        front=float(rng.uniform(-25, 52)),
        parting=float(rng.normal(0, 22)),
        wave=float(rng.choice([0.0, rng.uniform(1, 7)])),
        wave_length=float(rng.uniform(35, 120)),
        locks=int(rng.integers(26, 46)),
        fringe=float(rng.uniform(6, 40)) if rng.random() < fringe_probability else None,
        sweep=float(rng.choice([0.0, rng.normal(0, 30)])),
    )


def strand_texture(folder: Path) -> Path:
    """Write (unless it is there) a texture of strands with ragged ends; row 0 is the tip."""
    file = folder / "strands.png"
    if file.exists():
        return file
    rng = np.random.default_rng(11)
    h, w = 512, 256
    fine = cv2.blur(rng.random((h + 240, w)).astype(np.float32), (1, 161))[120:-120]
    coarse = cv2.GaussianBlur(rng.random((1, w)).astype(np.float32), (0, 0), 6)
    fine = (fine - fine.mean()) / fine.std() + 1.2 * (coarse - coarse.mean()) / coarse.std()
    grey = np.clip(84 + 24 * fine, 12, 235)
    # Ragged at the tip and at both sides.
    y, x = np.mgrid[0:h, 0:w] / np.array([h, w]).reshape(2, 1, 1)
    border = np.minimum(np.minimum(x, 1 - x) * 7, y * 4)
    alpha = np.clip((border + 0.35 * fine) * 1.6, 0, 1) * 255
    image = np.dstack([grey * 0.86, grey * 0.93, grey, alpha]).astype(np.uint8)
    partial = folder / f"strands_{np.random.default_rng().integers(1 << 62)}.png"
    cv2.imwrite(str(partial), image)
    partial.replace(file)
    return file


def _lock(path: NDArray, outward: NDArray, width: NDArray | float) -> Geometry:
    """Make a flat lock along a path (k, 3), its face towards ``outward`` (k, 3)."""
    along = np.gradient(path, axis=0)
    across = np.cross(along, outward)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    half = np.broadcast_to(np.asarray(width, float).reshape(-1, 1) / 2, (len(path), 1))
    # Rounded: the middle stands out.
    rows = [path - half * across, path + 0.35 * half * outward, path + half * across]
    normals = [outward - 0.6 * across, outward, outward + 0.6 * across]
    position = np.stack(rows, 1).reshape(-1, 3)
    normal = np.stack(normals, 1).reshape(-1, 3)
    v = np.linspace(1, 0, len(path))
    uv = np.stack(np.broadcast_arrays(np.array([0.0, 0.5, 1.0])[None], v[:, None]), -1).reshape(-1, 2)
    i = 3 * np.arange(len(path) - 1)[:, None] + np.arange(2)
    quad = np.stack([i, i + 1, i + 4, i + 3], -1).reshape(-1, 4)
    return Geometry(
        position.astype(np.float32),
        (normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9)).astype(np.float32),
        uv.astype(np.float32),
        split_quads(quad),
    )


def _hair_part(key: str, locks: list[Geometry], texture: Path, colour: NDArray) -> Part:
    material = Material(texture, np.asarray(colour, np.float32), 0.9, 0.5, 0.10, cut=0.25, mode="coverage")
    return Part(key, joined(locks), material, role="occluder", coarse=True)


def long_hair(
    rng: Rng, hairdo: Hairdo, skull: Skull, points: NDArray, texture: Path, colour: NDArray
) -> Part:
    """Let locks fall from the parting over the skull and down both sides of the face."""
    assert hairdo.end is not None
    end = points[8, 1] + hairdo.end
    c, r = skull.centre, skull.radii
    locks = []
    for side in (-1, 1):
        z_side = c[2] + hairdo.front + rng.normal(0, 5)
        for k in range(hairdo.locks):
            # From the forehead to the back of the head.
            z0 = c[2] + r[2] * np.interp(k / hairdo.locks, [0, 1], [0.82, -0.75]) + rng.normal(0, 3)
            off = rng.uniform(5, 14)
            phi = np.linspace(0, np.pi / 2, _STEPS // 2)
            at_side = min(z_side - 1.1 * (c[2] + 0.82 * r[2] - z0) + rng.normal(0, 4), z0)
            z = z0 + (at_side - z0) * np.sin(phi) ** 2
            ring = np.sqrt(np.clip(1 - ((z - c[2]) / (r[2] + off)) ** 2, 0.15, 1))
            x = hairdo.parting * np.cos(phi) + side * (r[0] + off) * ring * np.sin(phi)
            y = c[1] + (r[1] + off) * ring * np.cos(phi)
            fall = np.linspace(0, 1, _STEPS - len(phi) + 1)[1:]
            low = end + rng.normal(0, 12)
            down = y[-1] + (low - y[-1]) * fall
            inward = rng.normal(4, 7) * fall**2
            path = np.r_[
                np.c_[x + c[0], y, z],
                np.c_[x[-1] + c[0] - side * inward, down, z[-1] + rng.normal(0, 5) * fall],
            ]
            phase = path[:, 1] / hairdo.wave_length * 2 * np.pi + rng.normal(0, 0.5) + side
            path[:, 0] += side * hairdo.wave * np.sin(phase) * (path[:, 1] < c[1])
            path[:, 2] += hairdo.wave * np.cos(phase) * (path[:, 1] < c[1])
            outward = (path - c) / r
            outward[len(phi) :, 1] = 0
            outward /= np.linalg.norm(outward, axis=1, keepdims=True)
            locks.append(_lock(path, outward, rng.uniform(14, 30)))
    return _hair_part("~longhair", locks, texture, colour)


def fringe(rng: Rng, hairdo: Hairdo, skull: Skull, points: NDArray, texture: Path, colour: NDArray) -> Part:
    """Let locks fall from the crown over the forehead."""
    assert hairdo.fringe is not None
    c, r = skull.centre, skull.radii
    end = points[36:48, 1].mean() + hairdo.fringe
    locks = []
    for x0 in np.linspace(-0.78, 0.78, 17) * r[0]:
        off = rng.uniform(4, 10)
        start, low = rng.uniform(0.1, 0.3), end + rng.normal(0, 5) + 0.0016 * x0**2
        stop = np.arccos(np.clip((low - c[1]) / (r[1] + off), -0.9, 0.98))
        theta = np.linspace(start, max(stop, start + 0.4), _STEPS)
        x = x0 + hairdo.sweep * np.linspace(0, 1, _STEPS) ** 2 + rng.normal(0, 2)
        ring = np.sqrt(np.clip(1 - (x / (r[0] + off + 8)) ** 2, 0.1, 1))
        path = np.c_[
            c[0] + x,
            c[1] + (r[1] + off) * np.cos(theta),
            c[2] + (r[2] + off) * ring * np.sin(theta),
        ]
        outward = (path - c) / r
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        locks.append(_lock(path, outward, rng.uniform(11, 24)))
    return _hair_part("~fringe", locks, texture, colour)


def hat(rng: Rng, skull: Skull, points: NDArray) -> Part:
    """Put on a cap with a peak, a hat with a brim, or a knitted cap."""
    kind = rng.choice(["peak", "brim", "knitted"])
    off = rng.uniform(9, 15)
    c, r = skull.centre, skull.radii + np.array([off, off + rng.uniform(0, 18), off])
    eyes = points[36:48, 1].mean()
    front = eyes + (rng.uniform(24, 55) if kind == "knitted" else rng.uniform(32, 62))
    back = eyes + rng.uniform(-25, 15)
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 41), np.linspace(0.02, np.pi * 0.75, 24))
    unit = np.stack([np.sin(v) * np.sin(u), np.cos(v), np.sin(v) * np.cos(u)], -1).reshape(-1, 3)
    position = c + unit * r
    # Below the crown a hat is upright rather than round.
    rim = front + (back - front) * (1 - (position[:, 2] - c[2] + r[2]) / (2 * r[2]))
    inside = position[:, 1] - rim
    normal = unit / r
    dome = Geometry(
        position.astype(np.float32),
        (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
        np.stack([inside, inside], 1).astype(np.float32),
        grid_triangles(24, 41),
    )
    pieces = [dome]
    if kind != "knitted":
        span = 1.15 if kind == "peak" else np.pi
        angle = np.linspace(-span, span, 33)
        height = front + (back - front) * (1 - np.cos(angle)) / 2
        flat = np.sqrt(np.clip(1 - ((height - c[1]) / r[1]) ** 2, 0.2, 1))
        ring = np.c_[c[0] + r[0] * flat * np.sin(angle), height, c[2] + r[2] * flat * np.cos(angle)]
        wide = rng.uniform(45, 75) * (
            np.cos(angle / span * np.pi / 2) ** 0.5 if kind == "peak" else np.ones(33)
        )
        tilt = rng.uniform(-0.1, 0.35)
        outer = ring + np.c_[np.sin(angle) * wide, -tilt * wide, np.cos(angle) * wide]
        k = np.arange(32)
        quad = np.stack([k, k + 1, k + 34, k + 33], -1)
        pieces.append(
            Geometry(
                np.r_[ring, outer].astype(np.float32),
                np.tile(np.array([0, 1, 0.2], np.float32), (66, 1)),
                np.ones((66, 2), np.float32),
                split_quads(quad),
            )
        )
    return Part("~hat", joined(pieces), cloth_material(rng), role="occluder")


def headscarf(
    rng: Rng, skin: Surface, vertices: NDArray, normals: NDArray, mean: NDArray, points: NDArray
) -> Part:
    """Wrap head and neck in cloth that leaves an oval around the face free (a headscarf, a hood).

    ``mean`` are the used vertices of the mean head, ``points`` its 68 points: they say where the oval lies.
    """
    middle = (points[8, 1] + points[36:48, 1].mean()) / 2 + rng.uniform(5, 18)
    wide, high = rng.uniform(56, 76), rng.uniform(72, 98)
    oval = np.hypot(mean[:, 0] / wide, (mean[:, 1] - middle) / high) - 1
    inside = np.where(mean[:, 2] > 25, oval * 60, np.maximum(oval * 60, (25 - mean[:, 2]) * 0.7))
    inside = np.minimum(inside, mean[:, 1] - 560)
    geometry = shell_of_skin(skin, vertices, normals, inside, rng.uniform(5, 11))
    return Part("~headscarf", geometry, cloth_material(rng), role="occluder")
