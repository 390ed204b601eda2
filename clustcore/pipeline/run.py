"""The whole story: load a run, attack it, map it, measure it.

The functions of the public door live here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clustcore import measures, runs
from clustcore.attacks import ATTACKS, learned
from clustcore.attacks.base import Attack, Budget, Goal, Target
from clustcore.display import table
from clustcore.distributed import pick_device
from clustcore.maps import projection, regions
from clustcore.models.base import Model
from clustcore.models.weights import load_model
from clustcore.pipeline.batches import (
    check_images,
    cluster,
    cluster_all,
    joined,
    own_rows,
    parts_of,
)
from clustcore.registry import lookup
from clustcore.runs import Card, RunInfo
from clustcore.types import AttackResult, Images, Layout, MapArrays, Samples, Scores

OnStep = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Run:
    """A trained model and what belongs to it."""

    name: str
    folder: Path
    card: Card
    model: Model
    device: torch.device

    def __repr__(self) -> str:
        mapped = "with a map" if self.info.has_map else "without a map"
        return f"Run({self.name!r}, {self.card.summary}, {mapped}, on {self.device})"

    def _repr_html_(self) -> str:
        card, data, defence, scores = self.card, self.card.data, self.card.defence, self.card.scores
        count = "" if data.n is None else f", {data.n:,} images"
        rows = [
            ("model", card.model),
            ("trained on", f"{data.name}, {data.split}{count}"),
            ("clusters", f"{self.model.clusters}"),
            ("embedding", f"{self.model.dim} dimensions, R {self.unit:.3g}"),
            ("defence", "none" if defence is None else defence.name),
        ]
        if scores is not None and scores.clean:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in scores.clean.items())
            rows.append((f"clean, {scores.split}", figures))
        rows += [("map", "yes" if self.info.has_map else "no"), ("device", f"{self.device}")]
        return table(self.name, [*rows, ("folder", f"{self.folder}")])

    @property
    def info(self) -> RunInfo:
        """Its facts, and where its files lie: a new one each time, for files come and go."""
        return RunInfo(self.name, self.folder, self.card)

    @property
    def unit(self) -> float:
        """R: half the mean distance between neighbouring cluster means; rho is measured in it."""
        return self.card.radius

    @cached_property
    def projector(self) -> projection.Projector | None:
        """The projector pair, or None where the run has no map yet."""
        file = self.info.projector_file
        return projection.load(file) if file.is_file() else None

    @property
    def attackers(self) -> dict[str, bool]:
        """The learned attackers fitted for this run, each with whether it is stale.

        Stale: fitted on other weights. Read afresh on each call.

        Raises:
            ValueError: a file is damaged, or another attack's.
        """
        found = {}
        for name in learned():
            file = runs.attacker_file(self.info, name)
            if file.is_file():
                found[name] = lookup(ATTACKS, name, "attack").load(file)
        weights = self.card.weights_sha256
        return {name: attacker.fitted_on != weights for name, attacker in found.items()}

    @cached_property
    def map(self) -> MapArrays | None:
        """The run's map, or None where it has none yet."""
        found = runs.read_map(self.folder)
        stale = found is not None and found.weights != self.card.weights_sha256
        return None if stale else found

    @property
    def mapped(self) -> MapArrays:
        """The map of a run that has one.

        Raises:
            ValueError: this one has none yet.
        """
        if self.map is None:
            raise ValueError(
                f"run {self.name!r}: expected a map (`python -m clustcore project`), got none"
            )
        return self.map


@dataclass(frozen=True)
class Probe:
    """What a model makes of a place on the map where there is no sample."""

    p: NDArray[np.float32]  # (k,)
    image: NDArray[np.float32] | None  # (c, h, w), decoded
    trusted: bool


def load_run(name: str, device: str = "auto") -> Run:
    """Open a run by name.

    Raises:
        ValueError: unknown run, damaged card or weights, or no such device here.
    """
    return open_run(runs.find_run(name), device)


def run_in(folder: Path, name: str, device: str = "auto") -> Run:
    """Open the run in this folder, wherever that lies.

    Raises:
        ValueError: damaged card or weights, or no such device here.
    """
    return open_run(RunInfo(name, folder, runs.read_card(folder)), device)


def open_run(info: RunInfo, device: str = "auto") -> Run:
    """Open a run that was found.

    Raises:
        ValueError: damaged card or weights, or no such device here.
    """
    where = pick_device(device)
    model = load_model(info.folder, info.card).to(where)
    model.unit = info.card.radius
    return Run(info.name, info.folder, info.card, model, where)


def attack(
    model: Model,
    x: Images,
    name: str | Attack = "pgd",
    *,
    eps: float,
    norm: str = "linf",
    space: str = "pixels",
    target: int | None = None,
    ids: NDArray[np.int64] | None = None,
    seed: int = 0,
    unit: float | None = None,
    **settings: Any,
) -> AttackResult:
    """Attack images of a model at one strength.

    Args:
        name: An attack's name, or one that is ready, as `attack_of` gives it; a learned one has to
            be.
        eps: Budget, in pixel units of [0, 1]; in the embedding rho, in units of R.
        norm: "linf" or "l2"; the embedding takes "l2" alone.
        target: The cluster to push into; None leaves the choice to the attack.
        ids: What random draws are seeded with beside `seed`; row numbers by default.
        unit: R where the model does not carry it (a run's model does).
        settings: Fields of the attack's config, where a name is given.

    Raises:
        ValueError: unknown attack, norm, space or setting, a negative strength, or unfit images.
    """
    x = check_images(x, model)
    search = _named(name, settings)
    unit = getattr(model, "unit", None) if unit is None else unit
    if space == "embedding" and unit is None:
        raise ValueError(
            "attack in the embedding: expected unit=R (a run's card holds it), got none"
        )
    budget = Budget(eps=eps, norm=norm, space=space, unit=1.0 if unit is None else unit)
    ids = np.arange(len(x)) if ids is None else np.asarray(ids)
    device = next(model.parameters()).device
    results = [
        search(
            target_of(model),
            x[part].to(device),
            Goal(target),
            budget,
            torch.as_tensor(ids[part]),
            seed,
        )
        for part in parts_of(len(x))
    ]
    return _join(results)


def evaluate(
    model: Model,
    samples: Samples,
    *,
    under: str | Attack | None = None,
    seed: int = 0,
    **budget: Any,
) -> Scores:
    """ACC, NMI and ARI of a model on samples, clean or under an attack.

    Args:
        under: An attack's name, or one that is ready; `budget` then holds `eps`, `norm`, `space`
            and, beside a name, the attack's settings.
    """
    n = len(samples)
    clean = cluster_all(model, samples.x)
    if under is None:
        return measures.scores(clean.labels, samples.y, model.clusters, seed=seed)
    rows = own_rows(n)
    result = attack(model, samples.x[rows], under, ids=samples.ids[rows], seed=seed, **budget)
    return measures.scores(
        clean.labels,
        samples.y,
        model.clusters,
        after=joined(result.after.numpy(), n),
        moved=joined(result.moved.numpy(), n),
        strength=float(budget["eps"]),
        seed=seed,
    )


def project(model: Model, samples: Samples, seed: int = 0, on_step: OnStep | None = None) -> Layout:
    """Map a model's embedding of samples: UMAP, fitted once, teaches the projector pair."""
    z = cluster(model, samples.x).z
    return projection.fit(z, projection.ProjectionConfig(), seed=seed, on_step=on_step)


def target_of(model: Model) -> Target:
    """What an attack may ask of a model, and no more."""
    return Target.of(model)


def attack_of(run: Run, name: str) -> Attack:
    """The attack of this name, ready for the run: a learned one is the run's own.

    One that is stale (see `Run.attackers`) is given all the same.

    Raises:
        ValueError: unknown attack, or a learned one without a fitted attacker.
    """
    cls = lookup(ATTACKS, name, "attack")
    return cls.load(runs.attacker_file(run.info, name)) if cls.learned else cls()


def reconstruct(run: Run, x: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """An image (c, h, w) through encoder and decoder; None where there is no decoder."""
    if not run.model.has_decoder:
        return None
    with torch.no_grad():
        z = run.model.embed(torch.from_numpy(x[None]).to(run.device))
        return run.model.decode(z)[0].float().cpu().numpy()


def probe(run: Run, xy: tuple[float, float]) -> Probe:
    """What the model makes of a place on the map.

    Raises:
        ValueError: the run has no map yet.
    """
    if run.projector is None or run.map is None:
        raise ValueError(
            f"run {run.name!r}: expected a map (`python -m clustcore project`), got none"
        )
    z = torch.from_numpy(run.projector.back(np.asarray([xy], np.float32))).to(run.device)
    with torch.no_grad():
        p = run.model.soft(z)[0].float().cpu().numpy()
        image = run.model.decode(z)[0].float().cpu().numpy() if run.model.has_decoder else None
    _, trusted = regions.look_up(run.map.raster, xy)
    return Probe(p, image, trusted)


def _named(attack: str | Attack, settings: dict[str, Any]) -> Attack:
    if isinstance(attack, str):
        cls = lookup(ATTACKS, attack, "attack")
        return cls(cls.Config.from_dict(settings, f"attack {attack!r}"))
    if settings:
        raise ValueError(
            f"attack {attack.name!r}: expected no settings beside one that is ready, got "
            f"{', '.join(sorted(settings))}"
        )
    return attack


def _join(results: list[AttackResult]) -> AttackResult:
    whole = {}
    for field in dataclasses.fields(AttackResult):
        values = [getattr(result, field.name) for result in results]
        whole[field.name] = torch.cat(values) if isinstance(values[0], Tensor) else values[0]
    return AttackResult(**whole)
