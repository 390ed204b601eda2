"""The command line: `python -m clustcore train | defend | teach | project | attack | ...`.

Flags are drawn from the config dataclasses. `train --config run.json` reads a plan before tyro is
imported, so that it runs where only the training's own needs are installed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

from clustcore.types import Config

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


def main(argv: list[str] | None = None) -> int:
    """Run one command; a mistake in the input is said in one line and gives exit code 2."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m clustcore COMMAND [--help]\n")
        for name, what in COMMANDS.items():
            print(f"  {name:10} {what}")
        return 0
    command, rest = argv[0], argv[1:]
    if command not in COMMANDS:
        print(f"unknown command {command!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    from clustcore.distributed import RankLost
    from clustcore.train import TrainingFailed

    try:
        return {
            "train": _train,
            "defend": _defend,
            "teach": _teach,
            "project": _project,
            "snapshots": _snapshots,
            "attack": _attack,
            "evaluate": _evaluate,
            "reproduce": _reproduce,
        }[command](rest)
    except (ValueError, TrainingFailed, RankLost, OSError) as error:
        print(f"clustcore {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"clustcore {command}: stopped; what was finished is kept", file=sys.stderr)
        return 130


def _train(argv: list[str]) -> int:
    from clustcore.making import Plan, make_run
    from clustcore.teach import load_teacher

    if "--config" in argv:
        taken = ("--config", "--root", "--minutes")
        values_of = [_value(argv, flag, None) for flag in taken]
        if rest := [a for a in argv if a not in (*taken, "--download", *filter(None, values_of))]:
            raise ValueError(
                f"train --config: expected no flags but {', '.join(taken)} and --download, got "
                f"{rest[0]!r}; the rest belongs in the file"
            )
        where = _value(argv, "--config")
        try:
            values = json.loads(Path(where).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: expected JSON, got {error}") from None
        plan = Plan.from_dict(values, where)
        options = {
            "name": values.get("name", Path(where).stem),
            "teacher": values.get("teacher_file"),
        }
        options |= {"root": _value(argv, "--root", None), "download": "--download" in argv}
        if (minutes := _value(argv, "--minutes", None)) is not None:
            settings = plan.train | {"minutes": float(minutes)}
            plan = dataclasses.replace(plan, train=settings)
    else:
        plan, options = _plan_from_flags(argv)
    split = plan.data.get("split", "train")
    samples = _loaded(plan.data["name"], split, options["root"], options["download"])
    _say_skipped(samples)
    teacher = None
    if options["teacher"]:
        teacher = load_teacher(Path(options["teacher"]), len(samples), samples.name)
    with _Bars() as bars:
        folder = make_run(
            options["name"], plan, samples, teacher, on_epoch=bars.epoch, on_step=bars.batch
        )
    finished = (folder / "card.json").is_file()
    print(f"{folder}: {'trained' if finished else 'stopped; the same command goes on'}")
    return 0


def _plan_from_flags(argv: list[str]) -> tuple[Any, dict[str, Any]]:
    from clustcore.augment import AugmentConfig
    from clustcore.making import Plan
    from clustcore.models import MODELS
    from clustcore.train import TrainConfig
    from clustcore.types import lookup

    if not argv or argv[0].startswith("-"):
        raise ValueError(f"train: expected a model first; known: {', '.join(sorted(MODELS))}")
    name, rest = argv[0], argv[1:]
    model = lookup(MODELS, name, "model")
    args = _parse(
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


def _defend(argv: list[str]) -> int:
    from clustcore.augment import AugmentConfig
    from clustcore.defences import DEFENCES
    from clustcore.train import TrainConfig
    from clustcore.types import lookup

    known = ", ".join(sorted(DEFENCES))
    if "--defence" not in argv:
        raise ValueError(f"defend: expected --defence NAME; known: {known}")
    name = _value(argv, "--defence")
    at = argv.index("--defence")
    defence = lookup(DEFENCES, name, "defence")
    args = _parse(
        argv[:at] + argv[at + 2 :],
        "defend",
        **_RUN,
        name=(str | None, None, "name of the new run; run and defence by default"),
        data=(str | None, None, "data set; the run's own by default"),
        root=(str | None, None, "folder that holds the data"),
        download=(bool, False, "allow a download into the root"),
        split=(str, "train", "train, test or all"),
        defence=flags(defence.Config),
        train=flags(TrainConfig, without=("seed", "device")),
        augment=flags(AugmentConfig),
    )
    from clustcore.making import defend
    from clustcore.pipeline import load_run

    run = load_run(args.run, args.device)
    with _Bars() as bars:
        folder = defend(
            args.name or f"{run.name}-{name.replace('_', '-')}",
            run,
            name,
            dataclasses.asdict(args.defence),
            _samples_of(run.card, args),
            _over(run.card["train"], args.train, _given(argv, "train"))
            | {"seed": args.seed, "device": args.device},
            _over(run.card.get("augment", {}), args.augment, _given(argv, "augment")),
            on_epoch=bars.epoch,
            on_step=bars.batch,
        )
    finished = (folder / "card.json").is_file()
    print(f"{folder}: {'trained' if finished else 'stopped; the same command goes on'}")
    return 0


def _teach(argv: list[str]) -> int:
    from clustcore.distributed import main as first
    from clustcore.distributed import wait
    from clustcore.runs import folders
    from clustcore.teach import TeachConfig, save_teacher, teach

    args = _parse(
        argv,
        "teach",
        data=(str, "mnist", "data set"),
        root=(str | None, None, "folder that holds the data"),
        download=(bool, False, "allow a download into the root"),
        out=(str | None, None, "file to write; runs/teachers/<data>-<seed>.npz by default"),
        seed=(int, 0, "seed of the manifolds and their mixtures"),
        teacher=flags(TeachConfig, without=("seed",)),
    )
    config = TeachConfig(**dataclasses.asdict(args.teacher), seed=args.seed)
    samples = _loaded(args.data, "train", args.root, args.download)
    out = Path(args.out or folders()[1] / "teachers" / f"{samples.name}-{config.seed}.npz")
    if first():  # one process's work
        with _Bars() as bars:
            save_teacher(out, teach(samples.x, samples.name, config, bars.step))
    wait()
    print(out)
    return 0


def _project(argv: list[str]) -> int:
    from clustcore.parts import make_map
    from clustcore.pipeline import load_run
    from clustcore.runs import SHIPPED

    args = _parse(argv, "project", **_RUN, **_DATA)
    run = load_run(args.run, args.device)
    if run.folder.parent == SHIPPED:
        raise ValueError(f"run {args.run!r} ships with its map and paths, which belong together")
    with _Bars() as bars:
        arrays = make_map(run, _samples_of(run.card, args), seed=args.seed, on_step=bars.step)
    print(
        f"{run.folder / 'map.npz'}: {len(arrays.xy)} samples, trustworthiness "
        f"{arrays.trustworthiness:.3f} (held out {arrays.held_out:.3f}), seed {args.seed}"
    )
    return 0


def _snapshots(argv: list[str]) -> int:
    from clustcore.livemap import follow
    from clustcore.runs import folders, is_name

    args = _parse(argv, "snapshots", run=(str, dataclasses.MISSING, "name of the run"))
    folder = folders()[1] / args.run
    if not is_name(args.run) or not folder.is_dir():
        raise ValueError(f"snapshots: expected a run that is being trained, got {args.run!r}")
    follow(folder, lambda found: print(f"{folder}: map of epoch {found.epoch}"))
    return 0


def _attack(argv: list[str]) -> int:
    from clustcore import evaluation
    from clustcore.attacks import ATTACKS
    from clustcore.paths import compute_path
    from clustcore.pipeline import attack_of, evaluate, load_run
    from clustcore.types import NORMS, SPACES, PathKey, dial, lookup

    args = _parse(
        argv,
        "attack",
        **_RUN,
        **_DATA,
        attack=(str, "pgd", "attack"),
        space=(str | None, None, f"one of {', '.join(SPACES)}; the attack's first by default"),
        norm=(str | None, None, f"one of {', '.join(NORMS)}"),
        eps=(float | None, None, "one strength; the whole dial by default"),
        target=(int | None, None, "cluster to push into"),
        fit=(bool, False, "first fit a learned attack, on 10,000 images of the training split"),
    )
    attack = lookup(ATTACKS, args.attack, "attack")
    space = args.space or attack.spaces[0]
    norm = args.norm or ("linf" if space == "pixels" else "l2")
    dial(args.data or "mnist", space, norm)  # a wrong space or norm is said before the run opens
    if args.fit and not attack.learned:
        raise ValueError(f"attack --fit: expected a learned attack, got {args.attack!r}")
    run = load_run(args.run, args.device)
    samples = _samples_of(run.card, args)
    if args.fit:
        _fit(run, attack.kind, args)
    if args.eps is not None:
        rows = evaluation.sample_rows(min(1000, len(samples)), len(samples), samples.y, seed=0)
        budget = {"eps": args.eps, "norm": norm, "space": space, "target": args.target}
        under = attack_of(run, args.attack)
        scores = evaluate(run.model, samples.take(rows), under=under, seed=args.seed, **budget)
        print(_json(scores))
        return 0
    key = PathKey(args.attack, space, norm, args.target, args.seed)
    with _Bars() as bars:
        path = compute_path(run, samples, key, bars.step)
    print(f"{args.attack}, {space}, {norm}, n = {len(path.rows)}, seed {path.seed}")
    for strength in path.strengths:
        share = float((path.smallest <= strength).mean())
        print(f"  strength {strength:.4f}   moved {share:.1%}")
    return 0


def _fit(run: Any, kind: str, args: Any) -> None:
    from clustcore.parts import attacker_images, fit_attacker

    train = attacker_images(_samples_of(run.card, dataclasses.replace(args, split="train")))
    with _Bars() as bars:

        def tell(done: int, total: int, parts: dict[str, float]) -> None:
            values = ", ".join(f"{name} {value:.4f}" for name, value in parts.items())
            bars.step(done, total, "fitting the attacker")
            bars.say(f"epoch {done} of {total}: {values}")

        print(fit_attacker(run, train, kind, seed=args.seed, on_epoch=tell))


def _evaluate(argv: list[str]) -> int:
    from clustcore.pipeline import evaluate, load_run

    args = _parse(argv, "evaluate", **_RUN, **_DATA)
    run = load_run(args.run, args.device)
    print(_json(evaluate(run.model, _samples_of(run.card, args))))
    return 0


def _reproduce(argv: list[str]) -> int:
    what = argv[0] if argv else ""
    if what not in ("data", "runs", "alrdc", "drc", "ablation", "tables"):
        raise ValueError(
            f"reproduce: expected data, runs, alrdc, drc, ablation or tables, got {what!r}"
        )
    if what == "tables":
        from clustcore.runs import PROJECT
        from clustcore.tables import update

        print(f"{PROJECT}: {', '.join(update(PROJECT)) or 'nothing'} updated")
        return 0
    common = {
        "root": (str | None, None, "folder that holds the training data"),
        "download": (bool, False, "allow a download into the root"),
        "device": (str, "auto", "auto, cpu, cuda, cuda:1, mps"),
    }
    if what == "alrdc":
        return _reproduce_alrdc(argv[1:], common)
    if what in ("drc", "ablation"):
        return _reproduce_drc(what, argv[1:], common)
    only = (tuple[str, ...], (), "names of runs; all by default")
    args = _parse(argv[1:], f"reproduce {what}", **common, only=only)
    root = None if args.root is None else Path(args.root)
    if what == "data":
        from clustcore.datasets.shipping import make

        make(root)
        return 0
    from clustcore.recipes import RECIPES
    from clustcore.reproduce import reproduce_runs

    for name in args.only:
        if name not in RECIPES:
            raise ValueError(f"unknown run {name!r}; known: {', '.join(RECIPES)}")
    with _Bars() as bars:
        reproduce_runs(
            list(args.only or (name for name, recipe in RECIPES.items() if recipe.ships)),
            root=root,
            download=args.download,
            device=args.device,
            report=bars.say,
            on_step=bars.step,
        )
    return 0


def _reproduce_alrdc(argv: list[str], common: dict[str, Any]) -> int:
    from clustcore.alrdc_table import DATA, reproduce_alrdc

    args = _parse(
        argv,
        "reproduce alrdc",
        **common,
        data=(tuple[str, ...], DATA, "data sets"),
        seeds=(tuple[int, ...], (0, 1, 2), "seeds"),
        quick=(bool, False, "learn from 10,000 training images, and attack less hard"),
    )
    with _Bars() as bars:
        reproduce_alrdc(
            args.data,
            root=None if args.root is None else Path(args.root),
            download=args.download,
            seeds=args.seeds,
            quick=args.quick,
            device=args.device,
            report=bars.say,
        )
    return 0


def _reproduce_drc(what: str, argv: list[str], common: dict[str, Any]) -> int:
    from clustcore import drc_results
    from clustcore.published import BENCHMARKS

    options = {
        "data": (tuple[str, ...], ("mnist",), "data sets"),
        "seeds": (tuple[int, ...], (0,), "seeds"),
        "quick": (bool, False, "a few thousand images; of `drc`, the small backbone, a few epochs"),
        "minutes": (float, 0.0, "stop after this many minutes (0: no limit); a later call goes on"),
    }
    if what == "drc":
        options["data"] = (tuple[str, ...], tuple(BENCHMARKS), "benchmarks")
        known = tuple(drc_results.PLANS)
        options["plans"] = (tuple[str, ...], known, f"of {', '.join(known)}")
    args = _parse(argv, f"reproduce {what}", **common, **options)
    from clustcore.drc_table import Call, reproduce_ablation, reproduce_drc

    with _Bars() as bars:
        call = Call(
            root=None if args.root is None else Path(args.root),
            download=args.download,
            seeds=args.seeds,
            quick=args.quick,
            minutes=args.minutes,
            device=args.device,
            report=bars.say,
        )
        if what == "drc":
            wrong = reproduce_drc(args.data, args.plans, call)
        else:
            wrong = reproduce_ablation(args.data, call)
    print(drc_results.benchmarks() if what == "drc" else drc_results.ablation())
    if wrong:
        raise ValueError("; ".join(wrong))
    return 0


_RUN = {
    "run": (str, dataclasses.MISSING, "name of the run"),
    "device": (str, "auto", "auto, cpu, cuda, cuda:1, mps"),
    "seed": (int, 0, "seed"),
}
_DATA = {
    "data": (str | None, None, "data set; the run's own by default"),
    "root": (str | None, None, "folder that holds the data"),
    "split": (str, "test", "train, test or all"),
}


def _samples_of(card: dict[str, Any], args: Any) -> Any:
    from clustcore.datasets import load_samples

    name = args.data or card["data"]["name"]
    shape = {}
    # what the model was trained on decides, not the first image found
    if name.partition(":")[0] == "folder":
        channels, size, _ = card["config"]["input_shape"]
        shape = {"channels": channels, "size": size}
    download = getattr(args, "download", False)  # of `defend` alone
    samples = load_samples(name, args.split, root=args.root, download=download, **shape)
    _say_skipped(samples)
    return samples


def _loaded(name: str, split: str, root: str | None, download: bool) -> Any:
    # of several processes the first downloads, before the others read
    from clustcore.datasets import load_samples
    from clustcore.distributed import first_main
    from clustcore.distributed import main as first

    return first_main(lambda: load_samples(name, split, root=root, download=download and first()))


def _say_skipped(samples: Any) -> None:
    for file in samples.skipped:
        print(f"skipped {file}", file=sys.stderr)


def _json(scores: Any) -> str:
    # what needs labels is NaN without them, and JSON has no NaN
    text = json.dumps(dataclasses.asdict(scores), indent=1)
    return re.sub(r"\bNaN\b", "null", text)


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


def _parse(argv: list[str], command: str, **options: tuple[Any, Any, str]) -> Any:
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
    return tyro.cli(arguments, args=argv, prog=f"python -m clustcore {command}")


def _changed(config: Any) -> dict[str, Any]:
    # the shape comes from the data unless a flag says otherwise
    values = dataclasses.asdict(config)
    default = type(config)()
    if config.input_shape == default.input_shape:
        values.pop("input_shape")
    return values


def _over(card: dict[str, Any], flags: Any, given: set[str]) -> dict[str, Any]:
    # what the run was trained with, unless a flag says otherwise
    values = dataclasses.asdict(flags)
    kept = {k: card[k] for k in values if k in card and k not in ("minutes", "seed", "device")}
    return kept | {k: v for k, v in values.items() if k in given or k not in kept}


def _given(argv: list[str], group: str) -> set[str]:
    # the fields of a group that have a flag, which may say what is the default anyway
    start = f"--{group}."
    names = (a[len(start) :].partition("=")[0] for a in argv if a.startswith(start))
    return {name.replace("-", "_").removeprefix("no_") for name in names}


def _value(argv: list[str], flag: str, default: Any = dataclasses.MISSING) -> Any:
    if flag in argv:
        at = argv.index(flag) + 1
        if at < len(argv):
            return argv[at]
        raise ValueError(f"{flag}: expected a value, got nothing")
    if default is dataclasses.MISSING:
        raise ValueError(f"{flag}: expected, got nothing")
    return default


class _Bars:
    """Progress in the terminal: one bar for the work, one line for each epoch."""

    def __enter__(self) -> _Bars:
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


def _one_of_many() -> int:
    """The command as one of the processes that torchrun started; the first one alone prints."""
    from clustcore.distributed import group
    from clustcore.distributed import main as first

    with group("cpu"), contextlib.ExitStack() as stack:
        if not first():
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if code := main():
            sys.exit(code)  # by an exception, so that the group does not wait for the others
    return 0


if __name__ == "__main__":
    sys.exit(_one_of_many() if "WORLD_SIZE" in os.environ else main())
