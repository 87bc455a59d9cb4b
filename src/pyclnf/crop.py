"""Crops: the surroundings of a face, reduced by averaging over areas.

Sampling a large face at few pixels per millimetre would pick single pixels
and miss what lies between them (aliasing); averaging first does not. Beyond the
image its outermost pixels go on: the edge of something black would draw outlines to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf.pdm import Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["Crop"]

# From this many image pixels a crop's pixel on, some pixels of each area stand for all
# of them: the time for a crop does not grow with the size of the face.
MAX_STEP = 6.0
SAMPLES = 6


@dataclass(frozen=True, eq=False)
class Crop:
    """A square part of an image.

    Attributes
    ----------
    pixels : ndarray, shape (side, side), uint8 or float32
        Grey values, rounded where the image is of uint8.
    left, top : float
        Outer corner of the first pixel in the image, where pixel p reaches from p to p + 1.
    step : float
        Image pixels a crop's pixel.
    """

    pixels: NDArray[Any]
    left: float
    top: float
    step: float

    @classmethod
    def cut(cls, image: NDArray[Any], centre: tuple[float, float], length: float, side: int) -> Crop:
        """Cut a square out of an image and reduce it.

        Parameters
        ----------
        image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
            Grey or BGR.
        centre : tuple of float
            Middle (x, y) of the square, px (an integer is a pixel's centre).
        length : float
            Side of the square, px of the image.
        side : int
            Side of the crop, px.

        Returns
        -------
        Crop
        """
        # An image is read as it lies in memory: pixels beside each other come many times faster.
        down, right = image.strides[:2]
        if abs(down) < abs(right):
            turned = cls.cut(image.swapaxes(0, 1), centre[::-1], length, side)
            return cls(np.ascontiguousarray(turned.pixels.T), turned.top, turned.left, turned.step)
        if right < 0:
            last = image.shape[1] - 1
            mirrored = cls.cut(image[:, ::-1], (last - centre[0], centre[1]), length, side)
            left = last + 1 - mirrored.left - length
            return cls(np.ascontiguousarray(mirrored.pixels[:, ::-1]), left, mirrored.top, mirrored.step)
        step = length / side
        left, top = (middle + 0.5 - length / 2 for middle in centre)
        sampled = step > MAX_STEP
        # Two to interpolate between, or all that a crop's pixel can reach into.
        taps = SAMPLES if sampled else 2 if step < 1 else math.ceil(step) + 1
        # Of an 8-bit image the crop is one, too: it is sampled faster than one of floats.
        out = np.empty((side, side), np.uint8 if image.dtype == np.uint8 else np.float32)
        _kernels.cut_square(image, left, top, step, taps, sampled, out)
        return cls(out, left, top, step)

    # Single points in plain numbers: NumPy takes longer for two.

    def point_in(self, x: float, y: float) -> tuple[float, float]:
        """Return a point of the image, px, in the crop's pixels."""
        return (x + 0.5 - self.left) / self.step - 0.5, (y + 0.5 - self.top) / self.step - 0.5

    def point_out(self, x: float, y: float) -> tuple[float, float]:
        """Return a point of the crop in the image's pixels."""
        return self.left + self.step * (x + 0.5) - 0.5, self.top + self.step * (y + 0.5) - 0.5

    def points_out(self, points: Float) -> Float:
        """Return points (..., 2) of the crop in the image's pixels."""
        return np.asarray(self.step * points + np.array(self.point_out(0.0, 0.0)))

    def parameters_in(self, parameters: Parameters) -> Parameters:
        """Return the parameters of a face in the image as they are in the crop."""
        scale, rx, ry, rz, tx, ty = parameters.pose.tolist()
        pose = np.array([scale / self.step, rx, ry, rz, *self.point_in(tx, ty)])
        return Parameters(pose, parameters.shape)

    def parameters_out(self, parameters: Parameters) -> Parameters:
        """Return the parameters of a face in the crop as they are in the image."""
        scale, rx, ry, rz, tx, ty = parameters.pose.tolist()
        pose = np.array([scale * self.step, rx, ry, rz, *self.point_out(tx, ty)])
        return Parameters(pose, parameters.shape)
