"""Maps of random numbers, and a decoder of their messages written from its description alone."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any

import numpy as np

from clustcore.types import AttackPath, PathKey, Raster
from ui.cluster_map import MapView, Partner, Pin, packing

DTYPES = {"uint8": "B", "int8": "b", "uint16": "<u2", "uint32": "<u4", "float32": "<f4"}


def decode(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A message by its description alone."""
    magic, length = struct.unpack_from("<4sI", data)
    assert magic == b"DMAP"
    assert length % 4 == 0
    header = json.loads(data[8 : 8 + length])
    sections = {}
    for place in header["sections"]:
        assert place["offset"] % 4 == 0
        start = 8 + length + place["offset"]
        count = int(np.prod(place["shape"]))
        array = np.frombuffer(data, DTYPES[place["dtype"]], count, start)
        sections[place["name"]] = array.reshape(place["shape"])
    return header, sections


def make_path(xy: np.ndarray, m: int = 40, k: int = 4, seed: int = 0) -> AttackPath:
    """m paths over 11 strengths that start where the samples are."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(xy))[:m])
    strengths = (0.3 * (np.arange(11) / 10) ** 1.6).astype(np.float32)
    steps = rng.normal(0, 0.1, (11, m, 2)).astype(np.float32)
    steps[0] = 0
    labels = rng.integers(0, k, (11, m)).astype(np.uint8)
    smallest = rng.uniform(0.001, 0.4, m).astype(np.float32)
    smallest[smallest > 0.3] = np.nan
    return AttackPath(
        strengths=strengths,
        rows=rows,
        xy=xy[rows] + steps.cumsum(0),
        p=np.full((11, m, k), 1 / k, np.float32),
        labels=labels,
        smallest=smallest,
        l2=np.zeros((11, m), np.float32),
        linf=np.zeros((11, m), np.float32),
        key=PathKey("pgd", "pixels", "linf"),
    )


def make_view(n: int = 200, **changes: Any) -> MapView:
    """A view of n samples in 4 clusters."""
    rng = np.random.default_rng(1)
    xy = rng.normal(0, 3, (n, 2)).astype(np.float32)
    g = 8
    raster = Raster(
        bounds=(-9.0, -9.0, 9.0, 9.0),
        winner=rng.integers(0, 4, (g, g)).astype(np.uint8),
        p=np.full((g, g, 4), 0.25, np.float32),
        margin=rng.uniform(0, 1, (g, g)).astype(np.float32),
        trusted=rng.uniform(0, 1, (g, g)) > 0.5,
    )
    values: dict[str, Any] = {
        "key": str(sorted(changes)),
        "mode": "attack",
        "xy": xy,
        "clusters": rng.integers(0, 4, n).astype(np.uint8),
        "k": 4,
        "ramps": {"confidence": rng.uniform(0.25, 1, n).astype(np.float32)},
        "labels": rng.integers(0, 4, n),
        "raster": raster,
        "path": make_path(xy),
        "noise": make_path(xy, seed=3),
    }
    if changes.get("path", values["path"]) is not None:
        values["ramps"] |= {"fragility": shares(values["path"], n)}
    return MapView(**(values | changes))


def shares(path: AttackPath, n: int) -> np.ndarray:
    """Of n samples the share of the dial that moves each: NaN without a path, 1 where none does."""
    found = dict(zip(path.rows.tolist(), path.smallest.tolist(), strict=True))
    end = path.strengths[-1]
    values = [found[i] / end if i in found else np.nan for i in range(n)]
    for i, smallest in found.items():
        values[i] = 1.0 if np.isnan(smallest) else values[i]
    return np.array(values, np.float32).clip(0, 1)


def whole(view: MapView, parts: dict[str, Any] | None = None) -> tuple[dict[str, Any], Any]:
    """Header and sections of a view's first message."""
    packing._bases.clear()
    return decode(packing.message(packing.base(view), parts or {}, {}, {}, whole=True))


def back(packed: np.ndarray, header: dict[str, Any]) -> np.ndarray:
    """Map units from packed positions."""
    x0, y0, span = header["meta"]["origin"]
    return packed.astype(np.float64) / 65535 * span + [x0, y0]


def big_view(n: int, g: int = 200) -> MapView:
    """A view of n random points, 2,000 of them with a path, and regions of g x g."""
    rng = np.random.default_rng(0)
    xy = rng.normal(0, 3, (n, 2)).astype(np.float32)
    raster = Raster(
        bounds=(-9.0, -9.0, 9.0, 9.0),
        winner=np.zeros((g, g), np.uint8),
        p=np.zeros((g, g, 1), np.float32),
        margin=np.zeros((g, g), np.float32),
        trusted=np.ones((g, g), bool),
    )
    path = make_path(xy, m=2000)
    return make_view(
        key=f"{n}",
        xy=xy,
        clusters=rng.integers(0, 4, n).astype(np.uint8),
        ramps={
            "confidence": rng.uniform(0.25, 1, n).astype(np.float32),
            "fragility": shares(path, n),
        },
        labels=rng.integers(0, 4, n),
        raster=raster,
        path=path,
        noise=path,
    )


def make_partner(view: MapView, **changes: Any) -> Partner:
    """Another model on the samples of a view, somewhere else on the map."""
    rng = np.random.default_rng(5)
    xy = rng.normal(2, 6, (len(view.xy), 2)).astype(np.float32)
    path = dataclasses.replace(view.path, xy=xy[view.path.rows] + np.zeros((11, 1, 1), np.float32))
    smallest = rng.permutation(path.smallest)
    values: dict[str, Any] = {
        "name": "B",
        "aside": "beside",
        "xy": xy,
        "clusters": rng.integers(0, 4, len(xy)).astype(np.uint8),
        "ramps": {"confidence": rng.uniform(0.25, 1, len(xy)).astype(np.float32)},
        "path": dataclasses.replace(path, smallest=smallest),
        "noise": view.noise,
    }
    if "fragility" in view.ramps:
        values["ramps"] |= {"fragility": shares(values["path"], len(xy))}
    return Partner(**(values | changes))


def pin_of(view: MapView, **changes: Any) -> Pin:
    """A pin on a view's sample 5, with random images of 6 x 6."""
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (1, 6, 6)).astype(np.uint8)
    change = rng.uniform(-1, 1, (11, 1, 6, 6)) * view.path.strengths.reshape(-1, 1, 1, 1)
    values: dict[str, Any] = {
        "row": 5,
        "image": image,
        "frames": np.clip(image / 255 + change, 0, 1),
        "p": np.full((11, 4), 0.25, np.float32),
        "l2": np.zeros(11),
        "smallest": 0.1,
    }
    return Pin(**(values | changes))
