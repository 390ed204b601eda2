"""Every example in a docstring runs, and every public function has one."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

REFERENCE = ROOT / "docs" / "reference"
SHOWN = re.compile(r"^::: ([\w.]+)\n(?:    options:\n      members: \[([^\]]*)\]\n)?", re.M)
NAMED = (ast.FunctionDef, ast.ClassDef)

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "clustcore").rglob("*.py"))
}
# the public modules, each with those of its names that the reference shows; none: all
PUBLIC = {
    found[1]: found[2].split(", ") if found[2] else []
    for page in sorted(REFERENCE.glob("*.md"))
    for found in SHOWN.finditer(page.read_text(encoding="utf-8"))
}


def tree_of(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def docstrings(node: ast.Module | ast.FunctionDef | ast.ClassDef, name: str) -> Iterator:
    """(name, docstring, line) of a module and all that is named in it.

    They are read off the file: in the tests functions are wrapped, and doctest's own finder takes
    what is wrapped for another module's.
    """
    text = ast.get_docstring(node, clean=False)
    if text:
        yield name, text, node.body[0].lineno - 1
    for inner in node.body:
        if isinstance(inner, NAMED):
            yield from docstrings(inner, f"{name}.{inner.name}")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example writes lies in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("DRIFTMAP_RUNS", raising=False)
    monkeypatch.setenv("DRIFTMAP_HOME", str(tmp_path))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("name", [n for n, f in FILES.items() if ">>> " in f.read_text("utf-8")])
def test_the_examples_of_a_module_run(name):
    names = vars(importlib.import_module(name))
    flags = doctest.ELLIPSIS | doctest.REPORT_ONLY_FIRST_FAILURE  # the first is pytest's own way
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=flags)
    report: list[str] = []
    for where, text, line in docstrings(tree_of(name), name):
        test = parser.get_doctest(text, dict(names), where, str(FILES[name]), line)
        runner.run(test, out=report.append)
    assert runner.tries
    assert not report, "\n" + "".join(report)


def owes(node: ast.stmt, name: str) -> bool:
    """Whether a reader has to be shown how this is used.

    A function, or a class that a user calls: a dataclass is a result or settings, whose fields say
    it all, an exception is caught, and a protocol is never made. In experiments what works on a
    trained run takes minutes.
    """
    if not isinstance(node, NAMED) or node.name.startswith("_"):
        return False
    if isinstance(node, ast.ClassDef):
        found = getattr(importlib.import_module(name), node.name)
        protocol = getattr(found, "_is_protocol", False)
        return not (dataclasses.is_dataclass(found) or issubclass(found, Exception) or protocol)
    kinds = {ast.unparse(arg.annotation) for arg in node.args.args if arg.annotation}
    return not (name.startswith("clustcore.experiments.") and kinds & {"Run", "Context"})


def test_the_reference_is_read():
    shown = sum(page.read_text(encoding="utf-8").count("\n::: ") for page in REFERENCE.glob("*.md"))
    assert len(PUBLIC) == shown
    assert set(PUBLIC) <= set(FILES)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_has_an_example(name):
    nodes = [node for node in tree_of(name).body if isinstance(node, NAMED)]
    assert set(PUBLIC[name]) <= {node.name for node in nodes}
    shown = [node for node in nodes if not PUBLIC[name] or node.name in PUBLIC[name]]
    assert not [
        node.name
        for node in shown
        if owes(node, name) and ">>> " not in (ast.get_docstring(node) or "")
    ]
