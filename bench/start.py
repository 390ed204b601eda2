"""How long from starting the process to the first map, beside an empty Streamlit page; memory.

Each round starts a fresh server for each and opens it at once: imports, first hit and drawing all
count. The budget is 2 s beyond the empty page's own start in the same run. The map needs no model;
the resident memory of the server is read before and after one is loaded.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import end, print_table
from bench.map import MAP, chromium
from clustcore import runs
from tests.support import ROOT

ROUNDS = 3
BUDGET = 2.0  # seconds beyond the empty page
_EMPTY = "import streamlit as st\nst.title('An empty page')\n"


@contextlib.contextmanager
def started(script: Path, cache: Path) -> Iterator[tuple[str, int, float]]:
    """A server started now: its address, its process, and when it was started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless=true"]
    command += [f"--server.port={port}", "--server.address=127.0.0.1"]
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"DRIFTMAP_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            while time.perf_counter() - began < 120:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                    break
                time.sleep(0.02)
            yield address, process.pid, began
        finally:
            end(process)


def resident(process: int) -> float:
    """The resident memory of a process, in MiB."""
    found = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(found.stdout) / 1024


def first(browser: Any, script: Path, path: str, element: str, cache: Path) -> float:
    """Seconds from starting a server to this element on its first page."""
    with started(script, cache) as (address, _, began):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{address}/{path}")
        page.locator(element).first.wait_for(timeout=120_000)
        spent = time.perf_counter() - began
        page.close()
    return spent


def memory(browser: Any, run: str, row: int, cache: Path) -> dict[str, float]:
    """Resident memory with the map drawn, and after a model has answered for a pin."""
    with started(ROOT / "app.py", cache) as (address, process, _):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{address}/Attack?run={run}")
        page.locator(f"{MAP}[data-ready='1']").wait_for(timeout=120_000)
        before = resident(process)
        began = time.perf_counter()
        page.get_by_role("textbox", name="Sample").fill(str(row))
        page.keyboard.press("Enter")
        page.get_by_text("change", exact=True).wait_for(timeout=180_000)
        page.locator(f"{MAP}[data-detail='{row}']").wait_for(timeout=180_000)
        spent = time.perf_counter() - began
        page.wait_for_timeout(500)
        after = resident(process)
        page.close()
    return {"map_mib": before, "model_mib": after, "first_pin_seconds": spent}


def run() -> dict[str, Any]:
    """Start an empty page and the app in turn, and print what the map costs beyond it."""
    name = next(run.name for run in runs.list_runs() if run.readiness == "ready")
    spent: dict[str, list[float]] = {"empty page": [], "Home": [], "Explore": [], "Attack": []}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        empty, cache = Path(folder) / "empty.py", Path(folder) / "cache"
        empty.write_text(_EMPTY, encoding="utf-8")
        targets = {
            "empty page": (empty, "", "h1"),
            "Home": (ROOT / "app.py", "", "h1"),
            "Explore": (ROOT / "app.py", f"Explore?run={name}", f"{MAP}[data-ready='1']"),
            "Attack": (ROOT / "app.py", f"Attack?run={name}", f"{MAP}[data-ready='1']"),
        }
        for _ in range(ROUNDS):
            for page, (script, path, element) in targets.items():
                spent[page].append(first(browser, script, path, element, cache))
        held = memory(browser, name, 7, cache)
    median = {page: statistics.median(values) for page, values in spent.items()}
    base = median["empty page"]
    print_table(
        f"Process start to first picture, median of {ROUNDS} (budget: {BUDGET:g} s beyond empty)",
        ("page", "seconds", "beyond empty", "ratio"),
        [(p, f"{s:.2f}", f"{s - base:.2f}", f"{s / base:.2f}") for p, s in median.items()],
    )
    print_table(
        "Resident memory of the server",
        ("state", "MiB"),
        [
            ("map drawn, no model", f"{held['map_mib']:.0f}"),
            ("a model loaded, one pin answered", f"{held['model_mib']:.0f}"),
        ],
    )
    return {"run": name, "rounds": ROUNDS, "seconds": spent, "median_seconds": median, **held}
