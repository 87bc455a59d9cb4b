"""Left and right: the mirror image of landmarks, shapes and poses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyclnf.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pyclnf.pdm import PDM

__all__ = ["MIRROR_68", "check_mirror", "check_symmetry", "mirror_of", "mirror_points", "mirror_shapes"]

# Landmarks this close to each other, as a share of the shape's size, may lie either way round.
MIN_APART = 0.05

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


def check_symmetry(shape: NDArray[np.float64], mirror: NDArray[np.intp]) -> None:
    """Refuse a mirror permutation that a mean shape (n, 3) contradicts, with the worst pair.

    The way from one landmark to another is, in the mirror image, that between their counterparts. Faces need
    not be symmetric for that, or in the middle: it has to lead the other way altogether.

    Raises
    ------
    TrainingError
    """
    reflected, others = shape * np.array([-1.0, 1.0, 1.0]), shape[mirror]
    ways, other_ways = (points[:, None] - points for points in (reflected, others))
    products = np.einsum("ijk,ijk->ij", ways, other_ways)
    lengths, other_lengths = (np.linalg.norm(way, axis=2) for way in (ways, other_ways))
    size = float(np.sqrt(((shape - shape.mean(axis=0)) ** 2).sum(axis=1).mean()))
    against = products < -0.5 * lengths * other_lengths
    against &= np.minimum(lengths, other_lengths) > MIN_APART * size
    if against.any():
        i, j = np.unravel_index(np.where(against, products, 0).argmin(), products.shape)
        raise TrainingError(
            f"mirror: the counterparts {mirror[i]} and {mirror[j]} of the landmarks {i} and {j} lie the "
            "other way round in the mean shape: mend mirror, or the axes of the shapes (x is right, y down)"
        )


def mirror_of(pdm: PDM, mirror: ArrayLike | None) -> NDArray[np.intp]:
    """Return the checked mirror permutation of a PDM's landmarks, that of the 68 iBUG ones by default."""
    permutation = check_mirror(MIRROR_68 if mirror is None else mirror, pdm.n_landmarks)
    check_symmetry(pdm.mean.reshape(3, -1).T, permutation)
    return permutation


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
