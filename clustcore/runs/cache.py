"""Paths and attackers computed on this machine, found again by what they depend on."""

from __future__ import annotations

import os
from pathlib import Path

from clustcore.config import digest
from clustcore.files import sha256
from clustcore.runs.arrays import path_name, read_path
from clustcore.runs.folder import PROJECT, folders, read_card
from clustcore.types import AttackPath, PathKey

ATTACKERS = "attackers"
PATH_SAMPLES = 2000
FIT_SAMPLES = 10_000  # that a learned attacker learns from, as many as the paper's saw
FLIP_SAMPLES = 1000
_PATH_CODE = 1  # raised whenever a path would come out differently


def cache_folder() -> Path:
    """Where results computed on demand are kept: `.cache/`, or the folder DRIFTMAP_CACHE names."""
    return Path(os.environ.get("DRIFTMAP_CACHE", PROJECT / ".cache"))


def attacker_file(folder: Path, attack: str) -> Path:
    """Where the learned attack of a run lies: the one fitted on this machine, else the run's own.

    There need not be one.
    """
    fitted = fitted_file(folder, attack)
    return fitted if fitted.is_file() else folder / ATTACKERS / f"{attack}.safetensors"


def fitted_file(folder: Path, attack: str) -> Path:
    """Where a learned attack goes that is fitted now: into the run, or beside it in the cache where
    the run is a shipped one, which stays as it is.
    """
    if folders()[0] not in folder.parents:
        return folder / ATTACKERS / f"{attack}.safetensors"
    name = digest(read_card(folder)["weights_sha256"], attack)
    return cache_folder() / ATTACKERS / f"{name}.safetensors"


def cached_path_file(folder: Path, key: PathKey) -> Path:
    """The cache file of a path: its name is a hash of all that the path depends on."""
    card = read_card(folder)
    projector = folder / "projector.safetensors"
    drawn = sha256(projector) if projector.is_file() else ""
    made_of = (_PATH_CODE, card["weights_sha256"], drawn, card["data"])
    parts = (*made_of, key.attack, key.space, key.norm)
    attacker = attacker_file(folder, key.attack)
    if attacker.is_file():  # a learned attack changes whenever it is fitted
        parts += (sha256(attacker),)
    return cache_folder() / "paths" / f"{digest(*parts, key.target, key.seed, PATH_SAMPLES)}.npz"


def stored_path(folder: Path, key: PathKey) -> AttackPath | None:
    """The path shipped with a run, else the one computed earlier on this machine, else None.

    Paths of other weights than the run's are left aside.

    Raises:
        ValueError: a file is damaged, or the run's card is.
    """
    weights = read_card(folder)["weights_sha256"]
    shipped = read_path(folder / "paths" / path_name(key))
    # a learned attack that was fitted since walks another path
    own = attacker_file(folder, key.attack).is_relative_to(folder)
    if own and shipped is not None and shipped.weights == weights and shipped.seed == key.seed:
        return shipped
    cached = cached_path_file(folder, key)
    try:
        return read_path(cached)
    except ValueError:
        cached.unlink(missing_ok=True)  # a cache can be made again
        return None
