"""Windows around landmarks, drawn from images exactly as a fit draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pyclnf.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["Windows", "draw_areas", "gradient_magnitude", "normalised_patches", "targets"]


def draw_areas(image: NDArray[np.uint8], centres: Float, A: Float, side: int) -> NDArray[np.float32]:
    """Sample square areas of the reference frame from the image.

    Position (i, j) of an area lies at ``centre + A^-1 (i - (side-1)/2, j -
    (side-1)/2)``; bilinear, 0 outside the image.

    Parameters
    ----------
    image : ndarray, shape (H, W), uint8
    centres : ndarray, shape (v, 2)
        Pixels.
    A : ndarray, shape (2, 2)
        Similarity from the image to the reference frame.
    side : int
        Side of an area, px of the reference frame.

    Returns
    -------
    ndarray, shape (v, side, side), float32
    """
    steps = np.arange(side) - (side - 1) / 2
    grid = np.stack(np.meshgrid(steps, steps), axis=-1) @ np.linalg.inv(A).T
    points = np.asarray(centres)[:, None, None] + grid
    height, width = image.shape
    # A frame of two zeros takes every position outside the image, and its outer neighbours, to 0.
    padded = np.pad(image, 2)
    x = np.clip(points[..., 0], -2, width) + 2
    y = np.clip(points[..., 1], -2, height) + 2
    left, top = x.astype(np.intp), y.astype(np.intp)
    fx, fy = (x - left).astype(np.float32), (y - top).astype(np.float32)
    index = top * (width + 4) + left
    flat = padded.reshape(-1)
    upper = flat[index] * (1 - fx) + flat[index + 1] * fx
    index += width + 4
    lower = flat[index] * (1 - fx) + flat[index + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, dtype=np.float32)


def gradient_magnitude(areas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Sobel gradient magnitude of areas (..., a, a), border replicated."""
    margins = [(0, 0)] * (areas.ndim - 2) + [(1, 1), (1, 1)]
    p = np.pad(areas, margins, mode="edge")
    down = p[..., :-2, :] + 2 * p[..., 1:-1, :] + p[..., 2:, :]
    across = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    gx = down[..., 2:] - down[..., :-2]
    gy = across[..., 2:, :] - across[..., :-2, :]
    return np.asarray(np.sqrt(gx * gx + gy * gy), dtype=np.float32)


def normalised_patches(areas: NDArray[np.float32], support: int) -> NDArray[np.float32]:
    """Return the patches of every window position at zero mean and unit norm.

    Parameters
    ----------
    areas : ndarray, shape (N, a, a), float32
    support : int
        Side of a patch.

    Returns
    -------
    ndarray, shape (N * w * w, support * support), float32
        ``w = a - support + 1``; positions row-major. A patch without contrast is all 0.
    """
    views = sliding_window_view(areas, (support, support), axis=(1, 2))
    patches = np.ascontiguousarray(views, dtype=np.float32).reshape(-1, support * support)
    patches -= patches.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.einsum("ij,ij->i", patches, patches))
    norms[norms == 0] = 1
    patches /= norms[:, None]
    return patches


def targets(offsets: Float, window: int, sigma: float) -> Float:
    """Return the responses wanted: a Gaussian bump of height 1 at the true landmark.

    Parameters
    ----------
    offsets : ndarray, shape (N, 2)
        True landmark minus centre of the window, px of the reference frame.
    window : int
    sigma : float
        Of the bump, px of the reference frame.

    Returns
    -------
    ndarray, shape (N, w * w)
    """
    steps = np.arange(window) - (window - 1) / 2
    x = np.exp(-0.5 * ((steps - offsets[:, :1]) / sigma) ** 2)
    y = np.exp(-0.5 * ((steps - offsets[:, 1:]) / sigma) ** 2)
    return np.asarray((y[:, :, None] * x[:, None, :]).reshape(len(offsets), -1))


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows that one expert is trained on.

    Raises
    ------
    TrainingError
        If an array has another length than the areas, or holds values that are not finite.

    Attributes
    ----------
    areas : ndarray, shape (N, a, a), float
        Grey levels; ``a = window + support - 1``.
    offsets : ndarray, shape (N, 2)
        True landmark minus centre of the area, px of the reference frame.
    weights : ndarray, shape (N,)
        How much each counts; 0 where the landmark cannot be seen.
    held_out : ndarray, shape (N,), bool
        Windows of the identities that early stopping and the confidence use.
    """

    areas: NDArray[np.floating]
    offsets: Float
    weights: Float
    held_out: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.areas)
        wanted = {"offsets": (n, 2), "weights": (n,), "held_out": (n,)}
        for name, shape in wanted.items():
            if np.shape(getattr(self, name)) != shape:
                raise TrainingError(
                    f"{n} areas need {name} of shape {shape}, not {np.shape(getattr(self, name))}"
                )
        # Gradients of bytes would overflow.
        for name, dtype in (("areas", np.float32), ("offsets", np.float64), ("weights", np.float64)):
            values = np.asarray(getattr(self, name), dtype)
            if not np.isfinite(values).all():
                raise TrainingError(f"the windows' {name} hold values that are not finite")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "held_out", np.asarray(self.held_out, np.bool_))
