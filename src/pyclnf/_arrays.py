"""Arrays of a model file's learned start and refiner, and images, in the dtypes that the kernels take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import DTypeLike, NDArray

__all__ = ["as_bytes", "converted"]

_PARTS = {"start": "learned start", "refiner": "refiner"}


def as_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return floats in 0..255 rounded, what is no number as 0; bytes as they are."""
    if image.dtype == np.uint8:
        return image
    return np.asarray(np.rint(np.clip(np.nan_to_num(image), 0, 255)), np.uint8)


def converted(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: DTypeLike, part: str = "start"
) -> NDArray[Any]:
    """Return an array of a model file in the kernel's dtype, without changing whole numbers."""
    array = np.asarray(arrays[f"{part}/{name}"])
    if array.dtype.kind not in "iuf":
        raise ModelError(f"the {_PARTS[part]}'s {name} are no numbers, but {array.dtype}")
    with np.errstate(all="ignore"):  # what does not fit is found below, or by the check for finite numbers
        converted = np.ascontiguousarray(array, dtype)
    if converted.dtype.kind != "f" and not np.array_equal(converted, array):
        raise ModelError(f"the {_PARTS[part]}'s {name} do not fit into {converted.dtype}")
    return converted
