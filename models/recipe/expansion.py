"""Let a model's fits show openings of the lids as wide, and as narrow, as they are: writes `fit/expansion`.

    python models/recipe/expansion.py MODEL [--share SHARE]

The share was chosen on 200 people drawn like those of the set palsy_test, and on pictures of people held out
(`evaluate.py --asymmetry`): the most that does not cost lids any error. 0 takes it away.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import numpy as np

from pyclnf import Model
from pyclnf.training import shape_expansion


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--share", type=float, help="if not the configured one")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    args = parser.parse_args()
    table = tomllib.loads(args.config.read_text(encoding="utf-8"))["expansion"]
    share = table["share"] if args.share is None else args.share
    model = Model.load(args.model)
    arrays = {name: value for name, value in model.arrays.items() if name != "fit/expansion"}
    if share != 0:
        expansion = shape_expansion(model.pdm, table["openings"], share)
        arrays["fit/expansion"] = expansion.astype(np.float32)
    model.arrays = arrays
    model.save(args.model, dtype="float16", compress=True)
    print(f"{args.model}: openings grow by {share:g}")


if __name__ == "__main__":
    main()
