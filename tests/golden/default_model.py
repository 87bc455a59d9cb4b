"""What the default model gives on two pictures, in numbers: a digest of them, and the file that keeps them.

    python tests/golden/default_model.py           # versions, and a digest of each part, as JSON
    python tests/golden/default_model.py --write   # writes default_model.json: after a change of the model

It needs nothing but pyclnf and what pyclnf needs, so that it runs in any environment. The numbers of
default_model.json are those of the baseline kernels.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy

import pyclnf
from pyclnf import CLNF, Face, Tracker, _kernels
from pyclnf.detection import MTCNNDetector, find_faces

FOLDER = Path(__file__).resolve().parent
GOLDEN = FOLDER / "default_model.json"

# Boxes around the landmarks (x, y, w, h), set by hand.
BOXES = {"rendered": (65, 58, 222, 267), "astronaut": (180, 89, 90, 88)}
# How the picture moves from frame to frame of the tracked video, px (x, y).
SHIFTS = ((0, 0), (2, 1), (5, 1), (7, -2))


def pictures() -> dict[str, np.ndarray]:
    """Return the pictures, BGR: always ours, and NASA's where scikit-image is installed.

    Ours is examples/rendered_face.jpg, decoded once, since decoders of JPEG do not agree.
    """
    found = {"rendered": cv2.imread(str(FOLDER / "rendered_face.png"))}
    try:
        from skimage import data
    except ImportError:
        return found
    found["astronaut"] = np.ascontiguousarray(data.astronaut()[:, :, ::-1])
    return found


def of_face(face: Face) -> dict[str, np.ndarray]:
    """Return the numbers of a face."""
    return {
        "landmarks": face.landmarks,
        "landmarks_3d": face.landmarks_3d,
        "head": face.pose,
        "pose": face.params.pose,
        "shape": face.params.shape,
        "likelihood": np.array([face.likelihood]),
        "confidence": np.array([np.nan if face.confidence is None else face.confidence]),
        "score": np.array([face.score]),
    }


def compute(names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Return all numbers, ``PICTURE/PART/NAME`` to array, with the kernels in use."""
    out: dict[str, np.ndarray] = {}
    for name, image in pictures().items():
        if names and name not in names:
            continue
        for parameters in ("image", "video"):
            landmarks, info = CLNF(parameters=parameters).fit(image, BOXES[name])
            part = f"{name}/fit-{parameters}"
            out[f"{part}/landmarks"] = landmarks
            out[f"{part}/pose"], out[f"{part}/shape"] = info["params"].pose, info["params"].shape
            out[f"{part}/likelihood"] = np.array([info["likelihood"]])
            out[f"{part}/confidence"] = np.array([info["confidence"] or 0.0])
            out[f"{part}/landmark_likelihoods"] = info["landmark_likelihoods"]
        out[f"{name}/detector/boxes"] = find_faces(MTCNNDetector(), image)
        (face, *_) = CLNF().detect(image)
        out |= {f"{name}/detect/{key}": value for key, value in of_face(face).items()}
        tracker = Tracker(CLNF(), template=True, smooth=True)
        # As they are, our face is turned by 10 degrees, where two views meet, and NASA's by none, where the
        # learned start goes over to the mirror image: there last digits choose.
        left, _, width, _ = BOXES[name]
        narrow = np.delete(image, np.s_[: left + width // 2 : 8], axis=1)
        for frame, (x, y) in enumerate(SHIFTS):
            (face,) = tracker.update(np.roll(narrow, (y, x), axis=(0, 1)), frame / 25)
            out |= {f"{name}/track-{frame}/{key}": value for key, value in of_face(face).items()}
    return out


def digests(numbers: dict[str, np.ndarray]) -> dict[str, str]:
    """Return a digest of the bytes of each picture's parts."""
    hashes: dict[str, Any] = {}
    for name, array in numbers.items():
        part = name.rpartition("/")[0]
        one = hashes.setdefault(part, hashlib.sha256())
        one.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
        one.update(np.ascontiguousarray(array).tobytes())
    return {part: one.hexdigest()[:16] for part, one in hashes.items()}


def model_digest() -> str:
    """Return a digest of the default model's file."""
    return hashlib.sha256((Path(pyclnf.__file__).parent / "data" / "default.npz").read_bytes()).hexdigest()[
        :16
    ]


def read_golden() -> dict[str, Any]:
    """Return what `write_golden` wrote, arrays as arrays."""
    content: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    content["numbers"] = {
        name: np.array([np.nan if value is None else value for value in flat])
        for name, flat in content["numbers"].items()
    }
    return content


def write_golden() -> None:
    """Write the numbers of the baseline kernels and of the default model as it is."""
    numbers = {
        name: [None if np.isnan(value) else float(value) for value in array.ravel()]
        for name, array in compute().items()
    }
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(flat)}" for name, flat in numbers.items())
    GOLDEN.write_text(
        f'{{"model": "{model_digest()}", "kernels": "{_kernels.VARIANT}", "numbers": {{\n{lines}\n}}}}\n',
        encoding="utf-8",
    )


def main() -> int:
    """Print the digests, or write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write default_model.json")
    options = parser.parse_args()
    if not options.write:
        versions = {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "opencv": cv2.__version__,
        }
        # Only our own picture, whatever else is installed.
        found = digests(compute(("rendered",)))
        print(json.dumps({"kernels": _kernels.VARIANT, "versions": versions, "digests": found}))
        return 0
    if _kernels.VARIANT != "baseline":
        parser.error("set PYCLNF_KERNELS=baseline: the file holds the numbers of these kernels")
    if "astronaut" not in pictures():
        parser.error("scikit-image is not installed: its picture would be missing")
    write_golden()
    print(f"wrote {GOLDEN.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
