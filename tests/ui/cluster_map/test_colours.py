"""The colourings of the map, against slow loops over a shipped run."""

from __future__ import annotations

import math

import pytest

from clustcore import runs
from clustcore.types import PathKey
from ui.cluster_map import COLOURS, ramps

END = 0.05  # of a dial that not every sample moves on


@pytest.fixture(scope="module")
def shipped():
    run = runs.find_run("dec-mnist")
    return runs.read_map(run.folder), runs.stored_path(run, PathKey("pgd", "pixels", "linf"))


def test_confidence_is_the_largest_soft_assignment(shipped) -> None:
    arrays, path = shipped
    found = ramps(arrays, path, END)["confidence"]
    assert found[:50].tolist() == [max(float(v) for v in row) for row in arrays.p[:50]]


def test_fragility_is_the_share_of_the_dial_that_moves_a_sample(shipped) -> None:
    arrays, path = shipped
    found = ramps(arrays, path, END)["fragility"]
    expected = [math.nan] * len(arrays.xy)
    for row, smallest in zip(path.rows, path.smallest, strict=True):
        expected[row] = 1.0 if math.isnan(smallest) else min(1.0, float(smallest) / END)
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    assert 0 < (found < 1).sum() < len(path.rows)


def test_without_a_path_there_is_no_fragility(shipped) -> None:
    arrays, _ = shipped
    assert set(ramps(arrays, None, END)) == {
        name for name, one in COLOURS.items() if one.ramp and not one.needs_path
    }
