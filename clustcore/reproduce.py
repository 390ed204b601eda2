"""What ships, and the commands that make it again: `python -m clustcore reproduce data | runs`.

Every run trains on the real training split from seeds 0, 1 and 2, no choice looks at a label, and
seed 0 is what ships.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clustcore import making, runs
from clustcore.checkpoint import WEIGHTS
from clustcore.datasets import load_samples
from clustcore.making import Plan, make_run
from clustcore.pipeline import OnStep, evaluate, load_run
from clustcore.teach import TeachConfig, load_teacher, save_teacher, teach
from clustcore.types import Samples

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Variant:
    """The same plan with another config."""

    label: str
    config: dict[str, Any]
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Recipe:
    """A shipped run, and the variants that stand as rows on its card."""

    plan: Plan
    teacher: bool
    variants: dict[str, Variant] = field(default_factory=dict)
    departures: tuple[str, ...] = ()


_DRC = {"config": {"alone": 0, "taught": 4, "weight_t": 10.0}, "train": {"batch": 256, "lr": 2e-3}}
_ALONE = {"alone": Variant("DRC alone, without a teacher", {"taught": 0, "alone": 8})}
_DRC_DEPARTURES = (
    "small CNN in place of ResNet-34",
    "cosine similarities and the entropy form of L_CR",
    "a teacher's clusters (umap-gmm) are followed beside L_AF + L_AP + L_CR, which stay on",
    "train split only; the test split is never trained on",
)

RECIPES = {
    "drc-mnist": Recipe(
        Plan("drc", {"name": "mnist"}, **_DRC),
        teacher=True,
        variants=_ALONE,
        departures=_DRC_DEPARTURES,
    ),
    "drc-fashion-mnist": Recipe(
        Plan(
            "drc",
            {"name": "fashion-mnist"},
            augment={"rotate": 5.0, "flip": 0.5, "shear": 0.05},
            **_DRC,
        ),
        teacher=True,
        variants=_ALONE,
        departures=_DRC_DEPARTURES,
    ),
    "dec-mnist": Recipe(
        Plan(
            "dec",
            {"name": "mnist"},
            config={"autoencode": 3, "taught": 2, "cluster": 3, "weight_c": 0.3},
            train={"batch": 256, "lr": 2e-3},
        ),
        teacher=True,
        departures=(
            "first centroids and the first two epochs' targets from a teacher (umap-gmm)",
            "reconstruction kept on (IDEC); the clean image is asked of every view",
            "pretrained end to end, not layer by layer; z normalised over the batch",
        ),
    ),
}


def reproduce_runs(
    names: list[str],
    *,
    root: Path | None,
    download: bool,
    seeds: tuple[int, ...] = SEEDS,
    device: str = "auto",
    report: Callable[[str], None] = print,
    on_step: OnStep | None = None,
) -> None:
    """Train, map, attack and measure the shipped runs, and put seed 0 of each into `assets/runs`.

    Everything is kept under `runs/` as it goes, so that a call that was interrupted goes on where
    it stood.
    """
    for name in names:
        recipe = RECIPES[name]
        data = recipe.plan.data["name"]
        train = load_samples(data, "train", root=root, download=download)
        test = load_samples(data, "test")
        main = [train_seed(name, recipe, {}, s, train, device, report, on_step) for s in seeds]
        rows = [_row("as shipped, mean of seeds", main, test, device)]
        for key, variant in recipe.variants.items():
            varied = [
                train_seed(f"{name}-{key}", recipe, variant.config, s, train, device, report)
                for s in variant.seeds
            ]
            rows.append(_row(variant.label, varied, test, device))
        _finish(name, main[0], rows, test, recipe, device, report, on_step)


def train_seed(
    name: str,
    recipe: Recipe,
    change: dict[str, Any],
    seed: int,
    samples: Samples,
    device: str,
    report: Callable[[str], None],
    on_step: OnStep | None = None,
) -> str:
    """Train one seed of a recipe under `runs/`, unless it is there; returns the run's name."""
    label = f"{name}-seed{seed}"
    folder = runs.folders()[1] / label
    if (folder / "card.json").is_file():
        return label
    plan = recipe.plan
    config = plan.config | change
    if plan.model == "dec":
        config |= {"seed": seed}
    settings = plan.train | {"seed": seed, "device": device}
    plan = dataclasses.replace(plan, config=config, train=settings)
    teacher = None
    if recipe.teacher and not change:
        file = runs.folders()[1] / "teachers" / f"{samples.name}-{seed}.npz"
        if not file.is_file():
            report(f"{label}: teacher")
            save_teacher(file, teach(samples.x, samples.name, TeachConfig(seed=seed), on_step))
        teacher = load_teacher(file, len(samples), samples.name)

    def on_epoch(epoch: Any) -> None:
        report(
            f"{label}: epoch {epoch.epoch + 1} of {epoch.total}, {epoch.stage}, "
            f"loss {epoch.loss:.4f}, {epoch.seconds:.0f} s"
        )

    make_run(label, plan, samples, teacher, on_epoch=on_epoch)
    return label


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
    if run.map is None or run.map.weights != run.card["weights_sha256"]:
        report(f"{name}: map")
        making.make_map(run, test, on_step=on_step)
    report(f"{name}: paths")
    making.make_paths(run, test, on_step=on_step)
    report(f"{name}: scores")
    card = run.card | {
        "decoder": run.model.has_decoder,
        "scores": making.measure(run, test),
        "rows": rows,
        "departures": list(recipe.departures),
    }
    runs.write_json(run.folder / "card.json", card)
    ship(run.folder, runs.SHIPPED / name)
    report(f"{name}: shipped")


def ship(source: Path, target: Path) -> None:
    """Copy a run's parts into the shipped runs; the new folder takes the old one's place."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns("resume.*", "snapshots", ".*"))
    if not (part / WEIGHTS).is_file():
        raise ValueError(f"{source}: expected weights, got none")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)  # aside first: a kill in between loses nothing
    os.replace(part, target)
    shutil.rmtree(old, ignore_errors=True)
