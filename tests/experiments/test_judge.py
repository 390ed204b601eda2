"""Judging a model under attack: the closed form as oracle, and the bar's laws."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from clustcore.attacks.alrdc import ALRDCAttack, ALRDCConfig
from clustcore.attacks.exact import Exact
from clustcore.attacks.problem import Target
from clustcore.experiments import bar, judge
from clustcore.experiments.judge import JudgeConfig
from clustcore.models.base import wrap
from clustcore.models.weights import load_model
from clustcore.pipeline.batches import cluster
from clustcore.pipeline.run import Run, target_of
from clustcore.runs import read_card
from tests.conftest import make_blobs
from tests.support.cards import some_card

CONFIG = JudgeConfig(n=60, steps=20, restarts=2, aimed=1)


@pytest.fixture(scope="module")
def samples():
    return dataclasses.replace(make_blobs(90, seed=1), name="mnist")


@pytest.fixture(scope="module")
def run(tiny_run):
    """A DEC run: its scores are affine in z, so that the smallest flip has a closed form."""
    return Run("tiny", tiny_run, read_card(tiny_run), load_model(tiny_run), torch.device("cpu"))


@pytest.fixture(scope="module")
def attacker(run, samples):
    found = ALRDCAttack(ALRDCConfig(epochs=5, batch=16, weight_y=400.0))
    found.fit(target_of(run.model), torch.from_numpy(samples.x))
    return found


@pytest.fixture(scope="module")
def smallest(run, samples):
    """rho of each judged sample's smallest flip."""
    x = torch.from_numpy(samples.x[judge.rows_of(samples, CONFIG)])
    return Exact().smallest(target_of(run.model), x, unit=run.unit).numpy()


def test_half_have_moved_at_the_median_of_the_closed_form(run, samples, smallest):
    b = judge.halfway(run, samples, "embedding", "l2", CONFIG)
    middle = np.sort(smallest)[(len(smallest) + 1) // 2 - 1]
    assert middle <= b * 1.0001
    assert b == pytest.approx(middle, rel=0.05)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_the_worst_case_is_the_closed_forms(run, samples, smallest, quantile, attacker):
    eps = float(np.quantile(smallest, quantile))
    found = judge.worst(run, samples, "embedding", "l2", eps, CONFIG, [attacker])
    least, most = (smallest < eps / 1.05).mean(), (smallest <= eps * 1.0001).mean()
    assert least <= found["moved"] <= most
    low, high = found["moved_interval"]
    assert low <= found["moved"] <= high
    assert max(found["by_attack"].values()) <= found["moved"] + 1e-9
    assert set(found["by_attack"]) <= {"pgd", "learned-0", "with every target"}


def test_nothing_moves_by_nothing_and_all_by_much(run, samples):
    for eps, share in ((0.0, 0.0), (50.0, 1.0)):
        found = judge.worst(run, samples, "embedding", "l2", eps, CONFIG)
        assert found["moved"] == share


def test_a_model_no_budget_of_the_dial_moves_is_said(run, samples):
    far = dataclasses.replace(run, card=run.card.changed(embedding={"R": 1e-9}))
    with pytest.raises(ValueError, match=r"expected half of the samples to move .*, got 0%"):
        judge.halfway(far, samples, "embedding", "l2", CONFIG)


def test_the_learned_attack_beside_a_slow_count(run, samples, attacker):
    found = judge.learned(run, samples, attacker, CONFIG)
    moved, lengths, relative, change = [], [], [], []
    with torch.no_grad():
        for image in torch.from_numpy(samples.x):
            z = run.model.embed(image[None])
            delta = attacker.perturb(image[None])
            moved.append(run.model.scores(z).argmax() != run.model.scores(z + delta).argmax())
            lengths.append(float(delta.norm()))
            relative.append(float(delta.norm() / z.norm()))
            far = run.model.decode(z + delta) - run.model.decode(z)
            change.append(float((far**2).sum()))
    assert found["moved"] == pytest.approx(np.mean(moved))
    assert found["length"] == pytest.approx(np.mean(lengths), rel=1e-4)
    assert found["rho"] == pytest.approx(np.mean(lengths) / run.unit, rel=1e-4)
    assert found["length_relative"] == pytest.approx(np.mean(relative), rel=1e-4)
    assert found["decoded_change"] == pytest.approx(np.mean(change), rel=1e-3)
    assert found["pgd_moved"] >= found["noise_moved"]


def test_a_model_beside_itself_loses_nothing_and_clears_no_bar(run, samples):
    twin = dataclasses.replace(run, name="twin")
    found = judge.bar(run, twin, samples, samples, "embedding", "l2", CONFIG)
    assert found["acc_change"] == 0
    assert found["reconstruction_ratio"] == 1
    assert found["neighbour_overlap"] == 1
    assert found["undefended"] == found["defended"]
    assert found["undefended"]["moved"] >= 0.5 - 1 / CONFIG.n
    assert found["cleared"] is False


@pytest.mark.parametrize(
    ("change", "cleared"),
    [
        ({}, True),
        ({"moved": 1 / 6 + 1e-6}, False),
        ({"acc_change": -0.0201}, False),
        ({"reconstruction_ratio": 1.21}, False),
        ({"reconstruction_ratio": None}, True),
        ({"neighbour_overlap": 0.499}, False),
    ],
)
def test_the_bar_has_four_limits(change, cleared):
    just = {"moved": 1 / 6, "acc_change": -0.02, "neighbour_overlap": 0.5}
    just |= {"reconstruction_ratio": 1.2}
    assert bar.clears(**just | change) is cleared


@pytest.mark.parametrize(
    ("moved", "change", "cleared"),
    [(0.25, -0.03, True), (0.2501, 0.0, False), (0.1, -0.0301, False)],
)
def test_the_bar_of_drc_has_two_limits(moved, change, cleared):
    assert bar.clears_drc(moved, change) is cleared


def test_the_bar_in_words_follows_its_limits(monkeypatch):
    said = bar.words()
    assert "moves at most a sixth of the defended one's, for at most 2 points of accuracy" in said
    assert "at most 1.2 times the decoder's error, and half of each sample's 15 nearest" in said
    monkeypatch.setattr(bar, "MOVED", 0.2)
    monkeypatch.setattr(bar, "ACC_LOST", 0.025)
    assert "at most 20.0% of the defended one's, for at most 2.5 points" in bar.words()


def test_an_attacker_that_learns_in_units_of_r_knows_no_scale(run, samples):
    class Scaled(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.inner, self.factor = run.model, factor

        def embed(self, x):
            return self.inner.embed(x) * self.factor

        def scores(self, z):
            return self.inner.scores(z / self.factor)

    shifts = []
    for factor in (1.0, 16.0):  # a power of two: nothing is rounded
        model = Scaled(factor).eval()
        target = Target(model.embed, model.scores)
        attacker = ALRDCAttack(ALRDCConfig(epochs=3, batch=16, weight_y=400.0))
        attacker.fit(target, torch.from_numpy(samples.x), unit=factor * run.unit)
        shifts.append(attacker.perturb(torch.from_numpy(samples.x)) / factor)
    assert shifts[0].norm() > 0
    torch.testing.assert_close(*shifts, rtol=1e-5, atol=1e-6)


def test_neighbours_are_kept_by_turning_and_scaling_and_lost_by_shuffling():
    draw = np.random.default_rng(0)
    z = draw.normal(size=(80, 5))
    turn = np.linalg.qr(draw.normal(size=(5, 5)))[0]
    assert judge.neighbour_overlap(z, 3 * z @ turn + 1) == 1
    other = draw.normal(size=(80, 3))
    distance = [np.linalg.norm(a[:, None] - a[None], axis=2) for a in (z, other)]
    near = [np.argsort(d + np.diag([np.inf] * 80), axis=1)[:, :15] for d in distance]
    shared = [len(set(a) & set(b)) / 15 for a, b in zip(*near, strict=True)]
    assert judge.neighbour_overlap(z, other) == pytest.approx(np.mean(shared))


def test_the_clean_figures_are_those_of_the_door(run, samples):
    found = judge.clean(run, samples)
    clean = cluster(run.model, samples.x)
    with torch.no_grad():
        decoded = run.model.decode(torch.from_numpy(clean.z)).numpy()
    assert found["reconstruction"] == pytest.approx(
        ((decoded - samples.x) ** 2).sum((1, 2, 3)).mean(), rel=1e-5
    )
    assert found["used"] == len(np.unique(clean.labels))


def test_the_momentum_search_finds_what_the_closed_form_allows(blobs):
    # a linear model of pixels in the middle of [0, 1], where no clipping enters: a sample moves
    # within eps in L-inf exactly where its margin is at most eps x the L1 length of its weights
    torch.manual_seed(0)
    weight = torch.randn(3, 28 * 28)
    model = wrap(_Linear(weight), clusters=3, input_shape=(1, 28, 28))
    x = 0.5 + 0.05 * (blobs.x - 0.5)
    run = Run("linear", Path("linear"), some_card(), model, torch.device("cpu"))
    flat = torch.from_numpy(x).flatten(1)
    s = flat @ weight.T
    own = s.argmax(1)
    lead = s.gather(1, own[:, None]) - s
    apart = (weight[own][:, None] - weight[None]).abs().sum(2)
    smallest = (lead / apart).scatter(1, own[:, None], torch.inf).amin(1).numpy()
    few = dataclasses.replace(blobs, x=x)
    for quantile in (0.2, 0.5, 0.8):
        eps = float(np.quantile(smallest, quantile))
        found = judge.momentum(run, few, np.arange(64), eps * 1.001)
        np.testing.assert_array_equal(found, smallest <= eps * 1.001)


def test_a_pair_is_judged_at_the_undefended_models_half(run, samples):
    found = judge.pair(run, run, samples, CONFIG)
    before, after = found["undefended"], found["defended"]
    assert before == after
    assert 0.4 <= before["moved"] <= 0.7
    assert before["moved"] >= max(before["by_attack"].values())
    assert found["acc_change"] == 0
    assert not found["cleared"]


class _Linear(torch.nn.Module):
    """z is the image, scores are linear."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)

    def scores(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.weight.T
