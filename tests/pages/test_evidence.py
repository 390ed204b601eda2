"""Compare: what is no evidence of robustness, and what was measured of a defence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from clustcore import files, runs
from clustcore.experiments import alrdc_results
from tests.support import demo
from tests.support.demo import change_card
from tests.support.screens import calm, open_app, texts
from ui import cached


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
        assert cached.runs.attacker_state(runs.find_run("other"), "pgd") == state
        app = open_app("pages/4_Compare.py", run="demo")
        if state == "stale":
            assert "was fitted to other weights than those of other: an old attacker" in warned(app)
            assert app.button(key="compute").label == "Attack the defended model afresh"
        else:
            assert calm(app)
    assert cached.runs.attacker_state(runs.find_run("demo"), "pgd") == ""
    file.write_bytes(b"cut short")
    with pytest.raises(ValueError, match="expected readable tensors, got"):
        cached.runs.attacker_state(runs.find_run("other"), "pgd")


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
        cached.runs.attacker_settings(runs.find_run("other"), "alrdc")


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ALRDC's measurements are looked for."""
    monkeypatch.setattr(alrdc_results, "RESULTS", tmp_path / "alrdc.json")
    return tmp_path / "alrdc.json"


def test_what_was_measured_of_a_defence_stands_below_models_of_alrdc(
    two: Path, measured: Path
) -> None:
    entries = [demo.make_entry(), demo.make_entry("fashion-mnist", adaptive=0.2)]
    files.write_json(measured, {"entries": entries})
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
            files.write_json(measured, {"entries": entries})
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
