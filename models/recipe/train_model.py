"""Train the model on the rendered faces.

Every expert is a file of its own, so a run can be stopped and resumed.

    python train_model.py RENDERS WORK OUT.npz [--images N] [--workers 2] [--scales 0.25]
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from dataset import CONTACTS, Dataset, load_dataset
from numpy.typing import NDArray
from photo import vary
from tqdm import tqdm

from pyclnf import Model
from pyclnf.pdm import PDM, euler_to_matrix
from pyclnf.training import (
    AnnotatedFaces,
    DescentConfig,
    DrawConfig,
    ExpertConfig,
    StartConfig,
    TrainingConfig,
    assemble_scales,
    train_experts,
    train_model,
)

MAX_SCALE = 1.0  # px per mm; in the rendered pictures it is 0.95 to 1.25
# Brows, nose and eyes, which do not slide over a head that turns.
RIGID = tuple(range(17, 48))
OUTLINE_YAW = 60.0  # degrees; beyond it the outline behind the cheek says nothing


class TrainingImages:
    """The grey pictures of some faces of a data set, read and varied when they are asked for."""

    def __init__(self, data: Dataset, chosen: NDArray[np.intp], seed: int) -> None:
        self.data, self.chosen, self.seed = data, chosen, seed

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        which = int(self.chosen[index])
        # The same each time that it is asked for; other where a picture is chosen several times.
        rng = np.random.default_rng([self.seed, index])
        return vary(self.data.image(which, grey=True), self.data.landmarks[which], rng)


def training_config(table: dict[str, Any]) -> TrainingConfig:
    """Return the configuration in the table [training]."""
    values = dict(table)
    draw = DrawConfig(**_tuples(values.pop("draw", {})))
    expert = ExpertConfig(**_tuples(values.pop("expert", {})))
    start_values = dict(values.pop("start", {}))
    descent = start_values.pop("descent", None)
    start_values["descent"] = None if descent is None else DescentConfig(**_tuples(descent))
    start = StartConfig(**_tuples(start_values))
    values.pop("network", None)  # see train_network.py
    values.pop("refiner", None)  # see train_refiner.py
    values.pop("fine", None)  # see fine_config
    parts = values.pop("pdm_emphasis")
    emphasis = tuple(tuple(parts[_part(i)]) for i in range(68))
    shapes = {"pdm_emphasis": emphasis, "pdm_contacts": CONTACTS, "pdm_rigid": RIGID}
    return TrainingConfig(draw=draw, expert=expert, start=start, **shapes, **_tuples(values))


def fine_config(config: TrainingConfig, table: dict[str, Any]) -> TrainingConfig | None:
    """Return the configuration of the scales in the table [training.fine], None if there are none."""
    fine = table.get("fine", {})
    scales = tuple(scale for scale in config.scales if scale in fine.get("scales", ()))
    if not scales:
        return None
    draw = replace(config.draw, **_tuples(fine.get("draw", {})))
    expert = replace(config.expert, **_tuples(fine.get("expert", {})))
    return replace(config, scales=scales, draw=draw, expert=expert)


def _part(landmark: int) -> str:
    """Return the part of the face that a landmark belongs to."""
    return "jaw" if landmark < 17 else "eyes" if 36 <= landmark < 48 else "others"


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def fit_numbers(
    fit: dict[str, Any], configured: Sequence[float], scales: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Return the numbers of the fits for those of the configured scales that there are.

    A set that skips all of them, or has no number for one, gets the usual windows.
    """
    sets = {}
    for name, numbers in fit.items():
        of_scale = dict(zip(configured, numbers["windows"], strict=True))
        windows = [of_scale.get(scale) for scale in scales]
        others = {key: value for key, value in numbers.items() if key != "windows"}
        sets[name] = others | ({"windows": windows} if any(windows) and None not in windows else {})
    return sets


def head_shapes(data: Dataset, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the 3D landmarks in the head's frame, (N, 68, 3) mm."""
    rotations = np.array([euler_to_matrix(pose) for pose in data.pose[chosen]])
    return data.landmarks3d[chosen].astype(np.float64) @ rotations


def annotated(
    data: Dataset, which: NDArray[np.intp], pdm: PDM, seed: int, outline: tuple[float, float]
) -> AnnotatedFaces:
    """Return some of the pictures as faces to learn from, to which the PDM is fitted.

    outline: what hidden and covered outlines count, see `visibility`.
    """
    return AnnotatedFaces.fitted(
        pdm,
        TrainingImages(data, which, seed),
        data.landmarks[which],
        visible=visibility(data, which, *outline),
        identities=data.identity[which],
        rotations=data.pose[which],
    )


def visibility(
    data: Dataset, chosen: NDArray[np.intp], hidden_outline: float, covered_outline: float
) -> NDArray[np.float64]:
    """Return how much each point counts, (N, 68).

    The far outline of a turned face is hidden behind the cheek, but close to the edge of the face in the
    picture, from which an expert can tell where it is: up to the last but one view it counts a little. So
    does the outline under hair or a hand, so that experts learn that not every edge there is the face's.
    """
    covered, behind = data.occluded[chosen], data.self_occluded[chosen]
    weights = np.where(covered | behind, 0.0, 1.0)
    turned = np.abs(np.degrees(data.pose[chosen, 1])) < OUTLINE_YAW
    outline = np.arange(68) < 17
    weights[behind & ~covered & turned[:, None] & outline] = hidden_outline
    size = data.image(0).shape[0]
    inside = ((data.landmarks[chosen] >= 0) & (data.landmarks[chosen] < size)).all(axis=2)
    weights[covered & ~behind & inside & outline] = covered_outline
    return weights


def progress_bar() -> Callable[[str, int, int], None]:
    """Return a callback that shows one bar for each stage."""
    bars: dict[str, tqdm] = {}

    def show(stage: str, done: int, total: int) -> None:
        bar = bars.get(stage)
        # A stage may come twice: the finest scales have experts of their own.
        if bar is None or done < bar.n or total != bar.total:
            if bar is not None:
                bar.close()
            bar = bars[stage] = tqdm(desc=stage, total=total, mininterval=5)
        bar.update(done - bar.n)

    return show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("renders", type=Path, help="folder of the rendered shards")
    parser.add_argument("work", type=Path, help="folder for single results")
    parser.add_argument("out", type=Path, help="the model, .npz")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--images", type=int, help="use about so many pictures only")
    parser.add_argument(
        "--yaws", type=float, nargs="+", help="centres of the views, if not the configured ones"
    )
    parser.add_argument("--scales", type=float, nargs="+", help="patch scales, if not the configured ones")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    args = parser.parse_args()
    tables = tomllib.loads(args.config.read_text(encoding="utf-8"))
    table = tables["training"]
    outline = table.pop("hidden_outline"), table.pop("covered_outline")
    config = training_config(table)
    if args.scales:
        config = replace(config, scales=tuple(args.scales))
    if args.yaws:
        config = replace(config, draw=replace(config.draw, yaws=tuple(args.yaws)))
    fine = fine_config(config, table)
    if fine is not None and fine.scales == config.scales:
        config, fine = fine, None
    elif fine is not None:
        config = replace(config, scales=tuple(s for s in config.scales if s not in fine.scales))
    data = load_dataset(args.renders, limit=args.images)
    chosen = np.flatnonzero(~data.held_out)
    images, progress = TrainingImages(data, chosen, config.seed), progress_bar()
    known = {
        "visible": visibility(data, chosen, *outline),
        "identities": data.identity[chosen],
        "rotations": data.pose[chosen],
    }
    model = train_model(
        images,
        data.landmarks[chosen],
        landmarks_3d=head_shapes(data, chosen),
        **known,
        config=config,
        work_dir=args.work,
        workers=args.workers,
        progress=progress,
    )
    if fine is not None:
        faces = AnnotatedFaces.fitted(model.pdm, images, data.landmarks[chosen], **known)
        folder = args.work / "fine"
        train_experts(faces, model.pdm, folder, fine, workers=args.workers, progress=progress)
        scales = sorted((*model.scales, *assemble_scales(folder, model.pdm, fine)), key=lambda one: one.scale)
        metadata = model.metadata | {"training_fine": asdict(fine)}
        model = Model(model.pdm, scales, metadata=metadata, arrays=model.arrays)
    people = len(np.unique(data.identity[chosen]))
    model.name = "pyclnf"
    model.metadata |= {
        "licence": "MIT",
        "origin": f"trained on {len(chosen)} rendered pictures of {people} people",
        "fit": fit_numbers(tables["fit"], table["scales"], [one.scale for one in model.scales]),
        # Larger faces are to be reduced before a fit, px per mm.
        "max_scale": MAX_SCALE,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    model.save(args.out, dtype="float16", compress=True)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, {model!r}, {len(chosen)} pictures")


if __name__ == "__main__":
    main()
