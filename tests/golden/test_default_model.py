"""The default model's numbers stay what they are: from commit to commit, and between variants of the kernels.

After a change of the model: PYCLNF_KERNELS=baseline python tests/golden/default_model.py --write
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import default_model
import numpy as np
import pytest
import same_bytes

import pyclnf
from variants import usable_variants

# Largest difference from the file. Landmarks in distances of the outer eye corners, which is what errors
# are measured in; the rest as it is. Areas of interest are sampled at multiples of 1/32 px, so that the last
# digit of a float32 moves a sample now and then, and a fit with it. Measured between the variants on one
# machine (the model of November 2026): landmarks 1.1e-3, likelihood 1.0e-3, confidence 4.6e-5, boxes 0.
LANDMARKS = 5e-3
LIKELIHOOD = 5e-3
CONFIDENCE = 1e-3
ANGLE = 5e-3  # rad
BOX = 0.05  # px; another build of OpenCV may round a shrunk pixel otherwise


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    content = default_model.read_golden()
    assert content["model"] == default_model.model_digest(), (
        "the default model is another one: run PYCLNF_KERNELS=baseline python "
        "tests/golden/default_model.py --write"
    )
    return content["numbers"]


def test_the_file_knows_both_pictures(golden: dict[str, np.ndarray]) -> None:
    pictures = {name.split("/")[0] for name in golden}
    assert pictures == set(default_model.BOXES)
    for picture in pictures:
        parts = {name.split("/")[1] for name in golden if name.startswith(picture)}
        assert parts == {"fit-image", "fit-video", "detector", "detect", *(f"track-{i}" for i in range(4))}


@pytest.mark.parametrize("picture", default_model.BOXES)
def test_the_default_models_numbers(
    golden: dict[str, np.ndarray], picture: str, kernels_in_use: object
) -> None:
    if picture == "astronaut":
        pytest.importorskip("skimage")
    found = default_model.compute((picture,))
    assert set(found) == {name for name in golden if name.startswith(picture)}
    eyes = golden[f"{picture}/fit-image/landmarks"].reshape(-1, 2)
    distance = float(np.linalg.norm(eyes[36] - eyes[45]))
    assert 50 < distance < 200
    bounds = {
        "landmarks": LANDMARKS * distance,
        "likelihood": LIKELIHOOD,
        "confidence": CONFIDENCE,
        "boxes": BOX,
    }
    for name, array in found.items():
        kind = name.rpartition("/")[2]
        if kind in bounds:
            np.testing.assert_allclose(array.ravel(), golden[name], rtol=0, atol=bounds[kind], err_msg=name)
        elif kind == "pose":
            np.testing.assert_allclose(array[1:4], golden[name][1:4], rtol=0, atol=ANGLE, err_msg=name)


def test_another_process_gives_the_same_bytes() -> None:
    """Each variant, in two new processes, of which one sees other numbers of threads and hashes."""
    path = os.pathsep.join([str(Path(pyclnf.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    for variant in usable_variants()[:-1]:  # NumPy's twin takes long: same_bytes.py runs it, too
        found = [
            same_bytes.digests(sys.executable, variant, PYTHONPATH=path, PYTHONHASHSEED=seed, **threads)
            for seed, threads in (("1", {}), ("2", {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}))
        ]
        assert same_bytes.differences(found) == []
        assert len(found[0]["digests"]) == 8


def test_other_environments_give_the_same_bytes() -> None:
    """For interpreters with other versions of OpenCV, NumPy or Python, named by the environment."""
    pythons = [python for python in os.environ.get("PYCLNF_PYTHONS", "").split(os.pathsep) if python]
    if len(pythons) < 2:
        pytest.skip("set PYCLNF_PYTHONS to interpreters that have pyclnf, see same_bytes.py")
    for variant in usable_variants():
        found = [same_bytes.digests(python, variant, PYTHONPATH="") for python in pythons]
        assert same_bytes.differences(found) == [], [one["versions"] for one in found]


def test_a_difference_is_found() -> None:
    """One changed bit of one number is another digest, and is told by its part."""
    random = np.random.default_rng(0)
    numbers = {
        "a/fit/pose": random.normal(size=6),
        "a/fit/shape": random.normal(size=4),
        "a/detect/x": np.ones(1),
    }
    changed = {name: array.copy() for name, array in numbers.items()}
    changed["a/fit/shape"][2] = np.nextafter(changed["a/fit/shape"][2], np.inf)
    found = [
        {"digests": default_model.digests(one), "kernels": "baseline", "versions": {"numpy": version}}
        for one, version in ((numbers, "2.4"), (numbers, "2.5"), (changed, "2.6"))
    ]
    assert same_bytes.differences(found[:2]) == []
    assert same_bytes.differences(found) == ["a/fit"]
    # NumPy's own kernels are compared where NumPy is the same.
    reference = [{**one, "kernels": "reference"} for one in found]
    assert same_bytes.differences(reference) == []
    reference[2]["versions"] = {"numpy": "2.4"}
    assert same_bytes.differences(reference) == ["a/fit"]
