"""Cameras and head pose: perspective instead of the PDM's weak perspective.

Camera coordinates: x right, y down, z away from the camera, in mm, the origin
in the camera. A point (X, Y, Z) is seen at ``x = fx X / Z + cx``,
``y = fy Y / Z + cy``. The head's rotation is ``R = Rx(rx) Ry(ry) Rz(rz)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyclnf import _kernels
from pyclnf.errors import ParameterError
from pyclnf.pdm import array_of, matrix_to_euler

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pyclnf.pdm import PDM, Parameters

    Float = NDArray[np.float64]

__all__ = ["Camera", "head_in_camera", "head_pose"]

MAX_ITERATIONS = 50
# Steps that change the squared error by less than this share have converged.
TOLERANCE = 1e-12
# The nearest part of a head is taken to be so far from the camera, or further, mm.
MIN_DISTANCE = 10.0
# The principal point of a camera is nearer to the middle of its pictures, as a share of their size.
MAX_OFF_MIDDLE = 0.15


@dataclass(frozen=True)
class Camera:
    """The intrinsics of a pinhole camera.

    Attributes
    ----------
    fx, fy : float
        Focal lengths, px.
    cx, cy : float
        Principal point, px.

    Examples
    --------
    >>> from pyclnf import Camera
    >>> camera = Camera.from_size(640, 480)
    >>> camera
    Camera(fx=500.0, fy=500.0, cx=320.0, cy=240.0)
    >>> camera.project([(0, 0, 1000), (100, 50, 1000)]).tolist()
    [[320.0, 240.0], [370.0, 265.0]]
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        try:
            for name in ("fx", "fy", "cx", "cy"):
                object.__setattr__(self, name, float(getattr(self, name)))
        except (TypeError, ValueError) as error:
            raise ParameterError(f"intrinsics are numbers, in px: {self}") from error
        if not np.isfinite([self.fx, self.fy, self.cx, self.cy]).all() or self.fx <= 0 or self.fy <= 0:
            raise ParameterError(f"focal lengths are positive and intrinsics finite, in px: {self}")

    @classmethod
    def from_size(cls, width: int, height: int) -> Camera:
        """Return a guess for images of unknown origin: OpenFace's.

        The focal length is the mean of 500 w / 640 and 500 h / 480, about the
        field of view of a webcam; the principal point is the image's centre.
        Depth is only as right as this focal length.

        Parameters
        ----------
        width, height : int
            Size of the image, px.
        """
        focal = (500.0 * width / 640.0 + 500.0 * height / 480.0) / 2.0
        return cls(focal, focal, width / 2.0, height / 2.0)

    def doubt(self, width: int, height: int) -> str | None:
        """Return why this is hardly the camera of images of a size, or None.

        Intrinsics of another size, or of an image that was turned, give other distances and angles.

        Parameters
        ----------
        width, height : int
            Size of the image, px.
        """
        off = abs(self.cx / width - 0.5), abs(self.cy / height - 0.5)
        if max(off) <= MAX_OFF_MIDDLE:
            return None
        return (
            f"the camera's principal point {self.cx:g},{self.cy:g} is far from the middle of "
            f"{width} x {height} px: is it that of another size, or not turned?"
        )

    def project(self, points: ArrayLike) -> Float:
        """Return the image of points.

        Parameters
        ----------
        points : array_like, shape (..., 3)
            Camera coordinates, mm.

        Returns
        -------
        ndarray, shape (..., 2), float64
            Pixels.

        Raises
        ------
        ParameterError
            If the points are no numbers, or have not three coordinates.
        """
        places = array_of(points, "points", np.float64, ParameterError)
        if not places.ndim or places.shape[-1] != 3:
            raise ParameterError(f"points have three coordinates, (..., 3), not {places.shape}")
        X, Y, Z = np.moveaxis(places, -1, 0)
        return np.stack([self.fx * X / Z + self.cx, self.fy * Y / Z + self.cy], axis=-1)


def check_camera(camera: Camera | None) -> None:
    """Refuse a camera that is none: its four numbers, or the focal length, are no `Camera` yet."""
    if camera is not None and not isinstance(camera, Camera):
        raise ParameterError(f"camera is a Camera, not {camera!r}: give Camera(fx, fy, cx, cy)")


def head_pose(pdm: PDM, parameters: Parameters, landmarks: ArrayLike, camera: Camera) -> Float:
    """Return where the head is and how it is turned, seen by a perspective camera.

    The pose whose perspective projection of the fitted shape is nearest to
    the landmarks (least squares in px), by Levenberg-Marquardt from the weak
    perspective pose of the fit. What the shape itself is turned, see `PDM.turn`,
    is the head's turn, too.

    Parameters
    ----------
    pdm : PDM
    parameters : Parameters
        Of the fit.
    landmarks : array_like, shape (n, 2)
        Of the fit, px.
    camera : Camera

    Returns
    -------
    ndarray, shape (6,), float64
        (X, Y, Z, rx, ry, rz): mm from the camera, radians; NaN if the parameters are.

    Raises
    ------
    ParameterError
        If the landmarks are not those of the PDM.
    """
    return head_in_camera(pdm, parameters, landmarks, camera)[0]


def head_in_camera(
    pdm: PDM, parameters: Parameters, landmarks: ArrayLike, camera: Camera
) -> tuple[Float, Float]:
    """Return the pose, see `head_pose`, and the fitted shape where it is before the camera.

    Parameters
    ----------
    pdm, parameters, landmarks, camera
        See `head_pose`.

    Returns
    -------
    pose : ndarray, shape (6,), float64
    landmarks_3d : ndarray, shape (n, 3), float64
        Camera coordinates, mm; NaN if the pose is.

    Raises
    ------
    ParameterError
        If the landmarks are not those of the PDM.
    """
    points = np.ascontiguousarray(landmarks, dtype=np.float64)
    if points.shape != (pdm.n_landmarks, 2):
        raise ParameterError(f"landmarks are {(pdm.n_landmarks, 2)}, px, not {points.shape}")
    if not np.isfinite(parameters.pose).all() or not np.isfinite(points).all():
        return np.full(6, np.nan), np.full((pdm.n_landmarks, 3), np.nan)
    shape = pdm.shape_3d(parameters.shape)
    scale, _, _, _, tx, ty = parameters.pose
    rotation = parameters.rotation
    # Of a face larger than the picture, no part behind the camera.
    depth = max(camera.fx / scale, MIN_DISTANCE - (shape @ rotation[2]).min())
    translation = depth * np.array([(tx - camera.cx) / camera.fx, (ty - camera.cy) / camera.fy, 1.0])
    intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    _kernels.perspective_pose(shape, points, intrinsics, MAX_ITERATIONS, TOLERANCE, rotation, translation)
    # How far the shape is turned itself counts as the head's turn. The points stay where they are.
    turned = rotation @ pdm.turn(parameters.shape) if len(pdm.rigid) else rotation
    return np.concatenate([translation, matrix_to_euler(turned)]), shape @ rotation.T + translation
