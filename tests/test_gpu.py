"""What only a GPU can show of the training loop: each branch that is CUDA's alone."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import launched
from clustcore.files import load_npz
from clustcore.models.base import TrainData
from clustcore.models.drc import DRC
from clustcore.pipeline import make as making
from clustcore.pipeline import run as pipeline
from clustcore.runs.plan import Plan
from clustcore.training import loop
from clustcore.training.epoch import Epoch, TrainConfig
from clustcore.training.loop import train
from clustcore.training.resume import RESUME
from clustcore.training.views import AugmentConfig
from tests.conftest import make_blobs
from tests.support import ROOT, ranks
from tests.training.test_loop import Cancel, stepped

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
CONFIG = TrainConfig(batch=64, device=DEVICE, lr=3e-3)


def colours(n: int = 512) -> TrainData:
    blobs = make_blobs(n, side=32, channels=3)
    return TrainData(torch.from_numpy((blobs.x * 255).astype(np.uint8)))


def make(seed: int = 0, **settings: Any) -> DRC:
    torch.manual_seed(seed)
    given = {"clusters": 3, "input_shape": (3, 32, 32), "backbone": "resnet18", "alone": 4}
    model = DRC(DRC.Config(**given | settings))
    stages = model.stages()
    for stage in stages:
        stage.clusters = False  # a few steps find none, and that is no collapse
    model.stages = lambda: stages
    return model


def learned(
    model: DRC, config: TrainConfig = CONFIG, n: int = 512, **options: Any
) -> tuple[dict[str, Tensor], list[Epoch]]:
    told: list[Epoch] = []
    train(model, colours(n), config, AugmentConfig(), on_epoch=told.append, **options)
    return model.state_dict(), told


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The mean difference of the weights: a GPU adds up in no fixed order."""
    pairs = [
        (torch.as_tensor(one[n]).cpu().double(), torch.as_tensor(v).cpu()) for n, v in other.items()
    ]
    return float(torch.cat([(a - b).abs().reshape(-1) for a, b in pairs]).mean())


@pytest.fixture
def optimisers(monkeypatch: pytest.MonkeyPatch) -> list[torch.optim.Optimizer]:
    """The optimisers that a training makes."""
    found: list[torch.optim.Optimizer] = []
    good = loop.optimiser_of

    def kept(job: Any) -> torch.optim.Optimizer:
        found.append(good(job))
        return found[-1]

    monkeypatch.setattr(loop, "optimiser_of", kept)
    return found


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_loss_falls_in_the_numbers_and_the_layout_of_a_gpu(optimisers, precision):
    model = make()
    seen = stepped(model.backbone.layers[4][0].conv1)
    weights, told = learned(model, dataclasses.replace(CONFIG, precision=precision))
    assert set(seen) == {(getattr(torch, precision), True)}
    assert told[-1].parts["af"] < told[0].parts["af"]
    assert told[-1].parts["ap"] < told[0].parts["ap"]
    for value in weights.values():
        assert value.device.type == DEVICE
        assert torch.isfinite(value).all()
        if value.ndim == 4:
            assert value.is_contiguous(memory_format=torch.channels_last)
    (optimiser,) = optimisers
    assert all(group["fused"] for group in optimiser.param_groups)
    for epoch in told:  # steps alone are counted, so that the rate is at least that of all
        assert epoch.views_per_s * epoch.seconds >= 2 * 512 * (1 - 1e-6)
        assert sum(epoch.sizes) == 512


def test_a_training_goes_on_with_the_layout_it_had(tmp_path, optimisers):
    config = dataclasses.replace(CONFIG, precision="float32", lr=1e-4)  # no step is chaotic
    whole, _ = learned(make(backbone="small"), config)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise Cancel

    small = make(backbone="small")
    with pytest.raises(Cancel):
        train(small, colours(), config, AugmentConfig(), folder=tmp_path, on_epoch=stop)
    assert (tmp_path / RESUME).is_file()
    resumed, told = learned(make(seed=9, backbone="small"), config, folder=tmp_path)
    assert [epoch.epoch for epoch in told] == [2, 3]
    assert apart(resumed, whole) < 0.05 * apart(make(backbone="small").state_dict(), whole)
    for parameter, state in optimisers[-1].state.items():
        assert state["step"] == 4 * 512 // 64  # it has those of before
        assert state["exp_avg"].stride() == parameter.stride()


def test_the_compiled_model_learns_stops_and_goes_on_as_the_model_does(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.compiled", DEVICE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["warned"] == []  # the compiler took it
    assert found["sizes"] == [16]
    assert found["losses"][1] == pytest.approx(found["losses"][0], rel=0.05)
    assert found["resumed"] == [3, 4, 5]
    # k-means begins a stage, so that a GPU's roundings may grow
    assert found["from_plain"] < 0.2 * found["moved"]
    assert found["from_whole"] < 0.2 * found["moved"]


def test_a_full_gpu_halves_the_batch_and_goes_on(tmp_path):
    # the real allocator, told to give little more than what a small part of the batch took
    small = dataclasses.replace(CONFIG, batch=64)
    wide = {"backbone": "small", "width": 64, "alone": 2}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    learned(make(**wide), small, n=4096)
    took = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.5 * took / whole))
    try:
        large = dataclasses.replace(CONFIG, batch=4096)
        with pytest.warns(UserWarning, match="out of memory on cuda.* with a batch of"):
            weights, told = learned(make(**wide), large, n=4096, folder=tmp_path)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert 64 <= told[0].batch <= 2048
    assert [epoch.epoch for epoch in told] == [0, 1]
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_run_is_trained_on_a_gpu_and_its_weights_ship_in_half_precision(
    tmp_path, monkeypatch, digits
):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    config = {"width": 8, "dim": 8, "autoencode": 3, "cluster": 2}
    settings = {"device": DEVICE, "lr": 3e-3, "batch": 64}
    plan = Plan("dec", "digits", config, train=settings)
    making.make_run("d", plan, digits)
    there, here = (pipeline.load_run("d", device) for device in (DEVICE, "cpu"))
    assert there.card.training.device.startswith(DEVICE)
    assert there.card.half_precision_moved <= 0.01
    labels = [pipeline.cluster(run.model, digits.x).labels for run in (there, here)]
    assert (labels[0] == labels[1]).mean() >= 0.99


def test_two_gpus_learn_what_one_learns(tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("two CUDA devices are not here")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = launched(
        [sys.executable, *launch, "-m", "tests.support.ranks", str(tmp_path), DEVICE],
        300,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = (tmp_path / "stopped.txt").read_text()
    assert "with 16 images in a batch; the last whole epoch is kept; try --train.batch 8" in said
    assert done.returncode == 1, done.stderr  # and the other one does not wait for ever
    for norm, batch in (("group", 16), ("batch", 16), ("group", 8)):
        alone = ranks.on_device(DEVICE, norm, batch)
        found = load_npz(tmp_path / f"{norm}-{batch}.npz")
        begin = ranks.model(norm=norm).state_dict()
        assert apart(found, alone) < 0.1 * apart(begin, alone), (norm, batch)
