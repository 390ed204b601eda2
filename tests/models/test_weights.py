"""Round trips, and each way in which a run can be damaged, with its message."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from clustcore import runs
from clustcore.files import sha256
from clustcore.models.weights import join_weights, load_model, save_weights, split_weights
from clustcore.runs import WEIGHTS


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

    monkeypatch.setattr("clustcore.models.weights.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_weights(run, model)
    assert (run / WEIGHTS).read_bytes() == before
    assert not list(run.glob(".*"))


def test_a_run_that_was_killed_before_its_first_save_is_not_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "history.csv").write_text("epoch\n")
    assert "half" not in [info.name for info in runs.list_runs()]


@pytest.fixture
def split(run, tmp_path):
    """What has to travel: the card, and the weights in three parts."""
    out = tmp_path / "parts"
    files = split_weights(run, out, limit=(run / WEIGHTS).stat().st_size // 3 + 1)
    shutil.copy(run / "card.json", out)
    assert [file.name for file in files] == [f"{WEIGHTS}.part-{i}-of-3" for i in range(3)]
    return out


def test_weights_in_parts_open_as_they_are_and_join_to_the_same_file(run, split, tmp_path):
    whole = (run / WEIGHTS).read_bytes()
    limit = len(whole) // 3 + 1
    assert all(file.stat().st_size <= limit for file in runs.weights_files(split))
    before = sorted(split.iterdir())
    for (name, value), (other, expected) in zip(
        load_model(split).state_dict().items(), load_model(run).state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(value, expected)
    assert sorted(split.iterdir()) == before  # nothing is written to open them
    assert join_weights(split, tmp_path / "joined").read_bytes() == whole
    assert [path.name for path in (tmp_path / "joined").iterdir()] == [WEIGHTS]


def test_a_run_may_be_split_where_it_is_and_joined_again(run):
    files, whole = sorted(run.iterdir()), (run / WEIGHTS).read_bytes()
    split_weights(run, run, limit=len(whole) // 2 + 1)
    split_weights(run, run, limit=len(whole) // 4 + 1)  # the parts of before are gone
    assert len(list(run.iterdir())) == len(files) - 1 + 4
    assert runs.has_weights(run)
    join_weights(run, run)
    assert sorted(run.iterdir()) == files
    assert (run / WEIGHTS).read_bytes() == whole
    split_weights(run, run)  # small enough as they are
    assert sorted(run.iterdir()) == files


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "others"])
def test_parts_that_do_not_make_the_weights(run, split, tmp_path, damage):
    part = runs.weights_files(split)[1]
    data = bytearray(part.read_bytes())
    said = r"part-0-of-3 .*part-1-of-3 \([\d,]+ bytes\).*: sha256: expected .* a part was changed"
    if damage == "missing":
        part.unlink()
        said = r"part-1-of-3: expected weights, got no such file"
    elif damage == "others":
        change_card(split, weights_sha256="1" * 64)
    else:
        part.write_bytes(data[:-7] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValueError, match=said):
        load_model(split)
    with pytest.raises(ValueError, match=said):
        join_weights(split, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()
    assert runs.has_weights(split) == (damage != "missing")
    shutil.copy(run / WEIGHTS, split)  # where they lie in one file, parts do not count
    if damage != "others":
        load_model(split)
