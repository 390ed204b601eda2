"""DRC: deep robust clustering by contrastive learning (Zhong et al., arXiv 2008.03030).

z here is the pooled backbone feature and the scores are the one linear layer: the paper's z is our
s. No official code exists; where the paper is silent, the choices are those of the public re-
implementations, and each is a field of the config. What stands in no paper of DRC's authors is off
unless the config asks for it: see `drc_stages`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clustcore.config import Config, setting
from clustcore.distributed import gather
from clustcore.models import drc_stages as extra
from clustcore.models.base import Loss, Model, Stage, TrainData, Views, everywhere
from clustcore.models.blocks import Normalise, backbone


@dataclass(frozen=True, kw_only=True)
class DRCConfig(Config):
    """DRC's network, losses and stages.

    With the defaults it is DRC alone.
    """

    clusters: int = setting(10, "clusters", range=(2, 256))
    input_shape: tuple[int, int, int] = setting((1, 28, 28), "channels, height, width")
    backbone: str = setting(
        "small",
        "network below the linear layer; narrow: for colour images of 32 to 96 pixels",
        choices=("small", "narrow", "resnet18", "resnet34"),
    )
    width: int = setting(
        16,
        "channels of the small backbone's first layer; z has four times as many",
        range=(2, 256),
    )
    norm: str = setting(
        "batch",
        "normalisation; group: no sample sees another",
        choices=("batch", "group"),
        rare=True,
    )
    tau_f: float = setting(0.5, "temperature of L_AF", range=(0.01, 10), rare=True)
    tau_p: float = setting(1.0, "temperature of L_AP", range=(0.01, 10), rare=True)
    weight_r: float = setting(
        0.5, "lambda, the weight of the regulariser", range=(0, 100), rare=True
    )
    normalize: bool = setting(
        True, "cosine similarities; off: raw dot products, the literal form", rare=True
    )
    regulariser: str = setting("entropy", "form of L_CR", choices=("entropy", "square"), rare=True)
    views: int = setting(2, "views of an image; each further one is a pair more", range=(2, 8))
    ema: float = setting(
        0.0,
        "decay of a slow copy of the model that sees all views but the first (0: none)",
        range=(0, 0.9999),
        rare=True,
    )
    neighbours: int = setting(
        0,
        "nearest neighbours whose assignment a sample is asked to share (0: none)",
        range=(0, 50),
        rare=True,
    )
    weight_n: float = setting(1.0, "weight of the neighbours' term", range=(0, 100), rare=True)
    features: int = setting(
        0,
        "epochs that learn features first: images told apart (NT-Xent) beside DRC's losses",
        range=(0, 5000),
    )
    small_views: float = setting(
        0.0,
        "share of these epochs whose views have three quarters of the images' sides, which is "
        "nearly twice as fast; the others have all of it",
        range=(0, 1),
        rare=True,
    )
    tau_i: float = setting(
        0.2, "temperature of NT-Xent, between images", range=(0.01, 10), rare=True
    )
    weight_i: float = setting(1.0, "weight of NT-Xent", range=(0, 100), rare=True)
    projection: int = setting(
        128,
        "dimensions that NT-Xent compares images in, two layers above z",
        range=(2, 1024),
        rare=True,
    )
    alone: int = setting(
        20, "epochs of DRC's losses alone, before any other stage", range=(0, 2000)
    )
    heads: str = setting(
        "none",
        "fits the linear layer anew to the features as they are: by SCAN's loss, by spherical "
        "k-means, or to a teacher's clusters",
        choices=("none", "scan", "kmeans", "teacher"),
    )
    head_starts: int = setting(
        10, "heads, or starts of k-means, of which the best stays", range=(1, 1000), rare=True
    )
    head_steps: int = setting(5000, "steps that fit heads", range=(1, 1_000_000), rare=True)
    head_neighbours: int = setting(
        20, "neighbours of an image that SCAN's loss asks the same of", range=(1, 1000), rare=True
    )
    weight_e: float = setting(
        5.0, "weight of the balance of clusters in SCAN's loss", range=(0, 100), rare=True
    )
    taught: int = setting(
        0, "epochs with the teacher's clusters beside DRC's losses", range=(0, 1000)
    )
    relabelled: int = setting(
        0, "epochs with the model's own clusters beside DRC's losses", range=(0, 1000)
    )
    selflabel: int = setting(
        0,
        "epochs in which what the model is sure of on an image labels its views",
        range=(0, 1000),
    )
    confident: float = setting(
        0.95, "soft assignment from which it is sure", range=(0.5, 1), rare=True
    )
    surest: int = setting(
        0,
        "epochs in which the surest images of each cluster label a stronger view of themselves",
        range=(0, 5000),
    )
    surest_from: float = setting(
        0.5, "share of each cluster that counts at first", range=(0.01, 1), rare=True
    )
    surest_to: float = setting(0.8, "and in the last epoch", range=(0.01, 1), rare=True)
    surest_ema: float = setting(
        0.99, "decay of the averaged copy that says who is sure", range=(0, 0.9999), rare=True
    )
    strong_crop: float = setting(
        0.1, "least share of the area that the stronger view keeps", range=(0, 1), rare=True
    )
    strong_cutout: float = setting(
        0.5, "side of the square that it hides, of the image's side", range=(0, 1), rare=True
    )
    weight_t: float = setting(
        1.0, "weight of the cross-entropy to given clusters", range=(0, 100), rare=True
    )


class DRC(Model[DRCConfig]):
    """Backbone, one linear layer; L = L_AF + L_AP + lambda L_CR in every stage."""

    Config = DRCConfig
    helpers = ("projector.",)

    def __init__(self, config: DRCConfig) -> None:
        super().__init__()
        self.config = config
        channels, height, width = config.input_shape
        self.input_shape, self.clusters = (channels, height, width), config.clusters
        self.views = config.views
        self.normalise = Normalise(channels)
        self.backbone = backbone(config.backbone, self.input_shape, config.width, config.norm)
        self.dim = self.backbone.dim
        self.assign = nn.Linear(self.dim, config.clusters)
        if config.features:
            self.projector = extra.Projector(self.dim, config.projection)

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
        """The stages that are asked for, in order.

        Features first, DRC alone, the linear layer fitted anew, then a teacher's clusters, its own
        taken once, what it is sure of, the surest of each cluster.
        """
        config = self.config
        strong = {"crop": config.strong_crop, "cutout": config.strong_cutout}
        stages = [
            Stage(
                "features",
                config.features,
                self._told_apart,
                self._near if config.neighbours else None,
                clusters=False,
                scale=self._scale,
            ),
            Stage("drc", config.alone, self._loss, self._begin),
            Stage("heads", int(config.heads != "none"), None, self._fit),
            Stage("taught", config.taught, self._guided, self._ask_teacher),
            Stage("relabelled", config.relabelled, self._guided, self._ask_self, lr=0.5),
            Stage("selflabel", config.selflabel, self._sure, self._begin, lr=0.5),
            Stage("surest", config.surest, self._surest, self._ask_mean, lr=0.2, strong=strong),
        ]
        return [stage for stage in stages if stage.epochs > 0]

    def check(self, data: TrainData) -> None:
        """Whether there are images enough, and a teacher where one is asked for.

        There have to be more images than neighbours, and as many as clusters.
        """
        super().check(data)
        config, n = self.config, len(data)
        if config.heads == "teacher":
            self._told(data, "heads")
        scan = config.heads == "scan"
        for name in ["neighbours"] * bool(config.neighbours) + ["head_neighbours"] * scan:
            if n <= (k := getattr(config, name)):
                raise ValueError(f"drc: {name}: expected fewer than the {n} images, got {k}")
        if n < config.clusters:
            raise ValueError(f"drc: clusters: expected at most the {n} images, got {self.clusters}")

    def upkeep(self) -> Stage:
        """DRC's losses beside given clusters: alone, they would let the clusters drift."""
        return Stage("upkeep", 1, self._guided, _given, lr=0.5)

    def _loss(self, views: Views, state: dict[str, Tensor]) -> Loss:
        return self._drc(views, state)[0]

    def _guided(self, views: Views, state: dict[str, Tensor]) -> Loss:
        loss, scores = self._drc(views, state)
        clusters = state["clusters"][views.ids]
        guide = sum(F.cross_entropy(s, clusters) for s in scores) / len(scores)
        return Loss(loss.total + self.config.weight_t * guide, loss.parts | {"guide": guide})

    def _sure(self, views: Views, state: dict[str, Tensor]) -> Loss:
        loss, scores = self._drc(views, state)
        told, weights = extra.sure_labels(self, views.clean, self.config.confident)
        own = sum(extra.weighted(s, told, weights) for s in scores) / len(scores)
        parts = loss.parts | {"sure": own, "share": (weights > 0).float().mean()}
        return Loss(loss.total + self.config.weight_t * own, parts)

    def _scale(self, epoch: int) -> float:
        return 0.75 if epoch < self.config.small_views * self.config.features else 1.0

    def _told_apart(self, views: Views, state: dict[str, Tensor]) -> Loss:
        every = [self.embed(x) for x in (views.first, views.second, *views.more)]
        anchor, *seen = (self.scores(z).float() for z in every)
        loss = self._whole(anchor, seen, views.ids, state)
        projected = [gather(self.projector(z).float()) for z in every]
        with torch.autocast(anchor.device.type, enabled=False):
            apart = extra.nt_xent(projected, self.config.tau_i)
        return Loss(loss.total + self.config.weight_i * apart, loss.parts | {"apart": apart})

    def _surest(self, views: Views, state: dict[str, Tensor]) -> Loss:
        loss, _ = self._drc(views, state)
        told, weights = state["clusters"][views.ids], state["weights"][views.ids]
        own = extra.weighted(self(views.strong).float(), told, weights)
        extra.follow(self, state, self.config.surest_ema)
        parts = loss.parts | {"surest": own, "share": (weights > 0).float().mean()}
        return Loss(loss.total + self.config.weight_t * own, parts)

    def _drc(self, views: Views, state: dict[str, Tensor]) -> tuple[Loss, list[Tensor]]:
        # the loss of the whole batch on every rank, and this rank's scores of each view
        others = (views.second, *views.more)
        anchor = self(views.first).float()
        if extra.has_slow(state):
            seen, scores = extra.slow_scores(self, state, others, self.config.ema), [anchor]
        else:
            seen = [self(x).float() for x in others]
            scores = [anchor, *seen]
        return self._whole(anchor, seen, views.ids, state), scores

    def _whole(
        self, anchor: Tensor, seen: list[Tensor], ids: Tensor, state: dict[str, Tensor]
    ) -> Loss:
        config = self.config
        with torch.autocast(anchor.device.type, enabled=False):  # the losses stay in float32
            first = gather(anchor)
            p = first.softmax(1)
            parts = {"af": 0.0, "ap": 0.0, "cr": balance(p, config.regulariser)}
            for s in seen:
                second = gather(s)
                q = second.softmax(1)
                af = contrast(first, second, config.tau_f, config.normalize)
                ap = contrast(p.T, q.T, config.tau_p, config.normalize)
                parts["af"] = parts["af"] + af / len(seen)
                parts["ap"] = parts["ap"] + ap / len(seen)
            total = parts["af"] + parts["ap"] + config.weight_r * parts["cr"]
            if "near" in state:
                parts["near"] = extra.agree(anchor, state["near"][ids])
                total = total + config.weight_n * parts["near"]
        return Loss(total, parts)

    def _begin(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        slow = extra.begin_slow(self, state) if self.config.ema else {}
        return slow | self._near(data, epoch, state)

    def _near(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        k = self.config.neighbours
        return extra.begin_near(self, data, k) if k else {}

    @torch.no_grad()
    def _fit(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        config, z = self.config, everywhere(self, data, self.embed).float()
        seed, tell = data.seed, data.on_step
        if config.heads == "scan":
            weight, bias, found = extra.fit_scan(
                z,
                self.clusters,
                heads=config.head_starts,
                neighbours=config.head_neighbours,
                steps=config.head_steps,
                weight=config.weight_e,
                seed=seed,
                on_step=tell,
            )
            numbers = {"loss": found.min(), "worst": found.max()}
        elif config.heads == "kmeans":
            weight, cosine = extra.spherical_k_means(
                z, self.clusters, starts=config.head_starts, seed=seed, on_step=tell
            )
            # scores are cosines at tau_f, as DRC's contrast compares them, for a z of mean length
            weight, bias = weight / (config.tau_f * z.norm(dim=1).mean()), torch.zeros(())
            numbers = {"loss": 1 - cosine}
        else:
            told = self._told(data, "heads")
            weight, bias, loss = extra.fit_labels(
                z, told, self.clusters, steps=config.head_steps, seed=seed, on_step=tell
            )
            numbers = {"loss": loss}
        self.assign.weight.copy_(weight)
        self.assign.bias.copy_(bias)
        return numbers

    def _ask_mean(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        config = self.config
        grown = epoch / max(1, config.surest - 1)
        share = config.surest_from + grown * (config.surest_to - config.surest_from)
        kept = self._begin(data, epoch, state) | extra.begin_mean(self, state)
        return kept | extra.surest(self, data, kept, share)

    def _ask_teacher(
        self, data: TrainData, epoch: int, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        return self._begin(data, epoch, state) | {"clusters": self._told(data, "taught")}

    def _told(self, data: TrainData, stage: str) -> Tensor:
        if data.teacher is None:
            raise ValueError(
                f"drc: stage {stage!r}: expected a teacher, got none; `python -m clustcore teach` "
                f"makes one, or set {stage} to {'0' if stage == 'taught' else 'another'}"
            )
        return data.teacher

    @torch.no_grad()
    def _ask_self(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        # labels are taken once, when the stage begins: taken anew each epoch they only drift
        clusters = state.get("clusters")
        if clusters is None:
            clusters = everywhere(self, data, lambda x: self(x).argmax(1))
        return self._begin(data, epoch, state) | {"clusters": clusters}


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
