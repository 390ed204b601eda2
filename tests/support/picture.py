"""The README's moving picture: the dial of the real app, drawn up in steps.

`DRIFTMAP_PICTURE=1 python -m pytest tests/browser/test_map.py -k picture` writes it anew.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from ui.cluster_map.still_map import PETROFF

SHARES = (0, 0.015, 0.03, 0.045, 0.06, 0.075, 0.09, 0.105, 0.12, 0.135, 0.15, 0.17, 0.2, 0.25)
BOX = (300, 0, 1410, 858)  # of the page: without the sidebar, and what is only told on release
WIDTH, COLOURS = 900, 96
FIRST, STEP, LAST = 1400, 250, 2400  # ms that a frame stays


def record(one: Any) -> list[Image.Image]:
    """The page at each share of the dial's track, its thumb dragged and not let go."""
    box = one.part("map-dial").bounding_box()
    y = box["y"] + box["height"] / 2
    frames = []
    for number, share in enumerate(SHARES):
        one.page.mouse.move(box["x"] + 8 + share * (box["width"] - 16), y)
        if number == 0:
            one.page.mouse.down()
        one.page.wait_for_timeout(500)
        frames.append(Image.open(io.BytesIO(one.page.screenshot())).convert("RGB").crop(BOX))
    one.page.mouse.up()
    return frames


def save(frames: list[Image.Image], file: Path) -> None:
    """Write them as a GIF with one palette, which holds the clusters' hues."""
    height = round(frames[0].height * WIDTH / frames[0].width)
    frames = [frame.resize((WIDTH, height), Image.Resampling.LANCZOS) for frame in frames]
    hues = ("#ffffff", "#23282e", *PETROFF)
    sample = Image.new("RGB", (WIDTH, 2 * height + 40 * len(hues)))
    for number, frame in enumerate((frames[len(frames) // 3], frames[-2])):
        sample.paste(frame, (0, number * height))
    for number, hue in enumerate(hues):
        top = 2 * height + 40 * number
        ImageDraw.Draw(sample).rectangle((0, top, WIDTH, top + 39), fill=hue)
    palette = sample.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=2)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    # what is looked up is rounded: the ground would be nearly white
    colours, ground = drawn[0].getpalette(), 3 * drawn[0].getpixel((0, 0))
    colours[ground : ground + 3] = frames[0].getpixel((0, 0))
    for image in drawn:
        image.putpalette(colours)
    drawn[0].save(
        file,
        save_all=True,
        append_images=drawn[1:],
        duration=[FIRST, *[STEP] * (len(drawn) - 2), LAST],
        loop=0,
        disposal=1,
    )
