"""Measure the default face detector and what follows from its boxes on annotated photographs.

    python benchmarks/detection.py --model MODEL --images FOLDER [GOLDEN.jsonl]

FOLDER holds photographs with their 68 points in .pts files. Printed are the
detector's recall, how far its boxes are from those around the annotated points
before and after the correction, and the error of the fits (mean distance of a
point over the distance of the outer eye corners) from the detector's boxes, as
`CLNF.detect` makes them, and of `CLNF.fit` from those of GOLDEN.jsonl ("image",
"bbox") beside it.
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
from parity import read_points

from pyclnf import CLNF
from pyclnf.detection import MTCNNDetector, mtcnn_boxes
from pyclnf.face import box_overlap
from pyclnf.training import landmark_errors


def edge_error(box: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance of the edges over the size of the true box."""
    edges = [np.concatenate([b[:2], b[:2] + b[2:]]) for b in (box, truth)]
    return float(np.abs(edges[0] - edges[1]).mean() / np.sqrt(truth[2] * truth[3]))


def main() -> int:
    """Print the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("golden", type=Path, nargs="?", help="boxes beside the detector's, JSON lines")
    parser.add_argument("--model", required=True, help="an .npz or OpenFace's model folder")
    parser.add_argument("--images", required=True, type=Path, help="folder of the photographs and .pts files")
    parser.add_argument("--starts", help="learned, frontal or multiview (default: as the model has it)")
    options = parser.parse_args()

    given = {}
    if options.golden:
        given = {g["image"]: g["bbox"] for g in map(json.loads, options.golden.read_text().splitlines())}
    clnf, detector = CLNF(options.model, starts=options.starts), MTCNNDetector()
    names = ["raw box", "corrected box", "given box"]
    ious = {name: [] for name in names}
    edges = {name: [] for name in names}
    errors = {name: [] for name in names}
    seconds, found, others = [], 0, 0
    files = [f for f in sorted(options.images.glob("*.jpg")) if f.with_suffix(".pts").exists()]
    if not files:
        parser.error(f"{options.images} holds no *.jpg with a .pts file beside it")
    for file in files:
        image, points = cv2.imread(str(file)), read_points(file.with_suffix(".pts"))
        low, high = points.min(axis=0), points.max(axis=0)
        truth = np.concatenate([low, high - low])
        begin = time.perf_counter()
        raw, _, marks = detector.detect_raw(image)
        seconds.append(time.perf_counter() - begin)
        middles = raw[:, :2] + raw[:, 2:] / 2
        inside = np.flatnonzero(((middles > low) & (middles < high)).all(axis=1))
        others += len(raw) - min(len(inside), 1)
        boxes = {}
        if len(inside):
            found += 1
            boxes["raw box"] = raw[inside[0]]
            boxes["corrected box"] = mtcnn_boxes(raw[inside], marks[inside])[0]
        if file.name in given:
            boxes["given box"] = np.array(given[file.name])
        for name, box in boxes.items():
            ious[name].append(box_overlap(box, truth))
            edges[name].append(edge_error(box, truth))
            if name == "given box":
                landmarks = clnf.fit(image, box)[0]
            else:  # as `CLNF.detect` does: its start looks twice
                landmarks = clnf.detect(image, detector=lambda _, box=box: [box])[0].landmarks
            errors[name].append(landmark_errors(landmarks, points).mean())
    print(f"{len(files)} photographs: annotated face found in {found}; {others} other boxes; "
          f"median {1e3 * statistics.median(seconds):.0f} ms an image")  # fmt: skip
    print(f"{'start':14}{'IoU':>8}{'edges':>8} | fits: {'mean':>8}{'median':>8}{'> 0.10':>8}")
    for name in names:
        if errors[name]:
            e = np.array(errors[name])
            print(
                f"{name:14}{np.mean(ious[name]):8.3f}{np.mean(edges[name]):8.3f} | fits: "
                f"{e.mean():8.4f}{np.median(e):8.4f}{100 * np.mean(e > 0.1):7.0f} %"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
