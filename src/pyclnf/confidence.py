"""The confidence of a fit: the probability that its landmarks are right.

A logistic function of the fit's likelihood, of how unusual its shape is, and of
how far apart the looks at the image and at its mirror image lie, if there were
both. It is calibrated for a model and a parameter set on faces with known
landmarks (`pyclnf.training.calibrate`); its numbers are in the model's metadata.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pyclnf.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyclnf.nu_rlms import FitResult
    from pyclnf.pdm import PDM

__all__ = ["TRUSTED", "confidence", "shape_energy"]

# From which on landmarks are trusted: they are more likely right than not.
TRUSTED = 0.5
# Where the set that a fit used is not calibrated, the set that is closest to it.
STAND_INS = {"tracking": "video"}


def shape_energy(pdm: PDM, result: FitResult) -> float:
    """Return the mean squared shape coefficient, in variances of its mode: about 1 for a usual face."""
    q = result.parameters.shape
    return float((q * q / pdm.eigenvalues).sum()) / q.size if q.size else 0.0


def confidence(metadata: Mapping[str, Any], pdm: PDM, result: FitResult, parameter_set: str) -> float | None:
    """Return the probability that a fit's landmarks are right.

    Parameters
    ----------
    metadata : mapping
        Of the model. ``metadata["confidence"][set]`` holds ``intercept``, ``likelihood`` and ``shape``. For
        fits whose start looked at the mirror image, too, there may be ``set_mirrored`` with other numbers,
        and one more for ``disagreement``.
    pdm : PDM
    result : FitResult
    parameter_set : str
        Name of the set that the fit used.

    Returns
    -------
    float or None
        0..1; 0 for a fit that failed, None if the model is not calibrated for the set.
    """
    calibrated = metadata.get("confidence", {})
    numbers = calibrated.get(parameter_set, calibrated.get(STAND_INS.get(parameter_set, "")))
    mirrored, apart = calibrated.get(f"{parameter_set}_mirrored"), 0.0
    if mirrored is not None and result.disagreement is not None:
        numbers, apart = mirrored, math.log1p(result.disagreement)
    if numbers is None:
        return None
    if result.failure is not None or not (math.isfinite(result.likelihood) and math.isfinite(apart)):
        return 0.0
    try:
        logit = (
            float(numbers["intercept"])
            + float(numbers["likelihood"]) * result.likelihood
            + float(numbers["shape"]) * shape_energy(pdm, result)
            + float(numbers.get("disagreement", 0.0)) * apart
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the model's confidence for {parameter_set!r} is wrong: {numbers!r}") from error
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, logit))))
