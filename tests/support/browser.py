"""The app in a real browser: a server of its own, a Chromium, and a screen that is read and used.

Needs Playwright and a Chromium (Debian's `chromium`). Keeps screenshots in `tests/screenshots`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench import end
from clustcore import runs
from tests.support import ROOT

SHOTS = ROOT / "tests" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
RUN = next(
    (
        name
        for name in ("drc-mnist", "dec-mnist")
        if (runs.folders()[0] / name / "map.npz").is_file()
    ),
    "",
)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
# a deep link asks for two files below the page's address, and a badge for a host, in vain
HARMLESS = re.compile(r"404 \(Not Found\)|ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED")
MAP = "[data-testid=cluster-map]"
NO_WEBGL = (
    "const get = HTMLCanvasElement.prototype.getContext;"
    "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
    "  return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest); };"
)
PATIENCE = 300_000  # ms: what is waited for comes within seconds, but for a busy machine

needed = [pytest.mark.browser]  # the marks of every test that uses this
if CHROMIUM is None:
    needed.append(pytest.mark.skip(reason="no Chromium here: apt install chromium"))
elif not RUN:
    needed.append(pytest.mark.skip(reason="no run on MNIST in assets/runs"))
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
playwright.expect.set_options(timeout=PATIENCE)


@contextmanager
def served(cache: Path) -> Iterator[str]:
    """A freshly started server that keeps what it computes in `cache`; its address."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DRIFTMAP_CACHE": str(cache)}
    with serving(command, port, cwd=ROOT, env=environment) as address:
        yield address


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(command: list[str], port: int, **options: Any) -> Iterator[str]:
    """A server that this command starts on a port, once it answers; its address."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(2400):
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.25)
            yield address
        finally:
            end(server)


class Screen:
    """A page with what it said to the server and to its console."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        page.set_default_timeout(PATIENCE)
        self.sent = 0
        self.troubles: list[str] = []
        page.on("websocket", self._listen)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", self._note)

    def _listen(self, websocket: Any) -> None:
        def count(_: Any) -> None:
            self.sent += 1

        websocket.on("framesent", count)

    def _note(self, message: Any) -> None:
        if message.type == "error" and not HARMLESS.search(message.text):
            self.troubles.append(message.text)

    def open(self, path: str) -> Screen:
        """Go to a page of the app and wait for its map, where it has one."""
        self.page.goto(f"{self.address}/{path}")
        if path.startswith(("Explore", "Attack", "Compare")):
            self.ready()
        else:
            self.page.get_by_role("heading", name="Models").wait_for()
        return self

    def ready(self, mode: str = "") -> None:
        """Wait until the map is drawn, on the page of this mode."""
        which = f"[data-mode={mode}]" if mode else ""
        self.page.locator(f"{MAP}{which}[data-ready='1']").wait_for()

    def quiet(self) -> None:
        """Wait until the app has finished its run."""
        self.page.wait_for_timeout(300)
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        self.page.wait_for_timeout(200)

    def data(self, name: str) -> str:
        """A `data-` attribute of the map."""
        return self.page.locator(MAP).get_attribute(f"data-{name}") or ""

    def wait_data(self, name: str, value: str) -> None:
        """Wait until the map says so."""
        self.page.locator(f"{MAP}[data-{name}='{value}']").wait_for()

    def part(self, testid: str) -> Any:
        """A part of the map."""
        return self.page.get_by_test_id(testid)

    def entry(self, label: str) -> Any:
        """A field of the sidebar."""
        return self.page.get_by_role("textbox", name=label).or_(
            self.page.get_by_role("spinbutton", name=label)
        )

    def entry_is(self, label: str, value: float) -> None:
        """Wait until a field of the sidebar and the address say this."""
        field = self.entry(label)
        playwright.expect(field).to_have_value(f"{value:g}")
        self.url_has(f"{'pin' if label == 'Sample' else label.lower()}={value:g}")

    def url_has(self, text: str) -> None:
        """Wait until the address holds this."""
        self.page.wait_for_url(re.compile(re.escape(text)))

    def shot(self, name: str) -> None:
        """Keep a picture of the whole page."""
        SHOTS.mkdir(exist_ok=True)
        main = self.page.locator("[data-testid=stMain]")
        height = main.evaluate("element => element.scrollHeight")
        size = self.page.viewport_size
        self.page.set_viewport_size({"width": size["width"], "height": max(height, 700)})
        self.page.wait_for_timeout(700)
        self.page.screenshot(path=SHOTS / f"{name}.png")
        self.page.set_viewport_size(size)


def drag_dial(one: Screen, share: float) -> int:
    """Drag the dial's thumb to a share of its track; how many messages went out before release."""
    box = one.part("map-dial").bounding_box()
    value = float(one.part("map-dial").input_value())
    end = float(one.part("map-dial").get_attribute("max"))
    y, half = box["y"] + box["height"] / 2, 8  # half the thumb

    def along(part: float) -> float:
        return box["x"] + half + part * (box["width"] - 2 * half)

    one.page.mouse.move(along(value / end), y)
    one.page.mouse.down()
    before = one.sent
    for step in range(1, 21):
        part = value / end + (share - value / end) * step / 20
        one.page.mouse.move(along(part), y)
        one.page.wait_for_timeout(30)
    one.page.wait_for_timeout(300)
    during = one.sent - before
    one.page.mouse.up()
    return during
