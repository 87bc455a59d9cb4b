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
    """Base class of every error that pyclnf raises on purpose.

    Examples
    --------
    >>> from pyclnf import CLNF, PyclnfError
    >>> try:
    ...     CLNF("missing.npz")
    ... except PyclnfError as error:
    ...     print(type(error).__name__)
    ModelError
    """


class ModelError(PyclnfError):
    """A model file is missing, foreign, damaged or does not fit the rest of the model.

    Examples
    --------
    >>> from pyclnf import ModelError, load_model
    >>> try:
    ...     load_model("missing.npz")
    ... except ModelError as error:
    ...     print(error)
    missing.npz: ...
    """


class ImageError(PyclnfError, ValueError):
    """An image cannot be read or has a shape or dtype that a fit cannot use.

    Examples
    --------
    >>> import cv2
    >>> from pyclnf import CLNF, ImageError
    >>> try:
    ...     CLNF().fit(cv2.imread("missing.jpg"), (10, 10, 90, 90))
    ... except ImageError as error:
    ...     print(error)
    an image is a NumPy array, not NoneType: read files with cv2.imread, ...
    """


class BoxError(PyclnfError, ValueError):
    """A box is not four finite numbers with a positive width and height, or lies outside the image.

    Examples
    --------
    >>> import numpy as np
    >>> from pyclnf import CLNF, BoxError
    >>> try:
    ...     CLNF().fit(np.zeros((90, 90), np.uint8), (100, 10, 90, 90))
    ... except BoxError as error:
    ...     print(error)
    the box (100.0, 10.0, 90.0, 90.0) lies outside the image of 90 x 90 px
    """


class ParameterError(PyclnfError, ValueError):
    """A fit parameter or option is unknown or out of its range.

    Examples
    --------
    >>> from pyclnf import FitParameters, ParameterError
    >>> try:
    ...     FitParameters(windows=(10, 8, 6))
    ... except ParameterError as error:
    ...     print(error)
    a window is an odd number from 3 to 31, or 0, not 10
    """


class DetectionError(PyclnfError):
    """A face detector is missing or failed.

    Examples
    --------
    >>> import numpy as np
    >>> from pyclnf import CLNF, DetectionError
    >>> try:
    ...     CLNF().detect(np.zeros((90, 90), np.uint8), detector=lambda image: [[1, 2, 3]])
    ... except DetectionError as error:
    ...     print(error)
    the detector <function ...> gave an array of shape (1, 3): a detector returns one row a face, ...
    """


class VideoError(PyclnfError):
    """A video or image sequence cannot be opened or read.

    Examples
    --------
    >>> from pyclnf import CLNF, VideoError
    >>> try:
    ...     next(CLNF().track("missing.mp4"))
    ... except VideoError as error:
    ...     print(error)
    there is no video missing.mp4: check the path ...
    """


class DownloadError(PyclnfError):
    """A model could not be downloaded or does not match its checksum.

    Examples
    --------
    >>> from pyclnf import DownloadError
    >>> from pyclnf.store import download_openface
    >>> try:
    ...     download_openface(accept_terms=False)
    ... except DownloadError as error:
    ...     print(str(error).splitlines()[0])
    nothing is downloaded without your consent to these terms:
    """


class FormatError(PyclnfError, ValueError):
    """A file of landmarks is missing, damaged, foreign, or needs a package that is not installed.

    Examples
    --------
    >>> from pyclnf import FormatError, formats
    >>> try:
    ...     formats.read_csv("missing.csv")
    ... except FormatError as error:
    ...     print(error)
    missing.csv: cannot be read: ...
    """


class TrainingError(PyclnfError, ValueError):
    """Training data are missing, inconsistent or too few.

    Examples
    --------
    >>> from pyclnf import TrainingError
    >>> from pyclnf.training import TrainingConfig
    >>> try:
    ...     TrainingConfig(windows=(8,))
    ... except TrainingError as error:
    ...     print(error)
    windows are odd numbers from 3 to 31, not (8,)
    """
