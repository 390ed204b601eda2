"""A new model, attack, defence, data set or colouring is one file and one line.

The files and lines are those of CONTRIBUTING.md, as they stand there.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import clustcore
from clustcore import registry, runs
from clustcore.attacks import ATTACKS
from clustcore.cli.commands import main
from clustcore.datasets import DATASETS, peek
from clustcore.defences import DEFENCES
from clustcore.maps import projection
from clustcore.models import MODELS
from tests.conftest import quick
from tests.support import ROOT
from tests.support.screens import calm, header, open_app, texts
from tests.support.small_recipe import Planes
from ui.cluster_map import COLOURS, Colouring

LONGEST = 30  # lines of an example, without those that are empty
REGISTRIES = {"MODELS": MODELS, "ATTACKS": ATTACKS, "DEFENCES": DEFENCES}
REGISTRIES |= {"DATASETS": DATASETS, "COLOURS": COLOURS}


def examples() -> dict[str, tuple[str, str]]:
    """The file and the line of each section of CONTRIBUTING.md."""
    found = {}
    for section in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        blocks = re.findall(r"```python\n(.*?)```", section, re.S)
        if blocks:
            file, line = blocks
            found[section.partition("\n")[0]] = (file, line)
    return found


def test_every_example_is_short_and_its_line_is_one() -> None:
    assert list(examples()) == [
        "A model",
        "An attack",
        "A defence",
        "A data set",
        "A colouring of the map",
    ]
    for file, line in examples().values():
        assert sum(bool(text.strip()) for text in file.splitlines()) <= LONGEST
        assert len(ast.parse(line).body) == 1


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The examples, registered; gives the folder of one's own runs, the only ones there are."""
    place = tmp_path_factory.mktemp("one-line")
    (place / "files").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place / "files"))
        patch.setenv("DRIFTMAP_RUNS", str(place / "runs"))
        patch.setenv("DRIFTMAP_CACHE", str(place / "cache"))
        patch.setattr("clustcore.runs.folder.SHIPPED", place / "shipped")
        before = {name: set(known) for name, known in REGISTRIES.items()}
        for file, line in examples().values():
            module = re.search(r'"(\w+):', line)[1]
            (place / "files" / f"{module}.py").write_text(file, encoding="utf-8")
            exec(line, vars(registry) | REGISTRIES | {"Colouring": Colouring})
        yield place / "runs"
        for name, known in REGISTRIES.items():
            for other in set(known) - before[name]:
                del known[other]
    for _, line in examples().values():
        sys.modules.pop(re.search(r'"(\w+):', line)[1], None)


def said(*argv: str) -> str:
    """What a command prints; it must succeed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([*argv])
        except SystemExit as end:  # help ends the process
            code = end.code or 0
    assert code == 0, err.getvalue()
    return out.getvalue()


@pytest.fixture(scope="module")
def made(added: Path) -> Path:
    """A run of the new model on the new data, and one of it under the new defence; with maps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Planes))
        for name, value in (("PATH_SAMPLES", 40), ("FLIP_SAMPLES", 8)):
            patch.setattr(runs, name, value)
        fit = projection.fit
        patch.setattr(projection, "fit", lambda z, config, **rest: fit(z, quick(), **rest))
        loop = ("--train.batch", "40", "--train.lr", "0.01", "--device", "cpu")
        said(
            *("train", "linear", "--data", "bars", "--name", "plain", "--model.clusters", "4"),
            *("--model.epochs", "6", *loop),
        )
        said(
            "defend",
            "plain",
            "--defence",
            "noisy",
            "--name",
            "quiet",
            "--defence.epochs",
            "1",
            *loop[:2],
            "--device",
            "cpu",
        )
        for name in ("plain", "quiet"):
            said("project", name, "--device", "cpu")
            said("attack", name, "--attack", "brightness", "--device", "cpu")
    return added


def test_the_library_trains_defends_and_attacks_with_them(made: Path) -> None:
    run = clustcore.load_run("quiet", "cpu")
    assert run.card.defence.name == "noisy"
    assert run.card.model == "linear"
    samples = clustcore.load_samples("bars")
    assert samples.class_names[0] == "far left"
    result = clustcore.attack(run.model, samples.x, "brightness", eps=0.3)
    assert np.allclose(result.linf.max(), 0.3, atol=1e-6)
    scores = clustcore.evaluate(run.model, samples)
    assert scores.n == 120
    assert scores.clusters_used > 1
    assert scores.acc >= 0.5


def test_the_dial_is_the_entrys(added: Path) -> None:
    from clustcore.dial import dial

    assert (dial("bars", "pixels", "l2").end, dial("bars", "pixels", "l2").default) == (2.0, 0.5)


def test_the_command_line_names_them_in_its_help(added: Path) -> None:
    assert "linear" in said("train", "--help")
    assert "--model.epochs" in said("train", "linear", "--help")
    assert "noisy" in said("defend", "--help")
    assert "--defence.size" in said("defend", "plain", "--defence", "noisy", "--help")


def test_the_command_line_runs_them(made: Path) -> None:
    scores = json.loads(said("evaluate", "plain", "--device", "cpu"))
    assert scores["n"] == 120
    out = said("attack", "plain", "--attack", "brightness", "--eps", "0.3", "--device", "cpu")
    assert "brightness" in out or json.loads(out)["n"] == 120


def options(app: Any, label: str) -> list[str]:
    """What a box of this label offers."""
    (box,) = [one for one in (*app.selectbox, *app.button_group) if one.label == label]
    return list(box.options)


def test_the_form_of_train_offers_them(added: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # another process would not know what was added to this one alone
    monkeypatch.setattr("ui.cached.images.peek_apart", peek.peek)
    app = open_app("pages/6_Train.py")
    assert "Linear" in options(app, "Model")
    assert "noisy" in options(app, "Defence")
    assert "Bars" in options(app, "Data set")
    app.selectbox(key="train_data").set_value("bars").run()
    app.selectbox(key="train_model").set_value("linear").run()
    assert calm(app)
    assert "One layer, then clusters." in texts(app)
    assert "python -m clustcore train linear --data bars" in app.code[0].value


def test_the_pages_show_a_run_of_them(made: Path) -> None:
    for page in ("1_Explore", "2_Attack", "4_Compare"):
        app = open_app(f"pages/{page}.py", run="plain", attack="brightness")
        assert not app.exception
        assert not app.error
    app = open_app("pages/2_Attack.py", run="plain", attack="brightness")
    assert app.session_state["attack"] == "brightness"
    assert any("Bars" in text for text in texts(app))


def test_explore_colours_the_map_by_it(made: Path) -> None:
    app = open_app("pages/1_Explore.py", run="plain", colour="Undecided")
    assert not app.exception
    assert "Undecided" in options(app, "Colour")
    sent = header(app)
    assert sent["parts"]["options"]["colour"] == "undecided"
    assert sent["meta"]["ramps"]["undecided"] == ["decided", "torn", ""]
    assert "colour.undecided" in [section["name"] for section in sent["sections"]]


def test_the_report_has_a_line_for_them(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clustcore.experiments import report

    monkeypatch.setattr("clustcore.runs.folder.SHIPPED", made)
    lines = report.results()
    assert "plain" in lines
    assert "quiet" in lines


def test_every_model_that_ships_says_where_it_comes_from() -> None:
    assert all(entry.source for name, entry in MODELS.items() if name != "linear")
