"""How far a map can be trusted: whether neighbours on it are neighbours in the embedding.

Distances are exact, a few rows of their matrix at a time.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

NEIGHBOURS = 15  # of trustworthiness and trust
NEAR = 10  # x as many count as near in the embedding, for the trust of one sample
_CHUNK = 64  # rows of a distance matrix at a time


def trustworthiness(
    z: Float[np.ndarray, "n d"], xy: Float[np.ndarray, "n 2"], neighbours: int = NEIGHBOURS
) -> tuple[float, Float[np.ndarray, " n"]]:
    """How far neighbours on the map are neighbours in the embedding.

    Fewer than half of the samples can be neighbours; where there are too few, fewer are looked at.

    Args:
        z: embeddings.
        xy: their positions on the map.
        neighbours: how many of each sample are looked at.

    Returns:
        Trustworthiness: 1 is perfect, and a stranger among a sample's neighbours on the map costs
        the more, the further down it ranks in the embedding. And each sample's trust, in [0, 1]:
        the share of its neighbours on the map that are among its NEAR x as many nearest in the
        embedding.

    Source:
        Venna and Kaski, "Neighborhood preservation in nonlinear projection methods", ICANN 2001.

    Examples:
        >>> z = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
        >>> value, trust = trustworthiness(z, z[:, ::-1].copy())  # mirrored: neighbours stay
        >>> round(value, 3), float(trust.min())
        (1.0, 1.0)
        >>> round(trustworthiness(z, z[::-1].copy())[0], 1)  # strangers side by side
        0.5
    """
    count = min(neighbours, (len(z) - 1) // 2)
    a, b = torch.from_numpy(z).double(), torch.from_numpy(xy).double()
    a = a - a.mean(0)
    on_map, _ = nearest(b, count)
    penalty, share = 0.0, torch.empty(len(z))
    for start in range(0, len(a), _CHUNK):
        rows = slice(start, start + _CHUNK)
        apart = _apart(a, rows)
        theirs = apart.gather(1, on_map[rows])
        rank = torch.stack([(apart < d[:, None]).sum(1) for d in theirs.T], 1) + 1
        penalty += float((rank - count).clamp_min(0).sum())
        share[rows] = (rank <= NEAR * count).float().mean(1)
    n = len(z)
    return 1 - penalty * 2 / (n * count * (2 * n - 3 * count - 1)), share.numpy()


def trust_among(
    z: Float[np.ndarray, "n d"], xy: Float[np.ndarray, "n 2"], among: Int[np.ndarray, " r"]
) -> Float[np.ndarray, " n"]:
    """Each sample's trust, as of `trustworthiness`, with neighbours among some samples alone.

    That takes n x r distances in place of n x n.

    Args:
        z: embeddings.
        xy: their positions on the map.
        among: rows of the samples that may be neighbours.

    Examples:
        >>> z = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
        >>> trust = trust_among(z, z, among=np.arange(0, 100, 2))
        >>> trust.shape, float(trust.min())
        ((100,), 1.0)
    """
    count = min(NEIGHBOURS, (len(among) - 1) // 2)
    near = min(NEAR * count, len(among) - 1)
    rows = torch.from_numpy(among)
    own = torch.full((len(z),), -1).scatter(0, rows, torch.arange(len(rows)))
    middle = z[among].mean(0)
    others, places = torch.from_numpy(z[among] - middle), torch.from_numpy(xy[among])
    share = torch.empty(len(z))
    for start in range(0, len(z), _CHUNK):
        part = slice(start, start + _CHUNK)
        apart = torch.cdist(torch.from_numpy(z[part] - middle), others)
        # not by a product: on a map, what is near is nearer than its rounding
        on_map = torch.cdist(
            torch.from_numpy(xy[part]), places, compute_mode="donot_use_mm_for_euclid_dist"
        )
        known = own[part] >= 0
        for distances in (apart, on_map):
            distances[known, own[part][known]] = math.inf  # nobody is a neighbour of itself
        theirs = apart.gather(1, on_map.topk(count, largest=False).indices)
        share[part] = (theirs <= apart.kthvalue(near, 1).values[:, None]).float().mean(1)
    return share.numpy()


def nearest(
    x: Float[Tensor, "n d"], count: int
) -> tuple[Int[Tensor, "n {count}"], Float[Tensor, "n {count}"]]:
    """The rows and distances of each row's nearest others, exactly.

    Examples:
        >>> rows, distances = nearest(torch.tensor([[0.0], [1.0], [3.0]]), count=1)
        >>> rows.flatten().tolist(), distances.flatten().tolist()
        ([1, 0, 1], [1.0, 1.0, 2.0])
    """
    x = x - x.mean(0)
    # filled in place: small results kept between large ones would hold on to the memory of those
    rows = torch.empty(len(x), count, dtype=torch.int64)
    squares = torch.empty(len(x), count, dtype=x.dtype)
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        squares[part], rows[part] = _apart(x, part).topk(count, largest=False)
    return rows, squares.clamp_min(0).sqrt()


def _apart(x: Tensor, rows: slice) -> Tensor:
    """Squared distances of some rows to all; a row is infinitely far from itself."""
    own = x[rows]
    apart = own.square().sum(1)[:, None] - 2 * own @ x.T + x.square().sum(1)
    apart[torch.arange(len(own)), torch.arange(len(own)) + rows.start] = math.inf
    return apart
