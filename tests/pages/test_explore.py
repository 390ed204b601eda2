"""Explore: the map and its clusters, and a sample that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clustcore import runs
from tests.support import demo
from tests.support.screens import calm, header, open_app, texts
from ui import cached


def test_explore_sends_the_map_and_lists_the_clusters(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/1_Explore.py")
    assert calm(app)
    assert header(app)["meta"]["total"] == demo.N
    table = app.dataframe[-1].value
    assert table["cluster"].tolist() == list(range(demo.K))
    assert table["size"].tolist() == [demo.N // demo.K] * demo.K
    assert table["samples attacked"].sum() == demo.M
    y = cached.images.labels("mnist")[0]
    counts = np.bincount(y[np.arange(demo.N) % demo.K == 3])
    assert table["purity"][3] == pytest.approx(counts.max() / counts.sum())
    assert "MNIST · undefended · 10,000 test images · map computed ahead, seed 0" in texts(app)
    assert any(text.startswith("Nothing selected. Drag a shape on the map") for text in texts(app))


def test_data_without_labels_have_neither_label_colours_nor_purity(place: Path) -> None:
    demo.make_run(place, data="unheard-of")
    app = open_app("pages/1_Explore.py", colour="True label")
    assert calm(app)
    (colours,) = [g for g in app.get("segmented_control") if g.key == "colour"]
    assert colours.options == ["Cluster", "Confidence", "Fragility"]
    assert colours.value == "cluster"
    assert "purity" not in app.dataframe[-1].value.columns


def test_a_sample_that_is_not_there_is_said_and_the_pin_kept(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/1_Explore.py", pin="7")
    app.text_input(key="pin").set_value("10000").run()
    assert calm(app)
    message = "There is no sample 10000: 0 to 9,999. Sample 7 stays pinned."
    assert f":material/error: {message}" in texts(app)
    assert message in [toast.value for toast in app.toast]
    assert header(app)["parts"]["pin"]["row"] == 7


def test_an_unforeseen_failure_is_a_sentence_and_its_trace_goes_to_the_log(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    demo.make_run(place)

    def fail(run: runs.RunInfo) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(cached.runs, "map_arrays", fail)
    app = open_app("pages/1_Explore.py")
    assert not app.exception
    assert "Something went wrong here." in app.error[0].value
    assert "a bug" not in app.error[0].value
    assert "a bug" in caplog.text
