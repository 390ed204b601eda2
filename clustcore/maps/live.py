"""Live maps of a training: each new snapshot of the embedding, turned onto the map before.

`snapshots/<epoch>.npz` is written by the training, `livemap.npz` by `follow`, in a process of its
own, since it imports umap. Reading it needs numpy only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from clustcore.files import is_locked, load_npz, save_npz
from clustcore.manifold import import_umap
from clustcore.maps.alignment import align

FEWEST = 20  # points that UMAP is asked to lay out
_EPOCHS = 150  # of UMAP: it starts where the last map ended
FILE = "livemap.npz"


@dataclass(frozen=True)
class LiveMap:
    """The samples that the diagnostics look at, as they lay after an epoch."""

    xy: Float[np.ndarray, "m 2"]
    labels: Integer[np.ndarray, " m"]
    epoch: int  # the last that was done, counted from 1


def newest(folder: Path) -> LiveMap | None:
    """The last live map of a run that is being trained, or None where there is none yet.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     newest(Path(place)) is None
        True
    """
    if not (folder / FILE).is_file():
        return None
    try:
        npz = load_npz(folder / FILE)
        return LiveMap(npz["xy"], npz["labels"], int(npz["epoch"]))
    except ValueError:
        return None  # the training has just ended, and cleared it away


def lay_out(
    z: Float[np.ndarray, "m d"], before: Float[np.ndarray, "m 2"] | None, seed: int = 0
) -> Float[np.ndarray, "m 2"]:
    """UMAP of an embedding, begun at the layout before and turned onto it.

    The first one begins at the principal plane. Fewer points than `FEWEST`, or points that are all
    the same, stay on it. Imports umap. See `clustcore.maps.alignment.align`.

    Args:
        z: the embedding.
        before: where its points lay last; None for the first layout.
        seed: of UMAP.

    Examples:
        >>> z = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
        >>> lay_out(z, None).shape  # so few lie on the principal plane
        (10, 2)
    """
    plane = _plane(z)
    xy = plane
    if len(z) >= FEWEST and np.ptp(plane) > 0:
        umap = import_umap()
        fitted = umap.UMAP(
            n_neighbors=15,
            min_dist=0.4,
            n_epochs=_EPOCHS,
            init=plane if before is None else before,
            random_state=seed,
            n_jobs=1,
        ).fit(z)
        xy = np.asarray(fitted.embedding_, np.float32)
    if before is None or len(before) != len(xy) or np.ptp(xy) == 0 or np.ptp(before) == 0:
        return xy
    return align(before, xy)(xy)


def _plane(z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m 2"]:
    centred = z - z.mean(0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    plane = np.zeros((len(z), 2))
    plane[:, : min(2, z.shape[1])] = centred @ axes[:, -2:]
    return plane.astype(np.float32)


def follow(
    folder: Path, on_map: Callable[[LiveMap], None] | None = None, pause: float = 1.0
) -> None:
    """Map each new snapshot until the training has ended; where several wait, only the newest.

    Args:
        folder: the run's.
        on_map: called with each map.
        pause: seconds between two looks.

    Examples:
        A training leaves a snapshot after each epoch; this one has ended after its sixth.

        >>> import tempfile
        >>> z = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float16)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     values = {"z": z, "labels": np.arange(10) % 3, "epoch": 5}
        ...     save_npz(Path(place) / "snapshots" / "00005.npz", values)
        ...     follow(Path(place))
        ...     newest(Path(place)).epoch
        6
    """
    last = newest(folder)
    while True:
        going = is_locked(folder)  # asked first, so that the last snapshot is not missed
        found = _map_newest(folder, last)
        if found is not None:
            last = found
            if on_map is not None:
                on_map(found)
        elif not going:
            return
        else:
            time.sleep(pause)


def _map_newest(folder: Path, last: LiveMap | None) -> LiveMap | None:
    files = sorted((folder / "snapshots").glob("*.npz"))
    if not files or (last is not None and int(files[-1].stem) + 1 == last.epoch):
        return None
    try:
        npz = load_npz(files[-1])
    except ValueError:
        return None  # the training has just cleared it away
    z = npz["z"].astype(np.float32)
    if not np.isfinite(z).all():
        return None
    before = last.xy if last is not None and len(last.xy) == len(z) else None
    found = LiveMap(lay_out(z, before), npz["labels"], int(npz["epoch"]) + 1)
    values = {"xy": found.xy, "labels": found.labels, "epoch": found.epoch}
    save_npz(folder / FILE, values)
    return found
