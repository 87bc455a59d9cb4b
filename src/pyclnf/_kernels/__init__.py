"""The gate to the compiled kernels: chooses a variant, and says which.

The best variant that this CPU can run is used. The environment variable
``PYCLNF_KERNELS`` forces one: ``avx512`` (x86-64 with AVX-512), ``avx2`` (x86-64
with AVX2 and FMA), ``baseline`` (any CPU of the platform) or ``reference`` (NumPy;
slow). A variant that cannot be used is an error: there is no silent fallback,
which would hide a broken installation behind a hundredfold loss of speed.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from pyclnf._kernels import alignment as alignment
from pyclnf._kernels import layout as layout

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "VARIANT",
    "VARIANTS",
    "apply_folded_sigma",
    "apply_sigma",
    "average_areas",
    "axis_taps",
    "close_openings",
    "cut_square",
    "deform",
    "describe_points",
    "extent",
    "filter_images",
    "fit_scale",
    "jacobian",
    "likelihoods",
    "load_variant",
    "look_at_faces",
    "mean_shift",
    "mirror_faces",
    "mirror_image",
    "mix_faces",
    "neuron_responses",
    "normal_equations",
    "nu_rlms_pass",
    "perspective_pose",
    "place_areas",
    "pool_images",
    "refine_faces",
    "response_maps",
    "run_cascade",
    "run_layers",
    "sample_areas",
    "shrink_image",
    "sobel_magnitude",
    "solve",
    "take_steps",
    "turned_landmarks",
    "weigh_descriptors",
    "weigh_maps",
]

VARIANTS = ("avx512", "avx2", "baseline", "reference")


class KernelImportError(ImportError):
    """A variant of the kernels is missing, damaged or unusable on this CPU."""


def load_variant(name: str) -> ModuleType:
    """Return the module of one variant of the kernels.

    Parameters
    ----------
    name : {"avx512", "avx2", "baseline", "reference"}

    Returns
    -------
    module

    Raises
    ------
    KernelImportError
        If the name is unknown, or the variant is not installed or cannot run on this CPU.
    """
    if name not in VARIANTS:
        raise KernelImportError(f"unknown kernels {name!r}: PYCLNF_KERNELS is one of {', '.join(VARIANTS)}")
    if name == "avx2" and not load_variant("baseline").has_avx2():
        raise KernelImportError("this CPU or its operating system has no AVX2 with FMA: unset PYCLNF_KERNELS")
    if name == "avx512" and not load_variant("baseline").has_avx512():
        raise KernelImportError("this CPU or its operating system has no AVX-512: unset PYCLNF_KERNELS")
    try:
        return importlib.import_module(f"pyclnf._kernels._{name}")
    except ImportError as error:
        raise KernelImportError(
            f"pyclnf's compiled kernels ({name}) cannot be loaded: {error}. Install pyclnf again, from a "
            "wheel, or with a C compiler from source; PYCLNF_KERNELS=reference uses slow NumPy kernels."
        ) from error


def _best() -> str:
    """Return the fastest variant that this CPU can run and this platform builds."""
    baseline = load_variant("baseline")
    if baseline.has_avx512():
        return "avx512"
    return "avx2" if baseline.has_avx2() else "baseline"


VARIANT = os.environ.get("PYCLNF_KERNELS") or _best()
_module = load_variant(VARIANT)

apply_folded_sigma = _module.apply_folded_sigma
apply_sigma = _module.apply_sigma
average_areas = _module.average_areas
axis_taps = _module.axis_taps
close_openings = _module.close_openings
cut_square = _module.cut_square
deform = _module.deform
describe_points = _module.describe_points
extent = _module.extent
filter_images = _module.filter_images
fit_scale = _module.fit_scale
jacobian = _module.jacobian
likelihoods = _module.likelihoods
look_at_faces = _module.look_at_faces
mean_shift = _module.mean_shift
mirror_faces = _module.mirror_faces
mirror_image = _module.mirror_image
mix_faces = _module.mix_faces
neuron_responses = _module.neuron_responses
normal_equations = _module.normal_equations
nu_rlms_pass = _module.nu_rlms_pass
perspective_pose = _module.perspective_pose
refine_faces = _module.refine_faces
response_maps = _module.response_maps
run_cascade = _module.run_cascade
run_layers = _module.run_layers
place_areas = _module.place_areas
pool_images = _module.pool_images
sample_areas = _module.sample_areas
shrink_image = _module.shrink_image
sobel_magnitude = _module.sobel_magnitude
solve = _module.solve
take_steps = _module.take_steps
turned_landmarks = _module.turned_landmarks
weigh_descriptors = _module.weigh_descriptors
weigh_maps = _module.weigh_maps
