"""A run's card: what `card.json` says of how its model was made, and of what was measured on it.

It is read here and written here, nowhere else. The JSON object is kept as it was read, so that
fields of another version survive in their places; what the code asks of it has a type.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from clustcore.files import write_json
from clustcore.types import PathKey

FORMAT = 1
CARD = "card.json"

Json = Mapping[str, Any]  # an object of JSON whose fields another part of the library declares
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class CardData:
    """The images that a model was trained on."""

    name: str
    split: str
    n: int | None = None


@dataclass(frozen=True)
class CardDefence:
    """What a model was trained on under."""

    name: str = ""
    config: Json = field(default_factory=dict)  # fields of the defence's config
    source: str | None = None  # the run that it was made from; "from" in the file
    from_weights: str | None = None  # sha256 of that run's weights
    attacker_sha256: str | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class CardTraining:
    """What came of a training. Older cards say less.

    Examples:
        >>> CardTraining(device="cpu", views={"alone": 1000, "taught": 500}).seen
        1500
    """

    device: str = ""
    machine: str = ""
    minutes: float | None = None
    epochs: int | None = None
    batch: int | None = None
    stages: Mapping[str, int] = field(default_factory=dict)  # epochs of each
    views: Mapping[str, int] = field(default_factory=dict)  # of each stage
    precision: str = ""
    precisions: Mapping[str, int] = field(default_factory=dict)  # epochs in each

    @property
    def where(self) -> str:
        """The processor's name, or the kind of device where the card does not say it."""
        return self.machine or self.device

    @property
    def seen(self) -> int:
        """The views of all stages; 0 where the card does not say."""
        return sum(self.views.values())


@dataclass(frozen=True)
class CardAttack:
    """One attack at the budget that tables report.

    None: it takes labels, or lies beyond the dial, or the card does not say.

    Examples:
        >>> entry = CardAttack("pgd", "pixels", "linf", eps=0.1, moved=0.9)
        >>> (
        ...     entry.walks(PathKey("pgd", "pixels", "linf")),
        ...     entry.walks(PathKey("pgd", "pixels", "l2")),
        ... )
        (True, False)
    """

    attack: str = ""
    space: str = ""
    norm: str = ""
    eps: float | None = None
    settings: Json = field(default_factory=dict)  # fields of the attack's config
    protocol: str = "adaptive"  # or "old attacker": one fitted on other weights
    n: int | None = None
    seed: int | None = None
    moved: float | None = None
    moved_interval: tuple[float, ...] | None = None
    median_smallest: float | None = None
    median_l2: float | None = None
    median_linf: float | None = None
    acc: float | None = None
    acc_rematched: float | None = None
    nmi: float | None = None

    def walks(self, key: PathKey) -> bool:
        """Whether this is a path's attack, whatever its target and its seed."""
        return (self.attack, self.space, self.norm) == (key.attack, key.space, key.norm)


@dataclass(frozen=True)
class CardScores:
    """How good the clustering is, and how it fares under attacks.

    Examples:
        >>> CardScores(split="test", acc=0.98).clean
        {'acc': 0.98}
    """

    split: str = ""
    n: int | None = None
    acc: float | None = None
    nmi: float | None = None
    ari: float | None = None
    clusters_used: int | None = None
    attacked: tuple[CardAttack, ...] = ()

    @property
    def clean(self) -> dict[str, float]:
        """The figures without any attack, by name, but for those that are not known."""
        found = {name: getattr(self, name) for name in ("acc", "nmi", "ari")}
        return {name: value for name, value in found.items() if value is not None}

    def to_json(self) -> Json:
        """As a card has it. JSON has no NaN: a figure that needs labels is null without them."""
        return {
            "split": self.split,
            "n": self.n,
            "clean": {name: _finite(getattr(self, name)) for name in ("acc", "nmi", "ari")},
            "clusters_used": self.clusters_used,
            "attacked": [
                {name: _finite(value) for name, value in dataclasses.asdict(entry).items()}
                for entry in self.attacked
            ],
        }


@dataclass(frozen=True)
class CardRow:
    """A row of the tables: the mean of some seeds, and each of them."""

    name: str = ""
    split: str = ""
    n: int | None = None
    seeds: tuple[int, ...] = ()
    acc: float | None = None
    acc_each: tuple[float, ...] = ()
    nmi: float | None = None
    nmi_each: tuple[float, ...] = ()
    ari: float | None = None
    ari_each: tuple[float, ...] = ()


@dataclass(frozen=True)
class Card:
    """A run's card, read-only. `from_json` makes one.

    Examples:
        >>> from clustcore import runs
        >>> card = runs.find_run("drc-mnist-pgd_at").card
        >>> card
        Card('drc' on 'mnist', 10 clusters, defended by 'pgd_at')
        >>> card.data.split, card.defence.source
        ('train', 'drc-mnist')
    """

    _document: dict[str, Any]

    @classmethod
    def from_json(cls, values: Any, where: str = "card") -> Card:
        """A card of a JSON object, its required fields checked.

        Args:
            values: what the JSON says.
            where: what to call it in a message.

        Raises:
            ValueError: it is no object, has another format, or lacks a field.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{where}: expected a JSON object, got {type(values).__name__}")
        values = json.loads(json.dumps(values))  # a copy in which all is as a file gives it back
        _check(values, where)
        return cls(values)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, its fields in the order in which they were read."""
        return copy.deepcopy(self._document)

    def changed(self, **fields: Any) -> Card:
        """The same card with other values: in their places, and new fields at the end."""
        return Card.from_json(self._document | fields)

    def __repr__(self) -> str:
        return f"Card({self.summary})"

    @property
    def summary(self) -> str:
        """Which model of what, in a few words."""
        parts = [f"{self.model!r} on {self.data.name!r}"]
        parts += [f"{self.clusters} clusters"] * bool(self.clusters)
        parts += [f"defended by {self.defence.name!r}"] if self.defence else []
        return ", ".join(parts)

    def section(self, name: str) -> Json | None:
        """An object of the card, whole; None where there is none of that name."""
        found = self._document.get(name)  # a copy is given: nobody changes the card
        return copy.deepcopy(found) if isinstance(found, dict) else None

    @property
    def format(self) -> int:
        """The number of the format."""
        return self._document["format"]

    @property
    def model(self) -> str:
        """The kind of model: a name of its registry."""
        return self._document["model"]

    @property
    def config(self) -> Json:
        """The fields of the model's config."""
        return self.section("config") or {}

    @property
    def clusters(self) -> int:
        """How many clusters there are; 0 where the card does not say."""
        count = _fit(self.config.get("clusters"), int)
        return count if count is not None and 0 < count <= 255 else 0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the model's images.

        Raises:
            ValueError: the card does not say.
        """
        given = self.config.get("input_shape")
        shape = _fit(given, tuple[int, ...])
        if shape is None or len(shape) != 3:
            raise ValueError(
                "card: field 'config.input_shape': expected channels, height and width, got "
                f"{given!r}"
            )
        return shape

    @property
    def weights_sha256(self) -> str:
        """The hash of the weights that the card is of."""
        return self._document["weights_sha256"]

    @property
    def decodes(self) -> bool:
        """Whether the model can have a decoder; a card that does not say may."""
        return self._document.get("decoder", True) is not False

    @property
    def data(self) -> CardData:
        """What it was trained on."""
        return _part(CardData, self._document["data"])

    @property
    def radius(self) -> float:
        """R: half the mean distance between neighbouring cluster means; 1 without one."""
        return float(self._document.get("embedding", {}).get("R", 1.0))

    @property
    def train(self) -> Json:
        """The settings of the training, among what came of it: see `training`."""
        return self.section("train") or {}

    @property
    def training(self) -> CardTraining:
        """What came of the training."""
        return _part(CardTraining, self._document["train"])

    @property
    def augment(self) -> Json:
        """The fields of the views' config; empty where the card does not say."""
        return self.section("augment") or {}

    @property
    def defence(self) -> CardDefence | None:
        """What defends the model, or None."""
        found = self.section("defence")
        if found is not None:
            return _part(CardDefence, found, source="from")
        name = self._document.get("defence")
        return CardDefence(str(name)) if name else None

    @property
    def teacher(self) -> Json | None:
        """What taught the model, or None."""
        return self.section("teacher")

    @property
    def start(self) -> Json:
        """The run whose weights the training began with; empty where it began with random ones."""
        return self.section("start") or {}

    @property
    def stopped(self) -> Json | None:
        """After how many epochs of how many a time limit stopped the training, or None."""
        return self.section("stopped")

    @property
    def half_precision_moved(self) -> float | None:
        """The share of the images that half precision moves into another cluster."""
        return _fit(self._document.get("half_precision_moved"), float)

    @property
    def scores(self) -> CardScores | None:
        """What was measured, or None where nothing was."""
        found = self.section("scores")
        if found is None:
            return None
        clean = found.get("clean")
        entries = found.get("attacked")
        entries = entries if isinstance(entries, list) else []
        attacked = tuple(_part(CardAttack, one) for one in entries if isinstance(one, dict))
        flat = {**(clean if isinstance(clean, dict) else {}), **found}
        return dataclasses.replace(_part(CardScores, flat), attacked=attacked)

    @property
    def rows(self) -> tuple[CardRow, ...]:
        """The rows that it gives to the tables."""
        found = self._document.get("rows")
        return tuple(_part(CardRow, row) for row in (found if isinstance(found, list) else []))

    def reported(self, key: PathKey) -> CardAttack:
        """What the card reports of a path's attack; nothing but defaults where it does not."""
        entries = () if self.scores is None else self.scores.attacked
        return next((entry for entry in entries if entry.walks(key)), CardAttack())


def read_card(folder: Path) -> Card:
    """The card of a run.

    Raises:
        ValueError: the card is missing, is not JSON, has another format, or lacks a field.

    Examples:
        >>> from clustcore import runs
        >>> read_card(runs.find_run("drc-mnist").folder)
        Card('drc' on 'mnist', 10 clusters)
        >>> read_card(Path("no-such-run"))
        Traceback (most recent call last):
        ValueError: no-such-run...card.json: expected a card, got no such file
    """
    path = folder / CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a card, got no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: expected a readable card, got {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None
    return Card.from_json(values, str(path))


def write_card(folder: Path, card: Card) -> None:
    """Write a run's card, whole or not at all.

    Examples:
        >>> import tempfile
        >>> from clustcore import runs
        >>> card = runs.find_run("drc-mnist").card
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_card(Path(place), card)
        ...     read_card(Path(place)) == card
        True
    """
    write_json(folder / CARD, card.to_json())


_REQUIRED: dict[str, type] = {
    "format": int,
    "model": str,
    "config": dict,
    "data": dict,
    "train": dict,
    "weights_sha256": str,
}


def _check(values: Json, where: str) -> None:
    for name, kind in _REQUIRED.items():
        if not isinstance(values.get(name), kind):
            got = repr(values[name]) if name in values else "nothing"
            raise ValueError(f"{where}: field {name!r}: expected {kind.__name__}, got {got}")
    for name in ("embedding", "scores"):
        if not isinstance(values.get(name, {}), dict):
            raise ValueError(f"{where}: field {name!r}: expected dict, got {values[name]!r}")
    if values["format"] != FORMAT:
        raise ValueError(f"{where}: field 'format': expected {FORMAT}, got {values['format']}")
    for name in ("name", "split"):
        if not isinstance(values["data"].get(name), str):
            got = values["data"].get(name)
            raise ValueError(f"{where}: field 'data.{name}': expected str, got {got!r}")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _part(cls: type[_Part], values: Json, **called: str) -> _Part:
    """An object of a card.

    A field that is not there, or of another kind, has its default: a card that was written by hand,
    or by another version, breaks no screen.

    Args:
        called: what the file calls a field, where that is something else.
    """
    key: type = cls  # of the cache
    found = {
        name: _fit(values.get(called.get(name, name)), kind) for name, kind in _kinds(key).items()
    }
    return cls(**{name: value for name, value in found.items() if value is not None})


@functools.cache
def _kinds(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _fit(value: Any, kind: Any) -> Any:
    """A value of JSON as this kind, or None where it is of another."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return next((found for one in inner if (found := _fit(value, one)) is not None), None)
    if origin is tuple:
        parts = [_fit(part, inner[0]) for part in value] if isinstance(value, list) else [None]
        return None if None in parts else tuple(parts)
    if origin is Mapping and isinstance(value, dict):
        whole = inner[1] is Any or all(_fit(part, inner[1]) is not None for part in value.values())
        return value if whole else None
    if origin is Mapping or isinstance(value, bool):  # no field of a part is true or false
        return None
    if kind is float:
        number = isinstance(value, int | float) and math.isfinite(value)
        return float(value) if number else None
    return value if isinstance(value, kind) else None
