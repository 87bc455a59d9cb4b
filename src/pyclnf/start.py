"""The learned start: from an image and a box to pose and shape.

A cascade of trees (`pyclnf.cascade`) or a small network (`pyclnf.network`) brings the landmarks
near; linear steps from what the image shows around all of them (`pyclnf.descent`) bring them nearer.
"""

from __future__ import annotations

import math
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf._arrays import as_bytes, converted
from pyclnf._limits import MAX_NUMBER
from pyclnf.cascade import Cascade
from pyclnf.crop import Crop
from pyclnf.descent import Descent, mode_signs
from pyclnf.errors import ModelError, ParameterError
from pyclnf.network import Network
from pyclnf.pdm import PDM, Parameters, ShapePrior, box_of, check_box, euler_angles, euler_to_matrix
from pyclnf.refiner import Refiner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Float = NDArray[np.float64]
    # Rotations, placements and shapes.
    _Faces = tuple[Float, Float, Float]
    _Box = tuple[float, float, float, float]

__all__ = ["Guesses", "LearnedStart"]

# Boxes of the hypotheses: shift (x, y) in sides of the box, and log size.
BOX_CHANGES = (
    (0.0, 0.0, 0.0),
    (-0.08, -0.08, 0.08),
    (0.08, 0.08, 0.08),
    (0.08, -0.08, -0.08),
    (-0.08, 0.08, -0.08),
    (0.11, 0.0, 0.0),
    (-0.11, 0.0, 0.0),
    (0.0, -0.11, 0.0),
    (0.0, 0.11, 0.0),
)

# Largest crop that is looked at: its side, px, and that of its square in sides of the box.
MAX_CROP, MAX_MARGIN = 1024, 10.0

# Least variance of the true shapes about a guess, mm^2.
MIN_PRIOR_VARIANCE = 1e-6

# Distance of a face's middle from the edges of the crop in which a fit can go on, in sides of the box.
_ROOM = 0.65

# A face is fitted in that crop if it is between so large, of the largest size that the model knows, and
_LEAST_SHARE, _GREATEST_SHARE = 0.75, 1.25

# A face so far off the middle of where it was looked for, in sides, or larger or smaller by so much (as a
# logarithm) is looked for again around where it was found; so many looks at most.
_OFF, _GROWN, _LOOKS = 0.15, 0.25, 3

# In a video the linear steps begin such a share of the way from what the network says to the frame before,
# for a face that keeps still; for one that has moved so far, mm, at what it says.
_KEPT, _MOVED = 0.3, 15.0

_FRONTAL = np.eye(3)

_CHANGES = [(right, down, math.exp(size)) for right, down, size in BOX_CHANGES]


class Guesses(list[Parameters]):
    """What a learned start says about the faces of an image, with the crop in which it has seen them.

    Parameters
    ----------
    parameters : iterable of Parameters
        As they are in the image.
    crop : Crop
    mean_side : float
        Side of the box of the mean shape, mm.
    disagreements : list of float, optional

    Attributes
    ----------
    crop : Crop
    roll : float
        How far a face in a box was taken to be rolled, radians.
    disagreements : list of float or None
        Of each guess, about how far apart the looks at the image and at its mirror image lie, mm. None if
        there was no look at the mirror image.
    """

    def __init__(
        self,
        parameters: Iterable[Parameters],
        crop: Crop,
        mean_side: float,
        disagreements: list[float] | None = None,
    ) -> None:
        super().__init__(parameters)
        self.crop = crop
        self.disagreements = disagreements
        self.roll = 0.0
        self._mean_side = mean_side

    def fits_in_crop(self, limit: float) -> bool:
        """Say whether the first face can be fitted in the crop: it lies well inside, and is of a size.

        Parameters
        ----------
        limit : float
            The largest size that the model knows, px per mm.
        """
        crop = self.crop
        scale, _, _, _, *at = self[0].pose.tolist()
        (x, y), scale, side = crop.point_in(*at), scale / crop.step, len(crop.pixels)
        room = _ROOM * scale * self._mean_side
        inside = room <= min(x, y) and max(x, y) <= side - 1 - room
        return bool(inside and _LEAST_SHARE * limit <= scale <= _GREATEST_SHARE * limit)


class LearnedStart:
    """A trained start, as a model file holds it.

    Parameters
    ----------
    pdm : PDM
    arrays : mapping of str to ndarray
        ``start/crop`` (side of the crop that is looked at in px, and in sides of the box) and those of a
        `Network` or a `Cascade`. Optional: ``start/descent_...``, see `Descent`; ``refiner/...``, see
        `Refiner`; ``start/basis`` (m, m) and ``start/variances`` (m,), see `ShapePrior`.

    Attributes
    ----------
    predictor : Network or Cascade
    descent : Descent or None
    refiner : Refiner or None
    follows : bool
        `near` can be asked.
    prior : ShapePrior or None
        How true shapes lie about the guesses.

    Raises
    ------
    ModelError
        If an array is missing or does not fit the others.
    """

    def __init__(self, pdm: PDM, arrays: Mapping[str, NDArray[Any]]) -> None:
        if "start/crop" not in arrays:
            raise ModelError("the model's learned start lacks the arrays ['crop']")
        self.pdm = pdm
        self.predictor = (Network if "start/network_layers" in arrays else Cascade)(pdm, arrays)
        self.follows = isinstance(self.predictor, Network)
        self.descent = Descent.read(pdm, arrays)
        if self.descent is not None and self.descent.n_modes > self.predictor.n_modes:
            raise ModelError("the learned start's descent changes more modes than are predicted")
        self.refiner = Refiner.read(pdm, arrays)
        if self.refiner is not None and self.refiner.n_modes > self.predictor.n_modes:
            raise ModelError("the refiner changes more modes than are predicted")
        crop = converted(arrays, "crop", np.float32)
        if crop.shape != (2,) or not np.isfinite(crop).all():
            raise ModelError(f"the learned start's crop is a side and a margin, not {crop}")
        self.side, self.margin = int(crop[0]), float(crop[1])
        if not (2 <= self.side <= MAX_CROP and 1 <= self.margin <= MAX_MARGIN):
            raise ModelError(
                f"the learned start's crop of {self.side} px and {self.margin} boxes is out of range"
            )
        self.prior = self._read_prior(arrays)
        # Of the box of the mean shape as it looks ahead, mm.
        self._mean_side = float(np.sqrt(np.ptp(pdm.mean.reshape(3, -1)[:2], axis=1).prod()))

    def _read_prior(self, arrays: Mapping[str, NDArray[Any]]) -> ShapePrior | None:
        if "start/basis" not in arrays and "start/variances" not in arrays:
            return None
        missing = [name for name in ("start/basis", "start/variances") if name not in arrays]
        if missing:
            raise ModelError(f"the model's learned start lacks the arrays {missing}")
        basis, variances = (converted(arrays, name, np.float64) for name in ("basis", "variances"))
        m = self.pdm.n_modes
        if basis.shape != (m, m) or variances.shape != (m,):
            raise ModelError(
                f"the learned start's basis and variances have shapes {basis.shape} and {variances.shape}, "
                f"not {(m, m)} and {(m,)}"
            )
        # Also false for NaN.
        if not (np.abs(basis.T @ basis - np.eye(m)) <= 1e-3).all():
            raise ModelError("the learned start's basis is not orthonormal")
        if not ((variances >= MIN_PRIOR_VARIANCE) & (variances <= MAX_NUMBER)).all():
            raise ModelError(
                f"the learned start's variances must lie between {MIN_PRIOR_VARIANCE:g} and {MAX_NUMBER:g}"
            )
        return ShapePrior(self.pdm, basis, variances)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names under which a `Model` keeps them."""
        own = self.predictor.arrays() | {"start/crop": np.array([self.side, self.margin], np.float32)}
        if self.descent is not None:
            own |= self.descent.arrays()
        if self.refiner is not None:
            own |= self.refiner.arrays()
        if self.prior is not None:
            own["start/basis"] = self.prior.basis.astype(np.float32)
            own["start/variances"] = self.prior.variances.astype(np.float32)
        return own

    def hypotheses(
        self,
        image: NDArray[Any],
        box: ArrayLike,
        count: int = 1,
        *,
        mirrored: bool = False,
        again: bool = False,
        roll: float = 0.0,
    ) -> Guesses:
        """Return guesses at pose and shape from a box, and from shifted and scaled ones.

        Where the box does not fit what is found, the box around that is looked at in its place, as long as
        its middle lies in the given one: few faces are lost by a box that is off by a third.

        Where guesses differ the face is hard to see; of fits from each, the one
        with the highest likelihood is lost less often than one alone.

        Parameters
        ----------
        image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
            Grey or BGR.
        box : array_like, shape (4,)
            (x, y, w, h), px, about the landmarks.
        count : int
            1 to 9; the first is that of the box itself.
        mirrored : bool
            Look at the mirror image, too, each time with the refiner if there is one, and take the middle of
            both guesses. It is right more often, takes more than twice the time, and has no preference for a
            side.
        again : bool
            Look around what is found in any case: what comes out depends a third as much on the box. Of both
            looks' disagreements the larger one counts.
        roll : float
            How far the face is rolled clockwise, radians; by up to 30 degrees more or less hardly matters.

        Returns
        -------
        Guesses

        Raises
        ------
        ModelError
            If it is to look at the mirror image, but has no linear steps, which know the landmarks'
            counterparts.
        """
        if mirrored and self.descent is None:
            raise ModelError("a learned start without a descent cannot look at mirror images")
        if not 1 <= count <= len(BOX_CHANGES):
            raise ParameterError(f"a learned start gives 1 to {len(BOX_CHANGES)} hypotheses, not {count}")
        given = check_box(box)

        def look(guess: Parameters) -> Guesses:
            return self._in_box(image, self._box(guess), count, mirrored, roll)

        return self._settled(self._in_box(image, given, count, mirrored, roll), given, self._box, look, again)

    def _box(self, parameters: Parameters) -> _Box:
        """Return the box (x, y, w, h) around the landmarks of a face."""
        x, y, w, h = box_of(self.pdm.landmarks_2d(parameters)).tolist()
        return x, y, w, h

    def _settled(
        self,
        guesses: Guesses,
        given: _Box,
        around: Callable[[Parameters], _Box],
        look: Callable[[Parameters], Guesses],
        again: bool = False,
    ) -> Guesses:
        """Look again around the first guess, as long as that is off where it was looked for.

        again: also where it is not, once.
        """
        own, doubts = given, guesses.disagreements
        for _ in range(_LOOKS - 1):
            seen = around(guesses[0])
            off = _is_off(own, seen)
            if not ((off or again) and _has_extent(seen) and _holds_middle(given, seen)):
                break
            own, guesses = seen, look(guesses[0])
            if not off and doubts is not None and guesses.disagreements is not None:
                guesses.disagreements = [
                    max(pair) for pair in zip(doubts, guesses.disagreements, strict=True)
                ]
            again, doubts = False, guesses.disagreements
        return guesses

    def _in_box(self, image: NDArray[Any], box: _Box, count: int, mirrored: bool, roll: float) -> Guesses:
        x, y, w, h = box
        rolled = (0.0, 0.0, roll)
        rotation = euler_to_matrix(rolled) if roll else _FRONTAL
        placements = []
        for right, down, size in _CHANGES[:count]:
            width, height = w * size, h * size
            left, top = x + w * right - (width - w) / 2, y + h * down - (height - h) / 2
            placements.append(self.pdm.placement(left, top, width, height, rolled))
        centre, length = (x + w / 2, y + h / 2), self.margin * math.sqrt(w * h)
        guesses = self._looked_at(image, centre, length, [rotation] * count, placements, mirrored)
        guesses.roll = roll
        return guesses

    def near(self, image: NDArray[Any], parameters: Parameters) -> Guesses:
        """Return a guess from where a face was in the frame before.

        Only a network can: a cascade starts from boxes. The linear steps begin a little way from what the
        network says towards the frame before, unless the face has moved far: landmarks are steadier so. One
        that has moved very far is looked for again around where it is found.

        Parameters
        ----------
        image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
        parameters : Parameters
            Those of the face in the frame before.

        Returns
        -------
        Guesses
            One.

        Raises
        ------
        ParameterError
            If the parameters are for another PDM, not finite or of no size.
        """
        before = self.pdm.coefficients(parameters.shape)
        if not (np.isfinite(parameters.pose).all() and np.isfinite(before).all() and parameters.pose[0] > 0):
            raise ParameterError("a face is looked for near finite parameters of a positive scale")

        def look(guess: Parameters, before: Float | None = None) -> Guesses:
            scale, *_, x, y = guess.pose.tolist()
            length = self.margin * scale * self._mean_side
            return self._looked_at(image, (x, y), length, [guess.rotation], [(scale, x, y)], before=before)

        guesses = look(parameters, before[None, : self.predictor.n_modes])
        return self._settled(guesses, self._square(parameters), self._square, look)

    def _square(self, parameters: Parameters) -> _Box:
        """Return the square (x, y, w, h) of the size of a face around its middle, however it is turned."""
        scale, *_, x, y = parameters.pose.tolist()
        side = scale * self._mean_side
        return x - side / 2, y - side / 2, side, side

    def _looked_at(
        self,
        image: NDArray[Any],
        centre: tuple[float, float],
        length: float,
        rotations: Sequence[Float],
        placements: Sequence[tuple[float, float, float]],
        mirrored: bool = False,
        before: Float | None = None,
    ) -> Guesses:
        """Return what is seen in a square of the image around faces with given pose.

        before: shapes in the frame before, where the pose is that of the frame before, too.
        """
        crop = Crop.cut(image, centre, length, self.side)
        pixels, step, total = as_bytes(crop.pixels), crop.step, self.pdm.n_modes
        count, looks = len(placements), 2 if mirrored else 1
        seen = np.array([(scale / step, *crop.point_in(x, y)) for scale, x, y in placements] * looks)
        turned, shapes = np.array([*rotations] * looks), np.zeros((len(seen), self.predictor.n_modes))
        faces, disagreements = (turned, seen, shapes), None
        if mirrored:
            # Both looks at once, the second one at the mirror image.
            crops, last = np.empty((2, *pixels.shape), np.uint8), pixels.shape[1] - 1
            _kernels.mirror_image(pixels, crops)
            others = turned[count:], seen[count:], shapes[count:]
            _kernels.mirror_faces(last, self._signs, *others)
            self._run(crops, faces, refined=True)
            _kernels.mirror_faces(last, self._signs, *others)
            turned, seen, shapes = turned[:count], seen[:count], shapes[:count]
            disagreements = self._mix((turned, seen, shapes), others, 0.5).tolist()
        else:
            self._run(pixels[None], faces, None if before is None else (turned.copy(), seen.copy(), before))
        if shapes.shape[1] < total:
            shapes = np.pad(shapes, [(0, 0), (0, total - shapes.shape[1])])
        found = []
        for rotation, (scale, *at), shape in zip(turned.tolist(), seen.tolist(), shapes, strict=True):
            numbers = scale * step, *euler_angles(rotation), *crop.point_out(*at)
            _check_finite(numbers)
            found.append(Parameters(np.array(numbers), shape))
        return Guesses(found, crop, self._mean_side, disagreements)

    def _run(
        self,
        crops: NDArray[np.uint8],
        faces: _Faces,
        before: _Faces | None = None,
        *,
        refined: bool = False,
    ) -> None:
        """Move faces in crops, see `Network.run`; before: where the one face was in the frame before."""
        if before is None or self.descent is None:
            self.predictor.run(crops, *faces, self.descent)
        else:
            self.predictor.run(crops, *faces)
            self._mix(faces, before, _KEPT, _MOVED)
            self.descent.take(crops[0], *faces)
        if refined and self.refiner is not None:
            self.refiner.run(crops, *faces)
        rotations, placements, _ = faces
        _check_finite(chain(rotations.ravel().tolist(), placements.ravel().tolist()))

    @cached_property
    def _signs(self) -> Float:
        """By which the shape coefficients of a mirror image differ."""
        assert self.descent is not None
        return mode_signs(self.pdm.components[:, : self.predictor.n_modes], self.descent.steps[0].mirror)

    def _mix(self, faces: _Faces, others: _Faces, share: float, reach: float = math.inf) -> Float:
        """Move faces a share of the way to others, less the further these are: none at the reach, mm.

        About how far each is from its other is returned, mm.
        """
        apart = np.empty(len(faces[0]))
        _kernels.mix_faces(*others, self.pdm.radius, share, reach, apart, *faces)
        return apart


def _has_extent(box: _Box) -> bool:
    """Say whether a box is one. That of a damaged model's guess need not be, which is an error later on."""
    return 0 < box[2] * box[3] < math.inf


def _is_off(box: _Box, seen: _Box) -> bool:
    """Say whether a box is far from the one that was looked at."""
    if not (_has_extent(box) and _has_extent(seen)):
        return False
    x, y, w, h = box
    left, top, width, height = seen
    side, size = math.sqrt(w * h), math.sqrt(width * height)
    shift = math.hypot(left + width / 2 - x - w / 2, top + height / 2 - y - h / 2)
    return shift > _OFF * side or abs(math.log(size / side)) > _GROWN


def _holds_middle(box: _Box, seen: _Box) -> bool:
    x, y, w, h = box
    left, top, width, height = seen
    return x <= left + width / 2 <= x + w and y <= top + height / 2 <= y + h


def _check_finite(numbers: Iterable[float]) -> None:
    if not all(map(math.isfinite, numbers)):
        raise ModelError("the learned start gives numbers that are not finite: its model is damaged")
