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
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pyclnf import CLNF, _kernels
from pyclnf.training import landmark_errors

QUANTILES = (50, 75, 90, 95, 99, 100)
PARTS = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}
# Landmarks that annotators space along an outline as they see fit.
OUTLINES = {"jaw": (slice(0, 17),), "brows": (slice(17, 22), slice(22, 27))}


def read_points(path: Path) -> np.ndarray:
    """Return 68 points (68, 2), 0-based, from a .pts file with or without a header."""
    rows = [line.replace(",", " ").split() for line in path.read_text().splitlines()]
    numbers = [[float(a) for a in row] for row in rows if len(row) == 2 and row[0][0] in "-.0123456789"]
    return np.array(numbers) - 1.0


@dataclass(frozen=True)
class Comparison:
    """Whole fits of some photographs beside those of another implementation.

    Attributes
    ----------
    deviations : ndarray, shape (k,)
        Largest distance of a landmark over the distance of the outer eye corners, by photograph.
    ours, theirs : ndarray, shape (j,)
        Mean errors of the photographs that have an annotation.
    parts : ndarray, shape (j, 5)
        Our errors by part of the face.
    outlines : ndarray, shape (j, 4)
        Our errors along and across the jaw's outline, and those of the brows.
    seconds : ndarray, shape (k,)
    """

    deviations: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray
    parts: np.ndarray
    outlines: np.ndarray
    seconds: np.ndarray


def along_and_across(found: np.ndarray, truth: np.ndarray, chains: tuple[slice, ...]) -> list[float]:
    """Return how far landmarks lie off along annotated outlines, and across them, over the eye distance."""
    off = []
    for chain in chains:
        tangents = np.gradient(truth[chain], axis=0)
        tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
        difference = found[chain] - truth[chain]
        along = (difference * tangents).sum(axis=1)
        across = difference[:, 1] * tangents[:, 0] - difference[:, 0] * tangents[:, 1]
        off.append(np.abs([along, across]))
    means = np.concatenate(off, axis=1).mean(axis=1) / np.linalg.norm(truth[45] - truth[36])
    return [float(mean) for mean in means]


def compare(clnf: CLNF, golden: Path, images: Path, *, workers: int = 1) -> Comparison:
    """Fit the photographs of a file of another implementation's fits.

    Raises
    ------
    FileNotFoundError
        If a photograph cannot be read.
    """

    def one(line: str) -> list[float]:
        other = json.loads(line)
        path = images / other["image"]
        image = cv2.imread(str(path))
        if image is None:
            raise FileNotFoundError(f"{path} cannot be read")
        begin = time.perf_counter()
        landmarks, _ = clnf.fit(image, other["bbox"])
        seconds = time.perf_counter() - begin
        points = np.array(other["landmarks"])
        deviation = float(landmark_errors(landmarks, points).max())
        annotation = path.with_suffix(".pts")
        if not annotation.exists():
            return [deviation, seconds, *[np.nan] * (2 + len(PARTS) + 2 * len(OUTLINES))]
        truth = read_points(annotation)
        errors, others = landmark_errors(landmarks, truth), landmark_errors(points, truth)
        parts = [errors[part].mean() for part in PARTS.values()]
        outlines = [off for chains in OUTLINES.values() for off in along_and_across(landmarks, truth, chains)]
        return [deviation, seconds, errors.mean(), others.mean(), *parts, *outlines]

    with ThreadPoolExecutor(workers) as pool:
        columns = np.array(list(pool.map(one, golden.read_text().splitlines()))).T
    ours, theirs, *rest = columns[2:, np.isfinite(columns[2])]
    parts, outlines = np.split(np.array(rest).T, [len(PARTS)], axis=1)
    return Comparison(columns[0], ours, theirs, parts, outlines, columns[1])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("golden", type=Path, help="the other implementation's fits, JSON lines")
    parser.add_argument("--model", required=True, help="an .npz or OpenFace's model folder")
    parser.add_argument("--images", required=True, type=Path, help="folder of the photographs and .pts files")
    parser.add_argument("--set", default="image", help="parameter set: image or video")
    parser.add_argument("--starts", default="frontal", help="frontal, multiview or learned")
    parser.add_argument(
        "--pruned", action="store_true", help="compare several starts early instead of running all to the end"
    )
    options = parser.parse_args()

    clnf = CLNF(options.model, parameters=options.set, starts=options.starts, exhaustive=not options.pruned)
    try:
        found = compare(clnf, options.golden, options.images)
    except FileNotFoundError as error:
        parser.error(str(error))

    print(
        f"{options.golden.name}: {len(found.deviations)} photographs, "
        f"set {options.set}, starts {options.starts}, "
    )
    print(f"kernels {_kernels.VARIANT}, median {1e3 * np.median(found.seconds):.1f} ms a face")
    print("largest deviation / eye distance: " + "".join(f"{q:>11} %" for q in QUANTILES))
    print(" " * 34 + "".join(f"{v:>13.2e}" for v in np.percentile(found.deviations, QUANTILES)))
    if found.ours.size:
        for name, errors in (("this", found.ours), ("other", found.theirs)):
            print(
                f"error against annotation, {name:<6} mean {errors.mean():.5f}  "
                f"median {np.median(errors):.5f}  above 0.10: {100 * (errors > 0.1).mean():.0f} %"
            )
        medians = zip(PARTS, np.median(found.parts, axis=0), strict=True)
        print("medians by part, this: " + ", ".join(f"{part} {median:.4f}" for part, median in medians))
        for name, (along, across) in zip(OUTLINES, found.outlines.mean(axis=0).reshape(-1, 2), strict=True):
            print(f"means of {name}, this: {along:.4f} along the outline, {across:.4f} across it")
        print(f"mean error, this / other: {found.ours.mean() / found.theirs.mean():.5f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
