"""Write a drawn face, generated.png, and a small model that fits it, generated.npz, beside this script."""

import sys
from pathlib import Path

import cv2
import numpy as np

from pyclnf import Parameters

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "tests"))

from generate_model import generate_image, generate_model  # noqa: E402


def main() -> None:
    """Write both files and print the box of the true landmarks."""
    model = generate_model()
    shape = np.zeros(model.pdm.n_modes)
    shape[0] = np.sqrt(model.pdm.eigenvalues[0])
    truth = Parameters(np.array([1.1, 0.05, 0.1, 0.08, 180.0, 200.0]), shape)
    points = model.pdm.landmarks_2d(truth)
    cv2.imwrite(str(FOLDER / "generated.png"), generate_image(model, truth, (400, 360)))
    model.save(FOLDER / "generated.npz")
    box = [*points.min(axis=0), *np.ptp(points, axis=0)]
    print("box of the landmarks:", ",".join(f"{number:.0f}" for number in box))


if __name__ == "__main__":
    main()
