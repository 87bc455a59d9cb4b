"""Faces that lie, or fill their image: where they are looked for, and images turned so that they are upright.

Detectors, the learned start and the experts know upright faces. An image that is turned by quarter turns
has the same pixels, so what is fitted in it is as good; what is left of a face's roll the learned start
is told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf._arrays import as_bytes
from pyclnf.confidence import TRUSTED
from pyclnf.detection import find_faces, inside
from pyclnf.errors import PyclnfError
from pyclnf.face import DOUBTFUL
from pyclnf.images import shrunk
from pyclnf.pdm import Parameters, euler_angles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from pyclnf.detection import Detector
    from pyclnf.nu_rlms import FitResult

    Float = NDArray[np.float64]

__all__ = [
    "ROLLS",
    "Quarter",
    "counts_lying",
    "find_filling",
    "find_lying",
    "nearest_roll",
    "roll_of",
    "with_roll",
]

# How far a face that is not upright may be rolled clockwise, radians, in steps that a fit bridges: first by
# quarters.
_EIGHTH = math.pi / 4
ROLLS = tuple(count * _EIGHTH for count in (2, 6, 4, 1, 7, 3, 5))

# Longer side of what is turned to look for faces, px: the default detector finds those of a 27th of it, and
# those of a 13th where it is turned by an eighth. Seven looks at all of an image would take eleven times as
# long as the one that has found nothing.
TURNED_SIDE, TILTED_SIDE = 640, 320

# Around faces that fill their image detectors want to see something, a share of its longer side. Such a face
# is large in a small copy, too.
FILLED_SIDE, SURROUNDINGS = 320, 0.25

# OpenCV turns no larger images.
LARGEST_SIDE = 2**15 - 2

# (cosine, sine) of quarter turns.
_TURNS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


def roll_of(parameters: Parameters) -> float:
    """Return how far a head is rolled clockwise in the image, radians: where its vertical axis points."""
    # In plain numbers: every frame of a video asks.
    _, rx, ry, rz, _, _ = parameters.pose.tolist()
    sine, cosine = math.sin(rz), math.cos(rz)
    return math.atan2(math.cos(ry) * sine, math.cos(rx) * cosine - math.sin(rx) * math.sin(ry) * sine)


def nearest_roll(roll: float) -> float:
    """Return the one of 0 and `ROLLS` that is nearest to a roll."""
    return round(roll / _EIGHTH) % 8 * _EIGHTH


def counts_lying(failure: str | None, confidence: float | None, margin: float) -> bool:
    """Say whether a fit shows a face that lies: few of these looks meet one, so it has to be sure.

    margin: by how much its likelihood is above that of the least likely face, which counts where an
    uncalibrated fit has no confidence.
    """
    if failure is not None:
        return False
    return margin >= DOUBTFUL if confidence is None else confidence >= TRUSTED


@dataclass(frozen=True)
class Quarter:
    """How an image is turned so that a face in it is nearly upright.

    Attributes
    ----------
    count : int
        Quarter turns counterclockwise, 0 to 3.
    rest : float
        By how much the face is then rolled, radians.
    width, height : int
        Of the image as it is.
    """

    count: int
    rest: float
    width: int
    height: int

    @classmethod
    def of(cls, roll: float, pixels: NDArray[Any]) -> Quarter:
        """Return how an image is turned for a face that is rolled so far clockwise, radians."""
        count = round(roll / (math.pi / 2))
        return cls(count % 4, roll - count * (math.pi / 2), pixels.shape[1], pixels.shape[0])

    @property
    def roll(self) -> float:
        """How far a face that is upright in the turned image is rolled in the image, radians."""
        return self.count * (math.pi / 2)

    def image(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the image (H, W, ...) turned, without copying it."""
        return np.rot90(pixels, self.count) if self.count else pixels

    def _affine(self) -> tuple[Float, Float]:
        """Return what brings points (..., 2) into the turned image: times the first, plus the second."""
        cosine, sine = _TURNS[self.count]
        last = np.array([self.width - 1, self.height - 1]) / 2
        matrix = np.array([[cosine, -sine], [sine, cosine]])
        return matrix, (last[::-1] if self.count % 2 else last) - last @ matrix

    def box_in(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return a box (x, y, w, h) of the image as it is in the turned one."""
        if not self.count:
            return box
        matrix, shift = self._affine()
        x, y, w, h = box
        corners = np.array([[x, y], [x + w, y + h]]) @ matrix + shift
        left, top = corners.min(axis=0).tolist()
        return (left, top, h, w) if self.count % 2 else (left, top, w, h)

    def parameters_in(self, parameters: Parameters) -> Parameters:
        """Return the parameters of a face in the image as they are in the turned one."""
        if not self.count:
            return parameters
        matrix, shift = self._affine()
        return _turned(parameters, matrix, parameters.pose[4:6] @ matrix + shift)

    def result_out(self, result: FitResult) -> FitResult:
        """Return a fit in the turned image as one in the image."""
        if not self.count:
            return result
        matrix, shift = self._affine()
        own = result.parameters
        return replace(
            result,
            parameters=_turned(own, matrix.T, (own.pose[4:6] - shift) @ matrix.T),
            landmarks=(result.landmarks - shift) @ matrix.T,
        )


def _turned(parameters: Parameters, matrix: Float, place: Float) -> Parameters:
    rotation = parameters.rotation
    rotation[:2] = matrix.T @ rotation[:2]
    pose = np.array([parameters.pose[0], *euler_angles(rotation.tolist()), *place])
    return Parameters(pose, parameters.shape)


def with_roll(boxes: Float, roll: float = math.nan) -> Float:
    """Return boxes with scores (k, 5) and, as their last column, how far their faces are rolled, if known."""
    return np.column_stack([boxes, np.full(len(boxes), roll)])


def find_filling(detector: Detector, image: NDArray[Any]) -> Float:
    """Run a detector on an image whose outermost pixels go on beyond it.

    Parameters
    ----------
    detector : Detector
    image : ndarray, shape (H, W) or (H, W, 1, 3 or 4)

    Returns
    -------
    ndarray, shape (k, 6), float64
        As of `find_lying`; none is rolled. Boxes beside the image are left out.
    """
    import cv2

    pixels = as_bytes(image)
    small, _ = shrunk(pixels, FILLED_SIDE)
    edge = math.ceil(SURROUNDINGS * max(small.shape[:2]))
    padded = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    boxes = _seen(detector, padded, 0.0)
    growth = np.array(pixels.shape[1::-1]) / small.shape[1::-1]
    boxes[:, :2] = (boxes[:, :2] - edge + 0.5) * growth - 0.5
    boxes[:, 2:4] *= growth
    return inside(boxes, pixels)


def find_lying(
    detector: Detector, image: NDArray[Any], rolls: Iterable[float] = ROLLS, *, whole: bool = False
) -> Float:
    """Run a detector on an image turned in several ways.

    Parameters
    ----------
    detector : Detector
    image : ndarray, shape (H, W) or (H, W, 1, 3 or 4)
    rolls : iterable of float
        By how much the faces that are upright then are rolled clockwise, radians.
    whole : bool
        Show the detector all of the image, and not a small copy.

    Returns
    -------
    ndarray, shape (k, 6), float64
        (x, y, w, h, score, roll) in the image as it is. A detector that fails at a turned image finds none.
        Boxes beside the image are left out.
    """
    import cv2

    found, pixels = [np.empty((0, 6))], as_bytes(image)
    copies: dict[int, NDArray[np.uint8]] = {}
    for roll in rolls:
        side = LARGEST_SIDE if whole else TURNED_SIDE if _is_quarter(roll) else TILTED_SIDE
        if side not in copies:
            copies[side], _ = shrunk(pixels, side)
        small = copies[side]
        cosine, sine = abs(math.cos(roll)), abs(math.sin(roll))
        height, width = small.shape[:2]
        columns, rows = width * cosine + height * sine, width * sine + height * cosine
        factor = min(1.0, side / max(columns, rows))
        size = max(1, round(factor * columns)), max(1, round(factor * rows))
        # Between the middles of both images.
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), math.degrees(roll), factor)
        matrix[:, 2] += [(size[0] - width) / 2, (size[1] - height) / 2]
        turned = cv2.warpAffine(small, matrix, size, flags=cv2.INTER_LINEAR)
        boxes = _seen(detector, turned, roll)
        back = cv2.invertAffineTransform(matrix)
        growth = np.array(pixels.shape[1::-1]) / (width, height)
        middles = (boxes[:, :2] + boxes[:, 2:4] / 2) @ back[:, :2].T + back[:, 2]
        sizes = _sizes(boxes[:, 2:4], roll) / factor * growth
        boxes[:, :2] = (middles + 0.5) * growth - 0.5 - sizes / 2
        boxes[:, 2:4] = sizes
        found.append(boxes)
    return inside(np.concatenate(found), pixels)


def _seen(detector: Detector, image: NDArray[Any], roll: float) -> Float:
    try:
        return with_roll(find_faces(detector, np.asarray(image, np.uint8)), roll)
    except PyclnfError:  # what is found of the image as it is counts all the same
        return np.empty((0, 6))


def _is_quarter(roll: float) -> bool:
    quarters = roll / (math.pi / 2)
    return abs(quarters - round(quarters)) < 0.25


def _sizes(sizes: Float, roll: float) -> Float:
    """Return the widths and heights (k, 2) of boxes around faces that are rolled after all."""
    if _is_quarter(roll):
        return sizes[:, ::-1] if round(roll / (math.pi / 2)) % 2 else sizes
    # A face is about as wide between its corners as from side to side.
    return np.repeat(np.sqrt(sizes.prod(axis=1, keepdims=True)), 2, axis=1)
