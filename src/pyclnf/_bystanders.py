"""Faces of a video that are not followed, so that none of them is taken for one that is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyclnf.face import box_distance, boxes_alike, is_among

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["REACH", "Bystanders"]

# How far one may be from where it was seen last, face sizes: it is looked for once a second, and mostly sits.
REACH = 1.0


class Bystanders:
    """Where there are faces beside those that are followed, and for a while where there were some.

    Parameters
    ----------
    patience : float
        How long one is remembered that is no longer seen, seconds.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        # Boxes, and when they were seen.
        self._seen: list[tuple[Float, float]] = []

    def __bool__(self) -> bool:
        return bool(self._seen)

    def __contains__(self, box: Float) -> bool:
        """Say whether a box is on one of them."""
        return is_among(box, [own for own, _ in self._seen])

    def add(self, box: Float, moment: float) -> None:
        """Remember one more."""
        self._seen.append((box, moment))

    def follow(self, boxes: Sequence[Float], lost: Sequence[Float], moment: float) -> None:
        """Move those who are not where they were to boxes near by.

        lost: boxes of faces that are lost. A box that is nearer to one of these may be that face.
        """
        new = {i for i, box in enumerate(boxes) if box not in self}
        # Of one frame there may be several looks.
        gone = {j for j, (box, seen) in enumerate(self._seen) if seen != moment and not is_among(box, boxes)}
        pairs = sorted((box_distance(self._seen[j][0], boxes[i]), i, j) for i in new for j in gone)
        for distance, i, j in pairs:
            free = i in new and j in gone and boxes_alike(self._seen[j][0], boxes[i])
            nearest = min((box_distance(box, boxes[i]) for box in lost), default=REACH)
            if free and distance < min(nearest, REACH):
                self._seen[j] = boxes[i], moment
                new.remove(i)
                gone.remove(j)

    def update(self, boxes: Sequence[Float], followed: Sequence[Float], moment: float) -> None:
        """Remember where they are seen now, forget those unseen for long and those who are followed."""
        before = [
            (box, seen)
            for box, seen in self._seen
            if abs(moment - seen) <= self.patience and not is_among(box, boxes)
        ]
        now = [(box, moment) for box in boxes]
        self._seen = [one for one in before + now if not is_among(one[0], followed)]
