"""Confidence and the bound of failures for a model, from annotated faces that it was not trained on.

A model's metadata say how likely fits of a likelihood and shape are right
(`pyclnf.confidence`), and below which likelihood there is no face. Both are
found here from fits to boxes as a detector gives them, to bad boxes, to places
without a face and to noise, of which each is right or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from pyclnf.clnf import CLNF
from pyclnf.confidence import shape_energy
from pyclnf.errors import TrainingError
from pyclnf.face import DOUBTFUL
from pyclnf.images import as_pixels
from pyclnf.training.faces import AnnotatedFaces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pyclnf.model import Model
    from pyclnf.training.faces import Images

    Float = NDArray[np.float64]

__all__ = ["calibrate", "furthest_apart", "logistic", "sample_fits"]

# Boxes off the face: moved by shares of its size, and grown.
ELSEWHERE = ((0.8, 0.0, 1.0), (-0.7, 0.2, 1.0), (0.0, -0.7, 0.6), (0.5, 0.5, 0.4), (0.35, -0.3, 1.2))
# What the confidence goes by.
NAMES = ("intercept", "likelihood", "shape", "disagreement")
# Of the numbers: an unusual shape and two looks that lie far apart can only lower the confidence.
BOUNDS = ((None, None), (0.0, None), (None, 0.0), (None, 0.0))
START = (0.0, 1.0, -0.1, -0.1)
# Fits between right and so many times as wrong say nothing about where there is no face.
CLEARLY_WRONG = 3.0
# Fewer right ones, or wrong ones, do not calibrate.
MIN_FITS = 20


def calibrate(
    model: Model,
    images: Images,
    landmarks: ArrayLike,
    *,
    visible: ArrayLike | None = None,
    parameters: Sequence[str] = ("image", "video"),
    tolerance: float = 7.0,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Return the metadata by which a model's fits have a confidence, and fail.

    A fit is right when its landmarks lie within *tolerance* of the annotated ones on average. Each image is
    fitted up to eight times with each parameter set, from boxes as a detector gives them, from bad ones and
    from places without a face, and so is noise.

    Parameters
    ----------
    model : Model
    images : sequence of N uint8 arrays, (H, W) grey or (H, W, 3) BGR
        Of people that the model was not trained on; some hundred.
    landmarks : array_like, shape (N, n, 2)
        Pixels, 0-based; hidden landmarks at their best guess, or NaN.
    visible : array_like of bool or float in [0, 1], shape (N, n), optional
        How well each landmark can be seen, which it counts by; hidden ones do not count.
    parameters : sequence of str
        Parameter sets to calibrate for.
    tolerance : float
        mm, in the size that the PDM has when it is fitted to the landmarks. 7 mm are 0.08 distances of the
        outer eye corners.
    seed : int
    progress : callable, optional
        Called with the name of a parameter set, images done, and number of images.

    Returns
    -------
    dict
        ``confidence`` and ``min_likelihood``, for a model's metadata; of a model whose start looks at the
        mirror image, too, and where enough fits are doubtful, also ``max_disagreement``.

    Raises
    ------
    TrainingError
        If data are inconsistent, or too few fits are right, or wrong, to tell them apart.

    Notes
    -----
    ``model.metadata |= calibrate(model, images, landmarks)``, then ``model.save(...)``.
    """
    if not (isinstance(tolerance, Real) and tolerance > 0):
        raise TrainingError(f"tolerance is a positive number of mm, not {tolerance!r}")
    if isinstance(parameters, str) or not parameters:
        raise TrainingError(f"parameters are names of parameter sets, ('image', 'video'), not {parameters!r}")
    faces = AnnotatedFaces.fitted(model.pdm, images, landmarks, visible=visible)
    faces.check_seen()
    faces.digest()  # which names all images that cannot be read
    found: dict[str, dict[str, float]] = {}
    bounds = []
    looked_at_twice = []
    for name in parameters:
        clnf, random = CLNF(model, parameters=name), np.random.default_rng(seed)
        rows: list[tuple[float, ...]] = []
        for i in range(len(faces)):
            tolerated, seen = tolerance * faces.poses[i, 0], faces.visible[i]
            rows += sample_fits(clnf, images[i], faces.landmarks[i], tolerated, random, seen)
            if progress:
                progress(name, i + 1, len(faces))
        table = np.array(rows)
        table = table[np.isfinite(table[:, 0])]
        right = table[:, 3] < 1.0
        wrong = table[:, 3] > CLEARLY_WRONG
        if min(right.sum(), wrong.sum()) < MIN_FITS:
            raise TrainingError(
                f"of {len(right)} fits with the set {name!r} {right.sum()} are right and {wrong.sum()} "
                f"clearly wrong: {MIN_FITS} of each are needed; give more images, or check the landmarks"
            )
        found[name] = _named(logistic(table[:, :2], right))
        if np.isfinite(table[:, 2]).all():
            found[f"{name}_mirrored"] = _named(logistic(table[:, :3], right))
            looked_at_twice.append(table[right])
        a, b = np.quantile(table[right, 0], 0.01), np.quantile(table[wrong, 0], 0.99)
        bounds.append(float(a + b) / 2)
    metadata = {"confidence": found, "min_likelihood": round(min(bounds), 2)}
    furthest = furthest_apart(looked_at_twice, metadata["min_likelihood"])
    if furthest is not None:
        metadata["max_disagreement"] = furthest
    return metadata


def sample_fits(
    clnf: CLNF,
    image: NDArray[Any],
    truth: Float,
    tolerance: float,
    random: np.random.Generator,
    visible: Float | None = None,
) -> list[tuple[float, float, float, float]]:
    """Fit a face from good boxes and bad ones, and noise.

    Parameters
    ----------
    clnf : CLNF
    image : ndarray, shape (H, W) or (H, W, 3), uint8
    truth : ndarray, shape (n, 2)
        Landmarks, px.
    tolerance : float
        Mean distance from the truth up to which a fit is right, px.
    random : Generator
    visible : ndarray, shape (n,), optional
        What each landmark's distance counts in the mean.

    Returns
    -------
    list of (likelihood, shape energy, log1p(disagreement) or NaN, error in tolerances)
    """
    height, width = image.shape[:2]
    rows = []
    for picture, box in _boxes(image, truth, random):
        x, y, w, h = box
        if picture is image and (x >= width or y >= height or x + w <= 0 or y + h <= 0):
            continue
        pixels = as_pixels(picture)
        result, _ = clnf.fit_from(pixels, clnf.starts_in(pixels, box), clnf.parameters)
        error = np.inf
        if picture is image:
            distances = np.linalg.norm(result.landmarks - truth, axis=1)
            error = float(np.average(distances, weights=visible)) / tolerance
        apart = np.nan if result.disagreement is None else float(np.log1p(result.disagreement))
        rows.append((result.likelihood, shape_energy(clnf.model.pdm, result), apart, error))
    return rows


def _boxes(
    image: NDArray[Any], truth: Float, random: np.random.Generator
) -> Iterator[tuple[NDArray[Any], list[float]]]:
    low, size = truth.min(axis=0), np.ptp(truth, axis=0)
    for _ in range(3):
        shift, grow = random.uniform(-0.1, 0.1, 2), np.exp(random.uniform(-0.15, 0.15))
        yield image, [*(low + shift * size - (grow - 1) / 2 * size), *(grow * size)]
    for dx, dy, grow in ELSEWHERE:
        yield image, [*(low + (dx, dy) * size), *(grow * size)]
    coarse = random.integers(0, 256, (16, 16)).astype(np.float64)
    noise = np.kron(coarse, np.ones((16, 16))) + random.normal(0, 20, (256, 256))
    yield np.clip(noise, 0, 255).astype(np.uint8), [60.0, 60.0, 130.0, 130.0]


def furthest_apart(tables: Sequence[Float], bound: float) -> float | None:
    """Return how far both looks at a face that is hardly likely lie apart, where it is right.

    Parameters
    ----------
    tables : sequence of ndarray, shape (k, w)
        Of right fits, in columns as of `sample_fits`.
    bound : float
        The model's ``min_likelihood``.

    Returns
    -------
    float or None
        The 99 % quantile of doubtful fits, in whole mm. None if fewer than 20 are.
    """
    if not tables:
        return None
    likelihood, _, apart = np.concatenate(tables)[:, :3].T
    doubtful = (likelihood >= bound) & (likelihood < bound + DOUBTFUL)
    if doubtful.sum() < MIN_FITS:
        return None
    return float(max(np.ceil(np.expm1(np.quantile(apart[doubtful], 0.99))), 1.0))


def logistic(features: Float, right: NDArray[np.bool_]) -> Float:
    """Return intercept and weights of the likeliest logistic function, (1 + w,), of features (k, w)."""
    columns = np.column_stack([np.ones(len(features)), features])

    def loss(weights: Float) -> float:
        z = columns @ weights
        return float(np.mean(np.logaddexp(0, z) - right * z))

    bounds = BOUNDS[: columns.shape[1]]
    return np.asarray(minimize(loss, np.array(START[: len(bounds)]), method="L-BFGS-B", bounds=bounds).x)


def _named(weights: Float) -> dict[str, float]:
    return {name: round(float(weight), 4) for name, weight in zip(NAMES, weights, strict=False)}
