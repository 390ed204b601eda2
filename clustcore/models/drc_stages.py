"""What DRC can be given beyond its paper, each a switch of its config, all without labels.

A slow copy of the model (mean teacher, Tarvainen and Valpola, arXiv 1703.01780), neighbour
consistency (SCAN, Van Gansbeke et al., arXiv 2005.12320, equation 2; here against cached
assignments, so that a neighbour's image need not be seen again) and self-labelling (SCAN, section
2.3; weak view labels strong view as in FixMatch, arXiv 2001.07685, equation 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call

from clustcore.distributed import gather
from clustcore.models.base import Model, TrainData, everywhere
from clustcore.models.blocks import batch_statistics

_SLOW = "slow."


def has_slow(state: dict[str, Tensor]) -> bool:
    """Whether a stage's state holds a slow copy."""
    return any(name.startswith(_SLOW) for name in state)


def begin_slow(model: Model, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The slow copy for the next epoch: the one so far, or the model as it is now."""
    if has_slow(state):
        return {name: value for name, value in state.items() if name.startswith(_SLOW)}
    return {_SLOW + name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def slow_scores(
    model: Model, state: dict[str, Tensor], views: Sequence[Tensor], decay: float
) -> list[Float[Tensor, "n k"]]:
    """Bring the slow copy up to the model's last step, and give its scores of the views.

    Weights follow with `decay`; running statistics are the copy's own.
    """
    slow = {n.removeprefix(_SLOW): v for n, v in state.items() if n.startswith(_SLOW)}
    for name, value in model.named_parameters():
        slow[name].lerp_(value.detach(), 1 - decay)
    return [functional_call(model, slow, (x,)).float() for x in views]


def begin_near(model: Model, data: TrainData, k: int) -> dict[str, Tensor]:
    """{"near": (n, clusters)}: of each image the mean soft assignment of its k nearest neighbours
    by cosine similarity of z, itself left out.

    Raises:
        ValueError: no more images than neighbours.
    """
    if len(data) <= k:
        raise ValueError(f"drc: neighbours: expected fewer than the {len(data)} images, got {k}")
    z = everywhere(model, data, model.embed)
    with torch.no_grad():
        p = model.soft(z)
    z, near = F.normalize(z.float(), dim=1), []
    for start in range(0, len(z), 1000):
        like = z[start : start + 1000] @ z.T
        rows = torch.arange(len(like), device=z.device)
        like[rows, rows + start] = -torch.inf
        near.append(p[like.topk(k, dim=1).indices].mean(1))
    return {"near": torch.cat(near)}


def agree(s: Float[Tensor, "n k"], near: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """-mean log <p_i, the mean assignment of i's neighbours>: SCAN, equation 2, first term."""
    return -(s.softmax(1) * near).sum(1).clamp_min(1e-8).log().mean()


@torch.no_grad()
def sure_labels(
    model: Model, x: Float[Tensor, "n c h w"], confident: float
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """(clusters, weights) of clean images as the model sees them now: 0 where it is not sure.

    Normalised by their own statistics, as the views are: the running ones are the views', and
    labels from them drift into one cluster. Weights bring every cluster to the same total over the
    whole batch, all ranks together, and their mean over the sure samples is 1.
    """
    with batch_statistics(model, 0.0):
        sure, told = model.soft(model.embed(x)).max(1)
    kept = (sure >= confident).float()
    counts = gather(F.one_hot(told, model.clusters) * kept[:, None]).sum(0)
    share = counts.sum() / (counts > 0).sum().clamp_min(1)
    return told, kept * (share / counts.clamp_min(1))[told]


def weighted(
    s: Float[Tensor, "n k"], told: Int64[Tensor, " n"], weights: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Cross-entropy to these clusters, weighted, over all samples: FixMatch, equation 4."""
    return (weights * F.cross_entropy(s, told, reduction="none")).mean()
