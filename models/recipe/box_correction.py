"""Learn the correction of the default face detector's boxes on rendered faces.

    python models/recipe/box_correction.py RENDERS [--limit N]

RENDERS is a folder of shards (see dataset.py). Each picture is put on a larger
canvas, the detector is run without its correction, and the box around the 68
true landmarks is regressed (ridge) on the detector's box and five points.
People whose identity is marked as held out measure the gain. Printed are the
errors and the numbers of pyclnf.detection.MTCNN_FROM_POINTS.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from dataset import load_dataset

from pyclnf.detection import MTCNNDetector, mtcnn_features

# Share of the picture's size added on each side, so that faces do not fill the image.
MARGIN = 0.25
RIDGE = 1e-3


def pad(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image in the middle of a canvas of its mean colour, and its corner there."""
    border = int(MARGIN * image.shape[0])
    canvas = np.empty((image.shape[0] + 2 * border, image.shape[1] + 2 * border, 3), np.uint8)
    canvas[:] = image.mean(axis=(0, 1))
    canvas[border:-border, border:-border] = image
    return canvas, np.array([border, border], dtype=np.float64)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes (k, 4) given as corners."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(c[:, 2:] - c[:, :2]).prod(axis=1) for c in (a, b)]
    return common / (areas[0] + areas[1] - common)


def main() -> int:
    """Detect, regress, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("renders", type=Path)
    parser.add_argument("--limit", type=int, default=None, help="use about so many pictures, whole shards")
    options = parser.parse_args()

    dataset = load_dataset(options.renders, limit=options.limit)
    detector = MTCNNDetector()
    features, targets, raw, held_out, missed = [], [], [], [], 0
    for index in range(len(dataset.landmarks)):
        image, corner = pad(dataset.image(index))
        truth = dataset.landmarks[index] + corner
        low, high = truth.min(axis=0), truth.max(axis=0)
        boxes, _, points = detector.detect_raw(image)
        middles = boxes[:, :2] + boxes[:, 2:] / 2
        inside = np.flatnonzero(((middles > low) & (middles < high)).all(axis=1))
        if len(inside) != 1:
            missed += 1
            continue
        row, middle, size = mtcnn_features(boxes[inside], points[inside])
        features.append(row[0])
        targets.append((np.concatenate([low, high]) - np.tile(middle[0], 2)) / size[0])
        half = boxes[inside[0], 2:] / 2 / size[0]
        raw.append(np.concatenate([-half, half]))
        held_out.append(bool(dataset.held_out[index]))
    X, Y, B, held = np.array(features), np.array(targets), np.array(raw), np.array(held_out)
    if not held.any() or held.all():
        parser.error(
            f"of {len(X)} faces found {held.sum()} are of people held out, some of both kinds are needed"
        )
    train, test = ~held, held
    share = 100 * missed / max(1, len(X) + missed)
    print(f"{len(X)} faces found once, {missed} not ({share:.1f} %); {test.sum()} held out")

    penalty = RIDGE * train.sum() * np.diag([*np.ones(10), 0.0])
    from_points = np.linalg.solve(X[train].T @ X[train] + penalty, X[train].T @ Y[train]).T
    mean = Y[train].mean(axis=0)
    boxes = {
        "as detected": B[test],
        "mean": np.tile(mean, (test.sum(), 1)),
        "points": X[test] @ from_points.T,
    }
    for name, predicted in boxes.items():
        iou = overlap(predicted, Y[test])
        width = np.sqrt((Y[test][:, 2:] - Y[test][:, :2]).prod(axis=1))
        error = np.abs(predicted - Y[test]).mean(axis=1) / width
        print(
            f"{name:12} IoU mean {iou.mean():.3f}, 5 % quantile {np.quantile(iou, 0.05):.3f}; "
            f"error of an edge {100 * error.mean():.2f} % of the face"
        )
    print("MTCNN_FROM_POINTS = np.array(")
    print("    [")
    for row in from_points:
        print("        [" + ", ".join(f"{value:.4f}" for value in row) + "],")
    print("    ]\n)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
