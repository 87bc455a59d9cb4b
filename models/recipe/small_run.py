"""Make a small model, to see that the recipe works: 200 pictures, one scale, a few minutes.

    python models/recipe/small_run.py FOLDER [--assets FOLDER]

Runs the steps of the recipe one after the other and measures the model on people that it has not seen.
The same command resumes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PEOPLE = 67  # with three pictures each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--assets", help="assets folder (else the environment variable PYCLNF_ASSETS)")
    args = parser.parse_args()
    renders, model = args.folder / "renders", args.folder / "model.npz"
    assets = ["--assets", args.assets] if args.assets else []
    # Of 200 pictures too few are profiles for a view of their own.
    steps = [
        ["render_faces.py", str(renders), "--identities", str(PEOPLE), *assets],
        ["train_model.py", str(renders), str(args.folder / "work"), str(model), "--scales", "0.35",
         "--yaws", "0", "20", "45"],
        ["evaluate.py", str(renders), str(model)],
    ]  # fmt: skip
    began = time.perf_counter()
    for step in steps:
        subprocess.run([sys.executable, str(HERE / step[0]), *step[1:]], check=True)
    print(f"done in {(time.perf_counter() - began) / 60:.1f} minutes: {model}")


if __name__ == "__main__":
    main()
