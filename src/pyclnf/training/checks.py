"""What trainings are given: checked, and in the types that they compute with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["are_numbers", "are_whole", "as_floats", "as_tuples", "listed"]

# Of images that are named in an error.
MAX_LISTED = 10


def are_whole(*values: Any) -> bool:
    """Say whether all are whole numbers by their type, not 2.0 or True."""
    return all(isinstance(value, Integral) and not isinstance(value, bool) for value in values)


def are_numbers(*values: Any) -> bool:
    """Say whether all are finite real numbers."""
    return all(isinstance(value, Real) and -np.inf < float(value) < np.inf for value in values)


def as_tuples(config: Any, *names: str) -> None:
    """Turn fields of a frozen configuration into tuples of Python's numbers, of lists or arrays of them.

    Raises
    ------
    TrainingError
        If one is none, or holds what is no number.
    """
    for name in names:
        value = getattr(config, name)
        # An array of no dimension is iterable by its type alone.
        single = isinstance(value, np.ndarray) and not value.ndim
        if single or isinstance(value, str) or not isinstance(value, Iterable):
            raise TrainingError(f"{name} are several numbers, ({value!r},) for example, not {value!r}")
        numbers = tuple(one.item() if isinstance(one, np.generic) else one for one in value)
        if not are_numbers(*numbers):
            raise TrainingError(f"{name} are finite numbers, not {value!r}")
        object.__setattr__(config, name, numbers)


def as_floats(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return an array of float64, or raise a TrainingError that says what is none."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        lengths = (
            [len(row) for row in values if isinstance(row, Sized)] if isinstance(values, Iterable) else []
        )
        odd = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
        why = error if odd is None else f"{odd} has a length of {lengths[odd]}, those before of {lengths[0]}"
        raise TrainingError(f"{name} are no array of numbers: {why}") from error


def listed(indices: Sequence[int] | NDArray[np.intp]) -> str:
    """Return the first of some indices for an error, and how many more there are."""
    text = ", ".join(str(int(i)) for i in indices[:MAX_LISTED])
    more = len(indices) - MAX_LISTED
    return f"{text} and {more} more" if more > 0 else text
