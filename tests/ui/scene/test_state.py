"""The scene: links read and written, what is kept, and what a link that makes no sense becomes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustcore.attacks import ATTACKS
from clustcore.dial import dial
from clustcore.runs import RunInfo
from clustcore.types import PathKey
from tests.support.cards import some_card
from ui import scene


def run(name: str, data: str, model: str = "drc", problem: str | None = None) -> RunInfo:
    about = {"name": data, "split": "train"}
    card = some_card(model=model, config={"clusters": 10}, data=about)
    return RunInfo(name, Path("nowhere") / name, None if problem else card, problem)


RUNS = [
    run("dec-mnist", "mnist", "dec"),
    run("drc-fashion-mnist", "fashion-mnist"),
    run("drc-mnist", "mnist"),
    run("bad", "mnist", problem="bad/card.json: expected JSON, got nothing"),
]
START: dict[str, Any] = {
    "dataset": "mnist",
    "run": "drc-mnist",
    "partner": "",
    "attack": "pgd",
    "space": "pixels",
    "norm": "linf",
    "strength": 0.0,
    "target": "untargeted",
    "colour": "cluster",
    "pin": "",
}


def test_without_a_link_the_scene_is_the_default() -> None:
    assert scene.resolve({}, RUNS, {}) == (START, [])


def test_a_link_of_what_the_widgets_show_is_read() -> None:
    link = {
        "dataset": "Fashion-MNIST",
        "run": "drc-fashion-mnist",
        "attack": "FGSM",
        "space": "Embedding",
        "norm": "L2",
        "strength": "1.25",
        "target": "Into cluster 7",
        "colour": "True label",
        "pin": "1652",
    }
    values, problems = scene.resolve(link, RUNS, {})
    assert not problems
    assert values == {
        "dataset": "fashion-mnist",
        "run": "drc-fashion-mnist",
        "partner": "",
        "attack": "fgsm",
        "space": "embedding",
        "norm": "l2",
        "strength": 1.25,
        "target": 7,
        "colour": "label",
        "pin": "1652",
    }


def test_plain_names_are_read_too() -> None:
    link = {"attack": "fgsm", "norm": "L2", "target": "7", "colour": "fragility"}
    values, problems = scene.resolve(link, RUNS, {})
    assert not problems
    expected = {"attack": "fgsm", "norm": "l2", "target": 7, "colour": "fragility"}
    assert values == START | expected


def test_every_value_survives_the_trip_through_its_label() -> None:
    options = {
        "dataset": ["mnist", "fashion-mnist"],
        "attack": scene.attacks("embedding"),
        "space": ["pixels", "embedding"],
        "norm": ["linf", "l2"],
        "colour": ["cluster", "label", "confidence", "fragility"],
        "target": scene.targets(RUNS[0], "pgd"),
    }
    for key, values in options.items():
        for value in values:
            link = {key: scene.label(key, value)} | (
                {"space": "Embedding"} if key != "space" else {}
            )
            found, problems = scene.resolve(link, RUNS, {})
            assert found[key] == value
            assert not problems


def test_a_run_alone_brings_its_data_set() -> None:
    values, problems = scene.resolve({"run": "drc-fashion-mnist"}, RUNS, {})
    assert (values["dataset"], values["run"]) == ("fashion-mnist", "drc-fashion-mnist")
    assert not problems


@pytest.mark.parametrize(
    ("key", "text", "match"),
    [
        ("dataset", "<b>x</b>", "The link's data set '<b>x</b>' is unknown: showing MNIST."),
        ("run", "../../etc", "The link's model '../../etc' is unknown: showing drc-mnist."),
        ("run", "bad", "The link's model 'bad' is unknown: showing drc-mnist."),
        ("attack", "pdg", "The link's attack 'pdg' is unknown: showing Margin PGD."),
        ("attack", "exact", "The link's attack 'exact' is unknown: showing Margin PGD."),
        ("space", "outer", "The link's space 'outer' is unknown: showing Pixels."),
        ("norm", "l7", "The link's norm 'l7' is unknown: showing L∞."),
        ("target", "10", "The link's target '10' is unknown: showing Untargeted."),
        ("colour", "mauve", "The link's colouring 'mauve' is unknown: showing Cluster."),
        (
            "strength",
            "0.41",
            "The link's strength '0.41' is no number from 0 to 0.4: starting at 0.",
        ),
        ("strength", "-1", "The link's strength '-1' is no number from 0 to 0.4: starting at 0."),
        ("strength", "nan", "The link's strength 'nan' is no number from 0 to 0.4: starting at 0."),
        (
            "strength",
            "1e999",
            "The link's strength '1e999' is no number from 0 to 0.4: starting at 0.",
        ),
    ],
)
def test_a_part_that_makes_no_sense_falls_back_and_says_so(key: str, text: str, match: str) -> None:
    assert scene.resolve({key: text}, RUNS, {}) == (START, [match])


@pytest.mark.parametrize("text", ["inf", "-3", "²", "1.5"])
def test_a_pin_that_is_no_number_pins_nothing(text: str) -> None:
    assert scene.resolve({"pin": text}, RUNS, {}) == (START, [])


@given(st.dictionaries(st.sampled_from(scene.KEYS), st.text(max_size=30)))
def test_whatever_a_link_holds_the_scene_is_valid(link: dict[str, str]) -> None:
    values, problems = scene.resolve(link, RUNS, {})
    assert set(values) == set(scene.KEYS)
    assert values["run"] in [r.name for r in RUNS if not r.problem]
    assert values["attack"] in ATTACKS
    assert values["target"] == "untargeted" or 0 <= values["target"] < 10
    end = dial(values["dataset"], values["space"], values["norm"]).end
    assert 0 <= values["strength"] <= end
    assert values["pin"] == "" or int(values["pin"]) >= 0
    assert len(problems) <= len(link)


def test_what_was_kept_comes_back_and_a_link_wins_over_it() -> None:
    kept = START | {"strength": 0.12, "pin": "9", "attack": "fgsm", "colour": "fragility"}
    assert scene.resolve({}, RUNS, kept) == (kept, [])
    values, _ = scene.resolve({"strength": "0.2", "colour": "Cluster"}, RUNS, kept)
    assert values == kept | {"strength": 0.2, "colour": "cluster"}


@pytest.mark.parametrize("link", [{"norm": "L2"}, {"space": "Embedding"}])
def test_another_dial_starts_at_zero_and_keeps_the_pin(link: dict[str, str]) -> None:
    values, _ = scene.resolve(link, RUNS, START | {"strength": 0.12, "pin": "9"})
    assert (values["strength"], values["pin"]) == (0.0, "9")


def test_another_data_set_drops_strength_and_pin() -> None:
    kept = START | {"strength": 0.12, "pin": "9"}
    values, _ = scene.resolve({"run": "drc-fashion-mnist"}, RUNS, kept)
    assert (values["dataset"], values["strength"], values["pin"]) == ("fashion-mnist", 0.0, "")


def test_a_kept_run_that_is_gone_gives_way_to_another() -> None:
    values, problems = scene.resolve({}, RUNS, START | {"run": "deleted"})
    assert values["run"] == "drc-mnist"
    assert not problems


def test_without_runs_there_is_no_scene() -> None:
    assert scene.resolve({"run": "x", "strength": "nan"}, [RUNS[3]], {}) == ({}, [])


def test_pickers_offer_no_broken_run_and_mnist_first() -> None:
    names = [r.name for r in scene.usable(RUNS)]
    assert names == ["drc-mnist", "dec-mnist", "drc-fashion-mnist"]


def test_a_missing_run_is_explained() -> None:
    assert scene.missing_run("", RUNS) == ""
    assert scene.missing_run("DRC-mnist", RUNS) == ""
    assert "bad/card.json: expected JSON" in scene.missing_run("bad", RUNS)
    gone = scene.missing_run("gone", RUNS)
    assert "no card.json of a run 'gone'" in gone
    assert "python -m clustcore train" in gone


def test_the_dial_offers_exact_in_the_embedding_alone_and_never_min_flip() -> None:
    assert "exact" not in scene.attacks("pixels")
    assert "exact" in scene.attacks("embedding")
    assert scene.attacks("pixels")[0] == "pgd"
    assert "min_flip" not in {*scene.attacks("pixels"), *scene.attacks("embedding")}


# The model beside another one


@pytest.fixture
def family(tmp_path: Path) -> list[RunInfo]:
    """Three models of one data set and one of another, all with maps but the last."""

    def make(name: str, data: str = "mnist", defence: Any = None, drawn: bool = True) -> RunInfo:
        folder = tmp_path / name
        folder.mkdir()
        if drawn:
            (folder / "map.npz").write_bytes(b"")
        return RunInfo(name, folder, run(name, data).card.changed(defence=defence))

    made = {"name": "pgd_at", "from": "base"}
    return [
        make("another"),
        make("base"),
        make("defended", defence=made),
        make("garments", "fashion-mnist"),
        make("undrawn", drawn=False),
    ]


def test_a_defended_model_comes_first_and_its_origin_comes_first_for_it(
    family: list[RunInfo],
) -> None:
    another, base, defended, garments, _ = family
    assert [one.name for one in scene.partners(base, family)] == ["defended", "another"]
    assert [one.name for one in scene.partners(defended, family)] == ["base", "another"]
    assert [one.name for one in scene.partners(another, family)] == ["base", "defended"]
    assert scene.partners(garments, family) == []


@pytest.mark.parametrize(
    ("link", "partner", "problems"),
    [
        ({}, "defended", []),
        ({"partner": "another"}, "another", []),
        ({"partner": "x"}, "defended", ["The link's partner 'x' is unknown: showing defended."]),
        (
            {"partner": "base"},
            "defended",
            ["The link's partner 'base' is unknown: showing defended."],
        ),
        (
            {"partner": "garments"},
            "defended",
            ["base is of MNIST and garments of Fashion-MNIST: they cannot be compared."],
        ),
        (
            {"run": "garments", "partner": "x"},
            "",
            ["The link's partner 'x' is unknown: showing none, since there is none."],
        ),
    ],
)
def test_a_link_names_the_partner_or_gets_the_default(
    family: list[RunInfo], link: dict[str, str], partner: str, problems: list[str]
) -> None:
    values, said = scene.resolve({"run": "base"} | link, family, {})
    assert values["partner"] == partner
    assert said == problems


def test_a_kept_partner_is_kept_beside_the_run_it_fits(family: list[RunInfo]) -> None:
    kept = {"dataset": "mnist", "run": "base", "partner": "another"}
    assert scene.resolve({}, family, kept)[0]["partner"] == "another"
    assert scene.resolve({"run": "another"}, family, kept)[0]["partner"] == "base"


def test_a_page_of_one_model_has_none_beside_it(family: list[RunInfo]) -> None:
    _, base, defended, *_ = family
    now = scene.Scene(
        page="Compare",
        run=base,
        partner=defended,
        key=PathKey("pgd", "pixels", "linf"),
        colour="cluster",
        device="cpu",
        fit=None,
        entry_slot=None,
        link_slot=None,
    )
    assert now.beside is defended
    with pytest.raises(ValueError, match="Compare: expected a model beside base, got none"):
        _ = dataclasses.replace(now, partner=None).beside


def test_an_attack_without_a_way_into_a_cluster_has_no_target() -> None:
    assert scene.targets(RUNS[0], "alrdc") == [scene.UNTARGETED]
    link = {"space": "Embedding", "attack": "ALRDC", "target": "7"}
    values, problems = scene.resolve(link, RUNS, {})
    assert (values["attack"], values["target"]) == ("alrdc", scene.UNTARGETED)
    assert problems == ["The link's target '7' is unknown: showing Untargeted."]
    kept = {"attack": "alrdc", "space": "embedding"}
    assert scene.resolve({"space": "Pixels"}, RUNS, kept)[0]["attack"] == "pgd"
