"""The README's results are the cards', to the letter."""

from __future__ import annotations

import pytest

from clustcore import runs
from clustcore.tables import results, update


def test_the_readme_says_what_the_cards_say():
    text = (runs.PROJECT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- results -->\n{results()}\n<!-- /results -->" in text, (
        "run `python -m clustcore reproduce tables`"
    )


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


def test_update_writes_once(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- results -->\nold\n<!-- /results -->\nb\n")
    assert update(readme)
    assert readme.read_text() == f"a\n<!-- results -->\n{results()}\n<!-- /results -->\nb\n"
    assert not update(readme)
