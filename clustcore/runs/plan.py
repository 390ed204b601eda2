"""What a training is to do, in one format.

It is the Train page's, the command line's, a job's, and that of a file for `train --config`; a
finished run's card can be read as one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from clustcore.runs.folder import folders

# of a card's `train`: how that training went, not how one should go
_WENT: tuple[str, ...] = ("minutes", "device", "stages", "epochs", "views", "precisions")
_WENT += ("machine", "threads", "processes")


@dataclass(frozen=True)
class Plan:
    """A training: of a model from its beginning, or of a run on under a defence.

    `config` (the model's or the defence's), `augment` and `train` need to hold only what differs
    from the defaults or, under a defence, from the settings of the run that it starts from.

    Raises:
        ValueError: parts that do not go together.

    Examples:
        >>> plan = Plan("dec", "digits", {"dim": 4}, train={"lr": 0.003}, name="mine")
        >>> " ".join(plan.commands()[0])
        'train dec --data digits --name mine --model.dim 4 --train.lr 0.003'
        >>> Plan.from_dict(plan.to_dict(), "a file") == plan
        True
    """

    model: str | None  # None: the source's
    data: str
    config: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    split: str = "train"
    source: str | None = None  # the run that is trained on
    defence: str | None = None
    teach: dict[str, Any] | None = None  # settings of a teacher that is made first; None: none is
    teacher_file: str | None = None  # a teacher that is there
    start_from: str | None = None  # a run whose weights training starts from
    name: str | None = None  # of the run that is made
    root: str | None = None  # folder that holds the data
    download: bool = False  # whether they may be fetched into it

    def __post_init__(self) -> None:
        defended = self.defence is not None
        if (self.source is not None) != defended or (self.model is None) != defended:
            raise ValueError(
                "plan: expected a model, or a source (a run) and a defence, got model "
                f"{self.model!r}, source {self.source!r} and defence {self.defence!r}"
            )
        for other in ("teach", "teacher_file", "start_from"):
            if defended and getattr(self, other) is not None:
                raise ValueError(f"plan: field {other!r}: expected none under a defence, got one")
        if self.teach is not None and self.teacher_file is not None:
            raise ValueError("plan: expected 'teach' or 'teacher_file', got both")

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Plan:
        """Read a plan, or the card of a run, from JSON. Fields that are no plan's are left aside.

        Raises:
            ValueError: a field is missing or of the wrong kind; the message begins with `where`.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{where}: expected a JSON object, got {type(values).__name__}")
        if "weights_sha256" in values:
            values = _of_card(values, where)
        if values.get("teach") in (True, False):  # as plans had it at first
            values = values | {"teach": {} if values["teach"] else None}
        own = ("defence", "source") if values.get("defence") is not None else ("model",)
        found = {"model": None} | {name: _need(values, name, str, where) for name in own}
        found["data"] = _need(values, "data.name", str, where)
        if (split := _get(values, "data.split", str, where)) is not None:
            found["split"] = split
        for name, kind in _OPTIONAL.items():
            if (value := _get(values, name, kind, where)) is not None:
                found[name] = value
        try:
            return cls(**found)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, of which `from_dict` makes this plan again.

        What is not said is left out.
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["data"] = {"name": values.pop("data"), "split": values.pop("split")}
        return {k: v for k, v in values.items() if v is not None and v is not False}

    @property
    def run_name(self) -> str:
        """The name of the run that is made.

        Raises:
            ValueError: the plan says none.
        """
        if self.name is None:
            raise ValueError("plan: field 'name': expected the name of the run, got nothing")
        return self.name

    @property
    def model_name(self) -> str:
        """The model that is trained from its beginning.

        Raises:
            ValueError: the plan is of a defence, whose model is its source's.
        """
        if self.model is None:
            raise ValueError(f"plan: expected a model, got the defence {self.defence!r}")
        return self.model

    def teacher_path(self) -> Path | None:
        """Where the teacher lies, or will lie once it is made; None without one."""
        if self.teach is not None:
            return folders()[1] / self.run_name / "teacher.npz"
        return None if self.teacher_file is None else Path(self.teacher_file)

    def teach_settings(self) -> dict[str, Any]:
        """How the teacher is made.

        With the training's seed and the model's number of clusters, unless the plan says otherwise.
        """
        settings = {"seed": self.train.get("seed", 0)}
        if "clusters" in self.config:
            settings["clusters"] = self.config["clusters"]
        return settings | (self.teach or {})

    def commands(self) -> list[list[str]]:
        """What follows `python -m clustcore` to do all this from a terminal, command by command.

        The map of the run comes last.
        """
        teach = [self._teach_command()] if self.teach is not None else []
        return [*teach, self._command(), map_command(self.run_name, self.root)]

    def _command(self) -> list[str]:
        if self.defence is not None:
            argv, group = ["defend", str(self.source), "--defence", self.defence], "defence"
        else:
            argv, group = ["train", str(self.model)], "model"
        argv += ["--data", self.data, "--name", self.run_name]
        argv += [] if self.split == "train" else ["--split", self.split]
        loop = dict(self.train)
        for own in ("seed", "device"):  # flags of the command itself
            if own in loop:
                argv += [f"--{own}", str(loop.pop(own))]
        for part, values in ((group, self.config), ("train", loop), ("augment", self.augment)):
            argv += _flags(part, values)
        if (teacher := self.teacher_path()) is not None:
            argv += ["--teacher", str(teacher)]
        if self.start_from is not None:
            argv += ["--start-from", self.start_from]
        return argv + self._where()

    def _teach_command(self) -> list[str]:
        settings = self.teach_settings()
        argv = ["teach", "--data", self.data]
        argv += [] if self.split == "train" else ["--split", self.split]
        argv += ["--seed", str(settings.pop("seed")), "--out", str(self.teacher_path())]
        return argv + _flags("teacher", settings) + self._where()

    def _where(self) -> list[str]:
        return _root(self.root) + ["--download"] * self.download


_OPTIONAL: dict[str, type] = {
    **dict.fromkeys(("config", "augment", "train", "teach"), dict),
    **dict.fromkeys(("teacher_file", "start_from", "name", "root"), str),
    "download": bool,
}
_KINDS = {str: "text", dict: "settings", bool: "true or false"}


def map_command(name: str, root: str | None = None) -> list[str]:
    """What follows `python -m clustcore` to make the map of a run.

    Examples:
        >>> map_command("mine", root="data")
        ['project', 'mine', '--root', 'data']
    """
    return ["project", name, *_root(root)]


def settings_of(train: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a card's `train`, without how that training went.

    Examples:
        >>> settings_of({"lr": 0.001, "batch": 256, "machine": "mine", "minutes": 3.5})
        {'lr': 0.001, 'batch': 256}
    """
    return {name: value for name, value in train.items() if name not in _WENT}


def _of_card(card: dict[str, Any], where: str) -> dict[str, Any]:
    # the plan that makes such a run again
    values = {"data": card.get("data"), "augment": card.get("augment")}
    values["train"] = settings_of(_need(card, "train", dict, where))
    values |= {k: card[k] for k in ("name", "root", "download", "teacher_file") if k in card}
    if card.get("defence") is not None:
        for ours, theirs in (("source", "from"), ("defence", "name")):
            values[ours] = _need(card, f"defence.{theirs}", str, where)
        return values | {"config": _get(card, "defence.config", dict, where)}
    values |= {"model": card.get("model"), "config": card.get("config")}
    values["start_from"] = _get(card, "start.from", str, where) or card.get("start_from")
    teacher = _get(card, "teacher", dict, where)
    if teacher is not None and "teacher_file" not in values:
        if teacher.get("on"):
            raise ValueError(
                f"{where}: field 'teacher_file': expected the teacher, which was made of another "
                "run's embedding, got nothing"
            )
        note = ("name", "agreement", "on")
        values["teach"] = {k: v for k, v in teacher.items() if k not in note}
    return values


def _need(values: dict[str, Any], name: str, kind: type, where: str) -> Any:
    found = _get(values, name, kind, where)
    if found is None:
        raise ValueError(f"{where}: field {name!r}: expected {_KINDS[kind]}, got nothing")
    return found


def _get(values: dict[str, Any], name: str, kind: type, where: str) -> Any:
    """A field of JSON, such as `data.name`; None where it is not there."""
    found: Any = values
    for part in name.split("."):
        if found is None:
            return None
        if not isinstance(found, dict):
            raise ValueError(f"{where}: field {name!r}: expected it in an object, got {found!r}")
        found = found.get(part)
    if found is not None and not isinstance(found, kind):
        raise ValueError(f"{where}: field {name!r}: expected {_KINDS[kind]}, got {found!r}")
    return found


def _flags(part: str, values: dict[str, Any]) -> list[str]:
    argv = []
    for key, value in values.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            argv.append(f"--{part}.{'' if value else 'no-'}{flag}")
        else:
            several = value if isinstance(value, list | tuple) else [value]
            argv += [f"--{part}.{flag}", *map(str, several)]
    return argv


def _root(root: str | None) -> list[str]:
    return [] if root is None else ["--root", root]
