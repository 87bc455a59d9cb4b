"""The fitting loop: non-uniform regularised landmark mean-shift (NU-RLMS).

Source: Baltrusaitis, Robinson, Morency, ICCV Workshops 2013, section 4;
Saragih, Lucey, Cohn, IJCV 2011, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf.errors import ParameterError
from pyclnf.patch_experts import area_matrices, procrustes_similarity
from pyclnf.pdm import MAX_DEVIATIONS, Parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyclnf.patch_experts import PatchScale
    from pyclnf.pdm import PDM

    Float = NDArray[np.float64]

__all__ = ["MULTI_VIEW_STARTS", "FitParameters", "FitResult", "fit"]

# Faces below this many px per mm are too small for the coarsest experts.
MIN_FACE_SCALE = 0.25
# Landmarks that moved less than this (px, L2 norm over all) have converged.
TOLERANCE = 0.01
# Added to likelihoods before the logarithm.
LIKELIHOOD_FLOOR = 1e-8
# A window's side may not exceed this: the cost grows with its fourth power.
MAX_WINDOW = 31

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
    """

    windows: tuple[int, ...] = (15, 13, 11, 11)
    iterations: int = 10
    sigma: float = 1.25
    reg_factor: float = 35.0
    weight_factor: float = 2.5

    def __post_init__(self) -> None:
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
        for name, low in (("sigma", 0.1), ("reg_factor", 0.0), ("weight_factor", 0.0)):
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

    def changed(self, **numbers: Any) -> FitParameters:
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
    """

    parameters: Parameters
    landmarks: Float
    view: int
    iterations: int
    converged: bool
    likelihood: float
    landmark_likelihoods: Float = field(repr=False)
    failure: str | None = None


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
    pose, shape = start.pose.copy(), start.shape.copy()
    limits = MAX_DEVIATIONS * np.sqrt(pdm.eigenvalues)
    patch_scales = [scale.scale for scale in scales]
    iterations, converged, failure = 0, False, None
    for index, scale in enumerate(scales):
        window = settings.windows[index]
        if window == 0:
            continue
        reg_factor, sigma, weight_factor = settings.at_scale(patch_scales, index)
        current = Parameters(pose, shape)
        base = pdm.landmarks_2d(current)
        reference = scale.scale * pdm.shape_3d(shape)[:, :2]
        to_reference = procrustes_similarity(base, reference)
        to_image: Float = np.linalg.inv(to_reference).astype(np.float64)
        view = scale.nearest_view(pose[1:4])
        experts = scale.view(view)
        side = window + scale.support(view)[0] - 1
        responses = scale.responses(
            view, window, image, area_matrices(base[experts.landmarks], to_image, side), depth
        )
        weights = (
            weight_factor * experts.confidences if weight_factor > 0 else np.ones(experts.landmarks.size)
        )
        offsets = np.empty((experts.landmarks.size, 2))
        for rigid in (True, False):
            done, converged = _kernels.nu_rlms_pass(
                pdm.mean,
                pdm.components,
                reg_factor / pdm.eigenvalues,
                limits,
                pose,
                shape,
                base,
                experts.landmarks,
                responses,
                to_reference,
                to_image,
                gaussian_kernel(window, sigma),
                weights,
                rigid,
                settings.iterations,
                TOLERANCE,
                offsets,
            )
            iterations += done
        if not pose[0] >= MIN_FACE_SCALE:
            failure = (
                f"the face is too small: {pose[0]:.3g} px per mm, at least {MIN_FACE_SCALE} are needed "
                f"(about {MIN_FACE_SCALE * 140:.0f} px across)"
            )
            break
    density = np.empty(experts.landmarks.size)
    _kernels.likelihoods(responses, offsets, sigma, density)
    landmark_likelihoods = np.full(pdm.n_landmarks, np.nan)
    landmark_likelihoods[experts.landmarks] = density
    parameters = Parameters(pose, shape)
    return FitResult(
        parameters,
        pdm.landmarks_2d(parameters),
        view,
        iterations,
        converged,
        float(np.log(density + LIKELIHOOD_FLOOR).mean()),
        landmark_likelihoods,
        failure,
    )
