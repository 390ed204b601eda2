"""A model over many images.

They are checked, read in slices, embedded batch by batch, and shared out among the processes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clustcore import memory
from clustcore.attacks.base import Target
from clustcore.distributed import collect, shard, world
from clustcore.models.base import Model
from clustcore.types import Clustering, Images

_BATCH = 500


def cluster(model: Model, x: Images, batch: int = 1000) -> Clustering:
    """Embedding, scores and soft assignment of images, read, checked and embedded batch by batch.

    Memory holds what comes out, and of the images one batch.

    A device that runs out of memory gets smaller batches, and a warning says so.

    Raises:
        ValueError: images of another shape than the model's, NaN, or outside [0, 1].

    Examples:
        >>> import clustcore
        >>> samples = clustcore.load_samples("mnist")
        >>> found = cluster(clustcore.load_run("drc-mnist", "cpu").model, samples.x[:8])
        >>> found
        Clustering(z=float32[8, 64], s=float32[8, 10], p=float32[8, 10])
        >>> found.labels.tolist(), samples.y[:8].tolist()  # clusters bear numbers of their own
        ([4, 5, 1, 7, 0, 1, 0, 3], [7, 2, 1, 0, 4, 1, 4, 9])
    """
    _check_shape(x, model)
    device = next(model.parameters()).device
    out: list[NDArray[np.float32]] = []

    def ask(rows: slice) -> list[NDArray[np.float32]]:
        z = model.embed(_pixels(x, rows, model).to(device))
        return [t.float().cpu().numpy() for t in (z, model.scores(z), model.soft(z))]

    with torch.no_grad(), Target.of(model).settled():
        for rows, found in memory.Batches(batch, device).over(len(x), ask):
            out = out or [np.empty((len(x), *part.shape[1:]), np.float32) for part in found]
            for whole, part in zip(out, found, strict=True):
                whole[rows] = part
    return Clustering(*out)


def cluster_all(model: Model, x: Images) -> Clustering:
    """`cluster`, every process taking its rows; all get the whole.

    Examples:
        >>> import clustcore
        >>> model = clustcore.load_run("drc-mnist", "cpu").model
        >>> len(cluster_all(model, np.zeros((3, 1, 28, 28), np.float32)).labels)
        3
    """
    if world() == 1:
        return cluster(model, x)
    mine = cluster(model, x[own_rows(len(x))])
    return Clustering(*(joined(part, len(x)) for part in (mine.z, mine.s, mine.p)))


def own_rows(n: int) -> slice:
    """This process's rows of n; of fewer rows than there are processes each takes all.

    Examples:
        >>> own_rows(100)  # of a single process: all
        slice(0, 100, None)
    """
    return shard(n) if n >= world() else slice(0, n)


def joined(array: NDArray[Any], n: int) -> NDArray[Any]:
    """The n rows of which each process has its own, as `own_rows` gave them out.

    Examples:
        >>> joined(np.arange(3), 3).tolist()  # all of them are here already
        [0, 1, 2]
    """
    return array if len(array) == n else collect(array, n)


def parts_of(n: int) -> list[slice]:
    """Cut n rows into parts that an attack takes at once.

    Examples:
        >>> parts_of(1200)
        [slice(0, 500, None), slice(500, 1000, None), slice(1000, 1200, None)]
    """
    return [slice(i, min(i + _BATCH, n)) for i in range(0, n, _BATCH)]


def check_images(x: Images, model: Model) -> Tensor:
    """The images as a float32 tensor in [0, 1].

    Raises:
        ValueError: another shape than the model's, none at all, NaN, or values outside [0, 1].

    Examples:
        >>> import clustcore
        >>> model = clustcore.load_run("drc-mnist", "cpu").model
        >>> check_images(np.full((2, 1, 28, 28), 255, np.uint8), model).max()  # bytes become [0, 1]
        tensor(1.)
        >>> check_images(np.zeros((2, 1, 32, 32), np.float32), model)
        Traceback (most recent call last):
        ValueError: images: expected shape (n, 1, 28, 28), got (2, 1, 32, 32)
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
