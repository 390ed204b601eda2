"""The smallest change that flips each sample: per-sample bisection over the strength, each round from the last flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clustcore import types
from clustcore.attacks.base import Attack, Problem
from clustcore.attacks.pgd import PGD, Best, PGDConfig, stretched
from clustcore.attacks.problem import wide
from clustcore.types import setting


@dataclass(frozen=True, kw_only=True)
class MinFlipConfig(types.Config):
    """How closely the smallest flip is looked for."""

    steps: int = setting(20, "gradient steps of each round", range=(1, 1000))
    rounds: int = setting(8, "rounds of bisection once a flip is found", range=(1, 30))
    growths: int = setting(
        20, "times the strength is doubled in search of a first flip", range=(1, 60), rare=True
    )


@final
class MinFlip(Attack):
    """PGD at each sample's own strength, doubled until it flips, then bisected between the last failure and the smallest flip.

    `eps` is where the search ends: infinity runs on until all have flipped or the domain ends. The result holds the smallest flip,
    so that `l2` or `linf` of a moved sample is the strength it takes; a sample that does not move gets the best margin found.
    Every flip is first drawn back along its line to the clean sample, which costs forward passes only.
    """

    name = "min_flip"
    Config = MinFlipConfig

    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        climber = PGD(PGDConfig(steps=self.config.steps, after_flip=0))
        found = _Found(problem, radii)
        size = found.guess()
        for round_ in range(self.config.growths):
            rows = found.open(size)
            if not len(rows):
                break
            found.settle(self._try(climber, problem, size, rows, found, round_), rows, size)
            size = torch.where(found.flipped, size, (2 * size).minimum(radii))
        for round_ in range(self.config.rounds):
            rows = found.flipped.nonzero()[:, 0]
            if not len(rows):
                break
            size = found.between()
            found.settle(self._try(climber, problem, size, rows, found, round_), rows, size)
            problem.report(round_ + 1, self.config.rounds, len(rows))
        return found.points
