"""DEC: deep embedded clustering on a convolutional autoencoder.

Xie et al., ICML 2016, arXiv 1511.06335, with augmentation (Guo et al., DEC-DA, ACML 2018) and the
reconstruction loss kept (Guo et al., IDEC, IJCAI 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clustcore.config import Config, setting
from clustcore.models.base import Loss, Model, Stage, TrainData, Views, everywhere
from clustcore.models.blocks import Normalise, conv


@dataclass(frozen=True, kw_only=True)
class DECConfig(Config):
    """The autoencoder, and the two stages of DEC."""

    clusters: int = setting(10, "clusters", range=(2, 256))
    input_shape: tuple[int, int, int] = setting((1, 28, 28), "channels, height, width")
    dim: int = setting(10, "dimensions of z", range=(2, 512))
    width: int = setting(16, "channels of the first layer", range=(2, 256))
    autoencode: int = setting(
        10, "epochs of reconstruction before clusters are sought", range=(1, 1000)
    )
    taught: int = setting(
        0, "epochs towards the teacher's clusters, between the two", range=(0, 1000)
    )
    cluster: int = setting(10, "epochs of DEC's objective", range=(1, 1000))
    weight_c: float = setting(0.1, "gamma, the weight of KL(P || Q)", range=(0, 100))
    seed: int = setting(0, "seed of k-means", range=(0, 2**31 - 1), rare=True)


class DEC(Model[DECConfig]):
    """Convolutional autoencoder; soft assignment by Student's t kernel around learned centroids.

    Scores are minus squared distances, so that attacks see no kernel: the argmax is the same.
    """

    Config = DECConfig
    has_decoder = True

    def __init__(self, config: DECConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        channels, height, width = config.input_shape
        self.input_shape, self.clusters = (channels, height, width), config.clusters
        if height % 4 or width % 4:
            raise ValueError(
                f"dec: input_shape: expected sides divisible by 4, got {height} x {width}"
            )
        w, small = config.width, (height // 4, width // 4)
        self.normalise = Normalise(channels)
        self.encoder = nn.Sequential(
            conv(channels, w, 2),
            conv(w, 2 * w, 2),
            conv(2 * w, 4 * w, 1),
            nn.Flatten(),
            nn.Linear(4 * w * small[0] * small[1], config.dim),
            # z of mean 0 and variance 1: else the decoder uses a common shift of z as its bias,
            # the spread of z is lost beside it, and the kernel cannot tell clusters apart
            nn.BatchNorm1d(config.dim, affine=False),
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.dim, 4 * w * small[0] * small[1]),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (4 * w, *small)),
            conv(4 * w, 2 * w, 1),
            nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(w, channels, 4, 2, 1),
        )
        self.centroids = nn.Parameter(torch.zeros(config.clusters, config.dim))

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """The encoder."""
        return self.encoder(self.normalise(x))

    def scores(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Minus the squared distance to each centroid."""
        return -(z[:, None] - self.centroids[None]).square().sum(2)

    def soft(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Student's t kernel with one degree of freedom (DEC, eq. 1)."""
        q = 1 / (1 - self.scores(z).float())
        return q / q.sum(1, keepdim=True)

    def decode(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """The decoder, its output squeezed into [0, 1]."""
        return self.decoder(z).float().sigmoid()

    def head(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
        """-||z - m||^2 = 2 m.z - ||m||^2 - ||z||^2, and the last term is common to all clusters."""
        return 2 * self.centroids, -self.centroids.square().sum(1)

    def stages(self) -> list[Stage]:
        """Reconstruction, then DEC's objective with reconstruction kept on."""
        config = self.config
        stages = [
            Stage("autoencode", config.autoencode, self._reconstruct, clusters=False),
            Stage("taught", config.taught, self._cluster, self._follow, lr=0.5),
            Stage("cluster", config.cluster, self._cluster, self._aim, lr=0.5),
        ]
        return [stage for stage in stages if stage.epochs > 0]

    def upkeep(self) -> Stage:
        """DEC's objective with the centroids it has."""
        return Stage("upkeep", 1, self._cluster, self._own_targets, lr=0.5)

    def _reconstruct(self, views: Views, state: dict[str, Tensor]) -> Loss:
        loss = _pixel_loss(self.decode(self.embed(views.first)), views.clean)
        return Loss(loss, {"reconstruction": loss})

    def _cluster(self, views: Views, state: dict[str, Tensor]) -> Loss:
        z = self.embed(views.first)
        p = state["targets"][views.ids]
        reconstruction = _pixel_loss(self.decode(z), views.clean)
        kl = divergence(p, self.soft(z))
        total = reconstruction + self.config.weight_c * kl
        return Loss(total, {"reconstruction": reconstruction, "kl": kl})

    @torch.no_grad()
    def _follow(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if data.teacher is None:
            raise ValueError(
                "dec: stage 'taught': expected a teacher, got none; `python -m clustcore teach` "
                "makes one, or set taught to 0"
            )
        if epoch == 0:
            z = self._embed_all(data)
            means = [z[data.teacher == k].mean(0) for k in range(self.clusters)]
            self.centroids.copy_(torch.stack(means))
        return {"targets": F.one_hot(data.teacher, self.clusters).float()}

    @torch.no_grad()
    def _aim(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if epoch == 0 and self.config.taught == 0:
            self.centroids.copy_(self._k_means(self._embed_all(data)))
        return self._own_targets(data, epoch, state)

    @torch.no_grad()
    def _own_targets(
        self, data: TrainData, epoch: int, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        # targets come from the clean images, the views are pulled towards them (DEC-DA)
        return {"targets": sharpen(self.soft(self._embed_all(data)))}

    def _embed_all(self, data: TrainData) -> Tensor:
        return everywhere(self, data, self.embed).float()

    def _k_means(self, z: Tensor) -> Tensor:
        from sklearn.cluster import KMeans

        points = z.cpu().numpy()
        if len(np.unique(points.round(6), axis=0)) < self.clusters:
            raise ValueError(
                f"dec: k-means: expected at least {self.clusters} different embeddings, got fewer: "
                "the autoencoder has collapsed"
            )
        found = KMeans(self.clusters, n_init=20, random_state=self.config.seed).fit(points)
        return torch.from_numpy(found.cluster_centers_).to(z)


def sharpen(q: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """The target distribution P (DEC, eq. 3).

    Confident assignments weigh more, large clusters less.
    """
    weight = q.square() / q.sum(0)
    return weight / weight.sum(1, keepdim=True)


def divergence(p: Float[Tensor, "n k"], q: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """KL(P || Q), the mean over samples (DEC, eq. 2; the paper sums, which only rescales gamma)."""
    return F.kl_div(q.clamp_min(1e-8).log(), p, reduction="batchmean")


def _pixel_loss(decoded: Tensor, x: Tensor) -> Tensor:
    # the clean image is asked for, whatever the view: the embedding learns to ignore the
    # augmentation
    return (decoded - x).square().mean()
