"""Configs: frozen dataclasses whose fields carry their meaning, range and choices; short hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import typing
from dataclasses import dataclass
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    range: tuple[int | float, int | float] | None = None,
    choices: tuple[Any, ...] = (),
    unit: str = "",
    rare: bool = False,
) -> Any:
    """A field of a config, with all that its check, its form and its flag need to know.

    Args:
        default: Its value where none is given.
        help: What it means.
        range: The least and the largest value.
        choices: All values there are.
        unit: Of the value, in words.
        rare: Whether a form hides it among the further controls.

    Examples:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Search(Config):
        ...     steps: int = setting(20, "gradient steps", range=(1, 1000))
        >>> Search().steps
        20
        >>> dataclasses.fields(Search)[0].metadata["help"]
        'gradient steps'
    """
    metadata = {"help": help, "range": range, "choices": choices, "unit": unit, "rare": rare}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every config: frozen, keyword-only, checked when it is made.

    Raises:
        ValueError: a field is outside its range or none of its choices, or not finite.

    Examples:
        >>> from clustcore.attacks.pgd import PGDConfig
        >>> PGDConfig(steps=0)
        Traceback (most recent call last):
        ValueError: PGDConfig.steps: expected 1 to 1000, got 0
    """

    def __post_init__(self) -> None:
        kinds = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value, meta = getattr(self, field.name), field.metadata
            where = f"{type(self).__name__}.{field.name}"
            if not _is(value, kinds[field.name]):
                name = getattr(kinds[field.name], "__name__", kinds[field.name])
                raise ValueError(f"{where}: expected {name}, got {value!r}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{where}: expected a finite number, got {value!r}")
            bounds = meta.get("range")
            if bounds is not None and not bounds[0] <= value <= bounds[1]:
                raise ValueError(f"{where}: expected {bounds[0]} to {bounds[1]}, got {value!r}")
            choices = meta.get("choices")
            if choices and value not in choices:
                known = ", ".join(map(str, choices))
                raise ValueError(f"{where}: expected one of {known}, got {value!r}")

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "") -> Any:
        """Build from JSON.

        Args:
            values: Fields by name; the others are as by default.
            where: What a message says first; the config's name by default.

        Raises:
            ValueError: a field this config does not have, or a value outside its range.

        Examples:
            >>> from clustcore.attacks.pgd import PGDConfig
            >>> PGDConfig.from_dict({"steps": 7}).steps
            7
            >>> PGDConfig.from_dict({"step": 7})
            Traceback (most recent call last):
            ValueError: PGDConfig: unknown field 'step'; known: after_flip, ...
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise ValueError(
                    f"{where or cls.__name__}: unknown field {key!r}; "
                    f"known: {', '.join(sorted(known))}"
                )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values.

        Examples:
            >>> from clustcore.attacks.pgd import PGDConfig
            >>> PGDConfig(steps=7).to_dict()["steps"]
            7
        """
        return dataclasses.asdict(self)


def _is(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:  # the shapes of images are the only ones
        whole = isinstance(value, tuple | list) and len(value) == len(typing.get_args(kind))
        return whole and all(_is(part, int) and part > 0 for part in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind)


def digest(*parts: Any) -> str:
    """A short hash of JSON values: the name of a cached result that depends on exactly these.

    Examples:
        >>> digest("pgd", {"eps": 0.1, "steps": 20}) == digest("pgd", {"steps": 20, "eps": 0.1})
        True
        >>> len(digest("pgd"))
        20
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
