"""The command line: each command on something tiny, and each mistake in one line."""

from __future__ import annotations

import json

import pytest

from clustcore.cli.commands import main


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Runs and cache of this test's own."""
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    return tmp_path


FLAGS = "--model.autoencode 2 --model.cluster 1 --model.width 4 --model.dim 4 --train.lr 0.003"


def test_train_project_evaluate_attack(place, capsys):
    assert main(["train", "dec", "--data", "digits", "--name", "d", *FLAGS.split()]) == 0
    card = json.loads((place / "runs" / "d" / "card.json").read_text())
    assert card["config"]["input_shape"] == [1, 8, 8]
    assert card["config"]["autoencode"] == 2
    assert card["train"]["lr"] == 0.003
    assert card["data"]["split"] == "train"
    assert main(["evaluate", "d"]) == 0
    scores = json.loads(capsys.readouterr().out.split("trained\n")[1])
    assert 0 < scores["acc"] <= 1
    assert main(["attack", "d", "--eps", "0.1", "--attack", "fgsm"]) == 0
    assert '"strength": 0.1' in capsys.readouterr().out


def test_train_from_a_card(place, tmp_path):
    plan = {
        "model": "drc",
        "data": {"name": "digits"},
        "config": {"alone": 2, "width": 4},
        "train": {"batch": 64, "device": "cpu"},
        "scores": {"left": "aside"},
    }
    (tmp_path / "run.json").write_text(json.dumps(plan))
    assert main(["train", "--config", str(tmp_path / "run.json")]) == 0
    assert (place / "runs" / "run" / "card.json").is_file()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["dance"], "unknown command 'dance'; known: train"),
        (["train"], "expected a model first; known: alrdc, dec, drc"),
        (["train", "abc"], "unknown model 'abc'"),
        (["evaluate", "none"], "unknown run 'none'"),
        (["defend", "none"], "expected --defence NAME; known: adversarial_view, alrdc"),
        (["defend", "none", "--defence", "hope"], "unknown defence 'hope'; known: adversarial"),
        (["defend", "none", "--defence", "control"], "unknown run 'none'"),
        (
            ["reproduce", "all"],
            "expected data, runs, alrdc, drc, ablation, defences or tables, got 'all'",
        ),
        (["reproduce", "drc", "--data", "x"], "unknown benchmark 'x'; known: cifar10, cifar100-20"),
        (["reproduce", "drc", "--plans", "x"], "unknown plan 'x'; known: published, best"),
        (["reproduce", "ablation", "--data", "x"], "unknown data set 'x' of the ablation; known:"),
        (["reproduce", "runs", "--only", "x"], "unknown run 'x'; known: drc-mnist"),
        (["train", "dec", "--data", "digits", "--device", "cuda:99"], "device 'cuda:99'"),
        (["train", "dec", "--data", "digits", "--train.lr", "70"], "TrainConfig.lr: expected"),
        (["train", "dec", "--data", "mnist", "--root", "/nowhere"], "/nowhere"),
        (["train", "--config", "/nowhere.json"], "/nowhere.json"),
        (
            ["train", "dec", "--train.lr", "fast"],
            "train: --train.lr: expected a number, got 'fast'",
        ),
        (["train", "dec", "--train.l", "1"], "unknown flag or word '--train.l'"),
        (["evaluate"], "the following arguments are required: RUN"),
        (["reproduce", "tables", "--help=no"], "ignored explicit argument 'no'"),
        (["attack", "d", "--space", "odd"], "unknown space 'odd'"),
    ],
)
def test_mistakes(argv, message, capsys):
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_help_lists_the_commands(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    for command in ("train", "teach", "project", "attack", "evaluate", "reproduce"):
        assert command in out


@pytest.mark.parametrize(
    "argv",
    [
        "train",
        "train drc",
        "defend",
        "defend d --defence pgd_at",
        "teach",
        "project",
        "snapshots",
        "attack",
        "evaluate",
        "reproduce",
        "reproduce data",
        "reproduce runs",
        "reproduce alrdc",
        "reproduce drc",
        "reproduce ablation",
        "reproduce tables",
    ],
)
def test_every_command_has_help(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main([*argv.split(), "--help"])
    assert not end.value.code
    assert f"usage: python -m clustcore {argv.split()[0]}" in capsys.readouterr().out


def test_defend_makes_a_run_of_its_own(place, capsys):
    assert main(["train", "dec", "--data", "digits", "--name", "d", *FLAGS.split()]) == 0
    before = (place / "runs" / "d" / "weights.safetensors").read_bytes()
    flags = "--defence pgd_at --name safe --defence.epochs 1 --defence.eps 0.05 --train.batch 128"
    assert main(["defend", "d", *flags.split()]) == 0
    card = json.loads((place / "runs" / "safe" / "card.json").read_text())
    source = json.loads((place / "runs" / "d" / "card.json").read_text())
    assert card["config"] == source["config"]
    assert card["defence"]["name"] == "pgd_at"
    assert card["defence"]["config"]["eps"] == 0.05
    assert card["defence"]["from"] == "d"
    assert card["defence"]["from_weights"] == source["weights_sha256"]
    assert card["weights_sha256"] != source["weights_sha256"]
    assert card["train"]["stages"] == {"pgd_at": 1}
    assert (place / "runs" / "d" / "weights.safetensors").read_bytes() == before
    assert main(["evaluate", "safe"]) == 0
    assert main(["defend", "d", *flags.split()]) == 2
    assert "expected a new run" in capsys.readouterr().err
    assert main(["defend", "d", "--defence", "alrdc", "--name", "x"]) == 2
    assert "expected a fitted attacker" in capsys.readouterr().err
