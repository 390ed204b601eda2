"""The shipped test images.

Grey ones lie as lossless sheets that are the data and the map's sprites at once:
`assets/data/<name>/tile-0.png ... tile-9.png` hold 1,000 images each, 40 columns x 25 rows, row by
row: image i is in sheet i // 1000. Colour ones lie as the files they came in, `images.tar.xz`,
which is a sixth of the size; their sheets are made on demand. Beside them `labels.npy` and
`source.json` (source, licence, classes, geometry, sha256 of each file). Needs numpy and Pillow
only. `make_shipped.make` writes the folders.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import lzma
import tarfile
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clustcore import locations

ASSETS = locations.ASSETS / "data"
COLUMNS, ROWS = 40, 25
PER_SHEET = COLUMNS * ROWS
SOURCES = {
    "mnist": {
        "title": "MNIST, test split",
        "source": "Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits",
        "url": "http://yann.lecun.com/exdb/mnist/",
        "licence": "CC BY-SA 3.0, https://creativecommons.org/licenses/by-sa/3.0/",
        "classes": list("0123456789"),
    },
    "fashion-mnist": {
        "title": "Fashion-MNIST, test split",
        "source": "H. Xiao, K. Rasul, R. Vollgraf (Zalando): Fashion-MNIST, arXiv 1708.07747",
        "url": "https://github.com/zalandoresearch/fashion-mnist",
        "licence": "MIT, Copyright (c) 2017 Zalando SE, see LICENSE",
        "classes": [
            "T-shirt",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
    },
    "cifar10-jpeg": {
        "title": "CIFAR-10, test split, a public JPEG copy: lossy",
        "source": "A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
        "url": "https://www.cs.toronto.edu/~kriz/cifar.html",
        "licence": "none stated by the authors; use in research is customary",
        "classes": [
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ],
    },
}
ARCHIVE = "images.tar.xz"
_MAX_FILE_BYTES = 100_000  # of one image in an archive


def source(name: str) -> dict[str, Any]:
    """What `source.json` says.

    title, source, url, licence, classes, n, width, height, columns, rows, sheets, sha256 per file.

    Raises:
        ValueError: no such data set ships, or the file is missing or damaged.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown shipped data set {name!r}; known: {', '.join(SOURCES)}")
    path = ASSETS / name / "source.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected the shipped source.json, got {error}") from None


def sheet(name: str, index: int) -> bytes:
    """One sheet of images as a PNG, as it ships or made now.

    It holds images `1000 * index` to `1000 * index + 999`.

    Raises:
        ValueError: no such data set, sheet or file.
    """
    info = source(name)
    if not 0 <= index < info["sheets"]:
        raise ValueError(f"{name}: sheet: expected 0 to {info['sheets'] - 1}, got {index}")
    return _made_sheet(name, index) if _is_colour(info) else _bytes(name, f"tile-{index}.png")


@functools.cache
def images(name: str) -> UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]:
    """All test images, read-only.

    Raises:
        ValueError: no such data set, or a file is missing, damaged or of another size.
    """
    info = source(name)
    x = _from_archive(name, info) if _is_colour(info) else _from_sheets(name, info)
    x.flags.writeable = False
    return x


def labels(name: str) -> UInt8[np.ndarray, " n"]:
    """The true classes of the test images.

    Raises:
        ValueError: no such data set, or the file is missing, damaged or of another length.
    """
    n, path = source(name)["n"], ASSETS / name / "labels.npy"
    try:
        y = np.load(io.BytesIO(_bytes(name, "labels.npy")), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected {n} labels as uint8, got {error}") from None
    if y.shape != (n,) or y.dtype != np.uint8:
        raise ValueError(f"{path}: expected {n} labels as uint8, got {y.dtype} of shape {y.shape}")
    return y


def verify(name: str) -> None:
    """Compare every shipped file with its sha256 in `source.json`.

    Raises:
        ValueError: a file is missing or differs.
    """
    for file, expected in source(name)["sha256"].items():
        got = hashlib.sha256(_bytes(name, file)).hexdigest()
        if got != expected:
            raise ValueError(f"{ASSETS / name / file}: expected sha256 {expected}, got {got}")


def encode_sheet(
    x: UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"],
    columns: int = COLUMNS,
    rows: int | None = None,
) -> bytes:
    """Images row by row on one lossless PNG, the rest black; also for data that do not ship."""
    n, h, w = x.shape[:3]
    rows = -(-n // columns) if rows is None else rows
    grid = np.zeros((rows * columns, *x.shape[1:]), np.uint8)
    grid[:n] = x
    grid = grid.reshape(rows, columns, *x.shape[1:]).swapaxes(1, 2)
    out = io.BytesIO()
    Image.fromarray(grid.reshape(rows * h, columns * w, *x.shape[3:])).save(
        out, "PNG", optimize=True
    )
    return out.getvalue()


def forget() -> None:
    """Drop what was read: the files were written anew."""
    images.cache_clear()
    _made_sheet.cache_clear()


def _is_colour(info: dict[str, Any]) -> bool:
    return ARCHIVE in info["sha256"]


def _from_sheets(name: str, info: dict[str, Any]) -> UInt8[np.ndarray, "n h w"]:
    w, h = info["width"], info["height"]
    sheets = []
    for index in range(info["sheets"]):
        path, data = ASSETS / name / f"tile-{index}.png", sheet(name, index)
        expected = (info["columns"] * w, info["rows"] * h)
        try:
            with Image.open(io.BytesIO(data), formats=["PNG"]) as png:
                if png.size != expected or png.mode != "L":
                    raise ValueError(f"a {png.mode} image of {png.width} x {png.height} pixels")
                pixels = np.asarray(png)
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"{path}: expected a grey PNG of {expected[0]} x {expected[1]} pixels, got {error}"
            ) from None
        grid = pixels.reshape(info["rows"], h, info["columns"], w)
        sheets.append(grid.transpose(0, 2, 1, 3).reshape(-1, h, w))
    return np.concatenate(sheets)[: info["n"]]


def _from_archive(name: str, info: dict[str, Any]) -> UInt8[np.ndarray, "n h w 3"]:
    """Decoded in memory, in the order of the archive; nothing is written to disk."""
    n, size = info["n"], (info["width"], info["height"])
    x = np.empty((n, info["height"], info["width"], 3), np.uint8)
    path, count = ASSETS / name / ARCHIVE, 0
    try:
        with tarfile.open(fileobj=io.BytesIO(_bytes(name, ARCHIVE)), mode="r|xz") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is None or member.size > _MAX_FILE_BYTES or count == n:
                    raise ValueError(f"{member.name!r} of {member.size} bytes as number {count}")
                with Image.open(io.BytesIO(file.read()), formats=["JPEG"]) as jpg:
                    if jpg.size != size:
                        raise ValueError(f"{member.name!r} of {jpg.width} x {jpg.height} pixels")
                    x[count] = np.asarray(jpg.convert("RGB"))
                count += 1
        if count < n:
            raise ValueError(f"{count}")
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path}: expected {n} JPEG images of {size[0]} x {size[1]} pixels, got {error}"
        ) from None
    return x


@functools.cache
def _made_sheet(name: str, index: int) -> bytes:
    return encode_sheet(images(name)[index * PER_SHEET : (index + 1) * PER_SHEET], COLUMNS, ROWS)


def _bytes(name: str, file: str) -> bytes:
    path = ASSETS / name / file
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: expected a shipped file, got {error.strerror}") from None
