"""The tables are what was measured, to the letter."""

from __future__ import annotations

import json

import pytest

from clustcore import runs
from clustcore.experiments import drc_results, report
from clustcore.experiments.report import TABLES, alrdc, alrdc_entries, results, summary, update
from clustcore.locations import PROJECT
from tests.support.cards import some_card


@pytest.mark.parametrize(
    ("name", "mark"), [(name, mark) for name, marks in TABLES.items() for mark in marks]
)
def test_the_files_say_what_was_measured(name, mark):
    text = (PROJECT / name).read_text(encoding="utf-8")
    assert f"<!-- {mark} -->\n{TABLES[name][mark]()}\n<!-- /{mark} -->" in text, (
        "run `python -m clustcore reproduce tables`"
    )


def test_every_shipped_run_is_in_the_tables():
    shipped = [run for run in runs.list_runs() if run.shipped]
    assert shipped
    for run in shipped:
        assert f"| `{run.name}` | pgd, 20 steps x 2 | L-inf" in results()
        scores = run.card.scores
        pixels = [e for e in scores.attacked if (e.attack, e.norm) == ("pgd", "linf")]
        assert len(pixels) == 1
        line = next(line for line in summary().splitlines() if line.startswith(f"| `{run.name}` |"))
        assert line.split(" | ")[1] == f"{scores.acc:.3f}"
        assert line.split(" | ")[3] == f"{pixels[0].moved:.1%}"


def test_a_figure_under_an_old_attacker_says_so():
    lines, seen = results().splitlines(), 0
    for run in runs.list_runs():
        for entry in run.card.scores.attacked if run.shipped else ():
            if entry.protocol != "adaptive":
                start = f"| `{run.name}` | {entry.attack}, {entry.protocol} |"
                assert sum(line.startswith(start) for line in lines) == 1
                seen += 1
    assert seen == 2  # the paper's defence, on both data sets


def test_a_card_without_scores_is_named(monkeypatch):
    bare = [("mine", some_card(scores={"attacked": []}))]
    monkeypatch.setattr(report, "_cards", lambda: bare)
    with pytest.raises(ValueError, match="card of 'mine': expected the scores that a shipped run"):
        summary()


def test_a_card_without_an_interval_shows_the_share_alone(monkeypatch):
    entry = {"attack": "pgd", "space": "pixels", "norm": "l2", "eps": 2.0, "n": 1200, "seed": 0}
    told = [entry | {"moved": 0.25}, entry, entry | {"moved": 0.25, "moved_interval": [0.2, 0.3]}]
    data = {"name": "mnist", "split": "train", "n": 60_000}
    cards = [("mine", some_card(data=data, train={"minutes": 1}, scores={"attacked": told}))]
    monkeypatch.setattr(report, "_cards", lambda: cards)
    lines = [line for line in results().splitlines() if line.startswith("| `mine` | pgd")]
    assert [line.split(" | ")[5].strip() for line in lines] == [
        "25.0%",
        "",
        "25.0% (20.0% to 30.0%)",
    ]


def marked(folder, left_out=()):
    """The two files, with marks and no tables."""
    for name, marks in TABLES.items():
        lines = [f"<!-- {m} -->\nold\n<!-- /{m} -->\n" for m in marks if m not in left_out]
        (folder / name).write_text("before\n" + "between\n".join(lines) + "after\n")


def test_a_file_without_marks_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"README.md: expected a file with marks for tables"):
        update(tmp_path)
    marked(tmp_path, left_out=["drc"])
    with pytest.raises(ValueError, match=r"RESULTS.md: expected one <!-- drc --> and one"):
        update(tmp_path)
    assert "old" in (tmp_path / "README.md").read_text()


def test_update_writes_once_and_between_the_marks_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ALRDC", tmp_path / "alrdc.json")
    monkeypatch.setattr(drc_results, "RESULTS", tmp_path / "drc.json")  # nothing measured
    marked(tmp_path)
    assert update(tmp_path) == ["README.md", "RESULTS.md"]
    text = (tmp_path / "RESULTS.md").read_text()
    made = [f"<!-- {m} -->\n{f()}\n<!-- /{m} -->\n" for m, f in TABLES["RESULTS.md"].items()]
    assert text == "before\n" + "between\n".join(made) + "after\n"
    assert update(tmp_path) == []


def test_alrdcs_table_is_the_mean_of_its_seeds(tmp_path, monkeypatch):
    def row(model, attacker, value):
        under = {"moved": value, "noise_moved": 0.02, "pgd_moved": 0.9, "acc": 0.3}
        under |= {"acc_rematched": 0.4, "nmi_clean_attacked": 0.2, "rho": 1.5}
        clean = {"acc": 0.5 + value, "nmi": 0.6, "ari": 0.7}
        return {
            "model": model,
            "attacker": attacker,
            "clean": clean,
            "under": under | {"decoded_change": None},
        }

    moved = {"moved": 0.125, "moved_interval": [0.1, 0.15]}
    bar = {"space": "embedding", "b": 0.61, "undefended": {"moved": 0.502}, "defended": moved}
    bar |= {"acc_change": -0.01, "reconstruction_ratio": None, "neighbour_overlap": 0.55}
    entries = [
        {"data": "mnist", "seed": seed, "mode": "quick", "n_train": 10000, "bar": []}
        | {"rows": [row("undefended", "old", 0.2 + seed / 10)]}
        for seed in (0, 1)
    ]
    entries.append(
        entries[0] | {"mode": "full", "n_train": 60000, "bar": [bar | {"cleared": True}]}
    )
    file = tmp_path / "alrdc.json"
    monkeypatch.setattr(report, "ALRDC", file)
    assert alrdc_entries() == []
    file.write_text(json.dumps({"entries": entries}))
    text = alrdc()
    assert "| mnist | 10,000 | 0, 1 | undefended | old | 0.750 (0.700 to 0.800) |" in text
    assert "| 25.0% (20.0% to 30.0%) | 2.0% (2.0% to 2.0%) |" in text
    assert "| mnist | 60,000 | 0 | undefended | old | 0.700 | 0.600 | 0.700 | 20.0% |" in text
    assert "| 50.2% | 12.5% (10.0% to 15.0%) | -0.010 |  | 0.55 | cleared |" in text
    file.write_text("{}")
    with pytest.raises(ValueError, match=r"alrdc.json: expected entries in JSON, got KeyError"):
        alrdc_entries()
