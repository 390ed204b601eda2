"""Progress as data: what a command tells, and how it is read."""

from __future__ import annotations

import json

import pytest

from clustcore.cli.commands import main
from clustcore.runs import progress
from clustcore.runs.progress import PROGRESS, Told, add, read_progress
from clustcore.training import loop


def test_what_was_told_before_the_last_start_is_over_but_for_the_total(tmp_path):
    file = tmp_path / PROGRESS
    assert read_progress(tmp_path) == Told()
    add(file, "started")
    add(file, "epoch", done=1, total=9, stage="cluster", loss=0.5)
    add(file, "failed", command="train", reason="no room")
    add(file, "ended", command="train", code=2)
    assert read_progress(tmp_path) == Told(9, "train", 2, "no room")
    add(file, "started")
    assert read_progress(tmp_path) == Told(9)
    add(file, "ended", command="train", code=0)
    add(file, "ended", command="project", code=-9)
    assert read_progress(tmp_path) == Told(9, "project", -9)


@pytest.mark.parametrize(
    "line", ['{"event": "epo', "3", "[]", '{"event": "epoch"}', '{"event": "epoch", "total": "x"}']
)
def test_a_line_that_was_cut_short_says_nothing(tmp_path, line):
    (tmp_path / PROGRESS).write_text(f'{line}\n{{"event": "ended", "command": "a", "code": 1}}\n')
    assert read_progress(tmp_path) == Told(None, "a", 1)


SMALL = "--model.autoencode 1 --model.cluster 1 --model.width 4 --model.dim 4"
TRAIN = ["train", "dec", "--data", "digits", "--name", "d", "--device", "cpu", *SMALL.split()]


def test_a_command_tells_each_epoch_and_why_it_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    file = tmp_path / "told.jsonl"
    monkeypatch.setenv(progress.ASK, str(file))

    def told() -> list[dict]:
        return [json.loads(line) for line in file.read_text().splitlines()]

    assert main(TRAIN) == 0
    assert [(one["event"], one["done"], one["total"], one["stage"]) for one in told()] == [
        ("epoch", 1, 2, "autoencode"),
        ("epoch", 2, 2, "cluster"),
    ]
    assert "epoch 2 of 2, cluster: loss " in capsys.readouterr().out  # and people read it
    assert main(TRAIN) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert told()[2:] == [
        {"event": "failed", "command": "train", "reason": said.removeprefix("clustcore train: ")}
    ]

    def broken(*_: object, **__: object) -> None:
        raise KeyError("z")

    monkeypatch.setattr(loop, "run_epoch", broken)
    with pytest.raises(KeyError):
        main([*TRAIN, "--name", "e"])
    assert told()[-1] == {"event": "failed", "command": "train", "reason": "KeyError: 'z'"}


def test_of_several_processes_the_first_tells(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.ASK, str(tmp_path / PROGRESS))
    monkeypatch.setenv("RANK", "1")
    progress.tell("epoch", total=3)
    assert not (tmp_path / PROGRESS).exists()
    monkeypatch.setenv("RANK", "0")
    progress.tell("epoch", total=3)
    assert read_progress(tmp_path).total == 3
