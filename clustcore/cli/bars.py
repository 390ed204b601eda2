"""Bars that show the progress of a command."""

from __future__ import annotations

from typing import Any

from clustcore.runs.progress import tell


class Bars:
    """Progress in the terminal: one bar for the work, one line for each epoch."""

    def __enter__(self) -> Bars:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, transient=True)
        self._task = self._progress.add_task("", total=None)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, done: int, total: int, sentence: str) -> None:
        """A step of something long."""
        self._progress.update(self._task, completed=done, total=total, description=sentence)

    def batch(self, done: int, total: int) -> None:
        """A batch of an epoch."""
        self._progress.update(self._task, completed=done, total=total, description="epoch")

    def epoch(self, epoch: Any) -> None:
        """The line that stays of an epoch; it is told as data, too, where that is asked for."""
        tell("epoch", done=epoch.epoch + 1, total=epoch.total, stage=epoch.stage, loss=epoch.loss)
        if epoch.note:
            self.say(epoch.note)
        parts = ", ".join(f"{name} {value:.4f}" for name, value in epoch.parts.items())
        self.say(
            f"epoch {epoch.epoch + 1} of {epoch.total}, {epoch.stage}: "
            f"loss {epoch.loss:.4f}{f' ({parts})' if parts else ''}; "
            f"clusters {' '.join(map(str, epoch.sizes))}; balance {epoch.entropy_mean:.3f}; "
            f"confidence {epoch.confidence:.3f}; {epoch.seconds:.0f} s"
            + (f", {epoch.views_per_s:,.0f} views/s" if epoch.views else "")
        )

    def say(self, line: str) -> None:
        """A line that stays."""
        # whole, also where it is longer than the terminal is wide: logs are searched by line
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
