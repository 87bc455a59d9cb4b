"""The golden files: what another implementation computed, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from pyclnf.nu_rlms import FitParameters
from pyclnf.pdm import Parameters

PHOTOGRAPHS = (
    "sample1",
    "sample2",
    "sample3",
    "sample5",
    "2119231041_1",
    "2084520102_1",
    "2302182824_1",
    "1004467229_1",
)
FACES_IN_THE_WILD = ("4082680322_1", "18489332_4", "237815567_7")

# Configuration: parameter set, starting rotation, photographs.
CONFIGURATIONS = {
    "default": ("video", (0.0, 0.0, 0.0), PHOTOGRAPHS),
    "wild": ("image", (0.0, 0.0, 0.0), PHOTOGRAPHS + FACES_IN_THE_WILD),
    "rotp70": ("video", (0.0, 1.22, 0.0), ("sample1",)),
    "rotm70_wild": ("image", (0.0, -1.22, 0.0), ("2302182824_1",)),
}
# These add part models after the main model's fit, whose stages are those of the other file.
HIERARCHICAL = {"hier": "default", "wildhier": "wild"}

MAIN_FILES = tuple(f"{image}.{name}" for name, (_, _, images) in CONFIGURATIONS.items() for image in images)
HIERARCHICAL_FILES = tuple(f"{image}.{name}" for name in HIERARCHICAL for image in PHOTOGRAPHS)


class Golden:
    """One golden file."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as archive:
            self.arrays = {name: archive[name] for name in archive.files}
        name = path.stem.rpartition(".")[2]
        self.parameter_set, self.rotation, _ = CONFIGURATIONS[HIERARCHICAL.get(name, name)]
        self.settings = FitParameters.named(self.parameter_set)

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.arrays[name]
        return array.astype(np.float64) if array.dtype == np.float32 else array

    def parameters(self, prefix: str) -> Parameters:
        return Parameters(self[f"{prefix}params_global"], self[f"{prefix}params_local"])

    @cached_property
    def image(self) -> np.ndarray:
        return self.arrays["gray"][:, :, None]

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(Stage(self, index) for index in range(3))


@dataclass(frozen=True)
class Stage:
    """One patch scale of a golden file."""

    file: Golden
    index: int

    def __getitem__(self, name: str) -> np.ndarray:
        return self.file[f"s{self.index}_{name}"]

    @property
    def view(self) -> int:
        return int(self["view_window"][0])

    @property
    def window(self) -> int:
        return int(self["view_window"][1])

    @property
    def start(self) -> Parameters:
        """The parameters with which the scale starts."""
        return self.file.parameters(f"s{self.index - 1}_nonrigid_" if self.index else "init_")

    def iterations(self, which: str) -> list[Iteration]:
        """The updates of the ``"rigid"`` or ``"nonrigid"`` pass."""
        before = self.start if which == "rigid" else self.file.parameters(f"s{self.index}_rigid_")
        found = []
        poses, shapes = self[f"{which}_iter_params_global"], self[f"{which}_iter_params_local"]
        for i, (pose, shape) in enumerate(zip(poses, shapes, strict=True)):
            after = Parameters(pose, shape)
            found.append(
                Iteration(
                    before, after, self[f"{which}_iter_offsets"][i], self[f"{which}_iter_mean_shifts"][i]
                )
            )
            before = after
        return found


@dataclass(frozen=True)
class Iteration:
    """One update: all (68, 2) arrays in the order of the landmarks."""

    before: Parameters
    after: Parameters
    offsets: np.ndarray
    mean_shifts: np.ndarray


@cache
def read(path: Path) -> Golden:
    return Golden(path)
