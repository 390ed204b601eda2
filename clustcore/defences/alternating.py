"""Alternating training: the attackers learn on while the model learns to stand them.

The learned attacker A of ALRDC (Yang et al., NeurIPS 2020) takes a step every few of the model's,
and projected gradient steps look for worse points in the embedding, in pixels, or in both. The
model is asked to answer them all as it answers the clean sample.

In the embedding a model cannot win by inflating it: the budget is rho x R, and R, half the distance
between neighbouring cluster means, is that of the batch and is followed back. (Measured once an
epoch it lags behind, and training chases it.) What is left is to smooth the scores between the
clusters and to draw each cluster together relative to its distance from the others. `likeness`
keeps the second from ending in points: within a cluster, distances between samples shall keep the
proportions that they had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from clustcore.attacks.alrdc import Perturb, attack_loss
from clustcore.config import setting
from clustcore.defences.base import Defence, DefenceConfig
from clustcore.defences.inner import as_tested, embed_all, lengthen, pgd, warmed
from clustcore.models.base import Loss, Model, TrainData, Views
from clustcore.models.radius import embedding_radius
from clustcore.types import NORMS


@dataclass(frozen=True, kw_only=True)
class AlternatingConfig(DefenceConfig):
    """The attackers inside, and the weights of what they find."""

    rho: float = setting(
        0.8, "budget in the embedding; 0 leaves the embedding out", range=(0, 10), unit="R"
    )
    eps: float = setting(
        0.1, "budget in pixels; 0 leaves pixels out", range=(0, 100), unit="of [0, 1]"
    )
    norm: str = setting("linf", "norm of the budget in pixels", choices=NORMS)
    warm: int = setting(
        2, "epochs over which the budgets grow, from a part of them", range=(1, 1000)
    )
    steps: int = setting(5, "gradient steps of the attacks inside", range=(1, 100))
    kind: str = setting("affine", "form of the learned attacker", choices=("affine", "relu"))
    every: int = setting(4, "steps of the model for one of the learned attacker", range=(1, 10_000))
    attacker_lr: float = setting(
        1e-3, "the learned attacker's learning rate", range=(1e-7, 1), rare=True
    )
    overlap: float = setting(
        40.0, "w, the weight of <y, y'> in the learned attacker's loss", range=(0, 1e4), rare=True
    )
    weight_kl: float = setting(1.0, "weight of KL(y || y') at attacked points", range=(0, 1e4))
    weight_margin: float = setting(
        1.0, "weight of the cross-entropy to the clean cluster at attacked points", range=(0, 1e4)
    )
    weight_like: float = setting(
        1.0, "weight of keeping the proportions within a cluster", range=(0, 1e4)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.rho or self.eps):
            raise ValueError(
                "AlternatingConfig: expected rho or eps above 0, got 0 for both: nothing attacks"
            )


@final
class Alternating(Defence[AlternatingConfig]):
    """Upkeep, and what keeps attacked points in their clusters.

    Upkeep + weight_kl x KL(y || y') + weight_margin x cross-entropy, the means over the points of
    all attackers, + weight_like x `likeness`.

    KL alone is nearly flat where both assignments are sure; the cross-entropy reads the scores and
    widens the margin further. y is not followed back: attacked samples come to clean ones, not the
    reverse.
    """

    name = "alternating"
    Config = AlternatingConfig
    attacker: Perturb
    inner: torch.optim.Optimizer

    def _build(self, model: Model) -> None:
        # frozen but for its own steps, so that the model's optimiser leaves it alone
        channels, height, width = model.input_shape
        self.attacker = Perturb((channels, height, width), model.dim, self.config.kind)
        self.attacker.requires_grad_(False)
        self.inner = torch.optim.Adam(self.attacker.parameters(), lr=self.config.attacker_lr)
        # kept with the resume state: a long interval may span epochs
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def prepare(
        self, model: Model, data: TrainData, epoch: int, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The part of the budgets that this epoch uses, and the starting embedding."""
        z = state["z"] if "z" in state else embed_all(model, data)
        return warmed(data, epoch, self.config.warm) | {"z": z}

    def step_attacker(self, model: Model, views: Views, state: dict[str, Tensor]) -> None:
        """One step of A on ALRDC's L_att, every few steps of the model."""
        self.step += 1
        if not self.config.rho or int(self.step) % self.config.every:
            return
        x = views.clean
        with as_tested(model, frozen=True):
            with torch.no_grad():
                z = model.embed(x)
                scale = model.noise_scale(x)
                noise = 0 if scale is None else scale * torch.randn(z.shape).to(z.device)
                y = model.soft(z)
                decoded = model.decode(z + noise) if model.has_decoder else None
            self.attacker.requires_grad_(True)
            delta = self.attacker(x)
            decoded_adv = model.decode(z + delta + noise) if model.has_decoder else None
            y_adv = model.soft(z + delta)
            loss, _ = attack_loss(decoded, decoded_adv, y, y_adv, delta, self.config.overlap)
            self.inner.zero_grad(set_to_none=True)
            loss.backward()
            self.inner.step()
            self.attacker.requires_grad_(False)

    def term(self, model: Model, views: Views, state: dict[str, Tensor]) -> Loss:
        """What the model is asked to do at the attackers' points, and what it is to keep."""
        config, labels = self.config, state["start"][views.ids]
        images = self._attacked_images(model, views.clean, labels, state)
        with as_tested(model):
            z = model.embed(views.clean)
            y = model.soft(z).detach()
            points = self._attacked_embeddings(model, views.clean, z, labels, state)
            points |= {} if images is None else {"pixels": model.embed(images)}
            scores = {name: model.scores(point).float() for name, point in points.items()}
            kl = sum(consistency(y, model.soft(point)) for point in points.values())
        margin = sum(F.cross_entropy(s, labels) for s in scores.values())
        like = likeness(z, state["z"][views.ids], labels, model.clusters)
        parts = {"consistency": kl / len(points), "margin": margin / len(points), "like": like}
        total = (
            config.weight_kl * parts["consistency"]
            + config.weight_margin * parts["margin"]
            + config.weight_like * like
        )
        moved = {f"moved_{n}": (s.argmax(1) != labels).float().mean() for n, s in scores.items()}
        return Loss(total, parts | moved)

    def _attacked_images(
        self, model: Model, x: Tensor, labels: Tensor, state: dict[str, Tensor]
    ) -> Tensor | None:
        config = self.config
        if not config.eps:
            return None
        eps = config.eps * state["share"]
        with as_tested(model, frozen=True):
            return pgd(model.forward, x, labels, eps, config.norm, config.steps, bounded=True)

    def _attacked_embeddings(
        self, model: Model, x: Tensor, z: Tensor, labels: Tensor, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        config, z = self.config, z.float()
        if not config.rho:
            return {}
        if len(labels.unique()) < 2:  # a batch of one cluster has no R
            return {"embedding": z, "learned": z}
        unit = embedding_radius(z, labels)
        here, length = z.detach(), config.rho * state["share"] * unit.detach()
        with as_tested(model, frozen=True):
            worst = pgd(model.scores, here, labels, length, "l2", config.steps, bounded=False)
            learned = lengthen(self.attacker(x).float(), length)
        # the directions are constants: the encoder is not asked to steer the attackers
        growth = unit / unit.detach()
        return {"embedding": z + growth * (worst - here), "learned": z + growth * learned}


def consistency(y: Float[Tensor, "n k"], y_adv: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """KL(y || y'), the mean over samples."""
    y, y_adv = y.float(), y_adv.float()
    return (torch.xlogy(y, y) - y * y_adv.clamp_min(1e-30).log()).sum(1).mean()


def likeness(
    z: Float[Tensor, "n d"],
    start: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    clusters: int,
) -> Float[Tensor, ""]:
    """How far the distances within each cluster have lost their proportions.

    It is the mean over pairs of one cluster of (d_ij / mean d - d0_ij / mean d0)^2, the means being
    that cluster's.

    0 where every cluster was only moved, turned or scaled, so that shrinking costs nothing and
    neighbours stay neighbours. 0 also where no two samples share a cluster.
    """
    with torch.autocast(z.device.type, enabled=False):  # squares cancel in half precision
        own = F.one_hot(labels, clusters).float()
        pairs = (own @ own.T).fill_diagonal_(0)
        now, then = (_proportions(points.float(), own, pairs) for points in (z, start))
        return ((now - then).square() * pairs).sum() / pairs.sum().clamp_min(1)


def _proportions(z: Tensor, own: Tensor, pairs: Tensor) -> Tensor:
    # from squares, as cdist's gradient at 0 is not a number; 1e-12 keeps the root's finite
    z = z - z.mean(0)
    norms = z.square().sum(1)
    squares = (norms[:, None] + norms[None] - 2 * z @ z.T).clamp_min(0)
    distance = (squares + 1e-12).sqrt() * pairs
    mean = (own.T @ distance).sum(1) / (own.T @ pairs).sum(1).clamp_min(1)
    return distance / (own @ mean).clamp_min(1e-12)[:, None]
