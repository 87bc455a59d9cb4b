"""The command line, ``pyclnf``."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import __version__
from pyclnf.errors import ImageError, ParameterError, PyclnfError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EXIT_FAILED, EXIT_USAGE = 1, 2

EXAMPLES = """\
examples:
  pyclnf fit face.jpg --model MODEL_DIR --box 210,70,160,180 --draw out.png
  pyclnf models import MODEL_DIR openface.npz
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of the process' own.

    Returns
    -------
    int
        Exit code: 0 all done, 1 something failed. Bad usage exits with 2.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except PyclnfError as error:
        print(f"pyclnf: {error}", file=sys.stderr)
        return EXIT_FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pyclnf",
        description="Facial landmarks with Constrained Local Neural Fields.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pyclnf {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="find the landmarks of a face in a photograph")
    fit.add_argument("image", type=Path, metavar="IMAGE")
    fit.add_argument("--model", required=True, help="an .npz file or OpenFace's model folder")
    fit.add_argument(
        "--box", required=True, type=_box, metavar="X,Y,W,H", help="box around the landmarks, pixels"
    )
    fit.add_argument(
        "--set", default="image", choices=("image", "video"), help="parameter set (default: image)"
    )
    fit.add_argument(
        "--starts", default="frontal", choices=("frontal", "multiview"), help="rotations to start from"
    )
    fit.add_argument(
        "--draw", type=Path, metavar="OUT.png", help="write the picture with the landmarks drawn on it"
    )
    fit.set_defaults(run=_fit)

    models = commands.add_parser("models", help="handle model files").add_subparsers(
        required=True, metavar="COMMAND"
    )
    convert = models.add_parser("import", help="convert OpenFace's model folder into one .npz file")
    convert.add_argument(
        "folder", type=Path, metavar="DIR", help="OpenFace's model folder, or a main file in it"
    )
    convert.add_argument(
        "output",
        type=Path,
        nargs="?",
        default=Path("openface.npz"),
        metavar="OUT.npz",
        help="default: openface.npz",
    )
    convert.set_defaults(run=_import)
    return parser


def _box(text: str) -> tuple[float, float, float, float]:
    numbers = [float(number) for number in text.split(",")]
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError("a box is four numbers: x,y,width,height")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _fit(options: argparse.Namespace) -> int:
    from pyclnf.clnf import CLNF
    from pyclnf.draw import draw_landmarks

    image = read_image(options.image)
    landmarks, info = CLNF(options.model, parameters=options.set, starts=options.starts).fit(
        image, options.box
    )
    for x, y in landmarks:
        print(f"{x:.2f} {y:.2f}")
    summary = "failed: " + str(info["failure"]) if info["failure"] else "done"
    print(
        f"{options.image}: {summary}; likelihood {info['likelihood']:.3f}, {info['iterations']} iterations",
        file=sys.stderr,
    )
    if options.draw is not None:
        write_image(options.draw, draw_landmarks(image, landmarks, box=options.box))
    return 0 if info["success"] else EXIT_FAILED


def _import(options: argparse.Namespace) -> int:
    from pyclnf.openface import read_model

    model = read_model(options.folder)
    model.save(options.output)
    experts = sum(scale.n_experts for scale in model.scales)
    contents = f"{model.pdm.n_landmarks} landmarks, {experts} patch experts, {len(model.parts)} parts"
    print(f"{options.output}: {contents}")
    return 0


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a photograph as BGR.

    Raises
    ------
    ImageError
        If there is no such file, or it is not an image that OpenCV reads.
    """
    import cv2

    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    image: NDArray[Any] | None = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ImageError(f"{path} is not an image that can be read: use JPEG, PNG, TIFF, BMP or WebP")
    return image


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a picture, in one piece or not at all; the suffix says the format.

    Raises
    ------
    ImageError
        If the format is unknown or the file cannot be written.
    """
    import cv2

    try:
        done, data = cv2.imencode(path.suffix, image)
    except cv2.error:
        done = False
    if not done:
        raise ParameterError(f"{path}: pictures are written as .png, .jpg or .tif, not {path.suffix!r}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            temporary.write_bytes(data.tobytes())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror}") from error
