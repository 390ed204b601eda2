"""`reproduce alrdc`, from training to the file, on small models of scikit-learn's digits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clustcore import runs
from clustcore.datasets import load_samples
from clustcore.experiments import alrdc_results, report, reproduce
from clustcore.experiments.alrdc import reproduce_alrdc
from clustcore.experiments.context import Context
from clustcore.experiments.judge import JudgeConfig
from clustcore.experiments.recipes import RECIPES, Recipe
from clustcore.experiments.reproduce import train_seed
from clustcore.pipeline.contents import fit_attacker
from clustcore.pipeline.run import load_run
from clustcore.runs import WEIGHTS
from clustcore.runs.plan import Plan
from clustcore.types import Samples

pytestmark = pytest.mark.slow


def some(name: str, split: str, **where: object) -> Samples:
    """Fewer images than there are."""
    samples = load_samples(name, split)
    return samples.take(np.arange(150 if split == "train" else 60))


LIGHT = JudgeConfig(n=30, steps=4, restarts=1, aimed=0)
TINY = {"dim": 8, "width": 4, "p_hidden": 32, "autoencode": 12, "cluster": 25, "weight_t": 100.0}


def defended(plan: Plan, defence: str, **config: object) -> Recipe:
    """The recipe that trains the plan's run on."""
    about = {"source": "alrdc-digits", "defence": defence, "config": config}
    return Recipe(dataclasses.replace(plan, model=None, **about), ships=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[dict]:
    """The entries after a full call, the same call again, and a quick one; beside their reports."""
    folder = tmp_path_factory.mktemp("table")
    plan = Plan("alrdc", "digits", config=TINY, train={"batch": 32, "lr": 3e-3})
    first = Recipe(plan, ships=False)
    context = Context(device="cpu", report=lambda text: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_RUNS", str(folder))
        patch.setattr(alrdc_results, "RESULTS", folder / "alrdc.json")
        patch.setattr(reproduce, "load_samples", some)
        patch.setitem(RECIPES, "alrdc-digits", first)
        for defence in ("control", "alrdc", "alternating"):
            recipe = defended(plan, defence, epochs=1)
            patch.setitem(RECIPES, f"alrdc-digits-{defence}", recipe)
        told = []
        for quick in (False, False, True):
            said: list[str] = []
            how = dataclasses.replace(context, quick=quick, report=said.append)
            reproduce_alrdc(("digits",), (0,), how, LIGHT)
            entries = alrdc_results.entries()
            told.append({"said": said, "entries": entries, "text": report.alrdc()})
        errors = []
        attacker = folder / "alrdc-digits-alrdc-seed0" / "attackers" / "alrdc.safetensors"
        kept = attacker.read_bytes()
        fit_attacker(load_run("alrdc-digits-alrdc-seed0", "cpu"), some("digits", "train"))
        with pytest.raises(ValueError, match="expected the attacker") as error:
            reproduce_alrdc(("digits",), (0,), context, LIGHT)
        errors.append(str(error.value))
        attacker.write_bytes(kept)
        source = folder / "alrdc-digits-seed0"
        source.rename(folder / "away")  # nothing to compare with: what is left still counts
        control = RECIPES["alrdc-digits-control"]
        train_seed("alrdc-digits-control", control, 0, some("digits", "train"), context)
        (folder / "away").rename(source)
        patch.setitem(RECIPES, "alrdc-digits-alternating", defended(plan, "alternating", epochs=2))
        with pytest.raises(ValueError, match="as planned") as error:
            reproduce_alrdc(("digits",), (0,), context, LIGHT)
        errors.append(str(error.value))
        told.append({"errors": errors})
        told.append({"weights": sorted(p.parent.name for p in folder.glob(f"*/{WEIGHTS}"))})
        told.append({"sha": runs.read_card(folder / "alrdc-digits-seed0").weights_sha256})
    return told


def test_a_row_for_each_model_and_attacker(made):
    (entry,) = made[0]["entries"]
    rows = [(row["model"], row["attacker"]) for row in entry["rows"]]
    assert rows == [
        ("undefended", "its own"),
        *((m, who) for m in ("control", "alrdc", "alternating") for who in ("old", "adaptive")),
    ]
    assert entry["mode"] == "full"
    assert entry["settings"] == LIGHT.to_dict()
    assert entry["weights"][0] == made[-1]["sha"]
    assert len(set(entry["weights"])) == 4
    for old, adaptive in zip(entry["rows"][1::2], entry["rows"][2::2], strict=True):
        assert old["clean"] == adaptive["clean"]
        assert old["under"]["length"] != adaptive["under"]["length"]  # two attackers
    assert [bar["space"] for bar in entry["bar"]] == ["embedding", "pixels"]


def test_the_same_call_trains_nothing_and_finds_the_same(made):
    first, again = made[:2]
    assert any("epoch" in line for line in first["said"])
    assert not any("epoch" in line or "attacker alrdc" in line for line in again["said"])
    assert again["entries"] == first["entries"]


def test_a_quick_call_stands_beside_the_full_one_and_has_no_bar(made):
    full, quick = made[2]["entries"]
    assert (full["mode"], quick["mode"], quick["bar"]) == ("full", "quick", [])
    assert [full] == made[1]["entries"]
    names = made[4]["weights"]
    assert len(names) == 8
    assert sum(name.startswith("quick-") for name in names) == 4
    assert "| alternating | adaptive |" in made[2]["text"]


def test_what_was_made_otherwise_is_not_taken_for_the_plan(made):
    refitted, longer = made[3]["errors"]
    assert "'alrdc-digits-alrdc-seed0': expected the attacker it was trained against" in refitted
    assert "defence.epochs: expected 2 as planned, got 1; move the run away" in longer
