"""The models: name -> where its class lives. Listing the names imports nothing."""

from __future__ import annotations

MODELS = {
    "alrdc": "clustcore.models.alrdc:ALRDC",
    "drc": "clustcore.models.drc:DRC",
    "dec": "clustcore.models.dec:DEC",
    "wrapped": "clustcore.models.base:Wrapped",
}
