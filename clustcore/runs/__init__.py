"""A run is a folder: list runs, read their cards, maps and paths, and what is cached of them.

Numpy only, so that a map is drawn before torch is loaded.
"""

from __future__ import annotations

from clustcore.runs.arrays import (
    bare_name,
    path_name,
    read_bare,
    read_map,
    read_min_flips,
    read_path,
    write_bare,
    write_map,
    write_min_flips,
    write_path,
)
from clustcore.runs.cache import (
    ATTACKERS,
    FIT_SAMPLES,
    FLIP_SAMPLES,
    PATH_SAMPLES,
    attacker_file,
    cached_path_file,
    fitted_file,
    stored_path,
)
from clustcore.runs.card import (
    FORMAT,
    Card,
    CardAttack,
    CardDefence,
    CardRow,
    CardScores,
    read_card,
    write_card,
)
from clustcore.runs.folder import (
    NAME_RULE,
    WEIGHTS,
    check_name,
    folders,
    has_weights,
    is_name,
    new_folder,
    taken,
    weights_files,
    weights_parts,
)
from clustcore.runs.info import UNDEFENDED, RunInfo, find_run, list_runs

__all__ = [
    "ATTACKERS",
    "FIT_SAMPLES",
    "FLIP_SAMPLES",
    "FORMAT",
    "NAME_RULE",
    "PATH_SAMPLES",
    "UNDEFENDED",
    "WEIGHTS",
    "Card",
    "CardAttack",
    "CardDefence",
    "CardRow",
    "CardScores",
    "RunInfo",
    "attacker_file",
    "bare_name",
    "cached_path_file",
    "check_name",
    "find_run",
    "fitted_file",
    "folders",
    "has_weights",
    "is_name",
    "list_runs",
    "new_folder",
    "path_name",
    "read_bare",
    "read_card",
    "read_map",
    "read_min_flips",
    "read_path",
    "stored_path",
    "taken",
    "weights_files",
    "weights_parts",
    "write_bare",
    "write_card",
    "write_map",
    "write_min_flips",
    "write_path",
]
