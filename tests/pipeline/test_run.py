"""The public door on a tiny run: load, attack, probe, evaluate; and each wrong input."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import clustcore
from clustcore.pipeline import run as pipeline
from clustcore.pipeline.batches import cluster
from tests.support import demo


def test_a_run_opens_by_name_and_carries_its_unit(mapped):
    assert mapped.name == "tiny"
    assert mapped.unit == mapped.card.section("embedding")["R"] == mapped.model.unit > 0
    assert mapped.map.xy.shape == (120, 2)


def test_opening_a_run_reads_its_card_once(mapped, monkeypatch):
    read = demo.count_reads(monkeypatch)
    monkeypatch.setattr("clustcore.runs.folder.SHIPPED", mapped.folder / "none")
    clustcore.load_run("tiny", "cpu")
    assert read["card.json"] == 1


def test_the_map_is_the_projectors(mapped, samples):
    clean = cluster(mapped.model, samples.x)
    np.testing.assert_allclose(mapped.projector.place(clean.z), mapped.map.xy, atol=1e-4)
    np.testing.assert_array_equal(clean.labels, mapped.map.labels)


def test_evaluate_agrees_with_a_count_by_hand(mapped, samples):
    scores = clustcore.evaluate(mapped.model, samples)
    labels = cluster(mapped.model, samples.x).labels
    import itertools

    best = max(
        float((np.array(order)[labels] == samples.y).mean())
        for order in itertools.permutations(range(3))
    )
    assert scores.acc == pytest.approx(best)
    assert scores.n == 120


def test_a_probe_on_a_sample_answers_with_its_cluster(mapped):
    hits = 0
    for row in range(0, 120, 10):
        answer = pipeline.probe(mapped, tuple(map(float, mapped.map.xy[row])))
        assert answer.p.sum() == pytest.approx(1, abs=1e-5)
        assert answer.image.shape == (1, 28, 28)
        hits += answer.p.argmax() == mapped.map.labels[row]
    assert hits >= 10
    far = pipeline.probe(mapped, (1e3, 1e3))
    assert not far.trusted


def test_the_door_attacks_arrays_and_tensors_alike(mapped, samples):
    x = samples.x[:9]
    first = clustcore.attack(mapped.model, x, "pgd", eps=0.1)
    second = clustcore.attack(mapped.model, torch.from_numpy(x), "pgd", eps=0.1)
    assert torch.equal(first.x_adv, second.x_adv)
    assert first.x_adv.device.type == "cpu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "pdg"}, r"unknown attack 'pdg'; known: alrdc, alrdc-relu, exact"),
        ({"eps": -0.1}, r"expected .*got -0.1"),
        ({"norm": "l7"}, r"l7"),
        ({"space": "labels"}, r"labels"),
        ({"odd": 1}, r"attack 'pgd': unknown field 'odd'"),
        ({"target": 9}, r"target"),
    ],
)
def test_a_wrong_attack_is_said(mapped, samples, change, message):
    arguments = {"name": "pgd", "eps": 0.1} | change
    with pytest.raises(ValueError, match=message):
        clustcore.attack(mapped.model, samples.x[:4], **arguments)


def test_a_run_without_a_map_says_which_command_makes_one(tiny_run, samples, tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    shutil.copytree(tiny_run, tmp_path / "bare")
    run = clustcore.load_run("bare", "cpu")
    with pytest.raises(ValueError, match="python -m clustcore project"):
        pipeline.probe(run, (0.0, 0.0))
