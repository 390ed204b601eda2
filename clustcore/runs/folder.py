"""A run is a folder: where runs lie, what they are called, their cards and their weights' files."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
PROJECT = Path(__file__).resolve().parent.parent.parent
SHIPPED = PROJECT / "assets" / "runs"
WEIGHTS = "weights.safetensors"
_SIGNS = ("card.json", "resume.safetensors")
_UNFINISHED = "training was interrupted; the command that began it goes on"
NAME_RULE = "letters, digits, '.', '_' and '-', at most 80, beginning with a letter or a digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_WEIGHTS_PART = re.compile(re.escape(WEIGHTS) + r"\.part-\d{1,3}-of-([1-9]\d{0,2})")


def folders() -> list[Path]:
    """Where runs are looked for: the shipped ones, then one's own (`runs/`, or the folder
    DRIFTMAP_RUNS names). Their paths are whole: a process elsewhere finds the same.
    """
    return [SHIPPED, Path(os.environ.get("DRIFTMAP_RUNS", PROJECT / "runs")).absolute()]


@dataclass(frozen=True)
class RunInfo:
    """A run as a list shows it. `problem` says why it cannot be used; `card` is then empty."""

    name: str
    folder: Path
    card: dict[str, Any]
    problem: str | None
    shipped: bool

    @property
    def readiness(self) -> str:
        """What is there: "broken", "weights missing", "unfinished", "map not computed yet", "paths
        not computed yet" or "ready".
        """
        if self.problem:
            return "unfinished" if self.problem.endswith(_UNFINISHED) else "broken"
        if not has_weights(self.folder):
            return "weights missing"
        if not (self.folder / "map.npz").is_file():
            return "map not computed yet"
        if not any((self.folder / "paths").glob("*.npz")):
            return "paths not computed yet"
        return "ready"


def is_name(name: str) -> bool:
    """Whether a run may be called so: a plain folder name, never a path."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Refuse what no run may be called.

    Raises:
        ValueError: it is none: see `NAME_RULE`.
    """
    if not is_name(name):
        raise ValueError(f"run name: expected {NAME_RULE}, got {name!r}")


def taken(name: str) -> Path | None:
    """The folder of the trained run of this name, shipped or one's own; None where there is none.

    A training that has not ended takes no name: it may go on.
    """
    return next((at / name for at in folders() if (at / name / "card.json").exists()), None)


def new_folder(name: str) -> Path:
    """Where a run of this name is to be trained.

    Raises:
        ValueError: a name that no run may have, or one that is taken.
    """
    check_name(name)
    if (folder := taken(name)) is not None:
        raise ValueError(f"{folder}: expected a new run, got one that is there already")
    return folders()[1] / name


def weights_files(folder: Path) -> list[Path]:
    """Where a run's weights lie: in one file, else in the parts that it was split into, in order.

    One of them may be missing: then the weights are.
    """
    whole = folder / WEIGHTS
    found = [_WEIGHTS_PART.fullmatch(path.name) for path in folder.glob(f"{WEIGHTS}.part-*")]
    sets = [weights_parts(folder, n) for n in sorted({int(match[1]) for match in found if match})]
    if whole.is_file() or not sets:
        return [whole]
    # of two splits, the one that is whole
    return next((files for files in sets if all(file.is_file() for file in files)), sets[0])


def weights_parts(folder: Path, count: int) -> list[Path]:
    """What the parts of a run's weights are called, in order."""
    return [folder / f"{WEIGHTS}.part-{i}-of-{count}" for i in range(count)]


def has_weights(folder: Path) -> bool:
    """Whether a run's weights are there, in one file or in parts."""
    return all(file.is_file() for file in weights_files(folder))


def list_runs() -> list[RunInfo]:
    """Every run there is, shipped ones first, then by name; of two with one name the first counts.
    Read afresh on each call.
    """
    found: dict[str, RunInfo] = {}
    for place in folders():
        for folder in sorted(place.iterdir()) if place.is_dir() else []:
            if folder.is_dir() and is_name(folder.name) and folder.name not in found:
                begun = any((folder / name).is_file() for name in _SIGNS)
                if not begun and not has_weights(folder):
                    continue  # not a run, or one that has not begun to save
                if not (folder / "card.json").is_file() and (folder / _SIGNS[1]).is_file():
                    problem = f"{folder.name}: {_UNFINISHED}"
                    found[folder.name] = RunInfo(folder.name, folder, {}, problem, place == SHIPPED)
                    continue
                try:
                    card, problem = read_card(folder), None
                except ValueError as error:
                    card, problem = {}, str(error)
                found[folder.name] = RunInfo(folder.name, folder, card, problem, place == SHIPPED)
    return list(found.values())


def find_run(name: str) -> RunInfo:
    """The run of this name.

    Raises:
        ValueError: there is none (a name can hold no path: see `NAME_RULE`), or it is broken.
    """
    runs = {run.name: run for run in list_runs()}
    if name not in runs:
        known = ", ".join(runs) or "none; `python -m clustcore train` makes one"
        raise ValueError(f"unknown run {name!r}; known: {known}")
    if runs[name].problem:
        raise ValueError(runs[name].problem)
    return runs[name]


_CARD_FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "model": str,
    "config": dict,
    "data": dict,
    "train": dict,
    "weights_sha256": str,
}


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a run, its required fields checked.

    Raises:
        ValueError: the card is missing, is not JSON, has another format, or lacks a field.
    """
    path = folder / "card.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a card, got no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: expected a readable card, got {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(card, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(card).__name__}")
    for field, kind in _CARD_FIELDS.items():
        if not isinstance(card.get(field), kind):
            got = repr(card[field]) if field in card else "nothing"
            raise ValueError(f"{path}: field {field!r}: expected {kind.__name__}, got {got}")
    for field in ("embedding", "scores"):
        if not isinstance(card.get(field, {}), dict):
            raise ValueError(f"{path}: field {field!r}: expected dict, got {card[field]!r}")
    if card["format"] != FORMAT:
        raise ValueError(f"{path}: field 'format': expected {FORMAT}, got {card['format']}")
    for field in ("name", "split"):
        if not isinstance(card["data"].get(field), str):
            raise ValueError(
                f"{path}: field 'data.{field}': expected str, got {card['data'].get(field)!r}"
            )
    return card
