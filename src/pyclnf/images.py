"""Images: read from files, checked before a fit, and written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf._files import check_regular, is_openable, replacing
from pyclnf._image_size import declared_maximum, declared_size
from pyclnf._limits import MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE
from pyclnf.errors import ImageError, ParameterError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["IMAGE_SUFFIXES", "as_pixels", "count_pictures", "read_photograph", "write_image"]

# Of pixels that the kernels read.
_DTYPES = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64))

# How far floats may lie outside of 0..255; up to what, beside negative ones, they are some unit of deviation.
_OVERSHOOT, _NORMALISED = 32.0, 8.0

# Where nothing in a picture is brighter, of 255, it is said.
_DARK = 32

IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
# Of pictures with faces drawn on them.
WRITTEN_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

# Of those that may hold several pictures.
_SEVERAL = (".gif", ".png", ".tif", ".tiff", ".webp")

# What files with an 'ftyp' box are that are no MP4.
_HEIF_BRANDS = (b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_RAW_BRANDS = (b"crx ",)


def shrunk(image: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], float]:
    """Return an image whose longer side is no more than so many px, and by what it was multiplied."""
    import cv2

    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = (max(1, round(factor * width)), max(1, round(factor * height)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), factor


def read_photograph(path: str | Path) -> tuple[NDArray[np.uint8], str | None]:
    """Read a photograph as BGR of 8 bits, turned as its EXIF data say.

    Images of 16 bits, grey, with a palette, alpha or CMYK are converted, PGM and
    PPM scaled to the white of their headers; of animations and files with
    several pages the first picture is taken.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    image : ndarray, shape (H, W, 3), uint8
    note : str or None
        What was done with an unusual file.

    Raises
    ------
    ImageError
        If there is no such file, or it is no image, damaged or larger than 180 megapixels.
    """
    import cv2

    path = Path(path)
    data = _read_bytes(path)
    # Before it is decoded: a small file may hold a picture that no memory does.
    size = declared_size(data)
    if size is None:
        raise ImageError(_foreign(path, data))
    _check_size(str(path), *size)
    white = _unscaled_white(data)
    flags = cv2.IMREAD_COLOR | (0 if white is None else cv2.IMREAD_ANYDEPTH)
    # A number at the end of a text is read to the blank behind it.
    ended = data + b"\n" if data[:2] in (b"P1", b"P2", b"P3") else data
    try:
        image = cv2.imdecode(np.frombuffer(ended, np.uint8), flags)
    except cv2.error as error:
        if "PIXELS" in str(error):
            raise ImageError(f"{path}: too large to be decoded: scale it down first") from error
        raise ImageError(f"{path}: damaged: {str(error).strip()}") from error
    if image is None:
        raise ImageError(_foreign(path, data))
    if white is not None:
        image = cv2.convertScaleAbs(image, alpha=255 / white)
    height, width = image.shape[:2]
    _check_size(str(path), width, height)
    return np.asarray(image, np.uint8), _note(path, data, image)


def _unscaled_white(data: bytes) -> int | None:
    """Return the value that a PGM or PPM file has for white, if OpenCV does not scale by it.

    It takes the upper eight bits of 16 whatever they are for, and those of 8 as they are but in a text.
    """
    white = declared_maximum(data)
    if white is None or white in (255, 65535) or (white < 255 and data[:2] in (b"P2", b"P3")):
        return None
    return white


def _read_bytes(path: Path) -> bytes:
    try:
        check_regular(path, ImageError)
        size = path.stat().st_size
        if size > MAX_IMAGE_BYTES:
            raise ImageError(f"{path}: {size} bytes, an image file has at most {MAX_IMAGE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    except ImageError:
        raise
    except ValueError as error:  # a name with a NUL
        raise ImageError(f"{path}: cannot be read: {error}") from error
    if not data:
        raise ImageError(f"{path}: the file is empty")
    return data


def _foreign(path: Path, data: bytes) -> str:
    import cv2

    if data.startswith(b"GIF8"):
        return (
            f"{path}: damaged, or OpenCV {cv2.__version__} reads no GIF: convert it to PNG, or update OpenCV"
        )
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return f"{path}: damaged, or a TIFF of 32 bits or more a value: scale it to 8 or 16 bits"
    if kind := _other_kind(data):
        return f"{path}: {kind}"
    return f"{path}: not an image, or damaged: JPEG, PNG, TIFF, BMP, GIF, WebP, PBM, PGM and PPM can be read"


def _other_kind(data: bytes) -> str | None:
    """Return what a file is that is often taken for an image, and what to do about it."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    remedy = "is not read: convert it to JPEG or PNG"
    if brand in _HEIF_BRANDS:
        return f"HEIC {remedy}"
    if brand in _AVIF_BRANDS:
        return f"AVIF {remedy}"
    if brand in _RAW_BRANDS:
        return f"a camera's raw file {remedy}"
    if data.startswith(b"%PDF"):
        return f"PDF {remedy}"
    if data[128:132] == b"DICM":
        return f"DICOM {remedy}"
    # MP4 and MOV, MKV and WebM, WMV, AVI.
    if (
        brand
        or data.startswith((b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11"))
        or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")
    ):
        return "this is a video: use pyclnf track"
    return None


def _check_size(what: str, width: int, height: int) -> None:
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise ImageError(
            f"{what}: {width} x {height} px are more than {MAX_PIXELS} pixels, or {MAX_SIDE} along a side: "
            "scale it down first"
        )


def _note(path: Path, data: bytes, image: NDArray[Any]) -> str | None:
    count = count_pictures(path)
    notes = [f"the first of {count} pictures in the file"] if count > 1 else []
    # As cameras of 10 and 12 bits write it: of 16 bits the upper eight are read. PNG says how many it has.
    deep = data[24] == 16 if data.startswith(b"\x89PNG") else path.suffix.lower() in (".tif", ".tiff")
    if deep and image.max() < _DARK:
        notes.append("very dark: if it has 10 or 12 bits in 16, scale it up first")
    return "; ".join(notes) or None


def count_pictures(path: Path) -> int:
    """Return how many pictures an image file holds that can be read, by its suffix and header."""
    import cv2

    if path.suffix.lower() not in _SEVERAL:
        return 1
    if is_openable(path):
        return int(cv2.imcount(str(path)))
    with TemporaryDirectory() as folder:
        copy = Path(folder) / f"copy{path.suffix}"
        # Neither, where the user's name is in it.
        if not is_openable(copy):
            return 1
        shutil.copyfile(path, copy)
        return int(cv2.imcount(str(copy)))


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write a picture, in one piece or not at all; the suffix says the format.

    Parameters
    ----------
    path : str or Path
        Its folder is made, if there is none.
    image : ndarray, shape (H, W) or (H, W, 3), uint8
        Grey or BGR.

    Raises
    ------
    ParameterError
        If the format is unknown.
    ImageError
        If the file cannot be written.
    """
    import cv2

    path = Path(path)
    try:
        done, data = cv2.imencode(path.suffix, image)
    except cv2.error:
        done = False
    if not done and path.suffix.lower() in WRITTEN_SUFFIXES:
        height, width = image.shape[:2]
        raise ImageError(
            f"{path}: a picture of {width} x {height} px cannot be written as {path.suffix} (JPEG takes "
            "65500 px along a side, WebP 16383): name a .png or .tif"
        )
    if not done:
        raise ParameterError(f"{path}: pictures are written as .png, .jpg or .tif, not {path.suffix!r}")
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise ImageError(f"{path}: cannot be written: {error.strerror}") from error


def as_pixels(image: NDArray[Any]) -> NDArray[Any]:
    """Return the image as (H, W, 1 or 3) in a dtype that the kernels read, without copying.

    Raises
    ------
    ImageError
        If the image has another shape or dtype, is larger than `MAX_PIXELS`, or has floats beyond 0..255.
    """
    if not isinstance(image, np.ndarray):
        remedy = "read files with cv2.imread, which returns None for a file that it cannot read"
        if hasattr(image, "__array__") or hasattr(image, "__array_interface__"):  # of PIL or torch
            remedy = "give np.asarray(image), (H, W, 3) with blue first: [:, :, ::-1] of RGB"
        elif sys.platform == "win32":
            remedy += ", such as any whose path is not ASCII: pyclnf.images.read_photograph reads those, too"
        raise ImageError(f"an image is a NumPy array, not {type(image).__name__}: {remedy}")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        first = image.ndim == 3 and image.shape[0] in (1, 3)
        hint = ": image.transpose(1, 2, 0) puts the channels last" if first else ""
        raise ImageError(
            f"an image is grey (H, W) or BGR (H, W, 3), not an array of shape {image.shape}{hint}"
        )
    if 0 in image.shape:
        raise ImageError(f"the image is empty: its shape is {image.shape}")
    _check_size("the image", image.shape[1], image.shape[0])
    if image.dtype == np.uint16:
        raise ImageError("the image has 16 bits: scale it to 0..255, e.g. (image / 257).astype(np.uint8)")
    if image.dtype not in _DTYPES:
        raise ImageError(
            f"an image is uint8, or float32 or float64 in 0..255, not {image.dtype}: convert it, e.g. "
            "image.astype(np.float32)"
        )
    if image.dtype != np.uint8:
        _check_range(image)
    return image[:, :, :3]


def _check_range(image: NDArray[Any]) -> None:
    """Refuse floats in 0..1, -1..1 and other ranges that libraries have: faces would have no contrast."""
    height, width = image.shape[:2]
    # Some thousand pixels say it of nearly all images, in a time that does not grow with them.
    some = image[:: 1 + height // 64, :: 1 + width // 64, :3]
    if _may_be_bytes(some.min(), some.max()):
        return
    low, high = image[:, :, :3].min(), image[:, :, :3].max()
    if np.isfinite((low, high)).all() and not _may_be_bytes(low, high):
        raise ImageError(
            f"an image of floats is in 0..255, but the values of this one lie in {low:.3g}..{high:.3g}: "
            "scale it, e.g. image * 255 if it is in 0..1"
        )


def _may_be_bytes(low: float, high: float) -> bool:
    """Return whether floats of this range may be in 0..255; resampling goes a little beyond its input."""
    if high <= 1:
        return low == high == 0
    return low >= -_OVERSHOOT and high <= 255 + _OVERSHOOT and (low >= 0 or high > _NORMALISED)
