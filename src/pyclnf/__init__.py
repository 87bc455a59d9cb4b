"""Facial landmarks with Constrained Local Neural Fields (CLNF)."""

from pyclnf.camera import Camera
from pyclnf.clnf import CLNF, FitInfo
from pyclnf.errors import (
    BoxError,
    DetectionError,
    DownloadError,
    FormatError,
    ImageError,
    ModelError,
    ParameterError,
    PyclnfError,
    TrainingError,
    VideoError,
)
from pyclnf.face import Face
from pyclnf.model import Model, load_model
from pyclnf.nu_rlms import FitParameters
from pyclnf.pdm import PDM, Parameters
from pyclnf.tracking import Tracker

__version__ = "0.1.0"

__all__ = [
    "CLNF",
    "PDM",
    "BoxError",
    "Camera",
    "DetectionError",
    "DownloadError",
    "Face",
    "FitInfo",
    "FitParameters",
    "FormatError",
    "ImageError",
    "Model",
    "ModelError",
    "ParameterError",
    "Parameters",
    "PyclnfError",
    "Tracker",
    "TrainingError",
    "VideoError",
    "__version__",
    "load_model",
]
