"""The one plan of a training: as JSON, as flags, as a job's file and as a finished run's card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from clustcore import runs
from clustcore.cli.commands import main
from clustcore.cli.plans import defence_from_flags, plan_from_file, plan_from_flags
from clustcore.locations import PROJECT
from clustcore.runs.plan import Plan, settings_of
from clustcore.training.epoch import TrainConfig

FULL = Plan(
    "drc",
    "folder:a/b c",
    {"clusters": 7, "weight_r": 0.25, "normalize": False, "input_shape": [3, 32, 32]},
    {"flip": 0.5},
    {"lr": 1e-7, "seed": 5, "device": "cpu", "batch": 32},
    split="all",
    teacher_file="/a teacher.npz",
    start_from="other",
    name="x",
    root="/some where",
    download=True,
)
DEFENCE = Plan(
    None,
    "mnist",
    {"eps": 0.2},
    train={"lr": 0.001},
    source="drc-mnist",
    defence="pgd_at",
    name="y",
)
TAUGHT = Plan("drc", "digits", {"clusters": 7}, train={"seed": 3}, teach={"dim": 5}, name="z")


def test_the_command_line_names_a_run_as_the_train_page_does():
    for data, name in (("digits", "my-dec-digits"), ("folder:a/b c", "my-dec-b-c")):
        assert plan_from_flags(["dec", "--data", data]).name == name
        assert Plan("dec", data).default_name == name
        assert runs.is_name(name)
    assert plan_from_flags(["dec", "--data", "digits", "--name", "mine"]).name == "mine"
    defended = defence_from_flags(["drc-mnist", "--defence", "pgd_at"])
    assert defended.name == dataclasses.replace(DEFENCE, name=None).default_name
    assert defended.name == "drc-mnist-pgd-at"


@pytest.mark.parametrize("plan", [FULL, DEFENCE, TAUGHT, Plan("dec", "mnist")])
def test_json_says_all_of_a_plan(plan):
    values = json.loads(json.dumps(plan.to_dict()))
    assert Plan.from_dict(values, "here") == plan
    assert None not in values.values()


@pytest.mark.parametrize(
    ("values", "plan"),
    [
        (
            {"model": "dec", "data": {"name": "digits"}, "config": {}, "train": {"seed": 4}},
            Plan("dec", "digits", train={"seed": 4}),
        ),
        (
            {"model": "drc", "data": {"name": "mnist"}, "config": {"taught": 4}, "teach": True}
            | {"root": "/d", "download": True},
            Plan("drc", "mnist", {"taught": 4}, teach={}, root="/d", download=True),
        ),
        (
            {"source": "a", "defence": "control", "data": {"name": "mnist"}, "config": {}},
            Plan(None, "mnist", source="a", defence="control"),
        ),
        (
            {"model": "drc", "data": {"name": "stl10", "split": "all"}, "teacher_file": "t.npz"}
            | {"name": "n", "start_from": "b"},
            Plan("drc", "stl10", split="all", teacher_file="t.npz", name="n", start_from="b"),
        ),
    ],
)
def test_plans_of_before_are_read(values, plan):
    assert Plan.from_dict(values, "here") == plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "field 'model': expected text, got nothing"),
        ({"model": 3}, "field 'model': expected text, got 3"),
        ({"data": {}}, "field 'data.name': expected text, got nothing"),
        ({"data": "mnist"}, "field 'data.name': expected it in an object, got 'mnist'"),
        ({"data": {"name": "mnist", "split": 1}}, "field 'data.split': expected text, got 1"),
        ({"train": [1]}, r"field 'train': expected settings, got \[1\]"),
        ({"download": "yes"}, "field 'download': expected true or false, got 'yes'"),
        ({"defence": "control"}, "field 'source': expected text, got nothing"),
        ({"defence": {"name": "control"}}, "field 'defence': expected text, got {'name'"),
        ({"teach": {}, "teacher_file": "t"}, "expected 'teach' or 'teacher_file', got both"),
        (
            {"defence": "control", "source": "a", "teach": {}},
            "field 'teach': expected none under a defence, got one",
        ),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(change, message):
    values = {"model": "dec", "data": {"name": "mnist"}} | change
    with pytest.raises(ValueError, match=f"^plans/a.json: .*{message}"):
        Plan.from_dict(values, "plans/a.json")


def test_a_plan_is_an_object_and_of_a_model_or_a_defence():
    with pytest.raises(ValueError, match=r"^a\.json: expected a JSON object, got list"):
        Plan.from_dict([], "a.json")
    for parts in ({"source": "a"}, {"defence": "control"}):
        with pytest.raises(ValueError, match="expected a model, or a source"):
            Plan("dec", "mnist", **parts)
    with pytest.raises(ValueError, match="field 'name': expected the name of the run"):
        Plan("dec", "mnist").commands()


# As flags


def test_the_flags_say_what_the_plan_says():
    train, project = FULL.commands()
    assert train[:2] == ["train", "drc"]
    read = plan_from_flags(train[1:])
    for part in ("config", "train", "augment"):
        asked, found = getattr(FULL, part), getattr(read, part)
        assert {key: found[key] for key in asked} == asked | (
            {"input_shape": (3, 32, 32)} if part == "config" else {}
        )
    same = {part: getattr(FULL, part) for part in ("config", "train", "augment")}
    assert dataclasses.replace(read, **same) == FULL
    assert project == ["project", "x", "--root", "/some where"]


def test_the_flags_of_a_defence():
    defend, project = DEFENCE.commands()
    said = "defend drc-mnist --defence pgd_at --data mnist --name y --defence.eps 0.2"
    assert defend == [*said.split(), "--train.lr", "0.001"]
    assert project == ["project", "y"]
    read = defence_from_flags(defend[1:])
    # what the source has been trained with is not said again
    assert read.train == {"lr": 0.001, "seed": 0, "device": "auto"}
    assert read.augment == {}
    assert read.config["eps"] == 0.2
    same = {part: getattr(DEFENCE, part) for part in ("config", "train", "augment")}
    assert dataclasses.replace(read, **same) == DEFENCE
    again = defence_from_flags([*defend[1:], "--train.batch", "256", "--minutes=3"])
    assert again.train == {"lr": 0.001, "batch": 256, "minutes": 3.0, "seed": 0, "device": "auto"}


def test_a_teacher_is_made_by_a_command_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    teach, train, _ = dataclasses.replace(TAUGHT, split="all").commands()
    file = str(tmp_path / "z" / "teacher.npz")
    assert teach == [
        *["teach", "--data", "digits", "--split", "all", "--seed", "3", "--out"],
        file,
        *["--teacher.clusters", "7", "--teacher.dim", "5"],
    ]
    assert train[-2:] == ["--teacher", file]


def test_a_defence_downloads_where_it_may(digits_run, tmp_path, monkeypatch):
    asked: list[dict[str, Any]] = []

    def load(name: str, split: str, **options: Any) -> None:
        asked.append({"name": name, "split": split} | options)
        raise ValueError("enough")

    monkeypatch.setattr("clustcore.runs.folder.SHIPPED", digits_run.parent)
    monkeypatch.setattr("clustcore.datasets.load_samples", load)
    plan = Plan(None, "mnist", source=digits_run.name, defence="control", name="y")
    plan = dataclasses.replace(plan, root=str(tmp_path), download=True)
    assert main(plan.commands()[0]) == 2
    where = {"name": "mnist", "split": "train", "root": str(tmp_path)}
    assert asked == [where | {"download": True}]


# As a file, and as a card


def trained(place: Path, *flags: str) -> dict[str, Any]:
    """The card of a small run that the command made."""
    assert main(["train", "dec", "--data", "digits", "--name", "first", *flags]) == 0
    return json.loads((place / "first" / "card.json").read_text())


def test_a_card_makes_its_run_again(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    small = "--model.autoencode 1 --model.cluster 1 --model.width 4 --model.dim 4"
    loop = "--train.lr 0.003 --train.batch 64 --augment.flip 0.5 --seed 3 --device cpu"
    card = trained(tmp_path, *small.split(), *loop.split())
    file = str(tmp_path / "first" / "card.json")
    plan = plan_from_file(["--config", file, "--name", "again"])
    assert (plan.model, plan.data, plan.split, plan.name) == ("dec", "digits", "train", "again")
    assert TrainConfig.from_dict(plan.train, "train") == TrainConfig(lr=0.003, batch=64, seed=3)
    assert main(["train", "--config", file, "--name", "again"]) == 0
    again = runs.read_card(tmp_path / "again")
    assert again.weights_sha256 == card["weights_sha256"]
    assert settings_of(again.train) == settings_of(card["train"])
    # and on under a defence: by flags, from the card of that, and from a plan in a file
    defend = "defend first --defence control --defence.epochs 1 --train.lr 0.001 --device cpu"
    assert main([*defend.split(), "--name", "second"]) == 0
    second = runs.read_card(tmp_path / "second")
    loop = {"lr": 0.001, "batch": 64, "seed": 0}  # the source's, but for what is said and its seed
    assert {name: second.train[name] for name in loop} == loop
    assert second.augment == card["augment"]
    plans = {"third": second.to_json()}
    values = {"source": "first", "defence": "control", "data": {"name": "digits"}}
    plans["fourth"] = values | {"config": {"epochs": 1}, "train": {"lr": 0.001}}
    for name, plan in plans.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(plan))
        assert main(["train", "--config", str(tmp_path / f"{name}.json")]) == 0
        found = runs.read_card(tmp_path / name)
        assert found.weights_sha256 == second.weights_sha256
        assert found.defence == second.defence


@pytest.mark.parametrize(
    ("values", "flags", "message"),
    [
        ({"model": "abc"}, [], "unknown model 'abc'; known: "),
        ({"source": "a", "defence": "hope"}, [], "unknown defence 'hope'; known: adversarial"),
        ({"model": "dec"}, ["--seed", "3"], "expected no flags but --config, --name, --root"),
        ({"model": "dec"}, ["--minutes", "x"], "--minutes: expected a number, got 'x'"),
    ],
)
def test_a_file_that_cannot_be_trained_is_refused_at_once(tmp_path, values, flags, message):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(values | {"data": {"name": "digits"}}))
    with pytest.raises(ValueError, match=message):
        plan_from_file(["--config", str(file), *flags])


@pytest.mark.parametrize("file", sorted(PROJECT.glob("assets/runs/*/card.json")))
def test_the_card_of_every_shipped_run_is_a_plan(file):
    card = json.loads(file.read_text())
    plan = plan_from_file(["--config", str(file)])
    assert plan.data == card["data"]["name"]
    assert (plan.teach is not None) == (card["teacher"] is not None and card["defence"] is None)
    if card["defence"] is not None:
        assert (plan.source, plan.config) == (card["defence"]["from"], card["defence"]["config"])
    TrainConfig.from_dict(plan.train, "train")
    assert plan.train["seed"] == card["train"]["seed"]
    assert "minutes" not in plan.train  # what it took is no limit


def test_the_teacher_of_a_card_is_made_again_unless_it_was_made_of_a_run():
    note = {"name": "umap-gmm", "agreement": 0.9, "on": "", "clusters": 7, "seed": 3}
    card = {"model": "drc", "data": {"name": "digits"}, "train": {}, "weights_sha256": "0"}
    assert Plan.from_dict(card | {"teacher": note}, "c").teach == {"clusters": 7, "seed": 3}
    other = card | {"teacher": note | {"on": "abc"}}
    with pytest.raises(ValueError, match="c: field 'teacher_file': expected the teacher, which"):
        Plan.from_dict(other, "c")
    assert Plan.from_dict(other | {"teacher_file": "t.npz"}, "c").teacher_file == "t.npz"
    began = card | {"start": {"from": "b", "from_weights": "1"}}
    assert Plan.from_dict(began, "c").start_from == "b"


def test_a_teacher_that_a_plan_wants_is_made_once(tmp_path, monkeypatch, capsys):
    import numpy as np

    from clustcore.training import teacher

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    made: list[teacher.TeachConfig] = []

    def teach(x: Any, data: str, config: teacher.TeachConfig, on_step: Any) -> teacher.Teacher:
        made.append(config)
        return teacher.Teacher(np.arange(len(x)) % config.clusters, 1.0, config, data)

    monkeypatch.setattr(teacher, "teach", teach)
    config = {"clusters": 7, "width": 4, "alone": 0, "taught": 1}
    plan = {"model": "drc", "data": {"name": "digits"}, "config": config, "teach": {"dim": 5}}
    loop = {"batch": 64, "seed": 3, "device": "cpu"}
    (tmp_path / "a.json").write_text(json.dumps(plan | {"train": loop}))
    argv = ["train", "--config", str(tmp_path / "a.json")]
    assert main(argv) == 0
    assert made == [teacher.TeachConfig(clusters=7, dim=5, seed=3)]
    card = runs.read_card(tmp_path / "a")
    assert (card.teacher["dim"], card.train["stages"]) == (5, {"taught": 1})
    (tmp_path / "a" / "card.json").unlink()
    assert main(argv) == 0
    assert len(made) == 1
    (tmp_path / "a" / "card.json").unlink()
    (tmp_path / "a.json").write_text(json.dumps(plan | {"train": loop, "teach": {}}))
    assert main(argv) == 2
    assert "teacher.npz: expected a teacher of TeachConfig(" in capsys.readouterr().err
