"""CLNF: a model with a parameter set, fitted to faces in images."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from pyclnf import nu_rlms
from pyclnf._limits import MAX_FACES_AT_ONCE, MAX_NUMBER
from pyclnf._lying import ROLLS, Quarter, counts_lying, find_filling, find_lying, nearest_roll, roll_of
from pyclnf.camera import Camera, check_camera
from pyclnf.confidence import confidence
from pyclnf.crop import Crop
from pyclnf.detection import find_faces, make_detector
from pyclnf.errors import BoxError, ImageError, ModelError, ParameterError, PyclnfError
from pyclnf.face import DOUBTFUL, Face, failure_of, is_among
from pyclnf.images import as_pixels
from pyclnf.model import Model, load_model
from pyclnf.nu_rlms import MULTI_VIEW_STARTS, FitParameters, FitResult
from pyclnf.patch_experts import DEPTH
from pyclnf.pdm import box_of, check_box, euler_angles, euler_to_matrix
from pyclnf.start import BOX_CHANGES, Guesses, LearnedStart
from pyclnf.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from pyclnf.detection import Detector
    from pyclnf.pdm import Parameters, ShapePrior
    from pyclnf.video import Video

    VideoSource = str | Path | int | Sequence[str | Path] | Video
    _Starts = Literal["learned"] | Sequence[tuple[float, float, float]]
    Starts = Literal["learned", "frontal", "multiview"] | Sequence[Sequence[float]] | NDArray[Any]

__all__ = ["CLNF", "FitInfo"]

# Side of the reduced surroundings of a large face: in extents of the landmarks, and at most, px.
CROP_MARGIN, MAX_CROP = 1.8, 1024

# Fits with a lower likelihood show no face (models/recipe/failure_bound.py finds it for a model).
MIN_LIKELIHOOD = -0.75

# Doubtful fits show no face where the looks at the image and at its mirror image lie further apart, mm: of
# rendered faces hardly one does, of noise nearly all (`pyclnf.training.calibrate` finds it for a model).
MAX_DISAGREEMENT = 13.0

# A face that is tilted by more, radians, is fitted once more from there: a start that is off by 45 degrees
# may leave the jaw behind.
MAX_TILT = math.radians(30.0)

# The numbers of the fits of so many settings are kept: a caller may try many.
_KEPT_LEVELS = 16

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class FitInfo(TypedDict):
    """What a fit tells besides the landmarks.

    Attributes
    ----------
    success : bool
        False if the fit failed or shows no face: its likelihood is below `CLNF.min_likelihood`, and its
        confidence below 0.5, unknown, or of a start that did not look at the mirror image, too. The landmarks
        should then not be used.
    failure : str or None
        Why it failed.
    converged : bool
        Whether the last pass ended because the landmarks no longer moved (less than 0.01 px over
        all), rather than at its limit of iterations. A good fit need not have converged: the
        limits are low, from 2 to 10 (`FitParameters`).
    iterations : int
        Updates done, all passes and scales of the winning start together.
    likelihood : float
        Mean over the visible landmarks of the logarithm of their likelihoods. Comparable between
        fits of one model and parameter set.
    confidence : float or None
        Probability, 0..1, that the landmarks are right: below 0.5 they should not be trusted. None if
        the model is not calibrated for the parameter set.
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

    Examples
    --------
    >>> import cv2
    >>> from pyclnf import CLNF
    >>> image = cv2.imread("examples/rendered_face.jpg")
    >>> _, info = CLNF().fit(image, (165, 108, 222, 267))
    >>> info["success"], info["failure"], info["confidence"] > 0.5
    (True, None, True)
    >>> info["params"].pose.shape, info["landmarks_3d"].shape
    ((6,), (68, 3))
    """

    success: bool
    failure: str | None
    converged: bool
    iterations: int
    likelihood: float
    confidence: float | None
    landmark_likelihoods: NDArray[np.float64]
    visible: NDArray[np.bool_]
    view: int
    start: int
    params: Parameters
    landmarks_3d: NDArray[np.float64]


class CLNF:
    """Constrained Local Neural Fields: 68 landmarks from an image and a box.

    All state of a fit is local: a CLNF is safe to share between threads, and
    a fit depends on its image and box alone. Picklable. A subclass that fits in
    another way overrides `fit_from`, by which `fit`, `fit_many`, `detect`, `track` and
    `Tracker` all fit.

    Parameters
    ----------
    model : Model, str or Path, optional
        A model, the name of a stored one (``"openface"``), an ``.npz`` file, OpenFace's model
        folder, or a main ``.txt`` file in it. By default the model that is shipped.
    parameters : {"image", "video", "tracking"} or FitParameters
        How to fit: thoroughly (photographs), fast (the first frame of a video), or from a start
        close to the face (a video's later frames).
    model_dir : str or Path, optional
        OpenFace's model folder; another way to give `model`.
    scale : float, optional
        Use the patch experts of one scale only, px per mm: the windows of the others are 0.
    starts : {"learned", "frontal", "multiview"} or sequence of (rx, ry, rz)
        Where to start from. ``"learned"``: pose and shape as the model's learned start sees them in
        the image (the default of a model that has one). Otherwise the mean shape at rotations,
        radians: ``"frontal"`` (the default of other models) is one, ``"multiview"`` the eleven that
        OpenFace uses for faces of unknown pose. Of several the fit with the highest likelihood wins.
    exhaustive : bool
        Run every start to its end, as OpenFace does. Otherwise the starts are compared early and
        only the best go on (three, or one of the learned start's guesses): two fifths of the time, and
        nearly always the same winner.
    windows, iterations, sigma, reg_factor, weight_factor, response_power, min_face_scale : optional
        Replace a number of the parameter set, see `FitParameters`; in the sets for videos, too, but for the
        windows, which are those of the set that *parameters* names. For other numbers than the model's the
        confidence is not calibrated: it is None.

    Raises
    ------
    ModelError
        If the model is missing or damaged.
    ParameterError
        If a parameter is unknown or out of its range.

    Examples
    --------
    >>> import cv2
    >>> from pyclnf import CLNF
    >>> image = cv2.imread("examples/rendered_face.jpg")
    >>> clnf = CLNF()  # the model in the package; CLNF("openface") or a path for others
    >>> landmarks, info = clnf.fit(image, (165, 108, 222, 267))
    >>> landmarks.shape, info["success"]
    ((68, 2), True)
    """

    def __init__(
        self,
        model: Model | str | Path | None = None,
        *,
        parameters: str | FitParameters = "image",
        model_dir: str | Path | None = None,
        scale: float | None = None,
        starts: Starts | None = None,
        exhaustive: bool = False,
        windows: Sequence[int] | None = None,
        iterations: int | None = None,
        sigma: float | None = None,
        reg_factor: float | None = None,
        weight_factor: float | None = None,
        response_power: int | None = None,
        min_face_scale: float | None = None,
    ) -> None:
        if model is not None and model_dir is not None:
            raise ModelError("give model or model_dir, not both")
        source = model if model is not None else model_dir
        self.model = source if isinstance(source, Model) else load_model(source)
        numbers = {
            "windows": windows,
            "iterations": iterations,
            "sigma": sigma,
            "reg_factor": reg_factor,
            "weight_factor": weight_factor,
            "response_power": response_power,
            "min_face_scale": min_face_scale,
        }
        self._given = {name: value for name, value in numbers.items() if value is not None}
        self._named = parameters
        self._only = None if scale is None else _index_of(self.model, scale)
        self._detector: Detector | None = None
        self._expansion = _expansion(self.model)
        self._levels: dict[tuple[FitParameters, ShapePrior | None], list[nu_rlms.Level]] = {}
        has_start = any(name.startswith("start/") for name in self.model.arrays)
        self.learned_start = LearnedStart(self.model.pdm, self.model.arrays) if has_start else None
        self.hypotheses, self.mirrored = self.looks(parameters)
        self.starts: _Starts = self._check_starts(
            ("learned" if has_start else "frontal") if starts is None else starts
        )
        self._near, self._far = (
            self._settings(parameters, self._given, learned=learned) for learned in (True, False)
        )
        self.parameters = self._near if self.starts == "learned" else self._far
        self.parameter_set = self.calibrated_set(parameters)
        self.exhaustive = bool(exhaustive)

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

        If the fit of an upright face from a learned start fails, one that lies or is upside down is looked
        for, in steps of 45 degrees. Such a fit counts if its confidence is 0.5 or more; otherwise the upright
        one is returned: a box without a face takes nine times as long as one with a face. A head that is
        tilted by more than 30 degrees is looked at a second time. Other starts are tried as they are.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8, float32 or float64
            Grey or BGR (as OpenCV reads), 0..255. Any strides; read only. The alpha of
            (H, W, 4) is ignored.
        box : array_like, shape (4,)
            (x, y, w, h), px, tight around the landmarks (brows to chin, jaw to jaw). It may
            lie partly outside the image. One that is off is put right by the learned start,
            as long as the face has its middle in it.
        starts : optional
            Instead of those of the CLNF.
        depth : ndarray, shape (H, W), float32 or float64, optional
            For models with neurons that work on depth; others have no use for it.

        Returns
        -------
        landmarks : ndarray, shape (n, 2), float32
            Pixels, 0-based, an integer is a pixel's centre; x right, y down.
        info : FitInfo

        Raises
        ------
        ImageError
            If the image has another shape or dtype, floats in another range, or NaN or inf around the face.
        BoxError
            If the box is not four finite numbers, has no area or lies outside the image.
        ParameterError
            If `starts` are wrong.
        """
        return self._fit(image, box, starts, depth)

    def _fit(
        self,
        image: NDArray[Any],
        box: ArrayLike,
        starts: Starts | None = None,
        depth: NDArray[Any] | None = None,
        *,
        again: bool = False,
        roll: float | None = None,
    ) -> tuple[NDArray[np.float32], FitInfo]:
        """Do what `fit` does; again: the learned start looks a second time, see `LearnedStart.hypotheses`.

        roll: how far the face is rolled clockwise, radians, if that is known.
        """
        pixels = as_pixels(image)
        x, y, w, h = check_box(box)
        height, width = pixels.shape[:2]
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise BoxError(f"the box {(x, y, w, h)} lies outside the image of {width} x {height} px")
        depths = None if depth is None else _as_depth(depth, (height, width))
        if depths is not None and not self._uses_depth:
            depths = None
        where = self.starts if starts is None else self._check_starts(starts)
        settings, bound = self._near if where == "learned" else self._far, self.min_likelihood

        def fit(roll: float) -> tuple[FitResult, int]:
            return self.fit_rolled(pixels, box, roll, settings, bound, where, depth=depths, again=again)

        result, start = self.fit_any_way_up(fit, self.parameter_set, bound, where, roll)
        landmarks = result.landmarks
        if result.failure is not None:
            # They may be too large for float32.
            landmarks = np.clip(landmarks, -_MAX_FLOAT32, _MAX_FLOAT32)
        return landmarks.astype(np.float32), self._info(result, start)

    def fit_rolled(
        self,
        pixels: NDArray[Any],
        box: ArrayLike,
        roll: float,
        settings: FitParameters,
        bound: float,
        starts: _Starts | None = None,
        looks: tuple[int, bool] | None = None,
        *,
        depth: NDArray[Any] | None = None,
        again: bool = False,
    ) -> tuple[FitResult, int]:
        """Fit a face in a box that is rolled by about so much.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, 1 or 3)
            As `as_pixels` returns it.
        box : array_like, shape (4,)
            Of the image as it is.
        roll : float
            How far the face is rolled clockwise in the image, radians.
        settings : FitParameters
        bound : float
            The least likelihood of a face.
        starts, looks, depth, again : optional
            See `starts_in` and `fit_from`.

        Returns
        -------
        result : FitResult
            In the image as it is.
        index : int
            Of the start that won.
        """
        quarter = Quarter.of(roll, pixels)
        turned, around = quarter.image(pixels), quarter.box_in(check_box(box)) if quarter.count else box
        depth = None if depth is None else quarter.image(depth)
        found = self.starts_in(turned, around, starts, looks, again=again, roll=quarter.rest)
        result, start = self.fit_from(turned, found, settings, depth)
        return quarter.result_out(self.looked_at_again(turned, found, result, bound)), start

    def fit_any_way_up(
        self,
        fit: Callable[[float], tuple[FitResult, int]],
        parameter_set: str,
        bound: float,
        starts: _Starts | None = None,
        roll: float | None = None,
    ) -> tuple[FitResult, int]:
        """Fit an upright face, and one that lies if that fails.

        One that is found tilted by more than 30 degrees is fitted once more from there. Starts that are not
        learned are tried for the image as it is, or for the roll that is known, and no others: so fits with
        OpenFace's models fail where OpenFace's do.

        Parameters
        ----------
        fit : callable
            From a roll, radians, to what `fit_rolled` returns.
        parameter_set : str
            By which the fits are calibrated, see `calibrated_set`.
        bound : float
            The least likelihood of a face.
        starts : optional
            Instead of those of the CLNF.
        roll : float, optional
            How far the face is rolled, if that is known about.

        Returns
        -------
        result : FitResult
            The best of those that can be trusted; without any the first one.
        index : int
        """
        fits: dict[float, tuple[FitResult, int]] = {}

        def at(roll: float) -> tuple[FitResult, int]:
            if roll not in fits:
                fits[roll] = fit(roll)
            return fits[roll]

        def rank(found: tuple[FitResult, int]) -> tuple[bool, float, float]:
            result, known = found[0], self.confidence_of(found[0], parameter_set)
            failure = failure_of(result, bound, known)
            return counts_lying(failure, known, result.likelihood - bound), known or 0.0, result.likelihood

        def settled(found: tuple[FitResult, int]) -> tuple[FitResult, int]:
            # A start that is off by an eighth leaves the jaw behind: once more as the face was found.
            again = at(nearest_roll(roll_of(found[0].parameters)))
            return again if rank(again)[0] else found

        first = at(roll or 0.0)
        if roll is None:
            if (self.starts if starts is None else starts) != "learned":
                return first
            result = first[0]
            if failure_of(result, bound) is None or rank(first)[0]:  # most are likely, and need no rank
                return settled(first) if abs(roll_of(result.parameters)) > MAX_TILT else first
            if result.parameters.pose[0] < self.parameters.min_face_scale:  # it is, however it lies
                return first
        tried = map(at, ROLLS if roll is None else (roll,))
        return max((settled(found) for found in tried if rank(found)[0]), key=rank, default=first)

    def starts_in(
        self,
        pixels: NDArray[Any],
        box: ArrayLike,
        starts: _Starts | None = None,
        looks: tuple[int, bool] | None = None,
        *,
        again: bool = False,
        roll: float = 0.0,
    ) -> list[Parameters]:
        """Return the parameters from which a fit to a box starts.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, 1 or 3)
            As `as_pixels` returns it.
        box : array_like, shape (4,)
        starts, looks : optional
            Instead of those of the CLNF, see `looks`.
        again : bool
            A learned start looks a second time, around what it has found.
        roll : float
            How far the face is rolled clockwise, radians.

        Returns
        -------
        list of Parameters
        """
        where = self.starts if starts is None else starts
        if where == "learned":
            assert self.learned_start is not None
            count, mirrored = (self.hypotheses, self.mirrored) if looks is None else looks
            return self.learned_start.hypotheses(
                pixels, box, count, mirrored=mirrored, again=again, roll=roll
            )
        return [self.model.pdm.from_box(box, _rolled(rotation, roll)) for rotation in where]

    def start_near(self, pixels: NDArray[Any], parameters: Parameters) -> list[Parameters]:
        """Return from where a face is fitted that was about there, in the frame before for example.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, 1 or 3)
            As `as_pixels` returns it.
        parameters : Parameters

        Returns
        -------
        list of Parameters
            One: the learned start's `Guesses`, or the parameters as they are.
        """
        learned = self.learned_start if self.starts == "learned" else None
        if learned is None or not learned.follows:
            return [parameters]
        return learned.near(pixels, parameters)

    def fit_from(
        self,
        pixels: NDArray[Any],
        starts: Sequence[Parameters],
        settings: FitParameters,
        depth: NDArray[Any] | None = None,
    ) -> tuple[FitResult, int]:
        """Fit from given parameters, and return the best fit and the index of its start.

        A model made of small pictures says in its metadata the largest scale that it knows
        (``max_scale``, px per mm); larger faces are reduced to it first, by averaging.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, 1 or 3)
            As `as_pixels` returns it.
        starts : sequence of Parameters
            Of the learned start's `Guesses`, fewer are followed to the end, and the fits are held to them
            rather than to the mean shape, as far as the model knows their errors.
        settings : FitParameters
        depth : ndarray, shape (H, W, 1), optional

        Returns
        -------
        result : FitResult
        index : int

        Raises
        ------
        ImageError
            If the pixels have another shape, or values around the face that are not finite.
        ParameterError
            If there is no start, one is for another PDM, or the settings have too few windows.
        """
        if not starts:
            raise ParameterError("a fit needs a start, but there is none")
        guesses = starts if isinstance(starts, Guesses) else None
        learned = None if guesses is None else self.learned_start  # that has made them
        crop = None if depth is not None else self._reduced(pixels, starts)
        if crop is not None:
            pixels, starts = crop.pixels[:, :, None], [crop.parameters_in(start) for start in starts]
        prior = None if learned is None else learned.prior
        result, index = nu_rlms.fit_starts(
            self.model.pdm,
            self._levels_of(settings, prior),
            settings.iterations,
            pixels,
            starts,
            depth,
            prior=prior,
            expansion=self._expansion,
            kept=nu_rlms.GUESSES_KEPT if learned else nu_rlms.STARTS_KEPT,
            exhaustive=self.exhaustive,
        )
        changes: dict[str, Any] = {}
        if guesses is not None and guesses.disagreements is not None:
            changes["disagreement"] = guesses.disagreements[index]
        if crop is not None:
            landmarks = crop.points_out(result.landmarks)
            changes["parameters"] = crop.parameters_out(result.parameters)
            changes["landmarks"] = landmarks
            changes["failure"] = result.failure or nu_rlms.astray(landmarks)
        return replace(result, **changes), index

    def looked_at_again(
        self, pixels: NDArray[Any], starts: Sequence[Parameters], result: FitResult, bound: float
    ) -> FitResult:
        """Return a fit, as failed if it is doubtful and a second look sees no face there.

        Noise, too, has fits that are hardly likely, but its mirror image is not seen alike.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, 1 or 3)
            As `as_pixels` returns it.
        starts : sequence of Parameters
            Those of the fit. Only fits from the learned start's `Guesses` are looked at again; those that are
            made of the mirror image, too, have been.
        result : FitResult
        bound : float
            The least likelihood of a face.

        Returns
        -------
        FitResult
        """
        doubtful = result.failure is None and bound <= result.likelihood < bound + DOUBTFUL
        learned = self.learned_start
        if not (doubtful and isinstance(starts, Guesses)) or learned is None or learned.descent is None:
            return result
        # How far looks lie apart is a matter of the start: it is known where a confidence goes by it.
        if not any(name.endswith("_mirrored") for name in self.model.metadata.get("confidence", {})):
            return result
        apart = result.disagreement
        if apart is None:
            looks = learned.hypotheses(pixels, box_of(result.landmarks), mirrored=True, roll=starts.roll)
            assert looks.disagreements is not None
            (apart,) = looks.disagreements
        if apart <= self.max_disagreement:
            return result
        return replace(result, failure=f"the mirror image is seen otherwise, by {apart:.0f} mm: no face")

    def _levels_of(self, settings: FitParameters, prior: ShapePrior | None) -> list[nu_rlms.Level]:
        """Return the levels of a fit, which are made once."""
        levels = self._levels.get((settings, prior))
        if levels is None:
            variances = self.model.pdm.eigenvalues if prior is None else prior.variances
            levels = nu_rlms.levels_of(variances, self.model.scales, settings)
            if len(self._levels) >= _KEPT_LEVELS:
                self._levels.clear()
            self._levels[settings, prior] = levels
        return levels

    def _reduced(self, pixels: NDArray[Any], starts: Sequence[Parameters]) -> Crop | None:
        """Return the surroundings of a face that is larger than the model knows, reduced."""
        limit, start = self.model.metadata.get("max_scale"), starts[0]
        if not limit or not start.pose[0] > limit:
            return None
        if isinstance(starts, Guesses) and starts.fits_in_crop(limit):
            return starts.crop
        left, top, width, height = box_of(self.model.pdm.landmarks_2d(start)).tolist()
        # Room for the areas of interest around landmarks that a fit moves by half the face.
        length = CROP_MARGIN * max(width, height)
        if not math.isfinite(length):
            return None  # the fit will fail, and say so
        side = min(MAX_CROP, math.ceil(length * limit / float(start.pose[0])))
        return Crop.cut(pixels, (left + width / 2, top + height / 2), length, side)

    def fit_many(
        self,
        images: NDArray[Any] | Sequence[NDArray[Any]],
        boxes: ArrayLike | Sequence[ArrayLike],
        *,
        workers: int | None = None,
        starts: Starts | None = None,
    ) -> list[tuple[NDArray[np.float32], FitInfo] | PyclnfError]:
        """Find the landmarks of many faces, on several cores.

        Each result is the one that `fit` gives, whatever the number of workers.

        Parameters
        ----------
        images : ndarray or sequence of ndarray
            One image that holds all boxes, or an image for each box (a list, or an array
            (k, H, W, 3)).
        boxes : array_like, shape (k, 4)
            See `fit`.
        workers : int, optional
            Threads. Default: as many as this process has cores. The fits run without Python's
            lock most of the time.
        starts : optional
            Instead of those of the CLNF.

        Returns
        -------
        list
            In the order of the boxes, what `fit` returns: (landmarks, info). In its place the error
            that `fit` raised for this face, if it did, so that one bad image or box does not lose
            the others.

        Raises
        ------
        ParameterError
            If there are not as many images as boxes, `workers` is not a positive number, or `starts` are
            wrong.
        BoxError
            If the boxes are not a sequence of boxes.
        ImageError
            If the images are neither an array nor a sequence.

        Examples
        --------
        >>> import cv2
        >>> from pyclnf import CLNF
        >>> image = cv2.imread("examples/rendered_face.jpg")
        >>> found = CLNF().fit_many(image, [(165, 108, 222, 267), (900, 0, 50, 50)])
        >>> landmarks, info = found[0]
        >>> found[1]
        BoxError('the box (900.0, 0.0, 50.0, 50.0) lies outside the image of 512 x 512 px')
        """
        try:
            listed = list(boxes)  # type: ignore[arg-type]
        except TypeError as error:
            raise BoxError(f"boxes are (k, 4), not {boxes!r}") from error
        if any(np.isscalar(box) for box in listed):
            raise BoxError(f"boxes are (k, 4), not {boxes!r}: for one box use fit, or [box]")
        if len(listed) > MAX_FACES_AT_ONCE:
            raise ParameterError(
                f"{len(listed)} boxes at once, at most {MAX_FACES_AT_ONCE}: call fit_many for "
                "some of them at a time"
            )
        if isinstance(images, np.ndarray) and images.ndim != 4:
            each = [images] * len(listed)
        else:
            try:
                each = list(images)
            except TypeError as error:
                raise ImageError(f"images are arrays, not {type(images).__name__}") from error
        if len(each) != len(listed):
            raise ParameterError(f"{len(each)} images for {len(listed)} boxes: give one image, or one a box")
        if workers is None:
            workers = _available_cores()
        if not isinstance(workers, int | np.integer) or workers < 1:
            raise ParameterError(f"workers is a whole number from 1 on, not {workers!r}")
        if starts is not None:
            self._check_starts(starts)

        def one(index: int) -> tuple[NDArray[np.float32], FitInfo] | PyclnfError:
            try:
                return self.fit(each[index], listed[index], starts=starts)
            except PyclnfError as error:
                return error

        if workers == 1 or len(listed) < 2:
            return [one(index) for index in range(len(listed))]
        # Needed by no single fit, and a tenth of the time that importing this package takes.
        from concurrent.futures import ThreadPoolExecutor

        results: list[tuple[NDArray[np.float32], FitInfo] | PyclnfError | None] = [None] * len(listed)
        left: Iterator[int] = iter(range(len(listed)))
        lock = threading.Lock()

        def work() -> None:
            # One task a worker: a future a face would wake this thread, and take Python's lock, each time.
            while True:
                with lock:
                    index = next(left, None)
                if index is None:
                    return
                results[index] = one(index)

        with ThreadPoolExecutor(min(workers, len(listed)), thread_name_prefix="pyclnf") as pool:
            try:
                for future in [pool.submit(work) for _ in range(min(workers, len(listed)))]:
                    future.result()
            except BaseException:  # an interruption: the pool waits for its threads, which are not to go on
                left = iter(())
                raise
        return results  # type: ignore[return-value]

    def detect(
        self,
        image: NDArray[Any],
        *,
        detector: str | Detector | None = None,
        camera: Camera | None = None,
        lying: bool = True,
    ) -> list[Face]:
        """Find all faces of a photograph and their landmarks.

        Each face is fitted from its own box, whatever else is in this or an earlier image. The learned start
        looks twice, at the box and around what it has found there: landmarks hardly depend on the box.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8, float32 or float64
            Grey or BGR, 0..255.
        detector : str or callable, optional
            See `make_detector`. Default: MTCNN.
        camera : Camera, optional
            For the head's pose. Default: `Camera.from_size` of the image.
        lying : bool
            Look for faces that fill the image, and then for those that lie or are upside down, where no face
            is found upright: the detector is shown small copies of the image, with something around it and
            turned in seven ways. They count if their confidence is 0.5 or more.

        Returns
        -------
        list of Face
            The largest first; empty if the detector finds none. A face whose
            `success` is False was detected, but the fit failed.

        Raises
        ------
        ImageError
            If the image has another shape or dtype.
        DetectionError
            If the detector is missing or fails.
        ParameterError
            If the detector's name is unknown, or the camera is no `Camera`.

        Examples
        --------
        >>> import cv2
        >>> from pyclnf import CLNF
        >>> image = cv2.imread("examples/rendered_face.jpg")
        >>> for face in CLNF().detect(image):
        ...     print(face.landmarks.shape, face.success)
        (68, 2) True
        """
        check_camera(camera)
        height, width = as_pixels(image).shape[:2]
        camera = Camera.from_size(width, height) if camera is None else camera
        finder = self._detector_named(detector)
        boxes = find_faces(finder, image)
        # A detector's boxes differ with a little noise, and a single look with the box.
        fits = [self._fit(image, box, again=True) for box in boxes[:, :4]]
        if lying and not any(_is_upright(info) for _, info in fits):
            more = self._missed(finder, image)
            boxes = np.concatenate([boxes, *(box[None] for box, _ in more)])
            fits += [fit for _, fit in more]
        # Of several on one face the first, but none that failed before one that did not.
        kept: list[int] = []
        for i in sorted(range(len(fits)), key=lambda i: (not fits[i][1]["success"], i)):
            own = box_of(fits[i][0])
            if not is_among(own, [box_of(fits[other][0]) for other in kept]):
                kept.append(i)
        # The largest first.
        kept.sort(key=lambda i: (-boxes[i, 2] * boxes[i, 3], i))
        faces = []
        for face_id, i in enumerate(kept):
            landmarks, info = fits[i]
            face = Face.from_fit(
                self.model.pdm,
                info["params"],
                landmarks,
                camera,
                failure=info["failure"],
                likelihood=info["likelihood"],
                confidence=info["confidence"],
                landmark_likelihoods=info["landmark_likelihoods"],
                score=float(boxes[i, 4]),
                detected=True,
                face_id=face_id,
            )
            faces.append(face)
        return faces

    def _missed(
        self, detector: Detector, image: NDArray[Any]
    ) -> list[tuple[NDArray[np.float64], tuple[NDArray[np.float32], FitInfo]]]:
        """Return boxes with scores (5,) and fits of faces that fill the image or lie, the surest first.

        A face may be among them several times, as it is seen in several ways.
        """

        def is_sure(info: FitInfo) -> bool:
            margin = info["likelihood"] - self.min_likelihood
            return counts_lying(info["failure"], info["confidence"], margin)

        def seen(rows: NDArray[np.float64]) -> list[Any]:
            fits = ((row[:5], self._fit(image, row[:4], again=True, roll=float(row[5]))) for row in rows)
            return [one for one in fits if is_sure(one[1][1])]

        if filling := seen(find_filling(detector, image)):
            return sorted(filling, key=_doubts)
        found = sorted(seen(find_lying(detector, image)), key=_doubts)
        roll = Quarter.of(roll_of(found[0][1][1]["params"]), image).roll if found else 0.0
        if roll:
            # Others mostly lie as the surest does, and may be too small for small copies.
            found += seen(find_lying(detector, image, [roll], whole=True))
        return sorted(found, key=_doubts)

    def track(self, video: VideoSource, **options: Any) -> Generator[Face, None, None]:
        """Follow faces through a video.

        Parameters
        ----------
        video : str, Path, int, sequence of paths or Video
            A video file, a folder, pattern or list of images, or a camera's index; see `Video`.
        **options
            Of `Tracker`, e.g. ``max_faces=4`` or ``smooth=True``. It fits with
            the sets "video" and "tracking", whatever the set of this CLNF, unless told otherwise; numbers
            that replace those of this CLNF's set replace theirs, but for the windows.

        Yields
        ------
        Face
            At least one a frame, failed or not. The video is opened for the first, and closed after
            the last, or by the generator's ``close()``.

        Raises
        ------
        ParameterError, DetectionError
            At once, if an option is wrong, see `Tracker`.
        VideoError
            With the first face, if the video cannot be opened.

        Examples
        --------
        >>> from pyclnf import CLNF
        >>> frames = ["examples/rendered_face.jpg"] * 3  # or "video.mp4"
        >>> for face in CLNF().track(frames):
        ...     print(face.frame, face.face_id, face.success)
        0 0 True
        1 0 True
        2 0 True
        """
        options["detector"] = self._detector_named(options.get("detector"))
        return Tracker(self, **options).track(video)

    @property
    def min_likelihood(self) -> float:
        """Likelihood below which a fit that is not trusted is no face: of the model, or `MIN_LIKELIHOOD`."""
        return float(self.model.metadata.get("min_likelihood", MIN_LIKELIHOOD))

    @property
    def max_disagreement(self) -> float:
        """How far two looks at a doubtful face lie apart at most, mm: of the model, or `MAX_DISAGREEMENT`."""
        return float(self.model.metadata.get("max_disagreement", MAX_DISAGREEMENT))

    def confidence_of(self, result: FitResult, parameter_set: str) -> float | None:
        """Return the probability that a fit with a named parameter set is right, see `confidence`."""
        return confidence(self.model.metadata, self.model.pdm, result, parameter_set)

    def settings(self, parameters: str | FitParameters) -> FitParameters:
        """Return another parameter set with the scales and numbers of this CLNF.

        Parameters
        ----------
        parameters : {"image", "video", "tracking"} or FitParameters
            One that is given as `FitParameters` keeps its numbers.

        Raises
        ------
        ParameterError
            If the set is unknown or has too few windows.
        """
        return self._settings(parameters, self._numbers_for(parameters), learned=self.starts == "learned")

    def looks(self, parameters: str | FitParameters) -> tuple[int, bool]:
        """Return how the learned start looks at a box whose face a parameter set fits.

        Parameters
        ----------
        parameters : {"image", "video", "tracking"} or FitParameters

        Returns
        -------
        hypotheses : int
            How many guesses a fit compares.
        mirrored : bool
            Whether they are made of the mirror image, too.

        Raises
        ------
        ModelError
            If the model's own number of hypotheses is out of its range.
        """
        own = self.model.metadata.get("fit", {})
        numbers = own.get(parameters, {}) if isinstance(parameters, str) else {}
        count = int(numbers.get("hypotheses", 1))
        if not 1 <= count <= len(BOX_CHANGES):
            raise ModelError(f"the model's own 'hypotheses' are 1 to {len(BOX_CHANGES)}, not {count}")
        can_mirror = self.learned_start is not None and self.learned_start.descent is not None
        return count, can_mirror and bool(numbers.get("mirrored", False))

    def calibrated_set(self, parameters: str | FitParameters) -> str:
        """Return a set's name for `confidence_of`, or "": calibrated are the model's sets as they are."""
        named = isinstance(parameters, str) and self._only is None and not self._numbers_for(parameters)
        return str(parameters) if named else ""

    def _numbers_for(self, parameters: str | FitParameters) -> dict[str, Any]:
        """Return the numbers that this CLNF was given, as far as they hold for another set."""
        if not isinstance(parameters, str):
            return {}
        own = parameters == self._named
        return {name: value for name, value in self._given.items() if own or name != "windows"}

    def _settings(
        self, parameters: str | FitParameters, given: dict[str, Any], *, learned: bool
    ) -> FitParameters:
        """Return a parameter set with some numbers replaced, and windows for the scales in use alone."""
        found = _parameter_set(self.model, parameters, learned)
        if not isinstance(found, FitParameters):
            raise ParameterError(f"parameters is a name or a FitParameters, not {parameters!r}")
        found = found.changed(**given)
        count, windows = len(self.model.scales), found.windows
        if len(windows) < count:
            raise ParameterError(f"the model has {count} scales: give a window for each, not {windows}")
        used = range(count) if self._only is None else (self._only,)
        if not any(windows[i] for i in used):
            if not isinstance(parameters, str) or "windows" in given:
                raise ParameterError(f"the windows {windows} skip every scale that is to be used")
            # Tracking skips the coarsest scale, and a model's own numbers any: the windows of other models.
            usual = FitParameters.named("image" if parameters == "image" else "video").windows
            windows = tuple(usual[min(i, len(usual) - 1)] for i in range(count))
        return replace(found, windows=tuple(windows[i] if i in used else 0 for i in range(count)))

    @cached_property
    def _uses_depth(self) -> bool:
        """Whether a view has neurons that work on depth; all views are read, once."""
        scales = self.model.scales
        return any((scale.view(i).types == DEPTH).any() for scale in scales for i in range(scale.n_views))

    def _detector_named(self, detector: str | Detector | None) -> Detector:
        if detector is not None:
            return make_detector(detector)
        if self._detector is None:
            self._detector = make_detector()
        return self._detector

    def _check_starts(self, starts: Starts) -> _Starts:
        """Return the starting rotations as tuples of three angles, or "learned"."""
        if isinstance(starts, str):
            if starts == "learned":
                if self.learned_start is None:
                    raise ParameterError(f"the model {self.model.name!r} has no learned start: use 'frontal'")
                return "learned"
            named = {"frontal": MULTI_VIEW_STARTS[:1], "multiview": MULTI_VIEW_STARTS}
            if starts not in named:
                raise ParameterError(
                    f"starts is 'learned', 'frontal', 'multiview' or rotations (k, 3), not {starts!r}"
                )
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

    def _info(self, result: FitResult, start: int) -> FitInfo:
        known = self.confidence_of(result, self.parameter_set)
        failure = failure_of(result, self.min_likelihood, known)
        return FitInfo(
            success=failure is None,
            failure=failure,
            converged=result.converged,
            iterations=result.iterations,
            likelihood=result.likelihood,
            confidence=known,
            landmark_likelihoods=result.landmark_likelihoods,
            visible=np.isfinite(result.landmark_likelihoods),
            view=result.view,
            start=start,
            params=result.parameters,
            landmarks_3d=self.model.pdm.landmarks_3d(result.parameters),
        )


def _is_upright(info: FitInfo) -> bool:
    return info["success"] and abs(roll_of(info["params"])) < math.pi / 4


def _doubts(found: tuple[Any, tuple[Any, FitInfo]]) -> tuple[float, float]:
    """Sort the surest fit first."""
    info = found[1][1]
    return -(info["confidence"] or 0.0), -info["likelihood"]


def _index_of(model: Model, scale: float) -> int:
    """Return which of the model's patch scales one is."""
    known = [own.scale for own in model.scales]
    for index, own in enumerate(known):
        if isinstance(scale, int | float | np.number) and abs(own - scale) <= 1e-6:
            return index
    listed = ", ".join(f"{own:g}" for own in known)
    raise ParameterError(f"the model has no patch scale {scale!r}; it has {listed}")


def _expansion(model: Model) -> NDArray[np.float64] | None:
    """Return what the model adds to the shapes of its fits, (m, m), if it does."""
    name, m = "fit/expansion", model.pdm.n_modes
    if name not in model.arrays:
        return None
    expansion = np.asarray(model.arrays[name])
    if expansion.shape != (m, m) or expansion.dtype.kind != "f":
        raise ModelError(
            f"the model's array {name!r} must be {(m, m)} numbers, not {expansion.dtype} {expansion.shape}"
        )
    # Also false for NaN.
    if not (np.abs(expansion) <= MAX_NUMBER).all():
        raise ModelError(f"the model's array {name!r} holds numbers beyond {MAX_NUMBER:g} or not finite")
    return np.ascontiguousarray(expansion, np.float64)


def _available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _rolled(rotation: tuple[float, float, float], roll: float) -> tuple[float, float, float]:
    """Return the angles of a rotation that is followed by a roll in the image."""
    if not roll:
        return rotation
    return euler_angles((euler_to_matrix((0.0, 0.0, roll)) @ euler_to_matrix(rotation)).tolist())


def _as_depth(depth: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if (
        not isinstance(depth, np.ndarray)
        or depth.shape != size
        or depth.dtype not in (np.float32, np.float64)
    ):
        raise ImageError(f"depth is a float array of the image's size {size}")
    return depth[:, :, None]


def _parameter_set(model: Model, parameters: str | FitParameters, learned: bool) -> FitParameters:
    """Return a parameter set by name, with the numbers that suit the model where its metadata have some.

    Fits that do not start from the learned start have further to go, and may have numbers of their own.
    """
    if not isinstance(parameters, str):
        return parameters
    named = FitParameters.named(parameters)
    own = model.metadata.get("fit", {})

    far = not learned and any(name.endswith("_far") for name in own)
    numbers, video = (own.get(f"{name}_far" if far else name) for name in (parameters, "video"))
    if numbers is None and parameters == "tracking" and video is not None:
        # Frames that start close to the face skip the coarsest scale.
        windows = video.get("windows", FitParameters.named("video").windows)
        numbers = {**video, "windows": [0, *windows[1:]]}
    if numbers is None:
        return named
    try:
        return named.changed(
            **{name: value for name, value in numbers.items() if name not in ("hypotheses", "mirrored")}
        )
    except ParameterError as error:
        raise ModelError(f"the model's own parameter set {parameters!r} is wrong: {error}") from error
