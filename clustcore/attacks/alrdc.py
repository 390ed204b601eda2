"""ALRDC's attack: a network learns to shift embeddings into other clusters.

It learns without labels, so that the clusters change and the decoded images do not.

Source: Yang et al., "Adversarial Learning for Robust Deep Clustering", NeurIPS 2020; the authors'
    code: github.com/xdxuyang/ALRDC.
"""

from __future__ import annotations

import itertools
import json
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.attacks.base import Attack, Budget, Goal, Problem, Target
from clustcore.attacks.problem import check_samples, length
from clustcore.files import atomic

_HIDDEN = (1024, 512)  # the paper's A
_FORMAT = "1"


class Perturb(nn.Module):
    """A_psi: images to shifts of their embeddings.

    "affine" is the paper's, three linear layers with nothing between: together one affine map,
    which `folded` makes of them. "relu" has ReLU between, and is the stronger.
    """

    def __init__(
        self, shape: tuple[int, int, int], dim: int, kind: str = "affine", *, folded: bool = False
    ) -> None:
        super().__init__()
        if kind not in ("affine", "relu"):
            raise ValueError(f"unknown kind of perturbation {kind!r}; known: affine, relu")
        self.shape, self.dim, self.kind, self.is_folded = shape, dim, kind, folded
        sizes = [self.shape[0] * self.shape[1] * self.shape[2], *(() if folded else _HIDDEN), dim]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(sizes):
            if kind == "relu" and len(layers) > 1:
                layers.append(nn.ReLU())
            layers.append(nn.Linear(inputs, outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """The shifts delta of images in [0, 1]."""
        return self.layers(x)

    def folded(self) -> Perturb:
        """The same map as one layer, where it is affine; itself otherwise."""
        if self.kind != "affine" or self.is_folded:
            return self
        last = self.layers[-1]
        weight, bias = last.weight.detach().double(), last.bias.detach().double()
        for layer in reversed(self.layers[1:-1]):
            bias = bias + weight @ layer.bias.detach().double()
            weight = weight @ layer.weight.detach().double()
        with torch.random.fork_rng(devices=[]):  # its first weights are not kept
            one = Perturb(self.shape, self.dim, self.kind, folded=True).to(last.weight)
        one.layers[1].load_state_dict({"weight": weight, "bias": bias})
        return one


@dataclass(frozen=True)
class Unscaled:
    """What a learned attack does of itself, without a budget. CPU tensors."""

    delta: Float[Tensor, "n d"]
    l2: Float[Tensor, " n"]  # absolute length of delta
    relative: Float[Tensor, " n"]  # in lengths of the clean embedding
    rho: Float[Tensor, " n"]  # in units of R
    before: Int[Tensor, " n"]
    after: Int[Tensor, " n"]

    @property
    def moved(self) -> Bool[Tensor, " n"]:
        """Whose cluster changed."""
        return self.before != self.after


class Learned(Attack[ALRDCConfig], ABC):
    """A shift of the embedding that a network has learned; ready once `fit` or `load` was called.

    At a strength, each sample's shift is brought to the length of the strength, so that one
    strength means one size for all attacks; `raw` gives the shifts as they were learned.

    Examples:
        Of two pixels the model says which is the brighter one. The attacker learns to turn that
        around:

        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)
        >>> x = torch.rand(64, 1, 1, 2, generator=torch.Generator().manual_seed(0))
        >>> attack = ALRDCReLU(ALRDCConfig(epochs=5, batch=16))
        >>> history = attack.fit(brighter, x)
        >>> len(history), history[-1]["loss"] < history[0]["loss"]
        (5, True)
        >>> found = attack(brighter, x, Goal(), Budget(0.3, "l2", "embedding"))
        >>> bool(found.moved.float().mean() > 0.5)
        True
    """

    Config = ALRDCConfig
    spaces = ("embedding",)
    targeted = False
    learned = True
    kind: ClassVar[str]

    def __init__(
        self, config: ALRDCConfig | None = None, perturb: Perturb | None = None, fitted_on: str = ""
    ) -> None:
        super().__init__(config)
        self.perturb = None if perturb is None else perturb.eval().requires_grad_(False)
        self.fitted_on = fitted_on  # sha256 of the weights it was fitted on, where known

    def fit(
        self,
        target: Target,
        x: Tensor,
        seed: int = 0,
        on_epoch: Callable[[int, int, dict[str, float]], None] | None = None,
        unit: float = 1.0,
    ) -> list[dict[str, float]]:
        """Learn psi on images, the model frozen: Adam on L_att.

        The image term is left out where the model has no decoder; both passes share a draw of the
        code where it is noisy.

        Args:
            target: the model.
            x: (n, c, h, w) images, uint8, or float in [0, 1].
            seed: of the first weights, the order and the noise.
            on_epoch: told (done, total, parts) after each epoch; may raise to cancel, and nothing
                is learned then.
            unit: what a length of 1 stands for in the network's output and in ||delta||^2. The
                paper's is 1, under which a model with a larger embedding meets a weaker attacker;
                with R it meets the same one.

        Returns:
            The means of the loss and its parts, one entry an epoch.

        Raises:
            ValueError: no such images, or a loss that is not finite.
        """
        check_samples(_unit(x, x.device), "pixels")
        weights = [p for module in target.modules() for p in module.parameters()]
        device = weights[0].device if weights else x.device
        generator = torch.Generator().manual_seed(seed)
        history = []
        with target.settled():
            codes = _Codes.of(target, x, device)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                perturb = Perturb(tuple(x.shape[1:]), codes.mu.shape[1], self.kind).to(device)
            optimiser = torch.optim.Adam(perturb.parameters(), self.config.lr)
            for epoch in range(self.config.epochs):
                sums: dict[str, float] = {}
                for rows in torch.randperm(len(x), generator=generator).split(self.config.batch):
                    delta = perturb(_unit(x[rows], device))
                    mu, noise = codes.draw(rows, generator)
                    loss, parts = self._loss(target, mu, noise, delta, unit)
                    if not torch.isfinite(loss):
                        raise ValueError(
                            f"{self.name}: fit: epoch {epoch}: expected a finite loss, got "
                            f"{loss.item()}; try a lower learning rate"
                        )
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward(inputs=list(perturb.parameters()))  # theta gets no gradient
                    optimiser.step()
                    for name, part in {"loss": loss, **parts}.items():
                        sums[name] = sums.get(name, 0.0) + part.item() * len(rows) / len(x)
                history.append(sums)
                if on_epoch is not None:
                    on_epoch(epoch + 1, self.config.epochs, sums)
        with torch.no_grad():  # from here on its shifts are lengths of the embedding
            perturb.layers[-1].weight.mul_(unit)
            perturb.layers[-1].bias.mul_(unit)
        self.perturb, self.fitted_on = perturb.folded().eval().requires_grad_(False), ""
        return history

    def raw(
        self, target: Target, x: Float[Tensor, "n c h w"], alpha: float = 1.0, unit: float = 1.0
    ) -> Unscaled:
        """The shifts as they were learned, without a budget.

        Args:
            target: the model.
            x: (n, c, h, w) images in [0, 1].
            alpha: what they are multiplied by.
            unit: R of the card.

        Raises:
            ValueError: the attacker is not fitted, or not for such images.
        """
        with target.settled():
            problem = Problem(target, x, Goal(), Budget(0.0, "l2", "embedding", unit))
            self._check(problem, problem.radii(0.0))
            delta = alpha * self._shifts(problem)
            _, s = problem.answer(problem.points + delta)
        l2 = length(delta)
        relative = l2 / length(problem.points).clamp_min(1e-30)
        parts = (delta, l2, relative, l2 / problem.unit, problem.before, s.argmax(1))
        return Unscaled(*(part.cpu() for part in parts))

    def save(self, path: Path, weights_sha256: str) -> None:
        """Write the attacker, with the hash of the weights it was fitted on.

        Raises:
            ValueError: it is not fitted.
        """
        perturb = self._ready()
        note = {
            "format": _FORMAT,
            "attack": self.name,
            "shape": json.dumps(perturb.shape),
            "dim": str(perturb.dim),
            "folded": json.dumps(perturb.is_folded),
            "config": json.dumps(self.config.to_dict()),
            "weights_sha256": weights_sha256,
        }
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in perturb.state_dict().items()
        }
        with atomic(path) as part:
            save_file(tensors, part, note)
        self.fitted_on = weights_sha256

    @classmethod
    def load(cls, path: Path) -> Learned:
        """A fitted attacker, on the CPU.

        Raises:
            ValueError: the file is missing, damaged, or another attack's.
        """
        if not path.is_file():
            raise ValueError(
                f"{path}: expected a fitted attacker (`python -m clustcore attack RUN --attack "
                f"{cls.name} --fit`), got no such file"
            )
        try:
            with safe_open(path, "pt") as file:
                note = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: expected a fitted attacker, got {error}") from None
        if (note.get("format"), note.get("attack")) != (_FORMAT, cls.name):
            raise ValueError(
                f"{path}: expected attacker {cls.name!r}, format {_FORMAT}, got "
                f"{note.get('attack')!r}, format {note.get('format')}"
            )
        try:
            config = cls.Config.from_dict(json.loads(note["config"]), str(path))
            shape, dim = tuple(json.loads(note["shape"])), int(note["dim"])
            with torch.random.fork_rng(devices=[]):  # its first weights are not kept
                perturb = Perturb(shape, dim, cls.kind, folded=json.loads(note["folded"]))
            perturb.load_state_dict(tensors)
            fitted_on = note["weights_sha256"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: expected a fitted attacker, got: {reason}") from None
        if not all(value.isfinite().all() for value in tensors.values()):
            raise ValueError(f"{path}: expected finite numbers, got NaN or infinity")
        return cls(config, perturb, fitted_on)

    def _loss(
        self, target: Target, mu: Tensor, noise: Tensor, delta: Tensor, unit: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config, decode = self.config, target.decode
        soft = target.soft or (lambda z: target.scores(z).softmax(1))
        with torch.no_grad():
            y, xh = soft(mu), None if decode is None else decode(mu + noise)
        moved = mu + unit * delta
        xh_adv = None if decode is None else decode(moved + noise)
        weights = (config.weight_y, config.weight_x, config.weight_d)
        return attack_loss(xh, xh_adv, y, soft(moved), delta, *weights)

    def _search(self, problem: Problem, radii: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
        delta = self._shifts(problem)
        # a shift of nothing has no direction to lengthen
        return problem.points + delta * (radii / length(delta).clamp_min(1e-30))[:, None]

    def _check(self, problem: Problem, radii: Float[Tensor, " n"]) -> None:
        super()._check(problem, radii)
        perturb = self._ready()
        got = (tuple(self._images(problem).shape[1:]), problem.points.shape[1])
        if got != (perturb.shape, perturb.dim):
            raise ValueError(
                f"{self.name}: expected images {perturb.shape} and an embedding of {perturb.dim} "
                f"dimensions, as it was fitted on, got {got[0]} and {got[1]}"
            )

    def _ready(self) -> Perturb:
        if self.perturb is None:
            raise ValueError(
                f"{self.name}: expected a fitted attacker, got none: call `fit` or `load`, or run "
                f"`python -m clustcore attack RUN --attack {self.name} --fit`"
            )
        return self.perturb

    def _images(self, problem: Problem) -> Float[Tensor, "n c h w"]:
        if problem.images is None:
            raise ValueError(
                f"{self.name}: x: expected images, from which it reads the shift, got embeddings"
            )
        return problem.images

    def _shifts(self, problem: Problem) -> Float[Tensor, "n d"]:
        perturb = self._ready().to(problem.device)
        with torch.no_grad():
            return perturb(self._images(problem).float()).to(problem.points)


@final
class ALRDCAttack(Learned):
    """The paper's attacker, an affine map of the image.

    Examples:
        >>> import clustcore
        >>> from clustcore.pipeline.run import attack_of
        >>> run = clustcore.load_run("alrdc-mnist", "cpu")
        >>> attack = attack_of(run, "alrdc")  # fitted to this run, and shipped with it
        >>> x = clustcore.load_samples("mnist").x[:200]
        >>> found = clustcore.attack(run.model, x, attack, eps=0.8, norm="l2", space="embedding")
        >>> bool(found.moved.any())
        True
    """

    name = "alrdc"
    kind = "affine"


@final
class ALRDCReLU(Learned):
    """The same with ReLU between its layers: a stronger attacker than the paper's.

    Examples:
        >>> ALRDCReLU.kind, ALRDCReLU.spaces, ALRDCReLU.targeted
        ('relu', ('embedding',), False)
        >>> brighter = Target(embed=lambda x: x.flatten(1), scores=lambda z: z)  # of two pixels
        >>> ALRDCReLU().raw(brighter, torch.zeros(1, 1, 1, 2))
        Traceback (most recent call last):
        ValueError: alrdc-relu: expected a fitted attacker, got none: ...
    """

    name = "alrdc-relu"
    kind = "relu"


def attack_loss(
    xh: Float[Tensor, "n c h w"] | None,
    xh_adv: Float[Tensor, "n c h w"] | None,
    y: Float[Tensor, "n k"],
    y_adv: Float[Tensor, "n k"],
    delta: Float[Tensor, "n d"],
    weight_y: float = 40.0,
    weight_x: float = 2.5,
    weight_d: float = 1.0,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """L_att = 2.5 E||xh - xh'||^2 + w E<y, y'> + E||delta||^2, and its parts unweighted.

    Sums over pixels, clusters or dimensions; means over samples, so that the size of the batch does
    not enter (the code's 0.04 on a sum over 1,000 samples is w = 40). Without decoded images the
    first term is left out.

    Args:
        xh: decoded images of the clean embedding.
        xh_adv: decoded images of the shifted one.
        y: soft assignment of the clean embedding.
        y_adv: soft assignment of the shifted one.
        delta: the shifts.
        weight_y: w, of the overlap.
        weight_x: of the change of the image.
        weight_d: of the shift's length.
    """
    parts = {
        "overlap": (y * y_adv).sum(1).mean(),
        "shift": delta.square().sum(1).mean(),
    }
    total = weight_y * parts["overlap"] + weight_d * parts["shift"]
    if xh is not None and xh_adv is not None:
        parts["image"] = (xh - xh_adv).square().flatten(1).sum(1).mean()
        total = total + weight_x * parts["image"]
    return total, parts


def _unit(x: Tensor, device: torch.device) -> Tensor:
    x = x.to(device)
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


@dataclass(frozen=True)
class _Codes:
    """mu of all images, worked out once, and the spread of their codes where they are noisy."""

    mu: Tensor
    scale: Tensor | None

    @classmethod
    @torch.no_grad()
    def of(cls, target: Target, x: Tensor, device: torch.device) -> _Codes:
        mu, scales = [], []
        for part in x.split(500):
            part = _unit(part, device)
            mu.append(target.embed(part).float())
            scale = None if target.noise_scale is None else target.noise_scale(part)
            if scale is not None:
                scales.append(scale.float())
        return cls(torch.cat(mu), torch.cat(scales) if scales else None)

    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The mean mu of these rows, and noise of their spread, the same on every device."""
        rows = rows.to(self.mu.device)
        mu = self.mu[rows]
        if self.scale is None:
            return mu, torch.zeros_like(mu)
        return mu, self.scale[rows] * torch.randn(mu.shape, generator=generator).to(mu.device)
