"""Writes `assets/data` anew: what `clustcore.datasets.shipped` reads."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clustcore.datasets import cifar, data_folder, mnist, shipped
from clustcore.datasets.shipped import ARCHIVE, COLUMNS, PER_SHEET, ROWS, SOURCES, encode_sheet

_SIDE = 32  # pixels, of the images of CIFAR-10


def make(
    root: Path | None = None,
    out: Path | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Write the shipped folders, or others in `out`.

    They are made of what lies below `root`, by default `data_folder()`.

    That is IDX files in torchvision's layout, and `test/<class>/` with the .jpg files of CIFAR-10's
    copy. A data set that is not there is skipped and reported.

    Raises:
        ValueError: none is there, or one is damaged.
    """
    root, out = root or data_folder(), out or shipped.ASSETS
    places = {name: root / folder / "raw" for name, folder in mnist.FOLDERS.items()}
    places["cifar10-jpeg"] = root / "test"
    there = [name for name in SOURCES if places[name].is_dir()]
    if not there:
        expected = ", ".join(f"{place.relative_to(root)}/" for place in places.values())
        raise ValueError(f"{root}: expected one or more of {expected}, got none of them")
    for name in SOURCES:
        if name not in there:
            report(f"{name}: skipped, no {places[name]}")
            continue
        files, y, geometry = (
            _archive(places[name]) if name == "cifar10-jpeg" else _sheets(name, root)
        )
        buffer = io.BytesIO()
        np.save(buffer, y)
        files["labels.npy"] = buffer.getvalue()
        geometry = {"n": len(y)} | geometry
        geometry |= {"columns": COLUMNS, "rows": ROWS, "sheets": -(-len(y) // PER_SHEET)}
        hashes = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
        about = SOURCES[name] | geometry | {"sha256": hashes}
        text = json.dumps(about, indent=1, ensure_ascii=False)
        files["source.json"] = (text + "\n").encode()
        (out / name).mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (out / name / file).write_bytes(data)
        report(f"{name}: {len(y)} images")
    shipped.forget()


def _sheets(name: str, root: Path) -> tuple[dict[str, bytes], np.ndarray, dict[str, int]]:
    x, y = mnist.read(name, "test", root)
    files = {
        f"tile-{i}.png": encode_sheet(x[i * PER_SHEET : (i + 1) * PER_SHEET], COLUMNS, ROWS)
        for i in range(-(-len(x) // PER_SHEET))
    }
    return files, y, {"width": x.shape[2], "height": x.shape[1]}


def _archive(folder: Path) -> tuple[dict[str, bytes], np.ndarray, dict[str, int]]:
    """The files as they are, in the loader's order, so that row numbers agree."""
    paths, y = cifar.list_folder(folder, cifar.CLASSES)
    if not all(cifar.is_lossy([path]) for path in paths):
        raise ValueError(f"{folder}: expected a copy in .jpg files alone, got others too")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as tar:
        for path in paths:  # neither owner nor time: the same images give the same bytes
            member = tarfile.TarInfo(f"{path.parent.name}/{path.name}")
            data = path.read_bytes()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    files = {ARCHIVE: buffer.getvalue()}
    return files, y.astype(np.uint8), {"width": _SIDE, "height": _SIDE}
