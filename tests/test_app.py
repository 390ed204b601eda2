"""Every page on every shipped run, and the states a page can be in: empty, failed, nonsense."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from clustcore import comparing, runs, tables
from clustcore.types import dial
from tests import demo
from tests.map_views import decode
from ui import answers, datasets, loaders, panels
from ui import attack as attack_page

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(path.parent.name for path in (ROOT / "assets" / "runs").glob("*/card.json"))
# those that show a run; Train has tests of its own
PAGES = sorted(
    f"pages/{path.name}" for path in (ROOT / "pages").glob("*.py") if path.name != "6_Train.py"
)
TITLES = {
    "pages/1_Explore.py": "Explore: what did the model group together?",
    "pages/2_Attack.py": "Attack: how little does it take?",
    "pages/4_Compare.py": "Compare: does the defence help?",
}


def open_app(page: str | None = None, **query: str) -> AppTest:
    """The app on its home page, then on `page` where one is named, as a link would open it."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if page is None:
        return app.run()
    app.run()
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(page).run()


def header(app: AppTest) -> dict[str, Any]:
    """The JSON header of the map's message."""
    (message,) = [c.proto.bytes for c in app.get("bidi_component") if c.proto.bytes]
    size = int.from_bytes(message[4:8], "little")
    return json.loads(message[8 : 8 + size])


def calm(app: AppTest) -> bool:
    """No exception, no error and no warning on the screen."""
    return not (app.exception or app.error or app.warning)


def texts(app: AppTest) -> list[str]:
    """All captions and Markdown of the screen."""
    return [item.value for item in (*app.caption, *app.markdown)]


# Shipped runs


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_every_shipped_run(name: str, page: str) -> None:
    app = open_app(page, run=name)
    assert calm(app)
    assert [title.value for title in app.title] == [TITLES[page]]
    assert app.selectbox(key="run").value == name
    sent = header(app)
    arrays = runs.read_map(runs.SHIPPED / name)
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


@pytest.mark.skipif(not SHIPPED, reason="no run ships yet")
def test_home_has_a_card_for_every_shipped_run() -> None:
    app = open_app()
    assert calm(app)
    links = {link.label for link in app.get("page_link")}
    assert {f"Explore {panels.plain(name)}" for name in SHIPPED} <= links


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
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


# A run of one's own


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
    assert sorted(labels) == sorted([*panels.PAGES, *doors])


def test_explore_sends_the_map_and_lists_the_clusters(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/1_Explore.py")
    assert calm(app)
    assert header(app)["meta"]["total"] == demo.N
    table = app.dataframe[-1].value
    assert table["cluster"].tolist() == list(range(demo.K))
    assert table["size"].tolist() == [demo.N // demo.K] * demo.K
    assert table["samples attacked"].sum() == demo.M
    y = datasets.labels("mnist")[0]
    counts = np.bincount(y[np.arange(demo.N) % demo.K == 3])
    assert table["purity"][3] == pytest.approx(counts.max() / counts.sum())
    assert "MNIST · undefended · 10,000 test images · map computed ahead, seed 0" in texts(app)
    assert any(text.startswith("Nothing selected. Drag a shape on the map") for text in texts(app))


def test_attack_says_in_words_what_the_dial_shows(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/2_Attack.py", strength="0.2")
    assert calm(app)
    assert app.number_input(key="strength").value == 0.2
    status = "MNIST · undefended · margin PGD on 60 of 10,000 test images · computed ahead, seed 0"
    assert status in texts(app)
    # sample i moves at (i + 1) / 60 of 0.4: 30 of them by 0.2
    said = [t for t in texts(app) if t.startswith("At strength 0.2, 30 of 60 samples left")]
    assert len(said) == 1
    assert header(app)["parts"]["alt"] == said[0]
    assert header(app)["parts"]["control"]["strength"][1] == 0.2


@pytest.mark.parametrize(
    ("key", "value", "end"), [("norm", "l2", 3.0), ("space", "embedding", 2.0)]
)
def test_another_dial_sets_the_strength_back_and_says_so(
    place: Path, key: str, value: str, end: float
) -> None:
    demo.make_run(place)
    app = open_app("pages/2_Attack.py", strength="0.2")
    app.get("button_group")
    group = next(g for g in app.get("segmented_control") if g.key == key)
    group.set_value(value).run()
    assert calm(app)
    assert app.number_input(key="strength").value == 0.0
    assert app.number_input(key="strength").max == end
    assert "the strength is back at 0" in app.toast[0].value


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


def test_the_link_holds_the_scene(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/2_Attack.py", strength="0.2", pin="7", norm="L2", target="3")
    (link,) = [code.value for code in app.code]
    assert link.endswith(
        "/Attack?dataset=MNIST&run=demo&norm=L2&strength=0.2&target=Into+cluster+3&pin=7"
    )


def test_reset_takes_the_scene_back(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/2_Attack.py", strength="0.2", pin="7", norm="L2")
    next(button for button in app.button if button.label == "Reset").click().run()
    assert calm(app)
    assert app.number_input(key="strength").value == 0.0
    assert app.text_input(key="pin").value == ""
    assert app.session_state["norm"] == "linf"


# Nothing there, or not yet


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


def test_paths_not_computed_are_offered_with_an_estimate(place: Path) -> None:
    demo.make_run(place, paths=False)
    assert ":material/schedule: paths not computed yet · your own" in texts(open_app())
    app = open_app("pages/2_Attack.py")
    assert calm(app)
    (offer,) = [text for text in texts(app) if text.startswith("**Not computed yet:**")]
    assert "margin PGD and random noise, L∞, seed 0" in offer
    # 12 and 100 passes of 2,000 samples at half a millisecond: the card does not say how long
    assert offer.endswith("2,000 samples on 11 strengths: about 2 min on a CPU.")
    assert app.button(key="compute").label == "Compute now"
    sent = header(app)
    assert sent["parts"]["options"]["note"] == (
        "Paths not computed yet: these are the clean samples."
    )
    assert not sent["meta"].get("paths")


@pytest.mark.parametrize(
    ("train", "attack", "space", "seconds"),
    [
        # 8 epochs of 60,000 images in two views, 4 minutes: 0.25 ms a view
        ({"device": "cpu", "minutes": 4, "epochs": 8}, "pgd", "pixels", 50),
        ({"device": "cpu", "minutes": 4, "epochs": 8}, "fgsm", "pixels", 11),
        ({"device": "cpu", "minutes": 0.0, "epochs": 8}, "pgd", "pixels", 100),
        ({"device": "cuda", "minutes": 4, "epochs": 8}, "pgd", "pixels", 100),
        ({"device": "cpu", "minutes": "x", "epochs": None}, "pgd", "pixels", 100),
        ({}, "pgd", "embedding", 5),
    ],
)
def test_the_estimate_follows_the_training_of_the_run(
    place: Path, train: dict[str, Any], attack: str, space: str, seconds: float
) -> None:
    demo.make_run(place, paths=False, train=train)
    ask = loaders.Ask(runs.find_run("demo"), attack, space, "l2")
    assert attack_page.estimate(ask) == pytest.approx(seconds)


def test_computing_shows_its_steps_and_then_the_path(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.make_run(place)
    said = []

    def compute(ask: loaders.Ask, device: str, on_step: answers.OnStep) -> None:
        on_step(3, 11, "PGD step 7/40")
        said.append((ask.attack, ask.norm, ask.target, ask.seed, device))
        arrays = loaders.map_arrays(ask.run)
        where = (ask.attack, ask.space, ask.norm, ask.target, ask.seed)
        path = demo.make_path(arrays, *where[:4])
        runs.write_path(runs.cached_path_file(ask.run.folder, *where), path)

    monkeypatch.setattr(answers, "compute_path", compute)
    app = open_app("pages/2_Attack.py", attack="FGSM", target="3")
    app.button(key="compute").click().run()
    assert calm(app)
    assert said == [("fgsm", "linf", 3, 0, "auto")]
    assert "compute" not in [button.key for button in app.button]
    assert any("FGSM on 60 of 10,000 test images" in text for text in texts(app))
    assert any("none of 60 samples entered cluster 3" in text for text in texts(app))


def test_weights_missing_is_said_and_the_map_still_drawn(place: Path) -> None:
    (demo.make_run(place) / "weights.safetensors").unlink()
    assert ":material/key_off: weights missing · your own" in texts(open_app())
    app = open_app("pages/2_Attack.py", attack="FGSM", pin="7")
    assert calm(app)
    (info,) = app.info
    assert info.proto.title == "Weights missing"
    assert header(app)["meta"]["total"] == demo.N


def test_data_without_labels_have_neither_label_colours_nor_purity(place: Path) -> None:
    demo.make_run(place, data="unheard-of")
    app = open_app("pages/1_Explore.py", colour="True label")
    assert calm(app)
    (colours,) = [g for g in app.get("segmented_control") if g.key == "colour"]
    assert colours.options == ["Cluster", "Confidence", "Fragility"]
    assert colours.value == "cluster"
    assert "purity" not in app.dataframe[-1].value.columns


def test_a_sample_that_is_in_the_target_already_is_told_apart_from_a_failure(place: Path) -> None:
    folder = demo.make_run(place)
    arrays = runs.read_map(folder)
    path = demo.make_path(arrays, "noise", "pixels", "linf", 7)
    runs.write_path(folder / "paths" / runs.path_name("fgsm", "pixels", "linf", 7), path)
    (folder / "weights.safetensors").unlink()
    app = open_app("pages/2_Attack.py", attack="FGSM", target="7", pin="0")
    assert header(app)["parts"]["pin"]["smallest"] is None
    assert header(app)["parts"]["pin"]["searched"]
    assert "already" not in header(app)["parts"]["pin"]["note"]
    app.text_input(key="pin").set_value("7").run()
    assert calm(app)
    assert header(app)["parts"]["pin"]["note"].startswith("This sample is in cluster 7 already.")


# Learned attacks


@pytest.fixture
def learned(place: Path, digits_run: Path) -> Path:
    """A real run on digits, the only one; none of its paths is computed."""
    shutil.copytree(digits_run, place / "d")
    return place / "d"


def open_learned(**query: str) -> AppTest:
    """Attack on that run, in the embedding, by the learned attack."""
    return open_app("pages/2_Attack.py", space="Embedding", attack="ALRDC", **query)


def offered(app: AppTest) -> str:
    """What the page offers to compute."""
    (offer,) = [text for text in texts(app) if "**Not computed" in text or "**To be" in text]
    return offer


def test_a_learned_attack_is_fitted_on_demand_and_an_old_one_anew(learned: Path) -> None:
    run = runs.find_run("d")
    app = open_learned()
    assert calm(app)
    n = len(datasets.images("digits", "train"))
    assert "ALRDC and random noise, rho, seed 0. An attacker is fitted first" in offered(app)
    assert f"on {n:,} training images, 10 epochs. Then 2,000 samples" in offered(app)
    assert app.button(key="compute").label == "Compute now"
    app.button(key="compute").click().run()
    assert calm(app)
    assert loaders.attacker_state(run, "alrdc") == "fitted"
    assert "compute" not in [button.key for button in app.button]
    path = loaders.path(loaders.Ask(run, "alrdc", "embedding", "l2"))
    assert any(f"ALRDC on {len(path.rows):,} of " in text for text in texts(app))

    from clustcore.attacks.alrdc import ALRDCAttack

    file = runs.attacker_file(learned, "alrdc")
    ALRDCAttack.load(file).save(file, "0" * 64)
    app = open_learned()
    assert not app.exception
    (warning,) = app.warning
    assert warning.proto.title == "An old attacker"
    assert "ALRDC was fitted on other weights than those of d: it under-reports" in warning.value
    assert any("an old attacker, fitted on other weights: it under-rep" in t for t in texts(app))
    assert "An attacker is fitted first" in offered(app)
    assert app.button(key="compute").label == "Fit a fresh attacker"
    app.button(key="compute").click().run()
    assert calm(app)
    assert loaders.attacker_state(run, "alrdc") == "fitted"


def test_a_learned_attack_has_no_target_and_none_in_pixels(learned: Path) -> None:
    app = open_learned()
    target = app.selectbox(key="target")
    assert target.options == ["Untargeted"]
    assert target.disabled
    assert any("needs write access to the embedding" in text for text in texts(app))
    next(g for g in app.get("segmented_control") if g.key == "space").set_value("pixels").run()
    assert calm(app)
    assert app.selectbox(key="attack").value == "pgd"
    assert "ALRDC" not in app.selectbox(key="attack").options
    assert not app.selectbox(key="target").disabled
    assert not any("write access" in text for text in texts(app))


def test_the_images_an_attacker_learns_from_are_named(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path / "no data"))
    demo.make_run(place)
    offer = offered(open_learned())
    # half a millisecond a view, half a view an image without a decoder; and the path
    assert offer.endswith(
        "seed 0. An attacker is fitted first, on 10,000 test images (the training split is not "
        "here), 10 epochs. Then 2,000 samples on 11 strengths: about 30 s on a CPU in all."
    )
    change_card(place / "demo", decoder=True)
    assert "about 3 min on a CPU in all" in offered(open_learned())


def test_an_attacker_is_fitted_anew_with_other_settings(learned: Path) -> None:
    run = runs.find_run("d")
    app = open_learned()
    app.number_input(key="fit_epochs").set_value(2).run()
    assert "training images, 2 epochs. Then 2,000 samples" in offered(app)
    app.button(key="compute").click().run()
    assert calm(app)
    assert "compute" not in [button.key for button in app.button]
    assert any("· attacker fitted with 2 epochs" in text for text in texts(app))
    first = loaders.path(loaders.Ask(run, "alrdc", "embedding", "l2"))

    app.number_input(key="fit_weight_y").set_value(10.0).run()
    assert calm(app)
    assert offered(app).startswith("**To be computed afresh:** ALRDC, rho, seed 0. An attacker is")
    assert "training images, 2 epochs, w 10. Then 2,000 samples" in offered(app)
    assert app.button(key="compute").label == "Fit anew with these settings"
    assert header(app)["meta"]["paths"] == len(first.rows)  # what there is stays on the map
    app.button(key="compute").click().run()
    assert calm(app)
    assert "compute" not in [button.key for button in app.button]
    assert any("· attacker fitted with w 10, 2 epochs" in text for text in texts(app))
    second = loaders.path(loaders.Ask(run, "alrdc", "embedding", "l2"))
    assert not np.array_equal(first.smallest, second.smallest, equal_nan=True)

    # another visitor has the usual settings before him, and sees what the attacker was fitted with
    app = open_learned()
    assert "training images, 10 epochs. Then" in offered(app)
    assert any("· attacker fitted with w 10, 2 epochs" in text for text in texts(app))


def test_the_settings_of_a_fit_are_offered_where_there_is_one_to_make(place: Path) -> None:
    demo.make_run(place)
    demo.make_run(place, "other")
    for page, query, there in (
        ("pages/2_Attack.py", {"attack": "ALRDC"}, True),
        ("pages/4_Compare.py", {"attack": "ALRDC (ReLU)"}, True),
        ("pages/1_Explore.py", {"attack": "ALRDC"}, False),
        ("pages/2_Attack.py", {}, False),
    ):
        app = open_app(page, space="Embedding", **query)
        assert calm(app)
        shown = {entry.key: entry for entry in app.number_input}
        assert {"fit_weight_y", "fit_weight_x", "fit_epochs"} & {*shown} == (
            {"fit_weight_y", "fit_weight_x", "fit_epochs"} if there else set()
        )
        if there:
            w = shown["fit_weight_y"]
            assert (w.value, w.min, w.max) == (40.0, 0.0, 1e5)
            assert "10 few, 160 nearly all" in w.help


# Two models


@pytest.fixture
def two(place: Path) -> Path:
    """A run and another one whose clusters bear other numbers, on a map turned by 90 degrees."""
    demo.make_run(place)
    other = demo.make_run(place, "other")
    order = np.roll(np.arange(demo.K), 3)
    arrays = comparing.rename_map(runs.read_map(other), order)
    turned = np.ascontiguousarray(arrays.xy[:, ::-1] * np.array([1, -1], np.float32))
    runs.write_map(other, dataclasses.replace(arrays, xy=turned))
    for file in (other / "paths").iterdir():
        path = comparing.rename_path(runs.read_path(file), order)
        xy = np.ascontiguousarray(path.xy[..., ::-1] * np.array([1, -1], np.float32))
        runs.write_path(file, dataclasses.replace(path, xy=xy))
    return place


def change_card(folder: Path, **values: Any) -> None:
    """Write other values into a run's card."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    runs.write_json(folder / "card.json", card | values)


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


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ALRDC's measurements are looked for."""
    monkeypatch.setattr(tables, "ALRDC", tmp_path / "alrdc.json")
    return tmp_path / "alrdc.json"


def test_what_was_measured_of_a_defence_stands_below_models_of_alrdc(
    two: Path, measured: Path
) -> None:
    entries = [demo.make_entry(), demo.make_entry("fashion-mnist", adaptive=0.2)]
    runs.write_json(measured, {"entries": entries})
    assert "The defence, judged" not in [
        item.value for item in open_app("pages/4_Compare.py").subheader
    ]
    change_card(two / "other", model="alrdc")
    for run, partner in (("demo", "other"), ("other", "demo")):
        app = open_app("pages/4_Compare.py", run=run, partner=partner)
        assert calm(app)
        assert "The defence, judged" in [item.value for item in app.subheader]
        (table,) = [table.value for table in app.dataframe]
        assert table["Moved"].tolist() == [f"{share:.1%}" for share in demo.MOVED.values()]
        shown = texts(app)
        assert any("47.0 points more: judged by the old attacker alone" in t for t in shown)
        assert any(t.startswith("- **Cleared** in the embedding, seed 0: ") for t in shown)
        labels = [button.proto.label for button in app.get("download_button")]
        assert "All measurements, seed by seed (CSV)" in labels


def test_without_measurements_there_is_no_heading_for_them(two: Path, measured: Path) -> None:
    change_card(two / "demo", model="alrdc")
    for entries in (None, [], [demo.make_entry("fashion-mnist")]):
        if entries is not None:
            runs.write_json(measured, {"entries": entries})
        app = open_app("pages/4_Compare.py", run="demo")
        assert calm(app)
        assert "The defence, judged" not in [item.value for item in app.subheader]


@pytest.mark.parametrize("text", ["{", '{"entries": [{"data": "mnist", "mode": 1}]}'])
def test_damaged_measurements_are_a_sentence_and_the_page_lives(
    two: Path, measured: Path, text: str
) -> None:
    change_card(two / "demo", model="alrdc")
    (two / "other" / "paths" / "pgd-pixels-linf.npz").unlink()
    measured.write_text(text)
    app = open_app("pages/4_Compare.py", run="demo")
    assert not app.exception
    assert not app.error
    (warning,) = app.warning
    assert warning.proto.title == "The defence's measurements cannot be read"
    assert "alrdc.json" in warning.value
    assert "python -m clustcore reproduce alrdc" in warning.value
    assert app.button(key="compute")  # what comes after it on the page


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


def warned(app: AppTest) -> str:
    """What the one warning of the screen says."""
    assert not app.exception
    (warning,) = app.warning
    assert warning.proto.title == "This is no evidence of robustness"
    return warning.value


def test_noise_is_no_evidence_of_robustness(two: Path) -> None:
    change_card(two / "other", defence={"name": "pgd_at", "from": "demo"})
    app = open_app("pages/4_Compare.py", run="demo", attack="noise")
    assert "Random noise is a control, no attack: it says nothing of other." in warned(app)
    assert calm(open_app("pages/4_Compare.py", run="demo"))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"protocol": "stale"}, "The card of other reports margin PGD under the protocol 'stale'."),
        (
            {"protocol": "adaptive", "eps": 0.1},
            "other got a smaller budget of margin PGD than demo",
        ),
        ({"settings": {"steps": 20}}, "other got a smaller budget of margin PGD than demo"),
        ({"settings": {"steps": 40, "restarts": 1}}, "other got a smaller budget of margin PGD"),
    ],
)
def test_a_weaker_attack_on_a_defended_model_is_no_evidence(
    two: Path, entry: dict[str, Any], says: str
) -> None:
    what = {"attack": "pgd", "space": "pixels", "norm": "linf", "eps": 0.3}
    budget = {"settings": {"steps": 40, "restarts": 2}}
    change_card(two / "demo", scores={"attacked": [what | budget]})
    change_card(
        two / "other",
        defence={"name": "pgd_at", "from": "demo"},
        scores={"attacked": [what | budget | entry]},
    )
    assert says in warned(open_app("pages/4_Compare.py", run="demo"))
    swapped = open_app("pages/4_Compare.py", run="other", partner="demo")
    assert says in warned(swapped)  # wherever the defended one stands


def test_an_attacker_of_other_weights_is_old_and_fitted_anew(two: Path) -> None:
    from safetensors.numpy import save_file

    change_card(two / "other", defence={"name": "pgd_at", "from": "demo"})
    file = two / "other" / "attackers" / "pgd.safetensors"
    file.parent.mkdir()
    for weights, state in (("1" * 64, "stale"), (demo.WEIGHTS, "fitted")):
        save_file({"weight": np.zeros(1, np.float32)}, file, {"fitted_on": weights})
        assert loaders.attacker_state(runs.find_run("other"), "pgd") == state
        app = open_app("pages/4_Compare.py", run="demo")
        if state == "stale":
            assert "was fitted to other weights than those of other: an old attacker" in warned(app)
            assert app.button(key="compute").label == "Attack the defended model afresh"
        else:
            assert calm(app)
    assert loaders.attacker_state(runs.find_run("demo"), "pgd") == ""
    file.write_bytes(b"cut short")
    with pytest.raises(ValueError, match="expected readable tensors, got"):
        loaders.attacker_state(runs.find_run("other"), "pgd")


def test_attackers_fitted_with_other_settings_are_no_evidence(two: Path) -> None:
    from safetensors.numpy import save_file

    from clustcore.attacks.alrdc_config import ALRDCConfig

    change_card(two / "other", defence={"name": "pgd_at", "from": "demo"})
    for name, w in (("demo", 40.0), ("other", 10.0)):
        file = two / name / "attackers" / "alrdc.safetensors"
        file.parent.mkdir()
        config = json.dumps(ALRDCConfig(weight_y=w).to_dict())
        note = {"weights_sha256": demo.WEIGHTS, "config": config}
        save_file({"weight": np.zeros(1, np.float32)}, file, note)
    link = {"run": "demo", "attack": "ALRDC", "space": "Embedding"}
    app = open_app("pages/4_Compare.py", **link)
    assert "ALRDC was fitted to other with other settings than to demo." in warned(app)
    assert any("· other's attacker fitted with w 10" in text for text in texts(app))
    save_file({"weight": np.zeros(1, np.float32)}, two / "other/attackers/alrdc.safetensors", {})
    with pytest.raises(ValueError, match=r"alrdc\.safetensors: expected a fitted attacker"):
        loaders.attacker_settings(runs.find_run("other"), "alrdc")


def test_the_curves_of_both_have_bands_and_the_control(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = np.linspace(0, 0.5, 11)
    monkeypatch.setattr(answers, "transfer", lambda *_: moved)
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

    monkeypatch.setattr(answers, "transfer", transfer)
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


# Failed


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


@pytest.mark.parametrize("file", ["map.npz", "paths/pgd-pixels-linf.npz"])
def test_a_damaged_file_is_a_sentence_not_a_traceback(place: Path, file: str) -> None:
    folder = demo.make_run(place)
    (folder / file).write_bytes(b"cut short")
    app = open_app("pages/2_Attack.py")
    assert not app.exception
    (error,) = app.error
    assert "expected a readable npz" in error.value
    assert "Traceback" not in error.value


def test_an_unforeseen_failure_is_a_sentence_and_its_trace_goes_to_the_log(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    demo.make_run(place)

    def fail(run: runs.RunInfo) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(loaders, "map_arrays", fail)
    app = open_app("pages/1_Explore.py")
    assert not app.exception
    assert "Something went wrong here." in app.error[0].value
    assert "a bug" not in app.error[0].value
    assert "a bug" in caplog.text


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


def test_a_sample_that_is_not_there_is_said_and_the_pin_kept(place: Path) -> None:
    demo.make_run(place)
    app = open_app("pages/1_Explore.py", pin="7")
    app.text_input(key="pin").set_value("10000").run()
    assert calm(app)
    message = "There is no sample 10000: 0 to 9,999. Sample 7 stays pinned."
    assert f":material/error: {message}" in texts(app)
    assert message in [toast.value for toast in app.toast]
    assert header(app)["parts"]["pin"]["row"] == 7


def test_a_device_that_is_not_there_means_the_cpu_and_a_word(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.make_run(place)
    note = "device 'mps' is not there. The CPU does the work instead."
    monkeypatch.setattr(answers, "check_device", lambda device: note if device == "mps" else "")
    app = open_app("pages/2_Attack.py")
    app.selectbox(key="device").set_value("mps").run()
    assert not app.exception
    assert [warning.value for warning in app.warning] == [note]


def test_names_from_a_card_are_text_and_nothing_else(place: Path) -> None:
    demo.make_run(place, defence={"name": "<img src=x> [link](http://x) **bold** $x$"})
    shown = [text for text in texts(open_app()) if "img src" in text]
    escaped = r"\<img src=x\> \[link\](http\://x) \*\*bold\*\* \$x\$"
    assert shown == [f"MNIST · DRC · defence: {escaped}"]
