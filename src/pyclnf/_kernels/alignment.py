"""Alignment of shapes, which the kernels' twins and the training have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["procrustes_similarity"]


def procrustes_similarity(source: Float, target: Float) -> Float:
    """Return the scale and rotation that align one centred shape with another.

    Procrustes alignment: the scale is the ratio of the shapes' sizes (root
    mean square), the rotation the best in the least-squares sense.

    Parameters
    ----------
    source, target : ndarray, shape (n, 2), float64

    Returns
    -------
    ndarray, shape (2, 2), float64
        ``A`` with ``A (source - mean) ~ target - mean``.
    """
    p = source - source.mean(axis=0)
    q = target - target.mean(axis=0)
    cosine = (p * q).sum()
    sine = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()
    factor = np.sqrt((q * q).sum() / (p * p).sum()) / np.hypot(cosine, sine)
    return np.asarray(factor * np.array([[cosine, -sine], [sine, cosine]]))
