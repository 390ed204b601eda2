"""Attacks that take few steps, where it is not asked how far they get."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from clustcore.attacks.min_flip import MinFlip, MinFlipConfig
from clustcore.attacks.pgd import PGD, PGDConfig
from clustcore.config import setting


@dataclass(frozen=True, kw_only=True)
class FewPGDConfig(PGDConfig):
    """PGD with one start."""

    restarts: int = setting(1, "starts", range=(1, 100))
    path_steps: int = setting(4, "gradient steps at each strength", range=(1, 1000))


@dataclass(frozen=True, kw_only=True)
class FewMinFlipConfig(MinFlipConfig):
    """Smallest flips, looked for coarsely."""

    steps: int = setting(5, "gradient steps of each round", range=(1, 1000))
    rounds: int = setting(4, "rounds of bisection", range=(1, 30))


def few_steps(patch: pytest.MonkeyPatch) -> None:
    """From now on these are what the attacks do where nothing else is said."""
    patch.setattr(PGD, "Config", FewPGDConfig)
    patch.setattr(MinFlip, "Config", FewMinFlipConfig)
