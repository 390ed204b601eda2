"""The bar that a defence has to clear, on a small ALRDC model that is really trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clustcore.datasets import load_samples
from clustcore.experiments import judge
from clustcore.experiments.judge import JudgeConfig
from clustcore.pipeline.make import defend, make_run
from clustcore.pipeline.run import Run, load_run
from clustcore.runs.plan import Plan
from clustcore.training.teacher import TeachConfig, teach
from clustcore.types import Samples

MODEL = {"clusters": 4, "dim": 8, "width": 8, "p_hidden": 64}
STAGES = {"autoencode": 20, "taught": 20, "cluster": 10}
LOOP = {"batch": 64, "lr": 3e-3, "device": "cpu"}
MILD = {"rotate": 5.0, "scale": 0.05, "shift": 0.04, "shear": 0.0}
JUDGE = JudgeConfig(n=200)
TEACH = TeachConfig(clusters=4, pca=20, manifolds=2, starts=2)
BUDGETS = {"rho": 1.0, "eps": 0.15, "warm": 10, "weight_margin": 10.0}


@pytest.fixture(scope="module")
def splits() -> tuple[Samples, Samples]:
    """Four kinds of digits that a small model tells apart."""
    parts = [load_samples("digits", split) for split in ("train", "test")]
    return tuple(s.take(np.flatnonzero(np.isin(s.y, (0, 1, 4, 6)))) for s in parts)


@pytest.fixture(scope="module")
def undefended(splits, tmp_path_factory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("bar")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_RUNS", str(folder))
        plan = Plan("alrdc", "digits", config=MODEL | STAGES, train=LOOP, augment=MILD)
        make_run("undefended", plan, splits[0], teach(splits[0].x, "digits", TEACH))
        return load_run("undefended", "cpu"), folder


def trained_on(undefended, splits, name: str, **settings: object) -> Run:
    run, folder = undefended
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_RUNS", str(folder))
        config = {"epochs": 100, **settings}
        plan = Plan(None, "digits", config, MILD, LOOP, source=run.name, defence=name)
        defend(name, run, plan, splits[0])
        return load_run(name, "cpu")


@pytest.mark.slow
def test_alternating_clears_the_bar_and_further_steps_alone_do_not(undefended, splits):
    train, test = splits
    defended = trained_on(undefended, splits, "alternating", **BUDGETS)
    control = trained_on(undefended, splits, "control")
    for space, norm in (("embedding", "l2"), ("pixels", "linf")):
        with_it, without = (
            judge.bar(undefended[0], run, test, train, space, norm, JUDGE)
            for run in (defended, control)
        )
        assert with_it["cleared"], with_it
        assert not without["cleared"], without
        assert with_it["undefended"] == without["undefended"]
        assert with_it["undefended"]["moved"] >= 0.5
