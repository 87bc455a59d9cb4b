"""Compare numbers of the fit on rendered faces of held-out people of the training renders.

    python models/recipe/tune.py RENDERS MODEL --set image --try reg_factor=10,20 --try windows=11:11:9:7

Each value is tried alone, in place of the model's own. Printed are the errors (see evaluate.py), those of the
lids and brows, the slopes of left-right differences in pictures with a palsy, and the time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from dataset import Dataset, load_dataset, one_sided, pictures_held_out
from evaluate import CHANGES, asymmetry, evaluate, summary
from numpy.typing import NDArray

from pyclnf import CLNF, Model

PARTS = {"jaw": slice(0, 17), "brows": slice(17, 27), "lids": slice(36, 48), "mouth": slice(48, 68)}


def value_of(text: str) -> Any:
    """Return a number, or a list of numbers joined by colons."""
    if ":" in text:
        return [int(part) for part in text.split(":")]
    return int(text) if text.isdigit() else float(text)


def changed(model: Model, name: str, key: str, value: Any) -> Model:
    """Return the model with another number in its own parameter set, or another largest scale."""
    metadata = dict(model.metadata)
    if key == "max_scale":
        metadata[key] = value
    else:
        metadata["fit"] = {**metadata["fit"], name: {**metadata["fit"][name], key: value}}
    return Model(model.pdm, model.scales, name=model.name, metadata=metadata, arrays=model.arrays)


def report(label: str, clnf: CLNF, data: Dataset, chosen: NDArray[np.intp], change: str) -> None:
    result = evaluate(clnf, data, chosen, change=change)
    points = result["points"]
    parts = " ".join(f"{name} {np.median(points[:, part].mean(axis=1)):.4f}" for name, part in PARTS.items())
    yaw = np.abs(np.degrees(data.pose[chosen, 1]))
    palsy = np.flatnonzero(one_sided(data)[chosen] & (yaw < 20) & (result["error"] < 0.1))
    truth = np.array([asymmetry(points) for points in data.landmarks[chosen[palsy]]])
    fitted = np.array([asymmetry(points) for points in result["landmarks"][palsy]])
    slopes = [np.polyfit(truth[:, k], fitted[:, k], 1)[0] for k in range(3)] if len(palsy) > 1 else []
    print(
        f"{label:28s} {summary(result['error'])}  {parts}  slopes {np.round(slopes, 2)} ({len(palsy)})  "
        f"{1000 * np.median(result['seconds']):.1f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("renders", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--set", dest="name", choices=("image", "video"), default="image")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--change", choices=CHANGES, default="none", help="change the pictures before")
    parser.add_argument("--try", dest="trials", action="append", default=[], metavar="NAME=VALUE,VALUE...")
    args = parser.parse_args()
    data = load_dataset(args.renders)
    try:
        chosen = pictures_held_out(data, args.images, seed=5)
    except ValueError as error:
        parser.error(str(error))
    model = Model.load(args.model)
    # All of them before the first is measured, so that a mistake is named at once.
    trials = {"as it is": CLNF(model, parameters=args.name)}
    for trial in args.trials:
        key, _, values = trial.partition("=")
        for text in values.split(","):
            other = changed(model, args.name, key, value_of(text))
            trials[f"{key} = {text}"] = CLNF(other, parameters=args.name)
    for label, clnf in trials.items():
        report(label, clnf, data, chosen, args.change)


if __name__ == "__main__":
    main()
