"""Edges of lids and lips that meet, and do not pass each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generate_model import generate_model, generate_pdm
from pyclnf import CLNF, PDM, Model, ModelError, Parameters
from pyclnf.pdm import CONTACT_DEPTH
from pyclnf.training import build_pdm

# The one that is covered first: lower lids by upper ones, the upper lip by the lower one.
LIDS, LIPS = [(41, 37), (40, 38), (47, 43), (46, 44)], [(61, 67), (62, 66), (63, 65)]
CONTACTS = np.array(LIDS + LIPS)
COVERED, COVERING = CONTACTS.T
OTHERS = np.setdiff1d(np.arange(68), COVERED)


@pytest.fixture(scope="module")
def apart() -> PDM:
    return generate_pdm()


@pytest.fixture(scope="module")
def pdm(apart: PDM) -> PDM:
    return PDM(apart.mean, apart.components, apart.eigenvalues, CONTACTS)


def passed(shape: np.ndarray) -> np.ndarray:
    """Return how far covered landmarks are on the wrong side, mm; y points down."""
    below = shape[COVERING, 1] - shape[COVERED, 1]
    return np.concatenate([below[: len(LIDS)], -below[len(LIDS) :]])


def some_shape(pdm: PDM, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, pdm.n_modes) * pdm.limits


def closed_shape(apart: PDM) -> np.ndarray:
    """Return a shape in which edges pass each other; which one has is a matter of the modes' signs."""
    shapes = (some_shape(apart, seed) for seed in range(100))
    return next(q for q in shapes if passed(apart.shape_3d(q)).max() > 2)


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_covered_lies_on_the_edge_that_covers_it(seed: int) -> None:
    apart = generate_pdm()
    pdm, q = PDM(apart.mean, apart.components, apart.eigenvalues, CONTACTS), some_shape(apart, seed)
    before, after = apart.shape_3d(q), pdm.shape_3d(q)
    far = passed(before)
    np.testing.assert_array_equal(after[OTHERS], before[OTHERS])
    np.testing.assert_array_equal(after[COVERED[far <= 0]], before[COVERED[far <= 0]])
    on, by = COVERED[far > 0], COVERING[far > 0]
    np.testing.assert_array_equal(after[on, 0], before[on, 0])
    np.testing.assert_array_equal(after[on, 1], before[by, 1])
    share = np.minimum(far[far > 0] / CONTACT_DEPTH, 1)
    np.testing.assert_allclose(after[on, 2], (1 - share) * before[on, 2] + share * before[by, 2], atol=1e-12)


def test_some_shapes_have_edges_that_pass_each_other_and_some_have_not(apart: PDM) -> None:
    far = np.array([passed(apart.shape_3d(some_shape(apart, seed))) for seed in range(100)])
    assert ((far > 0).mean(axis=0) > 0.05).all() and ((far < 0).mean(axis=0) > 0.05).all()


def test_landmarks_move_on_without_a_jump(apart: PDM, pdm: PDM) -> None:
    q = closed_shape(apart)
    steps = np.linspace(0, 1, 4001)
    for model, factor in ((apart, 1), (pdm, 1 + np.abs(apart.shape_3d(q)).max() / CONTACT_DEPTH)):
        path = np.array([model.shape_3d(share * q) for share in steps])
        assert (
            np.abs(np.diff(path, axis=0)).max() <= 1.01 * factor * np.abs(apart.components @ q).max() / 4000
        )


def test_landmarks_in_images_and_in_the_head_are_the_same(
    apart: PDM, pdm: PDM, kernels_in_use: object
) -> None:
    q = closed_shape(apart)
    parameters = Parameters(np.array([1.5, 0.1, -0.3, 0.2, 200.0, 300.0]), q)
    turned = pdm.shape_3d(q) @ parameters.rotation.T
    np.testing.assert_allclose(pdm.landmarks_3d(parameters), turned, atol=1e-11)
    np.testing.assert_allclose(pdm.landmarks_2d(parameters), 1.5 * turned[:, :2] + [200, 300], atol=1e-11)


def test_fits_go_by_the_modes_alone(apart: PDM, pdm: PDM) -> None:
    parameters = Parameters(np.array([1.5, 0.1, -0.3, 0.2, 200.0, 300.0]), closed_shape(apart))
    assert (pdm.landmarks_2d(parameters) != apart.landmarks_2d(parameters)).any()
    np.testing.assert_array_equal(pdm.deformed(parameters.shape), apart.deformed(parameters.shape))
    np.testing.assert_array_equal(pdm.jacobian(parameters), apart.jacobian(parameters))
    points = apart.landmarks_2d(parameters)
    for one, other in zip(
        vars(pdm.fit_landmarks(points)).values(), vars(apart.fit_landmarks(points)).values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_models_keep_contacts_and_rigid_landmarks(tmp_path: Path, pdm: PDM) -> None:
    generated = generate_model()
    model = Model(PDM(pdm.mean, pdm.components, pdm.eigenvalues, CONTACTS, range(17, 48)), generated.scales)
    model.save(tmp_path / "with.npz")
    read = Model.load(tmp_path / "with.npz").pdm
    np.testing.assert_array_equal(read.contacts, CONTACTS)
    np.testing.assert_array_equal(read.rigid, np.arange(17, 48))
    q = closed_shape(generated.pdm)
    np.testing.assert_array_equal(read.shape_3d(q), pdm.shape_3d(q))
    generated.save(tmp_path / "without.npz")
    assert Model.load(tmp_path / "without.npz").pdm.contacts.shape == (0, 2)
    assert Model.load(tmp_path / "without.npz").pdm.rigid.shape == (0,)
    with pytest.raises(ValueError, match="read-only"):
        read.contacts[0] = 1


def test_a_pdm_is_built_with_contacts(apart: PDM) -> None:
    shapes = [apart.shape_3d(some_shape(apart, seed)) for seed in range(30)]
    np.testing.assert_array_equal(build_pdm(shapes, n_modes=8, contacts=CONTACTS).contacts, CONTACTS)


def test_the_shipped_model_has_lids_and_lips_that_meet() -> None:
    np.testing.assert_array_equal(CLNF().model.pdm.contacts, CONTACTS)


@pytest.mark.parametrize(
    ("contacts", "message"),
    [
        ([1, 2], r"pairs of landmarks \(k, 2\), not int(32|64) \(2,\)"),
        ([(1.0, 2.0)], r"pairs of landmarks \(k, 2\), not float64 \(1, 2\)"),
        ([(1, 2, 3)], r"\(1, 3\)"),
        ([(1, 2), (3,)], "a PDM's contacts are an array of numbers, rows of one length"),
        ([(0, 4)], "each landmark of 0..3 once"),
        ([(-1, 2)], "each landmark of 0..3 once"),
        ([(0, 1), (1, 2)], "each landmark of 0..3 once"),
        ([(2, 2)], "each landmark of 0..3 once"),
        ([(1, 0), (2, 3)], "the contact of 2 and 3: in the mean shape neither is above the other"),
    ],
)
def test_impossible_contacts(contacts: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        PDM([0, 1, 2, 3, 0, 1, 2, 2, 0, 0, 0, 0], np.zeros((12, 0)), [], contacts)  # type: ignore[arg-type]
