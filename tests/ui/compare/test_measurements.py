"""ALRDC's measurements in words: means and spreads, the gap in either direction, the bar."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from clustcore.experiments import report
from tests.support import demo
from ui.compare import measurements
from ui.parts import frames, sentences


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the measurements are looked for."""
    monkeypatch.setattr(report, "ALRDC", tmp_path / "alrdc.json")
    return tmp_path / "alrdc.json"


def write(file: Path, *entries: dict[str, Any]) -> None:
    file.write_text(json.dumps({"entries": entries}), encoding="utf-8")


def test_without_measurements_of_these_data_there_is_nothing(file: Path) -> None:
    assert measurements.read("mnist") == []
    write(file, demo.make_entry())
    assert measurements.read("fashion-mnist") == []
    assert len(measurements.read("mnist")) == 1


def test_a_row_is_one_model_under_one_attacker(file: Path) -> None:
    write(file, demo.make_entry())
    (one,) = measurements.read("mnist")
    assert [row["Model"] for row in one.rows] == [
        "Undefended, its own attacker",
        "Control: same further steps, old attacker",
        "Control: same further steps, fitted anew",
        "The paper's defence, old attacker",
        "The paper's defence, fitted anew",
        "Alternating, old attacker",
        "Alternating, fitted anew",
    ]
    assert one.rows[4] == {
        "Model": "The paper's defence, fitted anew",
        "Clean ACC": "95.1%",
        "Moved": "62.0%",
        "Random": "3.7%",
        "PGD": "93.0%",
        "ACC attacked": "33.0%",
        "Re-matched": "35.0%",
        "NMI": "0.38",
        "rho": "0.71",
        "Image": "4.25",
    }
    assert one.about == (
        "**Full**: trained on 60,000 images, seed 0; attackers learned from 10,000. Judged on "
        "10,000 test images, by PGD on 1,000 of them."
    )


def test_several_seeds_are_a_mean_and_a_spread_and_modes_stay_apart(file: Path) -> None:
    values = [0.60, 0.66, 0.69]
    entries = [demo.make_entry(seed=i, adaptive=value) for i, value in enumerate(values)]
    write(file, demo.make_entry(mode="quick"), *entries)
    full, quick = measurements.read("mnist")
    assert full.rows[4]["Moved"] == "65.0% 60.0–69.0"  # noqa: RUF001
    assert ", seeds 0, 1 and 2; " in full.about
    assert full.about.endswith("Beside each mean: the least and the most.")
    assert quick.about.startswith("**Quick**: trained on 10,000 images, seed 0; ")
    assert quick.rows[4]["Moved"] == "62.0%"
    assert quick.bars == []
    assert len(full.bars) == 2 * len(values)


def test_a_figure_that_was_not_measured_is_blank() -> None:
    assert measurements.cell([None, 0.5], ".1%") == ""
    assert measurements.cell([0.5], ".1%") == "50.0%"


@pytest.mark.parametrize(
    ("old", "adaptive", "says"),
    [
        ([0.15], [0.62], "47.0 points more: judged by the old attacker alone, it looks stronger"),
        ([0.30], [0.20], "10.0 points fewer: the old attacker hides nothing here."),
        ([0.30], [0.31], "1.0 points that proves nothing, since the 95 % intervals overlap"),
        ([0.30, 0.10], [0.31, 0.14], "2.5 points more: judged by the old attacker alone"),
        ([0.30, 0.10], [0.24, 0.18], "1.0 points that proves nothing, since the seeds do not"),
        ([0.30, 0.20], [0.30, 0.20], "0.0 points that proves nothing, since the 95 % intervals"),
        ([0.30, 0.31], [0.301, 0.311], "0.1 points that proves nothing, since the 95 % intervals"),
    ],
)
def test_the_gap_is_stated_in_either_direction(
    file: Path, old: list[float], adaptive: list[float], says: str
) -> None:
    pairs = enumerate(zip(old, adaptive, strict=True))
    write(file, *(demo.make_entry(seed=i, old=a, adaptive=b) for i, (a, b) in pairs))
    (one,) = measurements.read("mnist")
    assert says in one.gap
    assert f"**{statistics.mean(old):.1%}** of the samples move under the attacker" in one.gap
    assert f"**{statistics.mean(adaptive):.1%}** under one fitted anew to it, " in one.gap
    assert one.gap.endswith(" Undefended, 44.0% move.")


def test_a_gap_is_stated_without_an_undefended_model(file: Path) -> None:
    entry = demo.make_entry(old=0.30, adaptive=0.34)
    entry["rows"] = [row for row in entry["rows"] if row["model"] != "undefended"]
    write(file, entry)
    assert measurements.read("mnist")[0].gap == (
        "The paper's defence: **30.0%** of the samples move under the attacker that it was trained "
        "against, **34.0%** under one fitted anew to it, 4.0 points more: judged by the old "
        "attacker alone, it looks stronger than it is."
    )


def test_without_both_attackers_nothing_is_said_of_a_gap(file: Path) -> None:
    entry = demo.make_entry()
    entry["rows"] = entry["rows"][:4]
    write(file, entry)
    assert measurements.read("mnist")[0].gap == ""


def test_each_bar_is_a_sentence(file: Path) -> None:
    write(file, demo.make_entry())
    (one,) = measurements.read("mnist")
    assert one.bars == [
        "**Cleared** in the embedding, seed 0: at b = rho 0.612 the worst case moves 50.1% of "
        "1,000 samples undefended and 14.3% (95 %: 12.3% to 16.3%) under the alternating defence; "
        "accuracy −1.2 points, decoder's error x 1.05, "  # noqa: RUF001
        "58% of the nearest neighbours kept.",
        "**Not cleared** in pixels, seed 0: at b = L∞ 0.0712 the worst case moves 50.1% of "
        "1,000 samples undefended and 31.0% (95 %: 29.0% to 33.0%) under the alternating defence; "
        "accuracy −1.2 points, 58% of the nearest neighbours kept.",  # noqa: RUF001
    ]


def test_the_file_holds_every_seed(file: Path) -> None:
    write(file, demo.make_entry(), demo.make_entry(seed=1, old=0.18))
    frame = measurements.frame(measurements.read("mnist"))
    assert len(frame) == 2 * len(demo.MOVED)
    row = frame[(frame.seed == 1) & (frame.model == "alrdc") & (frame.attacker == "old")]
    assert row.moved.item() == 0.18
    assert row.clean_acc.item() == 0.951
    assert (row.moved_low.item(), row.moved_high.item()) == pytest.approx((0.17, 0.19))
    first = frames.csv(frame).decode().splitlines()[0]
    assert first.startswith("data,mode,n_train,seed,model,attacker,clean_n,clean_acc,")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"entries": [{}]}', '{"entries": [{"data": "mnist"}]}']
)
def test_a_damaged_file_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match=r"alrdc\.json: expected "):
        measurements.read("mnist")


@pytest.mark.parametrize("part", ["rows", "bar", "n_train"])
def test_entries_of_another_form_are_a_damaged_file(file: Path, part: str) -> None:
    write(file, demo.make_entry() | {part: [{}]})
    with pytest.raises(ValueError, match=r"alrdc\.json: expected the entries of `reproduce alrdc`"):
        measurements.read("mnist")


def test_a_difference_bears_its_sign() -> None:
    assert [sentences.signed(v, ".1f") for v in (0.3, -2.94, -0.04)] == [
        "+0.3",
        "−2.9",  # noqa: RUF001
        "±0.0",
    ]
