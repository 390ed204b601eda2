"""The defence contract: a trained model trains on, and the defence adds a term of its own.

It trains on under the loss that keeps it what it is, its `upkeep`. A defence knows the model
contract and no model. What a sample's cluster is, it takes from the starting model alone
(`TrainData.teacher`): no label, and no teacher's word.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar, cast, final

import torch
from torch import Tensor, nn

from clustcore.config import Config, setting
from clustcore.models.base import Loss, Model, Stage, TrainData, Views
from clustcore.models.blocks import batch_statistics


@dataclass(frozen=True, kw_only=True)
class DefenceConfig(Config):
    """What every defence has."""

    epochs: int = setting(5, "further epochs over the training images", range=(1, 1000))


C = TypeVar("C", bound=DefenceConfig)


class Defence(nn.Module, ABC, Generic[C]):
    """What is added to a trained model's upkeep.

    Parameters that require a gradient are trained with the model's; an attacker inside has its own
    optimiser, `inner`, and is frozen for everyone else. Both are kept with the resume state.

    Args:
        config: the defence's settings.
        model: the trained model; read for its sizes, changed by training alone.
        attacker: a fitted attacker of that model, images -> (n, d); kept frozen. Only for a
            defence that says `needs_attacker`.
        seed: of what the defence draws when it is built.

    Raises:
        ValueError: no attacker where one is needed.

    Examples:
        One that asks for a small embedding:

        >>> class Small(Defence):
        ...     name = "small"
        ...
        ...     def term(self, model, views, state):
        ...         size = model.embed(views.clean).square().mean()
        ...         return Loss(size, {"size": size})
        >>> from clustcore.models.dec import DEC, DECConfig
        >>> model = DEC(DECConfig(clusters=3, dim=2, width=2, input_shape=(1, 8, 8)))
        >>> [stage] = Small(DefenceConfig(epochs=2), model).stages(model)
        >>> stage.name, stage.epochs
        ('small', 2)
    """

    name: ClassVar[str]
    Config: type[C] = cast("type[C]", DefenceConfig)  # of a defence without further settings
    needs_attacker: ClassVar[bool] = False

    @final
    def __init__(
        self,
        config: C,
        model: Model,
        attacker: nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = config
        self.attacker: nn.Module | None = None
        self.inner: torch.optim.Optimizer | None = None
        if self.needs_attacker:
            if attacker is None:
                raise ValueError(
                    f"{self.name}: expected the fitted attacker of the starting run, got none; "
                    "`python -m clustcore attack RUN --attack alrdc --fit` makes one"
                )
            self.attacker = attacker.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(model)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config})"

    def _build(self, model: Model) -> None:
        """Make the networks of the defence's own, if it has any."""

    @final
    def stages(self, model: Model) -> list[Stage]:
        """One stage: the model's upkeep, and the term.

        Raises:
            ValueError: the model is not trained here, or keeps no loss.
        """
        upkeep = model.upkeep()
        keep = upkeep.criterion

        @torch.no_grad()
        def begin(data: TrainData, epoch: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
            if data.teacher is None:
                raise ValueError(
                    f"{self.name}: expected the starting model's clusters of the training images, "
                    "got none"
                )
            kept = {} if upkeep.begin is None else upkeep.begin(data, epoch, state)
            return kept | {"start": data.teacher} | self.prepare(model, data, epoch, state)

        def loss(views: Views, state: dict[str, Tensor]) -> Loss:
            self.step_attacker(model, views, state)
            with batch_statistics(model, 0.0):
                kept = keep(views, state)
            # in this order: the term reads the running statistics, which are the clean images'
            with torch.no_grad(), batch_statistics(model, 0.1):
                model(views.clean)
            term = self.term(model, views, state)
            return Loss(kept.total + term.total, kept.parts | term.parts)

        return [Stage(self.name, self.config.epochs, loss, begin, lr=upkeep.lr)]

    def prepare(
        self, model: Model, data: TrainData, epoch: int, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The tensors that `term` needs beside the views, made before each epoch.

        `state["start"]` (n,), each image's cluster in the starting model, is there without asking.
        """
        return {}

    def step_attacker(self, model: Model, views: Views, state: dict[str, Tensor]) -> None:
        """Let an attacker inside learn; called before each step of the model."""

    @abstractmethod
    def term(self, model: Model, views: Views, state: dict[str, Tensor]) -> Loss:
        """What is added to the upkeep's loss."""


@final
class Control(Defence[DefenceConfig]):
    """The same further steps without any defence: what a defended model is measured against.

    Examples:
        >>> from clustcore.models.dec import DEC, DECConfig
        >>> model = DEC(DECConfig(clusters=3, dim=2, width=2, input_shape=(1, 8, 8)))
        >>> control = Control(DefenceConfig(), model)
        >>> x = torch.zeros(4, 1, 8, 8)
        >>> control.term(model, Views(x, x, x, torch.arange(4)), {}).total.item()
        0.0
    """

    name = "control"

    def term(self, model: Model, views: Views, state: dict[str, Tensor]) -> Loss:
        """Nothing."""
        return Loss(torch.zeros((), device=views.clean.device), {})
