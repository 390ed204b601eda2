"""The command line: `python -m clustcore train | defend | teach | project | attack | ...`.

Flags are drawn from the config dataclasses. What a command does not need is not imported by it, so
that training, measuring and attacking run where only their own needs are installed.
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
from typing import Any

from clustcore.cli import reproducing, training
from clustcore.cli.bars import Bars
from clustcore.cli.flags import COMMANDS, DATA, RUN, parse
from clustcore.cli.samples import samples_of
from clustcore.runs.progress import tell


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
    from clustcore.training.epoch import TrainingFailed

    try:
        return {
            "train": training.train,
            "defend": training.defend,
            "teach": training.teach,
            "project": _project,
            "snapshots": _snapshots,
            "attack": _attack,
            "evaluate": _evaluate,
            "assemble": _assemble,
            "reproduce": reproducing.reproduce,
        }[command](rest)
    except (ValueError, TrainingFailed, RankLost, OSError) as error:
        print(f"clustcore {command}: {error}", file=sys.stderr)
        tell("failed", command=command, reason=str(error))
        return 2
    except KeyboardInterrupt:
        print(f"clustcore {command}: stopped; what was finished is kept", file=sys.stderr)
        return 130
    except Exception as error:
        tell("failed", command=command, reason=f"{type(error).__name__}: {error}")
        raise


def _project(argv: list[str]) -> int:
    from clustcore.pipeline.contents import make_map
    from clustcore.pipeline.run import load_run
    from clustcore.runs import folders

    args = parse(argv, "project", **RUN, **DATA)
    run = load_run(args.run, args.device)
    if run.folder.parent == folders()[0]:
        raise ValueError(f"run {args.run!r} ships with its map and paths, which belong together")
    samples = samples_of(run.card, args.data, args.split, args.root)
    with Bars() as bars:
        arrays = make_map(run, samples, seed=args.seed, on_step=bars.step)
    print(
        f"{run.folder / 'map.npz'}: {len(arrays.xy)} samples, trustworthiness "
        f"{arrays.trustworthiness:.3f} (held out {arrays.held_out:.3f}), seed {args.seed}"
    )
    return 0


def _snapshots(argv: list[str]) -> int:
    from clustcore.maps.live import follow
    from clustcore.runs import folders, is_name

    args = parse(argv, "snapshots", run=(str, dataclasses.MISSING, "name of the run"))
    folder = folders()[1] / args.run
    if not is_name(args.run) or not folder.is_dir():
        raise ValueError(f"snapshots: expected a run that is being trained, got {args.run!r}")
    follow(folder, lambda found: print(f"{folder}: map of epoch {found.epoch}"))
    return 0


def _attack(argv: list[str]) -> int:
    from clustcore import measures
    from clustcore.attacks import ATTACKS
    from clustcore.dial import dial
    from clustcore.pipeline.paths import compute_path
    from clustcore.pipeline.run import attack_of, evaluate, load_run
    from clustcore.registry import lookup
    from clustcore.types import NORMS, SPACES, PathKey, as_norm

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
    samples = samples_of(run.card, args.data, args.split, args.root)
    if args.fit:
        _fit(run, args)
    if args.eps is not None:
        rows = measures.sample_rows(min(1000, len(samples)), len(samples), samples.y, seed=0)
        budget = {"eps": args.eps, "norm": norm, "space": space, "target": args.target}
        under = attack_of(run, args.attack)
        scores = evaluate(run.model, samples.take(rows), under=under, seed=args.seed, **budget)
        print(_json(scores))
        return 0
    key = PathKey(args.attack, space, as_norm(norm), args.target, args.seed)
    with Bars() as bars:
        path = compute_path(run, samples, key, bars.step)
    print(f"{args.attack}, {space}, {norm}, n = {len(path.rows)}, seed {path.seed}")
    for strength in path.strengths:
        share = float((path.smallest <= strength).mean())
        print(f"  strength {strength:.4f}   moved {share:.1%}")
    return 0


def _fit(run: Any, args: Any) -> None:
    from clustcore.pipeline.contents import attacker_images, fit_attacker

    train = attacker_images(samples_of(run.card, args.data, "train", args.root))
    with Bars() as bars:

        def tell(done: int, total: int, parts: dict[str, float]) -> None:
            values = ", ".join(f"{name} {value:.4f}" for name, value in parts.items())
            bars.step(done, total, "fitting the attacker")
            bars.say(f"epoch {done} of {total}: {values}")

        print(fit_attacker(run, train, args.attack, seed=args.seed, on_epoch=tell))


def _evaluate(argv: list[str]) -> int:
    from clustcore.pipeline.run import evaluate, load_run

    args = parse(argv, "evaluate", **RUN, **DATA)
    run = load_run(args.run, args.device)
    print(_json(evaluate(run.model, samples_of(run.card, args.data, args.split, args.root))))
    return 0


def _assemble(argv: list[str]) -> int:
    from clustcore.pipeline.assemble import assemble
    from clustcore.runs import read_card

    args = parse(
        argv,
        "assemble",
        folder=(str, dataclasses.MISSING, "folder that holds what came of the run"),
        name=(str | None, None, "name of the run; the folder's by default"),
        **DATA,
    )
    folder = Path(args.folder)
    samples = samples_of(read_card(folder), args.data, args.split, args.root)
    with Bars() as bars:
        print(assemble(folder, args.name or folder.name, samples, bars.step))
    return 0


def _json(scores: Any) -> str:
    # what needs labels is NaN without them, and JSON has no NaN
    text = json.dumps(dataclasses.asdict(scores), indent=1)
    return re.sub(r"\bNaN\b", "null", text)


def entry() -> int:
    """The command that this process was started with.

    Of several under torchrun the first one alone prints.
    """
    if "WORLD_SIZE" not in os.environ:
        return main()
    from clustcore.distributed import group, is_main

    with group("cpu"), contextlib.ExitStack() as stack:
        if not is_main():
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if code := main():
            sys.exit(code)  # by an exception, so that the group does not wait for the others
    return 0
