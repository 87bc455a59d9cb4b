"""The command line, ``pyclnf``."""

from __future__ import annotations

import argparse
import errno
import glob
import io
import json
import math
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyclnf import __version__
from pyclnf.errors import DownloadError, ModelError, ParameterError, PyclnfError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyclnf.batch import Command, Job, Settings
    from pyclnf.camera import Camera

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

MAIN_EXAMPLES = """\
examples:
  pyclnf fit photographs/ --output landmarks --draw pictures
  pyclnf track interview.mp4 --output landmarks --draw pictures --report
  pyclnf models list

'pyclnf COMMAND --help' explains each command with examples.
"""

FIT_EXAMPLES = """\
examples:
  pyclnf fit face.jpg                           writes processed/face.csv
  pyclnf fit photographs/ --output landmarks --draw pictures --workers 4
  pyclnf fit "faces/*.png" --format csv --format pts
  pyclnf fit face.jpg --box 210,70,160,180 --draw face_fit.png
  pyclnf fit photographs/ --resume              continues a run that was interrupted
  pyclnf fit face.jpg --model openface --starts multiview

Each photograph gives one CSV in OpenFace's format, with one row for each face.
Exit code: 0 all done, 1 some failed or nothing could be tried, 2 bad usage, 130 interrupted.
"""

TRACK_EXAMPLES = """\
examples:
  pyclnf track interview.mp4                    writes processed/interview.csv
  pyclnf track videos/ --output landmarks --draw pictures --report --workers 2
  pyclnf track interview.mp4 --smooth           less jitter to look at; the default is raw results
  pyclnf track --frames shots/take1 --frame-rate 25     images as one video: writes processed/take1.csv
  pyclnf track videos/ --scheduler tcp://host:8786

Each video gives one CSV in OpenFace's format, with one row for each frame and face, failed or not.
Exit code: 0 all done, 1 some failed or nothing could be tried, 2 bad usage, 130 interrupted.
"""

MODELS_EXAMPLES = """\
examples:
  pyclnf models list
  pyclnf models import OPENFACE/model                      then use --model openface
  pyclnf models import OPENFACE/model openface.npz         then use --model openface.npz
  pyclnf models download openface                          shows the terms and asks first
"""

REPORT_EXAMPLES = """\
examples:
  pyclnf report processed/interview.csv --video interview.mp4
  pyclnf report processed/ --output report.html            one page for many photographs
"""

MEASURE_EXAMPLES = """\
examples:
  pyclnf measure processed/interview.csv --output measures.csv
  pyclnf measure processed/ --output measures.csv          one table of all
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
        Exit code: 0 all done, 1 something failed, 130 interrupted. Bad usage exits with 2.
    """
    if getattr(sys, "frozen", False):
        # The processes of --workers are the application once more, with arguments of their own.
        import multiprocessing

        multiprocessing.freeze_support()
    given = sys.argv[1:] if arguments is None else arguments
    unclosed = next((text for text in given if '"' in text), None)
    if sys.platform == "win32" and unclosed is not None:
        # In "my photographs\", as shells complete it, the backslash makes the closing mark a character.
        parser().error(
            f"{unclosed}: no path has a quotation mark: leave out the backslash before the closing one"
        )
    options = parser().parse_args(arguments)
    # Names of files may hold what a terminal, or a file of another encoding, cannot.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # OpenCV would refuse larger images only after it has taken the memory for them.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**28))
    try:
        code: int = options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ParameterError as error:
        print(f"pyclnf: {error}", file=sys.stderr)
        return EXIT_USAGE
    except PyclnfError as error:
        print(f"pyclnf: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        hint = "; --resume goes on with what is left" if hasattr(options, "resume") else ""
        print(f"pyclnf: interrupted{hint}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if _is_broken_pipe(error):
            # Whoever read our output has gone ('| head'); Python would complain once more at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_FAILED
        # A full disk, a folder that cannot be written to.
        print(f"pyclnf: {error}", file=sys.stderr)
        return EXIT_FAILED
    return code


def _is_broken_pipe(error: OSError) -> bool:
    """Return whether nobody reads what is written, which on Windows is an invalid argument."""
    if sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None:
        return True
    return isinstance(error, BrokenPipeError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="pyclnf",
        description="Facial landmarks, head pose and confidence with Constrained Local Neural Fields.",
        epilog=MAIN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"pyclnf {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    fit = _command(commands, "fit", "find the landmarks of the faces in photographs", FIT_EXAMPLES)
    _add_batch_options(fit, "fit")
    track = _command(commands, "track", "follow the faces in videos", TRACK_EXAMPLES)
    _add_batch_options(track, "track")
    track.add_argument(
        "--max-faces",
        type=_positive,
        default=1,
        metavar="N",
        help="follow at most N faces (default: 1, the largest in the first frame that has one)",
    )
    track.add_argument(
        "--smooth", action="store_true", help="smooth the landmarks over time (One Euro filter)"
    )
    track.add_argument(
        "--frames",
        action="store_true",
        help="take each input, a folder or pattern of images, as the frames of one video",
    )
    track.add_argument(
        "--frame-rate",
        type=_rate,
        metavar="FPS",
        help="frames per second of images (default: 30), or of videos, instead of their own times",
    )

    models = _command(commands, "models", "list, import and download models", MODELS_EXAMPLES)
    _add_models_commands(models.add_subparsers(required=True, metavar="COMMAND"))

    report = _command(commands, "report", "make a page (HTML) from CSVs, OpenFace's too", REPORT_EXAMPLES)
    report.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="CSV",
        help="CSV of a video, CSVs of photographs, folders of CSVs, or patterns",
    )
    report.add_argument(
        "--output",
        type=Path,
        metavar="OUT.html",
        help="the page (default: beside the CSV of a video, report.html in the folder of photographs' CSVs)",
    )
    report.add_argument(
        "--video",
        type=Path,
        help="the video, or the folder of several or of their folders of frames, to show the worst frames "
        "(default: looked for beside the CSV and one folder up)",
    )
    report.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder of the photographs to show, with the sub-folders that the CSVs' folder has, or without "
        "(default: looked for beside the CSVs and one folder up)",
    )
    report.set_defaults(run=_report)

    measure = _command(commands, "measure", "make a table of openings and heights in mm", MEASURE_EXAMPLES)
    measure.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="CSV",
        help="CSVs of videos, or of photographs, folders of CSVs, or patterns",
    )
    measure.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="OUT.csv",
        help="the table: a row for each row of the CSVs, with the outer canthal distance, mouth width, lid "
        "openings, brow heights and mouth corners",
    )
    measure.set_defaults(run=_measure)

    bench = _command(commands, "bench", "measure how fast fits are on this machine")
    bench.add_argument("--model", help="as for 'pyclnf fit'")
    bench.add_argument("--repeat", type=_positive, default=50, metavar="N", help="fits to time (default: 50)")
    bench.add_argument("--json", action="store_true", help="write JSON")
    bench.set_defaults(run=_bench)

    version = _command(commands, "version", "show which versions, kernels and models are in use")
    version.set_defaults(run=_version)
    return top


def _command(commands: Any, name: str, text: str, examples: str | None = None) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return added


def _add_batch_options(command: argparse.ArgumentParser, name: Command) -> None:
    from pyclnf.batch import FORMATS

    what = "photographs" if name == "fit" else "videos"
    kind = "photograph" if name == "fit" else "video"
    # In double quotes: single ones are part of the name on Windows' command line.
    example = '"x/*.jpg"' if name == "fit" else '"x/*.mp4"'
    command.add_argument(
        "inputs", nargs="+", metavar="INPUT", help=f"{what}, folders of them, or patterns such as {example}"
    )
    command.add_argument(
        "--output",
        type=Path,
        default=Path("processed"),
        metavar="DIR",
        help="folder for the results (default: processed)",
    )
    command.add_argument(
        "--format",
        action="append",
        choices=FORMATS[name],
        help="csv (default; OpenFace's format), "
        + ("pts (for annotation tools), " if name == "fit" else "")
        + 'or parquet (full precision; needs pip install "pyarrow>=14"); may be repeated',
    )
    command.add_argument(
        "--draw",
        type=Path,
        metavar="DIR",
        help=f"also write the {kind}s with the faces drawn on them: into a folder, or one to a file",
    )
    command.add_argument(
        "--report",
        action="store_true",
        help="also write a page (HTML) "
        + ("with the photographs" if name == "fit" else "with curves and the worst frames of each video"),
    )
    command.add_argument(
        "--model",
        help="name of a stored model ('pyclnf models list'), .npz file, or OpenFace's model folder "
        "(default: the shipped model)",
    )
    command.add_argument(
        "--starts",
        choices=("learned", "frontal", "multiview"),
        help="where a fit starts: as the model sees the face (learned), from a frontal head, or from eleven "
        "rotations (multiview: slower than frontal, better for turned heads); default: learned if the model "
        "has it, which is better than both, else frontal",
    )
    command.add_argument(
        "--exhaustive",
        action="store_true",
        help="run every start to its end, as OpenFace does, not only the best",
    )
    command.add_argument(
        "--detector",
        metavar="NAME",
        help="what finds the faces: mtcnn (default), yunet:FILE, dlib, cascade or cascade:FILE (OpenCV 4)",
    )
    command.add_argument(
        "--box",
        type=_box,
        metavar="X,Y,W,H",
        help="box around the landmarks in px, instead of a detector, "
        + ("for every photograph" if name == "fit" else "for the first frame and wherever the face was lost")
        + "; write --box=-5,... if it begins with a minus",
    )
    command.add_argument(
        "--camera",
        type=_camera,
        metavar="FX,FY,CX,CY",
        help="focal lengths and principal point in px, for pose and X, Y, Z (default: guessed from the "
        "image size)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="SET",
        help="parameter set: image, video or tracking"
        + (" (default: image)" if name == "fit" else " (default: video)")
        + "; or one of its numbers, for example iterations=5, windows=11,9,7,5"
        + ("" if name == "fit" else " (for a face's first frame)")
        + ", sigma=1.5, reg_factor=25, weight_factor=0, response_power=2 or min_face_scale=0.25 (default: "
        "the model's numbers; the confidence is calibrated only for these); may be repeated",
    )
    command.add_argument(
        "--workers",
        type=_positive,
        default=1,
        metavar="N",
        help="number of processes (default: 1); results do not depend on it",
    )
    command.add_argument(
        "--resume", action="store_true", help="skip inputs whose results exist and are newer than they"
    )
    command.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="run on the Dask cluster at this address; its machines must see the same files "
        '(needs pip install "distributed>=2024.1")',
    )
    command.set_defaults(run=_batch, command=name)


def _add_models_commands(commands: Any) -> None:
    _command(commands, "list", "list the models that --model knows by name").set_defaults(run=_list_models)

    path = _command(commands, "path", "print the path of a model")
    path.add_argument("name", nargs="?", help="name of the model (default: the shipped one)")
    path.set_defaults(run=_model_path)

    convert = _command(commands, "import", "convert OpenFace's model folder into one .npz file")
    convert.add_argument(
        "folder", type=Path, metavar="DIR", help="OpenFace's model folder, or a main file in it"
    )
    convert.add_argument(
        "output",
        type=Path,
        nargs="?",
        metavar="OUT.npz",
        help="file to write (default: store it under its name)",
    )
    convert.add_argument("--name", default="openface", help="name of the stored model (default: openface)")
    convert.set_defaults(run=_import)

    download = _command(
        commands,
        "download",
        "download OpenFace's model files from its authors' repository, if you accept their terms",
    )
    download.add_argument("name", choices=("openface",))
    download.add_argument(
        "--accept-terms", action="store_true", help="do not ask: you have read the terms and accept them"
    )
    download.set_defaults(run=_download)


# --- values of options


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[2:]) <= 0:
        raise argparse.ArgumentTypeError(f"a box is x,y,width,height in pixels, not {text}")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _camera(text: str) -> Camera:
    from pyclnf.camera import Camera

    try:
        fx, fy, cx, cy = (float(number) for number in text.split(","))
        return Camera(fx, fy, cx, cy)
    except (ValueError, ParameterError) as error:
        raise argparse.ArgumentTypeError(
            f"a camera is fx,fy,cx,cy in pixels, focal lengths positive, not {text}"
        ) from error


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"a positive number of frames a second, not {text}")
    return rate


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return number


def _setting(text: str) -> tuple[str, str | float | tuple[int, ...]]:
    """Return ("parameters", NAME) or (a fit parameter, its value)."""
    from pyclnf.nu_rlms import PARAMETER_SETS, FitParameters

    name, equals, value = text.partition("=")
    if not equals:
        if name not in PARAMETER_SETS:
            raise argparse.ArgumentTypeError(
                f"a parameter set is one of {', '.join(PARAMETER_SETS)}, not {text}"
            )
        return "parameters", name
    known = [field.name for field in fields(FitParameters)]
    if name not in known:
        raise argparse.ArgumentTypeError(f"the fit parameters are {', '.join(known)}; there is no {name!r}")
    try:
        if name == "windows":
            return name, tuple(int(window) for window in value.split(","))
        return name, int(value) if name in ("iterations", "response_power") else float(value)
    except ValueError as error:
        kind = {
            "windows": "whole numbers with commas",
            "iterations": "a whole number",
            "response_power": "a whole number",
        }.get(name, "a number")
        raise argparse.ArgumentTypeError(f"{name} is {kind}, not {value!r}") from error


# --- commands


def _batch(options: argparse.Namespace) -> int:
    from pyclnf import batch
    from pyclnf._files import written_at
    from pyclnf.progress import Progress

    settings = _settings(options)
    # What is wrong with all files is said once, before the first.
    notes = batch.check(settings)
    plan = batch.plan(
        options.command,
        options.inputs,
        options.output,
        options.draw,
        formats=settings.formats,
        frames=getattr(options, "frames", False),
    )
    for note in notes:
        print(f"note: {note}", flush=True)
    for why, files in (
        ("because of their suffix", plan.left_out),
        ("as drawn before", plan.drawn),
        ("as they cannot be read", plan.unread),
        ("as links to folders, which are inputs if they are named", plan.linked),
    ):
        if files:
            print(f"left out {why}: {_listed(files)}", flush=True)
    progress = Progress(len(plan.jobs))
    outcomes = batch.run(
        settings,
        plan.jobs,
        workers=options.workers,
        resume=options.resume,
        scheduler=options.scheduler,
        tick=progress.frame_done,
    )
    try:
        for outcome in outcomes:
            progress.file_done(outcome)
    finally:
        progress.close()
    failed = [outcome for outcome in progress.outcomes if outcome.failure]
    # A photograph without a face has no .pts, but a place on the page.
    lost = {outcome.source for outcome in failed if not outcome.tabled}
    jobs = [job for job in plan.jobs if job.source not in lost]
    written = _write_reports(settings, jobs, options.output) if options.report else set()
    tried = {outcome.source for outcome in progress.outcomes if not outcome.skipped}
    pages = dict.fromkeys(_page(settings, job, options.output) for job in plan.jobs if job.source in tried)
    old = [page for page in pages if page not in written and written_at(page) is not None]
    if old := [*old, *batch.left_over(settings, plan.jobs)]:
        print(f"note: left from an earlier run, not of these results: {_listed(old)}")
    return EXIT_FAILED if failed else 0


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(map(str, paths[:5])) + more


def _settings(options: argparse.Namespace) -> Settings:
    from pyclnf.batch import Settings

    named = [value for name, value in options.set if name == "parameters"]
    numbers = {name: value for name, value in options.set if name != "parameters"}
    formats = tuple(dict.fromkeys(options.format or ["csv"]))
    if options.report and "csv" not in formats:
        raise ParameterError("--report is made of the CSV: add --format csv")
    return Settings(
        command=options.command,
        model=options.model,
        parameters=named[-1] if named else "",
        numbers=tuple(numbers.items()),
        starts=options.starts,
        exhaustive=options.exhaustive,
        detector=options.detector,
        box=options.box,
        formats=formats,
        smooth=getattr(options, "smooth", False),
        max_faces=getattr(options, "max_faces", 1),
        camera=options.camera,
        frame_rate=getattr(options, "frame_rate", None),
    )


def _page(settings: Settings, job: Job, output: Path) -> Path:
    return Path(f"{job.output}.html") if settings.command == "track" else output / "report.html"


def _write_reports(settings: Settings, jobs: Sequence[Job], output: Path) -> set[Path]:
    """Write the pages of jobs, one of all photographs, and return which."""
    from pyclnf.report import write_image_report, write_video_report

    pages = {_page(settings, job, output) for job in jobs}
    if settings.command == "track":
        for job in jobs:
            write_video_report(_page(settings, job, output), Path(f"{job.output}.csv"), Path(job.source))
            print(f"report: {_page(settings, job, output)}")
    elif jobs:
        pairs = [(Path(f"{job.output}.csv"), Path(job.source)) for job in jobs]
        write_image_report(_page(settings, jobs[0], output), pairs)
        print(f"report: {_page(settings, jobs[0], output)}")
    return pages


def _report(options: argparse.Namespace) -> int:
    from pyclnf.formats import layout_of, read_csv
    from pyclnf.progress import counted
    from pyclnf.report import (
        find_images,
        find_videos,
        holds_frames,
        is_newer,
        told_apart,
        write_image_report,
        write_video_report,
    )

    # A name that is meant for a table would be one of the CSVs easily, which a page must not replace.
    if options.output and options.output.suffix.lower() == ".csv":
        raise ParameterError(
            f"--output is a page, OUT.html, not {options.output}: pyclnf measure writes a table"
        )
    paths = _csvs(options.inputs)
    # Their columns need not be in our order.
    layouts = {path: layout_of(path) or read_csv(path).layout for path in paths}
    videos = [path for path in paths if layouts[path] == "video"]
    photographs = {path: folder for path, folder in paths.items() if layouts[path] == "image"}
    if options.output and len(videos) + bool(photographs) > 1:
        raise ParameterError("--output is one page, but these CSVs make several: leave it out")
    folder = options.video if options.video and options.video.is_dir() else None
    if options.video and (not videos or (len(videos) > 1 and folder is None)):
        raise ParameterError("--video belongs to the CSV of one video: of several name their folder")
    if options.images and not photographs:
        raise ParameterError("--images belongs to the CSVs of photographs, but these are of videos")
    if options.images and not options.images.is_dir():
        raise ParameterError(f"--images names the folder of photographs: there is no folder {options.images}")
    pages = {path: options.output or path.with_suffix(".html") for path in videos}
    image_page = options.output or next(iter(photographs.values()), Path()) / "report.html"
    counts = Counter([*pages.values(), image_page] if photographs else pages.values())
    if twice := [page for page, count in counts.items() if count > 1]:
        raise ParameterError(
            f"{twice[0]} would be the page of several CSVs: report them one by one, with --output"
        )
    items: list[tuple[Path, Path | None]] = [(path, options.video) for path in videos]
    doubts: dict[Path, str] = {}
    if not options.video or folder is not None:
        items, doubts = told_apart(find_videos({path: paths[path] for path in videos}, folder))
    for path, video in items:
        page = pages[path]
        # A folder without it may be that of one video's frames.
        alone = len(videos) == 1 and path not in doubts
        if video is None and folder is not None and alone and holds_frames(folder, path):
            video = folder
        write_video_report(page, path, video)
        print(page)
        if video is None:
            remedy = f"name the video of {path} by --video"
            if folder is not None:
                remedy = f"the video of {path} is not found in {folder}; of frames name all, by a pattern if "
                remedy += "there are other images in their folder"
            print(f"note: {page} has no frames: {doubts.get(path, remedy)}", file=sys.stderr)
        elif is_newer(video, path):
            print(f"note: {video} is newer than {path}: if it was changed, track it again", file=sys.stderr)
    if photographs:
        items, doubts = told_apart(find_images(photographs, options.images))
        write_image_report(image_page, items)
        print(image_page)
        count = f"of {counted(len(items), 'photograph')} not"
        if missing := [csv for csv, image in items if image is None and csv not in doubts]:
            text = (
                f"{len(missing)} {count} found, such as that of {missing[0]}: name their folder by --images"
            )
            print(f"note: {text}", file=sys.stderr)
        if newer := [csv for csv, image in items if image is not None and is_newer(image, csv)]:
            text = f"{len(newer)} of {counted(len(items), 'photograph')} newer than the CSV, such as that of "
            print(f"note: {text}{newer[0]}: if it was changed, fit it again", file=sys.stderr)
        if doubts:
            csv, text = next(iter(doubts.items()))
            print(f"note: {len(doubts)} {count} shown, such as that of {csv}: {text}", file=sys.stderr)
    return 0


def _measure(options: argparse.Namespace) -> int:
    from pyclnf.measures import write_measures

    if options.output.suffix.lower() != ".csv":
        raise ParameterError(f"--output is a CSV, OUT.csv, not {options.output}")
    write_measures(options.output, list(_csvs(options.inputs)))
    print(options.output)
    return 0


def _csvs(inputs: Sequence[Path]) -> dict[Path, Path]:
    """Return the CSVs of inputs, each once, with the folder that it is given by; no tables of measures."""
    from pyclnf.measures import is_measures

    paths: dict[Path, Path] = {}
    tables: list[Path] = []
    # A folder may be given as it is called here, from the root and by way of another.
    seen: set[tuple[str, str]] = set()
    for given in chain.from_iterable(map(_expanded, inputs)):
        for path in _csvs_in(given) if given.is_dir() else [given]:
            place = os.path.realpath(path.parent), path.name
            if place in seen:
                continue
            seen.add(place)
            if not is_measures(path):
                paths[path] = given if given.is_dir() else given.parent
            elif path == given:  # as the shell makes it of landmarks/*.csv
                tables.append(path)
    if tables and paths:
        print(f"note: left out as tables of measures: {_listed(tables)}", file=sys.stderr)
    elif tables:
        raise ParameterError(f"{tables[0]} is a table of measures: name the CSVs that it was made of")
    elif not paths:
        raise ParameterError("there are no CSVs in these folders")
    return paths


def _expanded(given: Path) -> list[Path]:
    """Return the files that a pattern means, which Windows' shells leave to programs; others as they are."""
    from pyclnf._files import meant

    matches = [] if given.exists() else glob.glob(str(given), recursive=True)  # noqa: PTH207
    return meant(str(given), map(Path, sorted(matches))) or [given]


def _csvs_in(folder: Path) -> list[Path]:
    """Return the CSVs in a folder but hidden ones, half written or kept by macOS."""
    from pyclnf._files import files_in

    found, unread, linked = files_in(folder)
    if unread:
        print(f"note: left out as they cannot be read: {_listed(unread)}", file=sys.stderr)
    if linked:
        print(f"note: left out as links to folders: {_listed(linked)}", file=sys.stderr)
    return [path for path in found if path.suffix.lower() == ".csv"]


def _list_models(_: argparse.Namespace) -> int:
    from pyclnf.store import cache_dir, models

    found = list(models())
    for model in found:
        print(f"{model.name:12} {model.origin:10} {_size(model.path) / 1e6:6.1f} MB  {model.path}")
    if not found:
        print("no models")
    if all(model.name != "openface" for model in found):
        print("openface     not here: 'pyclnf models download openface' or 'pyclnf models import DIR'")
    print(f"stored models are in {cache_dir()}")
    return 0


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))


def _model_path(options: argparse.Namespace) -> int:
    from pyclnf.store import resolve

    path = resolve(options.name)
    if not path.exists():
        raise ModelError(f"{path}: there is no such file")
    print(path)
    return 0


def _import(options: argparse.Namespace) -> int:
    from pyclnf.openface import read_model
    from pyclnf.progress import counted
    from pyclnf.store import imported_path

    model = read_model(options.folder)
    output = options.output or imported_path(options.name)
    model.save(output)
    experts = sum(scale.n_experts for scale in model.scales)
    counts = {"landmark": model.pdm.n_landmarks, "patch expert": experts, "part": len(model.parts)}
    print(f"{output}: {', '.join(counted(number, noun) for noun, number in counts.items())}")
    if options.output is None:
        print(f"use it with --model {options.name} or CLNF({options.name!r})")
    return 0


def _download(options: argparse.Namespace) -> int:
    from pyclnf.store import OPENFACE_TERMS, download_openface

    print(OPENFACE_TERMS, flush=True)
    accepted = options.accept_terms
    if not accepted and sys.stdin is not None and sys.stdin.isatty():
        try:
            accepted = input("\nDo you accept these terms? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:  # Ctrl-D
            accepted = False
    if not accepted:
        raise DownloadError("nothing was downloaded: accept the terms with --accept-terms")
    folder = download_openface(
        accept_terms=True,
        progress=lambda name, done, total: print(f"{done / total:4.0%} {name}", flush=True),
    )
    print(f"{folder}\nuse it with --model openface or CLNF('openface')")
    return 0


def _bench(options: argparse.Namespace) -> int:
    import numpy as np

    from pyclnf.clnf import CLNF
    from pyclnf.images import as_pixels
    from pyclnf.nu_rlms import KERNEL_VARIANT

    begin = time.perf_counter()
    clnf = CLNF(options.model)
    load = time.perf_counter() - begin
    # Smoothed noise: the time of a fit does not depend much on what the image shows, but that of the second
    # look at a doubtful one, which faces hardly need, is left out.
    random = np.random.default_rng(1)
    image = as_pixels(np.kron(random.integers(0, 256, (60, 80)), np.ones((8, 8))).astype(np.uint8))
    results: dict[str, Any] = {"model": repr(clnf.model), "load_ms": load * 1e3, "kernels": KERNEL_VARIANT}
    for name in ("image", "video"):
        own = CLNF(clnf.model, parameters=name)
        times = []
        for i in range(-1, options.repeat):
            begin = time.perf_counter()
            own.fit_from(image, own.starts_in(image, (220 + i % 10, 130, 200, 210)), own.parameters)
            times.append(time.perf_counter() - begin)
        del times[0]  # it makes what later ones use
        results[f"fit_{name}_ms"] = {
            "median": float(np.median(times)) * 1e3,
            "p95": float(np.quantile(times, 0.95)) * 1e3,
        }
    if options.json:
        print(json.dumps(results, indent=2))
        return 0
    print(f"{results['model']}\nkernels {results['kernels']}, model opened in {results['load_ms']:.0f} ms")
    for name in ("image", "video"):
        ms = results[f"fit_{name}_ms"]
        print(f"fit, parameter set {name!r}: median {ms['median']:.1f} ms, 95 % within {ms['p95']:.1f} ms")
    return 0


def _version(_: argparse.Namespace) -> int:
    import cv2
    import numpy as np

    from pyclnf.nu_rlms import KERNEL_VARIANT
    from pyclnf.store import models

    print(f"pyclnf {__version__}")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}")
    print(f"kernels: {KERNEL_VARIANT}")
    print(f"models: {', '.join(model.name for model in models()) or 'none'}")
    return 0
