"""Measure a model on rendered faces of people that it was not trained on.

The fit starts from boxes that are disturbed as a detector's are. The error is the mean distance of the 68
points from the labels over the distance of the outer eye corners (in 3D, so that a turned face is not
counted worse).

    python evaluate.py RENDERS MODEL... [--start learned|frontal|multiview] [--parameters image]
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from dataset import Dataset, load_dataset
from numpy.typing import NDArray

from pyclnf.model import Model, load_model
from pyclnf.nu_rlms import MULTI_VIEW_STARTS, FitParameters, fit
from pyclnf.pdm import Parameters
from pyclnf.start import LearnedStart

BANDS = (0, 15, 30, 45, 60, 90)
HYPOTHESES = 5


def disturbed_box(landmarks: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the box of the landmarks, shifted by up to 10 % and scaled by up to 15 %."""
    low, size = landmarks.min(axis=0).astype(float), np.ptp(landmarks, axis=0).astype(float)
    centre = low + size / 2 + rng.uniform(-0.1, 0.1, 2) * size
    size = size * rng.uniform(0.85, 1.15, 2)
    return np.array([*(centre - size / 2), *size])


def find_starts(
    model: Model, start: LearnedStart | None, image: NDArray[np.uint8], box: NDArray[np.float64], how: str
) -> list[Parameters]:
    """Return the parameters that a fit begins with."""
    if start is not None:
        return start.hypotheses(image[..., None], box, HYPOTHESES)
    rotations = MULTI_VIEW_STARTS if how == "multiview" else MULTI_VIEW_STARTS[:1]
    return [model.pdm.from_box(box, rotation) for rotation in rotations]


def face_error(found: NDArray[np.floating], data: Dataset, i: int) -> float:
    """Return the mean distance of the points over that of the outer eye corners at the picture's scale."""
    truth, solid = data.landmarks[i], data.landmarks3d[i]
    flat = truth - truth.mean(axis=0)
    scale = np.linalg.norm(flat) / np.linalg.norm((solid - solid.mean(axis=0))[:, :2])
    unit = scale * np.linalg.norm(solid[36] - solid[45])
    return float(np.linalg.norm(found - truth, axis=1).mean() / unit)


def evaluate(
    model: Model, data: Dataset, chosen: NDArray[np.intp], how: str, settings: FitParameters, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Return errors of the starts and of the fits, likelihoods and landmarks of the chosen pictures."""
    start = LearnedStart(model.pdm, model.arrays) if how == "learned" else None
    rows = []
    for i in chosen.tolist():
        image = data.image(i, grey=True)
        box = disturbed_box(data.landmarks[i], np.random.default_rng([seed, i]))
        began = time.perf_counter()
        starts = find_starts(model, start, image, box, how)
        fits = [fit(model.pdm, model.scales, settings, image[..., None], s) for s in starts]
        best = max(range(len(fits)), key=lambda k: (fits[k].failure is None, fits[k].likelihood))
        seconds = time.perf_counter() - began
        found = fits[best].landmarks
        errors = [face_error(shape, data, i) for shape in (model.pdm.landmarks_2d(starts[best]), found)]
        rows.append((*errors, fits[best].likelihood, seconds, found))
    names = ("start", "error", "likelihood", "seconds", "landmarks")
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def asymmetry(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the differences left minus right in the picture, over the distance of the eyes' centres.

    In a frame that the eyes' centres make level: height of the mouth's corner, height of the brow above its
    eye, opening of the lids.
    """
    points = landmarks @ np.array([1, 1j])
    left, right = points[36:42].mean(), points[42:48].mean()
    level = (points - (left + right) / 2) / (right - left)
    down = level.imag
    mouth = down[54] - down[48]
    brow = (down[[43, 44]].mean() - down[22:27].mean()) - (down[[37, 38]].mean() - down[17:22].mean())
    lids = (down[[40, 41]] - down[[38, 37]]).mean() - (down[[46, 47]] - down[[44, 43]]).mean()
    return np.array([mouth, -brow, lids])


def print_asymmetry(found: NDArray[np.floating], data: Dataset, chosen: NDArray[np.intp]) -> None:
    """Print slope, correlation and error of the fitted asymmetries against the labelled ones."""
    fitted = np.array([asymmetry(points) for points in found])
    truth = np.array([asymmetry(points) for points in data.landmarks[chosen]])
    for k, name in enumerate(("mouth corners", "brows", "lids")):
        slope = np.polyfit(truth[:, k], fitted[:, k], 1)[0]
        correlation = np.corrcoef(truth[:, k], fitted[:, k])[0, 1]
        error = np.median(np.abs(fitted[:, k] - truth[:, k]))
        print(f"  {name:13s}  slope {slope:5.2f}  correlation {correlation:5.2f}  median error {error:.4f}")


def summary(errors: NDArray[np.float64]) -> str:
    middle, mean, lost = np.median(errors), errors.mean(), (errors > 0.1).mean()
    return f"n {errors.size:4d}  median {middle:.4f}  mean {mean:.4f}  above 0.10 {lost:6.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("renders", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--start", choices=("learned", "frontal", "multiview"), default="frontal")
    parser.add_argument("--parameters", default="image")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--asymmetry", action="store_true", help="measure left-right differences, too")
    args = parser.parse_args()
    data = load_dataset(args.renders)
    chosen = np.flatnonzero(data.held_out)
    chosen = np.sort(np.random.default_rng(0).permutation(chosen)[: args.images])
    yaw = np.abs(np.degrees(data.pose[chosen, 1]))
    for path in args.models:
        model = load_model(path)
        how = args.start if args.start != "learned" or "start/leaves" in model.arrays else "multiview"
        result = evaluate(model, data, chosen, how, FitParameters.named(args.parameters))
        print(f"{path} from {how}: {1000 * np.median(result['seconds']):.1f} ms a face")
        print(f"  start      {summary(result['start'])}")
        print(f"  fit        {summary(result['error'])}")
        for low, high in pairwise(BANDS):
            band = (yaw >= low) & (yaw < high)
            if band.any():
                print(f"  yaw {low:2d}-{high:2d}  {summary(result['error'][band])}")
        if args.asymmetry:
            print_asymmetry(result["landmarks"], data, chosen)


if __name__ == "__main__":
    main()
