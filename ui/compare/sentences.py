"""What Compare says in words: the clean cost, who moved, what the maps are, what proves nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from clustcore.maps import alignment
from clustcore.runs import CardAttack, CardScores
from clustcore.types import AttackPath
from ui import cached, notes, scene
from ui.cluster_map.moved import threshold
from ui.cluster_map.packing import quantise_smallest
from ui.parts import compute
from ui.parts import sentences as numbers


def status(now: scene.Scene, found: cached.runs.Pair, path: AttackPath | None) -> str:
    """The line under the title."""
    kind = " beside ".join(run.defence for run in (now.run, now.beside))
    if not (now.run.defended or now.beside.defended):
        kind = "two models, no defence"
    parts = [notes.plain(f"{now.data_label} · {kind}"), scene.attack_name(now.attack)]
    if path is None:
        parts.append("not computed yet")
    else:
        n = f"{len(path.rows):,} of {len(found.a.xy):,} {found.a.split} images"
        models = (now.run, now.beside)
        old = [r.name for r in models if cached.runs.attacker_state(r, now.attack) == "stale"]
        how = f"an old attacker on {' and '.join(old)}" if old else "run anew on each model"
        parts[-1] += f" on {n}, {notes.plain(how)}"
        parts.append(f"{'computed ahead' if path.ahead else 'computed here'}, seed {path.seed}")
    for run in (now.run, now.beside):
        fitted = compute.changed(cached.runs.attacker_settings(run, now.attack))
        if fitted:
            parts.append(f"{notes.plain(run.name)}'s attacker fitted with {fitted}")
    device = cached.models.device_in_use(now.beside, now.device)
    return " · ".join([*parts, device] if device else parts)


def clean_cost(now: scene.Scene) -> str:
    """Accuracy and NMI of both without any attack, from their cards, and what lies between."""
    a, b = (run.card.scores or CardScores() for run in (now.run, now.beside))
    names = [notes.plain(run.name) for run in (now.run, now.beside)]
    lead = "Clean cost" if now.beside.defended else "Before any attack"
    lines = []
    if a.acc is not None and b.acc is not None:
        change = numbers.signed(100 * (b.acc - a.acc), ".1f")
        lines.append(f"accuracy **{a.acc:.1%} → {b.acc:.1%}**, {change} points")
    if a.nmi is not None and b.nmi is not None:
        by = numbers.signed(b.nmi - a.nmi, ".3f")
        lines.append(f"NMI **{a.nmi:.3f} → {b.nmi:.3f}**, {by}")
    if not lines:
        return f"**{lead}:** not on the cards of {names[0]} and {names[1]}."
    n = f"n = {a.n:,}" if a.n is not None and a.n == b.n else "on different samples"
    return f"**{lead}**, {names[0]} → {names[1]}: {' · '.join(lines)} · {n}"


def warnings(now: scene.Scene, paths: tuple[AttackPath | None, AttackPath | None]) -> list[str]:
    """Why what is seen of a defended model is no evidence of robustness; a sentence each."""
    found = []
    models = (now.run, now.beside)
    for run, path, other, beside in (
        (models[0], paths[0], models[1], paths[1]),
        (models[1], paths[1], models[0], paths[0]),
    ):
        if not run.defended:
            continue
        name, what = notes.plain(run.name), scene.attack_name(now.attack)
        if now.attack == "noise":
            found.append(f"Random noise is a control, no attack: it says nothing of {name}.")
        if cached.runs.attacker_state(run, now.attack) == "stale":
            found.append(
                f"{what} was fitted to other weights than those of {name}: an old attacker."
            )
        fitted = [cached.runs.attacker_settings(one, now.attack) for one in (run, other)]
        if None not in fitted and fitted[0] != fitted[1]:
            beside_it = notes.plain(other.name)
            found.append(f"{what} was fitted to {name} with other settings than to {beside_it}.")
        mine, theirs = (one.card.reported(now.key) for one in (run, other))
        shown = path is None or path.ahead  # what was walked here since is not the card's
        if mine.protocol != "adaptive" and shown:
            said = notes.plain(mine.protocol)
            found.append(f"The card of {name} reports {what} under the protocol {said!r}.")
        if _weaker(mine, theirs, path, beside):
            found.append(f"{name} got a smaller budget of {what} than {notes.plain(other.name)}.")
    return found


def _weaker(
    mine: CardAttack,
    theirs: CardAttack,
    path: AttackPath | None,
    beside: AttackPath | None,
) -> bool:
    """Whether the first attack was given less: strength, steps, restarts, end of the dial."""

    def less(one: Any, other: Any) -> bool:
        return all(isinstance(value, int | float) for value in (one, other)) and one < other

    settings = ("steps", "restarts")
    if less(mine.eps, theirs.eps) or any(
        less(mine.settings.get(name), theirs.settings.get(name)) for name in settings
    ):
        return True
    return bool(path and beside and path.strengths[-1] < beside.strengths[-1])


def same_samples(a: AttackPath | None, b: AttackPath | None) -> bool:
    """Whether two paths, where both are there, are of the same samples and strengths."""
    if a is None or b is None:
        return True
    return np.array_equal(a.rows, b.rows) and np.array_equal(a.strengths, b.strengths)


def counts(
    a: AttackPath, b: AttackPath, strength: float, end: float, among: Any = None
) -> tuple[int, int, int, int]:
    """How many moved only under A, under both, only under B, under neither, as the strip counts.

    Args:
        a: the path of A.
        b: the path of B, the same samples.
        strength: on the dial.
        end: of the dial.
        among: rows to count, or None for all.
    """
    at = threshold(strength, end)
    of_a, of_b = (quantise_smallest(one.smallest, end) for one in (a, b))
    codes = alignment.joint(of_a, of_b, at)
    if among is not None:
        codes = codes[np.isin(a.rows, among)]
    order = (alignment.LEFT, alignment.BOTH, alignment.RIGHT, alignment.NEITHER)
    left, both, right, neither = (int((codes == code).sum()) for code in order)
    return left, both, right, neither


def sentence(now: scene.Scene, a: AttackPath | None, b: AttackPath | None, strength: float) -> str:
    """The state of the dial in words."""
    if a is None or b is None:
        return "No attack path of both models has been computed yet: the maps show clean samples."
    left, both, right, neither = counts(a, b, strength, now.dial.end)
    return (
        f"At strength {numbers.strength_text(strength)}, {left:,} of {len(a.rows):,} samples "
        f"left their cluster only in {notes.plain(now.run.name)}, {both:,} in both, {right:,} "
        f"only in {notes.plain(now.beside.name)}, {neither:,} in neither."
    )


def pinned(
    now: scene.Scene, found: cached.runs.Pair, a: AttackPath | None, b: AttackPath | None, row: int
) -> str:
    """What both models say of the pinned sample."""
    parts = []
    models = ((now.run, found.a, a), (now.beside, found.b, b))
    for run, arrays, path in models:
        words = f"cluster {arrays.labels[row]} in {notes.plain(run.name)}"
        if path is not None and len(at := np.flatnonzero(path.rows == row)):
            smallest = float(path.smallest[at[0]])
            end = f"up to {now.dial.end:g}"
            words += f", unmoved {end}" if np.isnan(smallest) else f", moved at {smallest:.3g}"
        parts.append(words)
    outside = a is not None and row not in a.rows
    note = " It is none of the attacked samples." if outside else ""
    return f"Sample {row}: {'; '.join(parts)}.{note}"


def maps_sentence(now: scene.Scene, found: cached.runs.Pair) -> str:
    """Which projector draws which map, and whose cluster numbers these are."""
    a, b = (notes.plain(run.name) for run in (now.run, now.beside))
    if found.turn is None:
        maps = f"One projector draws both maps, that of {a}; trustworthiness"
    else:
        maps = f"Each model has its own map; {b}'s is turned onto {a}'s. Trustworthiness"
    return (
        f"{maps} {found.a.trustworthiness:.3f} and {found.b.trustworthiness:.3f}. "
        f"The clusters of {b} bear the numbers of {a}'s, matched on clean samples without labels: "
        f"{found.agree:.1%} of them are in the same cluster."
    )
