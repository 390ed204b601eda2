"""R against a loop over the clusters, and what a defence asks of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clustcore.models.radius import embedding_radius


def slowly(z: np.ndarray, labels: np.ndarray) -> float:
    """R from one mean and one distance at a time."""
    means = [z[labels == k].mean(0, dtype=np.float64) for k in sorted(set(labels.tolist()))]
    nearest = [
        min(np.linalg.norm(one - other) for j, other in enumerate(means) if j != i)
        for i, one in enumerate(means)
    ]
    return float(np.mean(nearest)) / 2


@pytest.mark.parametrize("k", [2, 4, 40])
def test_r_is_half_the_mean_distance_to_the_nearest_other_mean(k: int) -> None:
    rng = np.random.default_rng(k)
    z = rng.normal(size=(600, 5)).astype(np.float32) + 100  # far out, where products cancel
    labels = rng.permutation(np.arange(600) % k)
    if k > 2:
        labels[labels == 1] = k - 1  # one stays empty
    found = embedding_radius(torch.from_numpy(z), torch.from_numpy(labels))
    assert float(found) == pytest.approx(slowly(z, labels), rel=1e-4)


def test_r_is_followed_back() -> None:
    torch.manual_seed(0)
    z, labels = torch.randn(60, 5, requires_grad=True), torch.arange(60) % 3
    radius = embedding_radius(z, labels)
    (gradient,) = torch.autograd.grad(radius, z)
    assert gradient.isfinite().all()
    # R grows with the embedding: the gradient along z is R itself (Euler)
    grown = (gradient * z.detach()).sum()
    assert grown.item() == pytest.approx(radius.item(), rel=1e-4)


def test_one_cluster_has_no_r() -> None:
    with pytest.raises(ValueError, match="expected samples in 2 clusters or more, got 1"):
        embedding_radius(torch.randn(9, 2), torch.full((9,), 3))
