"""Making a run: what is refused before it trains, and a model of one's own."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import clustcore
from clustcore import runs
from tests.conftest import quick


def test_what_makes_no_run_is_refused_before_it_trains(blobs, tmp_path, monkeypatch):
    from clustcore.pipeline.make import make_run
    from clustcore.runs.plan import Plan
    from clustcore.training.teacher import TeachConfig, Teacher

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    config = {"clusters": 3, "width": 4, "alone": 1, "taught": 1}
    plan = Plan("drc", "blobs", config, train={"batch": 16, "device": "cpu"})
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


@pytest.mark.skipif(find_spec("umap") is None, reason="umap is not installed")
def test_a_model_of_ones_own_gets_a_run(samples, tmp_path, monkeypatch):
    from tests.models.test_models import Net

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DRIFTMAP_BUILDERS", raising=False)  # who makes the run need not allow it
    torch.manual_seed(0)
    model = clustcore.wrap(
        Net(), clusters=3, input_shape=(1, 28, 28), builder="tests.models.test_models:Net"
    )
    clustcore.add_run("mine", model, samples, config=quick())
    monkeypatch.setenv("DRIFTMAP_BUILDERS", "tests.models.test_models:Net")
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


def trained(name: str, blobs, lr: float = 3e-3, **config):
    from clustcore.pipeline.make import make_run
    from clustcore.runs.plan import Plan

    settings = {"batch": 16, "device": "cpu", "lr": lr}
    plan = Plan("drc", "blobs", {"clusters": 3, "width": 4} | config, train=settings)
    return plan, make_run(name, plan, blobs)


def test_a_training_starts_from_a_runs_weights(blobs, tmp_path, monkeypatch):
    from clustcore.pipeline.make import make_run
    from clustcore.runs.plan import Plan

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    trained("first", blobs, features=2, alone=0, norm="group")
    first = clustcore.load_run("first", "cpu")
    # heads alone: the features stay what they were
    config = {"clusters": 3, "width": 4, "alone": 0, "norm": "group", "heads": "kmeans"}
    plan = Plan("drc", "blobs", config, train={"batch": 16, "device": "cpu"})
    folder = make_run("second", plan, blobs, start=first)
    second = clustcore.load_run("second", "cpu")
    x = torch.from_numpy(blobs.x[:9])
    torch.testing.assert_close(second.model.embed(x), first.model.embed(x), rtol=2e-3, atol=2e-3)
    assert not any(name.startswith("projector.") for name in second.model.state_dict())
    weights = first.card.weights_sha256
    assert second.card.start == {"from": "first", "from_weights": weights}
    assert runs.read_card(folder).training.stages == {"heads": 1}
    assert not first.card.start


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"width": 8}, r"run 'first': tensor 'backbone.layers.0.0.weight': expected shape \(8,"),
        ({"clusters": 4}, r"tensor 'assign.weight': expected shape \(4, 16\), got shape \(3, 16"),
        ({"norm": "batch"}, r"'backbone.layers.0.1.running_mean': expected shape \(4,\), got none"),
        (
            {"projection": 8, "features": 1},
            r"tensor 'projector.2.weight': expected shape \(8, 16\)",
        ),
    ],
)
def test_another_architecture_is_no_beginning(blobs, tmp_path, monkeypatch, config, message):
    from clustcore.pipeline.make import make_run
    from clustcore.runs.plan import Plan

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    trained("first", blobs, features=1, alone=0, norm="group")
    first = clustcore.load_run("first", "cpu")
    own = {"clusters": 3, "width": 4, "norm": "group", "alone": 1} | config
    plan = Plan("drc", "blobs", own, train={"batch": 16, "device": "cpu"})
    with pytest.raises(ValueError, match=message):
        make_run("second", plan, blobs, start=first)
    other = Plan("dec", "blobs", {"clusters": 3}, train={"batch": 16, "device": "cpu"})
    with pytest.raises(ValueError, match="expected a model of the kind DEC, got a DRC"):
        make_run("second", other, blobs, start=first)
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_a_card_says_what_a_training_took(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    _, folder = trained("a", blobs, 1e-5, features=2, alone=0, heads="kmeans", surest=1)
    said = runs.read_card(folder).train
    # of 64 images two views each, in `surest` a third one
    assert said["views"] == {"features": 256, "heads": 0, "surest": 192}
    assert said["precisions"] == {"float32": 3}
    assert said["precision"] == "auto"
    assert said["device"] == "cpu"
    assert " cores, with" in said["machine"]


def test_a_teacher_is_made_of_a_runs_features(blobs, tmp_path, monkeypatch):
    from sklearn.metrics import adjusted_rand_score

    from clustcore.pipeline.make import make_run, teach_on
    from clustcore.training.teacher import TeachConfig, load_teacher, save_teacher

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    # wide enough that the groups lie apart in its features, whatever the processor rounds
    plan, _ = trained("a", blobs, features=2, alone=0, norm="group", width=16, heads="kmeans")
    run = clustcore.load_run("a", "cpu")
    small = TeachConfig(clusters=3, pca=5, dim=2, neighbours=5, manifolds=2, starts=2)
    said = []
    teacher = teach_on(run, blobs, small, lambda *step: said.append(step))
    assert said[-1][0] == said[-1][1]
    assert teacher.on == run.card.weights_sha256
    assert adjusted_rand_score(teacher.clusters, blobs.y) > 0.9
    save_teacher(tmp_path / "t.npz", teacher)
    again = load_teacher(tmp_path / "t.npz", 64, "blobs")
    assert again.on == teacher.on
    # the model is given them as its own
    config = plan.config | {"features": 0, "heads": "teacher", "head_steps": 300}
    make_run("b", dataclasses.replace(plan, config=config), blobs, again, start=run)
    other = clustcore.load_run("b", "cpu")
    assert other.card.teacher["on"] == teacher.on
    with torch.no_grad():
        labels = other.model(torch.from_numpy(blobs.x)).argmax(1)
    assert adjusted_rand_score(teacher.clusters, labels) > 0.9
    elsewhere = dataclasses.replace(blobs, name="others")
    with pytest.raises(ValueError, match="'a': expected one trained on images of others, got one"):
        teach_on(run, elsewhere, small)
    with torch.no_grad():
        for value in run.model.parameters():
            value.zero_()
    with pytest.raises(ValueError, match="features that differ, got the same for all images"):
        teach_on(run, blobs, small)
