"""The means by which results show themselves: a record on one line, a table, a share."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable
from typing import Any


def table(title: str, rows: Iterable[tuple[Any, ...]]) -> str:
    """A small HTML table under a title; all text is escaped.

    Args:
        title: What the table is of.
        rows: The cells of each row, the first of which names it.
    """
    lines = [f"<table><caption>{html.escape(title)}</caption>"]
    for head, *cells in rows:
        data = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        lines.append(f"<tr><th>{html.escape(str(head))}</th>{data}</tr>")
    return "\n".join([*lines, "</table>"])


def brief(record: Any) -> str:
    """A dataclass on one line: of an array its type and shape, in place of its numbers."""
    fields = (
        f"{field.name}={_brief(getattr(record, field.name))}"
        for field in dataclasses.fields(record)
        if field.repr
    )
    return f"{type(record).__name__}({', '.join(fields)})"


def _brief(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{kind}[{', '.join(map(str, value.shape))}]"
    if isinstance(value, str) and len(value) > 20:
        value = value[:12] + "..."  # a hash, most often
    text = repr(value)
    return text if "\n" not in text else f"<{type(value).__name__}>"


def percent(share: float) -> str:
    """A share as "12.3 %"."""
    return f"{100 * share:.1f} %"
