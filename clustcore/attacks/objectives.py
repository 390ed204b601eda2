"""What an attack climbs: one value per sample that grows as it leaves its cluster.

`margin` is the default: it is zero exactly where the cluster changes, and reads scores before
softmax, which no sharpening of the assignment can flatten. `multi_targeted` aims at every other
cluster in turn. `dlr` is the margin in units of the scores' own spread (Croce and Hein, arXiv
2003.01690, eq. 6). The rest are losses that papers on clustering use; they are weaker, and here for
comparison and training: `kl`, `l2q` (Chhabra et al., NeurIPS 2022), `overlap` (ALRDC, NeurIPS
2020), `feature`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

OBJECTIVES = ("margin", "multi_targeted", "dlr", "kl", "l2q", "overlap", "feature")

# These rise with the margin.
MARGINS = frozenset({"margin", "multi_targeted", "dlr"})
# The gradient of these is zero at the clean sample: a search must start beside it.
FLAT_AT_CLEAN = frozenset({"kl", "l2q", "feature"})


@dataclass(frozen=True)
class Reference:
    """What a value is measured against, one row per sample: how it was clean, and the aim."""

    labels: Int[Tensor, " n"]
    z: Float[Tensor, "n d"]
    p: Float[Tensor, "n k"]
    aim: Int[Tensor, " n"] | None  # the cluster to reach; None: any but `labels`
    soft: Callable[[Tensor], Tensor] | None  # z -> p; None: the softmax of the scores
    soften: float = 0.0  # see `soft_margin`


def margin(
    s: Float[Tensor, "n k"], labels: Int[Tensor, " n"], aim: Int[Tensor, " n"] | None
) -> Float[Tensor, " n"]:
    """By how much the best other cluster leads the own one, or the aim leads all others.

    Above 0 the sample has moved. The own cluster is masked with -inf, never by multiplication: a
    masked 0 would lead where all scores are negative.

    Examples:
        >>> s = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
        >>> margin(s, torch.tensor([0, 0]), None)  # the second has left cluster 0
        tensor([-2.,  1.])
        >>> margin(s, torch.tensor([0, 0]), torch.tensor([2, 2]))  # none is in cluster 2
        tensor([-3., -2.])
    """
    own = (labels if aim is None else aim)[:, None]
    lead = s.scatter(1, own, -torch.inf).amax(1) - s.gather(1, own)[:, 0]
    return lead if aim is None else -lead


def soft_margin(
    s: Float[Tensor, "n k"], labels: Int[Tensor, " n"], soften: float
) -> Float[Tensor, " n"]:
    """The margin with the best other cluster replaced by the softened maximum over all others.

    Near the clean sample the nearest cluster by score is often not the one that gives way first;
    the softened maximum climbs towards several at once. `soften` is its temperature in standard
    deviations of a sample's scores, so that the scale of the scores does not matter; at 0 it is the
    margin itself.

    Examples:
        >>> s, labels = torch.tensor([[3.0, 1.0, 0.9]]), torch.tensor([0])
        >>> soft_margin(s, labels, soften=0.0)  # the margin itself
        tensor([-2.])
        >>> bool(soft_margin(s, labels, soften=0.3) > -2)  # both of the others count
        True
    """
    own = labels[:, None]
    others = s.scatter(1, own, -torch.inf)
    scale = (s.detach().std(1, keepdim=True) * soften).clamp_min(torch.finfo(s.dtype).tiny)
    return (others / scale).logsumexp(1) * scale[:, 0] - s.gather(1, own)[:, 0]


def value(
    objective: str, z: Float[Tensor, "n d"], s: Float[Tensor, "n k"], reference: Reference
) -> Float[Tensor, " n"]:
    """The objective at embeddings `z` with scores `s`.

    Raises:
        ValueError: `dlr` with fewer than three clusters, or `feature` with an aim.

    Examples:
        >>> z = s = torch.tensor([[3.0, 1.0, 0.0]])
        >>> clean = Reference(torch.tensor([0]), z, s.softmax(1), aim=None, soft=None)
        >>> value("margin", z, s, clean), value("feature", z, s, clean)
        (tensor([-2.]), tensor([0.]))
        >>> [round(v, 2) for v in value("dlr", z, s, clean).tolist()]  # in units of 3 - 0
        [-0.67]
    """
    if objective in ("margin", "multi_targeted"):
        if reference.aim is None and reference.soften:
            return soft_margin(s, reference.labels, reference.soften)
        return margin(s, reference.labels, reference.aim)
    if objective == "dlr":
        if s.shape[1] < 3:
            raise ValueError(f"objective 'dlr': expected at least 3 clusters, got {s.shape[1]}")
        best = s.topk(3, dim=1).values
        spread = (best[:, 0] - best[:, 2]).clamp_min(torch.finfo(s.dtype).tiny)
        return margin(s, reference.labels, reference.aim) / spread
    if objective == "feature":
        if reference.aim is not None:
            raise ValueError("objective 'feature': expected an untargeted goal, got a target")
        return (z - reference.z).square().sum(1)
    return _from_assignment(objective, _soft(z, s, reference), reference)


def _soft(z: Tensor, s: Tensor, reference: Reference) -> Tensor:
    return s.softmax(1) if reference.soft is None else reference.soft(z)


def _from_assignment(objective: str, p: Tensor, reference: Reference) -> Tensor:
    goal = reference.p
    if reference.aim is not None:
        goal = torch.nn.functional.one_hot(reference.aim, p.shape[1]).to(p.dtype)
    if objective == "kl":
        distance = (torch.xlogy(goal, goal) - goal * p.clamp_min(1e-30).log()).sum(1)
    elif objective == "l2q":
        distance = (p - goal).square().sum(1)
    else:  # overlap
        distance = -(p * goal).sum(1)
    return distance if reference.aim is None else -distance
