"""Home: a card for every run, and what is wrong with those that cannot be opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import demo
from tests.support.screens import SHIPPED, calm, open_app, texts
from ui import notes, shell


@pytest.mark.skipif(not SHIPPED, reason="no run ships yet")
def test_home_has_a_card_for_every_shipped_run() -> None:
    app = open_app()
    assert calm(app)
    links = {link.label for link in app.get("page_link")}
    assert {f"Explore {notes.plain(name)}" for name in SHIPPED} <= links


def test_home_shows_a_run_with_its_figures(place: Path) -> None:
    demo.make_run(place)
    app = open_app()
    assert calm(app)
    shown = texts(app)
    assert "MNIST · DRC · undefended" in shown
    assert "ACC 0.900 · NMI 0.800 · ARI 0.700 on 10,000 images" in shown
    assert "margin PGD, L∞ 0.3: 95.0% moved" in shown
    assert ":material/check_circle: ready · your own" in shown
    labels = [link.label for link in app.get("page_link")]
    doors = ["Open Explore", "Open Attack", "Open Explore", "Explore demo"]
    assert sorted(labels) == sorted([*shell.PAGES, *doors])


def test_a_broken_card_says_why_and_is_no_link(place: Path) -> None:
    demo.make_run(place)
    (place / "cracked").mkdir()
    (place / "cracked" / "card.json").write_text('{"format": 3}', encoding="utf-8")
    app = open_app()
    assert calm(app)
    assert "cracked" in [header.value for header in app.subheader]
    assert any("card.json: field 'model': expected str, got nothing" in t for t in texts(app))
    assert "Explore cracked" not in [link.label for link in app.get("page_link")]
    assert "cracked" not in open_app("pages/1_Explore.py").selectbox(key="run").options


def test_names_from_a_card_are_text_and_nothing_else(place: Path) -> None:
    demo.make_run(place, defence={"name": "<img src=x> [link](http://x) **bold** $x$"})
    shown = [text for text in texts(open_app()) if "img src" in text]
    escaped = r"\<img src=x\> \[link\](http\://x) \*\*bold\*\* \$x\$"
    assert shown == [f"MNIST · DRC · defence: {escaped}"]
