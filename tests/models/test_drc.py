"""DRC's losses against slow double loops written from the paper."""

from __future__ import annotations

import math

import pytest
import torch

from clustcore.models.base import TrainData, Views
from clustcore.models.drc import DRC, balance, contrast


def slow_contrast(a: torch.Tensor, b: torch.Tensor, tau: float, normalize: bool) -> float:
    """-(1/n) sum_i log [exp(s(a_i, b_i)/tau) / sum_j exp(s(a_i, b_j)/tau)], number by number."""

    def similarity(u, v):
        dot = sum(float(x) * float(y) for x, y in zip(u, v, strict=True))
        if not normalize:
            return dot
        length = math.sqrt(sum(float(x) ** 2 for x in u)) * math.sqrt(sum(float(y) ** 2 for y in v))
        return dot / length

    total = 0.0
    for i in range(len(a)):
        row = [math.exp(similarity(a[i], b[j]) / tau) for j in range(len(b))]
        total -= math.log(row[i] / sum(row))
    return total / len(a)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_contrast_is_the_papers_sum(normalize, tau):
    torch.manual_seed(0)
    a, b = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    assert float(contrast(a, b, tau, normalize)) == pytest.approx(
        slow_contrast(a, b, tau, normalize)
    )


def test_contrast_in_closed_form():
    # orthogonal rows: every positive has similarity 1, every negative 0
    rows = torch.eye(5)
    expected = math.log(1 + 4 * math.exp(-1 / 0.5))
    assert float(contrast(rows, rows, 0.5, True)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", ["square", "entropy"])
def test_balance_is_least_when_clusters_are_balanced(form):
    balanced = torch.eye(4).repeat(8, 1)
    collapsed = torch.zeros(32, 4)
    collapsed[:, 0] = 1
    torch.manual_seed(0)
    between = torch.randn(32, 4).softmax(1)
    values = [float(balance(p, form)) for p in (balanced, between, collapsed)]
    assert values == sorted(values)


def test_balance_as_written_has_the_papers_values():
    # 25.6 balanced and 256 collapsed at N = 256, K = 10; the entropy form runs from 0 to ln K
    balanced = torch.full((256, 10), 0.1)
    collapsed = torch.zeros(256, 10)
    collapsed[:, 3] = 1
    assert float(balance(balanced, "square")) == pytest.approx(25.6, rel=1e-5)
    assert float(balance(collapsed, "square")) == pytest.approx(256)
    assert float(balance(balanced, "entropy")) == pytest.approx(0, abs=1e-6)
    assert float(balance(collapsed, "entropy")) == pytest.approx(math.log(10), rel=1e-5)


def test_total_is_the_weighted_sum_of_the_parts_in_every_stage(blobs):
    config = DRC.Config(clusters=3, width=4, alone=1, taught=1, relabelled=1, weight_t=2.0)
    torch.manual_seed(0)
    model = DRC(config).eval()
    x = torch.from_numpy(blobs.x[:12])
    ids = torch.arange(12)
    stages = model.stages()
    assert [stage.name for stage in stages] == ["drc", "taught", "relabelled"]
    for stage in stages:
        state = {"clusters": torch.from_numpy(blobs.y[:12])}
        loss = stage.loss(Views(x, x, x.flip(3), ids), state)
        parts = loss.parts
        expected = parts["af"] + parts["ap"] + config.weight_r * parts["cr"]
        if stage.name != "drc":
            expected = expected + config.weight_t * parts["guide"]
        torch.testing.assert_close(loss.total, expected)
        s, t = model(x), model(x.flip(3))
        assert parts["af"].item() == pytest.approx(
            slow_contrast(s.detach(), t.detach(), config.tau_f, True), rel=1e-4
        )
        columns = s.softmax(1).T.detach(), t.softmax(1).T.detach()
        assert parts["ap"].item() == pytest.approx(slow_contrast(*columns, 1.0, True), rel=1e-4)


def test_a_taught_stage_without_a_teacher_says_so():
    model = DRC(DRC.Config(clusters=3, width=4, alone=0, taught=1))
    with pytest.raises(ValueError, match="stage 'taught': expected a teacher, got none"):
        model.stages()[0].begin(TrainData(torch.zeros(4, 1, 28, 28, dtype=torch.uint8)), 0, {})
