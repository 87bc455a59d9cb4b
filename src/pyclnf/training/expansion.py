"""What a fit adds to its shapes, so that the rare ones are shown as much as they are there.

Experts and prior know most of all what is common: lids that are nearly closed are drawn apart, wide ones
together, and an eye that closes less than the other one does so even less in the fit. How much of it is lost
can be told on faces whose truth is known, and be given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyclnf.errors import TrainingError
from pyclnf.training.checks import are_numbers, are_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyclnf.pdm import PDM

__all__ = ["shape_expansion"]

# How much a landmark on an edge of an opening weighs where as little as possible is to move; others weigh 1.
_OWN_WEIGHT = 0.01

# Beyond this, two of the openings are one.
MAX_CONDITION = 1e8


def shape_expansion(
    pdm: PDM, openings: Sequence[tuple[Sequence[int], Sequence[int]]], share: float
) -> NDArray[np.float64]:
    """Return by which matrix shapes have openings that differ more from those of the mean shape.

    As little as possible moves besides.

    Parameters
    ----------
    pdm : PDM
    openings : sequence of pairs of sequences of int
        Landmarks of the upper and of the lower edge of each. How far it is open is the difference of
        their mean heights.
    share : float
        By which share of what there is the openings' differences from those of the mean shape grow.

    Returns
    -------
    ndarray, shape (m, m), float64
        To be kept in a `Model` as the array ``fit/expansion``: times the shape coefficients of a fit it is
        what `CLNF` adds to them.

    Raises
    ------
    TrainingError
        If an opening is no pair of edges, a landmark does not exist, an edge has none, or the modes cannot
        move the openings one by one.
    """
    n = pdm.n_landmarks
    heights = pdm.components[n : 2 * n]
    used: set[int] = set()
    rows = []
    if not are_numbers(share):
        raise TrainingError(f"a share is a number, not {share!r}")
    for opening in openings:
        try:
            upper, lower = (list(edge) for edge in opening)
        except (TypeError, ValueError) as error:
            raise TrainingError(f"an opening is its upper and its lower edge, not {opening!r}") from error
        if not upper or not lower or not all(are_whole(i) and 0 <= i < n for i in (*upper, *lower)):
            raise TrainingError(f"an opening has edges of landmarks from 0 to {n - 1}, not {opening}")
        used |= {*upper, *lower}
        rows.append(heights[lower].mean(axis=0) - heights[upper].mean(axis=0))
    wider = np.array(rows).reshape(-1, pdm.n_modes)
    weights = np.ones(n)
    weights[list(used)] = _OWN_WEIGHT
    moved = (pdm.components.T * np.tile(weights, 3)) @ pdm.components
    # Of all changes of the shape that widen one opening by a unit, and no other, the one that moves least.
    try:
        directions = np.linalg.solve(moved, wider.T)
        apart = wider @ directions
        if not np.linalg.cond(apart) < MAX_CONDITION:
            raise np.linalg.LinAlgError
        directions = np.linalg.solve(apart, directions.T).T
    except np.linalg.LinAlgError as error:
        raise TrainingError("the modes of the PDM cannot move the openings one by one") from error
    return np.asarray(share * directions @ wider)
