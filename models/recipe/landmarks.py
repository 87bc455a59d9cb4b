"""The 68 iBUG points as fixed points of the base mesh, and of each brow style for the brows.

Sources of the definition: the iBUG 68-point mark-up figure; the jaw's points are equally spaced along the
outline of the frontal view from a little below the level of the eyes, 0 and 16, to the chin, 8; how far below
is read from the points of ICT-FaceKit's mean face. In a picture they lie on the outline that is seen there,
as annotators of pictures put them (`Outline`). Left and right are the subject's; points 22-26, 42-47 and so
on lie on the left, at positive x.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sp
from mesh import BaseMesh, Proxy, Surface, macro_weights
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from scipy.sparse.csgraph import dijkstra

__all__ = ["LandmarkMap", "Outline", "PaintedBrow", "brow_map", "mean_head"]

_MIRROR = {16 - i: i for i in range(8)} | {26 - i: 17 + i for i in range(5)}
_MIRROR |= {35: 31, 34: 32, 42: 39, 43: 38, 44: 37, 45: 36, 46: 41, 47: 40}
_MIRROR |= {54: 48, 53: 49, 52: 50, 55: 59, 56: 58, 64: 60, 63: 61, 65: 67}

# Eyelid margins and corners, lip line and lip edge: vertices of hm08 (averages where two are named).
_EYE = {42: (6853, 13360), 43: (13359,), 44: (13353,), 45: (13377,), 46: (13372,), 47: (13368,)}
_MOUTH = {51: (466,), 52: (7219,), 53: (7208, 11954), 54: (7185, 7186), 55: (7239, 7233), 57: (492,)}
_INNER = {62: (520,), 66: (523,), 64: (7192,)}
_NASION, _NOSE_TIP = 133, 5054
# The nose's lower edge as it is seen from the front: where the columella turns to the lip, the lower rim of
# the nostril on the columella's side, and the wing where it meets the lip.
_NOSE_EDGE = {33: (312, 317), 34: (7076, 7093), 35: (7055, 7088)}
# Lip points found along the lip's edge, as shares of half the mouth's width: below and above the bow's peaks.
_EDGE_SHARE = {56: (492, 7241, 7239, 0.30), 63: (520, 7262, 7192, 0.27), 65: (523, 7265, 7192, 0.29)}
# Outline of the frontal view of the mean face, from the level of the eyes to the chin: x and y in mm, and a
# smooth depth along the edge of the mandible (half-way between the outline's and the ICT-FaceKit points').
_OUTLINE = np.array(
    [[69.2, 734.5, 67], [67.8, 716.5, 66], [65.5, 701.5, 67], [62.4, 685, 71], [57, 667.5, 82],
     [47.5, 650, 94], [34, 637.5, 108], [18, 629, 118], [0, 626.5, 121]]
)  # fmt: skip
# How far below the middle of the eyes' points 0 and 16 lie, in distances of the outer eye corners: so much it
# is in ICT-FaceKit's mean face, the one free source of the points in 3D.
_BELOW_EYES = 0.035


def mean_head(base: BaseMesh) -> NDArray[np.float32]:
    """Average the macro targets at 25 years: the head on which the points are defined."""
    third = {"caucasian": 1 / 3, "african": 1 / 3, "asian": 1 / 3}
    return base.shape(macro_weights(0.5, 0.5, third, 0.5, 0.5))


def _barycentric(point: NDArray, a: NDArray, b: NDArray, c: NDArray) -> NDArray[np.float64]:
    """Weights of the triangles' points nearest to ``point``, clipped into each triangle; shape (t, 3)."""
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    den = np.maximum(d00 * d11 - d01 * d01, 1e-9)
    v, w = (d11 * d20 - d01 * d21) / den, (d00 * d21 - d01 * d20) / den
    weights = np.maximum(np.stack([1 - v - w, v, w], 1), 0)
    return weights / weights.sum(1, keepdims=True)


class LandmarkMap:
    """Sparse map from base mesh vertices to the 68 points (brows: of the bare skin)."""

    def __init__(self, base: BaseMesh, skin: Surface) -> None:
        self._head = mean_head(base).astype(np.float64)
        self._skin = skin
        self._normals = skin.mesh_normals(self._head)
        self._points: dict[int, list[tuple[int, float]]] = {}
        for table in (_EYE, _MOUTH, _INNER, _NOSE_EDGE):
            for i, vertices in table.items():
                self._put(i, [(v, 1 / len(vertices)) for v in vertices])
        self._lips()
        self._nose()
        self._jaw()
        rows, columns, values = [], [], []
        for i, point in self._points.items():
            for v, w in point:
                rows.append(i)
                columns.append(v)
                values.append(w)
        self.matrix = sp.csr_matrix((values, (rows, columns)), shape=(68, len(self._head)))

    def __call__(self, vertices: NDArray[np.floating]) -> NDArray[np.float64]:
        """Locate the 68 points (68, 3); 17-26 are zero, see `brow_map`."""
        return np.asarray(self.matrix @ vertices, np.float64)

    def _mirrored(self, vertex: int) -> int:
        distance = np.linalg.norm(self._head[self._skin.used] - self._head[vertex] * [-1, 1, 1], axis=1)
        if distance.min() > 0.3:
            raise ValueError(f"vertex {vertex} of the base mesh has no mirror image")
        return int(self._skin.used[distance.argmin()])

    def _put(self, i: int, point: list[tuple[int, float]]) -> None:
        self._points[i] = point
        if i in _MIRROR:
            self._points[_MIRROR[i]] = [(self._mirrored(v), w) for v, w in point]

    def _position(self, i: int) -> NDArray[np.float64]:
        return sum(w * self._head[v] for v, w in self._points[i])

    def _lips(self) -> None:
        """Points on the lip edges at a given share of half the mouth's width."""
        t = self._skin.mesh_triangles
        i, j = t[:, [0, 1, 2]].ravel(), t[:, [1, 2, 0]].ravel()
        length = np.linalg.norm(self._head[i] - self._head[j], axis=1)
        graph = sp.csr_matrix((length, (i, j)), shape=(len(self._head),) * 2)
        half = self._position(54)[0]
        for point, (start, middle, end, share) in _EDGE_SHARE.items():
            path: list[int] = []
            for a, b in ((start, middle), (middle, end)):
                _, before = dijkstra(graph, directed=False, indices=a, return_predecessors=True)
                leg = [b]
                while leg[-1] != a:
                    leg.append(int(before[leg[-1]]))
                path += leg[::-1] if not path else leg[-2::-1]
            x = self._head[path, 0]
            k = int(np.argmax(x >= share * half))
            w = float((share * half - x[k - 1]) / (x[k] - x[k - 1]))
            self._put(point, [(path[k - 1], 1 - w), (path[k], w)])

    def _on_skin(self, target: NDArray, axes: slice, chosen: NDArray[np.bool_]) -> list[tuple[int, float]]:
        """Point of the chosen triangles nearest to ``target`` in the given axes."""
        triangles = self._skin.mesh_triangles[chosen]
        corners = self._head[triangles]
        flat = np.zeros_like(corners)
        flat[..., axes] = corners[..., axes]
        p = np.zeros(3)
        p[axes] = target
        w = _barycentric(p, *flat.transpose(1, 0, 2))
        gap = np.linalg.norm((w[..., None] * flat).sum(1) - p, axis=1)
        best = int(gap.argmin())
        return [(int(v), float(x)) for v, x in zip(triangles[best], w[best], strict=True)]

    def _nose(self) -> None:
        """Bridge 27-30 equally spaced from the nasion to the tip."""
        corners = self._head[self._skin.mesh_triangles]
        normal = self._normals[self._skin.mesh_triangles].mean(1)
        forward = (normal[:, 2] > 0.05) & (corners[..., 2].min(1) > 110)
        outer = abs(self._position(45)[0] - self._position(36)[0])
        # The nasion lies a little above the line of the eye corners.
        top = self._head[_NASION, 1] + 0.03 * outer
        tip = self._head[_NOSE_TIP, 1]
        for k, i in enumerate((27, 28, 29)):
            self._put(i, self._on_skin(np.array([0.0, top + (tip - top) * k / 3]), slice(0, 2), forward))
        self._put(30, [(_NOSE_TIP, 1.0)])

    @property
    def _outside(self) -> NDArray[np.bool_]:
        """Triangles of cheek and jaw, both sides, without the ears, the inside of the mouth and the nose."""
        centre = self._head[self._skin.mesh_triangles].mean(1)
        return (centre[:, 2] > 45) & (np.hypot(centre[:, 0], centre[:, 1] - self._position(42)[1] + 32) > 40)

    def _jaw(self) -> None:
        """Equally spaced along the outline of the frontal view, on the skin."""
        plane = np.linalg.norm(np.diff(_OUTLINE[:, :2], axis=0), axis=1)
        curve = interp1d(np.r_[0, plane.cumsum()], _OUTLINE, axis=0, kind="cubic")
        fine = curve(np.linspace(0, plane.sum(), 400))
        eyes = np.array([self._position(k) for k in range(36, 48)])
        top = eyes[:, 1].mean() - _BELOW_EYES * np.ptp(eyes[:, 0])
        fine = fine[fine[:, 1] <= top]
        length = np.r_[0, np.linalg.norm(np.diff(fine[:, :2], axis=0), axis=1).cumsum()]
        targets = interp1d(length, fine, axis=0)(np.linspace(0, length[-1], 9))
        outside = self._outside & (self._head[self._skin.mesh_triangles][..., 0].mean(1) > -1)
        for k, target in enumerate(targets):
            self._put(16 - k, self._on_skin(target, slice(0, 3), outside))
        self._points[8] = self._symmetric(self._points[8])

    def _symmetric(self, point: list[tuple[int, float]]) -> list[tuple[int, float]]:
        return [(v, w / 2) for v, w in point] + [(self._mirrored(v), w / 2) for v, w in point]


class Outline:
    """Lines on the skin along which the jaw's points slide to the outline that a picture shows.

    The line of a point is the cut of the skin with the plane through the point that is spanned by the
    frontal view's direction and the inward normal of the outline. On the far side of a turned head the
    outline runs over the cheek, so that the point slides inwards ("landmark marching"); outwards it may slide
    only a little: behind it begin the ear and the neck, which are no part of the face.

    Parameters
    ----------
    points
        The map of the fixed points.
    back, forward
        How far a point may slide outwards and inwards, mm along the mean head's skin.
    """

    STEP = 1.0  # mm between the samples of a line

    def __init__(self, points: LandmarkMap, back: float, forward: float) -> None:
        head, triangles = points._head, points._skin.mesh_triangles[points._outside]
        jaw = np.array([points._position(k) for k in range(17)])
        tangent = np.gradient(jaw[:, :2], axis=0)
        tangent[8] = 1, 0
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        self.outward = np.c_[tangent[:, 1], -tangent[:, 0], np.zeros(17)]
        lines = [_line(head, triangles, jaw[k], self.outward[k], back, forward, self.STEP) for k in range(17)]
        self.matrix = sp.vstack(lines).tocsr()
        self._ends = np.cumsum([m.shape[0] for m in lines])

    def __call__(self, vertices: NDArray[np.floating], view: NDArray[np.floating]) -> NDArray[np.float64]:
        """Find the jaw's 17 points (17, 3) on the outline that is seen from a place.

        Parameters
        ----------
        vertices
            Of the head, shape (n, 3), in its own axes.
        view
            Where the camera is in these axes, shape (3,), mm.
        """
        samples = np.asarray(self.matrix @ vertices, np.float64)
        out = np.zeros((17, 3))
        for k, line in enumerate(np.split(samples, self._ends[:-1])):
            ray = line - view
            # Seen from the camera, the angle of a sample from the plane through the line's middle.
            towards = self.outward[k] - ray.mean(0) * (self.outward[k] @ ray.mean(0)) / (
                ray.mean(0) @ ray.mean(0)
            )
            out[k] = line[np.argmax((ray @ towards) / np.linalg.norm(ray, axis=1))]
        return out


def _line(
    head: NDArray,
    triangles: NDArray,
    start: NDArray,
    outward: NDArray,
    back: float,
    forward: float,
    step: float,
) -> sp.csr_matrix:
    """Sample the cut of a plane with the skin; map from the vertices to the samples, outermost first."""
    across = np.cross(outward, [0.0, 0.0, 1.0])
    height = (head - start) @ across
    edges = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1
    )
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    of_triangle = index.reshape(3, -1).T
    a, b = height[unique].T
    crossed = (a < 0) != (b < 0)
    share = np.where(crossed, a / np.where(crossed, a - b, 1), 0)
    cut = head[unique[:, 0]] * (1 - share[:, None]) + head[unique[:, 1]] * share[:, None]
    pairs = np.array([t[crossed[t]] for t in of_triangle if crossed[t].sum() == 2])
    length = np.linalg.norm(cut[pairs[:, 0]] - cut[pairs[:, 1]], axis=1)
    graph = sp.csr_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(len(unique),) * 2)
    node = int(pairs.ravel()[np.linalg.norm(cut[pairs.ravel()] - start, axis=1).argmin()])
    distance, before = dijkstra(graph, directed=False, indices=node, return_predecessors=True)
    # From the start the curve goes both ways; the way inwards is the one that comes to the front.
    reached = np.flatnonzero(np.isfinite(distance))
    first = reached[before[reached] == node]
    inner = max(first, key=lambda n: float((cut[n] - cut[node]) @ (np.array([0, 0, 1.0]) - outward)))
    signed = {node: 0.0}
    for n in reached[reached != node].tolist():
        root = n
        while before[root] != node:
            root = int(before[root])
        signed[n] = float(distance[n]) * (1 if root == inner else -1)
    order = sorted(signed, key=lambda n: signed[n])
    at = np.array([signed[n] for n in order])
    wanted = np.arange(max(-back, at[0]), min(forward, at[-1]) + 1e-9, step)
    right = np.clip(np.searchsorted(at, wanted), 1, len(at) - 1)
    mix = (wanted - at[right - 1]) / np.maximum(at[right] - at[right - 1], 1e-9)
    rows, columns, values = [], [], []
    for i, (r, m) in enumerate(zip(right, mix, strict=True)):
        for n, w in ((order[r - 1], 1 - m), (order[r], m)):
            rows += [i, i]
            columns += unique[n].tolist()
            values += [w * (1 - share[n]), w * share[n]]
    return sp.csr_matrix((values, (rows, columns)), shape=(len(wanted), len(head)))


@dataclass(frozen=True)
class PaintedBrow:
    """Places on a brow piece's left half that show hair.

    Attributes
    ----------
    position
        Shape (n, 3), mm.
    triangle
        The piece's vertices about each, shape (n, 3).
    weight
        Their weights, shape (n, 3).
    """

    position: NDArray[np.float64]
    triangle: NDArray[np.int64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, brow: Proxy, head: NDArray[np.floating]) -> PaintedBrow:
        """Read the texture of a piece on a head."""
        surface = brow.surface
        vertices = brow.fit(head).astype(np.float64)
        image = cv2.imread(str(brow.texture), cv2.IMREAD_UNCHANGED)
        alpha = cv2.GaussianBlur(image[..., 3].astype(np.float32) / 255, (0, 0), 2)
        n = 14
        grid = np.array([(i + 0.33, j + 0.33) for i in range(n) for j in range(n - i)]) / n
        grid = np.c_[grid, np.maximum(1 - grid.sum(1), 0)]
        triangles = surface.mesh_triangles
        triangles_uv = surface.uv[surface.triangles]
        left = vertices[triangles][..., 0].mean(1) > 0
        triangles, triangles_uv = triangles[left], triangles_uv[left]
        position = np.einsum("gk,tkc->tgc", grid, vertices[triangles]).reshape(-1, 3)
        uv = np.einsum("gk,tkc->tgc", grid, triangles_uv).reshape(-1, 2)
        h, w = alpha.shape
        hair = alpha[
            np.clip((1 - uv[:, 1]) * h, 0, h - 1).astype(int), np.clip(uv[:, 0] * w, 0, w - 1).astype(int)
        ]
        painted = np.flatnonzero(hair > 0.20 * np.quantile(hair[hair > 0.02], 0.95))
        return cls(position[painted], triangles[painted // len(grid)], grid[painted % len(grid)])

    @property
    def ends(self) -> NDArray[np.float64]:
        """Return x of the inner and the outer end."""
        return np.quantile(self.position[:, 0], [0.004, 0.998])


def brow_map(brow: Proxy, painted: PaintedBrow, head: NDArray[np.floating]) -> sp.csr_matrix:
    """Map from the vertices of a brow piece to points 17-26, shape (10, vertices).

    The points follow the upper edge of the painted hair; 21 and 22 its inner, 17 and 26 its outer end.
    """
    vertices = brow.fit(head).astype(np.float64)
    x, y = painted.position[:, 0], painted.position[:, 1]
    inner, outer = painted.ends
    rows, columns, values = [], [], []
    for k, share in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        at = inner + (outer - inner) * share
        near = np.abs(x - at) < 0.05 * (outer - inner)
        upper = np.quantile(y[near], 0.5 if k == 4 else 0.97)
        best = np.hypot(x - at, y - upper).argmin()
        for v, value in zip(painted.triangle[best], painted.weight[best], strict=True):
            twin = int(np.linalg.norm(vertices - vertices[v] * [-1, 1, 1], axis=1).argmin())
            rows += [5 + k, 4 - k]
            columns += [int(v), twin]
            values += [value, value]
    return sp.csr_matrix((values, (rows, columns)), shape=(10, len(vertices)))
