"""How a person's brows differ from the few painted ones: moved, longer or shorter, fuller, flatter, tilted.

All styles lie in the same place above the eyes. What is learned from them alone knows twelve brows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from landmarks import PaintedBrow, brow_map
from mesh import MM, Proxy, Surface
from numpy.typing import NDArray

__all__ = ["BrowShape", "BrowStyle", "sample_brow_shape"]

_CLEAR = 5.0  # mm between the upper lid's edge and the hair, on the mean head, whose eyes are wide open
_LIFT = 0.8  # mm above the skin
_SAMPLES = np.linspace(0.0, 1.0, 9)  # along a brow, from its inner to its outer end


@dataclass(frozen=True)
class BrowShape:
    """What is done with a painted brow, on the mean head; as it is by default. Lengths in mm."""

    height: float = 0.0
    """How far it moves up."""
    inner: float = 0.0
    """How far its inner end moves outwards."""
    length: float = 1.0
    """Factor of the length."""
    thickness: float | None = None
    """At the mean along the brow."""
    arch: float = 1.0
    """Factor of the middle line's height over the line between its ends."""
    tilt: float = 0.0
    """How much higher the outer end gets than the inner one."""


def sample_brow_shape(rng: np.random.Generator, male: bool) -> BrowShape:
    """Draw a shape: men's brows lie lower, are fuller and flatter."""
    return BrowShape(
        height=float(np.clip(rng.normal(-1.0 if male else 1.0, 2.0), -5, 6)),
        inner=float(np.clip(rng.normal(0, 2.0), -5, 5)),
        length=float(rng.uniform(0.78, 1.1)),
        thickness=float((6.0 if male else 4.6) * np.exp(np.clip(rng.normal(0, 0.3), -0.7, 0.6))),
        arch=float(rng.uniform(0.1, 1.25) if male else rng.uniform(0.4, 1.4)),
        tilt=float(np.clip(rng.normal(0, 2.0), -4, 4)),
    )


class BrowStyle:
    """A painted brow on the mean head, and copies of it in other shapes.

    Parameters
    ----------
    brow
        The piece with both brows.
    head
        The mean head's vertices.
    skin
        Its skin.
    lid
        The left upper lid's edge, shape (k, 2), from the inner to the outer corner.
    """

    def __init__(
        self,
        brow: Proxy,
        head: NDArray[np.floating],
        skin: Surface,
        lid: NDArray[np.floating],
    ) -> None:
        self.brow, self._head, self._lid = brow, head.astype(np.float64), lid
        painted = PaintedBrow.of(brow, head)
        self._points = brow_map(brow, painted, head)
        self._fine, vertices = brow.surface, brow.fit(head).astype(np.float64)
        for _ in range(2):  # so fine that no piece dips into the skin between its corners
            self._fine, vertices = _halved(self._fine, vertices)
        self._vertices = vertices
        self._triangles = self._near(skin.mesh_triangles)
        self._normals = skin.mesh_normals(self._head)
        self._ends = painted.ends
        along = (painted.position[:, 0] - self._ends[0]) / np.ptp(self._ends)
        edges = [np.quantile(painted.position[np.abs(along - s) < 0.06, 1], [0.03, 0.97]) for s in _SAMPLES]
        lower, upper = np.transpose(edges)
        self._middle = np.polynomial.Polynomial.fit(_SAMPLES, (lower + upper) / 2, 3)
        self._half = np.polynomial.Polynomial.fit(_SAMPLES, (upper - lower) / 2, 2)

    @property
    def thickness(self) -> float:
        """Mean thickness of the painted hair, mm."""
        return float(2 * self._half(_SAMPLES).mean())

    def points(self, piece: Proxy, vertices: NDArray[np.floating]) -> NDArray[np.float64]:
        """Locate points 17-26 (10, 3) on the piece, or one of its copies, on a head with these vertices."""
        return np.asarray(self._points @ piece.fit(vertices)[: self._points.shape[1]])

    def shaped(self, shape: BrowShape) -> Proxy:
        """Return the piece in another shape, of smaller triangles, bound to the skin anew.

        Its first vertices are those of the piece.
        """
        x, y = np.abs(self._vertices[:, 0]), self._vertices[:, 1]
        inner, outer = self._ends
        along = (x - inner) / (outer - inner)
        gain = 1.0 if shape.thickness is None else float(np.clip(shape.thickness / self.thickness, 0.4, 2.2))
        start, length = inner + shape.inner, shape.length * (outer - inner)
        height = shape.height + self._lift(shape, gain, start, length)
        moved = self._vertices.copy()
        moved[:, 0] = np.sign(self._vertices[:, 0]) * np.maximum(start + along * length, 1.0)
        moved[:, 1] = self._line(shape, along) + height + gain * (y - self._middle(along))
        reference, weights = self._bind(moved)
        offsets = _LIFT * (self._normals[reference] * weights[..., None]).sum(1)
        return Proxy(
            self.brow.name + "~", self._fine, self.brow.texture, reference, weights, offsets / MM, []
        )

    def _line(self, shape: BrowShape, along: NDArray[np.floating]) -> NDArray[np.float64]:
        """Heights of the new middle line, but for how far the whole is moved."""
        ends = self._middle(0.0), self._middle(1.0)
        chord = ends[0] + (ends[1] - ends[0]) * along
        return np.asarray(chord + shape.arch * (self._middle(along) - chord) + shape.tilt * (along - 0.5))

    def _lift(self, shape: BrowShape, gain: float, start: float, length: float) -> float:
        """How far up the whole has to move to leave the eye free."""
        lower = self._line(shape, _SAMPLES) + shape.height - gain * self._half(_SAMPLES)
        at = start + _SAMPLES * length
        over = (at > self._lid[0, 0]) & (at < self._lid[-1, 0])
        gap = lower - np.interp(at, self._lid[:, 0], self._lid[:, 1])
        return float(max(0.0, _CLEAR - gap[over].min()))

    def _near(self, triangles: NDArray[np.integer]) -> NDArray[np.integer]:
        """Triangles of the face's front about the brows."""
        corners = self._head[triangles]
        middle = corners.mean(1)
        low, high = self._vertices.min(0), self._vertices.max(0)
        near = (np.abs(middle[:, 0]) < high[0] + 15) & (middle[:, 2] > low[2] - 25)
        near &= (middle[:, 1] > low[1] - 15) & (middle[:, 1] < high[1] + 20)
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return triangles[near & (across[:, 2] > 0)]

    def _bind(self, places: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the skin's triangle (n, 3) before or behind each place, and the weights there (n, 3)."""
        corners = self._head[self._triangles]
        low, high = corners[:, :, :2].min(1) - 1e-6, corners[:, :, :2].max(1) + 1e-6
        x, y = places[:, :1], places[:, 1:2]
        over = (x >= low[:, 0]) & (x <= high[:, 0]) & (y >= low[:, 1]) & (y <= high[:, 1])
        place, triangle = over.nonzero()
        weights, depth = _weights_at(places[place], corners[triangle])
        # The lids have an inner side: the foremost triangle that holds the place, else the nearest.
        depth[weights.min(1) <= -1e-9] = -np.inf
        order = np.lexsort((-triangle, depth, place))  # of equals the first
        last = order[np.append(np.diff(place[order]) > 0, True)]
        best, found = np.zeros(len(places), np.intp), np.zeros(len(places), np.bool_)
        best[place[last]], found[place[last]] = triangle[last], depth[last] > -np.inf
        for i in np.flatnonzero(~found).tolist():
            best[i] = _weights_at(places[i], corners)[0].min(1).argmax()
        return self._triangles[best].astype(np.int64), _weights_at(places, corners[best])[0]


def _weights_at(
    places: NDArray[np.floating], corners: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights of corners (n, 3, 3) at places (n, 2 or more) before or behind, and the depths."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners.transpose(1, 2, 0)
    x, y = places[..., 0] - ax, places[..., 1] - ay
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    v = (x * (cy - ay) - y * (cx - ax)) / area
    w = (y * (bx - ax) - x * (by - ay)) / area
    u = 1 - v - w
    return np.stack([u, v, w], -1), u * az + v * bz + w * cz


def _halved(surface: Surface, vertices: NDArray[np.floating]) -> tuple[Surface, NDArray[np.float64]]:
    """Cut each triangle into four; new vertices come after the old ones."""
    places, faces = _with_middles(vertices, surface.mesh_triangles)
    coordinates, corners = _with_middles(surface.uv, surface.triangles)
    return Surface(faces, corners, coordinates), places


def _with_middles(
    values: NDArray[np.floating], triangles: NDArray[np.integer]
) -> tuple[NDArray[np.float64], list[list[int]]]:
    """Append the means along the triangles' edges to values (n, k); return them and the smaller triangles."""
    n = len(values)
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    (a, b, c), (ab, bc, ca) = triangles.T, n + index.reshape(-1, 3).T
    parts = [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]
    all_values = np.concatenate([np.asarray(values, np.float64), values[unique].mean(1)])
    return all_values, np.concatenate([np.transpose(part) for part in parts]).tolist()
