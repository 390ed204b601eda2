"""A form for a config: one control per field, drawn from its range, choices, unit and help."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from clustcore.config import Config
from ui import notes

_DEVICES = ("auto", "cpu", "cuda", "mps")
_PER_ROW = 4


def form(
    config: type[Config],
    key: str,
    defaults: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Draw a config's fields, and say at each what its own check refuses.

    The rare ones stand under "More controls". The shape of the images comes from the data and is
    not asked.

    Args:
        key: of the widgets: `<key>_<field>`. Another key is another form.
        defaults: what fields show at first, where that differs from the config's own.
        without: fields that are not asked.

    Returns:
        the value of each field asked, or None where the check refuses one.
    """
    kinds = typing.get_type_hints(config)
    start = config().to_dict() | {
        name: value for name, value in (defaults or {}).items() if name in kinds
    }
    asked = [
        field
        for field in dataclasses.fields(config)
        if field.name not in without and typing.get_origin(kinds[field.name]) is not tuple
    ]
    usual = [field for field in asked if not field.metadata.get("rare")]
    rare = [field for field in asked if field.metadata.get("rare")]
    values: dict[str, Any] = {}
    slots: dict[str, Any] = {}
    for row in range(0, len(usual), _PER_ROW):
        places = st.columns(_PER_ROW, vertical_alignment="bottom")
        for place, field in zip(places, usual[row : row + _PER_ROW], strict=False):
            with place:
                values[field.name] = _control(field, kinds[field.name], start, key)
                slots[field.name] = st.empty()
    if rare:
        with st.popover("More controls", icon=":material/tune:"):
            for field in rare:
                values[field.name] = _control(field, kinds[field.name], start, key)
                slots[field.name] = st.empty()
    try:
        config(**{name: value for name, value in values.items() if value is not None})
    except ValueError as error:
        named = re.match(rf"{config.__name__}\.(\w+): (.*)", str(error), re.S)
        slot = slots.get(named[1]) if named else None
        said = notes.plain(named[2] if slot is not None and named else str(error))
        (st if slot is None else slot).error(said, icon=":material/error:")
        return None
    return {name: value for name, value in values.items() if value is not None}


def _control(field: Any, kind: Any, start: Mapping[str, Any], key: str) -> Any:
    meta, value = field.metadata, start[field.name]
    about = meta.get("help", "")
    name, unit = field.name.replace("_", " "), meta.get("unit", "")
    unit = f", {unit}" if unit and not name.startswith(unit) else ""
    common = {
        "key": f"{key}_{field.name}",
        "help": notes.plain(f"{about[:1].upper()}{about[1:]}{_span(meta.get('range'))}."),
        "persist_state": "session",
    }
    label = f"{name[:1].upper()}{name[1:]}{unit}"
    if kind is bool:
        return st.toggle(label, value, **common)
    choices = list(meta.get("choices") or (_DEVICES if field.name == "device" else ()))
    if choices:
        free = not meta.get("choices")
        if value not in choices:
            choices.append(value)
        return st.selectbox(label, choices, choices.index(value), accept_new_options=free, **common)
    if kind in (int, float):
        low, high = meta.get("range") or (None, None)
        bounds = (kind(v) if v is not None else None for v in (low, high))
        step = 1 if kind is int else _step(float(value), high)
        shown = "%d" if kind is int else "%g"
        return st.number_input(label, *bounds, kind(value), step, shown, **common)
    return st.text_input(label, value, **common)


def _span(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f": {bounds[0]:,} to {bounds[1]:,}"


def _step(value: float, high: float | None) -> float:
    # a tenth of the value's power of ten, so that a click is a small change of it
    size = abs(value) or (high or 1) / 10
    return min(1.0, 10.0 ** (math.floor(math.log10(size)) - 1))
