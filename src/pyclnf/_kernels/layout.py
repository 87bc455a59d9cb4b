"""How neurons, Sigma and the weights of networks lie in memory for the kernels.

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

__all__ = ["CHANNELS", "LANES", "PAIR", "blocked", "folded_blocks", "reflection_basis", "unblocked"]

# Rows of blocks are padded to a multiple of this.
LANES = 8

# Outputs of a layer of a network are worked on in blocks of this many.
CHANNELS = 16

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


def blocked(weights: NDArray[np.int8], outputs: int) -> NDArray[np.int8]:
    """Return a layer's weights (..., outputs), of any shape, as (blocks, ..., outputs of a block), flat."""
    return np.moveaxis(weights.reshape(-1, outputs // CHANNELS, CHANNELS), 1, 0).reshape(-1)


def unblocked(weights: NDArray[np.int8], outputs: int) -> NDArray[np.int8]:
    """Return a layer's weights (places and inputs, outputs) from what `blocked` makes of them."""
    return np.moveaxis(weights.reshape(outputs // CHANNELS, -1, CHANNELS), 0, 1).reshape(-1, outputs)
