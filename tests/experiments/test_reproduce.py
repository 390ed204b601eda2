"""`reproduce runs` from the teacher to the shipped folder: two processes make what one makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bench import launched
from clustcore.runs import read_map, read_min_flips, read_path
from clustcore.types import MapArrays
from tests.support import ROOT

MANY = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def reproduce(place: Path, *launcher: str) -> tuple[Path, str]:
    """The shipped folder, and what was printed."""
    variables = {"DRIFTMAP_RUNS": str(place / "runs"), "DRIFTMAP_CACHE": str(place / "cache")}
    argv = [str(place / "shipped"), "reproduce", "runs", "--only", "small", "--device", "cpu"]
    done = launched(
        [sys.executable, *launcher, "-m", "tests.support.small_recipe", *argv],
        1800,  # on a busy machine
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return place / "shipped" / "small", done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """What two processes ship, and one with the same teacher; what the two print."""
    place = tmp_path_factory.mktemp("reproduce")
    two, said = reproduce(place / "two", *MANY)
    shutil.copytree(place / "two" / "runs" / "teachers", place / "one" / "runs" / "teachers")
    return two, reproduce(place / "one")[0], said


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "card.json").read_text())


def maps(*folders: Path) -> list[MapArrays]:
    found = [read_map(folder) for folder in folders]
    assert all(found)
    return found


@pytest.mark.slow
def test_two_processes_ship_all_parts_and_the_first_alone_prints(made):
    two, one, said = made
    files = [sorted(str(p.relative_to(f)) for p in f.rglob("*")) for f in (two, one)]
    assert files[0] == files[1]
    assert {"card.json", "map.npz", "projector.safetensors", "history.csv"} < set(files[0])
    assert [path for path in files[0] if "resume" in path or "snapshots" in path] == []
    lines = said.splitlines()
    for step in ("small-seed0: teacher", "small: map", "small: paths", "small: shipped"):
        assert lines.count(step) == 1, said
    assert card(two)["train"]["processes"] == 2
    assert card(one)["train"]["processes"] == 1


def test_two_processes_learn_the_weights_of_one(made):
    two, one = (load_file(folder / "weights.safetensors") for folder in made[:2])
    assert two.keys() == one.keys()
    for name, value in one.items():
        # half precision has a step of 2^-11
        np.testing.assert_allclose(two[name], value, rtol=2e-3, atol=1e-3, err_msg=name)
    clean = [card(folder)["scores"]["clean"] for folder in made[:2]]
    assert clean[0] == pytest.approx(clean[1], abs=0.01)
    assert clean[0]["acc"] > 0.3  # it learned: ten clusters by chance have .1


def test_two_processes_see_the_same_map_and_paths(made):
    two, one = made[:2]
    mine, theirs = maps(one, two)
    np.testing.assert_allclose(mine.z.astype(float), theirs.z, rtol=0.02, atol=0.02)
    assert (mine.labels == theirs.labels).mean() > 0.98
    paths = sorted(path.name for path in (one / "paths").glob("*.npz"))
    assert len(paths) == 7  # of two attacks, three budgets each, and of the learned attacker
    for name in paths:
        found, expected = (read_path(folder / "paths" / name) for folder in (two, one))
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.strengths, expected.strengths)
        moved = [(path.smallest <= path.strengths[-1]).mean() for path in (found, expected)]
        assert abs(moved[0] - moved[1]) <= 1.5 / len(found.rows), name
    for norm in ("linf", "l2"):
        found, expected = (read_min_flips(folder, "pixels", norm) for folder in (two, one))
        np.testing.assert_allclose(found.smallest, expected.smallest, rtol=0.02)
