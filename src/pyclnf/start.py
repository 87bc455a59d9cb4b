"""The learned start: from an image and a box to pose and shape, by a cascade of regression trees.

Each stage looks at a pool of pixels that move with the current shape; trees on
differences of two pixels add up to an update of pose and shape. The landmarks
come out roughly right whichever way the head is turned; linear steps from what the
image shows around all of them (`pyclnf.descent`) and the fit do the rest.

Source: Kazemi, Sullivan, "One Millisecond Face Alignment with an Ensemble of
Regression Trees", CVPR 2014; with the parameters of a 3D PDM in place of 2D landmarks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf._limits import MAX_NUMBER
from pyclnf.crop import Crop
from pyclnf.descent import Descent
from pyclnf.errors import ModelError, ParameterError
from pyclnf.pdm import PDM, Parameters, ShapePrior, check_box, matrix_to_euler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["MIN_CONTRAST", "LearnedStart"]

# The contrast of the pool is measured with this much added, grey levels, so that noise in a
# flat image stays small.
MIN_CONTRAST = 4.0

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

# Least variance of the true shapes about a guess, mm^2.
MIN_PRIOR_VARIANCE = 1e-6

_SHIFTS = np.array([change[:2] for change in BOX_CHANGES])
_SIZES = np.exp([[change[2]] for change in BOX_CHANGES])

# So many leaves of eight bits have a sum of 32 bits.
_MAX_TREES = 2**24

_NAMES = ("landmarks", "offsets", "splits", "thresholds", "leaves", "units", "crop")


class LearnedStart:
    """A trained cascade, as a model file holds it.

    Parameters
    ----------
    pdm : PDM
    arrays : mapping of str to ndarray
        ``start/landmarks`` (S, F), ``start/offsets`` (S, F, 2), ``start/splits`` (S, T, M, 2),
        ``start/thresholds`` (S, T, M), ``start/leaves`` (S, T, M + 1, 6 + k), ``start/units``
        (S, 6 + k) and ``start/crop`` (side of the crop in px, and in sides of the box). Optional:
        ``start/descent_...``, see `Descent`; ``start/basis`` (m, m) and ``start/variances`` (m,),
        see `ShapePrior`.

    Attributes
    ----------
    prior : ShapePrior or None
        How true shapes lie about the guesses.

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
        self.landmarks = _converted(arrays, "landmarks", np.uint8)
        self.offsets = _converted(arrays, "offsets", np.float32)
        self.splits = _converted(arrays, "splits", np.uint16)
        self.thresholds = _converted(arrays, "thresholds", np.float32)
        self.leaves = _converted(arrays, "leaves", np.int8)
        self.units = _converted(arrays, "units", np.float32)
        crop = _converted(arrays, "crop", np.float32)
        if crop.shape != (2,) or not np.isfinite(crop).all():
            raise ModelError(f"the learned start's crop is a side and a margin, not {crop}")
        self.side, self.margin = int(crop[0]), float(crop[1])
        self._check()
        modes = self.leaves.shape[-1] - 6
        self.modes = np.ascontiguousarray(pdm.components[:, :modes].T)
        self.limits = pdm.limits[:modes]
        self.descent = Descent.read(pdm, arrays)
        if self.descent is not None and self.descent.n_modes != modes:
            raise ModelError("the learned start's descent and trees are for different numbers of modes")
        self.prior = self._read_prior(arrays)

    def _read_prior(self, arrays: Mapping[str, NDArray[Any]]) -> ShapePrior | None:
        if "start/basis" not in arrays and "start/variances" not in arrays:
            return None
        missing = [name for name in ("start/basis", "start/variances") if name not in arrays]
        if missing:
            raise ModelError(f"the model's learned start lacks the arrays {missing}")
        basis, variances = (_converted(arrays, name, np.float64) for name in ("basis", "variances"))
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
        own = {
            "start/landmarks": self.landmarks,
            "start/offsets": self.offsets.astype(np.float16),
            "start/splits": self.splits,
            "start/thresholds": self.thresholds.astype(np.float16),
            "start/leaves": self.leaves,
            "start/units": self.units,
            "start/crop": np.array([self.side, self.margin], np.float32),
        }
        if self.descent is not None:
            own |= self.descent.arrays()
        if self.prior is not None:
            own["start/basis"] = self.prior.basis.astype(np.float32)
            own["start/variances"] = self.prior.variances.astype(np.float32)
        return own

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
        if not (2 <= self.side <= 1024 and 1 <= self.margin <= 10):
            raise ModelError(
                f"the learned start's crop of {self.side} px and {self.margin} boxes is out of range"
            )
        for name in ("offsets", "thresholds", "units"):
            # Also true for NaN.
            if not np.abs(getattr(self, name)).max() <= MAX_NUMBER:
                raise ModelError(
                    f"the learned start's {name} hold values that are not finite or beyond {MAX_NUMBER:g}"
                )

    def hypotheses(self, image: NDArray[Any], box: ArrayLike, count: int = 1) -> list[Parameters]:
        """Return guesses at pose and shape from a box, and from shifted and scaled ones.

        Where they differ the face is hard to see; of fits from each, the one
        with the highest likelihood is lost less often than one alone.

        Parameters
        ----------
        image : ndarray, shape (H, W, 1 or 3), uint8, float32 or float64
            Grey or BGR.
        box : array_like, shape (4,)
            (x, y, w, h), px, about the landmarks.
        count : int
            1 to 9; the first is that of the box itself.

        Returns
        -------
        list of Parameters
        """
        if not 1 <= count <= len(BOX_CHANGES):
            raise ParameterError(f"a learned start gives 1 to {len(BOX_CHANGES)} hypotheses, not {count}")
        x, y, w, h = check_box(box)
        length = self.margin * np.sqrt(w * h)
        crop = Crop.cut(image, np.array([x + w / 2, y + h / 2]), length, self.side)
        pixels = crop.pixels if crop.pixels.dtype == np.uint8 else np.rint(crop.pixels).astype(np.uint8)
        sides = np.array([w, h])
        sizes = sides * _SIZES[:count]
        corners = np.array([x, y]) + sides * _SHIFTS[:count] - (sizes - sides) / 2
        placements = self.pdm.placements(corners, sizes)
        placements[:, 0] /= crop.step
        placements[:, 1:] = crop.points_in(placements[:, 1:])
        rotations, shapes = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, len(self.limits)))
        _kernels.run_cascade(
            pixels,
            self.pdm.mean,
            self.modes,
            self.limits,
            self.landmarks,
            self.offsets,
            self.splits,
            self.thresholds,
            self.leaves,
            self.units,
            MIN_CONTRAST,
            rotations,
            placements,
            shapes,
        )
        if self.descent is not None:
            self.descent.take(pixels, rotations, placements, shapes)
        if not (np.isfinite(rotations).all() and np.isfinite(placements).all()):
            raise ModelError("the learned start gives numbers that are not finite: its model is damaged")
        poses = np.empty((count, 6))
        poses[:, 0] = placements[:, 0] * crop.step
        poses[:, 1:4] = matrix_to_euler(rotations)
        poses[:, 4:] = crop.points_out(placements[:, 1:])
        whole = np.zeros((count, self.pdm.n_modes))
        whole[:, : shapes.shape[1]] = shapes
        return [Parameters(pose, shape) for pose, shape in zip(poses, whole, strict=True)]


def _converted(arrays: Mapping[str, NDArray[Any]], name: str, dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of the learned start in the kernel's dtype, without changing whole numbers."""
    array = np.asarray(arrays[f"start/{name}"])
    if array.dtype.kind not in "iuf":
        raise ModelError(f"the learned start's {name} are no numbers, but {array.dtype}")
    with np.errstate(all="ignore"):  # what does not fit is found below, or by the check for finite numbers
        converted = np.ascontiguousarray(array, dtype)
    if converted.dtype.kind != "f" and not np.array_equal(converted, array):
        raise ModelError(f"the learned start's {name} do not fit into {converted.dtype}")
    return converted
