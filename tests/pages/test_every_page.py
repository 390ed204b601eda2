"""Every page on every shipped run, and the states a page can be in: empty, failed, nonsense."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clustcore import runs
from clustcore.dial import dial
from tests.support import demo
from tests.support.screens import PAGES, ROOT, SHIPPED, calm, header, open_app, texts

TITLES = {
    "pages/1_Explore.py": "Explore: what did the model group together?",
    "pages/2_Attack.py": "Attack: how little does it take?",
    "pages/4_Compare.py": "Compare: does the defence help?",
}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_every_shipped_run(name: str, page: str) -> None:
    app = open_app(page, run=name)
    assert calm(app)
    assert [title.value for title in app.title] == [TITLES[page]]
    assert app.selectbox(key="run").value == name
    sent = header(app)
    arrays = runs.read_map(runs.folders()[0] / name)
    assert sent["whole"]
    assert sent["meta"]["total"] == len(arrays.xy) == 10_000
    assert sent["meta"]["k"] == arrays.p.shape[1]
    modes = {"pages/1_Explore.py": "explore", "pages/2_Attack.py": "attack"}
    assert sent["meta"]["mode"] == modes.get(page, "compare")
    if "Attack" in page:
        data = app.selectbox(key="dataset").value
        strengths = dial(data, "pixels", "linf").strengths
        assert sent["meta"]["strengths"] == pytest.approx(strengths.tolist())
        assert any("margin PGD on 2,000 of 10,000 test images" in text for text in texts(app))


def test_opening_pages_imports_no_torch(place: Path) -> None:
    demo.make_run(place)
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(ROOT / 'app.py')!r}, default_timeout=60).run()\n"
        f"for page in {PAGES!r}:\n"
        "    app.switch_page(page).run()\n"
        "    assert not app.exception and app.get('bidi_component')\n"
        "print(sorted({'torch', 'umap', 'numba', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


def test_the_scene_is_kept_from_page_to_page(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/2_Attack.py", strength="0.2", pin="7", colour="Confidence")
    for key in ("strength", "pin", "colour"):
        if key in app.query_params:
            del app.query_params[key]
    app.switch_page("pages/1_Explore.py").run()
    assert app.text_input(key="pin").value == "7"
    app.switch_page("app.py").run()
    app.switch_page("pages/2_Attack.py").run()
    assert calm(app)
    assert app.number_input(key="strength").value == 0.2
    assert app.text_input(key="pin").value == "7"
    assert app.selectbox(key="colour").value == "confidence"


@pytest.mark.parametrize("page", [None, *PAGES])
def test_without_runs_a_page_says_what_to_do(place: Path, page: str | None) -> None:
    app = open_app(page)
    assert calm(app)
    (info,) = app.info
    assert "python -m clustcore reproduce runs" in info.value
    assert info.proto.title == "No runs here yet"
    assert "Train a model of your own" in [link.label for link in app.get("page_link")]
    assert not app.get("bidi_component")


@pytest.mark.parametrize("page", PAGES)
def test_a_run_without_a_map_names_the_command(place: Path, page: str) -> None:
    (demo.make_run(place) / "map.npz").unlink()
    app = open_app(page)
    assert calm(app)
    (info,) = app.info
    assert info.proto.title == "No map computed yet"
    assert "python -m clustcore project" in info.value


@pytest.mark.parametrize("page", PAGES)
def test_a_map_of_other_weights_is_not_shown_and_the_command_is_named(
    place: Path, page: str
) -> None:
    demo.change_card(demo.make_run(place), weights_sha256="1" * 64)
    app = open_app(page)
    assert calm(app)
    (info,) = app.info
    assert info.proto.title == "No map of these weights yet"
    assert (
        "demo's map was made with other weights (00000000) than the card's (11111111); "
        "`python -m clustcore project demo` makes it anew"
    ) in info.value
    assert not app.get("bidi_component")


@pytest.mark.parametrize("page", PAGES)
def test_a_run_whose_images_are_not_here_says_so_and_is_shown(place: Path, page: str) -> None:
    demo.make_run(place, data="folder:gone")
    app = open_app(page)
    assert not app.exception
    (warning,) = app.warning
    assert warning.proto.title == "No images to show"
    assert "folder 'gone': expected it below" in warning.value
    assert header(app)["meta"]["total"] == demo.N


@pytest.mark.parametrize("page", PAGES)
def test_a_run_that_is_not_there_is_named_and_another_shown(place: Path, page: str) -> None:
    demo.make_run(place)
    app = open_app(page, run="gone")
    assert not app.exception
    (warning,) = app.warning
    assert warning.proto.title == "The model of this link was not found"
    assert "no card.json of a run 'gone'" in warning.value
    assert "Showing demo instead." in warning.value
    assert app.selectbox(key="run").value == "demo"


NONSENSE = {
    "dataset": "<script>alert(1)</script>",
    "run": "../../../etc/passwd",
    "attack": "pdg",
    "space": "outer",
    "norm": "l7",
    "strength": "1e999",
    "target": "Into cluster 99",
    "colour": "mauve",
    "pin": "inf",
    "regions": "perhaps",
}


@pytest.mark.parametrize("page", PAGES)
def test_a_link_of_nothing_but_nonsense_falls_back(place: Path, page: str) -> None:
    demo.make_run(place)
    app = open_app(page, **NONSENSE)
    assert not app.exception
    assert not app.error
    said = [toast.value for toast in app.toast]
    assert len(said) == 9, said  # one for each part of the scene
    assert any("1e999" in text for text in said)
    assert any("l7" in text for text in said)
    assert app.selectbox(key="run").value == "demo"
    assert app.selectbox(key="attack").value == "pgd"
    assert header(app)["parts"]["pin"] is None
    assert header(app)["meta"]["total"] == demo.N


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("value", ["", " ", "nan", "-1", "\u0000", "💥", "a" * 3000, "NaN&x=1"])
def test_no_value_in_every_place_of_a_link_breaks_a_page(
    place: Path, page: str, value: str
) -> None:
    demo.make_run(place)
    app = open_app(page, **dict.fromkeys(NONSENSE, value))
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="run").value == "demo"
    assert header(app)["meta"]["total"] == demo.N
