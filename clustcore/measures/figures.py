"""Plotly figures from arrays: what is exported, or drawn below the fold.

Backgrounds are transparent; ink and grounds are those of the app's light and dark themes. Hue
belongs to clusters and classes alone, all else is ink, told apart by dash and shade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Integer, Num
from plotly.subplots import make_subplots

from clustcore.measures.hues import PETROFF, hue

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class _Ink:
    text: str
    ground: str

    def at(self, strength: float) -> str:
        """Ink thinned over the ground, as one opaque colour: 1 is ink, 0 the ground."""
        pairs = [
            (int(self.text[i : i + 2], 16), int(self.ground[i : i + 2], 16)) for i in (1, 3, 5)
        ]
        return "#" + "".join(f"{round(strength * a + (1 - strength) * b):02x}" for a, b in pairs)


_INK: dict[str, _Ink] = {
    "light": _Ink("#23282e", "#ffffff"),
    "dark": _Ink("#e4e7ea", "#14171a"),
}


@dataclass(frozen=True)
class Caption:
    """What stands under every title: what was measured, on how many samples, with which seed."""

    about: str  # such as "MNIST, drc-mnist, PGD"
    n: int
    seed: int

    def __str__(self) -> str:
        return f"{self.about}, n = {self.n:,}, seed {self.seed}"


def strength_title(space: str, norm: str) -> str:
    """The title of a strength axis, with its unit.

    Examples:
        >>> strength_title("pixels", "linf")
        'strength: L-inf of the change, pixel values from 0 to 1'
    """
    if space == "embedding":
        return "strength: L2 in the embedding, in units of R"
    name = {"linf": "L-inf", "l2": "L2"}[norm]
    return f"strength: {name} of the change, pixel values from 0 to 1"


def security_curve(
    strengths: Float[np.ndarray, " S"],
    moved: Float[np.ndarray, " S"],
    low: Float[np.ndarray, " S"],
    high: Float[np.ndarray, " S"],
    noise: Float[np.ndarray, " S"] | None,
    *,
    axis: str,
    caption: Caption,
    theme: Theme = "light",
) -> go.Figure:
    """Moved share against strength with its 95 % band, and the noise control, dotted.

    Examples:
        >>> s = np.array([0.0, 0.1, 0.2])
        >>> figure = security_curve(
        ...     s,
        ...     moved=4 * s,
        ...     low=3 * s,
        ...     high=5 * s,
        ...     noise=s / 10,
        ...     axis=strength_title("pixels", "linf"),
        ...     caption=Caption("MNIST, drc-mnist, PGD", 2000, 0),
        ... )
        >>> figure.layout.title.text, figure.layout.title.subtitle.text
        ('How many samples leave their cluster', 'MNIST, drc-mnist, PGD, n = 2,000, seed 0')
    """
    ink = _INK[theme]
    band = go.Scatter(
        x=_f32(np.concatenate([strengths, strengths[::-1]])),
        y=_f32(np.concatenate([high, low[::-1]]) * 100),
        fill="toself",
        fillcolor=ink.at(0.16),
        line={"width": 0},
        hoverinfo="skip",
        name="95 % interval",
    )
    traces = [band, _line(strengths, moved * 100, ink.text, "solid", "attack")]
    if noise is not None:
        traces.append(_line(strengths, noise * 100, ink.at(0.64), "dot", "random noise"))
    return _figure(
        traces, "How many samples leave their cluster", axis, "moved (% of samples)", caption, theme
    )


def bands(
    strengths: Float[np.ndarray, " S"],
    curves: Mapping[str, Sequence[Float[np.ndarray, " S"]]],
    controls: Mapping[str, Float[np.ndarray, " S"]],
    *,
    title: str,
    quantity: str,
    axis: str,
    caption: Caption,
    theme: Theme = "light",
) -> go.Figure:
    """Several shares against strength, each (value, low, high) with its 95 % band.

    Args:
        strengths: Of all curves.
        curves: By name, in [0, 1]; told apart by dash.
        controls: Further lines by name, dotted and without a band.
        title: What the figure shows.
        quantity: The title of the other axis.
        axis: See `strength_title`.
        caption: What was measured.
        theme: Light or dark.

    Examples:
        >>> s = np.array([0.0, 0.1, 0.2])
        >>> figure = bands(
        ...     s,
        ...     {"drc-mnist": (4 * s, 3 * s, 5 * s)},
        ...     {"noise": s / 10},
        ...     title="Moved",
        ...     quantity="moved (% of samples)",
        ...     axis=strength_title("pixels", "linf"),
        ...     caption=Caption("MNIST, PGD", 2000, 0),
        ... )
        >>> figure.layout.yaxis.title.text
        'moved (% of samples)'
    """
    ink, traces = _INK[theme], []
    for _, low, high in curves.values():
        around = np.concatenate([high, low[::-1]]) * 100
        band = {"fill": "toself", "fillcolor": ink.at(0.13), "line": {"width": 0}}
        both = np.concatenate([strengths, strengths[::-1]])
        traces.append(
            go.Scatter(x=_f32(both), y=_f32(around), hoverinfo="skip", showlegend=False, **band)
        )
    for i, (name, (value, _, _)) in enumerate(curves.items()):
        # dots are for the controls
        dash = [dash for dash in DASHES if dash != "dot"][i % (len(DASHES) - 1)]
        traces.append(_line(strengths, value * 100, ink.text, dash, name))
    for i, (name, value) in enumerate(controls.items()):
        traces.append(_line(strengths, value * 100, ink.at(0.64 - 0.19 * i), "dot", name))
    figure = _figure(traces, title, axis, quantity, caption, theme)
    rows = -(-(len(curves) + len(controls)) // 2)  # of the legend, in half of a page
    return figure.update_layout(height=400 + 20 * rows, margin_b=52 + 20 * rows)


def smallest_histogram(
    smallest: Float[np.ndarray, " m"],
    end: float,
    *,
    axis: str,
    caption: Caption,
    theme: Theme = "light",
    bins: int = 60,
) -> go.Figure:
    """How many samples first move in each slice from 0 to `end`; the title counts the others.

    Examples:
        >>> smallest = np.array([0.1, 0.12, 0.3, np.nan])
        >>> figure = smallest_histogram(
        ...     smallest, 0.4, axis="strength", caption=Caption("MNIST, PGD", 4, 0), bins=4
        ... )
        >>> figure.data[0].y.tolist()
        [0, 2, 1, 0]
    """
    ink = _INK[theme]
    counts, edges = np.histogram(smallest[~np.isnan(smallest)], bins, (0.0, end))
    bars = go.Bar(
        x=_f32((edges[1:] + edges[:-1]) / 2),
        y=counts.astype(np.int32),
        width=end / bins,
        marker={"color": ink.at(0.64), "line": {"width": 0}},
        hovertemplate="%{x:.3f}: %{y} samples<extra></extra>",
    )
    still = len(smallest) - int(counts.sum())
    title = f"Smallest strength that moves a sample ({still:,} never move)"
    return _figure([bars], title, axis, "samples", caption, theme, legend=False)


def flow(
    migration: Integer[np.ndarray, "k k"], *, caption: Caption, theme: Theme = "light"
) -> go.Figure:
    """From cluster (row) to cluster (column): how many moved. Zeros and who stayed are blank.

    Examples:
        >>> figure = flow(np.array([[5, 2], [0, 3]]), caption=Caption("MNIST, PGD", 10, 0))
        >>> figure.data[0].z.tolist()  # who stayed is left out
        [[nan, 2.0], [nan, nan]]
    """
    ink = _INK[theme]
    z = np.where(migration > 0, migration, np.nan).astype(np.float32)
    np.fill_diagonal(z, np.nan)
    cells = go.Heatmap(
        z=z,
        colorscale=[[0, ink.at(0.05)], [1, ink.at(0.48 if theme == "light" else 0.36)]],
        showscale=False,
        texttemplate="%{z:,}",
        textfont={"color": ink.text},
        hovertemplate="cluster %{y} to cluster %{x}: %{z:,} samples<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
    )
    figure = _figure(
        [cells],
        "Where they go",
        "to cluster",
        "from cluster",
        caption,
        theme,
        legend=False,
    )
    figure.update_xaxes(dtick=1, showgrid=False)
    figure.update_yaxes(dtick=1, showgrid=False, autorange="reversed")
    return figure


def cluster_bars(
    counts: Integer[np.ndarray, " k"] | Integer[np.ndarray, "k c"],
    class_names: Sequence[str] = (),
    *,
    caption: Caption,
    theme: Theme = "light",
) -> go.Figure:
    """Samples per cluster; with a column per class, what each cluster is made of.

    Examples:
        >>> figure = cluster_bars(np.array([7, 3]), caption=Caption("MNIST, drc-mnist", 10, 0))
        >>> figure.data[0].y.tolist()
        [7, 3]
    """
    k, edge = np.arange(len(counts), dtype=np.int32), {"color": _INK[theme].at(0.45), "width": 1}
    if counts.ndim == 1:
        colours = [hue(c) for c in k]
        hover = "cluster %{x}: %{y:,} samples<extra></extra>"
        bars = [go.Bar(x=k, y=counts.astype(np.int32), marker={"color": colours, "line": edge})]
        bars[0].update(
            hovertemplate=hover,
            text=["" if count else "empty" for count in counts],
            textposition="outside",
            textangle=-90,
            cliponaxis=False,
        )
        title = "Cluster sizes"
    else:
        bars = [
            go.Bar(
                x=k,
                y=counts[:, c].astype(np.int32),
                name=class_names[c] if class_names else f"class {c}",
                marker={"color": hue(c), "line": edge},
                hovertemplate="cluster %{x}: %{y:,} samples<extra>%{fullData.name}</extra>",
            )
            for c in range(counts.shape[1])
        ]
        title = "What the clusters are made of"
    figure = _figure(bars, title, "cluster", "samples", caption, theme, legend=len(bars) > 1)
    figure.update_layout(barmode="stack")
    return figure.update_xaxes(dtick=1)


def survival(
    curves: Mapping[str, tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]],
    *,
    axis: str,
    caption: Caption,
    theme: Theme = "light",
) -> go.Figure:
    """Share still in its cluster against strength: a step curve per attack, (strengths, share).

    Examples:
        >>> from clustcore.measures.robustness import survival as stays
        >>> curve = stays(np.array([0.1, 0.2, 0.2, np.nan]))
        >>> figure = survival({"PGD": curve}, axis="strength", caption=Caption("MNIST", 4, 0))
        >>> figure.data[0].y.tolist()
        [100.0, 75.0, 25.0, 25.0]
    """
    ink = _INK[theme]
    traces = []
    end = max(strengths[-1] for strengths, _ in curves.values())
    for i, (name, (strengths, share)) in enumerate(curves.items()):
        x, y = np.append(strengths, end), np.append(share, share[-1]) * 100
        line = _line(x, y, ink.text, DASHES[i % len(DASHES)], name)
        line.line.shape = "hv"
        traces.append(line)
    return _figure(
        traces, "How many samples stay", axis, "still in place (% of samples)", caption, theme
    )


def training_history(
    epochs: Num[np.ndarray, " E"],
    losses: Mapping[str, Num[np.ndarray, " E"]],
    sizes: Num[np.ndarray, "E k"],
    entropy: Mapping[str, Num[np.ndarray, " E"]],
    *,
    caption: Caption,
    theme: Theme = "light",
) -> go.Figure:
    """The loss and its parts, cluster sizes and assignment entropy, over the epochs.

    Three panels on one axis.

    Args:
        epochs: Epoch numbers.
        losses: Curves by name, in the units of the loss.
        sizes: Samples in each cluster.
        entropy: Curves by name, in units of ln k: 0 is decided (or all in one cluster), 1 is even.
        caption: What the run was.
        theme: Light or dark.

    Examples:
        >>> epochs = np.arange(3.0)
        >>> figure = training_history(
        ...     epochs,
        ...     {"loss": 1 / (1 + epochs)},
        ...     np.full((3, 2), 50.0),
        ...     {"mean": np.ones(3)},
        ...     caption=Caption("mine", 100, 0),
        ... )
        >>> [trace.name for trace in figure.data]
        ['loss', 'mean', 'cluster 0', 'cluster 1']
    """
    ink = _INK[theme]
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for row, curves, legend in ((1, losses, "legend"), (3, entropy, "legend2")):
        for i, (name, values) in enumerate(curves.items()):
            dash = DASHES[i % len(DASHES)]
            line = _line(epochs, values, ink.text, dash, name)
            figure.add_trace(line.update(legend=legend), row, 1)
    for c in range(sizes.shape[1]):
        area = _line(epochs, sizes[:, c], hue(c), "solid", f"cluster {c}")
        area.update(stackgroup="sizes", fillcolor=hue(c), showlegend=False)
        figure.add_trace(area, 2, 1)
    figure.update_layout(_layout("Training", caption, theme, legend=True))
    above = {"orientation": "h", "x": 0, "xref": "paper", "yref": "paper", "yanchor": "bottom"}
    top = {row: next(figure.select_yaxes(row=row)).domain[1] for row in (1, 3)}
    figure.update_layout(
        height=660,
        legend=above | {"y": top[1]},
        legend2=above | {"y": top[3]},
        title={"y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 8}},
        margin={"t": 116, "b": 56},  # on a phone the first legend has three lines
    )
    figure.update_xaxes(_axis(ink))
    figure.update_yaxes(_axis(ink))
    figure.update_xaxes(title_text="epoch", row=3, col=1)
    for row, title in enumerate(("loss", "cluster size (samples)", "entropy (ln k)"), 1):
        figure.update_yaxes(title_text=title, row=row, col=1)
    return figure


def map_figure(
    xy: Float[np.ndarray, "n 2"],
    labels: Integer[np.ndarray, " n"],
    *,
    caption: Caption,
    theme: Theme = "light",
) -> go.Figure:
    """A still of the map, for export: a dot per sample in its cluster's hue, axes to one scale.

    Examples:
        >>> xy = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
        >>> figure = map_figure(
        ...     xy, np.arange(100) % 10, caption=Caption("MNIST, drc-mnist", 100, 0)
        ... )
        >>> len(figure.data[0].x)
        100
    """
    steps = [[edge, one] for i, one in enumerate(PETROFF) for edge in (i / 10, (i + 1) / 10)]
    dots = go.Scattergl(
        x=_f32(xy[:, 0]),
        y=_f32(xy[:, 1]),
        mode="markers",
        marker={
            "color": (labels % 10).astype(np.uint8),
            "colorscale": steps,
            "cmin": -0.5,
            "cmax": 9.5,
            "size": 3,
            "opacity": 0.6,
        },
        hoverinfo="skip",
    )
    figure = _figure(
        [dots],
        "Map of the embedding",
        "map x (no unit)",
        "map y (no unit)",
        caption,
        theme,
        legend=False,
    )
    figure.update_xaxes(showgrid=False, showticklabels=False, zeroline=False)
    return figure.update_yaxes(
        showgrid=False, showticklabels=False, zeroline=False, scaleanchor="x"
    )


def _f32(values: np.ndarray) -> Float[np.ndarray, " n"]:
    """Contiguous float32, which Plotly sends as binary instead of text."""
    return np.ascontiguousarray(values, np.float32)


def _line(x: np.ndarray, y: np.ndarray, colour: str, dash: str, name: str) -> go.Scatter:
    line = {"color": colour, "dash": dash, "width": 1.75}
    return go.Scatter(x=_f32(x), y=_f32(y), mode="lines", line=line, name=name)


def _figure(
    traces: Sequence[Any],
    title: str,
    x: str,
    y: str,
    caption: Caption,
    theme: Theme,
    legend: bool = True,
) -> go.Figure:
    axis = _axis(_INK[theme])
    layout = _layout(title, caption, theme, legend)
    layout |= {"xaxis": axis | {"title": {"text": x}}, "yaxis": axis | {"title": {"text": y}}}
    return go.Figure(traces, layout)


def _layout(title: str, caption: Caption, theme: Theme, legend: bool) -> dict[str, Any]:
    ink = _INK[theme]
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": ink.text, "size": 12},
        "title": {
            "text": title,
            "x": 0,
            "xref": "paper",
            "font": {"size": 16},
            "subtitle": {"text": str(caption), "font": {"size": 12, "color": ink.at(0.64)}},
        },
        "showlegend": legend,
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}
        | {"x": 0, "xref": "paper", "traceorder": "normal"},
        "margin": {"l": 64, "r": 16, "t": 72, "b": 88 if legend else 56},
    }


def _axis(ink: _Ink) -> dict[str, Any]:
    line = ink.at(0.13)
    return {"gridcolor": line, "linecolor": line, "zerolinecolor": line, "ticks": ""}
