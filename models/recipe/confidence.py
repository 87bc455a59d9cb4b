"""Calibrate a model's confidence on rendered faces of held-out people.

    python models/recipe/confidence.py RENDERS MODEL [--limit N] [--write]

Each held-out picture is fitted from boxes as a detector gives them (shifted by
10 %, scaled by 15 %), from bad ones, and from places without a face, and from
pictures of noise. A fit is right when its landmarks are within 0.08 distances of
the outer eye corners (in 3D, so that turned heads are not favoured) of the true
ones on average. Of the people, two thirds calibrate and one third tests.
Fits that look at the mirror image, too, are calibrated with how far apart both
looks lie, and without, for fits from other starts.
Printed are the numbers, on the test people how often fits of a confidence are
right, and how far both looks at right fits that are doubtful lie apart (by the
model's "min_likelihood", see failure_bound.py); --write puts the numbers into the
model's metadata.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from box_correction import pad
from dataset import Dataset, eye_distances, load_dataset, pictures_held_out

from pyclnf import CLNF, Model
from pyclnf.training.calibration import MIN_FITS, NAMES, furthest_apart, logistic, sample_fits

RIGHT = 0.08


def samples(clnf: CLNF, dataset: Dataset, indices: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return (likelihood, shape energy, log1p(disagreement) or NaN, right, identity) of all fits, (k, 5)."""
    random = np.random.default_rng(seed)
    rows = []
    for index, unit in zip(indices, eye_distances(dataset, indices).astype(float), strict=True):
        image, corner = pad(dataset.image(index))
        truth = dataset.landmarks[index] + corner
        for *features, error in sample_fits(clnf, image, truth, RIGHT * unit, random):
            rows.append((*features, error < 1, dataset.identity[index]))
    return np.array(rows, dtype=float)


def tested(name: str, rows: np.ndarray, width: int) -> dict[str, float]:
    """Calibrate with the first features on some of the people, print how it does on the others, return it."""
    features, right, people = rows[:, :width], rows[:, 3] == 1, rows[:, 4]
    others = people // 10 % 3 == 0  # held-out people are every tenth
    for kind, of_kind in (("right", right), ("wrong", ~right)):
        if of_kind[~others].sum() < MIN_FITS or not of_kind[others].any():
            raise ValueError(
                f"{name}: too few fits are {kind} ({of_kind.sum()} of {len(rows)}): more pictures?"
            )
    w = logistic(features[~others], right[~others]).round(4)
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
    model = Model.load(options.model)
    found = {}
    looked_at_twice = []
    try:
        indices = pictures_held_out(dataset, options.limit, seed=None)
        for name in ("image", "video"):
            rows = samples(CLNF(model, parameters=name), dataset, indices)
            found[name] = tested(name, rows, 2)
            if np.isfinite(rows[:, 2]).all():
                found[f"{name}_mirrored"] = tested(f"{name}, both looks", rows, 3)
                looked_at_twice.append(rows[rows[:, 3] == 1])
    except ValueError as error:
        parser.error(str(error))
    furthest = furthest_apart(looked_at_twice, CLNF(model).min_likelihood)
    if looked_at_twice:
        known = "too few to tell" if furthest is None else f"looks lie apart by {furthest:.0f} mm at most"
        print(f"doubtful right fits: {known}")
    if options.write:
        model.metadata["confidence"] = found
        model.metadata.pop("max_disagreement", None)  # of the model as it was
        if furthest is not None:
            model.metadata["max_disagreement"] = furthest
        model.save(options.model, dtype="float16", compress=True)
        print(f"written into {options.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
