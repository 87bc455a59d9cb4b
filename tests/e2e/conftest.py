"""Generated photographs and videos for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from generate_model import generate_image, generate_model
from pyclnf.pdm import Parameters

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pyclnf.model import Model

SIZE = (300, 270)  # height, width


@dataclass(frozen=True)
class Generated:
    """A model in a file, and drawn faces that it fits."""

    model: Model
    path: Path

    def truth(self, seed: int) -> Parameters:
        random = np.random.default_rng(seed)
        pose = np.array(
            [1.0, *random.uniform(-0.08, 0.08, 3), *(np.array([135, 150]) + random.uniform(-2, 2, 2))]
        )
        return Parameters(
            pose, random.normal(size=self.model.pdm.n_modes) * np.sqrt(self.model.pdm.eigenvalues) / 2
        )

    def landmarks(self, seed: int) -> NDArray[np.float64]:
        return self.model.pdm.landmarks_2d(self.truth(seed))

    def image(self, seed: int) -> NDArray[np.uint8]:
        return np.asarray(generate_image(self.model, self.truth(seed), SIZE), np.uint8)

    @property
    def box(self) -> str:
        """The box of the mean face, as --box takes it."""
        points = self.model.pdm.landmarks_2d(
            Parameters(np.array([1.0, 0, 0, 0, 135, 150]), np.zeros(self.model.pdm.n_modes))
        )
        return ",".join(f"{value:.1f}" for value in (*points.min(axis=0), *np.ptp(points, axis=0)))

    def write_images(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(count):
            cv2.imwrite(str(folder / f"face{seed:02}.png"), self.image(seed))

    def write_video(self, path: Path, count: int) -> None:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, SIZE[::-1])
        for i in range(count):
            image = self.image(i // 5)
            writer.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image)
        writer.release()


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    model = generate_model()
    path = tmp_path_factory.mktemp("model") / "generated.npz"
    model.save(path)
    return Generated(model, path)
