"""What flags say, alone and beside a card."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from clustcore.cli import flags, plans
from clustcore.cli.samples import samples_of
from clustcore.models.drc import DRCConfig
from clustcore.training.epoch import TrainConfig
from tests.support.data_files import any_root


def test_a_flag_that_says_the_default_is_not_the_sources_setting():
    argv = ["--train.lr", "0.001", "--model.no-normalize", "--train.weight-decay=0"]
    assert plans.given(argv, "train") == {"lr", "weight_decay"}
    assert plans.given(argv, "model") == {"normalize"}
    group = TrainConfig().to_dict()
    assert plans._said(argv, "train", group, TrainConfig()) == {"lr": 0.001, "weight_decay": 0.0}


def test_minutes_is_the_same_flag_beside_flags_and_beside_a_file(tmp_path):
    for flag in (["--minutes", "2.5"], ["--minutes=2.5"], ["--train.minutes", "2.5"]):
        plan = plans.plan_from_flags(["drc", *flag])
        assert plan.train["minutes"] == 2.5
    file = tmp_path / "plan.json"
    file.write_text('{"model": "drc", "data": {"name": "mnist"}}')
    plan = plans.plan_from_file(["--config", str(file), "--minutes", "2.5"])
    assert plan.train["minutes"] == 2.5
    with pytest.raises(ValueError, match="--minutes: expected a number, got 'soon'"):
        plans.plan_from_file(["--config", str(file), "--minutes", "soon"])


SETTINGS = {
    "run": (str, dataclasses.MISSING, "name of the run"),
    "seeds": (tuple[int, ...], (0, 1), "seeds"),
    "data": (tuple[str, ...], ("mnist",), "data sets"),
    "eps": (float | None, None, "one strength, of 100 %"),
    "target": (int | None, 3, "cluster"),
    "root": (str | None, None, "folder"),
    "download": (bool, False, "allow it"),
    "train": flags.flags(TrainConfig, without=("seed", "device")),
    "model": flags.flags(DRCConfig),
}


def said(argv: str) -> dict[str, Any]:
    return vars(flags.parse(argv.split(), "evaluate", **SETTINGS))


def test_without_a_flag_all_is_as_the_configs_have_it():
    found = said("r")
    assert found["train"] == {
        name: value
        for name, value in TrainConfig().to_dict().items()
        if name not in ("seed", "device")
    }
    assert found["model"] == DRCConfig().to_dict()
    kept = ("run", "seeds", "data", "eps", "target", "root", "download")
    assert [found[name] for name in kept] == ["r", (0, 1), ("mnist",), None, 3, None, False]


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        ("r --seeds 4 -5 6", "seeds", (4, -5, 6)),
        ("r --seeds", "seeds", ()),
        ("--data a b --root x r", "data", ("a", "b")),
        ("r --eps -0.5", "eps", -0.5),
        ("r --eps -1e-3", "eps", -1e-3),
        ("r --eps=-1e-3", "eps", -1e-3),
        ("r --eps -inf", "eps", -math.inf),
        ("r --eps None", "eps", None),
        ("r --target None", "target", None),
        ("r --target -1", "target", -1),
        ("r --root None", "root", None),
        ("r --root -1", "root", "-1"),
        ("r --download", "download", True),
        ("r --download --no-download", "download", False),
        ("r --train.compile", "train.compile", True),
        ("r --model.no-normalize", "model.normalize", False),
        ("r --model.no_normalize", "model.normalize", False),
        ("r --train.weight-decay 0.5", "train.weight_decay", 0.5),
        ("r --train.weight_decay=0.5", "train.weight_decay", 0.5),
        ("r --model.input-shape 3 32 32", "model.input_shape", (3, 32, 32)),
        ("r --model.norm group", "model.norm", "group"),
        ("r --minutes 2", "train.minutes", 2.0),
        ("r --train.lr 7", "train.lr", 7.0),  # its config refuses it
    ],
)
def test_flags(argv, name, value):
    group, _, field = name.rpartition(".")
    found = said(argv)
    assert (found[group] if group else found)[field] == value


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("", "required: RUN"),
        ("r --train.lr fast", "--train.lr: expected a number, got 'fast'"),
        ("r --target 1.5", "--target: expected a whole number, got '1.5'"),
        ("r --train.lr None", "--train.lr: expected a number, got 'None'"),
        ("r --seeds 1 x", "--seeds: expected a whole number, got 'x'"),
        ("r --train.lr", "--train.lr: expected one argument"),
        ("r --model.input-shape 3 32", "--model.input-shape: expected 3 arguments"),
        ("r --train.weight 1", "unknown flag or word '--train.weight'"),  # no abbreviations
        ("r --down", "unknown flag or word '--down'"),
        ("r --train.seed 1", "unknown flag or word '--train.seed'"),
        ("r --download=yes", "--download/--no-download: ignored explicit argument 'yes'"),
        ("r another", "unknown flag or word 'another'"),
    ],
)
def test_a_wrong_flag_is_named_in_one_line(argv, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        said(argv)
    assert "\n" not in str(error.value)


def test_help_has_each_field_with_meaning_range_choices_unit_and_default(capsys):
    with pytest.raises(SystemExit) as end:
        said("--help")
    assert end.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "usage: python -m clustcore evaluate RUN [flags]" in out
    assert "--eps X one strength, of 100 % (default: none)" in out
    assert "--train.lr X learning rate at its highest (1e-07 to 10) (default: 0.001)" in out
    assert "--train.minutes X, --minutes X" in out
    assert "(0 to 1000000.0) [min] (default: 0.0)" in out
    assert "normalisation; group: no sample sees another (one of batch, group)" in out
    assert "--model.input-shape N N N channels, height, width (default: 1 28 28)" in out
    for group, config in (("train", TrainConfig), ("model", DRCConfig)):
        for field in dataclasses.fields(config):
            flag = f"--{group}.{field.name.replace('_', '-')} "
            own = group == "train" and field.name in ("seed", "device")
            assert (flag in out.replace(",", " ")) is not own


def test_a_run_is_judged_on_the_test_split_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))

    def judged(name, trained, root):
        return samples_of({"data": {"name": name, "split": trained}}, root=str(root))

    # what ships is at hand, whatever the root holds
    assert len(judged("mnist", "train", tmp_path)) == 10_000
    root = any_root("imagenet-10", tmp_path, monkeypatch)
    assert judged("imagenet-10", "all", root).split == "all"
