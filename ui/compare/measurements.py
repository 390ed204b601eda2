"""ALRDC's measurements in rows, sentences and a file. No Streamlit here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clustcore.experiments import report
from ui.parts import sentences

if TYPE_CHECKING:
    import pandas as pd

Entry = dict[str, Any]

_MODELS = {
    "undefended": "Undefended",
    "control": "Control: same further steps",
    "alrdc": "The paper's defence",
    "alternating": "Alternating",
}
_ATTACKERS = {"its own": "its own attacker", "old": "old attacker", "adaptive": "fitted anew"}
_SPACES = {"embedding": ("in the embedding", "rho"), "pixels": ("in pixels", "L∞")}


@dataclass(frozen=True)
class Figure:
    """A column of the table: what it is called, where an entry has it, and what it means."""

    title: str
    part: str  # of an entry's row
    name: str
    style: str
    help: str


FIGURES = (
    Figure("Clean ACC", "clean", "acc", ".1%", "Accuracy without any attack."),
    Figure("Moved", "under", "moved", ".1%", "Samples that change cluster under the attacker."),
    Figure(
        "Random",
        "under",
        "noise_moved",
        ".1%",
        "Moved by a random change of the embedding, as long as the attacker's for each sample.",
    ),
    Figure(
        "PGD",
        "under",
        "pgd_moved",
        ".1%",
        "Moved by PGD on the embedding, as long as the attacker's for each sample.",
    ),
    Figure(
        "ACC attacked",
        "under",
        "acc",
        ".1%",
        "Accuracy under attack, clusters matched to classes once, on clean data.",
    ),
    Figure(
        "Re-matched",
        "under",
        "acc_rematched",
        ".1%",
        "The same, clusters matched anew after the attack: hides a relabelling.",
    ),
    Figure(
        "NMI",
        "under",
        "nmi_clean_attacked",
        ".2f",
        "Between clean and attacked clusters, without labels: 1 is unmoved.",
    ),
    Figure("rho", "under", "rho", ".2f", "Mean length of the change, in units of the model's R."),
    Figure(
        "Image",
        "under",
        "decoded_change",
        ".2f",
        "How far the decoded image goes: mean sum of squares over pixels. Blank: no decoder.",
    ),
)


@dataclass(frozen=True)
class Judged:
    """One way of measuring, on one data set: what its seeds say together."""

    about: str
    rows: list[dict[str, str]]  # one a model and attacker: "Model" and the figures, as written
    gap: str  # what an attacker fitted anew makes of the paper's defence; empty where not measured
    bars: list[str]  # a sentence each
    measurements: list[dict[str, Any]]  # one a seed, model and attacker: numbers


def read(data: str) -> list[Judged]:
    """What was measured on a data set, whole trainings before quick ones; empty without any.

    Raises:
        ValueError: the file is damaged.
    """
    entries = report.alrdc_entries()
    try:
        mine = [entry for entry in entries if entry["data"] == data]
        groups = sorted({(entry["mode"], entry["n_train"]) for entry in mine})
        return [
            _judged([e for e in mine if (e["mode"], e["n_train"]) == group]) for group in groups
        ]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{report.ALRDC}: expected the entries of `reproduce alrdc`, got {error!r}"
        ) from None


def frame(found: list[Judged]) -> pd.DataFrame:
    """Every measurement of every seed, for a file."""
    import pandas as pd

    return pd.DataFrame([row for one in found for row in one.measurements])


def _judged(entries: list[Entry]) -> Judged:
    together: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        for row in entry["rows"]:
            together.setdefault((row["model"], row["attacker"]), []).append(row)
    return Judged(
        about=_about(entries),
        rows=[{"Model": _name(*key), **_cells(rows)} for key, rows in together.items()],
        gap=_gap(together),
        bars=[bar_sentence(bar, entry["seed"]) for entry in entries for bar in entry["bar"]],
        measurements=[_flat(entry, row) for entry in entries for row in entry["rows"]],
    )


def _about(entries: list[Entry]) -> str:
    first, under = entries[0], entries[0]["rows"][0]["under"]
    quick = first["mode"] == "quick"
    text = f"**{'Quick' if quick else 'Full'}**: trained on {first['n_train']:,} images, "
    text += f"{_seeds(entries)}; attackers learned from {first['n_attacker']:,}. Judged on "
    text += f"{under['n']:,} test images, by PGD on {under['pgd_n']:,} of them."
    return text + (" Beside each mean: the least and the most." if len(entries) > 1 else "")


def _seeds(entries: list[Entry]) -> str:
    seeds = [str(entry["seed"]) for entry in entries]
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"seeds {', '.join(seeds[:-1])} and {seeds[-1]}"


def _name(model: str, attacker: str) -> str:
    return f"{_MODELS.get(model, model)}, {_ATTACKERS.get(attacker, attacker)}"


def _cells(rows: list[Entry]) -> dict[str, str]:
    return {
        figure.title: cell([row[figure.part][figure.name] for row in rows], figure.style)
        for figure in FIGURES
    }


def cell(values: list[float | None], style: str) -> str:
    """The mean and, where there are several, the least and the most; empty for None."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""
    mean = f"{_mean(known):{style}}"
    low, high = (f"{end:{style}}".rstrip("%") for end in (min(known), max(known)))
    # one space, where a narrow column breaks the line
    return mean if len(known) == 1 else f"{mean} {low}–{high}"  # noqa: RUF001


def _gap(together: dict[tuple[str, str], list[Entry]]) -> str:
    old, new = (together.get(("alrdc", who)) for who in ("old", "adaptive"))
    if not old or not new or len(old) != len(new):
        return ""
    bare = together.get(("undefended", "its own"), [])
    return gap_sentence(_under(old), _under(new), _under(bare))


def _under(rows: list[Entry]) -> list[Entry]:
    return [row["under"] for row in rows]


def gap_sentence(old: list[Entry], new: list[Entry], bare: list[Entry]) -> str:
    """What an attacker fitted anew makes of the paper's defence, beside the old one.

    A gap is one that every seed has, and that parts the 95 % intervals of one of them.

    Args:
        old: figures under the attacker that it was trained against, one a seed.
        new: under one fitted anew, the same seeds.
        bare: of the undefended model; empty where it was not measured.
    """
    pairs = list(zip(old, new, strict=True))
    more = all(b["moved"] > a["moved"] for a, b in pairs) and any(_apart(a, b) for a, b in pairs)
    fewer = all(b["moved"] < a["moved"] for a, b in pairs) and any(_apart(b, a) for a, b in pairs)
    before, after = (_mean([one["moved"] for one in side]) for side in (old, new))
    points = f"{abs(100 * (after - before)):.1f} points"
    if more:
        says = f"{points} more: judged by the old attacker alone, it looks stronger than it is."
    elif fewer:
        says = f"{points} fewer: the old attacker hides nothing here."
    else:
        agree = len({np.sign(b["moved"] - a["moved"]) for a, b in pairs}) == 1
        why = "the 95 % intervals overlap" if agree else "the seeds do not agree"
        says = f"a difference of {points} that proves nothing, since {why}: no gap was found."
    text = (
        f"The paper's defence: **{before:.1%}** of the samples move under the attacker that it was "
        f"trained against, **{after:.1%}** under one fitted anew to it, {says}"
    )
    if bare:
        text += f" Undefended, {_mean([one['moved'] for one in bare]):.1%} move."
    return text


def _apart(less: Entry, more: Entry) -> bool:
    return less["moved_interval"][1] < more["moved_interval"][0]


def bar_sentence(bar: Entry, seed: int) -> str:
    """One bar in words.

    It says what moves at b, undefended and defended, what it costs, and whether the defence clears
    it.
    """
    where, unit = _SPACES[bar["space"]]
    low, high = bar["defended"]["moved_interval"]
    ratio, points = bar["reconstruction_ratio"], 100 * bar["acc_change"]
    cost = [f"accuracy {sentences.signed(points, '.1f')} points"]
    cost += [] if ratio is None else [f"decoder's error x {ratio:.2f}"]
    cost.append(f"{bar['neighbour_overlap']:.0%} of the nearest neighbours kept")
    return (
        f"**{'Cleared' if bar['cleared'] else 'Not cleared'}** {where}, seed {seed}: at b = "
        f"{unit} {bar['b']:.3g} the worst case moves {bar['undefended']['moved']:.1%} of "
        f"{bar['defended']['n']:,} samples undefended and {bar['defended']['moved']:.1%} (95 %: "
        f"{low:.1%} to {high:.1%}) under the alternating defence; {', '.join(cost)}."
    )


def _flat(entry: Entry, row: Entry) -> dict[str, Any]:
    low, high = row["under"]["moved_interval"]
    under = {k: v for k, v in row["under"].items() if k not in ("seed", "moved_interval")}
    return {
        **{name: entry[name] for name in ("data", "mode", "n_train", "seed")},
        "model": row["model"],
        "attacker": row["attacker"],
        **{f"clean_{name}": value for name, value in row["clean"].items()},
        **under,
        "moved_low": low,
        "moved_high": high,
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
