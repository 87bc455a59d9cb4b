"""The refiner: a last look at a face in a photograph, after the linear steps of the learned start.

The steps are linear in descriptors that nobody has learned. The refiner's features are
learned: a small network finds them in an upright patch about the landmarks, and they are
read around each landmark. What a layer of the landmark's own makes of them, for all
landmarks together, says how pose and shape change. Its layers work on whole numbers, as
those of `pyclnf.network` do.

Source: Trigeorgis et al., "Mnemonic Descent Method: A Recurrent Process Applied for
End-to-End Face Alignment", CVPR 2016, for features that are learned together with what
follows them; the parameters are those of a 3D PDM, as in `pyclnf.descent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf._arrays import converted
from pyclnf._limits import MAX_DESCENT_SAMPLES, MAX_NETWORK_SIDE, MAX_NUMBER
from pyclnf.errors import ModelError
from pyclnf.network import MIN_CONTRAST, read_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pyclnf.pdm import PDM

    Float = NDArray[np.float64]

__all__ = ["Refiner"]

_DTYPES = {
    "patch": np.float32,
    "layers": np.int32,
    "limits": np.float32,
    "weights": np.int8,
    "units": np.float32,
    "biases": np.float32,
    "offsets": np.float32,
}
# Layers that see numbers of all kinds: weights are int8, in their outputs' units.
_DENSE = ("point", "hidden", "last")


class Refiner:
    """A trained refiner, as a model file holds it.

    Parameters
    ----------
    pdm : PDM
    arrays : mapping of str to ndarray
        ``refiner/patch`` (side in px, px per mm of the face); ``refiner/layers``, ``..limits``,
        ``..weights``, ``..units`` and ``..biases`` as a `Network` has them, of which the last layer leaves
        (F, F, C) features; ``refiner/offsets`` (P, 2), where around a landmark they are read, mm;
        ``refiner/point_weights`` (n, P C, H), int8, of each landmark's own layer, ``refiner/hidden_weights``
        (n H + m + 9, W) of the one that sees what these say, the shape in standard deviations and the
        upright face's rotation, ``refiner/last_weights`` (n H + W, 6 + m) of the update of pose and the
        first m coefficients, each with its ``.._units`` and ``.._bias``.

    Attributes
    ----------
    n_modes : int
        Shape coefficients that change.

    Raises
    ------
    ModelError
        If an array is missing or does not fit the others.
    """

    def __init__(self, pdm: PDM, arrays: Mapping[str, NDArray[Any]]) -> None:
        dtypes: dict[str, Any] = dict(_DTYPES)
        for name in _DENSE:
            dtypes |= {f"{name}_weights": np.int8, f"{name}_units": np.float32, f"{name}_bias": np.float32}
        missing = [name for name in dtypes if f"refiner/{name}" not in arrays]
        if missing:
            raise ModelError(f"the model's refiner lacks the arrays {missing}")
        self._arrays = found = {
            name: converted(arrays, name, dtype, "refiner") for name, dtype in dtypes.items()
        }
        patch, offsets = found["patch"], found["offsets"]
        for name, values in found.items():
            # Also false for NaN.
            if values.dtype.kind == "f" and not np.abs(values).max(initial=0) <= MAX_NUMBER:
                raise ModelError(f"the refiner's {name} must be numbers up to {MAX_NUMBER:g}")
        if patch.shape != (2,) or not (2 <= patch[0] <= MAX_NETWORK_SIDE and 1e-6 <= patch[1] <= 100):
            raise ModelError(f"the refiner's patch is a side in px and px per mm, not {patch.tolist()}")
        if offsets.ndim != 2 or offsets.shape[1] != 2 or not 1 <= len(offsets) <= MAX_DESCENT_SAMPLES:
            raise ModelError(f"the refiner reads at 1 to {MAX_DESCENT_SAMPLES} places around a landmark")
        self.side, self.scale = int(patch[0]), float(patch[1])
        table, greatest, weights, units, biases = (
            found[name] for name in ("layers", "limits", "weights", "units", "biases")
        )
        layers = read_layers(table, greatest, weights, units, biases, self.side, "refiner")
        last, own = found["last_weights"], found["point_weights"]
        self.n_modes = (last.shape[-1] if last.ndim else 0) - 6
        if not 0 <= self.n_modes <= pdm.n_modes:
            raise ModelError(f"the refiner changes {self.n_modes} modes of a PDM of {pdm.n_modes}")
        n, m, width = pdm.n_landmarks, self.n_modes, own.shape[-1] if own.ndim else 0
        hidden = found["hidden_bias"].size
        shapes = {
            "point": (n, len(offsets) * layers.channels, width),
            "hidden": (n * width + m + 9, hidden),
            "last": (n * width + hidden, 6 + m),
        }
        for name, shape in shapes.items():
            row = shape[:-2] + shape[-1:]
            for array, wanted in (("weights", shape), ("units", row), ("bias", row)):
                given = found[f"{name}_{array}"].shape
                if given != wanted or 0 in wanted:
                    raise ModelError(f"the refiner's {name}_{array} has shape {given}, not {wanted}")
        self._arguments = (
            *layers.arguments,
            offsets.astype(np.float64),
            *(found[f"{name}_{array}"] for name in _DENSE for array in ("weights", "units", "bias")),
            pdm.mean,
            np.ascontiguousarray(pdm.components[:, :m].T),
            np.sqrt(pdm.eigenvalues[:m]),
            pdm.limits[:m],
        )

    @classmethod
    def read(cls, pdm: PDM, arrays: Mapping[str, NDArray[Any]]) -> Refiner | None:
        """Return the refiner that a model file holds, or None.

        Raises
        ------
        ModelError
            If an array is missing or does not fit the others.
        """
        return cls(pdm, arrays) if any(name.startswith("refiner/") for name in arrays) else None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names under which a `Model` keeps them."""
        return {f"refiner/{name}": values for name, values in self._arrays.items()}

    def run(self, crops: NDArray[np.uint8], rotations: Float, placements: Float, shapes: Float) -> None:
        """Move faces in crops from where they are taken to be to where they are seen.

        Parameters
        ----------
        crops : ndarray, shape (k, L, L), uint8
        rotations : ndarray, shape (N, 3, 3), float64
            As many faces of each crop, one after the other. Changed in place, as the next two are.
        placements : ndarray, shape (N, 3), float64
            (scale, tx, ty), px of the crop. Not finite where a damaged model leads out of all bounds.
        shapes : ndarray, shape (N, n_modes or more), float64
        """
        _kernels.refine_faces(
            crops[..., None], self.scale, MIN_CONTRAST, *self._arguments, np.empty((1, 2, 3)),
            np.empty((1, self.side, self.side), np.float32), rotations, placements, shapes,
        )  # fmt: skip
