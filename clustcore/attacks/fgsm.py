"""FGSM: one step of the full length."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from clustcore.attacks import objectives
from clustcore.attacks.base import Attack, Problem
from clustcore.attacks.problem import wide
from clustcore.config import Config


@final
class FGSM(Attack[Config]):
    """One gradient step of length eps: along the gradient's sign in L-inf, along it in L2.

    Departure: an objective that is flat at the clean sample is climbed from a random point half-way
    out.

    Source:
        Goodfellow et al., "Explaining and harnessing adversarial examples", arXiv 1412.6572,
        section 4.

    Examples:
        >>> from clustcore.attacks.base import Budget, Goal, Target
        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)  # of two pixels
        >>> x = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2)
        >>> found = FGSM()(brighter, x, Goal(), Budget(0.11))
        >>> [round(v, 2) for v in found.x_adv.flatten().tolist()], found.moved.tolist()
        ([0.49, 0.51], [True])
    """

    name = "fgsm"

    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        rows = torch.arange(len(radii), device=problem.device)
        best, most = problem.points, torch.full_like(radii, -torch.inf)
        start = problem.points
        if problem.goal.objective in objectives.FLAT_AT_CLEAN:
            start = problem.random_points(radii / 2, rows, 0)
        for aim in problem.aims():
            gradient, _ = problem.gradient(start, rows, aim)
            step = problem.ascent(gradient, start) * wide(radii, start)
            points = problem.within(start + step, radii)
            problem.steps += 1
            margin = problem.margin(problem.answer(points)[1])
            better = margin > most
            best, most = torch.where(wide(better, best), points, best), most.maximum(margin)
        return best
