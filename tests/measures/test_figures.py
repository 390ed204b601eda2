"""What each figure holds: traces, counts, axis titles with units, n and seed, in both themes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest

from clustcore.measures import figures
from clustcore.measures.figures import Caption, strength_title
from clustcore.measures.hues import PETROFF

CAPTION = Caption("MNIST, PGD", 2000, 3)
AXIS = strength_title("pixels", "linf")
RNG = np.random.default_rng(0)
STRENGTHS = np.linspace(0, 0.4, 11, dtype=np.float32)
MOVED = np.linspace(0, 0.9, 11)
SMALLEST = np.append(RNG.uniform(0.001, 0.4, 90), [np.nan] * 10).astype(np.float32)
MIGRATION = RNG.integers(1, 50, (10, 10))
MIGRATION[2, 7] = 0
COMPOSITION = RNG.integers(0, 90, (10, 3))
XY = RNG.normal(size=(500, 2)).astype(np.float32)
LABELS = RNG.integers(0, 12, 500)

FIGURES: dict[str, Callable[..., go.Figure]] = {
    "security": lambda **kw: figures.security_curve(
        STRENGTHS, MOVED, MOVED * 0.9, MOVED * 1.1, MOVED / 10, axis=AXIS, **kw
    ),
    "security alone": lambda **kw: figures.security_curve(
        STRENGTHS, MOVED, MOVED, MOVED, None, axis=AXIS, **kw
    ),
    "bands": lambda **kw: figures.bands(
        STRENGTHS,
        dict.fromkeys(("one", "other", "made on one"), (MOVED, MOVED * 0.9, MOVED * 1.1)),
        {"noise, one": MOVED / 10},
        title="How many samples leave their cluster",
        quantity="moved (% of samples)",
        axis=AXIS,
        **kw,
    ),
    "smallest": lambda **kw: figures.smallest_histogram(SMALLEST, 0.4, axis=AXIS, **kw),
    "flow": lambda **kw: figures.flow(MIGRATION, **kw),
    "sizes": lambda **kw: figures.cluster_bars(COMPOSITION.sum(1), **kw),
    "composition": lambda **kw: figures.cluster_bars(COMPOSITION, ("a", "b", "c"), **kw),
    "survival": lambda **kw: figures.survival(
        {"pgd": (STRENGTHS, 1 - MOVED), "noise": (STRENGTHS[:2], 1 - MOVED[:2])}, axis=AXIS, **kw
    ),
    "training": lambda **kw: figures.training_history(
        np.arange(5), {"loss": np.ones(5)}, np.ones((5, 4)), {"per sample": np.ones(5)}, **kw
    ),
    "map": lambda **kw: figures.map_figure(XY, LABELS, **kw),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_shows(name: str, theme: str) -> None:
    figure = FIGURES[name](caption=CAPTION, theme=theme)
    layout = figure.layout
    assert layout.title.text
    assert layout.title.subtitle.text == "MNIST, PGD, n = 2,000, seed 3"
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert layout.font.color == {"light": "#23282e", "dark": "#e4e7ea"}[theme]
    titles = [axis.title.text for axis in figure.select_yaxes()]
    assert all(titles)
    assert any(axis.title.text for axis in figure.select_xaxes())
    text = pio.to_json(figure)
    for colour in re.findall(r'"(?:color|fillcolor)":"([^"]+)"', text):
        assert re.fullmatch(r"#[0-9a-f]{6}", colour)
    for trace in json.loads(text)["data"]:
        for values in (trace.get("x"), trace.get("y"), trace.get("z")):
            assert values is None or values["dtype"] in ("f4", "i1", "i2", "i4", "u1", "f8")


@pytest.mark.parametrize("name", ["security", "bands", "smallest", "survival"])
def test_strength_axes_carry_norm_and_unit(name: str) -> None:
    x = FIGURES[name](caption=CAPTION).layout.xaxis.title.text
    assert x == "strength: L-inf of the change, pixel values from 0 to 1"
    assert strength_title("pixels", "l2").startswith("strength: L2 of the change, pixel values")
    assert strength_title("embedding", "l2") == "strength: L2 in the embedding, in units of R"


def test_a_security_curve_has_band_attack_and_control() -> None:
    figure = FIGURES["security"](caption=CAPTION)
    assert [trace.name for trace in figure.data] == ["95 % interval", "attack", "random noise"]
    band, attack, noise = figure.data
    np.testing.assert_allclose(attack.y, MOVED * 100, rtol=1e-6)
    np.testing.assert_allclose(noise.y, MOVED * 10, rtol=1e-6)
    np.testing.assert_allclose(band.y[:11], MOVED * 110, rtol=1e-6)
    np.testing.assert_allclose(band.y[:10:-1], MOVED * 90, rtol=1e-6)
    assert noise.line.dash == "dot"
    assert len(FIGURES["security alone"](caption=CAPTION).data) == 2


def test_a_histogram_counts_every_sample_that_moves() -> None:
    figure = FIGURES["smallest"](caption=CAPTION)
    (bars,) = figure.data
    assert len(bars.y) == 60
    assert sum(bars.y) == 90
    assert "10 never move" in figure.layout.title.text
    first = np.sum(SMALLEST < 0.4 / 60)
    assert bars.y[0] == first


def test_a_flow_leaves_out_who_stayed() -> None:
    (cells,) = FIGURES["flow"](caption=CAPTION).data
    assert np.isnan(np.diag(cells.z)).all()
    assert np.isnan(cells.z[2, 7])
    assert cells.z[7, 2] == MIGRATION[7, 2]
    assert (MIGRATION.diagonal() > 0).all()  # the caller's array is left as it was


def test_bars_hold_sizes_or_what_they_are_made_of() -> None:
    (sizes,) = FIGURES["sizes"](caption=CAPTION).data
    np.testing.assert_array_equal(sizes.y, COMPOSITION.sum(1))
    assert list(sizes.marker.color) == list(PETROFF)
    parts = FIGURES["composition"](caption=CAPTION).data
    assert [part.name for part in parts] == ["a", "b", "c"]
    np.testing.assert_array_equal(sum(part.y for part in parts), COMPOSITION.sum(1))


def test_survival_curves_are_steps_up_to_one_end() -> None:
    pgd, noise = FIGURES["survival"](caption=CAPTION).data
    assert pgd.line.shape == noise.line.shape == "hv"
    assert pgd.x[-1] == noise.x[-1] == STRENGTHS[-1]
    assert noise.y[-1] == noise.y[-2]
    assert pgd.line.dash != noise.line.dash


def test_a_history_has_three_panels_with_units() -> None:
    figure = FIGURES["training"](caption=CAPTION)
    titles = [axis.title.text for axis in figure.select_yaxes()]
    assert titles == ["loss", "cluster size (samples)", "entropy (ln k)"]
    assert len(figure.data) == 1 + 4 + 1


def test_the_legends_of_a_history_lie_above_their_panels() -> None:
    layout = FIGURES["training"](caption=CAPTION).layout
    for legend, panel in ((layout.legend, layout.yaxis), (layout.legend2, layout.yaxis3)):
        assert (legend.orientation, legend.yanchor) == ("h", "bottom")
        assert legend.y == panel.domain[1]
    assert layout.yaxis2.domain[0] - layout.legend2.y >= 0.05


def test_a_map_is_one_trace_with_the_hue_of_each_cluster() -> None:
    (dots,) = FIGURES["map"](caption=CAPTION).data
    assert dots.x.dtype == np.float32
    assert dots.marker.color.dtype == np.uint8
    np.testing.assert_array_equal(dots.marker.color, LABELS % 10)
    # the scale is flat at each whole number: the share of the way to 10 where a cluster's hue lies
    edges = [stop for stop, _ in dots.marker.colorscale]
    for cluster in range(10):
        at = (cluster - dots.marker.cmin) / (dots.marker.cmax - dots.marker.cmin)
        i = np.searchsorted(edges, at)
        assert dots.marker.colorscale[i - 1][1] == PETROFF[cluster]
        assert dots.marker.colorscale[i][1] == PETROFF[cluster]


def test_figures_need_no_torch() -> None:
    code = "import sys, clustcore.measures.figures\nassert 'torch' not in sys.modules"
    root = Path(figures.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=300)


def test_every_curve_lies_in_its_own_band_and_has_its_own_dash() -> None:
    traces = FIGURES["bands"](caption=CAPTION).data
    around, lines = traces[:3], traces[3:]
    assert [line.name for line in lines] == ["one", "other", "made on one", "noise, one"]
    assert len({line.line.dash for line in lines[:3]}) == 3
    for band, line in zip(around, lines, strict=False):
        high, low = band.y[:11], band.y[11:][::-1]
        assert (low <= line.y).all()
        assert (line.y <= high).all()
