"""The base of every config: a frozen dataclass whose fields carry their meaning, range and choices,
and what else names a choice: registries and short hashes.
"""

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
    """A field of a config: default, meaning, and what the check, the form, the CLI flag and the
    cache key need.
    """
    metadata = {"help": help, "range": range, "choices": choices, "unit": unit, "rare": rare}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every config: frozen, keyword-only, checked when it is made.

    Raises:
        ValueError: a field is outside its range or none of its choices, or not finite.
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

        Raises:
            ValueError: a field this config does not have, or a value outside its range.
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
        """Plain JSON values."""
        return dataclasses.asdict(self)


def _is(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:  # the shapes of images are the only ones
        whole = isinstance(value, tuple | list) and len(value) == len(typing.get_args(kind))
        return whole and all(_is(part, int) and part > 0 for part in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind)


def digest(*parts: Any) -> str:
    """A short hash of JSON values: the name of a cached result that depends on exactly these."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
