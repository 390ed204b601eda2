"""Attack in a real browser: the dial, pins and their images, links, the keyboard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustcore import runs
from clustcore.dial import dial
from clustcore.types import PathKey
from tests.support.browser import MAP, RUN, drag_dial, needed, playwright, served
from ui.cluster_map.moved import moved_rows

pytestmark = needed


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
    path = runs.stored_path(runs.find_run(RUN), PathKey("pgd", "pixels", "linf"))
    moved = len(moved_rows(path, strength, end))
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
    one.page.locator(f"{MAP}[data-detail='{row}']").wait_for()
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
    not (runs.folders()[0] / "dec-mnist" / "map.npz").is_file(), reason="dec-mnist is not here"
)
@pytest.mark.parametrize("space", ["Embedding", "Pixels"])
def test_the_decoded_pictures_follow_the_dial(screen: Any, space: str) -> None:
    run = runs.find_run("dec-mnist")
    key = PathKey("pgd", space.lower(), "linf" if space == "Pixels" else "l2")
    path = runs.stored_path(run, key)
    moved = np.flatnonzero(path.smallest < path.strengths[-1] / 2)
    row = path.rows[moved[len(moved) // 2]]
    cluster = runs.read_map(run.folder).labels[row]
    one = screen().open(f"Attack?run=dec-mnist&space={space}&pin={row}")
    one.wait_data("detail", str(row))
    one.quiet()
    view = one.part("map-decoder")
    assert view.locator("figcaption b").all_inner_texts() == [
        *("original", "decoded", "attacked", "difference")
    ]
    assert one.part("map-triptych").is_visible() == (space == "Pixels")
    said = one.part("map-decoder-note")
    playwright.expect(said).to_have_text("Same picture, same cluster.")

    def pictures() -> list[str]:
        script = "all => all.map(canvas => canvas.toDataURL())"
        return view.locator("canvas").evaluate_all(script)

    still = pictures()
    assert still[1] == still[2] != still[0]  # nothing attacked yet
    before = one.sent
    assert drag_dial(one, 0.7) == 0
    shown = pictures()
    assert shown[:2] == still[:2]
    assert shown[2] != still[2]
    assert shown[3] != still[3]
    assert re.search(rf"different cluster: {cluster} → \d\.$", said.inner_text())
    one.quiet()
    assert one.sent - before == 1
    one.shot(f"attack-decoder-{space.lower()}")


@pytest.mark.skipif(
    not (runs.folders()[0] / "dec-mnist" / "map.npz").is_file(), reason="dec-mnist is not here"
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


@pytest.mark.slow
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
        path = runs.stored_path(runs.find_run(RUN), PathKey("pgd", "pixels", "l2"))
        assert int(other.data("moved")) == len(moved_rows(path, 1.2, 3.0))
        other.quiet()


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
    one.page.locator(f"{MAP}:not([data-pin=''])").wait_for()
    one.quiet()
    one.entry_is("Sample", int(one.data("pin")))
    one.part("map-stage").focus()
    for _ in range(2):  # the first leaves the point that the keyboard is at
        one.page.keyboard.press("Escape")
    one.wait_data("pin", "")
    playwright.expect(one.entry("Sample")).to_have_value("")
    one.part("map-stage").focus()
    one.page.keyboard.press("+")
    one.page.locator(f"{MAP}:not([data-zoom='1.000'])").wait_for()
    one.page.keyboard.press("0")
    one.wait_data("zoom", "1.000")


def test_a_click_on_the_curve_and_two_quick_keys_are_heard_between_two_frames(
    screen: Any,
) -> None:
    one = screen().open(f"Attack?run={RUN}")
    end = dial("mnist", "pixels", "linf").end
    box = one.part("map-curve").bounding_box()
    left, right = 44, 12  # what the curve leaves for its axis
    one.page.mouse.click(box["x"] + left + (box["width"] - left - right) / 4, box["y"] + 40)
    one.entry_is("Strength", end / 4)
    one.quiet()
    one.part("map-dial").evaluate(
        "dial => ['PageUp', 'ArrowRight'].forEach(key =>"
        " dial.dispatchEvent(new KeyboardEvent('keydown', {key})))"
    )
    one.entry_is("Strength", (50 + 5 + 1) * end / 200)


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


@pytest.mark.slow
def test_a_path_is_computed_when_asked_for_and_can_be_cancelled(screen: Any) -> None:
    one = screen().open(f"Attack?run={RUN}&attack=FGSM&target=3")
    offer = one.page.get_by_test_id("stMarkdown").filter(has_text="Not computed yet:")
    assert "FGSM, into cluster 3, L∞, seed 0. 2,000 samples" in offer.inner_text()
    assert one.data("paths") == "0"
    one.page.get_by_role("button", name="Compute now").click()
    one.page.get_by_role("progressbar").wait_for()
    one.page.get_by_role("button", name="Cancel").click()
    one.page.get_by_role("button", name="Cancel").wait_for(state="detached")
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
