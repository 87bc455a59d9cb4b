"""Memory of `pyclnf track` over a long video: it must not grow with the length.

The video is generated (a drawn face that moves slowly) and written to a file;
the command runs as users run it, in a process of its own, whose resident memory
is read from /proc once a second (Linux only).

    python benchmarks/long_video.py --minutes 60 --set windows=0,0,5 --set iterations=1
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from pyclnf import Parameters

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from generate_model import generate_image, generate_model

RATE = 30
SIZE = (240, 220)  # height, width
PERIOD = 90  # frames of one movement, which is repeated


def write_video(path: Path, model_path: Path, frames: int) -> str:
    """Write the video and the model; return the box of the first face."""
    model = generate_model()
    model.save(model_path)
    pictures, boxes = [], []
    for i in range(PERIOD):
        angle = 2 * np.pi * i / PERIOD
        pose = np.array([0.9, 0.05 * np.sin(angle), 0.1 * np.cos(angle), 0, 110 + 4 * np.sin(angle), 120])
        truth = Parameters(pose, np.zeros(model.pdm.n_modes))
        picture = np.asarray(generate_image(model, truth, SIZE), np.uint8)
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture)
        points = model.pdm.landmarks_2d(truth)
        boxes.append([*points.min(axis=0), *np.ptp(points, axis=0)])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE[::-1])
    for i in range(frames):
        writer.write(pictures[i % PERIOD])
    writer.release()
    return ",".join(f"{value:.1f}" for value in boxes[0])


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    """Write the video, track it, and print the memory by tenths of the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    frames = round(options.minutes * 60 * RATE)
    with tempfile.TemporaryDirectory() as folder:
        video, model, output = (Path(folder) / name for name in ("long.mp4", "model.npz", "out"))
        box = write_video(video, model, frames)
        settings = [word for value in options.set for word in ("--set", value)]
        command = [sys.executable, "-m", "pyclnf", "track", video, "--output", output, "--model", model]
        begin = time.monotonic()
        process = subprocess.Popen([str(word) for word in (*command, "--box", box, *settings)])
        samples = []
        while process.poll() is None:
            samples.append(resident_mb(process.pid))
            time.sleep(1)
        if process.returncode:
            raise SystemExit(process.returncode)
        seconds = time.monotonic() - begin
        rows = sum(1 for _ in (output / "long.csv").open()) - 1
    used = np.array([sample for sample in samples[2:] if np.isfinite(sample)])
    if used.size < 10:
        raise SystemExit(f"{seconds:.0f} s are too few to tell how the memory goes: give more --minutes")
    tenths = [f"{part.mean():.1f}" for part in np.array_split(used, 10)]
    print(f"{frames} frames, {rows} rows, {frames / seconds:.0f} frames a second")
    print(f"resident memory, MB, mean of each tenth of the run: {' '.join(tenths)}; most {used.max():.1f}")


if __name__ == "__main__":
    main()
