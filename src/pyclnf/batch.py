"""Many photographs and videos: one task a file, in this process, in others, or on a Dask cluster.

A task writes its files under temporary names and moves them when they are
whole, the one that says that it is done last. A run that was killed is taken up
again by leaving out what is done: the outcome of a file depends on that file
alone.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
import sys
import threading
import time
import unicodedata
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyclnf._files import files_in, is_hidden, meant, remove_leftovers, written_at
from pyclnf._processes import end_with_parent
from pyclnf.draw import VIDEO_CODECS, VideoOverlay, draw_faces
from pyclnf.errors import BoxError, FormatError, ParameterError, PyclnfError, VideoError
from pyclnf.formats import (
    CSVWriter,
    ParquetWriter,
    Writer,
    layout_of,
    write_csv,
    write_parquet,
    write_pts,
)
from pyclnf.images import IMAGE_SUFFIXES, WRITTEN_SUFFIXES, read_photograph, write_image
from pyclnf.progress import counted
from pyclnf.store import resolve
from pyclnf.video import Video, image_files, is_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pyclnf.camera import Camera
    from pyclnf.clnf import CLNF
    from pyclnf.detection import Detector
    from pyclnf.face import Face
    from pyclnf.tracking import Tracker

    Command = Literal["fit", "track"]
    Tick = Callable[[int, int | None], None]

__all__ = ["FORMATS", "Job", "Outcome", "Settings", "plan", "run"]

FORMATS: dict[Command, tuple[str, ...]] = {"fit": ("csv", "pts", "parquet"), "track": ("csv", "parquet")}
VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".dv", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)

# Of one picture or video with the faces drawn on it.
DRAWN_SUFFIXES: dict[Command, tuple[str, ...]] = {
    "fit": WRITTEN_SUFFIXES,
    "track": tuple(sorted(VIDEO_CODECS)),
}

# So many fits of a photograph may fail in a row, between two whose .pts are written.
LONGEST_GAP = 20

# A Dask cluster that has lost its workers is given so long to have one again.
NO_WORKER_SECONDS = 300.0


@dataclass(frozen=True)
class Settings:
    """What all files of a run have in common; picklable.

    Attributes
    ----------
    command : {"fit", "track"}
    model : str or None
        As `pyclnf.store.resolve` takes it.
    parameters : str
        Name of the parameter set; by default that of the command, "image" or "video".
    numbers : tuple of (str, value)
        Fit parameters to replace.
    starts : str
    exhaustive : bool
        Run every start to its end.
    detector : str or None
        As `pyclnf.detection.make_detector` takes it.
    box : tuple of float or None
        (x, y, w, h) of the face in every photograph, or in the first frame of every video.
    formats : tuple of str
        Of `FORMATS`.
    smooth : bool
        Smooth the landmarks of videos.
    max_faces : int
        Faces to follow in a video.
    camera : Camera or None
        For the head's pose; default: guessed from the size.
    frame_rate : float or None
        Frames a second of videos, see `Video`.
    """

    command: Command
    model: str | None = None
    parameters: str = ""
    numbers: tuple[tuple[str, float | tuple[int, ...]], ...] = ()
    starts: Literal["learned", "frontal", "multiview"] | None = None
    exhaustive: bool = False
    detector: str | None = None
    box: tuple[float, float, float, float] | None = None
    formats: tuple[str, ...] = ("csv",)
    smooth: bool = False
    max_faces: int = 1
    camera: Camera | None = None
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        if not self.parameters:
            object.__setattr__(self, "parameters", "image" if self.command == "fit" else "video")


@dataclass(frozen=True)
class Job:
    """A file and what comes of it.

    Attributes
    ----------
    source : str
    output : str
        Path of the outputs without their suffix.
    draw : str or None
        Path of the picture or video with the faces drawn on it.
    """

    source: str
    output: str
    draw: str | None = None

    def outputs(self, formats: Iterable[str]) -> list[Path]:
        """Return the files that are there when the job is done."""
        paths = [Path(f"{self.output}.{name}") for name in formats]
        return [Path(self.draw), *paths] if self.draw else paths

    def otherwise(self, formats: Iterable[str]) -> list[Path]:
        """Return what the outputs are called where the source has, or has not, a twin of another suffix."""
        suffix = Path(self.source).suffix
        if suffix.lower() not in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):  # a folder of frames keeps its name
            return []
        name = self.output.removesuffix(suffix) if self.output.endswith(suffix) else self.output + suffix
        paths = [Path(f"{name}.{form}") for form in formats]
        drawn = Path(self.draw or "")
        into_folder = drawn.suffix and drawn.stem == Path(self.output).name
        # Beside the sources it is a photograph rather, perhaps the twin itself.
        apart = os.path.realpath(drawn.parent) != os.path.realpath(Path(self.source).parent)
        if into_folder and apart:
            paths.append(drawn.with_name(f"{Path(name).name}{drawn.suffix}"))
        return paths


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes
    ----------
    source : str
    faces : int
        Faces found; in videos, rows with success.
    frames : int
        Frames of a video.
    failure : str or None
        Why there are no outputs, or not all.
    tabled : bool
        Whether the CSV and the Parquet file are written all the same.
    note : str or None
        What was unusual.
    skipped : bool
        Whether it was finished before.
    """

    source: str
    faces: int = 0
    frames: int = 0
    failure: str | None = None
    note: str | None = None
    skipped: bool = False
    tabled: bool = False

    def __str__(self) -> str:
        if self.failure:
            return f"{self.source}: failed: {self.failure}"
        if self.skipped:
            return f"{self.source}: skipped, already done"
        found = counted(self.faces, "face")
        found += f" in {counted(self.frames, 'frame')}" if self.frames else ""
        return f"{self.source}: {found}{f' ({self.note})' if self.note else ''}"


@dataclass
class Plan:
    """The jobs of a run, and what is left out: files for their suffix, or as drawn before, some folders."""

    jobs: list[Job] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)
    drawn: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    linked: list[Path] = field(default_factory=list)


def plan(
    command: Command,
    inputs: Sequence[str],
    output: Path,
    draw: Path | None,
    *,
    formats: Sequence[str] = ("csv",),
    frames: bool = False,
) -> Plan:
    """Return the jobs for files, folders and glob patterns.

    Parameters
    ----------
    command : {"fit", "track"}
    inputs : sequence of str
        Of folders all files with a suffix of images (videos), in sub-folders too.
    output : Path
        Folder of the outputs, which have the inputs' names, those from
        folders with their sub-folders.
    draw : Path, optional
        Folder of pictures, or the one picture (video) if it has a suffix and is no folder. What is in the
        folder is no input.
    formats : sequence of str
        Of the outputs.
    frames : bool
        Each input is one video: a folder or pattern of images.

    Raises
    ------
    ParameterError
        If an input does not exist or nothing is left to do, if outputs would have the same name, or cannot
        be written where they are to be.
    """
    suffixes = IMAGE_SUFFIXES if command == "fit" else VIDEO_SUFFIXES
    result = Plan()
    found: dict[Path, Path] = {}  # source -> path relative to the output folder
    one_picture = draw is not None and draw.suffix != "" and not draw.is_dir()
    _check_places(command, output, draw, one_picture)
    for text in inputs:
        path = Path(text)
        if not text:
            raise ParameterError("an input is empty: name a file, a folder or a pattern")
        if frames:
            if path.is_file():
                raise ParameterError(
                    f"--frames takes folders and (quoted) patterns of images, not the file {path}"
                )
            if not path.is_dir() and not re.search(r"[*?\[%]", path.name):
                raise ParameterError(f"{text}: there is no such folder, and it is no pattern of images")
            # Of frames/*.png and frames/%04d.png the name is the folder's.
            folder = path if path.is_dir() else path.parent
            found[path] = Path(_resolved(folder).name or "frames")
            if path.is_dir():
                others = [file for file in path.iterdir() if not file.is_dir() and not is_hidden(file)]
                result.left_out += sorted(file for file in others if not is_frame(file))
        elif path.is_dir():
            found.update({file: file.relative_to(path) for file in _in_folder(path, suffixes, draw, result)})
        elif path.is_file():
            found[path] = Path(path.name)
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
            files = meant(text, [match for match in matches if not match.is_dir()])
            if not files:
                raise ParameterError(
                    f"{text}: there is no such file or folder, and the pattern matches no file"
                )
            found.update({file: Path(file.name) for file in files})
    if not found:
        raise _nothing(command, inputs, result)
    if one_picture and len(found) > 1:
        raise ParameterError(f"--draw {draw} is one file for {len(found)} inputs: name a folder")
    names = {source: str(path) for source, path in found.items()} if frames else _short_names(found)
    _check_unique(names, numbered="pts" in formats)
    sources: dict[str, list[Path]] = {}
    for source in found:
        sources.setdefault(_folded(_resolved(source)), []).append(source)
    for source, name in names.items():
        picture = None
        if draw is not None:
            picture = str(draw if one_picture else draw / f"{name}{'.jpg' if command == 'fit' else '.mp4'}")
            alike = sources.get(_folded(_resolved(Path(picture))), [])
            if any(_is_same(Path(picture), other) for other in alike):
                raise ParameterError(f"--draw would overwrite the input {picture}: name another folder")
            if not (one_picture or frames) and _resolved(Path(picture).parent) == _resolved(source.parent):
                raise ParameterError(
                    f"--draw {draw} is the folder of the input {source}: what is drawn there could replace "
                    "another photograph or video; name another folder, or the picture with its suffix"
                )
        result.jobs.append(Job(str(source), str(output / name), picture))
    return result


def _nothing(command: Command, inputs: Sequence[str], result: Plan) -> ParameterError:
    """Return the error of inputs without a file to work on."""
    kind, remedy = "photographs", "videos: pyclnf track is for them"
    suffixes, others = set(IMAGE_SUFFIXES), set(VIDEO_SUFFIXES)
    if command == "track":
        kind, remedy = "videos", "images: pyclnf fit is for photographs, --frames for those of a video"
        suffixes, others = others, suffixes
    text = f"there are no {kind} in {', '.join(inputs)} ({', '.join(sorted(suffixes))})"
    if any(file.suffix.lower() in others for file in result.left_out):
        text += f", but {remedy}"
    if result.unread:
        text += f"; {', '.join(map(str, result.unread))} cannot be read"
    if result.linked:
        text += f"; links to folders, such as {result.linked[0]}, are not followed: name them"
    return ParameterError(text)


def _check_places(command: Command, output: Path, draw: Path | None, one_picture: bool) -> None:
    """Refuse files where folders are to be, and pictures that cannot be written."""
    for option, place in (("--output", output), ("--draw", draw)):
        if place is not None and place.is_symlink() and not place.exists():
            raise ParameterError(f"{option} {place} is a link that leads nowhere: name a folder")
    if output.exists() and not output.is_dir():
        raise ParameterError(f"--output {output} is a file: name a folder")
    if draw is None:
        return
    kind, known = "picture" if command == "fit" else "video", DRAWN_SUFFIXES[command]
    if one_picture and draw.suffix.lower() not in known:
        raise ParameterError(
            f"--draw {draw}: a {kind} is written as {', '.join(known)}; a folder of that name must exist"
        )
    if not one_picture and draw.exists() and not draw.is_dir():
        raise ParameterError(f"--draw {draw} is a file without a suffix: name a folder, or a {kind}")


def _in_folder(path: Path, suffixes: Sequence[str], draw: Path | None, result: Plan) -> list[Path]:
    """Return the inputs in a folder, and note those that are left out."""
    # Also what cannot be read, such as a link that leads nowhere: it is reported.
    files, unread, linked = files_in(path)
    result.unread += unread
    result.linked += linked
    # What an earlier run drew into a folder of the input is no photograph.
    pictures = None if draw is None else _resolved(draw)
    if pictures == _resolved(path):
        raise ParameterError(
            f"--draw {draw} is the folder of the input: what is drawn there would be an input the next time; "
            "name another folder"
        )
    if pictures is not None and _resolved(path) in pictures.parents:
        drawn = {file for file in files if pictures in _resolved(file).parents}
        files = [file for file in files if file not in drawn]
        result.drawn += sorted(drawn)
    result.left_out += [file for file in files if file.suffix.lower() not in suffixes]
    return [file for file in files if file.suffix.lower() in suffixes]


def _resolved(path: Path) -> Path:
    """Return where links lead; before Python 3.13 `Path.resolve` fails at one that leads to itself."""
    return Path(os.path.realpath(path))


def _folded(path: str | Path) -> str:
    """Return what paths have in common that are one file to a system that tells no case or Unicode form."""
    # Not casefold(), by which Maße and Masse are one.
    return unicodedata.normalize("NFC", str(path)).lower()


def _is_same(path: Path, source: Path) -> bool:
    """Return whether a path whose folded one is a source's leads to it on the system where it is."""
    if _resolved(path) == _resolved(source):
        return True
    try:
        return path.samefile(source)
    except OSError:
        return False


def _as_file(path: str | Path) -> str:
    """Return what two names of outputs have in common where they would be one file."""
    return _folded(path) if sys.platform in ("darwin", "win32") else str(path)


def _short_names(found: dict[Path, Path]) -> dict[Path, str]:
    """Return the outputs' names: without the suffix where that tells the inputs apart."""
    stems = Counter(_as_file(path.with_suffix("")) for path in found.values())
    return {
        source: str(path.with_suffix("") if stems[_as_file(path.with_suffix(""))] == 1 else path)
        for source, path in found.items()
    }


def _check_unique(names: dict[Path, str], *, numbered: bool) -> None:
    """Refuse outputs of the same name.

    numbered: each further face of a photograph has a file of its own, NAME.face1.pts and so on.
    """
    by_name: dict[str, list[Path]] = {}
    for source, name in names.items():
        by_name.setdefault(_as_file(name), []).append(source)
        first = re.fullmatch(r"(.+)\.face[1-9]\d*", name) if numbered else None
        if first is not None:
            by_name.setdefault(_as_file(first[1]), []).append(source)
    written = {_as_file(name) for name in names.values()}
    for name, twins in by_name.items():
        if len(twins) > 1 and name in written:
            raise ParameterError(
                f"the outputs of {' and '.join(map(str, twins))} would have the same name: run them apart, "
                "into two folders"
            )


def left_over(settings: Settings, jobs: Sequence[Job]) -> list[Path]:
    """Return outputs of an earlier run that are there beside those of jobs under another name.

    Of a.jpg alone it is a.csv, and a.jpg.csv where there is an a.png: one of them is of what was there then.
    """
    written = {path for job in jobs for path in job.outputs(settings.formats)}
    others = dict.fromkeys(path for job in jobs for path in job.otherwise(settings.formats))
    return [
        path
        for path in others
        if path not in written
        and written_at(path) is not None
        and _foreign_table(settings.command, [path]) is None
    ]


def run(
    settings: Settings,
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    resume: bool = False,
    scheduler: str | None = None,
    tick: Tick | None = None,
) -> Iterator[Outcome]:
    """Do the jobs and yield their outcomes, in the order in which they are done.

    Parameters
    ----------
    settings : Settings
    jobs : sequence of Job
    workers : int
        Processes; with 1 everything happens in this one. The files do not depend on it. With more than one, a
        script needs the ``if __name__ == "__main__":`` guard of `multiprocessing`.
    resume : bool
        Skip the jobs whose outputs are there, and newer than their sources.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers see the same files under
        the same paths and have pyclnf installed; instead of processes here.
    tick : callable, optional
        Called with (frames done, frames of the video or None) if there is one process.
    """
    waiting = []
    for job in jobs:
        outputs = job.outputs(settings.formats)
        if (failure := _foreign_table(settings.command, outputs)) is not None:
            yield Outcome(job.source, failure=failure)
            continue
        if resume and _is_done(job, outputs):
            yield Outcome(job.source, skipped=True)
            continue
        waiting.append(job)
    _remove_leftovers(settings, waiting)
    if scheduler is not None:
        yield from _run_on_dask(settings, waiting, scheduler)
    elif workers == 1 or len(waiting) <= 1:
        for job in waiting:
            yield run_job(settings, job, tick)
    else:
        running: dict[Future[Outcome], Job] = {}
        try:
            yield from _run_in_processes(settings, waiting, min(workers, len(waiting)), running)
        except BaseException:  # interrupted: what the processes had begun to write
            _remove_leftovers(settings, running.values())
            raise


def _is_done(job: Job, outputs: Sequence[Path]) -> bool:
    """Return whether the outputs are there, and are not of another file that had the input's name before."""
    # What a power cut leaves of a file that had just been written may be its name.
    times = [time for path in outputs if (time := written_at(path)) is not None and path.stat().st_size]
    return len(times) == len(outputs) and _came(job.source) <= min(times)


def _came(source: str) -> int:
    """Return when an input was written or put where it is, in ns; of frames, the last."""
    try:
        files = image_files(source) or [Path(source)]
    except (VideoError, OSError):
        files = [Path(source)]
    # A link that leads elsewhere now, to a file or folder, has a new time, whatever the file's own is.
    links = {folder for folder in files[0].parents if folder.is_symlink()}
    times, now = [0], time.time_ns()
    for look in itertools.chain((file.stat for file in files), (path.lstat for path in (*files, *links))):
        with suppress(OSError):
            found = look()
            # A copy keeps the time of its original: that to come of a camera whose clock is wrong, perhaps.
            times += [found.st_ctime_ns, found.st_mtime_ns if found.st_mtime_ns <= now else 0]
    return max(times)


def _remove_leftovers(settings: Settings, jobs: Iterable[Job]) -> None:
    """Remove the temporary files of jobs whose processes have been killed."""
    remove_leftovers(path for job in jobs for path in job.outputs(settings.formats))


def _foreign_table(command: Command, outputs: Iterable[Path]) -> str | None:
    """Return why outputs are not to be replaced: fit and track name their tables alike, after the input."""
    own, other, layout = (
        ("photograph", "video", "video") if command == "fit" else ("video", "photograph", "image")
    )
    for path in outputs:
        kind = {".csv": "CSV", ".parquet": "Parquet file"}.get(path.suffix)
        if kind is not None and written_at(path) is not None and layout_of(path) == layout:
            return f"{path} is the {kind} of a {other}: give the {own} another --output"
    return None


def _run_in_processes(
    settings: Settings, jobs: Sequence[Job], workers: int, running: dict[Future[Outcome], Job]
) -> Iterator[Outcome]:
    """Do the jobs; running: those under way, for who is to tidy up after them."""
    queue = deque(jobs)
    while queue:
        lost: list[Job] = []
        with _pool(workers) as pool:
            while (queue or running) and not lost:
                # One more than there are processes, so that none waits; not all, so that few are lost.
                while queue and len(running) <= workers and not lost:
                    job = queue.popleft()
                    try:
                        running[pool.submit(run_job, settings, job)] = job
                    except BrokenProcessPool:
                        lost.append(job)
                if running:
                    yield from _collect(running, lost)
            while running:
                yield from _collect(running, lost)
        # A process died, and its pool with it. Alone, each job under way shows whether it was its fault.
        for job in lost:
            with _pool(1) as pool:
                future = pool.submit(run_job, settings, job)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    yield Outcome(job.source, failure="the process that worked on it died, twice")


def _collect(running: dict[Future[Outcome], Job], lost: list[Job]) -> Iterator[Outcome]:
    """Yield what is done and take it from *running*."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        job = running.pop(future)
        try:
            yield future.result()
        except BrokenProcessPool:
            lost.append(job)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes, which end at once if the block is left by an interruption."""
    if sys.platform == "win32":
        workers = min(workers, 61)  # Windows does not wait for more
    # Spawned: OpenCV's threads do not survive a fork.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        # As pool.terminate_workers() does from Python 3.14 on.
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    import cv2

    end_with_parent()
    # The processes share the cores.
    cv2.setNumThreads(1)


def _run_on_dask(settings: Settings, jobs: Sequence[Job], scheduler: str) -> Iterator[Outcome]:
    try:
        import distributed
    except ImportError as error:
        raise ParameterError('dask is not installed: pip install "distributed>=2024.1"') from error
    # The workers have other working directories.
    absolute = [
        Job(_absolute(job.source), _absolute(job.output), job.draw and _absolute(job.draw)) for job in jobs
    ]
    names = dict(zip(absolute, jobs, strict=True))
    if settings.model is not None:
        settings = replace(settings, model=_absolute(str(resolve(settings.model))))
    try:
        client = distributed.Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ParameterError(f"there is no Dask scheduler at {scheduler}: {error}") from error
    with client:
        suspects = []
        futures = {client.submit(run_job, settings, job, pure=False): job for job in absolute}
        for future in distributed.as_completed(futures):
            job = futures[future]
            outcome = _dask_outcome(client, future, names[job].source)
            if future.status == "error" and isinstance(future.exception(), distributed.KilledWorker):
                suspects.append(job)
                continue
            yield outcome
        # Dask also blames a job that shared its workers with the one that killed them: each again, alone.
        for job in suspects:
            future = client.submit(run_job, settings, job, pure=False)
            yield _dask_outcome(client, future, names[job].source)
    _remove_leftovers(settings, absolute)


def _dask_outcome(client: Any, future: Any, source: str) -> Outcome:
    """Return what a job comes to, which takes for ever only where workers work on it.

    A result that its worker took with it when it died is waited for anew.
    """
    found: list[Outcome] = []

    def receive() -> None:
        try:
            found.append(replace(future.result(), source=source))
        except BaseException as error:  # of the job or the cluster; CancelledError is no Exception
            found.append(Outcome(source, failure=f"on the cluster: {error!r}"))

    # Not result(timeout=...): one that runs out takes the transfer of the result with it, and the next fails
    # by it (dask/distributed#8514).
    waiting = threading.Thread(target=receive, daemon=True)
    waiting.start()
    alone_since = time.monotonic()
    while True:
        waiting.join(min(1.0, NO_WORKER_SECONDS))
        if found:
            return found[0]
        if client.scheduler_info()["workers"]:
            alone_since = time.monotonic()
        elif time.monotonic() - alone_since >= NO_WORKER_SECONDS:
            future.cancel()
            text = f"on the cluster: its workers died, and none came back within {NO_WORKER_SECONDS:g} s"
            return Outcome(source, failure=text)


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


# --- one file


def run_job(settings: Settings, job: Job, tick: Tick | None = None) -> Outcome:
    """Do a job; what goes wrong with its file is in the outcome."""
    before = _written(settings, job)
    outcome = _try_job(settings, job, tick)
    if not outcome.failure:
        return outcome
    after = _written(settings, job)
    left = [str(path) for path, time in before.items() if after.get(path) == time]
    if left:
        # Who finds them later takes them for what became of this file.
        text = f"{outcome.failure}; there is still {', '.join(left)} of an earlier run"
        outcome = replace(outcome, failure=text)
    return outcome


def _written(settings: Settings, job: Job) -> dict[Path, int]:
    """Return the outputs that are there, and when they were written."""
    times = {path: written_at(path) for path in job.outputs(settings.formats)}
    return {path: time for path, time in times.items() if time is not None}


def _try_job(settings: Settings, job: Job, tick: Tick | None) -> Outcome:
    try:
        if settings.command == "fit":
            return _fit(settings, job)
        return _track(settings, job, tick)
    except (PyclnfError, OSError, MemoryError) as error:
        return Outcome(job.source, failure=_reason(error, job))
    except Exception as error:  # a broken file must not end the batch, whatever a library makes of it
        return Outcome(job.source, failure=f"{type(error).__name__}: {error}")


def _reason(error: Exception, job: Job) -> str:
    return str(error).removeprefix(f"{job.source}: ") or type(error).__name__


def check(settings: Settings) -> list[str]:
    """Raise what is wrong with the settings of all files before the first is tried, and return what to know.

    Raises
    ------
    PyclnfError
        If the model, the detector, a fit parameter or a format's package is missing or wrong.
    """
    clnf, _ = _tools(settings)
    calibrated = bool(clnf.parameter_set)
    if settings.command == "track":
        tracker = _tracker(settings)
        calibrated = bool(tracker.first_set and tracker.tracking_set)
    if "parquet" in settings.formats:
        ParquetWriter("", clnf.model.pdm.n_landmarks, clnf.model.pdm.n_modes)
    notes = []
    if not calibrated and clnf.model.metadata.get("confidence"):
        notes.append(
            "the confidence is not calibrated for other numbers of the fit: of such fits it is 1 for success "
            "and 0 for failure in a CSV, and missing in a Parquet file"
        )
    if clnf.learned_start is not None and clnf.starts != "learned":
        notes.append(
            f"--starts {settings.starts} takes the place of the model's learned start, which loses fewer "
            "faces: leave it out"
        )
    return notes


@lru_cache(maxsize=2)
def _tools(settings: Settings) -> tuple[CLNF, Detector]:
    """Return the model and the detector, once a process."""
    from pyclnf.clnf import CLNF
    from pyclnf.detection import make_detector

    numbers: dict[str, Any] = dict(settings.numbers)
    # By name: the model may have numbers of its own.
    clnf = CLNF(
        settings.model,
        parameters=settings.parameters,
        starts=settings.starts,
        exhaustive=settings.exhaustive,
        **numbers,
    )
    box = settings.box
    return clnf, make_detector(settings.detector) if box is None else FixedBox(box)


@dataclass(frozen=True)
class FixedBox:
    """A detector that always finds the same face."""

    box: tuple[float, float, float, float]

    def __call__(self, image: NDArray[Any], /) -> list[tuple[float, ...]]:
        """Return the box, if it is in the image at all."""
        x, y, w, h = self.box
        height, width = image.shape[:2]
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise BoxError(f"the box {self.box} lies outside the image of {width} x {height} px")
        return [self.box]


def _fit(settings: Settings, job: Job) -> Outcome:
    clnf, detector = _tools(settings)
    image, note = read_photograph(Path(job.source))
    faces = clnf.detect(image, detector=detector, camera=settings.camera, lying=settings.box is None)
    count = sum(face.success for face in faces)
    notes = [text for text in (note, _doubt(settings.camera, image)) if text]
    # First what does not fail: a photograph without a face has no .pts, but a table and a picture.
    for name in settings.formats:
        if name != "pts":
            _write_faces(name, job, clnf, faces)
    try:
        try:
            if job.draw:
                write_image(Path(job.draw), draw_faces(image, faces))
        finally:
            if "pts" in settings.formats:
                _write_faces("pts", job, clnf, faces, notes)
    except (PyclnfError, OSError) as error:
        return Outcome(job.source, failure=_reason(error, job), tabled=True)
    return Outcome(job.source, faces=count, note="; ".join(notes) or None)


def _doubt(camera: Camera | None, image: NDArray[Any]) -> str | None:
    return None if camera is None else camera.doubt(image.shape[1], image.shape[0])


def _write_faces(name: str, job: Job, clnf: CLNF, faces: Sequence[Face], notes: Sequence[str] = ()) -> None:
    """Write the faces of a photograph in one format; notes: what may be why there are none."""
    pdm, path = clnf.model.pdm, Path(f"{job.output}.{name}")
    if name == "csv":
        write_csv(path, faces, n_landmarks=pdm.n_landmarks, n_modes=pdm.n_modes, layout="image")
    elif name == "parquet":
        sizes = {"n_landmarks": pdm.n_landmarks, "n_modes": pdm.n_modes}
        write_parquet(path, faces, **sizes, source=job.source, layout="image")
    else:
        # By their numbers in the CSV: face2 must not be the CSV's face 3 where another fit failed.
        good = [(number, face) for number, face in enumerate(faces) if face.success]
        _remove_further(path, {number for number, _ in good[1:]})
        if not good:
            # That of an earlier run would be taken for this one's.
            path.unlink(missing_ok=True)
            raise FormatError("; ".join(["no face was found: there is nothing to write as .pts", *notes]))
        # The first face comes last: it says that all is done.
        for number, face in reversed(good[1:]):
            write_pts(path.with_suffix(f".face{number}.pts"), face.landmarks)
        write_pts(path, good[0][1].landmarks)


def _remove_further(path: Path, kept: set[int]) -> None:
    """Remove the .pts of faces that an earlier run found in the photograph but those of some numbers."""
    missing = 0
    for number in itertools.count(1):
        file = path.with_suffix(f".face{number}.pts")
        missing = 0 if number in kept or written_at(file) is not None else missing + 1
        # Not so many fits fail in a row; to list the folder for each photograph would take long.
        if missing > LONGEST_GAP:
            return
        if not missing and number not in kept:
            file.unlink()


def _tracker(settings: Settings) -> Tracker:
    from pyclnf.tracking import Tracker

    clnf, detector = _tools(settings)
    return Tracker(
        clnf,
        detector=detector,
        max_faces=settings.max_faces,
        parameters=settings.parameters,
        smooth=settings.smooth,
        camera=settings.camera,
        # A box that is given is that of the frame as it is.
        lying=settings.box is None,
    )


def _track(settings: Settings, job: Job, tick: Tick | None) -> Outcome:
    tracker = _tracker(settings)
    pdm = tracker.clnf.model.pdm
    frames = rows = broken = 0
    first = ""  # reason of a broken frame
    doubt: str | None = None
    with ExitStack() as stack:
        video = stack.enter_context(Video(job.source, frame_rate=settings.frame_rate))
        # The blocks end in the reverse order: the first format appears last and says that all is done.
        writers: list[Writer] = []
        for name in settings.formats:
            path = Path(f"{job.output}.{name}")
            sizes = pdm.n_landmarks, pdm.n_modes
            if name == "csv":
                writers.append(stack.enter_context(CSVWriter(path, *sizes)))
            else:
                writers.append(stack.enter_context(ParquetWriter(path, *sizes, job.source)))
        overlay = None
        if job.draw:
            overlay = stack.enter_context(VideoOverlay(job.draw, video.frame_rate))
        for frame in video:
            if frame.image is None:
                reason = frame.error or "the frame is broken"
                faces = tracker.skip(reason, frame.timestamp)
                broken, first = broken + 1, first or reason
            else:
                faces = tracker.update(frame.image, frame.timestamp)
                doubt = doubt or _doubt(settings.camera, frame.image)
            for face in faces:
                for writer in writers:
                    writer.write(face)
            if overlay is not None:
                overlay.write(frame.image, faces, f"{frame.timestamp:.2f} s")
            frames += 1
            rows += sum(face.success for face in faces)
            if tick is not None:
                tick(frames, video.frame_count)
        count = f"{broken} broken frames, the first" if broken > 1 else "1 broken frame"
        notes = [f"{count}: {first}"] if broken else []
        notes += [text for text in (video.cut_short, tracker.larger_beside, doubt) if text]
        notes += video.notes
    return Outcome(job.source, faces=rows, frames=frames, note="; ".join(notes) or None)
