"""The attacks inside training: plain and fast, since a defence runs them at every step.

They keep no best point and count no success; judging a model is what `clustcore.attacks` is for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clustcore.models.base import Model, TrainData, everywhere


@contextlib.contextmanager
def as_tested(model: nn.Module, *, frozen: bool = False) -> Iterator[None]:
    """The model in eval mode for the length of the block, and as it was after it.

    Attacked images are seen with the running statistics of batch normalisation, within the attack
    and in the loss, which follow the clean images: that is the model an attacker meets, a sample's
    gradient must not depend on its neighbours in the batch, and attacked images must not enter the
    statistics that clean images are tested with.

    Args:
        frozen: ask for no gradient of the parameters either, which an attack has no use for.
    """
    training = model.training
    trained = [p for p in model.parameters() if p.requires_grad] if frozen else []
    model.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        model.train(training)
        for parameter in trained:
            parameter.requires_grad_(True)


def log_odds(s: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Of being in another cluster: the log-sum-exp of the other scores minus the own score.

    Cross-entropy is softplus of it, so both point the same way; the gradient of this one does not
    vanish where the assignment is sure.
    """
    s, own = s.float(), labels[:, None]
    return s.scatter(1, own, -torch.inf).logsumexp(1) - s.gather(1, own)[:, 0]


def pgd(
    scores: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n ..."],
    labels: Int64[Tensor, " n"],
    eps: float | Float[Tensor, ""],
    norm: str,
    steps: int,
    *,
    bounded: bool,
    climb: Callable[[Tensor, Tensor], Tensor] = log_odds,
) -> Float[Tensor, "n ..."]:
    """Points within eps of x that leave their cluster as far as a few steps get; one start, random.

    Madry et al., arXiv 1706.06083, with `log_odds` for the loss. All steps together are 2.5 eps
    long. Draws are made on the CPU, so that every device sees the same ones.

    Args:
        scores: points -> (n, k) scores; gradients flow to the points.
        eps: a length in `norm` ("linf" or "l2").
        bounded: stay within [0, 1] too, as images must.
        climb: (scores, labels) -> (n,), what the steps raise.
    """
    delta = _draw(x, norm) * eps
    for _ in range(steps):
        point = (x + delta).detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(climb(scores(point), labels).sum(), point)
        delta = shorten(delta + 2.5 / steps * eps * _ascent(gradient, norm), eps, norm)
        if bounded:
            delta = (x + delta).clamp(0, 1) - x
    return (x + delta).detach()


def shorten(
    delta: Float[Tensor, "n ..."], eps: float | Float[Tensor, ""], norm: str
) -> Float[Tensor, "n ..."]:
    """The changes, those longer than eps brought back to it."""
    if norm == "linf":
        return delta.clamp(-eps, eps)
    return delta * (eps / _length(delta)).clamp_max(1)


def lengthen(delta: Float[Tensor, "n d"], eps: float | Float[Tensor, ""]) -> Float[Tensor, "n d"]:
    """The changes, each brought to the length eps, as a learned attack's are on the dial."""
    return delta * (eps / _length(delta))


def warmed(data: TrainData, epoch: int, warm: int) -> dict[str, Tensor]:
    """The part of its budget that an attack inside uses in this epoch, as a state.

    {"share": ()} grows to all of it over the first `warm` epochs.
    """
    return {"share": torch.tensor(min(1.0, (epoch + 1) / warm), device=data.x.device)}


def embed_all(model: Model, data: TrainData) -> Float[Tensor, "n d"]:
    """The embedding of every clean image, in eval mode."""
    return everywhere(model, data, model.embed).float()


def _draw(x: Tensor, norm: str) -> Tensor:
    if norm == "linf":
        return (2 * torch.rand(x.shape) - 1).to(x.device)
    direction = torch.randn(x.shape).to(x.device)
    share = torch.rand(len(x)).to(x.device).view(-1, *[1] * (x.ndim - 1))
    return share * direction / _length(direction)


def _ascent(gradient: Tensor, norm: str) -> Tensor:
    return gradient.sign() if norm == "linf" else gradient / _length(gradient)


def _length(delta: Tensor) -> Tensor:
    # (n, 1, ...); never 0, since a dead gradient is divided by it
    flat = delta.flatten(1).norm(dim=1).clamp_min(1e-12)
    return flat.view(-1, *[1] * (delta.ndim - 1))
