"""The attack contract: the base class keeps the promises, a subclass only searches.

The base class checks its input, clips to the budget and to [0, 1], counts success itself and leaves
the model as found. An attack knows a `Target`, a `Goal` and a `Budget` (`problem.py`), nothing of
model classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clustcore import config as configs
from clustcore.attacks.problem import Budget, Goal, Problem, Report, Target, wide
from clustcore.display import brief
from clustcore.types import SPACES, AttackResult

__all__ = ["Attack", "Budget", "Goal", "PathResult", "Problem", "Target", "dead_gradients"]

# (done, total, sentence); may raise to cancel.
OnStep = Callable[[int, int, str], None]

C = TypeVar("C", bound=configs.Config)  # the settings of a search

_ROUNDS = 10  # of bisection for `smallest`: 1/1024 of a step of the dial


@dataclass(frozen=True)
class PathResult:
    """One attack on n samples over S strengths. CPU tensors.

    `smallest` is the strength at which a sample first moves on the line between its last unmoved
    and its first moved point, NaN where it never does; "moved at s" means `smallest <= s`, and a
    sample that has moved stays so.
    """

    strengths: Float[Tensor, " S"]
    x_adv: Float[Tensor, "S n c h w"] | None  # attacks in pixels
    z: Float[Tensor, "S n d"]
    s: Float[Tensor, "S n k"]
    smallest: Float[Tensor, " n"]
    l2: Float[Tensor, "S n"]  # realised L2 of the change (in units of R in the embedding)
    linf: Float[Tensor, "S n"]  # realised L-inf of the change (likewise)
    before: Int[Tensor, " n"]

    @property
    def images(self) -> Float[Tensor, "S n c h w"]:
        """The attacked images.

        Raises:
            ValueError: the attack was in the embedding.
        """
        if self.x_adv is None:
            raise ValueError("path: expected attacked images, got one in the embedding")
        return self.x_adv

    @property
    def labels(self) -> Int[Tensor, "S n"]:
        """The cluster of each sample at each strength."""
        return self.s.argmax(2)

    __repr__ = brief


class Attack(ABC, Generic[C]):
    """A way to look for a small change that moves a sample into another cluster.

    Calling it answers for one strength, `path` for all strengths of a dial. The order of the
    samples, the batches and the device do not enter: random draws belong to (seed, id).

    Args:
        config: The search's settings; the defaults of its `Config` where none are given.

    Examples:
        Images of two pixels, and a model that says which of them is the brighter one: to change
        that, both have to give way by half of their difference.

        >>> from clustcore.attacks.pgd import PGD
        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)
        >>> x = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2)
        >>> PGD()(brighter, x, Goal(), Budget(0.11)).moved.tolist()
        [True]
        >>> PGD()(brighter, x, Goal(), Budget(0.09)).moved.tolist()
        [False]
    """

    name: ClassVar[str]
    Config: type[C] = cast("type[C]", configs.Config)  # of a search without settings
    spaces: ClassVar[tuple[str, ...]] = SPACES  # where it has an answer
    targeted: ClassVar[bool] = True  # whether it has one into a chosen cluster
    learned: ClassVar[bool] = False  # whether it must be fitted to a model first

    def __init__(self, config: C | None = None) -> None:
        self.config = self.Config() if config is None else config

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config})"

    @final
    def __call__(
        self,
        target: Target,
        x: Tensor,
        goal: Goal,
        budget: Budget,
        ids: Sequence | np.ndarray | Tensor | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> AttackResult:
        """Attack each sample at one strength.

        Args:
            target: the model.
            x: float (n, c, h, w) images in [0, 1]; in the embedding also (n, d) embeddings.
            goal: what counts as success.
            budget: how far a sample may be moved.
            ids: one number per sample that its random draws belong to; its row number by default.
            seed: of the random draws.
            on_step: told (done, total, sentence) now and then; may raise to cancel.

        Raises:
            ValueError: input that is not as above, each with what was expected and what came.
        """
        with target.settled():
            report = _reporter(on_step, self.name, len(x))
            problem = Problem(target, x, goal, budget, ids, seed, report)
            radii = problem.radii(budget.eps)
            self._refuse(problem, radii)
            points = problem.within(self._search(problem, radii), radii)
            _, s = problem.answer(points)
            l2, linf = problem.sizes(points)
        points, pixels = points.cpu(), problem.space == "pixels"
        return AttackResult(
            x_adv=points if pixels else None,
            z_adv=None if pixels else points,
            moved=problem.moved(s).cpu(),
            before=problem.before.cpu(),
            after=s.argmax(1).cpu(),
            eps=(radii / problem.unit).cpu(),
            norm=problem.norm,
            space=problem.space,
            l2=l2.cpu(),
            linf=linf.cpu(),
            steps=problem.steps,
        )

    @final
    def path(
        self,
        target: Target,
        x: Tensor,
        goal: Goal,
        budget: Budget,
        strengths: Sequence | np.ndarray | Tensor,
        ids: Sequence | np.ndarray | Tensor | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> PathResult:
        """Attack each sample at every strength of a dial, each from what the one before found.

        A sample that has moved stays moved, and a search that can goes on raising its margin.

        Args:
            target: the model.
            x: float (n, c, h, w) images in [0, 1]; in the embedding also (n, d) embeddings.
            goal: what counts as success.
            budget: how far a sample may be moved at the end of the path: its last strength.
            strengths: from 0, ascending, up to the budget.
            ids: one number per sample that its random draws belong to; its row number by default.
            seed: of the random draws.
            on_step: told (done, total, sentence) now and then; may raise to cancel.

        Raises:
            ValueError: input that is not as above, each with what was expected and what came.

        Examples:
            >>> from clustcore.attacks.pgd import PGD
            >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)
            >>> x = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2)
            >>> path = PGD().path(brighter, x, Goal(), Budget(0.2), strengths=[0.0, 0.05, 0.2])
            >>> path.labels[:, 0].tolist()
            [0, 0, 1]
            >>> round(path.smallest.item(), 2)
            0.1
        """
        strengths = check_strengths(strengths, budget)
        steps, pixels = len(strengths), budget.space == "pixels"
        with target.settled():
            report = _reporter(on_step, self.name, len(x))
            problem = Problem(target, x, goal, budget, ids, seed, report)
            end = problem.radii(strengths[-1])
            self._refuse(problem, end)
            problem.progress = (0, steps)
            plan = self._plan(problem, end)
            here = _Stop(problem.points, problem.z, problem.s)
            stops = [here]
            for k in range(1, steps):
                problem.progress = (k, steps)
                problem.tick(int(problem.moved(here.s).sum()))
                here = self._stop(problem, problem.radii(strengths[k]), here, plan)
                stops.append(here)
            smallest = _first_moved(problem, strengths, stops)
            sizes = [problem.sizes(stop.points) for stop in stops]
        return PathResult(
            strengths=strengths,
            x_adv=torch.stack([s.points.cpu() for s in stops]) if pixels else None,
            z=torch.stack([s.z.cpu() for s in stops]),
            s=torch.stack([s.s.cpu() for s in stops]),
            smallest=smallest,
            l2=torch.stack([l2.cpu() for l2, _ in sizes]),
            linf=torch.stack([linf.cpu() for _, linf in sizes]),
            before=problem.before.cpu(),
        )

    @abstractmethod
    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        """Points within the radii (absolute lengths), as far across as this search gets."""

    def _plan(self, problem: Problem, end: Float[Tensor, " n"]) -> Any:
        """What a path works out once, given its last radii, for each `_follow`."""
        return None

    def _follow(
        self,
        problem: Problem,
        radii: Float[Tensor, " n"],
        points: Float[Tensor, "n ..."],
        s: Float[Tensor, "n k"],
        plan: Any,
    ) -> Float[Tensor, "n ..."]:
        """Points at the next strength of a path, given those before and their scores."""
        return self._search(problem, radii)

    @final
    def _refuse(self, problem: Problem, radii: Float[Tensor, " n"]) -> None:
        """Refuse what this search has no answer for."""
        if problem.space not in self.spaces:
            known = ", ".join(self.spaces)
            raise ValueError(f"{self.name}: space: expected {known}, got {problem.space!r}")
        if problem.goal.target is not None and not self.targeted:
            raise ValueError(
                f"{self.name}: goal: expected no target cluster, got {problem.goal.target}: "
                "it looks for the nearest way out; use min_flip"
            )
        self._check(problem, radii)

    def _check(self, problem: Problem, radii: Float[Tensor, " n"]) -> None:
        """Refuse what else this search has no answer for; by default an unbounded embedding.

        Raises:
            ValueError: it has none.
        """
        if not radii.isfinite().all():
            raise ValueError(
                f"{self.name}: eps: expected a finite strength in the embedding, got inf"
            )

    @final
    def _stop(self, problem: Problem, radii: Tensor, last: _Stop, plan: Any) -> _Stop:
        """The next point of each path; one that would lose its flip stays, inside the ball too."""
        points = problem.within(self._follow(problem, radii, last.points, last.s, plan), radii)
        z, s = problem.answer(points)
        lost = problem.moved(last.s) & ~problem.moved(s)
        return _Stop(
            torch.where(wide(lost, points), last.points, points),
            torch.where(lost[:, None], last.z, z),
            torch.where(lost[:, None], last.s, s),
        )


@dataclass(frozen=True)
class _Stop:
    """Where all samples stand at one strength."""

    points: Float[Tensor, "n ..."]
    z: Float[Tensor, "n d"]
    s: Float[Tensor, "n k"]


def _reporter(on_step: OnStep | None, name: str, n: int) -> Report | None:
    if on_step is None:
        return None
    return lambda done, total, moved: on_step(done, total, f"{name}: {moved:,} of {n:,} moved")


def check_strengths(
    strengths: Sequence | np.ndarray | Tensor, budget: Budget
) -> Float[Tensor, " S"]:
    """At least two finite strengths, the first 0, ascending, the last the budget's.

    Raises:
        ValueError: they are not.
    """
    values = torch.as_tensor(np.asarray(strengths), dtype=torch.float32)
    good = values.ndim == 1 and len(values) > 1 and bool(values.isfinite().all())
    if not (good and values[0] == 0 and bool((values.diff() > 0).all())):
        raise ValueError(
            f"strengths: expected finite numbers ascending from 0, got {values.tolist()}"
        )
    end = torch.as_tensor(budget.eps, dtype=torch.float32)
    if end.ndim or end != values[-1]:
        raise ValueError(
            f"strengths: expected the last to be the budget's {end.tolist()}, got {values[-1]:g}"
        )
    return values


def _first_moved(problem: Problem, strengths: Tensor, stops: list[_Stop]) -> Float[Tensor, " n"]:
    """Bisect the strength of each flip, on the line from the last unmoved to the first moved point.

    A ball is convex, so that every point of the line is within its own strength.
    """
    moved = torch.stack([problem.moved(stop.s) for stop in stops])
    smallest = torch.full((len(problem.points),), torch.nan)
    rows = moved.any(0).nonzero()[:, 0]
    if not len(rows):
        return smallest
    first = moved.int().argmax(0)[rows]
    points = torch.stack([stop.points for stop in stops])
    start, end = points[first - 1, rows], points[first, rows]
    low = torch.zeros(len(rows), dtype=points.dtype, device=points.device)
    high = torch.ones_like(low)
    for _ in range(_ROUNDS):
        half = (low + high) / 2
        _, s = problem.answer(start + (end - start) * wide(half, start))
        flips = problem.moved(s, rows)
        low, high = torch.where(flips, low, half), torch.where(flips, half, high)
    first, share = first.cpu(), high.cpu().float()
    reached = torch.lerp(strengths[first - 1], strengths[first], share)
    # Rounding must not put it on the wrong side of a step.
    smallest[rows.cpu()] = torch.minimum(reached, strengths[first])
    return smallest


def dead_gradients(target: Target, x: Tensor, goal: Goal, space: str = "pixels") -> float:
    """The share of samples whose gradient at the clean point is all zero, or not finite, in [0, 1].

    Where it is not near 0, attacks that follow gradients say little.

    Args:
        target: the model.
        x: float (n, c, h, w) images in [0, 1].
        goal: what counts as success, and what is climbed.
        space: "pixels" or "embedding".

    Source:
        On masked gradients: Athalye et al., "Obfuscated gradients give a false sense of security",
        ICML 2018.

    Examples:
        >>> x = torch.rand(4, 1, 1, 2, generator=torch.Generator().manual_seed(0))
        >>> open_to_attack = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)
        >>> dead_gradients(open_to_attack, x, Goal())
        0.0
        >>> masked = Target(embed=lambda x: x.flatten(1), scores=lambda z: (100 * z).clamp(0, 1))
        >>> dead_gradients(masked, x, Goal())
        1.0
    """
    with target.settled():
        problem = Problem(target, x, goal, Budget(0.0, "l2", space))
        rows = torch.arange(len(x), device=problem.device)
        gradient = problem.gradient(problem.points, rows, problem.aims()[0])[0].flatten(1)
    dead = (gradient == 0).all(1) | ~gradient.isfinite().all(1)
    return dead.float().mean().item()
