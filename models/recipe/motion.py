"""How people move in short videos: pose and expression from frame to frame, and a blink."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dataset import FRAME_RATE
from people import Expression, sample_expression
from scene import Pose, sample_pose

__all__ = ["FRAMES", "Motion", "sample_motion"]

# A second of video.
FRAMES = FRAME_RATE
# When the second and the third expression begin to show, and how long they take, frames.
_BEGINS, _TAKES = (5, 15), 7
# How far lids are closed in the frames of a blink, which takes a quarter of a second.
_BLINK = (0.0, 0.5, 1.0, 1.0, 0.7, 0.3, 0.0)


@dataclass(frozen=True)
class Motion:
    """What someone does for a second."""

    expressions: tuple[Expression, Expression, Expression]
    pose: Pose
    """In the middle of the movement."""
    reach: Pose
    """How far the head goes to either side."""
    frequency: float
    """Hz, of the head's movement."""
    phases: tuple[float, float, float]
    blink: int
    """The frame in which a blink begins."""

    def at(self, frame: int) -> tuple[Expression, Pose]:
        """Return what the face does in a frame, and the head's pose."""
        expression = self.expressions[0]
        for begin, coming in zip(_BEGINS, self.expressions[1:], strict=True):
            expression = _between(expression, coming, min(max((frame - begin) / _TAKES, 0.0), 1.0))
        closed = _BLINK[frame - self.blink] if 0 <= frame - self.blink < len(_BLINK) else 0.0
        for unit in ("fu/eyeBlinkLeft", "fu/eyeBlinkRight"):
            expression.weights[unit] = max(expression.weights.get(unit, 0.0), closed)
        turn = 2 * np.pi * self.frequency * frame / FRAME_RATE
        yaw, pitch, roll = (
            getattr(self.pose, name) + getattr(self.reach, name) * float(np.sin(turn + phase))
            for name, phase in zip(("yaw", "pitch", "roll"), self.phases, strict=True)
        )
        return expression, Pose(yaw, pitch, roll)


def _between(first: Expression, second: Expression, share: float) -> Expression:
    """Return what lies between two expressions: a share of the second."""
    names = first.weights.keys() | second.weights.keys()
    weights = {
        name: (1 - share) * first.weights.get(name, 0.0) + share * second.weights.get(name, 0.0)
        for name in sorted(names)
    }
    right, down = ((1 - share) * a + share * b for a, b in zip(first.gaze, second.gaze, strict=True))
    return replace(first, weights=weights, gaze=(right, down))


def sample_motion(rng: np.random.Generator, cfg: dict[str, Any]) -> Motion:
    """Draw what someone does: a third keep their heads still, a third turn them, a third roll them, too."""
    first, second, third = (sample_expression(rng, cfg["expression"], palsy=False) for _ in range(3))
    pose = sample_pose(rng, cfg["pose"], (0.0, 35.0))
    moves = int(rng.integers(3))
    reach = Pose(
        rng.uniform(0, 20) * (moves > 0), rng.uniform(0, 8) * (moves > 0), rng.uniform(0, 8) * (moves > 1)
    )
    right, down, around = rng.uniform(0, 2 * np.pi, 3).tolist()
    return Motion(
        (first, second, third), pose, reach, float(rng.uniform(0.3, 1.0)), (right, down, around),
        int(rng.integers(3, FRAMES - len(_BLINK))),
    )  # fmt: skip
