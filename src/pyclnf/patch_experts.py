"""CCNF patch experts: from an image and a shape to one response map a landmark.

Source: Baltrusaitis, Robinson, Morency, "Constrained Local Neural Fields for
robust facial landmark detection in the wild", ICCV Workshops 2013, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyclnf.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["GREY", "GRADIENT", "DEPTH", "PatchScale", "ViewExperts"]

# Neuron types, as the CCNF files number them.
GREY, GRADIENT, DEPTH = 0, 1, 3

# Neurons whose alpha is not above this contribute nothing and are skipped.
MIN_ALPHA = 1e-4


@dataclass(frozen=True, eq=False)
class ViewExperts:
    """The experts of all visible landmarks in one view of one scale.

    Experts with fewer neurons than the largest are padded with alpha = 0.

    Attributes
    ----------
    landmarks : ndarray, shape (v,), int32
        Ascending indices of the landmarks that have an expert in this view.
    types : ndarray, shape (v, K), int32
        Neuron types: 0 grey value, 1 Sobel gradient magnitude, 3 depth.
    weights : ndarray, shape (v, K, h, w), float32
    norm_weights, biases, alphas : ndarray, shape (v, K), float64
    betas : ndarray, shape (v, B), float64
        Weights of the sigma components.
    confidences : ndarray, shape (v,), float64
    """

    landmarks: NDArray[np.int32]
    types: NDArray[np.int32]
    weights: NDArray[np.float32]
    norm_weights: NDArray[np.float64]
    biases: NDArray[np.float64]
    alphas: NDArray[np.float64]
    betas: NDArray[np.float64]
    confidences: NDArray[np.float64]


class PatchScale:
    """All experts of one patch scale.

    Parameters
    ----------
    scale : float
        Patch scale, px per mm.
    centres : ndarray, shape (V, 3), float64
        Euler angles of the views' centres, radians.
    visible : ndarray, shape (V, n), bool
        Landmarks with an expert, by view.
    sigma_components : mapping of int to ndarray, shape (B, w*w, w*w), float32
        By window side w.
    views : sequence of V ViewExperts, or a function of the view's index that loads one
        A function is called once a view, when that view is first needed.
    """

    def __init__(
        self,
        scale: float,
        centres: NDArray[np.float64],
        visible: NDArray[np.bool_],
        sigma_components: Mapping[int, NDArray[np.float32]],
        views: list[ViewExperts] | tuple[ViewExperts, ...] | Callable[[int], ViewExperts],
    ) -> None: ...
