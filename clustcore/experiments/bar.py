"""The bars that a defence has to clear, ALRDC's and DRC's. Without torch, so that a screen tells.

Both lie at b, the budget at which the worst case over the attacks moves half of the undefended
model's samples: see `clustcore.experiments.judge`.
"""

from __future__ import annotations

NEIGHBOURS = 15  # of each sample in the embedding, of which some shall stay
MOVED = 1 / 6  # of the defended model's samples, at most
ACC_LOST = 0.02  # of ACC on clean images, at most
ERROR_RATIO = 1.2  # the decoder's error beside the undefended one's, at most
OVERLAP = 0.5  # of the nearest neighbours, at least
# DRC's, which has neither decoder nor neighbours in it
DRC_MOVED = 0.25
DRC_ACC_LOST = 0.03


def clears(
    moved: float, acc_change: float, reconstruction_ratio: float | None, neighbour_overlap: float
) -> bool:
    """Whether a defence clears ALRDC's bar.

    Examples:
        >>> clears(0.1, acc_change=-0.01, reconstruction_ratio=None, neighbour_overlap=0.6)
        True
        >>> clears(0.2, acc_change=-0.01, reconstruction_ratio=None, neighbour_overlap=0.6)
        False
    """
    return bool(
        moved <= MOVED
        and acc_change >= -ACC_LOST
        and (reconstruction_ratio is None or reconstruction_ratio <= ERROR_RATIO)
        and neighbour_overlap >= OVERLAP
    )


def clears_drc(moved: float, acc_change: float) -> bool:
    """Whether a defence of DRC clears the bar of `judge.pair`.

    Examples:
        >>> clears_drc(0.2, acc_change=-0.01), clears_drc(0.2, acc_change=-0.05)
        (True, False)
    """
    return bool(moved <= DRC_MOVED and acc_change >= -DRC_ACC_LOST)


def words() -> str:
    """ALRDC's bar as a sentence.

    Examples:
        >>> words().rpartition(", ")[2]
        "and half of each sample's 15 nearest neighbours kept."
    """
    return (
        "The bar: at the budget where the attacks together have moved half of the undefended "
        f"model's samples, the worst case moves at most {_part(MOVED)} of the defended one's, for "
        f"at most {100 * ACC_LOST:g} points of accuracy, at most {ERROR_RATIO:g} times the "
        f"decoder's error, and {_part(OVERLAP)} of each sample's {NEIGHBOURS} nearest neighbours "
        "kept."
    )


def _part(share: float) -> str:
    """A share in words where there are some, such as "a sixth"."""
    said = {1 / 2: "half", 1 / 3: "a third", 1 / 4: "a quarter", 1 / 6: "a sixth"}
    return said.get(share, f"{share:.1%}")
