"""CLNF: a model with a parameter set, fitted to faces in images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from pyclnf import nu_rlms
from pyclnf.errors import BoxError, ImageError, ModelError, ParameterError
from pyclnf.model import Model, load_model
from pyclnf.nu_rlms import MULTI_VIEW_STARTS, FitParameters, FitResult
from pyclnf.pdm import check_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from pyclnf.pdm import Parameters

    Starts = Literal["frontal", "multiview"] | Sequence[Sequence[float]] | NDArray[Any]

__all__ = ["CLNF", "FitInfo"]


class FitInfo(TypedDict):
    """What a fit tells besides the landmarks.

    Attributes
    ----------
    success : bool
        False if the fit failed; the landmarks should then not be used.
    failure : str or None
        Why it failed.
    converged : bool
        Whether the last pass ended because the landmarks no longer moved (less than 0.01 px over
        all), rather than at its limit of iterations. A good fit need not have converged: the
        usual limits are 5 and 10.
    iterations : int
        Updates done, all passes and scales of the winning start together.
    likelihood : float
        Mean over the visible landmarks of the logarithm of their likelihoods. Comparable between
        fits of one model and parameter set.
    landmark_likelihoods : ndarray, shape (n,), float64
        Kernel density of each landmark in its response map; NaN where the view does not see it.
    visible : ndarray, shape (n,), bool
        Landmarks that the view of the last scale sees.
    view : int
        View of the experts at the last scale.
    start : int
        Index of the start that won, in the order of `starts`.
    params : Parameters
        Pose (s, rx, ry, rz, tx, ty) and shape of the face.
    landmarks_3d : ndarray, shape (n, 3), float64
        The fitted shape, turned as the head is, in mm: x right, y down, z away from the camera.
    """

    success: bool
    failure: str | None
    converged: bool
    iterations: int
    likelihood: float
    landmark_likelihoods: NDArray[np.float64]
    visible: NDArray[np.bool_]
    view: int
    start: int
    params: Parameters
    landmarks_3d: NDArray[np.float64]


class CLNF:
    """Constrained Local Neural Fields: 68 landmarks from an image and a box.

    All state of a fit is local: a CLNF is safe to share between threads, and
    a fit depends on its image and box alone. Picklable.

    Parameters
    ----------
    model : Model, str or Path
        A model, an ``.npz`` file, OpenFace's model folder, or a main ``.txt`` file in it.
    parameters : {"image", "video", "tracking"} or FitParameters
        How to fit: thoroughly (photographs), fast (the first frame of a video), or from a start
        close to the face (a video's later frames).
    model_dir : str or Path, optional
        OpenFace's model folder; another way to give `model`.
    scale : float, optional
        Use the patch experts of one scale only, px per mm.
    starts : {"frontal", "multiview"} or sequence of (rx, ry, rz)
        Rotations to start from, radians. With several the fit with the highest likelihood wins;
        ``"multiview"`` is the eleven that OpenFace uses for faces of unknown pose.
    windows, iterations, sigma, reg_factor, weight_factor : optional
        Replace a number of the parameter set, see `FitParameters`.

    Raises
    ------
    ModelError
        If the model is missing or damaged.
    ParameterError
        If a parameter is unknown or out of its range.

    Examples
    --------
    >>> landmarks, info = CLNF("model.npz").fit(image, (210, 70, 160, 180))  # doctest: +SKIP
    >>> landmarks.shape  # doctest: +SKIP
    (68, 2)
    """

    def __init__(
        self,
        model: Model | str | Path | None = None,
        *,
        parameters: str | FitParameters = "image",
        model_dir: str | Path | None = None,
        scale: float | None = None,
        starts: Starts = "frontal",
        windows: Sequence[int] | None = None,
        iterations: int | None = None,
        sigma: float | None = None,
        reg_factor: float | None = None,
        weight_factor: float | None = None,
    ) -> None:
        if (model is None) == (model_dir is None):
            raise ModelError("give a model: CLNF(PATH) with an .npz file or OpenFace's model folder")
        source = model if model is not None else model_dir
        whole = source if isinstance(source, Model) else load_model(source)  # type: ignore[arg-type]
        settings = FitParameters.named(parameters) if isinstance(parameters, str) else parameters
        if not isinstance(settings, FitParameters):
            raise ParameterError(f"parameters is a name or a FitParameters, not {parameters!r}")
        numbers = {
            "windows": windows,
            "iterations": iterations,
            "sigma": sigma,
            "reg_factor": reg_factor,
            "weight_factor": weight_factor,
        }
        settings = settings.changed(**{name: value for name, value in numbers.items() if value is not None})
        if len(settings.windows) < len(whole.scales):
            raise ParameterError(
                f"the model has {len(whole.scales)} scales: give a window for each, not {settings.windows}"
            )
        self.model = whole
        if scale is not None:
            self.model = whole.restrict(scale)
            # The scale keeps the window that it has among the others.
            index = [own.scale for own in whole.scales].index(self.model.scales[0].scale)
            settings = replace(settings, windows=settings.windows[index : index + 1])
        if not any(settings.windows[: len(self.model.scales)]):
            raise ParameterError(f"the windows {settings.windows} skip every scale of the model")
        self.parameters = settings
        self.starts = _check_starts(starts)

    def __repr__(self) -> str:
        return f"CLNF({self.model!r}, parameters={self.parameters!r})"

    def fit(
        self,
        image: NDArray[Any],
        box: ArrayLike,
        *,
        starts: Starts | None = None,
        depth: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.float32], FitInfo]:
        """Find the landmarks of the face in a box.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8, float32 or float64
            Grey or BGR (as OpenCV reads), 0..255. Any strides; read only. The alpha of
            (H, W, 4) is ignored.
        box : array_like, shape (4,)
            (x, y, w, h), px, tight around the landmarks (brows to chin, jaw to jaw). It may
            lie partly outside the image.
        starts : optional
            Instead of those of the CLNF.
        depth : ndarray, shape (H, W), float32 or float64, optional
            For models with neurons that work on depth.

        Returns
        -------
        landmarks : ndarray, shape (n, 2), float32
            Pixels, 0-based, an integer is a pixel's centre; x right, y down.
        info : FitInfo

        Raises
        ------
        ImageError
            If the image has another shape or dtype, or holds NaN or inf around the face.
        BoxError
            If the box is not four finite numbers, has no area or lies outside the image.
        """
        pixels = as_pixels(image)
        x, y, w, h = check_box(box)
        height, width = pixels.shape[:2]
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise BoxError(f"the box {(x, y, w, h)} lies outside the image of {width} x {height} px")
        depths = None if depth is None else _as_depth(depth, (height, width))
        rotations = self.starts if starts is None else _check_starts(starts)
        results = [
            nu_rlms.fit(
                self.model.pdm,
                self.model.scales,
                self.parameters,
                pixels,
                self.model.pdm.from_box((x, y, w, h), rotation),
                depths,
            )
            for rotation in rotations
        ]
        best = max(range(len(results)), key=lambda i: (results[i].failure is None, results[i].likelihood))
        return results[best].landmarks.astype(np.float32), self._info(results[best], best)

    def _info(self, result: FitResult, start: int) -> FitInfo:
        return FitInfo(
            success=result.failure is None,
            failure=result.failure,
            converged=result.converged,
            iterations=result.iterations,
            likelihood=result.likelihood,
            landmark_likelihoods=result.landmark_likelihoods,
            visible=np.isfinite(result.landmark_likelihoods),
            view=result.view,
            start=start,
            params=result.parameters,
            landmarks_3d=self.model.pdm.landmarks_3d(result.parameters),
        )


def as_pixels(image: NDArray[Any]) -> NDArray[Any]:
    """Return the image as (H, W, 1 or 3) in a dtype that the kernels read, without copying.

    Raises
    ------
    ImageError
        If the image has another shape or dtype.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"an image is a NumPy array, not {type(image).__name__}: read files with cv2.imread, "
            "which returns None for a file that it cannot read"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ImageError(f"an image is grey (H, W) or BGR (H, W, 3), not an array of shape {image.shape}")
    if 0 in image.shape:
        raise ImageError(f"the image is empty: its shape is {image.shape}")
    if image.dtype == np.uint16:
        raise ImageError("the image has 16 bits: scale it to 0..255, e.g. (image / 257).astype(np.uint8)")
    if image.dtype not in (np.uint8, np.float32, np.float64):
        raise ImageError(f"an image is uint8, or float32 or float64 in 0..255, not {image.dtype}")
    return image[:, :, :3]


def _as_depth(depth: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if (
        not isinstance(depth, np.ndarray)
        or depth.shape != size
        or depth.dtype not in (np.float32, np.float64)
    ):
        raise ImageError(f"depth is a float array of the image's size {size}")
    return depth[:, :, None]


def _check_starts(starts: Starts) -> tuple[tuple[float, float, float], ...]:
    """Return the starting rotations as tuples of three angles."""
    if isinstance(starts, str):
        named = {"frontal": MULTI_VIEW_STARTS[:1], "multiview": MULTI_VIEW_STARTS}
        if starts not in named:
            raise ParameterError(f"starts is one of {', '.join(named)} or rotations (k, 3), not {starts!r}")
        return named[starts]
    try:
        rotations = np.array(starts, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"starts are rotations (k, 3) in radians, not {starts!r}") from error
    if (
        rotations.ndim != 2
        or rotations.shape[1] != 3
        or not len(rotations)
        or not np.isfinite(rotations).all()
    ):
        raise ParameterError(f"starts are rotations (k, 3) in radians, finite, not {starts!r}")
    return tuple((float(rx), float(ry), float(rz)) for rx, ry, rz in rotations)
