"""Files that are there whole or not at all, and locks that go with the process that holds them.

Numpy only, as all that a map is drawn from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

try:
    import fcntl

    LOCKS = True
except ImportError:  # not on Windows: nothing is held there
    LOCKS = False

PART = 15 * 2**20  # bytes of a part of what is split, so that it passes where 16 MiB are the most


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place when the block ends well.

    Where it does not, the file is removed.

    A full disk or a kill in the middle of saving leaves what was there before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:  # Windows syncs no file that is only read
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def save_npz(path: Path, values: dict[str, Any]) -> None:
    """Write an npz, whole or not at all."""
    with atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **values)


class Arrays(dict[str, Any]):
    """The arrays of an npz; one that should be there and is not is said."""

    def __init__(self, path: Path, arrays: dict[str, Any]) -> None:
        super().__init__(arrays)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{self._path}: expected an array {name!r}, got none of that name")


def load_npz(path: Path) -> Arrays:
    """Read an npz, without pickle.

    Raises:
        ValueError: the file is damaged, or holds Python objects.
    """
    try:
        # opened here: numpy leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
            return Arrays(path, {name: npz[name] for name in npz.files})
    except (
        AttributeError,
        TypeError,
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
    ) as error:
        raise ValueError(f"{path}: expected a readable npz, got {error}") from None


def sha256(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training into a run's folder while the block runs.

    The lock is the operating system's: it goes with the process, however that ends.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not LOCKS:
        yield
        return
    path = folder / ".lock"
    while True:
        with path.open("a+", encoding="utf-8") as file:
            if not lock(file):
                file.seek(0)
                raise ValueError(
                    f"run {folder.name!r} is being trained by another process (pid {file.read()}): "
                    "wait for it, or choose another name"
                )
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue  # the one before has removed it since it was opened
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def is_locked(folder: Path) -> bool:
    """Whether a process trains into this folder now."""
    try:
        with (folder / ".lock").open("rb") as file:
            return not lock(file, shared=True)
    except OSError:
        return False


def lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, by every process that inherited it; whether that went.

    Args:
        shared: only ask: locks that ask do not keep one another out.
    """
    if not LOCKS:
        return True
    for _ in range(1 if shared else 5):
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0 if shared else 0.1)  # somebody may only have asked
    return False
