"""Round trips, and each way in which a run can be damaged, with its message."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from clustcore import runs
from clustcore.checkpoint import WEIGHTS, load_model, save_weights, sha256


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the tiny run that may be damaged."""
    return shutil.copytree(tiny_run, tmp_path / "tiny")


def change_card(run, **fields):
    card = json.loads((run / "card.json").read_text())
    card.update(fields)
    (run / "card.json").write_text(json.dumps(card))


def test_round_trip_is_exact_to_half_precision(run):
    model = load_model(run)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    stored = load_file(run / WEIGHTS)
    for name, value in model.state_dict().items():
        counts = name.endswith("num_batches_tracked")
        assert stored[name].dtype == (torch.int64 if counts else torch.float16)
        assert value.dtype == (torch.int64 if counts else torch.float32)
        assert torch.equal(value, stored[name].to(value.dtype))
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(model(x), load_model(run)(x))


def test_a_finished_run_holds_no_resume_state(run):
    assert sorted(path.name for path in run.iterdir()) == [
        "card.json",
        "history.csv",
        "weights.safetensors",
    ]


def test_weights_that_are_missing(run):
    (run / WEIGHTS).unlink()
    with pytest.raises(
        ValueError, match=r"weights.safetensors: expected weights, got no such file"
    ):
        load_model(run)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_weights_that_were_cut_short_or_changed(run, damage):
    data = bytearray((run / WEIGHTS).read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[-1] ^= 1
    (run / WEIGHTS).write_bytes(data)
    with pytest.raises(
        ValueError, match=r"sha256: expected .* got .*the file was changed or cut short"
    ):
        load_model(run)


def test_weights_that_are_no_safetensors(run):
    (run / WEIGHTS).write_bytes(b"not weights")
    change_card(run, weights_sha256=sha256(run / WEIGHTS))
    with pytest.raises(ValueError, match="expected safetensors, got"):
        load_model(run)


def rewrite(run, edit):
    tensors = load_file(run / WEIGHTS)
    edit(tensors)
    save_file(tensors, run / WEIGHTS)
    change_card(run, weights_sha256=sha256(run / WEIGHTS))


def test_a_tensor_of_a_wrong_shape(run):
    rewrite(run, lambda t: t.update(centroids=torch.zeros(3, 7)))
    with pytest.raises(ValueError, match=r"'centroids': expected shape \(3, 4\), got \(3, 7\)"):
        load_model(run)


def test_a_tensor_that_is_missing_or_too_many(run):
    rewrite(run, lambda t: t.pop("centroids"))
    with pytest.raises(ValueError, match="expected tensor 'centroids', got none"):
        load_model(run)
    rewrite(run, lambda t: t.update(centroids=torch.zeros(3, 4), more=torch.zeros(1)))
    with pytest.raises(ValueError, match="expected no tensor 'more', got one"):
        load_model(run)


def test_a_tensor_with_nan(run):
    rewrite(run, lambda t: t.update(centroids=torch.full((3, 4), torch.nan)))
    with pytest.raises(ValueError, match="'centroids': expected finite numbers"):
        load_model(run)


def test_card_faults(run):
    change_card(run, model="unheard")
    with pytest.raises(
        ValueError, match=r"card.json: field 'model': unknown model 'unheard'; known: alrdc, dec"
    ):
        load_model(run)
    change_card(run, model="dec", config={"clusters": 3, "odd": 1})
    with pytest.raises(ValueError, match=r"field 'config': unknown field 'odd'; known: autoencode"):
        load_model(run)
    change_card(run, config={"clusters": 1})
    with pytest.raises(ValueError, match=r"DECConfig.clusters: expected 2 to 256, got 1"):
        load_model(run)
    change_card(run, format=3)
    with pytest.raises(ValueError, match=r"card.json: field 'format': expected 1, got 3"):
        load_model(run)
    change_card(run, format="1")
    with pytest.raises(ValueError, match=r"field 'format': expected int, got '1'"):
        load_model(run)
    (run / "card.json").write_text("{half")
    with pytest.raises(ValueError, match=r"card.json: expected JSON"):
        load_model(run)
    (run / "card.json").unlink()
    with pytest.raises(ValueError, match=r"card.json: expected a card, got no such file"):
        load_model(run)


def test_a_kill_while_saving_leaves_what_was_there(run, monkeypatch):
    before = (run / WEIGHTS).read_bytes()
    model = load_model(run)

    def killed(tensors, path, *rest):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr("clustcore.checkpoint.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_weights(run, model)
    assert (run / WEIGHTS).read_bytes() == before
    assert not list(run.glob(".*"))


def test_a_run_that_was_killed_before_its_first_save_is_not_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "history.csv").write_text("epoch\n")
    assert "half" not in [info.name for info in runs.list_runs()]
