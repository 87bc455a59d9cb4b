"""Pictures of fits: landmarks on the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf.errors import ImageError, ParameterError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["IBUG_68_LINES", "draw_landmarks"]

# Runs of landmarks in the iBUG 68 mark-up: (first, last, closed).
IBUG_68_LINES = (
    (0, 16, False),  # jaw
    (17, 21, False),  # right brow
    (22, 26, False),  # left brow
    (27, 30, False),  # bridge of the nose
    (31, 35, False),  # nostrils
    (36, 41, True),  # right eye
    (42, 47, True),  # left eye
    (48, 59, True),  # outer lips
    (60, 67, True),  # inner lips
)


def draw_landmarks(
    image: NDArray[Any],
    landmarks: ArrayLike,
    *,
    box: ArrayLike | None = None,
    numbers: bool = False,
    colour: tuple[int, int, int] = (80, 230, 60),
) -> NDArray[np.uint8]:
    """Draw landmarks on a copy of an image.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, 3), uint8, float32 or float64
        Grey or BGR, 0..255; not changed.
    landmarks : array_like, shape (n, 2)
        Pixels. Of 68 landmarks the parts of the face are joined by lines.
    box : array_like, shape (4,), optional
        (x, y, w, h), drawn as a rectangle.
    numbers : bool
        Write each landmark's index (0-based) beside it.
    colour : tuple of int
        BGR.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        BGR.

    Raises
    ------
    ImageError, ParameterError
        If the image or the landmarks have another shape.
    """
    import cv2

    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ParameterError(f"landmarks are an array (n, 2), not {points.shape}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ImageError(f"an image is grey (H, W) or BGR (H, W, 3), not an array of shape {image.shape}")
    picture = np.clip(image, 0, 255).astype(np.uint8)
    if picture.ndim == 2 or picture.shape[2] == 1:
        picture = np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    picture = np.ascontiguousarray(picture[:, :, :3])
    finite = points[np.isfinite(points).all(axis=1)]
    extent = float(np.ptp(finite, axis=0).max()) if len(finite) else 0.0
    # Points far outside the picture must not blow up the dots of those inside.
    radius = max(1, round(min(extent, max(picture.shape[:2])) / 120))
    # Drawing in sixteenths of a pixel: landmarks are not integers.
    fixed = np.rint(np.nan_to_num(np.clip(points, -1e5, 1e5)) * 16).astype(np.int32)
    if box is not None:
        x, y, w, h = np.asarray(box, dtype=np.float64)
        corners = np.rint(np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]) * 16).astype(np.int32)
        cv2.polylines(picture, [corners], True, (0, 200, 255), radius, cv2.LINE_AA, 4)
    if len(points) == 68:
        for first, last, closed in IBUG_68_LINES:
            cv2.polylines(picture, [fixed[first : last + 1]], closed, colour, 1, cv2.LINE_AA, 4)
    for index, (point, whole) in enumerate(zip(fixed, points, strict=True)):
        if not np.isfinite(whole).all():
            continue
        centre = (int(point[0]), int(point[1]))
        cv2.circle(picture, centre, radius * 16, colour, -1, cv2.LINE_AA, 4)
        if numbers:
            place = (centre[0] // 16 + radius + 1, centre[1] // 16)
            cv2.putText(
                picture, str(index), place, cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255), 1, cv2.LINE_AA
            )
    return picture
