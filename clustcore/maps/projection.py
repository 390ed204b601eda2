"""The map: UMAP, fitted once on clean embeddings, and the pair of networks that it teaches.

Every drawn position, the clean ones too, comes from the projector, so that a point stands at the
same place before and after nothing was done to it. `UMAP.transform` would throw points that
barely moved far away, and takes seconds.

The forward network (embedding -> map) learns UMAP's positions and, with UMAP's own cross-entropy
on its fuzzy graph (McInnes et al. 2018, arXiv 1802.03426; for networks Sainburg et al. 2021,
arXiv 2009.12981), which neighbours belong together. The inverse network (map -> embedding) learns
the mean of the embeddings around a place on the map.
"""

from __future__ import annotations

import itertools
import json
import math
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from clustcore.config import Config, setting
from clustcore.files import atomic
from clustcore.manifold import FEWEST, import_umap
from clustcore.maps.trustworthiness import nearest, trust_among, trustworthiness
from clustcore.types import Layout

OnStep = Callable[[int, int, str], None]

FORMAT = 1
MEASURED = 10_000  # of more samples than these, a seeded sample of so many is measured
_AMONG = 2_500  # of these, where each sample's trust then looks for neighbours
_BATCH = 256  # rows of every batch at inference: one shape, so that a batch's size changes nothing
_BEYOND = 0.12  # how far beyond the clean samples a position can go, in half widths of the map
_UMAP = threading.Lock()  # two UMAP fits at once abort the process (numba's workqueue)


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig(Config):
    """How a map is made."""

    neighbours: int = setting(15, "Neighbours that UMAP keeps together", range=(2, 200))
    min_dist: float = setting(
        0.4, "How close UMAP packs points", range=(0.0, 1.0), unit="UMAP's units"
    )
    held_out: float = setting(
        0.1,
        "Share of samples kept from UMAP and the projector, to measure it on",
        range=(0.01, 0.5),
    )
    samples: int = setting(
        20_000,
        "Samples at most that UMAP and the projector learn from; the projector places the rest",
        range=(FEWEST, 1_000_000),
    )
    steps: int = setting(2000, "Training steps of each network", range=(1, 100_000), rare=True)
    batch: int = setting(512, "Pairs of neighbours in a step", range=(8, 65_536), rare=True)
    width: int = setting(256, "Units of a hidden layer", range=(8, 4096), rare=True)
    landmarks: int = setting(
        256, "Places each network measures its nearness to", range=(2, 4096), rare=True
    )


class _Net(nn.Module):
    """An MLP on how near its input is to each of some landmarks.

    Nearness is a softmax of minus squared distances, so that between landmarks it varies smoothly.
    A plain MLP of this size on the input itself learns the map's coarse order but not its fine
    detail, and throws what lies off the samples' manifold far out of the picture.
    """

    def __init__(self, inputs: int, outputs: int, landmarks: int, width: int) -> None:
        super().__init__()
        self.landmarks = nn.Parameter(torch.zeros(landmarks, inputs))
        self.register_buffer("tau", torch.ones(()))
        sizes = [landmarks, width, width]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.utils.skip_init(nn.Linear, a, b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.utils.skip_init(nn.Linear, width, outputs))

    @torch.no_grad()
    def begin(self, x: Float[Tensor, "n i"], generator: torch.Generator) -> None:
        """Landmarks at samples drawn at random, and fresh weights; the global seed stays."""
        count = len(self.landmarks)
        rows = torch.randperm(len(x), generator=generator)
        self.landmarks.copy_(x[rows.repeat(-(-count // len(x)))[:count]])
        near = torch.cdist(x[rows[:2000]], self.landmarks).square().sort(1).values
        gap = (near[:, min(5, count - 1)] - near[:, 0]).median()
        self.tau.fill_(max(float(gap) / 2, 1e-6))  # so wide that about ten landmarks have a say
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        closeness = (2 * x @ self.landmarks.T - self.landmarks.square().sum(1)) / self.tau
        # cut off at e^-16: the denormal numbers below make a CPU ten times slower
        share = (closeness - closeness.max(1, keepdim=True).values).clamp_min(-16).softmax(1)
        return self.layers(8 * share)  # the few that count are then of order 1


def _hold(size: Tensor, limit: Tensor, give: Tensor | float) -> Tensor:
    """A size as it is up to a limit, beyond it smoothly less, and never above limit + give."""
    over = (size - limit).clamp_min(0)
    return size - over + give * torch.tanh(over / give)


class Projector(nn.Module):
    """Embedding -> position on the map, and back. Deterministic; milliseconds for 1,000 points.

    Map units: the clean samples' bounding box is centred on 0 and 2 wide; y grows upwards. An
    attack can drive an embedding many times as far out as any clean one: its distance from the
    mean is held near that of the clean samples, so that its direction decides, and its position
    within a small margin around their box. Up to there both change nothing.

    Args:
        dim: dimensions of the embedding.
        config: how it is built; the rest of the config tells how it was taught.

    Examples:
        >>> import clustcore
        >>> projector = clustcore.load_run("drc-mnist", "cpu").projector
        >>> z = np.zeros((3, projector.dim), np.float32)
        >>> xy = projector.place(z)
        >>> xy.shape, projector.back(xy).shape
        ((3, 2), (3, 64))
    """

    def __init__(self, dim: int, config: ProjectionConfig) -> None:
        super().__init__()
        self.dim, self.config = dim, config
        self.to_map = _Net(dim, 2, config.landmarks, config.width)
        self.to_embedding = _Net(2, dim, config.landmarks, config.width)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("radius", torch.ones(()))  # of 99 % of the clean samples, / scale
        self.register_buffer("extent", torch.ones(2))  # half the clean samples' box
        self.measures: dict[str, float] = {}  # trustworthiness, held_out, error

    def forward(self, z: Float[Tensor, "n {self.dim}"]) -> Float[Tensor, "n 2"]:
        """Positions of embeddings, in map units."""
        xy = self.raw((z - self.mean) / self.scale)
        return xy.sign() * _hold(xy.abs(), self.extent, _BEYOND)

    def raw(self, x: Float[Tensor, "n {self.dim}"]) -> Float[Tensor, "n 2"]:
        """Positions of standardised embeddings, before they are held in the picture."""
        size = x.norm(dim=1, keepdim=True)
        held = _hold(size, self.radius, self.radius / 4)
        return self.to_map(torch.where(size > self.radius, x * (held / size), x))

    def inverse(self, xy: Float[Tensor, "n 2"]) -> Float[Tensor, "n {self.dim}"]:
        """Embeddings at places on the map: the mean of the samples around them."""
        return self.to_embedding(xy) * self.scale + self.mean

    def place(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
        """Positions of embeddings, whatever batch they come in.

        Raises:
            ValueError: not `dim` columns, or not finite.
        """
        return self._batches(self.forward, _checked(z, self.dim, "z"), 2)

    def back(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n d"]:
        """Embeddings at places on the map, whatever batch they come in.

        Raises:
            ValueError: not 2 columns, or not finite.
        """
        return self._batches(self.inverse, _checked(xy, 2, "xy"), self.dim)

    @torch.inference_mode()
    def _batches(self, call: Callable, rows: np.ndarray, columns: int) -> np.ndarray:
        # the last batch is filled up: another shape could sum in another order
        out = np.empty((len(rows), columns), np.float32)
        batch = torch.zeros(_BATCH, rows.shape[1])
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            batch[: len(part)] = torch.from_numpy(part)
            result = call(batch.to(self.mean.device)).cpu().numpy()
            out[start : start + _BATCH] = result[: len(part)]
        return out


def _checked(rows: np.ndarray, columns: int, name: str) -> np.ndarray:
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise ValueError(f"{name}: expected shape (n, {columns}), got {rows.shape}")
    rows = np.ascontiguousarray(rows, np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise ValueError(
            f"{name}: expected finite numbers, got NaN or infinity in {len(bad)} rows, "
            f"the first of them {bad[0]}"
        )
    return rows


def fit(
    z: Float[np.ndarray, "n d"],
    config: ProjectionConfig | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Layout:
    """Make the map of an embedding: fit UMAP once and teach the projector pair, on the CPU.

    Of more than `config.samples` samples a seeded sample of so many decides all but how far the map
    reaches, and the projector places the rest: time grows with their number, memory beside `z` by
    a few numbers a sample. Labels play no part. The same seed gives the same map on the same
    machine.

    Args:
        z: clean embeddings, any units.
        config: how the map is made.
        seed: of all that is drawn.
        on_step: called with (done, total, sentence) between steps; may raise to cancel.

    Raises:
        ValueError: fewer than 20 samples or 2 dimensions, NaN or infinity, or all samples equal.

    Examples:
        A map of three groups, by networks far smaller than the default ones:

        >>> rng = np.random.default_rng(0)
        >>> z = np.concatenate([rng.normal(4 * i, size=(20, 4)) for i in range(3)]).astype(
        ...     np.float32
        ... )
        >>> layout = fit(z, ProjectionConfig(steps=100, batch=32, width=16, landmarks=16))
        >>> layout.xy.shape, layout.trust.shape
        ((60, 2), (60,))
        >>> bool(layout.trustworthiness > 0.7)
        True
    """
    config = config or ProjectionConfig()
    if z.ndim != 2 or len(z) < FEWEST or z.shape[1] < 2:
        raise ValueError(
            f"z: expected at least {FEWEST} samples of at least 2 dimensions, got shape {z.shape}"
        )
    z = _checked(z, z.shape[1], "z")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(z), generator=generator)[: config.samples]
    count = max(5, round(len(order) * config.held_out))
    held, seen = order[:count].sort().values, order[count:].sort().values
    drawn = z if len(order) == len(z) else z[order.sort().values.numpy()]
    projector = Projector(z.shape[1], config)
    projector.mean.copy_(torch.from_numpy(drawn.mean(0)))
    # one scale for all dimensions: UMAP's distances, and a dead dimension is not blown up
    scale = float(np.sqrt(np.square(drawn - drawn.mean(0), dtype=np.float64).mean()))
    if scale <= 1e-6 * float(np.abs(drawn).max()):  # no more than float32's rounding
        raise ValueError(f"z: expected samples that differ, got {len(drawn)} equal ones")
    projector.scale.fill_(scale)

    def standard(rows: np.ndarray) -> Tensor:
        return (torch.from_numpy(rows) - projector.mean) / projector.scale

    projector.radius.copy_(standard(drawn).norm(dim=1).quantile(0.99))
    x = standard(z[seen.numpy()])

    report = on_step or (lambda done, total, sentence: None)
    total = 3 * config.steps
    whole = "" if len(order) == len(z) else f" of {len(z):,}"
    report(0, total, f"Fitting UMAP on {len(seen):,}{whole} samples")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # so that the map does not depend on their number
        taught = _umap(x, config, seed)
        torch.set_num_threads(1)  # umap's import changes it behind torch's back
        _teach_forward(projector, x, taught, generator, report)
        xy = _lay_out(projector, drawn, z)
        _teach_inverse(projector, x, generator, report)
    finally:
        torch.set_num_threads(threads)
    projector.eval().requires_grad_(False)
    report(total, total, "Measuring the map")
    return _measure(projector, z, xy, held.numpy(), seed)


@dataclass(frozen=True)
class _Taught:
    """What UMAP found: positions, the fuzzy graph's edges (each once) and its curve."""

    xy: Float[Tensor, "n 2"]
    heads: Int[Tensor, " e"]
    tails: Int[Tensor, " e"]
    weights: Float[Tensor, " e"]
    a: float
    b: float


def _umap(x: Float[Tensor, "n d"], config: ProjectionConfig, seed: int) -> _Taught:
    count = min(config.neighbours, len(x) - 1)
    rows, distances = nearest(x, count - 1)
    rows = torch.cat([torch.arange(len(x))[:, None], rows], 1)  # umap counts the sample itself
    distances = torch.cat([torch.zeros(len(x), 1), distances], 1)
    # starting from the principal plane keeps the map's coarse order that of the embedding
    _, axes = torch.linalg.eigh(torch.cov(x.double().T))
    plane = x.double() @ axes[:, -2:]
    with _UMAP, warnings.catch_warnings():
        # its transform is not needed
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\] .* not an NNDescent", UserWarning)
        umap = import_umap()
        # exact neighbours take seconds; umap's approximate search compiles for longer than that
        fitted = umap.UMAP(
            n_neighbors=count,
            min_dist=config.min_dist,
            init=plane.float().numpy(),
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(rows.numpy(), distances.numpy()),
            force_approximation_algorithm=True,
        ).fit(x.numpy())
    graph = fitted.graph_.tocoo()
    once = graph.row < graph.col
    heads, tails, weights = (a[once] for a in (graph.row, graph.col, graph.data))
    return _Taught(
        torch.from_numpy(np.asarray(fitted.embedding_, np.float32)),
        torch.from_numpy(heads.astype(np.int64)),
        torch.from_numpy(tails.astype(np.int64)),
        torch.from_numpy(weights.astype(np.float32)),
        float(fitted._a),
        float(fitted._b),
    )


def _teach_forward(
    projector: Projector,
    x: Float[Tensor, "n d"],
    taught: _Taught,
    generator: torch.Generator,
    report: OnStep,
) -> None:
    config, net = projector.config, projector.to_map
    net.begin(x, generator)
    unit = taught.xy.std()
    xy = (taught.xy - taught.xy.mean(0)) / unit
    chance = taught.weights.double().cumsum(0)
    batch, few, spread = config.batch, max(1, config.batch // 5), x.std(0)

    def loss() -> Tensor:
        draw = torch.rand(batch, dtype=torch.float64, generator=generator) * chance[-1]
        edges = torch.searchsorted(chance, draw).clamp_max(len(chance) - 1)
        rows = torch.cat([taught.heads[edges], taught.tails[edges]])
        # slightly off the manifold, a sample keeps its place
        noise = torch.randn(len(rows), x.shape[1], generator=generator) * spread
        near = x[rows] + 0.05 * torch.rand(len(rows), 1, generator=generator) * noise
        # and on the way from one sample to another it is on the way on the map
        a, b = torch.randint(len(x), (2, few), generator=generator)
        way = torch.rand(few, 1, generator=generator)
        out = projector.raw(torch.cat([near, torch.lerp(x[a], x[b], way)]))
        placed, between = out[: 2 * batch], out[2 * batch :]
        strangers = torch.randint(2 * batch, (5, batch), generator=generator)
        pull = _squared(placed[:batch], placed[batch:], unit)
        push = _squared(placed[strangers], placed[:batch], unit)
        # -log q and -log(1 - q) of q = 1 / (1 + a d^2b), five strangers for each neighbour
        entropy = torch.log1p(taught.a * pull**taught.b).mean()
        entropy = entropy + 5 * torch.log1p(1 / (taught.a * push**taught.b)).mean()
        return (
            entropy
            + 10 * F.smooth_l1_loss(placed, xy[rows], beta=0.3)
            + 0.3 * F.smooth_l1_loss(between, torch.lerp(xy[a], xy[b], way))
        )

    _train(net, loss, config, 1, report, "Teaching the map to the projector")


def _squared(a: Tensor, b: Tensor, unit: Tensor) -> Tensor:
    return (a - b).square().sum(-1) * unit**2 + 1e-3  # in UMAP's units; never 0


def _teach_inverse(
    projector: Projector, x: Float[Tensor, "n d"], generator: torch.Generator, report: OnStep
) -> None:
    config, net = projector.config, projector.to_embedding
    with torch.no_grad():
        xy = projector(x * projector.scale + projector.mean)
    net.begin(xy, generator)

    def loss() -> Tensor:
        rows = torch.randint(len(x), (2 * config.batch,), generator=generator)
        # a blur of 1 % of the map's width: a place decodes to the mean of what is around it
        blur = 0.01 * torch.randn(len(rows), 2, generator=generator)
        return F.mse_loss(net(xy[rows] + blur), x[rows])

    _train(net, loss, config, 2, report, "Teaching the way back from the map")


def _train(
    net: _Net,
    loss: Callable[[], Tensor],
    config: ProjectionConfig,
    stage: int,
    report: OnStep,
    sentence: str,
) -> None:
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-4)
    warm = max(1, config.steps // 10)
    for step in range(config.steps):
        if step % 20 == 0:
            report(stage * config.steps + step, 3 * config.steps, sentence)
        rate = 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / config.steps))
        optimizer.param_groups[0]["lr"] = 5e-3 * rate * min(1.0, (step + 1) / warm)
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    with torch.no_grad():
        for parameter in net.parameters():
            # what is stored is in half precision: rounded before anything is drawn or measured
            parameter.copy_(parameter.half())


@torch.no_grad()
def _lay_out(projector: Projector, drawn: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Turn, centre and scale the map by the samples drawn, and place them all.

    It is turned inside the forward network's last layer.
    """
    last = projector.to_map.layers[-1]
    projector.extent.fill_(math.inf)
    xy = torch.from_numpy(projector.place(drawn))

    def turned(degrees: int) -> tuple[Tensor, Tensor]:
        angle = math.radians(degrees)
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        return turn, xy @ turn.T

    def shape(degrees: int) -> float:
        size = np.ptp(turned(degrees)[1].numpy(), axis=0)
        return float(size[0] / max(size[1], 1e-12))

    turn, xy = turned(max(range(0, 180, 2), key=shape))
    low, high = xy.min(0).values, xy.max(0).values
    size = 2 / (high[0] - low[0]).clamp_min(1e-12)
    last.weight.copy_((size * turn @ last.weight).half())
    last.bias.copy_((size * (turn @ last.bias - (low + high) / 2)).half())
    placed = projector.place(z)
    projector.extent.copy_(torch.from_numpy(np.abs(placed).max(0)))  # which moves none of them
    return placed


def _measure(
    projector: Projector, z: np.ndarray, xy: np.ndarray, held: np.ndarray, seed: int
) -> Layout:
    rows = np.arange(len(z))
    if len(z) > MEASURED:
        rows = np.sort(np.random.default_rng(seed).permutation(len(z))[:MEASURED])
    trusted, trust = trustworthiness(z[rows], xy[rows])
    if len(rows) < len(z):
        trust = trust_among(z, xy, rows[:: MEASURED // _AMONG])
    trusted_held, _ = trustworthiness(z[held], xy[held])
    spread = float(projector.scale) * math.sqrt(z.shape[1])
    trip = np.linalg.norm(projector.back(xy[rows]) - z[rows], axis=1)
    error = float(np.median(trip)) / spread
    projector.measures = {"trustworthiness": trusted, "held_out": trusted_held, "error": error}
    return Layout(xy, projector, trusted, trust, error, trusted_held, len(rows))


def save(path: Path, projector: Projector) -> None:
    """Write a projector pair, whole or not at all.

    As safetensors, the networks in half precision, which is what `fit` rounds them to.

    Examples:
        >>> import tempfile
        >>> config = ProjectionConfig(width=8, landmarks=2)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save(Path(place) / "projector.safetensors", Projector(4, config))
        ...     [file.name for file in Path(place).iterdir()]
        ['projector.safetensors']
    """
    parameters = dict(projector.named_parameters())
    tensors = {
        name: (value.half() if name in parameters else value).cpu().contiguous()
        for name, value in projector.state_dict().items()
    }
    about = {
        "format": FORMAT,
        "dim": projector.dim,
        "config": projector.config.to_dict(),
        "measures": projector.measures,
    }
    with atomic(Path(path)) as part:
        save_file(tensors, part, metadata={k: json.dumps(v) for k, v in about.items()})


def load(path: Path) -> Projector:
    """Read a projector pair; it gives the very positions that were given when it was fitted.

    Raises:
        ValueError: the file is missing, damaged, no projector, of another format, or its tensors
            do not fit the config that it names.

    Examples:
        >>> from clustcore import runs
        >>> projector = load(runs.find_run("drc-mnist").folder / "projector.safetensors")
        >>> projector.dim, sorted(projector.measures)
        (64, ['error', 'held_out', 'trustworthiness'])
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a projector, got no such file") from None
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: expected a projector in safetensors, got {error}") from None
    if about.get("format") != json.dumps(FORMAT):
        raise ValueError(
            f"{path}: field 'format': expected a projector of format {FORMAT}, "
            f"got {about.get('format', 'nothing')}"
        )
    try:
        config = ProjectionConfig.from_dict(json.loads(about["config"]))
        projector = Projector(json.loads(about["dim"]), config)
        projector.measures = json.loads(about["measures"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected dim, config and measures, got {error}") from None
    expected = projector.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        want = tuple(expected[name].shape) if name in expected else "no such tensor"
        got = tuple(tensors[name].shape) if name in tensors else "none"
        if want != got:
            raise ValueError(f"{path}: tensor {name!r}: expected {want}, got {got}")
        if not tensors[name].isfinite().all():
            raise ValueError(f"{path}: tensor {name!r}: expected finite numbers")
    projector.load_state_dict(tensors)
    return projector.eval().requires_grad_(False)
