"""Measure how much landmarks tremble on the still stretches of a video.

    python benchmarks/jitter.py VIDEO... [--model MODEL]

A stretch is still where the difference of consecutive frames (grey, a quarter
of the size) stays in its lowest quarter for at least eight frames. The figure
is the root mean square of the landmarks' second difference there, in per cent
of the distance of the outer eye corners: for each frame detected and fitted
by itself, for the tracker, and for the tracker with its filter.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from pyclnf import CLNF
from pyclnf.video import Video

RUN = 8


def still_frames(frames: list[np.ndarray]) -> np.ndarray:
    """Return which frames lie inside a still stretch, with both neighbours in it."""
    small = [cv2.resize(cv2.cvtColor(f, cv2.COLOR_BGR2GRAY), None, fx=0.25, fy=0.25) for f in frames]
    change = np.array(
        [np.abs(a.astype(float) - b).mean() for a, b in zip(small[1:], small[:-1], strict=True)]
    )
    calm = np.concatenate([[False], change <= np.quantile(change, 0.25)])
    inside = np.zeros(len(frames), bool)
    start = 0
    for i in range(len(calm) + 1):
        if i == len(calm) or not calm[i]:
            if i - start >= RUN:
                inside[start + 1 : i - 1] = True
            start = i + 1
    return inside


def jitter(landmarks: np.ndarray, still: np.ndarray) -> float:
    """Return the RMS second difference of (frames, 68, 2) on still frames, % of the eye distance."""
    second = landmarks[2:] - 2 * landmarks[1:-1] + landmarks[:-2]
    unit = np.linalg.norm(landmarks[1:-1, 36] - landmarks[1:-1, 45], axis=1)
    relative = np.linalg.norm(second, axis=2) / unit[:, None]
    used = still[1:-1] & np.isfinite(relative).all(axis=1)
    return 100 * float(np.sqrt((relative[used] ** 2).mean()))


def main() -> int:
    """Print a line a video."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--model", help="default: the shipped one")
    options = parser.parse_args()
    clnf = CLNF(options.model, parameters="video")
    for path in options.videos:
        with Video(path) as video:
            frames = [frame.image for frame in video if frame.image is not None]
        still = still_frames(frames)
        single = np.full((len(frames), 68, 2), np.nan)
        for i in np.flatnonzero(np.convolve(still, np.ones(3), "same") > 0):
            faces = clnf.detect(frames[i])
            if faces:
                single[i] = faces[0].landmarks
        tracked = [
            np.array([face.landmarks for face in clnf.track(path, smooth=smooth)]) for smooth in (False, True)
        ]
        figures = [jitter(landmarks, still) for landmarks in (single, *tracked)]
        print(
            f"{path.name}: {still.sum()} still frames of {len(frames)}; each frame {figures[0]:.2f} %, "
            f"tracked {figures[1]:.2f} %, filtered {figures[2]:.2f} %"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
