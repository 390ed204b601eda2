"""The question put to an attack, checked once, and what a search may ask of it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from clustcore import memory
from clustcore.attacks import objectives
from clustcore.attacks.seeds import draw
from clustcore.types import as_norm, as_space

# Samples per pass: on a CPU the activations of more no longer fit the cache.
_BATCH = {"cpu": 128, "other": 1024}
# Passes are filled up to a multiple of this: matrix products round differently for ragged sizes,
# and a sign gradient turns a last bit into another path.
_MULTIPLE = 8

# (done, total, samples moved so far)
Report = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Target:
    """What an attack may know of a model.

    `embed` maps images to the embedding, `scores` the embedding to scores before softmax, `soft` to
    the soft assignment, `decode` back to images, `noise_scale` images to the spread that training
    gives their embedding, or to None.
    `head` is (W, b) where the scores are W z + b up to a term that all clusters share.

    Examples:
        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)  # of two pixels
        >>> x = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2)
        >>> brighter.scores(brighter.embed(x)).argmax(1).tolist()
        [0]
    """

    embed: Callable[[Tensor], Tensor]
    scores: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor] | None = None
    soft: Callable[[Tensor], Tensor] | None = None
    head: tuple[Tensor, Tensor] | None = None
    noise_scale: Callable[[Tensor], Tensor | None] | None = None

    @classmethod
    def of(cls, model: Any) -> Target:
        """The target that a model is: anything with `embed` and `scores`.

        Examples:
            >>> import clustcore
            >>> target = Target.of(clustcore.load_run("drc-mnist", "cpu").model)
            >>> target.embed(torch.zeros(1, 1, 28, 28)).shape, target.head[0].shape
            (torch.Size([1, 64]), torch.Size([10, 64]))
        """
        head = getattr(model, "head", None)
        head = head() if callable(head) and not isinstance(head, nn.Module) else None
        decode = getattr(model, "decode", None) if getattr(model, "has_decoder", True) else None
        soft, noise_scale = getattr(model, "soft", None), getattr(model, "noise_scale", None)
        return cls(model.embed, model.scores, decode, soft, head, noise_scale)

    def modules(self) -> list[nn.Module]:
        """The torch modules behind `embed` and `scores`, as far as they can be seen."""
        found: dict[int, nn.Module] = {}
        for function in (self.embed, self.scores):
            owner = getattr(function, "__self__", function)
            if isinstance(owner, nn.Module):
                found[id(owner)] = owner
        return list(found.values())

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """Evaluation mode and full float32 inside the block; what was before comes back after."""
        training = [m for root in self.modules() for m in root.modules() if m.training]
        for module in training:
            module.training = False
        # A GPU's convolutions would round to 10 bits, and take a path of their own.
        exact = {"enabled": True, "deterministic": True, "allow_tf32": False}
        try:
            with torch.backends.cudnn.flags(**exact):
                yield
        finally:
            for module in training:
                module.training = True


@dataclass(frozen=True)
class Goal:
    """What counts as success, and what is climbed on the way there.

    `target` is the cluster that a sample shall enter, None any but its own.

    Raises:
        ValueError: unknown objective, or a negative target.

    Examples:
        >>> Goal()  # any other cluster will do
        Goal(target=None, objective='margin')
        >>> Goal(target=3).target
        3
    """

    target: int | None = None
    objective: str = "margin"

    def __post_init__(self) -> None:
        if self.objective not in objectives.OBJECTIVES:
            known = ", ".join(objectives.OBJECTIVES)
            raise ValueError(f"unknown objective {self.objective!r}; known: {known}")
        if self.target is not None and self.target < 0:
            raise ValueError(f"goal: target: expected a cluster from 0, got {self.target}")


@dataclass(frozen=True)
class Budget:
    """How far a sample may be moved: at most `eps` in `norm`, in `space`.

    Args:
        eps: in pixel units of [0, 1]; in the embedding rho, in units of `unit`. One for all, or one
            per sample. Infinity means the whole of [0, 1] in pixels; in the embedding `min_flip`
            alone takes it.
        norm: always "l2" in the embedding.
        space: "pixels" or "embedding".
        unit: R of the card, the L2 distance that rho = 1 stands for; not used in pixels.

    Raises:
        ValueError: a negative or NaN strength, an unknown norm or space, "linf" in the embedding, a
            unit that is not above 0.

    Examples:
        >>> Budget(8 / 255, norm="linf")
        Budget(eps=0.03137254901960784, norm='linf', space='pixels', unit=1.0)
        >>> Budget(0.3, norm="linf", space="embedding")
        Traceback (most recent call last):
        ValueError: norm: expected 'l2' in the embedding, got 'linf'
    """

    eps: float | int | np.number | Tensor
    norm: str = "linf"
    space: str = "pixels"
    unit: float | int | np.number = 1.0

    def __post_init__(self) -> None:
        space, norm = as_space(self.space), as_norm(self.norm)
        if space == "embedding" and norm != "l2":
            raise ValueError(f"norm: expected 'l2' in the embedding, got {self.norm!r}")
        lowest = torch.as_tensor(self.eps, dtype=torch.float64).min().item()
        if not lowest >= 0:  # also where it is NaN
            raise ValueError(f"eps: expected a strength of at least 0, got {lowest}")
        if not (math.isfinite(self.unit) and self.unit > 0):
            raise ValueError(f"unit: expected a length above 0, got {self.unit}")


class Problem:
    """The clean samples, on the model's device, and what a search may ask about them.

    A point is an image in pixels and an embedding in the embedding. Lengths inside are absolute:
    `radii` has the unit in it.

    Attributes:
        points: (n, ...) the clean points.
        images: (n, c, h, w), or None where embeddings were given.
        before: (n,) their clusters.
        open: (n,) bool: can move; a sample that starts in the target cluster cannot.
        steps: gradient steps that a sample got at most so far.
        progress: (done, total), as far as the search knows; told by `tick`.

    Examples:
        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)  # of two pixels
        >>> x = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2)
        >>> problem = Problem(brighter, x, Goal(), Budget(0.2))
        >>> problem.before.tolist()
        [0]
        >>> points = problem.within(x + torch.tensor([-0.3, 0.3]), problem.radii(0.2))
        >>> [round(v, 2) for v in points.flatten().tolist()]
        [0.4, 0.6]
        >>> _, s = problem.answer(points)
        >>> problem.moved(s).tolist()
        [True]
    """

    def __init__(
        self,
        target: Target,
        x: Tensor,
        goal: Goal,
        budget: Budget,
        ids: Sequence | np.ndarray | Tensor | None = None,
        seed: int = 0,
        report: Report | None = None,
    ) -> None:
        check_samples(x, budget.space)
        self.target, self.goal, self.seed = target, goal, seed
        self.norm, self.space = as_norm(budget.norm), as_space(budget.space)
        self.unit = float(budget.unit) if budget.space == "embedding" else 1.0
        self.ids = check_ids(ids, len(x))
        self.steps = 0
        self.progress = (0, 1)
        self._report = report
        weights = [p for m in target.modules() for p in m.parameters()]
        self.device = weights[0].device if weights else x.device
        size = _BATCH.get(self.device.type, _BATCH["other"])
        self._batches = memory.Batches(size, self.device)
        x = x.detach().to(self.device, torch.promote_types(x.dtype, torch.float32))
        self.images = x if x.ndim == 4 else None
        embeds = self.space == "embedding" and x.ndim == 4
        self.points = self._in_batches(lambda part: (target.embed(part),), x)[0] if embeds else x
        self.z, self.s = self.answer(self.points)
        self._check_answer()
        self.before = self.s.argmax(1)
        self.open = self.before != (-1 if goal.target is None else goal.target)
        soft, own = self.s.softmax(1), target.soft
        if own is not None:
            soft = self._in_batches(lambda part: (own(part),), self.z)[0]
        self._reference = objectives.Reference(self.before, self.z, soft, None, own)

    def _check_answer(self) -> None:
        n = len(self.points)
        if self.s.ndim != 2 or len(self.s) != n:
            got = tuple(self.s.shape)
            raise ValueError(f"scores: expected shape ({n}, clusters), got {got}")
        bad = int((~self.s.isfinite()).any(1).sum())
        if bad:
            raise ValueError(
                "scores: expected finite numbers, got NaN or infinity "
                f"for {bad} of {n} clean samples: the model has diverged"
            )
        k, wanted = self.s.shape[1], self.goal.target
        if k < 2:
            raise ValueError(f"scores: expected at least 2 clusters, got {k}")
        if wanted is not None and wanted >= k:
            raise ValueError(f"goal: target: expected a cluster 0 to {k - 1}, got {wanted}")

    def tick(self, moved: int) -> None:
        """To be called after each round of work: tells who waits, and who may raise to cancel."""
        if self._report is not None:
            self._report(*self.progress, moved)

    def radii(self, eps: float | int | np.number | Tensor) -> Float[Tensor, " n"]:
        """Strengths as absolute lengths, one per sample, no longer than the domain.

        Raises:
            ValueError: as many strengths as there are samples were expected.
        """
        n = len(self.points)
        eps = torch.as_tensor(eps, dtype=self.points.dtype, device=self.device)
        if eps.ndim and eps.shape != (n,):
            got = tuple(eps.shape)
            raise ValueError(f"eps: expected one strength or one per sample ({n}), got shape {got}")
        return (eps * self.unit).clamp(max=self.end).expand(n).contiguous()

    @property
    def end(self) -> float:
        """The radius that holds the whole domain: infinite in the embedding."""
        if self.space == "embedding":
            return math.inf
        return 1.0 if self.norm == "linf" else math.sqrt(self.points[0].numel())

    def answer(self, points: Float[Tensor, "m ..."]) -> tuple[Tensor, Tensor]:
        """(m, d) embeddings and (m, k) scores of points."""
        return self._in_batches(self._forward, points)

    def gradient(
        self,
        points: Float[Tensor, "m ..."],
        rows: Int[Tensor, " m"],
        aim: Int[Tensor, " n"] | None = None,
        soften: float = 0.0,
        objective: str | None = None,
    ) -> tuple[Float[Tensor, "m ..."], Float[Tensor, "m k"]]:
        """The gradient of an objective at points of these rows, and the scores there.

        The objective is the goal's by default.

        NaN is kept, so that it can be counted; `ascent` reads it as 0.

        Raises:
            ValueError: the target's scores carry no gradient.
        """

        def ask(part: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            part = part.clone().requires_grad_(True)
            with torch.enable_grad():
                z, s = self._forward(part)
                if not s.requires_grad:
                    raise ValueError(
                        "target: expected scores with a gradient, got none: "
                        "embed or scores detaches or runs under no_grad"
                    )
                reference = self._refer(row, aim, soften)
                total = objectives.value(objective or self.goal.objective, z, s, reference).sum()
            return torch.autograd.grad(total, part)[0], s.detach()

        return self._in_batches(ask, points, rows)

    def aims(self) -> list[Int[Tensor, " n"] | None]:
        """The cluster to aim at; for `multi_targeted` all others in turn, the nearest first."""
        if self.goal.target is not None:
            return [torch.full_like(self.before, self.goal.target)]
        if self.goal.objective != "multi_targeted":
            return [None]
        others = self.s.scatter(1, self.before[:, None], -torch.inf)
        order = others.argsort(dim=1, descending=True, stable=True)
        return list(order[:, :-1].T)

    def margin(
        self, s: Float[Tensor, "m k"], rows: Int[Tensor, " m"] | slice = slice(None)
    ) -> Float[Tensor, " m"]:
        """How far rows have come, whatever is climbed: above 0 they have moved, NaN not at all."""
        aim = None if self.goal.target is None else torch.full_like(self.before, self.goal.target)
        lead = objectives.margin(s, self.before[rows], None if aim is None else aim[rows])
        return lead.nan_to_num(nan=-torch.inf)

    def moved(
        self, s: Float[Tensor, "m k"], rows: Int[Tensor, " m"] | slice = slice(None)
    ) -> Bool[Tensor, " m"]:
        """Whether the cluster changed or, with a target, became it (not where it was it before)."""
        before, after = self.before[rows], s.argmax(1)
        changed = (after != before) & s.isfinite().all(1)
        return changed if self.goal.target is None else changed & (after == self.goal.target)

    def within(
        self,
        points: Float[Tensor, "m ..."],
        radii: Float[Tensor, " m"],
        clean: Float[Tensor, "m ..."] | None = None,
    ) -> Float[Tensor, "m ..."]:
        """Points brought back into the ball around their clean ones and, in pixels, into [0, 1]."""
        clean = self.points if clean is None else clean
        delta = points - clean
        if self.norm == "linf":
            limit = wide(radii, delta)
            delta = delta.clamp(-limit, limit)
        else:
            delta = delta * wide((radii / length(delta).clamp_min(1e-30)).clamp(max=1), delta)
        # In pixels the clean point lies in [0, 1], so clipping only ever shortens the change.
        return clean + delta if self.space == "embedding" else (clean + delta).clamp(0, 1)

    def ascent(
        self, gradient: Float[Tensor, "m ..."], points: Float[Tensor, "m ..."]
    ) -> Float[Tensor, "m ..."]:
        """The steepest direction of length 1 in the norm; 0 where the gradient is 0 or NaN."""
        gradient = gradient.nan_to_num(0, 0, 0)
        if self.norm == "linf":
            return gradient.sign()
        if self.space == "pixels":  # what [0, 1] would cut off is not worth length
            blocked = ((points <= 0) & (gradient < 0)) | ((points >= 1) & (gradient > 0))
            gradient = gradient.masked_fill(blocked, 0)
        # Scaled first: the squares of tiny gradients would underflow.
        scale = gradient.flatten(1).abs().amax(1).clamp_min(torch.finfo(gradient.dtype).tiny)
        gradient = gradient / wide(scale, gradient)
        return gradient / wide(length(gradient).clamp_min(1e-30), gradient)

    def random_points(
        self, radii: Float[Tensor, " m"], rows: Int[Tensor, " m"], stream: int
    ) -> Float[Tensor, "m ..."]:
        """A uniform draw from each row's ball, clipped; the same for the same sample and stream."""
        clean = self.points[rows]
        noise = self.draw(rows, stream, normal=self.norm == "l2")
        if self.norm == "l2":
            share = self.draw(rows, stream + 1, shape=(1,))[:, 0].abs()
            size = share ** (1 / clean[0].numel()) / length(noise)
            noise = noise * wide(size, noise)
        return self.within(clean + noise * wide(radii, noise), radii, clean)

    def draw(
        self,
        rows: Int[Tensor, " m"],
        stream: int,
        *,
        normal: bool = False,
        shape: tuple[int, ...] | None = None,
    ) -> Float[Tensor, "m ..."]:
        """Random numbers of rows, by default one per coordinate of a point: see `seeds.draw`."""
        shape = tuple(self.points.shape[1:]) if shape is None else shape
        noise = draw(self.ids[rows.cpu()], shape, self.seed, stream, normal=normal)
        return noise.to(self.device, self.points.dtype)

    def size(self, points: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """(n,) absolute length of the change in the norm."""
        delta = points - self.points
        return delta.flatten(1).abs().amax(1) if self.norm == "linf" else length(delta)

    def sizes(self, points: Float[Tensor, "n ..."]) -> tuple[Tensor, Tensor]:
        """(n,) realised L2 and (n,) realised L-inf of the change, in pixel units or units of R."""
        delta = points - self.points
        return length(delta) / self.unit, delta.flatten(1).abs().amax(1) / self.unit

    def _forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        z = points if self.space == "embedding" else self.target.embed(points)
        return z, self.target.scores(z)

    def _refer(self, rows: Tensor, aim: Tensor | None, soften: float) -> objectives.Reference:
        whole = self._reference
        return objectives.Reference(
            whole.labels[rows],
            whole.z[rows],
            whole.p[rows],
            None if aim is None else aim[rows],
            whole.soft,
            soften,
        )

    def _in_batches(
        self, ask: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        """Ask batch by batch; one too large for the device's memory is halved, and that is said."""

        def answer(rows: slice) -> list[Tensor]:
            filled = [_fill(i[rows]) for i in inputs]
            with torch.no_grad():
                return [a[: rows.stop - rows.start] for a in ask(*filled)]

        parts = [part for _, part in self._batches.over(len(inputs[0]), answer)]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _fill(part: Tensor) -> Tensor:
    """The rows, with the last one repeated up to a multiple of `_MULTIPLE`."""
    missing = -len(part) % _MULTIPLE
    return torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part


def wide(values: Shaped[Tensor, " m"], like: Tensor) -> Shaped[Tensor, "m ..."]:
    """One value per row, shaped to spread over the other axes of `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def length(delta: Float[Tensor, "m ..."]) -> Float[Tensor, " m"]:
    """The L2 norm of each row."""
    return delta.flatten(1).norm(dim=1)


def check_samples(x: Tensor, space: str) -> None:
    """Images (n, c, h, w) in [0, 1], or in the embedding also points (n, d); finite floats.

    Raises:
        ValueError: they are not.
    """
    wanted = "(n, c, h, w)" if space == "pixels" else "(n, c, h, w) or (n, d)"
    shape = tuple(x.shape)
    if not x.is_floating_point():
        raise ValueError(f"x: expected a float tensor {wanted}, got {x.dtype} of shape {shape}")
    if x.ndim not in ((4,) if space == "pixels" else (2, 4)) or x.numel() == 0:
        raise ValueError(f"x: expected at least one sample, {wanted}, got shape {shape}")
    bad = int((~x.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise ValueError(
            f"x: expected finite numbers, got NaN or infinity in {bad} of {len(x)} samples"
        )
    low, high = x.min().item(), x.max().item()
    if x.ndim == 4 and not 0 <= low <= high <= 1:
        raise ValueError(f"x: expected pixels in [0, 1], got {low:.4g} to {high:.4g}")


def check_ids(ids: Sequence | np.ndarray | Tensor | None, n: int) -> Int[Tensor, " n"]:
    """One whole number per sample, by default its row.

    Raises:
        ValueError: another count, or not whole numbers.
    """
    if ids is None:
        return torch.arange(n)
    numbers = torch.as_tensor(np.asarray(ids))
    if numbers.is_floating_point() or numbers.shape != (n,):
        raise ValueError(
            f"ids: expected {n} whole numbers, one per sample, "
            f"got {numbers.dtype} of shape {tuple(numbers.shape)}"
        )
    return numbers.long()
