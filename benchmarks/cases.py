"""What the benchmarks measure: a face in images of several sizes, and the kernels at work on it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pyclnf import CLNF, Camera, Model, Tracker, _kernels, load_model
from pyclnf._kernels._reference import area_matrices
from pyclnf.camera import head_pose
from pyclnf.clnf import as_pixels
from pyclnf.descent import NO_STEPS
from pyclnf.detection import MTCNNDetector
from pyclnf.nu_rlms import FitParameters, gaussian_kernel
from pyclnf.pdm import Parameters

HERE = Path(__file__).resolve().parent
TEST_DATA = Path(os.environ.get("PYCLNF_TEST_DATA", HERE.parents[1] / "shared"))
OPENFACE = TEST_DATA / "openface" / "model"
# A photograph whose face is found from the box by every parameter set. Where there is no test data, as in
# the comparison of a change with its base, it is the example, fitted by the shipped model.
if OPENFACE.is_dir():
    PHOTOGRAPH, BOX = TEST_DATA / "faces" / "samples" / "sample1.jpg", (110.8, 111.1, 185.2, 164.1)
else:
    PHOTOGRAPH, BOX = HERE.parent / "examples" / "rendered_face.jpg", (165.0, 108.0, 222.0, 267.0)
MEGAPIXELS_12 = (3000, 4000)


# Kernels whose calls `kernels_of_fit` takes from a fit.
OF_FIT = (
    "cut_square", "run_cascade", "look_at_faces", "take_steps", "refine_faces", "describe_points",
    "weigh_descriptors", "mirror_faces", "mix_faces", "deform", "turned_landmarks", "fit_scale",
    "perspective_pose",
)  # fmt: skip

# Those of a detection.
OF_DETECTION = ("filter_images", "pool_images", "shrink_image")

# How many of a kernel's last arguments it starts from, and changes.
RENEWED = {
    "mirror_faces": 3,
    "mix_faces": 3,
    "run_cascade": 3,
    "fit_scale": 4,
    "weigh_maps": 1,
    "look_at_faces": 3,
    "take_steps": 3,
    "refine_faces": 3,
    "perspective_pose": 2,
}


@cache
def measured_model(path: str = "") -> Model:
    """Return the model to measure: OpenFace's, or the shipped one where that is not to be had."""
    if path:
        return load_model(path)
    return load_model(OPENFACE) if OPENFACE.is_dir() else CLNF().model


@cache
def photograph(height: int, width: int) -> np.ndarray:
    """Return the photograph, in the top left of an image of this size."""
    image = cv2.imread(str(PHOTOGRAPH))
    if image is None:
        raise FileNotFoundError(f"{PHOTOGRAPH}: no photograph to measure")
    out = np.full((height, width, 3), 127, np.uint8)
    part = image[:height, :width]
    out[: part.shape[0], : part.shape[1]] = part
    return out


@contextmanager
def kernels_in_use(variant: str) -> Iterator[None]:
    """Let the package use one variant of the kernels."""
    module = _kernels.load_variant(variant)
    names = [name for name in _kernels.__all__ if name.islower() and name != "load_variant"]
    before = {name: getattr(_kernels, name) for name in names}
    try:
        for name in names:
            setattr(_kernels, name, getattr(module, name))
        yield
    finally:
        for name, kernel in before.items():
            setattr(_kernels, name, kernel)


@dataclass(frozen=True)
class Fit:
    """A whole fit that can be run again and again."""

    name: str
    clnf: CLNF
    image: np.ndarray
    start: Parameters | None = None
    """Where the face was in the frame before; None: from `BOX`."""
    tracker: Tracker | None = None
    """That follows the face already, and says all that is said of a frame, the head's pose too."""

    def __call__(self) -> Any:
        if self.tracker is not None:
            return self.tracker.update(self.image)
        if self.start is None:
            return self.clnf.fit(self.image, BOX)
        image = as_pixels(self.image)
        return self.clnf.fit_from(image, self.clnf.start_near(image, self.start), self.clnf.parameters)


def fits(model: Model, height: int = 480, width: int = 640) -> list[Fit]:
    """Return the fits of every parameter set; "tracking" starts where the face was, as a tracker does."""
    image = photograph(height, width)
    _, info = CLNF(model).fit(image, BOX)
    eleven = CLNF(model, starts="multiview")
    tracker = Tracker(CLNF(model), detector=lambda _: np.array([[*BOX, 1.0]]))
    tracker.update(image)
    return [
        Fit("video", CLNF(model, parameters="video"), image),
        Fit("tracking", CLNF(model, parameters="tracking"), image, info["params"]),
        Fit("frame of a video", tracker.clnf, image, tracker=tracker),
        Fit("image", CLNF(model), image),
        Fit("image, eleven starts", eleven, image),
        Fit("image, eleven starts, exhaustive", CLNF(model, starts="multiview", exhaustive=True), image),
    ]


@dataclass(frozen=True)
class Kernel:
    """A call of a kernel, and the floating-point operations that its result takes.

    Window 0: the call is as a fit makes it.
    """

    name: str
    window: int
    arguments: Callable[[], list[Any]]
    operations: float | None
    renewed: int = 0
    """So many of the last arguments are copied for each call: what it starts from, and changes."""

    def call(self, variant: str) -> Callable[[], Any]:
        """Return the call, bound to one variant."""
        kernel = getattr(_kernels.load_variant(variant), self.name)
        arguments = self.arguments()
        if not self.renewed:
            return lambda: kernel(*arguments)
        kept, changed = arguments[: -self.renewed], arguments[-self.renewed :]
        return lambda: kernel(*kept, *[array.copy() for array in changed])


def kernels(model: Model, window: int) -> list[Kernel]:
    """Return every kernel's call in a fit at the coarsest scale."""
    scale, settings, pdm = model.scales[0], FitParameters.named("image"), model.pdm
    image = as_pixels(photograph(480, 640))
    start = pdm.from_box(BOX)
    base = pdm.landmarks_2d(start)
    experts, blocks = scale.view(0), scale._arranged(0, smooth=True)
    v, side = experts.landmarks.size, window + experts.weights.shape[2] - 1
    to_image = np.eye(2) * start.pose[0] / scale.scale
    to_reference = np.linalg.inv(to_image)
    matrices = area_matrices(base[experts.landmarks], to_image, side)
    areas = np.empty((blocks.n_planes, v, side, side), np.float32)
    _kernels.sample_areas(image, matrices, areas[0])
    if len(areas) > 1:
        _kernels.sobel_magnitude(areas[0], areas[1])
    sums = np.empty((v, window, window), np.float32)
    _kernels.neuron_responses(areas, *blocks.arguments, sums)
    gaussian = gaussian_kernel(window, settings.sigma)
    offsets = np.full((v, 2), window / 2.0)
    p = 6 + pdm.n_modes
    stride = -(-p // 4) * 4
    J = np.zeros((2 * v, stride))
    J[:, :p] = pdm.jacobian(start)[np.repeat(2 * experts.landmarks, 2) + np.tile([0, 1], v)]
    H = np.eye(p) * 100 + J[:, :p].T @ J[:, :p]
    support = experts.weights[0, 0].size
    neurons = int((experts.alphas > 1e-4).sum())

    def iterations(rigid: bool) -> list[Any]:
        # A negative tolerance is never met: as many iterations each time.
        return [
            pdm.mean, pdm.components, settings.reg_factor / pdm.eigenvalues, 3 * np.sqrt(pdm.eigenvalues),
            start.pose.copy(), start.shape.copy(), base, experts.landmarks, sums, to_reference, to_image,
            gaussian, np.ones(v), rigid, settings.iterations, -1.0, np.empty((v, 2)),
        ]  # fmt: skip

    def place() -> list[Any]:
        out = [np.empty_like(base), np.empty((2, 2)), np.empty((2, 2)), np.empty_like(matrices)]
        landmarks = experts.landmarks
        return [pdm.mean, pdm.components, start.pose, start.shape, landmarks, scale.scale, side, *out]

    calls = [
        Kernel("place_areas", window, place, None),
        Kernel("sample_areas", window, lambda: [image, matrices, areas[0].copy()], None),
        Kernel("sobel_magnitude", window, lambda: [areas[0], areas[0].copy()], None),
        Kernel(
            "neuron_responses",
            window,
            lambda: [areas, *blocks.arguments, sums.copy()],
            2.0 * neurons * support * window**2,
        ),
        Kernel(
            "mean_shift", window, lambda: [sums, offsets, gaussian, np.empty((v, 2))], 4.0 * v * window**2
        ),
        Kernel(
            "likelihoods",
            window,
            lambda: [
                sums,
                offsets,
                settings.sigma,
                experts.landmarks,
                np.empty(pdm.n_landmarks),
                np.empty(v),
            ],
            None,
        ),
        Kernel(
            "jacobian",
            window,
            lambda: [
                pdm.shape_3d(start.shape),
                np.eye(3),
                1.0,
                pdm.components,
                np.empty((2 * pdm.n_landmarks, p)),
            ],
            12.0 * pdm.n_landmarks * pdm.n_modes,
        ),
        Kernel(
            "normal_equations",
            window,
            lambda: [J, np.ones(2 * v), np.empty((stride, stride))],
            2.0 * v * p * (p + 1),
        ),
        Kernel("solve", window, lambda: [H, np.ones(p), np.empty(p)], p**3 / 3.0),
        Kernel("nu_rlms_pass", window, lambda: iterations(False), None),
    ]
    kept = scale._kept_sigma(0, window)
    if kept is not None and kept.folded:
        entries = sum(indices.size**2 for indices, _ in _kernels.layout.folded_blocks(window))
        calls.append(
            Kernel(
                "apply_folded_sigma",
                window,
                lambda: [kept.values, sums, np.empty_like(sums)],
                2.0 * v * entries,
            )
        )
        dense = scale.sigma(0, window)
        flat = sums.reshape(v, -1)
        calls.append(
            Kernel("apply_sigma", window, lambda: [dense, flat, np.empty_like(flat)], 2.0 * v * window**4)
        )
    return calls


@contextmanager
def first_calls(names: Sequence[str]) -> Iterator[dict[str, dict[str, Any]]]:
    """Note the first call of each of some kernels: arguments by their names, as they are before it."""
    first: dict[str, dict[str, Any]] = {}

    def recording(name: str) -> Callable[..., Any]:
        kernel = getattr(_kernels, name)

        def call(*arguments: Any) -> Any:
            if name not in first:
                first[name] = dict(zip(_names(name), map(_copied, arguments), strict=True))
            return kernel(*arguments)

        return call

    with kernels_in_use(_kernels.VARIANT):
        for name in names:
            setattr(_kernels, name, recording(name))
        yield first


def kernels_of_detection() -> list[Kernel]:
    """Return the detector's kernels, as it first calls them for a photograph."""
    with first_calls(OF_DETECTION) as first:
        MTCNNDetector()(photograph(480, 640))
    layer = first["filter_images"]
    # Of the filters that there are: their blocks have places for more.
    products = layer["weights"][0, :, :, 0].size * layer["out"].size
    operations = {"filter_images": 2.0 * products}
    return [
        Kernel(name, 0, lambda name=name: list(first[name].values()), operations.get(name)) for name in first
    ]


def kernels_of_fit(model: Model) -> list[Kernel]:
    """Return the learned start's kernels, and others, as a fit of a photograph calls them.

    The first call of each, by a fit that starts from the learned start where the model has one.
    """
    clnf, image = CLNF(model), photograph(480, 640)
    operations: dict[str, float] = {}

    def run(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a kernel, and return its arguments as they are then."""
        after = {key: _copied(arguments[key]) for key in _names(name)}
        getattr(_kernels, name)(*after.values())
        return after

    with first_calls(OF_FIT) as first:
        landmarks, info = clnf.fit(image, BOX)
        head_pose(clnf.model.pdm, info["params"], landmarks, Camera.from_size(640, 480))
        if look := first.get("look_at_faces"):
            # The patch as it was seen, through the layers alone.
            seen = _kernels.layout.in_levels(run("look_at_faces", look)["patch"][0], look["limit"])
            said = np.empty(int(look["table"][-1, 3]), np.float32)
            first["run_layers"] = look | {"image": seen, "out": said}
            operations["run_layers"] = 2.0 * _products(len(seen), look["table"])
        descent = None if clnf.learned_start is None else clnf.learned_start.descent
        if descent is not None:
            if look:
                # The steps alone, from where the network leads.
                none = dict(zip(_names("take_steps")[1:15], NO_STEPS, strict=True))
                bare = {_OF_LOOK.get(key, key): value for key, value in none.items()}
                steps = {key: look[_OF_LOOK.get(key, key)] for key in none}
                after, one = run("look_at_faces", look | bare), len(look["rotations"]) // len(look["crops"])
                first["take_steps"] = steps | {name: after[name][:one] for name in FACES}
                first["take_steps"]["crop"] = look["crops"][0, :, :, 0]
            step, taken = descent.steps[0], first["take_steps"]
            state = taken["rotations"][0], taken["placements"][0], taken["shapes"][0][: descent.n_modes]
            described = step.describe(taken["crop"], *state, mirrored=False)
            numbers = (values[0] for values in (step.weights, step.units, step.bias))
            _kernels.weigh_descriptors(described, *numbers, np.empty(step.units.shape[1]))
        if scale := first.get("fit_scale"):
            after = run("fit_scale", scale)
            neurons = {"weights": scale["neurons"], "out": scale["maps"]}
            first["response_maps"] = scale | neurons | {"matrices": after["matrices"]}
            if scale["response_power"]:
                first["weigh_maps"] = after | {"responses": after["maps"], "power": scale["response_power"]}
    return [
        Kernel(
            name,
            0,
            lambda name=name: [first[name][key] for key in _names(name)],
            operations.get(name),
            RENEWED.get(name, 0),
        )
        for name in (*OF_FIT, "run_layers", "response_maps", "weigh_maps")
        if name in first
    ]


FACES = ("rotations", "placements", "shapes")

# Arguments of `take_steps` that `look_at_faces` has under another name.
_OF_LOOK = {"limits": "step_limits", "weights": "step_weights", "units": "step_units"}


def _names(kernel: str) -> list[str]:
    """Return the names of a kernel's arguments, which are those of its twin."""
    return list(signature(getattr(_kernels.load_variant("reference"), kernel)).parameters)


def _copied(argument: Any) -> Any:
    return argument.copy() if isinstance(argument, np.ndarray) else argument


def _products(side: int, table: np.ndarray) -> int:
    """Return how many numbers a network multiplies for a square image."""
    products, inputs = 0, 1
    for kernel, stride, padding, outputs, _, _ in table.tolist():
        side = (side + 2 * padding - kernel) // stride + 1
        products += side * side * outputs * kernel * kernel * inputs
        inputs = outputs
    return products


def peak() -> tuple[Callable[[int], float], float]:
    """Return a function of a number of turns, and how many float32 operations a turn does.

    Raises
    ------
    RuntimeError
        If there is no C compiler.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise RuntimeError("the arithmetic peak is measured by a C function, but there is no compiler cc")
    flags = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mfma"]}.get(_kernels.VARIANT, [])
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "peak.so"
        include = HERE.parent / "src" / "pyclnf" / "_kernels"  # the wheel has no headers
        command = [
            compiler,
            "-O2",
            *flags,
            "-shared",
            "-fPIC",
            f"-I{include}",
            str(HERE / "peak.c"),
            "-o",
            str(library),
        ]
        subprocess.run(command, check=True)
        loaded = ctypes.CDLL(str(library))
    function = loaded.multiply_add
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_long]
    return function, float(loaded.operations())
