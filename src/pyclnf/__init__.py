"""Facial landmarks with Constrained Local Neural Fields (CLNF)."""

from pyclnf.clnf import CLNF, FitInfo
from pyclnf.errors import (
    BoxError,
    ImageError,
    ModelError,
    ParameterError,
    PyclnfError,
)
from pyclnf.model import Model, load_model
from pyclnf.nu_rlms import FitParameters
from pyclnf.pdm import PDM, Parameters

__version__ = "0.1.0"

__all__ = [
    "CLNF",
    "PDM",
    "BoxError",
    "FitInfo",
    "FitParameters",
    "ImageError",
    "Model",
    "ModelError",
    "ParameterError",
    "Parameters",
    "PyclnfError",
    "__version__",
    "load_model",
]
