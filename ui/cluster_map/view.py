"""What a page tells the map and hears from it, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clustcore.types import AttackPath, Raster

Mode = Literal["explore", "attack", "compare"]


@dataclass(frozen=True)
class Sprites:
    """Where the hover card gets its images: PNG sheets, each sent when a hover first needs it.

    Image i is in sheet i // per_sheet, row-major. `sheet(j)` returns the PNG bytes of sheet j, for
    example `functools.partial(clustcore.datasets.shipped.sheet, "mnist")`; for other data
    `clustcore.datasets.shipped.encode_sheet` makes one.
    """

    sheet: Callable[[int], bytes]
    size: tuple[int, int] = (28, 28)  # height, width of one image
    per_sheet: int = 1000
    columns: int = 40


@dataclass(frozen=True)
class Partner:
    """Another model on the same samples, in the second panel of a comparison.

    Its clusters bear the numbers of the first model's, and its positions are turned onto the first
    one's map. `path` and `noise` have the rows and strengths of the view's.
    """

    name: str  # head of its panel
    aside: str  # a line at the right of it
    xy: NDArray[np.float32]  # (N, 2)
    clusters: NDArray[np.uint8]  # (N,)
    # of each colouring on a ramp: (N,) in [0, 1], NaN where a sample has none
    ramps: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    path: AttackPath | None = None
    noise: AttackPath | None = None


@dataclass(frozen=True)
class MapView:
    """What the map draws. N samples, k clusters; packed once per `key` and sent once per mount.

    In mode "explore" the whole map stands still and `path` serves the smallest flip only. In
    mode "attack" the samples of `path` move with the dial; without a path the dial is hidden. Mode
    "compare" does so for two models in two panels, under one dial, camera, hover, pin and
    selection.
    """

    key: str  # cheap name of exactly this content: run, weights, attack, space, norm, target, shown
    mode: Mode
    xy: NDArray[np.float32]  # (N, 2) clean positions
    clusters: NDArray[np.uint8]  # (N,) assigned cluster
    k: int
    # of each colouring on a ramp: (N,) in [0, 1], NaN where a sample has none
    ramps: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    labels: NDArray[np.integer] | None = None  # (N,) true labels, where the data has them
    class_names: tuple[str, ...] = ()  # what labels are called; empty: their number
    raster: Raster | None = None  # cluster regions; drawn where the options ask for it
    path: AttackPath | None = None  # rows are row numbers in xy
    noise: AttackPath | None = None  # random noise of equal size: the control on the dial
    end: float | None = None  # end of the dial; the last strength of `path` where None
    attack_name: str = "attack"  # as written on the curve, such as "margin PGD"
    strength_unit: str = ""  # as written beside the strength, such as "L∞"
    shown: NDArray[np.integer] | None = None  # rows to draw as base points; None: all (up to LIMIT)
    sprites: Sprites | None = None
    probe: bool = False  # a click on empty space asks `on_probe`
    alt: str = ""  # the status sentence, read out for the map as a whole
    partner: Partner | None = None  # the other model, in mode "compare"
    name: str = ""  # head of the first panel there
    aside: str = ""  # a line at the right of it


@dataclass(frozen=True)
class MapOptions:
    """How the map is drawn. A change costs a small patch, never the geometry.

    `highlight` marks rows (from a table, the gallery): all others step back. `highlight_cluster`
    does it for a cluster.
    """

    colour: str = "cluster"  # a key of COLOURS
    show_labels: bool = True
    only_moved: bool = False
    tint: bool = False  # regions: winner's hue, opacity = margin
    edges: bool = False  # regions: line where the winner changes
    trust: bool = False  # regions: hatch where the picture is unreliable
    highlight: Sequence[int] | NDArray[np.integer] | None = None
    highlight_cluster: int | None = None
    note: str = ""  # a line over the map, such as "paths not computed yet"


@dataclass(frozen=True)
class Pin:
    """What is known of the pinned sample; fields that do not apply stay None.

    S strengths (those of the view's path), images are (c, h, w) in [0, 1]. In the embedding there
    are no attacked images: `decoded` is all there is to see, where the model has a decoder.
    """

    row: int
    image: NDArray[np.floating] | NDArray[np.uint8] | None = None  # (c, h, w), the clean image
    frames: NDArray[np.floating] | None = None  # (S, c, h, w) the attacked images
    decoded: NDArray[np.floating] | None = None  # (S, c, h, w) the embeddings, decoded; [0]: clean
    p: NDArray[np.floating] | None = None  # (S, k) soft assignments; (1, k) in mode "explore"
    xy: NDArray[np.floating] | None = None  # (S, 2) positions, where the row is not in the path
    clusters: NDArray[np.integer] | None = None  # (S,) clusters, likewise
    l2: NDArray[np.floating] | None = None  # (S,) realised L2 of the change
    smallest: float | None = None  # NaN: none up to the dial's end
    smallest_note: str = ""  # explore: what the number is, such as "L∞, min_flip"
    reconstruction: NDArray[np.floating] | None = None  # (c, h, w)
    neighbours: NDArray[np.integer] | None = None  # (8,) nearest rows in the embedding
    near: NDArray[np.bool_] | None = None  # (8,) is this neighbour near on the map too?
    neighbour_images: NDArray[np.floating] | NDArray[np.uint8] | None = None  # (8, c, h, w)
    note: str = ""  # a line under the images, such as "decoded from the attacked embedding"


@dataclass(frozen=True)
class Probe:
    """The model's answer for a spot on the map. `x`, `y` are the ones `on_probe` got."""

    x: float
    y: float
    p: NDArray[np.floating]  # (k,)
    image: NDArray[np.floating] | None = None  # (c, h, w) decoded there
    trusted: bool = True  # False: inside the trust mask
    note: str = ""  # such as "no decoder: nearest samples instead"


@dataclass(frozen=True)
class MapState:
    """Where the map stands, as far as the browser has told."""

    strength: float
    pin: int | None
    selection: NDArray[np.int64]  # rows, ascending; empty where nothing is selected
    selected_by: str  # "lasso", "box", "cluster 4", "flow 4 -> 9, strength 0.080", or ""
    camera: tuple[float, float, float, float] | None  # x0, y0, x1, y1 in map units; None: whole map
