"""Print the table of benchmarks/README.md for this machine.

    python benchmarks/table.py --model MODEL [--quick]
    python benchmarks/table.py --model MODEL --beside OPENFACE_MODEL_DIR    # fits with both, in turns

Times are medians of the thread's own processor time, so that other programs
count only as far as they slow the memory and the clock; the times of several
workers are by the clock on the wall. The arithmetic peak is measured anew
before each kernel.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import (
    BOX,
    MEGAPIXELS_12,
    fits,
    kernels,
    kernels_in_use,
    kernels_of_detection,
    kernels_of_fit,
    measured_model,
    peak,
    photograph,
)

from pyclnf import CLNF, Model, _kernels
from pyclnf.detection import MTCNNDetector

PEAK_TURNS = 20_000


def processor_seconds(call: Callable[[], Any], budget: float) -> float:
    """Return the median processor time of a call, seconds."""
    call()
    seconds: list[float] = []
    while sum(seconds) < budget or len(seconds) < 5:
        begin = time.thread_time()
        call()
        seconds.append(time.thread_time() - begin)
    return statistics.median(seconds)


def wall_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the shortest of some times by the clock, seconds."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


# Kernels that compute in single precision, and in whole numbers of 16 bits.
SINGLE = ("neuron_responses", "apply_sigma", "apply_folded_sigma", "filter_images")
WHOLE = ("run_layers",)


def print_kernels(model: Model, budget: float) -> None:
    """Print each kernel's time, its share of the peak and its NumPy twin's time."""
    turn, operations = peak()
    most = PEAK_TURNS * operations / processor_seconds(lambda: turn(PEAK_TURNS), 5 * budget)
    print(f"peak {1e-9 * most:.0f} GFLOP/s float32 on one core\n")
    print("| kernel | window | µs | GFLOP/s | of the peak | NumPy twin / this |")
    print("|---|---|---|---|---|---|")
    for group in (
        *(kernels(model, window) for window in (7, 11, 15)),
        kernels_of_fit(model),
        kernels_of_detection(),
    ):
        for kernel in group:
            most = PEAK_TURNS * operations / processor_seconds(lambda: turn(PEAK_TURNS), budget / 10)
            ours = processor_seconds(kernel.call(_kernels.VARIANT), budget)
            twin = processor_seconds(kernel.call("reference"), budget)
            rate = share = ""
            if kernel.operations is not None:
                rate = f"{1e-9 * kernel.operations / ours:.1f}"
                # Double precision has half as many lanes; whole numbers are multiplied in pairs.
                lanes = 2.0 if kernel.name in WHOLE else 1.0 if kernel.name in SINGLE else 0.5
                share = f"{100 * kernel.operations / ours / (most * lanes):.0f} %"
            times = f"{1e6 * ours:.1f} | {rate} | {share} | {twin / ours:.0f}"
            print(f"| {kernel.name} | {kernel.window or ''} | {times} |")


def print_fits(model: Model, budget: float) -> None:
    """Print whole fits, and the same fits with the NumPy kernels."""
    print("| fit | 640 x 480, ms | 12 megapixels, ms | NumPy, ms | NumPy / this |")
    print("|---|---|---|---|---|")
    for small, large in zip(fits(model), fits(model, *MEGAPIXELS_12), strict=True):
        ours, most = processor_seconds(small, budget), processor_seconds(large, budget)
        numpy = ratio = ""
        if "eleven" not in small.name:
            with kernels_in_use("reference"):
                slow = processor_seconds(small, budget)
            numpy, ratio = f"{1e3 * slow:.0f}", f"{slow / ours:.0f}"
        print(f"| {small.name} | {1e3 * ours:.2f} | {1e3 * most:.2f} | {numpy} | {ratio} |")


def print_detection(budget: float) -> None:
    """Print the time to find the boxes of the faces, and the same with the NumPy kernels."""
    print("| detection | 640 x 480, ms | 12 megapixels, ms | NumPy, 640 x 480, ms |")
    print("|---|---|---|---|")
    detector, small, large = MTCNNDetector(), photograph(480, 640), photograph(*MEGAPIXELS_12)
    times = [processor_seconds(lambda image=image: detector(image), budget) for image in (small, large)]
    with kernels_in_use("reference"):
        times.append(processor_seconds(lambda: detector(small), budget))
    print(f"| mtcnn | {' | '.join(f'{1e3 * seconds:.1f}' for seconds in times)} |")


def print_beside(model: Model, other: Model, budget: float) -> None:
    """Print fits with two models in turns, so that what slows the machine slows both."""
    print("| fit | this model, ms | the other, ms | this / the other |")
    print("|---|---|---|---|")
    for pair in zip(fits(model), fits(other), strict=True):
        taken: list[tuple[float, ...]] = []
        begin = time.process_time()
        while time.process_time() - begin < budget or len(taken) < 25:
            marks = [time.thread_time()]
            for fit in pair:
                fit()
                marks.append(time.thread_time())
            taken.append(tuple(np.diff(marks)))
        ours, others = np.array(taken[5:]).T
        times = f"{1e3 * np.median(ours):.2f} | {1e3 * np.median(others):.2f}"
        print(f"| {pair[0].name} | {times} | {np.median(ours / others):.2f} |")


def print_workers(model: Model, repeats: int) -> None:
    """Print how the time of many faces goes with their number and the number of workers."""
    clnf, image = CLNF(model), photograph(480, 640)
    print("| faces | 1 worker, ms a face | 2 workers, ms a face | ratio | processor time, ratio |")
    print("|---|---|---|---|---|")
    for faces in (1, 10, 100):
        boxes = np.array(BOX) + np.random.default_rng(0).uniform(-5, 5, (faces, 4))
        wall, used = [], []
        for workers in (1, 2):
            begin = time.process_time()
            wall.append(wall_seconds(lambda w=workers, b=boxes: clnf.fit_many(image, b, workers=w), repeats))
            used.append(time.process_time() - begin)
        one, two = (1e3 * seconds / faces for seconds in wall)
        print(f"| {faces} | {one:.2f} | {two:.2f} | {one / two:.2f} | {used[1] / used[0]:.2f} |")


START_UP = """
import time
def peak_kib():
    # Of this program alone: getrusage would tell the parent's from before it started this one.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
begin = time.thread_time()
import numpy
numpy_done = time.thread_time()
import pyclnf
imported = time.thread_time()
image = numpy.full((480, 640, 3), 127, numpy.uint8)
begin_model = time.thread_time()
clnf = pyclnf.CLNF({model!r})
loaded = time.thread_time()
clnf.fit(image, {box})
fitted = time.thread_time()
peak = peak_kib()
clnf.fit(image, {box}, starts="multiview")
print(numpy_done - begin, imported - numpy_done, loaded - begin_model, fitted - begin_model, peak, peak_kib())
"""


def print_start_up(path: str, repeats: int) -> None:
    """Print what importing, loading and the first fit take in a new process."""
    # As of an installed package, Python's own translation is kept: the first run may write it.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def run() -> list[float]:
        command = [sys.executable, "-c", START_UP.format(model=path, box=BOX)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return [float(value) for value in done.stdout.split()]

    run()
    runs = [run() for _ in range(repeats)]
    numpy, imported, loaded, fitted, memory, multiview = np.median(runs, axis=0)
    print("| start-up | |")
    print("|---|---|")
    print(f"| import numpy | {1e3 * numpy:.0f} ms |")
    print(f"| import pyclnf after it | {1e3 * imported:.0f} ms ({imported / numpy:.2f} of numpy's) |")
    print(f"| model opened | {1e3 * loaded:.0f} ms |")
    print(f"| model opened and first landmarks, image set | {1e3 * fitted:.0f} ms |")
    print(f"| peak resident memory, image set | {memory / 1024:.0f} MiB |")
    print(f"| the same after a fit from eleven starts | {multiview / 1024:.0f} MiB |")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="an .npz or OpenFace's model folder")
    parser.add_argument("--beside", metavar="MODEL", help="compare with this model, and print nothing else")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    options = parser.parse_args()
    model = measured_model(options.model)
    budget, repeats = (0.1, 3) if options.quick else (1.0, 9)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {os.cpu_count()} cores{load}, kernels {_kernels.VARIANT}\n")
    if options.beside:
        print_beside(model, measured_model(options.beside), 4 * budget)
        return
    print_fits(model, budget)
    print()
    print_detection(budget)
    print()
    print_kernels(model, budget / 5)
    print()
    print_workers(model, repeats)
    print()
    print_start_up(options.model, repeats)


if __name__ == "__main__":
    main()
