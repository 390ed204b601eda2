"""Two processes on the CPU do what one does with the whole batch, and end together."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clustcore import distributed
from clustcore.files import load_npz
from clustcore.training.resume import load_resume
from tests.support import ROOT, ranks


def start(*command: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, digits_run: Path) -> Path:
    """The folder of what two processes found; they are started once for all tests."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    shared["DRIFTMAP_RUNS"] = str(digits_run.parent)
    started = [
        start("-m", "tests.support.ranks", str(folder), RANK=rank, LOCAL_RANK=rank, **shared)
        for rank in ("0", "1")
    ]
    try:
        said = [process.communicate(timeout=1800) for process in started]
    finally:
        for process in started:  # one that hangs must not outlive the tests
            process.kill()
    codes = [process.returncode for process in started]
    assert codes == [3, -signal.SIGKILL], said  # as the last test wants it
    (folder / "lost.txt").write_text(said[0][0])
    return folder


@pytest.fixture(scope="module")
def parts(job: Path) -> dict[str, np.ndarray]:
    return load_npz(job / "parts.npz")


@pytest.fixture(scope="module")
def said(job: Path) -> list[dict[str, Any]]:
    """What each rank said."""
    return [json.loads((job / f"said-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone() -> tuple[dict[str, np.ndarray], Any]:
    """What one process learns from whole batches."""
    return ranks.trained(ranks.model())


def test_being_told_to_stop_is_said_as_such():
    with pytest.raises(distributed.RankLost, match="process 0 of 1: told to stop, as all are"):
        distributed._stopped()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Four CUDA devices, as far as choosing one goes; gives those that were made the current one
    and refuses what torch refuses.
    """
    current: list[torch.device] = []

    def zeros(n: int, device: torch.device) -> Tensor:
        if device.index is not None and device.index >= 4:
            raise RuntimeError("CUDA error: invalid device ordinal\nand much else")
        return torch.empty(n, device="meta")

    def set_device(device: torch.device) -> None:
        if device.index is None:
            raise ValueError(f"Expected a torch.device with a specified index, but got:{device}")
        current.append(device)

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(torch, "zeros", zeros)
    return current


def test_torch_refuses_a_current_device_without_a_number():
    with pytest.raises(ValueError, match="with a specified index"):  # as `cuda` above does
        torch.cuda.set_device(torch.device("cuda"))


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_cuda_device_has_its_number(cuda, monkeypatch, name):
    with distributed.group(name) as device:
        assert str(device) == "cuda:0"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert str(distributed.pick_device(name)) == "cuda:3"
    with distributed.group("cuda:1") as device:  # what is named is taken
        assert str(device) == "cuda:1"
    assert [str(device) for device in cuda] == ["cuda:0", "cuda:1"]
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(ValueError, match=r"device 'cuda:4': .* invalid device ordinal$"):
        distributed.pick_device(name)


def test_several_processes_meet_on_their_gpus_before_any_work(cuda, monkeypatch):
    met: list[Tensor] = []
    monkeypatch.setattr(distributed.dist, "all_reduce", met.append)
    with distributed.group("cuda"):
        assert not met  # one process has nobody to meet
    monkeypatch.setattr(distributed, "world", lambda: 2)
    with distributed.group("cpu"):
        assert not met
    with distributed.group("cuda"):
        assert len(met) == 1


def test_one_process_is_its_own_group():
    assert (distributed.rank(), distributed.world(), distributed.is_main()) == (0, 1, True)
    assert distributed.shard(7) == slice(0, 7)
    rows = np.arange(3)
    assert distributed.collect(rows, 3) is rows
    t = ranks.batch()
    assert distributed.gather(t) is t
    with distributed.group("cpu") as device:
        assert device.type == "cpu"
        assert distributed.world() == 1


@pytest.mark.parametrize("name", ["loss", "weight", "bias"])
def test_a_gathered_loss_gives_the_gradient_of_the_whole_batch(parts, name):
    # two ranks with half the batch against one with all of it; without `gather` it is another loss
    assert parts["world"] == 2
    whole = ranks.gradients(gathered=True)[name]
    np.testing.assert_allclose(parts[f"with.{name}"], whole, rtol=1e-5, atol=1e-7)
    assert not np.allclose(parts[f"without.{name}"], whole, rtol=1e-2)


@pytest.mark.parametrize("n", [0, 1, 7, 8])
def test_shards_are_all_rows_in_order_and_of_one_size(parts, n):
    np.testing.assert_array_equal(parts[f"rows.{n}"], np.arange(n))
    assert np.ptp(parts[f"sizes.{n}"]) <= 1


@pytest.mark.parametrize("kind", [np.float16, np.uint8, bool])
def test_collected_arrays_keep_kind_and_shape(parts, kind):
    found = parts[f"kind.{kind.__name__}"]
    assert found.dtype == kind
    np.testing.assert_array_equal(found, np.arange(14).reshape(7, 2).astype(kind))


def test_every_rank_follows_the_first(parts):
    np.testing.assert_array_equal(parts["followed"], [96.0, 1.0, 96.0, 1.0])


def test_what_one_rank_alone_has_a_gradient_of_is_averaged_and_the_rest_has_none(parts):
    np.testing.assert_array_equal(parts["uneven"], np.full(4, 0.5))
    assert parts["unused"]


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest difference."""
    return max(float(np.abs(one[name] - value).max()) for name, value in other.items())


def test_two_ranks_learn_what_one_learns(job, said, alone):
    weights, progress = alone
    begin = {name: value.numpy() for name, value in ranks.model().state_dict().items()}
    moved = apart(begin, weights)
    assert moved > 1e-3
    assert apart(load_npz(job / "weights.npz"), weights) < 0.01 * moved
    # rows that know half the batch alone learn something else
    assert apart(load_npz(job / "without.npz"), weights) > 0.1 * moved
    for theirs, mine in zip(said[0]["history"], progress.history, strict=True):
        assert theirs.keys() == mine.keys()
        for name in ("loss", "part_af", "part_ap", "part_cr", "confidence"):
            assert theirs[name] == pytest.approx(mine[name], rel=1e-3, abs=1e-4), name


def test_the_adversarial_views_contrasts_are_those_of_the_whole_batch(job):
    found, whole = load_npz(job / "adversarial.npz"), ranks.adversarial()
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_features_heads_and_the_surest_are_those_of_one_process(job):
    found, alone = load_npz(job / "staged.npz"), ranks.staged()
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    begin = ranks.model(features=1).state_dict()
    moved = max(np.abs(alone[n] - v.numpy()).max() for n, v in begin.items() if n in alone)
    assert moved > 1e-2  # it is no comparison of what was drawn


def test_ranks_train_map_and_attack_a_run_together(said):
    for one in said:
        assert one["commands"] == {"codes": [0, 0, 0], "before": None, "apart": 0.0}


def test_the_first_goes_before_the_others_and_decides(said):
    assert [one["agreed"] for one in said] == [5.0, 5.0]
    assert said[0]["waited"] >= 0.2


def test_all_ranks_keep_the_same_weights(said):
    # of batch statistics each rank has its own; an attacker inside a defence learns from all
    assert said[0]["apart"] == said[0]["defended"] == 0.0


def test_all_ranks_stop_together_with_the_same_error(said):
    for one in said:
        assert one["failing"] == said[0]["failing"]
        assert "epoch 0: loss: expected a finite number, got nan (part drc)" in one["failing"]
        assert one["others"] == (
            "training: expected the same images and settings in every process, got different ones"
        )
        assert one["refused"] == (
            "train.batch: expected a multiple of the 2 processes, got 15 images"
        )


def test_where_one_rank_runs_out_of_memory_all_begin_again_with_half_the_batch(job, said):
    weights, _ = ranks.trained(ranks.model(), config=dataclasses.replace(ranks.LOOP, batch=8))
    begin = {name: value.numpy() for name, value in ranks.model().state_dict().items()}
    assert apart(load_npz(job / "halved.npz"), weights) < 0.01 * apart(begin, weights)
    again = "with a batch of {}: the epoch begins again with {}"
    assert [line.partition("memory on ")[2] for line in said[0]["warned"]] == [
        f"another process {again.format(64, 32)}",
        f"another process {again.format(32, 16)}",
        f"cpu {again.format(16, 8)}",
    ]
    assert said[1]["warned"] == []  # it is said once


def test_ranks_without_memory_for_any_batch_stop_together_and_keep_the_whole_epoch(job, said):
    for one, where in zip(said, ("another process", "cpu"), strict=True):
        assert one["exhausted"] == (
            f"stage 'drc', epoch 1: out of memory on {where} with 4 images in a batch; the last "
            "whole epoch is kept; try another device"
        )
    model = ranks.model()
    progress, _ = load_resume(job / "exhausted", model, model.stages())
    assert [row["epoch"] for row in progress.history] == [0]


def test_scores_and_paths_are_those_of_one_process(job, digits_run, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(digits_run.parent))
    found, expected = load_npz(job / "measured.npz"), ranks.measured()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_killed_rank_ends_the_job_and_one_process_goes_on(job, alone):
    said = (job / "lost.txt").read_text()
    assert said.startswith("process 0 of 2: expected to reach the others, got: ")
    assert "one has ended. The same command, on any number of processes, starts again" in said
    told = []
    resumed = ranks.model()
    weights, progress = ranks.trained(resumed, folder=job / "killed", on_epoch=told.append)
    assert progress.finished
    assert [epoch.epoch for epoch in told] == [ranks.LIMIT + 1]
    assert apart(weights, alone[0]) < 1e-5
