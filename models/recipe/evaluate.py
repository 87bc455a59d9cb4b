"""Measure a model on rendered faces of people that it was not trained on.

The fit starts from boxes that are disturbed as a detector's are. The error is the mean distance of the 68
points from the labels over the distance of the outer eye corners (in 3D, so that a turned face is not
counted worse).

    python evaluate.py RENDERS [MODEL...] [--starts learned|frontal|multiview] [--parameters image]
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from dataset import FRAME_RATE, Dataset, eye_distances, load_dataset, pictures_held_out
from numpy.typing import NDArray
from photo import distort, relight_around

from pyclnf import CLNF, Camera, Tracker
from pyclnf.camera import head_pose

BANDS = (0, 15, 30, 45, 60, 90)
CHANGES = ("none", "unlike", "around")
NOT_OF_TRACKS = (
    "parameters", "images", "change", "boxes", "off", "size", "asymmetry", "pose", "groups",
)  # fmt: skip


def disturbed_box(
    landmarks: NDArray[np.floating], rng: np.random.Generator, off: float = 0.1
) -> NDArray[np.float64]:
    """Return the box of the landmarks, shifted by up to a share of it, and scaled by 1.5 times as much."""
    low, size = landmarks.min(axis=0).astype(float), np.ptp(landmarks, axis=0).astype(float)
    centre = low + size / 2 + rng.uniform(-off, off, 2) * size
    size = size * rng.uniform(1 - 1.5 * off, 1 + 1.5 * off, 2)
    return np.array([*(centre - size / 2), *size])


def point_errors(found: NDArray[np.floating], data: Dataset, which: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the distances of points (n, 68, 2) over those of the outer eye corners in 3D."""
    distances = np.linalg.norm(found - data.landmarks[which], axis=2)
    return distances / eye_distances(data, which)[:, None]


def changed_picture(data: Dataset, i: int, change: str) -> NDArray[np.uint8]:
    """Return a picture as it is, or changed in one of the `CHANGES`, which is the same each time."""
    if change == "none":
        return data.image(i)
    grey, rng = data.image(i, grey=True), np.random.default_rng([77, i])
    if change == "unlike":
        return distort(grey, rng)
    lit = relight_around(grey, data.landmarks[i], rng)
    return np.uint8(np.clip(lit, 0, 255) + 0.5)


def shrunk(
    image: NDArray[np.uint8], box: NDArray[np.float64], size: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Return a picture shrunk until the box has such a side (the root of its area), its box, and how much."""
    factor = min(1.0, size / np.sqrt(box[2] * box[3]))
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    factors = np.array(small.shape[1::-1]) / np.array(image.shape[1::-1])
    # Coordinates count from the middle of the first pixel.
    return small, np.array([*((box[:2] + 0.5) * factors - 0.5), *(box[2:] * factors)]), factors


def evaluate(
    clnf: CLNF,
    data: Dataset,
    chosen: NDArray[np.intp],
    seed: int = 0,
    change: str = "none",
    off: float = 0.1,
    size: float = np.inf,
) -> dict[str, NDArray[np.float64]]:
    """Return what the fits to the chosen pictures find.

    The errors of the points and of the faces, confidences (NaN without), seconds of the processor, landmarks,
    and the angles of the head (rx, ry, rz) before the camera that took the picture.
    """
    rows = []
    for i in chosen.tolist():
        image = changed_picture(data, i, change)
        box = disturbed_box(data.landmarks[i], np.random.default_rng([seed, i]), off)
        image, box, factors = shrunk(image, box, size)
        began = time.thread_time()
        found, info = clnf.fit(image, box)
        seconds = time.thread_time() - began
        confidence = np.nan if info["confidence"] is None else info["confidence"]
        focal_length, *middle = data.camera[i, 1:].astype(float)
        camera = Camera(*(focal_length * factors), *((np.array(middle) + 0.5) * factors - 0.5))
        pose = head_pose(clnf.model.pdm, info["params"], found, camera)[3:]
        rows.append((confidence, seconds, (found + 0.5) / factors - 0.5, pose))
    names = ("confidence", "seconds", "landmarks", "pose")
    result = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    points = point_errors(result["landmarks"], data, chosen)
    return result | {"points": points, "error": points.mean(axis=1)}


def print_spread(found: NDArray[np.floating], data: Dataset, chosen: NDArray[np.intp]) -> None:
    """Print how much the landmarks (boxes, n, 68, 2) of a face differ with the box.

    The root mean square of their distances from their means, over the distance of the outer eye corners.
    """
    about = np.linalg.norm(found - found.mean(axis=0), axis=3)
    spread = np.sqrt((about**2).mean(axis=0)).mean(axis=1)
    spread /= eye_distances(data, chosen)
    yaw = np.abs(np.degrees(data.pose[chosen, 1]))
    for low, high in ((0, 5), *pairwise(BANDS), (0, 90)):
        band = spread[(yaw >= low) & (yaw < high)]
        if band.size:
            print(f"  yaw {low:2d}-{high:2d}  spread: median {np.median(band):.4f}  mean {band.mean():.4f}")


def asymmetry(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the differences left minus right in the picture, over the distance of the eyes' centres.

    In a frame that the eyes' centres make level: height of the mouth's corner, height of the brow above its
    eye, opening of the lids.
    """
    points = landmarks @ np.array([1, 1j])
    left, right = points[36:42].mean(), points[42:48].mean()
    level = (points - (left + right) / 2) / (right - left)
    down = level.imag
    mouth = down[54] - down[48]
    brow = (down[[43, 44]].mean() - down[22:27].mean()) - (down[[37, 38]].mean() - down[17:22].mean())
    lids = (down[[40, 41]] - down[[38, 37]]).mean() - (down[[46, 47]] - down[[44, 43]]).mean()
    return np.array([mouth, -brow, lids])


def print_asymmetry(found: NDArray[np.floating], data: Dataset, chosen: NDArray[np.intp]) -> None:
    """Print slope, correlation and error of the fitted asymmetries against the labelled ones."""
    fitted = np.array([asymmetry(points) for points in found])
    truth = np.array([asymmetry(points) for points in data.landmarks[chosen]])
    for k, name in enumerate(("mouth corners", "brows", "lids")):
        slope = np.polyfit(truth[:, k], fitted[:, k], 1)[0]
        correlation = np.corrcoef(truth[:, k], fitted[:, k])[0, 1]
        error = np.median(np.abs(fitted[:, k] - truth[:, k]))
        print(f"  {name:13s}  slope {slope:5.2f}  correlation {correlation:5.2f}  median error {error:.4f}")


def print_pose(found: NDArray[np.floating], data: Dataset, chosen: NDArray[np.intp]) -> None:
    """Print how right pitch, yaw and roll are, before the camera that took the pictures."""
    said, truth = np.degrees(found), np.degrees(data.pose[chosen])
    for k, name in enumerate(("pitch", "yaw", "roll")):
        slope, error = np.polyfit(truth[:, k], said[:, k], 1)[0], np.abs(said - truth)[:, k].mean()
        print(f"  {name:6s} slope {slope:5.2f}  mean error {error:.2f} degrees")


def print_tracks(clnf: CLNF, data: Dataset, *, smooth: bool) -> None:
    """Follow the people of videos, and print how right and how steady the landmarks are.

    Jitter: by how much the error of a landmark changes from frame to frame. Lids: how far the eyes are open,
    about each video's mean. All of the frames in which the face is found; the others are counted.
    """
    errors, jitters, lids = [], [], []
    for person in np.unique(data.identity):
        frames = np.flatnonzero(data.identity == person)
        distances = eye_distances(data, frames)
        box = disturbed_box(data.landmarks[frames[0]], np.random.default_rng([0, int(person)]))
        tracker = Tracker(clnf, smooth=smooth, detector=lambda _, box=box: np.array([[*box, 1.0]]))
        offs, openings = [], []
        for number, (i, distance) in enumerate(zip(frames.tolist(), distances, strict=True)):
            (face,) = tracker.update(data.image(i), number / FRAME_RATE)
            offs.append((face.landmarks - data.landmarks[i]) / distance)
            openings.append((opening(face.landmarks) / distance, opening(data.landmarks[i]) / distance))
        off = np.array(offs)
        errors += np.linalg.norm(off, axis=2).mean(axis=1).tolist()
        jitters.append(np.linalg.norm(np.diff(off, axis=0), axis=2))
        seen = np.array(openings)[np.isfinite(off).all(axis=(1, 2))]
        lids.append(seen - seen.sum(axis=0) / max(len(seen), 1))
    # A face that is lost has no landmarks.
    found, jitter = (values[np.isfinite(values)] for values in (np.array(errors), np.concatenate(jitters)))
    print(f"{'smooth' if smooth else 'raw':6s}  {summary(found)}  lost {len(errors) - found.size}")
    fitted, truth = np.concatenate(lids).T
    error = np.sqrt(((fitted - truth) ** 2).mean())
    print(f"        jitter: median {np.median(jitter):.4f}  rms {np.sqrt((jitter**2).mean()):.4f}")
    slope = fitted @ truth / (truth @ truth) if truth.any() else np.nan  # of lids that keep still
    print(f"        lids: slope {slope:.2f}  rms of the error {error:.4f}")


def print_jumps(clnf: CLNF, data: Dataset, jump: float) -> None:
    """Follow people whose pictures move there and back from frame to frame, without a detector's help."""
    errors = []
    for person in np.unique(data.identity):
        frames, found = np.flatnonzero(data.identity == person), []
        rng = np.random.default_rng([0, int(person)])
        x, y, *size = disturbed_box(data.landmarks[frames[0]], rng)
        angle = rng.uniform(0, 2 * np.pi)
        by = np.rint(0.5 * jump * np.sqrt(np.prod(size)) * np.array([np.cos(angle), np.sin(angle)]))
        boxes = [np.array([[x + by[0], y + by[1], *size, 1.0]])]
        tracker = Tracker(clnf, detector=lambda _, boxes=boxes: boxes.pop() if boxes else np.empty((0, 5)))
        for number, i in enumerate(frames.tolist()):
            image = data.image(i)
            matrix = np.column_stack([np.eye(2), by])
            moved = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
            (face,) = tracker.update(moved, number / FRAME_RATE)
            found.append(face.landmarks - by)
            by = -by
        # A face that is lost has no landmarks.
        errors += np.nan_to_num(point_errors(np.array(found), data, frames).mean(axis=1), nan=1.0).tolist()
    print(f"jump {jump:g}  {summary(np.array(errors))}")


def opening(landmarks: NDArray[np.floating]) -> float:
    """Return the mean height of the opening between upper and lower lids, px."""
    return float(np.linalg.norm(landmarks[[37, 38, 43, 44]] - landmarks[[41, 40, 47, 46]], axis=1).mean())


def summary(errors: NDArray[np.float64]) -> str:
    middle, mean, lost = np.median(errors), errors.mean(), (errors > 0.1).mean()
    return f"n {errors.size:4d}  median {middle:.4f}  mean {mean:.4f}  above 0.10 {lost:6.1%}"


def groups(data: Dataset, chosen: NDArray[np.intp]) -> dict[str, NDArray[np.bool_]]:
    """Return which of the chosen pictures show whom, by the labels of the renders."""
    meta = [data.meta[i] for i in chosen.tolist()]
    albedo = np.array([m["albedo"] for m in meta])
    age = np.array([m["age"] for m in meta])
    hidden = data.occluded[chosen].mean(axis=1)
    dark, middle = np.quantile(albedo, [1 / 3, 2 / 3])
    return {
        "skin: darkest third": albedo <= dark,
        "skin: middle third": (albedo > dark) & (albedo <= middle),
        "skin: lightest third": albedo > middle,
        "child (under about 18)": age < 0.35,
        "adult": (age >= 0.35) & (age < 0.65),
        "old (over about 45)": age >= 0.65,
        "female": np.array([m["gender"] <= 0.5 for m in meta]),
        "male": np.array([m["gender"] > 0.5 for m in meta]),
        "beard": np.array([sum(m["beard"]) > 0 for m in meta]),
        "glasses": np.array(["frame" in m["things"] for m in meta]),
        "nothing hidden": hidden == 0,
        "up to a fifth hidden": (hidden > 0) & (hidden <= 0.2),
        "more hidden": hidden > 0.2,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("renders", type=Path)
    parser.add_argument("models", nargs="*", default=["default"], help="default: the shipped one")
    parser.add_argument("--starts", help="learned, frontal or multiview, in place of the model's default")
    parser.add_argument("--parameters", default="image")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--change", choices=CHANGES, default="none", help="change the pictures before")
    parser.add_argument(
        "--boxes", type=int, default=1, help="from so many boxes each, and how far the landmarks differ"
    )
    parser.add_argument(
        "--off",
        type=float,
        default=0.1,
        help="boxes are shifted by up to this share, scaled by 1.5 times as much",
    )
    parser.add_argument(
        "--size", type=float, default=np.inf, help="shrink pictures until boxes have this side, px"
    )
    parser.add_argument("--asymmetry", action="store_true", help="measure left-right differences, too")
    parser.add_argument("--pose", action="store_true", help="how right pitch, yaw and roll are, too")
    parser.add_argument("--groups", action="store_true", help="errors by skin, age, sex and occlusion, too")
    parser.add_argument("--tracks", action="store_true", help="follow the people of the set video_test, only")
    parser.add_argument(
        "--jump", type=float, default=0.0, help="in these, move the picture by this share of the face's size"
    )
    args = parser.parse_args()
    if args.jump and not args.tracks:
        parser.error("--jump moves the pictures of videos: give --tracks, too")
    idle = [name for name in NOT_OF_TRACKS if getattr(args, name) != parser.get_default(name)]
    if args.tracks and idle:
        parser.error(f"--tracks has no use for --{idle[0]}")
    data = load_dataset(args.renders)
    if args.tracks:
        if (np.unique(data.identity, return_counts=True)[1] != FRAME_RATE).any():  # a second of each
            parser.error(f"{args.renders} does not hold videos: render_faces.py --set video_test draws some")
        for clnf in (CLNF(path, parameters="video", starts=args.starts) for path in args.models):
            if args.jump:
                print_jumps(clnf, data, args.jump)
            else:
                for smooth in (False, True):
                    print_tracks(clnf, data, smooth=smooth)
        return
    try:
        chosen = pictures_held_out(data, args.images, seed=0)
    except ValueError as error:
        parser.error(str(error))
    yaw = np.abs(np.degrees(data.pose[chosen, 1]))
    for path in args.models:
        clnf = CLNF(path, parameters=args.parameters, starts=args.starts)
        result = evaluate(clnf, data, chosen, change=args.change, off=args.off, size=args.size)
        errors = result["error"]
        print(f"{path}, {args.parameters}: {1000 * np.median(result['seconds']):.1f} ms a face")
        print(f"  all        {summary(errors)}")
        sure, right = result["confidence"] >= 0.5, errors <= 0.1
        if right.any() and np.isfinite(result["confidence"]).any():  # models may say nothing of it
            print(f"  confident  {sure[right].mean():6.1%} of those within 0.10, {sure[~right].sum()} others")
        for low, high in pairwise(BANDS):
            band = (yaw >= low) & (yaw < high)
            if band.any():
                print(f"  yaw {low:2d}-{high:2d}  {summary(errors[band])}")
        if args.boxes > 1:
            others = (
                evaluate(clnf, data, chosen, seed, args.change, args.off, args.size)
                for seed in range(1, args.boxes)
            )
            found = np.array([result["landmarks"], *(other["landmarks"] for other in others)])
            print_spread(found, data, chosen)
        if args.groups:
            for name, members in groups(data, chosen).items():
                if members.any():
                    print(f"  {name:22s} {summary(errors[members])}")
        if args.pose:
            print_pose(result["pose"], data, chosen)
        if args.asymmetry:
            print_asymmetry(result["landmarks"], data, chosen)


if __name__ == "__main__":
    main()
