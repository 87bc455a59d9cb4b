"""The learned start as a small convolutional network.

It sees the face in an upright patch about the place and size that the face is taken to
have, and says pose and shape in it. It looks twice: at the box, and at what it has
found there, where a face is upright and of the size that it knows best. Its layers work on
whole numbers, of eight bits in the weights and fifteen in what they see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyclnf import _kernels
from pyclnf._arrays import converted
from pyclnf._limits import (
    MAX_NETWORK_CHANNELS,
    MAX_NETWORK_KERNEL,
    MAX_NETWORK_LAYERS,
    MAX_NETWORK_LOOKS,
    MAX_NETWORK_PRODUCTS,
    MAX_NETWORK_SIDE,
    MAX_NUMBER,
)
from pyclnf.descent import NO_STEPS
from pyclnf.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pyclnf.descent import Descent
    from pyclnf.pdm import PDM

    Float = NDArray[np.float64]
    Float32 = NDArray[np.float32]

__all__ = ["MIN_CONTRAST", "Layers", "Network", "read_layers", "weight_units"]

# The contrast of the patch is measured with this much added, grey levels, so that noise in a
# flat image stays small.
MIN_CONTRAST = 4.0

# The greatest sum of a layer.
MAX_SUM = 2**31 - 1

_NAMES = ("layers", "patch", "limits", "weights", "units", "biases")


def weight_units(weights: Float, biases: Float, limit: float) -> Float:
    """Return the units in which the weights of a layer become whole numbers of eight bits.

    Parameters
    ----------
    weights : ndarray, shape (k, m)
        Of m outputs, each of which adds k products.
    biases : ndarray, shape (m,)
    limit : float
        The greatest magnitude of what the layer sees.

    Returns
    -------
    ndarray, shape (m,), float64
        The finest in which no weight exceeds 127, and no sum 32 bits.
    """
    levels, least = _kernels.layout.LEVELS, np.finfo(np.float32).tiny
    # Rounding may add a half to each weight, and a little to the bias.
    room = MAX_SUM * (1 - 1e-6) - 0.5 * levels * len(weights)
    sums = levels * (np.abs(weights).sum(axis=0) + np.abs(biases) / limit) / room
    return np.asarray(np.maximum(np.maximum(np.abs(weights).max(axis=0) / 127, sums), least))


class Layers(NamedTuple):
    """A network's layers.

    Attributes
    ----------
    arguments : tuple
        The limit of the patch, and table, weights, factors, biases and shares, see `run_layers`.
    side, channels : int
        Of what the last one gives.
    """

    arguments: tuple[Any, ...]
    side: int
    channels: int


def read_layers(
    table: NDArray[np.int32],
    greatest: Float32,
    weights: NDArray[np.int8],
    units: Float32,
    biases: Float32,
    side: int,
    name: str = "network",
) -> Layers:
    """Return a network's layers as the kernels read them.

    Parameters
    ----------
    table : ndarray, shape (L, 6), int32
    greatest : ndarray, shape (L,), float32
        Limits of what each layer sees.
    weights : ndarray, int8
    units, biases : ndarray, float32
        See `Network`.
    side : int
        Of the patch, px.
    name : str
        Whose layers these are, for errors.

    Returns
    -------
    Layers

    Raises
    ------
    ModelError
        If the layers or their numbers are out of range or do not fit each other.
    """
    if table.ndim != 2 or table.shape[1] != 6 or not 1 <= len(table) <= MAX_NETWORK_LAYERS:
        raise ModelError(f"the {name} has 1 to {MAX_NETWORK_LAYERS} layers of six numbers")
    limits = greatest.astype(np.float64)
    # Also false for NaN.
    if limits.shape != (len(table),) or not ((limits > 1 / MAX_NUMBER) & (limits <= MAX_NUMBER)).all():
        raise ModelError(f"the {name} has a limit of up to {MAX_NUMBER:g} for what each layer sees")
    for what, values in (("units", units), ("biases", biases)):
        # Also false for NaN.
        if values.ndim != 1 or not np.abs(values).max(initial=0) <= MAX_NUMBER:
            raise ModelError(f"the {name}'s {what} are a row of numbers up to {MAX_NUMBER:g}")
    if weights.ndim != 1 or units.size != biases.size:
        raise ModelError(f"the {name} has a unit and a bias for each output, and a row of weights")
    blocks, factors, offsets = [], [], []
    channels, at, first, products = 1, 0, 0, 0
    levels = _kernels.layout.LEVELS
    # What is said last is in its own unit.
    after = np.append(limits[1:] / levels, 1.0)
    for i, row in enumerate(table.tolist()):
        kernel, stride, padding, outputs, residual, rectify = row
        usable = (
            1 <= kernel <= MAX_NETWORK_KERNEL
            and 1 <= stride <= MAX_NETWORK_SIDE
            and 0 <= padding < kernel <= side + 2 * padding
            and 1 <= outputs <= MAX_NETWORK_CHANNELS
            and outputs % _kernels.layout.CHANNELS == 0
            and residual in (0, 1)
            and rectify in (0, 1)
        )
        if not usable:
            raise ModelError(f"the {name} has a layer {row}, which is out of range")
        result = (side + 2 * padding - kernel) // stride + 1
        addable = i + 1 < len(table) and (result, outputs) == (side, channels)
        if residual and not addable:
            raise ModelError(f"the {name} has a layer {row} that cannot add what it sees to its result")
        size = kernel * kernel * channels * outputs
        products += size * result * result
        if products > MAX_NETWORK_PRODUCTS:
            raise ModelError(f"the {name} needs more than {MAX_NETWORK_PRODUCTS:.0g} products for a look")
        if at + size > weights.size or first + outputs > biases.size:
            raise ModelError(f"the {name} has fewer weights than its layers need")
        own = weights[at : at + size]
        blocks.append(_kernels.layout.blocked(own, kernel, outputs))
        # A sum counts in these.
        unit = units[first : first + outputs].astype(np.float64) * limits[i] / levels
        with np.errstate(divide="ignore", invalid="ignore"):
            offset = np.rint(biases[first : first + outputs] / unit)
        most = levels * np.abs(own.reshape(-1, outputs).astype(np.float64)).sum(axis=0) + np.abs(offset)
        # Also false for NaN.
        if not ((most <= MAX_SUM) & (np.abs(unit / after[i]) <= MAX_NUMBER)).all():
            raise ModelError(f"the {name} has a layer {row} whose sums leave the numbers of 32 bits")
        factors.append((unit / after[i]).astype(np.float32))
        offsets.append(offset.astype(np.int32))
        side, channels, at, first = result, outputs, at + size, first + outputs
    if at != weights.size or first != biases.size:
        raise ModelError(f"the {name} has more weights than its layers need")
    # (Of the last layer, which adds nothing, without a meaning.)
    shares = (limits / levels / after).astype(np.float32)
    numbers = (np.concatenate(rows) for rows in (blocks, factors, offsets))
    return Layers((float(limits[0]), table, *numbers, shares), side, channels)


class Network:
    """A trained network, as a model file holds it.

    Parameters
    ----------
    pdm : PDM
    arrays : mapping of str to ndarray
        ``start/network_patch`` (side in px, side in mm of the face, looks), ``start/network_layers`` (L, 6)
        of kernel, stride, padding, outputs, residual and rectify, ``start/network_weights`` and
        ``start/network_biases``, flat, one layer after the other. The last layer leaves one place; its first
        6 + m numbers are log scale, rotation vector, translation in sides of the patch, and the m shape
        coefficients in standard deviations. Weights are int8, in their outputs' ``start/network_units``. What
        a layer sees goes up to its ``start/network_limits`` (L,); what is greater counts as that.

    Raises
    ------
    ModelError
        If an array is missing or does not fit the others.
    """

    def __init__(self, pdm: PDM, arrays: Mapping[str, NDArray[Any]]) -> None:
        missing = [f"network_{name}" for name in _NAMES if f"start/network_{name}" not in arrays]
        if missing:
            raise ModelError(f"the model's learned start lacks the arrays {missing}")
        self.pdm = pdm
        self.n_modes = pdm.n_modes
        patch = converted(arrays, "network_patch", np.float32)
        if patch.shape != (3,) or not np.isfinite(patch).all():
            raise ModelError(
                f"the network's patch is a side in px, one in mm and a number of looks, not {patch}"
            )
        self.side, self.length, self.looks = int(patch[0]), float(patch[1]), int(patch[2])
        if not (
            2 <= self.side <= MAX_NETWORK_SIDE
            and 1 <= self.length <= 1e4
            and 1 <= self.looks <= MAX_NETWORK_LOOKS
        ):
            raise ModelError(f"the network's patch {patch.tolist()} is out of range")
        self._table = converted(arrays, "network_layers", np.int32)
        self._limits = converted(arrays, "network_limits", np.float32)
        self._weights = converted(arrays, "network_weights", np.int8)
        self._outputs = converted(arrays, "network_units", np.float32)
        self._biases = converted(arrays, "network_biases", np.float32)
        layers = read_layers(self._table, self._limits, self._weights, self._outputs, self._biases, self.side)
        if layers.side != 1 or layers.channels < 6 + self.n_modes:
            raise ModelError(
                f"the network ends with {layers.side} x {layers.side} places of {layers.channels} numbers, "
                f"not with one place of at least {6 + self.n_modes}"
            )
        self._arguments = layers.arguments
        self._units = np.sqrt(pdm.eigenvalues)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names under which a `Model` keeps them."""
        return {
            "start/network_patch": np.array([self.side, self.length, self.looks], np.float32),
            "start/network_layers": self._table,
            "start/network_limits": self._limits,
            "start/network_weights": self._weights,
            "start/network_units": self._outputs,
            "start/network_biases": self._biases,
        }

    def run(
        self,
        crops: NDArray[np.uint8],
        rotations: Float,
        placements: Float,
        shapes: Float,
        descent: Descent | None = None,
    ) -> None:
        """Move faces in crops from where they are taken to be to where they are seen.

        Parameters
        ----------
        crops : ndarray, shape (k, L, L), uint8
        rotations : ndarray, shape (N, 3, 3)
            As many faces of each crop, one after the other. Changed in place, as the next two are.
        placements : ndarray, shape (N, 3)
            (scale, tx, ty), px of the crop.
        shapes : ndarray, shape (N, n_modes)
        descent : Descent, optional
            Whose steps are then taken.
        """
        steps = NO_STEPS if descent is None else descent.arguments
        _kernels.look_at_faces(
            crops[..., None], self.length, self.looks, MIN_CONTRAST, *self._arguments, self._units,
            self.pdm.limits, np.empty((1, 2, 3)), np.empty((1, self.side, self.side), np.float32), *steps,
            rotations, placements, shapes,
        )  # fmt: skip
