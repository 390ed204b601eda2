"""Sentences, tables and files of the pages, against counts made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from clustcore import runs
from clustcore.locations import PROJECT
from clustcore.types import AttackPath, MapArrays
from tests.support import demo
from tests.support.cards import some_card
from ui import home, notes
from ui.cluster_map.moved import moved_rows
from ui.parts import frames, sentences


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> MapArrays:
    """The map of a run of random numbers."""
    return runs.read_map(demo.make_run(tmp_path_factory.mktemp("runs"), paths=False))


@pytest.fixture(scope="module")
def path(arrays: MapArrays) -> AttackPath:
    """Sample i first moves at (i + 1) / 60 of 0.4."""
    return demo.make_path(arrays, "pgd", "pixels", "linf")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.08, "0.08"), (0.0075, "0.0075"), (1.2, "1.2"), (0.30001, "0.3")],
)
def test_a_strength_has_the_digits_it_needs(value: float, text: str) -> None:
    assert sentences.strength_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"),
        (0.4, "1 s"),
        (30, "30 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (36_000, "10.0 h"),
    ],
)
def test_a_duration_is_said_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert sentences.duration(seconds) == text


def test_the_sentence_counts_what_moved_and_names_the_largest_flow(path: AttackPath) -> None:
    moved = [i for i in range(demo.M) if np.float32(0.4 * (i + 1) / demo.M) <= np.float32(0.2)]
    flows = [(path.rows[i] % 10, (path.rows[i] + 1) % 10) for i in moved]
    largest = max(sorted(set(flows)), key=flows.count)
    assert sentences.sentence(path, 0.2, 0.4) == (
        f"At strength 0.2, {len(moved)} of 60 samples left their cluster; "
        f"{largest[0]} → {largest[1]} is the largest flow, {flows.count(largest)}."
    )


def test_the_sentence_of_nothing_moved_of_a_target_and_of_no_path(path: AttackPath) -> None:
    assert (
        sentences.sentence(path, 0.0, 0.4)
        == "At strength 0, none of 60 samples left their cluster."
    )
    aimed = dataclasses.replace(path, key=dataclasses.replace(path.key, target=3))
    assert "of 60 samples entered cluster 3" in sentences.sentence(aimed, 0.4, 0.4)
    assert sentences.sentence(None, 0.1, 0.4).startswith("No attack path has been computed yet")


def test_a_sample_moves_at_its_smallest_strength_and_not_below(path: AttackPath) -> None:
    step = 0.4 / 65_534
    for i in (0, 10, 59):
        s = float(path.smallest[i])
        assert i in moved_rows(path, s, 0.4)
        assert i not in moved_rows(path, s - 2 * step, 0.4)
    still = dataclasses.replace(path, smallest=np.full(demo.M, np.nan, np.float32))
    assert len(moved_rows(still, 0.4, 0.4)) == 0


def test_a_strength_that_float32_rounds_down_still_moves_its_samples(path: AttackPath) -> None:
    at = np.full(demo.M, np.float32(0.0300000068), np.float32)  # one step of float32 above 0.03
    assert not (at <= np.float32(0.03)).any()
    assert len(moved_rows(dataclasses.replace(path, smallest=at), 0.03, 0.4)) == demo.M


def test_the_file_of_moved_samples_is_sorted_and_says_where_they_went(path: AttackPath) -> None:
    frame = frames.moved_frame(path, 0.2, 0.4)
    assert frame["sample"].tolist() == path.rows[:30].tolist()
    assert frame["smallest_strength"].is_monotonic_increasing
    assert ((frame["from_cluster"] + 1) % 10 == frame["to_cluster"]).all()
    after = path.strengths[path.strengths >= np.float32(0.2)][0]
    assert (frame["strength_of_step"] == after).all()
    assert (frame["linf_at_step"] == after).all()
    lines = frames.csv(frame).decode().splitlines()
    assert lines[0].split(",")[:4] == ["sample", "from_cluster", "to_cluster", "smallest_strength"]
    assert len(lines) == 31


def test_a_row_per_cluster_with_what_there_is_to_say(arrays: MapArrays, path: AttackPath) -> None:
    y = np.where(np.arange(demo.N) % 10 < 5, 0, 1)  # clusters 0 to 4 are class 0
    frame = frames.cluster_frame(arrays, y, path)
    assert frame["purity"].tolist() == [1.0] * 10
    assert frame["mean margin"].to_numpy() == pytest.approx(0.9 - 0.1 / 9, abs=1e-3)
    mine = path.rows % 10 == 7
    assert frame["samples attacked"][7] == mine.sum()
    assert frame["median smallest strength"][7] == pytest.approx(np.median(path.smallest[mine]))
    bare = frames.cluster_frame(arrays, None, None)
    assert list(bare.columns) == ["cluster", "size", "mean margin"]


def test_where_half_never_moved_there_is_no_median(arrays: MapArrays, path: AttackPath) -> None:
    still = dataclasses.replace(path, smallest=np.full(demo.M, np.nan, np.float32))
    assert frames.cluster_frame(arrays, None, still)["median smallest strength"].isna().all()


def test_the_file_of_a_selection(arrays: MapArrays, path: AttackPath) -> None:
    rows = np.array([0, 5, 7])
    y = np.arange(demo.N) % 10
    frame = frames.sample_frame(rows, arrays, y, tuple("abcdefghij"), path)
    assert frame["sample"].tolist() == [0, 5, 7]
    assert frame["label"].tolist() == ["a", "f", "h"]
    assert frame["attacked"].tolist() == [True, False, True]
    assert frame["smallest_strength"].isna().tolist() == [False, True, False]
    assert frame["confidence"].to_numpy() == pytest.approx(0.9, abs=1e-3)
    bare = frames.sample_frame(rows, arrays, None, (), None)
    assert list(bare.columns) == ["sample", "cluster", "confidence", "margin", "x", "y"]


def test_composition_is_counted_from_the_largest_part() -> None:
    values = np.array([2, 2, 0, 1, 2, 0])
    assert frames.composition(values, ("a", "b", "c")) == [
        ("c", 3, 0.5),
        ("a", 2, pytest.approx(1 / 3)),
        ("b", 1, pytest.approx(1 / 6)),
    ]
    assert frames.composition(values)[0][0] == "2"


def test_the_map_in_words(arrays: MapArrays) -> None:
    assert sentences.map_sentence(arrays, "demo") == (
        "Map of 10,000 samples of demo in 10 clusters; the largest is 0 with 1,000, "
        "the smallest 0 with 1,000."
    )


def test_the_median_flip_in_words() -> None:
    assert sentences.median_flip(np.full(100, 0.25)) == "0.25 (95 %: 0.25 to 0.25; n = 100)"
    half = np.where(np.arange(100) < 40, 0.1, np.nan)
    assert sentences.median_flip(half) == "at least half of 100 samples never moved"


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"scores": {"clean": "good", "attacked": [3, {"moved": "all", "eps": 0.3}]}},
        {"scores": {"clean": {"acc": float("nan"), "nmi": True}}},
    ],
)
def test_a_card_without_figures_says_none(card: dict) -> None:
    assert home.headline(some_card(**card).scores) == []


def test_text_from_outside_loses_its_markdown() -> None:
    assert notes.plain("a*b [c](http://d) <e> $f$ :red[g]\n\nh") == (
        r"a\*b \[c\](http\://d) \<e\> \$f\$ \:red\[g\] h"
    )
    assert notes.plain("map.npz: expected a-b, 10.5 % (ok)!") == (
        "map.npz: expected a-b, 10.5 % (ok)!"
    )


def test_messages_name_files_from_the_project_on(tmp_path: Path) -> None:
    inside = ValueError(f"{PROJECT}/runs/x/card.json: expected JSON")
    assert notes.say(inside) == "runs/x/card.json: expected JSON"
