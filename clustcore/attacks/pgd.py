"""PGD: projected gradient steps with restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clustcore.attacks import objectives
from clustcore.attacks.base import Attack, Problem
from clustcore.attacks.problem import wide
from clustcore.config import Config, setting


@dataclass(frozen=True, kw_only=True)
class PGDConfig(Config):
    """How long PGD searches."""

    steps: int = setting(40, "gradient steps of each start", range=(1, 1000))
    restarts: int = setting(2, "starts: the clean sample, then random points", range=(1, 100))
    path_steps: int = setting(
        20, "gradient steps of each start at each strength of a path", range=(1, 1000), rare=True
    )
    after_flip: int = setting(
        5, "further steps that raise the margin once a sample has moved", range=(0, 1000), rare=True
    )
    reach: float = setting(
        2.5, "length of all steps of a start together", range=(0.1, 100.0), unit="eps", rare=True
    )
    soften: float = setting(
        0.3,
        "temperature of the maximum over the other clusters at the first step; 0 at the last",
        range=(0.0, 10.0),
        unit="standard deviations of a sample's scores",
        rare=True,
    )
    patience: float = setting(
        2.0,
        "a start ends early for a sample that this many times its recent gain would not move",
        range=(1.0, 1e9),
        rare=True,
    )


@final
class PGD(Attack[PGDConfig]):
    """Gradient steps of decaying length, brought back into the ball and into [0, 1] after each.

    The best margin that any step reaches is kept, whatever objective is climbed. A sample that has
    moved climbs on for a few steps and then costs nothing; later starts are for those that have
    not. Departures from the paper: the step decays linearly; the margin's maximum is softened at
    first (`objectives.soft_margin`); in L2 the part of a gradient that [0, 1] would cut off is
    dropped; a start that plainly leads nowhere ends early (`patience`).

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", arXiv
        1706.06083.

    Examples:
        >>> import clustcore
        >>> run = clustcore.load_run("drc-mnist", "cpu")
        >>> x = clustcore.load_samples("mnist").x[:8]
        >>> clustcore.attack(run.model, x, "pgd", eps=0.2, steps=10, restarts=1).moved.tolist()
        [True, True, True, True, True, True, True, True]
    """

    name = "pgd"
    Config = PGDConfig

    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        best = Best(problem, problem.points, problem.s)
        for start in range(self.config.restarts):
            problem.progress = (start, self.config.restarts)
            self.attempt(problem, radii, best, best.unmoved(), self.config.steps, start)
        return best.points

    def _follow(
        self,
        problem: Problem,
        radii: Float[Tensor, " n"],
        points: Float[Tensor, "n ..."],
        s: Float[Tensor, "n k"],
        plan: Any,
    ) -> Float[Tensor, "n ..."]:
        """A warm start from the change so far, and a cold one for those it does not move."""
        best = Best(problem, points, s)
        config, scaled = self.config, stretched(problem, points, radii)
        moved = (best.margin > 0).nonzero()[:, 0]
        aim = problem.aims()[0] if problem.goal.target is not None else None
        self.climb(problem, scaled[moved], radii, best, moved, config.after_flip, aim)
        rows = best.unmoved()
        if problem.size(points).any():
            for aim in problem.aims():
                self.climb(problem, scaled[rows], radii, best, rows, config.path_steps, aim)
        else:
            self.attempt(problem, radii, best, rows, config.path_steps, 0)
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
        """One start for these rows: 0 is the clean sample, any other a random point."""
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
        """Gradient steps from these points of these rows; `best` keeps what they find."""
        left = torch.full_like(rows, self.config.after_flip)
        clean, radii = problem.points[rows], radii[rows]
        outlook = _Outlook(radii, steps, self.config.patience)
        for step in range(steps):
            if not len(rows):
                return
            soften = self.config.soften * (1 - step / steps)
            gradient, s = problem.gradient(points, rows, aim, soften)
            best.offer(rows, points, s)
            left -= (best.margin[rows] > 0).long()
            stay = left >= 0
            outlook.see(step, problem.margin(s, rows))
            if problem.goal.objective in objectives.MARGINS:
                stay &= ~outlook.hopeless(step)
            if not stay.all():
                outlook.keep(stay)
                state = (points, gradient, rows, left, clean, radii)
                points, gradient, rows, left, clean, radii = (v[stay] for v in state)
            length = radii * (self.config.reach * _share(step, steps))
            points = points + problem.ascent(gradient, points) * wide(length, points)
            points = problem.within(points, radii, clean)
            problem.steps += 1
            problem.tick(best.count())
        if len(rows):
            best.offer(rows, points, problem.answer(points)[1])


class _Outlook:
    """Whether samples can still make it: their gain over the last quarter of a climb, drawn on."""

    def __init__(self, like: Float[Tensor, " m"], steps: int, patience: float) -> None:
        self._steps, self._patience, self._quarter = steps, patience, steps // 4
        self._margin = torch.full_like(like, -torch.inf)  # the best of this climb
        self._mark = self._last = self._margin  # at the last two quarters

    def see(self, step: int, margin: Float[Tensor, " m"]) -> None:
        """Take the margins at a step."""
        self._margin = self._margin.maximum(margin)
        if self._quarter and step % self._quarter == 0:
            self._last, self._mark = self._mark, self._margin

    def hopeless(self, step: int) -> Bool[Tensor, " m"]:
        """Who would not move if the last quarter's gain went on `patience` times as fast.

        The answer is no but at the end of the second and of the third quarter.
        """
        if self._quarter < 2 or step % self._quarter or step < 2 * self._quarter:
            return torch.zeros_like(self._margin, dtype=torch.bool)
        gain = (self._mark - self._last) / self._quarter
        return self._margin + self._patience * gain * (self._steps - step) < 0

    def keep(self, stay: Bool[Tensor, " m"]) -> None:
        """Forget the others."""
        self._margin, self._mark, self._last = (
            v[stay] for v in (self._margin, self._mark, self._last)
        )


class Best:
    """The point of the best margin found for each sample, and that margin."""

    def __init__(
        self, problem: Problem, points: Float[Tensor, "n ..."], s: Float[Tensor, "n k"]
    ) -> None:
        self.points, self.margin = points.clone(), problem.margin(s)
        self._problem = problem

    def offer(
        self, rows: Int[Tensor, " m"], points: Float[Tensor, "m ..."], s: Float[Tensor, "m k"]
    ) -> None:
        """Keep these points where their margin is better than what was kept."""
        margin = self._problem.margin(s, rows)
        better = margin > self.margin[rows]
        self.points[rows[better]] = points[better]
        self.margin[rows[better]] = margin[better]

    def unmoved(self, rows: Int[Tensor, " m"] | None = None) -> Int[Tensor, " left"]:
        """Those of these rows (by default all) that are still to be moved."""
        left = self._problem.open & ~(self.margin > 0)
        return left.nonzero()[:, 0] if rows is None else rows[left[rows]]

    def count(self) -> int:
        """How many have moved."""
        return int((self._problem.open & (self.margin > 0)).sum())


def stretched(
    problem: Problem, points: Float[Tensor, "n ..."], radii: Float[Tensor, " n"]
) -> Float[Tensor, "n ..."]:
    """The changes scaled to the length of the radii, inside [0, 1]."""
    delta = points - problem.points
    size = problem.size(points)
    factor = radii / size.clamp_min(torch.finfo(delta.dtype).tiny)
    factor = torch.where(size > 0, factor, torch.zeros_like(factor))
    return problem.within(problem.points + delta * wide(factor, delta), radii)


def _share(step: int, steps: int) -> float:
    """The share of the reach that a step gets: falling linearly, all shares together 1."""
    return 2 * (steps - step) / (steps * (steps + 1))
