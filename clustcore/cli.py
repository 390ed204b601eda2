"""The words of the command line: flags drawn from the config dataclasses, what they say beside a
card, and the bars that show progress.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from clustcore.types import Config

if TYPE_CHECKING:
    from clustcore.making import Plan

COMMANDS = {
    "train": "train a model: MODEL --data NAME [--root DIR] [flags], or --config run.json",
    "defend": "train a run on under a defence: RUN --defence NAME [flags]",
    "teach": "make a teacher for a data set's training split",
    "project": "fit the map of a run",
    "snapshots": "draw live maps of a run while it is trained by another process",
    "attack": "attack a run's samples over the dial, or at one strength",
    "evaluate": "ACC, NMI and ARI of a run on clean samples",
    "reproduce": "make again what ships or is shown: data, runs, alrdc, drc, ablation, tables",
}
# flags of the commands that open a run, and of those that also ask which samples
RUN = {
    "run": (str, dataclasses.MISSING, "name of the run"),
    "device": (str, "auto", "auto, cpu, cuda, cuda:1, mps"),
    "seed": (int, 0, "seed"),
}
DATA = {
    "data": (str | None, None, "data set; the run's own by default"),
    "root": (str | None, None, "folder that holds the data"),
    "split": (str | None, None, "train, test or all; test by default, where there is one"),
}


def plan_from_file(argv: list[str]) -> tuple[Plan, dict[str, Any]]:
    """What `train --config FILE` asks for, read without tyro: a plan, and the run's `name`, its
    `teacher`, `root` and `download`.

    Raises:
        ValueError: other flags than the few that go with a file, or a file that is no plan.
    """
    from clustcore.making import Plan

    taken = ("--config", "--root", "--minutes")
    values_of = [value(argv, flag, None) for flag in taken]
    if rest := [a for a in argv if a not in (*taken, "--download", *filter(None, values_of))]:
        raise ValueError(
            f"train --config: expected no flags but {', '.join(taken)} and --download, got "
            f"{rest[0]!r}; the rest belongs in the file"
        )
    where = value(argv, "--config")
    try:
        values = json.loads(Path(where).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: expected JSON, got {error}") from None
    plan = Plan.from_dict(values, where)
    options = {
        "name": values.get("name", Path(where).stem),
        "teacher": values.get("teacher_file"),
    }
    options |= {"root": value(argv, "--root", None), "download": "--download" in argv}
    if (minutes := value(argv, "--minutes", None)) is not None:
        try:
            settings = plan.train | {"minutes": float(minutes)}
        except ValueError:
            raise ValueError(f"--minutes: expected a number, got {minutes!r}") from None
        plan = dataclasses.replace(plan, train=settings)
    return plan, options


def plan_from_flags(argv: list[str]) -> tuple[Plan, dict[str, Any]]:
    """What `train MODEL [flags]` asks for: as `plan_from_file`.

    Raises:
        ValueError: no model, or an unknown one.
    """
    from clustcore.augment import AugmentConfig
    from clustcore.making import Plan
    from clustcore.models import MODELS
    from clustcore.train import TrainConfig
    from clustcore.types import lookup

    if not argv or argv[0].startswith("-"):
        raise ValueError(f"train: expected a model first; known: {', '.join(sorted(MODELS))}")
    name, rest = argv[0], argv[1:]
    model = lookup(MODELS, name, "model")
    args = parse(
        rest,
        f"train {name}",
        data=(str, "mnist", "data set"),
        root=(str | None, None, "folder that holds the data"),
        download=(bool, False, "allow a download into the root"),
        name=(str | None, None, "name of the run; model and data set by default"),
        teacher=(str | None, None, "a teacher.npz made by `teach`"),
        seed=(int, 0, "seed of weights, order and views"),
        device=(str, "auto", "auto, cpu, cuda, cuda:1, mps"),
        model=flags(model.Config),
        train=flags(TrainConfig, without=("seed", "device")),
        augment=flags(AugmentConfig),
    )
    plan = Plan(
        name,
        {"name": args.data},
        _changed(args.model),
        dataclasses.asdict(args.augment),
        dataclasses.asdict(args.train) | {"seed": args.seed, "device": args.device},
    )
    options = {"name": args.name or f"my-{name}-{args.data}", "teacher": args.teacher}
    return plan, options | {"root": args.root, "download": args.download}


def flags(config: type[Config], without: tuple[str, ...] = ()) -> tuple[Any, Any, str]:
    """A config dataclass as a group of flags, each with the help of its field."""
    import typing

    import tyro

    hints = typing.get_type_hints(config)
    fields = []
    for field in dataclasses.fields(config):
        if field.name in without:
            continue
        meta = field.metadata
        bounds = "" if meta.get("range") is None else f" ({meta['range'][0]} to {meta['range'][1]})"
        choices = f" (one of {', '.join(map(str, meta['choices']))})" if meta.get("choices") else ""
        unit = f" [{meta['unit']}]" if meta.get("unit") else ""
        note = tyro.conf.arg(help=f"{meta.get('help', '')}{bounds}{choices}{unit}")
        kind = Annotated[hints[field.name], note]
        fields.append((field.name, kind, dataclasses.field(default=field.default)))
    group = dataclasses.make_dataclass(config.__name__, fields, frozen=True)
    group.__doc__ = config.__doc__
    return group, group(), config.__doc__ or ""


def parse(argv: list[str], command: str, **options: tuple[Any, Any, str]) -> Any:
    """What the flags of a command say; wrong ones, and `--help`, end the process.

    Args:
        command: its name, with what follows it before any flag.
        options: each flag's type, default (MISSING: a word in its place) and help, or a group of
            them, as `flags` makes it.
    """
    import tyro

    fields = []
    for name, (kind, default, help) in options.items():
        if default is dataclasses.MISSING:
            kind = tyro.conf.Positional[Annotated[kind, tyro.conf.arg(help=help)]]
            fields.append((name, kind))
        elif dataclasses.is_dataclass(kind):
            fields.append((name, kind, dataclasses.field(default=default)))
        else:
            fields.append(
                (
                    name,
                    Annotated[kind, tyro.conf.arg(help=help)],
                    dataclasses.field(default=default),
                )
            )
    fields.sort(key=lambda item: len(item) == 3)
    arguments = dataclasses.make_dataclass("Arguments", fields, frozen=True)
    arguments.__doc__ = COMMANDS[command.split()[0]]
    if "train" in options:  # the time limit has one name wherever a command takes it
        argv = [re.sub(r"^--minutes(?==|$)", "--train.minutes", flag) for flag in argv]
    return tyro.cli(arguments, args=argv, prog=f"python -m clustcore {command}")


def _changed(config: Any) -> dict[str, Any]:
    # the shape comes from the data unless a flag says otherwise
    values = dataclasses.asdict(config)
    default = type(config)()
    if config.input_shape == default.input_shape:
        values.pop("input_shape")
    return values


def over(card: dict[str, Any], group: Any, said: set[str]) -> dict[str, Any]:
    """What a run was trained with, as its card has it, unless a flag says otherwise.

    Args:
        group: the config that the flags make, the defaults of those not given among them.
        said: the fields that have a flag, as `given` finds them.
    """
    values = dataclasses.asdict(group)
    kept = {k: card[k] for k in values if k in card and k not in ("minutes", "seed", "device")}
    return kept | {k: v for k, v in values.items() if k in said or k not in kept}


def given(argv: list[str], group: str) -> set[str]:
    """The fields of a group that have a flag, which may say what is the default anyway."""
    start = f"--{group}."
    names = (a[len(start) :].partition("=")[0] for a in argv if a.startswith(start))
    return {name.replace("-", "_").removeprefix("no_") for name in names}


def value(argv: list[str], flag: str, default: Any = dataclasses.MISSING) -> Any:
    """What follows a flag, read without tyro.

    Raises:
        ValueError: nothing does, or the flag is not there and has no default.
    """
    if flag in argv:
        at = argv.index(flag) + 1
        if at < len(argv):
            return argv[at]
        raise ValueError(f"{flag}: expected a value, got nothing")
    if default is dataclasses.MISSING:
        raise ValueError(f"{flag}: expected, got nothing")
    return default


class Bars:
    """Progress in the terminal: one bar for the work, one line for each epoch."""

    def __enter__(self) -> Bars:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, transient=True)
        self._task = self._progress.add_task("", total=None)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, done: int, total: int, sentence: str) -> None:
        """A step of something long."""
        self._progress.update(self._task, completed=done, total=total, description=sentence)

    def batch(self, done: int, total: int) -> None:
        """A batch of an epoch."""
        self._progress.update(self._task, completed=done, total=total, description="epoch")

    def epoch(self, epoch: Any) -> None:
        """The line that stays of an epoch."""
        parts = ", ".join(f"{name} {value:.4f}" for name, value in epoch.parts.items())
        self.say(
            f"epoch {epoch.epoch + 1} of {epoch.total}, {epoch.stage}: "
            f"loss {epoch.loss:.4f} ({parts}); "
            f"clusters {' '.join(map(str, epoch.sizes))}; balance {epoch.entropy_mean:.3f}; "
            f"confidence {epoch.confidence:.3f}; {epoch.seconds:.0f} s, "
            f"{epoch.views_per_s:,.0f} views/s"
        )

    def say(self, line: str) -> None:
        """A line that stays."""
        self._progress.console.print(line, markup=False, highlight=False)
