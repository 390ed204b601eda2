"""One set of hues: what cannot import it holds the same."""

from __future__ import annotations

import re
import tomllib

import numpy as np

from clustcore.measures.hues import PETROFF, hue
from tests.support import ROOT

HEX = r"#[0-9a-f]{6}"
THEME = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]


def in_scripts(name: str) -> str:
    """What the map's JavaScript sets this constant to, in whichever of its files."""
    files = (ROOT / "ui" / "cluster_map").rglob("*.js")
    found = [
        value
        for file in files
        for value in re.findall(rf"const {name} = (.*?);\n", file.read_text("utf-8"), re.DOTALL)
    ]
    assert len(found) == 1, f"const {name}: expected it once, got {len(found)}"
    return found[0]


def test_ten_hues_that_begin_again_with_the_eleventh_cluster() -> None:
    assert len(set(PETROFF)) == 10
    assert [hue(c) for c in range(20)] == [*PETROFF, *PETROFF]
    assert hue(np.uint8(255)) == PETROFF[5]


def test_the_maps_scripts_have_the_same_hues() -> None:
    assert re.findall(HEX, in_scripts("HUES")) == list(PETROFF)


def test_the_apps_theme_has_the_same_hues() -> None:
    assert THEME["chartCategoricalColors"] == list(PETROFF)


def test_the_dark_theme_lightens_the_same_two_as_the_maps_scripts() -> None:
    lighter = {int(i): value for i, value in re.findall(rf'(\d): "({HEX})"', in_scripts("DARK"))}
    assert sorted(lighter) == [2, 4]
    expected = [lighter.get(i, value) for i, value in enumerate(PETROFF)]
    assert THEME["dark"]["chartCategoricalColors"] == expected
