"""Still maps for the gallery, drawn by numpy: no browser, no plotting library."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clustcore.measures.hues import PETROFF

_INK = 0.55  # opacity of one dot; several on one pixel darken it


def draw_map(xy: NDArray[np.float32], clusters: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    """A PNG with a clear background: a dot of 2 x 2 pixels a sample, in the hue of its cluster.

    x and y have one scale.

    Args:
        size: width and height in pixels.
    """
    width, height = size
    low, high = xy.min(0), xy.max(0)
    scale = 0.94 * min((np.array([width, height]) - 2) / np.maximum(high - low, 1e-9))
    centred = (xy - (low + high) / 2) * scale + np.array([width, height]) / 2
    column, row = centred[:, 0].astype(int), (height - 1 - centred[:, 1]).astype(int)
    hues = np.array([[int(hue[i : i + 2], 16) for i in (1, 3, 5)] for hue in PETROFF], float)
    colour, count = np.zeros((height, width, 3)), np.zeros((height, width))
    for down in (0, 1):
        for right in (0, 1):
            at = np.clip(row + down, 0, height - 1), np.clip(column + right, 0, width - 1)
            np.add.at(colour, at, hues[clusters % len(hues)])
            np.add.at(count, at, 1)
    rgb = colour / np.maximum(count, 1)[..., None]
    alpha = 255 * (1 - (1 - _INK) ** count)
    out = io.BytesIO()
    Image.fromarray(np.dstack([rgb, alpha]).round().astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
