"""A run made of random numbers, for tests of the screens: whole on disk, no training, no model."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustcore import files, runs
from clustcore.dial import dial
from clustcore.maps import alignment
from clustcore.types import AttackPath, MapArrays, PathKey, Raster
from ui import cached

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
    arrays = MapArrays(
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
    files.write_json(folder / "card.json", values | card)
    if paths:
        for attack in ("pgd", "noise"):
            for space, norm in (("pixels", "linf"), ("pixels", "l2"), ("embedding", "l2")):
                file = folder / "paths" / runs.path_name(PathKey(attack, space, norm))
                runs.write_path(file, make_path(arrays, attack, space, norm))
    return folder


def make_two(place: Path) -> Path:
    """Write a run and another whose clusters bear other numbers, on a map turned by 90 degrees."""
    make_run(place)
    other = make_run(place, "other")
    order = np.roll(np.arange(K), 3)
    arrays = alignment.rename_map(runs.read_map(other), order)
    turned = np.ascontiguousarray(arrays.xy[:, ::-1] * np.array([1, -1], np.float32))
    runs.write_map(other, dataclasses.replace(arrays, xy=turned))
    for file in (other / "paths").iterdir():
        path = alignment.rename_path(runs.read_path(file), order)
        xy = np.ascontiguousarray(path.xy[..., ::-1] * np.array([1, -1], np.float32))
        runs.write_path(file, dataclasses.replace(path, xy=xy))
    return place


def change_card(folder: Path, **values: Any) -> None:
    """Write other values into a run's card."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    files.write_json(folder / "card.json", card | values)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The files that are opened to be read from now on, by name."""
    read: Counter[str] = Counter()
    original = Path.open

    def counted(self: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
        read[self.name] += "r" in mode
        return original(self, mode, *args, **more)

    monkeypatch.setattr(Path, "open", counted)
    return read


def ask(run: runs.RunInfo, attack: str = "pgd", **more: Any) -> cached.runs.Ask:
    """Which path: of an attack in pixels, L-inf."""
    return cached.runs.Ask(run, PathKey(attack, "pixels", "linf", **more))


def make_path(
    arrays: MapArrays, attack: str, space: str, norm: str, target: int | None = None
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
        key=PathKey(attack, space, norm, target),
        weights=WEIGHTS,
        ahead=True,
    )


MOVED = {  # under each attacker, in the order in which `reproduce alrdc` writes them
    ("undefended", "its own"): 0.44,
    ("control", "old"): 0.40,
    ("control", "adaptive"): 0.42,
    ("alrdc", "old"): 0.15,
    ("alrdc", "adaptive"): 0.62,
    ("alternating", "old"): 0.13,
    ("alternating", "adaptive"): 0.14,
}


def make_entry(data: str = "mnist", seed: int = 0, mode: str = "full", **moved: float) -> Any:
    """An entry as `reproduce alrdc` writes it, of made-up numbers.

    Args:
        moved: other shares for the paper's defence, by attacker: "old" or "adaptive".
    """
    shares = MOVED | {("alrdc", who): share for who, share in moved.items()}
    bars = [
        {
            "space": space,
            "norm": norm,
            "b": b,
            "undefended": {"n": 1000, "moved": 0.501},
            "defended": {"n": 1000, "moved": share, "moved_interval": [share - 0.02, share + 0.02]},
            "acc_change": -0.012,
            "reconstruction_ratio": ratio,
            "neighbour_overlap": 0.58,
            "cleared": share <= 1 / 6,
        }
        for space, norm, b, share, ratio in (
            ("embedding", "l2", 0.612, 0.143, 1.05),
            ("pixels", "linf", 0.0712, 0.31, None),
        )
    ]
    return {
        "data": data,
        "seed": seed,
        "mode": mode,
        "n_train": 10_000 if mode == "quick" else 60_000,
        "n_attacker": 10_000,
        "settings": {},
        "device": "cpu",
        "weights": [],
        "rows": [_measured(*key, share) for key, share in shares.items()],
        "bar": [] if mode == "quick" else bars,
    }


def _measured(model: str, attacker: str, moved: float) -> dict[str, Any]:
    clean = {"n": N, "acc": 0.951, "nmi": 0.9, "ari": 0.89, "used": K, "reconstruction": 9.5}
    under = {
        "n": N,
        "seed": 0,
        "moved": moved,
        "moved_interval": [moved - 0.01, moved + 0.01],
        "acc": 0.95 - moved,
        "acc_rematched": 0.97 - moved,
        "nmi_clean_attacked": 1 - moved,
        "length": 3.2,
        "length_relative": 0.4,
        "rho": 0.71,
        "decoded_change": 4.25,
        "noise_moved": 0.037,
        "pgd_moved": 0.93,
        "pgd_n": 1000,
    }
    return {"model": model, "attacker": attacker, "clean": clean, "under": under}
