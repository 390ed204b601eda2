"""DRC's two tables: `python -m clustcore reproduce drc | ablation`.

The first trains DRC on its six benchmarks, as published and as serves best here, and lays what came
of it beside what others published. The second adds DRC's optional stages and switches one at a time
to DRC alone. Each finished run is written to `assets/drc.json` at once, from which `reproduce
tables` makes the tables of RESULTS.md; a call that was interrupted goes on where it stood.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clustcore import drc_results, runs
from clustcore.datasets import data_folder, load_samples
from clustcore.distributed import agreed, collect, first_main, main, world
from clustcore.drc_results import PLANS, SWITCHES
from clustcore.pipeline import evaluate, load_run
from clustcore.recipes import BENCHMARKS, Recipe, ablation
from clustcore.reproduce import load_split, run_name, train_seed
from clustcore.train import TrainingFailed
from clustcore.types import Samples

QUICK = 2_000  # images that a quick call of `reproduce drc` learns from, and is judged on
QUICK_ABLATION = 10_000  # training images of a quick ablation
_QUICK_CONFIG = {"backbone": "small", "alone": 3}
_QUICK_TRAIN = {"batch": 64, "lr": 1e-3}
_FIGURES = ("nmi", "acc", "ari")
_STAGES = ("taught", "relabelled", "selflabel")


@dataclass(frozen=True, kw_only=True)
class Call:
    """How a command was called.

    `quick` learns from a part of the images, which the entry says; `minutes` is for all of the
    call together (0: no limit).
    """

    root: Path | None = None
    download: bool = False
    seeds: tuple[int, ...] = (0,)
    quick: bool = False
    minutes: float = 0.0
    device: str = "auto"
    report: Callable[[str], None] = print
    began: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Minutes that are left; 0 where there is no limit, below 0 where none are left."""
        if not self.minutes:
            return 0.0
        left = self.minutes - (time.monotonic() - self.began) / 60
        return left or -1.0


def reproduce_drc(data: tuple[str, ...], plans: tuple[str, ...], call: Call) -> list[str]:
    """Train what is missing of the benchmarks, judge it, and put one entry a data set, plan and
    seed into the file.

    Data that are not there are said, with the layout in which they are expected, and left out.

    Args:
        data: entries of BENCHMARKS.
        plans: of PLANS; `published` is PICA's protocol with DRC's literal losses.

    Returns:
        What went wrong: trainings that diverged or collapsed, a data set's own folder that cannot
        be read. The rest was done nevertheless.

    Raises:
        ValueError: an unknown data set or plan, no such root, or a run made otherwise than planned.
    """
    _check(data, BENCHMARKS, "benchmark")
    _check(plans, PLANS, "plan")
    if call.root is not None and not call.root.is_dir():
        raise ValueError(f"{call.root}: expected a folder that holds data, got no such folder")
    wrong = []
    for name in data:
        for plan in plans:
            recipe = _quick(BENCHMARKS[name][plan]) if call.quick else BENCHMARKS[name][plan]
            found, error = _samples(name, recipe.plan.data["split"], call)
            if error is not None:
                call.report(f"{name}, {PLANS[plan]}: not run: {error}")
                wrong += [f"{name}: {error}"] if _place(name, call).is_dir() else []
                continue
            train, test = found
            about, label = {"data": name, "plan": plan}, f"drc-{name}-{plan}"
            row = _Row("benchmarks", about, label, recipe, train, test)
            if not _seeds(row, call, wrong):
                return wrong
    return wrong


def reproduce_ablation(data: tuple[str, ...], call: Call) -> list[str]:
    """Train what is missing of the ablation, judge it on the test images, and put one entry a row
    and seed into the file.

    Returns:
        What went wrong: trainings that diverged or collapsed. The rest was done nevertheless.

    Raises:
        ValueError: an unknown data set, one that is not there, or a run made otherwise than
            planned.
    """
    wrong: list[str] = []
    for name in data:
        recipes = {what: ablation(name, what) for what in SWITCHES}
        train = load_split(name, "train", call.root, call.download)
        test = load_split(name, "test", call.root, call.download)
        if call.quick:
            train = _some(train, QUICK_ABLATION)
        for what, recipe in recipes.items():
            label = f"drc-{name}" if what == "shipped" else f"ablation-{name}-{what}"
            row = _Row("ablation", {"data": name, "what": what}, label, recipe, train, test)
            if not _seeds(row, call, wrong):
                return wrong
    return wrong


@dataclass(frozen=True)
class _Row:
    """A row of a table: its place in the file, and what is trained and judged for it."""

    part: str
    about: dict[str, Any]
    name: str
    recipe: Recipe
    train: Samples
    test: Samples


def _seeds(row: _Row, call: Call, wrong: list[str]) -> bool:
    """Train and judge each seed of a row, and add to `wrong` what failed; False where the time was
    up first.
    """
    name, recipe, train = row.name, row.recipe, row.train
    for seed in call.seeds:
        # one clock for all processes, which wait here until the first has written its file
        left = agreed(call.left())
        if left < 0:
            call.report(f"{name}, seed {seed}: the time is up; the same command goes on")
            return False
        entry = row.about | {"seed": seed} | _about(row, call)
        label = run_name(name, seed, call.quick)
        card_file = runs.folders()[1] / label / "card.json"
        trained_here = not card_file.is_file()
        try:
            train_seed(
                name, recipe, {}, seed, train, call.device, call.report, None, call.quick, left
            )
        except TrainingFailed as error:
            call.report(f"{name}, seed {seed}: {error}")
            wrong.append(f"{name}, seed {seed}: {error}")
            nothing = dict.fromkeys((*_FIGURES, "clusters_used", "device", "minutes", "weights"))
            _keep(row.part, entry | nothing | {"why": str(error)})
            if world() > 1:  # it may be this process's own failure: the others could still train
                raise
            continue
        if not card_file.is_file():
            call.report(f"{label}: stopped; the same command goes on")
            return False
        card = runs.read_card(card_file.parent)
        _check_data(card_file.parent, card, train)
        weights = [e["weights"] for e in drc_results.entries(row.part)]
        if agreed(card["weights_sha256"] in weights):
            call.report(f"{label}: measured before")
            continue
        _keep(row.part, entry | _measure(label, card, row.test, trained_here, call))
    return True


def _keep(part: str, entry: dict[str, Any]) -> None:
    if main():
        drc_results.keep(part, entry)


def _about(row: _Row, call: Call) -> dict[str, Any]:
    """What is known of an entry before its training."""
    config, train, test = row.recipe.plan.config, row.train, row.test
    stages = {"drc": config["alone"]} | {stage: config.get(stage, 0) for stage in _STAGES}
    return {
        "mode": "quick" if call.quick else "full",
        "samples": train.name,
        "split": train.split,
        "n_train": len(train),
        "judged": test.split,
        "n": len(test),
        "backbone": config.get("backbone", "small"),
        "lr": row.recipe.plan.train["lr"],
        "stages": {stage: epochs for stage, epochs in stages.items() if epochs},
    }


def _measure(
    label: str, card: dict[str, Any], test: Samples, trained_here: bool, call: Call
) -> dict[str, Any]:
    scores = evaluate(load_run(label, call.device).model, test)
    device = card["train"]["device"]
    if trained_here and device.startswith("cuda"):  # which GPU, the card does not say
        device = f"{device}, {torch.cuda.get_device_name(device)}"
    figures = {name: getattr(scores, name) for name in _FIGURES}
    said = ", ".join(f"{name.upper()} {value:.3f}" for name, value in figures.items())
    call.report(f"{label}: {said}, n = {len(test)}")
    return figures | {
        "clusters_used": scores.clusters_used,
        "device": device,
        "minutes": card["train"]["minutes"],
        "weights": card["weights_sha256"],
    }


def _place(name: str, call: Call) -> Path:
    return (call.root or data_folder()) / name


def _samples(
    name: str, split: str, call: Call
) -> tuple[tuple[Samples, Samples] | None, Exception | None]:
    """What to train on and what to judge on, or why there is none: the same in every process."""
    found, error = None, None
    try:
        found = first_main(lambda: _read(name, split, call))
    except (ValueError, OSError) as caught:
        error = caught
    if collect(np.array([error is not None]), world()).any():
        found, error = None, error or ValueError("another process could not read it")
    return found, error


def _read(name: str, split: str, call: Call) -> tuple[Samples, Samples]:
    download = call.download and main()
    train = load_samples(name, split, root=call.root, download=download)
    test = train
    if split == "train":
        test = load_samples(name, "test", root=call.root, download=download)
    if call.quick:
        train, test = _some(train, QUICK), _some(test, QUICK)
    return train, test


def _some(samples: Samples, n: int) -> Samples:
    """No more than n of them, drawn without labels."""
    rows = np.random.default_rng(0).permutation(len(samples))[:n]
    return samples.take(np.sort(rows))


def _quick(recipe: Recipe) -> Recipe:
    """The same losses and stages on the small backbone, for a few epochs."""
    plan = recipe.plan
    config = plan.config | _QUICK_CONFIG
    config |= {stage: 1 for stage in _STAGES if plan.config.get(stage)}
    plan = dataclasses.replace(plan, config=config, train=plan.train | _QUICK_TRAIN)
    return dataclasses.replace(recipe, plan=plan)


def _check(names: tuple[str, ...], known: dict[str, Any], what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; known: {', '.join(known)}")


def _check_data(folder: Path, card: dict[str, Any], samples: Samples) -> None:
    """A finished run counts only where it learned from these images."""
    planned = {"name": samples.name, "split": samples.split, "n": len(samples)}
    for key, value in planned.items():
        if card["data"].get(key) != value:
            raise ValueError(
                f"{folder}: data.{key}: expected {value!r} as planned, got "
                f"{card['data'].get(key)!r}; move the run away to have it made anew"
            )
