"""What the command line says of a training: a plan, by flags or in a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from clustcore.cli.flags import HELP, RUN, WHERE, flags, parse, usage, value
from clustcore.config import Config
from clustcore.registry import lookup
from clustcore.runs import find_run
from clustcore.runs.plan import Plan


def plan_from_file(argv: list[str]) -> Plan:
    """What `train --config FILE` asks for: the plan in a file, or that of a run's card.

    Raises:
        ValueError: other flags than the few that go with a file, a file that is no plan, or a model
            or defence that is unknown.
    """
    taken = ("--config", "--name", "--root", "--minutes")
    values_of = [value(argv, flag, None) for flag in taken]
    if rest := [a for a in argv if a not in (*taken, "--download", *filter(None, values_of))]:
        raise ValueError(
            f"train --config: expected no flags but {', '.join(taken)} and --download, got "
            f"{rest[0]!r}; the rest belongs in the file"
        )
    from clustcore.defences import DEFENCES
    from clustcore.models import MODELS

    where, name, root, minutes = value(argv, "--config"), *values_of[1:]
    try:
        plan = Plan.from_dict(json.loads(Path(where).read_text(encoding="utf-8")), where)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: expected JSON, got {error}") from None
    if plan.model is not None:
        lookup(MODELS, plan.model, "model")
    if plan.defence is not None:
        lookup(DEFENCES, plan.defence, "defence")
    plan = dataclasses.replace(
        plan,
        name=name or plan.name or Path(where).stem,
        root=root or plan.root,
        download=plan.download or "--download" in argv,
    )
    if minutes is None:
        return plan
    try:
        return dataclasses.replace(plan, train=plan.train | {"minutes": float(minutes)})
    except ValueError:
        raise ValueError(f"--minutes: expected a number, got {minutes!r}") from None


def plan_from_flags(argv: list[str]) -> Plan:
    """What `train MODEL [flags]` asks for.

    Raises:
        ValueError: no model, or an unknown one.
    """
    from clustcore.models import MODELS
    from clustcore.training.epoch import TrainConfig
    from clustcore.training.views import AugmentConfig

    if argv[:1] in HELP:
        usage("train", "MODEL", MODELS)
    if not argv or argv[0].startswith("-"):
        raise ValueError(f"train: expected a model first; known: {', '.join(sorted(MODELS))}")
    name, rest = argv[0], argv[1:]
    model = lookup(MODELS, name, "model")
    args = parse(
        rest,
        f"train {name}",
        data=(str, "mnist", "data set"),
        **WHERE,
        split=(str, "train", "train, test or all"),
        name=(str | None, None, "name of the run; model and data set by default"),
        teacher=(str | None, None, "a teacher.npz made by `teach`"),
        start_from=(str | None, None, "a run whose weights training starts from"),
        seed=(int, 0, "seed of weights, order and views"),
        device=(str, "auto", "auto, cpu, cuda, cuda:1, mps"),
        model=flags(model.Config),
        train=flags(TrainConfig, without=("seed", "device")),
        augment=flags(AugmentConfig),
    )
    if args.model["input_shape"] == model.Config().input_shape:
        del args.model["input_shape"]  # it comes from the data unless a flag says otherwise
    return Plan(
        name,
        args.data,
        args.model,
        args.augment,
        args.train | {"seed": args.seed, "device": args.device},
        split=args.split,
        teacher_file=args.teacher,
        start_from=args.start_from,
        name=args.name or f"my-{name}-{args.data}",
        root=args.root,
        download=args.download,
    )


def defence_from_flags(argv: list[str]) -> Plan:
    """What `defend RUN --defence NAME [flags]` asks for.

    Settings of the loop and of the views are the run's own where no flag says otherwise.

    Raises:
        ValueError: no defence or an unknown one, or an unknown run.
    """
    from clustcore.defences import DEFENCES
    from clustcore.training.epoch import TrainConfig
    from clustcore.training.views import AugmentConfig

    if argv[-1:] in HELP and "--defence" not in argv:
        usage("defend", "RUN --defence NAME", DEFENCES)
    if "--defence" not in argv:
        known = ", ".join(sorted(DEFENCES))
        raise ValueError(f"defend: expected --defence NAME; known: {known}")
    name, at = value(argv, "--defence"), argv.index("--defence")
    defence = lookup(DEFENCES, name, "defence")
    args = parse(
        argv[:at] + argv[at + 2 :],
        "defend",
        **RUN,
        name=(str | None, None, "name of the new run; run and defence by default"),
        data=(str | None, None, "data set; the run's own by default"),
        **WHERE,
        split=(str, "train", "train, test or all"),
        defence=flags(defence.Config),
        train=flags(TrainConfig, without=("seed", "device")),
        augment=flags(AugmentConfig),
    )
    return Plan(
        None,
        args.data or find_run(args.run).card.data.name,
        args.defence,
        _said(argv, "augment", args.augment, AugmentConfig()),
        _said(argv, "train", args.train, TrainConfig())
        | {"seed": args.seed, "device": args.device},
        split=args.split,
        source=args.run,
        defence=name,
        name=args.name or f"{args.run}-{name.replace('_', '-')}",
        root=args.root,
        download=args.download,
    )


def _said(argv: list[str], part: str, group: dict[str, Any], usual: Config) -> dict[str, Any]:
    # of a group what a flag says, be it the default; `--minutes` has no group in its name
    named = given(argv, part)
    return {k: v for k, v in group.items() if k in named or v != getattr(usual, k)}


def given(argv: list[str], group: str) -> set[str]:
    """The fields of a group that have a flag, which may say what is the default anyway."""
    start = f"--{group}."
    names = (a[len(start) :].partition("=")[0] for a in argv if a.startswith(start))
    return {name.replace("-", "_").removeprefix("no_") for name in names}
