"""The rendered data set on disk: shards of JPEG pictures with their labels."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pyclnf._kernels import close_openings
from pyclnf.pdm import CONTACT_DEPTH, euler_to_matrix

__all__ = [
    "CONTACTS",
    "FRAME_RATE",
    "HELD_OUT_EVERY",
    "Dataset",
    "eye_distances",
    "load_dataset",
    "one_sided",
    "pictures_held_out",
    "write_shard",
]

HELD_OUT_EVERY = 10  # identities 9, 19, 29... are held out of training
# Where an eye closes, the upper lid comes to lie before the lower one; where a mouth does, the lower lip
# before the upper one: pairs of points, the one that is covered first.
_LOWER_LID, _UPPER_LIP = ((41, 37), (40, 38), (47, 43), (46, 44)), ((61, 67), (62, 66), (63, 65))
CONTACTS = _LOWER_LID + _UPPER_LIP
FRAME_RATE = 25  # of the set video_test, whose people have their frames one after the other


@dataclass(frozen=True)
class Dataset:
    """Rendered faces with their labels; N pictures.

    Image coordinates are 0-based px, x right, y down, an integer is a pixel's centre. 3D coordinates are mm
    along the camera's axes, x right, y down, z away from the camera, the origin between eyes and mouth.
    """

    landmarks: NDArray[np.float32]
    """(N, 68, 2) iBUG points, px; also those that are hidden or outside of the picture.

    Of lids and lips that meet, both edges lie where the one that covers the other is seen, as annotators of
    pictures put them (`CONTACTS`); on the mesh they go on past each other.
    """
    landmarks3d: NDArray[np.float32]
    """(N, 68, 3) mm, as the head is turned in the picture."""
    visible: NDArray[np.bool_]
    """(N, 68) neither hidden by the face itself nor by an occluder, and inside of the picture."""
    self_occluded: NDArray[np.bool_]
    """(N, 68) hidden by the face itself."""
    occluded: NDArray[np.bool_]
    """(N, 68) hidden by hair, glasses, a hand... or outside of the picture."""
    identity: NDArray[np.int64]
    """(N,) number of the person, which also seeds it."""
    held_out: NDArray[np.bool_]
    """(N,) the person is not for training."""
    pose: NDArray[np.float32]
    """(N, 3) rx, ry, rz in radians, R = Rx Ry Rz, in the axes of the 3D coordinates."""
    camera: NDArray[np.float32]
    """(N, 4) distance (mm), focal length (px), principal point (px)."""
    meta: list[dict[str, Any]]
    """Expression, palsy, age, skin... of each picture."""
    _jpeg: list[NDArray[np.uint8]]

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.landmarks)

    def image(self, i: int, grey: bool = False) -> NDArray[np.uint8]:
        """Picture i, BGR (h, w, 3), or grey (h, w)."""
        flag = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        return np.asarray(cv2.imdecode(self._jpeg[i], flag), np.uint8)

    def chosen(self, which: NDArray[np.intp]) -> Dataset:
        """Return some of the pictures."""
        arrays = {
            f.name: getattr(self, f.name)[which] for f in fields(self) if f.name not in ("meta", "_jpeg")
        }
        rows = which.tolist()
        return Dataset(**arrays, meta=[self.meta[i] for i in rows], _jpeg=[self._jpeg[i] for i in rows])


def eye_distances(data: Dataset, which: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float32]:
    """Return the distance of the outer eye corners in 3D at the scale of each picture, (N,) px."""
    flat, solid = (
        points - points.mean(axis=1, keepdims=True)
        for points in (data.landmarks[which], data.landmarks3d[which])
    )
    scale = np.linalg.norm(flat, axis=(1, 2)) / np.linalg.norm(solid[:, :, :2], axis=(1, 2))
    return np.asarray(scale * np.linalg.norm(solid[:, 36] - solid[:, 45], axis=1))


def one_sided(data: Dataset) -> NDArray[np.bool_]:
    """Return which faces show a palsy."""
    return np.array([meta["palsy_side"] != 0 for meta in data.meta])


def pictures_held_out(data: Dataset, count: int, seed: int | None) -> NDArray[np.intp]:
    """Return so many pictures of people held out, drawn by lot, or without a seed the first; in order.

    Raises
    ------
    ValueError
        If there is none.
    """
    there = np.flatnonzero(data.held_out)
    order = there if seed is None else np.random.default_rng(seed).permutation(there)
    chosen = np.sort(order[: max(count, 0)])
    if not chosen.size:
        raise ValueError(
            f"{count} pictures are asked for, of {there.size} that show people held out (every "
            f"{HELD_OUT_EVERY}th of the set train, all of the test sets)"
        )
    return chosen


def write_shard(file: Path, rows: list[dict[str, Any]], jpeg_quality: int) -> None:
    """Write pictures and labels.

    ``rows`` hold the fields of `Dataset`, ``image`` (BGR) and ``meta`` (JSON).
    """
    coded = [
        cv2.imencode(".jpg", r["image"], [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1].ravel() for r in rows
    ]
    arrays = {
        key: np.stack([r[key] for r in rows])
        for key in (
            "landmarks",
            "landmarks3d",
            "self_occluded",
            "occluded",
            "identity",
            "held_out",
            "pose",
            "camera",
        )
    }
    partial = file.with_suffix(f".{os.getpid()}.part")  # the same command may run twice
    with partial.open("wb") as stream:
        np.savez(
            stream,
            jpeg=np.concatenate(coded),
            jpeg_end=np.cumsum([len(c) for c in coded]),
            meta=np.array([r["meta"] for r in rows]),
            **arrays,
        )
    partial.replace(file)


def load_dataset(*folders: str | Path, limit: int | None = None) -> Dataset:
    """Read all shards that are there, in order.

    Parameters
    ----------
    folders
        Folders of ``shard_*.npz``; a run that is still rendering may go on writing to them.
    limit
        Stop after the shard that reaches this number of pictures.

    Raises
    ------
    FileNotFoundError
        If there is no shard.
    """
    columns: dict[str, list[NDArray[Any]]] = {}
    jpeg: list[NDArray[np.uint8]] = []
    meta: list[dict[str, Any]] = []
    for file in (file for folder in folders for file in sorted(Path(folder).glob("shard_*.npz"))):
        with np.load(file) as shard:
            jpeg += np.split(shard["jpeg"], shard["jpeg_end"][:-1])
            meta += [json.loads(str(m)) for m in shard["meta"]]
            for key in shard.files:
                if not key.startswith("jpeg") and key != "meta":
                    columns.setdefault(key, []).append(shard[key])
        if limit is not None and len(meta) >= limit:
            break
    if not meta:
        places = ", ".join(map(str, folders))
        raise FileNotFoundError(f"no shard_*.npz in {places}: run render_faces.py first")
    joined = {key: np.concatenate(value) for key, value in columns.items()}
    _close(joined)
    return Dataset(visible=~(joined["self_occluded"] | joined["occluded"]), meta=meta, _jpeg=jpeg, **joined)


def _close(columns: dict[str, NDArray[Any]]) -> None:
    """Let the edges of lids and lips meet, where they pass each other on the mesh."""
    contacts = np.array(CONTACTS, np.int32)
    sides = np.repeat([1.0, -1.0], [len(_LOWER_LID), len(_UPPER_LIP)])
    moved = contacts[:, 0]

    def projected(points: NDArray[np.float64], camera: NDArray[np.float64]) -> NDArray[np.float64]:
        distance, focal_length = camera[:2]
        return focal_length * points[:, :2] / (distance + points[:, 2:])

    for flat, solid, pose, camera in zip(
        *(columns[key] for key in ("landmarks", "landmarks3d", "pose", "camera")), strict=True
    ):
        before, rotation = solid.astype(np.float64), euler_to_matrix(pose)
        head = np.ascontiguousarray((before @ rotation).T)
        close_openings(contacts, sides, CONTACT_DEPTH, head)
        after = head.T @ rotation.T
        flat[moved] += (projected(after, camera) - projected(before, camera))[moved]
        solid[moved] = after[moved]
