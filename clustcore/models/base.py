"""The model contract: embed, scores, soft, decode, stages.

Every page and every attack asks for no more than this.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clustcore import config as configs
from clustcore import memory
from clustcore.config import setting
from clustcore.models.blocks import batch_norms, batch_statistics


@dataclass
class TrainData:
    """What training sees: images and, where a teacher was asked, its clusters.

    There is no place for labels.
    """

    x: Tensor  # (n, c, h, w) uint8, on the device that trains
    teacher: Int64[Tensor, " n"] | None = None
    seed: int = 0  # of what a stage draws when it begins
    on_step: Callable[[int, int], None] | None = None  # told (done, total) of long beginnings

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Views:
    """One batch: the images and the random views of each, as many as the model asks for.

    A stage may ask for smaller ones.
    """

    clean: Float[Tensor, "n c h w"]
    first: Float[Tensor, "n c v u"]
    second: Float[Tensor, "n c v u"]
    ids: Int64[Tensor, " n"]
    more: tuple[Tensor, ...] = ()  # each (n, c, v, u)
    strong: Float[Tensor, "n c v u"] | None = None  # where the stage asks for one


@dataclass(frozen=True)
class Loss:
    """A loss and the named parts that the history shows."""

    total: Tensor
    parts: dict[str, Tensor]


@dataclass
class Stage:
    """One stage of training.

    `begin` runs before the stage's epoch number e (k-means, targets, self-labels) and returns the
    tensors that `loss` needs beside the views; they are stored with the resume state. A stage
    without a loss is done when it has begun: then `begin` returns numbers for the history, "loss"
    among them.
    """

    name: str
    epochs: int
    loss: Callable[[Views, dict[str, Tensor]], Loss] | None
    begin: Callable[[TrainData, int, dict[str, Tensor]], dict[str, Tensor]] | None = None
    lr: float = 1.0  # factor on the configured learning rate
    clusters: bool = True  # False: this stage learns no clusters yet, so collapse is not looked for
    strong: dict[str, Any] | None = None  # how a further view of each image differs from the others
    scale: Callable[[int], float] | None = None  # of the views' sides in its epoch e; None: 1
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def criterion(self) -> Callable[[Views, dict[str, Tensor]], Loss]:
        """The loss of a stage that learns by steps.

        Raises:
            ValueError: this one is done when it has begun.
        """
        if self.loss is None:
            raise ValueError(f"stage {self.name!r}: expected a loss, got none")
        return self.loss


C = TypeVar("C", bound=configs.Config)


class Model(nn.Module, ABC, Generic[C]):
    """Base of every model.

    A subclass has a frozen `Config`, and sets `input_shape`, `clusters` and `dim`.

    Examples:
        Of two pixels it says which is the brighter one:

        >>> class Brighter(Model):
        ...     input_shape, clusters, dim = (1, 1, 2), 2, 2
        ...
        ...     def embed(self, x):
        ...         return x.flatten(1)
        ...
        ...     def scores(self, z):
        ...         return z
        >>> model = Brighter()
        >>> x = torch.tensor([[0.6, 0.4], [0.1, 0.2]]).view(2, 1, 1, 2)
        >>> model(x).argmax(1).tolist()
        [0, 1]
        >>> model.soft(model.embed(x)).sum(1).tolist()
        [1.0, 1.0]
    """

    Config: type[C]
    config: C
    input_shape: tuple[int, int, int]
    clusters: int
    dim: int
    views = 2  # random views of each image that its losses look at
    has_decoder = False
    helpers: tuple[str, ...] = ()  # parts that training alone needs: another run may lack them

    @abstractmethod
    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Images in [0, 1] -> embedding.

        Normalisation happens in here, so that every budget is in pixel units.
        """

    @abstractmethod
    def scores(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Embedding -> scores before softmax; the cluster is their argmax."""

    def soft(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Soft assignment for display and training; rows sum to 1."""
        return self.scores(z).float().softmax(1)

    def decode(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Embedding -> images, where the model has a decoder.

        Raises:
            ValueError: it has none.
        """
        raise ValueError(f"{type(self).__name__} has no decoder")

    def noise_scale(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"] | None:
        """The standard deviation that training gives the embedding of images.

        None where it is not noisy.
        """
        return None

    def head(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]] | None:
        """(W, b) where scores are W z + b up to a term common to all clusters, else None."""
        return None

    def stages(self) -> list[Stage]:
        """What training does, in order.

        Raises:
            ValueError: this model is not trained here.
        """
        raise ValueError(f"{type(self).__name__} has no training stages: it is trained elsewhere")

    def check(self, data: TrainData) -> None:
        """Asked before training, so that no stage fails after hours of others.

        Raises:
            ValueError: its stages have not what they need: too few images, or no teacher where one
                is to be followed.
        """
        taught = getattr(getattr(self, "config", None), "taught", 0)
        if taught and data.teacher is None:
            raise ValueError(
                f"{type(self).__name__.lower()}: stage 'taught': expected a teacher, got none; "
                "`python -m clustcore teach` makes one, or set taught to 0"
            )

    def upkeep(self) -> Stage:
        """The stage whose loss keeps a trained model what it is; a defence adds its term to it.

        Its `begin` changes no weights, and clusters come from `TrainData.teacher`, which holds the
        model's own from before the defence.

        Raises:
            ValueError: this model is not trained here.
        """
        return self.stages()[-1]

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Scores of images."""
        return self.scores(self.embed(x))


@torch.no_grad()
def everywhere(model: Model, data: TrainData, ask: Callable[[Tensor], Tensor]) -> Tensor:
    """What `ask` says of every clean image, (n, ...), in eval mode and without gradients.

    A device that runs out of memory is asked about fewer at once, and a warning says so.

    Args:
        model: is put into eval mode meanwhile.
        data: the images.
        ask: such as the model's `embed`; gets float images in [0, 1].

    Examples:
        >>> from clustcore.models.dec import DEC, DECConfig
        >>> model = DEC(DECConfig(clusters=3, dim=2, width=2, input_shape=(1, 8, 8)))
        >>> data = TrainData(torch.zeros(32, 1, 8, 8, dtype=torch.uint8))
        >>> everywhere(model, data, model.embed).shape
        torch.Size([32, 2])
    """
    batches, training = memory.Batches(1000, data.x.device), model.training
    model.eval()
    try:
        asked = batches.over(len(data), lambda rows: ask(data.x[rows].float() / 255))
        return torch.cat([answer for _, answer in asked])
    finally:
        model.train(training)


_SETTLED = 5000  # images that batch normalisation is measured on, about


@torch.no_grad()
def settle(model: Model, data: TrainData, batch: int) -> None:
    """Measure batch normalisation's running statistics on a fixed sample of the clean images.

    Training leaves those of the views behind: other images, by which clean ones, which all that
    comes after looks at, would be normalised wrongly, and clustered out of balance.

    Args:
        model: whose statistics are measured; one without any is left as it is.
        data: the images.
        batch: images at once, at most.

    Examples:
        >>> from clustcore.models.dec import DEC, DECConfig
        >>> _ = torch.manual_seed(0)
        >>> model = DEC(DECConfig(clusters=3, dim=2, width=2, input_shape=(1, 8, 8)))
        >>> data = TrainData(torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8))
        >>> settle(model, data, batch=64)
        >>> everywhere(model, data, model.embed).std(0).round(decimals=1).tolist()
        [1.0, 1.0]
    """
    if not batch_norms(model):
        return
    rows = torch.arange(0, len(data), max(1, len(data) // _SETTLED), device=data.x.device)
    batches = max(1, len(rows) // batch)
    with batch_statistics(model, None):
        for start in range(batches):
            # across the data, which may lie in the order of their classes; never a single image
            ids = rows[start::batches]
            z = model.embed(data.x[ids].float() / 255)
            model.scores(z)
            if model.has_decoder:
                model.decode(z)


@dataclass(frozen=True, kw_only=True)
class WrappedConfig(configs.Config):
    """How to find a module of one's own again when its run is opened."""

    builder: str = setting("", "where the module is made, as 'package.module:function'")
    clusters: int = setting(10, "clusters", range=(2, 256))
    input_shape: tuple[int, int, int] = setting((1, 28, 28), "channels, height, width")


class Wrapped(Model[WrappedConfig]):
    """Any torch module that can answer `embed` and `scores`, as a model of the app.

    A run of it names its builder. Since importing code that a card names would let a card run
    anything, the builder must also stand in the environment variable DRIFTMAP_BUILDERS (names
    separated by commas), which only the person who starts the app can set.

    Examples:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(784, 10)
        ...
        ...     def embed(self, x):
        ...         return x.flatten(1)
        ...
        ...     def scores(self, z):
        ...         return self.layer(z)
        >>> model = Wrapped(WrappedConfig(clusters=10), Net())
        >>> model.dim, model.has_decoder
        (784, False)
    """

    Config = WrappedConfig

    def __init__(self, config: WrappedConfig, module: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.module = _build(config.builder) if module is None else module
        for name in ("embed", "scores"):
            if not callable(getattr(self.module, name, None)):
                raise ValueError(
                    f"wrapped module {type(self.module).__name__}: expected a method {name!r}, "
                    "got none"
                )
        channels, height, width = config.input_shape
        self.input_shape, self.clusters = (channels, height, width), config.clusters
        self.has_decoder = callable(getattr(self.module, "decode", None))
        was_training = self.module.training
        self.module.eval()
        with torch.no_grad():
            z = self.module.embed(torch.zeros(2, *self.input_shape))
            s = self.module.scores(z)
        self.module.train(was_training)
        if z.ndim != 2:
            raise ValueError(
                f"wrapped module: embed: expected shape (2, d), got {tuple(z.shape)}; flatten it"
            )
        if s.shape != (2, self.clusters):
            raise ValueError(
                f"wrapped module: scores: expected shape (2, {self.clusters}), got {tuple(s.shape)}"
            )
        self.dim = z.shape[1]

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """The module's own `embed`."""
        return self.module.embed(x)

    def scores(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The module's own `scores`."""
        return self.module.scores(z)

    def decode(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """The module's own `decode`, where it has one."""
        return self.module.decode(z) if self.has_decoder else super().decode(z)


def wrap(
    module: nn.Module,
    *,
    clusters: int,
    input_shape: tuple[int, int, int],
    builder: str = "",
) -> Wrapped:
    """Make any torch module with `embed(x) -> (n, d)` and `scores(z) -> (n, k)` a model of the app.

    Args:
        module: takes float32 images in [0, 1] and does its own normalisation; a `decode` is used
            where there is one.
        clusters: how many there are: k.
        input_shape: channels, height and width of the images.
        builder: 'package.module:function' that builds the module again; needed to store a run of
            it.

    Raises:
        ValueError: a method is missing, or answers with a wrong shape.

    Examples:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(64, 10)
        ...
        ...     def embed(self, x):
        ...         return x.flatten(1)
        ...
        ...     def scores(self, z):
        ...         return self.layer(z)
        >>> import clustcore
        >>> model = wrap(Net(), clusters=10, input_shape=(1, 8, 8))
        >>> clustcore.evaluate(model, clustcore.load_samples("digits")).n
        500
    """
    config = WrappedConfig(builder=builder, clusters=clusters, input_shape=input_shape)
    return Wrapped(config, module).eval()


def _build(builder: str) -> nn.Module:
    allowed = [name.strip() for name in os.environ.get("DRIFTMAP_BUILDERS", "").split(",")]
    if not builder or builder not in allowed:
        raise ValueError(
            f"wrapped model: builder {builder!r} is not allowed here: start with "
            f"DRIFTMAP_BUILDERS={builder or 'package.module:function'} if you trust it"
        )
    module, _, attribute = builder.partition(":")
    return getattr(importlib.import_module(module), attribute)()
