"""Alternating training: its losses against slow loops, and the laws that keep it honest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from clustcore.attacks.alrdc import attack_loss
from clustcore.defences.alternating import Alternating, consistency, likeness
from clustcore.defences.inner import as_tested
from clustcore.models.base import TrainData, Views
from clustcore.models.dec import DEC
from tests.conftest import make_blobs


def ready(model: torch.nn.Module, **settings: object) -> tuple[Alternating, Views, dict]:
    defence = Alternating(Alternating.Config(**settings), model)
    x = torch.from_numpy((make_blobs(24).x * 255).astype(np.uint8))
    data = TrainData(x, torch.arange(24) % 3)
    (stage,) = defence.stages(model)
    x = x / 255
    return defence, Views(x, x, x, torch.arange(24)), stage.begin(data, 0, {})


def dec() -> DEC:
    torch.manual_seed(0)
    model = DEC(DEC.Config(clusters=3, dim=4, width=4))
    torch.nn.init.normal_(model.centroids)
    return model


def test_likeness_against_a_slow_loop():
    torch.manual_seed(0)
    z, start, labels = torch.randn(12, 3), torch.randn(12, 3), torch.arange(12) % 3
    terms = []
    for k in range(3):
        rows = [i for i in range(12) if labels[i] == k]
        pairs = [(i, j) for i in rows for j in rows if i != j]
        now = np.array([(z[i] - z[j]).norm().item() for i, j in pairs])
        then = np.array([(start[i] - start[j]).norm().item() for i, j in pairs])
        terms += list((now / now.mean() - then / then.mean()) ** 2)
    assert float(likeness(z, start, labels, 3)) == pytest.approx(np.mean(terms), rel=1e-4)


def test_moving_turning_and_shrinking_a_cluster_is_free():
    torch.manual_seed(0)
    start, labels = torch.randn(30, 4), torch.arange(30) % 3
    turn = torch.linalg.qr(torch.randn(4, 4)).Q
    scale, move = torch.tensor([0.1, 1.0, 7.0])[labels], torch.randn(3, 4)[labels]
    assert likeness(start @ turn * scale[:, None] + move, start, labels, 3) < 1e-8
    assert likeness(torch.randn(30, 4), start, labels, 3) > 0.01


def test_likeness_has_a_gradient_where_samples_coincide_and_none_to_give_where_all_are_alone():
    z = torch.zeros(6, 3, requires_grad=True)
    likeness(z, torch.randn(6, 3), torch.zeros(6, dtype=torch.long), 2).backward()
    assert z.grad.isfinite().all()
    assert float(likeness(torch.randn(3, 2), torch.randn(3, 2), torch.arange(3), 3)) == 0


def test_consistency_is_scipys_relative_entropy():
    torch.manual_seed(0)
    y, other = torch.rand(9, 4).softmax(1), torch.rand(9, 4).softmax(1)
    expected = entropy(y.numpy(), other.numpy(), axis=1).mean()
    assert float(consistency(y, other)) == pytest.approx(expected, rel=1e-5)
    assert float(consistency(y, y)) == pytest.approx(0, abs=1e-6)
    sure = torch.tensor([[1.0, 0.0]])
    assert torch.isfinite(consistency(sure, sure.flip(1)))


def test_the_attackers_are_at_their_budgets():
    defence, views, state = ready(dec(), rho=0.5, warm=4)
    model = dec().eval()
    with torch.no_grad():
        z, labels = model.embed(views.clean), state["start"]
        points = defence._attacked_embeddings(model, views.clean, z, labels, state)
    means = torch.stack([z[labels == k].mean(0) for k in range(3)])
    nearest = [min((means[i] - means[j]).norm() for j in range(3) if j != i) for i in range(3)]
    length = 0.5 * 0.25 * sum(nearest) / 3 / 2  # the first of four epochs uses a quarter
    sizes = {name: (point - z).norm(dim=1) for name, point in points.items()}
    torch.testing.assert_close(sizes["learned"], length.expand(24))
    assert (sizes["embedding"] <= length * (1 + 1e-5)).all()
    images = defence._attacked_images(model, views.clean, labels, state)
    assert (images - views.clean).abs().max() <= 0.1 / 4 + 1e-6


def test_inflating_the_embedding_does_not_pay():
    # with scores that scale along, the gradient of the loss along z itself is 0
    defence, views, state = ready(dec(), rho=0.5)
    model = dec().eval()
    z = model.embed(views.clean).detach()
    size = torch.ones((), requires_grad=True)
    points = defence._attacked_embeddings(model, views.clean, size * z, state["start"], state)
    scores = -(points["learned"][:, None] - size * model.centroids.detach()).square().sum(2)
    torch.nn.functional.cross_entropy(scores / size**2, state["start"]).backward()
    assert abs(float(size.grad)) < 1e-4


@pytest.mark.parametrize(
    ("settings", "names"),
    [({"eps": 0.0}, {"embedding", "learned"}), ({"rho": 0.0}, {"pixels"})],
)
def test_either_space_can_be_left_out(settings, names):
    model = dec().train()
    defence, views, state = ready(model, **settings)
    loss = defence.term(model, views, state)
    assert {n.removeprefix("moved_") for n in loss.parts if n.startswith("moved_")} == names
    parts = loss.parts
    torch.testing.assert_close(loss.total, parts["consistency"] + parts["margin"] + parts["like"])


def test_without_a_budget_nothing_attacks():
    with pytest.raises(ValueError, match="expected rho or eps above 0, got 0 for both"):
        Alternating.Config(rho=0.0, eps=0.0)


def test_a_batch_of_one_cluster_is_passed():
    model = dec().train()
    defence, views, state = ready(model, eps=0.0)
    state["start"] = torch.zeros(24, dtype=torch.long)
    assert torch.isfinite(defence.term(model, views, state).total)


@pytest.mark.parametrize("kind", ["affine", "relu"])
def test_the_learned_attacker_learns_on_its_own_steps_alone(kind):
    model = dec().train()
    defence, views, state = ready(model, every=3, kind=kind)
    before = [p.clone() for p in model.parameters()]

    def asked() -> float:
        with torch.no_grad(), as_tested(model):
            z, delta = model.embed(views.clean), defence.attacker(views.clean)
            images = [model.decode(code) for code in (z, z + delta)]
            return float(attack_loss(*images, model.soft(z), model.soft(z + delta), delta)[0])

    first = asked()
    for step in range(1, 61):
        kept = defence.attacker.layers[1].weight.clone()
        defence.step_attacker(model, views, state)
        assert torch.equal(kept, defence.attacker.layers[1].weight) == (step % 3 != 0)
    assert asked() < first
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
