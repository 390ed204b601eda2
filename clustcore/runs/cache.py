"""Paths and attackers computed on this machine, found again by what they depend on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from clustcore.config import digest
from clustcore.files import sha256
from clustcore.locations import cache_folder
from clustcore.runs.arrays import path_name, read_path
from clustcore.types import AttackPath, PathKey

if TYPE_CHECKING:
    from clustcore.runs.info import RunInfo

ATTACKERS = "attackers"
PATH_SAMPLES = 2000
FIT_SAMPLES = 10_000  # that a learned attacker learns from, as many as the paper's saw
FLIP_SAMPLES = 1000
_PATH_CODE = 1  # raised whenever a path would come out differently


def attacker_file(run: RunInfo, attack: str) -> Path:
    """Where the learned attack of a run lies: the one fitted on this machine, else the run's own.

    There need not be one.

    Examples:
        >>> from clustcore import runs
        >>> attacker_file(runs.find_run("alrdc-mnist"), "alrdc").name
        'alrdc.safetensors'
    """
    fitted = fitted_file(run, attack)
    return fitted if fitted.is_file() else run.folder / ATTACKERS / f"{attack}.safetensors"


def fitted_file(run: RunInfo, attack: str) -> Path:
    """Where a learned attack goes that is fitted now.

    Into the run, or into the cache where the run is a shipped one, which stays as it is.

    Examples:
        >>> from clustcore import runs
        >>> run = runs.find_run("alrdc-mnist")  # ships, and is left as it is
        >>> fitted_file(run, "alrdc").is_relative_to(run.folder)
        False
    """
    if not run.shipped:
        return run.folder / ATTACKERS / f"{attack}.safetensors"
    name = digest(run.card.weights_sha256, attack)
    return cache_folder() / ATTACKERS / f"{name}.safetensors"


def cached_path_file(run: RunInfo, key: PathKey) -> Path:
    """The cache file of a path: its name is a hash of all that the path depends on.

    Examples:
        >>> from clustcore import runs
        >>> run = runs.find_run("drc-mnist")
        >>> first = cached_path_file(run, PathKey("pgd", "pixels", "linf"))
        >>> first == cached_path_file(run, PathKey("pgd", "pixels", "linf", seed=1))
        False
    """
    attack, space, norm, *aim = dataclasses.astuple(key)
    made_of = (_PATH_CODE, run.card.weights_sha256, run.projector_sha256, run.card.section("data"))
    attacker = attacker_file(run, attack)
    # a learned attack changes whenever it is fitted
    fitted = [sha256(attacker)] if attacker.is_file() else []
    name = digest(*made_of, attack, space, norm, *fitted, *aim, PATH_SAMPLES)
    return cache_folder() / "paths" / f"{name}.npz"


def stored_path(run: RunInfo, key: PathKey) -> AttackPath | None:
    """The path shipped with a run, else the one computed earlier on this machine, else None.

    Paths of other weights than the run's are left aside.

    Raises:
        ValueError: a file is damaged.

    Examples:
        >>> from clustcore import runs
        >>> stored_path(runs.find_run("drc-mnist"), PathKey("pgd", "pixels", "linf"))
        AttackPath(pgd, pixels linf, 11 strengths to 0.4, 2,000 samples, 100.0 % moved at the last)
    """
    shipped = read_path(run.folder / "paths" / path_name(key))
    # a learned attack that was fitted since walks another path
    own = attacker_file(run, key.attack).is_relative_to(run.folder)
    weights = run.card.weights_sha256
    if own and shipped is not None and shipped.weights == weights and shipped.seed == key.seed:
        return shipped
    cached = cached_path_file(run, key)
    try:
        return read_path(cached)
    except ValueError:
        cached.unlink(missing_ok=True)  # a cache can be made again
        return None
