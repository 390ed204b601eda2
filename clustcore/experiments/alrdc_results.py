"""What `reproduce alrdc` measured: `assets/alrdc.json`, read and written. Without torch."""

from __future__ import annotations

import json
from typing import Any

from clustcore import files
from clustcore.locations import ASSETS

RESULTS = ASSETS / "alrdc.json"


def entries() -> list[dict[str, Any]]:
    """What `reproduce alrdc` measured, one entry a data set, mode and seed.

    Raises:
        ValueError: the file is damaged.

    Examples:
        >>> first = entries()[0]
        >>> first["data"], first["seed"], first["rows"][0]["model"]
        ('fashion-mnist', 0, 'undefended')
    """
    if not RESULTS.is_file():
        return []
    try:
        return json.loads(RESULTS.read_text(encoding="utf-8"))["entries"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{RESULTS}: expected entries in JSON, got {error!r}") from None


def save(entry: dict[str, Any]) -> None:
    """Write an entry into the file, in the place of an older one of the same kind.

    The rest stays as it is.
    """
    key = ("data", "mode", "seed")
    others = [e for e in entries() if any(e[k] != entry[k] for k in key)]
    found = sorted([*others, entry], key=lambda e: (e["mode"], e["data"], e["seed"]))
    files.write_json(RESULTS, {"entries": found})
