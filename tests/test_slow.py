"""Every slow test runs in one of CI's two steps, and the first step's choice can be repeated."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from tests.support.slow import SEED, chosen

NAMES = [f"test_{i}" for i in range(42)]
FILE = """
import pytest

def test_quick():
    pass

@pytest.mark.slow
@pytest.mark.parametrize("i", range(21))
def test_slow(i):
    pass
"""


def test_a_tenth_is_rounded_up_and_the_same_for_the_same_seed_in_any_order() -> None:
    tenth = chosen(NAMES, "tenth", SEED)
    assert len(tenth) == 5
    assert tenth < set(NAMES)
    assert chosen(NAMES[::-1], "tenth", SEED) == tenth
    assert len({frozenset(chosen(NAMES, "tenth", seed)) for seed in range(20)}) > 1
    assert len(chosen(NAMES[:1], "tenth", SEED)) == 1
    assert len(tenth - chosen([*NAMES, "test_new"], "tenth", SEED)) <= 1


def test_all_are_all_and_none_is_none() -> None:
    assert chosen(NAMES, "all", SEED) == set(NAMES)
    assert chosen(NAMES, "none", SEED) == set()
    assert chosen([], "tenth", SEED) == set()


def collected(folder: Path, *options: str) -> tuple[set[str], str]:
    """The tests of the small file that pytest would run with these options, and what it says."""
    (folder / "test_it.py").write_text(FILE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.slow", "--rootdir", str(folder)]
    command += ["-c", str(ROOT / "pyproject.toml"), "-p", "xdist.plugin", "--collect-only", "-q"]
    done = subprocess.run(
        [*command, *options, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"test_it\.py::(.+)", done.stdout)), done.stdout


def test_the_rest_is_deselected_and_the_seed_is_said(tmp_path: Path) -> None:
    tests, said = collected(tmp_path, "--slow-seed", "5")
    assert "test_quick" in tests
    assert len(tests) == 1 + 3
    assert "18 deselected" in said
    assert "skipped" not in said
    assert "slow tests: tenth, --slow-seed 5" in said


def test_the_second_step_of_ci_runs_every_slow_test_and_no_other(tmp_path: Path) -> None:
    *_, line = (ROOT / ".ci" / "steps" / "slow").read_text().splitlines()
    python, *options = shlex.split(line)
    assert python == ".venv/bin/python"
    assert options[:2] == ["-m", "pytest"]
    assert not [option for option in options if Path(option).exists()]  # no folder is singled out
    tests, _ = collected(tmp_path, *(option for option in options[2:] if option != "-q"))
    assert tests == {f"test_slow[{i}]" for i in range(21)}
