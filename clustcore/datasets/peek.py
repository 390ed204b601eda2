"""A look at images before anything is trained on them: how many, how large, a few thumbnails.

`python -m clustcore.datasets.peek NAME` prints it as JSON, so that the memory that a whole data set
takes belongs to a process that ends.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clustcore.datasets import find_folder, folder, load_samples, roots
from clustcore.datasets.images import header, read_image
from clustcore.locations import START, command, environment

THUMBS = 12
_SIDE, _GAP = 56, 8  # pixels of a thumbnail, and between two
_HEADERS = 300  # files of a folder that are opened for their size
_LISTED = 200  # folders below the roots that are offered


@dataclass(frozen=True)
class Peek:
    """What there is to train on."""

    n: int
    sizes: str  # such as "28 x 28 pixels", or "64 x 48 to 640 x 480 pixels"
    colour: bool
    classes: int  # 0: no labels
    unread: tuple[str, ...]  # files that cannot be read, of those that were opened
    sheet: bytes  # PNG, the thumbnails side by side
    shape: tuple[int, int, int] = (1, 28, 28)  # as training sees them


def peek(name: str, download: bool = False) -> Peek:
    """Look at the training images of this name; folders are listed, other data read as a whole.

    Raises:
        ValueError: they are not there, or not readable; the message says what was found.
        OSError: a download failed.
    """
    if name.startswith("folder:"):
        return _folder(name.removeprefix("folder:"))
    data = load_samples(name, "train", download=download)
    rows = np.linspace(0, len(data) - 1, min(THUMBS, len(data))).astype(int)
    c, h, w = data.x.shape[1:]
    thumbs = [np.round(data.x[row] * 255).astype(np.uint8) for row in rows]
    classes = len(data.class_names)
    sizes = f"{w} x {h} pixels"
    return Peek(len(data), sizes, c == 3, classes, data.skipped, _sheet(thumbs), (c, h, w))


def _folder(where: str) -> Peek:
    place, root = find_folder(where)
    if (place / "train").is_dir() and (place / "test").is_dir():
        place = place / "train"
    files, _, classes = folder.find(place, 100_000)
    rows = np.unique(np.linspace(0, len(files) - 1, min(_HEADERS, len(files))).astype(int))
    readable: dict[Path, tuple[int, int, bool]] = {}
    unread = []
    for file in (files[row] for row in rows):
        try:
            if not file.resolve().is_relative_to(root.resolve()):
                raise ValueError(f"a link out of {root}")
            readable[file] = header(file)
        except ValueError as error:
            unread.append(f"{file.relative_to(place)}: {error}")
    opened = list(readable)
    thumbs: list[UInt8[np.ndarray, "c h w"]] = []
    spread = opened[:: max(1, len(opened) // THUMBS)]
    for file in dict.fromkeys(spread + opened):  # others in place of damaged ones
        if len(thumbs) == THUMBS:
            break
        try:
            thumbs.append(read_image(file, _SIDE, 3 if readable[file][2] else 1))
        except ValueError as error:
            unread.append(f"{file.relative_to(place)}: {error}")
            del readable[file]
    if len(readable) < 2:
        raise ValueError(
            f"{place}: expected at least 2 readable images, got {len(readable)} of {len(rows)} "
            f"that were opened{'; not read: ' if unread else ''}{'; '.join(unread[:3])}"
        )
    sizes = [(width, height) for width, height, _ in readable.values()]
    colour = any(tinted for _, _, tinted in readable.values())
    (w, h), (wide, high) = np.min(sizes, 0), np.max(sizes, 0)
    said = f"{w} x {h}" + ("" if (w, h) == (wide, high) else f" to {wide} x {high}") + " pixels"
    shape = (3, 32, 32) if colour else (1, 28, 28)
    return Peek(len(files), said, colour, len(classes), tuple(unread), _sheet(thumbs), shape)


def _sheet(thumbs: Sequence[UInt8[np.ndarray, "c h w"]]) -> bytes:
    times = max(1, _SIDE // max(thumbs[0].shape[1:]))  # enlarged whole, or they blur
    h, w = (side * times for side in thumbs[0].shape[1:])
    sheet = np.zeros((h, len(thumbs) * (w + _GAP), 4), np.uint8)  # clear between them
    for i, x in enumerate(thumbs):
        large = np.kron(np.broadcast_to(x, (3, *x.shape[1:])), np.ones((1, times, times), np.uint8))
        place = sheet[:, i * (w + _GAP) : i * (w + _GAP) + w]
        place[..., :3], place[..., 3] = large.transpose(1, 2, 0), 255
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "PNG")
    return out.getvalue()


def folders() -> list[str]:
    """Folders with images below the roots, as "folder:..." names.

    Each is named by its path below its root, which is at most two levels deep. The folders of
    classes are not named by themselves.
    """
    found: dict[str, None] = {}
    for root in roots():
        for place in _below(root, 2):
            found.setdefault(f"folder:{place.relative_to(root).as_posix()}")
            if len(found) >= _LISTED:
                return list(found)
    return list(found)


def _below(place: Path, depth: int) -> list[Path]:
    found = []
    for path in _inside(place):
        if not os.path.isdir(path):  # unlike pathlib's, no error where one may not look
            continue
        if _holds_images(path):
            found.append(path)
        elif depth > 1:
            found += _below(path, depth - 1)
    return found


def _holds_images(place: Path) -> bool:
    inside = _inside(place)
    if {"train", "test"} <= {p.name for p in inside if os.path.isdir(p)}:
        inside = _inside(place / "train")
    if any(p.suffix.lower() in folder.SUFFIXES for p in inside):
        return True
    classes = [p for p in inside if os.path.isdir(p)][:3]
    return len(classes) > 1 and all(
        any(p.suffix.lower() in folder.SUFFIXES for p in _inside(one)) for one in classes
    )


def _inside(place: Path) -> list[Path]:
    """What lies in a folder, by name, without the hidden; nothing where it cannot be read."""
    try:
        return sorted(p for p in place.iterdir() if p.name[0] != ".")
    except OSError:
        return []


def peek_apart(name: str, download: bool = False) -> Peek:
    """`peek` in a process of its own.

    Raises:
        ValueError: as `peek`, and where the process was killed.
    """
    done = subprocess.run(
        command("clustcore.datasets.peek", name, *["--download"] * download),
        cwd=START,
        env=environment() | {"DRIFTMAP_DATA": os.pathsep.join(map(str, roots()))},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
        raise ValueError(f"{name}: expected readable images, got: {said[0]}") from None
    if "error" in found:
        raise ValueError(found["error"])
    found["sheet"] = base64.b64decode(found["sheet"])
    found |= {name: tuple(v) for name, v in found.items() if isinstance(v, list)}
    return Peek(**found)


def main(argv: Sequence[str]) -> int:
    """Print what `peek` finds, or {"error": ...}, as JSON."""
    try:
        found = dataclasses.asdict(peek(argv[0], "--download" in argv))
        found["sheet"] = base64.b64encode(found["sheet"]).decode()
    except (ValueError, OSError) as error:
        found = {"error": str(error)}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
