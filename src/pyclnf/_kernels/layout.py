"""How neurons and Sigma lie in memory for the kernels.

Sigma commutes with the map's reflections: the field's similarity and sparsity
terms know distances only, so that Sigma is the same for a map and its mirror
images. In a basis of maps that are even or odd about the middle row and the
middle column it then falls into four blocks, which have a quarter of its entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LANES", "PAIR", "folded_blocks", "reflection_basis"]

# Rows of blocks are padded to a multiple of this.
LANES = 8

# In place of a plane's number: a block of neurons of two kinds, of which the even lanes work on plane 0 and
# the odd lanes on plane 1.
PAIR = 3


def reflection_basis(window: int) -> NDArray[np.float64]:
    """Return the orthonormal basis of vectors that are even, then odd, about their middle.

    Parameters
    ----------
    window : int
        Length w of the vectors.

    Returns
    -------
    ndarray, shape (w, w), float64
        One basis vector a row: ceil(w / 2) even ones, floor(w / 2) odd ones.
    """
    pairs = window // 2
    first = np.eye(window)[:pairs]
    last = first[:, ::-1]
    middle = np.eye(window)[pairs : window - pairs]
    return np.concatenate([(first + last) / np.sqrt(2), middle, (first - last) / np.sqrt(2)])


def folded_blocks(window: int) -> list[tuple[NDArray[np.intp], int]]:
    """Return the four blocks of Sigma in the reflections' basis.

    Parameters
    ----------
    window : int
        Side w of the response maps.

    Returns
    -------
    list of (indices, stride)
        Rows of the block among the w*w of the whole matrix (row-major in the basis), and the
        length to which each of the block's rows is padded. Order: even rows with even columns,
        even with odd, odd with even, odd with odd.
    """
    index = np.arange(window * window).reshape(window, window)
    even = (window + 1) // 2
    quarters = (index[:even, :even], index[:even, even:], index[even:, :even], index[even:, even:])
    return [(quarter.reshape(-1), -(-quarter.size // LANES) * LANES) for quarter in quarters]
