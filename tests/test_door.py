"""Training and defending in one call, as a script or a notebook does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import clustcore
from clustcore import runs
from clustcore.runs.card import CardData
from tests.conftest import make_blobs

SMALL = {"clusters": 3, "dim": 4, "width": 4}
FAST = {"batch": 16, "lr": 3e-3, "device": "cpu"}


def train(data, **more):
    asked = {"config": SMALL | {"autoencode": 4, "cluster": 2}, **FAST}
    return clustcore.train("dec", data, **asked | more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run trained by the door, and the epochs that it told of."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_RUNS", str(tmp_path_factory.mktemp("door")))
        yield train(make_blobs(), name="mine", on_epoch=told.append), told


def test_a_trained_run_comes_back_open(trained):
    run, told = trained
    assert (run.name, run.folder.name) == ("mine", "mine")
    assert [epoch.stage for epoch in told] == ["autoencode"] * 4 + ["cluster"] * 2
    assert run.card.data == CardData("blobs", "test", 64)
    assert (run.card.train["batch"], run.card.train["lr"]) == (16, 3e-3)
    scores = clustcore.evaluate(run.model, make_blobs())
    assert scores.n == 64
    assert [info.name for info in runs.list_runs() if not info.shipped] == ["mine"]


def test_a_run_is_defended(trained):
    run, told = trained[0], []
    weights = (run.folder / runs.WEIGHTS).read_bytes()
    safe = clustcore.defend(
        run, "pgd_at", make_blobs(), epochs=1, config={"steps": 2}, lr=1e-3, on_epoch=told.append
    )
    assert safe.name == "mine-pgd-at"
    assert [epoch.stage for epoch in told] == ["pgd_at"]
    note = safe.card.defence
    assert (note.name, note.source, note.config["steps"]) == ("pgd_at", "mine", 2)
    assert safe.card.train["lr"] == 1e-3  # said
    assert safe.card.train["batch"] == 16  # as the run was trained with
    assert (run.folder / runs.WEIGHTS).read_bytes() == weights


def test_a_run_is_defended_by_name_on_what_it_was_trained_on(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    small = {"width": 4, "dim": 4, "autoencode": 1, "cluster": 1}
    run = clustcore.train("dec", data="digits", config=small, device="cpu", augment={"rotate": 3.0})
    assert run.name == "my-dec-digits"
    assert run.card.data == CardData("digits", "train", 1297)
    safe = clustcore.defend("my-dec-digits", "control", epochs=1, device="cpu")
    assert safe.card.data == run.card.data
    assert safe.card.augment == run.card.augment
    assert run.card.augment["rotate"] == 3.0


@pytest.mark.parametrize("kind", ["bytes", "floats", "tensor"])
def test_images_may_be_an_array(kind, tmp_path):
    x = make_blobs().x
    given = {"bytes": np.round(x * 255).astype(np.uint8), "floats": x, "tensor": torch.tensor(x)}
    run = train(given[kind], name="a", epochs=2, folder=tmp_path / "a")
    assert run.card.data == CardData("own", "train", 64)
    assert run.folder == tmp_path / "a"


@pytest.mark.parametrize(
    ("model", "config", "epochs", "expected"),
    [
        ("dec", {}, 20, {"autoencode": 10, "cluster": 10}),
        ("dec", {}, 2, {"autoencode": 1, "cluster": 1}),
        ("dec", {"autoencode": 1, "cluster": 3}, 8, {"autoencode": 2, "cluster": 6}),
        ("dec", {"clusters": 2, "cluster": 2}, 7, {"autoencode": 6, "cluster": 1}),
        ("dec", {"autoencode": 1000, "cluster": 1}, 3, {"autoencode": 2, "cluster": 1}),
        ("drc", {}, 3, {"alone": 3}),
        ("drc", {"heads": "kmeans", "taught": 20}, 8, {"alone": 4, "taught": 4}),
        ("alrdc", {"taught": 5, "dim": 5}, 41, {"autoencode": 10, "taught": 10, "cluster": 21}),
    ],
)
def test_epochs_are_shared_out_among_the_stages(model, config, epochs, expected):
    from clustcore.door import _share_out

    found = _share_out(model, config, epochs)
    assert found == expected
    assert sum(found.values()) == epochs


def test_too_few_epochs_are_refused():
    with pytest.raises(ValueError, match="expected 2 or more, one for each of autoencode, cluster"):
        train(make_blobs(), name="few", epochs=1)


def test_the_same_call_goes_on_where_it_was_stopped(tmp_path):
    class Stop(Exception):
        pass

    def stop(epoch):
        if epoch.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        train(make_blobs(), name="again", folder=tmp_path / "again", on_epoch=stop)
    told = []
    run = train(make_blobs(), name="again", folder=tmp_path / "again", on_epoch=told.append)
    assert [epoch.epoch for epoch in told] == [3, 4, 5]
    assert run.card.training.epochs == 6


def test_a_time_limit_is_an_error_that_says_how_to_go_on(tmp_path):
    place = tmp_path / "late"
    with pytest.raises(TimeoutError, match=r"within 1e-06 minutes.*the same call goes on"):
        train(make_blobs(), name="late", folder=place, minutes=1e-6)
    assert not (place / "card.json").exists()
    assert train(make_blobs(), name="late", folder=place).card.training.epochs == 6


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"epoch": 3}, "unknown field 'epoch'; known: batch, compile"),
        ({"config": {"depth": 3}}, "unknown field 'depth'"),
        ({"augment": {"rotation": 3}}, "unknown field 'rotation'"),
        ({"download": True}, "expected them beside a data set's name, got images"),
        ({"name": "a/b"}, "run name: expected letters"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(more, message, tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        train(make_blobs(), **{"name": "wrong", **more})
    assert not any(tmp_path.iterdir())


def test_a_run_that_is_there_is_not_written_over(trained, tmp_path):
    run = trained[0]
    with pytest.raises(ValueError, match="expected a new run, got one that is there already"):
        train(make_blobs(), name="mine")
    with pytest.raises(ValueError, match="expected a new run, got one that is there already"):
        train(make_blobs(), name="other", folder=run.folder)
    assert runs.read_card(run.folder) == run.card
