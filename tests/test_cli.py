"""What flags say beside a card."""

from __future__ import annotations

import argparse

import pytest

from clustcore import __main__ as commands
from clustcore import cli
from clustcore.train import TrainConfig
from tests.data_files import any_root


def test_a_flag_that_says_the_default_is_not_the_sources_setting():
    argv = ["--train.lr", "0.001", "--model.no-normalize", "--train.weight-decay=0"]
    assert cli.given(argv, "train") == {"lr", "weight_decay"}
    assert cli.given(argv, "model") == {"normalize"}
    source = {"lr": 0.5, "batch": 64, "minutes": 12.5, "seed": 3}
    over = cli.over(source, TrainConfig(), {"lr"})
    assert (over["lr"], over["batch"], over["minutes"], over["seed"]) == (0.001, 64, 0.0, 0)


def test_minutes_is_the_same_flag_beside_flags_and_beside_a_file(tmp_path):
    for flag in (["--minutes", "2.5"], ["--minutes=2.5"], ["--train.minutes", "2.5"]):
        plan, _ = cli.plan_from_flags(["drc", *flag])
        assert plan.train["minutes"] == 2.5
    file = tmp_path / "plan.json"
    file.write_text('{"model": "drc", "data": {"name": "mnist"}}')
    plan, _ = cli.plan_from_file(["--config", str(file), "--minutes", "2.5"])
    assert plan.train["minutes"] == 2.5
    with pytest.raises(ValueError, match="--minutes: expected a number, got 'soon'"):
        cli.plan_from_file(["--config", str(file), "--minutes", "soon"])


def test_a_run_is_judged_on_the_test_split_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))

    def judged(name, trained, root):
        args = argparse.Namespace(data=None, split=None, root=str(root))
        return commands._samples_of({"data": {"name": name, "split": trained}}, args)

    # what ships is at hand, whatever the root holds
    assert len(judged("mnist", "train", tmp_path)) == 10_000
    root = any_root("imagenet-10", tmp_path, monkeypatch)
    assert judged("imagenet-10", "all", root).split == "all"
