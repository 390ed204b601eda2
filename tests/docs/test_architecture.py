"""`docs/architecture.md` names what is there: every module once, every arrow, every field."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustcore import runs
from clustcore.runs import card
from clustcore.training.epoch import Epoch
from tests.support import ROOT
from tests.support.map_views import make_partner, make_view, pin_of, whole
from tests.test_layers import LIBRARY, SCREENS

DOCUMENT = ROOT / "docs" / "architecture.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
PACKAGES = ("clustcore", "driftmap", "ui", "pages", "bench", "tests")
TOPS = (*PACKAGES, "docs", "assets", ".ci")
CODE = (".py", ".js", ".mjs", ".css")
FOLDER, MODULE = re.compile(r"#+ `([\w./-]+)/`"), re.compile(r"- `([\w./-]+)`: \S")


def section(title: str) -> str:
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    assert found, f"{DOCUMENT.name}: expected a section {title!r}, got none"
    return found[1]


def words(title: str) -> set[str]:
    """What a section names as code, each name by itself."""
    return {name for text in re.findall(r"`([^`\n]+)`", section(title)) for name in text.split()}


def entries() -> list[str]:
    """The files that the map of the folders describes, one a line, in order."""
    found, folder = [], ""
    for line in section("A map of every folder").splitlines():
        if heading := FOLDER.match(line):
            folder = heading[1] + "/"
        elif line.startswith("#"):
            folder = ""
        elif module := MODULE.match(line):
            found.append(folder + module[1])
        else:
            assert not line.startswith("- `"), f"expected '- `name`: what it decides', got {line}"
    return found


def is_code(path: Path) -> bool:
    """Whether a file is a module that somebody may look for; an empty package is none."""
    if path.name != "__init__.py":
        return path.suffix in CODE
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(not isinstance(node, ast.Expr) for node in tree.body)


def test_every_module_is_named_once_and_no_file_that_is_not_there():
    named = entries()
    twice = {name for name in named if named.count(name) > 1}
    assert not twice
    missing = {name for name in named if not (ROOT / name).exists()}
    assert not missing
    files = [path for top in TOPS for path in (ROOT / top).rglob("*")] + [ROOT / "app.py"]
    code = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if "__pycache__" not in path.parts and path.is_file() and is_code(path)
    }
    assert code - set(named) == set()


def test_every_folder_has_a_heading():
    headings = {match[1] for match in FOLDER.finditer(section("A map of every folder"))}
    there = {
        path.parent.relative_to(ROOT).as_posix()
        for name in entries()
        if (path := ROOT / name).suffix in CODE and path.relative_to(ROOT).parts[0] in PACKAGES
    }
    assert there <= headings
    assert {name for name in headings if not (ROOT / name).is_dir()} == set()


def test_paths_of_the_project_that_the_text_names_are_there():
    named = set(re.findall(rf"`((?:{'|'.join(map(re.escape, TOPS))})/[\w./-]+)`", TEXT))
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize(
    ("title", "table"), [("clustcore", LIBRARY), ("ui", SCREENS)], ids=["library", "screens"]
)
def test_the_arrows_are_those_that_are_enforced(title, table):
    block = re.search(rf"```text title=\"{title}\"\n(.*?)```", TEXT, re.S)[1]
    drawn = {}
    for line in block.strip().splitlines():
        part, _, others = line.partition("->")
        drawn[part.strip()] = set(others.replace(",", " ").split())
    expected = {part: table[part] for part in table if part != "__init__" or table[part]}
    assert drawn == expected, "\n".join(
        f"{part:12} -> {', '.join(sorted(others))}" for part, others in expected.items()
    )


def keys(value: Any) -> set[str]:
    """The fields of a card, however deep; of settings and counts, only what holds them."""
    settings = ("config", "augment", "settings", "stages", "views", "precisions")
    if isinstance(value, list):
        return set().union(*(keys(one) for one in value))
    if not isinstance(value, dict):
        return set()
    inner = (keys(one) for name, one in value.items() if name not in settings)
    return set(value).union(*inner)


def test_a_run_folder_is_described_field_by_field():
    named = words("A run is a folder")
    found = [run for run in runs.list_runs() if run.shipped]
    assert found
    assert keys([run.card.to_json() for run in found]) - named == set()
    parts = (card.CardData, card.CardTraining, card.CardDefence, card.CardAttack, card.CardRow)
    fields = {field.name for part in parts for field in dataclasses.fields(part)}
    fields -= {"source"}  # "from" in the file
    assert fields - named == set()
    folder = next(run for run in found if run.readiness == "ready").folder
    for file in (*folder.glob("*.npz"), *folder.glob("paths/*.npz")):
        with np.load(file) as arrays:
            assert set(arrays.files) - named == set(), file
    numbers = dict.fromkeys(("loss", "entropy_mean", "entropy_sample", "confidence"), 0.0)
    numbers |= {"seconds": 0.0, "views_per_s": 0.0}
    epoch = Epoch(
        epoch=0, stage="", parts={}, sizes=(1,), total=1, batch=1, views=1, precision="", **numbers
    )
    assert set(epoch.row()) - named == set()


def test_a_message_of_the_map_is_described_field_by_field():
    named = words("The wire format")
    view = make_view()
    sparse = make_view(shown=np.arange(0, 200, 2))
    pair = make_view(mode="compare", partner=make_partner(view))
    for one in (view, sparse, pair):
        header, sections = whole(one)
        plain = {re.sub(r"^b\.", "", name) for name in sections}
        assert plain - named == set()
        assert {*header, *header["meta"]} - named == set()
    from ui.cluster_map import answers, packing

    base = packing.base(view)
    pin = pin_of(view, decoded=np.zeros((11, 1, 6, 6)), reconstruction=np.zeros((1, 6, 6)))
    note, sections = answers.pin_part(pin, base)
    assert {*note, *sections} - named == set()


def test_what_is_read_of_the_environment_is_listed():
    found = set()
    for top in ("clustcore", "driftmap", "ui", "pages"):
        for path in (ROOT / top).rglob("*.py"):
            found |= set(re.findall(r"\bDRIFTMAP_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    listed = set(re.findall(r"^- `(DRIFTMAP_[A-Z_]+)`", section("What the environment says"), re.M))
    assert listed == found
