"""The context of an experiment: its clock, and that a command fills it from its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clustcore.cli.commands import main
from clustcore.experiments import alrdc, context, drc, reproduce
from clustcore.experiments.context import Context


def test_minutes_run_out_and_none_are_no_limit(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(context.time, "monotonic", lambda: clock[0])
    limited, free = Context(minutes=3.0, began=clock[0]), Context(began=clock[0])
    assert (limited.left(), free.left()) == (3.0, 0.0)
    clock[0] += 60
    assert limited.left() == pytest.approx(2.0)
    clock[0] += 120
    assert limited.left() < 0  # 0 would be no limit
    clock[0] += 60
    assert limited.left() == pytest.approx(-1.0)
    assert free.left() == 0.0
    for minutes in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"--minutes: expected 0 or more, got {minutes}"):
            Context(minutes=minutes)


@pytest.mark.parametrize(
    ("what", "home", "name"),
    [
        ("runs --only drc-mnist", reproduce, "reproduce_runs"),
        ("alrdc --quick", alrdc, "reproduce_alrdc"),
        ("drc --quick --minutes 2.5", drc, "reproduce_drc"),
        ("ablation --quick --minutes 2.5", drc, "reproduce_ablation"),
        ("defences", drc, "reproduce_defences"),
    ],
)
def test_the_flags_of_a_command_are_its_context(what, home, name, monkeypatch, capsys):
    told: list[Context] = []

    def experiment(*given: Any, **more: Any) -> list[str]:
        told.extend(one for one in given if isinstance(one, Context))
        told[-1].report("a line of it")
        return []

    monkeypatch.setattr(home, name, experiment)
    assert (
        main(["reproduce", *what.split(), *["--root", "/r", "--download", "--device", "cuda:1"]])
        == 0
    )
    (found,) = told
    assert (found.root, found.download, found.device) == (Path("/r"), True, "cuda:1")
    assert (found.quick, found.minutes) == ("--quick" in what, 2.5 if "--minutes" in what else 0.0)
    assert found.on_step is not None
    assert "a line of it" in capsys.readouterr().out
