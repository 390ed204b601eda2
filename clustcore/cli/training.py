"""The commands that train: `train`, `defend` and `teach`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clustcore.cli.bars import Bars
from clustcore.cli.flags import WHERE, flags, parse
from clustcore.cli.plans import defence_from_flags, plan_from_file, plan_from_flags
from clustcore.cli.samples import loaded, samples_of
from clustcore.runs.plan import Plan

if TYPE_CHECKING:
    from clustcore.pipeline.run import Run
    from clustcore.training.teacher import TeachConfig, Teacher
    from clustcore.types import Samples


def train(argv: list[str]) -> int:
    """`train MODEL [flags]`, or `train --config FILE`, whose plan may be one of a defence."""
    return _carry_out(plan_from_file(argv) if "--config" in argv else plan_from_flags(argv))


def defend(argv: list[str]) -> int:
    """`defend RUN --defence NAME [flags]`."""
    return _carry_out(defence_from_flags(argv))


def _carry_out(plan: Plan) -> int:
    folder = _trained(plan) if plan.source is None else _defended(plan, plan.source)
    finished = (folder / "card.json").is_file()
    print(f"{folder}: {'trained' if finished else 'stopped; the same command goes on'}")
    return 0


def _trained(plan: Plan) -> Path:
    from clustcore.pipeline.make import make_run
    from clustcore.pipeline.run import load_run

    samples = loaded(plan.data, plan.split, plan.root, plan.download)
    teacher = _teacher_of(plan, samples)
    start = None if plan.start_from is None else load_run(plan.start_from, "cpu")
    with Bars() as bars:
        return make_run(
            plan.run_name,
            plan,
            samples,
            teacher,
            start=start,
            on_epoch=bars.epoch,
            on_step=bars.batch,
        )


def _defended(plan: Plan, source: str) -> Path:
    from clustcore.pipeline.make import defend
    from clustcore.pipeline.run import load_run

    run = load_run(source, plan.train.get("device", "auto"))
    samples = samples_of(run.card, plan.data, plan.split, plan.root, plan.download)
    with Bars() as bars:
        return defend(plan.run_name, run, plan, samples, on_epoch=bars.epoch, on_step=bars.batch)


def _teacher_of(plan: Plan, samples: Samples) -> Teacher | None:
    from clustcore.training.teacher import TeachConfig, load_teacher

    file = plan.teacher_path()
    if file is None:
        return None
    how = None
    if plan.teach is not None:
        how = TeachConfig.from_dict(plan.teach_settings(), "teach")
        _make_teacher(file, samples, how, keep=True)
    return load_teacher(file, len(samples), samples.name, how)


def teach(argv: list[str]) -> int:
    """`teach --data NAME [flags]`, or `teach --on RUN [flags]`."""
    from clustcore.pipeline.run import load_run
    from clustcore.runs import folders
    from clustcore.training.teacher import TeachConfig

    args = parse(
        argv,
        "teach",
        data=(str | None, None, "data set; mnist, or that of the run, by default"),
        on=(str | None, None, "a run whose embedding is clustered, in place of the pixels"),
        device=(str, "auto", "where the run is opened: auto, cpu, cuda, cuda:1, mps"),
        split=(str | None, None, "train, test or all; train, or that of the run, by default"),
        **WHERE,
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
        samples = loaded(args.data or "mnist", args.split or "train", args.root, args.download)
    else:
        split = args.split or run.card.data.split
        samples = samples_of(run.card, args.data, split, args.root, args.download)
    name = "-".join([samples.name, *([] if run is None else ["on", run.name]), str(config.seed)])
    out = Path(args.out or folders()[1] / "teachers" / f"{name}.npz")
    _make_teacher(out, samples, config, run)
    print(out)
    return 0


def _make_teacher(
    out: Path, samples: Samples, config: TeachConfig, run: Run | None = None, *, keep: bool = False
) -> None:
    """Make a teacher of the images, or of what a run makes of them.

    With `keep` it is made only where there is none yet.
    """
    from clustcore.distributed import is_main, wait
    from clustcore.pipeline.make import teach_on
    from clustcore.training.teacher import save_teacher, teach

    if is_main() and not (keep and out.is_file()):  # one process's work
        with Bars() as bars:
            if run is None:
                teacher = teach(samples.x, samples.name, config, bars.step)
            else:
                teacher = teach_on(run, samples, config, bars.step)
        save_teacher(out, teacher)
    wait()
