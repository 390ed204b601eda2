"""What is known of a model, an attack, a defence or a data set before it is imported.

`MODELS`, `ATTACKS`, `DEFENCES` and `DATASETS` each map a name to one entry. Whoever lists or offers
them reads the entry, whoever runs one imports it with `lookup`. So a new one is a file and a line.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from clustcore.types import SPACES


@dataclass(frozen=True)
class Entry:
    """One name of a registry; a defence needs no more than this."""

    where: str  # "module:Class", of a data set "module:function"; imported when it is asked for
    _: KW_ONLY
    title: str  # as a picker shows it
    about: str = ""  # one sentence for someone who chooses


@dataclass(frozen=True)
class ModelEntry(Entry):
    """A model."""

    source: str = ""  # where it comes from, for its cards
    trains: bool = True  # whether it is trained here
    stages: tuple[str, ...] = ()  # settings that count epochs, of which one at least is above 0
    # settings to begin with where training follows a teacher
    taught: Mapping[str, Any] = field(default_factory=lambda: {"taught": 4})
    parts: str = ""  # what the parts of its loss are, said below their curves


@dataclass(frozen=True)
class AttackEntry(Entry):
    """An attack; `spaces`, `targeted` and `learned` are what its class says of itself, too."""

    phrase: str = ""  # its title inside a sentence
    spaces: tuple[str, ...] = SPACES  # where it has an answer
    targeted: bool = True  # whether it knows a way into a chosen cluster
    learned: bool = False  # whether it is fitted to a model before it is used
    dial: bool = True  # whether it walks the strengths of a dial
    passes: int = 100  # through the network that a path takes of each sample, about


@dataclass(frozen=True)
class DataEntry(Entry):
    """A data set."""

    # the strengths of its attacks: whose dial it shares, or (end, default) by norm
    dial: str | Mapping[str, tuple[float, float]] = "mnist"
    # "all" is both merged, as the clustering benchmarks do, or all there is
    splits: tuple[str, ...] = ("train", "test")
    judged: str = "test"  # the split that runs are mapped and judged on; "": what they trained on
    download: bool = False  # whether torchvision can bring it
    options: tuple[str, ...] = ()  # what its loader can be given besides


def lookup(registry: Mapping[str, Entry], name: str, kind: str) -> Any:
    """The class or function behind a name, imported only now.

    Args:
        registry: such as `MODELS`.
        name: a key of it.
        kind: what a message calls it, such as "model".

    Raises:
        ValueError: no such name, or one whose entry names a module or class that is not there.

    Examples:
        >>> from clustcore.attacks import ATTACKS
        >>> lookup(ATTACKS, "pgd", "attack").name
        'pgd'
        >>> lookup({"mine": Entry("nowhere:Mine", title="Mine")}, "mine", "model")
        Traceback (most recent call last):
        ValueError: model 'mine': expected its entry to name "module:name", such as ...
    """
    if name not in registry:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(sorted(registry))}")
    module, _, attribute = registry[name].where.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        # what is missing within the module is another fault, and stays as it is
        missing = getattr(error, "name", None)
        if missing not in (module, attribute) and not (
            missing and module.startswith(f"{missing}.")
        ):
            raise
        raise ValueError(
            f'{kind} {name!r}: expected its entry to name "module:name", such as '
            f"clustcore.models.drc:DRC, got {registry[name].where!r}: {error}"
        ) from None
