"""The commands on a machine that has what training needs and no more: see `tests.bare`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clustcore.cli import COMMANDS
from clustcore.files import save_npz

ROOT = Path(__file__).resolve().parent.parent
SMALL = "--model.width 4 --model.alone 2 --train.batch 64 --train.lr 0.003 --device cpu"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs and caches that the commands of this file share."""
    return tmp_path_factory.mktemp("bare")


def bare(place: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """What a module says on such a machine; it never ends in a traceback."""
    own = {"DRIFTMAP_RUNS": str(place / "runs"), "DRIFTMAP_CACHE": str(place / "cache")}
    own |= {"DRIFTMAP_DATA": str(place / "data"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bare", "-m", *argv],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def command(place: Path, line: str) -> subprocess.CompletedProcess[str]:
    return bare(place, "clustcore", *line.split())


@pytest.fixture(scope="module")
def run(place: Path) -> str:
    """The name of a run that was trained there."""
    done = command(place, f"train drc --data digits --name d {SMALL}")
    assert done.returncode == 0, done.stderr
    assert (place / "runs" / "d" / "card.json").is_file()
    return "d"


def test_the_packages_are_as_if_they_were_not_installed():
    code = (
        "from importlib.util import find_spec\n"
        "from tests.bare import HIDDEN, hide\n"
        "hide()\n"
        "print({find_spec(name) for name in HIDDEN})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "{None}\n", done.stderr


@pytest.mark.parametrize("name", ["", *COMMANDS, "train drc", "defend d --defence pgd_at"])
def test_every_command_has_help(place, name):
    done = command(place, f"{name} --help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m clustcore")


@pytest.mark.parametrize("line", ["evaluate d", "attack d --eps 0.1"])
def test_a_run_is_measured_and_attacked(place, run, line):
    done = command(place, f"{line} --device cpu")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout[done.stdout.index("{") :])
    assert 0 <= scores["acc"] <= 1


def test_a_run_is_defended(place, run):
    line = "defend d --defence pgd_at --defence.epochs 1 --defence.steps 1 --device cpu --name safe"
    done = command(place, line)
    assert done.returncode == 0, done.stderr
    assert (place / "runs" / "safe" / "card.json").is_file()


@pytest.mark.parametrize("name", ["project", "teach", "snapshots", "reproduce"])
def test_what_needs_umap_says_so_in_one_line(place, run, name):
    snapshot = place / "runs" / "s" / "snapshots" / "000000.npz"
    if name == "snapshots":
        snapshot.parent.mkdir(parents=True)
        z = np.random.default_rng(0).normal(size=(30, 4))
        save_npz(snapshot, {"z": z, "labels": np.arange(30), "epoch": 0})
    rest = {"project": "d --device cpu", "teach": "--data digits", "snapshots": "s"}
    done = command(place, f"{name} {rest.get(name, 'runs')}")
    assert done.returncode == 2
    assert done.stderr == (
        f"clustcore {name}: umap: expected the package that makes maps and teachers, got: No "
        "module named 'umap'; `pip install umap-learn` installs it, and what it needs\n"
    )


@pytest.mark.parametrize("line", ["reproduce data", "reproduce alrdc", "attack d", "attack none"])
def test_other_mistakes_are_said_in_one_line_there_too(place, run, line):
    done = command(place, line)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_the_tests_of_a_gpu_need_no_package_of_their_own(place):
    done = bare(place, "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/test_gpu.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gpu: no CUDA device here" in done.stdout
    assert " passed" not in done.stdout
