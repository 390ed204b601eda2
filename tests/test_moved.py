"""Whoever imports a module under the name it had is told where it lies now."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.machinery import PathFinder

import pytest

from clustcore import moved


@pytest.mark.parametrize("old", moved.MOVED)
def test_an_old_name_says_where_the_module_lies_now(old):
    with pytest.raises(ImportError, match=rf"^clustcore\.{old} has moved to ") as found:
        importlib.import_module(f"clustcore.{old}")
    assert not isinstance(found.value, ModuleNotFoundError)
    named = re.findall(r"clustcore\.[\w.]+", str(found.value))[1:]
    assert named == [f"clustcore.{new}" for new in moved.MOVED[old]]
    for new in named:
        assert importlib.util.find_spec(new) is not None, new
        assert new != f"clustcore.{old}"


def test_every_way_to_import_it_says_so():
    for line in (
        "import clustcore.budget",
        "from clustcore.budget import measure",
        "from clustcore import budget",
    ):
        with pytest.raises(ImportError, match=r"moved to clustcore\.experiments\.budget"):
            exec(line, {})


def test_what_was_never_there_is_not_found_as_ever():
    with pytest.raises(ModuleNotFoundError, match=r"clustcore\.nothing"):
        importlib.import_module("clustcore.nothing")
    assert importlib.util.find_spec("budget") is None


def test_it_is_asked_once_and_after_whoever_knows_files():
    assert sys.meta_path.count(moved.Finder) == 1
    assert sys.meta_path.index(moved.Finder) > sys.meta_path.index(PathFinder)
