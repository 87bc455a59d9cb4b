"""Several starts: compared early, and the winner is what it would be alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyclnf import CLNF, Model
from pyclnf.nu_rlms import KEPT_AFTER_FULL, KEPT_AFTER_RIGID, MULTI_VIEW_STARTS, _Fit


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
    starts = MULTI_VIEW_STARTS[:KEPT_AFTER_FULL]
    pruned = CLNF(model, starts=starts).fit(picture.image, picture.disturbed)
    whole = CLNF(model, starts=starts, exhaustive=True).fit(picture.image, picture.disturbed)
    assert pruned[0].tobytes() == whole[0].tobytes() and pruned[1]["start"] == whole[1]["start"]


def test_only_the_likely_starts_go_on(model: Model, picture, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[bool] = []
    move, whole = _Fit.move, _Fit.respond_and_move

    def counted(self: _Fit, *, rigid: bool) -> None:
        passes.append(rigid)
        move(self, rigid=rigid)

    def both_counted(self: _Fit, level: Any) -> None:
        before = len(passes)
        whole(self, level)
        passes[before:] = [True, False]

    monkeypatch.setattr(_Fit, "move", counted)
    monkeypatch.setattr(_Fit, "respond_and_move", both_counted)
    CLNF(model, starts="multiview").fit(picture.image, picture.disturbed)
    finer = len(model.scales) - 1
    assert passes.count(True) == len(MULTI_VIEW_STARTS) + KEPT_AFTER_FULL * finer
    assert passes.count(False) == KEPT_AFTER_RIGID + KEPT_AFTER_FULL * finer


def test_equal_starts_give_the_first(model: Model, picture) -> None:
    _, info = CLNF(model).fit(picture.image, picture.disturbed, starts=[(0, 0, 0)] * 6)
    assert info["start"] == 0


def test_a_face_that_is_too_small_from_every_start(
    model: Model, picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales: list[float] = []
    respond = _Fit.respond
    monkeypatch.setattr(
        _Fit, "respond", lambda self, level: scales.append(level.scale.scale) or respond(self, level)
    )
    _, info = CLNF(model, starts="multiview").fit(picture.image, (150, 150, 12, 12))
    assert not info["success"] and "too small" in str(info["failure"])
    # Only what is known to be too small after its first full pass is left.
    assert scales == [model.scales[0].scale] * len(MULTI_VIEW_STARTS)
