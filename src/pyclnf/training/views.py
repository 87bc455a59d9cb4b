"""The experts of one view at one scale: which faces, which landmarks, which windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf._limits import MAX_VIEWS
from pyclnf.errors import TrainingError
from pyclnf.patch_experts import procrustes_similarity
from pyclnf.training.checks import are_numbers, are_whole, as_tuples
from pyclnf.training.samples import Windows, draw_areas

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pyclnf.pdm import PDM
    from pyclnf.training.faces import AnnotatedFaces

    Float = NDArray[np.float64]

__all__ = [
    "DrawConfig",
    "View",
    "check_people",
    "choose_view",
    "draw_view",
    "mirrored_views",
    "read_windows",
    "trained_landmarks",
]


@dataclass(frozen=True)
class DrawConfig:
    """Which windows an expert is trained on.

    Attributes
    ----------
    yaws : tuple of float
        Centres of the views at yaws >= 0, degrees, rising; those > 0 are
        mirrored. A first centre of 0 is needed.
    yaw_margin : float
        Faces this far beyond the limits of a view are used too, degrees.
    max_faces : int
        Most faces a view, counting a face and its mirror image as two.
    min_faces : int
        A landmark visible in fewer faces of the view has no expert there.
    min_visible : float
        Nor has one whose visibility is less in their mean.
    offset : float
        The landmark lies off the middle of its window by up to this share of
        half the window, each way.
    negative_share : float
        Windows away from the landmark, as a share of the faces.
    negative_distance : tuple of float
        Least and greatest distance of their middle from the landmark, in window sides.
    scale_jitter, rotation_jitter : float
        Standard deviations (of log scale; degrees) by which the similarity to
        the reference frame is disturbed, as a fit's is before it has converged.
    """

    yaws: tuple[float, ...] = (0.0, 20.0, 45.0, 70.0)
    yaw_margin: float = 6.0
    max_faces: int = 900
    min_faces: int = 60
    min_visible: float = 0.25
    offset: float = 0.8
    negative_share: float = 0.3
    negative_distance: tuple[float, float] = (0.6, 2.0)
    scale_jitter: float = 0.05
    rotation_jitter: float = 4.0

    def __post_init__(self) -> None:
        as_tuples(self, "yaws", "negative_distance")
        if not self.yaws or self.yaws[0] != 0 or list(self.yaws) != sorted(set(self.yaws)):
            raise TrainingError("yaws are rising and begin with 0; the negative ones are mirror images")
        if 2 * len(self.yaws) - 1 > MAX_VIEWS:
            raise TrainingError(f"a model has at most {MAX_VIEWS} views, those of mirror images among them")
        if not are_whole(self.max_faces, self.min_faces) or min(self.max_faces, self.min_faces) < 1:
            raise TrainingError("max_faces is at least 1, and so is min_faces; they are whole numbers")
        shares = (self.negative_share, self.offset, self.min_visible)
        if not are_numbers(*shares) or min(shares) < 0 or max(shares) > 1:
            raise TrainingError("min_visible, negative_share and offset lie in [0, 1]")
        widths = (self.yaw_margin, self.scale_jitter, self.rotation_jitter)
        if not are_numbers(*widths) or min(widths) < 0:
            raise TrainingError("yaw_margin, scale_jitter and rotation_jitter are not negative")
        distances = list(self.negative_distance)
        if len(distances) != 2 or distances != sorted(distances) or distances[0] < 0:
            raise TrainingError("negative_distance is a least distance and a greatest one, not negative")


def mirrored_views(yaws: tuple[float, ...]) -> Float:
    """Return the centres of all views, (V, 3) radians: 0, the negative yaws, then the positive from the side.

    This is the order of OpenFace's models: 0, -20, -45, -70, 70, 45, 20.
    """
    turned = np.radians(yaws[1:])
    ry = np.concatenate([[0.0], -turned, turned[::-1]])
    return np.column_stack([np.zeros_like(ry), ry, np.zeros_like(ry)])


@dataclass(frozen=True, eq=False)
class View:
    """The faces that one view is trained on.

    Attributes
    ----------
    index : int
        Into the yaws that are trained.
    faces : ndarray, shape (F,), int
        Indices of faces.
    flipped : ndarray, shape (F,), bool
        Which of them are taken as mirror images.
    landmarks : ndarray, shape (v,), int
        Landmarks that can be seen in this view.
    """

    index: int
    faces: NDArray[np.intp]
    flipped: NDArray[np.bool_]
    landmarks: NDArray[np.intp]


def choose_view(
    index: int, faces: AnnotatedFaces, mirror: NDArray[np.intp], config: DrawConfig, seed: int
) -> View:
    """Choose faces of about one yaw, or of its opposite as mirror images, and find the visible landmarks.

    Raises
    ------
    TrainingError
        If no landmark can be seen in enough faces.
    """
    yaw = np.degrees(faces.poses[:, 2])
    centres = np.array(config.yaws)
    limits = np.append((centres[1:] + centres[:-1]) / 2, np.inf)
    low = (limits[index - 1] if index else -limits[0]) - config.yaw_margin
    high = limits[index] + config.yaw_margin
    candidates = np.concatenate([yaw, -yaw])
    chosen = np.flatnonzero((candidates >= low) & (candidates <= high))
    rng = np.random.default_rng([seed, index])
    if chosen.size > config.max_faces:
        chosen = np.sort(rng.choice(chosen, config.max_faces, replace=False))
    flipped = chosen >= len(faces)
    who = chosen % len(faces)
    visible = _visible(faces, who, flipped, mirror)
    enough = (visible > 0).sum(axis=0) >= config.min_faces
    enough &= visible.sum(axis=0) >= config.min_visible * chosen.size
    if not index:
        # Its experts are trained for one side and mirrored.
        enough &= enough[mirror]
    landmarks = np.flatnonzero(enough)
    if landmarks.size == 0:
        raise TrainingError(
            f"only {chosen.size} faces (mirrored ones included) are near yaw {config.yaws[index]:g} degrees: "
            f"at least {config.min_faces} must show a landmark; give more faces or fewer views"
        )
    return View(index, who, flipped, landmarks)


def check_people(
    view: View, faces: AnnotatedFaces, mirror: NDArray[np.intp], config: DrawConfig, aside: NDArray[np.bool_]
) -> None:
    """Refuse a view in which a landmark cannot be learned, or its expert not be judged, for want of people.

    Parameters
    ----------
    view : View
    faces : AnnotatedFaces
    mirror : ndarray, shape (n,)
    config : DrawConfig
    aside : ndarray, shape (N,), bool
        Faces that are held out.

    Raises
    ------
    TrainingError
    """
    seen = _visible(faces, view.faces, view.flipped, mirror) > 0
    people, held = faces.identities[view.faces], aside[view.faces]
    for landmark in trained_landmarks(view, mirror).tolist():
        learned, judged = (np.unique(people[seen[:, landmark] & part]).size for part in (~held, held))
        if not learned or not judged:
            raise TrainingError(
                f"in the view at yaw {config.yaws[view.index]:g} degrees the landmark {landmark} is seen in "
                f"{learned} people to learn from and {judged} held out, and one of each is needed: give more "
                "identities, hold out more, or give fewer views"
            )


def _visible(
    faces: AnnotatedFaces, who: NDArray[np.intp], flipped: NDArray[np.bool_], mirror: NDArray[np.intp]
) -> Float:
    """Return how well each landmark of some faces can be seen, as they are or in the mirror image, (F, n)."""
    return np.where(flipped[:, None], faces.visible[who][:, mirror], faces.visible[who])


def trained_landmarks(view: View, mirror: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the landmarks whose experts are trained in a view.

    In the frontal view the experts of one side are mirror images of the other's.
    """
    if view.index:
        return view.landmarks
    return view.landmarks[view.landmarks >= mirror[view.landmarks]]


def draw_view(
    view: View,
    scale: float,
    window: int,
    support: int,
    faces: AnnotatedFaces,
    pdm: PDM,
    mirror: NDArray[np.intp],
    config: DrawConfig,
    seed: int,
    path: Path,
) -> NDArray[np.float64]:
    """Draw the windows of all trained landmarks of a view into a file of float16.

    Parameters
    ----------
    view : View
    scale : float
        Patch scale, px per mm.
    window, support : int
    faces : AnnotatedFaces
    pdm : PDM
    mirror : ndarray, shape (n,)
    config : DrawConfig
    seed : int
    path : Path
        An .npy file to write: areas, shape (landmarks, windows, a, a).

    Returns
    -------
    ndarray, shape (landmarks, windows, 4), float64
        Offset of the landmark (x, y), visibility, and index of the face.

    Raises
    ------
    TrainingError
        If there is no room for the file.
    """
    landmarks = trained_landmarks(view, mirror)
    rng = np.random.default_rng([seed, view.index, round(1000 * scale)])
    negative = np.flatnonzero(rng.random(len(view.faces)) < config.negative_share)
    rows = np.concatenate([np.arange(len(view.faces)), negative])
    side = window + support - 1
    shape = (len(landmarks), len(rows), side, side)
    areas = _file_of_areas(path, shape)
    table = np.empty((*shape[:2], 4))
    # Windows of one face one after the other: its image is read once.
    columns = np.argsort(rows, kind="stable")
    last = -1
    for column in columns:
        face = rows[column]
        if face != last:
            flip = mirror if view.flipped[face] else None
            image, points, reference = faces.face(pdm, int(view.faces[face]), flip)
            seen = faces.visible[view.faces[face]]
            seen = (seen if flip is None else seen[flip])[landmarks]
            last = face
        A = procrustes_similarity(points, scale * reference) @ _disturbance(config, rng)
        draw = _negative_offsets if column >= len(view.faces) else _offsets
        offsets = draw(len(landmarks), window, config, rng)
        centres = points[landmarks] - offsets @ np.linalg.inv(A).T
        areas[:, column] = draw_areas(image, centres, A, side)
        table[:, column, :2], table[:, column, 2], table[:, column, 3] = offsets, seen, view.faces[face]
    areas.flush()
    return table


def _file_of_areas(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float16]]:
    """Return a new .npy file of zeros, mapped.

    They are written: a map of a file with holes ends the process where the disk has no room for one.
    """
    dtype = np.dtype(np.float16)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    row = bytes(int(np.prod(shape[1:])) * dtype.itemsize)
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(shape[0]):
                file.write(row)
        return np.lib.format.open_memmap(path, mode="r+")
    except OSError as error:
        path.unlink(missing_ok=True)
        size = shape[0] * len(row) / 1e6
        raise TrainingError(f"{path}: no room for {size:.0f} MB of windows: {error}") from error


def read_windows(path: Path, row: int, table: NDArray[np.float64], held_out: NDArray[np.bool_]) -> Windows:
    """Return the windows of one landmark from a file of `draw_view`.

    Parameters
    ----------
    path : Path
    row : int
        Of the landmark in the file.
    table : ndarray, shape (windows, 4)
        That row of what `draw_view` returned.
    held_out : ndarray, shape (N,), bool
        By face.

    Returns
    -------
    Windows
    """
    areas = np.load(path, mmap_mode="r")[row].astype(np.float32)
    return Windows(areas, table[:, :2], table[:, 2], held_out[table[:, 3].astype(np.intp)])


def _disturbance(config: DrawConfig, rng: np.random.Generator) -> Float:
    scale = np.exp(rng.normal(scale=config.scale_jitter))
    angle = np.radians(rng.normal(scale=config.rotation_jitter))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _offsets(n: int, window: int, config: DrawConfig, rng: np.random.Generator) -> Float:
    reach = config.offset * (window - 1) / 2
    return rng.uniform(-reach, reach, (n, 2))


def _negative_offsets(n: int, window: int, config: DrawConfig, rng: np.random.Generator) -> Float:
    low, high = config.negative_distance
    distance = rng.uniform(low * window, high * window, n)
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.asarray(distance[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]))
