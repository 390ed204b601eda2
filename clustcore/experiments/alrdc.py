"""ALRDC's table, with the columns that its paper leaves out: `python -m clustcore reproduce alrdc`.

Undefended | the same further steps without a defence | the paper's defence | alternating, each
under the attacker of before and under one fitted anew. Written to `assets/alrdc.json`, from which
`reproduce tables` makes the table of RESULTS.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clustcore import files
from clustcore.attacks.alrdc import ALRDCAttack
from clustcore.distributed import is_main
from clustcore.experiments import judge
from clustcore.experiments.context import Context
from clustcore.experiments.judge import JudgeConfig
from clustcore.experiments.recipes import RECIPES
from clustcore.experiments.report import ALRDC, alrdc_entries
from clustcore.experiments.reproduce import load_split, train_seed
from clustcore.pipeline.contents import attacker_images
from clustcore.pipeline.run import Run, load_run, target_of
from clustcore.runs import attacker_file
from clustcore.types import Samples

DATA = ("mnist", "fashion-mnist")
QUICK = 10_000  # training images
_DEFENCES = ("control", "alrdc", "alternating")
_SPACES = (("embedding", "l2"), ("pixels", "linf"))


def reproduce_alrdc(
    data: tuple[str, ...],
    seeds: tuple[int, ...],
    context: Context,
    config: JudgeConfig | None = None,
) -> None:
    """Train what is missing, judge it, and put one entry a data set and seed into the file.

    A quick call learns from 10,000 training images and attacks with 40 steps and 2 starts; the
    entry says so, and has no bar.
    """
    quick = context.quick
    config = config or (JudgeConfig(restarts=2, aimed=0, steps=40) if quick else JudgeConfig())
    for name in data:
        train, test = (load_split(name, split, context) for split in ("train", "test"))
        if quick:
            rows = np.random.default_rng(0).permutation(len(train))[:QUICK]
            train = train.take(np.sort(rows))
        for seed in seeds:
            entry = _entry(name, seed, train, test, context, config)
            if is_main():
                _save(entry)
            context.report(f"{ALRDC}: {name}, seed {seed}{', quick' if quick else ''}")


def _entry(
    data: str,
    seed: int,
    train: Samples,
    test: Samples,
    context: Context,
    config: JudgeConfig,
) -> dict[str, Any]:
    names = [f"alrdc-{data}", *(f"alrdc-{data}-{defence}" for defence in _DEFENCES)]
    models = [
        load_run(train_seed(name, RECIPES[name], seed, train, context), context.device)
        for name in names
    ]
    images = attacker_images(train)
    kinds = ("undefended", *_DEFENCES)
    # the paper's defence keeps a copy of what it was trained against
    defended = models[kinds.index("alrdc")]
    old = ALRDCAttack.load(attacker_file(defended.info, "alrdc"))
    against = defended.card.defence
    if against is None or old.fitted_on != against.from_weights:
        raise ValueError(
            f"run {defended.name!r}: expected the attacker it was trained against, got one fitted "
            "anew since; move the run away to have it made anew"
        )
    rows = []
    for run, what in zip(models, kinds, strict=True):
        context.report(f"{run.name}: judged under the attackers of before and of now")
        clean = judge.clean(run, test)
        whose = ("its own",) if run is models[0] else ("old", "adaptive")
        for who in whose:
            attacker = _fit(run, images, seed) if who == "adaptive" else old
            under = judge.learned(run, test, attacker, config)
            rows.append({"model": what, "attacker": who, "clean": clean, "under": under})
    bars = []
    if not context.quick:
        for space, norm in _SPACES:
            context.report(f"alrdc-{data}: the bar, {space}")
            bars.append(judge.bar(models[0], models[-1], test, images, space, norm, config))
    return {
        "data": data,
        "seed": seed,
        "mode": "quick" if context.quick else "full",
        "n_train": len(train),
        "n_attacker": len(images),
        "settings": config.to_dict(),
        "device": str(models[0].device),
        "weights": [run.card.weights_sha256 for run in models],
        "rows": rows,
        "bar": bars,
    }


def _fit(run: Run, images: Samples, seed: int) -> ALRDCAttack:
    import torch

    attacker = ALRDCAttack()
    attacker.fit(target_of(run.model), torch.from_numpy(images.x).to(run.device), seed)
    return attacker


def _save(entry: dict[str, Any]) -> None:
    key = ("data", "mode", "seed")
    others = [e for e in alrdc_entries() if any(e[k] != entry[k] for k in key)]
    entries = sorted([*others, entry], key=lambda e: (e["mode"], e["data"], e["seed"]))
    files.write_json(ALRDC, {"entries": entries})
