"""Noise of the same size as an attack: the control that every curve is drawn beside."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from clustcore.attacks.base import Attack, Problem
from clustcore.attacks.problem import length, wide
from clustcore.config import Config


@final
class Noise(Attack[Config]):
    """A random direction per sample, scaled to the budget, not flattered by the borders of [0, 1].

    L-inf: plus or minus eps per pixel, turned inward where it would be cut off. L2: a uniform
    direction, rescaled until the length that is left after clipping is eps. Embedding: on the
    sphere. (Uniform noise clipped to [0, 1] would lose more than half of its L2 on images with a
    black ground.)

    Examples:
        >>> from clustcore.attacks.base import Budget, Goal, Target
        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)  # of two pixels
        >>> x = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2).repeat(1000, 1, 1, 1)
        >>> found = Noise()(brighter, x, Goal(), Budget(0.11))
        >>> round(found.moved.float().mean().item(), 1)  # one of four directions is the wrong one
        0.2
    """

    name = "noise"

    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        rows = torch.arange(len(radii), device=problem.device)
        clean = problem.points
        noise = problem.draw(rows, 0, normal=problem.norm == "l2")
        if problem.norm == "linf":
            return _inward(clean, noise.sign(), wide(radii, clean))
        noise = noise / wide(length(noise), noise)
        if problem.space == "embedding":
            return clean + noise * wide(radii, noise)
        return _rescaled(clean, noise, radii)


def _inward(clean: Tensor, sign: Tensor, eps: Tensor) -> Tensor:
    room = torch.where(sign > 0, 1 - clean, clean)
    other = torch.where(sign > 0, clean, 1 - clean)
    sign = torch.where((room < eps) & (other > room), -sign, sign)
    return (clean + eps * sign).clamp(0, 1)


def _rescaled(clean: Tensor, direction: Tensor, radii: Tensor) -> Tensor:
    """Bisect the factor whose clipped change has the length wanted; it grows with the factor."""

    def moved(factor: Tensor) -> Tensor:
        return (clean + direction * wide(factor, direction)).clamp(0, 1)

    low = high = radii  # clipping only shortens, so that the factor is at least eps
    for _ in range(20):
        short = length(moved(high) - clean) < radii
        low, high = torch.where(short, high, low), torch.where(short, 2 * high, high)
    for _ in range(30):
        half = (low + high) / 2
        short = length(moved(half) - clean) < radii
        low, high = torch.where(short, half, low), torch.where(short, high, half)
    return moved(low)
