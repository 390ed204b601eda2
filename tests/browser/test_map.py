"""What only a real browser can show: selections, both themes, a phone, no WebGL, no motion.

`DRIFTMAP_PICTURE=1` also writes the README's picture: see `tests.support.picture`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import picture
from tests.support.browser import MAP, NO_WEBGL, ROOT, RUN, drag_dial, needed, playwright
from tests.support.map_views import make_view
from ui.cluster_map import MapOptions, packing
from ui.cluster_map.mount import _parts
from ui.cluster_map.script import joined

pytestmark = needed


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
    one.page.get_by_text("by lasso").wait_for()
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
    one.page.locator(f"{MAP}:not([data-probe=''])").wait_for()
    one.quiet()
    assert one.part("map-probe").is_visible()
    one.shot("explore-regions")


def test_a_cluster_of_the_table_is_zoomed_to(screen: Any) -> None:
    one = screen().open(f"Explore?run={RUN}")
    table = one.page.get_by_test_id("stDataFrame").last
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    one.page.mouse.click(box["x"] + 18, box["y"] + 36 + 36 * 2 + 12)
    one.page.locator(f"{MAP}:not([data-zoom='1.000'])").wait_for()
    one.quiet()
    one.page.locator(f"{MAP}:not([data-zoom='1.000'])").wait_for()
    assert float(one.data("zoom")) > 1
    assert one.page.get_by_text("Clusters", exact=True).is_visible()


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


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(1280, False, id="1280-light", marks=pytest.mark.slow),
        pytest.param(390, True, id="390-dark"),
        pytest.param(1280, True, id="1280-dark", marks=pytest.mark.slow),
        pytest.param(390, False, id="390-light", marks=pytest.mark.slow),
    ],
)
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


@pytest.mark.slow
def test_the_picture_of_the_readme(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}&pin=1652")
    one.wait_data("detail", "1652")
    one.quiet()
    frames = picture.record(one)
    one.quiet()
    assert float(one.data("strength")) > 0.09
    first, last = (frame.tobytes() for frame in (frames[0], frames[-1]))
    assert first != last
    if os.environ.get("DRIFTMAP_PICTURE"):
        picture.save(frames, ROOT / "docs" / "images" / "dial.gif")


def test_a_map_that_is_put_up_anew_is_where_it_was(chromium: Any) -> None:
    # Streamlit hands the last message to a component that it mounts again, and sends nothing new.
    view = make_view()
    base = packing.base(view)
    record = {"mount": "m", "pin": 5, "select": None, "control": {"pin": [3, 5]}}
    parts, sections = _parts(record, view, base, MapOptions(), None, "", None)
    data = list(packing.message(base, parts, sections, {}, whole=True))
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_content("<div id=first></div><div id=second></div>")
    tab.evaluate(
        """async ([script, data]) => {
          const file = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
          const map = (await import(file)).default;
          window.told = [];
          window.put = (id) => map({
            data: new Uint8Array(data),
            parentElement: document.getElementById(id),
            setStateValue: () => {},
            setTriggerValue: (name, value) => window.told.push([name, value]),
          });
          window.away = window.put("first");
        }""",
        [joined(), data],
    )
    tab.locator(f"#first {MAP}[data-ready='1']").wait_for()
    tab.locator("#first [data-testid=map-dial]").focus()
    for _ in range(2):
        tab.keyboard.press("PageUp")
    strength = 10 / 200 * base.meta["end"]
    playwright.expect(tab.locator(f"#first {MAP}")).to_have_attribute(
        "data-strength", f"{strength:.4f}"
    )
    tab.get_by_role("button", name="Unpin").click()
    tab.evaluate("() => { window.away(); window.put('second'); }")
    again = tab.locator(f"#second {MAP}[data-ready='1']")
    playwright.expect(again).to_have_attribute("data-strength", f"{strength:.4f}")
    playwright.expect(again).to_have_attribute("data-pin", "")
    tab.wait_for_timeout(400)  # what was dialled before it was taken down is still told
    assert ["strength", pytest.approx(strength)] in [
        [name, value["value"]] for name, value in tab.evaluate("window.told")
    ]
    context.close()
