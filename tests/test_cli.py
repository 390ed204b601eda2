"""What flags say beside a card."""

from __future__ import annotations

from clustcore import cli
from clustcore.train import TrainConfig


def test_a_flag_that_says_the_default_is_not_the_sources_setting():
    argv = ["--train.lr", "0.001", "--model.no-normalize", "--train.weight-decay=0"]
    assert cli.given(argv, "train") == {"lr", "weight_decay"}
    assert cli.given(argv, "model") == {"normalize"}
    source = {"lr": 0.5, "batch": 64, "minutes": 12.5, "seed": 3}
    over = cli.over(source, TrainConfig(), {"lr"})
    assert (over["lr"], over["batch"], over["minutes"], over["seed"]) == (0.001, 64, 0.0, 0)
