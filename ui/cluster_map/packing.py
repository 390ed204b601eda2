"""The map's bytes: a JSON header, then little-endian sections at offsets divisible by 4.

    "DMAP" | uint32 length of the header | header, padded with spaces | sections

A message is either *whole* (the geometry, called the base, and everything that changes more often,
called the parts) or a *patch* (the parts alone; its header names the hash of the base it belongs
to). Parts are always complete, so a patch that was overtaken by the next one is no loss. Positions
are uint16 on one scale for x and y, strengths of a flip uint16 on the scale of the dial. N points,
M paths in ascending order of `smallest`, S strengths, a G x G raster. Of two models the second
one's sections bear the same names behind "b.", on the same scales.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clustcore.types import AttackPath
    from ui.cluster_map.view import MapView, Partner, Pin, Probe

FORMAT = 1
MAGIC = b"DMAP"
LIMIT = 200_000  # beyond it a stratified base is drawn
SAMPLE = 175_000  # so many points of it: their row numbers travel too, and 1.5 MB are to hold all
ALL_COLOURS = 70_000  # up to here all four colours travel with the base, beyond it the one in use
NEVER = 65_535  # `smallest` of a sample that no strength of the path moves
MISSING = 255  # colour of a sample without a value
_TYPES = {"uint8": "u1", "int8": "i1", "uint16": "<u2", "uint32": "<u4", "float32": "<f4"}

Sections = dict[str, NDArray[Any]]


def pack(header: dict[str, Any], sections: Sections) -> bytes:
    """One message; `format` and the list of sections join the header, offsets count from its end.

    An array's dtype is one of uint8, int8, uint16, uint32, float32.
    """
    listed, blobs, offset = [], [], 0
    for name, array in sections.items():
        blob = np.ascontiguousarray(array, _TYPES[array.dtype.name]).tobytes()
        place = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": offset}
        listed.append({"name": name, **place})
        blobs.append(blob + b"\0" * (-len(blob) % 4))
        offset += len(blobs[-1])
    text = json.dumps(
        {"format": FORMAT, **header, "sections": listed}, separators=(",", ":"), allow_nan=False
    ).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([MAGIC, len(text).to_bytes(4, "little"), text, *blobs])


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
    """Ascending rows as steps of one byte from row to row, the first one from -1; a step of 255 or
    more is 255 here, and the next number of the second array.
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
            about = (value.attack, value.space, value.norm, value.target, value.seed, value.weights)
            # a learned attack that was fitted anew walks another path under the same name
            value = (*about, zlib.crc32(np.ascontiguousarray(value.smallest).tobytes()))
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
    check(view)
    n, k, path, partner = len(view.xy), view.k, view.path, view.partner
    shown = drawn_rows(view.clusters) if view.shown is None else np.sort(view.shown)
    drawn = path is not None and view.mode != "explore"
    maps = [view] if partner is None else [view, partner]
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
    colours |= _colours(view, shown, view.path and _end(view))
    meta["colours"] = ["cluster", *colours]
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
        second = {"xy": place(partner.xy[shown])}
        second["clusters"] = partner.clusters[shown].astype(np.uint8)
        there = _colours(partner, shown, partner.path and _end(view))
        second |= {f"colour.{name}": values for name, values in there.items()}
        if partner.path is not None:
            sort = np.argsort(partner.path.smallest, kind="stable")
            second |= _moves(partner.path, partner.noise, sort, _end(view), place)
        sections |= {f"b.{name}": values for name, values in second.items()}
    if view.raster is not None:
        r = view.raster
        box = [(r.bounds[0] - low[0]) / span, (r.bounds[1] - low[1]) / span]
        box += [(r.bounds[2] - low[0]) / span, (r.bounds[3] - low[1]) / span]
        meta["raster"] = [float(v) for v in box]
        sections["winner"] = r.winner.astype(np.uint8)
        sections["margin"] = np.round(np.clip(r.margin, 0, 1) * 255).astype(np.uint8)
        sections["trusted"] = r.trusted.astype(np.uint8)
    places = sections["xy"].tobytes() + sections.get("b.xy", sections["xy"][:0]).tobytes()
    meta["layout"] = hashlib.sha256(places + low.tobytes()).hexdigest()[:12]
    return Base(_hash(meta, sections), meta, sections, colours, order, shown)


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


def _hash(header: Any, sections: Sections) -> str:
    """Twenty hex digits that name this content."""
    state = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sections.items():
        state.update(f"{name}{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:20]


def _end(view: MapView) -> float:
    assert view.path is not None
    return float(view.path.strengths[-1] if view.end is None else view.end)


def _colours(
    view: MapView | Partner, shown: NDArray[np.int64], end: float | None
) -> dict[str, NDArray[np.uint8]]:
    """A model's own colourings besides the cluster, one byte a point, 255 where there is none."""
    colours: dict[str, NDArray[np.uint8]] = {}
    if view.confidence is not None:
        scaled = np.round(np.clip(view.confidence, 0, 1) * 254)
        colours["confidence"] = scaled[shown].astype(np.uint8)
    if view.path is not None:
        share = np.nan_to_num(view.path.smallest.astype(np.float64) / end, nan=1.0)
        values = np.full(len(view.xy), MISSING, np.uint8)
        values[view.path.rows] = np.round(np.clip(share, 0, 1) * 254)
        colours["fragility"] = values[shown]
    return colours


def check(view: MapView) -> None:
    """Check a view's arrays once, at the door.

    Raises:
        ValueError: what, where, expected, got.
    """
    n = len(view.xy)
    _shape("MapView.xy", view.xy, (n, 2))
    if n == 0:
        raise ValueError("MapView.xy: expected at least one sample, got none")
    _finite("MapView.xy", view.xy)
    if not 1 <= view.k <= MISSING:
        raise ValueError(f"MapView.k: expected 1 to {MISSING} clusters, got {view.k}")
    _shape("MapView.clusters", view.clusters, (n,))
    if np.min(view.clusters) < 0 or np.max(view.clusters) >= view.k:
        worst = int(np.max(view.clusters))
        raise ValueError(f"MapView.clusters: expected 0 to {view.k - 1}, got {worst}")
    if view.confidence is not None:
        _shape("MapView.confidence", view.confidence, (n,))
        _finite("MapView.confidence", view.confidence)
    if view.labels is not None:
        _shape("MapView.labels", view.labels, (n,))
    if view.shown is not None:
        _rows("MapView.shown", view.shown, n)
        if len(view.shown) == 0:
            raise ValueError("MapView.shown: expected at least one row, got none")
    if view.mode not in ("explore", "attack", "compare"):
        known = "'explore', 'attack' or 'compare'"
        raise ValueError(f"MapView.mode: expected {known}, got {view.mode!r}")
    for name in ("path", "noise"):
        if getattr(view, name) is not None:
            _check_path(f"MapView.{name}", getattr(view, name), n, view.k)
    if view.noise is not None and view.path is None:
        raise ValueError("MapView.noise: expected a path beside it, got none")
    _check_partner(view)
    if view.end is not None and not (math.isfinite(view.end) and view.end > 0):
        raise ValueError(f"MapView.end: expected a number above 0, got {view.end}")
    if view.raster is not None:
        g = view.raster.winner.shape
        if len(g) != 2 or g[0] != g[1]:
            raise ValueError(f"MapView.raster.winner: expected a square grid, got shape {g}")
        _shape("MapView.raster.margin", view.raster.margin, g)
        _shape("MapView.raster.trusted", view.raster.trusted, g)
        _finite("MapView.raster.margin", view.raster.margin)


def _check_partner(view: MapView) -> None:
    partner, n = view.partner, len(view.xy)
    if (view.mode == "compare") != (partner is not None):
        got = "none" if partner is None else "one"
        raise ValueError(f"MapView.partner: mode {view.mode!r}: got {got}; 'compare' alone has one")
    if partner is None:
        return
    _shape("Partner.xy", partner.xy, (n, 2))
    _finite("Partner.xy", partner.xy)
    _shape("Partner.clusters", partner.clusters, (n,))
    if np.min(partner.clusters) < 0 or np.max(partner.clusters) >= view.k:
        worst = int(np.max(partner.clusters))
        raise ValueError(f"Partner.clusters: expected 0 to {view.k - 1}, got {worst}")
    if partner.confidence is not None:
        _shape("Partner.confidence", partner.confidence, (n,))
        _finite("Partner.confidence", partner.confidence)
    for name in ("path", "noise"):
        one, other = getattr(view, name), getattr(partner, name)
        if other is not None:
            _check_path(f"Partner.{name}", other, n, view.k)
        if (one is None) != (other is None) or not (
            one is None
            or (
                np.array_equal(np.sort(one.rows), np.sort(other.rows))
                and np.array_equal(one.strengths, other.strengths)
            )
        ):
            raise ValueError(
                f"Partner.{name}: expected the samples and strengths of the view's, got others"
            )


def _check_path(where: str, path: AttackPath, n: int, k: int) -> None:
    steps, m = len(path.strengths), len(path.rows)
    if steps < 2 or path.strengths[0] != 0 or not (np.diff(path.strengths) > 0).all():
        got = np.asarray(path.strengths).tolist()
        raise ValueError(f"{where}.strengths: expected ascending strengths from 0, got {got}")
    _shape(f"{where}.xy", path.xy, (steps, m, 2))
    _finite(f"{where}.xy", path.xy)
    _shape(f"{where}.labels", path.labels, (steps, m))
    _shape(f"{where}.smallest", path.smallest, (m,))
    _rows(f"{where}.rows", path.rows, n)
    if m and path.labels.max() >= k:
        raise ValueError(f"{where}.labels: expected 0 to {k - 1}, got {int(path.labels.max())}")


def _shape(where: str, array: Any, shape: tuple[int, ...]) -> None:
    if np.shape(array) != shape:
        raise ValueError(f"{where}: expected shape {shape}, got {np.shape(array)}")


def _finite(where: str, array: Any) -> None:
    bad = np.size(array) - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{where}: expected finite numbers, got NaN or infinity {bad} times")


def _rows(where: str, rows: Any, n: int) -> None:
    rows = np.asarray(rows)
    if rows.ndim != 1 or (len(rows) and (rows.min() < 0 or rows.max() >= n)):
        raise ValueError(
            f"{where}: expected row numbers from 0 to {n - 1}, got {rows.tolist()!r:.60}"
        )
    if len(np.unique(rows)) != len(rows):
        raise ValueError(f"{where}: expected each row once, got some twice")


def pin_part(pin: Pin | None, base: Base) -> tuple[dict[str, Any] | None, Sections]:
    """What is known of the pinned sample as header entry and sections; None: nothing known.

    A change, of the image or of the decoded one, is sent as signed bytes with one scale per
    strength, so that a small strength keeps its full contrast.

    Raises:
        ValueError: arrays whose shapes do not fit together, or not finite.
    """
    if pin is None:
        return None, {}
    sections: Sections = {}
    smallest = None if pin.smallest is None or not math.isfinite(pin.smallest) else pin.smallest
    header: dict[str, Any] = {
        "row": int(pin.row),
        "note": pin.note,
        "smallest": None if smallest is None else float(smallest),
        "searched": pin.smallest is not None,
        "smallest_note": pin.smallest_note,
    }
    steps = 1 if base.meta["mode"] == "explore" else len(base.meta["strengths"])
    if pin.image is not None:
        if np.ndim(pin.image) != 3:
            raise ValueError(f"Pin.image: expected shape (c, h, w), got {np.shape(pin.image)}")
        sections["pin.image"] = _image("Pin.image", pin.image)
    if pin.frames is not None:
        if pin.image is None:
            raise ValueError("Pin.frames: expected Pin.image beside them, got none")
        _shape("Pin.frames", pin.frames, (steps, *np.shape(pin.image)))
        _finite("Pin.frames", pin.frames)
        clean = sections["pin.image"].astype(np.float32) / 255
        sections["pin.change"], sections["pin.scale"] = _change(pin.frames, clean)
    if pin.decoded is not None:
        if pin.image is None:
            raise ValueError("Pin.decoded: expected Pin.image beside it, got none")
        _shape("Pin.decoded", pin.decoded, (steps, *np.shape(pin.image)))
        _finite("Pin.decoded", pin.decoded)
        sections["pin.decoded"] = _image("Pin.decoded", pin.decoded[0])
        change, scale = _change(pin.decoded, np.asarray(pin.decoded[0], np.float32))
        sections["pin.decoded_change"], sections["pin.decoded_scale"] = change, scale
    if pin.p is not None:
        _shape("Pin.p", pin.p, (steps, base.meta["k"]))
        _finite("Pin.p", pin.p)
        sections["pin.p"] = np.asarray(pin.p, np.float32)
    if pin.xy is not None:
        _shape("Pin.xy", pin.xy, (steps, 2))
        _finite("Pin.xy", pin.xy)
        x0, y0, span = base.meta["origin"]
        sections["pin.xy"] = ((np.asarray(pin.xy) - [x0, y0]) / span).astype(np.float32)
    if pin.clusters is not None:
        _shape("Pin.clusters", pin.clusters, (steps,))
        sections["pin.clusters"] = np.asarray(pin.clusters).astype(np.uint8)
    if pin.l2 is not None:
        _shape("Pin.l2", pin.l2, (steps,))
        _finite("Pin.l2", pin.l2)
        sections["pin.l2"] = np.asarray(pin.l2, np.float32)
    if pin.reconstruction is not None:
        sections["pin.reconstruction"] = _image("Pin.reconstruction", pin.reconstruction)
    if pin.neighbours is not None:
        m = len(pin.neighbours)
        _rows("Pin.neighbours", pin.neighbours, base.meta["total"])
        sections["pin.neighbours"] = np.asarray(pin.neighbours).astype(np.uint32)
        if pin.near is not None:
            _shape("Pin.near", pin.near, (m,))
            sections["pin.near"] = np.asarray(pin.near).astype(np.uint8)
        if pin.neighbour_images is not None:
            if np.ndim(pin.neighbour_images) != 4 or len(pin.neighbour_images) != m:
                got = np.shape(pin.neighbour_images)
                raise ValueError(f"Pin.neighbour_images: expected ({m}, c, h, w), got {got}")
            images = _image("Pin.neighbour_images", pin.neighbour_images)
            sections["pin.neighbour_images"] = images
    return header, sections


def _change(
    frames: NDArray[np.floating], clean: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """What (S, c, h, w) images have changed of a clean one, in parts of 127 of (S,) scales."""
    change = np.asarray(frames, np.float32) - clean
    # The step at strength 0 is the clean image; its rounding to bytes is no change.
    change[0] = 0
    scale = np.abs(change).reshape(len(change), -1).max(1)
    whole = np.where(scale > 0, scale, 1).reshape(-1, 1, 1, 1)
    return np.round(change / whole * 127).astype(np.int8), scale.astype(np.float32)


def _image(where: str, image: Any) -> NDArray[np.uint8]:
    _finite(where, image)
    if np.shape(image)[-3] not in (1, 3):
        raise ValueError(f"{where}: expected 1 or 3 channels, got shape {np.shape(image)}")
    return to_uint8(image)


def lone_part(row: int | None, view: MapView, base: Base) -> dict[str, Any] | None:
    """Where a pinned row is that the base does not draw, on each map, and what is known of it; None
    where it is drawn, or nothing pinned.
    """
    if row is None or (
        (at := np.searchsorted(base.shown, row)) < len(base.shown) and base.shown[at] == row
    ):
        return None
    x0, y0, span = base.meta["origin"]
    places = [
        {
            "x": float((one.xy[row, 0] - x0) / span),
            "y": float((one.xy[row, 1] - y0) / span),
            "cluster": int(one.clusters[row]),
        }
        for one in (view, view.partner)
        if one is not None
    ]
    label = None if view.labels is None else int(view.labels[row])
    return {"row": int(row), "label": label, "places": places}


def probe_part(probe: Probe | None, base: Base) -> tuple[dict[str, Any] | None, Sections]:
    """The answer to a probe as header entry and sections.

    Raises:
        ValueError: p is not one number per cluster, or not finite.
    """
    if probe is None:
        return None, {}
    _shape("Probe.p", probe.p, (base.meta["k"],))
    _finite("Probe.p", probe.p)
    x0, y0, span = base.meta["origin"]
    header = {
        "x": (float(probe.x) - x0) / span,
        "y": (float(probe.y) - y0) / span,
        "trusted": bool(probe.trusted),
        "note": probe.note,
    }
    sections: Sections = {"probe.p": np.asarray(probe.p, np.float32)}
    if probe.image is not None:
        sections["probe.image"] = _image("Probe.image", probe.image)
    return header, sections


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


def digest(parts: dict[str, Any], sections: Sections) -> str:
    """A short hash of the parts: unchanged parts are not sent again."""
    return _hash(parts, sections)


def inside(polygon: NDArray[np.floating], xy: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(n,) which of the (n, 2) points lie inside the (v, 2) polygon, by the even-odd rule."""
    x, y = xy[:, 0].astype(np.float64), xy[:, 1].astype(np.float64)
    result = np.zeros(len(xy), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        if ay != by:
            result ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return result
