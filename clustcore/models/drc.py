"""DRC: deep robust clustering by contrastive learning (Zhong et al., arXiv 2008.03030).

z here is the pooled backbone feature and the scores are the one linear layer: the paper's z is our
s. No official code exists; where the paper is silent, the choices are those of the public re-
implementations, and each is a field of the config.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clustcore.models.base import Loss, Model, Stage, TrainData, Views
from clustcore.models.blocks import Normalise, SmallCNN
from clustcore.types import Config, setting


@dataclass(frozen=True, kw_only=True)
class DRCConfig(Config):
    """DRC's network, losses and stages.

    With `taught` and `relabelled` at 0 epochs it is DRC alone.
    """

    clusters: int = setting(10, "clusters", range=(2, 256))
    input_shape: tuple[int, int, int] = setting((1, 28, 28), "channels, height, width")
    width: int = setting(
        16, "channels of the first layer; z has four times as many", range=(2, 256)
    )
    tau_f: float = setting(0.5, "temperature of L_AF", range=(0.01, 10), rare=True)
    tau_p: float = setting(1.0, "temperature of L_AP", range=(0.01, 10), rare=True)
    weight_r: float = setting(0.5, "lambda, the weight of the regulariser", range=(0, 100))
    normalize: bool = setting(True, "cosine similarities; off: raw dot products, the literal form")
    regulariser: str = setting("entropy", "form of L_CR", choices=("entropy", "square"))
    taught: int = setting(
        0, "epochs with the teacher's clusters beside DRC's losses", range=(0, 1000)
    )
    relabelled: int = setting(
        0, "epochs with the model's own clusters beside DRC's losses", range=(0, 1000)
    )
    alone: int = setting(
        20, "epochs of DRC's losses alone, before any other stage", range=(0, 2000)
    )
    weight_t: float = setting(1.0, "weight of the cross-entropy to given clusters", range=(0, 100))


class DRC(Model):
    """Backbone, one linear layer; L = L_AF + L_AP + lambda L_CR in every stage."""

    Config = DRCConfig

    def __init__(self, config: DRCConfig) -> None:
        super().__init__()
        self.config = config
        self.input_shape, self.clusters = tuple(config.input_shape), config.clusters
        self.normalise = Normalise(self.input_shape[0])
        self.backbone = SmallCNN(self.input_shape[0], config.width)
        self.dim = self.backbone.dim
        self.assign = nn.Linear(self.dim, config.clusters)

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Pooled backbone feature."""
        x = self.normalise(x).contiguous(memory_format=torch.channels_last)
        return self.backbone(x)

    def scores(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The assignment feature (AF): K logits."""
        return self.assign(z)

    def head(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
        """The linear layer itself."""
        return self.assign.weight, self.assign.bias

    def stages(self) -> list[Stage]:
        """DRC alone, then with a teacher's clusters, then with its own: whichever have epochs."""
        config = self.config
        stages = [
            Stage("drc", config.alone, self._loss),
            Stage("taught", config.taught, self._guided, self._ask_teacher),
            Stage("relabelled", config.relabelled, self._guided, self._ask_self, lr=0.5),
        ]
        return [stage for stage in stages if stage.epochs > 0]

    def upkeep(self) -> Stage:
        """DRC's losses beside given clusters: alone, they would let the clusters drift."""
        return Stage("upkeep", 1, self._guided, _given, lr=0.5)

    def _loss(self, views: Views, state: dict[str, Tensor]) -> Loss:
        first, second = self(views.first), self(views.second)
        return self._drc(first, second)

    def _guided(self, views: Views, state: dict[str, Tensor]) -> Loss:
        first, second = self(views.first), self(views.second)
        loss = self._drc(first, second)
        clusters = state["clusters"][views.ids]
        guide = (
            F.cross_entropy(first.float(), clusters) + F.cross_entropy(second.float(), clusters)
        ) / 2
        return Loss(loss.total + self.config.weight_t * guide, loss.parts | {"guide": guide})

    def _drc(self, first: Tensor, second: Tensor) -> Loss:
        config = self.config
        with torch.autocast(first.device.type, enabled=False):  # the losses stay in float32
            first, second = first.float(), second.float()
            p, q = first.softmax(1), second.softmax(1)
            parts = {
                "af": contrast(first, second, config.tau_f, config.normalize),
                "ap": contrast(p.T, q.T, config.tau_p, config.normalize),
                "cr": balance(p, config.regulariser),
            }
        return Loss(parts["af"] + parts["ap"] + config.weight_r * parts["cr"], parts)

    def _ask_teacher(
        self, data: TrainData, epoch: int, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        if data.teacher is None:
            raise ValueError(
                "drc: stage 'taught': expected a teacher, got none; `python -m clustcore teach` "
                "makes one, or set taught to 0"
            )
        return {"clusters": data.teacher}

    @torch.no_grad()
    def _ask_self(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        # labels are taken once, when the stage begins: taken anew each epoch they only drift
        if state:
            return state
        training = self.training
        self.eval()
        clusters = torch.cat([self(x.float() / 255).argmax(1) for x in data.x.split(1000)])
        self.train(training)
        return {"clusters": clusters}


def contrast(
    anchor: Float[Tensor, "n d"],
    other: Float[Tensor, "n d"],
    tau: float,
    normalize: bool,
) -> Float[Tensor, ""]:
    """Row i of `anchor` against all rows of `other`, its own counterpart being the positive.

    With rows of Z this is the paper's L_AF (N-way), with columns of P its L_AP (K-way). One-
    directional, as published. Departure: `normalize` uses cosine similarity, as the same authors'
    next paper does; raw dot products saturate L_AP, whose logits reach N/K.
    """
    if normalize:
        anchor, other = F.normalize(anchor, dim=1), F.normalize(other, dim=1)
    logits = anchor @ other.T / tau
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def balance(p: Float[Tensor, "n k"], form: str) -> Float[Tensor, ""]:
    """L_CR, least when clusters are balanced.

    `square` is the paper's (1/N) sum_k (sum_i p_ik)^2, which grows with the batch; `entropy` is ln
    K - H(mean p), the form of PICA, GCC and CC, which does not.
    """
    if form == "square":
        return p.sum(0).square().sum() / len(p)
    mean = p.mean(0)
    return math.log(p.shape[1]) + (mean * mean.clamp_min(1e-12).log()).sum()


def _given(data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"clusters": data.teacher}
