"""The fitting loop: non-uniform regularised landmark mean-shift (NU-RLMS).

Source: Baltrusaitis, Robinson, Morency, ICCV Workshops 2013, section 4;
Saragih, Lucey, Cohn, IJCV 2011, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf._limits import MAX_COORDINATE, MAX_WINDOW
from pyclnf.errors import ImageError, ParameterError
from pyclnf.patch_experts import NOTHING_KEPT, check_finite, room_for_grey
from pyclnf.pdm import Parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyclnf.patch_experts import KeptGrey, PatchScale, ViewExperts
    from pyclnf.pdm import PDM, ShapePrior

    Float = NDArray[np.float64]

__all__ = ["MULTI_VIEW_STARTS", "FitParameters", "FitResult", "Level", "fit", "fit_starts", "levels_of"]

# Which kernels are in use, for reports: avx512, avx2, baseline or reference.
KERNEL_VARIANT = _kernels.VARIANT
# Landmarks that moved less than this (px, L2 norm over all) have converged.
TOLERANCE = 0.01
# Added to likelihoods before the logarithm.
LIKELIHOOD_FLOOR = 1e-8
# Several starts are first looked at with every fourth landmark (of 68: ends of the jaw, chin, and a few of
# each other part) and no larger a window than this, and so many go on; then so many after each scale. Of
# 1,000 rendered faces eleven more are lost with OpenFace's model than when all starts are run to their end,
# and none with the package's.
LOOK_EVERY, LOOK_WINDOW = 4, 11
STARTS_KEPT = (3, 3, 2)
# The same of a learned start's guesses, which differ less: compared on rendered faces of people that the
# model had not seen, more of them were no better.
GUESSES_KEPT = (2, 1)

# Starting rotations (rx, ry, rz), radians, for a face of unknown pose.
MULTI_VIEW_STARTS: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.0, 0.0),
    (0.0, -0.5236, 0.0),
    (0.0, 0.5236, 0.0),
    (0.0, -0.96, 0.0),
    (0.0, 0.96, 0.0),
    (0.0, 0.0, 0.5236),
    (0.0, 0.0, -0.5236),
    (0.0, -1.57, 0.0),
    (0.0, 1.57, 0.0),
    (0.0, -1.22, 0.698),
    (0.0, 1.22, -0.698),
)


@dataclass(frozen=True)
class FitParameters:
    """The numbers that steer a fit.

    Attributes
    ----------
    windows : tuple of int
        Side of the response maps by scale, coarse to fine, px of the patch
        scale; odd, or 0 to skip the scale.
    iterations : int
        At most so many updates a pass; each scale has a rigid and a full pass.
    sigma : float
        Standard deviation of the mean shift's Gaussian at scale 0.25, map px.
    reg_factor : float
        Weight of the shape's prior at scale 0.25.
    weight_factor : float
        Weight of the experts' confidences; 0: all landmarks count the same.
    response_power : int
        Landmarks also count by this power of the highest response in their map, relative to the others': one
        that is hidden, or not found, counts less.
    min_face_scale : float
        Fits of a face below so many px per mm fail: it is too small for the coarsest experts.

    Raises
    ------
    ParameterError
        If a number is out of its range.

    Examples
    --------
    Sets that are given whole replace a model's own numbers; to change some of those, name them:

    >>> from pyclnf import CLNF, FitParameters
    >>> video = FitParameters.named("video")
    >>> video.windows, video.iterations
    ((11, 9, 7, 5), 5)
    >>> CLNF("openface.npz", parameters=video.changed(iterations=8))  # doctest: +SKIP
    >>> CLNF(parameters="video", iterations=8).parameters.windows
    (0, 0, 0, 5)
    """

    windows: tuple[int, ...] = (15, 13, 11, 11)
    iterations: int = 10
    sigma: float = 1.25
    reg_factor: float = 35.0
    weight_factor: float = 2.5
    response_power: int = 0
    min_face_scale: float = 0.25

    def __post_init__(self) -> None:
        if not isinstance(self.windows, Iterable):
            raise ParameterError(
                f"windows are odd numbers, one a scale, such as (11, 9, 7), not {self.windows!r}"
            )
        object.__setattr__(self, "windows", tuple(self.windows))
        for window in self.windows:
            if not isinstance(window, int | np.integer) or not (
                window == 0 or (3 <= window <= MAX_WINDOW and window % 2)
            ):
                raise ParameterError(
                    f"a window is an odd number from 3 to {MAX_WINDOW}, or 0, not {window!r}"
                )
        if not any(self.windows):
            raise ParameterError("at least one scale needs a window")
        if not isinstance(self.iterations, int | np.integer) or not 1 <= self.iterations <= 1000:
            raise ParameterError(f"iterations is a whole number from 1 to 1000, not {self.iterations!r}")
        power = self.response_power
        if not isinstance(power, int | np.integer) or not 0 <= power <= 8:
            raise ParameterError(f"response_power is a whole number from 0 to 8, not {power!r}")
        lowest = {"sigma": 0.1, "reg_factor": 0.0, "weight_factor": 0.0, "min_face_scale": 0.01}
        for name, low in lowest.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float | np.number) and low <= value <= 1e6):
                raise ParameterError(f"{name} is a number from {low:g} to 1e6, not {value!r}")

    @classmethod
    def named(cls, name: str) -> FitParameters:
        """Return a parameter set by its name, ``"image"``, ``"video"`` or ``"tracking"``.

        Raises
        ------
        ParameterError
            If there is no such set.
        """
        try:
            return PARAMETER_SETS[name]
        except KeyError:
            raise ParameterError(
                f"there is no parameter set {name!r}: use {', '.join(PARAMETER_SETS)} or a FitParameters"
            ) from None

    def changed(self, /, **numbers: Any) -> FitParameters:
        """Return these parameters with some numbers replaced.

        Raises
        ------
        ParameterError
            If a name or a value is wrong.
        """
        unknown = set(numbers) - {f.name for f in fields(self)}
        if unknown:
            raise ParameterError(
                f"unknown fit parameters {sorted(unknown)}: there are {[f.name for f in fields(self)]}"
            )
        return replace(self, **numbers)

    def at_scale(self, scales: Sequence[float], index: int) -> tuple[float, float, float]:
        """Return (reg_factor, sigma, weight_factor) in effect at one scale.

        Parameters
        ----------
        scales : sequence of float
            The model's patch scales, coarse to fine.
        index : int
        """
        # Refinement ends with the third scale.
        k = math.log2(scales[min(index, 2)] / 0.25)
        return (
            max(0.001, self.reg_factor - 15 * k),
            max(0.1, self.sigma + 0.25 * k),
            max(0.0, self.weight_factor * (1 + 2 * k)),
        )


PARAMETER_SETS = {
    "image": FitParameters(),
    "video": FitParameters((11, 9, 7, 5), 5, 1.5, 25.0, 0.0),
    "tracking": FitParameters((0, 9, 7, 5), 5, 1.5, 25.0, 0.0),
}


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a fit found.

    Attributes
    ----------
    parameters : Parameters
        Pose and shape.
    landmarks : ndarray, shape (n, 2), float64
        Pixels.
    view : int
        View of the experts at the last scale.
    iterations : int
        Updates done, all passes and scales together.
    converged : bool
        Whether the last pass ended because the landmarks no longer moved.
    likelihood : float
        Mean over the visible landmarks of the logarithm of their likelihoods.
    landmark_likelihoods : ndarray, shape (n,), float64
        Kernel density of each landmark in its response map; NaN where the view does not see it.
    failure : str or None
        Why the fit failed, or None.
    disagreement : float or None
        About how far apart the learned start's looks at the image and at its mirror image lie, mm; None
        where it did not look at both.
    """

    parameters: Parameters
    landmarks: Float
    view: int
    iterations: int
    converged: bool
    likelihood: float
    landmark_likelihoods: Float = field(repr=False)
    failure: str | None = None
    disagreement: float | None = None


@lru_cache(maxsize=64)
def gaussian_kernel(window: int, sigma: float) -> Float:
    """Return the mean shift's Gaussians, one row for each 0.1 px of offset.

    Parameters
    ----------
    window : int
        Side w of the response maps.
    sigma : float
        Standard deviation, map px.

    Returns
    -------
    ndarray, shape (10 w, w), float64
        Row k: ``exp(-(x - k / 10)^2 / (2 sigma^2))`` at x = 0, 1, ..., w - 1. Read-only.
    """
    offsets = np.arange(10 * window)[:, None] / 10
    kernel: Float = np.exp(-((np.arange(window) - offsets) ** 2) / (2 * sigma * sigma))
    kernel.flags.writeable = False
    return kernel


class Level:
    """A scale with the numbers of its fit, which all starts have in common.

    Attributes
    ----------
    scale : PatchScale
    window : int
    sigma, weight_factor : float
        See `FitParameters.at_scale`.
    response_power : int
    min_face_scale : float
        See `FitParameters`.
    regularisation : ndarray, shape (m,), float64
        Weight of the prior on each shape coefficient.
    gaussians : ndarray, shape (10 w, w), float64
        See `gaussian_kernel`.
    """

    def __init__(
        self, variances: Float, scales: Sequence[PatchScale], settings: FitParameters, index: int
    ) -> None:
        self.scale, self.window = scales[index], settings.windows[index]
        reg_factor, self.sigma, self.weight_factor = settings.at_scale([own.scale for own in scales], index)
        self.regularisation = reg_factor / variances
        self.response_power = settings.response_power
        self.min_face_scale = settings.min_face_scale
        self.gaussians = gaussian_kernel(self.window, self.sigma)

    def for_a_look(self) -> Level:
        """Return the level with fewer landmarks, and a smaller window if the scale has Sigmas for it."""
        look = copy(self)
        look.scale = self.scale.thinned(LOOK_EVERY)
        if self.window > LOOK_WINDOW and LOOK_WINDOW in (self.scale.sigma_components or (LOOK_WINDOW,)):
            look.window, look.gaussians = LOOK_WINDOW, gaussian_kernel(LOOK_WINDOW, self.sigma)
        return look

    def own_weights(self, experts: ViewExperts) -> Float:
        """Return the weights of the landmarks of a view, whatever the image shows."""
        if self.weight_factor > 0:
            return np.asarray(self.weight_factor * experts.confidences)
        return np.ones(experts.landmarks.size)

    def weights(self, experts: ViewExperts, responses: NDArray[np.float32]) -> Float:
        """Return the weights of the landmarks of a view."""
        weights = self.own_weights(experts)
        if self.response_power:
            _kernels.weigh_maps(responses, self.response_power, LIKELIHOOD_FLOOR, weights)
        return weights


class _Fit:
    """A fit under way: the parameters so far, and what the last pass left.

    Attributes
    ----------
    pose, shape : ndarray, shapes (6,) and (m,), float64
        With a prior about the start the shape is its difference from the start's, in the prior's basis;
        mean, components and limits are those that belong to it.
    failure : str or None
        Why the fit has ended early.
    """

    def __init__(
        self,
        pdm: PDM,
        max_iterations: int,
        image: NDArray[Any],
        start: Parameters,
        depth: NDArray[Any] | None,
        prior: ShapePrior | None = None,
        grey: KeptGrey = NOTHING_KEPT,
    ) -> None:
        self.pdm, self.max_iterations = pdm, max_iterations
        self.image, self.depth, self.grey = image, depth, grey
        self.start, self.prior = start, prior
        if image.ndim != 3 or image.shape[2] not in (1, 3):
            raise ImageError(f"the pixels of a fit are (H, W, 1 or 3), see as_pixels, not {image.shape}")
        # Copies: they change.
        self.pose, self.shape = np.array(start.pose, np.float64), np.array(pdm.coefficients(start.shape))
        if prior is None:
            self.mean, self.components, self.limits = pdm.mean, pdm.components, pdm.limits
        else:
            self.mean = pdm.deformed(self.shape)
            self.components, self.limits = prior.components, prior.limits
            self.shape = np.zeros(pdm.n_modes)
        self.base = np.empty((pdm.n_landmarks, 2))
        self.to_reference, self.to_image = np.empty((2, 2)), np.empty((2, 2))
        self.iterations, self.converged = 0, False
        self.failure: str | None = None

    def respond(self, level: Level) -> None:
        """Compute the response maps of a scale around the landmarks as they are now."""
        self.level, scale, window = level, level.scale, level.window
        self.view = scale.nearest_view(self.pose[1:4])
        experts = scale.view(self.view)
        self.landmarks = experts.landmarks
        matrices = np.empty((self.landmarks.size, 2, 3))
        _kernels.place_areas(
            self.mean,
            self.components,
            self.pose,
            self.shape,
            self.landmarks,
            scale.scale,
            window + scale.support(self.view)[0] - 1,
            self.base,
            self.to_reference,
            self.to_image,
            matrices,
        )
        self.responses = scale.responses(self.view, window, self.image, matrices, self.depth, self.grey)
        self.weights = level.weights(experts, self.responses)
        self.offsets = np.empty((self.landmarks.size, 2))

    def move(self, *, rigid: bool) -> None:
        """Run a pass over the response maps."""
        done, self.converged = _kernels.nu_rlms_pass(
            self.mean,
            self.components,
            self.level.regularisation,
            self.limits,
            self.pose,
            self.shape,
            self.base,
            self.landmarks,
            self.responses,
            self.to_reference,
            self.to_image,
            self.level.gaussians,
            self.weights,
            rigid,
            self.max_iterations,
            TOLERANCE,
            self.offsets,
        )
        self.iterations += done

    def respond_and_move(self, level: Level, *, rigid: bool = False) -> None:
        """Compute the response maps of a scale, and run both passes over them, or the rigid one alone."""
        scale, window = level.scale, level.window
        view = scale.nearest_view(self.pose[1:4])
        arguments = scale.kernel_arguments(view, window)
        if arguments is None:
            self.respond(level)
            self.move(rigid=True)
            if not rigid:
                self.move(rigid=False)
            return
        self.level, self.view, experts = level, view, scale.view(view)
        self.landmarks = experts.landmarks
        n_planes, numbers = arguments
        v, side = self.landmarks.size, window + scale.support(view)[0] - 1
        planes = np.empty((n_planes, v, side, side), np.float32)
        self.responses = np.empty((v, window, window), np.float32)
        self.weights = level.own_weights(experts)
        self.offsets = np.empty((v, 2))
        done, self.converged = _kernels.fit_scale(
            self.image,
            *self.grey,
            self.mean,
            self.components,
            level.regularisation,
            self.limits,
            self.landmarks,
            scale.scale,
            *numbers,
            level.gaussians,
            level.response_power,
            LIKELIHOOD_FLOOR,
            rigid,
            self.max_iterations,
            TOLERANCE,
            self.base,
            self.to_reference,
            self.to_image,
            np.empty((v, 2, 3)),
            planes,
            np.empty_like(self.responses),
            self.responses,
            self.weights,
            self.offsets,
            self.pose,
            self.shape,
        )
        check_finite(self.image, planes)
        self.iterations += done

    def look(self, level: Level) -> float:
        """Return how likely a face is near the start, by a rigid pass; the fit stays where it is."""
        pose = self.pose.copy()
        self.respond_and_move(level, rigid=True)
        self.pose, self.iterations = pose, 0
        return self.likelihood()

    def check_size(self) -> None:
        """Note a face that is too small for the experts as a failure."""
        least = self.level.min_face_scale
        if not self.pose[0] >= least:
            self.failure = (
                f"the face is too small: {self.pose[0]:.3g} px per mm, at least {least:g} are needed "
                f"(about {least * 140:.0f} px across)"
            )

    def run(self, levels: Sequence[Level]) -> None:
        """Run both passes at each scale, until the fit fails."""
        for level in levels:
            self.respond_and_move(level)
            self.check_size()
            if self.failure is not None:
                break

    def densities(self) -> tuple[Float, Float]:
        """Return the kernel density of each visible landmark before the last update, and of each at all."""
        density, every = np.empty(self.landmarks.size), np.empty(self.pdm.n_landmarks)
        _kernels.likelihoods(self.responses, self.offsets, self.level.sigma, self.landmarks, every, density)
        return density, every

    def likelihood(self) -> float:
        """Return the mean of the logarithms of the densities."""
        return _mean_logarithm(self.densities()[0])

    def _moved(self, shape: Float, directions: Float, amounts: Float) -> Float:
        """Return a shape moved in directions (m, m), one a column, within the limits of shapes."""
        whole = np.empty(shape.size)
        _kernels.deform(shape, directions, amounts, whole)
        return self.pdm.clamp(whole)

    def result(self, expansion: Float | None = None) -> FitResult:
        """Return what the fit has found, the shape expanded as `fit_starts` says."""
        densities, landmark_likelihoods = self.densities()
        shape = self.shape
        if self.prior is not None:
            shape = self._moved(self.start.shape, self.prior.basis, shape)
        if expansion is not None:
            shape = self._moved(shape, expansion, shape)
        parameters = Parameters(self.pose, shape)
        landmarks = self.pdm.landmarks_2d(parameters)
        self.failure = self.failure or astray(landmarks)
        return FitResult(
            parameters,
            landmarks,
            self.view,
            self.iterations,
            self.converged,
            _mean_logarithm(densities),
            landmark_likelihoods,
            self.failure,
        )


def _mean_logarithm(densities: Float) -> float:
    return float(np.log(densities + LIKELIHOOD_FLOOR).sum()) / densities.size


def astray(landmarks: Float) -> str | None:
    """Return why landmarks cannot be those of a face in any image, or None."""
    bounds = np.empty(4)
    _kernels.extent(landmarks, bounds)
    # Also true for NaN.
    if not all(abs(bound) <= MAX_COORDINATE for bound in bounds.tolist()):
        return f"the fit went astray: landmarks are not finite, or further off than {MAX_COORDINATE:g} px"
    return None


def fit(
    pdm: PDM,
    scales: Sequence[PatchScale],
    settings: FitParameters,
    image: NDArray[Any],
    start: Parameters,
    depth: NDArray[Any] | None = None,
) -> FitResult:
    """Fit the model to an image from one start.

    Parameters
    ----------
    pdm : PDM
    scales : sequence of PatchScale
        Coarse to fine.
    settings : FitParameters
        With a window for each scale.
    image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
        Grey or BGR.
    start : Parameters
        Not changed.
    depth : ndarray, shape (H, W, 1), optional
        For models with neurons that work on depth.

    Returns
    -------
    FitResult

    Raises
    ------
    ImageError
        If the image holds values around the face that are not finite.
    """
    one = _Fit(pdm, settings.iterations, image, start, depth, None, room_for_grey(image))
    one.run(levels_of(pdm.eigenvalues, scales, settings))
    return one.result()


def fit_starts(
    pdm: PDM,
    levels: Sequence[Level],
    iterations: int,
    image: NDArray[Any],
    starts: Sequence[Parameters],
    depth: NDArray[Any] | None = None,
    *,
    prior: ShapePrior | None = None,
    expansion: Float | None = None,
    kept: Sequence[int] = STARTS_KEPT,
    exhaustive: bool = False,
) -> tuple[FitResult, int]:
    """Fit the model to an image from several starts and return the fit with the highest likelihood.

    The starts are compared by a rigid pass at the coarsest scale with every fourth landmark, and the most
    likely ones after each scale; only the best go on, and come out as they would alone.

    Parameters
    ----------
    pdm, image, depth
        As for `fit`.
    levels : sequence of Level
        See `levels_of`.
    iterations : int
        At most so many updates a pass.
    starts : sequence of Parameters
    prior : ShapePrior, optional
        Of the true shape about each start's, whose variances the levels have; otherwise the PDM's own, about
        the mean shape.
    expansion : ndarray, shape (m, m), float64, optional
        Times the shape that is found it is what is added to it, see `pyclnf.training.shape_expansion`. The
        likelihoods are those of the landmarks before.
    kept : sequence of int
        How many go on after the first look, after the coarsest scale, and so on; the last number is that of
        all scales that follow.
    exhaustive : bool
        Run all starts to their end.

    Returns
    -------
    result : FitResult
    index : int
        Of the start that won.
    """
    # A single fit at a single scale reads its part of the image but once.
    grey = room_for_grey(image) if len(starts) * len(levels) > 1 else NOTHING_KEPT
    fits = [_Fit(pdm, iterations, image, start, depth, prior, grey) for start in starts]
    left = list(range(len(fits)))
    if not exhaustive and len(fits) > kept[0]:
        look = levels[0].for_a_look()
        likelihoods = [one.look(look) for one in fits]
        left = sorted(left, key=lambda i: -likelihoods[i])[: kept[0]]
    for level, most in zip(levels, chain(kept[1:], repeat(kept[-1])), strict=False):
        for i in left:
            if fits[i].failure is None:
                fits[i].run([level])
        if not exhaustive:
            left = _most_likely(fits, left, most)
    (best,) = _most_likely(fits, left, 1)
    return fits[best].result(expansion), best


def _most_likely(fits: Sequence[_Fit], indices: list[int], count: int) -> list[int]:
    """Return the indices of the most likely fits, those that have failed last."""
    if len(indices) <= count:
        return indices
    rank = {i: (fits[i].failure is not None, -fits[i].likelihood()) for i in indices}
    return sorted(indices, key=rank.__getitem__)[:count]


def levels_of(variances: Float, scales: Sequence[PatchScale], settings: FitParameters) -> list[Level]:
    """Return the scales that are not skipped, with the numbers of their fits.

    Parameters
    ----------
    variances : ndarray, shape (m,), float64
        Those of the shape's prior: the PDM's eigenvalues, or a `ShapePrior`'s.
    scales : sequence of PatchScale
        Coarse to fine.
    settings : FitParameters
        With a window for each scale.

    Raises
    ------
    ParameterError
        If it has too few.
    """
    if len(settings.windows) < len(scales):
        raise ParameterError(
            f"the model has {len(scales)} scales: give a window for each, not {settings.windows}"
        )
    used = (index for index in range(len(scales)) if settings.windows[index])
    return [Level(variances, scales, settings, index) for index in used]
