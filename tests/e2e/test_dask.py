"""Batches on a Dask cluster of real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pyclnf import batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Generated

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform == "win32", reason="kills a process"),
]


def settings_for(generated: Generated) -> batch.Settings:
    x, y, w, h = (float(value) for value in generated.box.split(","))
    return batch.Settings("fit", model=str(generated.path), box=(x, y, w, h))


def test_a_worker_killed_in_the_middle_loses_nothing(generated: Generated, tmp_path: Path) -> None:
    generated.write_images(tmp_path / "in", 16)
    settings = settings_for(generated)
    plan = batch.plan("fit", [str(tmp_path / "in")], tmp_path / "out", tmp_path / "out")
    alone = batch.plan("fit", [str(tmp_path / "in")], tmp_path / "alone", tmp_path / "alone")
    assert all(outcome.failure is None for outcome in batch.run(settings, alone.jobs))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        pids = [worker.process.pid for worker in cluster.workers.values()]
        outcomes = []
        for outcome in batch.run(settings, plan.jobs, scheduler=cluster.scheduler_address):
            outcomes.append(outcome)
            if len(outcomes) == 3:
                os.kill(pids[0], signal.SIGKILL)
        # The nanny has replaced the worker.
        assert pids != [worker.process.pid for worker in cluster.workers.values()]
    assert sorted(outcome.source for outcome in outcomes) == sorted(job.source for job in plan.jobs)
    assert [outcome.failure for outcome in outcomes] == [None] * 16
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()}
    assert len(files) == 32


@pytest.mark.parametrize("n_workers", [1, 2])  # one worker: the others are blamed with it
def test_a_file_that_kills_its_workers_is_a_failure(
    generated: Generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_workers: int
) -> None:
    generated.write_images(tmp_path / "in", 3)
    settings = settings_for(generated)
    plan = batch.plan("fit", [str(tmp_path / "in")], tmp_path / "out", None)
    monkeypatch.setattr(batch, "run_job", deadly_job())
    with distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        outcomes = {
            outcome.source: outcome
            for outcome in batch.run(settings, plan.jobs, scheduler=cluster.scheduler_address)
        }
    assert len(outcomes) == 3
    (failed,) = [outcome for outcome in outcomes.values() if outcome.failure]
    assert "face01" in failed.source
    assert "KilledWorker" in (failed.failure or "")


def test_a_result_that_is_lost_with_its_worker_is_waited_for() -> None:
    """A job that has ended, and is under way again since its worker died before anybody got the result."""

    class Future:
        def result(self) -> batch.Outcome:
            return batch.Outcome("/there/face.png", faces=1)

    assert batch._dask_outcome(None, Future(), "face.png") == batch.Outcome("face.png", faces=1)


def test_what_waits_for_workers_that_stay_away_is_a_failure(
    generated: Generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated.write_images(tmp_path / "in", 3)
    plan = batch.plan("fit", [str(tmp_path / "in")], tmp_path / "out", None)
    monkeypatch.setattr(batch, "run_job", deadly_job())
    monkeypatch.setattr(batch, "NO_WORKER_SECONDS", 0.01)
    monkeypatch.setattr(distributed.Client, "scheduler_info", lambda client: {"workers": {}})
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        # The shipped model: there is nothing to tell the workers about it.
        outcomes = list(batch.run(batch.Settings("fit"), plan.jobs, scheduler=cluster.scheduler_address))
    assert sorted(outcome.source for outcome in outcomes) == sorted(job.source for job in plan.jobs)
    (failed,) = [outcome for outcome in outcomes if "face01" in outcome.source]
    assert "its workers died, and none came back within 0.01 s" in (failed.failure or "")


def test_a_cluster_whose_workers_stay_away_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the last file had died, and nothing started others."""
    with (
        distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        monkeypatch.setattr(batch, "NO_WORKER_SECONDS", 0.5)
        outcome = batch._dask_outcome(client, client.submit(batch.Outcome, "x", pure=False), "face.png")
        assert outcome.failure == "on the cluster: its workers died, and none came back within 0.5 s"
        monkeypatch.setattr(batch, "NO_WORKER_SECONDS", 300.0)
        future = client.submit(batch.Outcome, "x", pure=False)
        cluster.scale(1)
        assert batch._dask_outcome(client, future, "face.png") == batch.Outcome("face.png")
        # As long as there is a worker, its job may take longer than that.
        monkeypatch.setattr(batch, "NO_WORKER_SECONDS", 0.2)
        future = client.submit(slow_outcome(), pure=False)
        assert batch._dask_outcome(client, future, "face.png") == batch.Outcome("face.png")


@pytest.fixture
def client() -> Iterator[distributed.Client]:
    """Return the client of a cluster with one worker."""
    with (
        distributed.LocalCluster(n_workers=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_result_that_somebody_cancelled_is_a_failure(client: distributed.Client) -> None:
    future = client.submit(slow_outcome(), pure=False)
    future.cancel()
    outcome = batch._dask_outcome(client, future, "face.png")
    assert outcome.source == "face.png"
    assert (outcome.failure or "").startswith("on the cluster: ") and "ancelled" in (outcome.failure or "")


def test_a_result_that_is_long_on_its_way_arrives(
    client: distributed.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for it is looked after many times while it is sent."""
    monkeypatch.setattr(batch, "NO_WORKER_SECONDS", 0.01)
    future = client.submit(lambda: batch.Outcome("x" * 100_000_000), pure=False)
    assert batch._dask_outcome(client, future, "face.png") == batch.Outcome("face.png")


def slow_outcome():  # type: ignore[no-untyped-def]
    """Return a job that takes a second; a closure travels to the workers by content."""

    def job():  # type: ignore[no-untyped-def]
        time.sleep(1.0)
        return batch.Outcome("x")

    return job


def deadly_job():  # type: ignore[no-untyped-def]
    """Return a job that kills its process at one file; a closure travels to the workers by content."""

    def job_of_death(settings, job, tick=None):  # type: ignore[no-untyped-def]
        if "face01" in job.source:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return batch.Outcome(job.source, faces=1)

    return job_of_death


def test_no_scheduler_is_said(generated: Generated, tmp_path: Path) -> None:
    generated.write_images(tmp_path / "in", 1)
    plan = batch.plan("fit", [str(tmp_path / "in")], tmp_path / "out", None)
    with pytest.raises(batch.ParameterError, match="there is no Dask scheduler"):
        list(batch.run(settings_for(generated), plan.jobs, scheduler="tcp://127.0.0.1:1"))
