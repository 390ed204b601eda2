"""Which of the slow tests run: by default a seeded tenth, in `.ci/steps/slow` all of them.

A plugin of pytest's, named in `tests/conftest.py`. What is not chosen is deselected, not skipped.
"""

from __future__ import annotations

import hashlib
import math

import pytest

SEED = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--slow` and `--slow-seed`."""
    parser.addoption(
        "--slow",
        choices=("none", "tenth", "all"),
        default="tenth",
        help="how many of the tests marked slow run (default: a tenth)",
    )
    parser.addoption(
        "--slow-seed", type=int, default=SEED, help=f"which tenth runs (default: {SEED})"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say what repeats the choice; a line of pytest's header would be silenced by `-q`."""
    share, seed = (session.config.getoption(name) for name in ("--slow", "--slow-seed"))
    if reporter := session.config.pluginmanager.get_plugin("terminalreporter"):
        reporter.write_line(f"slow tests: {share}, --slow-seed {seed}")


def chosen(names: list[str], share: str, seed: int) -> set[str]:
    """All of the slow tests, none, or a tenth of them, rounded up; their order changes nothing.

    They are ranked by a hash of seed and name, so that a new slow test changes one of the chosen
    at most.
    """

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed} {name}".encode()).digest()

    count = {"none": 0, "tenth": math.ceil(len(names) / 10), "all": len(names)}[share]
    return set(sorted(names, key=rank)[:count])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests that are not chosen."""
    slow = {item.nodeid for item in items if item.get_closest_marker("slow")}
    left_out = slow - chosen(
        list(slow), config.getoption("--slow"), config.getoption("--slow-seed")
    )
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
    items[:] = [item for item in items if item.nodeid not in left_out]
