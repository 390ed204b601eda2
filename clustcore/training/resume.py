"""The resume state of a training, its history and its snapshots.

They are written whole or not at all, and no pickle anywhere.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from clustcore.config import Config
from clustcore.defences.base import Defence
from clustcore.files import atomic, save_npz
from clustcore.models.base import Model, Stage
from clustcore.models.weights import fill
from clustcore.training.epoch import Progress, Snapshot

RESUME = "resume.safetensors"
SNAPSHOTS = "snapshots"
KEPT = 50  # snapshots


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write `history.csv`, one line an epoch."""
    names: list[str] = []
    for row in history:
        names += [name for name in row if name not in names]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with atomic(folder / "history.csv") as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def save_resume(
    folder: Path,
    model: Model,
    stages: list[Stage],
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    origin: str = "",
    defence: Defence | None = None,
) -> None:
    """Write `resume.safetensors`: all that a training needs to go on.

    Weights, optimiser, stage state and where training stands; of a defence its own networks and the
    optimiser of the attacker inside too.

    Order, views and draws belong to seed and epoch, so there is no random state to keep.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    state, inner = optimiser.state_dict(), None
    tensors |= _flat("optimiser", state)
    if defence is not None:
        tensors |= {f"defence.{name}": value for name, value in defence.state_dict().items()}
        if defence.inner is not None:
            inner = defence.inner.state_dict()
            tensors |= _flat("inner", inner)
    for stage in stages:
        tensors |= {f"stage.{stage.name}.{name}": value for name, value in stage.state.items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    note = {"stage": progress.stage, "epoch": progress.epoch, "history": progress.history}
    note["batch"] = progress.batch
    note |= {"shape": _shape(model, defence), "origin": origin, "groups": state["param_groups"]}
    note["inner"] = None if inner is None else inner["param_groups"]
    with atomic(folder / RESUME) as part:
        save_file(tensors, part, {"progress": json.dumps(note)})


def load_resume(
    folder: Path,
    model: Model,
    stages: list[Stage],
    origin: str = "",
    defence: Defence | None = None,
) -> tuple[Progress, dict[str, Any] | None] | None:
    """Fill model, stages and defence from `resume.safetensors`; None where there is none.

    Raises:
        ValueError: the file is damaged, or belongs to another model or config.
    """
    path = folder / RESUME
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            note = json.loads(file.metadata()["progress"])
        tensors = load_file(path)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected resume state, got {error}") from None
    if note["shape"] != _shape(model, defence):
        raise ValueError(
            f"{path}: expected the state of {_shape(model, defence)}, got {note['shape']}; "
            "choose another run name, or remove the folder"
        )
    if note["origin"] != origin:
        raise ValueError(
            f"{path}: expected the state of a training with these settings on these images, got "
            "another's; choose another run name, or remove the folder"
        )
    fill(model, _part(tensors, "model."), str(path))
    for stage in stages:
        stage.state = _part(tensors, f"stage.{stage.name}.")
        device = next(model.parameters()).device
        stage.state = {name: value.to(device) for name, value in stage.state.items()}
    if defence is not None:
        fill(defence, _part(tensors, "defence."), str(path))
        if defence.inner is not None:
            defence.inner.load_state_dict(_nested("inner", tensors, note["inner"]))
    progress = Progress(note["stage"], note["epoch"], note["history"], batch=note["batch"])
    # a stage that has not begun starts with a fresh optimiser
    optimiser_state = _nested("optimiser", tensors, note["groups"]) if progress.epoch else None
    return progress, optimiser_state


def save_snapshot(folder: Path, epoch: int, snapshot: Snapshot) -> None:
    """Write `snapshots/<epoch>.npz`: the embedding of a sample after this epoch.

    With its clusters and its rows; epochs are counted from 0. Of many the newest stay.
    """
    place = folder / SNAPSHOTS
    arrays = {"z": snapshot.z, "labels": snapshot.labels, "rows": snapshot.rows, "epoch": epoch}
    save_npz(place / f"{epoch:05d}.npz", arrays)
    for old in sorted(place.glob("*.npz"))[:-KEPT]:
        old.unlink()


def drop_later(folder: Path, history: list[dict[str, Any]]) -> None:
    """Remove what a stopped training left of epochs beyond its resume state.

    These are made again: their snapshots and their lines of `history.csv`.
    """
    for file in (folder / SNAPSHOTS).glob("*.npz"):
        if int(file.stem) >= len(history):
            file.unlink()
    if history:
        write_history(folder, history)
    else:
        (folder / "history.csv").unlink(missing_ok=True)


def drop_resume(folder: Path) -> None:
    """Remove the resume state of a finished run, its snapshots with it."""
    (folder / RESUME).unlink(missing_ok=True)
    if (folder / SNAPSHOTS).is_dir():
        shutil.rmtree(folder / SNAPSHOTS)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _flat(prefix: str, state: dict[str, Any]) -> dict[str, Tensor]:
    # the tensors of an optimiser's state, by name
    return {
        f"{prefix}.{index}.{name}": value
        for index, entry in state["state"].items()
        for name, value in entry.items()
    }


def _nested(prefix: str, tensors: dict[str, Tensor], groups: list[Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, f"{prefix}.").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": groups}


def _shape(model: Model, defence: Defence | None) -> str:
    # a defence without tensors of its own, too, is another training than none
    parts: list[Model | Defence] = [model] if defence is None else [model, defence]
    return ", ".join(f"{type(part).__name__} {_settings(part.config)}" for part in parts)


def _settings(config: Config) -> str:
    # without what is as it is by default: a later field changes no earlier state
    usual = type(config)().to_dict()
    settings = {k: v for k, v in config.to_dict().items() if v != usual[k]}
    return json.dumps(settings, sort_keys=True)
