"""How DRC's stages beyond its paper work, all without labels; their settings are in `drc`.

Features first: NT-Xent (SimCLR, Chen et al., arXiv 2002.05709) on a projection of the embedding;
then an assignment layer fitted to the embedding as it is (SCAN's loss, or spherical k-means); then
the surest share of each cluster labels a stronger view (in the manner of SPICE, Niu et al., arXiv
2103.09382, and FixMatch). And each alone: a slow copy of the model (mean teacher, Tarvainen and
Valpola, arXiv 1703.01780), neighbour consistency (SCAN, Van Gansbeke et al., arXiv 2005.12320,
equation 2; here against cached assignments, so that a neighbour's image need not be seen again) and
self-labelling (SCAN, section 2.3; weak view labels strong view as in FixMatch, arXiv 2001.07685,
equation 4).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from clustcore.distributed import gather
from clustcore.models.base import Model, TrainData, everywhere, settle
from clustcore.models.blocks import batch_statistics

_SLOW = "slow."
_MEAN = "mean."
_BATCH = 1024  # images in a step that fits heads


class Projector(nn.Sequential):
    """Two layers above the embedding, seen by NT-Xent alone (SimCLR's head g).

    What tells images apart need not be what clusters them.
    """

    def __init__(self, dim: int, out: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.ReLU(inplace=True), nn.Linear(dim, out))


def nt_xent(views: Sequence[Float[Tensor, "n d"]], tau: float) -> Float[Tensor, ""]:
    """SimCLR's loss, equation 1, of the whole batch.

    Each image in one view stands against all others in this view and all in another, where its
    counterpart is the positive; the mean over all ordered pairs of views.
    """
    views = [F.normalize(view, dim=1) for view in views]
    own = torch.eye(len(views[0]), dtype=torch.bool, device=views[0].device)
    target = torch.arange(len(own), device=own.device)
    same = [(view @ view.T / tau).masked_fill(own, -torch.inf) for view in views]
    losses = [
        F.cross_entropy(torch.cat([views[a] @ views[b].T / tau, same[a]], 1), target)
        for a, b in itertools.permutations(range(len(views)), 2)
    ]
    return sum(losses) / len(losses)


def nearest(z: Float[Tensor, "n d"], k: int) -> Int64[Tensor, "n k"]:
    """The k nearest neighbours of each row by cosine similarity, the nearest first.

    The row itself is left out.

    Raises:
        ValueError: no more rows than neighbours.
    """
    if len(z) <= k:
        raise ValueError(f"neighbours: expected fewer than the {len(z)} images, got {k}")
    z, found = F.normalize(z.float(), dim=1), []
    for start in range(0, len(z), 1000):
        like = z[start : start + 1000] @ z.T
        rows = torch.arange(len(like), device=z.device)
        like[rows, rows + start] = -torch.inf
        found.append(like.topk(k, dim=1).indices)
    return torch.cat(found)


def scan(
    p: Float[Tensor, "h n k"], q: Float[Tensor, "h n k"], weight: float
) -> Float[Tensor, " h"]:
    """SCAN's loss (equation 2) of h heads.

    -mean log <p_i, q_i> + weight x (ln k - H(mean p)), where q_i is the assignment of a neighbour
    of i. Departure: ln k, a constant, makes 0 the least.
    """
    return -(p * q).sum(2).clamp_min(1e-8).log().mean(1) + weight * _uneven(p.mean(1))


def _uneven(mean: Float[Tensor, "... k"]) -> Tensor:
    return math.log(mean.shape[-1]) + (mean * mean.clamp_min(1e-8).log()).sum(-1)


def standard(z: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Tensor, Tensor]:
    """Embeddings with mean 0 and, over all dimensions together, spread 1.

    So heads learn at one rate whatever the scale. With the mean and the spread.

    Raises:
        ValueError: they are not finite, or all the same.
    """
    z = z.float()
    mean, spread = z.mean(0), (z - z.mean(0)).square().mean().sqrt()
    if not torch.isfinite(spread):  # of a sum of all of them
        raise ValueError("features: expected finite numbers, got NaN, infinity or near to it")
    if spread <= 1e-6 * z.abs().max():
        raise ValueError("features: expected different ones, got the same for all images")
    return (z - mean) / spread, mean, spread


@torch.enable_grad()
def fit_heads(
    z: Float[Tensor, "n d"],
    clusters: int,
    heads: int,
    steps: int,
    loss: Callable[[Float[Tensor, "h m k"], Tensor, Callable[[Tensor], Tensor]], Tensor],
    seed: int,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Float[Tensor, "h k d"], Float[Tensor, "h k"]]:
    """Linear heads on features that stay as they are, all at once, by Adam on batches.

    Args:
        loss: given the assignments of a batch's rows, the rows' numbers, and what assigns any
            further rows, it gives one number a head.

    Returns:
        weights and biases, for the features as given.
    """
    points, mean, spread = standard(z)
    draw = torch.Generator().manual_seed(seed)
    bound = points.shape[1] ** -0.5
    drawn = (torch.rand((heads, clusters, points.shape[1]), generator=draw) * 2 - 1) * bound
    weight = drawn.to(z.device).requires_grad_()
    bias = torch.zeros((heads, clusters), device=z.device, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=1e-3)

    def assign(rows: Tensor) -> Tensor:
        flat = torch.addmm(bias.flatten(), points[rows], weight.flatten(0, 1).T)
        return flat.view(len(rows), heads, clusters).transpose(0, 1).softmax(2)

    size = min(_BATCH, len(z))
    for step in range(steps):
        rows = torch.randint(len(z), (size,), generator=draw).to(z.device)
        optimiser.zero_grad()
        loss(assign(rows), rows, assign).sum().backward()
        optimiser.step()
        if on_step is not None and (step + 1) % 50 == 0:
            on_step(step + 1, steps)
    weight, bias = weight.detach() / spread, bias.detach()
    return weight, bias - weight @ mean


def fit_scan(
    z: Float[Tensor, "n d"],
    clusters: int,
    *,
    heads: int = 10,
    neighbours: int = 20,
    steps: int = 5000,
    weight: float = 5.0,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"], Float[Tensor, " h"]]:
    """The linear head with the least SCAN loss of several, on features that stay as they are.

    Returns:
        its weight and bias, and the loss of each head over all images and all their neighbours.

    Raises:
        ValueError: no more images than neighbours, or features all the same or not finite.
    """
    z = z.float()
    near = nearest(z, neighbours)
    draw = torch.Generator().manual_seed(seed + 1)

    def loss(p: Tensor, rows: Tensor, assign: Callable[[Tensor], Tensor]) -> Tensor:
        which = torch.randint(neighbours, (len(rows),), generator=draw).to(z.device)
        return scan(p, assign(near[rows, which]), weight)

    weights, biases = fit_heads(z, clusters, heads, steps, loss, seed, on_step)
    found = torch.stack(
        [
            scan_of_all((z @ w.T + b).softmax(1), near, weight)
            for w, b in zip(weights, biases, strict=True)
        ]
    )
    best = int(found.argmin())
    return weights[best], biases[best], found


def scan_of_all(
    p: Float[Tensor, "n k"], near: Int64[Tensor, "n m"], weight: float
) -> Float[Tensor, ""]:
    """SCAN's loss over all images and all neighbours of each."""
    each = [
        -(rows[:, None] * p[of]).sum(2).clamp_min(1e-8).log().mean(1)
        for rows, of in zip(p.split(5000), near.split(5000), strict=True)
    ]
    return torch.cat(each).mean() + weight * _uneven(p.mean(0))


def fit_labels(
    z: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    clusters: int,
    *,
    steps: int = 5000,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"], Float[Tensor, ""]]:
    """A linear head that learns given clusters by cross-entropy, on features that stay as they are.

    With its cross-entropy over all images.
    """

    def loss(p: Tensor, rows: Tensor, assign: Callable[[Tensor], Tensor]) -> Tensor:
        told = p[:, torch.arange(len(rows), device=rows.device), labels[rows]]
        return -told.clamp_min(1e-8).log().mean(1)

    z = z.float()
    weight, bias = fit_heads(z, clusters, 1, steps, loss, seed, on_step)
    return weight[0], bias[0], F.cross_entropy(z @ weight[0].T + bias[0], labels)


def spherical_k_means(
    z: Float[Tensor, "n d"],
    clusters: int,
    *,
    starts: int = 50,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, ""]]:
    """Directions that features gather about: spherical k-means.

    Dhillon and Modha, Machine Learning 42, 2001; of several starts the one with the largest mean
    cosine of a feature to its own direction.

    Returns:
        the directions, of length 1, and that mean cosine.

    Raises:
        ValueError: fewer images than clusters, or features all the same or not finite.
    """
    if len(z) < clusters:
        raise ValueError(f"k-means: expected at least {clusters} images, got {len(z)}")
    standard(z)
    points = F.normalize(z.float(), dim=1)
    points = points[points.norm(dim=1) > 0.5]  # what has no direction belongs to none
    if len(points) < clusters:
        raise ValueError(
            f"k-means: expected at least {clusters} features other than 0, got {len(points)}"
        )
    draw = torch.Generator().manual_seed(seed)
    best, most = None, -torch.inf
    for start in range(starts):
        centres = _spread_out(points, clusters, draw)
        before = -torch.inf
        for _ in range(300):
            near, own = (points @ centres.T).max(1)
            if not near.mean() > before + 1e-7:
                break
            before = float(near.mean())
            sums = torch.zeros_like(centres).index_add_(0, own, points)
            empty = torch.bincount(own, minlength=clusters) == 0
            sums[empty] = points[near.argsort()[: int(empty.sum())]]  # the worst served begin anew
            centres = F.normalize(sums, dim=1)
        if before > most:
            best, most = centres, before
        if on_step is not None:
            on_step(start + 1, starts)
    return best, torch.tensor(most)


def _spread_out(
    points: Float[Tensor, "n d"], clusters: int, draw: torch.Generator
) -> Float[Tensor, "k d"]:
    # k-means++ (Arthur and Vassilvitskii, SODA 2007) on the sphere
    rows = [int(torch.randint(len(points), (), generator=draw))]
    apart = 1 - points @ points[rows[0]]
    while len(rows) < clusters:
        chance = apart.clamp_min(0).double().cpu()
        if not chance.sum() > 0:  # fewer different directions than clusters
            chance = torch.ones_like(chance)
        place = torch.rand((), generator=draw, dtype=torch.float64) * chance.sum()
        rows.append(min(int(torch.searchsorted(chance.cumsum(0), place)), len(points) - 1))
        apart = torch.minimum(apart, 1 - points @ points[rows[-1]])
    return points[rows].clone()


def begin_mean(model: Model, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The averaged copy for the next epoch: the one so far, or the model as it is now."""
    found = {name: value for name, value in state.items() if name.startswith(_MEAN)}
    own = model.state_dict()
    return found or {_MEAN + name: value.detach().clone() for name, value in own.items()}


@torch.no_grad()
def follow(model: Model, state: dict[str, Tensor], decay: float) -> None:
    """Bring the averaged copy a step nearer to the model."""
    for name, value in model.named_parameters():
        state[_MEAN + name].lerp_(value.detach(), 1 - decay)


@torch.no_grad()
def surest(
    model: Model, data: TrainData, state: dict[str, Tensor], share: float
) -> dict[str, Tensor]:
    """What the averaged copy says of the clean images, and how much each counts, as a state.

    {"clusters": (n,), "weights": (n,)}. Only the surest share of every cluster counts, and all
    clusters the same together; the mean of the weights that are not 0 is 1.
    """
    slow = copy.deepcopy(model)
    own = {n.removeprefix(_MEAN): v for n, v in state.items() if n.startswith(_MEAN)}
    slow.load_state_dict(own)
    settle(slow, data, 1000)
    p = everywhere(slow, data, slow)
    sure, told = p.float().softmax(1).max(1)
    return {"clusters": told, "weights": surest_weights(sure, told, model.clusters, share)}


def surest_weights(
    sure: Float[Tensor, " n"], told: Int64[Tensor, " n"], clusters: int, share: float
) -> Float[Tensor, " n"]:
    """See `surest`. Of a cluster's n images the surest ceil(share x n) count."""
    weights = torch.zeros_like(sure)
    for cluster in range(clusters):
        rows = (told == cluster).nonzero()[:, 0]
        count = math.ceil(share * len(rows) - 1e-9)  # .55 x 100 is a little more than 55
        if count:
            weights[rows[sure[rows].topk(count).indices]] = 1 / count
    kept = int((weights > 0).sum())
    return weights * kept / weights.sum()


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
    """Of each image the mean soft assignment of its k nearest neighbours, as a state.

    {"near": (n, clusters)}, by cosine similarity of z, the image itself left out.

    Raises:
        ValueError: no more images than neighbours.
    """
    z = everywhere(model, data, model.embed)
    with torch.no_grad():
        p = model.soft(z)
    return {"near": torch.cat([p[rows].mean(1) for rows in nearest(z, k).split(5000)])}


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
