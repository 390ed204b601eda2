"""The README's results are the cards', to the letter."""

from __future__ import annotations

import json

import pytest

from clustcore import drc_results, runs, tables
from clustcore.tables import alrdc, alrdc_entries, results, update


def test_the_readme_says_what_the_cards_say():
    text = (runs.PROJECT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- results -->\n{results()}\n<!-- /results -->" in text, (
        "run `python -m clustcore reproduce tables`"
    )
    if tables.ALRDC.is_file():
        assert f"<!-- alrdc -->\n{alrdc()}\n<!-- /alrdc -->" in text
    for mark, table in (("drc", drc_results.benchmarks), ("ablation", drc_results.ablation)):
        if drc_results.RESULTS.is_file():
            assert f"<!-- {mark} -->\n{table()}\n<!-- /{mark} -->" in text


def test_every_shipped_run_is_in_the_table():
    table = results()
    shipped = [run.name for run in runs.list_runs() if run.shipped]
    assert shipped
    for name in shipped:
        assert f"| `{name}` | pgd | L-inf" in table


def test_a_readme_without_marks_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ValueError, match="expected one <!-- results -->"):
        update(tmp_path / "README.md")


def test_update_writes_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ALRDC", tmp_path / "alrdc.json")
    monkeypatch.setattr(drc_results, "RESULTS", tmp_path / "drc.json")
    tables.ALRDC.write_text('{"entries": []}')
    readme = tmp_path / "README.md"
    marks = "a\n<!-- results -->\n{}\n<!-- /results -->\nb\n<!-- alrdc -->\n{}\n<!-- /alrdc -->\n"
    readme.write_text(marks.format("old", "old"))
    assert update(readme)
    assert readme.read_text() == marks.format(results(), alrdc())
    assert not update(readme)


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
    monkeypatch.setattr(tables, "ALRDC", file)
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
