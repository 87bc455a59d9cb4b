"""The errors that pyclnf raises: each names the input that was wrong and what to do about it."""

__all__ = [
    "BoxError",
    "DetectionError",
    "DownloadError",
    "FormatError",
    "ImageError",
    "ModelError",
    "ParameterError",
    "PyclnfError",
    "TrainingError",
    "VideoError",
]


class PyclnfError(Exception):
    """Base class of every error that pyclnf raises on purpose."""


class ModelError(PyclnfError):
    """A model file is missing, foreign, damaged or does not fit the rest of the model."""


class ImageError(PyclnfError, ValueError):
    """An image cannot be read or has a shape or dtype that a fit cannot use."""


class BoxError(PyclnfError, ValueError):
    """A box is not four finite numbers with a positive width and height."""


class ParameterError(PyclnfError, ValueError):
    """A fit parameter or option is unknown or out of its range."""


class DetectionError(PyclnfError):
    """A face detector is missing or failed."""


class VideoError(PyclnfError):
    """A video or image sequence cannot be opened or read."""


class DownloadError(PyclnfError):
    """A model could not be downloaded or does not match its checksum."""


class FormatError(PyclnfError, ValueError):
    """A file of landmarks is missing, damaged, foreign, or needs a package that is not installed."""


class TrainingError(PyclnfError, ValueError):
    """Training data are missing, inconsistent or too few."""
