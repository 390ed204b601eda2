"""The adversarial view: an attacked image joins the augmentations.

After RoCL (Kim et al., arXiv 2006.07589) and ACL (Jiang et al., arXiv 2010.13337), here with
clusters, aimed at the runner-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from clustcore.config import setting
from clustcore.defences.base import Defence, DefenceConfig
from clustcore.defences.inner import as_tested, pgd, warmed
from clustcore.distributed import gather
from clustcore.models.base import Loss, Model, TrainData, Views
from clustcore.models.drc import contrast


@dataclass(frozen=True, kw_only=True)
class AdversarialViewConfig(DefenceConfig):
    """The attack that makes the view, and the weights of what is asked of it."""

    eps: float = setting(8 / 255, "largest change of a pixel", range=(1e-4, 1), unit="of [0, 1]")
    steps: int = setting(5, "gradient steps of the attack inside", range=(1, 100))
    warm: int = setting(
        1, "epochs over which eps grows to its full size, from a part of it", range=(1, 1000)
    )
    weight: float = setting(1.0, "weight of the two contrasts", range=(0, 1e4))
    weight_t: float = setting(
        1.0, "weight of the cross-entropy to the starting cluster", range=(0, 1e4)
    )
    tau_f: float = setting(0.5, "temperature between samples", range=(0.01, 10), rare=True)
    tau_p: float = setting(1.0, "temperature between clusters", range=(0.01, 10), rare=True)


@final
class AdversarialView(Defence[AdversarialViewConfig]):
    """Upkeep, the contrast of an attacked view, and its cross-entropy to its cluster.

    Upkeep + weight x (L_AF + L_AP) of the first view and an attacked second one + weight_t x
    cross-entropy of the attacked one to its cluster: it is asked for what any view is.

    The attack raises the runner-up's score against the own cluster's; both are the starting
    model's clusters and this model's scores.
    """

    name = "adversarial_view"
    Config = AdversarialViewConfig

    def prepare(
        self, model: Model, data: TrainData, epoch: int, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The part of eps that this epoch uses."""
        return warmed(data, epoch, self.config.warm)

    def term(self, model: Model, views: Views, state: dict[str, Tensor]) -> Loss:
        """The contrasts and the cross-entropy."""
        config, labels = self.config, state["start"][views.ids]
        attacked = self.attacked(model, views.second, labels, config.eps * state["share"])
        with as_tested(model):
            s, s_adv = model(views.first).float(), model(attacked).float()
        with torch.autocast(s.device.type, enabled=False):
            first, second = gather(s), gather(s_adv)  # of the whole batch on every rank
            parts = {
                "af_adv": contrast(first, second, config.tau_f, True),
                "ap_adv": contrast(first.softmax(1).T, second.softmax(1).T, config.tau_p, True),
                "guide_adv": F.cross_entropy(s_adv, labels),
            }
        total = config.weight * (parts["af_adv"] + parts["ap_adv"])
        total = total + config.weight_t * parts["guide_adv"]
        return Loss(total, parts | {"moved": (s_adv.argmax(1) != labels).float().mean()})

    def attacked(
        self,
        model: Model,
        x: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, " n"],
        eps: Float[Tensor, ""],
    ) -> Float[Tensor, "n c h w"]:
        """Images within eps of x, in [0, 1], on their way to each one's runner-up cluster."""
        with as_tested(model, frozen=True):
            with torch.no_grad():
                runner_up = model(x).scatter(1, labels[:, None], -torch.inf).argmax(1)

            def gap(s: Tensor, own: Tensor) -> Tensor:
                s = s.float()
                return (s.gather(1, runner_up[:, None]) - s.gather(1, own[:, None]))[:, 0]

            steps = self.config.steps
            return pgd(model.forward, x, labels, eps, "linf", steps, bounded=True, climb=gap)
