"""ALRDC's defence as published: one attacker, learned before and frozen.

Yang et al., "Adversarial Learning for Robust Deep Clustering", NeurIPS 2020; the authors' code:
github.com/xdxuyang/ALRDC. An attacker learned anew undoes much of it; `alternating` is for that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clustcore.config import setting
from clustcore.defences.base import Defence, DefenceConfig
from clustcore.defences.inner import as_tested
from clustcore.models.base import Loss, Model, Views


@dataclass(frozen=True, kw_only=True)
class ALRDCDefenceConfig(DefenceConfig):
    """The weight and the discriminator."""

    weight: float = setting(2.5, "weight of M1 + M2", range=(0, 1e4), rare=True)
    units: int = setting(64, "units of the discriminator T", range=(2, 4096), rare=True)


@final
class ALRDCDefence(Defence[ALRDCDefenceConfig]):
    """L_def = L_clu + 2.5 (M1 + M2), the paper's loss.

    T tells which decoded image and assignment belong to which latent, across the attack, and the
    model helps it.

    M1 joins the attacked latent with the clean image and assignment, M2 the reverse. No gradient is
    stopped. Departures: in place of L_clu alone stands the model's upkeep, which for ALRDC is L_clu
    on augmented views beside the cross-entropy to the starting clusters (`weight_t`), without
    which the clusters drift. Without a decoder T sees no image, and where there is no variance the
    noise is 0.
    """

    name = "alrdc"
    Config = ALRDCDefenceConfig
    needs_attacker = True
    attacker: nn.Module  # or the base class has refused

    def _build(self, model: Model) -> None:
        pixels = math.prod(model.input_shape) if model.has_decoder else 0
        units = self.config.units
        self.discriminator = nn.Sequential(
            nn.Linear(model.dim + pixels + model.clusters, units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, 1),
        )

    def term(self, model: Model, views: Views, state: dict[str, Tensor]) -> Loss:
        """2.5 (M1 + M2); one draw of the noise is shared by the clean and the attacked pass."""
        x = views.clean
        with as_tested(model):
            z = model.embed(x)
            z_adv = z + self.attacker(x)
            scale = model.noise_scale(x)
            noise = 0 if scale is None else scale * torch.randn(z.shape).to(z.device)
            clean, attacked = (self._seen(model, code, noise) for code in (z, z_adv))
        first, second = (torch.randperm(len(x)).to(x.device) for _ in range(2))
        parts = {
            "m1": information(self.discriminator, z_adv, clean, first),
            "m2": information(self.discriminator, z, attacked, second),
        }
        return Loss(self.config.weight * (parts["m1"] + parts["m2"]), parts)

    def _seen(self, model: Model, z: Tensor, noise: Tensor | int) -> Tensor:
        # [decoded image, assignment], the image left out where there is no decoder
        image = [model.decode(z + noise).flatten(1)] if model.has_decoder else []
        return torch.cat([*image, model.soft(z)], 1)


def information(
    discriminator: nn.Module,
    z: Float[Tensor, "n d"],
    seen: Float[Tensor, "n m"],
    order: Tensor,
) -> Float[Tensor, ""]:
    """M = -E[log T(z, seen) + log(1 - T(z, pi(seen)))], pi being `order`; T ends in a sigmoid.

    The least of it, over T, falls as the mutual information rises (a bound of Jensen-Shannon's
    kind). A row of `seen` moves as one, so that image and assignment stay together.
    """
    true = discriminator(torch.cat([z, seen], 1))
    false = discriminator(torch.cat([z, seen[order]], 1))
    return F.softplus(-true.float()).mean() + F.softplus(false.float()).mean()
