"""Plans and outcomes of batches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from faces import make_face, missing_face
from generate_model import generate_model
from pyclnf import CLNF, Model, batch, formats
from pyclnf.errors import FormatError, ParameterError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_plan_keeps_folders_and_order(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = ("b.jpg", "a.PNG", "sub/a.jpg", ".hidden.jpg", "film.mp4", "readme.txt")
    touch(*(folder / name for name in names))
    plan = batch.plan("fit", [str(folder)], Path("out"), Path("pictures"))
    assert [(Path(job.source).relative_to(folder).as_posix(), job.output, job.draw) for job in plan.jobs] == [
        ("a.PNG", str(Path("out/a")), str(Path("pictures/a.jpg"))),
        ("b.jpg", str(Path("out/b")), str(Path("pictures/b.jpg"))),
        ("sub/a.jpg", str(Path("out/sub/a")), str(Path("pictures/sub/a.jpg"))),
    ]
    assert [path.name for path in plan.left_out] == ["film.mp4", "readme.txt"]
    (job,) = batch.plan("track", [str(folder)], Path("out"), None).jobs
    assert Path(job.source).name == "film.mp4"


def test_plan_takes_nothing_that_was_drawn(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.jpg", "sub/b.jpg", "pictures/a.jpg", "pictures/sub/b.jpg")))
    plan = batch.plan("fit", [str(tmp_path)], Path("out"), tmp_path / "pictures")
    assert [Path(job.source).name for job in plan.jobs] == ["a.jpg", "b.jpg"]
    assert (len(plan.drawn), plan.left_out) == (2, [])
    # A folder that is itself named is an input.
    (job,) = batch.plan("fit", [str(tmp_path / "sub")], Path("out"), tmp_path).jobs
    assert Path(job.source).name == "b.jpg"


def test_plan_takes_a_named_file_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path / "photo.dat")
    (job,) = batch.plan("fit", [str(tmp_path / "photo.dat")], Path("out"), Path("x.png")).jobs
    assert job.draw == "x.png"


def test_plan_takes_an_input_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    inputs = [str(tmp_path / "a.jpg"), str(tmp_path / "*.jpg"), str(tmp_path)]
    assert len(batch.plan("fit", inputs, Path("out"), None).jobs) == 1


def test_plan_refuses(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg", tmp_path / "empty" / "x.txt")
    with pytest.raises(ParameterError, match="there are no photographs in"):
        batch.plan("fit", [str(tmp_path / "empty")], Path("out"), None)
    with pytest.raises(ParameterError, match="would have the same name"):
        batch.plan("fit", [str(tmp_path / "a"), str(tmp_path / "b")], Path("out"), None)
    with pytest.raises(ParameterError, match="one file for 2 inputs"):
        batch.plan("fit", [str(tmp_path)], Path("out"), Path("one.png"))


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    touch(
        tmp_path / ".a.0123abcd.tmp.csv", tmp_path / ".ab.0123abcd.tmp.csv", tmp_path / ".a.0123abcd.tmp.mp4"
    )
    job = batch.Job("missing.jpg", str(tmp_path / "a"))
    (outcome,) = batch.run(batch.Settings("fit", model="missing.npz"), [job])
    assert outcome.failure
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.0123abcd.tmp.mp4", ".ab.0123abcd.tmp.csv"]


def test_pts_of_several_faces(tmp_path: Path) -> None:
    clnf = SimpleNamespace(model=SimpleNamespace(pdm=SimpleNamespace(n_landmarks=68, n_modes=34)))
    job = batch.Job("x.jpg", str(tmp_path / "x"))
    faces = [make_face(0), missing_face(), make_face(1)]
    batch._write_faces("pts", job, clnf, faces)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.face1.pts", "x.pts"]
    for name, face in (("x.pts", faces[0]), ("x.face1.pts", faces[2])):
        np.testing.assert_allclose(formats.read_pts(tmp_path / name), face.landmarks, atol=0.000501)
    with pytest.raises(FormatError, match="no face was found"):
        batch._write_faces("pts", job, clnf, [missing_face()])  # type: ignore[arg-type]


def test_what_is_wrong_with_a_file_is_said_without_its_name_twice(tmp_path: Path) -> None:
    image = tmp_path / "x.jpg"
    image.write_bytes(b"no image")
    (outcome,) = batch.run(batch.Settings("fit", model="missing.npz"), [batch.Job(str(image), "out")])
    assert "missing.npz" in (outcome.failure or "")
    assert str(outcome).count(str(image)) == 1


def test_a_batch_takes_the_numbers_that_the_model_has(tmp_path: Path) -> None:
    own = {
        "image": {"windows": [9, 7, 0], "sigma": 2.0},
        "video": {"windows": [7, 5, 0]},
        "tracking": {"windows": [0, 5, 0]},
    }
    model = generate_model()
    changed = Model(model.pdm, model.scales, metadata={"fit": own})
    changed.save(tmp_path / "own.npz")
    clnf = batch._tools(batch.Settings("fit", model=str(tmp_path / "own.npz")))[0]
    assert clnf.parameters == CLNF(changed).parameters
    assert (clnf.parameters.windows, clnf.parameter_set) == ((9, 7, 0), "image")
    tracker = batch._tracker(
        batch.Settings(
            "track",
            model=str(tmp_path / "own.npz"),
        )
    )
    assert (tracker.first.windows, tracker.tracking.windows) == ((7, 5, 0), (0, 5, 0))
    assert (tracker.first_set, tracker.tracking_set) == ("video", "tracking")
    given = batch.Settings(
        "track", model=str(tmp_path / "own.npz"), parameters="video", numbers=(("sigma", 3.0),)
    )
    tracker = batch._tracker(given)
    assert (tracker.first.windows, tracker.first.sigma, tracker.tracking.sigma) == ((7, 5, 0), 3.0, 3.0)


# --- processes that die


class Pool:
    """Stands for a pool of processes: each job is done at once or later, or kills its process."""

    def __init__(self, fates: list[str]) -> None:
        self.fates, self.broken = fates, False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., object], settings: batch.Settings, job: batch.Job) -> Future:
        future: Future[batch.Outcome] = Future()
        outcome = batch.Outcome(job.source, faces=1)
        fate = self.fates.pop(0) if self.fates else "done"
        if fate == "idle process died" or self.broken:
            raise BrokenProcessPool
        if fate == "dies":
            future.set_exception(BrokenProcessPool())
        elif fate == "later":
            threading.Timer(0.1, future.set_result, [outcome]).start()
        else:
            future.set_result(outcome)
        return future


@pytest.mark.parametrize(
    ("fates", "failed"),
    (
        ([], []),
        (["dies", "later", "done"], []),
        (["dies", "later", "later", "dies"], ["0"]),
        (["idle process died", "dies"], ["0"]),
        (["later", "idle process died"], []),
        (["done", "done", "done", "idle process died", "done", "dies", "done", "dies"], ["4"]),
    ),
)
def test_every_file_has_one_outcome_whichever_process_dies(
    monkeypatch: pytest.MonkeyPatch, fates: list[str], failed: list[str]
) -> None:
    """A job is tried again alone if its pool broke, and given up if it breaks that, too."""
    left = list(fates)
    monkeypatch.setattr(batch, "_pool", lambda workers: Pool(left))
    jobs = [batch.Job(str(i), f"out{i}") for i in range(6)]
    outcomes = list(batch.run(batch.Settings("fit"), jobs, workers=2))
    assert sorted(outcome.source for outcome in outcomes) == [job.source for job in jobs]
    assert [outcome.source for outcome in outcomes if outcome.failure] == failed
    assert all("died, twice" in (o.failure or "died, twice") for o in outcomes)
    assert not left
