"""Left and right: the mirror image of landmarks, shapes and poses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyclnf.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MIRROR_68", "check_mirror", "mirror_points", "mirror_shapes"]

MIRROR_68: NDArray[np.intp] = np.array(
    [
        *range(16, -1, -1),  # face outline
        *range(26, 16, -1),  # brows
        *range(27, 31),  # bridge of the nose
        *range(35, 30, -1),  # nostrils
        *(45, 44, 43, 42, 47, 46),  # right eye
        *(39, 38, 37, 36, 41, 40),  # left eye
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
    ]
)
"""For each of the 68 iBUG landmarks the one at its place in the mirror image."""
MIRROR_68.flags.writeable = False


def check_mirror(mirror: ArrayLike, n_landmarks: int) -> NDArray[np.intp]:
    """Return the mirror permutation as indices, or raise TrainingError if it is none."""
    permutation = np.asarray(mirror)
    if (
        permutation.shape != (n_landmarks,)
        or not np.array_equal(np.sort(permutation), np.arange(n_landmarks))
        or not np.array_equal(permutation[permutation], np.arange(n_landmarks))
    ):
        raise TrainingError(
            f"mirror must name for each of the {n_landmarks} landmarks its counterpart, and that one's "
            "counterpart must be the landmark itself"
        )
    return permutation.astype(np.intp)


def mirror_shapes(shapes: NDArray[np.float64], mirror: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return shapes reflected at the plane x = 0, landmarks renumbered.

    Parameters
    ----------
    shapes : ndarray, shape (..., n, 3)
    mirror : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (..., n, 3)
    """
    mirrored: NDArray[np.float64] = shapes[..., mirror, :] * np.array([-1.0, 1.0, 1.0])
    return mirrored


def mirror_points(points: NDArray[np.float64], mirror: NDArray[np.intp], width: int) -> NDArray[np.float64]:
    """Return landmarks in the left-right flipped image, renumbered.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        Pixels, 0-based.
    mirror : ndarray, shape (n,)
    width : int
        Of the image, px.

    Returns
    -------
    ndarray, shape (n, 2)
    """
    flipped = points[mirror]
    return np.column_stack([width - 1 - flipped[:, 0], flipped[:, 1]])
