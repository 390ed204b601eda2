"""What a result says of itself: in a few words, and as a table in a notebook."""

from __future__ import annotations

import dataclasses
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from clustcore import display
from clustcore.models.weights import build
from clustcore.pipeline.run import Run
from clustcore.runs import Card, RunInfo
from clustcore.types import (
    AttackPath,
    AttackResult,
    Clustering,
    Interval,
    PathKey,
    Samples,
    Scores,
)

SCORES = Scores(
    acc=0.9451,
    nmi=0.91,
    ari=0.9,
    n=2000,
    strength=0.1,
    moved=Interval(0.1234, 0.11, 0.135),
    acc_rematched=0.95,
    acc_interval=Interval(0.9451, 0.93, 0.96),
    clusters_used=10,
)


class Cells(HTMLParser):
    """The texts of a table, and a complaint where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.open, self.rows = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("th", "td"):
            self.rows[-1].append(data)


def attacked(n=4, eps=(0.1,), space="pixels", norm="linf") -> AttackResult:
    change = torch.arange(n) / 10
    return AttackResult(
        x_adv=torch.zeros(n, 1, 8, 8),
        z_adv=None,
        moved=torch.arange(n) % 4 == 0,
        before=torch.zeros(n, dtype=torch.int64),
        after=torch.zeros(n, dtype=torch.int64),
        eps=torch.tensor(eps).repeat(n)[:n],
        norm=norm,
        space=space,
        l2=change,
        linf=change / 2,
        steps=1200,
    )


def path(m=2000, **more) -> AttackPath:
    zeros = np.zeros((3, m), np.float32)
    smallest = np.where(np.arange(m) % 4 == 0, 0.05, np.nan).astype(np.float32)
    known = {
        "strengths": np.array([0, 0.05, 0.4], np.float32),
        "rows": np.arange(m),
        "xy": np.zeros((3, m, 2), np.float32),
        "p": np.zeros((3, m, 10), np.float32),
        "labels": zeros.astype(np.uint8),
        "smallest": smallest,
        "l2": zeros,
        "linf": zeros,
        "weights": "0" * 64,
    }
    key = {"attack": "pgd", "space": "pixels", "norm": "linf"}
    return AttackPath(**known, key=PathKey(**key | more))


def test_scores_say_what_was_measured():
    assert repr(SCORES) == (
        "Scores(acc 0.945 [0.930, 0.960], nmi 0.910, ari 0.900, acc rematched 0.950, "
        "moved 12.3 % at 0.1 [11.0 %, 13.5 %], clusters used 10, n 2,000)"
    )
    assert Cells(SCORES._repr_html_()).rows == [
        ["acc", "0.945", "[0.930, 0.960]"],
        ["nmi", "0.910"],
        ["ari", "0.900"],
        ["acc rematched", "0.950"],
        ["moved", "12.3 % at 0.1", "[11.0 %, 13.5 %]"],
        ["clusters used", "10"],
        ["n", "2,000"],
    ]


def test_clean_scores_say_nothing_of_an_attack_nor_unlabelled_ones_of_classes():
    clean = Scores(0.5, 0.4, 0.3, 10, clusters_used=3)
    assert repr(clean) == "Scores(acc 0.500, nmi 0.400, ari 0.300, clusters used 3, n 10)"
    nan = math.nan
    assert repr(Scores(nan, nan, nan, 10)) == "Scores(n 10)"
    unlabelled = Scores(nan, nan, nan, 10, strength=0.2, moved=Interval(0.0, 0.0, 0.1))
    assert repr(unlabelled) == "Scores(moved 0.0 % at 0.2 [0.0 %, 10.0 %], n 10)"


def test_an_attack_says_how_many_moved_and_how_far():
    assert repr(attacked()) == (
        "AttackResult(1 of 4 moved, pixels linf 0.1, median l2 0.1, median linf 0.05, steps 1,200)"
    )
    assert Cells(attacked()._repr_html_()).rows == [
        ["moved", "1 of 4 moved"],
        ["budget", "pixels linf 0.1"],
        ["median l2", "0.1"],
        ["median linf", "0.05"],
        ["steps", "1,200"],
    ]
    assert "pixels l2 0.1 to 0.4, " in repr(attacked(eps=(0.1, 0.4, 0.2, 0.3), norm="l2"))


def test_an_attack_on_nothing_says_so():
    assert repr(attacked(0)) == "AttackResult(0 of 0 moved, pixels linf, steps 1,200)"
    assert ["moved", "0 of 0 moved"] in Cells(attacked(0)._repr_html_()).rows


def test_a_path_says_how_many_have_moved_at_its_end():
    assert repr(path(target=3)) == (
        "AttackPath(pgd into cluster 3, pixels linf, 3 strengths to 0.4, 2,000 samples, "
        "25.0 % moved at the last)"
    )
    assert Cells(path()._repr_html_()).rows == [
        ["strength", "moved, of 2,000"],
        ["0", "0.0 %"],
        ["0.05", "25.0 %"],
        ["0.4", "25.0 %"],
    ]
    assert "0 samples, 0.0 % moved" in repr(path(0))


def test_samples_say_how_many_and_of_what():
    x, ids = np.zeros((2000, 1, 28, 28), np.float32), np.arange(2000)
    found = Samples(x, ids % 10, ids, "mnist")
    assert repr(found) == "Samples('mnist', 'test', 2,000 images of 1 x 28 x 28, 10 classes)"
    bare = Samples(x, None, ids, "a", split="train", skipped=("b.png", "c.png"))
    assert repr(bare).endswith("no labels, 2 files skipped)")


def test_an_interval_is_short():
    assert repr(Interval(0.94512, 0.93, 1.0)) == "Interval(0.945 [0.93, 1])"
    assert repr(Interval(math.inf, 0.2, math.inf)) == "Interval(inf [0.2, inf])"


def test_arrays_show_type_and_shape_and_no_number():
    z = np.full((5, 4), 0.123, np.float32)
    assert repr(Clustering(z, z, z)) == (
        "Clustering(z=float32[5, 4], s=float32[5, 4], p=float32[5, 4])"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (torch.zeros(2, 3), "float32[2, 3]"),
        ("a" * 64, "'aaaaaaaaaaaa...'"),
        (torch.nn.Sequential(torch.nn.ReLU()), "<Sequential>"),
        (0.5, "0.5"),
        (None, "None"),
    ],
)
def test_a_brief_record_is_one_line(value, shown):
    record = dataclasses.make_dataclass("Record", ["value"])(value)
    assert display.brief(record) == f"Record(value={shown})"


HOSTILE = "<script>alert(1)</script> & \"'"


@pytest.mark.parametrize(
    "text",
    [
        display.table(HOSTILE, [(HOSTILE, HOSTILE)]),
        path(attack=HOSTILE)._repr_html_(),
    ],
)
def test_all_text_is_escaped(text):
    assert set(Cells(text).tags) == {"table", "caption", "tr", "th", "td"}
    assert "&lt;script&gt;" in text


CARD = {
    "format": 1,
    "model": "drc",
    "config": {"clusters": 10, "input_shape": [1, 28, 28]},
    "defence": {"name": "pgd_at"},
    "data": {"name": "mnist", "split": "train", "n": 60000},
    "train": {},
    "scores": {"split": "test", "clean": {"acc": 0.985, "nmi": 0.96, "ari": None}},
    "embedding": {"R": 1.234},
    "weights_sha256": "0" * 64,
}


def opened(folder: Path, **more) -> Run:
    """A run of a small model, whatever its card says."""
    model = build("dec", {"width": 2, "dim": 5})
    return Run("mine", folder, Card.from_json(CARD | more), model, torch.device("cpu"))


def test_a_run_says_what_it_is_and_shows_neither_card_nor_network(tmp_path):
    run = opened(tmp_path)
    assert repr(run) == (
        "Run('mine', 'drc' on 'mnist', 10 clusters, defended by 'pgd_at', without a map, on cpu)"
    )
    assert repr(run.card) == "Card('drc' on 'mnist', 10 clusters, defended by 'pgd_at')"
    (tmp_path / "map.npz").touch()
    assert ", with a map, " in repr(run)
    assert Cells(run._repr_html_()).rows == [
        ["model", "drc"],
        ["trained on", "mnist, train, 60,000 images"],
        ["clusters", "10"],
        ["embedding", "5 dimensions, R 1.23"],
        ["defence", "pgd_at"],
        ["clean, test", "acc 0.985, nmi 0.960"],
        ["map", "yes"],
        ["device", "cpu"],
        ["folder", str(tmp_path)],
    ]


def test_a_run_of_a_short_card_is_shown_too(tmp_path):
    bare = {"config": {}, "defence": None, "scores": {}, "data": {"name": "a", "split": "all"}}
    run = opened(tmp_path, **bare)
    assert repr(run) == "Run('mine', 'drc' on 'a', without a map, on cpu)"
    assert ["trained on", "a, all"] in Cells(run._repr_html_()).rows
    assert ["defence", "none"] in Cells(run._repr_html_()).rows


def test_a_listed_run_says_what_is_there(tmp_path):
    card = Card.from_json(CARD)
    assert (
        repr(RunInfo("mine", tmp_path, card)) == f"RunInfo('mine', weights missing, {card.summary})"
    )
    broken = RunInfo("mine", tmp_path, None, "card.json: expected JSON, got a novel")
    assert repr(broken) == "RunInfo('mine', broken, card.json: expected JSON, got a novel)"
    assert repr(RunInfo("mine", tmp_path, None)) == "RunInfo('mine', weights missing)"


def test_a_hostile_card_stays_text(tmp_path):
    data = {"name": HOSTILE + "\n\x1b[31m", "split": HOSTILE}
    run = opened(tmp_path, model=HOSTILE, data=data, defence={"name": HOSTILE})
    assert "\n" not in repr(run)
    assert "\x1b" not in repr(run)
    assert set(Cells(run._repr_html_()).tags) == {"table", "caption", "tr", "th", "td"}
