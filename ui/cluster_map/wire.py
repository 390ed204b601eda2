"""The map's bytes: a JSON header, then little-endian sections at offsets divisible by 4.

    "DMAP" | uint32 length of the header | header, padded with spaces | sections

A message is either *whole* (the geometry, called the base, and everything that changes more often,
called the parts) or a *patch* (the parts alone; its header names the hash of the base it belongs
to). Parts are always complete, so a patch that was overtaken by the next one is no loss.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
MAGIC = b"DMAP"
NEVER = 65_535  # `smallest` of a sample that no strength of the path moves
MISSING = 255  # colour of a sample without a value
_TYPES = {"uint8": "u1", "int8": "i1", "uint16": "<u2", "uint32": "<u4", "float32": "<f4"}
Sections = dict[str, NDArray[Any]]


def pack(header: dict[str, Any], sections: Sections) -> bytes:
    """One message; `format` and the list of sections join the header, offsets count from its end.

    An array's dtype is one of uint8, int8, uint16, uint32, float32.
    """
    listed, blobs, offset = [], [], 0
    for name, array in sections.items():
        blob = np.ascontiguousarray(array, _TYPES[array.dtype.name]).tobytes()
        place = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": offset}
        listed.append({"name": name, **place})
        blobs.append(blob + b"\0" * (-len(blob) % 4))
        offset += len(blobs[-1])
    text = json.dumps(
        {"format": FORMAT, **header, "sections": listed}, separators=(",", ":"), allow_nan=False
    ).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([MAGIC, len(text).to_bytes(4, "little"), text, *blobs])


def content_hash(header: Any, sections: Sections) -> str:
    """Twenty hex digits that name this content."""
    state = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sections.items():
        state.update(f"{name}{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:20]


def digest(parts: dict[str, Any], sections: Sections) -> str:
    """A short hash of the parts: unchanged parts are not sent again."""
    return content_hash(parts, sections)
