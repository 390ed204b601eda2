"""Compare: two models under one dial, and models that cannot be compared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustcore import runs
from tests.support import demo
from tests.support.demo import change_card
from tests.support.map_views import decode
from tests.support.screens import calm, header, open_app, texts
from ui import cached


def test_a_renamed_and_turned_copy_is_drawn_as_the_very_same_map(two: Path) -> None:
    app = open_app("pages/4_Compare.py", run="demo", strength="0.2")
    assert calm(app)
    assert app.selectbox(key="partner").value == "other"
    (message,) = [c.proto.bytes for c in app.get("bidi_component") if c.proto.bytes]
    sent, sections = decode(message)
    assert sent["twin"]
    for name in ("clusters", "smallest", "path_row", "path_clusters"):
        np.testing.assert_array_equal(sections[f"b.{name}"], sections[name])
    for name in ("xy", "paths"):
        gap = sections[f"b.{name}"].astype(int) - sections[name].astype(int)
        assert np.abs(gap).max() <= 1
    assert sent["meta"]["partner"]["sizes"] == sent["meta"]["sizes"]
    shown = texts(app)
    assert any("100.0% of them are in the same cluster" in text for text in shown)
    assert any("Each model has its own map; other's is turned onto demo's." in t for t in shown)
    said = (
        "At strength 0.2, 0 of 60 samples left their cluster only in demo, 30 in both, 0 only in "
        "other, 30 in neither."
    )
    assert said in shown
    assert sent["parts"]["alt"] == said


def test_the_clean_cost_comes_before_the_maps(two: Path) -> None:
    change_card(
        two / "other",
        defence={"name": "pgd_at", "from": "demo"},
        scores={"n": demo.N, "clean": {"acc": 0.871, "nmi": 0.8}},
    )
    app = open_app("pages/4_Compare.py", run="demo")
    assert calm(app)
    cost = (
        "**Clean cost**, demo → other: accuracy **90.0% → 87.1%**, −2.9 points · "  # noqa: RUF001
        "NMI **0.800 → 0.800**, ±0.000 · n = 10,000"
    )
    order = [type(item).__name__ for item in app.main if getattr(item, "value", "") == cost]
    assert order == ["Markdown"]
    assert any("MNIST · undefended beside pgd\\_at · margin PGD on 60" in t for t in texts(app))


def test_models_without_figures_are_compared_all_the_same(two: Path) -> None:
    change_card(two / "demo", scores={"n": "many", "clean": {"acc": "good", "nmi": None}})
    app = open_app("pages/4_Compare.py", run="demo")
    assert calm(app)
    assert "**Before any attack:** not on the cards of demo and other." in texts(app)


def test_one_projector_for_both_is_said_and_nothing_turned(two: Path) -> None:
    for name in ("demo", "other"):
        (two / name / "projector.safetensors").write_bytes(b"the same")
    app = open_app("pages/4_Compare.py", run="demo")
    assert calm(app)
    assert any(
        text.startswith("One projector draws both maps, that of demo") for text in texts(app)
    )


def test_swap_puts_each_model_in_the_place_of_the_other(two: Path) -> None:
    app = open_app("pages/4_Compare.py", run="demo", strength="0.2")
    next(button for button in app.button if button.label == "Swap").click().run()
    assert calm(app)
    assert (app.selectbox(key="run").value, app.selectbox(key="partner").value) == (
        "other",
        "demo",
    )
    assert header(app)["meta"]["name"] == "other"
    assert app.number_input(key="strength").value == 0.2
    (link,) = [code.value for code in app.code]
    assert link.endswith("/Compare?dataset=MNIST&run=other&partner=demo&strength=0.2")


def test_a_model_alone_is_shown_alone_and_what_could_stand_beside_it_is_said(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/4_Compare.py", run="demo")
    assert calm(app)
    (info,) = app.info
    assert info.proto.title == "No partner for demo yet"
    assert "A partner is another model of MNIST with a map" in info.value
    assert header(app)["meta"]["mode"] == "attack"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": "fashion-mnist"}, "the data set differs, mnist and fashion-mnist"),
        ({"split": "train"}, "the split differs, test and train"),
        ({"p": np.zeros((demo.N, 12), np.float16)}, "the number of clusters differs, 10 and 12"),
        ({"xy": 9, "z": 9, "p": 9, "labels": 9, "trust": 9}, "samples differs, 10,000 and 9"),
    ],
    ids=["data", "split", "clusters", "samples"],
)
def test_models_that_cannot_be_compared_are_both_named(
    two: Path, change: dict[str, Any], says: str
) -> None:
    arrays = runs.read_map(two / "other")
    change = {k: getattr(arrays, k)[:v] if isinstance(v, int) else v for k, v in change.items()}
    runs.write_map(two / "other", dataclasses.replace(arrays, **change))
    app = open_app("pages/4_Compare.py", run="demo")
    assert not app.exception
    (error,) = app.error
    assert "demo and other cannot be compared: " in error.value
    assert says in error.value
    assert not app.get("bidi_component")


def test_a_partner_whose_map_is_of_other_weights_is_refused(two: Path) -> None:
    assert calm(open_app("pages/4_Compare.py", run="demo"))
    change_card(two / "other", weights_sha256="1" * 64)
    app = open_app("pages/4_Compare.py", run="demo")
    (error,) = app.error
    assert "other's map was made with other weights (00000000) than the card's (11" in error.value
    assert not app.get("bidi_component")


def test_a_nonsense_partner_falls_back_with_a_word(two: Path) -> None:
    app = open_app("pages/4_Compare.py", run="demo", partner="<b>x</b>")
    assert calm(app)
    assert app.selectbox(key="partner").value == "other"
    (toast,) = app.toast
    assert "partner" in toast.value
    assert header(app)["meta"]["partner"]["name"] == "other"


def test_missing_paths_of_either_model_are_offered_and_the_clean_maps_drawn(two: Path) -> None:
    change_card(two / "other", defence={"name": "pgd_at", "from": "demo"})
    (two / "other" / "paths" / "pgd-pixels-linf.npz").unlink()
    app = open_app("pages/4_Compare.py", run="demo")
    assert calm(app)
    (offer,) = [text for text in texts(app) if text.startswith("**Not computed yet:**")]
    assert "margin PGD on other, L∞" in offer
    assert "on demo" not in offer
    assert app.button(key="compute").label == "Attack the defended model afresh"
    assert header(app)["meta"]["paths"] == 0
    note = header(app)["parts"]["options"]["note"]
    assert note == "Paths not computed yet: these are the clean samples."


def test_paths_of_other_samples_are_never_laid_beside_each_other(two: Path) -> None:
    file = two / "other" / "paths" / "pgd-pixels-linf.npz"
    path = runs.read_path(file)
    runs.write_path(file, dataclasses.replace(path, rows=path.rows + 1))
    app = open_app("pages/4_Compare.py", run="demo")
    assert not app.exception
    (warning,) = app.warning
    assert warning.proto.title == "These attacks cannot be compared"
    assert "60 of demo and 60 of other. Only the clean maps are shown." in warning.value
    assert header(app)["meta"]["paths"] == 0


def test_the_curves_of_both_have_bands_and_the_control(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = np.linspace(0, 0.5, 11)
    monkeypatch.setattr(cached.models, "transfer", lambda *_: moved)
    app = open_app("pages/4_Compare.py", run="demo")
    app.session_state["curves"] = True
    app.run()
    assert calm(app)
    figures = {
        chart.proto.id.rsplit("curve_", 1)[-1]: json.loads(chart.proto.spec)
        for chart in app.get("plotly_chart")
    }
    assert [*figures] == ["moved", "acc", "nmi", "purity"]
    named = [trace["name"] for trace in figures["moved"]["data"] if trace.get("name")]
    assert named == ["demo", "other", "transfer", "noise, demo", "noise, other"]
    assert any("Transfer: made on demo, judged on other" in text for text in texts(app))
    named = [trace["name"] for trace in figures["nmi"]["data"] if trace.get("name")]
    assert named == ["demo", "other", "noise, demo", "noise, other"]


def test_a_transfer_is_asked_for_and_worked_out_once(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def transfer(ask: Any, partner: Any, device: str, on_step: Any = None) -> Any:
        if on_step is not None:
            on_step(1, 2, "PGD")
            asked.append((ask.run.name, ask.attack, partner.name, device))
        return np.zeros(11) if asked else None

    monkeypatch.setattr(cached.models, "transfer", transfer)
    app = open_app("pages/4_Compare.py", run="demo")
    app.session_state["curves"] = True
    app.run()
    button = app.button(key="transfer")
    assert button.label == "Attack demo, judge on other"
    button.click().run()
    assert calm(app)
    assert asked == [("demo", "pgd", "other", "auto")]
    assert "transfer" not in [button.key for button in app.button]


def test_in_the_embedding_there_is_no_transfer(two: Path) -> None:
    app = open_app("pages/4_Compare.py", run="demo", space="Embedding")
    app.session_state["curves"] = True
    app.run()
    assert calm(app)
    assert any("no transfer" in text for text in texts(app))
