"""The hues of clusters, on every map and in every figure.

The map's JavaScript and the app's theme have copies of their own, which the tests compare with
these.
"""

from __future__ import annotations

import numpy as np

# M. A. Petroff, "Accessible color sequences for data visualization", arXiv 2107.02270: ten hues
PETROFF = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)


def hue(cluster: int | np.integer) -> str:
    """The hue of a cluster or class; the eleventh has that of the first again.

    Examples:
        >>> hue(0), hue(10)
        ('#3f90da', '#3f90da')
    """
    return PETROFF[cluster % len(PETROFF)]
