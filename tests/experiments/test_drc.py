"""`reproduce drc` and `reproduce ablation`: from images to the file, and from it to the table."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clustcore import files, runs
from clustcore.cli.commands import main
from clustcore.datasets import cifar, load_samples
from clustcore.defences import DEFENCES
from clustcore.experiments import drc, drc_results, published, recipes, reproduce
from clustcore.experiments.context import Context
from clustcore.experiments.drc import reproduce_ablation, reproduce_defences, reproduce_drc
from clustcore.experiments.recipes import (
    ABLATION,
    BENCHMARKS,
    FEATURES_ABLATION,
    RECIPES,
    Recipe,
    Variant,
    ablation,
)
from clustcore.models import MODELS
from clustcore.registry import lookup
from clustcore.runs.plan import Plan
from clustcore.training.epoch import TrainConfig, TrainingFailed
from clustcore.training.teacher import TeachConfig, Teacher, save_teacher
from clustcore.training.views import AugmentConfig
from tests.conftest import make_blobs


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder for data, and runs and results of its own."""
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(drc_results, "RESULTS", tmp_path / "drc.json")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def draw(root: Path, suffix: str = ".png") -> Path:
    """A folder in CIFAR-10's layout, 9 training and 3 test images of each class, told by colour."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 9), ("test", 3)):
        for label, name in enumerate(cifar.CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.uniform(0, 40, (32, 32, 3))
                pixels[..., label % 3] += 20 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:04}{suffix}")
    return root


def call(root: Path | None, said: list[str] | None = None, **how: Any) -> Context:
    said = [] if said is None else said
    return Context(**{"root": root, "quick": True, "device": "cpu", "report": said.append} | how)


def entry(**values: Any) -> dict[str, Any]:
    about = {"data": "cifar10", "plan": "best", "what": "alone", "mode": "full", "seed": 0}
    about |= {"samples": "cifar10", "split": "train", "n_train": 50000, "judged": "test"}
    about |= {"n": 10000, "nmi": 0.6, "acc": 0.7, "ari": 0.5, "backbone": "resnet18"}
    about |= {"stages": {"drc": 200, "selflabel": 20}, "device": "cuda:0", "minutes": 12.34}
    return about | {"weights": "abc", "views": 20_000_000} | values


# What others published


def test_published_figures_are_shares_of_known_benchmarks():
    assert list(published.METHODS) == [method.name for method in published.METHODS.values()]
    assert set(published.BESIDE) <= set(published.METHODS)
    for method in published.METHODS.values():
        assert method.paper
        assert set(method.figures) <= set(published.BENCHMARKS)
        values = [v for f in method.figures.values() for v in dataclasses.astuple(f)]
        assert all(v is None or 0 <= v <= 1 for v in [*values, *method.mean_acc.values()])
        assert any(v is not None for v in values)


def test_the_best_of_several_runs_exceeds_their_mean():
    means = [
        (m, data, mean) for m in published.METHODS.values() for data, mean in m.mean_acc.items()
    ]
    assert means
    for method, data, mean in means:
        assert method.figures[data].acc > mean


def test_every_benchmark_is_published_and_planned():
    assert list(BENCHMARKS) == list(published.BENCHMARKS)
    assert set(published.METHODS["DRC"].figures) == set(BENCHMARKS)
    for data, plans in BENCHMARKS.items():
        assert list(plans) == list(drc_results.PLANS)
        for recipe in plans.values():
            assert recipe.plan.data == data
            assert not recipe.ships
    assert [*ABLATION, "shipped"] == list(drc_results.SWITCHES)
    assert list(FEATURES_ABLATION) == list(drc_results.FEATURES)


def test_the_rows_of_features_first_have_as_many_views():
    def views(what: str) -> int:  # of 19 whole batches
        config = ablation("cifar10", what).plan.config
        whole = 2 * (config.get("features", 0) + config["alone"]) + 3 * config.get("surest", 0)
        return whole * 19 * 512

    each = [views(what) for what in FEATURES_ABLATION]
    assert max(each) < 1.02 * min(each)
    assert all(
        ablation("cifar10", w).plan.config["backbone"] == "narrow" for w in FEATURES_ABLATION
    )


def test_every_plan_is_one_that_can_be_trained():
    planned = {f"{data} {plan}": r for data, p in BENCHMARKS.items() for plan, r in p.items()}
    for name, recipe in {**RECIPES, **planned}.items():
        plan = recipe.plan
        if plan.defence is None:
            lookup(MODELS, plan.model, "model").Config.from_dict(plan.config, name)
        else:
            lookup(DEFENCES, plan.defence, "defence").Config.from_dict(plan.config, name)
            assert RECIPES[plan.source].plan.data == plan.data
        TrainConfig.from_dict(plan.train, name)
        AugmentConfig.from_dict(plan.augment, name)
        assert Plan.from_dict(json.loads(json.dumps(plan.to_dict())), name) == plan


# The tables


def test_what_was_not_run_is_said(place):
    lines = drc_results.benchmarks().splitlines()
    missing = [line for line in lines if "| not run | not run | not run |" in line]
    assert len(missing) == 12
    (line,) = [line for line in missing if line.startswith("| CIFAR-10 | as published |")]
    assert line.endswith(
        "| 0.621 / 0.727 / 0.547 (mean ACC 0.716) | 0.591 / 0.696 / 0.512 | - / 0.790 / - "
        "| 0.764 / 0.856 / 0.728 | - / 0.883 / - | - / 0.943 / - |"
    )
    assert "| DEC | 0.257 / 0.301 / 0.161 | 0.136 / 0.185 / 0.050 |" in lines[-2]
    assert drc_results.ablation().count("| not run | not run | not run |") == 14


def test_a_measured_row_stands_beside_the_published(place):
    for seed, acc in ((0, 0.7), (1, 0.8)):
        drc_results.save("benchmarks", entry(seed=seed, acc=acc, samples="cifar10-jpeg"))
    text = drc_results.benchmarks()
    assert (
        "| CIFAR-10 (JPEG copy) | best here | 0.600 (0.600 to 0.600) | 0.750 (0.700 to 0.800) "
        "| 0.500 (0.500 to 0.500) | 10,000 (test) | 50,000 (train) | resnet18 | 0, 1 "
        "| drc 200, selflabel 20 | 20.00 M | cuda:0 | 12.3 "
        "| 0.621 / 0.727 / 0.547 (mean ACC 0.716) |"
    ) in text
    assert text.count("not run") == 11 * 3


def test_a_shipped_run_has_a_row_of_its_own(place, tmp_path, monkeypatch):
    monkeypatch.setattr("clustcore.runs.folder.SHIPPED", tmp_path / "shipped")
    row = {"name": "as shipped", "split": "test", "n": 10_000, "seeds": [0]}
    train = {"stages": {"drc": 24}, "device": "cpu", "minutes": 39.04}
    card = {"format": 1, "model": "drc", "config": {}, "defence": None, "train": train}
    card |= {"data": {"name": "cifar10-jpeg", "split": "train", "n": 50_000}}
    card |= {"weights_sha256": "0", "rows": [row | {"acc": 0.4, "nmi": 0.3, "ari": 0.2}]}
    files.write_json(tmp_path / "shipped" / "drc-cifar10" / "card.json", card)
    twin = card | {"defence": {"name": "adversarial_view"}}
    files.write_json(tmp_path / "shipped" / "drc-cifar10-twin" / "card.json", twin)
    (line,) = [v for v in drc_results.benchmarks().splitlines() if "as shipped" in v]
    assert line.startswith(
        "| CIFAR-10 (JPEG copy) | as shipped: `drc-cifar10` | 0.300 | 0.400 | 0.200 "
        "| 10,000 (test) | 50,000 (train) | small | 0 | drc 24 |  | cpu | 39.0 | 0.621 / 0.727"
    )


def test_a_quick_row_takes_no_place_of_a_whole_one(place):
    drc_results.save("benchmarks", entry(mode="quick", n_train=2000))
    text = drc_results.benchmarks()
    assert "| CIFAR-10 | best here, quick: 2,000 images | 0.600 | 0.700 | 0.500 |" in text
    assert text.count("not run") == 12 * 3


def test_a_failed_training_is_shown_as_such(place):
    nothing = {"nmi": None, "acc": None, "ari": None, "device": None, "minutes": None}
    drc_results.save("ablation", entry(data="mnist", samples="mnist", **nothing))
    assert "| mnist | DRC alone | failed | failed | failed |" in drc_results.ablation()
    drc_results.save("ablation", entry(data="mnist", samples="mnist", seed=1))
    assert "| mnist | DRC alone | 0.600 (1 failed) | 0.700 (1 failed)" in drc_results.ablation()


def test_an_entry_takes_the_place_of_its_like_alone(place):
    drc_results.save("benchmarks", entry())
    drc_results.save("ablation", entry(data="mnist"))
    drc_results.save("benchmarks", entry(seed=1))
    drc_results.save("benchmarks", entry(acc=0.9))
    found = drc_results.entries("benchmarks")
    assert [(e["seed"], e["acc"]) for e in found] == [(0, 0.9), (1, 0.7)]
    assert drc_results.entries("ablation") == [entry(data="mnist")]


@pytest.mark.parametrize("text", ["{", '{"benchmarks": []}', '{"benchmarks": [3], "ablation": []}'])
def test_a_damaged_file_is_refused(place, text):
    drc_results.RESULTS.write_text(text)
    with pytest.raises(ValueError, match=r"drc\.json: expected entries in JSON, got "):
        drc_results.entries("benchmarks")


# The benchmarks, end to end


def test_images_to_table_and_the_same_call_again(place):
    draw(place / "cifar10", ".jpg")
    said: list[str] = []
    data = ("cifar10", "stl10")
    assert reproduce_drc(data, tuple(drc_results.PLANS), call(place, said)) == []
    first = drc_results.entries("benchmarks")
    assert [(e["data"], e["plan"], e["mode"]) for e in first] == [
        ("cifar10", "best", "quick"),
        ("cifar10", "published", "quick"),
    ]
    best, whole = first
    assert (best["split"], best["n_train"], best["judged"], best["n"]) == ("train", 90, "test", 30)
    assert (whole["split"], whole["n_train"], whole["judged"], whole["n"]) == ("all", 120) * 2
    for e in first:
        card = runs.read_card(place.parent / "runs" / f"quick-drc-cifar10-{e['plan']}-seed0")
        assert e["weights"] == card.weights_sha256
        assert e["samples"] == "cifar10-jpeg"
        assert e["stages"] == card.training.stages
        assert 0 <= min(e["nmi"], e["acc"]) <= 1
    assert sum(line.startswith("stl10") and "not run: " in line for line in said) == 2
    assert "| CIFAR-10 (JPEG copy) | best here, quick: 90 images |" in drc_results.benchmarks()
    again: list[str] = []
    assert reproduce_drc(data, tuple(drc_results.PLANS), call(place, again)) == []
    assert drc_results.entries("benchmarks") == first
    assert not any("epoch" in line for line in again)


def test_an_interrupted_run_goes_on_and_comes_to_the_same(place, monkeypatch):
    draw(place)  # the root itself
    plans = ("published",)
    reproduce_drc(("cifar10",), plans, call(place))
    (straight,) = drc_results.entries("benchmarks")
    monkeypatch.setenv("DRIFTMAP_RUNS", str(place.parent / "others"))
    drc_results.RESULTS.unlink()

    def stop(line: str) -> None:
        if "epoch 2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce_drc(("cifar10",), plans, call(place, report=stop))
    assert drc_results.entries("benchmarks") == []
    said: list[str] = []
    reproduce_drc(("cifar10",), plans, call(place, said))
    epochs = [line for line in said if "epoch" in line]
    assert len(epochs) == 1
    assert "epoch 3 of 3" in epochs[0]
    (resumed,) = drc_results.entries("benchmarks")
    assert resumed["weights"] == straight["weights"]


def test_a_run_whose_batch_memory_halved_is_as_planned(place):
    draw(place)
    reproduce_drc(("cifar10",), ("best",), call(place))
    folder = place.parent / "runs" / "quick-drc-cifar10-best-seed0"
    card = runs.read_card(folder)

    def with_batch(batch: int) -> list[str]:
        said: list[str] = []
        runs.write_card(folder, card.changed(train={**card.train, "batch": batch}))
        reproduce_drc(("cifar10",), ("best",), call(place, said))
        return said

    assert with_batch(32) == ["quick-drc-cifar10-best-seed0: measured before"]
    with pytest.raises(ValueError, match=r"train\.batch: expected 64 as planned, got 48"):
        with_batch(48)


def test_time_that_is_up_loses_nothing(place):
    draw(place)
    said: list[str] = []
    plans = tuple(drc_results.PLANS)
    assert reproduce_drc(("cifar10",), plans, call(place, said, minutes=1e-9)) == []
    assert drc_results.entries("benchmarks") == []
    assert "the same command goes on" in said[-1]
    reproduce_drc(("cifar10",), plans, call(place))
    assert len(drc_results.entries("benchmarks")) == 2


def test_a_finished_run_on_other_images_is_not_taken_up(place):
    draw(place)
    reproduce_drc(("cifar10",), ("best",), call(place))
    for file in (place / "train").glob("*/0008.png"):
        file.unlink()
    with pytest.raises(ValueError, match=r"data\.n: expected 80 as planned, got 90; move the run"):
        reproduce_drc(("cifar10",), ("best",), call(place))


def test_a_training_that_fails_is_kept_as_failed_and_the_rest_goes_on(place, monkeypatch):
    draw(place)
    trained = drc.train_seed

    def collapse(name: str, *rest: Any, **how: Any) -> str:
        if name.endswith("published"):
            raise TrainingFailed("the clustering has collapsed")
        return trained(name, *rest, **how)

    monkeypatch.setattr(drc, "train_seed", collapse)
    wrong = reproduce_drc(("cifar10",), tuple(drc_results.PLANS), call(place))
    assert wrong == ["drc-cifar10-published, seed 0: the clustering has collapsed"]
    best, failed = drc_results.entries("benchmarks")
    assert best["acc"] is not None
    assert (failed["acc"], failed["why"]) == (None, "the clustering has collapsed")
    monkeypatch.setattr(drc, "world", lambda: 2)  # the others may be training still
    with pytest.raises(TrainingFailed, match="the clustering has collapsed"):
        reproduce_drc(("cifar10",), ("published",), call(place))
    monkeypatch.undo()


def test_a_shipped_test_split_is_judged_on_whatever_the_root_holds(monkeypatch):
    asked, found = [], make_blobs(3)

    def load(name: str, split: str, **where: object):
        asked.append(where)
        return found

    monkeypatch.setattr(reproduce, "load_samples", load)
    context = Context(root=Path("data"), download=True)
    for name, split in (("mnist", "test"), ("mnist", "train"), ("cifar10", "test")):
        reproduce.load_split(name, split, context)
    there = {"root": Path("data"), "download": True}
    assert asked == [{}, there, there]


# The defences


@pytest.mark.slow
def test_the_defences_are_trained_judged_and_laid_side_by_side(place, monkeypatch):
    def some(name: str, split: str, **where: object):
        return load_samples(name, split).take(np.arange(120))

    config = {"width": 4, "alone": 0, "taught": 4, "weight_t": 10.0}
    plan = Plan("drc", "digits", config, train={"batch": 32, "lr": 2e-3}, teach={})
    first = Recipe(plan, ships=False)
    monkeypatch.setattr(recipes, "RECIPES", {"drc-digits": first})
    found = {"drc-digits": first}
    for defence in ("pgd_at", "control"):
        about = {"source": "drc-digits", "defence": defence, "config": {"epochs": 1}}
        on = dataclasses.replace(plan, model=None, teach=None, **about)
        found[f"drc-digits-{defence}"] = Recipe(on, ships=False)
    for module in (reproduce, drc):
        monkeypatch.setattr(module, "RECIPES", found)
    monkeypatch.setattr(reproduce, "load_samples", some)
    monkeypatch.setattr(drc, "DEFENCE_SAMPLES", 24)
    judge = drc.JudgeConfig
    monkeypatch.setattr(drc, "JudgeConfig", lambda n: judge(n=n, steps=5, restarts=1))
    teacher = Teacher(np.arange(120) % 10, 1.0, TeachConfig(seed=0), "digits")
    file = place.parent / "runs" / "teachers" / "digits-0.npz"
    file.parent.mkdir(parents=True)
    save_teacher(file, teacher)
    reproduce_defences("digits", call(None, quick=False))
    entries = drc_results.entries("defences")
    assert [e["defence"] for e in entries] == ["control", "pgd_at"]
    assert entries[0]["undefended"] == entries[1]["undefended"]
    for e in entries:
        card = runs.read_card(place.parent / "runs" / f"drc-digits-{e['defence']}-seed0")
        assert e["defended"]["weights"] == card.weights_sha256
        shares = e["defended"]["by_attack"]
        assert e["defended"]["moved"] >= max(shares.values())
        line = (
            f"| digits | {e['defence']} | 0 | {e['b']:.4f} | 24 | {e['undefended']['moved']:.1%} |"
        )
        assert line in drc_results.defences()
    said: list[str] = []
    reproduce_defences("digits", call(None, said, quick=False))
    assert sum("measured before" in line for line in said) == 2
    with pytest.raises(ValueError, match="unknown data set 'mnist' of the defences; known: digits"):
        reproduce_defences("mnist", call(None))


# The ablation


def test_the_ablation_trains_each_row_once(place, monkeypatch):
    def some(name: str, split: str, **where: object):
        return load_samples(name, split).take(np.arange(120))

    config = {"width": 4, "alone": 0, "taught": 4, "weight_t": 10.0}
    plan = Plan("drc", "digits", config, train={"batch": 32, "lr": 2e-3}, teach={})
    alone = {"alone": Variant("alone", {"taught": 0, "alone": 8})}
    monkeypatch.setitem(RECIPES, "drc-digits", Recipe(plan, alone, ships=False))
    monkeypatch.setattr(reproduce, "load_samples", some)
    teacher = Teacher(np.arange(120) % 10, 1.0, TeachConfig(seed=0), "digits")
    file = place.parent / "runs" / "teachers" / "quick-digits-0.npz"
    file.parent.mkdir(parents=True)
    save_teacher(file, teacher)
    assert reproduce_ablation(("digits",), call(None)) == []
    found = {e["what"]: e for e in drc_results.entries("ablation")}
    assert set(found) == set(drc_results.SWITCHES)
    stages = {what: e["stages"] for what, e in found.items()}
    assert stages["alone"] == stages["ema"] == stages["views"] == {"drc": 6}
    assert stages["longer"] == {"drc": 8}
    assert stages["taught"] == {"drc": 6, "taught": 2}
    assert stages["shipped"] == {"taught": 4}
    for what, e in found.items():
        name = "drc-digits" if what == "shipped" else f"ablation-digits-{what}"
        card = runs.read_card(place.parent / "runs" / f"quick-{name}-seed0")
        assert card.training.stages == e["stages"]
        assert {key: card.config[key] for key in ABLATION.get(what, {})} == ABLATION.get(what, {})
        assert (card.teacher is not None) == (what in ("taught", "shipped"))
    assert len({e["weights"] for e in found.values()}) == len(found)  # each switch does something
    text = drc_results.ablation()
    assert re.search(r"\| digits \| DRC alone, quick: 120 images \| 0\.\d{3} \| 0\.\d{3} \|", text)
    assert text.count("not run") == (2 * 9 + 5) * 3  # of mnist, whole ones, and of CIFAR-10
    again: list[str] = []
    reproduce_ablation(("digits",), call(None, again))
    assert len(again) == 9
    assert all(line.endswith("measured before") for line in again)


# The commands


def test_the_command_prints_the_table_and_absent_data_are_no_error(place, capsys):
    draw(place)
    argv = ["reproduce", "drc", "--root", str(place), "--quick", "--plans", "best"]
    argv += ["--device", "cpu", "--data", "cifar10", "stl10"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "stl10, best here: not run: " in " ".join(out.split())
    assert "| CIFAR-10 | best here, quick: 90 images |" in out
    assert "| STL-10 | best here | not run |" in out
    assert json.loads(drc_results.RESULTS.read_text())["ablation"] == []


def test_damaged_data_are_an_error_and_the_rest_goes_on(place, capsys):
    draw(place)
    (place / "stl10").mkdir()
    argv = ["reproduce", "drc", "--root", str(place), "--quick", "--plans", "best"]
    assert main([*argv, "--device", "cpu", "--data", "stl10", "cifar10"]) == 2
    captured = capsys.readouterr()
    assert "clustcore reproduce: stl10: " in captured.err
    assert "| CIFAR-10 | best here, quick: 90 images |" in captured.out
    assert main(["reproduce", "drc", "--root", str(place / "nowhere")]) == 2
    assert "nowhere: expected a folder that holds data" in capsys.readouterr().err
