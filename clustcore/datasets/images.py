"""Image files from strangers.

Only a few raster formats are opened, and size is checked before anything is decoded. Many are
decoded on all cores.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from clustcore.locations import START, command

MAX_FILE_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
WORTH = 1000  # images of a process: it takes a second to start, in which a core decodes so many


def read_images(
    files: Sequence[Path], size: int, channels: int
) -> tuple[UInt8[np.ndarray, "n c s s"], dict[int, str]]:
    """All images as `read_image` gives each, and what is wrong with those that it cannot read.

    What is wrong is told by row; such rows are zero.

    Many are shared out to processes, as threads make small images slower: most of an image's time
    is then Python's, whose threads wait for one another.
    """
    x = np.zeros((len(files), channels, size, size), np.uint8)
    count = min(_cores(), len(files) // WORTH)
    if count < 2:
        return x, _fill(x, files)
    bounds = [len(files) * i // count for i in range(count + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
    bad: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(_Apart(files[part], x[part])) for part in parts]
        for process in started:  # when all are on their way, as each takes a while to listen
            process.tell()
        for process, part in zip(started, parts, strict=True):
            bad |= {part.start + row: reason for row, reason in process.result().items()}
    return x, bad


def _cores() -> int:
    # those that this process may use; torchrun's on one machine share them
    known = getattr(os, "sched_getaffinity", None)
    cores = len(known(0)) if known else os.cpu_count() or 1
    return cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _fill(x: UInt8[np.ndarray, "n c s s"], files: Sequence[Path]) -> dict[int, str]:
    bad = {}
    for row, file in enumerate(files):
        try:
            x[row] = read_image(file, x.shape[-1], x.shape[1])
        except ValueError as error:
            bad[row] = str(error)
    return bad


class _Apart:
    """A process that decodes into these rows: names in, what is wrong and then the bytes out.

    Not of `multiprocessing`, which would run the caller's script again.
    """

    def __init__(self, files: Sequence[Path], x: UInt8[np.ndarray, "n c s s"]) -> None:
        self.x = x
        self.names = "\0".join(str(file.absolute()) for file in files)
        process = subprocess.Popen(
            command(__name__, *map(str, x.shape)),
            cwd=START,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None  # both are pipes, as asked for
        assert isinstance(process.stdout, io.BufferedReader)
        self.process, self.told, self.answer = process, process.stdin, process.stdout

    def __enter__(self) -> _Apart:
        return self

    def tell(self) -> None:
        """Say which files are its own."""
        with contextlib.suppress(BrokenPipeError):  # it has ended: `result` says so
            self.told.write(os.fsencode(self.names))
            self.told.close()

    def result(self) -> dict[int, str]:
        """What is wrong, by row.

        Raises:
            OSError: the process ended before it was done.
        """
        bad, place = self.answer.readline(), self.x.data.cast("B")
        if not bad or self.answer.readinto(place) != len(place):
            code = self.process.wait()
            raise OSError(f"decoding images: expected them all, got a process that ended: {code}")
        return {int(row): reason for row, reason in json.loads(bad).items()}

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):  # what it was not told
            self.told.close()
        self.answer.close()
        self.process.wait()


def read_image(file: Path, size: int, channels: int) -> UInt8[np.ndarray, "c h w"]:
    """One image: turned upright, laid on white where transparent, its central square resized.

    Raises:
        ValueError: too large, or no readable image; the message names no file.
    """
    with _open(file) as image:
        try:
            if image.mode.startswith("I;16"):  # Pillow's own conversion would clip, not scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            image = ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L")
            if image.size != (size, size):
                image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's words for damaged files
            raise ValueError(f"damaged ({error})") from None
        pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def header(file: Path) -> tuple[int, int, bool]:
    """Width, height and whether there may be colour (a palette may hold some), without decoding.

    Raises:
        ValueError: too large, or no image of a known format; the message names no file.
    """
    with _open(file) as image:
        grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I;16")
        return image.width, image.height, not grey


def _open(file: Path) -> Image.Image:
    """Open without decoding.

    Raises:
        ValueError: too many bytes or pixels, or not an image of a known format.
    """
    try:
        count = file.stat().st_size
        if count > MAX_FILE_BYTES:
            raise ValueError(f"{count} bytes, at most {MAX_FILE_BYTES} are read")
        image = Image.open(file, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"too many pixels ({error})") from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f"not a readable image ({type(error).__name__})") from None
    if image.width * image.height > MAX_PIXELS:
        with image:
            raise ValueError(
                f"{image.width} x {image.height} pixels, at most {MAX_PIXELS} are read"
            )
    return image


def main(argv: Sequence[str]) -> None:
    """What a process of `read_images` does, for an array of this shape."""
    x = np.zeros(tuple(map(int, argv)), np.uint8)
    names = os.fsdecode(sys.stdin.buffer.read()).split("\0")
    bad = _fill(x, [Path(name) for name in names])
    sys.stdout.buffer.write(json.dumps(bad).encode() + b"\n")
    sys.stdout.buffer.write(x.data)


if __name__ == "__main__":
    main(sys.argv[1:])
