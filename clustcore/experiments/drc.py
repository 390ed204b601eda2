"""DRC's three tables: `python -m clustcore reproduce drc | ablation | defences`.

The first trains DRC on its six benchmarks, as published and as serves best here, and lays what came
of it beside what others published. The second adds DRC's optional stages and switches one at a time
to DRC alone. The third judges the defences of a shipped run. Each finished run is written to
`assets/drc.json` at once, from which `reproduce tables` makes the tables of RESULTS.md; a call that
was interrupted goes on where it stood.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clustcore import files, runs
from clustcore.datasets import data_folder, load_samples
from clustcore.distributed import agreed, collect, first_main, is_main, pick_device, world
from clustcore.experiments import drc_results
from clustcore.experiments.budget import lay_out, measure, smoke
from clustcore.experiments.context import Context
from clustcore.experiments.drc_results import PLANS, rows_of
from clustcore.experiments.judge import JudgeConfig, pair
from clustcore.experiments.recipes import (
    ABLATION_IMAGES,
    BENCHMARKS,
    RECIPES,
    Recipe,
    ablation,
    ablation_name,
    benchmark_name,
    run_name,
)
from clustcore.experiments.reproduce import STOPPED, load_split, train_seed
from clustcore.machine import describe
from clustcore.pipeline.export import export
from clustcore.pipeline.run import Run, evaluate, load_run, run_in
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


def reproduce_drc(
    data: tuple[str, ...],
    plans: tuple[str, ...],
    context: Context,
    *,
    seeds: tuple[int, ...] = (0,),
    start: str | None = None,
    out: Path | None = None,
) -> list[str]:
    """Train what is missing of the benchmarks, and judge it.

    One entry a data set, plan and seed is put into the file.

    Data that are not there are said, with the layout in which they are expected, and left out.

    Args:
        data: entries of BENCHMARKS.
        plans: of PLANS; `published` is PICA's protocol with DRC's literal losses.
        start: a run whose weights trainings start from.
        out: where what came of each run is copied in files that are small enough to travel, each as
            soon as it is known.

    Returns:
        What went wrong: trainings that diverged or collapsed, a data set's own folder that cannot
        be read. The rest was done nevertheless.

    Raises:
        ValueError: an unknown data set or plan, no such root, or a run made otherwise than planned.
    """
    _check(data, BENCHMARKS, "benchmark")
    _check(plans, PLANS, "plan")
    if context.root is not None and not context.root.is_dir():
        raise ValueError(f"{context.root}: expected a folder that holds data, got no such folder")
    begin = None if start is None else load_run(start, "cpu")
    wrong: list[str] = []
    for name in data:
        for plan in plans:
            recipe = _quick(BENCHMARKS[name][plan]) if context.quick else BENCHMARKS[name][plan]
            if _is_timed(recipe, context):
                side = next((s for data, s in _SIDES.items() if name.startswith(data)), 32)
                device = pick_device(context.device)
                smoke(recipe.plan, (3, side, side), device)
                works = f"{describe(device)}: learns, saves and opens"
                context.report(f"{name}, {PLANS[plan]}: {works}")
            found = _samples(name, recipe.plan.split, context)
            if isinstance(found, Exception):
                context.report(f"{name}, {PLANS[plan]}: not run: {found}")
                wrong += [f"{name}: {found}"] if _place(name, context).is_dir() else []
                continue
            train, test = found
            about, label = {"data": name, "plan": plan}, benchmark_name(name, plan)
            row = _Row("benchmarks", about, label, recipe, train, test, begin, out)
            if not _seeds(row, seeds, context, wrong):
                return wrong
    return wrong


def reproduce_ablation(
    data: tuple[str, ...], context: Context, *, seeds: tuple[int, ...] = (0,)
) -> list[str]:
    """Train what is missing of the ablation, and judge it on the test images.

    One entry a row and seed is put into the file.

    Returns:
        What went wrong: trainings that diverged or collapsed. The rest was done nevertheless.

    Raises:
        ValueError: an unknown data set, one that is not there, or a run made otherwise than
            planned.
    """
    wrong: list[str] = []
    for name in data:
        recipes = {what: ablation(name, what) for what in rows_of(name)}
        train = load_split(name, "train", context)
        test = load_split(train.name, "test", context)  # of JPEG files, theirs
        most = QUICK_ABLATION if context.quick else len(train)
        train = _some(train, min(most, ABLATION_IMAGES.get(name, most)))
        for what, recipe in recipes.items():
            about, label = {"data": name, "what": what}, ablation_name(name, what)
            row = _Row("ablation", about, label, recipe, train, test)
            if not _seeds(row, seeds, context, wrong):
                return wrong
    return wrong


def reproduce_defences(data: str, context: Context, *, seeds: tuple[int, ...] = (0,)) -> None:
    """Train the defences of a data set's shipped DRC run, and judge each beside it.

    They are judged at the budget at which half of the undefended one's samples have moved, and put
    into the file, one entry a defence and seed. What was measured of the same weights is left.

    Raises:
        ValueError: a data set whose run has no defence, one that is not there, or a run made
            otherwise than planned.
    """
    source = f"drc-{data}"
    recipes = {name: recipe for name, recipe in RECIPES.items() if recipe.plan.source == source}
    if not recipes:
        known = {recipe.plan.source for recipe in RECIPES.values() if recipe.plan.source}
        names = ", ".join(sorted(n.removeprefix("drc-") for n in known if n.startswith("drc-")))
        raise ValueError(f"unknown data set {data!r} of the defences; known: {names}")
    train = load_split(data, "train", context)
    test = load_split(train.name, "test", context)
    config = JudgeConfig(n=DEFENCE_SAMPLES)
    for seed in seeds:
        for name, recipe in recipes.items():
            label = train_seed(name, recipe, seed, train, context)
            before, after = (load_run(n, context.device) for n in (run_name(source, seed), label))
            weights = [run.card.weights_sha256 for run in (before, after)]
            measured = [
                [e[part]["weights"] for part in ("undefended", "defended")]
                for e in drc_results.entries("defences")
            ]
            if weights in measured:
                context.report(f"{label}: measured before")
                continue
            found = pair(before, after, test, config)
            about = {"data": data, "samples": test.name, "defence": recipe.plan.defence}
            _save("defences", about | {"seed": seed} | found)
            moved = found["defended"]["moved"]
            context.report(f"{label}: {moved:.1%} of {found['n']} moved at L-inf {found['b']:.4f}")


@dataclass(frozen=True)
class _Row:
    """A row of a table: its place in the file, and what is trained and judged for it."""

    part: str
    about: dict[str, Any]
    name: str
    recipe: Recipe
    train: Samples
    test: Samples
    start: Run | None = None  # whose weights training starts from
    out: Path | None = None  # where what comes of it is copied


def _seeds(row: _Row, seeds: tuple[int, ...], context: Context, wrong: list[str]) -> bool:
    """Train and judge each seed of a row, and add to `wrong` what failed.

    It gives False where the time was up first.
    """
    return all(_seed(row, seed, context, wrong) for seed in seeds)


def _seed(row: _Row, seed: int, context: Context, wrong: list[str]) -> bool:
    # one clock for all processes, which wait here until the first has written its file
    left = agreed(context.left())
    label = run_name(row.name, seed, context.quick)
    folder = runs.folders()[1] / label
    timed = _is_timed(row.recipe, context) and not (folder / LAYOUT).is_file()
    if left < 0 and not timed:  # else it is said how many minutes would do
        context.report(f"{row.name}, seed {seed}: the time is up; the same command goes on")
        return False
    row = dataclasses.replace(row, recipe=_fitted(row, folder, context))
    entry = row.about | {"seed": seed} | _about(row, context)
    try:
        train_seed(row.name, row.recipe, seed, row.train, context, start=row.start)
    except TrainingFailed as error:
        said = f"{row.name}, seed {seed}: {error}"
        context.report(said)
        wrong.append(said)
        nothing = dict.fromkeys((*_FIGURES, "clusters_used", "device", "minutes", "weights"))
        _save(row.part, entry | nothing | {"why": str(error)})
        if world() > 1:  # it may be this process's own failure: the others could still train
            raise
        return True
    whole = (folder / "card.json").is_file()
    if not whole:
        context.report(f"{label}: stopped; the same command goes on")
        folder /= STOPPED
    if (folder / "card.json").is_file():
        _judge(row, label, folder, entry, context)
    return whole


def _judge(row: _Row, label: str, folder: Path, entry: dict[str, Any], context: Context) -> None:
    """Measure what was trained, unless it was measured before, and copy out what came of it."""
    card = runs.read_card(folder)
    _check_data(folder, card, row.train)
    weights = [e["weights"] for e in drc_results.entries(row.part)]
    if agreed(card.weights_sha256 in weights):
        context.report(f"{label}: measured before")
    else:
        entry = entry | _measure(label, folder, card, row.test, context)
        _save(row.part, entry)
        if row.out is not None and is_main():
            files.write_json(row.out / label / "scores.json", entry)
    if row.out is not None:
        export(run_in(folder, label, context.device), row.test, row.out / label, context.report)


def _fitted(row: _Row, folder: Path, context: Context) -> Recipe:
    """The row's recipe, its epochs laid out to fit the minutes that are left.

    They are laid out where the recipe says how, and once, so that the same call goes on with them.
    """
    recipe, file = row.recipe, folder / LAYOUT
    if not _is_timed(recipe, context):
        return recipe
    if not file.is_file():
        plan = recipe.plan
        pixels = torch.from_numpy(np.round(row.train.x * 255).astype(np.uint8))
        measured = measure(plan, pixels, recipe.shares, context)
        if row.out is not None:
            files.write_json(row.out / folder.name / "throughput.json", measured.figures)
        laid = lay_out(plan, recipe.shares, measured, max(0.0, context.left()))
        epochs = {name: laid.config[name] for name in recipe.shares}
        files.write_json(file, {"config": epochs, "train": {"compile": laid.train["compile"]}})
    found = json.loads(file.read_text(encoding="utf-8"))
    said = ", ".join(f"{name} {epochs} epochs" for name, epochs in found["config"].items())
    context.report(f"{folder.name}: {said}")
    plan = dataclasses.replace(
        recipe.plan,
        config=recipe.plan.config | found["config"],
        train=recipe.plan.train | found["train"],
    )
    return dataclasses.replace(recipe, plan=plan)


def _is_timed(recipe: Recipe, context: Context) -> bool:
    # several processes would have to time each step together: theirs is the whole plan, and the
    # clock stops it
    return bool(recipe.shares) and bool(context.minutes) and world() == 1


def _save(part: str, entry: dict[str, Any]) -> None:
    if is_main():
        drc_results.save(part, entry)


def _about(row: _Row, context: Context) -> dict[str, Any]:
    """What is known of an entry before its training."""
    config, train, test = row.recipe.plan.config, row.train, row.test
    epochs = {stage: config.get(stage, 0) for stage in _STAGES}
    heads = int(config.get("heads", "none") != "none")
    first = {"features": epochs.pop("features"), "drc": epochs.pop("alone"), "heads": heads}
    stages = first | epochs
    return {
        "mode": "quick" if context.quick else "full",
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
    label: str, folder: Path, card: Card, test: Samples, context: Context
) -> dict[str, Any]:
    scores = evaluate(run_in(folder, label, context.device).model, test)
    training = card.training
    figures = {name: getattr(scores, name) for name in _FIGURES}
    said = ", ".join(f"{name.upper()} {value:.3f}" for name, value in figures.items())
    context.report(f"{label}: {said}, n = {len(test)}")
    return figures | {
        "clusters_used": scores.clusters_used,
        "device": training.where,
        "minutes": training.minutes,
        "views": training.seen or None,
        "stopped": card.stopped,
        "weights": card.weights_sha256,
    }


def _place(name: str, context: Context) -> Path:
    return (context.root or data_folder()) / name


def _samples(name: str, split: str, context: Context) -> tuple[Samples, Samples] | Exception:
    """What to train on and what to judge on, or why there is none: the same in every process."""
    found: tuple[Samples, Samples] | Exception
    try:
        found = first_main(lambda: _read(name, split, context))
    except (ValueError, OSError) as error:
        found = error
    failed = isinstance(found, Exception)
    if collect(np.array([failed]), world()).any() and not failed:
        return ValueError("another process could not read it")
    return found


def _read(name: str, split: str, context: Context) -> tuple[Samples, Samples]:
    download = context.download and is_main()
    train = load_samples(name, split, root=context.root, download=download)
    test = train
    if split == "train":
        test = load_samples(name, "test", root=context.root, download=download)
    if context.quick:
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
