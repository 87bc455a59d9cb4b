"""Glasses, hands, masks and other things in front of a face, as simple procedural surfaces.

All are made in the head's coordinates (mm, x to the subject's left, y up, z to the front).
"""

from __future__ import annotations

import numpy as np
from mesh import Surface, rotation
from numpy.typing import NDArray
from raster import Geometry, Material, Part

__all__ = [
    "bar", "cloth_material", "glasses", "grid_triangles", "hand", "joined", "mask", "patch", "scarf",
    "shell_of_skin", "split_quads",
]  # fmt: skip

Rng = np.random.Generator


def split_quads(quads: NDArray) -> NDArray[np.int32]:
    """Return the two triangles of each four corners (q, 4), (2 q, 3)."""
    return np.r_[quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]].astype(np.int32)


def grid_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Return the triangles of a grid of corners that are numbered row by row."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    first = i * columns + j
    return split_quads(np.stack([first, first + columns, first + columns + 1, first + 1], -1).reshape(-1, 4))


def _tube(path: NDArray, radius: NDArray | float, sides: int = 6, flatten: float = 1.0) -> Geometry:
    """Make a tube along a polyline (k, 3), closed at neither end."""
    path = np.asarray(path, float)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    helper = np.where(np.abs(along[:, 2:3]) < 0.9, [[0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]])
    a = np.cross(along, helper)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(along, a)
    phi = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    normal = a[:, None] * np.cos(phi)[:, None] + flatten * b[:, None] * np.sin(phi)[:, None]
    r = np.broadcast_to(np.asarray(radius, float).reshape(-1, 1, 1), (len(path), 1, 1))
    position = path[:, None] + r * normal
    i, j = np.meshgrid(np.arange(len(path) - 1), np.arange(sides), indexing="ij")
    k = (j + 1) % sides
    quad = np.stack([i * sides + j, i * sides + k, (i + 1) * sides + k, (i + 1) * sides + j], -1).reshape(
        -1, 4
    )
    uv = np.stack(np.broadcast_arrays(np.linspace(0, 1, len(path))[:, None], phi / 6.3), -1)
    return Geometry(
        position.reshape(-1, 3).astype(np.float32),
        (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).reshape(-1, 3).astype(np.float32),
        uv.reshape(-1, 2).astype(np.float32),
        split_quads(quad),
    )


def joined(pieces: list[Geometry]) -> Geometry:
    """Put several geometries into one."""
    start = np.cumsum([0] + [len(p.position) for p in pieces[:-1]])
    return Geometry(
        np.concatenate([p.position for p in pieces]),
        np.concatenate([p.normal for p in pieces]),
        np.concatenate([p.uv for p in pieces]),
        np.concatenate([p.triangles + s for p, s in zip(pieces, start, strict=True)]).astype(np.int32),
    )


def _ellipsoid(centre: NDArray, radii: NDArray, turn: NDArray) -> Geometry:
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 17), np.linspace(0.02, np.pi - 0.02, 11))
    unit = np.stack([np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)], -1).reshape(-1, 3)
    normal = (unit / radii) @ turn.T
    return Geometry(
        (centre + (unit * radii) @ turn.T).astype(np.float32),
        (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
        np.stack([u / 6.3, v / 3.2], -1).reshape(-1, 2).astype(np.float32),
        grid_triangles(11, 17),
    )


def glasses(rng: Rng, points: NDArray, ears: NDArray, dark: bool) -> list[Part]:
    """Put frame and lenses on the face.

    Parameters
    ----------
    points
        The 68 points in the head's coordinates.
    ears
        Where the temples rest, right and left, shape (2, 3).
    dark
        Sunglasses: the lenses hide the eyes.
    """
    eyes = np.stack([points[36:42].mean(0), points[42:48].mean(0)])
    width = np.linalg.norm(points[45] - points[36])
    nose = points[28]
    half_w, half_h = width * rng.uniform(0.25, 0.31), width * rng.uniform(0.15, 0.25)
    power = rng.uniform(2.0, 4.5)
    front = max(points[17:27, 2].max(), nose[2]) + rng.uniform(2, 6)
    drop = rng.uniform(-2, 6)
    colour = np.array([rng.uniform(0.01, 0.12)] * 3) if rng.random() < 0.7 else rng.uniform(0.02, 0.6, 3)
    thick = rng.uniform(0.8, 2.6)
    phi = np.linspace(0, 2 * np.pi, 33)
    rim_shape = np.stack([np.cos(phi), np.sin(phi)], 1)
    rim_shape = np.sign(rim_shape) * np.abs(rim_shape) ** (2 / power)
    frame, lenses, rims = [], [], []
    for eye, ear, side in zip(eyes, ears, (-1, 1), strict=True):
        centre = np.array([eye[0] + side * width * 0.02, eye[1] - drop, front])
        rim = centre + np.c_[rim_shape * [half_w, half_h], np.zeros(33)]
        rim[:, 2] -= 0.004 * (rim[:, 0]) ** 2 * rng.uniform(0.6, 1.2)  # wrapped around the face
        rims.append(rim)
        frame.append(_tube(rim, thick))
        outer = rim[np.argmax(side * rim[:, 0])]
        frame.append(_tube(np.linspace(outer, ear, 6), thick * 1.1, flatten=1.6))
        n = len(rim)
        lenses.append(
            Geometry(
                np.vstack([rim, rim.mean(0) + np.array([0, 0, 1.0])]).astype(np.float32),
                np.tile(np.array([0.1 * side, 0.05, 0.99], np.float32), (n + 1, 1)),
                np.zeros((n + 1, 2), np.float32),
                np.array([[i, (i + 1) % n, n] for i in range(n)], np.int32),
            )
        )
    inner = [rims[0][np.argmax(rims[0][:, 0])], rims[1][np.argmin(rims[1][:, 0])]]
    bridge = np.linspace(inner[0], inner[1], 7)
    bridge[:, 1] += 3 * np.sin(np.linspace(0, np.pi, 7))
    frame.append(_tube(bridge, thick))
    metal = Material(tint=colour.astype(np.float32), roughness=0.35, specular=float(rng.uniform(0.1, 0.6)))
    if dark:
        lens = Material(
            tint=rng.uniform(0.005, 0.05, 3).astype(np.float32), roughness=0.35, specular=0.12,
            opacity=float(rng.uniform(0.8, 1.0)), mode="blend",
        )  # fmt: skip
    else:
        lens = Material(
            tint=np.full(3, 0.6, np.float32), roughness=0.3, specular=0.15, mode="blend",
            opacity=float(rng.uniform(0.02, 0.16)),
        )  # fmt: skip
    return [
        Part("~frame", joined(frame), metal, role="occluder"),
        Part("~lens", joined(lenses), lens, role="occluder" if dark else "none", casts=dark),
    ]


def hand(rng: Rng, points: NDArray, skin: NDArray) -> Part:
    """Put fingers and a palm somewhere on the lower face, a cheek or an eye."""
    target = points[rng.choice([2, 5, 8, 11, 14, 31, 35, 48, 54, 57, 36, 45, 19, 24])]
    normal = np.array([0.012 * target[0], rng.normal(0, 0.2), 1.0])
    angle = rng.uniform(0, 2 * np.pi)
    if target[1] < points[33, 1]:
        angle = rng.normal(np.pi / 2, 0.7)  # fingers point upwards from below
    along = np.array([np.cos(angle), np.sin(angle), 0.1])
    across = np.cross(normal / np.linalg.norm(normal), along)
    across /= np.linalg.norm(across)
    tip0 = target + normal / np.linalg.norm(normal) * rng.uniform(12, 22)
    pieces = []
    for k in range(int(rng.integers(1, 5))):
        tip = tip0 + across * (k - 1.5) * 19 + along * rng.normal(0, 6)
        bend = np.linspace(0, 1, 9)[:, None]
        path = tip - along * 95 * bend + np.array([0, 0, 1.0]) * 22 * bend * (1 - 0.4 * bend)
        radius = 8.5 * np.minimum(1, np.sqrt(np.linspace(0.02, 2.2, 9))) * rng.uniform(0.85, 1.1)
        pieces.append(_tube(path, radius, sides=9))
    palm = tip0 - along * 120 + np.array([0, 0, 16.0])
    turn = np.stack([across, along, np.cross(across, along)], 1)
    pieces.append(_ellipsoid(palm, np.array([42.0, 50.0, 15.0]), turn))
    return Part(
        "~hand", joined(pieces), Material(tint=skin.astype(np.float32), roughness=0.6), role="occluder"
    )


def patch(rng: Rng, points: NDArray) -> Part:
    """Put a flat thing (a phone, a card, a leaf) in front of the face."""
    centre = points[rng.integers(0, 68)] + np.array(
        [rng.normal(0, 15), rng.normal(0, 15), rng.uniform(15, 60)]
    )
    turn = rotation("z", rng.uniform(0, 360)) @ rotation("x", rng.normal(0, 20))
    w, h = rng.uniform(8, 45), rng.uniform(15, 60)
    corner = np.array([[-w, -h, 0], [w, -h, 0], [w, h, 0], [-w, h, 0]]) @ turn.T + centre
    geometry = Geometry(
        corner.astype(np.float32), np.tile(turn[:, 2].astype(np.float32), (4, 1)),
        np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    )  # fmt: skip
    material = Material(tint=rng.uniform(0.02, 0.8, 3).astype(np.float32), roughness=0.5)
    return Part("~patch", geometry, material, role="occluder")


def bar(rng: Rng, points: NDArray) -> Part:
    """Put a microphone, a cup or a straw (a ball and a handle) before the mouth or the chin."""
    target = points[rng.choice([8, 57, 62, 48, 54])] + np.array([0, -5.0, rng.uniform(18, 45)])
    down = np.array([rng.normal(0, 0.5), -1.0, rng.uniform(0, 0.8)])
    radius = rng.uniform(8, 26)
    handle = _tube(target + np.linspace(0, 160, 6)[:, None] * down, radius * 0.6, sides=10)
    ball = _ellipsoid(target, np.full(3, radius), np.eye(3))
    material = Material(tint=rng.uniform(0.01, 0.5, 3).astype(np.float32), roughness=0.5)
    return Part("~bar", joined([ball, handle]), material, role="occluder")


def shell_of_skin(
    skin: Surface, vertices: NDArray, normals: NDArray, inside: NDArray, offset: float
) -> Geometry:
    """Lay a smoothed cover over the used vertices of the skin, ``offset`` mm off it.

    ``inside`` is the distance (mm) from the cover's border, negative outside; it becomes the first texture
    coordinate, so that `Material.edge` = 0 draws a smooth border.
    """
    moved = vertices + normals * offset
    near = inside > -12
    for _ in range(6):
        moved = np.where(near[:, None], 0.3 * moved + 0.7 * (skin.smoothing @ moved), moved)
    height = np.einsum("ij,ij->i", moved - vertices, normals)
    moved = moved + normals * (np.maximum(height, 2.0) - height)[:, None]
    corner = skin.corner_of_used
    triangles = skin.triangles[(inside[corner[skin.triangles]] > 0).any(1)]
    uv = np.stack([inside[corner], inside[corner]], 1).astype(np.float32)
    return Geometry(
        moved[corner].astype(np.float32), skin.normals(moved.astype(np.float32))[corner], uv, triangles
    )


def cloth_material(rng: Rng) -> Material:
    """Draw a cloth; it ends where the first texture coordinate is negative."""
    light = rng.random() < 0.4
    tint = rng.uniform(0.5, 0.9) * np.ones(3) if light else rng.uniform(0.02, 0.6, 3)
    return Material(tint=tint.astype(np.float32), roughness=0.9, specular=0.0, edge=0.0)


def mask(
    rng: Rng, skin: Surface, vertices: NDArray, normals: NDArray, mean: NDArray, points: NDArray
) -> Part:
    """Put on a mask over mouth and chin, mostly over the nose too.

    ``mean`` are the used vertices of the mean head, ``points`` its 68 points: they say where the mask lies.
    """
    top = points[29 if rng.random() < 0.75 else 51, 1] + rng.normal(0, 3)
    bottom = points[8, 1] - rng.uniform(-4, 10)
    side = 52 + rng.normal(0, 4)
    above = top - 0.004 * mean[:, 0] ** 2
    inside = np.min([above - mean[:, 1], mean[:, 1] - bottom, side - np.abs(mean[:, 0]), mean[:, 2] - 60], 0)
    geometry = shell_of_skin(skin, vertices, normals, inside, 5.0)
    return Part("~mask", geometry, cloth_material(rng), role="occluder")


def scarf(
    rng: Rng, skin: Surface, vertices: NDArray, normals: NDArray, mean: NDArray, points: NDArray
) -> Part:
    """Put cloth around the neck, up to the chin or over the mouth."""
    top = points[[8, 57, 33][rng.choice(3, p=[0.55, 0.25, 0.2])], 1] + rng.normal(0, 3)
    inside = np.minimum(top - mean[:, 1], mean[:, 1] - 560)
    geometry = shell_of_skin(skin, vertices, normals, inside, 14.0)
    return Part("~scarf", geometry, cloth_material(rng), role="occluder")
