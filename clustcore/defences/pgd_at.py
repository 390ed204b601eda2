"""Adversarial training in pixels, on the starting model's own clusters in place of labels.

Madry et al., arXiv 1706.06083.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from torch import Tensor

from clustcore.config import setting
from clustcore.defences.base import Defence, DefenceConfig
from clustcore.defences.inner import as_tested, pgd, warmed
from clustcore.models.base import Loss, Model, TrainData, Views


@dataclass(frozen=True, kw_only=True)
class PGDTrainingConfig(DefenceConfig):
    """The attack inside, and the weight of what it finds."""

    eps: float = setting(0.1, "largest change of a pixel", range=(1e-4, 1), unit="of [0, 1]")
    steps: int = setting(5, "gradient steps of the attack inside", range=(1, 100))
    warm: int = setting(
        1, "epochs over which eps grows to its full size, from a part of it", range=(1, 1000)
    )
    weight: float = setting(1.0, "weight of the cross-entropy under attack", range=(0, 1e4))


@final
class PGDTraining(Defence[PGDTrainingConfig]):
    """Upkeep + weight x cross-entropy of attacked images to their clean cluster.

    That cluster is the starting model's: one taken anew as the model changes could drift.
    """

    name = "pgd_at"
    Config = PGDTrainingConfig

    def prepare(
        self, model: Model, data: TrainData, epoch: int, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The part of eps that this epoch uses."""
        return warmed(data, epoch, self.config.warm)

    def term(self, model: Model, views: Views, state: dict[str, Tensor]) -> Loss:
        """Cross-entropy of the scores under attack."""
        x, labels = views.clean, state["start"][views.ids]
        eps, config = self.config.eps * state["share"], self.config
        with as_tested(model, frozen=True):
            x_adv = pgd(model.forward, x, labels, eps, "linf", config.steps, bounded=True)
        with as_tested(model):
            s = model(x_adv).float()
        attacked = F.cross_entropy(s, labels)
        moved = (s.argmax(1) != labels).float().mean()
        return Loss(config.weight * attacked, {"attacked": attacked, "moved": moved})
