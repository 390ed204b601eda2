"""What only a real browser can show: the dial, the map, links, keyboard, both themes, a phone.

Needs Playwright and a Chromium (Debian's `chromium`). Keeps screenshots in `tests/screenshots`.
`DRIFTMAP_SCREENSHOT=1` also writes the README's picture, `assets/screenshot.png`.
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

from clustcore import runs
from clustcore.types import dial
from ui import tables

ROOT = Path(__file__).resolve().parent.parent
SHOTS = ROOT / "tests" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
RUN = next(
    (name for name in ("drc-mnist", "dec-mnist") if (runs.SHIPPED / name / "map.npz").is_file()), ""
)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
# a deep link asks for two files below the page's address, and a badge for a host, in vain
HARMLESS = re.compile(r"404 \(Not Found\)|ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED")

pytestmark = pytest.mark.browser
if CHROMIUM is None:
    pytestmark = [pytestmark, pytest.mark.skip(reason="no Chromium here: apt install chromium")]
elif not RUN:
    pytestmark = [pytestmark, pytest.mark.skip(reason="no run on MNIST in assets/runs")]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@contextmanager
def served(cache: Path) -> Iterator[str]:
    """A freshly started server that keeps what it computes in `cache`; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DRIFTMAP_CACHE": str(cache)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.25)
            yield address
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the tests that do not need a fresh one."""
    with served(tmp_path_factory.mktemp("cache")) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A Chromium with software WebGL."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Screen:
    """A page with what it said to the server and to its console."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
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
            self.page.get_by_role("heading", name="Models").wait_for(timeout=60_000)
        return self

    def ready(self, mode: str = "") -> None:
        """Wait until the map is drawn, on the page of this mode."""
        which = f"[data-mode={mode}]" if mode else ""
        self.page.locator(f"{MAP}{which}[data-ready='1']").wait_for(timeout=60_000)

    def quiet(self) -> None:
        """Wait until the app has finished its run."""
        self.page.wait_for_timeout(300)
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(
            timeout=60_000
        )
        self.page.wait_for_timeout(200)

    def data(self, name: str) -> str:
        """A `data-` attribute of the map."""
        return self.page.locator(MAP).get_attribute(f"data-{name}") or ""

    def wait_data(self, name: str, value: str) -> None:
        """Wait until the map says so."""
        self.page.locator(f"{MAP}[data-{name}='{value}']").wait_for(timeout=180_000)

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
        playwright.expect(field).to_have_value(f"{value:g}", timeout=30_000)
        self.url_has(f"{'pin' if label == 'Sample' else label.lower()}={value:g}")

    def url_has(self, text: str) -> None:
        """Wait until the address holds this."""
        self.page.wait_for_url(re.compile(re.escape(text)), timeout=20_000)

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


MAP = "[data-testid=cluster-map]"


@pytest.fixture
def screen(chromium: Any, server: str) -> Iterator[Any]:
    """Makes screens: `screen(width=..., dark=...)`; afterwards none may have had trouble."""
    made: list[tuple[Screen, Any]] = []

    def make(width: int = 1440, dark: bool = False, address: str = server, **more: Any) -> Screen:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            **more,
        )
        made.append((Screen(context.new_page(), address), context))
        return made[-1][0]

    yield make
    troubles = [trouble for one, _ in made for trouble in one.troubles]
    for _, context in made:
        context.close()
    assert troubles == []


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


def test_the_dial_is_silent_while_dragged_and_says_one_thing_on_release(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}")
    one.quiet()
    frames, before = int(one.data("frames")), one.sent
    assert drag_dial(one, 0.5) == 0
    assert int(one.data("frames")) > frames + 5
    strength = float(one.data("strength"))
    end = dial("mnist", "pixels", "linf").end
    assert strength == pytest.approx(end / 2, abs=end / 50)
    one.entry_is("Strength", strength)
    one.quiet()
    assert one.sent - before == 1
    path = runs.stored_path(runs.find_run(RUN).folder, "pgd", "pixels", "linf")
    moved = len(tables.moved_rows(path, strength, end))
    assert int(one.data("moved")) == moved
    spoken = f"At strength {strength:.3f}, {moved:,} of 2,000 samples"
    assert one.part("map-live").inner_text().startswith(spoken)
    assert int(one.data("runs")) <= 2  # the same mount, and what did not change was not sent


def test_a_typed_strength_moves_the_dial_and_the_dial_follows_on(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}")
    drag_dial(one, 0.5)
    first = float(one.data("strength"))
    one.entry_is("Strength", first)
    one.quiet()
    entry = one.entry("Strength")
    entry.fill("0.1")
    entry.press("Enter")
    one.wait_data("strength", "0.1000")
    one.entry_is("Strength", 0.1)
    one.quiet()
    drag_dial(one, 0.5)  # where it was before: still news to the server
    assert float(one.data("strength")) == first
    one.entry_is("Strength", first)


def test_a_pin_brings_its_images_and_is_kept_from_page_to_page(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}&strength=0.1")
    one.part("map-suggest").click()
    one.page.locator(f"{MAP}:not([data-pin=''])").wait_for()
    row = one.data("pin")
    one.entry_is("Sample", int(row))
    one.page.locator(f"{MAP}[data-detail='{row}']").wait_for(timeout=120_000)
    one.quiet()
    assert one.part("map-triptych").locator("canvas").count() == 3
    assert f"Sample {row}" in one.part("map-inspector").inner_text()
    one.shot("attack-pinned")

    one.page.get_by_role("link", name="Explore", exact=True).click()
    one.ready("explore")
    one.wait_data("pin", row)
    one.page.get_by_role("link", name="Home", exact=True).click()
    one.page.get_by_role("heading", name="Models").wait_for()
    one.page.get_by_role("link", name="Attack", exact=True).click()
    one.ready("attack")
    one.wait_data("strength", "0.1000")
    one.wait_data("pin", row)
    assert float(one.entry("Strength").input_value()) == 0.1


@pytest.mark.skipif(
    not (runs.SHIPPED / "dec-mnist" / "map.npz").is_file(), reason="dec-mnist is not here"
)
@pytest.mark.parametrize("space", ["Embedding", "Pixels"])
def test_the_decoded_pictures_follow_the_dial(screen: Any, space: str) -> None:
    one = screen().open(f"Attack?run=dec-mnist&space={space}&pin=1652")
    one.wait_data("detail", "1652")
    one.quiet()
    view = one.part("map-decoder")
    assert view.locator("figcaption b").all_inner_texts() == [
        *("original", "decoded", "attacked", "difference")
    ]
    assert one.part("map-triptych").is_visible() == (space == "Pixels")
    said = one.part("map-decoder-note")
    assert said.inner_text() == "Same picture, same cluster."

    def pictures() -> list[str]:
        script = "all => all.map(canvas => canvas.toDataURL())"
        return view.locator("canvas").evaluate_all(script)

    still = pictures()
    assert still[1] == still[2] != still[0]  # nothing attacked yet
    before = one.sent
    assert drag_dial(one, 0.7) == 0
    moved = pictures()
    assert moved[:2] == still[:2]
    assert moved[2] != still[2]
    assert moved[3] != still[3]
    assert re.search(r"different cluster: 8 → \d\.$", said.inner_text())
    one.quiet()
    assert one.sent - before == 1
    one.shot(f"attack-decoder-{space.lower()}")


@pytest.mark.skipif(
    not (runs.SHIPPED / "dec-mnist" / "map.npz").is_file(), reason="dec-mnist is not here"
)
def test_a_long_inspector_leaves_no_hole_below_the_dial(screen: Any) -> None:
    one = screen(width=1280).open("Attack?run=dec-mnist&pin=17&strength=0.12")
    one.wait_data("detail", "17")
    one.quiet()
    below = one.page.locator(f"{MAP} .grid > .left > section[data-testid=map-smallest]")
    within = one.part("map-inspector").get_by_test_id("map-smallest")

    def ends() -> list[float]:
        boxes = [
            one.page.locator(f"{MAP} .grid > {part}").bounding_box() for part in (".left", "aside")
        ]
        return [box["y"] + box["height"] for box in boxes]

    playwright.expect(below).to_be_visible()
    left, right = ends()
    assert abs(right - left) < one.part("map-smallest").bounding_box()["height"]
    for width in (390, 1900):  # one column, and a map as long as the inspector
        one.page.set_viewport_size({"width": width, "height": 900})
        playwright.expect(within).to_be_visible()
    one.page.set_viewport_size({"width": 1280, "height": 900})
    playwright.expect(below).to_be_visible()
    assert ends() == pytest.approx([left, right], abs=1)


def test_a_share_link_restores_the_view_on_a_fresh_server(screen: Any, tmp_path: Path) -> None:
    one = screen().open(f"Attack?run={RUN}&norm=L2&strength=1.2&colour=Confidence")
    one.entry("Sample").fill("7")
    one.entry("Sample").press("Enter")
    one.wait_data("pin", "7")
    one.quiet()
    one.page.get_by_role("button", name="Copy link").click()
    link = one.page.get_by_test_id("stCode").inner_text().strip()
    path = link.removeprefix(f"{one.address}/")
    assert path == (f"Attack?dataset=MNIST&run={RUN}&norm=L2&strength=1.2&colour=Confidence&pin=7")
    with served(tmp_path) as address:
        other = screen(address=address).open(path)
        other.wait_data("pin", "7")
        other.wait_data("strength", "1.2000")
        assert other.data("colour") == "confidence"
        assert float(other.entry("Strength").input_value()) == 1.2
        assert "strength, L2" in other.part("map-readout").inner_text()
        path = runs.stored_path(runs.find_run(RUN).folder, "pgd", "pixels", "l2")
        assert int(other.data("moved")) == len(tables.moved_rows(path, 1.2, 3.0))
        other.quiet()


def test_a_lasso_fills_the_gallery_which_pins_on_the_map(screen: Any) -> None:
    one = screen().open(f"Explore?run={RUN}")
    one.part("map-tool-lasso").click()
    box = one.part("map-stage").bounding_box()
    corners = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9), (0.1, 0.12)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    one.page.mouse.move(*places[0])
    one.page.mouse.down()
    for x, y in places[1:]:
        one.page.mouse.move(x, y, steps=8)
    one.page.mouse.up()
    one.page.get_by_text("by lasso").wait_for(timeout=20_000)
    one.quiet()
    selected = int(one.data("selected"))
    assert selected > 1000
    head = one.page.get_by_text("by lasso").inner_text()
    assert head.startswith(f"{selected:,} of 10,000 samples")
    thumbs = one.page.get_by_role("group", name="selected samples").get_by_role("button")
    assert thumbs.count() == 48
    row = re.match(r"Sample (\d+),", thumbs.nth(5).get_attribute("aria-label"))[1]
    thumbs.nth(5).click()
    one.wait_data("pin", row)
    one.quiet()
    assert thumbs.nth(5).get_attribute("aria-pressed") == "true"
    with one.page.expect_download() as download:
        one.page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == selected + 1
    assert lines[0].startswith("sample,cluster,label,confidence,margin")
    one.shot("explore-selection")
    one.page.get_by_role("button", name="Clear").click()
    one.page.get_by_text("Nothing selected.").wait_for()
    one.wait_data("selected", "0")


def test_empty_space_answers_with_its_clusters(screen: Any) -> None:
    one = screen().open(f"Explore?run={RUN}&regions=true")
    box = one.part("map-stage").bounding_box()
    one.page.mouse.click(box["x"] + box["width"] / 2 - 200, box["y"] + box["height"] - 8)
    one.page.locator(f"{MAP}:not([data-probe=''])").wait_for(timeout=20_000)
    one.quiet()
    assert one.part("map-probe").is_visible()
    one.shot("explore-regions")


def test_keyboard_alone_moves_the_dial_and_pins(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}")
    end, at = dial("mnist", "pixels", "linf").end, 0
    for key, steps in (("PageUp", 5), ("ArrowRight", 1), ("ArrowRight", 1), ("ArrowLeft", -1)):
        one.part("map-dial").focus()
        one.page.keyboard.press(key)
        at += steps
        one.entry_is("Strength", at * end / 200)
        one.quiet()
    assert one.part("map-dial").get_attribute("aria-valuetext")
    one.part("map-stage").focus()
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("Enter")
    one.page.locator(f"{MAP}:not([data-pin=''])").wait_for(timeout=20_000)
    one.quiet()
    one.entry_is("Sample", int(one.data("pin")))
    one.part("map-stage").focus()
    for _ in range(2):  # the first leaves the point that the keyboard is at
        one.page.keyboard.press("Escape")
    one.wait_data("pin", "")
    playwright.expect(one.entry("Sample")).to_have_value("", timeout=30_000)
    one.part("map-stage").focus()
    one.page.keyboard.press("+")
    one.page.locator(f"{MAP}:not([data-zoom='1.000'])").wait_for(timeout=20_000)
    one.page.keyboard.press("0")
    one.wait_data("zoom", "1.000")


def test_hasty_gestures_end_with_dial_entry_and_address_agreeing(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}")
    for _ in range(8):
        one.part("map-dial").focus()
        one.page.keyboard.press("ArrowRight")
        one.page.wait_for_timeout(240)  # just too long for the key to count as held
    one.part("map-suggest").click()
    one.page.locator(f"{MAP}:not([data-pin=''])").wait_for()
    one.wait_data("detail", one.data("pin"))
    strength = 8 * dial("mnist", "pixels", "linf").end / 200
    assert float(one.data("strength")) == pytest.approx(strength)
    one.entry_is("Strength", strength)


def test_zoom_survives_a_release_and_a_change_of_colour(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}")
    for _ in range(3):
        one.part("map-zoom-in").click()
    one.page.wait_for_timeout(600)
    zoom = one.data("zoom")
    assert float(zoom) > 1.5
    drag_dial(one, 0.4)
    one.url_has("strength=")
    one.page.get_by_role("combobox", name="Colour").click()
    one.page.get_by_role("option", name="Confidence").click()
    one.wait_data("colour", "confidence")
    one.quiet()
    assert one.data("zoom") == zoom


def test_a_cluster_of_the_table_is_zoomed_to(screen: Any) -> None:
    one = screen().open(f"Explore?run={RUN}")
    table = one.page.get_by_test_id("stDataFrame").last
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    one.page.mouse.click(box["x"] + 18, box["y"] + 36 + 36 * 2 + 12)
    one.page.locator(f"{MAP}:not([data-zoom='1.000'])").wait_for(timeout=20_000)
    one.quiet()
    one.page.locator(f"{MAP}:not([data-zoom='1.000'])").wait_for(timeout=20_000)
    assert float(one.data("zoom")) > 1
    assert one.page.get_by_text("Clusters", exact=True).is_visible()


def test_a_path_is_computed_when_asked_for_and_can_be_cancelled(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}&attack=FGSM&target=3")
    offer = one.page.get_by_test_id("stMarkdown").filter(has_text="Not computed yet:")
    assert "FGSM, into cluster 3, L∞, seed 0. 2,000 samples" in offer.inner_text()
    assert one.data("paths") == "0"
    one.page.get_by_role("button", name="Compute now").click()
    one.page.get_by_role("progressbar").wait_for(timeout=30_000)
    one.page.get_by_role("button", name="Cancel").click()
    one.page.get_by_role("button", name="Cancel").wait_for(state="detached", timeout=60_000)
    one.quiet()
    assert offer.is_visible()
    assert one.data("paths") == "0"
    one.page.get_by_role("button", name="Compute now").click()
    one.wait_data("paths", "2000")
    one.quiet()
    assert not offer.is_visible()
    assert one.page.get_by_text("FGSM on 2,000 of 10,000 test images · computed here").is_visible()
    other = screen().open(f"Attack?run={RUN}&attack=FGSM&target=3")
    assert other.data("paths") == "2000"  # cached on disk, for every visitor
    other.quiet()


PAIR = "Compare?run=drc-mnist&partner=dec-mnist"
both_ship = pytest.mark.skipif(
    not all((runs.SHIPPED / name / "map.npz").is_file() for name in ("drc-mnist", "dec-mnist")),
    reason="drc-mnist and dec-mnist are not both in assets/runs",
)


def joint_at(strength: float) -> str:
    """What the strip must count, from the stored paths: neither, left, right, both."""
    end = dial("mnist", "pixels", "linf").end
    moved = []
    for name in ("drc-mnist", "dec-mnist"):
        path = runs.stored_path(runs.find_run(name).folder, "pgd", "pixels", "linf")
        moved.append(set(path.rows[tables.moved_rows(path, strength, end)].tolist()))
    left, right = moved
    counts = 2000 - len(left | right), len(left - right), len(right - left), len(left & right)
    return ",".join(map(str, counts))


@both_ship
def test_two_models_follow_one_dial_and_their_counts_too(screen: Any) -> None:
    one = screen().open(PAIR)
    one.quiet()
    assert one.data("mode") == "compare"
    assert one.data("joint") == "2000,0,0,0"
    before = one.sent
    assert drag_dial(one, 0.1) == 0
    strength = float(one.data("strength"))
    assert one.data("joint") == joint_at(strength)
    one.entry_is("Strength", strength)
    one.quiet()
    assert one.sent - before == 1
    _, left, right, both = map(int, one.data("joint").split(","))
    assert min(left, right, both) > 0
    assert one.part("map-side-both").inner_text().startswith(f"{both:,}\nboth, ")
    spoken = one.part("map-live").inner_text()
    assert f", {left:,} of 2,000 samples moved only on the left, {both:,} on both sides" in spoken
    said = f"{left:,} of 2,000 samples left their cluster only in drc-mnist, {both:,} in both"
    assert one.page.get_by_text(said).is_visible()
    assert int(one.data("runs")) <= 2  # the same mount, and what did not change was not sent


@both_ship
def test_a_part_of_the_strip_filters_both_maps_until_it_is_pressed_again(screen: Any) -> None:
    one = screen().open(f"{PAIR}&strength=0.04")
    one.quiet()
    button = one.part("map-side-both")
    sent = one.sent
    all_shown = one.part("map-stage").screenshot(), one.part("map-stage-b").screenshot()
    button.click()
    one.wait_data("side", "3")
    assert button.get_attribute("aria-pressed") == "true"
    one.page.wait_for_timeout(300)
    filtered = one.part("map-stage").screenshot(), one.part("map-stage-b").screenshot()
    assert filtered[0] != all_shown[0]
    assert filtered[1] != all_shown[1]
    drag_dial(one, 0.15)  # those in it change with the dial
    one.quiet()
    assert one.data("side") == "3"
    assert one.data("joint") == joint_at(float(one.data("strength")))
    button.focus()
    one.page.keyboard.press("Enter")
    one.wait_data("side", "")
    assert button.get_attribute("aria-pressed") == "false"
    assert one.sent - sent == 1  # the drag's release: a filter is no news to the server


@both_ship
def test_pin_hover_camera_and_lasso_of_one_map_are_those_of_the_other(screen: Any) -> None:
    one = screen().open(f"{PAIR}&strength=0.04")
    one.quiet()
    box = one.part("map-stage-b").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    one.page.mouse.move(*middle)
    one.part("map-stage-b").focus()
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("Enter")
    one.page.locator(f"{MAP}:not([data-pin=''])").wait_for(timeout=20_000)
    one.entry_is("Sample", int(one.data("pin")))
    one.quiet()
    rings = one.page.locator("[data-testid=map-pin] .head-ring")
    assert rings.count() == 2  # one on each map
    assert one.page.get_by_text(f"Sample {one.data('pin')}: cluster").is_visible()
    one.page.mouse.wheel(0, -400)
    one.page.locator(f"{MAP}:not([data-zoom='1.000'])").wait_for(timeout=20_000)
    labels = one.page.locator(".label[data-cluster='0']")
    assert labels.count() == 2
    one.part("map-zoom-fit").click()
    one.wait_data("zoom", "1.000")
    one.part("map-tool-box").click()
    one.page.mouse.move(box["x"] + 20, box["y"] + 60)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 20, steps=5)
    one.page.mouse.up()
    one.page.get_by_text("selected, by box").wait_for(timeout=20_000)
    one.quiet()
    assert int(one.data("selected")) > 2000
    one.page.get_by_role("button", name="Clear").click()
    one.wait_data("selected", "0")


@both_ship
def test_a_link_of_a_comparison_restores_it_on_a_fresh_server(screen: Any, tmp_path: Path) -> None:
    one = screen().open(f"{PAIR}&strength=0.04")
    one.page.get_by_role("button", name="Swap").click()
    one.page.locator("[data-testid=cluster-map] h4", has_text="dec-mnist").first.wait_for()
    one.quiet()
    one.page.get_by_role("button", name="Copy link").click()
    link = one.page.get_by_test_id("stCode").inner_text().strip()
    path = link.removeprefix(f"{one.address}/")
    assert path == "Compare?dataset=MNIST&run=dec-mnist&partner=drc-mnist&strength=0.04"
    joint = one.data("joint")
    with served(tmp_path) as address:
        other = screen(address=address).open(path)
        other.wait_data("strength", "0.0400")
        assert other.data("joint") == joint
        heads = other.page.locator("[data-testid=cluster-map] h4").all_inner_texts()
        assert heads == ["dec-mnist", "drc-mnist"]
        assert float(other.entry("Strength").input_value()) == 0.04
        other.quiet()


@both_ship
def test_two_maps_without_webgl(screen: Any) -> None:
    one = screen(width=1280, reduced_motion="reduce")
    one.page.add_init_script(NO_WEBGL)
    one.open(f"{PAIR}&strength=0.04")
    assert one.data("renderer") == "canvas2d"
    assert drag_dial(one, 0.12) == 0
    one.quiet()
    assert one.data("joint") == joint_at(float(one.data("strength")))
    one.shot("compare-canvas2d")


NO_WEBGL = (
    "const get = HTMLCanvasElement.prototype.getContext;"
    "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
    "  return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest); };"
)


def test_reduced_motion_needs_no_play(screen: Any) -> None:
    one = screen(reduced_motion="reduce").open(f"Attack?run={RUN}&strength=0.1")
    before = int(one.data("frames"))
    one.page.wait_for_timeout(1000)
    assert int(one.data("frames")) - before <= 1  # nothing moves by itself
    assert int(one.data("moved")) > 0


def test_without_webgl_there_is_a_canvas_and_a_word(screen: Any) -> None:
    one = screen(width=1280)
    one.page.add_init_script(NO_WEBGL)
    one.open(f"Attack?run={RUN}&strength=0.1")
    assert one.data("renderer") == "canvas2d"
    assert one.part("map-note").is_visible()
    before = one.data("strength")
    assert drag_dial(one, 0.6) == 0
    one.quiet()
    assert one.data("strength") != before
    one.shot("attack-canvas2d")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pictures_of_every_page(screen: Any, width: int, dark: bool) -> None:
    theme = "dark" if dark else "light"
    one = screen(width=width, dark=dark)
    for name, path in (
        ("home", ""),
        ("explore", f"Explore?run={RUN}&regions=true&pin=1652"),
        ("attack", f"Attack?run={RUN}&strength=0.02&pin=1652"),
        ("compare", f"Compare?run={RUN}&strength=0.02&pin=1652"),
    ):
        one.open(path)
        if name != "home":
            one.wait_data("pin" if name == "compare" else "detail", "1652")
            assert one.data("theme") == theme
        one.quiet()
        wide = one.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width  # nothing hangs over the edge
        one.shot(f"{name}-{width}-{theme}")


def test_the_picture_of_the_readme(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}&strength=0.02&pin=1652")
    one.wait_data("detail", "1652")
    one.quiet()
    picture = one.page.screenshot()
    assert picture.startswith(b"\x89PNG")
    if os.environ.get("DRIFTMAP_SCREENSHOT"):
        (ROOT / "assets" / "screenshot.png").write_bytes(picture)
