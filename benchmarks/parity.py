"""Compare whole fits with those of another implementation on annotated photographs.

    python benchmarks/parity.py --model OPENFACE_MODEL_DIR --images FOLDER --set video GOLDEN.jsonl

GOLDEN.jsonl has one line a photograph: "image", "bbox" (the box to start from)
and "landmarks" (the other implementation's, px). The photographs, with their
68 points in .pts files beside them, are in FOLDER. Printed are the quantiles of
the largest deviation of a landmark, and the mean errors against the annotation,
both divided by the distance of the outer eye corners.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from pyclnf import CLNF, _kernels

QUANTILES = (50, 75, 90, 95, 99, 100)
OUTER_EYE_CORNERS = (36, 45)


def read_points(path: Path) -> np.ndarray:
    """Return 68 points (68, 2), 0-based, from a .pts file with or without a header."""
    rows = [line.replace(",", " ").split() for line in path.read_text().splitlines()]
    numbers = [[float(a) for a in row] for row in rows if len(row) == 2 and row[0][0] in "-.0123456789"]
    return np.array(numbers) - 1.0


def eye_distance(points: np.ndarray) -> float:
    """Return the distance of the outer eye corners, px."""
    a, b = OUTER_EYE_CORNERS
    return float(np.linalg.norm(points[a] - points[b]))


def mean_error(points: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance of the points over the distance of the outer eye corners."""
    return float(np.linalg.norm(points - truth, axis=1).mean() / eye_distance(truth))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("golden", type=Path, help="the other implementation's fits, JSON lines")
    parser.add_argument("--model", required=True, help="an .npz or OpenFace's model folder")
    parser.add_argument("--images", required=True, type=Path, help="folder of the photographs and .pts files")
    parser.add_argument("--set", default="image", help="parameter set: image or video")
    parser.add_argument("--starts", default="frontal", help="frontal or multiview")
    options = parser.parse_args()

    clnf = CLNF(options.model, parameters=options.set, starts=options.starts)
    deviations, ours, theirs, seconds = [], [], [], []
    for line in options.golden.read_text().splitlines():
        golden = json.loads(line)
        image = cv2.imread(str(options.images / golden["image"]))
        if image is None:
            parser.error(f"{options.images / golden['image']} cannot be read")
        begin = time.perf_counter()
        landmarks, _ = clnf.fit(image, golden["bbox"])
        seconds.append(time.perf_counter() - begin)
        other = np.array(golden["landmarks"])
        deviations.append(np.linalg.norm(landmarks - other, axis=1).max() / eye_distance(other))
        annotation = (options.images / golden["image"]).with_suffix(".pts")
        if annotation.exists():
            truth = read_points(annotation)
            ours.append(mean_error(landmarks, truth))
            theirs.append(mean_error(other, truth))

    print(
        f"{options.golden.name}: {len(deviations)} photographs, set {options.set}, starts {options.starts}, "
    )
    print(f"kernels {_kernels.VARIANT}, median {1e3 * statistics.median(seconds):.1f} ms a face")
    print("largest deviation / eye distance: " + "".join(f"{q:>11} %" for q in QUANTILES))
    print(" " * 34 + "".join(f"{v:>13.2e}" for v in np.percentile(deviations, QUANTILES)))
    if ours:
        for name, errors in (("this", ours), ("other", theirs)):
            above = 100 * np.mean(np.array(errors) > 0.1)
            print(
                f"error against annotation, {name:<6} mean {np.mean(errors):.5f}  "
                f"median {np.median(errors):.5f}  above 0.10: {above:.0f} %"
            )
        print(f"mean error, this / other: {np.mean(ours) / np.mean(theirs):.5f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
