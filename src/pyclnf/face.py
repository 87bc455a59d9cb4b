"""What a fit gives back: a face, in one photograph or in one frame of a video."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf.camera import Camera, head_in_camera
from pyclnf.confidence import TRUSTED
from pyclnf.pdm import Parameters, box_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from pyclnf.nu_rlms import FitResult
    from pyclnf.pdm import PDM

    Float = NDArray[np.float64]

__all__ = ["Face"]

# Fits whose likelihood is above that of the least likely face by less than this are doubtful.
DOUBTFUL = 0.2

# Two faces overlap by less than this (intersection over union), or they are one.
SAME_FACE = 0.4


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one image.

    Where nothing was fitted (no face, a broken frame) the numbers are NaN and `success` is False.

    Attributes
    ----------
    landmarks : ndarray, shape (n, 2), float32
        Pixels, 0-based, x right, y down.
    landmarks_3d : ndarray, shape (n, 3), float64
        mm in the camera's coordinates: x right, y down, z away, the origin in the camera.
    pose : ndarray, shape (6,), float64
        (X, Y, Z, rx, ry, rz) of the head before the camera, mm and radians, R = Rx Ry Rz; see `head_pose`.
    params : Parameters
        Pose (s, rx, ry, rz, tx, ty) and shape under weak perspective.
    success : bool
        False if the landmarks should not be used.
    failure : str or None
        Why not.
    likelihood : float
        Mean logarithm of the landmarks' likelihoods. Comparable between fits of one model and parameter set.
    landmark_likelihoods : ndarray, shape (n,), float64
        NaN where the view does not see the landmark.
    confidence : float or None
        Probability, 0..1, that the landmarks are right; None unless the model is calibrated for it.
    score : float
        The detector's score; NaN if the face was not detected in this image but tracked into it.
    detected : bool
        Whether the fit started from a box of this image rather than from the frame before.
    face_id : int
        Which face: the same number for the same face through a video, the
        rank by size in a photograph. In a frame without any -1, but 0 where one face alone is followed.
    frame : int
        0-based index of the frame; 0 for photographs.
    timestamp : float
        Seconds from the beginning of the video; 0 for photographs.

    Examples
    --------
    >>> import cv2
    >>> from pyclnf import CLNF
    >>> (face,) = CLNF().detect(cv2.imread("examples/rendered_face.jpg"))
    >>> face.landmarks.shape, face.landmarks_3d.shape, face.pose.shape
    ((68, 2), (68, 3), (6,))
    >>> face
    Face(id 0, frame 0, 0.000 s, box (..., ..., ..., ...), likelihood ..., ok)
    """

    landmarks: NDArray[np.float32]
    landmarks_3d: Float = field(repr=False)
    pose: Float
    params: Parameters = field(repr=False)
    success: bool = True
    failure: str | None = None
    likelihood: float = float("nan")
    landmark_likelihoods: Float = field(default_factory=lambda: np.empty(0), repr=False)
    confidence: float | None = None
    score: float = float("nan")
    detected: bool = False
    face_id: int = 0
    frame: int = 0
    timestamp: float = 0.0

    def __repr__(self) -> str:
        state = "ok" if self.success else f"failed: {self.failure}"
        x, y, w, h = self.box
        return (
            f"Face(id {self.face_id}, frame {self.frame}, {self.timestamp:.3f} s, "
            f"box ({x:.0f}, {y:.0f}, {w:.0f}, {h:.0f}), likelihood {self.likelihood:.2f}, {state})"
        )

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(x, y, w, h) around the landmarks, px; NaN without landmarks."""
        x, y, w, h = box_of(self.landmarks)
        return float(x), float(y), float(w), float(h)

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Landmarks that the view of the last scale sees, (n,)."""
        return np.isfinite(self.landmark_likelihoods)

    @classmethod
    def from_fit(
        cls,
        pdm: PDM,
        params: Parameters,
        landmarks: ArrayLike,
        camera: Camera,
        *,
        failure: str | None = None,
        **values: Any,
    ) -> Face:
        """Return the face of a fit, with its pose before the camera.

        Parameters
        ----------
        pdm : PDM
            Of the model that was fitted.
        params : Parameters
        landmarks : array_like, shape (n, 2)
        camera : Camera
        failure : str, optional
            Why the fit failed.
        **values
            The other attributes.
        """
        pose, landmarks_3d = head_in_camera(pdm, params, landmarks, camera)
        return cls(
            landmarks=np.asarray(landmarks, dtype=np.float32),
            landmarks_3d=landmarks_3d,
            pose=pose,
            params=params,
            success=failure is None,
            failure=failure,
            **values,
        )

    @classmethod
    def missing(
        cls, pdm: PDM, failure: str, *, face_id: int = -1, frame: int = 0, timestamp: float = 0.0
    ) -> Face:
        """Return the row of an image in which nothing could be fitted.

        Parameters
        ----------
        pdm : PDM
            For the number of landmarks and modes.
        failure : str
            Why.
        face_id, frame, timestamp : optional
            See the attributes.
        """
        n = pdm.n_landmarks
        return cls(
            landmarks=np.full((n, 2), np.nan, np.float32),
            landmarks_3d=np.full((n, 3), np.nan),
            pose=np.full(6, np.nan),
            params=Parameters(np.full(6, np.nan), np.full(pdm.n_modes, np.nan)),
            success=False,
            failure=failure,
            landmark_likelihoods=np.full(n, np.nan),
            face_id=face_id,
            frame=frame,
            timestamp=timestamp,
        )


def low_likelihood(likelihood: float, bound: float) -> str | None:
    """Return why a fit counts as failed, or None if its likelihood is high enough."""
    return None if likelihood >= bound else f"the likelihood {likelihood:.2f} is below {bound:.2f}: no face"


def failure_of(result: FitResult, bound: float, confidence: float | None = None) -> str | None:
    """Return why a fit failed, or None if it shows a face: one that is likely, or trusted.

    bound: the least likelihood of a face. confidence: of this fit, if it is known. The likelihood of small
    faces is low; the confidence knows more where the mirror image was looked at, too. From one look it is
    little but another bound of the likelihood.
    """
    seen_twice = result.failure is None and result.disagreement is not None
    if seen_twice and confidence is not None and confidence >= TRUSTED:
        return None
    return result.failure or low_likelihood(result.likelihood, bound)


def box_overlap(a: Float, b: Float) -> float:
    """Return the intersection over union of two boxes (x, y, w, h)."""
    sides = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.clip(sides, 0, None).prod())
    union = float(a[2] * a[3] + b[2] * b[3]) - common
    return common / union if union > 0 else 0.0


def box_distance(a: Float, b: Float) -> float:
    """Return the distance of two boxes' middles in units of the larger one's size."""
    size = math.sqrt(max(a[2] * a[3], b[2] * b[3]))
    return float(np.linalg.norm(a[:2] + a[2:] / 2 - b[:2] - b[2:] / 2)) / max(size, 1e-9)


def is_among(box: Float, others: Iterable[Float]) -> bool:
    """Return whether a box is on the same face as one of others."""
    return any(box_overlap(box, other) >= SAME_FACE for other in others)


def boxes_alike(a: Float, b: Float) -> bool:
    """Return whether two boxes have sizes of one face, a moment apart."""
    return 0.5 < math.sqrt(a[2:].prod() / b[2:].prod()) < 2.0
