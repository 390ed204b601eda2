"""The README's tables, written from the cards of the shipped runs: no figure is typed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clustcore import runs

_START, _END = "<!-- results -->", "<!-- /results -->"


def results() -> str:
    """The table as Markdown, one line a run and variant, and one a run and budget."""
    cards = [(run.name, run.card) for run in runs.list_runs() if run.shipped and not run.problem]
    lines = ["| run | what | n | seeds | ACC | NMI | ARI |", "|---|---|---|---|---|---|---|"]
    for name, card in cards:
        for row in card.get("rows", []):
            seeds = ", ".join(map(str, row["seeds"]))
            figures = " | ".join(_with_spread(row, figure) for figure in ("acc", "nmi", "ari"))
            lines.append(f"| `{name}` | {row['name']} | {row['n']:,} | {seeds} | {figures} |")
    lines += [
        "",
        "| run | attack | budget | n | seed | moved (95 %) | smallest, median | ACC | re-matched |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, card in cards:
        for entry in card.get("scores", {}).get("attacked", []):
            lines.append(_attack_line(name, entry))
    return "\n".join(lines)


def update(readme: Path) -> bool:
    """Write the table between the README's two marks; True where that changed it.

    Raises:
        ValueError: the marks are not there.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(_START) != 1 or text.count(_END) != 1:
        raise ValueError(f"{readme}: expected one {_START} and one {_END}, got others")
    before, rest = text.split(_START)
    _, after = rest.split(_END)
    new = f"{before}{_START}\n{results()}\n{_END}{after}"
    if new == text:
        return False
    with runs.atomic(readme) as part:
        part.write_text(new, encoding="utf-8")
    return True


def _with_spread(row: dict[str, Any], figure: str) -> str:
    each = row[f"{figure}_each"]
    spread = f" ({min(each):.3f} to {max(each):.3f})" if len(each) > 1 else ""
    return f"{row[figure]:.3f}{spread}"


def _attack_line(name: str, entry: dict[str, Any]) -> str:
    low, high = entry["moved_interval"]
    where = "rho" if entry["space"] == "embedding" else {"linf": "L-inf", "l2": "L2"}[entry["norm"]]
    median = entry["median_smallest"]
    figures = [
        entry["attack"],
        f"{where} {entry['eps']:.3g}",
        f"{entry['n']:,}",
        str(entry["seed"]),
        f"{entry['moved']:.1%} ({low:.1%} to {high:.1%})",
        "beyond the dial" if median is None else f"{median:.3f}",
        "" if entry["acc"] is None else f"{entry['acc']:.3f}",
        "" if entry["acc_rematched"] is None else f"{entry['acc_rematched']:.3f}",
    ]
    return f"| `{name}` | " + " | ".join(figures) + " |"
