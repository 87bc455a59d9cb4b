"""Rendered faces of people held out of the training, with their landmarks, for test_rendered_faces.py.

python tests/golden/rendered_faces.py RENDERS/train    (models/recipe/render_faces.py draws these)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

FILE = Path(__file__).with_suffix(".npz")

# Chosen since a layer of the start's network answers to them some hundred times as strongly as what it then
# leaves to the next; and at random.
STRONG = (178, 179, 2307, 2699)
OTHERS = 20


@dataclass(frozen=True, eq=False)
class RenderedFace:
    """A picture with what is true in it.

    Attributes
    ----------
    image : ndarray, shape (256, 256, 3), uint8
    landmarks : ndarray, shape (68, 2)
        Pixels.
    unit : float
        Distance of the outer eye corners in 3D at the picture's scale, px.
    box : ndarray, shape (4,)
        Of the landmarks, shifted by up to 10 % and scaled by up to 15 %.
    """

    image: np.ndarray
    landmarks: np.ndarray
    unit: float
    box: np.ndarray

    def error(self, found: np.ndarray) -> float:
        """Return the mean distance of landmarks from the truth, in units."""
        return float(np.linalg.norm(found - self.landmarks, axis=1).mean()) / self.unit


def read() -> list[RenderedFace]:
    """Return the faces of the file."""
    with np.load(FILE) as content:
        ends = np.cumsum(content["sizes"])[:-1]
        pictures = [cv2.imdecode(data, cv2.IMREAD_COLOR) for data in np.split(content["jpeg"], ends)]
        columns = (content[name] for name in ("landmarks", "units", "boxes"))
        return [
            RenderedFace(image, landmarks, float(unit), box)
            for image, landmarks, unit, box in zip(pictures, *columns, strict=True)
        ]


def write(renders: Path) -> None:
    """Write the file."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "recipe"))
    from dataset import eye_distances, load_dataset  # type: ignore[import-not-found]
    from evaluate import disturbed_box  # type: ignore[import-not-found]

    data = load_dataset(renders)
    held_out = np.setdiff1d(np.flatnonzero(data.held_out), STRONG)
    assert data.held_out[list(STRONG)].all()
    chosen = [*STRONG, *np.random.default_rng(0).choice(held_out, OTHERS, replace=False).tolist()]
    jpeg = [np.asarray(data._jpeg[i], np.uint8).ravel() for i in chosen]
    np.savez(
        FILE,
        jpeg=np.concatenate(jpeg),
        sizes=np.array([data.size for data in jpeg], np.int32),
        landmarks=data.landmarks[chosen],
        units=eye_distances(data, np.array(chosen)),
        boxes=np.array([disturbed_box(data.landmarks[i], np.random.default_rng([0, i])) for i in chosen]),
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
