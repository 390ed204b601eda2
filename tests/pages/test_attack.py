"""Attack: the dial's words, its link, and what is computed on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clustcore import runs
from clustcore.types import PathKey
from tests.support import demo
from tests.support.screens import calm, header, open_app, texts
from ui import cached
from ui.parts import compute as attack_page


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
    ask = cached.runs.Ask(runs.find_run("demo"), PathKey(attack, space, "l2"))
    assert attack_page.estimate(ask) == pytest.approx(seconds)


def test_a_path_has_no_more_samples_than_the_map(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "N", 500)
    demo.make_run(place, paths=False)
    app = open_app("pages/2_Attack.py")
    (offer,) = [text for text in texts(app) if text.startswith("**Not computed yet:**")]
    # PGD and noise: 112 passes x 500 samples x 0.5 ms, each at least 5 s
    assert offer.endswith("500 samples on 11 strengths: about 30 s on a CPU.")


def test_computing_shows_its_steps_and_then_the_path(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.make_run(place)
    said = []

    def compute(ask: cached.runs.Ask, device: str, on_step: cached.models.OnStep) -> None:
        on_step(3, 11, "PGD step 7/40")
        said.append((ask.attack, ask.norm, ask.target, ask.seed, device))
        arrays = cached.runs.map_arrays(ask.run)
        path = demo.make_path(arrays, ask.attack, ask.space, ask.norm, ask.target)
        runs.write_path(runs.cached_path_file(ask.run, ask.key), path)

    monkeypatch.setattr(cached.models, "compute_path", compute)
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


def test_a_sample_that_is_in_the_target_already_is_told_apart_from_a_failure(place: Path) -> None:
    folder = demo.make_run(place)
    arrays = runs.read_map(folder)
    path = demo.make_path(arrays, "noise", "pixels", "linf", 7)
    runs.write_path(folder / "paths" / runs.path_name(PathKey("fgsm", "pixels", "linf", 7)), path)
    (folder / "weights.safetensors").unlink()
    app = open_app("pages/2_Attack.py", attack="FGSM", target="7", pin="0")
    assert header(app)["parts"]["pin"]["smallest"] is None
    assert header(app)["parts"]["pin"]["searched"]
    assert "already" not in header(app)["parts"]["pin"]["note"]
    app.text_input(key="pin").set_value("7").run()
    assert calm(app)
    assert header(app)["parts"]["pin"]["note"].startswith("This sample is in cluster 7 already.")


@pytest.mark.parametrize("file", ["map.npz", "paths/pgd-pixels-linf.npz"])
def test_a_damaged_file_is_a_sentence_not_a_traceback(place: Path, file: str) -> None:
    folder = demo.make_run(place)
    (folder / file).write_bytes(b"cut short")
    app = open_app("pages/2_Attack.py")
    assert not app.exception
    (error,) = app.error
    assert "expected a readable npz" in error.value
    assert "Traceback" not in error.value


def test_a_device_that_is_not_there_means_the_cpu_and_a_word(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.make_run(place)
    note = "device 'mps' is not there. The CPU does the work instead."
    monkeypatch.setattr(
        cached.models, "check_device", lambda device: note if device == "mps" else ""
    )
    app = open_app("pages/2_Attack.py")
    app.selectbox(key="device").set_value("mps").run()
    assert not app.exception
    assert [warning.value for warning in app.warning] == [note]
