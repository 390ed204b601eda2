"""Jobs without a process: the files that a training leaves behind, for the screens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from clustcore import files

PLAN: dict[str, Any] = {"model": "dec", "data": {"name": "digits"}, "train": {"seed": 3}}


def make_job(
    place: Path,
    name: str,
    *,
    epochs: int = 6,
    total: int = 20,
    end: str = "",
    alone: bool = False,
    stop: bool = False,
    started: float = 1.7e9,
    batches: tuple[int, int] = (256, 256),
) -> Path:
    """A job's folder below `place`.

    Args:
        epochs: lines of the history.
        total: epochs that the log speaks of.
        end: last lines of the log; empty where it was killed, or still runs.
        alone: at the end all samples are in one cluster.
        stop: it was told to.
        batches: images in a batch, at first and in the last epoch.
    """
    folder = place / name
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(PLAN))
    job = {"pid": 2**22 + 1, "started": started, "argv": []} | ({"stop": True} if stop else {})
    (folder / "job.json").write_text(json.dumps(job))
    log = ["job: started train dec --data digits"]
    lines = [
        "epoch,stage,loss,entropy_mean,entropy_sample,confidence,used,sizes,seconds,batch,part_kl"
    ]
    for epoch in range(epochs):
        sizes = [130 + 5 * ((c * 7 + epoch) % 9) for c in range(9)] + [0]
        if alone:
            sizes = [1297] + [0] * 9
        loss, entropy = 1 / (1 + epoch), 0.9 / (1 + epoch / 4)
        row = (epoch, "cluster", loss, 0.95, entropy, 0.6, 9, " ".join(map(str, sizes)), 2.5)
        row += (batches[epoch == epochs - 1], loss)
        lines.append(",".join(map(str, row)))
        log.append(f"epoch {epoch + 1} of {total}, cluster: loss {loss:.4f}")
    if epochs:
        (folder / "history.csv").write_text("\n".join(lines) + "\n")
    (folder / "log.txt").write_text("\n".join(log) + "\n" + end)
    return folder


def make_snapshot(folder: Path, epoch: int, n: int = 300, *, mapped: bool = False) -> None:
    """A snapshot of three blobs, a little further apart each epoch; with its map too."""
    rng = np.random.default_rng(0)
    labels = (np.arange(n) % 3).astype(np.uint8)
    z = rng.normal(size=(n, 5)) + epoch * np.eye(5)[labels]
    values = {"z": z.astype(np.float16), "labels": labels, "rows": np.arange(n), "epoch": epoch}
    files.save_npz(folder / "snapshots" / f"{epoch:05d}.npz", values)
    if mapped:
        values = {"xy": z[:, :2].astype(np.float32), "labels": labels, "epoch": epoch + 1}
        files.save_npz(folder / "livemap.npz", values)
