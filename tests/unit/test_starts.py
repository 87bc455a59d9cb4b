"""Several starts: compared early, and the winner is what it would be alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyclnf import CLNF, Model
from pyclnf.images import as_pixels
from pyclnf.nu_rlms import (
    LOOK_EVERY,
    LOOK_WINDOW,
    MULTI_VIEW_STARTS,
    STARTS_KEPT,
    FitParameters,
    Level,
    _Fit,
    fit_starts,
    levels_of,
)
from pyclnf.patch_experts import PatchScale


@pytest.mark.parametrize("exhaustive", (False, True))
def test_the_winner_is_what_it_is_alone(model: Model, picture, exhaustive: bool) -> None:
    clnf = CLNF(model, starts="multiview", exhaustive=exhaustive)
    landmarks, info = clnf.fit(picture.image, picture.disturbed)
    alone, alone_info = clnf.fit(picture.image, picture.disturbed, starts=[MULTI_VIEW_STARTS[info["start"]]])
    assert landmarks.tobytes() == alone.tobytes()
    assert (info["likelihood"], info["iterations"]) == (alone_info["likelihood"], alone_info["iterations"])


def test_exhaustive_is_the_likeliest_of_all(model: Model, picture) -> None:
    clnf = CLNF(model, exhaustive=True)
    alone = [
        clnf.fit(picture.image, picture.disturbed, starts=[start])[1]["likelihood"]
        for start in MULTI_VIEW_STARTS
    ]
    _, info = clnf.fit(picture.image, picture.disturbed, starts="multiview")
    assert info["start"] == int(np.argmax(alone)) and info["likelihood"] == max(alone)


def test_few_starts_are_all_fitted(model: Model, picture) -> None:
    starts = MULTI_VIEW_STARTS[: STARTS_KEPT[-1]]
    pruned = CLNF(model, starts=starts).fit(picture.image, picture.disturbed)
    whole = CLNF(model, starts=starts, exhaustive=True).fit(picture.image, picture.disturbed)
    assert pruned[0].tobytes() == whole[0].tobytes() and pruned[1]["start"] == whole[1]["start"]


@pytest.fixture()
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What a fit does: looks and whole passes, each with the patch scale."""
    done: list[tuple[str, float]] = []
    method = _Fit.respond_and_move

    def noted(self: _Fit, level: Level, *, rigid: bool = False) -> None:
        done.append(("look" if rigid else "fit", level.scale.scale))
        method(self, level, rigid=rigid)

    monkeypatch.setattr(_Fit, "respond_and_move", noted)
    return done


def test_only_the_likely_starts_go_on(model: Model, picture, passes: list[tuple[str, float]]) -> None:
    CLNF(model, starts="multiview").fit(picture.image, picture.disturbed)
    coarsest = model.scales[0].scale
    expected = [("look", coarsest)] * len(MULTI_VIEW_STARTS)
    for k, scale in enumerate(model.scales):
        before = STARTS_KEPT[min(k, len(STARTS_KEPT) - 1)]
        expected += [("fit", scale.scale)] * before
    assert passes == expected


@pytest.mark.parametrize("kept", ((4, 2), (2,)))
def test_the_likeliest_after_a_look_go_on(
    model: Model, picture, monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...]
) -> None:
    image, settings = as_pixels(picture.image), FitParameters()
    starts = [model.pdm.from_box(picture.disturbed, rotation) for rotation in MULTI_VIEW_STARTS[:7]]
    likelihoods = dict(zip(map(id, starts), (-3.0, -1.0, -6.0, -2.0, -7.0, -5.0, -4.0), strict=True))
    whole: list[list[int]] = [[] for _ in model.scales]
    run = _Fit.respond_and_move

    def noted(self: _Fit, level: Level) -> None:
        whole[model.scales.index(level.scale)].append(starts.index(self.start))
        run(self, level)

    monkeypatch.setattr(_Fit, "look", lambda self, level: likelihoods[id(self.start)])
    monkeypatch.setattr(_Fit, "respond_and_move", noted)
    levels = levels_of(model.pdm.eigenvalues, model.scales, settings)
    _, best = fit_starts(model.pdm, levels, settings.iterations, image, starts, kept=kept)
    assert whole[0] == [1, 3, 0, 6][: kept[0]]
    assert all(len(left) == kept[-1] and set(left) <= set(whole[0]) for left in whole[1:])
    assert best in whole[-1]


def test_a_look_leaves_the_fit_where_it_is(model: Model, picture) -> None:
    settings = FitParameters()
    start = model.pdm.from_box(picture.disturbed, (0.0, 0.3, 0.0))
    one = _Fit(model.pdm, settings.iterations, as_pixels(picture.image), start, None)
    (level, *_) = levels_of(model.pdm.eigenvalues, model.scales, settings)
    likelihood = one.look(level.for_a_look())
    assert np.isfinite(likelihood) and one.iterations == 0 and one.failure is None
    np.testing.assert_array_equal(one.pose, start.pose)
    np.testing.assert_array_equal(one.shape, start.shape)
    # It did move, over the maps of a few landmarks.
    assert np.abs(one.offsets - (one.responses.shape[1] - 1) / 2).max() > 0.1
    np.testing.assert_array_equal(one.landmarks, level.scale.view(one.view).landmarks[::LOOK_EVERY])


def test_the_window_of_a_look(model: Model) -> None:
    scale = model.scales[0]

    def window(scale: PatchScale, own: int) -> tuple[int, int]:
        settings = FitParameters((own, *[0] * (len(model.scales) - 1)))
        (level,) = levels_of(model.pdm.eigenvalues, [scale, *model.scales[1:]], settings)
        look = level.for_a_look()
        assert (level.window, level.scale) == (own, scale)
        return look.window, look.gaussians.shape[1]

    def with_components(components: dict[int, Any]) -> PatchScale:
        return PatchScale(scale.scale, scale.centres, scale.visible, components, scale.view)

    assert window(scale, 15) == (LOOK_WINDOW, LOOK_WINDOW) and window(scale, 9) == (9, 9)
    only = with_components({15: scale.sigma_components[15]})
    assert window(only, 15) == (15, 15)
    assert window(with_components({}), 15) == (LOOK_WINDOW, LOOK_WINDOW)


def test_equal_starts_give_the_first(model: Model, picture) -> None:
    _, info = CLNF(model).fit(picture.image, picture.disturbed, starts=[(0, 0, 0)] * 6)
    assert info["start"] == 0


def test_a_face_that_is_too_small_from_every_start(
    model: Model, picture, passes: list[tuple[str, float]]
) -> None:
    _, info = CLNF(model, starts="multiview").fit(picture.image, (150, 150, 12, 12))
    assert not info["success"] and "too small" in str(info["failure"])
    # Only what is known to be too small after the coarsest scale is left.
    assert [name for name, _ in passes] == ["look"] * len(MULTI_VIEW_STARTS) + ["fit"] * STARTS_KEPT[0]
    assert {scale for _, scale in passes} == {model.scales[0].scale}
