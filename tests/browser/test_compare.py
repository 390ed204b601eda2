"""Compare in a real browser: two maps under one dial, one pin and one camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clustcore import runs
from clustcore.dial import dial
from clustcore.types import PathKey
from tests.support.browser import MAP, NO_WEBGL, drag_dial, needed, served
from ui.cluster_map.moved import moved_rows

pytestmark = needed
PAIR = "Compare?run=drc-mnist&partner=dec-mnist"
both_ship = pytest.mark.skipif(
    not all(
        (runs.folders()[0] / name / "map.npz").is_file() for name in ("drc-mnist", "dec-mnist")
    ),
    reason="drc-mnist and dec-mnist are not both in assets/runs",
)


def joint_at(strength: float) -> str:
    """What the strip must count, from the stored paths: neither, left, right, both."""
    end = dial("mnist", "pixels", "linf").end
    moved = []
    for name in ("drc-mnist", "dec-mnist"):
        path = runs.stored_path(runs.find_run(name), PathKey("pgd", "pixels", "linf"))
        moved.append(set(path.rows[moved_rows(path, strength, end)].tolist()))
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
    one.page.locator(f"{MAP}:not([data-pin=''])").wait_for()
    one.entry_is("Sample", int(one.data("pin")))
    one.quiet()
    rings = one.page.locator("[data-testid=map-pin] .head-ring")
    assert rings.count() == 2  # one on each map
    assert one.page.get_by_text(f"Sample {one.data('pin')}: cluster").is_visible()
    one.page.mouse.wheel(0, -400)
    one.page.locator(f"{MAP}:not([data-zoom='1.000'])").wait_for()
    labels = one.page.locator(".label[data-cluster='0']")
    assert labels.count() == 2
    one.part("map-zoom-fit").click()
    one.wait_data("zoom", "1.000")
    one.part("map-tool-box").click()
    one.page.mouse.move(box["x"] + 20, box["y"] + 60)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 20, steps=5)
    one.page.mouse.up()
    one.page.get_by_text("selected, by box").wait_for()
    one.quiet()
    assert int(one.data("selected")) > 2000
    one.page.get_by_role("button", name="Clear").click()
    one.wait_data("selected", "0")


@both_ship
@pytest.mark.slow
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
