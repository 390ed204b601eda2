"""A run's card: read and written in one place, whole, with types, whatever version wrote it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from clustcore import files, runs
from clustcore.runs import Card, CardAttack, CardDefence, CardRow, CardScores, RunInfo
from clustcore.types import PathKey
from tests.support import ROOT
from tests.support.cards import LEAST, some_card

CARDS = [*(ROOT / "assets" / "runs").glob("*/card.json"), *(ROOT / "tests").rglob("card.json")]


@pytest.mark.parametrize("file", CARDS, ids=lambda file: file.parent.name)
def test_what_is_read_is_written_again_byte_for_byte(file: Path, tmp_path: Path) -> None:
    runs.write_card(tmp_path, runs.read_card(file.parent))
    assert (tmp_path / "card.json").read_bytes() == file.read_bytes()


def test_fields_of_another_version_stay_in_their_places(tmp_path: Path) -> None:
    # the order is nobody's, and what is unknown lies in parts that are known, too
    values = {
        "later": [1, {"deep": None}],
        **dict(reversed(LEAST.items())),
        "train": {"seed": 0, "warmth": "high"},
        "scores": {"clean": {"acc": 0.5, "purity": 0.75}, "by": "hand"},
        "defence": None,
    }
    (tmp_path / "card.json").write_text(json.dumps(values), encoding="utf-8")
    card = runs.read_card(tmp_path)
    assert json.dumps(card.to_json()) == json.dumps(values)
    runs.write_card(tmp_path, card.changed(model="drc", rows=[]))
    again = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert json.dumps(again) == json.dumps(values | {"model": "drc", "rows": []})


def test_a_card_cannot_be_changed_in_place() -> None:
    given: dict[str, Any] = {"clusters": 3}
    card = some_card(config=given)
    given["clusters"] = 4
    card.to_json()["config"]["clusters"] = 5
    card.section("config")["clusters"] = 6
    card.config["clusters"] = 7
    assert card.clusters == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.model = "drc"


@pytest.mark.parametrize("name", LEAST)
def test_a_field_that_has_to_be_there_is_named(name: str) -> None:
    values = {key: value for key, value in LEAST.items() if key != name}
    with pytest.raises(ValueError, match=f"card: field '{name}': expected .*, got nothing"):
        Card.from_json(values)
    with pytest.raises(ValueError, match=f"card: field '{name}': expected .*, got None"):
        Card.from_json(values | {name: None})
    with pytest.raises(ValueError, match=f"card: field '{name}': expected .*, got None"):
        some_card().changed(**{name: None})


def test_a_card_that_says_the_least_has_a_default_for_all_else() -> None:
    card = some_card()
    assert (card.format, card.model, card.weights_sha256) == (1, "dec", "0" * 64)
    assert (card.data.name, card.data.split, card.data.n) == ("mnist", "test", None)
    assert (card.clusters, card.radius, card.decodes) == (0, 1.0, True)
    assert (card.config, card.train, card.augment, card.start) == ({}, {}, {}, {})
    assert (card.training.where, card.training.seen, card.training.minutes) == ("", 0, None)
    assert card.defence is card.teacher is card.stopped is card.scores is None
    assert card.half_precision_moved is None
    assert card.rows == ()
    assert card.reported(PathKey("pgd", "pixels", "linf")) == CardAttack()
    with pytest.raises(ValueError, match=r"'config.input_shape': expected channels, .* got None"):
        card.input_shape  # noqa: B018


def test_a_full_card_has_its_facts() -> None:
    made = {"name": "pgd_at", "config": {"eps": 0.1}, "from": "base", "from_weights": "1" * 64}
    attacked = {"attack": "pgd", "space": "pixels", "norm": "l2", "eps": 1.0, "moved": 0.5}
    row = {"name": "as shipped", "seeds": [0, 1], "acc": 0.9, "acc_each": [0.8, 1.0]}
    card = some_card(
        config={"clusters": 4, "input_shape": [3, 32, 32]},
        decoder=False,
        embedding={"R": 2.5, "dim": 4},
        defence=made,
        train={"device": "cpu", "machine": "AMD", "minutes": 2, "views": {"a": 3, "b": 4}},
        scores={"split": "test", "n": 7, "clean": {"acc": 0.9}, "attacked": [attacked]},
        rows=[row],
    )
    assert (card.clusters, card.input_shape, card.decodes) == (4, (3, 32, 32), False)
    assert card.radius == 2.5
    assert card.defence == CardDefence("pgd_at", {"eps": 0.1}, "base", "1" * 64)
    assert (card.training.where, card.training.seen, card.training.minutes) == ("AMD", 7, 2)
    assert (card.scores.n, card.scores.clean) == (7, {"acc": 0.9})
    of_l2 = PathKey("pgd", "pixels", "l2", target=3, seed=5)
    assert card.reported(of_l2) == CardAttack("pgd", "pixels", "l2", eps=1.0, moved=0.5)
    assert card.reported(PathKey("pgd", "pixels", "linf")) == CardAttack()
    assert card.rows == (CardRow("as shipped", seeds=(0, 1), acc=0.9, acc_each=(0.8, 1.0)),)


@pytest.mark.parametrize(
    "scores",
    [
        {"clean": "good", "n": "many", "attacked": [3, "x", None]},
        {"clean": {"acc": "high", "nmi": True, "ari": math.nan}, "n": 2.5},
        {"clean": None, "attacked": {"pgd": 0.5}},
    ],
)
def test_figures_of_another_kind_are_none(scores: dict[str, Any]) -> None:
    found = some_card(scores=scores).scores
    assert found == CardScores()
    assert found.clean == {}


@pytest.mark.parametrize("defence", ["pgd_at", {"name": "pgd_at", "from": 3, "epochs": "two"}])
def test_a_defence_that_is_only_named_has_that_name(defence: Any) -> None:
    assert some_card(defence=defence).defence == CardDefence("pgd_at")


def test_what_was_measured_comes_back_and_what_needs_labels_is_null() -> None:
    entry = CardAttack("pgd", "pixels", "linf", 0.3, {"steps": 20}, n=5, seed=0, moved=0.5)
    entry = dataclasses.replace(entry, moved_interval=(0.4, 0.6), acc=math.nan)
    scores = CardScores("test", 5, math.nan, math.nan, math.nan, 3, (entry,))
    found = some_card(scores=scores.to_json()).scores
    nothing = dict.fromkeys(("acc", "nmi", "ari"))
    known = dataclasses.replace(entry, acc=None)
    assert found == dataclasses.replace(scores, **nothing, attacked=(known,))
    # the order of the fields on the shipped cards
    shipped = json.loads(CARDS[0].read_text(encoding="utf-8"))["scores"]
    written = scores.to_json()
    assert [*written] == [*shipped]
    assert [*written["attacked"][0]] == [*shipped["attacked"][0]]


def test_cards_are_written_in_one_place() -> None:
    written = re.compile(r"write_(json|text|bytes)\([^\n]*card|card\.json\"?\)\.write")
    found = {
        str(path.relative_to(ROOT))
        for top in ("clustcore", "ui", "pages")
        for path in (ROOT / top).rglob("*.py")
        if written.search(path.read_text(encoding="utf-8"), re.I)
        or re.search(r"write_json\([^\n]*CARD", path.read_text(encoding="utf-8"))
    }
    assert found == {"clustcore/runs/card.py"}


# The facts of a run


def made_from(name: str, defence: Any) -> RunInfo:
    return RunInfo(name, Path("nowhere") / name, some_card(defence=defence))


@pytest.mark.parametrize(
    ("name", "defence", "kind", "title"),
    [
        ("base", None, "undefended", "base"),
        ("other", {"name": "pgd_at"}, "pgd_at", "other, pgd_at"),
        ("base-pgd_at", {"name": "pgd_at"}, "pgd_at", "base-pgd_at"),
        ("odd", {"config": {}}, "undefended", "odd"),
    ],
)
def test_a_run_says_its_defence_once(name: str, defence: Any, kind: str, title: str) -> None:
    run = made_from(name, defence)
    assert (run.defence, run.defended, run.title) == (kind, kind != "undefended", title)


def test_a_run_knows_where_it_came_from_and_on_what() -> None:
    run = made_from("other", {"name": "pgd_at", "from": "base"})
    assert (run.made_from, run.dataset, run.clusters) == ("base", "mnist", 0)
    assert made_from("base", None).made_from is None


def test_a_broken_run_has_a_reason_in_place_of_facts(place: Path) -> None:
    (place / "bad").mkdir(parents=True)
    (place / "bad" / "card.json").write_text("{half", encoding="utf-8")
    (run,) = runs.list_runs()
    assert run.readiness == "broken"
    for ask in ("card", "dataset", "clusters", "defence", "title"):
        with pytest.raises(ValueError, match=r"bad/card.json: expected JSON, got"):
            getattr(run, ask)


def test_the_card_and_the_projector_are_those_of_when_the_run_was_found(place: Path) -> None:
    folder = place / "a"
    files.write_json(folder / "card.json", LEAST)
    before = runs.find_run("a")
    assert before.projector_sha256 == ""
    assert (before.map_stamp, before.projector_stamp, before.weights_stamp) == (0, 0, (0,))
    runs.write_card(folder, before.card.changed(model="drc"))
    before.projector_file.write_bytes(b"projector")
    after = runs.find_run("a")
    assert (before.card.model, after.card.model) == ("dec", "drc")
    assert before.projector_sha256 != after.projector_sha256
    assert before.projector_stamp == after.projector_stamp > 0  # a stamp is of now
