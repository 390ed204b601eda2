"""A run's weights: a model built from its card, safetensors read and written.

Whole or not at all, and no pickle anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from clustcore.files import PART, atomic, sha256
from clustcore.models import MODELS
from clustcore.models.base import Model
from clustcore.registry import lookup
from clustcore.runs import WEIGHTS, Card, read_card, weights_files, weights_parts


def save_weights(folder: Path, model: Model, *, half: bool = True) -> str:
    """Write `weights.safetensors` and return its sha256, which belongs in the card.

    Args:
        half: store floating point tensors in half precision; `load_model` gives float32 back.

    Examples:
        >>> import tempfile
        >>> model = build("dec", {"width": 2, "dim": 2})
        >>> folder = Path(tempfile.mkdtemp())
        >>> len(save_weights(folder, model)), [file.name for file in folder.iterdir()]
        (64, ['weights.safetensors'])
    """
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous().clone()
        tensors[name] = value.half() if half and value.is_floating_point() else value
    with atomic(folder / WEIGHTS) as part:
        save_file(tensors, part)
    return sha256(folder / WEIGHTS)


def build(kind: str, config: Mapping[str, Any], where: str = "card") -> Model:
    """A fresh model as a card or a plan describes it.

    Raises:
        ValueError: unknown model, or a config it does not take.

    Examples:
        >>> model = build("dec", {"clusters": 3, "dim": 4})
        >>> type(model).__name__, model.clusters, model.dim
        ('DEC', 3, 4)
        >>> build("dec", {"layers": 5})
        Traceback (most recent call last):
        ValueError: card: field 'config': unknown field 'layers'; known: ...
    """
    try:
        cls = lookup(MODELS, kind, "model")
    except ValueError as error:
        raise ValueError(f"{where}: field 'model': {error}") from None
    return cls(cls.Config.from_dict(dict(config), f"{where}: field 'config'"))


def load_model(folder: Path, card: Card | None = None) -> Model:
    """The model of a run, on the CPU, in eval mode, its parameters frozen.

    Its weights may lie in parts.

    Args:
        card: the run's, where it was read already.

    Raises:
        ValueError: the card or the weights are missing, damaged, tampered with, or do not fit
            together.

    Examples:
        >>> from clustcore import runs
        >>> model = load_model(runs.find_run("drc-mnist").folder)
        >>> model.training, any(p.requires_grad for p in model.parameters())
        (False, False)
    """
    card = read_card(folder) if card is None else card
    path, data = folder / WEIGHTS, _weights(folder, card)
    model = build(card.model, card.config, str(folder / "card.json"))
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected safetensors, got {error}") from None
    fill(model, tensors, str(path))
    model.eval()
    return model.requires_grad_(False)


def split_weights(folder: Path, out: Path, limit: int = PART) -> list[Path]:
    """Split a run's weights into files of at most `limit` bytes.

    They are written into another folder or the run's own, and returned. Weights that lay there
    otherwise are removed.

    Raises:
        ValueError: see `load_model`.

    Examples:
        >>> import tempfile
        >>> from clustcore import runs
        >>> folder, out = runs.find_run("drc-mnist").folder, Path(tempfile.mkdtemp())
        >>> parts = split_weights(folder, out, limit=50_000)
        >>> len(parts), all(part.stat().st_size <= 50_000 for part in parts)
        (2, True)
    """
    data = _weights(folder, read_card(folder))
    count = -(-len(data) // limit)
    return _write(data, [out / WEIGHTS] if count == 1 else weights_parts(out, count))


def join_weights(folder: Path, out: Path) -> Path:
    """Join the weights that lie in parts into the one file that they were split from.

    It is written into another folder or the same, and returned. Parts that lay there are removed.

    Raises:
        ValueError: see `load_model`; nothing is written then.

    Examples:
        >>> import shutil, tempfile
        >>> from clustcore import runs
        >>> folder, out = runs.find_run("drc-mnist").folder, Path(tempfile.mkdtemp())
        >>> parts = split_weights(folder, out, limit=50_000)
        >>> _ = shutil.copy(folder / "card.json", out)
        >>> sha256(join_weights(out, out)) == sha256(folder / WEIGHTS)
        True
        >>> sorted(file.name for file in out.iterdir())
        ['card.json', 'weights.safetensors']
    """
    return _write(_weights(folder, read_card(folder)), [out / WEIGHTS])[0]


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


def _weights(folder: Path, card: Card) -> bytes:
    # all bytes of a run's weights, as the card says
    expected, files = card.weights_sha256, weights_files(folder)
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


def fill(model: torch.nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Load tensors into a module, and refuse what does not fit, or is not finite.

    Examples:
        >>> layer = torch.nn.Linear(2, 1)
        >>> fill(layer, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, "mine")
        >>> layer.weight.tolist()
        [[1.0, 1.0]]
        >>> fill(layer, {"weight": torch.ones(1, 3), "bias": torch.zeros(1)}, "mine")
        Traceback (most recent call last):
        ValueError: mine: tensor 'weight': expected shape (1, 2), got (1, 3)
    """
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
    """Give a model the weights of another one of its architecture.

    Such as one with earlier stages done. What training alone needs (`Model.helpers`) is taken along
    where both have it.

    Args:
        where: what to call the source in a message.

    Raises:
        ValueError: another architecture; the message names the first tensor that differs.

    Examples:
        >>> model, source = (build("dec", {"width": 2, "dim": 2}) for _ in range(2))
        >>> begin_with(model, source, "the first run")
        >>> all(bool((a == b).all()) for a, b in zip(model.parameters(), source.parameters()))
        True
        >>> begin_with(model, build("dec", {"width": 2, "dim": 3}), "another run")
        Traceback (most recent call last):
        ValueError: another run: tensor 'centroids': expected shape (10, 2), got shape (10, 3)
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
