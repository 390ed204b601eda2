"""PGD: projected gradient steps with restarts (Madry et al., arXiv 1706.06083), in pixels or in the embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clustcore import types
from clustcore.attacks import objectives
from clustcore.attacks.base import Attack, Problem
from clustcore.attacks.problem import wide
from clustcore.types import setting


@dataclass(frozen=True, kw_only=True)
class PGDConfig(types.Config):
    """How long PGD searches."""

    steps: int = setting(40, "gradient steps of each start", range=(1, 1000))
    restarts: int = setting(2, "starts: the clean sample, then random points", range=(1, 100))
    path_steps: int = setting(
        20, "gradient steps of each start at each strength of a path", range=(1, 1000), rare=True
    )
    after_flip: int = setting(
        5, "further steps that raise the margin of a sample that has moved", range=(0, 1000), rare=True
    )
    reach: float = setting(
        2.5, "length of all steps together, decaying from the first to the last", range=(0.1, 100.0),
        unit="eps", rare=True,
    )
    soften: float = setting(
        0.3, "temperature of the maximum over the other clusters while climbing the margin",
        range=(0.0, 10.0), unit="standard deviations of a sample's scores", rare=True,
    )


@final
class PGD(Attack):
    """Gradient steps of decaying length, brought back into the ball and into [0, 1] after each.

    The best margin that any step reaches is kept, whatever objective is climbed. A sample that has moved climbs on for a few steps
    and then costs nothing; later starts are for those that have not moved.
    Departures: the step decays linearly; in L2 the part of a gradient that [0, 1] would cut off is dropped first.
    """

    name = "pgd"
    Config = PGDConfig

    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        best = Best(problem, problem.points, problem.s)
        for start in range(self.config.restarts):
            self.attempt(problem, radii, best, best.unmoved(), self.config.steps, start)
        return best.points

    def _follow(
        self,
        problem: Problem,
        radii: Float[Tensor, " n"],
        points: Float[Tensor, "n ..."],
        s: Float[Tensor, "n k"],
    ) -> Float[Tensor, "n ..."]:
        """A warm start from the scaled change of the strength before, a cold one for those that it does not move."""
        best = Best(problem, points, s)
        config, scaled = self.config, stretched(problem, points, radii)
        moved = (best.margin > 0).nonzero()[:, 0]
        self.climb(problem, scaled[moved], radii, best, moved, config.after_flip)
        unmoved = best.unmoved()
        first = not (points != problem.points).any()
        if first:
            self.attempt(problem, radii, best, unmoved, config.path_steps, 0)
        else:
            for aim in problem.aims():
                self.climb(problem, scaled[unmoved], radii, best, unmoved, config.path_steps, aim)
        self.attempt(problem, radii, best, best.unmoved(), config.path_steps, 1)
        return best.points

    def attempt(
        self,
        problem: Problem,
        radii: Float[Tensor, " n"],
        best: Best,
        rows: Int[Tensor, " m"],
        steps: int,
        start: int,
    ) -> None:
        """One start (0: the clean sample, else a random point) for these rows, towards each aim; `best` keeps what it finds."""
        cold = start > 0 or problem.goal.objective in objectives.FLAT_AT_CLEAN
        points = problem.points[rows]
        if cold and len(rows):
            points = problem.random_points(radii[rows], rows, 2 * start)
        for aim in problem.aims():
            self.climb(problem, points, radii, best, rows, steps, aim)

    def climb(
        self,
        problem: Problem,
        points: Float[Tensor, "m ..."],
        radii: Float[Tensor, " n"],
        best: Best,
        rows: Int[Tensor, " m"],
        steps: int,
        aim: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Gradient steps from these points of these rows."""
        left = torch.full_like(rows, self.config.after_flip)
        for step in range(steps):
            if not len(rows):
                return
            gradient, s = problem.gradient(points, rows, aim, self.config.soften)
            best.offer(rows, points, s)
            left -= (best.margin[rows] > 0).long()
            stay = left >= 0
            if not stay.all():
                points, gradient, rows, left = (v[stay] for v in (points, gradient, rows, left))
            length = radii[rows] * (self.config.reach * _share(step, steps))
            points = points + problem.ascent(gradient, points) * wide(length, points)
            points = problem.within(points, radii[rows], rows)
            problem.report(step, steps, best.count())
        problem.steps += steps
        if len(rows):
            best.offer(rows, points, problem.answer(points)[1])


class Best:
    """The point of the best margin found for each sample, and that margin."""

    def __init__(self, problem: Problem, points: Float[Tensor, "n ..."], s: Float[Tensor, "n k"]) -> None:
        self.points, self.margin = points.clone(), problem.margin(s)
        self._problem = problem
        # A sample that starts in the target has nowhere to go.
        self._open = problem.before != (-1 if problem.goal.target is None else problem.goal.target)

    def offer(self, rows: Int[Tensor, " m"], points: Float[Tensor, "m ..."], s: Float[Tensor, "m k"]) -> None:
        """Keep these points where their margin is better than what was kept."""
        margin = self._problem.margin(s, rows)
        better = margin > self.margin[rows]
        self.points[rows[better]] = points[better]
        self.margin[rows[better]] = margin[better]

    def unmoved(self) -> Int[Tensor, " m"]:
        """The rows still to be moved."""
        return (self._open & ~(self.margin > 0)).nonzero()[:, 0]

    def count(self) -> int:
        """How many have moved."""
        return int((self._open & (self.margin > 0)).sum())


def stretched(
    problem: Problem, points: Float[Tensor, "n ..."], radii: Float[Tensor, " n"]
) -> Float[Tensor, "n ..."]:
    """The changes scaled to the length of the radii, inside [0, 1]."""
    delta = points - problem.points
    size = delta.flatten(1).abs().amax(1) if problem.norm == "linf" else delta.flatten(1).norm(dim=1)
    factor = radii / size.clamp_min(torch.finfo(delta.dtype).tiny)
    factor = torch.where(size > 0, factor, torch.zeros_like(factor))
    return problem.within(problem.points + delta * wide(factor, delta), radii)


def _share(step: int, steps: int) -> float:
    """The share of the reach that a step gets: falling linearly, all shares together 1."""
    return 2 * (steps - step) / (steps * (steps + 1))
