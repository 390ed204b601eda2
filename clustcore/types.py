"""The frozen results that the steps of the story hand on.

Everything here is plain numpy, so that what draws a map never waits for torch. Shapes use n
samples, d embedding dimensions, k clusters, S strengths.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clustcore.display import brief, percent, table

if TYPE_CHECKING:
    import torch


Space = Literal["pixels", "embedding"]
Norm = Literal["linf", "l2"]
SPACES: tuple[Space, ...] = ("pixels", "embedding")
NORMS: tuple[Norm, ...] = ("linf", "l2")


def as_space(name: str) -> Space:
    """The space of this name.

    Raises:
        ValueError: there is none.

    Examples:
        >>> as_space("pixel")
        Traceback (most recent call last):
        ValueError: unknown space 'pixel'; known: pixels, embedding
    """
    if name not in SPACES:
        raise ValueError(f"unknown space {name!r}; known: {', '.join(SPACES)}")
    return name


def as_norm(name: str) -> Norm:
    """The norm of this name.

    Raises:
        ValueError: there is none.

    Examples:
        >>> as_norm("l1")
        Traceback (most recent call last):
        ValueError: unknown norm 'l1'; known: linf, l2
    """
    if name not in NORMS:
        raise ValueError(f"unknown norm {name!r}; known: {', '.join(NORMS)}")
    return name


@runtime_checkable
class Images(Protocol):
    """Images read a slice at a time.

    An array, a tensor, a file mapped into memory, or what makes them when they are asked for. A
    slice of rows gives (m, c, h, w) as an array or tensor: floating point numbers in [0, 1], or
    bytes, which mean 0 to 255.
    """

    shape: tuple[int, ...]  # (n, c, h, w)

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, rows: slice) -> Any:
        """The images in these rows."""


@dataclass(frozen=True)
class Samples:
    """Images and, where there are any, their labels (for figures `measures` alone reads them).

    Examples:
        >>> import clustcore
        >>> digits = clustcore.load_samples("digits")
        >>> digits
        Samples('digits', 'test', 500 images of 1 x 8 x 8, 10 classes)
        >>> digits.x.shape, digits.y[:3].tolist()
        ((500, 1, 8, 8), [1, 7, 6])
    """

    x: NDArray[np.float32]  # (n, c, h, w) in [0, 1]
    y: NDArray[np.int64] | None  # (n,)
    ids: NDArray[np.int64]  # (n,) row numbers in the split they came from
    name: str
    class_names: tuple[str, ...] = ()
    split: str = "test"
    skipped: tuple[str, ...] = ()  # files that could not be read, by name

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray[np.integer]) -> Samples:
        """The samples in these rows, ids kept.

        Examples:
            >>> import clustcore
            >>> digits = clustcore.load_samples("digits")
            >>> digits.take(np.flatnonzero(digits.y == 3))
            Samples('digits', 'test', 39 images of 1 x 8 x 8, 1 class)
        """
        y = None if self.y is None else self.y[rows]
        return dataclasses.replace(self, x=self.x[rows], y=y, ids=self.ids[rows])

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.x.shape[1:]))
        parts = [f"{self.name!r}, {self.split!r}", f"{len(self):,} images of {shape}"]
        classes = 0 if self.y is None else len(np.unique(self.y))
        parts.append(f"{classes} class{'es' * (classes > 1)}" if classes else "no labels")
        parts += [f"{len(self.skipped):,} files skipped"] * bool(self.skipped)
        return f"Samples({', '.join(parts)})"


@dataclass(frozen=True)
class Clustering:
    """What a model says of samples: embedding, scores before softmax, soft assignment.

    Examples:
        >>> s = np.array([[2, 1], [0, 3]], np.float32)
        >>> found = Clustering(z=s, s=s, p=np.array([[0.7, 0.3], [0.05, 0.95]], np.float32))
        >>> found.labels.tolist()
        [0, 1]
    """

    z: NDArray[np.float32]  # (n, d)
    s: NDArray[np.float32]  # (n, k)
    p: NDArray[np.float32]  # (n, k), rows sum to 1

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) the cluster of each sample: the argmax of the scores."""
        return self.s.argmax(1)

    __repr__ = brief


@dataclass(frozen=True)
class AttackResult:
    """One attack at one strength.

    Returned whether or not any sample moved; arrays are CPU tensors.
    """

    x_adv: torch.Tensor | None  # (n, c, h, w), attacks in pixels
    z_adv: torch.Tensor | None  # (n, d), attacks in the embedding
    moved: torch.Tensor  # (n,) bool: the cluster changed, or became the target
    before: torch.Tensor  # (n,) int64
    after: torch.Tensor  # (n,) int64
    eps: (
        torch.Tensor
    )  # (n,) the budget of each sample (pixel units of [0, 1]; rho in the embedding)
    norm: Norm
    space: Space
    l2: torch.Tensor  # (n,) realised L2 of the change (in units of R in the embedding)
    linf: torch.Tensor  # (n,) realised L-inf of the change (likewise)
    steps: int  # gradient steps a sample got at most, all restarts together

    def __repr__(self) -> str:
        parts = [f"{name} {value}" for name, value in self._rows()[2:]]
        return f"AttackResult({self._moved()}, {self._budget()}, {', '.join(parts)})"

    def _repr_html_(self) -> str:
        return table("Attack", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("moved", self._moved()), ("budget", self._budget())]
        if len(self.moved):
            sizes = {"l2": self.l2, "linf": self.linf}
            rows += [(f"median {name}", f"{float(v.median()):.3g}") for name, v in sizes.items()]
        return [*rows, ("steps", f"{self.steps:,}")]

    def _moved(self) -> str:
        return f"{int(self.moved.sum()):,} of {len(self.moved):,} moved"

    def _budget(self) -> str:
        found = sorted({float(eps) for eps in self.eps})
        size = " to ".join(f"{eps:.3g}" for eps in dict.fromkeys(found[:1] + found[-1:]))
        return f"{self.space} {self.norm} {size}".rstrip()


@dataclass(frozen=True)
class PathKey:
    """What identifies a path of a run.

    That is, which attack walks it, where, and how its strength is measured.

    Examples:
        >>> key = PathKey("pgd", "pixels", "linf")
        >>> key.target is None, key.seed
        (True, 0)
    """

    attack: str
    space: Space
    norm: Norm  # always "l2" in the embedding
    target: int | None = None  # the cluster to push into; None leaves the choice to the attack
    seed: int = 0  # of the attack's random draws


class Keyed:
    """What has the key of a path, and answers for the parts of it.

    Examples:
        >>> from clustcore import runs
        >>> path = runs.stored_path(runs.find_run("drc-mnist"), PathKey("pgd", "pixels", "l2"))
        >>> path.key.norm, path.norm
        ('l2', 'l2')
    """

    key: PathKey

    @property
    def attack(self) -> str:
        """Which attack walks it."""
        return self.key.attack

    @property
    def space(self) -> Space:
        """Where it walks."""
        return self.key.space

    @property
    def norm(self) -> Norm:
        """How its strength is measured."""
        return self.key.norm

    @property
    def target(self) -> int | None:
        """The cluster it pushes into, or None."""
        return self.key.target

    @property
    def seed(self) -> int:
        """Of the attack's random draws."""
        return self.key.seed


@dataclass(frozen=True)
class AttackPath(Keyed):
    """One attack on m samples over the S strengths of the dial, as the map draws it.

    `smallest` is the strength at which a sample first leaves its cluster on this path (or first
    enters the target), bisected between the last unmoved and the first moved step; NaN where it
    never does. "Moved at s" means `smallest <= s`.
    """

    strengths: NDArray[np.float32]  # (S,) from 0, ascending
    rows: NDArray[np.int64]  # (m,) row numbers in the samples the run's map was made of
    xy: NDArray[
        np.float32
    ]  # (S, m, 2) positions on the map; xy[0] equals the clean positions exactly
    p: NDArray[np.float32]  # (S, m, k)
    labels: NDArray[np.uint8]  # (S, m)
    smallest: NDArray[np.float32]  # (m,)
    l2: NDArray[np.float32]  # (S, m) realised L2 of the change (units of R in the embedding)
    linf: NDArray[np.float32]  # (S, m) realised L-inf
    key: PathKey
    weights: str = ""  # sha256 of the weights it was made with
    ahead: bool = False  # shipped with the run, or computed now

    def __repr__(self) -> str:
        end = f"{len(self.strengths)} strengths to {self.strengths[-1]:.3g}"
        moved = f"{self._moved()[-1]} moved at the last"
        return f"AttackPath({self._what()}, {end}, {len(self.rows):,} samples, {moved})"

    def _repr_html_(self) -> str:
        strengths = [f"{strength:.3g}" for strength in self.strengths]
        head = ("strength", f"moved, of {len(self.rows):,}")
        return table(self._what(), [head, *zip(strengths, self._moved(), strict=True)])

    def _what(self) -> str:
        into = "" if self.target is None else f" into cluster {self.target}"
        return f"{self.attack}{into}, {self.space} {self.norm}"

    def _moved(self) -> list[str]:
        hits = (self.smallest <= self.strengths[:, None]).sum(1)
        return [percent(int(count) / max(1, len(self.rows))) for count in hits]


@dataclass(frozen=True)
class BarePath(Keyed):
    """An attack's path before it is drawn, which needs no map.

    It is an `AttackPath` with embeddings instead of positions.
    """

    strengths: NDArray[np.float32]  # (S,) from 0, ascending
    rows: NDArray[np.int64]  # (m,) row numbers in the samples that were attacked
    z: NDArray[np.floating]  # (S, m, d); float16 where the path is to be kept
    p: NDArray[np.float32]  # (S, m, k)
    labels: NDArray[np.uint8]  # (S, m)
    smallest: NDArray[np.float32]  # (m,)
    l2: NDArray[np.float32]  # (S, m)
    linf: NDArray[np.float32]  # (S, m)
    key: PathKey
    weights: str = ""  # sha256 of the weights it was made with

    __repr__ = brief


@dataclass(frozen=True)
class Layout:
    """A map: positions from the projector, and how far the picture can be trusted."""

    xy: NDArray[np.float32]  # (n, 2)
    projector: Any  # clustcore.maps.projection.Projector: forward (z -> xy) and inverse (xy -> z)
    trustworthiness: float  # of xy against z, 15 neighbours
    trust: NDArray[
        np.float32
    ]  # (n,) in [0, 1]: share of a sample's 15 nearest on the map that are near in z too
    error: float  # median round-trip error ||inverse(forward(z)) - z|| / spread of z
    held_out: float  # trustworthiness on samples that neither UMAP nor the projector was fitted on
    among: int  # samples that trustworthiness and error look at: all, or a seeded sample of them

    __repr__ = brief


@dataclass(frozen=True)
class Raster:
    """The cluster regions under a map, on a G x G grid; row 0 is the lowest y."""

    bounds: tuple[float, float, float, float]  # x0, y0, x1, y1 in map units
    winner: NDArray[np.uint8]  # (G, G)
    p: NDArray[np.float32]  # (G, G, k)
    margin: NDArray[np.float32]  # (G, G) gap between the two best soft assignments, in [0, 1]
    trusted: NDArray[np.bool_]  # (G, G) False where the projectors' round trip errs

    __repr__ = brief


@dataclass(frozen=True)
class MapArrays:
    """All that Explore draws before torch is loaded."""

    xy: NDArray[np.float32]  # (n, 2)
    z: NDArray[np.float16]  # (n, d)
    p: NDArray[np.float16]  # (n, k)
    labels: NDArray[np.uint8]  # (n,)
    trust: NDArray[np.float32]  # (n,) in [0, 1]
    trustworthiness: float
    held_out: (
        float  # trustworthiness of the projector on points that neither UMAP nor it was fitted on
    )
    error: float
    raster: Raster
    data: str  # which samples: the data set's name
    split: str
    seed: int
    weights: str  # sha256 of the weights it was made with
    among: int = 0  # samples that trustworthiness and error look at; 0: all

    __repr__ = brief


@dataclass(frozen=True)
class MinFlips:
    """The `min_flip` table: the smallest change found that flips each sample.

    It goes beyond the dial's end where need be.
    """

    rows: NDArray[np.int64]  # (m,)
    smallest: NDArray[np.float32]  # (m,) NaN: none up to the end of the domain
    after: NDArray[np.uint8]  # (m,) the cluster it moved into
    norm: str
    space: str
    seed: int
    weights: str

    __repr__ = brief


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval.

    Examples:
        >>> Interval(0.945, low=0.93, high=0.96)
        Interval(0.945 [0.93, 0.96])
    """

    value: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"Interval({self.value:.3g} [{self.low:.3g}, {self.high:.3g}])"


@dataclass(frozen=True)
class Scores:
    """How good a clustering is, or how it fares under an attack.

    Fields that need labels are NaN without them.

    Examples:
        >>> found = Scores(acc=0.95, nmi=0.91, ari=0.9, n=2000, clusters_used=10)
        >>> found
        Scores(acc 0.950, nmi 0.910, ari 0.900, clusters used 10, n 2,000)
        >>> found.acc
        0.95
    """

    acc: float  # clusters matched to classes once, on clean data
    nmi: float
    ari: float
    n: int
    seed: int = 0
    strength: float = 0.0
    moved: Interval = Interval(0.0, 0.0, 0.0)
    acc_rematched: float = math.nan  # matched anew after the attack: hides a relabelling
    acc_interval: Interval = Interval(math.nan, math.nan, math.nan)
    clusters_used: int = 0

    def __repr__(self) -> str:
        return f"Scores({', '.join(' '.join(filter(None, row)) for row in self._rows())})"

    def _repr_html_(self) -> str:
        return table("Scores, with 95 % intervals", self._rows())

    def _rows(self) -> list[tuple[str, str, str]]:
        figures = {"acc": self.acc, "nmi": self.nmi, "ari": self.ari}
        attacked = self.strength > 0 or self.moved.value > 0
        if attacked:
            figures["acc rematched"] = self.acc_rematched
        ends = self.acc_interval
        within = {"acc": "" if math.isnan(ends.low) else f"[{ends.low:.3f}, {ends.high:.3f}]"}
        rows = [
            (name, f"{value:.3f}", within.get(name, ""))
            for name, value in figures.items()
            if not math.isnan(value)
        ]
        if attacked:
            moved = f"{percent(self.moved.value)} at {self.strength:.3g}"
            ends = self.moved
            rows.append(("moved", moved, f"[{percent(ends.low)}, {percent(ends.high)}]"))
        rows += [("clusters used", f"{self.clusters_used}", "")] * bool(self.clusters_used)
        return [*rows, ("n", f"{self.n:,}", "")]
