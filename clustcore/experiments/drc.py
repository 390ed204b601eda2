"""DRC's two tables: `python -m clustcore reproduce drc | ablation`.

The first trains DRC on its six benchmarks, as published and as serves best here, and lays what came
of it beside what others published. The second adds DRC's optional stages and switches one at a time
to DRC alone. Each finished run is written to `assets/drc.json` at once, from which `reproduce
tables` makes the tables of RESULTS.md; a call that was interrupted goes on where it stood.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clustcore import files, runs
from clustcore.datasets import data_folder, load_samples
from clustcore.distributed import agreed, collect, first_main, is_main, pick_device, world
from clustcore.experiments import drc_results
from clustcore.experiments.budget import lay_out, measure, smoke
from clustcore.experiments.drc_results import PLANS, rows_of
from clustcore.experiments.judge import JudgeConfig, pair
from clustcore.experiments.recipes import ABLATION_IMAGES, BENCHMARKS, RECIPES, Recipe, ablation
from clustcore.experiments.reproduce import STOPPED, load_split, run_name, train_seed
from clustcore.machine import describe
from clustcore.pipeline.export import export
from clustcore.pipeline.run import evaluate, load_run, run_in
from clustcore.runs import Card
from clustcore.training.epoch import TrainingFailed
from clustcore.types import Samples

QUICK = 2_000  # images that a quick call of `reproduce drc` learns from, and is judged on
QUICK_ABLATION = 10_000  # training images of a quick ablation
DEFENCE_SAMPLES = 200  # that each defended model is attacked on, with every search there is
_QUICK_EPOCHS = 3  # of a stage, at most
_QUICK_CONFIG = {"backbone": "small", "head_steps": 200}
_QUICK_TRAIN = {"batch": 64, "lr": 1e-3, "optimiser": "adam"}
_SIDES = {"stl10": 96, "imagenet": 96, "tiny-imagenet": 64}  # pixels; of all others 32
_FIGURES = ("nmi", "acc", "ari")
# of DRC's config, in epochs
_STAGES = ("features", "alone", "taught", "relabelled", "selflabel", "surest")
LAYOUT = "layout.json"  # in a run's folder: the epochs that fitted the minutes


@dataclass(frozen=True, kw_only=True)
class Call:
    """How a command was called.

    `quick` learns from a part of the images, which the entry says; `minutes` is for all of the
    call's trainings together (0: no limit). With `out`, what came of each run is copied there in
    files that are small enough to travel, each as soon as it is known. `start` names a run whose
    weights trainings start from.
    """

    root: Path | None = None
    download: bool = False
    seeds: tuple[int, ...] = (0,)
    quick: bool = False
    minutes: float = 0.0
    device: str = "auto"
    out: Path | None = None
    start: str | None = None
    report: Callable[[str], None] = print
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if not 0 <= self.minutes < float("inf"):
            raise ValueError(f"--minutes: expected 0 or more, got {self.minutes}")

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
            if _is_timed(recipe, call):
                side = next((s for data, s in _SIDES.items() if name.startswith(data)), 32)
                device = pick_device(call.device)
                smoke(recipe.plan, (3, side, side), device)
                call.report(f"{name}, {PLANS[plan]}: {describe(device)}: learns, saves and opens")
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
        recipes = {what: ablation(name, what) for what in rows_of(name)}
        train = load_split(name, "train", call.root, call.download)
        test = load_split(train.name, "test", call.root, call.download)  # of JPEG files, theirs
        most = QUICK_ABLATION if call.quick else len(train)
        train = _some(train, min(most, ABLATION_IMAGES.get(name, most)))
        for what, recipe in recipes.items():
            label = f"drc-{name}" if what == "shipped" else f"ablation-{name}-{what}"
            row = _Row("ablation", {"data": name, "what": what}, label, recipe, train, test)
            if not _seeds(row, call, wrong):
                return wrong
    return wrong


def reproduce_defences(data: str, call: Call) -> None:
    """Train the defences of a data set's shipped DRC run, judge each beside it at the budget at
    which half of the undefended one's samples have moved, and put one entry a defence and seed into
    the file. What was measured of the same weights is left.

    Raises:
        ValueError: a data set whose run has no defence, one that is not there, or a run made
            otherwise than planned.
    """
    source = f"drc-{data}"
    recipes = {n: r for n, r in RECIPES.items() if r.defended and r.defended.source == source}
    if not recipes:
        known = {r.defended.source for r in RECIPES.values() if r.defended}
        names = ", ".join(sorted(n.removeprefix("drc-") for n in known if n.startswith("drc-")))
        raise ValueError(f"unknown data set {data!r} of the defences; known: {names}")
    train = load_split(data, "train", call.root, call.download)
    test = load_split(train.name, "test", call.root, call.download)
    config = JudgeConfig(n=DEFENCE_SAMPLES)
    for seed in call.seeds:
        for name, recipe in recipes.items():
            label = train_seed(name, recipe, {}, seed, train, call.device, call.report)
            two = [load_run(n, call.device) for n in (run_name(source, seed), label)]
            weights = [run.card.weights_sha256 for run in two]
            known = [
                [e[part]["weights"] for part in ("undefended", "defended")]
                for e in drc_results.entries("defences")
            ]
            if weights in known:
                call.report(f"{label}: measured before")
                continue
            found = pair(*two, test, config)
            about = {"data": data, "samples": test.name, "defence": recipe.defended.defence}
            _keep("defences", about | {"seed": seed} | found)
            moved = found["defended"]["moved"]
            call.report(f"{label}: {moved:.1%} of {found['n']} moved at L-inf {found['b']:.4f}")


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
        label = run_name(name, seed, call.quick)
        folder = runs.folders()[1] / label
        timed = _is_timed(row.recipe, call) and not (folder / LAYOUT).is_file()
        if left < 0 and not timed:  # else it is said how many minutes would do
            call.report(f"{name}, seed {seed}: the time is up; the same command goes on")
            return False
        recipe = _fitted(row, folder, call)
        left = agreed(call.left())  # what was timed took some
        entry = row.about | {"seed": seed} | _about(dataclasses.replace(row, recipe=recipe), call)
        start = None if call.start is None else load_run(call.start, "cpu")
        try:
            train_seed(
                name,
                recipe,
                {},
                seed,
                train,
                call.device,
                call.report,
                quick=call.quick,
                minutes=max(left, 1e-3) if call.minutes else 0.0,
                start=start,
            )
        except TrainingFailed as error:
            call.report(f"{name}, seed {seed}: {error}")
            wrong.append(f"{name}, seed {seed}: {error}")
            nothing = dict.fromkeys((*_FIGURES, "clusters_used", "device", "minutes", "weights"))
            _keep(row.part, entry | nothing | {"why": str(error)})
            if world() > 1:  # it may be this process's own failure: the others could still train
                raise
            continue
        whole = (folder / "card.json").is_file()
        if not whole:
            call.report(f"{label}: stopped; the same command goes on")
            folder /= STOPPED
            if not (folder / "card.json").is_file():
                return False
        card = runs.read_card(folder)
        _check_data(folder, card, train)
        weights = [e["weights"] for e in drc_results.entries(row.part)]
        if agreed(card.weights_sha256 in weights):
            call.report(f"{label}: measured before")
        else:
            entry |= _measure(label, folder, card, row.test, call)
            _keep(row.part, entry)
            if call.out is not None and is_main():
                files.write_json(call.out / label / "scores.json", entry)
        if call.out is not None:
            export(run_in(folder, label, call.device), row.test, call.out / label, call.report)
        if not whole:
            return False
    return True


def _fitted(row: _Row, folder: Path, call: Call) -> Recipe:
    """The row's recipe, its epochs laid out to fit the minutes that are left, where it says how;
    laid out once, so that the same call goes on with them.
    """
    recipe, file = row.recipe, folder / LAYOUT
    if not _is_timed(recipe, call):
        return recipe
    if not file.is_file():
        device, plan = pick_device(call.device), recipe.plan
        pixels = torch.from_numpy(np.round(row.train.x * 255).astype(np.uint8))
        measured = measure(
            plan, pixels, device, recipe.shares, call.report, max(0.0, call.left()) / 4
        )
        if call.out is not None:
            files.write_json(call.out / folder.name / "throughput.json", measured.figures)
        laid = lay_out(plan, recipe.shares, measured, max(0.0, call.left()))
        epochs = {name: laid.config[name] for name in recipe.shares}
        files.write_json(file, {"config": epochs, "train": {"compile": laid.train["compile"]}})
    found = json.loads(file.read_text(encoding="utf-8"))
    said = ", ".join(f"{name} {epochs} epochs" for name, epochs in found["config"].items())
    call.report(f"{folder.name}: {said}")
    plan = dataclasses.replace(
        recipe.plan,
        config=recipe.plan.config | found["config"],
        train=recipe.plan.train | found["train"],
    )
    return dataclasses.replace(recipe, plan=plan)


def _is_timed(recipe: Recipe, call: Call) -> bool:
    # several processes would have to time each step together: theirs is the whole plan, and the
    # clock stops it
    return bool(recipe.shares) and bool(call.minutes) and world() == 1


def _keep(part: str, entry: dict[str, Any]) -> None:
    if is_main():
        drc_results.keep(part, entry)


def _about(row: _Row, call: Call) -> dict[str, Any]:
    """What is known of an entry before its training."""
    config, train, test = row.recipe.plan.config, row.train, row.test
    epochs = {stage: config.get(stage, 0) for stage in _STAGES}
    heads = int(config.get("heads", "none") != "none")
    first = {"features": epochs.pop("features"), "drc": epochs.pop("alone"), "heads": heads}
    stages = first | epochs
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


def _measure(label: str, folder: Path, card: Card, test: Samples, call: Call) -> dict[str, Any]:
    scores = evaluate(run_in(folder, label, call.device).model, test)
    training = card.training
    figures = {name: getattr(scores, name) for name in _FIGURES}
    said = ", ".join(f"{name.upper()} {value:.3f}" for name, value in figures.items())
    call.report(f"{label}: {said}, n = {len(test)}")
    return figures | {
        "clusters_used": scores.clusters_used,
        "device": training.where,
        "minutes": training.minutes,
        "views": training.seen or None,
        "stopped": card.stopped,
        "weights": card.weights_sha256,
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
    download = call.download and is_main()
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
    config |= {name: min(config[name], _QUICK_EPOCHS) for name in _STAGES if name in config}
    plan = dataclasses.replace(plan, config=config, train=plan.train | _QUICK_TRAIN)
    return dataclasses.replace(recipe, plan=plan)


def _check(names: tuple[str, ...], known: dict[str, Any], what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; known: {', '.join(known)}")


def _check_data(folder: Path, card: Card, samples: Samples) -> None:
    """A finished run counts only where it learned from these images."""
    planned = {"name": samples.name, "split": samples.split, "n": len(samples)}
    for key, value in planned.items():
        got = getattr(card.data, key)
        if got != value:
            raise ValueError(
                f"{folder}: data.{key}: expected {value!r} as planned, got {got!r}; move the run "
                "away to have it made anew"
            )
