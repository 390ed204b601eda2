"""A run made of random numbers, for tests of the screens: whole on disk, no training, no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clustcore import runs
from clustcore.types import AttackPath, Raster, dial

N, K, M, DIM = 10_000, 10, 60, 4
WEIGHTS = "0" * 64


def make_run(
    place: Path, name: str = "demo", data: str = "mnist", paths: bool = True, **card: Any
) -> Path:
    """Write a run below `place`: N samples in K clusters, and paths of M samples where asked."""
    rng = np.random.default_rng(0)
    folder = place / name
    labels = (np.arange(N) % K).astype(np.uint8)
    z = rng.normal(size=(N, DIM)).astype(np.float32) + labels[:, None]
    p = np.full((N, K), 0.1 / (K - 1), np.float32)
    p[np.arange(N), labels] = 0.9
    xy = z[:, :2].copy()
    winner = rng.integers(0, K, (20, 20)).astype(np.uint8)
    raster = Raster(
        bounds=(-4.0, -4.0, 14.0, 14.0),
        winner=winner,
        p=np.eye(K, dtype=np.float32)[winner],
        margin=np.ones((20, 20), np.float32),
        trusted=np.ones((20, 20), bool),
    )
    arrays = runs.MapArrays(
        xy=xy,
        z=z.astype(np.float16),
        p=p.astype(np.float16),
        labels=labels,
        trust=np.ones(N, np.float32),
        trustworthiness=0.961,
        held_out=0.953,
        error=0.12,
        raster=raster,
        data=data,
        split="test",
        seed=0,
        weights=WEIGHTS,
    )
    runs.write_map(folder, arrays)
    (folder / "weights.safetensors").write_bytes(b"no real weights")
    values = {
        "format": runs.FORMAT,
        "model": "drc",
        "config": {"clusters": K},
        "defence": None,
        "data": {"name": data, "split": "train", "n": 60000},
        "train": {"seed": 0},
        "decoder": False,
        "scores": {
            "split": "test",
            "n": N,
            "clean": {"acc": 0.9, "nmi": 0.8, "ari": 0.7},
            "attacked": [
                {"attack": "pgd", "space": "pixels", "norm": "linf", "eps": 0.3, "moved": 0.95}
            ],
        },
        "weights_sha256": WEIGHTS,
    }
    runs.write_json(folder / "card.json", values | card)
    if paths:
        for attack in ("pgd", "noise"):
            for space, norm in (("pixels", "linf"), ("pixels", "l2"), ("embedding", "l2")):
                path = make_path(arrays, attack, space, norm)
                runs.write_path(folder / "paths" / runs.path_name(attack, space, norm), path)
    return folder


def make_path(
    arrays: runs.MapArrays, attack: str, space: str, norm: str, target: int | None = None
) -> AttackPath:
    """A path of M samples: sample i first moves at (i + 1) / M of the dial, into the next cluster.

    Under "noise" none moves.
    """
    strengths = dial("mnist", space, norm).strengths
    rows, end, still = np.arange(M) * 7, float(strengths[-1]), attack == "noise"
    smallest = np.full(M, np.nan) if still else end * (np.arange(M) + 1) / M
    before = arrays.labels[rows]
    labels = np.where(smallest <= strengths[:, None], (before + 1) % K, before).astype(np.uint8)
    steps = len(strengths)
    return AttackPath(
        strengths=strengths,
        rows=rows.astype(np.int64),
        xy=(arrays.xy[rows] + np.arange(steps)[:, None, None] * 0.1).astype(np.float32),
        p=np.eye(K, dtype=np.float32)[labels],
        labels=labels,
        smallest=smallest.astype(np.float32),
        l2=np.repeat(strengths[:, None] * 2, M, 1),
        linf=np.repeat(strengths[:, None], M, 1),
        attack=attack,
        space=space,
        norm=norm,
        target=target,
        weights=WEIGHTS,
        ahead=True,
    )
