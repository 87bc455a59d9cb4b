"""The point distribution model: shape parameters to landmarks and back.

A shape in object space (millimetres) is ``S = mean + V q``; it is seen under
weak perspective, ``x = s (R S)_x + tx``, ``y = s (R S)_y + ty``. The pose is
``(s, rx, ry, rz, tx, ty)`` with ``R = Rx(rx) Ry(ry) Rz(rz)``; *s* is in pixels
per millimetre, angles are in radians, translations in pixels.

Source: Saragih, Lucey, Cohn, "Deformable Model Fitting by Regularized Landmark
Mean-Shift", IJCV 2011, section 2; Baltrusaitis, "Automatic facial expression
analysis", Cambridge 2014, chapter 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _kernels
from pyclnf._limits import MAX_LANDMARKS, MAX_MODES, MAX_NUMBER, MIN_VARIANCE
from pyclnf.errors import BoxError, ModelError, ParameterError, PyclnfError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Float = NDArray[np.float64]

__all__ = [
    "PDM",
    "Parameters",
    "ShapePrior",
    "axis_angle_to_matrix",
    "euler_to_matrix",
    "matrix_to_axis_angle",
    "matrix_to_euler",
]

# A shape coefficient may be this many standard deviations from the mean.
MAX_DEVIATIONS = 3.0

# How far a shape may be from a start's guess, standard deviations of the prior about it.
PRIOR_DEVIATIONS = 4.0

# How far a landmark has to pass the one that covers it until it has its depth, too, mm.
CONTACT_DEPTH = 0.5

# In place of `PDM._openings` where landmarks are meant as the modes have them.
NO_OPENINGS = np.empty((0, 2), np.int32), np.empty(0), CONTACT_DEPTH

# A shape that spans no more has no area, mm.
MIN_SPAN = 1e-9
# Landmarks that are turned by more than this, radians, against the rotation to begin at turn it first.
_FAR_ROLL = math.pi / 4
# Extents of the mean shape are kept for so many rotations: those of the usual starts.
MAX_EXTENTS = 16


def euler_to_matrix(euler: ArrayLike) -> Float:
    """Return the rotation ``R = Rx(rx) Ry(ry) Rz(rz)``.

    Parameters
    ----------
    euler : array_like, shape (3,)
        Angles (rx, ry, rz) in radians.

    Returns
    -------
    ndarray, shape (3, 3), float64
    """
    # In plain numbers: three angles take NumPy longer.
    rx, ry, rz = np.asarray(euler, dtype=np.float64).tolist()
    if not all(map(math.isfinite, (rx, ry, rz))):
        return np.full((3, 3), np.nan)
    cx, cy, cz = math.cos(rx), math.cos(ry), math.cos(rz)
    sx, sy, sz = math.sin(rx), math.sin(ry), math.sin(rz)
    return np.array(
        [
            [cy * cz, -cy * sz, sy],
            [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
            [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
        ]
    )


def matrix_to_euler(rotation: ArrayLike) -> Float:
    """Return the angles (rx, ry, rz) of a rotation ``R = Rx Ry Rz``.

    ry is within ±pi/2. Where ry is ±pi/2 only one combination of rx and rz is
    determined (gimbal lock); rz is then 0.

    Parameters
    ----------
    rotation : array_like, shape (3, 3)

    Returns
    -------
    ndarray, shape (3,), float64
        Radians.
    """
    return np.array(euler_angles(np.asarray(rotation, dtype=np.float64).tolist()))


def euler_angles(rotation: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Return what `matrix_to_euler` does, in plain numbers: NumPy takes longer for three."""
    (a, b, c), (_, e, f), (_, h, i) = rotation
    # atan2 of both columns keeps full precision near ±pi/2, where asin loses half the digits.
    cosine = math.hypot(a, b)
    # Not true for NaN.
    if cosine < 1e-12:
        return math.atan2(h, e), math.atan2(c, cosine), 0.0
    return math.atan2(-f, i), math.atan2(c, cosine), math.atan2(-b, a)


def axis_angle_to_matrix(axis_angle: ArrayLike) -> Float:
    """Return the rotation about an axis by the axis' length (Rodrigues' formula).

    Parameters
    ----------
    axis_angle : array_like, shape (3,)
        Axis times angle in radians. Zero gives the identity exactly.

    Returns
    -------
    ndarray, shape (3, 3), float64
    """
    x, y, z = np.asarray(axis_angle, dtype=np.float64).tolist()
    angle = math.hypot(x, y, z)
    if not math.isfinite(angle):
        return np.full((3, 3), np.nan)
    # sin(a) / a and (1 - cos a) / a^2, in forms without cancellation.
    s, c = _sinc(angle), 0.5 * _sinc(angle / 2) ** 2
    return np.array(
        [
            [1 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y],
            [c * x * y + s * z, 1 - c * (x * x + z * z), c * y * z - s * x],
            [c * x * z - s * y, c * y * z + s * x, 1 - c * (x * x + y * y)],
        ]
    )


def _sinc(angle: float) -> float:
    return math.sin(angle) / angle if angle != 0 else 1.0


def matrix_to_axis_angle(rotation: ArrayLike) -> Float:
    """Return the axis times the angle, in [0, pi], of a rotation (the inverse of Rodrigues' formula).

    At an angle of pi both signs of the axis are right; the one whose first
    component that is not zero is positive is returned.

    Parameters
    ----------
    rotation : array_like, shape (3, 3)

    Returns
    -------
    ndarray, shape (3,), float64
        Radians.
    """
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(rotation, dtype=np.float64).tolist()
    # By way of the quaternion, built from its largest component: no division by a small number anywhere.
    products = (
        (1 + a + e + i, h - f, c - g, d - b),
        (h - f, 1 + a - e - i, d + b, c + g),
        (c - g, d + b, 1 - a + e - i, h + f),
        (d - b, c + g, h + f, 1 - a - e + i),
    )
    w, *axis = products[max(range(4), key=lambda k: products[k][k])]  # of any length
    # Unlike the root of a sum of squares, hypot does not underflow at angles below 1e-154.
    sine = math.hypot(*axis)
    if sine == 0.0:
        return np.zeros(3)
    if w < 0 or (w == 0.0 and next(filter(None, axis)) < 0):
        w, sine = -w, -sine
    factor = 2.0 * math.atan2(abs(sine), w) / sine
    return np.array([factor * part for part in axis])


@dataclass(frozen=True, eq=False)
class Parameters:
    """Pose and shape of one face.

    Attributes
    ----------
    pose : ndarray, shape (6,), float64
        ``(s, rx, ry, rz, tx, ty)``: px per mm, radians, px.
    shape : ndarray, shape (m,), float64
        Coefficients *q* of the shape modes, mm.

    Examples
    --------
    >>> import numpy as np
    >>> from pyclnf import Parameters
    >>> frontal = Parameters(np.array([1.5, 0, 0, 0, 320, 240]), np.zeros(34))
    >>> bool((frontal.rotation == np.eye(3)).all())
    True
    """

    pose: Float
    shape: Float

    def __post_init__(self) -> None:
        if np.shape(self.pose) != (6,):
            raise ParameterError(f"a pose is (s, rx, ry, rz, tx, ty), not of shape {np.shape(self.pose)}")

    @property
    def rotation(self) -> Float:
        """The rotation matrix, (3, 3)."""
        return euler_to_matrix(self.pose[1:4])

    def copy(self) -> Parameters:
        """Return the same with arrays of its own."""
        return Parameters(np.array(self.pose), np.array(self.shape))


class PDM:
    """A point distribution model of *n* landmarks and *m* shape modes.

    Parameters
    ----------
    mean : array_like, shape (3n,) or (3, n)
        Mean shape in mm, ordered x1..xn, y1..yn, z1..zn.
    components : array_like, shape (3n, m)
        Orthonormal shape modes, one a column.
    eigenvalues : array_like, shape (m,)
        Variances of the modes, mm^2, all positive.
    contacts : array_like of int, shape (k, 2), optional
        Pairs of landmarks on the two edges of an opening, of lids or lips: the one that is covered where the
        edges meet, and the one that covers it. In the mean shape the first is above or below the second.
        A sum of modes can take it to the other side, where no edge is ever seen; the landmarks that this PDM
        returns do not go there, see `shape_3d`.
    rigid : array_like of int, shape (r,), optional
        Landmarks by which it is told how far a shape is turned itself, see `turn`: those of the inner face,
        where the outline's lie on other places of the head when it is turned.

    Raises
    ------
    ModelError
        If the shapes do not fit together, are larger than docs/limits.md says, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from pyclnf import PDM, Parameters
    >>> corners = [-50, 50, 0, 40, 40, -60, 0, 0, 0]  # x1 x2 x3, y1 y2 y3, z1 z2 z3, mm
    >>> wider = np.array([[-1], [1], [0], [0], [0], [0], [0], [0], [0]]) / np.sqrt(2)
    >>> pdm = PDM(corners, wider, [100.0])
    >>> pdm
    PDM(n_landmarks=3, n_modes=1)
    >>> start = pdm.from_box((10, 20, 200, 200))
    >>> pdm.landmarks_2d(start).round(6).tolist()
    [[10.0, 220.0], [210.0, 220.0], [110.0, 20.0]]
    >>> found = pdm.fit_landmarks([(12, 220), (208, 220), (110, 20)])
    >>> bool(abs(found.shape[0]) < 3 * np.sqrt(pdm.eigenvalues[0]))
    True
    """

    def __init__(
        self,
        mean: ArrayLike,
        components: ArrayLike,
        eigenvalues: ArrayLike,
        contacts: ArrayLike | None = None,
        rigid: ArrayLike | None = None,
    ) -> None:
        # Copies: the caller's arrays stay as they are, and this one's, too.
        self.mean: Float = array_of(mean, "a PDM's mean", np.float64)
        if self.mean.ndim == 2 and self.mean.shape[1] == 3 != self.mean.shape[0]:
            raise ModelError(
                f"a PDM's mean is x1 .. xn, y1 .. yn, z1 .. zn, (3n,) or (3, n), not {self.mean.shape}: of "
                "landmarks (n, 3) it is their transpose"
            )
        self.mean = self.mean.reshape(-1)
        self.components: Float = array_of(components, "a PDM's components", np.float64)
        self.eigenvalues: Float = array_of(eigenvalues, "a PDM's eigenvalues", np.float64).reshape(-1)
        if self.mean.size == 0 or self.mean.size % 3:
            raise ModelError(f"a PDM's mean has three coordinates a landmark; got {self.mean.size} values")
        if self.components.shape != (self.mean.size, self.eigenvalues.size):
            raise ModelError(
                f"a PDM with {self.mean.size} coordinates and {self.eigenvalues.size} eigenvalues needs "
                f"components of shape {(self.mean.size, self.eigenvalues.size)}, not {self.components.shape}"
            )
        if self.n_landmarks > MAX_LANDMARKS or self.n_modes > MAX_MODES:
            raise ModelError(
                f"a PDM of {self.n_landmarks} landmarks and {self.n_modes} modes: at most {MAX_LANDMARKS} "
                f"and {MAX_MODES} are taken; leave out the modes of least variance"
            )
        for name in ("mean", "components", "eigenvalues"):
            if not np.isfinite(getattr(self, name)).all():
                raise ModelError(f"the PDM's {name} hold values that are not finite")
            if np.abs(getattr(self, name)).max(initial=0) > MAX_NUMBER:
                raise ModelError(f"the PDM's {name} hold values beyond {MAX_NUMBER:g}")
        if (self.eigenvalues < MIN_VARIANCE).any():
            raise ModelError(f"the PDM's eigenvalues must all be positive, at least {MIN_VARIANCE:g}")
        # Bounds of the shape coefficients' magnitudes.
        self.limits: Float = MAX_DEVIATIONS * np.sqrt(self.eigenvalues)
        self.contacts: NDArray[np.int32] = self._checked_contacts(contacts)
        covered, covering = self.mean.reshape(3, -1)[1][self.contacts.T]
        # As the kernels take them, see `close_openings`.
        self._openings = self.contacts, np.sign(covered - covering), CONTACT_DEPTH
        self.rigid: NDArray[np.int32] = self._checked_rigid(rigid)
        inner = self.mean.reshape(3, -1)[::2, self.rigid]
        # Of the mean shape, x and z about their middle.
        self._rigid_mean: Float = inner - inner.mean(axis=1, keepdims=True) if self.rigid.size else inner
        for array in (self.mean, self.components, self.eigenvalues, self.limits, self.contacts, self.rigid):
            array.flags.writeable = False
        # By how much a landmark moves, at the root mean square, when the mean face turns by a radian, mm.
        self.radius = float(np.sqrt((self.mean**2).sum() / self.n_landmarks))
        self._extents: dict[tuple[float, float, float], tuple[list[float], list[float]]] = {}

    def _checked_contacts(self, contacts: ArrayLike | None) -> NDArray[np.int32]:
        n = self.n_landmarks
        pairs = array_of([] if contacts is None else contacts, "a PDM's contacts")
        if not pairs.size:
            return np.empty((0, 2), np.int32)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise ModelError(
                f"a PDM's contacts are pairs of landmarks (k, 2), not {pairs.dtype} {pairs.shape}"
            )
        if pairs.min() < 0 or pairs.max() >= n or len(np.unique(pairs)) != pairs.size:
            raise ModelError(f"a PDM's contacts name each landmark of 0..{n - 1} once at most")
        y = self.mean[n : 2 * n]
        level = y[pairs[:, 0]] == y[pairs[:, 1]]
        if level.any():
            a, b = pairs[level][0]
            raise ModelError(f"the contact of {a} and {b}: in the mean shape neither is above the other")
        return pairs.astype(np.int32)

    def _checked_rigid(self, rigid: ArrayLike | None) -> NDArray[np.int32]:
        n = self.n_landmarks
        chosen = array_of([] if rigid is None else rigid, "a PDM's rigid landmarks")
        if not chosen.size:
            return np.empty(0, np.int32)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise ModelError(
                f"a PDM's rigid landmarks are their numbers (r,), not {chosen.dtype} {chosen.shape}"
            )
        if chosen.min() < 0 or chosen.max() >= n or len(np.unique(chosen)) != chosen.size:
            raise ModelError(f"a PDM's rigid landmarks name each of 0..{n - 1} once at most")
        if np.ptp(self.mean.reshape(3, -1)[::2, chosen], axis=1).max() <= MIN_SPAN:
            raise ModelError("a PDM's rigid landmarks do not lie apart: no turn can be told by them")
        return chosen.astype(np.int32)

    @property
    def n_landmarks(self) -> int:
        """Number of landmarks, n."""
        return self.mean.size // 3

    @property
    def n_modes(self) -> int:
        """Number of shape modes, m."""
        return self.eigenvalues.size

    def __repr__(self) -> str:
        return f"PDM(n_landmarks={self.n_landmarks}, n_modes={self.n_modes})"

    # --- parameters -> landmarks

    def shape_3d(self, shape: ArrayLike) -> Float:
        """Return the landmarks in object space, ``mean + V q``, with edges that meet.

        Where ``mean + V q`` has the covered landmark of a pair of `contacts` on the wrong side of the other
        one, it is put at the other one's height, and after the first half millimetre in its depth.

        Parameters
        ----------
        shape : array_like, shape (m,)
            Shape coefficients q, mm.

        Returns
        -------
        ndarray, shape (n, 3), float64
            Millimetres.
        """
        points = self.deformed(shape).reshape(3, -1)
        _kernels.close_openings(*self._openings, points)
        return np.ascontiguousarray(points.T)

    def deformed(self, shape: ArrayLike) -> Float:
        """Return ``mean + V q`` as the mean is ordered, (3n,)."""
        out = np.empty(self.mean.size)
        _kernels.deform(self.mean, self.components, self.coefficients(shape), out)
        return out

    def turn(self, shape: ArrayLike) -> Float:
        """Return how a shape is turned itself about the head's vertical axis, against the mean shape.

        Landmarks of the outline are where the outline is seen: on a turned head they lie on other places of
        it. A model learns this as modes that turn the inner face within the outline, so that a part of a
        head's yaw is in the shape.

        Parameters
        ----------
        shape : array_like, shape (m,)

        Returns
        -------
        ndarray, shape (3, 3), float64
            The rotation about y that brings the mean's `rigid` landmarks closest to the shape's; none without
            any.
        """
        angle, q = 0.0, self.coefficients(shape)
        if len(self.rigid):
            x, z = self._rigid_mean
            whole = self.deformed(q).reshape(3, -1)
            to_x, to_z = whole[0][self.rigid], whole[2][self.rigid]
            angle = math.atan2(to_x @ z - to_z @ x, to_x @ x + to_z @ z)
        return euler_to_matrix((0.0, angle, 0.0))

    def coefficients(self, shape: ArrayLike) -> Float:
        """Return the shape coefficients as the kernels take them."""
        values = array_of(shape, "shape coefficients", np.float64, ParameterError)
        if values.shape != self.eigenvalues.shape:
            raise ParameterError(
                f"this PDM has {self.n_modes} shape coefficients: give ({self.n_modes},), not {values.shape}"
            )
        return values

    def landmarks_2d(self, parameters: Parameters) -> Float:
        """Return the landmarks in the image.

        Parameters
        ----------
        parameters : Parameters

        Returns
        -------
        ndarray, shape (n, 2), float64
            Pixels, 0-based, x right, y down.
        """
        return self._projected(parameters, 2, closed=True)

    def landmarks_3d(self, parameters: Parameters) -> Float:
        """Return the landmarks in the camera's orientation, ``R S``, in millimetres.

        Parameters
        ----------
        parameters : Parameters

        Returns
        -------
        ndarray, shape (n, 3), float64
        """
        return self._projected(parameters, 3, closed=True)

    def _projected(self, parameters: Parameters, axes: int, *, closed: bool) -> Float:
        pose, shape = np.ascontiguousarray(parameters.pose, np.float64), self.coefficients(parameters.shape)
        openings, out = self._openings if closed else NO_OPENINGS, np.empty((self.n_landmarks, axes))
        _kernels.turned_landmarks(self.mean, self.components, *openings, pose, shape, out)
        return out

    # --- landmarks -> parameters

    def from_box(self, box: ArrayLike, rotation: ArrayLike = (0.0, 0.0, 0.0)) -> Parameters:
        """Return the mean shape placed into a box.

        The scale is the mean of the ratios of width and height, and the
        middle of the projected shape is put in the middle of the box.

        Parameters
        ----------
        box : array_like, shape (4,)
            (x, y, w, h) in px, tight around the landmarks themselves (face
            outline left to right, brows to chin).
        rotation : array_like, shape (3,)
            Euler angles to start from, radians.

        Returns
        -------
        parameters : Parameters

        Raises
        ------
        BoxError
            If the box is not four finite numbers with positive width and height.
        ModelError
            If the mean shape spans no area in this rotation.
        """
        x, y, w, h = check_box(box)
        euler = array_of(rotation, "the angles of a starting rotation", np.float64, ParameterError)
        if euler.shape != (3,) or not all(map(math.isfinite, euler.tolist())):
            raise ParameterError(f"a starting rotation is three finite angles in radians, not {rotation!r}")
        rx, ry, rz = euler.tolist()
        scale, tx, ty = self.placement(x, y, w, h, (rx, ry, rz))
        return Parameters(np.array([scale, rx, ry, rz, tx, ty]), np.zeros(self.n_modes))

    def placement(
        self, x: float, y: float, w: float, h: float, rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> tuple[float, float, float]:
        """Return scale and translation (s, tx, ty) of the mean shape placed into a box, see `from_box`.

        Parameters
        ----------
        x, y, w, h : float
            The box, px.
        rotation : tuple of float
            Euler angles, radians.

        Raises
        ------
        ModelError
            If the mean shape spans no area in this rotation.
        """
        (left, top), (right, bottom) = self._extent(rotation)
        scale = (w / (right - left) + h / (bottom - top)) / 2
        return scale, x + w / 2 - scale * (left + right) / 2, y + h / 2 - scale * (top + bottom) / 2

    def _extent(self, rotation: tuple[float, float, float]) -> tuple[list[float], list[float]]:
        """Return the ends (x, y) of the mean shape as it looks in a rotation, low and high."""
        extent = self._extents.get(rotation)
        if extent is None:
            projected = self.mean.reshape(3, -1).T @ euler_to_matrix(rotation)[:2].T
            low, high = projected.min(axis=0), projected.max(axis=0)
            if not (high - low > MIN_SPAN).all():
                raise ModelError("the PDM's mean shape, turned as the start says, spans no area")
            extent = low.tolist(), high.tolist()
            if len(self._extents) < MAX_EXTENTS:
                self._extents[rotation] = extent
        return extent

    def fit_landmarks(
        self,
        landmarks: ArrayLike,
        rotation: ArrayLike = (0.0, 0.0, 0.0),
        *,
        visible: ArrayLike | None = None,
        max_iterations: int = 1000,
    ) -> Parameters:
        """Return the parameters whose projection, edges that meet apart, is closest to given landmarks.

        Damped least squares with regularisation 1/eigenvalue, started at the
        box of the points with the mean shape; it ends when the error has not
        improved for a few iterations.

        Parameters
        ----------
        landmarks : array_like, shape (n, 2)
            Pixels.
        rotation : array_like, shape (3,)
            Euler angles to start from, radians.
        visible : array_like of bool, shape (n,), optional
            Landmarks to use (default: all).
        max_iterations : int
            Bound on the number of steps.

        Returns
        -------
        parameters : Parameters

        Raises
        ------
        ParameterError
            If the landmarks have another shape, are not finite where visible, or span no area.
        """
        points = array_of(landmarks, "landmarks", np.float64, ParameterError)
        n = self.n_landmarks
        if points.shape != (n, 2):
            raise ParameterError(f"this PDM has {n} landmarks: give an array ({n}, 2), not {points.shape}")
        marks = np.ones(n, bool) if visible is None else visible
        used = array_of(marks, "marks of visible landmarks", np.bool_, ParameterError)
        if used.shape != (n,) or used.sum() < 3:
            raise ParameterError(f"visible must mark at least 3 of the {n} landmarks")
        if not np.isfinite(points[used]).all():
            raise ParameterError("the landmarks hold values that are not finite")
        low, high = points[used].min(axis=0), points[used].max(axis=0)
        if not (high > low).all():
            raise ParameterError("the landmarks lie on one line: their box has no area")
        current = self._from_points_box(low, high, used, rotation)
        roll = _turn_between(self._projected(current, 2, closed=False)[used], points[used])
        if abs(roll) > _FAR_ROLL:
            # From there steps would lead to a face of negative size.
            turned = euler_to_matrix((0.0, 0.0, roll)) @ current.rotation
            current = self._from_points_box(low, high, used, matrix_to_euler(turned))
        weights = np.repeat(used, 2).astype(np.float64)
        regularisation = np.concatenate([np.zeros(6), 1.0 / self.eigenvalues])
        best, best_error, stalled = current, np.inf, 0
        for _ in range(max_iterations):
            residual = np.where(used[:, None], points - self._projected(current, 2, closed=False), 0.0)
            error = float(np.sqrt((residual**2).sum()))
            # Only a real improvement counts, or float noise would keep the loop going.
            if error < best_error * (1 - 1e-6):
                best, best_error, stalled = current, error, 0
            else:
                stalled += 1
                if stalled > 3:
                    break
            J = self.jacobian(current)
            H = J.T @ (J * weights[:, None]) + np.diag(regularisation)
            # The damping keeps the system positive definite when few landmarks are used.
            H[np.diag_indices_from(H)] += 1e-12 * np.trace(H)
            g = J.T @ residual.reshape(-1) - regularisation * np.concatenate([np.zeros(6), current.shape])
            step = np.empty(len(g))
            if not _kernels.solve(H, g, step):
                break
            current = self.update(current, step)
        return best

    def _from_points_box(
        self, low: Float, high: Float, used: NDArray[np.bool_], rotation: ArrayLike
    ) -> Parameters:
        """Place the mean shape so that its *used* landmarks fill the box of the used points."""
        if used.all():
            return self.from_box([*low, *(high - low)], rotation)
        subset = PDM(self.mean.reshape(3, -1)[:, used].reshape(-1), np.zeros((3 * int(used.sum()), 0)), [])
        return Parameters(subset.from_box([*low, *(high - low)], rotation).pose, np.zeros(self.n_modes))

    # --- derivatives and steps

    def jacobian(self, parameters: Parameters, *, rigid: bool = False) -> Float:
        """Return the derivative of the image landmarks, edges that meet apart, by the parameters.

        Columns: scale, three small rotations applied on the right
        (``R' = R (I + [w]x)``), tx, ty, and one a shape mode.

        Parameters
        ----------
        parameters : Parameters
        rigid : bool
            Only the first six columns.

        Returns
        -------
        ndarray, shape (2n, 6 or 6 + m), float64
            Rows x1, y1, x2, y2, ...; px per unit of the parameter.
        """
        n, m = self.n_landmarks, 0 if rigid else self.n_modes
        out = np.empty((2 * n, 6 + m))
        _kernels.jacobian(
            np.ascontiguousarray(self.deformed(parameters.shape).reshape(3, -1).T),
            np.ascontiguousarray(parameters.rotation),
            float(parameters.pose[0]),
            self.components,
            out,
        )
        return out

    def update(self, parameters: Parameters, step: ArrayLike) -> Parameters:
        """Return the parameters after a step along the Jacobian's columns.

        Scale, translation and shape add; the rotation is multiplied by the
        orthonormalised small rotation. NaN angles become 0 and the shape is clamped.

        Parameters
        ----------
        parameters : Parameters
        step : array_like, shape (6,) or (6 + m,)

        Returns
        -------
        parameters : Parameters
        """
        shape = self.coefficients(parameters.shape)
        d = array_of(step, "a step's numbers", np.float64, ParameterError)
        if d.shape not in ((6,), (6 + self.n_modes,)):
            raise ParameterError(f"a step has 6 or {6 + self.n_modes} numbers, not {d.shape}")
        pose = parameters.pose + np.concatenate([d[:1], np.zeros(3), d[4:6]])
        # The orthonormal factor of I + [w]x is the rotation about w by atan |w|: no SVD is needed.
        w = d[1:4]
        length = np.sqrt(w @ w)
        small = w * (np.arctan(length) / length) if length > 0 else w
        pose[1:4] = matrix_to_euler(parameters.rotation @ axis_angle_to_matrix(small))
        pose[1:4] = np.where(np.isnan(pose[1:4]), 0.0, pose[1:4])
        return Parameters(pose, shape if d.size == 6 else self.clamp(shape + d[6:]))

    def clamp(self, shape: ArrayLike) -> Float:
        """Return the shape coefficients limited to three standard deviations.

        Parameters
        ----------
        shape : array_like, shape (m,)

        Returns
        -------
        ndarray, shape (m,), float64

        Raises
        ------
        ParameterError
            If there are more or fewer coefficients than modes.
        """
        return np.minimum(np.maximum(self.coefficients(shape), -self.limits), self.limits)


class ShapePrior:
    """How true shapes lie about a start's guess: normal, in directions of its own.

    A fit from such a start is held to the guess, as far as guesses are known to be right, instead of to the
    mean shape.

    Parameters
    ----------
    pdm : PDM
    basis : ndarray, shape (m, m)
        Orthonormal directions in the space of shape coefficients, one a column.
    variances : ndarray, shape (m,)
        Of the true shape about the guess along each.
    """

    def __init__(self, pdm: PDM, basis: Float, variances: Float) -> None:
        self.basis = np.ascontiguousarray(basis, np.float64)
        self.variances = np.ascontiguousarray(variances, np.float64)
        # One mode after the other: a matrix product rounds otherwise with another number of BLAS threads.
        self.components: Float = np.zeros_like(pdm.components)
        for column, row in zip(pdm.components.T, self.basis, strict=True):
            self.components += column[:, None] * row
        self.limits: Float = PRIOR_DEVIATIONS * np.sqrt(self.variances)


def _turn_between(a: Float, b: Float) -> float:
    """Return the angle, radians, by which points a (n, 2) are turned in the plane to lie best on points b."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return math.atan2(float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()), float((a * b).sum()))


def box_of(landmarks: ArrayLike) -> Float:
    """Return the box (x, y, w, h) around landmarks (n, 2)."""
    bounds = np.empty(4)
    _kernels.extent(np.ascontiguousarray(landmarks, np.float64), bounds)
    bounds[2:] -= bounds[:2]
    return bounds


def array_of(
    values: ArrayLike, what: str, dtype: DTypeLike | None = None, kind: type[PyclnfError] = ModelError
) -> NDArray[Any]:
    """Return a copy as an array, or raise an error of the kind that says what is none."""
    try:
        return np.array(values, dtype, order="C")
    except (TypeError, ValueError) as error:
        raise kind(f"{what} are an array of numbers, rows of one length: {error}") from error


def check_box(box: ArrayLike) -> tuple[float, float, float, float]:
    """Return the box as four floats, or raise BoxError saying what is wrong with it."""
    try:
        values = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(f"a box is four numbers (x, y, w, h), not {box!r}") from error
    if values.shape != (4,):
        raise BoxError(f"a box is four numbers (x, y, w, h), not {box!r}")
    x, y, w, h = values.tolist()
    if not all(map(math.isfinite, (x, y, w, h))):
        raise BoxError(f"the box {box!r} holds values that are not finite")
    if w <= 0 or h <= 0 or w * h == 0:
        raise BoxError(f"the box {box!r} has no area: give (x, y, w, h) with positive width and height")
    return x, y, w, h
