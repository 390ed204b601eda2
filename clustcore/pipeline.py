"""The whole story: load a run, attack it, map it, measure it.

The functions of the public door live here.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clustcore import evaluation, projection, runs
from clustcore.attacks import ATTACKS, LEARNED
from clustcore.attacks.base import Attack, Budget, Goal, PathResult, Target
from clustcore.checkpoint import load_model
from clustcore.distributed import agreed, collect, main, pick_device, shard, world
from clustcore.models.base import Model
from clustcore.runs import MapArrays
from clustcore.types import (
    AttackPath,
    AttackResult,
    Clustering,
    Images,
    Layout,
    Samples,
    Scores,
    dial,
    lookup,
)

OnStep = Callable[[int, int, str], None]
_BATCH = 500


@dataclass(frozen=True)
class Run:
    """A trained model and what belongs to it."""

    name: str
    folder: Path
    card: dict[str, Any]
    model: Model
    device: torch.device

    @property
    def unit(self) -> float:
        """R: half the mean distance between neighbouring cluster means; rho is measured in it."""
        return float(self.card.get("embedding", {}).get("R", 1.0))

    @cached_property
    def projector(self) -> projection.Projector | None:
        """The projector pair, or None where the run has no map yet."""
        file = self.folder / "projector.safetensors"
        return projection.load(file) if file.is_file() else None

    @property
    def attackers(self) -> dict[str, bool]:
        """The learned attackers fitted for this run: name -> stale, that is, fitted on other
        weights. Read afresh on each call.

        Raises:
            ValueError: a file is damaged, or another attack's.
        """
        found = {}
        for name in LEARNED:
            file = runs.attacker_file(self.folder, name)
            if file.is_file():
                found[name] = lookup(ATTACKS, name, "attack").load(file)
        weights = self.card["weights_sha256"]
        return {name: attacker.fitted_on != weights for name, attacker in found.items()}

    @cached_property
    def map(self) -> MapArrays | None:
        """The run's map, or None where it has none yet."""
        found = runs.read_map(self.folder)
        stale = found is not None and found.weights != self.card["weights_sha256"]
        return None if stale else found


@dataclass(frozen=True)
class PinFrames:
    """One sample on its way through the strengths, with what can be seen of it."""

    path: AttackPath  # of this one sample
    frames: NDArray[np.float32] | None  # (S, c, h, w) attacked images; None in the embedding
    decoded: NDArray[np.float32] | None  # (S, c, h, w) decoded embeddings; None without a decoder


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
    info = runs.find_run(name)
    where = pick_device(device)
    model = load_model(info.folder).to(where)
    run = Run(name, info.folder, info.card, model, where)
    model.unit = run.unit
    return run


def cluster(model: Model, x: Images, batch: int = 1000) -> Clustering:
    """Embedding, scores and soft assignment of images, read, checked and embedded batch by batch:
    memory holds what comes out, and of the images one batch.

    A device that runs out of memory gets smaller batches, and a warning says so.

    Raises:
        ValueError: images of another shape than the model's, NaN, or outside [0, 1].
    """
    _check_shape(x, model)
    device = next(model.parameters()).device
    out: list[NDArray[np.float32]] = []
    done = 0
    with torch.no_grad(), target_of(model).settled():
        while done < len(x):
            rows = slice(done, min(done + batch, len(x)))
            try:
                z = model.embed(_pixels(x, rows, model).to(device))
                found = [t.float().cpu().numpy() for t in (z, model.scores(z), model.soft(z))]
            except torch.OutOfMemoryError:
                if batch == 1:
                    raise
                batch //= 2
                warnings.warn(f"out of memory on {device}: batch is now {batch}", stacklevel=2)
                continue
            out = out or [np.empty((len(x), *part.shape[1:]), np.float32) for part in found]
            for whole, part in zip(out, found, strict=True):
                whole[rows] = part
            done = rows.stop
    return Clustering(*out)


def cluster_all(model: Model, x: Images) -> Clustering:
    """`cluster`, every process taking its rows; all get the whole."""
    if world() == 1:
        return cluster(model, x)
    mine = cluster(model, x[_mine(len(x))])
    return Clustering(*(_whole(part, len(x)) for part in (mine.z, mine.s, mine.p)))


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
        return evaluation.scores(clean.labels, samples.y, model.clusters, seed=seed)
    rows = _mine(n)
    result = attack(model, samples.x[rows], under, ids=samples.ids[rows], seed=seed, **budget)
    return evaluation.scores(
        clean.labels,
        samples.y,
        model.clusters,
        after=_whole(result.after.numpy(), n),
        moved=_whole(result.moved.numpy(), n),
        strength=float(budget["eps"]),
        seed=seed,
    )


def project(model: Model, samples: Samples, seed: int = 0, on_step: OnStep | None = None) -> Layout:
    """Map a model's embedding of samples: UMAP, fitted once, teaches the projector pair."""
    z = cluster(model, samples.x).z
    return projection.fit(z, projection.ProjectionConfig(), seed=seed, on_step=on_step)


def target_of(model: Model) -> Target:
    """What an attack may ask of a model, and no more."""
    decode = model.decode if model.has_decoder else None
    return Target(
        model.embed,
        model.scores,
        decode=decode,
        soft=model.soft,
        head=model.head(),
        noise_scale=model.noise_scale,
    )


def attack_of(run: Run, name: str) -> Attack:
    """The attack of this name, ready for the run: a learned one is the run's own.

    One that is stale (see `Run.attackers`) is given all the same.

    Raises:
        ValueError: unknown attack, or a learned one without a fitted attacker.
    """
    cls = lookup(ATTACKS, name, "attack")
    return cls.load(runs.attacker_file(run.folder, name)) if cls.learned else cls()


def path_rows(samples: Samples) -> NDArray[np.int64]:
    """The rows that get a path: a seeded sample, the same for every model of a data set."""
    n = min(runs.PATH_SAMPLES, len(samples))
    return evaluation.sample_rows(n, len(samples), samples.y, seed=0)


def compute_path(
    run: Run,
    samples: Samples,
    attack: str,
    space: str,
    norm: str,
    target: int | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> AttackPath:
    """The path of the run's samples under an attack: stored, or computed now and cached on disk.

    Args:
        on_step: called with (done, total, sentence); raising in it cancels, and nothing is kept.

    Raises:
        ValueError: unknown attack, space, norm or target, or a run without a map.
    """
    _check_samples(run, samples)
    found = runs.stored_path(run.folder, attack, space, norm, target, seed)
    if agreed(found is not None):
        if found is None:
            raise ValueError(
                f"{run.folder}: expected the path that another process found, got none; the "
                "folder of the run has to be one that all processes share"
            )
        return found
    path = walk(run, samples, path_rows(samples), attack, space, norm, target, seed, on_step)
    if main():
        runs.write_path(runs.cached_path_file(run.folder, attack, space, norm, target, seed), path)
    return path


def walk(
    run: Run,
    samples: Samples,
    rows: NDArray[np.int64],
    attack: str,
    space: str,
    norm: str,
    target: int | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
    ahead: bool = False,
) -> AttackPath:
    """Compute the path of these rows, in parts, so that progress shows and memory stays bounded.
    Every process takes its rows; all get the whole.
    """
    parts, mine = [], rows[_mine(len(rows))]
    for part in parts_of(len(mine)):
        result = _walk(
            run,
            samples,
            mine[part],
            attack,
            space,
            norm,
            target,
            seed,
            on_step,
            len(mine),
            part.start,
        )
        parts.append(_draw(run, mine[part], result, attack, space, norm, target, seed, ahead))
    path = _join_paths(parts)
    whole = {
        name: np.moveaxis(_whole(np.moveaxis(getattr(path, name), axis, 0), len(rows)), 0, axis)
        for name, axis in _PER_SAMPLE.items()
    }
    return dataclasses.replace(path, **whole)


def transfer(
    run_a: Run,
    run_b: Run,
    samples: Samples,
    attack: str,
    space: str = "pixels",
    norm: str = "linf",
    seed: int = 0,
    on_step: OnStep | None = None,
) -> NDArray[np.float64]:
    """(S,) the share of the paths' samples that an attack made on A moves under B, per strength.

    Judged against B's own clean assignment: B sees the very images that A's path is made of, one
    after the other, so a sample may come back.

    Args:
        on_step: called with (done, total, sentence); raising in it cancels.

    Raises:
        ValueError: another space than pixels, runs mapped on other samples, or images that do not
            fit B.
    """
    if space != "pixels":
        raise ValueError(
            f"transfer: expected an attack in pixels, got {space!r}: embeddings are not shared"
        )
    for run in (run_a, run_b):
        _check_samples(run, samples)
    rows = path_rows(samples)
    moved = []
    for part in parts_of(len(rows)):
        result = _walk(
            run_a,
            samples,
            rows[part],
            attack,
            space,
            norm,
            None,
            seed,
            on_step,
            len(rows),
            part.start,
        )
        labels = [cluster(run_b.model, x).labels for x in result.x_adv]
        moved.append(np.stack(labels) != labels[0])
    return np.concatenate(moved, axis=1).mean(1)


def pin_frames(
    run: Run,
    samples: Samples,
    row: int,
    attack: str,
    space: str,
    norm: str,
    target: int | None = None,
    seed: int = 0,
) -> PinFrames:
    """One sample's path with its images. A sample that has a stored path keeps its stored
    positions.

    Raises:
        ValueError: no such row.
    """
    _check_samples(run, samples)
    if not 0 <= row < len(samples):
        raise ValueError(f"sample {row}: expected 0 to {len(samples) - 1}")
    rows = np.array([row])
    result = _walk(run, samples, rows, attack, space, norm, target, seed, None, 1, 0)
    stored = runs.stored_path(run.folder, attack, space, norm, target, seed)
    if stored is not None and row in stored.rows:
        at = np.flatnonzero(stored.rows == row)
        path = _take(stored, at)
    else:
        path = _draw(run, rows, result, attack, space, norm, target, seed, False)
    frames = None if result.x_adv is None else result.x_adv[:, 0].numpy()
    decoded = None
    if run.model.has_decoder:
        with torch.no_grad():
            decoded = run.model.decode(result.z[:, 0].to(run.device)).float().cpu().numpy()
    return PinFrames(path, frames, decoded)


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
    raster = run.map.raster
    x0, y0, x1, y1 = raster.bounds
    grid = raster.trusted.shape[0]
    column, row = (xy[0] - x0) / (x1 - x0) * grid, (xy[1] - y0) / (y1 - y0) * grid
    inside = 0 <= column < grid and 0 <= row < grid
    return Probe(p, image, bool(inside and raster.trusted[int(row), int(column)]))


def _walk(
    run: Run,
    samples: Samples,
    rows: NDArray[np.int64],
    attack: str,
    space: str,
    norm: str,
    target: int | None,
    seed: int,
    on_step: OnStep | None,
    total: int,
    before: int,
) -> PathResult:
    search = attack_of(run, attack)

    def say(done: int, steps: int, sentence: str) -> None:
        if on_step is not None:
            on_step(before * steps + done * len(rows), total * steps, sentence)

    return search.path(
        target_of(run.model),
        torch.from_numpy(samples.x[rows]).to(run.device),
        Goal(target),
        torch.from_numpy(dial(samples.name, space, norm).strengths),
        norm=norm,
        space=space,
        unit=run.unit,
        ids=torch.from_numpy(samples.ids[rows]),
        seed=seed,
        on_step=say,
    )


def _draw(
    run: Run,
    rows: NDArray[np.int64],
    result: PathResult,
    attack: str,
    space: str,
    norm: str,
    target: int | None,
    seed: int,
    ahead: bool,
) -> AttackPath:
    if run.projector is None or run.map is None:
        raise ValueError(
            f"run {run.name!r}: expected a map (`python -m clustcore project`), got none"
        )
    steps, m, d = result.z.shape
    with torch.no_grad():
        p = run.model.soft(result.z.reshape(-1, d).to(run.device)).float().cpu().numpy()
    xy = run.projector.place(result.z.reshape(-1, d).numpy()).reshape(steps, m, 2)
    xy[0] = run.map.xy[
        rows
    ]  # equal up to rounding; made exact, so that nothing jumps at strength 0
    return AttackPath(
        strengths=dial(run.map.data, space, norm).strengths,
        rows=rows,
        xy=xy,
        p=p.reshape(steps, m, -1),
        labels=result.s.argmax(2).numpy().astype(np.uint8),
        smallest=result.smallest.numpy().astype(np.float32),
        l2=result.l2.numpy(),
        linf=result.linf.numpy(),
        attack=attack,
        space=space,
        norm=norm,
        target=target,
        seed=seed,
        weights=run.card["weights_sha256"],
        ahead=ahead,
    )


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


def _check_samples(run: Run, samples: Samples) -> None:
    if run.map is None:
        raise ValueError(
            f"run {run.name!r}: expected a map (`python -m clustcore project`), got none"
        )
    expected = (run.map.data, run.map.split, len(run.map.xy))
    got = (samples.name, samples.split, len(samples))
    if got != expected:
        raise ValueError(
            f"run {run.name!r}: expected the {expected[2]:,} samples of its map ({expected[0]}, "
            f"{expected[1]}), got {got[2]:,} of {got[0]}, {got[1]}"
        )


_PER_SAMPLE = {"xy": 1, "p": 1, "labels": 1, "l2": 1, "linf": 1, "rows": 0, "smallest": 0}


def _join_paths(parts: list[AttackPath]) -> AttackPath:
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts], axis)
        for name, axis in _PER_SAMPLE.items()
    }
    return dataclasses.replace(parts[0], **joined)


def _take(path: AttackPath, at: NDArray[np.int64]) -> AttackPath:
    taken = {name: np.take(getattr(path, name), at, axis) for name, axis in _PER_SAMPLE.items()}
    return dataclasses.replace(path, **taken)


def _mine(n: int) -> slice:
    # of fewer rows than there are processes each takes all
    return shard(n) if n >= world() else slice(0, n)


def _whole(array: NDArray[Any], n: int) -> NDArray[Any]:
    return array if len(array) == n else collect(array, n)


def parts_of(n: int) -> list[slice]:
    return [slice(i, min(i + _BATCH, n)) for i in range(0, n, _BATCH)]


def _join(results: list[AttackResult]) -> AttackResult:
    joined = {}
    for field in dataclasses.fields(AttackResult):
        values = [getattr(result, field.name) for result in results]
        joined[field.name] = torch.cat(values) if isinstance(values[0], Tensor) else values[0]
    return AttackResult(**joined)


def check_images(x: Images, model: Model) -> Tensor:
    """The images as a float32 tensor in [0, 1].

    Raises:
        ValueError: another shape than the model's, none at all, NaN, or values outside [0, 1].
    """
    _check_shape(x, model)
    return _pixels(x, slice(0, len(x)), model)


def _check_shape(x: Images, model: Model) -> None:
    if len(x.shape) != 4 or tuple(x.shape[1:]) != model.input_shape:
        raise ValueError(
            f"images: expected shape (n, {', '.join(map(str, model.input_shape))}), "
            f"got {tuple(x.shape)}"
        )
    if len(x) == 0:
        raise ValueError("images: expected at least one, got none")


def _pixels(x: Images, rows: slice, model: Model) -> Tensor:
    part = x[rows]
    if isinstance(part, np.ndarray) and not part.flags.writeable:
        part = part.copy()  # such as a file mapped into memory; torch takes only what it may write
    part = torch.as_tensor(part)
    where = f"images {rows.start} to {rows.stop - 1}"
    expected = (rows.stop - rows.start, *model.input_shape)
    if tuple(part.shape) != expected:
        raise ValueError(f"{where}: expected shape {expected}, got {tuple(part.shape)}")
    if part.dtype == torch.uint8:
        return part.float() / 255
    if not part.is_floating_point():
        raise ValueError(
            f"{where}: expected floating point numbers in [0, 1], or bytes, got {part.dtype}"
        )
    low, high = float(part.min()), float(part.max())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise ValueError(f"{where}: expected values in [0, 1], got {low:.3g} to {high:.3g}")
    return part.float()
