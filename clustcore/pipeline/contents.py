"""What stands in a run beside weights and card, and the scores that are read off it.

Its map, its paths, the smallest flips, learned attackers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clustcore import measures, runs
from clustcore.attacks import ATTACKS
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.attacks.base import Budget, Goal
from clustcore.dial import dial
from clustcore.distributed import agreed, is_main, wait
from clustcore.maps import projection, regions
from clustcore.pipeline.batches import check_images, cluster, cluster_all, parts_of
from clustcore.pipeline.paths import path_rows, walk
from clustcore.pipeline.run import OnStep, Run, attack_of, target_of
from clustcore.registry import lookup
from clustcore.runs import CardAttack, CardScores
from clustcore.types import AttackPath, MapArrays, MinFlips, Norm, PathKey, Samples, Space

# the paths a shipped run carries
_WHERE: tuple[tuple[Space, Norm], ...] = (
    ("pixels", "linf"),
    ("pixels", "l2"),
    ("embedding", "l2"),
)
PATHS = [PathKey(attack, space, norm) for attack in ("pgd", "noise") for space, norm in _WHERE]


def make_map(
    run: Run,
    samples: Samples,
    seed: int = 0,
    on_step: OnStep | None = None,
    config: projection.ProjectionConfig | None = None,
) -> MapArrays:
    """Fit the projector, draw map and regions, and write both into the run."""
    clean = cluster_all(run.model, samples.x)
    if not is_main():  # UMAP is one process's work
        wait()
        _forget_map(run)
        return run.mapped
    layout = projection.fit(clean.z, config, seed=seed, on_step=on_step)

    def soft(z: Tensor) -> Tensor:
        with torch.no_grad():
            return run.model.soft(z.to(run.device)).cpu()

    arrays = MapArrays(
        xy=layout.xy,
        z=clean.z.astype(np.float16),
        p=clean.p.astype(np.float16),
        labels=clean.labels.astype(np.uint8),
        trust=layout.trust,
        trustworthiness=layout.trustworthiness,
        held_out=layout.held_out,
        error=layout.error,
        raster=regions.raster(layout.projector, soft, layout.xy, 200),
        data=samples.name,
        split=samples.split,
        seed=seed,
        weights=run.card.weights_sha256,
        among=layout.among,
    )
    # the old map goes first, and the paths drawn on it: a kill in between must not mix two maps
    (run.folder / "map.npz").unlink(missing_ok=True)
    shutil.rmtree(run.folder / "paths", ignore_errors=True)
    projection.save(run.folder / "projector.safetensors", layout.projector)
    runs.write_map(run.folder, arrays)
    _forget_map(run)
    wait()
    return arrays


def _forget_map(run: Run) -> None:
    for name in ("map", "projector"):
        run.__dict__.pop(name, None)  # read afresh


def min_flips(
    run: Run,
    samples: Samples,
    rows: NDArray[np.int64],
    space: str,
    norm: str,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> MinFlips:
    """The smallest change found that flips each sample; runs on until all flip."""
    cls = lookup(ATTACKS, "min_flip", "attack")
    budget = Budget(eps=float("inf"), norm=norm, space=space, unit=run.unit)
    smallest, after = [], []
    for part in parts_of(len(rows)):
        if on_step is not None:
            on_step(part.start, len(rows), f"smallest flips, {norm}")
        x = torch.from_numpy(samples.x[rows[part]]).to(run.device)
        ids = torch.from_numpy(samples.ids[rows[part]])
        result = cls(cls.Config())(target_of(run.model), x, Goal(None), budget, ids, seed)
        size = result.linf if norm == "linf" else result.l2
        smallest.append(torch.where(result.moved, size, torch.nan).numpy())
        after.append(result.after.numpy())
    return MinFlips(
        rows=rows,
        smallest=np.concatenate(smallest).astype(np.float32),
        after=np.concatenate(after).astype(np.uint8),
        norm=norm,
        space=space,
        seed=seed,
        weights=run.card.weights_sha256,
    )


def fit_attacker(
    run: Run,
    samples: Samples,
    attack: str = "alrdc",
    *,
    config: ALRDCConfig | None = None,
    seed: int = 0,
    on_epoch: Callable[[int, int, dict[str, float]], None] | None = None,
) -> Path:
    """Fit ALRDC's attacker to a run and write it into the run.

    That of a shipped run lies beside it: see `runs.fitted_file`.

    Args:
        samples: what it learns from: the training split, so that what it is judged on is new to it.
        attack: the learned attack that it is for: "alrdc", as in the paper, or "alrdc-relu".
        config: the weights of its loss, and how long it learns.
        on_epoch: see `fit`.

    Returns:
        The attacker's file.

    Raises:
        ValueError: unknown attack, one that learns nothing, or images that are not the model's.
    """
    cls = lookup(ATTACKS, attack, "attack")
    if not cls.learned:
        raise ValueError(f"attacker to fit: expected a learned attack, got {attack!r}")
    attacker = cls(config)
    attacker.fit(target_of(run.model), check_images(samples.x, run.model), seed, on_epoch)
    file = runs.fitted_file(run.info, attack)
    if is_main():
        if file.is_relative_to(run.folder):
            for path in (run.folder / "paths").glob(f"{attack}-embedding-*.npz"):
                path.unlink()  # walked by the attacker before
        attacker.save(file, run.card.weights_sha256)
    wait()
    return file


def attacker_images(samples: Samples) -> Samples:
    """What learned attackers learn from.

    They are no more images than the paper's saw, drawn without labels.
    """
    rows = np.random.default_rng(0).permutation(len(samples))[: runs.FIT_SAMPLES]
    return samples.take(np.sort(rows))


def paths_of(run: Run) -> list[PathKey]:
    """The paths a run carries: the usual ones, and those of the learned attackers it has."""
    return [*PATHS, *(PathKey(attack, "embedding", "l2") for attack in run.attackers)]


def make_paths(run: Run, samples: Samples, on_step: OnStep | None = None) -> None:
    """Write the run's paths and its two `min_flip` tables.

    Those that are there and not stale are left.
    """
    for key in paths_of(run):
        file = run.folder / "paths" / runs.path_name(key)
        found = runs.read_path(file)
        if agreed(found is None or found.weights != run.card.weights_sha256):
            path = walk(run, samples, path_rows(samples), key, on_step, ahead=True)
            if is_main():
                runs.write_path(file, path)
    for norm in ("linf", "l2"):
        table = runs.read_min_flips(run.folder, "pixels", norm)
        if agreed(table is None or table.weights != run.card.weights_sha256):
            rows = np.sort(path_rows(samples)[: runs.FLIP_SAMPLES])
            table = min_flips(run, samples, rows, "pixels", norm, on_step=on_step)
            if is_main():
                runs.write_min_flips(run.folder, table)
    wait()  # nobody reads them before they are there


def measure(run: Run, samples: Samples) -> CardScores:
    """The card's `scores`: clean on all samples, attacked on those of the paths.

    Attacked at the reported budgets.

    Figures at a budget are read off the stored paths, so that the card says what the dial shows.
    """
    clean = cluster(run.model, samples.x)
    whole = measures.scores(clean.labels, samples.y, run.model.clusters)
    attacked = []
    stale = run.attackers
    for key in paths_of(run):
        path = runs.read_path(run.folder / "paths" / runs.path_name(key))
        if path is None:
            continue
        protocol = "old attacker" if stale.get(key.attack) else "adaptive"
        attacked.append(_measure_path(run, samples, path, protocol))
    return CardScores(
        split=samples.split,
        n=len(samples),
        acc=whole.acc,
        nmi=whole.nmi,
        ari=whole.ari,
        clusters_used=whole.clusters_used,
        attacked=tuple(attacked),
    )


def _measure_path(run: Run, samples: Samples, path: AttackPath, protocol: str) -> CardAttack:
    budget = dial(samples.name, path.space, path.norm).default
    clean = run.mapped.labels.astype(np.int64)
    y = None if samples.y is None else samples.y[path.rows]
    match = None
    if samples.y is not None:
        match = measures.matching(clean, samples.y, run.model.clusters)
    after = measures.labels_at(path, budget).astype(np.int64)
    figures = measures.scores(
        path.labels[0].astype(np.int64),
        y,
        run.model.clusters,
        after=after,
        moved=path.smallest <= budget,
        match=match,
    )
    return CardAttack(
        attack=path.attack,
        space=path.space,
        norm=path.norm,
        eps=budget,
        settings=attack_of(run, path.attack).config.to_dict(),
        protocol=protocol,
        n=len(path.rows),
        seed=path.seed,
        moved=figures.moved.value,
        moved_interval=(figures.moved.low, figures.moved.high),
        median_smallest=float(measures.median_smallest(path.smallest).value),
        median_l2=_at(path.l2, path.strengths, budget),
        median_linf=_at(path.linf, path.strengths, budget),
        acc=figures.acc,
        acc_rematched=figures.acc_rematched,
        nmi=figures.nmi,
    )


def _at(size: NDArray[np.float32], strengths: NDArray[np.float32], budget: float) -> float:
    return float(np.interp(budget, strengths, np.median(size, axis=1)))
