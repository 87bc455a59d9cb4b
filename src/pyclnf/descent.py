"""The last stage of the learned start: linear steps from descriptors around all landmarks at once.

The trees bring the landmarks near; from there the step to the face is close to
linear in what the image shows around them, the more so the nearer it is. Heads
turned more or less far have steps of their own; heads turned the other way are
looked at in the mirror, and those hardly turned at all in both ways. What is
said goes over between neighbours with the yaw, so that nothing jumps in a video.

Sources: Xiong, De la Torre, "Supervised Descent Method and its Applications to
Face Alignment", CVPR 2013, with the parameters of a 3D PDM in place of 2D
landmarks; Tola, Lepetit, Fua, "DAISY: An Efficient Dense Descriptor Applied to
Wide-Baseline Stereo", PAMI 2010, for the descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf._limits import (
    MAX_DESCENT_BLUR,
    MAX_DESCENT_DIRECTIONS,
    MAX_DESCENT_SAMPLES,
    MAX_DESCENT_SIDE,
    MAX_DESCENT_STEPS,
    MAX_NUMBER,
)
from pyclnf.errors import ModelError
from pyclnf.pdm import PDM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["GO_OVER", "NO_STEPS", "Descent", "DescentStep", "PatchLayout", "upright"]


# So far to either side of a yaw between two views, and of 0, both have a share, radians.
GO_OVER = float(np.radians(10.0))


def upright(rotation: Float) -> Float:
    """Return the rotations in the image plane that bring an upright face to the roll of rotations.

    Parameters
    ----------
    rotation : ndarray, shape (..., 3, 3)

    Returns
    -------
    ndarray, shape (..., 2, 2), float64
    """
    c, s = rotation[..., 1, 1], -rotation[..., 0, 1]
    length = np.maximum(np.hypot(c, s), 1e-300)
    plane = np.empty((*c.shape, 2, 2))
    plane[..., 0, 0] = plane[..., 1, 1] = c / length
    plane[..., 1, 0] = s / length
    plane[..., 0, 1] = -plane[..., 1, 0]
    return plane


@dataclass(frozen=True, eq=False)
class PatchLayout:
    """Where and how the image is described.

    Attributes
    ----------
    side : int
        Of the upright patch around the face, px.
    scale : float
        Patch px per mm of the face.
    blur : float
        Standard deviation of the blur of the slopes, patch px.
    floor : float
        Added to the length of a landmark's descriptor, grey levels per px.
    directions : int
        In which slopes are taken.
    offsets : ndarray, shape (K, 2), float32
        Of the samples around a landmark, patch px.
    """

    side: int
    scale: float
    blur: float
    floor: float
    directions: int
    offsets: NDArray[np.float32]

    @property
    def taps(self) -> NDArray[np.float32]:
        """Weights of the blur."""
        x = np.arange(-int(np.ceil(2 * self.blur)), int(np.ceil(2 * self.blur)) + 1)
        weights = np.exp(-0.5 * (x / self.blur) ** 2)
        return np.asarray(weights / weights.sum(), np.float32)

    @property
    def unit_vectors(self) -> NDArray[np.float32]:
        """The directions, (B, 2)."""
        angles = 2 * np.pi * np.arange(self.directions) / self.directions
        return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)

    @property
    def width(self) -> int:
        """Numbers that describe one landmark."""
        return len(self.offsets) * self.directions


def mode_signs(modes: Float, mirror: NDArray[np.intp]) -> Float:
    """Return 1 for each symmetric mode and -1 for each antisymmetric one.

    Parameters
    ----------
    modes : ndarray, shape (3n, k)
        As a PDM's components.
    mirror : ndarray, shape (n,), int
        Counterpart of each landmark.

    Returns
    -------
    ndarray, shape (k,)

    Raises
    ------
    ModelError
        If a mode is neither.
    """
    own = modes.reshape(3, len(mirror), modes.shape[1])
    mirrored = own[:, mirror] * np.array([-1.0, 1.0, 1.0]).reshape(3, 1, 1)
    products = np.einsum("ijk,ijk->k", own, mirrored)
    if (np.abs(products) < 0.99).any():
        raise ModelError("a descent needs a PDM whose modes are symmetric or antisymmetric")
    return np.asarray(np.sign(products))


class DescentStep:
    """One trained step.

    Parameters
    ----------
    pdm : PDM
        Every mode symmetric or antisymmetric, as `build_pdm` makes them of mirrored data.
    layout : PatchLayout
    edges : ndarray, shape (V - 1,)
        Yaws between the V views, radians, rising from 0.
    mirror : ndarray, shape (n,), int
        Counterpart of each landmark.
    weights : ndarray, shape (V, n, D, 6 + k), int8
    units, bias : ndarray, shapes (V, 6 + k), float32
        Value of 1 in the weights, and what is added: log scale, rotation, translation (mm) in the frame that
        turns with the head's roll, and the first k shape coefficients.

    Raises
    ------
    ModelError
        If the PDM's modes are not symmetric or antisymmetric.
    """

    def __init__(
        self,
        pdm: PDM,
        layout: PatchLayout,
        edges: NDArray[Any],
        mirror: NDArray[Any],
        weights: NDArray[np.int8],
        units: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> None:
        self.pdm, self.layout = pdm, layout
        self.edges = np.asarray(edges, np.float64)
        self.mirror = np.asarray(mirror, np.intp)
        self.weights = np.ascontiguousarray(weights)
        self.units, self.bias = np.ascontiguousarray(units), np.ascontiguousarray(bias)
        self._taps, self._directions = layout.taps, layout.unit_vectors
        self._offsets = np.ascontiguousarray(layout.offsets, np.float32)
        self._modes = np.ascontiguousarray(pdm.components[:, : units.shape[1] - 6])
        self.signs = np.concatenate([[1, 1, -1, -1, -1, 1], mode_signs(self._modes, self.mirror)])

    def describe(
        self, crop: NDArray[np.uint8], rotation: Float, placement: Float, shape: Float, *, mirrored: bool
    ) -> NDArray[np.float32]:
        """Describe a face in a crop around the landmarks that it is taken to have.

        Parameters
        ----------
        crop : ndarray, shape (L, L), uint8
        rotation : ndarray, shape (3, 3)
        placement : ndarray, shape (3,)
            (scale, tx, ty), px of the crop.
        shape : ndarray, shape (k,)
        mirrored : bool
            In the mirror, each landmark in the place of its counterpart.

        Returns
        -------
        ndarray, shape (n, D), float32
        """
        flat = self.pdm.mean + self._modes @ shape
        landmarks = placement[0] * (flat.reshape(3, -1).T @ rotation[:2].T) + placement[1:]
        to_crop = upright(rotation) * (placement[0] / self.layout.scale)
        if mirrored:
            to_crop[:, 0] *= -1
            landmarks = landmarks[self.mirror]
        centre, middle = landmarks.mean(axis=0), (self.layout.side - 1) / 2
        # The columns are orthogonal, and as long as each other.
        points = (landmarks - centre) @ to_crop / (to_crop[:, 0] @ to_crop[:, 0]) + middle
        matrix = np.column_stack([to_crop, centre - to_crop.sum(axis=1) * middle])
        out = np.empty((len(points), self.layout.width), np.float32)
        _kernels.describe_points(
            crop, matrix, self.layout.side, self._directions, self._taps, np.ascontiguousarray(points),
            self._offsets, self.layout.floor, out,
        )  # fmt: skip
        return out


class Descent:
    """The steps, one after the other.

    Parameters
    ----------
    steps : sequence of DescentStep
        Of the same directions, samples, views and modes.
    """

    def __init__(self, steps: Sequence[DescentStep]) -> None:
        self.steps = tuple(steps)
        first, layouts = self.steps[0], [step.layout for step in self.steps]
        taps = np.zeros((len(layouts), max(one.taps.size for one in layouts)), np.float32)
        for row, one in zip(taps, layouts, strict=True):
            row[: one.taps.size] = one.taps
        # As the kernels take them, see `take_steps`.
        self.arguments: tuple[NDArray[Any] | float, ...] = (
            first.pdm.mean,
            np.ascontiguousarray(first.pdm.components[:, : self.n_modes].T),
            first.pdm.limits[: self.n_modes],
            first.mirror.astype(np.int32),
            first.signs,
            first.edges,
            GO_OVER,
            np.array([(one.scale, one.side, one.floor, one.taps.size) for one in layouts]),
            layouts[0].unit_vectors,
            taps,
            np.stack([np.asarray(one.offsets, np.float32) for one in layouts]),
            np.stack([step.weights for step in self.steps]),
            np.stack([step.units for step in self.steps]),
            np.stack([step.bias for step in self.steps]),
        )

    @property
    def n_modes(self) -> int:
        """Shape coefficients that the steps change."""
        return int(self.steps[0].units.shape[1]) - 6

    @classmethod
    def read(cls, pdm: PDM, arrays: Mapping[str, NDArray[Any]]) -> Descent | None:
        """Return the steps that a model file holds, or None.

        Raises
        ------
        ModelError
            If an array is missing or does not fit the others.
        """
        names = ("patch", "offsets", "edges", "mirror", "weights", "units", "bias")
        there = [name for name in names if f"start/descent_{name}" in arrays]
        if not there:
            return None
        if len(there) < len(names):
            missing = sorted(set(names) - set(there))
            raise ModelError(f"the learned start's descent lacks the arrays {missing}")
        found = {name: np.asarray(arrays[f"start/descent_{name}"]) for name in names}
        # Shapes first, so that nothing large is converted that has no business being large.
        patch, offsets, edges, mirror = (found[name] for name in ("patch", "offsets", "edges", "mirror"))
        if patch.ndim != 2 or patch.shape[1] != 5 or not 1 <= len(patch) <= MAX_DESCENT_STEPS:
            raise ModelError(
                f"the learned start's descent has 1 to {MAX_DESCENT_STEPS} patches of 5 numbers each"
            )
        if offsets.ndim != 3 or offsets.shape[2] != 2 or not 1 <= offsets.shape[1] <= MAX_DESCENT_SAMPLES:
            raise ModelError(
                f"the learned start's descent has 1 to {MAX_DESCENT_SAMPLES} offsets of 2 numbers a step"
            )
        _check_numbers("patch", patch)
        sides, directions = patch[:, 0].astype(int), int(patch[0, 4])
        if (patch[:, 4].astype(int) != directions).any():
            raise ModelError("the learned start's descent has steps of several numbers of directions")
        if not (
            ((sides >= 2) & (sides <= MAX_DESCENT_SIDE)).all()
            and 1 <= directions <= MAX_DESCENT_DIRECTIONS
            and ((patch[:, 1] >= 1e-6) & (patch[:, 1] <= 100)).all()
            and ((patch[:, 2] >= 0.1) & (patch[:, 2] <= MAX_DESCENT_BLUR)).all()
            and (patch[:, 3] >= 1e-6).all()
        ):
            raise ModelError(f"the numbers {patch.tolist()} of the learned start's descent are out of range")
        width = found["units"].shape[-1] if found["units"].ndim else 0
        views = len(edges) + 1 if edges.ndim == 1 else 0
        shapes = {
            "offsets": (len(patch), *offsets.shape[1:]),
            "weights": (len(patch), views, pdm.n_landmarks, offsets.shape[1] * directions, width),
            "units": (len(patch), views, width),
            "bias": (len(patch), views, width),
            "mirror": (pdm.n_landmarks,),
        }
        for name, shape in shapes.items():
            if found[name].shape != shape:
                raise ModelError(
                    f"the learned start's descent_{name} has shape {found[name].shape}, not {shape}"
                )
        weights = found["weights"]
        if not 6 <= width <= 6 + pdm.n_modes or weights.dtype != np.int8:
            raise ModelError(f"the learned start's descent has steps of {width} numbers, weights of no int8")
        for name in ("offsets", "edges", "mirror", "units", "bias"):
            _check_numbers(name, found[name])
        if mirror.dtype.kind == "f" or not np.array_equal(np.sort(mirror), np.arange(pdm.n_landmarks)):
            raise ModelError("the learned start's descent_mirror is no permutation of the landmarks")
        # Not of the array as it is: differences of unsigned numbers are never negative.
        if (np.diff(edges.astype(np.float64), prepend=0) <= 0).any():
            raise ModelError("the learned start's descent_edges must rise from 0")
        units, bias = found["units"].astype(np.float32), found["bias"].astype(np.float32)
        return cls(
            [
                DescentStep(
                    pdm,
                    PatchLayout(
                        int(one[0]), float(one[1]), float(one[2]), float(one[3]), directions,
                        np.ascontiguousarray(around, np.float32),
                    ),
                    edges, mirror, w, u, b,
                )
                for one, around, w, u, b in zip(patch, offsets, weights, units, bias, strict=True)
            ]
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names under which a `Model` keeps them."""
        first = self.steps[0]
        layouts = [step.layout for step in self.steps]
        numbers = [(one.side, one.scale, one.blur, one.floor, one.directions) for one in layouts]
        return {
            "start/descent_patch": np.array(numbers, np.float32),
            "start/descent_offsets": np.stack([one.offsets for one in layouts]),
            "start/descent_edges": first.edges.astype(np.float32),
            "start/descent_mirror": first.mirror.astype(np.uint8),
            "start/descent_weights": np.stack([step.weights for step in self.steps]),
            "start/descent_units": np.stack([step.units for step in self.steps]),
            "start/descent_bias": np.stack([step.bias for step in self.steps]),
        }

    def take(self, crop: NDArray[np.uint8], rotations: Float, placements: Float, shapes: Float) -> None:
        """Take the steps from each of g guesses, which are changed in place.

        Parameters
        ----------
        crop : ndarray, shape (L, L), uint8
        rotations, placements, shapes : ndarray, shapes (g, 3, 3), (g, 3) and (g, k or more), float64
            See `DescentStep.describe`; of the shapes the first k numbers change. They are not finite where a
            damaged model's steps lead out of all bounds.
        """
        _kernels.take_steps(crop, *self.arguments, rotations, placements, shapes)


# In place of `Descent.arguments` where there are no steps.
NO_STEPS: tuple[NDArray[Any] | float, ...] = (
    np.empty(0), np.empty((0, 0)), np.empty(0), np.empty(0, np.int32), np.empty(0), np.empty(0), 0.0,
    np.empty((0, 4)), np.empty((0, 2), np.float32), np.empty((0, 0), np.float32),
    np.empty((0, 0, 2), np.float32), np.empty((0, 0, 0, 0, 0), np.int8), *np.empty((2, 0, 0, 0), np.float32),
)  # fmt: skip


def _check_numbers(name: str, array: NDArray[Any]) -> None:
    # Also false for NaN.
    if array.dtype.kind not in "iuf" or not np.abs(array.astype(np.float64)).max(initial=0) <= MAX_NUMBER:
        raise ModelError(f"the learned start's descent_{name} must hold numbers up to {MAX_NUMBER:g}")
