"""A learned start: from an image and a box to pose and shape, by a cascade of boosted regression trees.

Each stage looks at a pool of pixels that move with the current shape; trees on
differences of two pixels add up to an update of the PDM's parameters. Pose and
shape are updated in a frame that turns with the head's roll, in units that make
the squared length of an update about the squared displacement of the landmarks.

Source: Kazemi, Sullivan, "One Millisecond Face Alignment with an Ensemble of
Regression Trees", CVPR 2014; with the parameters of a 3D PDM as targets in
place of 2D landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import solve
from scipy.spatial.transform import Rotation

from pyclnf._limits import (
    MAX_DESCENT_BLUR,
    MAX_DESCENT_DIRECTIONS,
    MAX_DESCENT_SAMPLES,
    MAX_DESCENT_SIDE,
    MAX_DESCENT_STEPS,
)
from pyclnf.cascade import MIN_CONTRAST
from pyclnf.crop import Crop
from pyclnf.descent import Descent, DescentStep, PatchLayout, mode_signs, upright
from pyclnf.errors import ModelError, TrainingError
from pyclnf.pdm import PDM, Parameters
from pyclnf.start import MAX_CROP, MAX_MARGIN, MIN_PRIOR_VARIANCE, LearnedStart
from pyclnf.training.checks import are_numbers, are_whole, as_tuples
from pyclnf.training.symmetry import mirror_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pyclnf.training.faces import AnnotatedFaces

    Float = NDArray[np.float64]

__all__ = ["DescentConfig", "StartConfig", "refine_start", "train_start"]

# Faces whose pools are sampled, or that are described, at once.
CHUNK = 4096

# A pixel of a pool is named by 16 bits.
MAX_POOL = np.iinfo(np.uint16).max + 1

# Fewer faces that were not learned from say too little about the start's errors.
MIN_REST = 10


@dataclass(frozen=True)
class DescentConfig:
    """How the linear steps after the trees are built, see `pyclnf.descent`.

    Attributes
    ----------
    extent : float
        Side of the patch around the face, mm.
    scales, radii, blurs : tuple of float
        Of each step: px of the patch per mm, radius of the ring of samples around a landmark, and the blur,
        both in px of the patch.
    floor : float
        Added to the length of a descriptor, grey levels per px.
    directions, around : int
        Directions of slopes, samples on a ring.
    edges : tuple of float
        Yaws between the views, degrees.
    margin : float
        Faces this far beyond the limits of a view are used too, degrees: it has a share of those within
        `pyclnf.descent.GO_OVER`.
    penalty : float
        Of the squared weights, in mean variances of the descriptors.
    spread : float
        What comes before errs less on the faces that it was trained on than on others: share of another
        face's error that is added to each.
    draws : int
        Each face and box is seen so often, with errors of others each time.
    max_samples : int
        Most samples a view: faces, boxes, and draws.
    """

    extent: float = 249.0
    scales: tuple[float, ...] = (0.45, 0.45, 0.45)
    radii: tuple[float, ...] = (12.0, 8.0, 5.0)
    blurs: tuple[float, ...] = (2.5, 1.8, 1.2)
    floor: float = 20.0
    directions: int = 6
    around: int = 8
    edges: tuple[float, ...] = (25.0, 50.0)
    margin: float = 10.0
    penalty: float = 0.7
    spread: float = 0.4
    draws: int = 4
    max_samples: int = 80000

    def __post_init__(self) -> None:
        as_tuples(self, "scales", "radii", "blurs", "edges")
        if not self.scales or not len(self.scales) == len(self.radii) == len(self.blurs):
            raise TrainingError("each step of a descent has a scale, a radius and a blur")
        if not are_numbers(self.extent, self.floor) or not (
            min(self.scales) > 0 and min(self.sides) >= 8 and min(self.blurs) >= 0.1 and self.floor > 0
        ):
            raise TrainingError("extent, scales, blurs and floor of a descent are positive")
        counts = (self.directions, self.around, self.draws, self.max_samples)
        if not are_whole(*counts) or min(counts) < 1 or not are_numbers(self.penalty) or self.penalty <= 0:
            raise TrainingError("the counts of a descent are at least 1 and whole, its penalty is positive")
        if not are_numbers(self.margin, self.spread) or min(self.margin, self.spread) < 0:
            raise TrainingError("margin and spread of a descent are not negative")
        if not all(0 < a < b for a, b in pairwise((0.001, *self.edges))):
            raise TrainingError(f"the edges between the views are rising yaws, not {self.edges}")
        beyond = (
            len(self.blurs) > MAX_DESCENT_STEPS
            or max(self.sides) > MAX_DESCENT_SIDE
            or max(self.blurs) > MAX_DESCENT_BLUR
            or self.directions > MAX_DESCENT_DIRECTIONS
            or self.around + 1 > MAX_DESCENT_SAMPLES
        )
        if beyond:
            raise TrainingError(
                f"a descent has at most {MAX_DESCENT_STEPS} steps, a side of {MAX_DESCENT_SIDE} px, "
                f"a blur of {MAX_DESCENT_BLUR:g} px, {MAX_DESCENT_DIRECTIONS} directions and "
                f"{MAX_DESCENT_SAMPLES - 1} samples around a landmark: no file with more could be read"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of each step's patch, px."""
        return tuple(round(self.extent * scale) for scale in self.scales)

    def layouts(self) -> list[PatchLayout]:
        """Return the layout of the patch of each step."""
        angles = 2 * np.pi * np.arange(self.around) / self.around
        ring = np.column_stack([np.cos(angles), np.sin(angles)])
        return [
            PatchLayout(
                side, scale, blur, self.floor, self.directions,
                np.concatenate([np.zeros((1, 2)), radius * ring]).astype(np.float32),
            )
            for side, scale, radius, blur in zip(
                self.sides, self.scales, self.radii, self.blurs, strict=True
            )
        ]  # fmt: skip


@dataclass(frozen=True)
class StartConfig:
    """How the learned start is built.

    Attributes
    ----------
    stages, trees, depth : int
        Stages of the cascade, trees a stage, levels a tree.
    pool : int
        Pixels a stage looks at.
    radii : tuple of float
        Greatest distance of a pixel from its landmark in the first and last stage, mm.
    near : float
        Pairs of pixels d mm apart are tried with a probability of about ``exp(-d / near)``.
    candidates : int
        Splits tried at a node.
    shrinkage : float
    modes : int
        Shape modes that are predicted; the others stay 0.
    boxes : int
        Disturbed boxes a face, half of them on its mirror image.
    shift, scale, aspect : float
        Standard deviations of the boxes' shift (as a share of the side), log size and log aspect ratio.
    crop, margin : int, float
        Side of the crop that is looked at, px, and of its square in sides of the box.
    descent : DescentConfig or None
        None: no linear stage after the trees.
    """

    stages: int = 10
    trees: int = 80
    depth: int = 5
    pool: int = 400
    radii: tuple[float, float] = (30.0, 8.0)
    near: float = 25.0
    candidates: int = 20
    shrinkage: float = 0.1
    modes: int = 20
    boxes: int = 6
    shift: float = 0.07
    scale: float = 0.10
    aspect: float = 0.06
    crop: int = 128
    margin: float = 2.0
    descent: DescentConfig | None = None

    def __post_init__(self) -> None:
        as_tuples(self, "radii")
        counts = (self.stages, self.trees, self.depth, self.candidates, self.modes, self.boxes)
        if not are_whole(*counts, self.pool, self.crop):
            raise TrainingError("the counts of a start's configuration, pool and crop are whole numbers")
        few = min(counts) < 1 or self.pool < 2 or self.crop < 16
        if few or not are_numbers(self.margin) or self.margin < 1:
            raise TrainingError(
                "the counts of a start's configuration are at least 1, its pool 2, crop 16, margin 1"
            )
        if self.pool > MAX_POOL or self.crop > MAX_CROP or self.margin > MAX_MARGIN:
            raise TrainingError(
                f"a start has a pool of at most {MAX_POOL} pixels, a crop of {MAX_CROP} px and a margin of "
                f"{MAX_MARGIN:g}: no file with more could be read"
            )
        positive = (*self.radii, self.near, self.shrinkage)
        if len(self.radii) != 2 or not are_numbers(*positive) or min(positive) <= 0:
            raise TrainingError("the two radii of a start's pools, near and shrinkage are positive")
        deviations = (self.shift, self.scale, self.aspect)
        if not are_numbers(*deviations) or min(deviations) < 0:
            raise TrainingError("shift, scale and aspect of a start's boxes are not negative")
        if self.depth > 8:
            raise TrainingError("trees of more than 8 levels are not supported")


@dataclass(eq=False)
class _State:
    """Parameters of N faces in their crops."""

    scale: Float
    rotation: Float
    translation: Float
    shape: Float

    def landmarks(self, pdm: PDM, modes: Float) -> Float:
        """Return the landmarks, (N, n, 2)."""
        flat = pdm.mean + self.shape @ modes.T
        shapes = flat.reshape(len(flat), 3, -1)
        return np.asarray(
            self.scale[:, None, None] * (self.rotation[:, :2] @ shapes).transpose(0, 2, 1)
            + self.translation[:, None]
        )

    def roll(self) -> Float:
        """Return the rotations in the image plane that bring a face upright to this roll, (N, 2, 2)."""
        return upright(self.rotation)

    def of(self, i: int) -> tuple[Float, Float, Float]:
        """Return rotation, placement (scale, tx, ty) and shape of one face."""
        return self.rotation[i], np.array([self.scale[i], *self.translation[i]]), self.shape[i]

    def updated(self, update: Float, limits: Float) -> _State:
        """Return the parameters after updates (N, 6 + k): log scale, rotation, translation, shape."""
        C = self.roll()
        turn = update[:, 1:4].copy()
        turn[:, :2] = np.einsum("ijk,ik->ij", C, turn[:, :2])
        return _State(
            self.scale * np.exp(update[:, 0]),
            Rotation.from_rotvec(turn).as_matrix() @ self.rotation,
            self.translation + self.scale[:, None] * np.einsum("ijk,ik->ij", C, update[:, 4:6]),
            np.clip(self.shape + update[:, 6:], -limits, limits),
        )

    def to(self, other: _State) -> Float:
        """Return the updates (N, 6 + k) that lead to another state."""
        C = self.roll()
        turn = Rotation.from_matrix(other.rotation @ self.rotation.transpose(0, 2, 1)).as_rotvec()
        turn[:, :2] = np.einsum("ikj,ik->ij", C, turn[:, :2])
        shift = np.einsum("ikj,ik->ij", C, other.translation - self.translation) / self.scale[:, None]
        return np.column_stack([np.log(other.scale / self.scale), turn, shift, other.shape - self.shape])


def check_landmarks(pdm: PDM) -> None:
    """Refuse a PDM of more landmarks than trees can name, by a byte."""
    if pdm.n_landmarks > 256:
        raise TrainingError(
            f"trees of a start know at most 256 landmarks, not {pdm.n_landmarks}: train without (start=None)"
        )


def check_modes(pdm: PDM, config: StartConfig, mirror: NDArray[np.intp]) -> None:
    """Refuse a PDM not made of mirrored shapes for a descent, which is learned from both sides at once."""
    if config.descent is None:
        return
    try:
        mode_signs(pdm.components[:, : config.modes], mirror)
    except ModelError as error:
        raise TrainingError(f"{error}: build it of mirrored shapes, or train with descent=None") from error


def train_start(
    faces: AnnotatedFaces,
    pdm: PDM,
    chosen: NDArray[np.bool_],
    config: StartConfig | None = None,
    *,
    mirror: ArrayLike | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> LearnedStart:
    """Train the cascade.

    Parameters
    ----------
    faces : AnnotatedFaces
    pdm : PDM
    chosen : ndarray, shape (N,), bool
        Faces to learn from; from the others comes the start's `prior`.
    config : StartConfig, optional
    mirror : array_like of int, shape (n,), optional
        Counterpart of each landmark; default: the 68 iBUG landmarks.
    seed : int
    progress : callable, optional
        Called with a stage's name, trees done, and number of trees.

    Returns
    -------
    LearnedStart

    Raises
    ------
    TrainingError
        If fewer than two faces are chosen, or the PDM has more landmarks than trees can name, or for a
        descent is not made of mirrored shapes.
    """
    config = config or StartConfig()
    check_landmarks(pdm)
    permutation, rng = _prepared(faces, pdm, chosen, config, mirror, seed)
    n_modes = min(config.modes, pdm.n_modes)
    modes, limits = _modes(pdm, n_modes)
    crops, state, truth = _samples(faces, pdm, np.flatnonzero(chosen), permutation, config, n_modes, rng)
    lengths = _lengths(pdm, n_modes)
    stages: list[tuple[NDArray[Any], ...]] = []
    for s in range(config.stages):
        landmarks, offsets = _random_pool(pdm, s, config, rng)
        pool = _sample_pool(crops, state, pdm, modes, landmarks, offsets)
        probability = _pair_probability(pdm, landmarks, offsets, config.near)
        residual = (state.to(truth) * lengths).astype(np.float32)
        trees = []
        for t in range(config.trees):
            trees.append(_grow(pool, residual, probability, config, rng))
            splits, thresholds, leaves, reached = trees[-1]
            residual -= leaves[reached]
            if progress:
                progress("start", s * config.trees + t + 1, config.stages * config.trees)
        units = np.max([np.abs(tree[2]).max(axis=0) for tree in trees], axis=0) / 127
        units = np.maximum(units, np.finfo(np.float32).tiny)
        quantised = [np.rint(tree[2] / units).astype(np.int8) for tree in trees]
        units = (units / lengths).astype(np.float32)
        # The next stage must see what the quantised leaves give.
        total = np.zeros((len(crops), len(lengths)))
        for tree, leaves8 in zip(trees, quantised, strict=True):
            total += leaves8[tree[3]]
        state = state.updated(total * units, limits)
        splits = np.stack([tree[0] for tree in trees])
        thresholds = np.stack([tree[1] for tree in trees])
        stages.append((landmarks, offsets, splits, thresholds, np.stack(quantised), units))
    names = ("landmarks", "offsets", "splits", "thresholds", "leaves", "units")
    fields = zip(names, zip(*stages, strict=True), strict=True)
    arrays = {f"start/{name}": np.stack(field) for name, field in fields}
    arrays["start/crop"] = np.array([config.crop, config.margin], np.float32)
    return _finished(arrays, faces, pdm, chosen, config, (crops, state, truth), permutation, rng)


def refine_start(
    arrays: Mapping[str, NDArray[Any]],
    faces: AnnotatedFaces,
    pdm: PDM,
    chosen: NDArray[np.bool_],
    config: StartConfig | None = None,
    *,
    mirror: ArrayLike | None = None,
    seed: int = 0,
) -> LearnedStart:
    """Train what follows a predictor that was trained elsewhere: the linear steps and the prior.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Of the predictor, see `pyclnf.network.Network`, and ``start/crop``.
    faces : AnnotatedFaces
    pdm : PDM
    chosen : ndarray, shape (N,), bool
        As of `train_start`; the faces that the predictor has learned from.
    config : StartConfig, optional
        What it says about trees and crop is not used.
    mirror : array_like of int, shape (n,), optional
    seed : int

    Returns
    -------
    LearnedStart

    Raises
    ------
    TrainingError
        If fewer than two faces are chosen or, for a descent, the PDM is not made of mirrored shapes.
    """
    config = config or StartConfig()
    permutation, rng = _prepared(faces, pdm, chosen, config, mirror, seed)
    start = LearnedStart(pdm, arrays)
    config = replace(config, crop=start.side, margin=start.margin)
    crops, state, truth = _samples(
        faces, pdm, np.flatnonzero(chosen), permutation, config, start.predictor.n_modes, rng
    )
    placement = np.column_stack([state.scale, state.translation])
    for i, crop in enumerate(crops):
        some = slice(i, i + 1)
        start.predictor.run(crop[None], state.rotation[some], placement[some], state.shape[some])
    k = min(config.modes, start.predictor.n_modes)
    state = _State(placement[:, 0], state.rotation, placement[:, 1:], state.shape[:, :k])
    truth = replace(truth, shape=truth.shape[:, :k])
    return _finished(arrays, faces, pdm, chosen, config, (crops, state, truth), permutation, rng)


def _prepared(
    faces: AnnotatedFaces,
    pdm: PDM,
    chosen: NDArray[np.bool_],
    config: StartConfig,
    mirror: ArrayLike | None,
    seed: int,
) -> tuple[NDArray[np.intp], np.random.Generator]:
    """Return the checked mirror permutation, and the random numbers of a training."""
    permutation = mirror_of(pdm, mirror)
    check_modes(pdm, config, permutation)
    # Of whole numbers the complement would be all faces.
    if getattr(chosen, "dtype", None) != np.bool_ or chosen.shape != (len(faces),):
        raise TrainingError(f"chosen is an array of {len(faces)} bool, True for the faces to learn from")
    if chosen.sum() < 2:
        raise TrainingError("a start is learned from at least two faces")
    return permutation, np.random.default_rng(seed)


def _finished(
    arrays: Mapping[str, NDArray[Any]],
    faces: AnnotatedFaces,
    pdm: PDM,
    chosen: NDArray[np.bool_],
    config: StartConfig,
    samples: tuple[NDArray[np.uint8], _State, _State],
    mirror: NDArray[np.intp],
    rng: np.random.Generator,
) -> LearnedStart:
    """Return the start of a predictor's arrays with linear steps, and the prior from faces not chosen."""
    whole = dict(arrays)
    if config.descent is not None:
        whole |= _train_descent(pdm, config.descent, *samples, mirror, rng).arrays()
    start = LearnedStart(pdm, whole)
    rest = np.flatnonzero(~chosen)
    if rest.size < MIN_REST:
        return start
    basis, variances = _prior(start, faces, rest, mirror, config, rng)
    return LearnedStart(pdm, whole | {"start/basis": basis, "start/variances": variances})


def _train_descent(
    pdm: PDM,
    config: DescentConfig,
    crops: NDArray[np.uint8],
    state: _State,
    truth: _State,
    mirror: NDArray[np.intp],
    rng: np.random.Generator,
) -> Descent:
    """Learn steps from what the trees give to the truth."""
    views, n_modes = len(config.edges) + 1, state.shape.shape[1]
    _, limits = _modes(pdm, n_modes)
    steps: list[DescentStep] = []
    for layout in config.layouts():
        if steps:
            state = _after(steps[-1], crops, state)
        errors, disturbed = state.to(truth), []
        order = np.argsort(state.rotation[:, 0, 2], kind="stable")
        for _ in range(config.draws):
            # The error of a face that is turned about as far.
            neighbour = np.arange(order.size) + rng.integers(-200, 201, order.size)
            other = np.empty_like(order)
            other[order] = order[np.clip(neighbour, 0, order.size - 1)]
            disturbed.append(state.updated(-config.spread * errors[other], limits))
        weights = np.zeros((views, pdm.n_landmarks, layout.width, 6 + n_modes), np.int8)
        units = np.ones((views, 6 + n_modes), np.float32)
        step = DescentStep(
            pdm, layout, np.radians(config.edges), mirror, weights, units, np.zeros_like(units)
        )
        _train_step(step, config, crops, disturbed, truth, rng)
        steps.append(step)
    return Descent(steps)


def _after(step: DescentStep, crops: NDArray[np.uint8], state: _State) -> _State:
    """Return where a step leads."""
    descent = Descent([step])
    rotation, shape = state.rotation.copy(), state.shape.copy()
    placement = np.column_stack([state.scale, state.translation])
    for i, crop in enumerate(crops):
        some = slice(i, i + 1)
        descent.take(crop, rotation[some], placement[some], shape[some])
    return _State(placement[:, 0], rotation, placement[:, 1:], shape)


def _train_step(
    step: DescentStep,
    config: DescentConfig,
    crops: NDArray[np.uint8],
    states: Sequence[_State],
    truth: _State,
    rng: np.random.Generator,
) -> None:
    """Learn the weights, units and biases of a step by ridge regression in each view, from several draws."""
    n = len(crops)
    lengths, margin = _lengths(step.pdm, states[0].shape.shape[1]), np.radians(config.margin)
    wanted = np.concatenate([state.to(truth) for state in states])
    yaws = np.concatenate([np.arcsin(np.clip(state.rotation[:, 0, 2], -1, 1)) for state in states])
    # As they are, then in the mirror.
    turned = np.concatenate([yaws, -yaws])
    for view, (low, high) in enumerate(pairwise([0.0, *step.edges, np.inf])):
        some = np.flatnonzero((turned >= low - margin) & (turned <= high + margin))
        if some.size > config.max_samples:
            some = np.sort(rng.choice(some, config.max_samples, replace=False))
        if some.size < 2:
            continue  # no step for heads that are turned so far
        mirrored, rows = np.divmod(some, len(wanted))
        Y = wanted[rows] * lengths * np.where(mirrored[:, None], step.signs, 1)
        draws, faces = np.divmod(rows, n)
        described = (
            step.describe(crops[i], *states[draw].of(i), mirrored=bool(other)).reshape(-1)
            for draw, i, other in zip(draws.tolist(), faces.tolist(), mirrored.tolist(), strict=True)
        )
        W, x_mean, y_mean = _ridge(described, Y, config.penalty)
        W /= lengths
        step.units[view] = np.maximum(np.abs(W).max(axis=0) / 127, np.finfo(np.float32).tiny)
        whole = np.rint(W / step.units[view])
        step.weights[view] = whole.reshape(step.weights[view].shape)
        # The middle of the data is met in spite of the rounding.
        step.bias[view] = y_mean / lengths - x_mean @ (whole * step.units[view])


def _ridge(rows: Iterable[NDArray[np.float32]], Y: Float, penalty: float) -> tuple[Float, Float, Float]:
    """Return weights (d, w) of the regression from rows (d,) to Y (N, w), and the means of both.

    Rows are taken some at a time: all at once are many GB. Those whose Y is far off count less: a linear step
    does not bring them back.
    """
    squared = ((Y - np.median(Y, axis=0)) ** 2).sum(axis=1)
    w = 1 / (1 + squared / max(3 * float(np.median(squared)), np.finfo(float).tiny))
    w /= w.sum()
    y_mean, root = w @ Y, np.sqrt(w)[:, None]
    Y = (Y - y_mean) * root
    source = iter(rows)
    sums: list[Float] = []
    for first in range(0, len(Y), CHUNK):
        some = slice(first, first + CHUNK)
        X = np.stack(list(islice(source, CHUNK)))
        of_x = w[some] @ X
        X *= root[some].astype(np.float32)
        own = [of_x, (X.T @ X).astype(np.float64), X.T @ Y[some]]
        sums = [a + b for a, b in zip(sums, own, strict=True)] if sums else own
    x_mean, G, H = sums
    G -= np.outer(x_mean, x_mean)
    G[np.diag_indices_from(G)] += max(penalty * float(np.trace(G)) / len(G), np.finfo(float).tiny)
    return solve(G, H, assume_a="pos", overwrite_a=True), x_mean, y_mean


def _prior(
    start: LearnedStart,
    faces: AnnotatedFaces,
    chosen: NDArray[np.intp],
    mirror: NDArray[np.intp],
    config: StartConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return basis and variances of the true shapes about the guesses at faces that were not learned from.

    Faces that the start has lost altogether count less: a fit cannot bring them back.
    """
    pdm = start.pdm
    rows = []
    for image, landmarks, truth in _both_ways(faces, pdm, chosen, (None, mirror)):
        box = _disturbed(landmarks.min(axis=0), landmarks.max(axis=0), config, rng)
        (guess,) = start.hypotheses(image[..., None], box)
        rows.append(truth.shape - guess.shape)
    errors = np.array(rows)
    typical = np.maximum(np.median(errors**2, axis=0), np.finfo(float).tiny)
    weights = 1 / (1 + (errors**2 / (3 * typical)).mean(axis=1))
    covariance = (errors * weights[:, None]).T @ errors / weights.sum()
    # Of few faces the correlations are not to be trusted.
    share = pdm.n_modes / (pdm.n_modes + len(chosen))
    covariance = (1 - share) * covariance + share * np.diag(np.diag(covariance))
    variances, basis = np.linalg.eigh(covariance)
    variances = np.maximum(variances, MIN_PRIOR_VARIANCE)
    return basis[:, ::-1].astype(np.float32), variances[::-1].astype(np.float32)


def _modes(pdm: PDM, n_modes: int) -> tuple[Float, Float]:
    """Return the modes predicted, (3n, k), and the limits of their coefficients, (k,)."""
    return np.ascontiguousarray(pdm.components[:, :n_modes]), pdm.limits[:n_modes]


def _from_boxes(pdm: PDM, boxes: Float, n_modes: int) -> _State:
    poses = np.array([pdm.from_box(box).pose for box in boxes])
    n = len(boxes)
    return _State(poses[:, 0], np.repeat(np.eye(3)[None], n, axis=0), poses[:, 4:6], np.zeros((n, n_modes)))


def _lengths(pdm: PDM, n_modes: int) -> Float:
    """Return the displacement of all landmarks (root of squares, mm) by a unit of each parameter."""
    x, y, z = pdm.mean.reshape(3, -1)
    in_plane = np.sqrt((x**2 + y**2).sum())
    # Of a rotation about x or y the image shows the foreshortening and what depth moves.
    nod, turn = (np.sqrt((z**2 + 0.5 * across**2).sum()) for across in (y, x))
    shift = np.sqrt(pdm.n_landmarks)
    return np.array([in_plane, nod, turn, in_plane, shift, shift, *np.ones(n_modes)])


def _samples(
    faces: AnnotatedFaces,
    pdm: PDM,
    chosen: NDArray[np.intp],
    mirror: NDArray[np.intp],
    config: StartConfig,
    n_modes: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], _State, _State]:
    """Return crops, and the states of their faces at the start and in truth."""
    flips = (None, mirror) if config.boxes > 1 else (None,)
    per_flip = -(-config.boxes // len(flips))
    # (A list would take the memory twice when it is made an array.)
    crops = np.empty((chosen.size * len(flips) * per_flip, config.crop, config.crop), np.uint8)
    starts: list[list[float]] = []
    truths: list[tuple[Any, ...]] = []
    for image, landmarks, parameters in _both_ways(faces, pdm, chosen, flips):
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        for _ in range(per_flip):
            box = _disturbed(low, high, config, rng)
            length = config.margin * float(np.sqrt(box[2] * box[3]))
            crop = Crop.cut(image[..., None], (box[0] + box[2] / 2, box[1] + box[3] / 2), length, config.crop)
            crops[len(starts)] = crop.pixels
            starts.append([*crop.point_in(box[0], box[1]), *(box[2:] / crop.step)])
            pose = parameters.pose
            centre = np.array(crop.point_in(pose[4], pose[5]))
            truths.append((pose[0] / crop.step, parameters.rotation, centre, parameters.shape[:n_modes]))
    scale, rotation, translation, shape = (np.array(field) for field in zip(*truths, strict=True))
    state = _from_boxes(pdm, np.array(starts), n_modes)
    return crops, state, _State(scale, rotation, translation, shape)


def _both_ways(
    faces: AnnotatedFaces, pdm: PDM, chosen: NDArray[np.intp], flips: Sequence[NDArray[np.intp] | None]
) -> Iterator[tuple[NDArray[np.uint8], Float, Parameters]]:
    """Return image, landmarks and parameters of faces as they are (None) and mirrored by a permutation."""
    for i in chosen.tolist():
        for flip in flips:
            image, landmarks, _ = faces.face(pdm, i, flip)
            parameters = faces.parameters(i)
            if flip is not None:
                parameters = _mirrored(pdm, parameters, flip, image.shape[1])
            yield image, landmarks, parameters


def _mirrored(pdm: PDM, parameters: Parameters, mirror: NDArray[np.intp], width: int) -> Parameters:
    """Return the parameters of the flipped face, for a PDM whose modes come from mirrored data."""
    s, rx, ry, rz, tx, ty = parameters.pose
    shape = pdm.deformed(parameters.shape).reshape(3, -1).T[mirror] * np.array([-1.0, 1.0, 1.0])
    q = pdm.components.T @ (shape.T.reshape(-1) - pdm.mean)
    return Parameters(np.array([s, rx, -ry, -rz, width - 1 - tx, ty]), q)


def _disturbed(low: Float, high: Float, config: StartConfig, rng: np.random.Generator) -> Float:
    """Return a box (x, y, w, h) as a detector might give it for landmarks within low..high."""
    size = high - low
    centre = (low + high) / 2 + rng.normal(scale=config.shift, size=2) * size
    aspect = np.exp(rng.normal(scale=config.aspect))
    size = size * np.exp(rng.normal(scale=config.scale)) * np.array([aspect, 1 / aspect])
    return np.array([*(centre - size / 2), *size])


def _random_pool(
    pdm: PDM, stage: int, config: StartConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Return landmarks and offsets of a stage's pixels, spread evenly over discs about the landmarks."""
    first, last = config.radii
    radius = first * (last / first) ** (stage / max(config.stages - 1, 1))
    landmarks = rng.integers(pdm.n_landmarks, size=config.pool).astype(np.uint8)
    angle, distance = rng.uniform(0, 2 * np.pi, config.pool), radius * np.sqrt(rng.random(config.pool))
    offsets = distance[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return landmarks, offsets.astype(np.float16)


def _pair_probability(
    pdm: PDM, landmarks: NDArray[np.uint8], offsets: NDArray[np.float16], near: float
) -> Float:
    """Return the cumulated probability of all ordered pairs of a pool's pixels, (F * F,)."""
    points = pdm.mean.reshape(3, -1)[:2, landmarks].T + offsets
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    weights = np.exp(-distance / near)
    np.fill_diagonal(weights, 0)
    cumulated = np.cumsum(weights.reshape(-1))
    return np.asarray(cumulated / cumulated[-1])


def _sample_pool(
    crops: NDArray[np.uint8],
    state: _State,
    pdm: PDM,
    modes: Float,
    landmarks: NDArray[np.uint8],
    offsets: NDArray[np.float16],
) -> NDArray[np.float32]:
    """Return the pool's pixels of N faces in units of their contrast, (F, N)."""
    points = state.landmarks(pdm, modes)
    turn = state.scale[:, None, None] * state.roll()
    pool = np.empty((len(landmarks), len(crops)), np.float32)
    for first in range(0, len(crops), CHUNK):
        some = slice(first, first + CHUNK)
        at = points[some][:, landmarks] + offsets.astype(np.float64) @ turn[some].transpose(0, 2, 1)
        values = _bilinear(crops[some], at)
        values /= values.std(axis=1, keepdims=True) + np.float32(MIN_CONTRAST)
        pool[:, some] = values.T
    return pool


def _bilinear(crops: NDArray[np.uint8], points: Float) -> NDArray[np.float32]:
    """Return the values at points (N, F, 2) of the faces' crops, (N, F); the border goes on outside."""
    last = crops.shape[1] - 1
    x, y = (np.clip(points[..., k], 0, last).astype(np.float32) for k in (0, 1))
    left, top = np.minimum(x.astype(np.intp), last - 1), np.minimum(y.astype(np.intp), last - 1)
    fx, fy = x - left, y - top
    flat = crops.reshape(-1)
    base = np.arange(len(crops))[:, None] * crops[0].size + top * crops.shape[2] + left
    below = base + crops.shape[2]
    upper = flat[base] * (1 - fx) + flat[base + 1] * fx
    lower = flat[below] * (1 - fx) + flat[below + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, dtype=np.float32)


def _grow(
    pool: NDArray[np.float32],
    residual: NDArray[np.float32],
    cumulated: Float,
    config: StartConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint16], NDArray[np.float16], NDArray[np.float32], NDArray[np.intp]]:
    """Return splits, thresholds and leaves of a tree grown on the residuals, and the leaf of each face."""
    n_pool, n_nodes = len(pool), 2**config.depth - 1
    splits = np.zeros((n_nodes, 2), np.uint16)
    thresholds = np.zeros(n_nodes, np.float16)
    members = {0: np.arange(pool.shape[1])}
    for node in range(n_nodes):
        inside = members.pop(node)
        pairs = np.searchsorted(cumulated, rng.random(config.candidates))
        first, second = np.divmod(np.minimum(pairs, len(cumulated) - 1), n_pool)
        right = np.zeros(inside.size, bool)
        if inside.size:
            differences = pool[first[:, None], inside] - pool[second[:, None], inside]
            at = differences[np.arange(config.candidates), rng.integers(inside.size, size=config.candidates)]
            cuts = at.astype(np.float16)
            goes_right = differences > cuts.astype(np.float32)[:, None]
            best = _best_split(goes_right, residual[inside])
            splits[node], thresholds[node], right = (first[best], second[best]), cuts[best], goes_right[best]
        members[2 * node + 1], members[2 * node + 2] = inside[~right], inside[right]
    leaves = np.zeros((n_nodes + 1, residual.shape[1]), np.float32)
    reached = np.empty(pool.shape[1], np.intp)
    for leaf in range(n_nodes + 1):
        inside = members[n_nodes + leaf]
        reached[inside] = leaf
        if inside.size:
            leaves[leaf] = config.shrinkage * residual[inside].mean(axis=0)
    return splits, thresholds, leaves, reached


def _best_split(goes_right: NDArray[np.bool_], residual: NDArray[np.float32]) -> int:
    """Return the candidate that leaves the least squared residual about the means of its two sides."""
    count = goes_right.sum(axis=1)
    right = goes_right.astype(np.float32) @ residual
    left = residual.sum(axis=0) - right
    gain = (right**2).sum(axis=1) / np.maximum(count, 1)
    gain += (left**2).sum(axis=1) / np.maximum(len(residual) - count, 1)
    return int(gain.argmax())
