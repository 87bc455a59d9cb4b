"""Annotated faces: what a model is trained on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from pyclnf.errors import ImageError, ParameterError, TrainingError
from pyclnf.pdm import PDM, Parameters
from pyclnf.training.checks import are_numbers, as_floats, listed
from pyclnf.training.symmetry import mirror_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Float = NDArray[np.float64]

__all__ = ["AnnotatedFaces", "Images", "held_out", "to_grey"]

# Faces of fewer px, or fitted worse than by this share of their size, are none: annotated ones are off by
# 0.02 to 0.08, landmarks in another order by more than 1.
MIN_SIZE, MAX_ERROR = 4.0, 0.5
# Share of a face's landmarks that may lie outside of its image.
MAX_OUTSIDE = 0.5
# Where a fit misses a landmark by this share of the face's size, hidden ones may be no guesses: annotated
# ones are off by up to 0.22.
MAX_GUESS = 0.25

# Below this cosine of a head's turn, that of 104 degrees, it is seen from behind. So look landmarks that are
# numbered as those of the mirror image; more than such a share of them is no single mistake.
FROM_BEHIND, MAX_BEHIND = -0.25, 0.2

# Rotations from which the PDM is fitted to landmarks whose pose is not given, radians.
YAWS = (0.0, -0.6, 0.6, -1.2, 1.2)


class Images(Protocol):
    """A sequence of uint8 images, grey (H, W) or BGR (H, W, 3), which may be read when they are asked for."""

    def __len__(self) -> int: ...
    # Any: OpenCV's own type of what cv2.imread returns is wider.
    def __getitem__(self, index: int, /) -> NDArray[Any]: ...


def to_grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a grey (H, W) or BGR (H, W, 3) uint8 image as grey values."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"a training image is an array, not {type(image).__name__}: cv2.imread gives None")
    if 0 in image.shape:
        raise ImageError(f"a training image is not empty; got {image.shape}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ImageError(f"a training image is uint8, grey or BGR; got {image.dtype} {image.shape}")
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def held_out(identities: ArrayLike, share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Mark the faces of identities that are kept from training.

    Whether an identity is held out depends on its number and the seed alone,
    so that it stays where it is when a data set grows; but of several identities
    at least one is held out, and one is not.

    Parameters
    ----------
    identities : array_like of int, shape (N,)
        Not negative.
    share : float
        About this share of the identities is held out.
    seed : int

    Returns
    -------
    ndarray, shape (N,), bool

    Raises
    ------
    TrainingError
        If identities are no such numbers, or the share is none.
    """
    people = _numbers_of_people(identities)
    if people.ndim != 1 or (people < 0).any():
        raise TrainingError("identities are numbers >= 0, one a face")
    if not (are_numbers(share) and 0 <= share <= 1):
        raise TrainingError(f"a share lies in [0, 1], not {share!r}")
    numbers, index = np.unique(people, return_inverse=True)
    draws = np.array([np.random.default_rng([seed, int(i)]).random() for i in numbers])
    aside = draws < share
    if numbers.size > 1:
        aside[draws.argmin()], aside[draws.argmax()] = True, False
    return np.asarray(aside[index])


@dataclass(frozen=True, eq=False)
class AnnotatedFaces:
    """Images of one annotated face each, with the PDM fitted to the annotation.

    Attributes
    ----------
    images : Images
        N images.
    landmarks : ndarray, shape (N, n, 2)
        Pixels, 0-based.
    visible : ndarray, shape (N, n), in [0, 1]
        1 where a landmark can be seen, 0 where it is hidden; what lies between counts accordingly.
    identities : ndarray, shape (N,), int
        Number of the person.
    poses : ndarray, shape (N, 6)
    shapes : ndarray, shape (N, m)
        Parameters of the PDM fitted to the landmarks.
    """

    images: Images
    landmarks: Float
    visible: Float
    identities: NDArray[np.int64]
    poses: Float
    shapes: Float

    @classmethod
    def fitted(
        cls,
        pdm: PDM,
        images: Images,
        landmarks: ArrayLike,
        *,
        visible: ArrayLike | None = None,
        identities: ArrayLike | None = None,
        rotations: ArrayLike | None = None,
    ) -> AnnotatedFaces:
        """Check annotations and fit the PDM to them.

        The guesses of hidden landmarks are used, too. What is no guess (NaN, or far from the face) is not,
        and is replaced by the landmark of the fit.

        Parameters
        ----------
        pdm : PDM
        images : Images
        landmarks : array_like, shape (N, n, 2)
            Pixels, 0-based; hidden landmarks at their best guess, or NaN.
        visible : array_like of bool or float in [0, 1], shape (N, n), optional
            How well each landmark can be seen, 0 where it is hidden; default: all of them well.
        identities : array_like of int, shape (N,), optional
            Default: every image another person.
        rotations : array_like, shape (N, 3), optional
            Rough rotations of the heads, radians. Without them the best of
            several starts is taken, which takes longer.

        Returns
        -------
        AnnotatedFaces

        Raises
        ------
        TrainingError
            If lengths or shapes do not fit together, landmarks that can be seen are not finite, or those of
            images are not those of faces: shares of the image's size, x and y exchanged, another order.
        """
        points = as_floats(landmarks, "landmarks").copy()
        if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")):
            raise TrainingError(f"images have len() and [], a list for example, not {type(images).__name__}")
        n = len(images)
        if n == 0:
            raise TrainingError("there are no images")
        if points.shape != (n, pdm.n_landmarks, 2):
            raise TrainingError(
                f"{n} images and a PDM of {pdm.n_landmarks} landmarks need landmarks of shape "
                f"{(n, pdm.n_landmarks, 2)}, not {points.shape}"
            )
        seen = np.ones(points.shape[:2]) if visible is None else as_floats(visible, "visible")
        who = np.arange(n) if identities is None else _numbers_of_people(identities)
        if seen.shape != points.shape[:2] or not ((seen >= 0) & (seen <= 1)).all():
            raise TrainingError(f"visible must be {points.shape[:2]} numbers in [0, 1]")
        if who.shape != (n,) or (who < 0).any():
            raise TrainingError(f"identities must be {n} numbers >= 0")
        used = np.asarray(np.isfinite(points).all(axis=2))
        bad = np.flatnonzero((~used & (seen > 0)).any(axis=1))
        if bad.size:
            raise TrainingError(
                f"landmarks of image {listed(bad)} are not finite: leave it out, or mark them as hidden by 0 "
                "in visible"
            )
        starts = _starts(rotations, n)
        fits = []
        for i, (face, tries) in enumerate(zip(points, starts, strict=True)):
            try:
                fits.append(_fit(pdm, face, used[i], seen[i] == 0, tries))
            except ParameterError as error:
                raise TrainingError(f"image {i}: {error}: leave it out, or mend its landmarks") from error
        poses, shapes = (np.array([getattr(f, name) for f in fits]) for name in ("pose", "shape"))
        faces = cls(images, points, seen, who, poses, shapes)
        _check_plausible(faces, pdm, used, turned=rotations is not None)
        return faces

    def __len__(self) -> int:
        return len(self.landmarks)

    def __repr__(self) -> str:
        return f"AnnotatedFaces({len(self)} faces, {self.landmarks.shape[1]} landmarks)"

    def some(self) -> range:
        """Return the indices of some faces, at most 16, evenly spread: an image may have to be read."""
        return range(0, len(self), 1 + len(self) // 16)

    def check_seen(self) -> None:
        """Refuse faces of which nothing can be seen: there is nothing to measure a fit by."""
        unseen = np.flatnonzero(~(self.visible > 0).any(axis=1))
        if unseen.size:
            raise TrainingError(f"image {listed(unseen)}: no landmark can be seen: leave it out")

    def parameters(self, index: int) -> Parameters:
        """Return the PDM's parameters for one face."""
        return Parameters(self.poses[index], self.shapes[index])

    def grey(self, index: int) -> NDArray[np.uint8]:
        """Return one image as grey values (H, W), or raise a TrainingError that names it."""
        try:
            return to_grey(self.images[index])
        except ImageError as error:
            raise TrainingError(f"image {index}: {error}") from error
        except Exception as error:  # whatever reads the images makes of one
            raise TrainingError(f"image {index} cannot be read: {type(error).__name__}: {error}") from error

    def digest(self, progress: Callable[[str, int, int], None] | None = None) -> str:
        """Return a number of the images' pixels, as text, after every image has been read once.

        Raises
        ------
        TrainingError
            If images cannot be read, show nothing, or are not where their landmarks are: it names them all.
        """
        digest, bad, why = hashlib.sha256(), [], ""
        for i in range(len(self)):
            try:
                image = self.grey(i)
                if image.min() == image.max():
                    raise TrainingError(f"image {i} has one grey level only")
                seen = self.landmarks[i][self.visible[i] > 0]
                if len(seen) and _share_outside(seen, image) > MAX_OUTSIDE:
                    raise TrainingError(f"most landmarks of image {i} lie outside of it")
                digest.update(repr(image.shape).encode())
                digest.update(np.ascontiguousarray(image).data)
            except TrainingError as error:
                why = why or str(error)
                bad.append(i)
            if progress:
                progress("images", i + 1, len(self))
        if bad:
            raise TrainingError(f"image {listed(bad)} cannot be used: leave it out ({why})")
        return digest.hexdigest()

    def face(
        self, pdm: PDM, index: int, mirror: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.uint8], Float, Float]:
        """Return image, landmarks and the shape of the reference frame at 1 px per mm.

        Parameters
        ----------
        pdm : PDM
        index : int
        mirror : ndarray, shape (n,), or None
            Given: the face flipped left to right.

        Returns
        -------
        image : ndarray, shape (H, W), uint8
        landmarks, reference : ndarray, shape (n, 2)
        """
        image = self.grey(index)
        reference = pdm.deformed(self.shapes[index]).reshape(3, -1)[:2].T
        if mirror is None:
            return image, self.landmarks[index], reference
        flipped = np.ascontiguousarray(image[:, ::-1])
        landmarks = mirror_points(self.landmarks[index], mirror, image.shape[1])
        return flipped, landmarks, reference[mirror] * np.array([-1.0, 1.0])


def _numbers_of_people(identities: ArrayLike) -> NDArray[np.int64]:
    given = np.asarray(identities)
    if given.dtype.kind not in "iu" and not (given.dtype.kind == "f" and (given == np.rint(given)).all()):
        raise TrainingError(
            "identities are whole numbers: number names by np.unique(names, return_inverse=True)[1]"
        )
    return given.astype(np.int64)


def _check_plausible(faces: AnnotatedFaces, pdm: PDM, used: NDArray[np.bool_], *, turned: bool) -> None:
    """Refuse annotations that are no faces in the images.

    used: landmarks that the PDM was fitted to; turned: how the heads are turned was given, so that they may
    well be seen from behind.
    """
    # Root mean square distance of a landmark from the middle, px.
    sizes = np.abs(faces.poses[:, 0]) * pdm.radius
    if np.median(sizes) < MIN_SIZE:
        raise TrainingError(
            f"the faces are {2 * np.median(sizes):.2g} px large: give landmarks in pixels of their image"
        )
    outside = []
    checked = []
    for i in faces.some():
        try:
            image = faces.grey(i)
        except TrainingError:
            continue  # it is named with all others like it, when they are read
        checked.append(i)
        outside.append(_share_outside(faces.landmarks[i], image))
    if outside and np.median(outside) > MAX_OUTSIDE:
        worst = checked[int(np.argmax(outside))]
        raise TrainingError(
            f"most landmarks lie outside their image, those of image {worst} for "
            "example: give pixels, x before y, in the order of the images"
        )
    fits = [faces.parameters(i) for i in range(len(faces))]
    errors = np.array(
        [
            _error(pdm, fit, points, which)
            for fit, points, which in zip(fits, faces.landmarks, used, strict=True)
        ]
    )
    # A face of negative size is the best fit to landmarks in an order that is no face's.
    bad = np.where(faces.poses[:, 0] > 0, errors / sizes, np.inf) > MAX_ERROR
    if bad.mean() > 0.5:
        raise TrainingError(
            "the PDM does not fit the landmarks of most images: are they in the order of the PDM's?"
        )
    depths = np.array([fit.rotation[2, 2] for fit in fits])
    if not turned and np.mean(depths < 0) > 0.5:
        raise TrainingError(
            "most heads are seen from behind: is x exchanged with y, left with right, or does y point up, in "
            "the landmarks or in the shapes that the PDM is made of? x is right, y down, z away from the "
            "camera"
        )
    if bad.any():
        raise TrainingError(
            f"image {listed(np.flatnonzero(bad))}: the landmarks are not those of a face, the PDM does not "
            "fit them: leave it out, or mend its landmarks (hidden ones are marked by 0 in visible)"
        )
    behind = np.flatnonzero(depths < FROM_BEHIND)
    if not turned and len(behind) > MAX_BEHIND * len(faces):
        raise TrainingError(
            f"image {listed(behind)}: the heads are seen from behind: is left exchanged with right, as in "
            "mirror images whose landmarks were not renumbered? Mend their landmarks, leave the images out, "
            "or give rotations"
        )


def _share_outside(landmarks: Float, image: NDArray[np.uint8]) -> float:
    height, width = image.shape
    x, y = landmarks.T
    return float(np.mean((x < -1) | (y < -1) | (x > width) | (y > height)))


def _starts(rotations: ArrayLike | None, n: int) -> list[Float]:
    if rotations is None:
        return [np.array([[0.0, yaw, 0.0] for yaw in YAWS])] * n
    angles = as_floats(rotations, "rotations")
    if angles.shape != (n, 3) or not np.isfinite(angles).all():
        raise TrainingError(f"rotations must be {n} times three finite angles, not {angles.shape}")
    if np.abs(angles).max() > 2 * np.pi:
        raise TrainingError(f"rotations are radians: one is {np.abs(angles).max():g}, more than a full turn")
    return list(angles[:, None])


def _fit(
    pdm: PDM, landmarks: Float, used: NDArray[np.bool_], hidden: NDArray[np.bool_], rotations: Float
) -> Parameters:
    """Fit the PDM to the used landmarks; those that are no guess are not used, and replaced in place."""
    fit = _best_fit(pdm, landmarks, used, rotations)
    if (used & hidden).any() and _missed(pdm, fit, landmarks)[used].any():
        seen = _best_fit(pdm, landmarks, used & ~hidden, rotations)
        used &= ~hidden | ~_missed(pdm, seen, landmarks)
        fit = _best_fit(pdm, landmarks, used, rotations)
    landmarks[~used] = pdm.landmarks_2d(fit)[~used]
    return fit


def _missed(pdm: PDM, fit: Parameters, landmarks: Float) -> NDArray[np.bool_]:
    """Mark the landmarks that a fit is far from."""
    off = np.linalg.norm(pdm.landmarks_2d(fit) - landmarks, axis=1)
    return np.asarray(off > MAX_GUESS * abs(fit.pose[0]) * pdm.radius)


def _best_fit(pdm: PDM, landmarks: Float, used: NDArray[np.bool_], rotations: Float) -> Parameters:
    fits = [pdm.fit_landmarks(landmarks, rotation, visible=used) for rotation in rotations]

    def cost(fit: Parameters) -> float:
        error = float(((pdm.landmarks_2d(fit) - landmarks)[used] ** 2).sum())
        return error + float((fit.shape**2 / pdm.eigenvalues).sum())

    return min(fits, key=cost)


def _error(pdm: PDM, fit: Parameters, landmarks: Float, used: NDArray[np.bool_]) -> float:
    """Return the root mean square distance of the fit from the used landmarks, px."""
    return float(np.sqrt(((pdm.landmarks_2d(fit) - landmarks)[used] ** 2).sum(axis=1).mean()))
