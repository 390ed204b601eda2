"""The adversarial view: what its attack and its term are, against slow oracles."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clustcore.defences.adversarial_view import AdversarialView
from clustcore.models.base import Model, TrainData, Views
from clustcore.models.drc import DRC
from clustcore.training.epoch import TrainConfig
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig
from tests.conftest import make_blobs
from tests.models.test_drc import slow_contrast

Config = AdversarialView.Config


@pytest.fixture(scope="module")
def model() -> DRC:
    torch.manual_seed(0)
    model = DRC(DRC.Config(clusters=3, width=4, alone=20))
    pixels = (torch.from_numpy(make_blobs(64).x) * 255).to(torch.uint8)
    train(model, TrainData(pixels), TrainConfig(batch=16, lr=3e-3, device="cpu"), AugmentConfig())
    return model


def test_the_attack_stays_in_its_ball_and_goes_to_the_runner_up(model):
    x = torch.from_numpy(make_blobs(64).x)
    labels = model(x).argmax(1)
    defence = AdversarialView(Config(steps=20), model)
    torch.manual_seed(0)
    found = defence.attacked(model, x, labels, torch.tensor(0.1))
    assert (found - x).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    with torch.no_grad():
        before, after = model(x), model(found)
    second = before.topk(2).indices[:, 1]
    gap_before = (before.gather(1, second[:, None]) - before.gather(1, labels[:, None])).mean()
    gap_after = (after.gather(1, second[:, None]) - after.gather(1, labels[:, None])).mean()
    assert gap_after > gap_before
    # on a linear model the best corner is known: the sign of the two rows' difference
    linear = Linear()
    x = 0.5 * torch.ones(6, 1, 4, 4)
    labels = linear(x).argmax(1)
    runner_up = linear(x).topk(2).indices[:, 1]
    found = AdversarialView(Config(steps=20), linear).attacked(linear, x, labels, torch.tensor(0.1))
    step = (linear.map.weight[runner_up] - linear.map.weight[labels]).sign().view_as(x)
    torch.testing.assert_close(found, x + 0.1 * step)


class Linear(Model):
    def __init__(self) -> None:
        super().__init__()
        self.input_shape, self.clusters, self.dim = (1, 4, 4), 3, 16
        torch.manual_seed(1)
        self.map = torch.nn.Linear(16, 3)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)

    def scores(self, z: torch.Tensor) -> torch.Tensor:
        return self.map(z)


def test_the_term_is_drcs_losses_and_the_cross_entropy_of_the_attacked_view(model):
    x = torch.from_numpy(make_blobs(12).x)
    labels = model(x).argmax(1)
    defence = AdversarialView(Config(weight=2.0, weight_t=3.0), model)
    state = {"start": labels, "share": torch.tensor(1.0)}
    torch.manual_seed(5)
    loss = defence.term(model, Views(x, x, x.flip(3), torch.arange(12)), state)
    torch.manual_seed(5)
    attacked = defence.attacked(model, x.flip(3), labels, torch.tensor(defence.config.eps))
    with torch.no_grad():
        s, t = model(x), model(attacked)
    rows = slow_contrast(s, t, 0.5, True)
    columns = slow_contrast(s.softmax(1).T, t.softmax(1).T, 1.0, True)
    expected = 2 * (rows + columns) + 3 * float(F.cross_entropy(t, labels))
    assert loss.total.item() == pytest.approx(expected, rel=1e-4)


def test_eps_grows_over_the_warm_epochs(model):
    defence = AdversarialView(Config(warm=4), model)
    data = TrainData(torch.zeros(4, 1, 28, 28, dtype=torch.uint8))
    shares = [float(defence.prepare(model, data, epoch, {})["share"]) for epoch in range(6)]
    assert shares == [0.25, 0.5, 0.75, 1, 1, 1]
