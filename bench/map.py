"""The map in a real browser: frames while the dial is dragged, messages, bytes; Plotly beside it.

The dial is dragged for 3 s by a script. Each frame then waits for the GL (`gl.finish()` and a
read), so that a frame counts when it is drawn, not when it is queued. This is software WebGL. The
points are those of a shipped run; beyond them, views of its images, where its model and its
projector put them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import end, print_table
from bench.scale import RUN, views_map
from clustcore.files import save_npz

# points: budget for the p95 interval between frames, ms
SIZES: dict[int, float | None] = {10_000: 50.0, 70_000: 100.0, 200_000: None}
PAYLOAD = {10_000: 1_000_000, 70_000: 1_000_000, 200_000: 1_500_000}  # bytes, sprites aside
CHARTS = 70_000  # points that `st.plotly_chart` is tried with
MAP = "[data-testid=cluster-map]"
BROWSER = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def server(script: Path, **more: str) -> Iterator[str]:
    """A Streamlit server for one script, its address while the block runs.

    Args:
        more: further variables of its environment.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless=true"]
    command += [f"--server.port={port}", "--server.address=127.0.0.1"]
    command += ["--server.fileWatcherType=none", "--browser.gatherUsageStats=false"]
    here = script.resolve().parent.parent
    env = os.environ | {"PYTHONPATH": str(here)} | more
    process = subprocess.Popen(
        command, cwd=here, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                break
            time.sleep(0.25)
        yield address
    finally:
        end(process)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser with software WebGL; Debian's Chromium where there is one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=found, args=BROWSER)
        try:
            yield browser
        finally:
            browser.close()


class Wire:
    """Counts WebSocket messages and bytes of a page."""

    def __init__(self, page: Any) -> None:
        self.sent = self.received = self.bytes = 0
        page.on("websocket", self._attach)

    def _attach(self, socket: Any) -> None:
        socket.on("framesent", lambda _: self._count("sent", b""))
        socket.on("framereceived", lambda payload: self._count("received", payload))

    def _count(self, way: str, payload: str | bytes) -> None:
        setattr(self, way, getattr(self, way) + 1)
        self.bytes += len(payload)

    def since(self, before: tuple[int, int, int]) -> dict[str, int]:
        """What came since `now()` was asked."""
        sent, received, size = before
        return {
            "sent": self.sent - sent,
            "received": self.received - received,
            "bytes_down": self.bytes - size,
        }

    def now(self) -> tuple[int, int, int]:
        """The counts so far."""
        return self.sent, self.received, self.bytes


def data(page: Any) -> dict[str, str]:
    """The map's read-only state."""
    return page.eval_on_selector(MAP, "element => ({...element.dataset})")


def processor(browser: Any) -> dict[str, float]:
    """Seconds of processor time of the browser's processes by kind: independent of other load."""
    session = browser.new_browser_cdp_session()
    spent: dict[str, float] = {}
    for process in session.send("SystemInfo.getProcessInfo")["processInfo"]:
        spent[process["type"]] = spent.get(process["type"], 0.0) + process["cpuTime"]
    session.detach()
    return spent


def drag(page: Any, seconds: float) -> int:
    """Drag the dial to and fro and keep the button down; how often it was moved."""
    dial = page.locator("[data-testid=map-dial]")
    dial.scroll_into_view_if_needed()
    box = dial.bounding_box()
    y, left, width = box["y"] + box["height"] / 2, box["x"] + 8, box["width"] - 16
    page.mouse.move(left + 0.02 * width, y)
    page.mouse.down()
    begin, moves = time.perf_counter(), 0
    while (gone := time.perf_counter() - begin) < seconds:
        page.mouse.move(left + width * (0.5 - 0.48 * math.cos(gone / seconds * 3 * math.pi)), y)
        page.wait_for_timeout(8)
        moves += 1
    return moves


def measure_map(browser: Any, address: str, n: int, view: str = "map") -> dict[str, Any]:
    """One page with n points, or two maps of n: load, zoom, select, drag, release."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    wire = Wire(page)
    begin = time.perf_counter()
    page.goto(f"{address}/?n={n}&view={view}")
    page.wait_for_selector(f"{MAP}[data-ready='1']", timeout=60_000)
    load = time.perf_counter() - begin
    first_bytes = wire.bytes
    page.wait_for_timeout(1500)
    stage = page.locator("[data-testid=map-stage]").bounding_box()
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.locator("[data-testid=map-tool-box]").click()
    page.mouse.move(x - 90, y - 90)
    page.mouse.down()
    page.mouse.move(x + 90, y + 90, steps=4)
    page.mouse.up()
    page.mouse.move(x, stage["y"] + stage["height"] + 30)
    page.wait_for_timeout(2500)
    before = data(page)
    page.eval_on_selector(MAP, "element => { element.dataset.measure = '1'; }")
    marker, spent = wire.now(), processor(browser)
    moves = drag(page, 3.0)
    dragging = wire.since(marker)
    spent = {kind: value - spent.get(kind, 0) for kind, value in processor(browser).items()}
    marker = wire.now()
    page.mouse.up()
    page.wait_for_function(
        "([map, sent]) => document.querySelector('[data-testid=stBidiComponentIsolated]')"
        ".shadowRoot.querySelector(map).dataset.sent !== sent",
        arg=[MAP, before["sent"]],
        timeout=60_000,
    )
    page.wait_for_timeout(2500)
    release, after = wire.since(marker), data(page)
    intervals = np.array([float(v) for v in after["intervals"].split()])
    page.close()
    return {
        "points": n,
        "paths": int(after["paths"]),
        "renderer": after["renderer"],
        "load_s": round(load, 2),
        "first_load_bytes": first_bytes,
        "frames": len(intervals),
        "moves": moves,
        "interval_ms": {
            "median": round(float(np.median(intervals)), 1),
            "p95": round(float(np.percentile(intervals, 95)), 1),
            "max": round(float(intervals.max()), 1),
            "budget_p95": SIZES[n],
        },
        "processor_ms_per_frame": {
            kind: round(value * 1000 / max(1, len(intervals)), 1) for kind, value in spent.items()
        },
        "messages_while_dragging": dragging["sent"],
        "on_release": release,
        "zoom_kept": before["zoom"] == after["zoom"] and float(after["zoom"]) > 1,
        "selection_kept": before["selected"] == after["selected"] and int(after["selected"]) > 0,
        "script_runs": {"before": int(before["runs"]), "after": int(after["runs"])},
    }


def measure_plotly(browser: Any, address: str, n: int) -> dict[str, Any]:
    """The same points in `st.plotly_chart`: a key press on the slider until the chart is there."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    wire = Wire(page)
    page.goto(f"{address}/?n={n}&view=plotly")
    page.get_by_text("at 0.0000").wait_for(timeout=120_000)
    page.wait_for_timeout(3000)
    page.get_by_role("slider").focus()
    walls, works, sizes = [], [], []
    for _ in range(5):
        title = page.locator(".gtitle").text_content()
        marker, work, begin = wire.now(), processor(browser), time.perf_counter()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "old => { const t = document.querySelector('.gtitle');"
            " return t && t.textContent !== old; }",
            arg=title,
            timeout=60_000,
        )
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
        walls.append(time.perf_counter() - begin)
        page.wait_for_timeout(1200)
        works.append(sum(processor(browser).values()) - sum(work.values()))
        sizes.append(wire.since(marker)["bytes_down"])
    page.close()
    return {
        "updates": len(walls),
        "wall_ms": round(float(np.median(walls)) * 1000, 1),
        "processor_ms": round(float(np.median(works)) * 1000, 1),
        "bytes_down": int(np.median(sizes)),
    }


def payload(n: int) -> dict[str, int]:
    """Bytes of the whole message for a view of n points with regions and 2,000 paths.

    All colours travel with it, or the one in use where no more do.
    """
    from clustcore.types import AttackPath, PathKey, Raster
    from ui.cluster_map import MapView, packing
    from ui.cluster_map.script import joined

    rng, m, g = np.random.default_rng(0), 2000, 200
    xy = rng.normal(0, 1, (n, 2)).astype(np.float32)
    strengths = np.linspace(0, 0.4, 11, dtype=np.float32)
    path = AttackPath(
        strengths=strengths,
        rows=np.arange(m),
        xy=np.broadcast_to(xy[:m], (11, m, 2)),
        p=np.zeros((11, m, 10), np.float32),
        labels=np.zeros((11, m), np.uint8),
        smallest=rng.uniform(0, 0.5, m).astype(np.float32),
        l2=np.zeros((11, m), np.float32),
        linf=np.zeros((11, m), np.float32),
        key=PathKey("pgd", "pixels", "linf"),
    )
    cells = np.zeros((g, g), np.uint8)
    probabilities = np.zeros((g, g, 10), np.float32)
    margin, trusted = np.zeros((g, g), np.float32), np.ones((g, g), bool)
    raster = Raster((-3.0, -3.0, 3.0, 3.0), cells, probabilities, margin, trusted)
    clusters = rng.integers(0, 10, n)
    view = MapView(
        key=f"payload-{n}",
        mode="attack",
        xy=xy,
        clusters=clusters.astype(np.uint8),
        k=10,
        ramps={"confidence": rng.uniform(0, 1, n).astype(np.float32)},
        labels=clusters,
        raster=raster,
        path=path,
        noise=path,
    )
    base = packing.base(view)
    colour = {f"colour.{name}": values for name, values in [*base.colours.items()][:1]}
    size = len(packing.message(base, {}, colour, {}, whole=True))
    return {"points": n, "payload_bytes": size, "script_bytes": len(joined())}


def run() -> dict[str, Any]:
    """Measure, print, return.

    Raises:
        RuntimeError: playwright is not installed.
    """
    if importlib.util.find_spec("playwright") is None:
        raise RuntimeError("playwright is missing: pip install -r requirements-dev.txt")
    maps, charts = [], []
    first = min(SIZES)
    page = Path(__file__).with_name("map_page.py")
    with tempfile.TemporaryDirectory() as place:
        points = Path(place) / "points.npz"
        save_npz(points, views_map(max(SIZES)))
        with server(page, BENCH_POINTS=str(points)) as address, chromium() as browser:
            for n in SIZES:
                maps.append(measure_map(browser, address, n))
                charts.append(measure_plotly(browser, address, n) if n <= CHARTS else None)
            twins = measure_map(browser, address, first, "compare")
            version = browser.version
    sizes = [payload(n) for n in SIZES]
    rows = []
    for one, chart, size in zip(maps, charts, sizes, strict=True):
        interval = one["interval_ms"]
        budget = PAYLOAD[one["points"]]
        one["payload"] = size | {"budget": budget}
        rows += [
            (
                f"{one['points']:,} points, {one['paths']:,} paths: p95 between frames, ms",
                interval["p95"],
                interval["budget_p95"] or "",
            ),
            ("  median between frames, ms", interval["median"], ""),
            ("  messages while dragging", one["messages_while_dragging"], 0),
            ("  messages on release", one["on_release"]["sent"], 1),
            ("  bytes down after release", one["on_release"]["bytes_down"], ""),
            ("  zoom and selection kept", one["zoom_kept"] and one["selection_kept"], True),
            ("  payload with colours and regions, bytes", size["payload_bytes"], budget),
        ]
        if chart is None:
            continue
        one["plotly"] = chart
        one["plotly_wall_over_map_frame"] = round(chart["wall_ms"] / interval["median"], 1)
        rows += [
            ("  st.plotly_chart, one update, ms", chart["wall_ms"], ""),
            ("  st.plotly_chart, bytes down an update", chart["bytes_down"], ""),
            ("  plotly update / map frame", one["plotly_wall_over_map_frame"], ""),
        ]
    interval = twins["interval_ms"]
    rows += [
        (
            f"compare, 2 x {first:,} points, 2 x {twins['paths']:,} paths: p95 between frames, ms",
            interval["p95"],
            interval["budget_p95"],
        ),
        ("  median between frames, ms", interval["median"], ""),
        ("  messages while dragging", twins["messages_while_dragging"], 0),
        ("  messages on release", twins["on_release"]["sent"], 1),
        ("  zoom and selection kept", twins["zoom_kept"] and twins["selection_kept"], True),
        ("  bytes of the first load", twins["first_load_bytes"], ""),
    ]
    print_table(
        f"Map of {RUN} in Chromium {version}, {maps[0]['renderer']}",
        ("", "measured", "budget"),
        rows,
    )
    return {"run": RUN, "chromium": version, "maps": maps, "compare": twins}
