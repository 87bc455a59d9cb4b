"""Find the likelihood below which a model's fit counts as failed, on rendered faces.

    python models/recipe/failure_bound.py RENDERS --model MODEL [--limit N] [--write]

RENDERS is a folder of shards (see dataset.py). Each picture is fitted from the
box of its true landmarks, and from boxes where no face is; a fit is right when
its landmarks are within 0.08 eye distances of the true ones on average. The
bound in the middle of the gap is printed (between the 1 % quantile of the right
and the 99 % quantile of the wrong ones). --write puts the lower one of both sets
into the model's metadata, as "min_likelihood".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from box_correction import pad
from dataset import load_dataset

from pyclnf import CLNF
from pyclnf.training import landmark_errors
from pyclnf.training.calibration import MIN_FITS

RIGHT = 0.08
# Where the boxes without a face are: the true box moved by shares of its size, and grown.
ELSEWHERE = ((0.8, 0.0, 1.0), (-0.8, 0.0, 1.0), (0.0, 0.8, 1.0), (0.0, -0.7, 0.6), (0.5, 0.5, 0.4))


def main() -> int:
    """Fit, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("renders", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", type=int, default=200, help="use so many pictures")
    parser.add_argument("--write", action="store_true", help="put the bound into the model")
    options = parser.parse_args()
    if options.write and not Path(options.model).is_file():
        parser.error(f"{options.model} is no file that can be written into")
    needed = MIN_FITS if options.write else 1

    dataset = load_dataset(options.renders, limit=options.limit)
    model = CLNF(options.model).model
    bounds = []
    for name in ("image", "video"):
        clnf = CLNF(model, parameters=name)
        right, wrong = [], []
        for index in range(min(options.limit, len(dataset))):
            image, corner = pad(dataset.image(index))
            truth = dataset.landmarks[index] + corner
            low, size = truth.min(axis=0), np.ptp(truth, axis=0)
            boxes = [(*low, *size)]
            boxes += [(*(low + (dx, dy) * size), *(grow * size)) for dx, dy, grow in ELSEWHERE]
            for box in boxes:
                landmarks, info = clnf.fit(image, box)
                error = landmark_errors(landmarks, truth).mean()
                if error < RIGHT:
                    right.append(info["likelihood"])
                elif error > 3 * RIGHT:
                    wrong.append(info["likelihood"])
        a, b = np.array(right), np.array(wrong)
        if min(a.size, b.size) < needed:
            parser.error(f"{name}: {a.size} right fits and {b.size} wrong ones, {needed} of each are needed")
        bound = (np.quantile(a, 0.01) + np.quantile(b, 0.99)) / 2
        bounds.append(float(bound))
        print(f"{name}: {a.size} right fits, 1, 5, 50 %: {np.round(np.quantile(a, [0.01, 0.05, 0.5]), 2)};")
        print(f"    {b.size} wrong ones, 50, 95, 99 %: {np.round(np.quantile(b, [0.5, 0.95, 0.99]), 2)};")
        print(
            f"    bound {bound:.2f}: {100 * np.mean(a < bound):.1f} % of the right ones below, "
            f"{100 * np.mean(b >= bound):.1f} % of the wrong ones above"
        )
    if options.write:
        model.metadata["min_likelihood"] = round(min(bounds), 2)
        model.save(options.model, dtype="float16", compress=True)
        print(f"{model.metadata['min_likelihood']} written into {options.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
