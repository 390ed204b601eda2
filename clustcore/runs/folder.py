"""A run is a folder: where runs lie, what they are called, and their weights' files."""

from __future__ import annotations

import re
from pathlib import Path

from clustcore.locations import ASSETS, own_runs

SHIPPED = ASSETS / "runs"
WEIGHTS = "weights.safetensors"
NAME_RULE = "letters, digits, '.', '_' and '-', at most 80, beginning with a letter or a digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_WEIGHTS_PART = re.compile(re.escape(WEIGHTS) + r"\.part-\d{1,3}-of-([1-9]\d{0,2})")


def folders() -> list[Path]:
    """Where runs are looked for: the shipped ones, then one's own.

    Examples:
        >>> shipped, own = folders()
        >>> (shipped / "drc-mnist" / "card.json").is_file(), own.is_absolute()
        (True, True)
    """
    return [SHIPPED, own_runs()]


def is_name(name: str) -> bool:
    """Whether a run may be called so: a plain folder name, never a path.

    Examples:
        >>> is_name("drc-mnist"), is_name("../drc-mnist")
        (True, False)
    """
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Refuse what no run may be called.

    Raises:
        ValueError: it is none: see `NAME_RULE`.

    Examples:
        >>> check_name("drc-mnist")
        >>> check_name("a/b")
        Traceback (most recent call last):
        ValueError: run name: expected letters, digits, ..., got 'a/b'
    """
    if not is_name(name):
        raise ValueError(f"run name: expected {NAME_RULE}, got {name!r}")


def taken(name: str) -> Path | None:
    """The folder of the trained run of this name, shipped or one's own; None where there is none.

    A training that has not ended takes no name: it may go on.

    Examples:
        >>> taken("drc-mnist").name
        'drc-mnist'
        >>> taken("no-such-run") is None
        True
    """
    return next((at / name for at in folders() if (at / name / "card.json").exists()), None)


def new_folder(name: str) -> Path:
    """Where a run of this name is to be trained.

    Raises:
        ValueError: a name that no run may have, or one that is taken.

    Examples:
        >>> new_folder("mine").name
        'mine'
        >>> new_folder("drc-mnist")
        Traceback (most recent call last):
        ValueError: ...drc-mnist: expected a new run, got one that is there already
    """
    check_name(name)
    if (folder := taken(name)) is not None:
        raise ValueError(f"{folder}: expected a new run, got one that is there already")
    return folders()[1] / name


def weights_files(folder: Path) -> list[Path]:
    """Where a run's weights lie: in one file, else in the parts that it was split into, in order.

    One of them may be missing: then the weights are.

    Examples:
        >>> [file.name for file in weights_files(folders()[0] / "drc-mnist")]
        ['weights.safetensors']
    """
    whole = folder / WEIGHTS
    found = [_WEIGHTS_PART.fullmatch(path.name) for path in folder.glob(f"{WEIGHTS}.part-*")]
    sets = [weights_parts(folder, n) for n in sorted({int(match[1]) for match in found if match})]
    if whole.is_file() or not sets:
        return [whole]
    # of two splits, the one that is whole
    return next((files for files in sets if all(file.is_file() for file in files)), sets[0])


def weights_parts(folder: Path, count: int) -> list[Path]:
    """What the parts of a run's weights are called, in order.

    Examples:
        >>> [file.name for file in weights_parts(Path("mine"), 2)]
        ['weights.safetensors.part-0-of-2', 'weights.safetensors.part-1-of-2']
    """
    return [folder / f"{WEIGHTS}.part-{i}-of-{count}" for i in range(count)]


def has_weights(folder: Path) -> bool:
    """Whether a run's weights are there, in one file or in parts.

    Examples:
        >>> has_weights(folders()[0] / "drc-mnist"), has_weights(Path("no-such-run"))
        (True, False)
    """
    return all(file.is_file() for file in weights_files(folder))
