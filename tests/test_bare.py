"""The commands on a machine that has what training needs and no more: see `tests.support.bare`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustcore.cli.flags import COMMANDS
from clustcore.files import save_npz
from tests.support import ROOT

SMALL = "--model.width 4 --model.alone 2 --train.batch 64 --train.lr 0.003 --device cpu"
HELP = [f"{name} --help" for name in ["", *COMMANDS, "train drc", "defend d --defence pgd_at"]]
MEASURED = ["evaluate d --device cpu", "attack d --eps 0.1 --device cpu"]
DEFENDED = "defend d --defence pgd_at --defence.epochs 1 --defence.steps 1 --device cpu --name safe"
UMAP = {
    "project": "project d --device cpu",
    "teach": "teach --data digits",
    "snapshots": "snapshots s",
    "reproduce": "reproduce runs",
}
MISTAKES = ["reproduce data", "reproduce alrdc", "attack d", "attack none"]


def bare(place: Path, *argv: str, **given: Any) -> subprocess.CompletedProcess[str]:
    """What a module, or lines that are given, say on such a machine: never a traceback."""
    own = {"DRIFTMAP_RUNS": str(place / "runs"), "DRIFTMAP_CACHE": str(place / "cache")}
    own |= {"DRIFTMAP_DATA": str(place / "data"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bare", *argv],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | own,
        capture_output=True,
        text=True,
        timeout=600,
        **given,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs and caches of the commands of this file, with a snapshot to draw."""
    place = tmp_path_factory.mktemp("bare")
    snapshot = place / "runs" / "s" / "snapshots" / "000000.npz"
    snapshot.parent.mkdir(parents=True)
    z = np.random.default_rng(0).normal(size=(30, 4))
    save_npz(snapshot, {"z": z, "labels": np.arange(30), "epoch": 0})
    return place


@pytest.fixture(scope="module")
def said(place: Path) -> dict[str, tuple[int, str, str]]:
    """Of each command its exit code, output and errors; one process runs them all, in order."""
    lines = [f"train drc --data digits --name d {SMALL}", *HELP, *MEASURED, DEFENDED]
    lines += [*UMAP.values(), *MISTAKES]
    done = bare(place, "-l", input=json.dumps(lines))
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, json.loads(done.stdout), strict=True))


def test_the_packages_are_as_if_they_were_not_installed():
    code = (
        "from importlib.util import find_spec\n"
        "from tests.support.bare import HIDDEN, hide\n"
        "hide()\n"
        "print({find_spec(name) for name in HIDDEN})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "{None}\n", done.stderr


@pytest.mark.parametrize("line", HELP)
def test_every_command_has_help(said, line):
    code, out, errors = said[line]
    assert (code, errors) == (0, "")
    assert out.startswith("usage: python -m clustcore")


@pytest.mark.parametrize("line", MEASURED)
def test_a_run_is_measured_and_attacked(said, line):
    code, out, errors = said[line]
    assert code == 0, errors
    scores = json.loads(out[out.index("{") :])
    assert 0 <= scores["acc"] <= 1


@pytest.mark.parametrize("name", ["d", "safe"])
def test_a_run_is_trained_and_defended(said, place, name):
    assert (place / "runs" / name / "card.json").is_file()


@pytest.mark.parametrize("name", UMAP)
def test_what_needs_umap_says_so_in_one_line(said, name):
    code, _, errors = said[UMAP[name]]
    assert code == 2
    assert errors == (
        f"clustcore {name}: umap: expected the package that makes maps and teachers, got: No "
        "module named 'umap'; `pip install umap-learn` installs it, and what it needs\n"
    )


@pytest.mark.parametrize("line", MISTAKES)
def test_other_mistakes_are_said_in_one_line_there_too(said, line):
    code, _, errors = said[line]
    assert code == 2
    assert len(errors.splitlines()) == 1, errors


def test_the_tests_of_a_gpu_need_no_package_of_their_own(place):
    done = bare(place, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/test_gpu.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gpu: no CUDA device here" in done.stdout
    assert " passed" not in done.stdout
