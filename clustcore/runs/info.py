"""The runs there are, and the facts of each: what its card says, and what its folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from clustcore.files import sha256
from clustcore.runs.arrays import path_name
from clustcore.runs.cache import attacker_file, cached_path_file
from clustcore.runs.card import CARD, Card, read_card
from clustcore.runs.folder import folders, has_weights, is_name, weights_files
from clustcore.types import PathKey

_RESUME = "resume.safetensors"  # what a training needs to go on
_UNFINISHED = "training was interrupted; the command that began it goes on"
UNDEFENDED = "undefended"


@dataclass(frozen=True)
class RunInfo:
    """A run as it was found: its card and the hash of its projector are read once.

    What is asked of its other files is asked of the disk each time.

    `problem` says why it cannot be used; there is no card then.

    Examples:
        >>> info = find_run("drc-mnist-pgd_at")
        >>> info
        RunInfo('drc-mnist-pgd_at', ready, 'drc' on 'mnist', 10 clusters, defended by 'pgd_at')
        >>> info.dataset, info.made_from, info.shipped
        ('mnist', 'drc-mnist', True)
    """

    name: str
    folder: Path
    found: Card | None
    problem: str | None = None

    def __repr__(self) -> str:
        what = self.problem or (None if self.found is None else self.found.summary)
        parts = [repr(self.name), self.readiness, *filter(None, [what])]
        return f"RunInfo({', '.join(parts)})"

    @property
    def card(self) -> Card:
        """What the run says of itself.

        Raises:
            ValueError: there is none that can be read.
        """
        if self.found is None:
            raise ValueError(self.problem or f"{self.folder / CARD}: expected a card, got none")
        return self.found

    @property
    def shipped(self) -> bool:
        """Whether it ships with Driftmap; such a run stays as it is."""
        return self.folder.parent == folders()[0]

    @property
    def title(self) -> str:
        """What it is called beside another run.

        What defends it is said, too, where the name does not say that.
        """
        said = not self.defended or self.name.endswith(f"-{self.defence}")
        return self.name if said else f"{self.name}, {self.defence}"

    @property
    def dataset(self) -> str:
        """The name of the data that it was trained on."""
        return self.card.data.name

    @property
    def clusters(self) -> int:
        """How many clusters it has; 0 where the card does not say."""
        return self.card.clusters

    @property
    def defence(self) -> str:
        """What defends it, or "undefended"."""
        found = self.card.defence
        return found.name if found is not None and found.name else UNDEFENDED

    @property
    def defended(self) -> bool:
        """Whether it claims a defence."""
        return self.defence != UNDEFENDED

    @property
    def made_from(self) -> str | None:
        """The run that a defence made it from, or None."""
        found = self.card.defence
        return None if found is None else found.source

    @property
    def readiness(self) -> str:
        """What there is of the run, in words.

        "broken", "weights missing", "unfinished", "map not computed yet", "paths not computed yet"
        or "ready".
        """
        if self.problem:
            return "unfinished" if self.problem.endswith(_UNFINISHED) else "broken"
        if not self.has_weights:
            return "weights missing"
        if not self.has_map:
            return "map not computed yet"
        if not any((self.folder / "paths").glob("*.npz")):
            return "paths not computed yet"
        return "ready"

    @property
    def has_weights(self) -> bool:
        """Whether its model can be loaded at all."""
        return has_weights(self.folder)

    @property
    def has_map(self) -> bool:
        """Whether it can be drawn."""
        return (self.folder / "map.npz").is_file()

    @property
    def projector_file(self) -> Path:
        """Where its projector lies, or will."""
        return self.folder / "projector.safetensors"

    @cached_property
    def projector_sha256(self) -> str:
        """The hash of its projector; empty where it has none."""
        file = self.projector_file
        return sha256(file) if file.is_file() else ""

    @property
    def weights_stamp(self) -> tuple[int, ...]:
        """Changes when its weights do."""
        return tuple(_stamp(file) for file in weights_files(self.folder))

    @property
    def map_stamp(self) -> int:
        """Changes when its map does; 0 where it has none."""
        return _stamp(self.folder / "map.npz")

    @property
    def projector_stamp(self) -> int:
        """Changes when its projector does; 0 where it has none."""
        return _stamp(self.projector_file)

    def attacker_stamp(self, attack: str) -> int:
        """Changes when the attacker does that a learned attack walks with; 0 where it has none."""
        return _stamp(attacker_file(self, attack))

    def path_stamp(self, key: PathKey) -> tuple[int, int, int]:
        """Changes when a path of it does, and when the attacker is fitted anew that walks it."""
        own, cached = self.folder / "paths" / path_name(key), cached_path_file(self, key)
        return _stamp(own), _stamp(cached), self.attacker_stamp(key.attack)


def list_runs() -> list[RunInfo]:
    """Every run there is, shipped ones first, then by name; of two with one name the first counts.

    Read afresh on each call.

    Examples:
        >>> [run.name for run in list_runs()][:2]
        ['alrdc-fashion-mnist', 'alrdc-fashion-mnist-alrdc']
    """
    found: dict[str, RunInfo] = {}
    for place in folders():
        for path in sorted(place.iterdir()) if place.is_dir() else []:
            if path.is_dir() and is_name(path.name) and path.name not in found:
                info = _read(path)
                if info is not None:
                    found[path.name] = info
    return list(found.values())


def _read(path: Path) -> RunInfo | None:
    # None: not a run, or one that has not begun to save
    has_card, has_resume = ((path / name).is_file() for name in (CARD, _RESUME))
    if not (has_card or has_resume or has_weights(path)):
        return None
    if has_resume and not has_card:
        return RunInfo(path.name, path, None, f"{path.name}: {_UNFINISHED}")
    try:
        return RunInfo(path.name, path, read_card(path))
    except ValueError as error:
        return RunInfo(path.name, path, None, str(error))


def find_run(name: str) -> RunInfo:
    """The run of this name.

    Raises:
        ValueError: there is none (a name can hold no path: letters, digits, '.', '_' and '-' only),
            or it is broken.

    Examples:
        >>> find_run("dec-mnist").clusters
        10
        >>> find_run("no-such-run")
        Traceback (most recent call last):
        ValueError: unknown run 'no-such-run'; known: alrdc-fashion-mnist, ...
    """
    runs = {run.name: run for run in list_runs()}
    if name not in runs:
        known = ", ".join(runs) or "none; `python -m clustcore train` makes one"
        raise ValueError(f"unknown run {name!r}; known: {known}")
    if runs[name].problem:
        raise ValueError(runs[name].problem)
    return runs[name]


def _stamp(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
