"""In a real browser: a map that draws a part of its points, and one that loses its GL contexts."""

from __future__ import annotations

from typing import Any

import numpy as np

from clustcore import runs
from tests.support.browser import MAP, RUN, needed
from ui.cluster_map import stratified

pytestmark = needed

CANVASES = (
    "[...document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot"
    ".querySelectorAll('[data-testid=map-stage] canvas')]"
)


def test_a_pin_that_is_not_drawn_is_marked_all_the_same(screen: Any) -> None:
    arrays = runs.read_map(runs.folders()[0] / RUN)
    row = int(np.setdiff1d(np.arange(len(arrays.xy)), stratified(arrays.labels, 500))[0])
    one = screen().open(f"Explore?run={RUN}&pin={row}")
    one.page.get_by_role("button", name="View", exact=True).click()
    one.page.get_by_test_id("stPopoverBody").get_by_text("500", exact=True).click()
    one.page.wait_for_function(
        "map => Number(document.querySelector('[data-testid=stBidiComponentIsolated]')"
        ".shadowRoot.querySelector(map).dataset.points) < 600",
        arg=MAP,
    )
    one.quiet()
    assert one.data("pin") == str(row)
    assert one.part("map-pin").locator("circle").count() == 2
    assert f"cluster {arrays.labels[row]}" in one.part("map-inspector").inner_text()
    assert f"{one.data('points')} of 10,000 points shown" in one.part("map-key").inner_text()


def test_a_map_comes_back_when_its_gl_contexts_do(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}&strength=0.1")
    one.quiet()
    lose = (
        f"lost = {CANVASES}.map((c) => c.getContext('webgl2').getExtension('WEBGL_lose_context'))"
    )
    one.page.evaluate(f"() => {{ window.{lose}; window.lost.forEach((l) => l.loseContext()); }}")
    one.page.wait_for_timeout(300)
    one.part("map-zoom-in").click()  # which now draws nothing, and is no trouble
    one.page.wait_for_timeout(300)
    one.page.evaluate("() => window.lost.forEach((l) => l.restoreContext())")
    one.page.wait_for_timeout(1000)
    before = int(one.data("frames"))
    one.part("map-zoom-in").click()
    one.page.wait_for_timeout(500)
    assert int(one.data("frames")) > before
    assert one.data("renderer") == "webgl2"
