"""The commands of `reproduce`: each makes again a part of what ships or is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustcore.cli.bars import Bars
from clustcore.cli.flags import HELP, parse, usage
from clustcore.locations import INSTALLED

if TYPE_CHECKING:
    from clustcore.experiments.context import Context

_TEXTS, _NUMBERS = tuple[str, ...], tuple[int, ...]
_ONLY = (_TEXTS, (), "names of runs; all by default")


def reproduce(argv: list[str]) -> int:
    """`reproduce WHAT [flags]`."""
    known: dict[str, Callable[[list[str]], None]] = {
        "data": _data,
        "runs": _runs,
        "alrdc": _alrdc,
        "drc": _drc,
        "ablation": _ablation,
        "defences": _defences,
        "tables": _tables,
    }
    if argv[:1] in HELP:
        usage("reproduce", "WHAT", known)
    if INSTALLED and argv[-1:] not in HELP:
        raise ValueError(
            "reproduce: it writes the files that ship: expected a checkout of the repository, got "
            "an installed package"
        )
    what = argv[0] if argv else ""
    if what not in known:
        *others, last = known
        raise ValueError(f"reproduce: expected {', '.join(others)} or {last}, got {what!r}")
    known[what](argv[1:])
    return 0


def _data(argv: list[str]) -> None:
    from clustcore.datasets.make_shipped import make

    make(_root(_said(argv, "data", only=_ONLY)))


def _runs(argv: list[str]) -> None:
    from clustcore.experiments.recipes import RECIPES
    from clustcore.experiments.reproduce import reproduce_runs

    args = _said(argv, "runs", only=_ONLY)
    for name in args["only"]:
        if name not in RECIPES:
            raise ValueError(f"unknown run {name!r}; known: {', '.join(RECIPES)}")
    names = args["only"] or (name for name, recipe in RECIPES.items() if recipe.ships)
    with Bars() as bars:
        reproduce_runs(list(names), _context(args, bars))


def _alrdc(argv: list[str]) -> None:
    from clustcore.experiments.alrdc import DATA, reproduce_alrdc

    few = "learn from 10,000 training images, and attack less hard"
    args = _said(
        argv,
        "alrdc",
        data=(_TEXTS, DATA, "data sets"),
        seeds=(_NUMBERS, (0, 1, 2), "seeds"),
        quick=(bool, False, few),
    )
    with Bars() as bars:
        reproduce_alrdc(args["data"], args["seeds"], _context(args, bars))


_FEW = "a few thousand images; of `drc`, the small backbone, a few epochs"
_LIMIT = "stop after this many minutes (0: no limit); a later call goes on"
_TIMED = {"quick": (bool, False, _FEW), "minutes": (float, 0.0, _LIMIT)}
_SEEDS = (_NUMBERS, (0,), "seeds")


def _drc(argv: list[str]) -> None:
    from clustcore.experiments import drc_results
    from clustcore.experiments.published import BENCHMARKS

    plans = tuple(drc_results.PLANS)
    bring = "folder for what comes of each run: weights, card, history, map and paths"
    args = _said(
        argv,
        "drc",
        data=(_TEXTS, tuple(BENCHMARKS), "data sets"),
        seeds=_SEEDS,
        **_TIMED,
        plans=(_TEXTS, plans, f"of {', '.join(plans)}"),
        out=(Path | None, None, bring),
        start_from=(str | None, None, "a run whose weights trainings start from"),
    )
    from clustcore.experiments.drc import reproduce_drc

    with Bars() as bars:
        wrong = reproduce_drc(
            args["data"],
            args["plans"],
            _context(args, bars),
            seeds=args["seeds"],
            start=args["start_from"],
            out=args["out"],
        )
    _show(drc_results.benchmarks(), wrong)


def _ablation(argv: list[str]) -> None:
    from clustcore.experiments import drc_results

    data = (_TEXTS, ("mnist",), "data sets")
    args = _said(argv, "ablation", data=data, seeds=_SEEDS, **_TIMED)
    from clustcore.experiments.drc import reproduce_ablation

    with Bars() as bars:
        wrong = reproduce_ablation(args["data"], _context(args, bars), seeds=args["seeds"])
    _show(drc_results.ablation(), wrong)


def _defences(argv: list[str]) -> None:
    from clustcore.experiments import drc_results

    data = (_TEXTS, ("cifar10",), "data sets")
    args = _said(argv, "defences", data=data, seeds=_SEEDS)
    from clustcore.experiments.drc import reproduce_defences

    with Bars() as bars:
        for name in args["data"]:
            reproduce_defences(name, _context(args, bars), seeds=args["seeds"])
    _show(drc_results.defences(), [])


def _tables(argv: list[str]) -> None:
    from clustcore.experiments.report import update
    from clustcore.locations import PROJECT

    parse(argv, "reproduce tables")
    print(f"{PROJECT}: {', '.join(update(PROJECT)) or 'nothing'} updated")


def _said(argv: list[str], what: str, **own: tuple[Any, Any, str]) -> dict[str, Any]:
    """What the flags say: those that every experiment has, and its own."""
    return vars(
        parse(
            argv,
            f"reproduce {what}",
            root=(str | None, None, "folder that holds the training data"),
            download=(bool, False, "allow a download into the root"),
            device=(str, "auto", "auto, cpu, cuda, cuda:1, mps"),
            **own,
        )
    )


def _root(args: dict[str, Any]) -> Path | None:
    return None if args["root"] is None else Path(args["root"])


def _context(args: dict[str, Any], bars: Bars) -> Context:
    from clustcore.experiments.context import Context

    names = {field.name for field in dataclasses.fields(Context)} - {"root"}
    own = {name: value for name, value in args.items() if name in names}
    return Context(root=_root(args), report=bars.say, on_step=bars.step, **own)


def _show(table: str, wrong: list[str]) -> None:
    print(table)
    if wrong:
        raise ValueError("; ".join(wrong))
