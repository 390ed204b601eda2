"""R, the unit that budgets in an embedding are measured in."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def embedding_radius(z: Float[Tensor, "n d"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """R: half the mean distance from each cluster's empirical mean to the nearest other one.

    Empty clusters are left aside. It can be followed back to z.

    Raises:
        ValueError: samples in one cluster alone.
    """
    used = labels.unique()
    if len(used) < 2:
        raise ValueError(
            f"embedding radius: expected samples in 2 clusters or more, got {len(used)}"
        )
    means = torch.stack([z[labels == k].mean(0) for k in used])
    same = torch.eye(len(used), dtype=torch.bool, device=z.device)
    # distance by distance: by products of matrices, means that lie close would cancel
    distance = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.masked_fill(same, torch.inf).amin(1).mean() / 2
