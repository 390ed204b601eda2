"""`python -m clustcore reproduce runs`: the shipped runs, trained, filled and shipped again.

Every run trains on the real training split from the seeds of its recipe, no choice looks at a
label, and the first seed is what ships. A defended run trains on from another run.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clustcore import runs
from clustcore.datasets import load_samples
from clustcore.datasets.shipped import SOURCES
from clustcore.distributed import agreed, first_main, is_main, wait
from clustcore.experiments.context import Context
from clustcore.experiments.recipes import RECIPES, Recipe, run_name
from clustcore.manifold import import_umap
from clustcore.pipeline import contents
from clustcore.pipeline.contents import attacker_images, fit_attacker
from clustcore.pipeline.make import defend, make_run
from clustcore.pipeline.run import Run, evaluate, load_run
from clustcore.runs import CardDefence
from clustcore.runs.plan import Plan
from clustcore.training.teacher import TeachConfig, Teacher, load_teacher, save_teacher, teach
from clustcore.types import Samples

STOPPED = "stopped"  # below a run's folder: the run as it stood when its time was up


def reproduce_runs(
    names: list[str], context: Context, *, seeds: tuple[int, ...] | None = None
) -> None:
    """Train, map, attack and measure the shipped runs.

    The first seed of each goes into `assets/runs`.

    Everything is kept under `runs/` as it goes, so that a call that was interrupted goes on where
    it stood.

    Args:
        seeds: of each run; those of its recipe by default.
    """
    import_umap()  # a run ends with its map: what is missing is said before the hours of training
    for name in names:
        recipe = RECIPES[name]
        train = load_split(recipe.plan.data, "train", context)
        # of CIFAR-10 in JPEG files, theirs
        test = load_split(train.name, "test", context)
        chosen = recipe.seeds if seeds is None else seeds
        made = [train_seed(name, recipe, seed, train, context) for seed in chosen]
        what = "as shipped" + (", mean of seeds" if len(made) > 1 else "")
        rows = [_row(what, made, test, context.device)]
        for key, variant in recipe.variants.items():
            varied = [
                train_seed(f"{name}-{key}", recipe, seed, train, context, change=variant.config)
                for seed in variant.seeds
            ]
            rows.append(_row(variant.label, varied, test, context.device))
        first = load_run(made[0], context.device)
        fit_attackers(first, recipe.attackers, train, chosen[0], context)
        _finish(name, made[0], rows, test, recipe, context)


def load_split(name: str, split: str, context: Context) -> Samples:
    """One split of a data set; a test split that ships is the shipped one, whatever the root holds.

    Of several processes the first fetches what is missing, before the others read it.

    Raises:
        ValueError, OSError: see `load_samples`.
    """
    if split == "test" and name in SOURCES:
        return load_samples(name, split)
    return first_main(
        lambda: load_samples(
            name, split, root=context.root, download=context.download and is_main()
        )
    )


def train_seed(
    name: str,
    recipe: Recipe,
    seed: int,
    samples: Samples,
    context: Context,
    *,
    change: dict[str, Any] | None = None,
    start: Run | None = None,
) -> str:
    """Train one seed of a recipe under `runs/`, unless it is there; returns the run's name.

    A run that the context's minutes stop has no card yet, and the same call goes on; what there is
    of it lies as a run in its folder's `stopped`.

    Args:
        samples: of a quick call a part of the training split; run and teacher are named so.
        change: fields of the config that differ, where it is a variant.
        start: a run whose weights training starts from.
    """
    label = run_name(name, seed, context.quick)
    folder = runs.folders()[1] / label
    if (folder / "card.json").is_file():
        _check_plan(folder, recipe, seed, context, change or {}, start)
        return label
    settings = recipe.plan.train | {"seed": seed, "device": context.device}
    plan = dataclasses.replace(recipe.plan, name=label, train=settings)
    if plan.source is not None:
        _defend_seed(label, plan, plan.source, seed, samples, context)
        return label
    if context.minutes:
        settings["minutes"] = max(agreed(context.left()), 1e-3)
    config = plan.config | (change or {})
    if plan.model in ("dec", "alrdc"):
        config |= {"seed": seed}
    teach_it = None if change else plan.teach
    plan = dataclasses.replace(plan, config=config, train=settings, teach=teach_it)
    make_run(
        label,
        plan,
        samples,
        None if plan.teach is None else _teacher(plan, samples, seed, context),
        start=start,
        stopped=folder / STOPPED,
        on_epoch=_teller(label, context.report),
    )
    return label


def _teacher(plan: Plan, samples: Samples, seed: int, context: Context) -> Teacher:
    """The teacher of a data set's seed, which its recipes share; made where there is none."""
    name = f"{'quick-' if context.quick else ''}{samples.name}-{seed}"
    file = runs.folders()[1] / "teachers" / f"{name}.npz"
    how = TeachConfig(**plan.teach_settings())
    if is_main() and not file.is_file():  # one process's work
        context.report(f"{plan.name}: teacher")
        save_teacher(file, teach(samples.x, samples.name, how, context.on_step))
    wait()
    return load_teacher(file, len(samples), samples.name, how)


def _check_plan(
    folder: Path,
    recipe: Recipe,
    seed: int,
    context: Context,
    change: dict[str, Any],
    start: Run | None,
) -> None:
    """A finished run is taken as it is only where it was made as the recipe says."""
    card, plan = runs.read_card(folder), recipe.plan
    model = plan if plan.source is None else RECIPES[plan.source].plan
    planned = {"config": model.config | change, "train": plan.train, "augment": plan.augment}
    found = {"config": card.config, "train": card.train, "augment": card.augment}
    if start is not None:
        planned["start"] = {"from_weights": start.card.weights_sha256}
        found["start"] = card.start
    if plan.source is not None:
        planned["defence"] = dict(plan.config)
        defence = card.defence or CardDefence()
        found["defence"] = {**defence.config, "from_weights": defence.from_weights}
        source = runs.folders()[1] / run_name(plan.source, seed, context.quick)
        if (source / "card.json").is_file():
            planned["defence"]["from_weights"] = runs.read_card(source).weights_sha256
    for part, values in planned.items():
        for key, value in values.items():
            got = found[part].get(key)
            if key == "batch" and got in _halves(value):  # where memory ran out
                continue
            if key == "precision" and value == "auto":  # the device's affair
                continue
            if got != value:
                raise ValueError(
                    f"{folder}: {part}.{key}: expected {value!r} as planned, got {got!r}; move the "
                    "run away to have it made anew"
                )


def _halves(batch: int) -> list[int]:
    return [batch >> i for i in range(1, batch.bit_length() - 1)]


def _defend_seed(
    label: str, plan: Plan, first: str, seed: int, samples: Samples, context: Context
) -> None:
    made = train_seed(first, RECIPES[first], seed, samples, context)
    source = load_run(made, context.device)
    if plan.defence == "alrdc":
        fit_attackers(source, ("alrdc",), samples, seed, context)
    plan = dataclasses.replace(plan, source=source.name)
    defend(label, source, plan, samples, on_epoch=_teller(label, context.report))


def fit_attackers(
    run: Run, attacks: tuple[str, ...], samples: Samples, seed: int, context: Context
) -> None:
    """Fit the learned attackers that a run has none of, or stale ones, on training images."""
    for attack in attacks:
        if agreed(run.attackers.get(attack, True)):
            context.report(f"{run.name}: attacker {attack}")
            fit_attacker(run, attacker_images(samples), attack, seed=seed)


def _teller(label: str, report: Callable[[str], None]) -> Callable[[Any], None]:
    def on_epoch(epoch: Any) -> None:
        if epoch.note:
            report(f"{label}: {epoch.note}")
        report(
            f"{label}: epoch {epoch.epoch + 1} of {epoch.total}, {epoch.stage}, "
            f"loss {epoch.loss:.4f}, {epoch.seconds:.0f} s"
        )

    return on_epoch


def _row(label: str, names: list[str], test: Samples, device: str) -> dict[str, Any]:
    scores = [evaluate(load_run(name, device).model, test) for name in names]
    row: dict[str, Any] = {"name": label, "split": "test", "n": len(test)}
    row["seeds"] = [int(name.rpartition("seed")[2]) for name in names]
    for figure in ("acc", "nmi", "ari"):
        values = [getattr(score, figure) for score in scores]
        row[figure] = sum(values) / len(values)
        row[f"{figure}_each"] = values
    return row


def _finish(
    name: str,
    source: str,
    rows: list[dict[str, Any]],
    test: Samples,
    recipe: Recipe,
    context: Context,
) -> None:
    run, report, on_step = load_run(source, context.device), context.report, context.on_step
    if run.map is None or run.map.weights != run.card.weights_sha256:
        report(f"{name}: map")
        contents.make_map(run, test, on_step=on_step)
    report(f"{name}: paths")
    contents.make_paths(run, test, on_step=on_step)
    report(f"{name}: scores")
    defence = run.card.section("defence")
    if recipe.plan.source is not None:  # what ships came from what ships
        defence = {**(defence or {}), "from": recipe.plan.source}
    card = run.card.changed(
        defence=defence,
        decoder=run.model.has_decoder,
        scores=contents.measure(run, test).to_json(),
        rows=rows,
        departures=list(recipe.departures),
    )
    if is_main():
        runs.write_card(run.folder, card)
        ship(run.folder, runs.folders()[0] / name)
    wait()
    report(f"{name}: shipped")


def ship(source: Path, target: Path) -> None:
    """Copy a run's parts into the shipped runs; the new folder takes the old one's place."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(
        source, part, ignore=shutil.ignore_patterns("resume.*", "snapshots", STOPPED, ".*")
    )
    if not runs.has_weights(part):
        raise ValueError(f"{source}: expected weights, got none")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)  # aside first: a kill in between loses nothing
    os.replace(part, target)
    shutil.rmtree(old, ignore_errors=True)
