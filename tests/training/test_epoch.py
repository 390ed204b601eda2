"""What an epoch costs and leaves: memory that runs out, snapshots, the compiled model, views."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from clustcore.files import load_npz
from clustcore.models.base import Loss
from clustcore.models.dec import DEC
from clustcore.models.drc import DRC
from clustcore.training import epoch as epochs
from clustcore.training import loop
from clustcore.training.epoch import (
    Snapshot,
    TrainConfig,
    TrainingFailed,
    choose_precision,
    seed_of,
)
from clustcore.training.loop import train
from clustcore.training.resume import (
    KEPT,
    RESUME,
    SNAPSHOTS,
    drop_resume,
    load_resume,
    save_snapshot,
)
from clustcore.training.views import AugmentConfig
from tests.training.test_loop import CONFIG, Cancel, data, make


def weights_after(model: DEC, config: TrainConfig = CONFIG, **options) -> dict[str, torch.Tensor]:
    train(model, data(), config, AugmentConfig(), **options)
    return model.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def short_of_memory(model: DEC, largest: int, after: int = 2) -> DEC:
    """The model, whose losses find no memory for more images than so many, from a step on."""
    stages, calls = model.stages(), [0]
    for stage in stages:
        good = stage.loss

        def poor(views, state, good=good):
            calls[0] += 1
            if len(views.ids) > largest and calls[0] > after:
                raise torch.OutOfMemoryError("no memory")
            return good(views, state)

        stage.loss = poor
    model.stages = lambda: stages
    return model


def test_an_epoch_begins_again_with_half_the_batch_where_memory_runs_out(tmp_path):
    small = weights_after(make(), dataclasses.replace(CONFIG, batch=4))
    told, model = [], short_of_memory(make(), 4)
    with pytest.warns(UserWarning, match="out of memory on cpu with a batch of") as warned:
        found = weights_after(model, folder=tmp_path, on_epoch=told.append)
    assert [str(w.message).split("again with ")[1] for w in warned] == ["8", "4"]
    # two steps had been made with 16 images: nothing of them is left
    assert same(found, small)
    assert {epoch.batch for epoch in told} == {4}
    with (tmp_path / "history.csv").open() as file:
        assert [row["batch"] for row in csv.DictReader(file)] == ["4"] * 6
    progress, _ = load_resume(tmp_path, model, model.stages())
    assert progress.batch == 4


def test_a_resumed_run_keeps_the_batch_that_found_memory(tmp_path):
    def stop(epoch):
        raise Cancel

    with pytest.warns(UserWarning, match="again with 8"), pytest.raises(Cancel):
        weights_after(short_of_memory(make(), 8), folder=tmp_path, on_epoch=stop)
    told = []
    weights_after(make(), folder=tmp_path, on_epoch=told.append)
    assert {epoch.batch for epoch in told} == {8}


def test_no_memory_for_two_images_stops_with_a_reason():
    model = short_of_memory(make(), 1, after=0)
    config = dataclasses.replace(CONFIG, batch=4)
    with (
        pytest.warns(UserWarning, match="again with 2"),
        pytest.raises(
            TrainingFailed,
            match="'autoencode', epoch 0: out of memory on cpu with 2 images in a batch",
        ),
    ):
        weights_after(model, config)


def test_where_torch_shares_batch_statistics_no_memory_ends_the_job_and_says_what_to_do(
    monkeypatch,
):
    # the others wait in an exchange of torch's own, where they cannot be told
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(make())
    monkeypatch.setattr(loop, "world", lambda: 2)
    with pytest.raises(TrainingFailed, match=r"with 16 images .* is kept; try --train.batch 8$"):
        weights_after(short_of_memory(model, 1))


@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_the_faster_precision_is_kept_and_said_and_nothing_is_changed(monkeypatch, faster):
    # the clock is the test's own: a step of the slower precision takes twice as long on it
    clock, seen = [0.0], []
    model = DRC(DRC.Config(width=4, views=2, surest=1, alone=0))
    (stage,) = model.stages()
    job = epochs.Training(model, data(), TrainConfig(batch=16), AugmentConfig(), [model], 16)
    stage.state = stage.begin(job.data, 0, {})
    real = epochs.gradients

    def timed(*args):
        seen.append(job.precision)
        clock[0] += 1 if job.precision == faster else 2
        return real(*args)

    monkeypatch.setattr(epochs, "gradients", timed)
    monkeypatch.setattr(epochs.time, "monotonic", lambda: clock[0])
    before = {n: v.clone() for n, v in [*model.state_dict().items(), *stage.state.items()]}
    said = choose_precision(job, stage, 0)
    slower = "float32" if faster == "bfloat16" else "bfloat16"
    assert job.precision == faster
    expected = f"precision: {faster}, 1 s a step of 16 images; {slower} takes 2 s on this device"
    assert said == expected
    assert seen == ["float32"] * 3 + ["bfloat16"] * 3
    after = dict([*model.state_dict().items(), *stage.state.items()])
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("device", ["cpu", "none"])
def test_short_epochs_are_not_all_looked_at_and_learn_the_same(monkeypatch, tmp_path, device):
    # as on a GPU, where a look would take longer than the share of the time it may have
    def learned(folder, looking):
        monkeypatch.setattr(epochs, "_DIAGNOSING", looking)
        told, model = [], DRC(DRC.Config(width=4, alone=4, features=3, clusters=3))
        stages = model.stages()
        for stage in stages:
            stage.clusters = False
        model.stages = lambda: stages
        torch.manual_seed(0)
        for value in model.parameters():
            torch.nn.init.normal_(value, std=0.2)
        train(model, data(), CONFIG, AugmentConfig(), folder=folder, on_epoch=told.append)
        files = sorted(int(file.stem) for file in (folder / SNAPSHOTS).glob("*.npz"))
        return model.state_dict(), told, files

    looks = []
    real = epochs.diagnose
    monkeypatch.setattr(epochs, "diagnose", lambda *args: looks.append(args[2]) or real(*args))
    some, told, files = learned(tmp_path / "some", {device: 1e-12})
    assert looks == files == ([0, 2, 6] if device == "cpu" else list(range(7)))
    every, all_told, _ = learned(tmp_path / "every", {})
    assert same(some, every)
    for epoch in looks:
        if epoch in files:
            assert told[epoch].sizes == all_told[epoch].sizes
    assert [epoch.loss for epoch in told] == [epoch.loss for epoch in all_told]


def test_a_precision_that_is_much_slower_is_not_timed_again(monkeypatch):
    clock, seen = [0.0], []
    model = DRC(DRC.Config(width=4, alone=1))
    job = epochs.Training(model, data(), TrainConfig(batch=16), AugmentConfig(), [model], 16)

    def timed(*_):
        seen.append(job.precision)
        clock[0] += 1 if job.precision == "float32" else 9

    monkeypatch.setattr(epochs, "gradients", timed)
    monkeypatch.setattr(epochs.time, "monotonic", lambda: clock[0])
    choose_precision(job, model.stages()[0], 0)
    assert (job.precision, seen) == ("float32", ["float32"] * 3 + ["bfloat16"])


@pytest.mark.parametrize("lost", [False, True])
def test_what_lies_beyond_the_resume_state_is_removed(tmp_path, monkeypatch, lost):
    def stop(epoch):
        if epoch.epoch == 1:
            raise Cancel

    with pytest.raises(Cancel):
        weights_after(make(), folder=tmp_path, on_epoch=stop)
    # as a machine leaves it that lost power two epochs later
    history, place = tmp_path / "history.csv", tmp_path / SNAPSHOTS
    lines = history.read_text().splitlines()
    history.write_text("\n".join([*lines, lines[-1], lines[-1], ""]))
    for later in ("00002", "00003"):
        (place / f"{later}.npz").write_bytes((place / "00001.npz").read_bytes())
    if lost:
        (tmp_path / RESUME).unlink()

    def fail(*_):
        raise Cancel

    monkeypatch.setattr(loop, "run_epoch", fail)
    with pytest.raises(Cancel):
        weights_after(make(), folder=tmp_path)
    assert sorted(file.stem for file in place.glob("*")) == ([] if lost else ["00000", "00001"])
    assert not history.exists() if lost else history.read_text().splitlines() == lines


def test_ranks_draw_differently_and_the_first_as_if_it_were_alone(monkeypatch):
    def drawn(seed: int) -> torch.Tensor:
        return torch.rand(8, generator=torch.Generator().manual_seed(seed))

    assert seed_of(3, 5) == 3 * 1_000_003 + 5
    draws = []
    for rank in range(4):
        monkeypatch.setattr("clustcore.training.epoch.rank", lambda rank=rank: rank)
        draws.append(drawn(seed_of(3, 5)))
    assert len({tuple(draw.tolist()) for draw in draws}) == 4


def test_a_time_limit_and_a_later_call_make_the_same_weights(tmp_path, monkeypatch):
    whole = weights_after(make())
    calls = iter([False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(loop._Loop, "_late", lambda self: next(calls))
        progress = train(make(), data(), CONFIG, AugmentConfig(), folder=tmp_path)
    assert not progress.finished
    assert len(progress.history) == 2
    assert same(weights_after(make(seed=9), folder=tmp_path), whole)


@pytest.mark.parametrize(("every", "epochs"), [(1, range(6)), (4, (0, 4)), (0, ())])
def test_snapshots_hold_what_the_diagnostics_see(tmp_path, every, epochs):
    model, told = make(), []
    config = dataclasses.replace(CONFIG, snapshots=every)
    weights_after(model, config, folder=tmp_path, on_epoch=told.append)
    files = sorted((tmp_path / SNAPSHOTS).glob("*"))
    assert [file.name for file in files] == [f"{epoch:05d}.npz" for epoch in epochs]
    for file in files:
        found = load_npz(file)
        assert (found["z"].dtype, found["z"].shape) == (np.float16, (64, 4))
        assert (found["labels"].dtype, found["rows"].dtype) == (np.uint8, np.int64)
        np.testing.assert_array_equal(found["rows"], np.arange(64))
        sizes = np.bincount(found["labels"], minlength=3)
        assert tuple(sizes) == told[int(found["epoch"])].sizes
    drop_resume(tmp_path)
    assert not (tmp_path / RESUME).exists()
    assert not (tmp_path / SNAPSHOTS).exists()


def test_of_many_images_about_two_thousand_are_looked_at_and_of_many_snapshots_some_stay(tmp_path):
    model, config = make(), dataclasses.replace(CONFIG, batch=2050)
    first = model.stages()[0]
    model.stages = lambda: [dataclasses.replace(first, epochs=1)]
    train(model, data(4100), config, AugmentConfig(), folder=tmp_path)
    assert len(load_npz(tmp_path / SNAPSHOTS / "00000.npz")["rows"]) == 2050
    rows, z = np.arange(2), np.zeros((2, 1), np.float16)
    snapshot = Snapshot(rows, z, np.ones((2, 1), np.float32), np.zeros(2, np.uint8))
    for epoch in range(KEPT + 5):
        save_snapshot(tmp_path, epoch, snapshot)
    names = sorted(file.stem for file in (tmp_path / SNAPSHOTS).glob("*.npz"))
    assert names == [f"{epoch:05d}" for epoch in range(5, KEPT + 5)]


def test_the_compiled_model_is_used_in_the_steps_and_put_away(monkeypatch):
    calls = []

    def counted(embed):
        def call(x):
            calls.append(len(x))
            return embed(x)

        return call

    monkeypatch.setattr(torch, "compile", counted)
    model = make()
    found = weights_after(model, dataclasses.replace(CONFIG, compile=True))
    assert set(calls) == {16}
    assert "embed" not in vars(model)
    assert same(found, weights_after(make()))


def test_training_goes_on_without_a_compiler(monkeypatch):
    def broken(embed):
        def call(x):
            raise RuntimeError("no compiler here\nand more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match="compile: no compiler here; training goes on") as warned:
        found = weights_after(make(), dataclasses.replace(CONFIG, compile=True))
    assert len(warned) == 1
    assert same(found, weights_after(make()))


def test_a_model_gets_the_views_it_asks_for_and_their_rate_is_told():
    torch.manual_seed(0)
    model = DRC(DRC.Config(clusters=3, width=4, alone=1, views=4))
    seen, told = [], []
    (only,) = model.stages()
    only.clusters = False

    def count(views, state):
        seen.append((len(views.more), torch.equal(views.more[0], views.second)))
        z = model.embed(views.first)
        return Loss(z.square().mean(), {})

    only.loss = count
    model.stages = lambda: [only]
    train(model, data(), CONFIG, AugmentConfig(), on_epoch=told.append)
    assert set(seen) == {(2, False)}
    assert told[0].views_per_s > 0
    assert told[0].row()["views_per_s"] == round(told[0].views_per_s)


def test_batch_statistics_of_all_ranks_leave_no_trace(monkeypatch):
    # the layers are torch's own only for the length of the block, with the same tensors
    model = DRC(DRC.Config(clusters=3, width=4))
    names, layers = list(model.state_dict()), list(model.modules())
    monkeypatch.setattr(loop, "world", lambda: 2)
    with loop._synchronised(model, torch.device("cuda")):
        inside = [m for m in model.modules() if isinstance(m, torch.nn.SyncBatchNorm)]
        assert len(inside) == 4
        assert list(model.state_dict()) == names
        inside[0].weight.data.fill_(3)
        inside[0].running_mean.fill_(2)
    assert list(model.modules()) == layers
    first = next(m for m in layers if isinstance(m, torch.nn.BatchNorm2d))
    assert first.weight[0] == 3
    assert first.running_mean[0] == 2
    with loop._synchronised(model, torch.device("cpu")):
        assert list(model.modules()) == layers


@pytest.mark.gpu  # with the compiler: tests/test_gpu.py
def test_a_gpu_learns_stops_and_goes_on(tmp_path: Path):
    config = TrainConfig(batch=16, device="cuda", lr=3e-3, precision="float32")
    whole = weights_after(make(), config)
    told = []

    def stop(epoch):
        told.append(epoch)
        if epoch.epoch == 2:
            raise Cancel

    with pytest.raises(Cancel):
        weights_after(make(), config, folder=tmp_path, on_epoch=stop)
    resumed = weights_after(make(seed=9), config, folder=tmp_path, on_epoch=told.append)
    assert [epoch.epoch for epoch in told] == list(range(6))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-2, atol=1e-3)
