"""An attack on a run's samples over the whole dial: walked, drawn on the map, cached on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from clustcore import measures, runs
from clustcore.attacks.base import Budget, Goal, PathResult
from clustcore.dial import dial
from clustcore.distributed import agreed, is_main
from clustcore.pipeline.batches import cluster, joined, own_rows, parts_of
from clustcore.pipeline.run import OnStep, Run, attack_of, target_of
from clustcore.types import AttackPath, BarePath, PathKey, Samples

# the axis of samples in each array of a path
_PER_SAMPLE = {"xy": 1, "z": 1, "p": 1, "labels": 1, "l2": 1, "linf": 1, "rows": 0, "smallest": 0}
_Path = TypeVar("_Path", AttackPath, BarePath)


@dataclass(frozen=True)
class PinFrames:
    """One sample on its way through the strengths, with what can be seen of it."""

    path: AttackPath  # of this one sample
    frames: NDArray[np.float32] | None  # (S, c, h, w) attacked images; None in the embedding
    decoded: NDArray[np.float32] | None  # (S, c, h, w) decoded embeddings; None without a decoder


def path_rows(samples: Samples) -> NDArray[np.int64]:
    """The rows that get a path: a seeded sample, the same for every model of a data set."""
    n = min(runs.PATH_SAMPLES, len(samples))
    return measures.sample_rows(n, len(samples), samples.y, seed=0)


def compute_path(
    run: Run, samples: Samples, key: PathKey, on_step: OnStep | None = None
) -> AttackPath:
    """The path of the run's samples under an attack: stored, or computed now and cached on disk.

    Args:
        on_step: called with (done, total, sentence); raising in it cancels, and nothing is kept.

    Raises:
        ValueError: unknown attack, space, norm or target, or a run without a map.
    """
    _check_samples(run, samples)
    info = run.info
    found = runs.stored_path(info, key)
    if agreed(found is not None):
        if found is None:
            raise ValueError(
                f"{run.folder}: expected the path that another process found, got none; the "
                "folder of the run has to be one that all processes share"
            )
        return found
    path = walk(run, samples, path_rows(samples), key, on_step)
    if is_main():
        runs.write_path(runs.cached_path_file(info, key), path)
    return path


def walk(
    run: Run,
    samples: Samples,
    rows: NDArray[np.int64],
    key: PathKey,
    on_step: OnStep | None = None,
    ahead: bool = False,
) -> AttackPath:
    """Compute the path of these rows, in parts, so that progress shows and memory stays bounded.

    Every process takes its rows; all get the whole.
    """
    parts = [draw(run, part, ahead) for part in _bare_parts(run, samples, rows, key, on_step)]
    return _whole(parts, len(rows))


def bare_path(
    run: Run,
    samples: Samples,
    rows: NDArray[np.int64],
    key: PathKey,
    on_step: OnStep | None = None,
) -> BarePath:
    """`walk` for a run without a map: what needs the model's gradients, to be drawn later.

    Its embeddings are float16, a map's own precision.
    """
    parts = [
        dataclasses.replace(part, z=part.z.astype(np.float16))
        for part in _bare_parts(run, samples, rows, key, on_step)
    ]
    return _whole(parts, len(rows))


def draw(run: Run, bare: BarePath, ahead: bool = False) -> AttackPath:
    """Place a path on the run's map.

    Raises:
        ValueError: a run without a map, or embeddings that are not finite.
    """
    if run.projector is None or run.map is None:
        raise ValueError(
            f"run {run.name!r}: expected a map (`python -m clustcore project`), got none"
        )
    steps, m, d = bare.z.shape
    xy = run.projector.place(bare.z.reshape(-1, d)).reshape(steps, m, 2)
    # equal up to rounding; made exact, so that nothing jumps at strength 0
    xy[0] = run.map.xy[bare.rows]
    same = {f.name: getattr(bare, f.name) for f in dataclasses.fields(bare) if f.name != "z"}
    return AttackPath(**same, xy=xy, ahead=ahead)


def transfer(
    run_a: Run, run_b: Run, samples: Samples, key: PathKey, on_step: OnStep | None = None
) -> NDArray[np.float64]:
    """(S,) the share of the paths' samples that an attack made on A moves under B, per strength.

    Judged against B's own clean assignment: B sees the very images that A's path is made of, one
    after the other, so a sample may come back.

    Args:
        on_step: called with (done, total, sentence); raising in it cancels.

    Raises:
        ValueError: another space than pixels, a target, runs mapped on other samples, or images
            that do not fit B.
    """
    if key.space != "pixels":
        raise ValueError(
            f"transfer: expected an attack in pixels, got {key.space!r}: embeddings are not shared"
        )
    if key.target is not None:
        raise ValueError(
            f"transfer: expected no target, got cluster {key.target}: clusters are not shared"
        )
    for run in (run_a, run_b):
        _check_samples(run, samples)
    rows = path_rows(samples)
    moved = []
    for part in parts_of(len(rows)):
        result = _walk(run_a, samples, rows[part], key, _within(on_step, part, len(rows)))
        labels = [cluster(run_b.model, x).labels for x in result.images]
        moved.append(np.stack(labels) != labels[0])
    return np.concatenate(moved, axis=1).mean(1)


def pin_frames(run: Run, samples: Samples, row: int, key: PathKey) -> PinFrames:
    """One sample's path with its images.

    A sample that has a stored path keeps its stored positions.

    Raises:
        ValueError: no such row.
    """
    _check_samples(run, samples)
    if not 0 <= row < len(samples):
        raise ValueError(f"sample {row}: expected 0 to {len(samples) - 1}")
    rows = np.array([row])
    result = _walk(run, samples, rows, key)
    stored = runs.stored_path(run.info, key)
    if stored is not None and row in stored.rows:
        path = _take(stored, np.flatnonzero(stored.rows == row))
    else:
        path = draw(run, _bare(run, samples, rows, result, key))
    frames = None if result.x_adv is None else result.x_adv[:, 0].numpy()
    decoded = None
    if run.model.has_decoder:
        with torch.no_grad():
            decoded = run.model.decode(result.z[:, 0].to(run.device)).float().cpu().numpy()
    return PinFrames(path, frames, decoded)


def _walk(
    run: Run,
    samples: Samples,
    rows: NDArray[np.int64],
    key: PathKey,
    on_step: OnStep | None = None,
) -> PathResult:
    strengths = dial(samples.name, key.space, key.norm).strengths
    return attack_of(run, key.attack).path(
        target_of(run.model),
        torch.from_numpy(samples.x[rows]).to(run.device),
        Goal(key.target),
        Budget(strengths[-1], key.norm, key.space, run.unit),
        strengths,
        ids=torch.from_numpy(samples.ids[rows]),
        seed=key.seed,
        on_step=on_step,
    )


def _within(on_step: OnStep | None, part: slice, total: int) -> OnStep | None:
    # what is told of a part's rows, as progress of all rows
    if on_step is None:
        return None

    def say(done: int, steps: int, sentence: str) -> None:
        on_step(part.start * steps + done * (part.stop - part.start), total * steps, sentence)

    return say


def _bare_parts(
    run: Run,
    samples: Samples,
    rows: NDArray[np.int64],
    key: PathKey,
    on_step: OnStep | None,
) -> Iterator[BarePath]:
    # this process's rows, a part at a time
    mine = rows[own_rows(len(rows))]
    for part in parts_of(len(mine)):
        result = _walk(run, samples, mine[part], key, _within(on_step, part, len(mine)))
        yield _bare(run, samples, mine[part], result, key)


def _bare(
    run: Run, samples: Samples, rows: NDArray[np.int64], result: PathResult, key: PathKey
) -> BarePath:
    steps, m, d = result.z.shape
    with torch.no_grad():
        p = run.model.soft(result.z.reshape(-1, d).to(run.device)).float().cpu().numpy()
    return BarePath(
        strengths=dial(samples.name, key.space, key.norm).strengths,
        rows=rows,
        z=result.z.numpy(),
        p=p.reshape(steps, m, -1),
        labels=result.s.argmax(2).numpy().astype(np.uint8),
        smallest=result.smallest.numpy().astype(np.float32),
        l2=result.l2.numpy(),
        linf=result.linf.numpy(),
        key=key,
        weights=run.card.weights_sha256,
    )


def _check_samples(run: Run, samples: Samples) -> None:
    arrays = run.mapped
    expected = (arrays.data, arrays.split, len(arrays.xy))
    got = (samples.name, samples.split, len(samples))
    if got != expected:
        raise ValueError(
            f"run {run.name!r}: expected the {expected[2]:,} samples of its map ({expected[0]}, "
            f"{expected[1]}), got {got[2]:,} of {got[0]}, {got[1]}"
        )


def _whole(parts: list[_Path], n: int) -> _Path:
    # the parts of this process, then those of all: n samples
    arrays: dict[str, Any] = {}
    for name, axis in _axes(parts[0]).items():
        own = np.concatenate([getattr(part, name) for part in parts], axis)
        arrays[name] = np.moveaxis(joined(np.moveaxis(own, axis, 0), n), 0, axis)
    return dataclasses.replace(parts[0], **arrays)


def _take(path: AttackPath, at: NDArray[np.int64]) -> AttackPath:
    taken: dict[str, Any] = {
        name: np.take(getattr(path, name), at, axis) for name, axis in _axes(path).items()
    }
    return dataclasses.replace(path, **taken)


def _axes(path: AttackPath | BarePath) -> dict[str, int]:
    return {name: axis for name, axis in _PER_SAMPLE.items() if hasattr(path, name)}
