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

__all__ = [
    "CHANNELS", "FILTERS", "LANES", "LEVELS", "PAIR", "SHRUNK_ROWS", "blocked", "blocked_size",
    "filters_in_blocks", "folded_blocks", "in_levels", "reflection_basis", "unblocked",
]  # fmt: skip

# Rows of blocks are padded to a multiple of this.
LANES = 8

# Outputs of a layer of a network are worked on in blocks of this many.
CHANNELS = 16

# Filters of a layer of a detector's networks are worked on in blocks of this many.
FILTERS = 16

# `shrink_image` adds so many rows at most exactly.
SHRUNK_ROWS = 256

# Greatest magnitude of the whole numbers that a layer sees.
LEVELS = 16383

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


def blocked(weights: NDArray[np.int8], kernel: int, outputs: int) -> NDArray[np.int8]:
    """Return a layer's weights as the kernel reads them.

    Parameters
    ----------
    weights : ndarray, int8
        (kernel, kernel, inputs, outputs), of any shape.
    kernel, outputs : int

    Returns
    -------
    ndarray, int8
        (outputs / 16, kernel, pairs, 16, 2), flat: the columns of a row and their inputs in pairs, the last
        with a 0 where they are odd.
    """
    rows = weights.reshape(kernel, -1, outputs)
    rows = np.pad(rows, [(0, 0), (0, rows.shape[1] % 2), (0, 0)])
    pairs = rows.reshape(kernel, rows.shape[1] // 2, 2, outputs // CHANNELS, CHANNELS)
    return pairs.transpose(3, 0, 1, 4, 2).reshape(-1)


def unblocked(weights: NDArray[np.int8], kernel: int, inputs: int, outputs: int) -> NDArray[np.int8]:
    """Return a layer's weights (kernel * kernel * inputs, outputs) from what `blocked` makes of them."""
    pairs = weights.reshape(outputs // CHANNELS, kernel, -1, CHANNELS, 2).transpose(1, 2, 4, 0, 3)
    return pairs.reshape(kernel, -1, outputs)[:, : kernel * inputs].reshape(-1, outputs)


def blocked_size(kernel: int, inputs: int, outputs: int) -> int:
    """Return how many numbers `blocked` gives."""
    return kernel * (kernel * inputs + kernel * inputs % 2) * outputs


def in_levels(values: NDArray[np.float32], limit: float) -> NDArray[np.int16]:
    """Return numbers as a layer sees them, the limit as `LEVELS`; what is greater counts as that."""
    levels = np.clip(values * np.float32(LEVELS / limit), -LEVELS, LEVELS)
    return np.asarray(np.rint(levels), np.int16)


def filters_in_blocks(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return filters as the kernel `filter_images` reads them.

    Parameters
    ----------
    filters : ndarray, shape (f, c, h, w), float32
        f filters for c channels.

    Returns
    -------
    ndarray, shape (B, h, w c, 16), float32
        The columns of a row and their channels one after the other; 0 beyond the last filter.
    """
    count, _, height, _ = filters.shape
    rows = np.moveaxis(filters, (2, 3, 1), (0, 1, 2)).reshape(height, -1, count)
    rows = np.pad(rows, [(0, 0), (0, 0), (0, -count % FILTERS)])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(height, rows.shape[1], -1, FILTERS), 2, 0))
