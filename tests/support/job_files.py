"""Jobs without a process: the files that a training leaves behind, for the screens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from clustcore import files
from clustcore.runs import progress

PLAN: dict[str, Any] = {"model": "dec", "data": {"name": "digits"}, "train": {"seed": 3}}


def make_job(
    place: Path,
    name: str,
    *,
    epochs: int = 6,
    total: int = 20,
    ended: tuple[tuple[str, int], ...] = (),
    reason: str = "",
    alone: bool = False,
    stop: bool = False,
    started: float = 1.7e9,
    batches: tuple[int, int] = (256, 256),
) -> Path:
    """A job's folder below `place`.

    Args:
        epochs: lines of the history.
        total: epochs that it says there will be.
        ended: its commands and their exit statuses; empty where it was killed, or still runs.
        reason: what the last of them said of its failure.
        alone: at the end all samples are in one cluster.
        stop: it was told to.
        batches: images in a batch, at first and in the last epoch.
    """
    folder = place / name
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(PLAN))
    job = {"pid": 2**22 + 1, "started": started, "argv": []} | ({"stop": True} if stop else {})
    (folder / "job.json").write_text(json.dumps(job))
    log, told = ["job: started train dec --data digits"], folder / progress.PROGRESS
    progress.add(told, "started")
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
        progress.add(told, "epoch", done=epoch + 1, total=total, stage="cluster", loss=loss)
    if epochs:
        (folder / "history.csv").write_text("\n".join(lines) + "\n")
    for command, code in ended:
        if reason and (command, code) == ended[-1]:
            progress.add(told, "failed", command=command, reason=reason)
            log.append(f"clustcore {command}: {reason}")
        progress.add(told, "ended", command=command, code=code)
        log.append(f"job: {command} ended with {code}")
    (folder / "log.txt").write_text("\n".join(log) + "\n")
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
