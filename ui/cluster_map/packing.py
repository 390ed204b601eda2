"""A view as the base of a message: positions, clusters, colours, paths and regions as sections.

Positions are uint16 on one scale for x and y, strengths of a flip uint16 on the scale of the dial.
N points, M paths in ascending order of `smallest`, S strengths, a G x G raster. Of two models the
second one's sections bear the same names behind "b.", on the same scales.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ui.cluster_map.checks import check_view
from ui.cluster_map.colours import COLOURS
from ui.cluster_map.wire import MISSING, NEVER, Sections, content_hash, pack

if TYPE_CHECKING:
    from clustcore.types import AttackPath, Raster
    from ui.cluster_map.view import MapView, Partner


LIMIT = 200_000  # beyond it a stratified base is drawn
SAMPLE = 175_000  # so many points of it: their row numbers travel too, and 1.5 MB are to hold all
ALL_COLOURS = 70_000  # up to here all colours travel with the base, beyond it the one in use


def quantise_smallest(smallest: NDArray[np.floating], end: float) -> NDArray[np.uint16]:
    """ceil(65,534 x smallest / end); 65,535 where it is NaN or beyond the end.

    Rounding up keeps the order of flips and never lets a sample move below its strength.
    """
    # float32 may lie a hundredth of a step above what was meant: such as the end itself
    scaled = np.ceil(np.asarray(smallest, np.float64) * (NEVER - 1) / end - 0.01)
    return np.where(scaled <= NEVER - 1, scaled, NEVER).astype(np.uint16)


def stratified(clusters: NDArray[np.integer], n: int, seed: int = 0) -> NDArray[np.int64]:
    """Rows of about n samples, ascending, each cluster with its share of all and at least one."""
    if n >= len(clusters):
        return np.arange(len(clusters))
    rng, kept = np.random.default_rng(seed), []
    for cluster in np.unique(clusters):
        rows = np.flatnonzero(clusters == cluster)
        kept.append(rng.permutation(rows)[: max(1, round(n * len(rows) / len(clusters)))])
    return np.sort(np.concatenate(kept))


def drawn_rows(clusters: NDArray[np.integer]) -> NDArray[np.int64]:
    """The rows that a map draws where nobody asks for fewer: all up to LIMIT, then about SAMPLE."""
    return stratified(clusters, SAMPLE if len(clusters) > LIMIT else len(clusters))


def _gaps(rows: NDArray[np.integer]) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Ascending rows as steps of one byte from row to row, the first one from -1.

    A step of 255 or more is 255 here, and the next number of the second array.
    """
    steps = np.diff(rows, prepend=-1)
    return np.minimum(steps, 255).astype(np.uint8), steps[steps >= 255].astype(np.uint32)


def sprite_sheet(images: NDArray[Any], columns: int = 40) -> bytes:
    """A PNG sheet of (m, c, h, w) images, in [0, 1] or bytes: what `Sprites.sheet` returns.

    Raises:
        ValueError: another number of channels.
    """
    from PIL import Image

    pixels = to_uint8(images)
    m, c, h, w = pixels.shape
    if c not in (1, 3):
        raise ValueError(f"sprite_sheet: expected images of 1 or 3 channels, got {c}")
    sheet = np.zeros((-(-m // columns) * h, columns * w, c), np.uint8)
    for i, image in enumerate(pixels):
        y, x = i // columns * h, i % columns * w
        sheet[y : y + h, x : x + w] = image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(sheet[..., 0] if c == 1 else sheet).save(buffer, "PNG")
    return buffer.getvalue()


def to_uint8(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images in [0, 1] as bytes; bytes as they are."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Base:
    """The geometry of a view, ready to send."""

    hash: str
    meta: dict[str, Any]
    sections: Sections
    colours: dict[str, NDArray[np.uint8]]  # those that do not travel with the base
    order: NDArray[np.int64]  # path rows in the order sent
    shown: NDArray[np.int64]  # rows of the points drawn, ascending


_bases: OrderedDict[tuple[Any, ...], Base] = OrderedDict()
_lock = threading.Lock()


def base(view: MapView) -> Base:
    """The packed geometry of a view.

    The eight last used ones are kept, by `view.key` and the view's plain fields.

    Raises:
        ValueError: arrays whose shapes do not fit together, or not finite.
    """
    name = _cheap_key(view)
    with _lock:
        if name in _bases:
            _bases.move_to_end(name)
            return _bases[name]
    made = _build(view)
    with _lock:
        _bases[name] = made
        while len(_bases) > 8:
            _bases.popitem(last=False)
    return made


def _cheap_key(view: MapView | Partner) -> tuple[Any, ...]:
    parts: list[Any] = []
    for field in dataclasses.fields(view):
        value = getattr(view, field.name)
        if isinstance(value, np.ndarray):
            value = value.shape
        elif field.name in ("path", "noise") and value is not None:
            # a learned attack that was fitted anew walks another path under the same name
            walked = zlib.crc32(np.ascontiguousarray(value.smallest).tobytes())
            value = (value.key, value.weights, walked)
        elif field.name == "ramps":
            value = tuple(value)
        elif field.name == "raster" and value is not None:
            value = (value.bounds, value.winner.shape)
        elif field.name == "sprites" and value is not None:
            value = (value.size, value.per_sheet, value.columns)
        elif field.name == "partner" and value is not None:
            value = _cheap_key(value)
        elif field.name == "alt":
            continue  # a part, not geometry
        parts.append(value)
    return tuple(parts)


def _build(view: MapView) -> Base:
    check_view(view)
    n, k, path, partner = len(view.xy), view.k, view.path, view.partner
    shown = drawn_rows(view.clusters) if view.shown is None else np.sort(view.shown)
    drawn = path is not None and view.mode != "explore"
    maps: list[MapView | Partner] = [view] if partner is None else [view, partner]
    low, span, inner = _frame(maps, drawn)

    def place(xy: NDArray[Any]) -> NDArray[np.uint16]:
        return np.round((xy - low) / span * 65_535).astype(np.uint16)

    everyone = len(shown) == n
    meta: dict[str, Any] = {
        "mode": view.mode,
        "n": len(shown),
        "total": n,
        "k": k,
        "names": list(view.class_names),
        "origin": [float(low[0]), float(low[1]), span],
        "box": [float(v) for v in inner.ravel()],
        "strengths": [],
        "end": 0.0,
        "attack": view.attack_name,
        "unit": view.strength_unit,
        "norm": "",
        "space": "",
        "target": None,
        "paths": 0,
        "noise_target": None if view.noise is None else view.noise.target,
        "sizes": np.bincount(view.clusters, minlength=k).tolist(),
        "probe": view.probe,
        "raster": None,
        "sprites": None,
    }
    if view.sprites is not None:
        s = view.sprites
        meta["sprites"] = {"h": s.size[0], "w": s.size[1], "per": s.per_sheet, "columns": s.columns}
    sections: Sections = {"xy": place(view.xy[shown])}
    if not everyone:
        sections["row_gaps"], sections["row_far"] = _gaps(shown)
    sections["clusters"] = view.clusters[shown].astype(np.uint8)
    colours: dict[str, NDArray[np.uint8]] = {}
    if view.labels is not None:
        colours["label"] = np.clip(view.labels, 0, MISSING)[shown].astype(np.uint8)
    colours |= _ramps(view, shown)
    meta["colours"] = ["cluster", *colours]
    words = {name: COLOURS[name] for name in view.ramps}
    meta["ramps"] = {name: [one.low, one.high, one.note] for name, one in words.items()}
    if len(shown) <= ALL_COLOURS or partner is not None:
        sections |= {f"colour.{name}": values for name, values in colours.items()}
        colours = {}
    order = np.zeros(0, np.int64)
    if path is not None:
        end = _end(view)
        order = np.argsort(path.smallest, kind="stable")  # NaN, never moved, comes last
        meta |= {"strengths": [float(s) for s in path.strengths], "end": end, "norm": path.norm}
        meta |= {"space": path.space, "target": path.target, "paths": len(order)}
        sections |= _moves(path, view.noise, order, end, place if drawn else None)
    if partner is not None:
        meta |= {"name": view.name, "aside": view.aside}
        sizes = np.bincount(partner.clusters, minlength=k).tolist()
        meta["partner"] = {"name": partner.name, "aside": partner.aside, "sizes": sizes}
        second = _second(view, partner, shown, place)
        sections |= {f"b.{name}": values for name, values in second.items()}
    if view.raster is not None:
        box, regions = _regions(view.raster, low, span)
        meta["raster"], sections = box, sections | regions
    places = sections["xy"].tobytes() + sections.get("b.xy", sections["xy"][:0]).tobytes()
    meta["layout"] = hashlib.sha256(places + low.tobytes()).hexdigest()[:12]
    return Base(content_hash(meta, sections), meta, sections, colours, order, shown)


def _second(
    view: MapView,
    partner: Partner,
    shown: NDArray[np.int64],
    place: Callable[[NDArray[Any]], NDArray[np.uint16]],
) -> Sections:
    """The sections of the other model, without the prefix of their names."""
    second: Sections = {"xy": place(partner.xy[shown])}
    second["clusters"] = partner.clusters[shown].astype(np.uint8)
    second |= {f"colour.{name}": values for name, values in _ramps(partner, shown).items()}
    if partner.path is not None:
        sort = np.argsort(partner.path.smallest, kind="stable")
        second |= _moves(partner.path, partner.noise, sort, _end(view), place)
    return second


def _regions(raster: Raster, low: NDArray[np.float64], span: float) -> tuple[list[float], Sections]:
    """Where the raster lies, in the units of the positions, and its sections."""
    x0, y0, x1, y1 = raster.bounds
    box = [(x0 - low[0]) / span, (y0 - low[1]) / span, (x1 - low[0]) / span, (y1 - low[1]) / span]
    sections: Sections = {"winner": raster.winner.astype(np.uint8)}
    sections["margin"] = np.round(np.clip(raster.margin, 0, 1) * 255).astype(np.uint8)
    sections["trusted"] = raster.trusted.astype(np.uint8)
    return [float(value) for value in box], sections


def _frame(
    maps: Sequence[MapView | Partner], drawn: bool
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """The corner and the span of all positions, and in these units what the whole map shows.

    That is nearly all points, and paths but for their furthest ends.
    """
    points = np.concatenate([one.xy for one in maps])
    paths = [one.path.xy.reshape(-1, 2) for one in maps if drawn and one.path is not None]
    everywhere = np.concatenate([points, *paths]).astype(np.float64)
    low = everywhere.min(0)
    span = float((everywhere.max(0) - low).max()) or 1.0
    inner = np.percentile(points, (0.2, 99.8), axis=0)
    if paths:
        reach = np.percentile(np.concatenate(paths), (2, 98), axis=0)
        inner = np.stack([np.minimum(inner[0], reach[0]), np.maximum(inner[1], reach[1])])
    return low, span, (inner - low) / span


def _moves(
    path: AttackPath,
    noise: AttackPath | None,
    order: NDArray[np.int64],
    end: float,
    place: Callable[[NDArray[Any]], NDArray[np.uint16]] | None,
) -> Sections:
    """A path and its noise control; the way through the map only where that is drawn."""
    sections: Sections = {"path_row": path.rows[order].astype(np.uint32)}
    sections["smallest"] = quantise_smallest(path.smallest[order], end)
    if place is not None:
        sections["paths"] = place(path.xy[:, order])
        sections["path_clusters"] = path.labels[:, order].astype(np.uint8)
    if noise is not None:
        sections["noise"] = np.sort(quantise_smallest(noise.smallest, end))
    return sections


def _end(view: MapView) -> float:
    assert view.path is not None
    return float(view.path.strengths[-1] if view.end is None else view.end)


def _ramps(view: MapView | Partner, shown: NDArray[np.int64]) -> dict[str, NDArray[np.uint8]]:
    """A model's own colourings on a ramp, one byte a point, 255 where there is no value."""
    return {
        name: np.where(np.isnan(values), MISSING, np.nan_to_num(values) * 254 + 0.5).astype(
            np.uint8
        )[shown]
        for name, values in view.ramps.items()
    }


def message(
    base: Base, parts: dict[str, Any], sections: Sections, tiles: dict[int, bytes], whole: bool
) -> bytes:
    """The bytes for the browser: all parts, the base where `whole`, sprite sheets asked for."""
    header: dict[str, Any] = {"base": base.hash, "whole": whole, "parts": parts}
    header["twin"] = base.meta["mode"] == "compare"  # known to a mount that has no base yet
    everything = dict(sections)
    if whole:
        header["meta"] = base.meta
        everything = base.sections | everything
    for number, png in tiles.items():
        everything[f"tile.{number}"] = np.frombuffer(png, np.uint8)
    return pack(header, everything)


def inside(polygon: NDArray[np.floating], xy: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(n,) which of the (n, 2) points lie inside the (v, 2) polygon, by the even-odd rule."""
    x, y = xy[:, 0].astype(np.float64), xy[:, 1].astype(np.float64)
    result = np.zeros(len(xy), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        if ay != by:
            result ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return result
