"""The learned start as a cascade of regression trees.

Each stage looks at a pool of pixels that move with the current shape; trees on
differences of two pixels add up to an update of pose and shape. The landmarks
come out roughly right whichever way the head is turned.

Source: Kazemi, Sullivan, "One Millisecond Face Alignment with an Ensemble of
Regression Trees", CVPR 2014; with the parameters of a 3D PDM in place of 2D landmarks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf._arrays import converted
from pyclnf._limits import MAX_NUMBER
from pyclnf.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pyclnf.descent import Descent
    from pyclnf.pdm import PDM

    Float = NDArray[np.float64]

__all__ = ["MIN_CONTRAST", "Cascade"]

# The contrast of the pool is measured with this much added, grey levels, so that noise in a
# flat image stays small.
MIN_CONTRAST = 4.0

# So many leaves of eight bits have a sum of 32 bits.
_MAX_TREES = 2**24

_NAMES = ("landmarks", "offsets", "splits", "thresholds", "leaves", "units")


class Cascade:
    """A trained cascade, as a model file holds it.

    Parameters
    ----------
    pdm : PDM
    arrays : mapping of str to ndarray
        ``start/landmarks`` (S, F), ``start/offsets`` (S, F, 2), ``start/splits`` (S, T, M, 2),
        ``start/thresholds`` (S, T, M), ``start/leaves`` (S, T, M + 1, 6 + k), ``start/units``
        (S, 6 + k).

    Raises
    ------
    ModelError
        If an array is missing or does not fit the others.
    """

    def __init__(self, pdm: PDM, arrays: Mapping[str, NDArray[Any]]) -> None:
        missing = [name for name in _NAMES if f"start/{name}" not in arrays]
        if missing:
            raise ModelError(f"the model's learned start lacks the arrays {missing}")
        self.pdm = pdm
        self.landmarks = converted(arrays, "landmarks", np.uint8)
        self.offsets = converted(arrays, "offsets", np.float32)
        self.splits = converted(arrays, "splits", np.uint16)
        self.thresholds = converted(arrays, "thresholds", np.float32)
        self.leaves = converted(arrays, "leaves", np.int8)
        self.units = converted(arrays, "units", np.float32)
        self._check()
        self.n_modes = self.leaves.shape[-1] - 6
        self._modes = np.ascontiguousarray(pdm.components[:, : self.n_modes].T)
        self._limits = pdm.limits[: self.n_modes]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names under which a `Model` keeps them."""
        return {
            "start/landmarks": self.landmarks,
            "start/offsets": self.offsets.astype(np.float16),
            "start/splits": self.splits,
            "start/thresholds": self.thresholds.astype(np.float16),
            "start/leaves": self.leaves,
            "start/units": self.units,
        }

    def _check(self) -> None:
        # The kernel trusts these numbers: an index beyond its array must not get there.
        if self.landmarks.ndim != 2 or self.splits.ndim != 4 or self.leaves.ndim != 4:
            raise ModelError("the learned start's arrays have the wrong number of dimensions")
        stages, pool = self.landmarks.shape
        trees, nodes = self.splits.shape[1:3]
        width = self.leaves.shape[-1]
        shapes = {
            "offsets": (stages, pool, 2),
            "splits": (stages, trees, nodes, 2),
            "thresholds": (stages, trees, nodes),
            "leaves": (stages, trees, nodes + 1, width),
            "units": (stages, width),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ModelError(
                    f"the learned start's {name} have shape {getattr(self, name).shape}, not {shape}"
                )
        if (
            (nodes + 1) & nodes
            or not 6 <= width <= 6 + self.pdm.n_modes
            or 0 in (stages, pool, trees, nodes)
            or trees > _MAX_TREES
        ):
            raise ModelError(
                f"the learned start has {trees} trees of {nodes} nodes, and leaves of {width} numbers"
            )
        if self.landmarks.max() >= self.pdm.n_landmarks or self.splits.max() >= pool:
            raise ModelError("the learned start names landmarks or pixels that do not exist")
        for name in ("offsets", "thresholds", "units"):
            # Also true for NaN.
            if not np.abs(getattr(self, name)).max() <= MAX_NUMBER:
                raise ModelError(
                    f"the learned start's {name} hold values that are not finite or beyond {MAX_NUMBER:g}"
                )

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
        faces = (np.split(numbers, len(crops)) for numbers in (rotations, placements, shapes))  # views
        for crop, *own in zip(crops, *faces, strict=True):
            _kernels.run_cascade(
                crop,
                self.pdm.mean,
                self._modes,
                self._limits,
                self.landmarks,
                self.offsets,
                self.splits,
                self.thresholds,
                self.leaves,
                self.units,
                MIN_CONTRAST,
                *own,
            )
            if descent is not None:
                descent.take(crop, *own)
