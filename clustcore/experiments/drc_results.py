"""What `reproduce drc`, `ablation` and `defences` measured, and the tables of it.

The figures lie in `assets/drc.json`; the tables lay them beside what was published. Without torch,
so that tables are written anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clustcore import files, runs
from clustcore.experiments.published import BENCHMARKS, BESIDE, METHODS
from clustcore.locations import ASSETS

RESULTS = ASSETS / "drc.json"
PLANS = {"published": "as published", "best": "best here"}
SWITCHES = {
    "alone": "DRC alone",
    "longer": "DRC alone, as many epochs as with a further stage",
    "taught": "+ the teacher's clusters (manifold start)",
    "relabelled": "+ its own clusters, taken once (relabelled)",
    "selflabel": "+ what it is sure of (selflabel)",
    "ema": "+ a slow copy for the other view (ema)",
    "views": "+ four views in place of two (views)",
    "neighbours": "+ five neighbours' agreement (neighbours)",
    "shipped": "as shipped: the teacher's clusters from the start",
}
FEATURES = {
    "alone": "DRC alone, tau .5",
    "sharp": "DRC alone, tau .1",
    "features": "A: features first, beside DRC at tau .1",
    "heads": "A, then B: heads fitted to the features",
    "surest": "A, B, then C: the surest of each cluster",
}


def rows_of(data: str) -> dict[str, str]:
    """The rows of a data set's ablation, and what they are called."""
    return FEATURES if data == "cifar10" else SWITCHES


_KEYS = {
    "benchmarks": ("data", "plan", "mode", "samples", "seed"),
    "ablation": ("data", "what", "mode", "samples", "seed"),
    "defences": ("data", "defence", "seed"),
}
_FIGURES = ("nmi", "acc", "ari")


def entries(part: str) -> list[dict[str, Any]]:
    """The entries of `benchmarks`, `ablation` or `defences`, one a data set, row, mode and seed.

    Raises:
        ValueError: the file is damaged.
    """
    return _read()[part]


def save(part: str, entry: dict[str, Any]) -> None:
    """Write an entry into the file, in the place of an older one of the same kind.

    The rest stays as it is.
    """
    found, key = _read(), _KEYS[part]
    others = [e for e in found[part] if any(e[k] != entry[k] for k in key)]
    found[part] = sorted([*others, entry], key=lambda e: [str(e[k]) for k in key])
    files.write_json(RESULTS, found)


def _read() -> dict[str, list[dict[str, Any]]]:
    if not RESULTS.is_file():
        return {part: [] for part in _KEYS}
    try:
        found = json.loads(RESULTS.read_text(encoding="utf-8"))
        lists = {
            part: list(found.get(part, []) if part == "defences" else found[part]) for part in _KEYS
        }
        for part, key in _KEYS.items():
            for entry in lists[part]:
                _ = [entry[k] for k in key]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{RESULTS}: expected entries in JSON, got {error!r}") from None
    return lists


def benchmarks() -> str:
    """DRC's table as Markdown: measured beside published, then what is older."""
    columns = ["data set", "measured here", "NMI", "ACC", "ARI", "n", *_HOW, *BESIDE]
    lines = _head(columns)
    found = entries("benchmarks")
    for data, title in BENCHMARKS.items():
        beside = [_published(name, data) for name in BESIDE]
        for plan, label in PLANS.items():
            same = [e for e in found if (e["data"], e["plan"]) == (data, plan)]
            for first, group in _groups(same):
                name = title
                if first is not None:
                    name += " (JPEG copy)" * first["samples"].endswith("-jpeg")
                lines.append(_line([name, label + _quick(first), *_measured(group), *beside]))
        lines += [_line([*cells, *beside]) for cells in _shipped(data, title)]
    older = [name for name in METHODS if name not in BESIDE]
    lines += ["", *_head(["published", *BENCHMARKS.values()])]
    lines += [_line([name, *(_published(name, data) for data in BENCHMARKS)]) for name in older]
    return "\n".join(lines)


def ablation() -> str:
    """The ablation table as Markdown: DRC alone, and each stage or switch on its own beside it."""
    lines = _head(["data set", "what", "NMI", "ACC", "ARI", "n", *_HOW])
    found = entries("ablation")
    for data in sorted({"mnist", "cifar10"} | {e["data"] for e in found}):
        for what, label in rows_of(data).items():
            same = [e for e in found if (e["data"], e["what"]) == (data, what)]
            for first, group in _groups(same):
                name = data if first is None else first["samples"]
                lines.append(_line([name, label + _quick(first), *_measured(group)]))
    return "\n".join(lines)


def defences() -> str:
    """The defences of DRC on CIFAR-10 at b, as Markdown: see `judge.pair`."""
    columns = ["data", "defence", "seed", "b, L-inf", "n", "undefended, moved at b"]
    columns += ["defended, PGD", "with every target", "momentum search"]
    lines = _head([*columns, "worst case (95 %)", "ACC change", "bar"])
    for e in entries("defences"):
        before, after = e["undefended"], e["defended"]
        shares, (low, high) = after["by_attack"], after["moved_interval"]
        cells = [e["samples"], e["defence"], str(e["seed"]), f"{e['b']:.4f}", f"{e['n']:,}"]
        cells += [f"{before['moved']:.1%}", f"{shares['pgd']:.1%}"]
        cells += [f"{shares.get('with every target', shares['pgd']):.1%}"]
        cells += [f"{shares['momentum']:.1%}", f"{after['moved']:.1%} ({low:.1%} to {high:.1%})"]
        cells += [f"{e['acc_change']:+.3f}", "cleared" if e["cleared"] else "not cleared"]
        lines.append(_line(cells))
    return "\n".join(lines)


def _shipped(data: str, title: str) -> Iterator[list[str]]:
    # what ships is another plan, for CPU cores; its figures stand on its card
    for run in runs.list_runs():
        if not run.shipped or run.problem or run.card.model != "drc" or run.defended:
            continue
        if run.dataset not in (data, f"{data}-jpeg"):
            continue
        card, training, lossy = run.card, run.card.training, run.dataset.endswith("-jpeg")
        for row in card.rows[:1]:
            yield [
                title + " (JPEG copy)" * lossy,
                f"as shipped: `{run.name}`",
                *(f"{getattr(row, name):.3f}" for name in _FIGURES),
                f"{row.n:,} ({row.split})",
                f"{card.data.n:,} ({card.data.split})",
                card.config.get("backbone", "small"),
                ", ".join(map(str, row.seeds)),
                ", ".join(f"{stage} {n}" for stage, n in training.stages.items()),
                _views([training.seen]),
                training.where,
                f"{training.minutes:.1f}",
            ]


_HOW = ("trained on", "backbone", "seeds", "epochs", "views", "device", "training, minutes a run")


def _groups(
    same: list[dict[str, Any]],
) -> Iterator[tuple[dict[str, Any] | None, list[dict[str, Any]]]]:
    # the seeds of one kind of run on one set of images, whole runs before quick ones; one of the
    # whole ones is there even where nothing was run
    kinds = sorted({(e["mode"], e["samples"], e["n_train"]) for e in same})
    if not any(mode == "full" for mode, _, _ in kinds):
        yield None, []
    for kind in kinds:
        group = [e for e in same if (e["mode"], e["samples"], e["n_train"]) == kind]
        yield group[0], group


def _quick(first: dict[str, Any] | None) -> str:
    if first is None:
        return ""
    quick = "" if first["mode"] == "full" else f", quick: {first['n_train']:,} images"
    stopped = first.get("stopped")
    if stopped:
        quick += f", stopped after epoch {stopped['after']} of {stopped['of']}"
    return quick


def _measured(group: list[dict[str, Any]]) -> list[str]:
    if not group:
        return ["not run"] * 3 + [""] * (1 + len(_HOW))
    first = group[0]
    figures = [_mean(group, name) for name in _FIGURES]
    minutes = [e["minutes"] for e in group if e["minutes"] is not None]
    return [
        *figures,
        f"{first['n']:,} ({first['judged']})",
        f"{first['n_train']:,} ({first['split']})",
        first["backbone"],
        ", ".join(str(e["seed"]) for e in group),
        ", ".join(f"{stage} {n}" for stage, n in first["stages"].items()),
        _views([e.get("views") or 0 for e in group]),
        ", ".join(sorted({e["device"] for e in group if e["device"]})),
        f"{sum(minutes) / len(minutes):.1f}" if minutes else "",
    ]


def _views(each: list[int]) -> str:
    # in millions; older entries do not say how many
    return f"{max(each) / 1e6:.2f} M" if max(each) else ""


def _mean(group: list[dict[str, Any]], name: str) -> str:
    values = [e[name] for e in group if e[name] is not None]
    failed = f" ({len(group) - len(values)} failed)" if len(values) < len(group) else ""
    if not values:
        return "failed"
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{sum(values) / len(values):.3f}{spread}{failed}"


def _published(name: str, data: str) -> str:
    method = METHODS[name]
    if data not in method.figures:
        return ""
    values = [getattr(method.figures[data], figure) for figure in _FIGURES]
    text = " / ".join("-" if value is None else f"{value:.3f}" for value in values)
    mean = method.mean_acc.get(data)
    return text if mean is None else f"{text} (mean ACC {mean:.3f})"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(columns: list[str]) -> list[str]:
    return [_line(columns), "|" + "---|" * len(columns)]
