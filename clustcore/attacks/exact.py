"""The smallest flip in the embedding, in closed form, for heads affine in z."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clustcore.attacks.base import Attack, Budget, Goal, Problem, Target
from clustcore.config import Config


@final
class Exact(Attack[Config]):
    """Straight to the nearest wall of the own cell: r = min_j (s_c - s_j) / ||w_c - w_j||, in L2.

    For scores W z + b up to a term that all clusters share: linear heads, and centroids, whose
    -||z - mu_j||^2 is 2 mu_j z - ||mu_j||^2 and the shared -||z||^2. No search can do better, so
    that it tests them; and it is as fast as the head. Untargeted only: into one chosen cluster the
    nearest point of its cell has no closed form.

    Examples:
        >>> head = (torch.eye(2), torch.zeros(2))
        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z, head=head)
        >>> z = torch.tensor([[0.6, 0.4], [0.5, 0.9]])
        >>> found = Exact()(brighter, z, Goal(), Budget(0.2, "l2", "embedding"))
        >>> found.moved.tolist()
        [True, False]
    """

    name = "exact"
    spaces = ("embedding",)
    targeted = False

    def smallest(
        self, target: Target, x: Tensor, unit: float | int | np.number = 1.0
    ) -> Float[Tensor, " n"]:
        """The rho of the smallest flip of images or embeddings, infinite where there is none.

        Raises:
            ValueError: the head is not affine, or input that `Attack` refuses.

        Examples:
            >>> head = (torch.eye(2), torch.zeros(2))
            >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z, head=head)
            >>> rho = Exact().smallest(brighter, torch.tensor([[0.6, 0.4], [0.5, 0.9]]))
            >>> [round(r, 2) for r in rho.tolist()]
            [0.14, 0.28]
        """
        with target.settled():
            problem = Problem(target, x, Goal(), Budget(0.0, "l2", "embedding", unit))
            self._refuse(problem, problem.radii(0.0))
            return (_walls(problem)[0] / problem.unit).cpu()

    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        _, nearest = _walls(problem)
        weight = _head(problem)[0]
        normal = torch.nn.functional.normalize(weight[nearest] - weight[problem.before])
        return problem.points + normal * radii[:, None]

    def _check(self, problem: Problem, radii: Float[Tensor, " n"]) -> None:
        super()._check(problem, radii)
        weight, bias = _head(problem)
        k, d = problem.s.shape[1], problem.points.shape[1]
        if weight.shape != (k, d) or bias.shape != (k,):
            got = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
            raise ValueError(f"exact: head: expected shapes ({k}, {d}) and ({k},), got {got}")
        rest = problem.s - (problem.points @ weight.T + bias)
        off = (rest - rest.mean(1, keepdim=True)).abs().max().item()
        spread = problem.s.std().item()
        if off > 1e-3 * spread:
            raise ValueError(
                "exact: head: expected the scores up to a common term, "
                f"got {off:.3g} off where scores spread by {spread:.3g}"
            )


def _head(problem: Problem) -> tuple[Tensor, Tensor]:
    if problem.target.head is None:
        raise ValueError(
            "exact: head: expected scores affine in z up to a common term, "
            "got a model without such a head"
        )
    weight, bias = problem.target.head
    return weight.detach().to(problem.points), bias.detach().to(problem.points)


def _walls(problem: Problem) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """The distance to the nearest wall of each sample's cell, and the cluster behind it.

    In float64, and from the head: the common term of the scores would drown small gaps.
    """
    weight, bias = (v.cpu().double() for v in _head(problem))
    own = problem.before.cpu()
    s = problem.points.cpu().double() @ weight.T + bias
    gap = (s.gather(1, own[:, None]) - s).clamp_min(0)
    normal = (weight[:, None] - weight).norm(dim=2)[own]
    # A cluster with the same weights, the own one among them, has no wall.
    distance, nearest = torch.where(normal > 0, gap / normal, torch.inf).min(1)
    return distance.to(problem.points), nearest.to(problem.device)
