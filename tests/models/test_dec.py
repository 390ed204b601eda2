"""DEC's objective against slow loops written from the paper."""

from __future__ import annotations

import math

import pytest
import torch

from clustcore.models.base import TrainData
from clustcore.models.dec import DEC, divergence, sharpen


def small(**config) -> DEC:
    torch.manual_seed(0)
    values = {"clusters": 3, "dim": 4, "width": 4, "autoencode": 1, "cluster": 1} | config
    return DEC(DEC.Config(**values)).eval()


def test_soft_assignment_is_eq_1():
    model = small()
    torch.nn.init.normal_(model.centroids)
    z = torch.randn(5, 4)
    q = model.soft(z).detach()
    for i in range(5):
        kernel = [
            1 / (1 + sum(float(z[i, d] - m[d]) ** 2 for d in range(4)))
            for m in model.centroids.detach()
        ]
        for j in range(3):
            assert float(q[i, j]) == pytest.approx(kernel[j] / sum(kernel), rel=1e-5)


def test_target_is_eq_3():
    torch.manual_seed(0)
    q = torch.randn(6, 3).softmax(1)
    p = sharpen(q)
    size = [sum(float(q[i, j]) for i in range(6)) for j in range(3)]
    for i in range(6):
        row = [float(q[i, j]) ** 2 / size[j] for j in range(3)]
        for j in range(3):
            assert float(p[i, j]) == pytest.approx(row[j] / sum(row), rel=1e-5)


def test_divergence_is_eq_2_per_sample():
    torch.manual_seed(0)
    p, q = torch.randn(6, 3).softmax(1), torch.randn(6, 3).softmax(1)
    slow = sum(
        float(p[i, j]) * math.log(float(p[i, j]) / float(q[i, j]))
        for i in range(6)
        for j in range(3)
    )
    assert float(divergence(p, q)) == pytest.approx(slow / 6, rel=1e-5)
    assert float(divergence(p, p)) == pytest.approx(0, abs=1e-6)


def test_centroids_start_at_the_teachers_means(blobs):
    model = small(taught=1)
    pixels = torch.from_numpy((blobs.x * 255).astype("uint8"))
    teacher = torch.from_numpy(blobs.y)
    stage = next(stage for stage in model.stages() if stage.name == "taught")
    state = stage.begin(TrainData(pixels, teacher), 0, {})
    with torch.no_grad():
        z = model.embed(pixels.float() / 255)
    for k in range(3):
        torch.testing.assert_close(model.centroids[k].detach(), z[teacher == k].mean(0))
    assert torch.equal(state["targets"].argmax(1), teacher)


def test_a_collapsed_autoencoder_is_said():
    model = small()
    stage = model.stages()[-1]
    same = TrainData(torch.zeros(8, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least 3 different embeddings"):
        stage.begin(same, 0, {})
