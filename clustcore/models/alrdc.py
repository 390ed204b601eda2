"""ALRDC's clustering network.

Yang et al., "Adversarial Learning for Robust Deep Clustering", NeurIPS 2020; the authors' code:
github.com/xdxuyang/ALRDC.

A variational autoencoder whose prior is one Gaussian a cluster, and a network p that reads the
assignment off the mean of the code. z here is that mean, mu. The paper does not say how it begins:
the stages before L_clu are ours, and each is a field of the config.
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
from clustcore.models.blocks import Normalise


@dataclass(frozen=True, kw_only=True)
class ALRDCConfig(Config):
    """The network's sizes, the weights of its losses, and the stages."""

    clusters: int = setting(10, "clusters", range=(2, 256))
    input_shape: tuple[int, int, int] = setting((1, 28, 28), "channels, height, width")
    dim: int = setting(64, "dimensions of z", range=(2, 512))
    width: int = setting(32, "channels of the first layer", range=(2, 256))
    p_hidden: int = setting(1024, "units of the clustering network", range=(2, 4096), rare=True)
    autoencode: int = setting(
        5, "epochs of the autoencoder alone, before clusters are sought", range=(1, 1000)
    )
    taught: int = setting(
        0, "epochs with the teacher's clusters beside L_clu, between the two", range=(0, 1000)
    )
    cluster: int = setting(10, "epochs with the model's own clusters beside L_clu", range=(1, 1000))
    weight_x: float = setting(2.5, "weight of the reconstruction", range=(0, 1000), rare=True)
    weight_t: float = setting(10.0, "weight of the cross-entropy to given clusters", range=(0, 1e4))
    seed: int = setting(0, "seed of k-means", range=(0, 2**31 - 1), rare=True)


class ALRDC(Model[ALRDCConfig]):
    """Encoder f, decoder g, clustering network p on mu, and the clusters' means m."""

    Config = ALRDCConfig
    has_decoder = True

    def __init__(self, config: ALRDCConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        channels, height, width = config.input_shape
        self.input_shape, self.clusters = (channels, height, width), config.clusters
        if height % 4 or width % 4:
            raise ValueError(
                f"alrdc: input_shape: expected sides divisible by 4, got {height} x {width}"
            )
        w, h, small = config.width, config.p_hidden, (height // 4, width // 4)
        flat = 2 * w * small[0] * small[1]
        self.normalise = Normalise(channels)
        self.encoder = nn.Sequential(
            *_down(channels, w, 2), *_down(w, w, 1), *_down(w, 2 * w, 2), *_down(2 * w, 2 * w, 1)
        )
        self.mean, self.log_variances = nn.Linear(flat, config.dim), nn.Linear(flat, config.dim)
        self.widen = nn.Sequential(nn.Linear(config.dim, flat), nn.Unflatten(1, (2 * w, *small)))
        self.decoder = nn.Sequential(
            *_up(2 * w, 2 * w, 1),
            *_up(2 * w, 2 * w, 2),
            *_up(2 * w, w, 1),
            *_up(w, w, 2),
            nn.ConvTranspose2d(w, channels, 3, 1, 1),
        )
        self.assign = nn.Sequential(
            nn.Linear(config.dim, h),
            nn.ReLU(inplace=True),
            nn.Linear(h, h),
            nn.ReLU(inplace=True),
            nn.Linear(h, h // 2),
            nn.ReLU(inplace=True),
            nn.Linear(h // 2, config.clusters),
        )
        self.means = nn.Parameter(torch.zeros(config.clusters, config.dim))
        self.apply(_initialise)

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """mu, the mean of the code."""
        return self.mean(self._features(x))

    def log_variance(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """The logarithm of the code's variance, log s^2."""
        return self.log_variances(self._features(x))

    def noise_scale(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """s, the standard deviation of the code."""
        return (self.log_variance(x) / 2).exp()

    def scores(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Logits of the clustering network p."""
        return self.assign(z)

    def decode(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """The decoder g, its output squeezed into [0, 1]."""
        wide = self.widen(z).contiguous(memory_format=torch.channels_last)
        return self.decoder(wide).float().sigmoid()

    def stages(self) -> list[Stage]:
        """The autoencoder, then L_clu with the teacher's clusters, then with the model's own."""
        config = self.config
        stages = [
            Stage("autoencode", config.autoencode, self._autoencode, clusters=False),
            Stage("taught", config.taught, self._guided, self._follow),
            Stage("cluster", config.cluster, self._guided, self._settle, lr=0.5),
        ]
        return [stage for stage in stages if stage.epochs > 0]

    def upkeep(self) -> Stage:
        """L_clu with the clusters given: what a defence adds its own terms to.

        Departure: the paper's defence adds them to L_clu alone, under which a fifth of the samples
        of Fashion-MNIST change cluster within 50 steps; `weight_t` = 0 is the paper's.
        """
        return Stage("upkeep", 1, self._guided, _given, lr=0.5)

    def _features(self, x: Tensor) -> Tensor:
        x = self.normalise(x).contiguous(memory_format=torch.channels_last)
        return self.encoder(x).flatten(1)

    def _pass(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mu, log s^2, and the image decoded from a draw of the code."""
        features = self._features(x)
        mu, log_variance = self.mean(features).float(), self.log_variances(features).float()
        noise = torch.randn(mu.shape).to(mu.device)  # on the CPU: the same on every device
        return mu, log_variance, self.decode(mu + (log_variance / 2).exp() * noise)

    def _autoencode(self, views: Views, state: dict[str, Tensor]) -> Loss:
        mu, log_variance, decoded = self._pass(views.first)
        y = torch.full((len(mu), self.clusters), 1 / self.clusters, device=mu.device)
        parts = elbo(views.clean, decoded, mu, log_variance, torch.zeros_like(self.means), y)
        parts.pop("entropy")  # of a constant
        return Loss(self.config.weight_x * parts["reconstruction"] + parts["kl"], parts)

    def _guided(self, views: Views, state: dict[str, Tensor]) -> Loss:
        mu, log_variance, decoded = self._pass(views.first)
        first, second = self.scores(mu).float(), self(views.second).float()
        parts = elbo(views.clean, decoded, mu, log_variance, self.means, first.softmax(1))
        clusters = state["clusters"][views.ids]
        guide = (F.cross_entropy(first, clusters) + F.cross_entropy(second, clusters)) / 2
        total = self.config.weight_x * parts["reconstruction"] + parts["kl"] + parts["entropy"]
        return Loss(total + self.config.weight_t * guide, parts | {"guide": guide})

    @torch.no_grad()
    def _follow(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if data.teacher is None:
            raise ValueError(
                "alrdc: stage 'taught': expected a teacher, got none; `python -m clustcore teach` "
                "makes one, or set taught to 0"
            )
        if epoch == 0:
            self._centre(self._embed_all(data), data.teacher)
        return {"clusters": data.teacher}

    @torch.no_grad()
    def _settle(self, data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        # clusters are taken once, when the stage begins: taken anew each epoch they only drift
        if state:
            return state
        if self.config.taught:
            return self._begin_clusters(data, epoch, state)
        z = self._embed_all(data)
        clusters = self._k_means(z)
        self._centre(z, clusters)
        return {"clusters": clusters}

    @torch.no_grad()
    def _begin_clusters(
        self, data: TrainData, epoch: int, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        if state:
            return state
        return {"clusters": everywhere(self, data, lambda x: self(x).argmax(1))}

    def _embed_all(self, data: TrainData) -> Tensor:
        return everywhere(self, data, self.embed).float()

    def _centre(self, z: Tensor, clusters: Tensor) -> None:
        self.means.copy_(torch.stack([z[clusters == k].mean(0) for k in range(self.clusters)]))

    def _k_means(self, z: Tensor) -> Tensor:
        from sklearn.cluster import KMeans

        points = z.cpu().numpy()
        if len(np.unique(points.round(6), axis=0)) < self.clusters:
            raise ValueError(
                f"alrdc: k-means: expected at least {self.clusters} different embeddings, got "
                "fewer: the autoencoder has collapsed"
            )
        found = KMeans(self.clusters, n_init=20, random_state=self.config.seed).fit(points)
        return torch.from_numpy(found.labels_).long().to(z.device)


def _given(data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"clusters": data.teacher}


def elbo(
    x: Float[Tensor, "n c h w"],
    decoded: Float[Tensor, "n c h w"],
    mu: Float[Tensor, "n d"],
    log_variance: Float[Tensor, "n d"],
    means: Float[Tensor, "k d"],
    y: Float[Tensor, "n k"],
) -> dict[str, Float[Tensor, ""]]:
    """The three terms of L_clu, unweighted: sums over pixels or dimensions, means over samples.

    reconstruction = E ||x - decoded||^2; kl = E sum_k y_k KL(N(mu, s^2) || N(m_k, 1)); entropy = E
    sum_k y_k log(y_k + 1e-7), which is minus the assignment's entropy. The code's objective is 2.5
    reconstruction + kl + entropy.
    """
    spread = (log_variance.exp() - 1 - log_variance).sum(1) / 2
    distance = (mu[:, None] - means[None]).square().sum(2) / 2
    return {
        "reconstruction": (x - decoded).square().flatten(1).sum(1).mean(),
        "kl": (spread + (y * distance).sum(1)).mean(),
        "entropy": (y * (y + 1e-7).log()).sum(1).mean(),
    }


def _initialise(layer: nn.Module) -> None:
    # Glorot's, as in the code's framework: torch's own lets the signal fade on the way, and without
    # batch statistics nothing brings it back
    if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


def _down(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.2, inplace=True)


def _up(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, nn.Module]:
    up = nn.ConvTranspose2d(inputs, outputs, 3, stride, 1, output_padding=stride - 1)
    return up, nn.LeakyReLU(0.2, inplace=True)
