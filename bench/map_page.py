"""The page that `bench.map` drives: a map of n points, two such maps, or a Plotly chart of it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from bench.scale import RUN
from clustcore.files import load_npz
from clustcore.runs import find_run, path_name, read_map, read_path
from clustcore.types import AttackPath, MapArrays, PathKey
from ui.cluster_map import MapView, Partner, cluster_map
from ui.cluster_map.mount import positions


@st.cache_resource(max_entries=4)
def load(n: int) -> tuple[MapArrays, AttackPath, AttackPath]:
    """Draw n points of the run's map, and two of its paths.

    Points beyond its own samples come from the file that `bench.map` made (see
    `bench.scale.views_map`).
    """
    folder = find_run(RUN).folder
    path = read_path(folder / "paths" / path_name(PathKey("pgd", "pixels", "linf")))
    noise = read_path(folder / "paths" / path_name(PathKey("noise", "pixels", "linf")))
    arrays = read_map(folder)
    if arrays is None or path is None or noise is None:
        raise ValueError(f"run {RUN!r}: expected its map, its path and its control, got fewer")
    if n > len(arrays.xy):
        more = load_npz(Path(os.environ["BENCH_POINTS"]))
        arrays = dataclasses.replace(arrays, **{name: more[name][:n] for name in more})
    return arrays, path, noise


st.set_page_config(layout="wide")
n = int(st.query_params.get("n", 10_000))
arrays, path, noise = load(n)
end = float(path.strengths[-1])


@st.fragment
def component() -> None:
    """The map with the dial inside."""
    view = MapView(
        key=f"bench-{n}",
        mode="attack",
        xy=arrays.xy,
        clusters=arrays.labels,
        k=arrays.p.shape[1],
        ramps={"confidence": arrays.p.max(1).astype(np.float32)},
        labels=arrays.labels,
        raster=arrays.raster,
        path=path,
        noise=noise,
        attack_name="PGD",
    )
    st.session_state.setdefault("strength", 0.0)
    strength = st.session_state["strength"]
    hear = lambda value: st.session_state.update(strength=value)  # noqa: E731
    if st.query_params.get("view") == "compare":
        view = dataclasses.replace(
            view, key=f"two-{n}", mode="compare", name="A", partner=mirrored(), raster=None
        )
    cluster_map(view, key="map", strength=strength, on_strength_change=hear)


def mirrored() -> Partner:
    """A second model as heavy as the first: mirrored, each sample at another one's strength."""
    other = np.random.default_rng(0).permutation(path.smallest)
    flip = np.array([-1, 1], np.float32)
    return Partner(
        name="B",
        aside="",
        xy=arrays.xy * flip,
        clusters=arrays.labels,
        ramps={"confidence": arrays.p.max(1).astype(np.float32)},
        path=dataclasses.replace(path, xy=path.xy * flip, smallest=other),
        noise=noise,
    )


@st.fragment
def chart() -> None:
    """The same points in one `scattergl` trace, drawn anew at each strength."""
    strength = st.slider("Strength", 0.0, end, 0.0, end / 200, format="%.4f")
    xy = arrays.xy.copy()
    xy[path.rows] = positions(path.xy, path.strengths, strength)
    marker = {"size": 3, "color": arrays.labels}
    figure = go.Figure(go.Scattergl(x=xy[:, 0], y=xy[:, 1], mode="markers", marker=marker))
    figure.update_layout(title=f"at {strength:.4f}", height=600)
    st.plotly_chart(figure, key="chart")


if st.query_params.get("view") == "plotly":
    chart()
else:
    component()
