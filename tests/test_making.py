"""Making a run: what is refused before it trains, and a model of one's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import clustcore
from clustcore import runs
from tests.conftest import quick


def test_what_makes_no_run_is_refused_before_it_trains(blobs, tmp_path, monkeypatch):
    from clustcore.making import Plan, make_run
    from clustcore.teach import TeachConfig, Teacher

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    config = {"clusters": 3, "width": 4, "alone": 1, "taught": 1}
    plan = Plan("drc", {"name": "blobs"}, config, train={"batch": 16, "device": "cpu"})
    for name in ("../outside", "a/b", ""):
        with pytest.raises(ValueError, match="run name: expected letters"):
            make_run(name, plan, blobs)
    with pytest.raises(ValueError, match=r"drc-mnist: expected a new run"):
        make_run("drc-mnist", plan, blobs)
    bad = dataclasses.replace(blobs, x=blobs.x * np.float32("nan"))
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got nan"):
        make_run("a", plan, bad)
    teacher = Teacher(np.arange(64) % 5, 1.0, TeachConfig(), "blobs")
    with pytest.raises(ValueError, match=r"teacher: expected samples in each of 3 clusters"):
        make_run("a", plan, blobs, teacher)
    assert not list(tmp_path.iterdir())


def test_a_model_of_ones_own_gets_a_run(samples, tmp_path, monkeypatch):
    from tests.test_models import Net

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DRIFTMAP_BUILDERS", raising=False)  # who makes the run need not allow it
    torch.manual_seed(0)
    model = clustcore.wrap(
        Net(), clusters=3, input_shape=(1, 28, 28), builder="tests.test_models:Net"
    )
    clustcore.add_run("mine", model, samples, config=quick())
    monkeypatch.setenv("DRIFTMAP_BUILDERS", "tests.test_models:Net")
    run = clustcore.load_run("mine", "cpu")
    x = torch.from_numpy(samples.x[:5])
    torch.testing.assert_close(run.model(x), model(x))
    assert runs.find_run("mine").readiness == "paths not computed yet"
    with pytest.raises(ValueError, match="got one that is there already"):
        clustcore.add_run("mine", model, samples)
    with pytest.raises(ValueError, match="run name"):
        clustcore.add_run("../mine", model, samples)
    monkeypatch.setenv("DRIFTMAP_BUILDERS", "")
    with pytest.raises(ValueError, match="not allowed here"):
        clustcore.load_run("mine", "cpu")
