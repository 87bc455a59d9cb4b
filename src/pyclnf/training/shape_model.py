"""A point distribution model from labelled 3D shapes.

Source: Cootes, Taylor, Cooper, Graham, "Active Shape Models - Their Training
and Application", CVIU 1995; Gower, "Generalized Procrustes Analysis",
Psychometrika 1975.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyclnf.errors import TrainingError
from pyclnf.pdm import PDM
from pyclnf.training.checks import are_numbers, are_whole, as_floats
from pyclnf.training.symmetry import MIRROR_68, check_mirror, check_symmetry, mirror_shapes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Float = NDArray[np.float64]

__all__ = ["build_pdm"]

MAX_ROUNDS = 50
# Share of the squared size of the mean up to which the variance of a mode is rounding.
ROUNDING = 1e-20
CONVERGED = 1e-8


def build_pdm(
    landmarks: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    variance: float = 0.98,
    n_modes: int | None = None,
    mirror: ArrayLike | bool = True,
    min_asymmetric: float = 0.25,
    asymmetry: float = 1.0,
    emphasis: ArrayLike | None = None,
    contacts: ArrayLike | None = None,
    rigid: ArrayLike | None = None,
) -> PDM:
    """Build a point distribution model from 3D shapes.

    The shapes are aligned by generalised Procrustes analysis under 3D
    similarities, at the mean size of the data, and reduced by weighted
    principal component analysis.

    With *mirror* every shape counts a second time as its mirror image: the
    mean is then symmetric, and every mode is either symmetric or
    antisymmetric. The two kinds are analysed apart: one-sided expressions have
    little variance beside identity and would fall behind if all modes were
    ranked together.

    Parameters
    ----------
    landmarks : array_like, shape (N, n, 3)
        Shapes in mm in the head's own frame: x to the right in the image of a
        frontal face, y down, z away from the camera. The average frame of the
        data becomes the model's frame: rotation 0 is the pose they have in it.
    weights : array_like, shape (N,), optional
        How much each shape counts, not negative (default: all the same).
    variance : float
        Share of the variance, of the symmetric and of the antisymmetric part
        each, that the modes explain. Not used when *n_modes* is given.
    n_modes : int, optional
        Number of modes.
    mirror : array_like of int, shape (n,), or bool
        Counterpart of each landmark; True for the 68 iBUG landmarks, False for
        no mirroring. The mean of the shapes is checked against it.
    min_asymmetric : float
        With *n_modes* and *mirror*: the least share of antisymmetric modes, beside one symmetric one.
    asymmetry : float
        With *mirror*: factor of the antisymmetric modes' variances. One-sided
        expressions are rare, so that their variance over all shapes, by which a
        fit is held to the mean, is small beside what they are where they occur.
    emphasis : array_like, shape (n, 3), optional
        How much an error of each coordinate matters when modes are chosen (default: 1 for all). The
        modes span what explains the emphasised coordinates best; within that, they and their
        variances are the principal components of the shapes themselves.
    contacts : array_like of int, shape (k, 2), optional
        Landmarks of lids and lips that cannot pass each other, see `PDM`.
    rigid : array_like of int, shape (r,), optional
        Landmarks by which it is told how a head is turned, see `PDM`.

    Returns
    -------
    PDM
        Modes by falling variance.

    Raises
    ------
    TrainingError
        If the shapes are malformed or too few for the modes asked for.
    """
    shapes, w = _check_shapes(landmarks, weights)
    if not are_numbers(variance, min_asymmetric, asymmetry) or not (
        0 < variance <= 1 and 0 <= min_asymmetric <= 1 and asymmetry > 0
    ):
        raise TrainingError("variance lies in (0, 1], min_asymmetric in [0, 1], asymmetry above 0")
    if n_modes is not None and not are_whole(n_modes):
        raise TrainingError(f"n_modes is a whole number, not {n_modes!r}")
    permutation = _permutation(mirror, np.einsum("i,ijk->jk", w, shapes))
    if permutation is not None:
        shapes = np.concatenate([shapes, mirror_shapes(shapes, permutation)])
        w = np.concatenate([w, w]) / 2
    aligned, mean = _generalised_procrustes(shapes, w)
    if permutation is not None:
        # Symmetric already but for rounding, which the split into two kinds of modes must not see.
        mean = (mean + mirror_shapes(mean, permutation)) / 2
    deviations = (aligned - mean) * np.sqrt(w)[:, None, None]
    factors = _check_emphasis(emphasis, shapes.shape[1], permutation)
    if permutation is None:
        kinds = [deviations]
    else:
        mirrored = mirror_shapes(deviations, permutation)
        kinds = [(deviations + sign * mirrored) / 2 for sign in (1, -1)]
    # Of shapes that are all symmetric the antisymmetric kind is rounding alone.
    least = ROUNDING * float((mean**2).sum())
    spaces = [_principal_components(kind * factors, least) for kind in kinds]
    if not any(values.size for _, values in spaces):
        raise TrainingError("the shapes are all the same: there are no modes to be found")
    counts = _choose([values for _, values in spaces], variance, n_modes, min_asymmetric)
    parts = [
        _within(kind, modes[:, :count] / factors.T.reshape(-1, 1))
        for kind, (modes, _), count in zip(kinds, spaces, counts, strict=True)
    ]
    components = np.hstack([modes for modes, _ in parts])
    eigenvalues = np.concatenate([values * (1.0, asymmetry)[i] for i, (_, values) in enumerate(parts)])
    order = np.argsort(-eigenvalues, kind="stable")
    return PDM(mean.T.reshape(-1), components[:, order], eigenvalues[order], contacts, rigid)


def _check_emphasis(emphasis: ArrayLike | None, n: int, permutation: NDArray[np.intp] | None) -> Float:
    factors = np.ones((n, 3)) if emphasis is None else as_floats(emphasis, "emphasis")
    if factors.shape != (n, 3) or not np.isfinite(factors).all() or (factors <= 0).any():
        raise TrainingError(f"emphasis must be ({n}, 3) finite numbers above 0")
    if permutation is not None and not np.array_equal(factors, factors[permutation]):
        raise TrainingError("emphasis must be the same for a landmark and its mirror image")
    return factors


def _check_shapes(landmarks: ArrayLike, weights: ArrayLike | None) -> tuple[Float, Float]:
    """Return the shapes and their weights with sum 1, or raise TrainingError."""
    shapes = as_floats(landmarks, "landmarks")
    if shapes.ndim != 3 or shapes.shape[2] != 3 or shapes.shape[1] < 4:
        raise TrainingError(f"a PDM is built from shapes (N, n, 3) with n >= 4, not {shapes.shape}")
    if shapes.shape[0] < 2:
        raise TrainingError("a PDM needs at least two shapes")
    if not np.isfinite(shapes).all():
        bad = int(np.flatnonzero(~np.isfinite(shapes).all(axis=(1, 2)))[0])
        raise TrainingError(f"shape {bad} holds values that are not finite: leave it out")
    w = np.ones(len(shapes)) if weights is None else as_floats(weights, "weights")
    if w.shape != (len(shapes),) or not np.isfinite(w).all() or (w < 0).any() or w.sum() == 0:
        raise TrainingError(f"weights must be {len(shapes)} finite numbers >= 0 that are not all zero")
    return shapes, w / w.sum()


def _permutation(mirror: ArrayLike | bool, mean: Float) -> NDArray[np.intp] | None:
    """Return the mirror permutation, checked by the mean (n, 3) of the shapes as they are."""
    if mirror is False:
        return None
    permutation = check_mirror(MIRROR_68 if mirror is True else mirror, len(mean))
    check_symmetry(mean, permutation)
    return permutation


def _generalised_procrustes(shapes: Float, weights: Float) -> tuple[Float, Float]:
    """Return the shapes aligned to their mean, and the mean, (N, n, 3) and (n, 3).

    The mean has the weighted mean size (root of the mean square radius) of the shapes.
    """
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    sizes = np.sqrt((centred**2).sum(axis=(1, 2)))
    if (sizes == 0).any():
        raise TrainingError(f"shape {int(np.argmin(sizes))} has all its landmarks in one place: leave it out")
    size = weights @ sizes
    mean = np.einsum("i,ijk->jk", weights, centred)
    mean *= size / np.linalg.norm(mean)
    aligned = centred
    for _ in range(MAX_ROUNDS):
        aligned = _align(centred, mean)
        previous, mean = mean, np.einsum("i,ijk->jk", weights, aligned)
        # The mean may turn slowly under repeated alignment: hold it to the frame it began in.
        mean = _align(mean[None], previous)[0]
        mean *= size / np.linalg.norm(mean)
        if np.linalg.norm(mean - previous) < CONVERGED * size:
            break
    return _align(centred, mean), mean


def _align(shapes: Float, target: Float) -> Float:
    """Return centred shapes (N, n, 3) after the similarity that brings each closest to the target (n, 3)."""
    U, s, Vt = np.linalg.svd(np.einsum("ijk,jl->ikl", shapes, target))
    # A reflection is no similarity: where the best orthogonal matrix is one, its weakest axis is turned.
    flip = np.sign(np.linalg.det(U @ Vt))
    s[:, 2] *= flip
    U[:, :, 2] *= flip[:, None]
    scale = s.sum(axis=1) / (shapes**2).sum(axis=(1, 2))
    return np.asarray(scale[:, None, None] * (shapes @ (U @ Vt)))


def _principal_components(deviations: Float, least: float) -> tuple[Float, Float]:
    """Return orthonormal modes (3n, k) and their variances (k,), falling; order x1..xn, y1..yn, z1..zn.

    Variances up to the least are none.
    """
    flat = deviations.transpose(0, 2, 1).reshape(len(deviations), -1)
    values, vectors = np.linalg.eigh(flat.T @ flat)
    values, vectors = values[::-1], vectors[:, ::-1]
    # What rounding leaves of directions without variance is no mode.
    real = values > max(1e-10 * float(values[0]), least)
    return vectors[:, real], values[real]


def _within(deviations: Float, directions: Float) -> tuple[Float, Float]:
    """Return the principal components and variances of deviations in the span of directions (3n, k)."""
    Q, _ = np.linalg.qr(directions)
    flat = deviations.transpose(0, 2, 1).reshape(len(deviations), -1) @ Q
    values, vectors = np.linalg.eigh(flat.T @ flat)
    return Q @ vectors[:, ::-1], values[::-1]


def _choose(variances: list[Float], share: float, n_modes: int | None, min_second: float) -> list[int]:
    """Return how many modes of each kind to keep."""
    if n_modes is None:
        # The tolerance lets a share of 1 be reached although the cumulative sum is rounded.
        shares = [np.cumsum(v) / v.sum() if v.size else v for v in variances]
        return [min(int(np.searchsorted(s, share - 1e-12)) + 1, s.size) for s in shares]
    available = sum(v.size for v in variances)
    if not 1 <= n_modes <= available:
        raise TrainingError(f"the shapes support 1 to {available} modes, not {n_modes}: give more shapes")
    if len(variances) == 1:
        return [n_modes]
    first, second = variances
    merged = np.argsort(-np.concatenate([first, second]), kind="stable")[:n_modes]
    # One of the first kind, too, unless none is wanted: one mode alone is not to be an asymmetry.
    least = min(int(np.ceil(min_second * n_modes)), n_modes - (min_second < 1))
    n_second = max(int((merged >= first.size).sum()), least)
    n_second = min(max(n_second, n_modes - first.size), second.size)
    return [n_modes - n_second, n_second]
