"""From annotated images to a model: PDM, patch experts and learned start.

Every expert is a file of its own in the working folder, so that a run that was
interrupted goes on where it stopped, and experts are trained by as many
processes as there are workers.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf._files import replacing
from pyclnf._limits import MAX_PATCH_SCALE, MAX_SCALES, MAX_SIGMA_BYTES, MAX_VIEW_BYTES, MAX_WINDOW
from pyclnf._processes import end_with_parent
from pyclnf.errors import TrainingError
from pyclnf.model import Model, as_python
from pyclnf.patch_experts import PatchScale, ViewExperts
from pyclnf.training.ccnf import sigma_components
from pyclnf.training.checks import are_numbers, are_whole, as_tuples
from pyclnf.training.experts import Expert, ExpertConfig, train_ccnf
from pyclnf.training.faces import AnnotatedFaces, Images, held_out
from pyclnf.training.shape_model import build_pdm
from pyclnf.training.start import StartConfig, check_landmarks, check_modes, train_start
from pyclnf.training.symmetry import mirror_of
from pyclnf.training.views import (
    DrawConfig,
    View,
    check_people,
    choose_view,
    draw_view,
    mirrored_views,
    read_windows,
    trained_landmarks,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pyclnf.pdm import PDM

__all__ = ["TrainingConfig", "assemble_scales", "train_experts", "train_model"]

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the steps done and their number."""

# Root mean square distance of a head's landmarks from their middle, mm; of a head in m or um it is beyond.
MIN_RADIUS, MAX_RADIUS = 10.0, 1000.0

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes
    ----------
    scales : tuple of float
        Patch scales, coarse to fine, px per mm.
    windows : tuple of int
        Sides of the windows that the model will be used with, odd: a fit with another window takes the
        responses of each pixel by itself, without those of its neighbours.
    draw : DrawConfig
    expert : ExpertConfig
    start : StartConfig or None
        None: no learned start.
    pdm_variance : float
        Share of the shapes' variance that the PDM explains, when one is built.
    pdm_modes : int or None
        Number of its modes instead.
    pdm_asymmetry : float
        Factor of its antisymmetric modes' variances, see `build_pdm`.
    pdm_min_asymmetric : float
        Least share of antisymmetric modes.
    pdm_emphasis : tuple of n triples of float, or None
        How much each coordinate matters when modes are chosen, see `build_pdm`.
    pdm_contacts : tuple of k pairs of int
        Landmarks of lids and lips that cannot pass each other, see `PDM`.
    pdm_rigid : tuple of int
        Landmarks by which it is told how a head is turned, see `PDM`.
    held_out : float
        Share of the identities kept for early stopping and confidences.
    seed : int
    """

    scales: tuple[float, ...] = (0.25, 0.35, 0.5)
    windows: tuple[int, ...] = (5, 7, 9, 11, 13, 15)
    draw: DrawConfig = field(default_factory=DrawConfig)
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    start: StartConfig | None = field(default_factory=StartConfig)
    pdm_variance: float = 0.98
    pdm_modes: int | None = None
    pdm_asymmetry: float = 1.0
    pdm_min_asymmetric: float = 0.25
    pdm_emphasis: tuple[tuple[float, float, float], ...] | None = None
    pdm_contacts: tuple[tuple[int, int], ...] = ()
    pdm_rigid: tuple[int, ...] = ()
    held_out: float = 0.12
    seed: int = 0

    def __post_init__(self) -> None:
        as_tuples(self, "scales", "windows", "pdm_rigid")
        for name in ("pdm_emphasis", "pdm_contacts"):
            rows = getattr(self, name)
            if rows is not None:
                object.__setattr__(self, name, _rows(rows, name))
        if not self.scales or list(self.scales) != sorted(set(self.scales)) or self.scales[0] <= 0:
            raise TrainingError(f"scales are positive and rise from coarse to fine, not {self.scales}")
        if len(self.scales) > MAX_SCALES or not self.scales[-1] <= MAX_PATCH_SCALE:
            raise TrainingError(
                f"a model has at most {MAX_SCALES} scales, up to {MAX_PATCH_SCALE:g} px per mm"
            )
        odd = are_whole(*self.windows) and all(side % 2 for side in self.windows)
        if not odd or not self.windows or not 3 <= min(self.windows) <= max(self.windows) <= MAX_WINDOW:
            raise TrainingError(f"windows are odd numbers from 3 to {MAX_WINDOW}, not {self.windows}")
        if not are_numbers(self.held_out) or not 0 < self.held_out < 1:
            raise TrainingError("held_out lies between 0 and 1")
        if not are_whole(self.seed) or self.seed < 0:
            raise TrainingError(f"seed is a whole number that is not negative, not {self.seed!r}")


def _rows(rows: Any, name: str) -> tuple[tuple[Any, ...], ...]:
    """Return tuples of Python's numbers in place of an array or lists of them."""
    try:
        table = np.array(rows)
    except ValueError as error:
        raise TrainingError(f"{name} are rows of as many numbers each: {error}") from error
    if (table.ndim != 2 and table.size) or table.dtype.kind not in "iuf":
        raise TrainingError(f"{name} are rows of numbers, not {table.dtype} {table.shape}")
    return tuple(tuple(row) for row in table.tolist())


def train_model(
    images: Images,
    landmarks: ArrayLike,
    *,
    pdm: PDM | None = None,
    landmarks_3d: ArrayLike | None = None,
    visible: ArrayLike | None = None,
    identities: ArrayLike | None = None,
    rotations: ArrayLike | None = None,
    mirror: ArrayLike | None = None,
    config: TrainingConfig | None = None,
    work_dir: str | Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Train a model on annotated images of one face each.

    Parameters
    ----------
    images : sequence of N uint8 arrays, (H, W) grey or (H, W, 3) BGR
        Anything with ``len`` and ``[]``; images are read one at a time, all of them once before the training.
    landmarks : array_like, shape (N, n, 2)
        Pixels, 0-based; hidden landmarks at their best guess, or NaN.
    pdm : PDM, optional
        Shape model. Needed where no *landmarks_3d* are given: 2D annotations
        alone do not make a 3D model. That of another model may be used
        (``load_model(...).pdm``), as far as its licence allows. Its x axis is that between left and right.
    landmarks_3d : array_like, shape (M, n, 3), optional
        Shapes to build the PDM from, mm, in the head's frame (see
        `build_pdm`); they need not be those of the images.
    visible : array_like of bool or float in [0, 1], shape (N, n), optional
        1 where a landmark can be seen, 0 where it is hidden and must not be
        learned; what lies between counts accordingly.
    identities : array_like of int, shape (N,), optional
        Number of the person, so that held-out faces are other persons'.
    rotations : array_like, shape (N, 3), optional
        Rough rotations of the heads (rx, ry, rz), radians. Without them the PDM is fitted several times to
        each face.
    mirror : array_like of int, shape (n,), optional
        Counterpart of each landmark in the mirror image, the landmark itself where it lies in the middle;
        default: the 68 iBUG landmarks.
    config : TrainingConfig, optional
    work_dir : str or Path
        Folder for results of single steps; run again with the same data and
        configuration to go on after an interruption.
    workers : int
        Processes. With more than one, a script needs the ``if __name__ ==
        "__main__":`` guard of `multiprocessing`.
    progress : callable, optional
        Called with a stage's name, steps done, and number of steps.

    Returns
    -------
    Model
        `Model.save` writes it to an .npz.

    Raises
    ------
    TrainingError
        If data are missing, inconsistent or too few.
    """
    config = config or TrainingConfig()
    if pdm is None:
        if landmarks_3d is None:
            raise TrainingError("give a pdm or landmarks_3d to build one from")
        pdm = build_pdm(
            landmarks_3d,
            variance=config.pdm_variance,
            n_modes=config.pdm_modes,
            asymmetry=config.pdm_asymmetry,
            min_asymmetric=config.pdm_min_asymmetric,
            emphasis=config.pdm_emphasis,
            contacts=config.pdm_contacts,
            rigid=config.pdm_rigid,
            mirror=True if mirror is None else mirror,
        )
        if not MIN_RADIUS <= pdm.radius <= MAX_RADIUS:
            raise TrainingError(f"the shapes are {2 * pdm.radius:.2g} mm large: give landmarks_3d in mm")
    if config.start is not None:
        check_landmarks(pdm)
    permutation = mirror_of(pdm, mirror)
    if config.start is not None:
        check_modes(pdm, config.start, permutation)
    faces = AnnotatedFaces.fitted(
        pdm, images, landmarks, visible=visible, identities=identities, rotations=rotations
    )
    folder = Path(work_dir)
    train_experts(faces, pdm, folder, config, mirror=mirror, workers=workers, progress=progress)
    scales = assemble_scales(folder, pdm, config, mirror=mirror)
    arrays: dict[str, NDArray[Any]] = {}
    if config.start is not None:
        arrays = _start_arrays(faces, pdm, folder, config, mirror, progress)
    return Model(pdm, scales, name="trained", metadata={"training": asdict(config)}, arrays=arrays)


def train_experts(
    faces: AnnotatedFaces,
    pdm: PDM,
    work_dir: str | Path,
    config: TrainingConfig,
    *,
    mirror: ArrayLike | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Train all experts that *work_dir* does not hold yet.

    Parameters
    ----------
    faces : AnnotatedFaces
    pdm : PDM
    work_dir : str or Path
    config : TrainingConfig
    mirror : array_like of int, shape (n,), optional
    workers : int
    progress : callable, optional

    Raises
    ------
    TrainingError
        If the folder belongs to other data or another configuration, images cannot be read, a view has too
        few faces or people or more than a model may hold, or there is no room for the results.
    """
    if not are_whole(workers) or workers < 1:
        raise TrainingError(f"at least one worker is needed, not {workers!r}")
    permutation = mirror_of(pdm, mirror)
    views = [
        choose_view(i, faces, permutation, config.draw, config.seed) for i in range(len(config.draw.yaws))
    ]
    aside = held_out(faces.identities, config.held_out, config.seed)
    for view in views:
        check_people(view, faces, permutation, config.draw, aside)
        _check_size(view.landmarks.size, config)
    folder = Path(work_dir)
    _claim(folder, faces, pdm, permutation, config, progress)
    _write(folder / "views.npz", {str(view.index): view.landmarks for view in views})
    total = len(config.scales) * sum(len(trained_landmarks(view, permutation)) for view in views)
    with _executor(workers) as submit:
        # Of each expert that is being trained, the file of its windows; and how many use that file.
        pending: dict[Future[None], Path] = {}
        users: dict[Path, int] = {}
        done = 0

        def collect() -> None:
            nonlocal done
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                path = pending.pop(future)
                users[path] -= 1
                if not users[path]:
                    path.unlink()
                    _table_path(path).unlink()
            done += len(finished)
            if progress:
                progress("experts", done, total)

        for scale in config.scales:
            for view in views:
                missing = _missing(folder, scale, view, permutation)
                done += len(trained_landmarks(view, permutation)) - len(missing)
                if missing:
                    path, table = _draw(folder, scale, view, faces, pdm, permutation, config)
                    users[path] = len(missing)
                for row, landmark in missing:
                    result = _expert_path(folder, scale, view.index, landmark)
                    seed = (config.seed, round(1000 * scale), view.index, landmark)
                    task = (path, row, table[row], aside, config.expert, seed, result)
                    pending[submit(_train_one, task)] = path
                    # Not all views at once: the next windows are drawn while the workers are busy.
                    while len(pending) > 4 * workers:
                        collect()
        while pending:
            collect()
    for leftover in folder.glob("areas_*"):
        leftover.unlink()


def _check_size(n: int, config: TrainingConfig) -> None:
    """Refuse a view of n landmarks that no model may hold."""
    weights = n * len(config.expert.types) * config.expert.support**2 * 4
    if weights > MAX_VIEW_BYTES:
        raise TrainingError(
            f"the neurons of {n} landmarks take {weights} bytes, at most {MAX_VIEW_BYTES} are taken: fewer "
            "neurons, or a smaller support"
        )
    side = max(config.windows)
    if n * side**4 * 8 > MAX_SIGMA_BYTES:
        raise TrainingError(
            f"the window {side} takes {n * side**4 * 8} bytes for {n} landmarks, at most {MAX_SIGMA_BYTES} "
            "are taken: leave it out"
        )


def assemble_scales(
    work_dir: str | Path, pdm: PDM, config: TrainingConfig, *, mirror: ArrayLike | None = None
) -> tuple[PatchScale, ...]:
    """Return the trained scales of a finished working folder, with mirrored views and experts.

    Raises
    ------
    TrainingError
        If an expert is missing, as the training did not finish, or a file is damaged.
    """
    permutation, folder = mirror_of(pdm, mirror), Path(work_dir)
    views = _read(folder / "views.npz")
    landmarks = [views[str(i)] for i in range(len(config.draw.yaws))]
    components = {window: sigma_components(window) for window in config.windows}
    return tuple(
        _assemble_scale(folder, scale, landmarks, permutation, components, config) for scale in config.scales
    )


def _start_arrays(
    faces: AnnotatedFaces,
    pdm: PDM,
    work_dir: Path,
    config: TrainingConfig,
    mirror: ArrayLike | None,
    progress: Progress | None,
) -> dict[str, NDArray[Any]]:
    """Return the arrays of the learned start, trained unless the folder holds it."""
    digest = hashlib.sha256(repr(config.start).encode()).hexdigest()[:12]
    path = work_dir / f"start_{digest}.npz"
    if not path.exists():
        keep = ~held_out(faces.identities, config.held_out, config.seed)
        start = train_start(
            faces, pdm, keep, config.start, mirror=mirror, seed=config.seed, progress=progress
        )
        _write(path, {name.replace("/", "."): value for name, value in start.arrays().items()})
    return {name.replace(".", "/"): array for name, array in _read(path).items()}


def _assemble_scale(
    work_dir: Path,
    scale: float,
    landmarks: list[NDArray[np.intp]],
    mirror: NDArray[np.intp],
    components: dict[int, NDArray[np.float32]],
    config: TrainingConfig,
) -> PatchScale:
    positive = [_read_experts(work_dir, scale, i, chosen, mirror) for i, chosen in enumerate(landmarks)]
    negative = [{int(mirror[m]): e.mirrored() for m, e in view.items()} for view in positive[1:]]
    views = [positive[0], *negative, *positive[:0:-1]]
    visible = np.zeros((len(views), len(mirror)), bool)
    for row, view in zip(visible, views, strict=True):
        row[sorted(view)] = True
    return PatchScale(
        scale, mirrored_views(config.draw.yaws), visible, components, [_view_experts(view) for view in views]
    )


def _read_experts(
    work_dir: Path, scale: float, view: int, landmarks: NDArray[np.intp], mirror: NDArray[np.intp]
) -> dict[int, Expert]:
    experts = {}
    for landmark in landmarks.tolist():
        # Of the frontal view only one side was trained.
        other = int(mirror[landmark])
        source = max(landmark, other) if view == 0 else landmark
        expert = Expert.from_arrays(_read(_expert_path(work_dir, scale, view, source)))
        experts[landmark] = expert if source == landmark else expert.mirrored()
    return experts


def _view_experts(experts: dict[int, Expert]) -> ViewExperts:
    landmarks = sorted(experts)

    def stacked(name: str) -> NDArray[Any]:
        return np.stack([np.asarray(getattr(experts[m], name)) for m in landmarks])

    return ViewExperts(
        landmarks=np.array(landmarks, np.int32),
        types=stacked("types"),
        weights=stacked("weights"),
        norm_weights=stacked("norm_weights"),
        biases=stacked("biases"),
        alphas=stacked("alphas"),
        betas=stacked("betas"),
        confidences=stacked("confidence"),
    )


def _claim(
    work_dir: Path,
    faces: AnnotatedFaces,
    pdm: PDM,
    mirror: NDArray[np.intp],
    config: TrainingConfig,
    progress: Progress | None,
) -> None:
    """Write down what the folder belongs to, or check that it is this."""
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{work_dir} cannot be a folder for results: {error}") from error
    digest = hashlib.sha256(faces.digest(progress).encode())
    # Hidden landmarks may come from the fits, which are compared below.
    seen = np.where(faces.visible[..., None] > 0, faces.landmarks, 0.0)
    shape = (pdm.mean, pdm.components, pdm.eigenvalues, mirror)
    for array in (seen, faces.visible, faces.identities, *shape):
        digest.update(np.ascontiguousarray(array).tobytes())
    # Scales may be added later, and a start or windows be changed: no expert depends on them.
    free = ("scales", "windows", "start")
    configuration = {name: value for name, value in asdict(config).items() if name not in free}
    text = json.dumps({"data": digest.hexdigest(), "config": configuration}, indent=1, default=as_python)
    path, fits_path = work_dir / "training.json", work_dir / "fits.npz"
    fits = {"poses": faces.poses, "shapes": faces.shapes}
    if not path.exists():
        _write(fits_path, fits)
        with _writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return
    same = path.read_text(encoding="utf-8") == text
    # A file that is damaged is to be deleted, as its error says.
    known = same and fits_path.exists()
    if known:
        # Not to the bit: another number of threads rounds otherwise.
        before = _read(fits_path)
        same = all(np.allclose(before[name], fits[name], rtol=0, atol=1e-4) for name in fits)
    if not same:
        raise TrainingError(
            f"{work_dir} holds results of other data or another configuration: give an empty folder"
        )
    if not known:
        _write(fits_path, fits)


def _expert_path(work_dir: Path, scale: float, view: int, landmark: int) -> Path:
    return work_dir / f"expert_{scale:g}_{view}_{landmark}.npz"


def _missing(work_dir: Path, scale: float, view: View, mirror: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return (row, landmark) of the experts that are not trained yet."""
    return [
        (row, landmark)
        for row, landmark in enumerate(trained_landmarks(view, mirror).tolist())
        if not _expert_path(work_dir, scale, view.index, landmark).exists()
    ]


def _draw(
    work_dir: Path,
    scale: float,
    view: View,
    faces: AnnotatedFaces,
    pdm: PDM,
    mirror: NDArray[np.intp],
    config: TrainingConfig,
) -> tuple[Path, NDArray[np.float64]]:
    """Return the file with the view's windows and their table, drawn unless they lie there."""
    path = work_dir / f"areas_{scale:g}_{view.index}.npy"
    table_path = _table_path(path)
    if not table_path.exists():
        table = draw_view(
            view,
            scale,
            config.expert.window,
            config.expert.support,
            faces,
            pdm,
            mirror,
            config.draw,
            config.seed,
            path,
        )
        _write(table_path, {"table": table})
    return path, _read(table_path)["table"]


def _table_path(areas: Path) -> Path:
    return areas.with_name(f"{areas.stem}_table.npz")


def _train_one(
    task: tuple[Path, int, NDArray[np.float64], NDArray[np.bool_], ExpertConfig, tuple[int, ...], Path],
) -> None:
    """Train one expert and write its file."""
    path, row, table, aside, config, seed, result = task
    try:
        expert = train_ccnf(read_windows(path, row, table, aside), config, seed)
    except TrainingError as error:
        raise TrainingError(f"{result.stem} (scale, view, landmark): {error}") from error
    _write(result, expert.arrays())


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with _writing(path) as temporary:
        # NumPy before 2.2 would keep its keyword allow_pickle as an array.
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error}") from error


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.exists():
        raise TrainingError(f"{path} is missing: run the training to its end")
    try:
        # NumPy leaves a damaged file open that it has opened itself.
        with path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path} is damaged: delete it and run the training again ({error})") from error


@contextmanager
def _executor(workers: int) -> Iterator[Callable[..., Future[None]]]:
    """Give a `submit`: of processes with one BLAS thread each, or for one worker of this process."""
    if workers == 1:
        yield _run_here
        return
    saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    # A spawned process reads these when it imports NumPy; a forked one would have this process' threads.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    if sys.platform == "win32":
        workers = min(workers, 61)  # Windows does not wait for more
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent)
    try:
        yield pool.submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _run_here(function: Callable[..., None], *arguments: Any) -> Future[None]:
    future: Future[None] = Future()
    function(*arguments)
    future.set_result(None)
    return future
