"""Attack by what is learned: an attacker is fitted first, and an old one is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from clustcore import runs
from clustcore.types import PathKey
from tests.support import demo
from tests.support.demo import change_card
from tests.support.screens import calm, header, open_app, texts
from ui import cached


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
    n = len(cached.images.images("digits", "train"))
    assert "ALRDC and random noise, rho, seed 0. An attacker is fitted first" in offered(app)
    assert f"on {n:,} training images, 10 epochs. Then 500 samples" in offered(app)
    assert app.button(key="compute").label == "Compute now"
    app.button(key="compute").click().run()
    assert calm(app)
    assert cached.runs.attacker_state(run, "alrdc") == "fitted"
    assert "compute" not in [button.key for button in app.button]
    path = cached.runs.path(cached.runs.Ask(run, PathKey("alrdc", "embedding", "l2")))
    assert any(f"ALRDC on {len(path.rows):,} of " in text for text in texts(app))

    from clustcore.attacks.alrdc import ALRDCAttack

    file = runs.attacker_file(run, "alrdc")
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
    assert cached.runs.attacker_state(run, "alrdc") == "fitted"


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
    assert "training images, 2 epochs. Then 500 samples" in offered(app)
    app.button(key="compute").click().run()
    assert calm(app)
    assert "compute" not in [button.key for button in app.button]
    assert any("· attacker fitted with 2 epochs" in text for text in texts(app))
    first = cached.runs.path(cached.runs.Ask(run, PathKey("alrdc", "embedding", "l2")))

    app.number_input(key="fit_weight_y").set_value(10.0).run()
    assert calm(app)
    assert offered(app).startswith("**To be computed afresh:** ALRDC, rho, seed 0. An attacker is")
    assert "training images, 2 epochs, w 10. Then 500 samples" in offered(app)
    assert app.button(key="compute").label == "Fit anew with these settings"
    assert header(app)["meta"]["paths"] == len(first.rows)  # what there is stays on the map
    app.button(key="compute").click().run()
    assert calm(app)
    assert "compute" not in [button.key for button in app.button]
    assert any("· attacker fitted with w 10, 2 epochs" in text for text in texts(app))
    second = cached.runs.path(cached.runs.Ask(run, PathKey("alrdc", "embedding", "l2")))
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
