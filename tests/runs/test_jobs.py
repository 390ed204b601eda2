"""Trainings as processes: started, looked at, stopped, gone on with; their live maps."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustcore import files, runs
from clustcore.cli.commands import main
from clustcore.datasets import roots
from clustcore.maps import live
from clustcore.runs import jobs, progress
from clustcore.runs.plan import Plan
from tests.support.job_files import make_job, make_snapshot

LONG = Plan(
    "dec",
    "digits",
    {"width": 4, "dim": 4, "autoencode": 300},
    train={"device": "cpu", "lr": 0.003},
    name="a",
)
# a job of before plans had names and jobs told their progress, as it lay in its folder
OLD = {
    "plan.json": """{
 "model": "dec",
 "data": {
  "name": "digits"
 },
 "config": {
  "width": 4,
  "dim": 4,
  "autoencode": 1,
  "cluster": 1
 },
 "train": {
  "device": "cpu",
  "lr": 0.003
 },
 "augment": {}
}
""",
    "job.json": """{
 "pid": 4194305,
 "started": 1700000000.5,
 "argv": [
  "train",
  "dec",
  "--data",
  "digits",
  "--name",
  "b",
  "--device",
  "cpu",
  "--model.width",
  "4"
 ]
}
""",
    "log.txt": "job: started train dec --data digits --name b --device cpu --model.width 4\n",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own folder of runs; what still runs in it at the end is killed."""
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "own"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield tmp_path / "own"
    for job in jobs.jobs():
        kill(job.folder)


def kill(folder: Path) -> None:
    """End every process of a job at once, as a machine does that is switched off."""
    if jobs._locked(folder):
        os.killpg(jobs._json(folder / "job.json")["pid"], signal.SIGKILL)
    wait(folder, lambda job: job.state not in ("running", "mapping"))


def wait(folder: Path, until: Callable[[jobs.Job], bool]) -> jobs.Job:
    for _ in range(3000):
        job = jobs.status(folder)
        if until(job):
            return job
        time.sleep(0.1)
    raise AssertionError(f"{job}: {jobs.log_tail(folder)}")


def names() -> list[str]:
    return [run.name for run in runs.list_runs() if not run.shipped and not run.problem]


@pytest.mark.slow
def test_a_training_is_started_stopped_killed_and_goes_on_to_its_end(place):
    job = jobs.start(LONG)
    assert (job.state, job.epochs) == ("running", 0)
    with pytest.raises(ValueError, match="run 'a' is being trained by another process"):
        jobs.start(LONG)
    with pytest.raises(ValueError, match="run 'a' is being trained by another process"):
        jobs.resume(job.folder)
    (place / "b").mkdir()
    for name, text in OLD.items():
        (place / "b" / name).write_text(text)
    other = jobs.status(place / "b")
    assert (other.state, other.epochs, other.total) == ("stopped", 0, None)
    assert other.started == 1700000000.5
    other = jobs.resume(other.folder)  # two at once

    wait(job.folder, lambda job: job.epochs >= 2)
    assert jobs.status(job.folder).total == 310
    jobs.stop(job.folder)
    assert jobs.status(job.folder).stopping
    stopped = wait(job.folder, lambda job: job.state != "running")
    assert stopped.state == "stopped"
    assert not stopped.stopping
    assert stopped.epochs >= 2
    jobs.stop(job.folder)  # nothing is left to stop
    assert not files.is_locked(job.folder)

    again = jobs.resume(job.folder)
    assert again.epochs >= stopped.epochs
    wait(job.folder, lambda job: job.epochs > stopped.epochs)
    kill(job.folder)
    assert jobs.status(job.folder).state == "stopped"
    assert jobs.status(job.folder).epochs > stopped.epochs

    wait(other.folder, lambda job: job.state == "mapping")
    assert names() == ["b"]  # in every picker, before its map is there
    assert jobs.status(other.folder).epochs == 2
    with pytest.raises(ValueError, match="expected a new run, got one that is there already"):
        jobs.start(other.plan)
    assert {job.name for job in jobs.jobs()} == {"a", "b"}


def test_a_training_that_fails_says_why(place):
    bad = dataclasses.replace(LONG, data="folder:nothing/here", name="c")
    job = wait(jobs.start(bad).folder, lambda job: job.state != "running")
    assert job.state == "failed"
    assert job.reason.startswith("folder 'nothing/here': expected it below")
    said = jobs.log_tail(job.folder)
    assert f"clustcore train: {job.reason}\njob: train ended with 2\n" in said
    assert "job: started" not in said


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 81])
def test_a_name_is_no_path(place, name):
    with pytest.raises(ValueError, match="run name: expected letters, digits"):
        jobs.start(dataclasses.replace(LONG, name=name))
    assert not place.exists()


# What the files say


def test_the_states_of_a_job(place):
    def state(name: str, **more: Any) -> tuple[str, str]:
        job = jobs.status(make_job(place, name, **more))
        assert (job.epochs, job.total) == (6, 20)
        return job.state, job.reason

    assert state("killed") == ("stopped", "")
    assert state("told", stop=True, ended=(("train", 2),), reason="x") == ("stopped", "")
    assert state("interrupted", ended=(("train", 130),)) == ("stopped", "")
    assert state("limit", ended=(("train", 0),)) == ("stopped", "")
    said = "stage 'x': loss: expected"
    assert state("said", ended=(("train", 2),), reason=said) == ("failed", said)
    assert state("mute", ended=(("train", 1),)) == ("failed", "the process ended with code 1")
    name, reason = state("memory", ended=(("train", -9),))
    assert name == "failed"
    assert "killed by signal 9, as happens where memory runs out; a smaller batch" in reason
    folder = make_job(place, "done", ended=(("train", 0), ("project", 0)))
    (folder / "card.json").write_text("{}")
    assert (jobs.status(folder).state, jobs.status(folder).reason) == ("finished", "")
    folder = make_job(place, "unmapped", ended=(("train", 0), ("project", 2)), reason="no images")
    (folder / "card.json").write_text("{}")
    assert (jobs.status(folder).state, jobs.status(folder).reason) == ("finished", "no images")


def test_what_is_printed_decides_nothing(place):
    folder = make_job(place, "a", ended=(("train", 2),), reason="this is why")
    (folder / "log.txt").write_text("epoch 9 of 9\nclustcore train: no\njob: train ended with 0\n")
    job = jobs.status(folder)
    assert (job.state, job.reason, job.epochs, job.total) == ("failed", "this is why", 6, 20)


def test_a_job_runs_as_long_as_its_log_is_locked(place):
    folder = make_job(place, "going")
    with (folder / "log.txt").open("rb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        assert jobs.status(folder).state == "running"
        with pytest.raises(ValueError, match="run 'going' is being trained by another process"):
            jobs.resume(folder)
    assert jobs.status(folder).state == "stopped"


def test_a_training_by_hand_is_not_stopped_from_here(place):
    folder = make_job(place, "mine")
    with files.locked(folder):
        assert jobs.status(folder).state == "running"
        with pytest.raises(ValueError, match="trained by a command elsewhere: stop it there"):
            jobs.stop(folder)
        with pytest.raises(ValueError, match="is being trained by another process"):
            jobs.resume(folder)


def test_damaged_files_are_said_and_left_out_of_the_list(place):
    good, bad = make_job(place, "good"), make_job(place, "bad")
    (bad / "job.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"job\.json: expected a JSON object, got list"):
        jobs.status(bad)
    (bad / "job.json").write_text("{")
    with pytest.raises(ValueError, match=r"job\.json: expected JSON, got"):
        jobs.status(bad)
    assert [job.name for job in jobs.jobs()] == ["good"]
    (good / "history.csv").write_text("epoch,loss\n0,x\n")
    with pytest.raises(ValueError, match=r"history\.csv: expected a line an epoch"):
        progress.read_history(good)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("job", {"pid": 4000}),
        ("job", {"pid": None, "started": 1.0}),
        ("job", {"pid": 0, "started": 1.0}),
        ("job", {"pid": 4000, "started": None}),
        ("job", {"pid": 4000, "started": 1.0, "log": "x"}),
        ("plan", {"model": "dec"}),
        ("plan", {"model": "dec", "data": None}),
        ("plan", {"model": "dec", "data": {"name": 3}}),
        ("plan", {"data": {"name": "digits"}}),
        ("plan", {"defence": "control", "data": {"name": "digits"}}),
        ("plan", {"model": "dec", "data": {"name": "digits"}, "train": [1]}),
        ("plan", {"model": "dec", "data": {"name": "digits"}, "teach": "yes"}),
    ],
)
def test_odd_files_are_said_and_left_out_of_the_list(place, file, values):
    folder = make_job(place, "odd")
    (folder / f"{file}.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"{file}\.json: field '[\w.]+': expected"):
        jobs.status(folder)
    assert jobs.jobs() == []


def test_a_process_that_another_thread_let_go_is_no_error(place, monkeypatch):
    class Ended:
        def poll(self) -> int:
            jobs._STARTED.clear()
            return 0

    monkeypatch.setattr(jobs, "_STARTED", [Ended()])
    assert jobs.status(make_job(place, "a")).state == "stopped"


def test_own_runs_and_data_have_whole_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRIFTMAP_RUNS", "mine")
    monkeypatch.setenv("DRIFTMAP_DATA", "a")
    assert runs.folders()[1] == tmp_path / "mine"
    assert roots() == [tmp_path / "a"]


# Only the map, and where its images are


def test_the_map_is_made_from_the_same_root_and_the_live_one_stays_until_then(place, monkeypatch):
    folder = make_job(place, "a")
    make_snapshot(folder, 1, mapped=True)
    plan = {"model": "dec", "data": {"name": "folder:x"}, "root": "/some where"}
    (folder / "plan.json").write_text(json.dumps(plan))
    calls: list[tuple[list[str], bool, bool]] = []

    def run(name: str, command: list[str], follow: bool) -> int:
        (folder / "card.json").write_text("{}")
        calls.append((command, follow, (folder / "livemap.npz").is_file()))
        return 0

    monkeypatch.setattr(jobs, "_run", run)
    project = ["project", "a", "--root", "/some where"]
    train = ["train", "--config", str(folder / "plan.json")]
    assert jobs.main(["a"]) == 0
    assert calls == [(train, True, True), (project, False, True)]
    assert not (folder / "livemap.npz").exists()
    calls.clear()
    assert jobs.main(["a", "--only-map"]) == 0
    assert calls == [(project, False, False)]


def test_a_map_that_fails_leaves_the_live_one(place, monkeypatch):
    folder = make_job(place, "a")
    make_snapshot(folder, 1, mapped=True)
    (folder / "card.json").write_text("{}")
    monkeypatch.setattr(jobs, "_run", lambda name, command, follow: 2)
    assert jobs.main(["a", "--only-map"]) == 2
    assert live.newest(folder) is not None


def test_a_job_is_teaching_until_its_teacher_is_there(place):
    folder = make_job(place, "a")
    plan = {"model": "drc", "data": {"name": "digits"}, "config": {"clusters": 7}, "teach": True}
    (folder / "plan.json").write_text(json.dumps(plan))
    with (folder / "log.txt").open("rb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        assert jobs.status(folder).teaching
        (folder / "teacher.npz").write_bytes(b"made")
        assert not jobs.status(folder).teaching


def test_a_map_alone_needs_a_trained_run(place):
    with pytest.raises(ValueError, match="expected one trained to its end, got no card"):
        jobs.make_map(make_job(place, "a"))


def test_a_map_that_was_stopped_leaves_a_finished_run(place):
    folder = make_job(place, "a", stop=True, ended=(("project", 130),))
    (folder / "card.json").write_text("{}")
    assert (jobs.status(folder).state, jobs.status(folder).reason) == ("finished", "")


def test_a_history_is_read_as_it_was_written(place):
    history = progress.read_history(make_job(place, "a", epochs=3))
    assert history.stage == ["cluster"] * 3
    assert history.loss.tolist() == [1, 1 / 2, 1 / 3]
    assert history.parts.keys() == {"kl"}
    assert history.sizes.shape == (3, 10)
    assert history.sizes[-1, -1] == 0
    assert history.batch.tolist() == [256] * 3
    assert len(progress.read_history(place / "nothing").loss) == 0


def test_a_history_without_batches_is_read_too(place):
    folder = make_job(place, "a", epochs=2)
    lines = (folder / "history.csv").read_text().replace("batch,", "other,")
    (folder / "history.csv").write_text(lines)
    assert np.isnan(progress.read_history(folder).batch).all()


# Live maps


@pytest.fixture
def umap(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """In place of umap: a mirrored, shifted copy of where it was told to begin; those are kept."""
    begun: list[np.ndarray] = []

    class UMAP:
        def __init__(self, init: np.ndarray, **_: Any) -> None:
            begun.append(init)
            self.embedding_ = 3 - init[:, ::-1]

        def fit(self, z: np.ndarray) -> UMAP:
            assert len(z) == len(self.embedding_)
            return self

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    return begun


def test_each_map_begins_where_the_last_one_ended_and_lies_as_it_did(tmp_path, umap):
    make_snapshot(tmp_path, 0)
    make_snapshot(tmp_path, 1)
    maps: list[live.LiveMap] = []
    live.follow(tmp_path, maps.append, pause=0.0)  # nobody trains: it ends
    assert [found.epoch for found in maps] == [2]  # behind, so only the newest
    make_snapshot(tmp_path, 4)
    live.follow(tmp_path, maps.append, pause=0.0)
    assert [found.epoch for found in maps] == [2, 5]
    np.testing.assert_array_equal(umap[1], maps[0].xy)
    # a mirrored map is turned back onto the one before
    np.testing.assert_allclose(maps[1].xy, maps[0].xy, atol=1e-5)
    kept = live.newest(tmp_path)
    assert kept is not None
    np.testing.assert_array_equal(kept.xy, maps[1].xy)
    live.follow(tmp_path, maps.append, pause=0.0)  # drawn already
    assert len(maps) == 2


def test_other_samples_begin_a_map_of_their_own(tmp_path, umap):
    make_snapshot(tmp_path, 0, 30)
    live.follow(tmp_path, pause=0.0)
    make_snapshot(tmp_path, 1, 40)
    live.follow(tmp_path, pause=0.0)
    assert [len(begun) for begun in umap] == [30, 40]


@pytest.mark.parametrize("z", [np.ones((30, 3)), np.eye(5, 3), np.arange(8.0)[:, None]])
def test_what_umap_cannot_lay_out_stays_on_the_principal_plane(z, umap):
    xy = live.lay_out(z.astype(np.float32), None)
    assert xy.shape == (len(z), 2)
    assert np.isfinite(xy).all()
    assert not umap


def test_damaged_or_missing_maps_are_none(tmp_path):
    assert live.newest(tmp_path) is None
    (tmp_path / "livemap.npz").write_bytes(b"no npz")
    assert live.newest(tmp_path) is None


def test_snapshots_of_no_run(place, capsys):
    assert main(["snapshots", "../x"]) == 2
    assert "expected a run that is being trained, got '../x'" in capsys.readouterr().err
