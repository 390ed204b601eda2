"""The dial: how far an attack's strength goes, for each data set, space and norm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustcore.datasets import DATASETS
from clustcore.types import as_norm, as_space


@dataclass(frozen=True)
class Dial:
    """The range of an attack's strength for one data set, space and norm.

    Examples:
        >>> found = Dial(end=0.4, default=0.3)
        >>> len(found.strengths), float(found.strengths[0]), round(float(found.strengths[-1]), 3)
        (11, 0.0, 0.4)
        >>> found.step
        0.002
    """

    end: float
    default: float  # the budget that tables and cards report

    @property
    def strengths(self) -> NDArray[np.float32]:
        """(11,) the strengths of a path: end x (k / 10)^1.6, denser near 0."""
        return (self.end * (np.arange(11) / 10) ** 1.6).astype(np.float32)

    @property
    def step(self) -> float:
        """How far one key press moves the dial."""
        return self.end / 200


# (end, default) of the dials that data sets share; `DATASETS` says which one is whose
_DIALS = {
    "mnist": {"linf": (0.4, 0.3), "l2": (3.0, 2.0)},
    "fashion-mnist": {"linf": (0.3, 0.1), "l2": (1.5, 1.0)},
    "cifar10": {"linf": (16 / 255, 8 / 255), "l2": (1.0, 0.5)},
    "digits": {"linf": (0.3, 0.1), "l2": (1.0, 0.5)},
}


def dial(data: str, space: str, norm: str) -> Dial:
    """The dial of a data set, as its entry in `DATASETS` says; unknown data get MNIST's.

    Args:
        data: The data set's name.
        space: "pixels" or "embedding".
        norm: "linf" or "l2".

    Raises:
        ValueError: unknown space or norm.

    Examples:
        >>> dial("mnist", "pixels", "linf")
        Dial(end=0.4, default=0.3)
        >>> dial("stl10", "pixels", "linf") == dial(
        ...     "cifar10", "pixels", "linf"
        ... )  # colour images share one
        True
    """
    space, norm = as_space(space), as_norm(norm)
    if space == "embedding":
        return Dial(2.0, 0.3)
    entry = DATASETS.get(data.partition(":")[0])
    own = "mnist" if entry is None else entry.dial
    return Dial(*(_DIALS[own] if isinstance(own, str) else own)[norm])
