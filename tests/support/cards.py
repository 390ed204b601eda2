"""The least that a card may say."""

from __future__ import annotations

from typing import Any

from clustcore.runs import FORMAT, Card

LEAST: dict[str, Any] = {
    "format": FORMAT,
    "model": "dec",
    "config": {},
    "data": {"name": "mnist", "split": "test"},
    "train": {},
    "weights_sha256": "0" * 64,
}


def some_card(**fields: Any) -> Card:
    """A card that says the least, and these fields."""
    return Card.from_json(LEAST | fields)
