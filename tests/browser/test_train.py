"""Train in a real browser: start a training, watch it finish, open it in Explore."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clustcore.runs import jobs
from tests.support.browser import PATIENCE, Screen, needed, playwright, served

pytestmark = needed


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with an empty folder for runs."""
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "own"))
    with served(tmp_path / "cache") as address:
        yield address
    for job in jobs.jobs():  # where a test ends early
        jobs.stop(job.folder)


@pytest.mark.slow
def test_a_model_is_trained_watched_and_explored(server: str, chromium: Any) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 1600})
    one = Screen(page, server)
    page.goto(f"{server}/Train")
    page.get_by_role("button", name="Start training").wait_for()
    model = page.get_by_role("combobox", name=re.compile("Model"))
    model.click()
    page.get_by_role("option", name="DEC").click()
    one.quiet()
    for field, value in (("Autoencode", "2"), ("Cluster", "2")):
        entry = page.get_by_role("spinbutton", name=field, exact=True)
        entry.fill(value)
        entry.press("Enter")
        one.quiet()
    page.get_by_text("--model.autoencode 2").wait_for()
    page.get_by_role("button", name="Start training").click()
    page.get_by_text(re.compile("Epoch [1-4] of 4|its map is being made")).first.wait_for()
    page.goto(f"{server}/Train")  # a closed tab loses nothing
    page.get_by_role("link", name="Explore it").wait_for(timeout=6 * PATIENCE)
    page.get_by_role("link", name="Explore it").click()
    one.ready("explore")
    shown = page.get_by_role("combobox", name=re.compile("Model"))
    playwright.expect(shown).to_have_value("my-dec-digits")
    assert not one.troubles
    page.close()
