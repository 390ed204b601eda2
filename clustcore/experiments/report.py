"""The tables of README.md and RESULTS.md.

They are written from the cards of the shipped runs and from the measurements of ALRDC's and DRC's
commands: no figure is typed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clustcore import files, runs
from clustcore.experiments import drc_results
from clustcore.locations import ASSETS
from clustcore.runs import Card, CardAttack, CardRow, CardScores

ALRDC = ASSETS / "alrdc.json"  # written by `reproduce alrdc`
_NAMES = {
    "undefended": "undefended",
    "control": "control: same further steps",
    "alrdc": "the paper's defence",
    "alternating": "alternating",
}


def summary() -> str:
    """One line a shipped run, as Markdown: clean ACC, and the share that PGD and noise move."""
    columns = ["run", "ACC", "pixels, L-inf", "moved by PGD", "by noise", "half moved at"]
    lines = _head([*columns, "embedding, rho", "moved by PGD", "n attacked"])
    for name, card in _cards():
        scores = card.scores or CardScores()
        try:
            found = {(e.attack, e.norm, e.space): e for e in scores.attacked}
            pgd, noise = (found[attack, "linf", "pixels"] for attack in ("pgd", "noise"))
            inside = found["pgd", "l2", "embedding"]
        except KeyError as error:
            raise ValueError(
                f"card of {name!r}: expected the scores that a shipped run has, got none of "
                f"{error}; `python -m clustcore reproduce runs --only {name}` measures them"
            ) from None
        cells = [f"`{name}`", f"{scores.acc:.3f}", f"{pgd.eps:.3g}"]
        cells += [f"{pgd.moved:.1%}", f"{noise.moved:.1%}", _median(pgd)]
        cells += [f"{inside.eps:.3g}", f"{inside.moved:.1%}", f"{pgd.n:,}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def results() -> str:
    """All of the cards as Markdown, one line a run and variant, and one a run and budget."""
    cards = _cards()
    lines = ["| run | what | n | seeds | ACC | NMI | ARI |", "|---|---|---|---|---|---|---|"]
    for name, card in cards:
        for row in card.rows:
            seeds = ", ".join(map(str, row.seeds))
            figures = " | ".join(_with_spread(row, figure) for figure in ("acc", "nmi", "ari"))
            lines.append(f"| `{name}` | {row.name} | {row.n:,} | {seeds} | {figures} |")
    columns = ["run", "trained on", "epochs", "views", "device", "minutes", "products in"]
    lines += ["", *_head(columns), *(_training_line(name, card) for name, card in cards)]
    lines += [
        "",
        "| run | attack | budget | n | seed | moved (95 %) | smallest, median | ACC | re-matched |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, card in cards:
        for entry in () if card.scores is None else card.scores.attacked:
            lines.append(_attack_line(name, entry))
    return "\n".join(lines)


def alrdc_entries() -> list[dict[str, Any]]:
    """What `reproduce alrdc` measured, one entry a data set, mode and seed.

    Raises:
        ValueError: the file is damaged.
    """
    if not ALRDC.is_file():
        return []
    try:
        return json.loads(ALRDC.read_text(encoding="utf-8"))["entries"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{ALRDC}: expected entries in JSON, got {error!r}") from None


def alrdc() -> str:
    """ALRDC's table as Markdown, the mean of an entry's seeds, and the bar below it."""
    columns = ["data", "training images", "seeds", "model", "attacker", "ACC", "NMI", "ARI"]
    columns += ["moved", "random, same length", "PGD, same length", "ACC attacked", "re-matched"]
    columns += ["NMI(clean, attacked)", "rho", "decoded change"]
    lines = _head(columns)
    entries = alrdc_entries()
    for data, n in sorted({(e["data"], e["n_train"]) for e in entries}, key=str):
        group = [e for e in entries if (e["data"], e["n_train"]) == (data, n)]
        seeds = ", ".join(str(e["seed"]) for e in group)
        for i, row in enumerate(group[0]["rows"]):
            same = [e["rows"][i] for e in group]
            clean = [_mean(same, "clean", name) for name in ("acc", "nmi", "ari")]
            under = [
                _mean(same, "under", name, style)
                for name, style in (
                    ("moved", ".1%"),
                    ("noise_moved", ".1%"),
                    ("pgd_moved", ".1%"),
                    ("acc", ".3f"),
                    ("acc_rematched", ".3f"),
                    ("nmi_clean_attacked", ".3f"),
                    ("rho", ".2f"),
                    ("decoded_change", ".2f"),
                )
            ]
            first = [data, f"{n:,}", seeds, _NAMES[row["model"]], row["attacker"]]
            lines.append("| " + " | ".join(first + clean + under) + " |")
    columns = ["data", "seed", "space", "b", "undefended, moved at b"]
    columns += ["alternating, moved at b (95 %)", "ACC change", "decoder's error"]
    lines += ["", *_head([*columns, "15 nearest kept", "bar"])]
    lines += [_bar_line(e, bar) for e in entries for bar in e["bar"]]
    return "\n".join(lines)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"summary": summary},
    "RESULTS.md": {
        "results": results,
        "alrdc": alrdc,
        "drc": drc_results.benchmarks,
        "ablation": drc_results.ablation,
        "defences": drc_results.defences,
    },
}


def update(folder: Path) -> list[str]:
    """Write every table between its marks.

    Args:
        folder: where README.md and RESULTS.md lie.

    Returns:
        The names of the files that this changed.

    Raises:
        ValueError: a file or a mark is not there; nothing is written then.
    """
    found = {}
    for name, tables in TABLES.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file}: expected a file with marks for tables, got no such file")
        text = file.read_text(encoding="utf-8")
        new = text
        for mark, table in tables.items():
            start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
            if new.count(start) != 1 or new.count(end) != 1:
                raise ValueError(f"{file}: expected one {start} and one {end}, got others")
            before, rest = new.split(start)
            _, after = rest.split(end)
            new = f"{before}{start}\n{table()}\n{end}{after}"
        if new != text:
            found[file] = new
    for file, text in found.items():
        with files.atomic(file) as part:
            part.write_text(text, encoding="utf-8")
    return [file.name for file in found]


def _cards() -> list[tuple[str, Card]]:
    return [(run.name, run.card) for run in runs.list_runs() if run.shipped and not run.problem]


def _head(columns: list[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]


def _mean(rows: list[dict[str, Any]], part: str, name: str, style: str = ".3f") -> str:
    values = [row[part][name] for row in rows]
    if None in values:
        return ""
    spread = f" ({min(values):{style}} to {max(values):{style}})" if len(values) > 1 else ""
    return f"{sum(values) / len(values):{style}}{spread}"


def _bar_line(entry: dict[str, Any], bar: dict[str, Any]) -> str:
    low, high = bar["defended"]["moved_interval"]
    unit = "rho" if bar["space"] == "embedding" else "L-inf"
    ratio = bar["reconstruction_ratio"]
    cells = [
        entry["data"],
        str(entry["seed"]),
        bar["space"],
        f"{unit} {bar['b']:.3f}",
        f"{bar['undefended']['moved']:.1%}",
        f"{bar['defended']['moved']:.1%} ({low:.1%} to {high:.1%})",
        f"{bar['acc_change']:+.3f}",
        "" if ratio is None else f"x {ratio:.2f}",
        f"{bar['neighbour_overlap']:.2f}",
        "cleared" if bar["cleared"] else "not cleared",
    ]
    return "| " + " | ".join(cells) + " |"


def _training_line(name: str, card: Card) -> str:
    # older cards say neither views nor processor
    training = card.training
    cells = [
        f"`{name}`",
        f"{card.data.n:,} ({card.data.split})",
        ", ".join(f"{stage} {n}" for stage, n in training.stages.items()),
        f"{training.seen / 1e6:.2f} M" if training.seen else "",
        training.where,
        f"{training.minutes:.1f}",
        ", ".join(training.precisions or [training.precision]),
    ]
    return f"| {' | '.join(cells)} |"


def _with_spread(row: CardRow, figure: str) -> str:
    each = getattr(row, f"{figure}_each")
    spread = f" ({min(each):.3f} to {max(each):.3f})" if len(each) > 1 else ""
    return f"{getattr(row, figure):.3f}{spread}"


def _attack_line(name: str, entry: CardAttack) -> str:
    where = "rho" if entry.space == "embedding" else {"linf": "L-inf", "l2": "L2"}[entry.norm]
    figures = [
        _attack(entry),
        f"{where} {entry.eps:.3g}",
        f"{entry.n:,}",
        str(entry.seed),
        _moved(entry),
        _median(entry),
        "" if entry.acc is None else f"{entry.acc:.3f}",
        "" if entry.acc_rematched is None else f"{entry.acc_rematched:.3f}",
    ]
    return f"| `{name}` | " + " | ".join(figures) + " |"


def _attack(entry: CardAttack) -> str:
    settings = entry.settings
    known = [entry.attack]
    if "path_steps" in settings:
        known.append(f"{settings['path_steps']} steps x {settings['restarts']}")
    if entry.protocol != "adaptive":
        known.append(entry.protocol)
    return ", ".join(known)


def _moved(entry: CardAttack) -> str:
    # a card that was written by hand may have neither
    if entry.moved is None:
        return ""
    if entry.moved_interval is None:
        return f"{entry.moved:.1%}"
    low, high = entry.moved_interval
    return f"{entry.moved:.1%} ({low:.1%} to {high:.1%})"


def _median(entry: CardAttack) -> str:
    median = entry.median_smallest
    return "beyond the dial" if median is None else f"{median:.3f}"
