"""A plan fitted into minutes, and what comes of it: rehearsed on the CPU on a few images."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from clustcore import runs
from clustcore.cli.commands import main
from clustcore.datasets import load_samples
from clustcore.experiments import budget, drc, drc_results
from clustcore.experiments.budget import Measured, lay_out
from clustcore.experiments.drc import _some
from clustcore.experiments.recipes import BENCHMARKS
from clustcore.maps.projection import ProjectionConfig
from clustcore.models.drc import DRC
from clustcore.models.weights import load_model
from clustcore.pipeline import assemble, contents, export
from clustcore.training import throughput
from clustcore.training.epoch import TrainConfig, gradients, order
from clustcore.training.throughput import Pace
from clustcore.training.views import AugmentConfig
from tests.experiments.test_drc import draw, place  # noqa: F401
from tests.support.small_recipe import Planes

SHARES = {"features": 0.6, "surest": 0.4}
PLAN = BENCHMARKS["cifar10"]["best"].plan


def measured(eager: float, fast: float | None = None, compiling: float = 0.0) -> Measured:
    """Two stages of 10 steps, the later one twice as slow after a second's beginning."""

    def paces(step: float) -> dict[str, Pace]:
        return {"features": Pace(0.0, step, step), "surest": Pace(1.0, 2 * step, step)}

    ways = {"eager": paces(eager)}
    if fast is not None:
        ways["compiled"] = paces(fast)
    return Measured(ways, heads=20.0, compiling=float(compiling), batches=10, figures={})


def spent(plan, found: Measured, way: str) -> float:
    costs = found.ways[way]
    own = sum(plan.config[name] * costs[name].epoch(found.batches) for name in SHARES)
    return own + found.heads + (found.compiling if way == "compiled" else 0)


@pytest.mark.parametrize("minutes", [2.0, 5.0, 9.0])
def test_the_epochs_fit_and_fill_the_minutes(minutes):
    found = measured(0.1)
    plan = lay_out(PLAN, SHARES, found, minutes)
    assert 0.85 * minutes * 60 < spent(plan, found, "eager") <= 0.95 * minutes * 60
    one = {name: cost.epoch(10) for name, cost in found.ways["eager"].items()}
    shares = {name: plan.config[name] * one[name] for name in SHARES}
    assert shares["features"] / shares["surest"] == pytest.approx(1.5, rel=0.2)
    assert plan.config | dict.fromkeys(SHARES) == PLAN.config | dict.fromkeys(SHARES)


def test_no_more_epochs_than_the_plan_has():
    plan = lay_out(PLAN, SHARES, measured(0.001), 600.0)
    assert plan.config == PLAN.config


@pytest.mark.parametrize(("compiling", "way"), [(10, "compiled"), (400, "eager")])
def test_what_is_compiled_pays_for_it(compiling, way):
    found = measured(0.1, 0.06, compiling)
    plan = lay_out(PLAN, SHARES, found, 9.0)
    assert plan.train["compile"] == (way == "compiled")
    assert spent(plan, found, way) <= 0.95 * 9 * 60


def test_the_same_epochs_are_not_compiled_for_and_what_fits_is_taken():
    found = measured(0.001, 0.0009, 30.0)  # all of the plan fits either way
    assert not lay_out(PLAN, SHARES, found, 600.0).train["compile"]
    found = measured(0.5, 0.4, 110.0)  # compiled, the last stage gets no epoch
    assert not lay_out(PLAN, SHARES, found, 2.6).train["compile"]


@pytest.mark.parametrize("step", [0.5, 0.37, 1.234, 7.77])
def test_too_few_minutes_say_how_many_would_do(step):
    with pytest.raises(ValueError, match=r"--minutes: expected (\S+) or more .*got 0\.3$") as error:
        lay_out(PLAN, SHARES, measured(step), 0.3)
    least = float(str(error.value).split("expected ")[1].split()[0])
    plan = lay_out(PLAN, SHARES, measured(step), least)
    assert min(plan.config[name] for name in SHARES) == 1
    with pytest.raises(ValueError, match="--minutes"):
        lay_out(PLAN, SHARES, measured(step), least - 0.02)


def test_the_pace_is_that_of_steps_that_learn(blobs, monkeypatch):
    # on a clock that each step moves on by one second, and each drawn batch by a quarter
    clock = [0.0]
    real, drawn = gradients, throughput.draw

    def step(*args):
        clock[0] += 1
        return real(*args)

    def draw_views(*args):
        clock[0] += 0.25
        return drawn(*args)

    monkeypatch.setattr(throughput, "gradients", step)
    monkeypatch.setattr(throughput, "draw", draw_views)
    monkeypatch.setattr(throughput.time, "monotonic", lambda: clock[0])
    model = DRC(DRC.Config(clusters=3, width=4, alone=1))
    pixels = (torch.from_numpy(blobs.x) * 255).to(torch.uint8)
    settings = TrainConfig(batch=16, precision="float32")
    job = throughput.training_of(model, pixels, settings, AugmentConfig(), torch.device("cpu"))
    before = model.assign.weight.detach().clone()
    pace = throughput.pace(job, model.stages()[0], 7.0)
    assert pace.resident == 1
    assert pace.step == pytest.approx(1.25, abs=0.03)
    assert not torch.equal(model.assign.weight, before)
    assert pace.epoch(4) == pytest.approx(4 * pace.step)


def test_the_operations_of_a_view_are_those_of_its_layers():
    model = DRC(DRC.Config(clusters=3, width=4, alone=1))
    x = torch.zeros(32, 1, 28, 28, dtype=torch.uint8)
    job = throughput.training_of(
        model, x, TrainConfig(batch=16, precision="float32"), AugmentConfig(), torch.device("cpu")
    )
    found = throughput.flops_of_a_view(job, model.stages()[0])
    # convolutions of 4, 8, 8 and 16 channels at 14, 14, 7 and 7 pixels a side, and the linear
    # layer; twice as much backward, but for the first layer, whose images want no gradient
    layers = [2 * 9 * a * b * s * s for a, b, s in ((1, 4, 14), (4, 8, 14), (8, 8, 7), (8, 16, 7))]
    own = 3 * (sum(layers) + 2 * 16 * 3) - layers[0]
    assert found == pytest.approx(own, rel=0.02)  # the two contrasts are the rest


def test_every_batch_is_one_of_the_loops(blobs):
    model = DRC(DRC.Config(clusters=3, width=4, alone=1))
    pixels = (torch.from_numpy(blobs.x) * 255).to(torch.uint8)
    job = throughput.training_of(
        model, pixels, TrainConfig(batch=16), AugmentConfig(), torch.device("cpu")
    )
    batches = throughput._drawn(job, model.stages()[0])
    ids = [next(batches).ids for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(ids, order(job, 0), strict=True))


def test_smoke_fails_where_a_later_stage_would(monkeypatch):
    plan = dataclasses.replace(
        PLAN, config=PLAN.config | {"backbone": "small"}, train=PLAN.train | {"batch": 16}
    )
    budget.smoke(plan, (3, 32, 32), torch.device("cpu"))

    def broken(*_):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("clustcore.models.drc.extra.weighted", broken)
    with pytest.raises(RuntimeError, match="no such kernel"):
        budget.smoke(plan, (3, 32, 32), torch.device("cpu"))


@pytest.fixture
def few(monkeypatch):
    """Paths of a few samples, a few timed steps, and no UMAP, which compiles for longer."""
    monkeypatch.setattr(throughput, "_MOST", 5)
    fake = ModuleType("umap")
    fake.UMAP = Planes
    monkeypatch.setitem(sys.modules, "umap", fake)
    monkeypatch.setattr(runs, "PATH_SAMPLES", 12)
    monkeypatch.setattr(runs, "FLIP_SAMPLES", 2)
    monkeypatch.setattr(contents, "PATHS", contents.PATHS[:2])
    monkeypatch.setattr(export, "has_umap", lambda: False)


def command(root: Path, out: Path, *more: str) -> list[str]:
    line = "reproduce drc --data cifar10 --plans best --device cpu --quick"
    return [*line.split(), "--root", str(root), "--out", str(out), *more]


@pytest.mark.slow
def test_one_command_tries_times_lays_out_trains_judges_and_brings_all(
    place,  # noqa: F811
    few,
    monkeypatch,
    capsys,
):
    draw(place)
    out = place.parent / "out"
    assert main(command(place, out, "--minutes", "3")) == 0
    said = capsys.readouterr().out
    marks = [
        "learns, saves and opens",  # before an image is read
        "views/s, eager: features",
        "of the peak of products",
        "features 3 epochs, surest 3 epochs",
        "epoch 1 of 7",
        "epoch 7 of 7",
        "ACC",
        "weights, card and history",
        "pgd-pixels-linf",
        "pgd-pixels-l2",
        "smallest flips, linf",
    ]
    places = [said.index(mark) for mark in marks]
    assert places == sorted(places)
    (folder,) = out.iterdir()
    card = runs.read_card(folder)
    assert card.training.stages == {"features": 3, "heads": 1, "surest": 3}
    assert card.stopped is None
    assert load_model(folder).config.backbone == "small"
    figures = json.loads((folder / "throughput.json").read_text())
    assert 0 < figures["of_resident_step"] < 1.5
    assert figures["views_per_s"]["eager"].keys() == SHARES.keys()
    scores = json.loads((folder / "scores.json").read_text())
    (entry,) = drc_results.entries("benchmarks")
    assert scores == entry
    assert scores["weights"] == card.weights_sha256
    assert scores["stages"] == {"features": 3, "heads": 1, "surest": 3}
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert largest <= 15 * 2**20
    # again: all is there
    assert main(command(place, out, "--minutes", "3")) == 0
    assert "epoch 1 of" not in capsys.readouterr().out
    # what came back is made a run elsewhere, where maps are made
    monkeypatch.setenv("DRIFTMAP_RUNS", str(place.parent / "elsewhere"))
    real = assemble.assemble
    small = ProjectionConfig(steps=20, batch=16, width=8, landmarks=8)
    monkeypatch.setattr(assemble, "assemble", lambda *given: real(*given, config=small))
    # the test split of these images is no shipped one
    test = _some(load_samples("cifar10", "test", root=place), 2000)
    monkeypatch.setattr("clustcore.cli.commands.samples_of", lambda *_: test)
    assert main(["assemble", str(folder), "--name", "came"]) == 0
    run = runs.find_run("came")
    assert run.readiness == "ready"
    attacked = {(e.attack, e.norm) for e in run.card.scores.attacked}
    assert ("pgd", "linf") in attacked
    assert len(runs.read_map(run.folder).xy) == 30


@pytest.mark.slow
def test_what_the_clock_stopped_is_judged_and_goes_on(place, few, monkeypatch, capsys):  # noqa: F811
    draw(place)
    out = place.parent / "out"
    monkeypatch.setattr(contents, "PATHS", [])
    late = "clustcore.training.loop._Loop._late"
    monkeypatch.setattr(late, lambda loop: len(loop.progress.history) >= 2)
    monkeypatch.setattr(budget, "smoke", lambda *_: None)
    assert main(command(place, out, "--minutes", "3")) == 0
    assert "stopped; the same command goes on" in capsys.readouterr().out
    (folder,) = out.iterdir()
    assert runs.read_card(folder).stopped == {"after": 2, "of": 7}
    (entry,) = drc_results.entries("benchmarks")
    assert entry["stopped"] == {"after": 2, "of": 7}
    assert entry["acc"] > 0
    assert "stopped after epoch 2 of 7" in drc_results.benchmarks()
    own = runs.folders()[1] / folder.name
    assert not (own / "card.json").is_file()
    monkeypatch.undo()
    monkeypatch.setenv("DRIFTMAP_RUNS", str(own.parent))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(place.parent / "cache"))
    monkeypatch.setattr(drc_results, "RESULTS", place.parent / "drc.json")
    monkeypatch.setattr(throughput, "_MOST", 5)
    monkeypatch.setattr(drc, "export", lambda *_: None)
    assert main(command(place, out, "--minutes", "3")) == 0
    said = capsys.readouterr().out
    assert "epoch 2 of 7" not in said
    assert "epoch 7 of 7" in said
    (entry,) = drc_results.entries("benchmarks")
    assert entry["stopped"] is None
    assert not (own / "stopped").exists()


def test_too_few_minutes_for_an_epoch_are_said_and_nothing_is_trained(place, capsys):  # noqa: F811
    draw(place)
    assert main(command(place, place.parent / "out", "--minutes", "0.02")) == 2
    assert "--minutes: expected " in capsys.readouterr().err
    assert drc_results.entries("benchmarks") == []


def test_trainings_start_from_a_run(place, monkeypatch, capsys):  # noqa: F811
    draw(place)
    monkeypatch.setattr(drc, "export", lambda *_: None)
    assert main(command(place, place.parent / "out")) == 0
    first = runs.folders()[1] / "quick-drc-cifar10-best-seed0"
    shutil.move(first, first.with_name("before"))
    weights = runs.read_card(first.with_name("before")).weights_sha256
    assert main(command(place, place.parent / "out", "--start-from", "before")) == 0
    assert runs.read_card(first).start == {"from": "before", "from_weights": weights}
    capsys.readouterr()
    shutil.copytree(first, first.with_name("other"))
    assert main(command(place, place.parent / "out", "--start-from", "other")) == 2
    assert "start.from_weights: expected" in capsys.readouterr().err
    assert np.isfinite(drc_results.entries("benchmarks")[0]["acc"])
