"""The command line: `python -m clustcore train | defend | teach | project | attack | ...`.

Flags are drawn from the config dataclasses. What a command does not need is not imported by it, so
that training, measuring and attacking run where only their own needs are installed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from clustcore.cli import (
    COMMANDS,
    DATA,
    HELP,
    RUN,
    Bars,
    flags,
    given,
    over,
    parse,
    plan_from_file,
    plan_from_flags,
    usage,
    value,
)
from clustcore.locations import INSTALLED


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
            "assemble": _assemble,
            "reproduce": _reproduce,
        }[command](rest)
    except (ValueError, TrainingFailed, RankLost, OSError) as error:
        print(f"clustcore {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"clustcore {command}: stopped; what was finished is kept", file=sys.stderr)
        return 130


def _train(argv: list[str]) -> int:
    from clustcore.making import make_run
    from clustcore.pipeline import load_run
    from clustcore.teach import load_teacher

    read = plan_from_file if "--config" in argv else plan_from_flags
    plan, options = read(argv)
    split = plan.data.get("split", "train")
    samples = _loaded(plan.data["name"], split, options["root"], options["download"])
    _say_skipped(samples)
    teacher = None
    if options["teacher"]:
        teacher = load_teacher(Path(options["teacher"]), len(samples), samples.name)
    start = load_run(options["start_from"], "cpu") if options["start_from"] else None
    with Bars() as bars:
        folder = make_run(
            options["name"],
            plan,
            samples,
            teacher,
            start=start,
            on_epoch=bars.epoch,
            on_step=bars.batch,
        )
    finished = (folder / "card.json").is_file()
    print(f"{folder}: {'trained' if finished else 'stopped; the same command goes on'}")
    return 0


def _defend(argv: list[str]) -> int:
    from clustcore.augment import AugmentConfig
    from clustcore.defences import DEFENCES
    from clustcore.train import TrainConfig
    from clustcore.types import lookup

    if argv[-1:] in HELP and "--defence" not in argv:
        usage("defend", "RUN --defence NAME", DEFENCES)
    known = ", ".join(sorted(DEFENCES))
    if "--defence" not in argv:
        raise ValueError(f"defend: expected --defence NAME; known: {known}")
    name = value(argv, "--defence")
    at = argv.index("--defence")
    defence = lookup(DEFENCES, name, "defence")
    args = parse(
        argv[:at] + argv[at + 2 :],
        "defend",
        **RUN,
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
    with Bars() as bars:
        folder = defend(
            args.name or f"{run.name}-{name.replace('_', '-')}",
            run,
            name,
            args.defence,
            _samples_of(run.card, args),
            over(run.card["train"], args.train, given(argv, "train"))
            | {"seed": args.seed, "device": args.device},
            over(run.card.get("augment", {}), args.augment, given(argv, "augment")),
            on_epoch=bars.epoch,
            on_step=bars.batch,
        )
    finished = (folder / "card.json").is_file()
    print(f"{folder}: {'trained' if finished else 'stopped; the same command goes on'}")
    return 0


def _teach(argv: list[str]) -> int:
    from clustcore.distributed import main as first
    from clustcore.distributed import wait
    from clustcore.making import teach_on
    from clustcore.pipeline import load_run
    from clustcore.runs import folders
    from clustcore.teach import TeachConfig, save_teacher, teach

    args = parse(
        argv,
        "teach",
        data=(str | None, None, "data set; mnist, or that of the run, by default"),
        on=(str | None, None, "a run whose embedding is clustered, in place of the pixels"),
        device=(str, "auto", "where the run is opened: auto, cpu, cuda, cuda:1, mps"),
        root=(str | None, None, "folder that holds the data"),
        download=(bool, False, "allow a download into the root"),
        out=(
            str | None,
            None,
            "file to write; runs/teachers/<data>-<seed>.npz by default, with --on "
            "<data>-on-<run>-<seed>.npz",
        ),
        seed=(int, 0, "seed of the manifolds and their mixtures"),
        teacher=flags(TeachConfig, without=("seed",)),
    )
    config = TeachConfig(**args.teacher, seed=args.seed)
    run = load_run(args.on, args.device) if args.on else None
    if run is None:
        samples = _loaded(args.data or "mnist", "train", args.root, args.download)
    else:
        args.split = run.card["data"]["split"]
        samples = _samples_of(run.card, args)
    name = "-".join([samples.name, *([] if run is None else ["on", run.name]), str(config.seed)])
    out = Path(args.out or folders()[1] / "teachers" / f"{name}.npz")
    if first():  # one process's work
        with Bars() as bars:
            if run is None:
                teacher = teach(samples.x, samples.name, config, bars.step)
            else:
                teacher = teach_on(run, samples, config, bars.step)
        save_teacher(out, teacher)
    wait()
    print(out)
    return 0


def _project(argv: list[str]) -> int:
    from clustcore.parts import make_map
    from clustcore.pipeline import load_run
    from clustcore.runs import SHIPPED

    args = parse(argv, "project", **RUN, **DATA)
    run = load_run(args.run, args.device)
    if run.folder.parent == SHIPPED:
        raise ValueError(f"run {args.run!r} ships with its map and paths, which belong together")
    with Bars() as bars:
        arrays = make_map(run, _samples_of(run.card, args), seed=args.seed, on_step=bars.step)
    print(
        f"{run.folder / 'map.npz'}: {len(arrays.xy)} samples, trustworthiness "
        f"{arrays.trustworthiness:.3f} (held out {arrays.held_out:.3f}), seed {args.seed}"
    )
    return 0


def _snapshots(argv: list[str]) -> int:
    from clustcore.livemap import follow
    from clustcore.runs import folders, is_name

    args = parse(argv, "snapshots", run=(str, dataclasses.MISSING, "name of the run"))
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

    args = parse(
        argv,
        "attack",
        **RUN,
        **DATA,
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
    with Bars() as bars:
        path = compute_path(run, samples, key, bars.step)
    print(f"{args.attack}, {space}, {norm}, n = {len(path.rows)}, seed {path.seed}")
    for strength in path.strengths:
        share = float((path.smallest <= strength).mean())
        print(f"  strength {strength:.4f}   moved {share:.1%}")
    return 0


def _fit(run: Any, kind: str, args: Any) -> None:
    from clustcore.parts import attacker_images, fit_attacker

    asked = argparse.Namespace(**vars(args) | {"split": "train"})
    train = attacker_images(_samples_of(run.card, asked))
    with Bars() as bars:

        def tell(done: int, total: int, parts: dict[str, float]) -> None:
            values = ", ".join(f"{name} {value:.4f}" for name, value in parts.items())
            bars.step(done, total, "fitting the attacker")
            bars.say(f"epoch {done} of {total}: {values}")

        print(fit_attacker(run, train, kind, seed=args.seed, on_epoch=tell))


def _evaluate(argv: list[str]) -> int:
    from clustcore.pipeline import evaluate, load_run

    args = parse(argv, "evaluate", **RUN, **DATA)
    run = load_run(args.run, args.device)
    print(_json(evaluate(run.model, _samples_of(run.card, args))))
    return 0


def _assemble(argv: list[str]) -> int:
    from clustcore.assemble import assemble
    from clustcore.runs import read_card

    args = parse(
        argv,
        "assemble",
        folder=(str, dataclasses.MISSING, "folder that holds what came of the run"),
        name=(str | None, None, "name of the run; the folder's by default"),
        **DATA,
    )
    folder = Path(args.folder)
    samples = _samples_of(read_card(folder), args)
    with Bars() as bars:
        print(assemble(folder, args.name or folder.name, samples, bars.step))
    return 0


def _reproduce(argv: list[str]) -> int:
    what = argv[0] if argv else ""
    known = ("data", "runs", "alrdc", "drc", "ablation", "defences", "tables")
    if argv[:1] in HELP:
        usage("reproduce", "WHAT", known)
    if what not in known:
        *others, last = known
        raise ValueError(f"reproduce: expected {', '.join(others)} or {last}, got {what!r}")
    if INSTALLED and argv[-1:] not in HELP:
        raise ValueError(
            "reproduce: it writes the files that ship: expected a checkout of the repository, got "
            "an installed package"
        )
    if what == "tables":
        from clustcore.locations import PROJECT
        from clustcore.tables import update

        parse(argv[1:], "reproduce tables")
        print(f"{PROJECT}: {', '.join(update(PROJECT)) or 'nothing'} updated")
        return 0
    common = {
        "root": (str | None, None, "folder that holds the training data"),
        "download": (bool, False, "allow a download into the root"),
        "device": (str, "auto", "auto, cpu, cuda, cuda:1, mps"),
    }
    if what == "alrdc":
        return _reproduce_alrdc(argv[1:], common)
    if what in ("drc", "ablation", "defences"):
        return _reproduce_drc(what, argv[1:], common)
    only = (tuple[str, ...], (), "names of runs; all by default")
    args = parse(argv[1:], f"reproduce {what}", **common, only=only)
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
    with Bars() as bars:
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

    args = parse(
        argv,
        "reproduce alrdc",
        **common,
        data=(tuple[str, ...], DATA, "data sets"),
        seeds=(tuple[int, ...], (0, 1, 2), "seeds"),
        quick=(bool, False, "learn from 10,000 training images, and attack less hard"),
    )
    with Bars() as bars:
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

    texts, known = tuple[str, ...], tuple(drc_results.PLANS)
    data = {"drc": tuple(BENCHMARKS), "ablation": ("mnist",), "defences": ("cifar10",)}[what]
    options = {
        "data": (texts, data, "data sets"),
        "seeds": (tuple[int, ...], (0,), "seeds"),
    }
    if what != "defences":
        few = "a few thousand images; of `drc`, the small backbone, a few epochs"
        limit = "stop after this many minutes (0: no limit); a later call goes on"
        options |= {"quick": (bool, False, few), "minutes": (float, 0.0, limit)}
    if what == "drc":
        bring = "folder for what comes of each run: weights, card, history, map and paths"
        options |= {
            "plans": (texts, known, f"of {', '.join(known)}"),
            "out": (Path | None, None, bring),
            "start_from": (str | None, None, "a run whose weights trainings start from"),
        }
    args = vars(parse(argv, f"reproduce {what}", **common, **options))
    from clustcore.drc_table import Call, reproduce_ablation, reproduce_defences, reproduce_drc

    data, plans, root = args.pop("data"), args.pop("plans", ()), args.pop("root")
    args["start"] = args.pop("start_from", None)
    wrong: list[str] = []
    with Bars() as bars:
        call = Call(root=None if root is None else Path(root), report=bars.say, **args)
        if what == "drc":
            wrong = reproduce_drc(data, plans, call)
        elif what == "ablation":
            wrong = reproduce_ablation(data, call)
        else:
            for name in data:
                reproduce_defences(name, call)
    tables = {"drc": drc_results.benchmarks, "ablation": drc_results.ablation}
    print(tables.get(what, drc_results.defences)())
    if wrong:
        raise ValueError("; ".join(wrong))
    return 0


def _samples_of(card: dict[str, Any], args: Any) -> Any:
    from clustcore.datasets import judged_split, load_samples
    from clustcore.datasets.shipped import SOURCES

    name = args.data or card["data"]["name"]
    split = args.split or judged_split(name, card["data"]["split"])
    root = None if split == "test" and name in SOURCES else args.root  # what ships is at hand
    shape = {}
    # what the model was trained on decides, not the first image found
    if name.partition(":")[0] == "folder":
        channels, size, _ = card["config"]["input_shape"]
        shape = {"channels": channels, "size": size}
    download = getattr(args, "download", False)  # of `defend` alone
    samples = load_samples(name, split, root=root, download=download, **shape)
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
