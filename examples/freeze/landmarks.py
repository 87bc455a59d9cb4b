"""A small application to freeze: a picture in; the landmarks, and the picture with them drawn, out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pyclnf
from pyclnf import CLNF, PyclnfError
from pyclnf.draw import draw_faces
from pyclnf.images import read_photograph, write_image
from pyclnf.nu_rlms import KERNEL_VARIANT


def main() -> int:
    """Run the application."""
    parser = argparse.ArgumentParser(prog="landmarks", description="Facial landmarks of a picture.")
    parser.add_argument("picture", type=Path, nargs="?")
    parser.add_argument(
        "--json", type=Path, default=Path("landmarks.json"), help="landmarks, pose, confidence"
    )
    parser.add_argument("--draw", type=Path, default=Path("landmarks.png"))
    options = parser.parse_args()
    if options.picture is None:
        print(f"pyclnf {pyclnf.__version__}, kernels {KERNEL_VARIANT}, from {Path(pyclnf.__file__).parent}")
        return 0
    try:
        # Not by cv2.imread and imwrite, which know only ASCII paths on Windows.
        image, _ = read_photograph(options.picture)
        faces = CLNF().detect(image)
        write_image(options.draw, draw_faces(image, faces))
    except PyclnfError as error:
        print(f"landmarks: {error}", file=sys.stderr)
        return 1
    found = [
        {"confidence": face.confidence, "landmarks": face.landmarks.tolist(), "pose": face.pose.tolist()}
        for face in faces
    ]
    options.json.write_text(json.dumps(found), encoding="utf-8")
    print(f"{options.picture}: {len(found)} face{'s' * (len(found) != 1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
