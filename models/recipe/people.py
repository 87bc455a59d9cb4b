"""Random people: identities, expressions (ordinary, strong, one-sided) and their weights on the mesh."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from assets import Assets
from mesh import BaseMesh, macro_weights, smooth_step
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

__all__ = [
    "Expression", "Identity", "IdentityModes", "sample_expression", "sample_identity", "vary_form",
    "vary_neck",
]  # fmt: skip

Weights = dict[str, float]
_OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"),
)  # fmt: skip
_FACE_GROUPS = ("head", "eyes", "nose", "mouth", "chin", "cheek", "forehead", "eyebrows", "ears", "neck")
_PAIRED_UNITS = (
    "browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekSquint", "eyeBlink", "eyeSquint", "eyeWide",
    "mouthDimple", "mouthFrown", "mouthFunnel", "mouthLowerDown", "mouthPress", "mouthPucker",
    "mouthRollLower", "mouthRollUpper", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip

# Curves along which two models' points may slide, each with the neighbours of its ends, and the points that
# do not.
_CURVES = (
    [0, *range(17), 16],
    [41, *range(36, 42), 36],
    [47, *range(42, 48), 42],
    [59, *range(48, 60), 48],
    [67, *range(60, 68), 60],
)
_FIXED = (36, 39, 42, 45, 48, 51, 54, 57, 60, 62, 64, 66)


class IdentityModes:
    """Identity modes of ICT-FaceKit (68 points) carried onto the whole mesh by smooth interpolation.

    Parameters
    ----------
    assets
        Where the modes are.
    points
        The 68 points on the mean head, shape (68, 3), mm.
    head
        The mean head.
    count
        Number of modes.
    """

    def __init__(self, assets: Assets, points: NDArray, head: NDArray, count: int) -> None:
        with np.load(assets.ict) as ict:
            mean, modes = ict["m"].astype(float), ict["ids"][:count].astype(float)
        inner = np.r_[0:17, 27:68]  # the brows' height differs most between the two models
        a, b = mean[inner].mean(0), points[inner].mean(0)
        u, s, vt = np.linalg.svd((points[inner] - b).T @ (mean[inner] - a))
        turn, scale = u @ vt, s.sum() / ((mean[inner] - a) ** 2).sum()
        difference = _without_slides(scale * (mean - a) @ turn.T + b - points, points)
        modes = scale * modes @ turn.T
        # Neck, shoulders and the back of the skull stay.
        back = np.flatnonzero((head[:, 1] < 600) | ((head[:, 2] < -20) & (head[:, 1] > 650)))[::60]
        centres = np.r_[points, head[back]]
        values = np.concatenate([difference[None], modes]).transpose(1, 0, 2).reshape(68, -1)
        values = np.r_[values, np.zeros((len(back), values.shape[1]))]
        near = np.flatnonzero(head[:, 1] > 540)
        field_ = RBFInterpolator(centres, values, kernel="linear", smoothing=4.0, degree=0)
        basis = np.zeros((count + 1, len(head), 3), np.float32)
        basis[:, near] = field_(head[near]).reshape(len(near), count + 1, 3).transpose(1, 0, 2)
        self._basis = basis.reshape(count + 1, -1)

    def __call__(self, coefficients: NDArray[np.floating]) -> NDArray[np.float32]:
        """Displacement of all vertices (n, 3); coefficient 0 is the share of ICT's mean face."""
        return (np.asarray(coefficients, np.float32) @ self._basis).reshape(-1, 3)


def _without_slides(difference: NDArray, points: NDArray) -> NDArray[np.float64]:
    """Take out of differences of two models' points what is none of shape: sliding along jaw, lids and lips.

    The jaw's points lie at other depths, too, except for those of the chin.
    """
    left = difference.copy()
    for curve in _CURVES:
        sliding = ~np.isin(curve[1:-1], _FIXED)
        own = np.array(curve[1:-1])[sliding]
        along = (points[curve[2:], :2] - points[curve[:-2], :2])[sliding]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        left[own, :2] -= (left[own, :2] * along).sum(axis=1, keepdims=True) * along
    left[[*range(6), *range(11, 17)], 2] = 0
    return left


@dataclass
class Identity:
    """A person."""

    weights: Weights
    modes: NDArray[np.float64]
    gender: float
    age: float
    race: dict[str, float]
    gaze_shift: float | None = None
    """Degrees downwards by which the eyes turn to bring the iris between the lids; set when first needed."""
    form: NDArray[np.float32] | None = None
    """Displacement of all vertices (n, 3), mm, that no target and no mode has."""

    @property
    def is_male(self) -> bool:
        """Whether skin, hair and beard are chosen as a man's."""
        return self.gender > 0.5


@dataclass
class Expression:
    """What the face does. ``palsy_side`` is -1 on the subject's right, 1 on the left, 0 without palsy."""

    weights: Weights
    kind: str
    palsy_side: int = 0
    palsy_degree: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    activity: float = 0.0
    extra: dict[str, float] = field(default_factory=dict)


def detail_pairs(base: BaseMesh) -> list[tuple[str | None, str]]:
    """(decreasing, increasing) detail targets of the face; None where a target has no opposite."""
    out: list[tuple[str | None, str]] = []
    for name in base.names:
        if name.split("/")[0] not in _FACE_GROUPS:
            continue
        for low, high in _OPPOSITES:
            if name.endswith("-" + low) and name[: -len(low)] + high in base.index:
                out.append((name, name[: -len(low)] + high))
                break
        else:
            if not any(name.endswith("-" + end) for pair in _OPPOSITES for end in pair):
                out.append((None, name))
    return out


def sample_identity(base: BaseMesh, rng: np.random.Generator, cfg: dict[str, Any]) -> Identity:
    """Draw a person; ``cfg`` is the configuration's section ``identity``."""
    gender = float(np.clip(rng.beta(0.35, 0.35), 0, 1))
    span = [(0.13, 0.3), (0.35, 0.65), (0.6, 0.97)][rng.choice(3, p=[0.08, 0.60, 0.32])]
    age = float(rng.uniform(*span))
    race = dict(zip(("caucasian", "african", "asian"), rng.dirichlet([0.5] * 3).tolist(), strict=True))
    weights = macro_weights(
        gender, age, race, float(rng.uniform(0.2, 0.8)), float(np.clip(rng.normal(0.5, 0.25), 0, 1))
    )
    sd = cfg["detail_sd"] * float(np.exp(rng.normal(0, 0.2)))
    left_values: dict[str, float] = {}
    for low, high in detail_pairs(base):
        twin = high.replace("/r-", "/l-")
        if twin in left_values:
            value = left_values[twin] + rng.normal(0, cfg["asymmetry_sd"])
        else:
            spread = sd * (
                0.5 if "trans" in high else 1.6 if ("epicanthus" in high or "eyefold" in high) else 1
            )
            value = rng.normal(0, spread) if low else max(0.0, rng.normal(-0.5 * spread, spread))
            if "/l-" in high:
                left_values[high] = value
        value = float(np.clip(value, -0.8, 0.8))
        if value > 0:
            weights[high] = value
        elif low:
            weights[low] = -value
    for name in base.names:
        if name.startswith("asym/asym-") and rng.random() < cfg["asymmetry_probability"]:
            weights[name] = float(rng.uniform(0, 0.4))
    modes = rng.normal(0, cfg["ict_mode_sd"], cfg["ict_modes"] + 1).clip(-2, 2)
    modes[0] = rng.uniform(*cfg["ict_mean_share"])
    return Identity(weights, modes, gender, age, race)


def vary_neck(rng: np.random.Generator, base: BaseMesh, identity: Identity) -> None:
    """Give a person another neck, often a double chin, from which the jaw hardly stands out."""
    for low, high in detail_pairs(base):
        if low is None or not high.startswith("neck/"):
            continue
        if "neck-double" in high:
            value = float(rng.uniform(0, 1.2)) if rng.random() < 0.6 else 0.0
        elif "height" in high or "trans" in high:
            continue
        else:
            value = float(np.clip(rng.normal(0, 0.4), -1, 1))
        identity.weights.pop(high, None)
        identity.weights.pop(low, None)
        identity.weights[high if value > 0 else low] = abs(value)


def vary_form(
    rng: np.random.Generator, head: NDArray[np.floating], eyes: NDArray[np.floating], identity: Identity
) -> None:
    """Give a face a form of its own: bend it smoothly, both sides mostly alike, by a quarter to two mm.

    Parameters
    ----------
    rng
        Draws how much, how finely and in which way.
    head
        The mean head, shape (n, 3), mm.
    eyes
        The eyeballs' centres (2, 3): they move, but they and the lids before them keep their shape.
    identity
        Gets the form.
    """
    length = float(rng.uniform(30, 60))  # between the nodes of the field
    # No more than the skin bears without folds.
    amount = float(np.exp(rng.normal(0, 0.5)).clip(0.25, length / 27))
    low = np.array([-110.0, 520.0, -60.0])
    nodes = np.ceil(np.array([220.0, 380.0, 260.0]) / length).astype(int) + 3
    places = np.r_[head, eyes].astype(float)
    x, y, z = places.T

    def drawn(at: NDArray[np.float64]) -> NDArray[np.float64]:
        where = ((at - low) / length + 1).T
        axes = [map_coordinates(rng.standard_normal(nodes), where, mode="nearest") for _ in range(3)]
        return np.stack(axes, axis=1)

    alike = drawn(np.column_stack([np.abs(x), y, z]))
    alike[:, 0] *= np.sign(x) * smooth_step(np.abs(x), 0.0, 20.0)
    field_ = 0.95 * alike + 0.3 * drawn(places)
    # Neck, shoulders and the back of the skull stay.
    field_ *= (smooth_step(y, 545, 605) * smooth_step(z, -40, 30))[:, None]
    for eye, shift in zip(eyes, field_[len(head) :].copy(), strict=True):
        free = smooth_step(np.linalg.norm(places - eye, axis=1), 17.0, 34.0)[:, None]
        field_ = free * field_ + (1 - free) * shift
    face = (z > 60) & (y > 600) & (y < 790)
    field_ *= amount / np.sqrt((field_[face] ** 2).mean())
    identity.form = field_[: len(head)].astype(np.float32)


def _action(rng: np.random.Generator, kind: str) -> tuple[Weights, Weights]:
    """Units of one kind of expression: (paired, single)."""
    u = rng.uniform
    paired: Weights = {}
    single: Weights = {}
    if kind in ("smile", "laugh"):
        s = u(0.3, 0.9)
        paired = {
            "mouthSmile": s,
            "cheekSquint": s * u(0, 0.8),
            "eyeSquint": s * u(0, 0.6),
            "mouthDimple": u(0, 0.4),
        }
    if kind == "grin":
        paired = {
            "mouthSmile": u(0.6, 1.2),
            "cheekSquint": u(0.2, 1),
            "eyeSquint": u(0.1, 0.7),
            "mouthUpperUp": u(0.4, 1.2),
            "mouthLowerDown": u(0.2, 0.9),
            "mouthStretch": u(0, 0.4),
            "mouthDimple": u(0, 0.4),
        }
        single = {"jawOpen": u(0, 0.3)}
    if kind == "laugh":
        single = {"jawOpen": u(0.05, 0.4)}
        paired |= {"mouthUpperUp": u(0.1, 0.6), "mouthLowerDown": u(0.1, 0.6), "mouthStretch": u(0, 0.3)}
    if kind == "open":
        single = {"jawOpen": u(0.2, 1.0)}
    if kind == "pucker":
        paired = {str(rng.choice(["mouthPucker", "mouthFunnel"])): u(0.3, 1)}
    if kind == "frown":
        paired = {"mouthFrown": u(0.3, 1), "browDown": u(0, 0.6)}
        single = {"mouthShrugLower": u(0, 0.7)}
    if kind == "surprise":
        paired = {"eyeWide": u(0.2, 1), "browInnerUp": u(0.3, 1), "browOuterUp": u(0.3, 1)}
        single = {"jawOpen": u(0, 0.6)}
    if kind == "anger":
        paired = {
            "browDown": u(0.4, 1), "noseSneer": u(0, 0.9), "mouthPress": u(0, 0.8), "eyeSquint": u(0, 0.7)
        }  # fmt: skip
    if kind == "talk":
        single = {"jawOpen": u(0.05, 0.35)}
        paired = {"mouthFunnel": u(0, 0.5), "mouthLowerDown": u(0, 0.6), "mouthUpperUp": u(0, 0.5)}
    if kind == "snarl":
        paired = {"noseSneer": u(0.3, 1), "mouthUpperUp": u(0.3, 1), "browDown": u(0, 0.5)}
    if kind == "teeth":
        paired = {"mouthStretch": u(0.4, 1), "mouthLowerDown": u(0.3, 1), "mouthUpperUp": u(0, 0.6)}
    if kind == "brows":
        paired = {"browInnerUp": u(0.3, 1), "browOuterUp": u(0.3, 1)}
    if kind in ("closed", "squeeze"):
        paired = {"eyeBlink": 1.0}
    if kind == "squeeze":
        paired |= {
            "eyeSquint": u(0.3, 1),
            "browDown": u(0.2, 0.8),
            "noseSneer": u(0, 0.6),
            "cheekSquint": u(0.2, 1),
        }
    if kind == "random":
        paired = {str(k): u(0.1, 0.8) for k in rng.choice(_PAIRED_UNITS, 4, replace=False)}
    return paired, single


_KINDS = {
    "neutral": 0.17, "smile": 0.14, "laugh": 0.15, "open": 0.08, "pucker": 0.05, "frown": 0.06,
    "surprise": 0.07, "anger": 0.06, "talk": 0.06, "snarl": 0.02, "teeth": 0.03, "closed": 0.03,
    "squeeze": 0.02, "random": 0.06,
}  # fmt: skip
_PALSY_KINDS = {
    "neutral": 0.22, "smile": 0.16, "laugh": 0.12, "brows": 0.14, "closed": 0.10, "squeeze": 0.08,
    "teeth": 0.06, "snarl": 0.04, "pucker": 0.04, "talk": 0.04,
}  # fmt: skip


def sample_expression(rng: np.random.Generator, cfg: dict[str, Any], palsy: bool | None = None) -> Expression:
    """Draw an expression; ``cfg`` is the configuration's section ``expression``."""
    if palsy is None:
        palsy = bool(rng.random() < cfg["palsy_probability"])
    table = _PALSY_KINDS if palsy else _KINDS
    p = np.array(list(table.values()))
    kind = str(rng.choice(list(table), p=p / p.sum()))
    paired, single = _action(rng, kind)
    # Photographs show broad smiles far more often than life does, and so do those that document a palsy. Who
    # smiles so is drawn apart, so that all others stay as they are.
    grins = rng.spawn(1)[0]
    if grins.random() < cfg["grin_probability"]:
        kind = "grin"
        paired, single = _action(grins, kind)
    if kind not in ("closed", "squeeze") and rng.random() < 0.12:
        paired["eyeBlink"] = rng.uniform(0.2, 1.0)
    if "eyeBlink" not in paired and kind != "surprise":
        paired["eyeBlink"] = rng.uniform(0, 0.25)  # lids at rest; those of the base mesh are wide open
    if kind != "brows" and rng.random() < 0.25:
        paired["browOuterUp"] = paired.get("browOuterUp", 0) + rng.uniform(0, 0.5)
        paired["browInnerUp"] = paired.get("browInnerUp", 0) + rng.uniform(0, 0.5)
    for unit in ("mouthPress", "mouthRollLower", "mouthRollUpper", "cheekPuff"):
        if rng.random() < 0.08:
            paired[unit] = paired.get(unit, 0) + rng.uniform(0, 0.5)
    for side in ("jaw", "mouth"):
        if rng.random() < 0.08:
            single[side + str(rng.choice(["Left", "Right"]))] = rng.uniform(0, 0.6)
    sides: dict[int, Weights] = {-1: {}, 1: {}}
    for unit, value in paired.items():
        unequal = rng.random() < cfg["one_sided_probability"] and unit != "eyeBlink"
        for side in sides:
            sides[side][unit] = value * (rng.uniform(0.2, 1) if unequal else 1.0)
    gaze = (float(rng.normal(0, cfg["gaze_sd"][0])), float(rng.normal(0, cfg["gaze_sd"][1])))
    down, up = max(0.0, gaze[1] / 30), max(0.0, -gaze[1] / 30)
    for weights in sides.values():
        weights |= {"eyeLookDown": 0.8 * down, "eyeLookUp": 0.8 * up}
    result = Expression({}, kind, gaze=gaze, activity=float(sum(paired.values())))
    if palsy:
        _paralyse(rng, result, sides, single)
    for side, weights in sides.items():
        for unit, value in weights.items():
            result.weights[f"fu/{unit}{'Left' if side > 0 else 'Right'}"] = float(np.clip(value, 0, 1.3))
    for unit, value in single.items():
        result.weights[f"fu/{unit}"] = float(np.clip(value, 0, 1.1))
    return result


def _paralyse(
    rng: np.random.Generator, expression: Expression, sides: dict[int, Weights], single: Weights
) -> None:
    """Weaken one side and add the signs at rest: drooping mouth corner and brow, a lid that stays open."""
    side = int(rng.choice([-1, 1]))
    degree = float(rng.uniform(0.15, 1.0))
    weak = sides[side]
    for unit in weak:
        weak[unit] *= 1 - degree
    weak["mouthFrown"] = weak.get("mouthFrown", 0) + degree * rng.uniform(0.1, 0.9)
    weak["browDown"] = weak.get("browDown", 0) + degree * rng.uniform(0.1, 0.9)
    weak["mouthLowerDown"] = weak.get("mouthLowerDown", 0) + degree * rng.uniform(0, 0.3)
    weak["eyeWide"] = weak.get("eyeWide", 0) + degree * rng.uniform(0, 0.4)
    # The healthy side pulls the mouth over, the more so the more it does.
    pull = degree * rng.uniform(0, 0.4) * (1.5 if expression.activity > 0.5 else 0.7)
    unit = "mouthRight" if side > 0 else "mouthLeft"
    single[unit] = single.get(unit, 0) + pull
    expression.palsy_side, expression.palsy_degree = side, degree
