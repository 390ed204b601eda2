"""The smallest change that flips each sample: bisection over each sample's own strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clustcore.attacks.base import Attack, Problem
from clustcore.attacks.pgd import PGD, Best, PGDConfig, stretched
from clustcore.attacks.problem import wide
from clustcore.config import Config, setting

_ROUNDS = 8  # of bisection along the line from a flip back to its clean sample


@dataclass(frozen=True, kw_only=True)
class MinFlipConfig(Config):
    """How closely the smallest flip is looked for."""

    steps: int = setting(20, "gradient steps of each round", range=(1, 1000))
    rounds: int = setting(8, "rounds of bisection once a flip is found", range=(1, 30))
    growths: int = setting(
        20, "times the strength is doubled in search of a first flip", range=(1, 60), rare=True
    )


@final
class MinFlip(Attack[MinFlipConfig]):
    """PGD at each sample's own strength, doubled until it flips, then bisected.

    `eps` is where the search ends: infinity runs on until all have flipped or the domain ends. The
    result holds the smallest flip, so that `l2` or `linf` of a moved sample is the strength it
    takes; a sample that does not move gets the best margin found. Every flip is first drawn back
    along its line to the clean sample, which costs forward passes only.

    Examples:
        >>> from clustcore.attacks.base import Budget, Goal, Target
        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)  # of two pixels
        >>> x = torch.tensor([[0.6, 0.4], [0.5, 0.9]]).view(2, 1, 1, 2)
        >>> found = MinFlip()(brighter, x, Goal(), Budget(float("inf")))
        >>> [round(size, 2) for size in found.linf.tolist()]
        [0.1, 0.2]
    """

    name = "min_flip"
    Config = MinFlipConfig

    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        return self._find(problem, radii, count=True)

    def _find(
        self, problem: Problem, radii: Float[Tensor, " n"], count: bool
    ) -> Float[Tensor, "n ..."]:
        """Rounds of doubling, then of bisection; `count` makes them the problem's progress."""
        table, growths = _Table(problem, radii), self.config.growths
        size, rounds = _first_guess(problem).minimum(radii), growths + self.config.rounds
        for done in range(rounds):
            if count:
                problem.progress = (done, rounds)
            if done < growths:
                self._round(problem, table, size, table.open())
                size = (2 * size).minimum(radii)
            else:
                self._round(problem, table, table.between(), table.flipped())
        return table.points

    def _check(self, problem: Problem, radii: Float[Tensor, " n"]) -> None:
        """Any budget has an answer, an unbounded one too."""

    def _plan(self, problem: Problem, end: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        return self._find(problem, end, count=False)

    def _follow(
        self,
        problem: Problem,
        radii: Float[Tensor, " n"],
        points: Float[Tensor, "n ..."],
        s: Float[Tensor, "n k"],
        plan: Float[Tensor, "n ..."],
    ) -> Float[Tensor, "n ..."]:
        """Straight towards the smallest flip, and no further."""
        return stretched(problem, plan, radii.minimum(problem.size(plan)))

    def _round(
        self, problem: Problem, table: _Table, size: Float[Tensor, " n"], rows: Int[Tensor, " m"]
    ) -> None:
        """PGD from the best point so far, then from a random one for those not flipped."""
        if not len(rows):
            return
        climber = PGD(PGDConfig(after_flip=0))
        best = Best(problem, problem.points, problem.s)
        warm = stretched(problem, table.points, size)[rows]
        for aim in problem.aims():
            climber.climb(problem, warm, size, best, rows, self.config.steps, aim)
        climber.attempt(problem, size, best, best.unmoved(rows), self.config.steps, 1)
        table.enter(best, rows, size)


class _Table:
    """The largest strength that failed, the smallest flip, and the point to show for it."""

    def __init__(self, problem: Problem, radii: Float[Tensor, " n"]) -> None:
        self.points = problem.points.clone()
        self._problem, self._radii = problem, radii
        self._margin = problem.margin(problem.s)
        self._low, self._high = torch.zeros_like(radii), torch.full_like(radii, torch.inf)

    def open(self) -> Int[Tensor, " m"]:
        """Rows that have neither flipped nor failed at the end of their budget."""
        left = (self._high == torch.inf) & (self._low < self._radii)
        return (left & self._problem.open).nonzero()[:, 0]

    def flipped(self) -> Int[Tensor, " m"]:
        """Rows that have flipped."""
        return (self._high < torch.inf).nonzero()[:, 0]

    def between(self) -> Float[Tensor, " n"]:
        """The strength to try next, where a flip is known: the geometric mean."""
        return (self._low.maximum(self._high / 4) * self._high).sqrt()

    def enter(self, best: Best, rows: Int[Tensor, " m"], size: Float[Tensor, " n"]) -> None:
        """Take the outcome of one round at these strengths."""
        flips = best.margin[rows] > 0
        won, lost = rows[flips], rows[~flips]
        self._low[lost] = size[lost]
        better = lost[(self._high[lost] == torch.inf) & (best.margin[lost] > self._margin[lost])]
        self.points[better], self._margin[better] = best.points[better], best.margin[better]
        self.points[won] = self._drawn_back(best.points[won], won)
        self._high[won] = self._problem.size(self.points)[won]
        # A failure proves nothing: the way back may end below one.
        self._low = torch.where(self._low < self._high, self._low, self._high / 2)

    def _drawn_back(self, points: Tensor, rows: Tensor) -> Tensor:
        """The points, moved towards their clean ones as far as the flip holds."""
        clean = self._problem.points[rows]
        low = torch.zeros(len(rows), dtype=points.dtype, device=points.device)
        high = torch.ones_like(low)
        for _ in range(_ROUNDS if len(rows) else 0):
            half = (low + high) / 2
            _, s = self._problem.answer(clean + (points - clean) * wide(half, points))
            flips = self._problem.moved(s, rows)
            low, high = torch.where(flips, low, half), torch.where(flips, half, high)
        return clean + (points - clean) * wide(high, points)


def _first_guess(problem: Problem) -> Float[Tensor, " n"]:
    """3/4 of what would do if scores were linear; a small one where the gradient is dead."""
    rows = torch.arange(len(problem.points), device=problem.device)
    aim = problem.aims()[0] if problem.goal.target is not None else None
    gradient, s = problem.gradient(problem.points, rows, aim, objective="margin")
    gradient = gradient.flatten(1).nan_to_num(0, 0, 0)
    slope = gradient.abs().sum(1) if problem.norm == "linf" else gradient.norm(dim=1)
    small = min(problem.end, 16 * problem.unit) / 256
    guess = -0.75 * problem.margin(s) / slope
    return torch.where(guess.isfinite() & (guess > 0), guess, small)
