"""How good a model is on annotated faces: normalised errors, their distribution, failure rate and AUC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyclnf.clnf import CLNF
from pyclnf.errors import BoxError, TrainingError
from pyclnf.training.checks import are_whole, as_floats, listed
from pyclnf.training.faces import AnnotatedFaces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pyclnf.training.faces import Images

    Float = NDArray[np.float64]

__all__ = ["Evaluation", "evaluate", "landmark_errors"]

# Of the 68 landmarks.
OUTER_EYE_CORNERS = (36, 45)
# How far boxes lie beside those of the landmarks, and how much larger or smaller they are, in shares of them:
# about as a detector's.
MAX_SHIFT, MAX_GROWTH = 0.1, 0.15


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How far fits are from annotations; errors are over the distance of the annotated outer eye corners.

    Attributes
    ----------
    errors : ndarray, shape (N,), float64
        Mean error of each face (the normalised mean error, NME), over the landmarks that can be seen; inf
        where a fit gave no landmarks.
    landmark_errors : ndarray, shape (N, n), float64
        Of each landmark; NaN where it is hidden.
    success : ndarray, shape (N,), bool
        What the fits said of themselves.
    confidences : ndarray, shape (N,), float64
        NaN where the model is not calibrated.

    Examples
    --------
    >>> import numpy as np
    >>> from pyclnf.training import Evaluation
    >>> errors = np.array([0.02, 0.04, 0.3])
    >>> found = Evaluation(errors, errors[:, None], errors < 0.1, errors * np.nan)
    >>> found
    Evaluation(3 faces: median 0.0400, mean 0.1200, failure rate 33.3 %, AUC 0.417, both to 0.08)
    >>> found.ced([0.03, 0.05]).round(2).tolist()
    [0.33, 0.67]
    """

    errors: Float
    landmark_errors: Float
    success: NDArray[np.bool_]
    confidences: Float

    def __repr__(self) -> str:
        middle, mean = np.median(self.errors), self.errors.mean()
        return (
            f"Evaluation({len(self.errors)} faces: median {middle:.4f}, mean {mean:.4f}, failure rate "
            f"{100 * self.failure_rate():.1f} %, AUC {self.auc():.3f}, both to 0.08)"
        )

    def ced(self, bounds: ArrayLike) -> Float:
        """Return the cumulative error distribution: the share of faces with errors up to each bound."""
        return np.asarray((self.errors <= np.asarray(bounds, np.float64)[..., None]).mean(axis=-1))

    def failure_rate(self, bound: float = 0.08) -> float:
        """Return the share of faces with a larger error."""
        return float((self.errors > bound).mean())

    def auc(self, bound: float = 0.08) -> float:
        """Return the area under the cumulative error distribution up to a bound, 1 if all errors are 0."""
        return float(np.clip(1 - self.errors / bound, 0, None).mean())


def landmark_errors(
    found: ArrayLike, truth: ArrayLike, corners: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Return the distance of each landmark from the true one, over that of the true outer eye corners.

    Parameters
    ----------
    found, truth : array_like, shape (..., n, 2)
        Pixels.
    corners : two ints, optional
        The landmarks of the outer eye corners. Default: those of the 68.

    Returns
    -------
    ndarray, shape (..., n), float64
        Their mean over a face is its normalised mean error (NME).

    Raises
    ------
    TrainingError
        If the landmarks have another shape, or are not the 68 and no corners are named.
    """
    points, right = as_floats(found, "found landmarks"), as_floats(truth, "true landmarks")
    if points.shape != right.shape or points.ndim < 2 or points.shape[-1] != 2:
        raise TrainingError(
            f"landmarks and true ones have one shape, (..., n, 2), not {points.shape} and {right.shape}"
        )
    a, b = _checked_corners(corners, points.shape[-2])
    size = np.linalg.norm(right[..., a, :] - right[..., b, :], axis=-1)
    return np.asarray(np.linalg.norm(points - right, axis=-1) / size[..., None])


def evaluate(
    clnf: CLNF,
    images: Images,
    landmarks: ArrayLike,
    *,
    visible: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
    corners: Sequence[int] | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Fit annotated faces, and measure how far the fits are from the annotations.

    Parameters
    ----------
    clnf : CLNF
        What is measured: a model with its parameters.
    images : sequence of N uint8 arrays, (H, W) grey or (H, W, 3) BGR
        Of people that the model was not trained on.
    landmarks : array_like, shape (N, n, 2)
        Pixels, 0-based; hidden landmarks at their best guess, or NaN.
    visible : array_like of bool or float in [0, 1], shape (N, n), optional
        How well each landmark can be seen, which it counts by; hidden ones do not count.
    boxes : array_like, shape (N, 4), optional
        Where fits start from. Default: around the landmarks, moved by up to a tenth and resized by up to
        15 %, about as a detector's boxes are off.
    corners : two ints, optional
        The landmarks of the outer eye corners, by whose distance errors are divided. Default: those of the
        68.
    seed : int
        Of the default boxes.
    progress : callable, optional
        Called with "fits", images done, and number of images.

    Returns
    -------
    Evaluation

    Raises
    ------
    TrainingError
        If data are inconsistent, an image cannot be read, or nothing of a face can be seen.

    Notes
    -----
    Only the landmarks that can be seen count, each face as much as any other. The eye corners of a head that
    is turned far lie close together: errors of such faces are larger numbers.
    """
    if not isinstance(clnf, CLNF):
        raise TrainingError(f"a CLNF is evaluated, CLNF(model) for example, not {clnf!r}")
    pdm = clnf.model.pdm
    a, b = _checked_corners(corners, pdm.n_landmarks)
    faces = AnnotatedFaces.fitted(pdm, images, landmarks, visible=visible)
    faces.check_seen()
    level = np.flatnonzero((faces.landmarks[:, a] == faces.landmarks[:, b]).all(axis=1))
    if level.size:
        raise TrainingError(f"image {listed(level)}: the eye corners {a} and {b} are one point: mend them")
    given = None if boxes is None else as_floats(boxes, "boxes")
    if given is not None and given.shape != (len(faces), 4):
        raise TrainingError(f"boxes are {(len(faces), 4)}, one (x, y, w, h) an image, not {given.shape}")
    faces.digest()  # which names all images that cannot be read
    random = np.random.default_rng(seed)
    points = np.empty_like(faces.landmarks)
    success, confidences = np.empty(len(faces), bool), np.full(len(faces), np.nan)
    for i, truth in enumerate(faces.landmarks):
        box = _box_beside(truth, random) if given is None else given[i]
        try:
            points[i], info = clnf.fit(images[i], box)
        except BoxError as error:
            raise TrainingError(f"image {i}: {error}") from error
        success[i] = info["success"]
        if info["confidence"] is not None:
            confidences[i] = info["confidence"]
        if progress:
            progress("fits", i + 1, len(faces))
    each = landmark_errors(points, faces.landmarks, (a, b))
    each[~np.isfinite(each)] = np.inf
    seen = faces.visible > 0
    errors = (np.where(seen, each, 0) * faces.visible).sum(axis=1) / faces.visible.sum(axis=1)
    return Evaluation(errors, np.where(seen, each, np.nan), success, confidences)


def _checked_corners(corners: Sequence[int] | None, n: int) -> tuple[int, int]:
    if corners is None:
        if n != 68:
            raise TrainingError(f"name the outer eye corners of the {n} landmarks, corners=(i, j)")
        corners = OUTER_EYE_CORNERS
    chosen = tuple(corners) if isinstance(corners, Iterable) else ()
    if len(chosen) != 2 or chosen[0] == chosen[1] or not all(are_whole(i) and 0 <= i < n for i in chosen):
        raise TrainingError(f"corners are two landmarks from 0 to {n - 1}, not {corners!r}")
    return int(chosen[0]), int(chosen[1])


def _box_beside(truth: Float, random: np.random.Generator) -> Float:
    low, size = truth.min(axis=0), np.ptp(truth, axis=0)
    middle = low + size / 2 + random.uniform(-MAX_SHIFT, MAX_SHIFT, 2) * size
    size = size * random.uniform(1 - MAX_GROWTH, 1 + MAX_GROWTH, 2)
    return np.concatenate([middle - size / 2, size])
