"""Weights and resume state of a run: safetensors and JSON, written whole or not at all, and no
pickle anywhere.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from clustcore.config import Config, lookup
from clustcore.defences.base import Defence
from clustcore.epoch import Progress
from clustcore.files import PART, atomic, save_npz
from clustcore.models import MODELS
from clustcore.models.base import Model, Stage
from clustcore.runs import WEIGHTS, read_card, weights_files, weights_parts

if TYPE_CHECKING:
    from clustcore.epoch import Snapshot
RESUME = "resume.safetensors"
SNAPSHOTS = "snapshots"
KEPT = 50  # snapshots


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_weights(folder: Path, model: Model, *, half: bool = True) -> str:
    """Write `weights.safetensors` and return its sha256, which belongs in the card.

    Args:
        half: store floating point tensors in half precision; `load_model` gives float32 back.
    """
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous().clone()
        tensors[name] = value.half() if half and value.is_floating_point() else value
    with atomic(folder / WEIGHTS) as part:
        save_file(tensors, part)
    return sha256(folder / WEIGHTS)


def build(card: dict[str, Any], where: str = "card") -> Model:
    """A fresh model as the card describes it.

    Raises:
        ValueError: unknown model, or a config it does not take.
    """
    try:
        cls = lookup(MODELS, card["model"], "model")
    except ValueError as error:
        raise ValueError(f"{where}: field 'model': {error}") from None
    config = cls.Config.from_dict(card["config"], f"{where}: field 'config'")
    return cls(config)


def load_model(folder: Path) -> Model:
    """The model of a run, on the CPU, in eval mode, its parameters frozen; its weights may lie in
    parts.

    Raises:
        ValueError: the card or the weights are missing, damaged, tampered with, or do not fit
            together.
    """
    path, data = folder / WEIGHTS, _weights(folder)
    model = build(read_card(folder), str(folder / "card.json"))
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected safetensors, got {error}") from None
    _fill(model, tensors, str(path))
    model.eval()
    return model.requires_grad_(False)


def split_weights(folder: Path, out: Path, limit: int = PART) -> list[Path]:
    """Write a run's weights into another folder, or its own, in files of at most `limit` bytes, and
    return these. Weights that lay there otherwise are removed.

    Raises:
        ValueError: see `load_model`.
    """
    data = _weights(folder)
    count = -(-len(data) // limit)
    return _write(data, [out / WEIGHTS] if count == 1 else weights_parts(out, count))


def join_weights(folder: Path, out: Path) -> Path:
    """Write the weights that lie in parts beside their card as the one file they were split from,
    into another folder or the same, and return it. Parts that lay there are removed.

    Raises:
        ValueError: see `load_model`; nothing is written then.
    """
    return _write(_weights(folder), [out / WEIGHTS])[0]


def _write(data: bytes, files: list[Path]) -> list[Path]:
    size = -(-len(data) // len(files))
    for i, file in enumerate(files):
        with atomic(file) as part:
            part.write_bytes(data[i * size : (i + 1) * size])
    folder = files[0].parent
    for old in [folder / WEIGHTS, *folder.glob(f"{WEIGHTS}.part-*")]:
        if old not in files:
            old.unlink(missing_ok=True)
    return files


def _weights(folder: Path) -> bytes:
    # all bytes of a run's weights, as the card says
    expected, files = read_card(folder)["weights_sha256"], weights_files(folder)
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file}: expected weights, got no such file")
    parts = [file.read_bytes() for file in files]
    data = b"".join(parts)
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        where = ", ".join(
            f"{file} ({len(part):,} bytes)" for file, part in zip(files, parts, strict=True)
        )
        raise ValueError(
            f"{where}: sha256: expected {expected[:12]}... (card.json), got {found[:12]}...; "
            f"{'the file' if len(files) == 1 else 'a part'} was changed or cut short"
        )
    return data


def _fill(model: torch.nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    own = model.state_dict()
    if missing := sorted(set(own) - set(tensors)):
        raise ValueError(f"{where}: expected tensor {missing[0]!r}, got none of that name")
    if extra := sorted(set(tensors) - set(own)):
        raise ValueError(f"{where}: expected no tensor {extra[0]!r}, got one")
    for name, value in tensors.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{where}: tensor {name!r}: expected shape {tuple(own[name].shape)}, "
                f"got {tuple(value.shape)}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(
                f"{where}: tensor {name!r}: expected finite numbers, got NaN or infinity"
            )
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in tensors.items()})


def begin_with(model: Model, source: Model, where: str) -> None:
    """Give a model the weights of another one of its architecture, such as one with earlier stages
    done. What training alone needs (`Model.helpers`) is taken along where both have it.

    Args:
        where: what to call the source in a message.

    Raises:
        ValueError: another architecture; the message names the first tensor that differs.
    """
    if type(model) is not type(source):
        raise ValueError(
            f"{where}: expected a model of the kind {type(model).__name__}, got a "
            f"{type(source).__name__}"
        )
    own, given = model.state_dict(), source.state_dict()
    for name in [*own, *(name for name in given if name not in own)]:
        if name.startswith(model.helpers) and not (name in own and name in given):
            continue
        mine, other = (tuple(t[name].shape) if name in t else None for t in (own, given))
        if mine != other:
            shapes = ("none of that name" if s is None else f"shape {s}" for s in (mine, other))
            raise ValueError("{}: tensor {!r}: expected {}, got {}".format(where, name, *shapes))
    model.load_state_dict({n: given.get(n, value).to(value.dtype) for n, value in own.items()})


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
    """Write `resume.safetensors`: weights, optimiser, stage state and where training stands; of a
    defence its own networks and the optimiser of the attacker inside too.

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
    _fill(model, _part(tensors, "model."), str(path))
    for stage in stages:
        stage.state = _part(tensors, f"stage.{stage.name}.")
        device = next(model.parameters()).device
        stage.state = {name: value.to(device) for name, value in stage.state.items()}
    if defence is not None:
        _fill(defence, _part(tensors, "defence."), str(path))
        if defence.inner is not None:
            defence.inner.load_state_dict(_nested("inner", tensors, note["inner"]))
    progress = Progress(note["stage"], note["epoch"], note["history"], batch=note["batch"])
    # a stage that has not begun starts with a fresh optimiser
    kept = _nested("optimiser", tensors, note["groups"]) if progress.epoch else None
    return progress, kept


def save_snapshot(folder: Path, epoch: int, snapshot: Snapshot) -> None:
    """Write `snapshots/<epoch>.npz`: the embedding of a sample after this epoch, counted from 0,
    its clusters and its rows. Of many the newest stay.
    """
    place = folder / SNAPSHOTS
    arrays = {"z": snapshot.z, "labels": snapshot.labels, "rows": snapshot.rows, "epoch": epoch}
    save_npz(place / f"{epoch:05d}.npz", arrays)
    for old in sorted(place.glob("*.npz"))[:-KEPT]:
        old.unlink()


def drop_later(folder: Path, history: list[dict[str, Any]]) -> None:
    """Remove what a stopped training left of epochs beyond its resume state, which are made again:
    their snapshots and their lines of `history.csv`.
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
    parts = [model] if defence is None else [model, defence]
    return ", ".join(f"{type(part).__name__} {_settings(part.config)}" for part in parts)


def _settings(config: Config) -> str:
    # without what is as it is by default: a later field changes no earlier state
    usual = type(config)().to_dict()
    settings = {k: v for k, v in config.to_dict().items() if v != usual[k]}
    return json.dumps(settings, sort_keys=True)
