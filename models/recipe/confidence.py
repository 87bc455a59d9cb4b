"""Calibrate a model's confidence on rendered faces of held-out people.

    python models/recipe/confidence.py RENDERS MODEL [--limit N] [--write]

Each held-out picture is fitted from boxes as a detector gives them (shifted by
10 %, scaled by 15 %), from bad ones, and from places without a face, and from
pictures of noise. A fit is right when its landmarks are within 0.08 distances of
the outer eye corners (in 3D, so that turned heads are not favoured) of the true
ones on average. Of the people, two thirds calibrate and one third tests.
Fits that look at the mirror image, too, are calibrated with how far apart both
looks lie, and without, for fits from other starts.
Printed are the numbers and, on the test people, how often fits of a confidence
are right; --write puts the numbers into the model's metadata.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from box_correction import pad
from dataset import load_dataset
from scipy.optimize import minimize

from pyclnf import CLNF, Model
from pyclnf.confidence import shape_energy
from pyclnf.images import as_pixels

RIGHT = 0.08
ELSEWHERE = ((0.8, 0.0, 1.0), (-0.7, 0.2, 1.0), (0.0, -0.7, 0.6), (0.5, 0.5, 0.4), (0.35, -0.3, 1.2))
NAMES = ("intercept", "likelihood", "shape", "disagreement")
# Of the numbers: an unusual shape and two looks that lie far apart can only lower the confidence.
BOUNDS = ((None, None), (0.0, None), (None, 0.0), (None, 0.0))
START = (0.0, 1.0, -0.1, -0.1)


def samples(clnf: CLNF, dataset: object, indices: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return (likelihood, shape energy, log1p(disagreement) or NaN, right, identity) of all fits, (k, 5)."""
    random = np.random.default_rng(seed)
    rows = []
    for index in indices:
        image, corner = pad(dataset.image(index))
        truth = dataset.landmarks[index] + corner
        turned = dataset.landmarks3d[index]
        low, size = truth.min(axis=0), np.ptp(truth, axis=0)
        # Pixels a millimetre from the spread of the points, for the distance of the eye corners in 3D.
        scale = np.sqrt(np.var(truth, axis=0).sum() / np.var(turned[:, :2], axis=0).sum())
        unit = scale * np.linalg.norm(turned[36] - turned[45])
        boxes = []
        for _ in range(3):
            shift, grow = random.uniform(-0.1, 0.1, 2), np.exp(random.uniform(-0.15, 0.15))
            boxes.append((image, [*(low + shift * size - (grow - 1) / 2 * size), *(grow * size)]))
        for dx, dy, grow in ELSEWHERE:
            boxes.append((image, [*(low + (dx, dy) * size), *(grow * size)]))
        coarse = random.integers(0, 256, (16, 16)).astype(np.float64)
        noise = np.kron(coarse, np.ones((16, 16))) + random.normal(0, 20, (256, 256))
        boxes.append((np.clip(noise, 0, 255).astype(np.uint8), [60.0, 60.0, 130.0, 130.0]))
        for picture, box in boxes:
            pixels = as_pixels(picture)
            starts = clnf.starts_in(pixels, box)
            result, _ = clnf.fit_from(pixels, starts, clnf.parameters)
            error = np.linalg.norm(result.landmarks - truth, axis=1).mean() / unit
            right = error < RIGHT and picture is image
            apart = np.nan if result.disagreement is None else np.log1p(result.disagreement)
            energy = shape_energy(clnf.model.pdm, result)
            rows.append((result.likelihood, energy, apart, right, dataset.identity[index]))
    return np.array(rows, dtype=float)


def calibrate(features: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return intercept and weights of the likeliest logistic function of features (k, w)."""
    features = np.column_stack([np.ones(len(features)), features])

    def loss(w: np.ndarray) -> float:
        z = features @ w
        return float(np.mean(np.logaddexp(0, z) - right * z))

    bounds = BOUNDS[: features.shape[1]]
    return minimize(loss, np.array(START[: len(bounds)]), method="L-BFGS-B", bounds=bounds).x


def tested(name: str, rows: np.ndarray, width: int) -> dict[str, float]:
    """Calibrate with the first features on some of the people, print how it does on the others, return it."""
    features, right, people = rows[:, :width], rows[:, 3] == 1, rows[:, 4]
    others = people // 10 % 3 == 0  # held-out people are every tenth
    w = calibrate(features[~others], right[~others]).round(4)
    numbers = {what: float(x) for what, x in zip(NAMES, w, strict=False)}
    print(f"{name}: {len(rows)} fits, {100 * right.mean():.0f} % right; {numbers}")
    right = right[others]
    p = 1 / (1 + np.exp(-(w[0] + features[others] @ w[1:])))
    print(
        f"    test: {100 * np.mean((p >= 0.5) == right):.1f} % told apart at 0.5; below it are "
        f"{100 * np.mean(p[right] < 0.5):.1f} % of the right ones, above it "
        f"{100 * np.mean(p[~right] >= 0.5):.1f} % of the wrong ones"
    )
    for low in np.arange(0, 1, 0.2):
        of = (p >= low) & (p < low + 0.2)
        if of.any():
            print(
                f"    confidence {low:.1f}-{low + 0.2:.1f}: {of.sum():4d} fits, mean {p[of].mean():.2f}, "
                f"right {right[of].mean():.2f}"
            )
    return numbers


def main() -> int:
    """Calibrate the sets for photographs and videos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("renders", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit", type=int, default=300, help="use so many held-out pictures")
    parser.add_argument("--write", action="store_true", help="put the numbers into the model")
    options = parser.parse_args()

    dataset = load_dataset(options.renders)
    indices = np.flatnonzero(dataset.held_out)[: options.limit]
    model = Model.load(options.model)
    found = {}
    for name in ("image", "video"):
        rows = samples(CLNF(model, parameters=name), dataset, indices)
        found[name] = tested(name, rows, 2)
        if np.isfinite(rows[:, 2]).all():
            found[f"{name}_mirrored"] = tested(f"{name}, both looks", rows, 3)
    if options.write:
        model.metadata["confidence"] = found
        model.save(options.model, dtype="float16", compress=True)
        print(f"written into {options.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
