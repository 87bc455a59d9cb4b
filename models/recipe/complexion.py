"""How a person's skin differs from the few painted ones: mixed, with more or less of what is painted, uneven.

All painted skins show shadows beside the nose, in the sockets and around the lips in the same places. What is
learned from them alone takes the paint for the face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["COARSE", "MIDDLE", "Complexion", "sample_complexion", "uneven_maps"]

# Levels of a skin's mipmaps (halvings) in which no feature is left, and no pores.
COARSE, MIDDLE = 5.5, 2.5


@dataclass
class Complexion:
    """What is done with a painted skin; as it is by default."""

    second: Path | None = None
    """Another painted skin."""
    share: float = 0.0
    """Of the second skin, at the mean."""
    gains: NDArray[np.float32] = field(default_factory=lambda: np.ones(2, np.float32))
    """Of the logarithm of the painted features, and of the pores."""
    uneven: NDArray[np.float32] = field(default_factory=lambda: np.zeros(4, np.float32))
    """Strengths of wide and narrow patches, of redness and of freckles."""
    place: NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))
    """Where the maps of what is uneven begin, texture coordinates."""

    @property
    def plain(self) -> bool:
        """The skin is as it is painted."""
        return self.second is None


def sample_complexion(rng: np.random.Generator, skin: Path, skins: Sequence[Path]) -> Complexion:
    """Draw what makes a skin another one; the second is about as dark."""
    dark = "dark" in skin.name
    others = [one for one in skins if one != skin and ("dark" in one.name) == dark]
    gains = np.exp(rng.normal([-0.45, -0.2], [0.5, 0.5])).clip(0.1, 2.0)
    freckles = rng.uniform(0.1, 0.8) if rng.random() < 0.2 else 0.0
    return Complexion(
        second=others[int(rng.integers(len(others)))],
        share=float(rng.uniform(0, 1)),
        gains=gains.astype(np.float32),
        uneven=np.r_[np.abs(rng.normal(0, [0.10, 0.05, 0.08])), freckles].astype(np.float32),
        place=rng.random(2).astype(np.float32),
    )


def uneven_maps(rng: np.random.Generator, size: int = 512) -> NDArray[np.uint8]:
    """Return wide, narrow and reddish patches and freckles, (size, size, 4), that can be put side by side.

    The patches are about 0.5 at the mean with a standard deviation of 0.2, freckles are 1.
    """
    maps = np.empty((size, size, 4), np.float32)
    for k, width in enumerate((40.0, 8.0, 20.0)):
        smooth = _blurred(rng.standard_normal((size, size), np.float32), width)
        maps[..., k] = 0.5 + 0.2 * (smooth - smooth.mean()) / smooth.std()
    spots = (rng.random((size, size)) < 0.004).astype(np.float32)
    spots = _blurred(spots, 1.2)
    maps[..., 3] = spots / spots.max() * 1.5
    return np.uint8(np.rint(255 * maps.clip(0, 1)))


def _blurred(tile: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Blur a square map (size, size) that goes on beyond its borders as if put side by side."""
    size = len(tile)
    blurred = cv2.GaussianBlur(np.tile(tile, (3, 3)), (0, 0), width)
    return np.asarray(blurred[size : 2 * size, size : 2 * size], np.float32)
