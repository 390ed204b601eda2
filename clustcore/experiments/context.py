"""What every experiment is told: where its data lie, on what it runs, for how long."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clustcore.pipeline.run import OnStep


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every experiment is told beside its subject.

    Raises:
        ValueError: minutes below 0, or without an end.
    """

    root: Path | None = None  # folder that holds the data
    download: bool = False  # whether they may be fetched into it
    device: str = "auto"
    quick: bool = False  # learn from a part of the images, which the results say
    minutes: float = 0.0  # for all of the call's trainings together (0: no limit)
    report: Callable[[str], None] = print  # takes a line of what was done
    on_step: OnStep | None = None  # called with (done, total, sentence) within something long
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if not 0 <= self.minutes < float("inf"):
            raise ValueError(f"--minutes: expected 0 or more, got {self.minutes}")

    def left(self) -> float:
        """Minutes that are left; 0 where there is no limit, below 0 where none are left."""
        if not self.minutes:
            return 0.0
        left = self.minutes - (time.monotonic() - self.began) / 60
        return left or -1.0
