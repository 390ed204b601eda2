"""What a training tells of itself as data.

`history.csv` has a line an epoch. Where it is asked for, another file has a JSON object a line
(`progress.jsonl` of a job).

The sentences that a command prints are for people, and nothing reads them.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

PROGRESS = "progress.jsonl"
ASK = "DRIFTMAP_PROGRESS"  # environment variable: the file that a command tells its progress to


def tell(event: str, **values: Any) -> None:
    """Add a line to the file that the environment names, where it names one.

    Of several processes under torchrun the first one tells.

    Examples:
        >>> import tempfile
        >>> os.environ[ASK] = str(Path(tempfile.mkdtemp()) / PROGRESS)
        >>> tell("ended", command="train", code=0)
        >>> read_progress(Path(os.environ.pop(ASK)).parent).command
        'train'
    """
    if (path := os.environ.get(ASK)) and os.environ.get("RANK", "0") == "0":
        add(Path(path), event, **values)


def add(path: Path, event: str, **values: Any) -> None:
    """Add a line to a file: what happened, and what belongs to it.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / PROGRESS
        >>> add(file, "ended", command="train", code=0)
        >>> print(file.read_text().strip())
        {"event": "ended", "command": "train", "code": 0}
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": event} | values) + "\n")


@dataclass(frozen=True)
class Told:
    """What the processes of a job have told since it was last started."""

    total: int | None = None  # epochs there will be; kept from one start to the next
    command: str = ""  # the one that ended last, such as "train"; "": none has
    code: int = 0  # its exit status; below 0: a signal
    reason: str = ""  # why a command failed, in its own words


def read_progress(folder: Path) -> Told:
    """What a job has told; nothing where there is no file, as of a job of an earlier version.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> read_progress(folder)
        Told(total=None, command='', code=0, reason='')
        >>> add(folder / PROGRESS, "ended", command="train", code=-9)
        >>> read_progress(folder).code
        -9
    """
    told = Told()
    try:
        lines = (folder / PROGRESS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return told
    for line in lines:
        told = _after(told, line)
    return told


def _after(told: Told, line: str) -> Told:
    # a line that a kill or a full disk has cut short says nothing
    try:
        said = json.loads(line)
        if said["event"] == "started":
            return Told(told.total)
        if said["event"] == "epoch":
            return dataclasses.replace(told, total=int(said["total"]))
        if said["event"] == "failed":
            return dataclasses.replace(told, reason=str(said["reason"]))
        if said["event"] == "ended":
            return dataclasses.replace(told, command=str(said["command"]), code=int(said["code"]))
    except (ValueError, TypeError, KeyError):
        pass
    return told


@dataclass(frozen=True)
class History:
    """What `history.csv` says, one entry an epoch; empty where there is none yet."""

    stage: list[str] = field(default_factory=list)
    loss: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))
    parts: dict[str, Float[np.ndarray, " e"]] = field(default_factory=dict)  # NaN: not this stage's
    entropy_mean: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))
    entropy_sample: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))
    seconds: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))
    batch: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))  # NaN: not said
    sizes: Int[np.ndarray, "e k"] = field(default_factory=lambda: np.empty((0, 0), np.int64))


def read_history(folder: Path) -> History:
    """The history of a run, finished or not.

    Raises:
        ValueError: the file is damaged.

    Examples:
        >>> from clustcore import runs
        >>> history = read_history(runs.find_run("drc-mnist").folder)
        >>> history.stage, history.sizes.shape
        (['taught', 'taught', 'taught', 'taught'], (4, 10))
        >>> sorted(history.parts), bool(history.loss[-1] < history.loss[0])
        (['af', 'ap', 'cr', 'guide'], True)
        >>> len(read_history(Path("no-such-run")).loss)
        0
    """
    path = folder / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return History()
    if not rows:
        return History()

    def column(name: str) -> Float[np.ndarray, " e"]:
        return np.array([float(row[name] or "nan") for row in rows])

    try:
        return History(
            stage=[row["stage"] for row in rows],
            loss=column("loss"),
            parts={n.removeprefix("part_"): column(n) for n in rows[0] if n.startswith("part_")},
            entropy_mean=column("entropy_mean"),
            entropy_sample=column("entropy_sample"),
            seconds=column("seconds"),
            batch=np.array([float(row.get("batch") or "nan") for row in rows]),
            sizes=np.array([row["sizes"].split() for row in rows], np.int64),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected a line an epoch, got {error!r}") from None
