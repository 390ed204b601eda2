"""What Train says before a start that is bound to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from clustcore import runs
from ui import cached, notes


def agree(teach: bool, config: Mapping[str, Any] | None) -> bool:
    """Whether there is a teacher where one is asked for, and only there; else it is said."""
    values = config or {}
    heads = values.get("heads") == "teacher"
    asked = bool(values.get("taught", teach)) or heads
    if asked != teach:
        st.error(
            "Heads: expected another choice than teacher where there is none. Turn on the manifold "
            "start, or choose another."
            if heads
            else "Taught: expected 0 without a teacher. Turn on the manifold start, or set it to 0."
            if asked
            else "Taught: expected at least 1 epoch with a teacher, or heads that follow it, or "
            "turn it off above.",
            icon=":material/error:",
        )
    return asked == teach


def has_epochs(stages: Sequence[str], config: Mapping[str, Any] | None) -> bool:
    """Whether any stage is trained; else it is said.

    Args:
        stages: the settings that count their epochs; none where there is no such choice.
    """
    if not config or not stages or any(config[name] for name in stages):
        return True
    st.error(  # heads alone would be fitted to features that nothing has learned
        f"No stage has an epoch: expected at least 1 of {', '.join(stages)}.",
        icon=":material/error:",
    )
    return False


def has_attacker(source: str) -> bool:
    """Whether the run has an attacker that was fitted on its weights; else it is said."""
    found = cached.runs.attacker_state(runs.find_run(source), "alrdc")
    if found != "fitted":
        has = "one that was fitted on other weights" if found else "none"
        st.error(
            f"This defence trains against a fitted attacker, and {notes.plain(source)} has {has}. "
            "Choose the attack ALRDC on Attack, and fit it there first.",
            icon=":material/error:",
        )
    return found == "fitted"
