"""Images: read from files, and checked before a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["IMAGE_SUFFIXES", "as_pixels", "read_image"]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_image(path: Path) -> NDArray[np.uint8] | None:
    """Return an image file as BGR, upright, or None if it is not one.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ndarray, shape (H, W, 3), uint8, or None
    """
    import cv2

    # Reading the bytes ourselves: imread cannot open paths beyond ASCII on Windows.
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    if data.size == 0:
        return None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)


def as_pixels(image: NDArray[Any]) -> NDArray[Any]:
    """Return the image as (H, W, 1 or 3) in a dtype that the kernels read, without copying.

    Raises
    ------
    ImageError
        If the image has another shape or dtype.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"an image is a NumPy array, not {type(image).__name__}: read files with cv2.imread, "
            "which returns None for a file that it cannot read"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ImageError(f"an image is grey (H, W) or BGR (H, W, 3), not an array of shape {image.shape}")
    if 0 in image.shape:
        raise ImageError(f"the image is empty: its shape is {image.shape}")
    if image.dtype == np.uint16:
        raise ImageError("the image has 16 bits: scale it to 0..255, e.g. (image / 257).astype(np.uint8)")
    if image.dtype not in (np.uint8, np.float32, np.float64):
        raise ImageError(f"an image is uint8, or float32 or float64 in 0..255, not {image.dtype}")
    return image[:, :, :3]
