"""Every entry of DEFENCES keeps the contract of `defences/base.py`, on every model that trains."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from clustcore.datasets import load_samples
from clustcore.defences import DEFENCES
from clustcore.defences.base import Control, Defence
from clustcore.defences.inner import as_tested, lengthen, log_odds, pgd, shorten
from clustcore.models import MODELS
from clustcore.models.base import Loss, Model, Stage, TrainData, Views, wrap
from clustcore.pipeline.batches import cluster
from clustcore.pipeline.run import evaluate
from clustcore.registry import lookup
from clustcore.training.epoch import TrainConfig, TrainingFailed
from clustcore.training.loop import train
from clustcore.training.resume import RESUME, load_resume
from clustcore.training.views import AugmentConfig
from clustcore.types import Samples
from tests.conftest import make_blobs

STEPS = 3  # of the attacks inside, where it is not asked how far they get
LOOP = TrainConfig(batch=16, device="cpu", lr=3e-3)
DIGITS = TrainConfig(batch=64, device="cpu", lr=3e-3)
MILD = AugmentConfig(rotate=5.0, scale=0.05, shift=0.04, shear=0.0)
SHORT = {
    "alrdc": {"autoencode": 6, "cluster": 12, "dim": 4, "width": 4, "p_hidden": 64}
    | {"weight_t": 100.0},
    "drc": {"alone": 20, "width": 4},
    "dec": {"autoencode": 4, "cluster": 2, "width": 4, "dim": 4},
}


class Shift(nn.Module):
    """An attacker as a fitted one is: an affine map from images to shifts."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Flatten(), nn.Linear(784, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.map(x)


class Cancel(Exception):
    """What a caller raises to stop."""


def pixels() -> torch.Tensor:
    return torch.from_numpy((make_blobs(64).x * 255).astype(np.uint8))


def whole_numbers(samples: Samples) -> torch.Tensor:
    return torch.from_numpy(np.round(samples.x * 255).astype(np.uint8))


def own_clusters(model: Model) -> torch.Tensor:
    with torch.no_grad(), as_tested(model):
        return model(pixels() / 255).argmax(1)


@pytest.fixture(scope="module")
def trained() -> dict[str, Model]:
    """One small trained model of each kind."""
    models = {}
    for name, settings in SHORT.items():
        cls = lookup(MODELS, name, "model")
        torch.manual_seed(0)
        models[name] = cls(cls.Config(clusters=3, **settings))
        train(models[name], TrainData(pixels()), LOOP, AugmentConfig())
    return models


def made(name: str, model: Model, **settings: object) -> Defence:
    cls = lookup(DEFENCES, name, "defence")
    torch.manual_seed(3)
    attacker = Shift(model.dim) if cls.needs_attacker else None
    return cls(cls.Config(**{"epochs": 2, **settings}), model, attacker)


def digest(module: nn.Module) -> str:
    values = [value.numpy().tobytes() for value in module.state_dict().values()]
    return hashlib.sha256(b"".join(values)).hexdigest()


def defended(model: Model, name: str, **kwargs: object) -> tuple[Model, Defence]:
    model = copy.deepcopy(model)
    steps = {"steps": STEPS} if hasattr(lookup(DEFENCES, name, "defence").Config, "steps") else {}
    defence = made(name, model, **steps)
    data = TrainData(pixels(), own_clusters(model))
    train(model, data, LOOP, AugmentConfig(), defence=defence, **kwargs)
    return model, defence


@pytest.fixture(scope="module")
def once(trained) -> Callable[[str, str], tuple[Model, Defence, list[str]]]:
    """A model of a kind after a defence, and the stages of its epochs; each is trained once.

    No test may change them.
    """

    @functools.cache
    def train_once(kind: str, name: str) -> tuple[Model, Defence, list[str]]:
        told = []
        model, defence = defended(trained[kind], name, on_epoch=told.append)
        return model, defence, [epoch.stage for epoch in told]

    return train_once


@pytest.mark.parametrize("kind", sorted(SHORT))
@pytest.mark.parametrize("name", sorted(DEFENCES))
def test_it_trains_on_any_model_and_the_same_seed_gives_the_same_weights(once, trained, name, kind):
    model, defence, told = once(kind, name)
    assert told == [name] * 2
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert digest(model) != digest(trained[kind])
    assert not model.training
    again, other = defended(trained[kind], name)
    assert digest(model) == digest(again)
    assert digest(defence) == digest(other)


@pytest.mark.parametrize("kind", sorted(SHORT))
@pytest.mark.parametrize("name", sorted(set(DEFENCES) - {"control"}))
def test_the_term_reaches_the_model_with_finite_gradients(trained, name, kind):
    model = copy.deepcopy(trained[kind]).train()
    defence = made(name, model)
    data = TrainData(pixels(), own_clusters(model))
    (stage,) = defence.stages(model)
    state = stage.begin(data, 0, {})
    x = data.x[:32] / 255
    modes = [module.training for module in model.modules()]
    defence.step_attacker(model, Views(x, x, x, torch.arange(32)), state)
    before = digest(model)
    defence.term(model, Views(x, x, x, torch.arange(32)), state).total.backward()
    assert digest(model) == before  # nor are running statistics written
    assert [module.training for module in model.modules()] == modes
    found = [p.grad for p in model.parameters() if p.grad is not None]
    assert found
    assert all(gradient.isfinite().all() for gradient in found)
    assert any(gradient.abs().max() > 0 for gradient in found)
    if defence.attacker is not None:
        assert all(p.grad is None for p in defence.attacker.parameters() if name == "alrdc")
        assert not any(p.requires_grad for p in defence.attacker.parameters())


@pytest.mark.parametrize("name", sorted(DEFENCES))
def test_a_stopped_defence_resumes_to_the_same_weights(once, trained, name, tmp_path):
    whole, whole_defence, _ = once("dec", name)

    def stop(epoch: object) -> None:
        raise Cancel

    with pytest.raises(Cancel):
        defended(trained["dec"], name, folder=tmp_path, on_epoch=stop)
    resumed, resumed_defence = defended(trained["dec"], name, folder=tmp_path)
    assert digest(whole) == digest(resumed)
    assert digest(whole_defence) == digest(resumed_defence)


def test_the_state_of_the_attackers_own_optimiser_is_kept(trained, tmp_path):
    model, defence = defended(trained["dec"], "alternating", folder=tmp_path)
    fresh = made("alternating", model, steps=STEPS)
    load_resume(tmp_path, model, fresh.stages(model), defence=fresh)
    kept, found = defence.inner.state_dict()["state"], fresh.inner.state_dict()["state"]
    assert kept
    assert found.keys() == kept.keys()
    for index, entry in kept.items():
        assert all(torch.equal(found[index][key], value) for key, value in entry.items())


def test_the_state_of_another_defence_is_refused(trained, tmp_path):
    model, _ = defended(trained["dec"], "control", folder=tmp_path)
    assert (tmp_path / RESUME).is_file()
    for other in (None, made("pgd_at", model), made("control", model, epochs=3)):
        stages = model.stages() if other is None else other.stages(model)
        with pytest.raises(ValueError, match=r"expected the state of DEC .*, got DEC .* Control"):
            load_resume(tmp_path, model, stages, defence=other)


def test_psi_stays_and_theta_and_omega_learn(once, trained):
    start = made("alrdc", trained["dec"])
    model, defence, _ = once("dec", "alrdc")
    assert digest(defence.attacker) == digest(start.attacker)
    assert digest(defence.discriminator) != digest(start.discriminator)
    assert digest(model) != digest(trained["dec"])


def test_the_control_adds_nothing_to_the_upkeep(trained):
    model = trained["dec"]
    x = pixels()[:8] / 255
    views = Views(x, x, x, torch.arange(8))
    assert made("control", model).term(model, views, {}) == Loss(torch.zeros(()), {})


def test_alrdc_without_an_attacker_is_refused(trained):
    cls = lookup(DEFENCES, "alrdc", "defence")
    with pytest.raises(
        ValueError, match=r"alrdc: expected the fitted attacker .*, got none; .*fit"
    ):
        cls(cls.Config(), trained["dec"])


def test_the_starting_models_clusters_are_needed(trained):
    model = copy.deepcopy(trained["drc"])
    with pytest.raises(ValueError, match=r"control: expected the starting model's clusters"):
        train(model, TrainData(pixels()), LOOP, AugmentConfig(), defence=made("control", model))


def test_a_model_that_is_not_trained_here_is_not_defended_here():
    class Net(nn.Module):
        def embed(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

        def scores(self, z: torch.Tensor) -> torch.Tensor:
            return z[:, :3]

    model = wrap(Net(), clusters=3, input_shape=(1, 28, 28))
    with pytest.raises(ValueError, match="Wrapped has no training stages"):
        made("control", model).stages(model)


def test_a_model_that_keeps_no_loss_is_not_defended(trained):
    model = copy.deepcopy(trained["dec"])
    model.upkeep = lambda: Stage("heads", 1, None)
    with pytest.raises(ValueError, match="stage 'heads': expected a loss, got none"):
        made("control", model).stages(model)


class Diverging(Defence):
    """Fine in its first epoch, infinite after it."""

    name = "diverging"

    def prepare(self, model, data, epoch, state):
        return {"epoch": torch.tensor(float(epoch))}

    def term(self, model: Model, views: Views, state: dict[str, torch.Tensor]) -> Loss:
        """Infinity from the second epoch on."""
        loss = model(views.clean).square().mean() * (1 / (1 - state["epoch"]) - 1)
        return Loss(loss, {"push": loss})


def test_a_defence_that_diverges_stops_and_keeps_the_last_whole_epoch(trained, tmp_path):
    model = copy.deepcopy(trained["dec"])
    data = TrainData(pixels(), own_clusters(model))
    defence = Diverging(Control.Config(epochs=3), model)
    with pytest.raises(TrainingFailed, match=r"'diverging', epoch 1: .*\(part push\)"):
        train(model, data, LOOP, AugmentConfig(), defence=defence, folder=tmp_path)
    progress, _ = load_resume(tmp_path, model, defence.stages(model), defence=defence)
    assert len(progress.history) == 1
    assert all(value.isfinite().all() for value in model.state_dict().values())


class Collapsing(Defence):
    """Drives all samples into one cluster at once."""

    name = "collapsing"

    def term(self, model: Model, views: Views, state: dict[str, torch.Tensor]) -> Loss:
        """0, after the damage."""
        with torch.no_grad():
            model.centroids.fill_(100.0)
            model.centroids[0] = 0
        return Loss(torch.zeros(()), {})


def test_a_defence_that_collapses_the_clusters_is_stopped_in_that_epoch(trained):
    model = copy.deepcopy(trained["dec"])
    data = TrainData(pixels(), own_clusters(model))
    defence = Collapsing(Control.Config(epochs=5), model)
    with pytest.raises(TrainingFailed, match=r"epoch 0: .*has collapsed; try a weaker defence"):
        train(model, data, LOOP, AugmentConfig(), defence=defence)


# --- the attacks inside


def test_cross_entropy_is_softplus_of_the_log_odds():
    torch.manual_seed(0)
    s, labels = torch.randn(20, 4), torch.randint(4, (20,))
    entropy = nn.functional.cross_entropy(s, labels, reduction="none")
    torch.testing.assert_close(nn.functional.softplus(log_odds(s, labels)), entropy)
    sure = (200.0 * nn.functional.one_hot(labels, 4)).requires_grad_(True)
    log_odds(sure, labels).sum().backward()
    assert (sure.grad.abs().sum(1) > 1).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("bounded", [True, False])
def test_pgd_stays_inside_and_leaves_further_than_chance(norm, bounded):
    torch.manual_seed(0)
    linear = nn.Linear(12, 3)
    x = torch.rand(40, 12)
    labels = linear(x).argmax(1)
    found = pgd(linear, x, labels, 0.2, norm, 10, bounded=bounded)
    size = (found - x).abs().amax(1) if norm == "linf" else (found - x).norm(dim=1)
    assert (size <= 0.2 + 1e-6).all()
    assert not found.requires_grad
    assert not bounded or ((found >= 0) & (found <= 1)).all()
    chance = pgd(linear, x, labels, 0.2, norm, 0, bounded=bounded)
    assert (log_odds(linear(found), labels) >= log_odds(linear(chance), labels)).all()
    assert torch.allclose(pgd(linear, x, labels, 0.0, norm, 3, bounded=bounded), x)


def test_two_clusters_have_a_closed_form():
    # the best way of a linear margin is along w2 - w1, straight to the ball's edge
    torch.manual_seed(0)
    linear = nn.Linear(5, 2).double()
    x = torch.randn(10, 5).double()
    labels = linear(x).argmax(1)
    found = pgd(linear, x, labels, 0.3, "l2", 20, bounded=False)
    way = nn.functional.normalize(linear.weight[1 - labels] - linear.weight[labels])
    assert ((found - x) * way).sum(1).min() > 0.9 * 0.3


def test_lengths():
    torch.manual_seed(0)
    delta = torch.randn(9, 4) * torch.logspace(-2, 1, 9)[:, None]
    torch.testing.assert_close(lengthen(delta, 0.5).norm(dim=1), torch.full((9,), 0.5))
    short = shorten(delta, 0.5, "l2").norm(dim=1)
    torch.testing.assert_close(short, delta.norm(dim=1).clamp_max(0.5))


def test_as_tested_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[0].bias.requires_grad_(False)

    def fail() -> None:
        with as_tested(model, frozen=True):
            assert not model.training
            assert not any(p.requires_grad for p in model.parameters())
            raise Cancel

    with pytest.raises(Cancel):
        fail()
    assert model.training
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["0.bias"]


# --- does it help?


@pytest.fixture(scope="module")
def clear() -> tuple[Model, Samples, Samples]:
    """A model of four kinds of digits that it tells apart, and the splits it knows and does not."""
    parts = [load_samples("digits", split) for split in ("train", "test")]
    train_on, test_on = (s.take(np.flatnonzero(np.isin(s.y, (0, 1, 4, 6)))) for s in parts)
    cls = lookup(MODELS, "dec", "model")
    torch.manual_seed(0)
    model = cls(cls.Config(input_shape=(1, 8, 8), clusters=4, width=8, autoencode=20, cluster=6))
    train(model, TrainData(whole_numbers(train_on)), DIGITS, MILD)
    return model, train_on, test_on


def after(clear: tuple[Model, Samples, Samples], name: str) -> tuple[float, float]:
    """The share that a fresh attack moves, and the share that is where it was before."""
    model, train_on, test_on = clear
    before = cluster(model, test_on.x).labels
    model = copy.deepcopy(model)
    own = torch.from_numpy(cluster(model, train_on.x).labels)
    built = made(name, model, epochs=10)
    train(model, TrainData(whole_numbers(train_on), own), DIGITS, MILD, defence=built)
    moved = evaluate(model, test_on, under="pgd", eps=0.1, steps=10).moved.value
    return moved, float((cluster(model, test_on.x).labels == before).mean())


@pytest.fixture(scope="module")
def control(clear) -> tuple[float, float]:
    """The same after as many steps without a defence."""
    return after(clear, "control")


@pytest.mark.parametrize("name", ["pgd_at", pytest.param("alternating", marks=pytest.mark.slow)])
def test_it_lowers_what_a_fresh_attack_moves_and_keeps_the_clusters(clear, control, name):
    (moved, agree), (control, control_agree) = after(clear, name), control
    assert moved < 2 / 3 * control
    assert agree >= control_agree - 0.02
