"""The commands that make what ships again: `python -m clustcore reproduce runs`.

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
from clustcore.experiments.recipes import RECIPES, Recipe
from clustcore.manifold import import_umap
from clustcore.pipeline import contents
from clustcore.pipeline.contents import attacker_images, fit_attacker
from clustcore.pipeline.make import defend, make_run
from clustcore.pipeline.run import OnStep, Run, evaluate, load_run
from clustcore.runs import CardDefence
from clustcore.training.teacher import TeachConfig, load_teacher, save_teacher, teach
from clustcore.types import Samples

STOPPED = "stopped"  # below a run's folder: the run as it stood when its time was up


def reproduce_runs(
    names: list[str],
    *,
    root: Path | None,
    download: bool,
    seeds: tuple[int, ...] | None = None,
    device: str = "auto",
    report: Callable[[str], None] = print,
    on_step: OnStep | None = None,
) -> None:
    """Train, map, attack and measure the shipped runs, and put the first seed of each into
    `assets/runs`.

    Everything is kept under `runs/` as it goes, so that a call that was interrupted goes on where
    it stood.
    """
    import_umap()  # a run ends with its map: what is missing is said before the hours of training
    for name in names:
        recipe = RECIPES[name]
        data = recipe.plan.data["name"]
        train = load_split(data, "train", root, download)
        # of CIFAR-10 in JPEG files, theirs
        test = load_split(train.name, "test", root, download)
        chosen = recipe.seeds if seeds is None else seeds
        made = [train_seed(name, recipe, {}, s, train, device, report, on_step) for s in chosen]
        what = "as shipped" + (", mean of seeds" if len(made) > 1 else "")
        rows = [_row(what, made, test, device)]
        for key, variant in recipe.variants.items():
            varied = [
                train_seed(f"{name}-{key}", recipe, variant.config, s, train, device, report)
                for s in variant.seeds
            ]
            rows.append(_row(variant.label, varied, test, device))
        fit_attackers(load_run(made[0], device), recipe.attackers, train, chosen[0], report)
        _finish(name, made[0], rows, test, recipe, device, report, on_step)


def load_split(name: str, split: str, root: Path | None, download: bool) -> Samples:
    """One split of a data set; a test split that ships is the shipped one, whatever the root holds.

    Of several processes the first fetches what is missing, before the others read it.

    Raises:
        ValueError, OSError: see `load_samples`.
    """
    if split == "test" and name in SOURCES:
        return load_samples(name, split)
    return first_main(lambda: load_samples(name, split, root=root, download=download and is_main()))


def train_seed(
    name: str,
    recipe: Recipe,
    change: dict[str, Any],
    seed: int,
    samples: Samples,
    device: str,
    report: Callable[[str], None],
    on_step: OnStep | None = None,
    quick: bool = False,
    minutes: float = 0.0,
    start: Run | None = None,
) -> str:
    """Train one seed of a recipe under `runs/`, unless it is there; returns the run's name.

    Args:
        change: fields of the config that differ, where it is a variant.
        quick: the samples are a part of the training split; run and teacher are named so.
        minutes: stop after so many (0: no limit); the run then has no card yet, and the same call
            goes on; what there is of it lies as a run in its folder's `stopped`.
        start: a run whose weights training starts from.
    """
    prefix = "quick-" if quick else ""
    label = run_name(name, seed, quick)
    folder = runs.folders()[1] / label
    if (folder / "card.json").is_file():
        source = recipe.defended and f"{prefix}{recipe.defended.source}-seed{seed}"
        _check_plan(folder, recipe, change, source, start)
        return label
    plan = recipe.plan
    if recipe.defended is not None:
        return _defend_seed(label, recipe, seed, samples, device, report, on_step, quick)
    config = plan.config | change
    if plan.model in ("dec", "alrdc"):
        config |= {"seed": seed}
    settings = plan.train | {"seed": seed, "device": device}
    if minutes:
        settings |= {"minutes": minutes}
    plan = dataclasses.replace(plan, config=config, train=settings)
    teacher = None
    if recipe.teacher and not change:
        file = runs.folders()[1] / "teachers" / f"{prefix}{samples.name}-{seed}.npz"
        how = TeachConfig(seed=seed)
        if is_main() and not file.is_file():  # one process's work
            report(f"{label}: teacher")
            save_teacher(file, teach(samples.x, samples.name, how, on_step))
        wait()
        teacher = load_teacher(file, len(samples), samples.name)
        if teacher.config != how:
            raise ValueError(f"{file}: expected a teacher of {how}, got one of {teacher.config}")

    make_run(
        label,
        plan,
        samples,
        teacher,
        start=start,
        stopped=folder / STOPPED,
        on_epoch=_teller(label, report),
    )
    return label


def run_name(name: str, seed: int, quick: bool = False) -> str:
    """What `train_seed` calls a run."""
    return f"{'quick-' if quick else ''}{name}-seed{seed}"


def _check_plan(
    folder: Path, recipe: Recipe, change: dict[str, Any], source: str | None, start: Run | None
) -> None:
    """A finished run is taken as it is only where it was made as the recipe says."""
    card = runs.read_card(folder)
    planned = {"config": recipe.plan.config | change, "train": recipe.plan.train}
    planned |= {"augment": recipe.plan.augment}
    found = {"config": card.config, "train": card.train, "augment": card.augment}
    if start is not None:
        planned["start"] = {"from_weights": start.card.weights_sha256}
        found["start"] = card.start
    if source is not None:
        defence = card.defence or CardDefence()
        planned["defence"] = dict(recipe.defended.config)
        found["defence"] = {**defence.config, "from_weights": defence.from_weights}
        if (runs.folders()[1] / source / "card.json").is_file():
            weights = runs.read_card(runs.folders()[1] / source).weights_sha256
            planned["defence"]["from_weights"] = weights
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
    label: str,
    recipe: Recipe,
    seed: int,
    samples: Samples,
    device: str,
    report: Callable[[str], None],
    on_step: OnStep | None,
    quick: bool,
) -> str:
    defended = recipe.defended
    first = RECIPES[defended.source]
    name = train_seed(defended.source, first, {}, seed, samples, device, report, on_step, quick)
    source = load_run(name, device)
    if defended.defence == "alrdc":
        fit_attackers(source, ("affine",), samples, seed, report)
    settings = recipe.plan.train | {"seed": seed, "device": device}
    defend(
        label,
        source,
        defended.defence,
        defended.config,
        samples,
        settings,
        recipe.plan.augment,
        on_epoch=_teller(label, report),
    )
    return label


def fit_attackers(
    run: Run,
    kinds: tuple[str, ...],
    samples: Samples,
    seed: int,
    report: Callable[[str], None],
) -> None:
    """Fit the learned attackers that a run has none of, or stale ones, on training images."""
    for kind in kinds:
        name = "alrdc" if kind == "affine" else f"alrdc-{kind}"
        if agreed(run.attackers.get(name, True)):
            report(f"{run.name}: attacker {name}")
            fit_attacker(run, attacker_images(samples), kind, seed=seed)


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
    device: str,
    report: Callable[[str], None],
    on_step: OnStep | None,
) -> None:
    run = load_run(source, device)
    if run.map is None or run.map.weights != run.card.weights_sha256:
        report(f"{name}: map")
        contents.make_map(run, test, on_step=on_step)
    report(f"{name}: paths")
    contents.make_paths(run, test, on_step=on_step)
    report(f"{name}: scores")
    defence = run.card.section("defence")
    if recipe.defended is not None:  # what ships came from what ships
        defence = defence | {"from": recipe.defended.source}
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
