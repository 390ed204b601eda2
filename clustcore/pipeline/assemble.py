"""A run from what came back of a training elsewhere: weights and bare paths, mapped and drawn here.

What needs a large model's gradients is made where it was trained (`paths.bare_path`); the map, and
all that stands on it, is made on a CPU.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import torch

from clustcore import files, runs
from clustcore.maps.projection import ProjectionConfig
from clustcore.models.weights import join_weights, load_model
from clustcore.pipeline import contents, paths
from clustcore.pipeline.batches import cluster
from clustcore.pipeline.run import OnStep, Run
from clustcore.types import BarePath, Clustering, MinFlips, Samples

MOVED = 0.01  # share of the samples that another device's rounding may put into another cluster
FAR = 0.05  # how far it may put half of them from where they are, in spreads of the embedding


def assemble(
    folder: Path,
    name: str,
    samples: Samples,
    on_step: OnStep | None = None,
    config: ProjectionConfig | None = None,
) -> Path:
    """Make a whole run under `runs/` of what was brought.

    It gets weights in one file, the map, the paths drawn on it, and the scores. What is there and
    not stale is left: a call that was interrupted goes on where it stood.

    Args:
        folder: holds `card.json`, the weights (see `checkpoint.split_weights`) and one or more of
            the paths of `parts.PATHS` (see `runs.write_bare`), and, where there are any,
            `history.csv` and the tables of smallest flips.
        samples: what the paths were walked on; the map is made of them.
        on_step: called with (done, total, sentence) between steps; may raise to cancel.
        config: how the map is made.

    Returns:
        The run's folder.

    Raises:
        ValueError: a file is missing or damaged, or of other weights; the model does not find the
            samples where the paths begin; or a name that cannot be had. Nothing is written then.
    """
    card = runs.read_card(folder)
    weights = card.weights_sha256
    target = _target(name, weights)
    model = load_model(folder, card)
    found = {key: runs.read_bare(folder, key, weights) for key in contents.PATHS}
    bare = {key: path for key, path in found.items() if path is not None}
    if not bare:
        file = folder / runs.bare_name(contents.PATHS[0], 0)
        raise ValueError(f"{file}: expected a part of a path, this one or another, got none")
    tables = _tables(folder, weights)
    rows = paths.path_rows(samples)
    clean = cluster(model, samples.x[rows])
    for key, path in bare.items():
        _check(folder / runs.bare_name(key, 0), path, rows, clean)

    # the card first: what is there without one is not taken for an assembly that was interrupted
    if not (target / "card.json").is_file():
        runs.write_card(target, card)
    if not (target / runs.WEIGHTS).is_file():
        join_weights(folder, target)
    history = folder / "history.csv"
    if history.is_file() and not (target / history.name).is_file():
        with files.atomic(target / history.name) as part:
            shutil.copyfile(history, part)
    for table in tables:
        before = runs.read_min_flips(target, table.space, table.norm)
        if before is None or before.weights != weights:
            runs.write_min_flips(target, table)

    card = runs.read_card(target)
    run = Run(name, target, card, model, torch.device("cpu"))
    model.unit = run.unit
    _map(run, samples, next(iter(bare.values())), on_step, config)
    drawn = False
    for i, (key, path) in enumerate(bare.items()):
        file = target / "paths" / runs.path_name(key)
        there = runs.read_path(file)
        if there is None or there.weights != weights:
            if on_step is not None:
                on_step(i, len(bare), f"Drawing {file.stem}")
            runs.write_path(file, paths.draw(run, path, ahead=True))
            drawn = True
    if drawn or card.scores is None:
        scores = contents.measure(run, samples)
        runs.write_card(target, card.changed(scores=scores.to_json()))
    return target


def _target(name: str, weights: str) -> Path:
    runs.check_name(name)
    found = {run.name: run for run in runs.list_runs()}.get(name)
    if found is not None and (
        found.shipped or found.problem or found.card.weights_sha256 != weights
    ):
        raise ValueError(
            f"{found.folder}: expected no such run, or one of the weights {weights[:12]}..., got "
            "another"
        )
    return runs.folders()[1] / name


def _tables(folder: Path, weights: str) -> list[MinFlips]:
    found = [runs.read_min_flips(folder, "pixels", norm) for norm in ("linf", "l2")]
    for table in found:
        if table is not None and table.weights != weights:
            raise ValueError(
                f"{folder / f'min_flip-{table.space}-{table.norm}.npz'}: expected flips of the "
                f"weights {weights[:12]}..., got some of {table.weights[:12]}..."
            )
    return [table for table in found if table is not None]


def _check(file: Path, path: BarePath, rows: np.ndarray, clean: Clustering) -> None:
    # whether the path begins where the model finds the samples
    if not np.array_equal(path.rows, rows):
        raise ValueError(
            f"{file}: expected the {len(rows):,} rows that a path of these samples has, got "
            f"{len(path.rows):,} others"
        )
    if path.z.shape[2] != clean.z.shape[1] or not np.isfinite(path.z).all():
        raise ValueError(
            f"{file}: expected finite embeddings of {clean.z.shape[1]} dimensions, got "
            f"{path.z.shape[2]} dimensions, NaN or infinity"
        )
    other = float((path.labels[0] != clean.labels).mean())
    spread = float(np.linalg.norm(clean.z - clean.z.mean(0), axis=1).mean())
    away = float(np.median(np.linalg.norm(path.z[0] - clean.z, axis=1))) / max(spread, 1e-12)
    if other > MOVED or away > FAR:
        raise ValueError(
            f"{file}: expected samples where the model finds them at strength 0, but for rounding; "
            f"got {other:.1%} in other clusters (expected at most {MOVED:.0%}) and half of them at "
            f"least {away:.2f} spreads away (expected at most {FAR}); were it other images?"
        )


def _map(
    run: Run,
    samples: Samples,
    path: BarePath,
    on_step: OnStep | None,
    config: ProjectionConfig | None,
) -> None:
    made_of = (samples.name, samples.split, len(samples))
    arrays = run.map
    if (
        arrays is None
        or run.projector is None
        or (arrays.data, arrays.split, len(arrays.xy)) != made_of
    ):
        arrays = contents.make_map(run, samples, on_step=on_step, config=config)
    # a sample between two clusters may round into either: it is in the one that its paths begin in,
    # so that nothing changes its colour at strength 0
    labels = arrays.labels.copy()
    labels[path.rows] = path.labels[0]
    if (labels != arrays.labels).any():
        runs.write_map(run.folder, dataclasses.replace(arrays, labels=labels))
        run.__dict__.pop("map", None)  # read afresh
