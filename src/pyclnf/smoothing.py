"""The 1 Euro filter, and landmarks that it steadies.

Source: Casiez, Roussel, Vogel, "1 Euro filter: a simple speed-based low-pass filter for noisy input in
interactive systems", CHI 2012.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf.errors import ParameterError
from pyclnf.pdm import Parameters, axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_euler

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pyclnf.pdm import PDM

    Float = NDArray[np.float64]

__all__ = ["OneEuro", "Smoother"]


class OneEuro:
    """The 1 Euro filter: a low-pass filter that opens with speed.

    A face that keeps still is smoothed strongly, one that moves is followed
    without much lag. All coordinates are filtered on their own.

    Parameters
    ----------
    min_cutoff : float
        Cutoff frequency at rest, Hz. Lower: less jitter.
    beta : float
        How fast the cutoff grows with the speed, Hz per mm/s. Higher: less lag.
    speed_cutoff : float
        Cutoff frequency of the speed's own filter, Hz.

    Raises
    ------
    ParameterError
        If a cutoff is not positive, beta is negative, or one is infinite.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 0.4, speed_cutoff: float = 2.0) -> None:
        numbers = min_cutoff, beta, speed_cutoff
        if not (
            all(isinstance(number, Real) and number < math.inf for number in numbers)
            and min_cutoff > 0
            and beta >= 0
            and speed_cutoff > 0
        ):
            raise ParameterError(
                "the filter's cutoffs are positive numbers and beta is one that is not negative, not "
                f"{min_cutoff!r}, {beta!r}, {speed_cutoff!r}"
            )
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._last: tuple[float, Float, Float] | None = None

    def fresh(self) -> OneEuro:
        """Return a filter with the same numbers that has seen nothing."""
        return OneEuro(self.min_cutoff, self.beta, self.speed_cutoff)

    def __call__(self, values: ArrayLike, timestamp: float, unit: ArrayLike = 1.0) -> Float:
        """Filter one sample.

        Parameters
        ----------
        values : array_like, shape (k,)
        timestamp : float
            Seconds.
        unit : array_like, shape (k,) or ()
            How much of each value moves the face by 1 mm.

        Returns
        -------
        ndarray, shape (k,), float64
        """
        # Copies, in and out: the filter's own numbers are nobody else's to change.
        x = np.array(values, dtype=np.float64)
        if self._last is None or timestamp <= self._last[0]:
            self._last = (timestamp, x, np.zeros_like(x))
            return x.copy()
        before, filtered, speed = self._last
        step = timestamp - before
        speed = speed + _share(self.speed_cutoff, step) * ((x - filtered) / step - speed)
        cutoff = self.min_cutoff + self.beta * np.abs(speed) / np.asarray(unit)
        filtered = filtered + _share(cutoff, step) * (x - filtered)
        self._last = (timestamp, filtered, speed)
        return np.array(filtered)


def _share(cutoff: Any, step: float) -> Any:
    """Return the weight of a new sample in an exponential filter."""
    r = 2 * math.pi * cutoff * step
    return r / (r + 1)


class Smoother:
    """A filter of one face's parameters.

    Rotations are filtered as turns from the last one that was given back: angles jump where a head lies on
    its side (by 2 pi), or is seen in full profile (Euler's).
    """

    def __init__(self, numbers: OneEuro, pdm: PDM) -> None:
        self.filter, self.pdm = numbers.fresh(), pdm
        # The last rotation that was given back, and what the filter has in its place.
        self._last: tuple[Float, Float] | None = None

    def fresh(self) -> Smoother:
        """Return one that has seen nothing."""
        return Smoother(self.filter, self.pdm)

    def __call__(self, parameters: Parameters, timestamp: float) -> Parameters:
        """Filter the parameters of one frame."""
        pose, shape, rotation = parameters.pose, parameters.shape, parameters.rotation
        before, place = (rotation, np.zeros(3)) if self._last is None else self._last
        turned = place + matrix_to_axis_angle(rotation @ before.T)
        # What moves a landmark by 1 mm: a growth by 1 / radius, a turn by as many radians, s px.
        turn, shift = np.full(3, 1 / self.pdm.radius), np.full(2, pose[0])
        unit = np.concatenate([[pose[0] / self.pdm.radius], turn, shift, np.ones(shape.size)])
        values = self.filter(np.concatenate([pose[:1], turned, pose[4:], shape]), timestamp, unit)
        rotation = axis_angle_to_matrix(values[1:4] - place) @ before
        self._last = rotation, values[1:4]
        pose = np.concatenate([values[:1], matrix_to_euler(rotation), values[4:6]])
        return Parameters(pose, values[6:])
