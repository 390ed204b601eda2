"""What a model said is kept, what it is asked can be cancelled, and attackers are fitted first."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from clustcore import runs
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.runs import RunInfo
from clustcore.types import PathKey
from tests.support.demo import ask
from ui import cached


def test_a_model_without_a_decoder_is_never_loaded_for_an_image(run: RunInfo) -> None:
    assert cached.models.reconstruction(run, 3, "cpu") == (None,)


def test_what_was_not_worked_out_is_none_without_asking_a_model(run: RunInfo) -> None:
    assert cached.models.pin_frames(ask(run), 3, "cpu", compute=False) is None
    assert cached.models.probe(run, (0.0, 0.0), "cpu", compute=False) is None
    assert cached.models.device_in_use(run, "cpu") == ""


def test_an_answer_is_worked_out_once(run: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    from clustcore.pipeline import paths

    calls = []

    def pin_frames(model: object, samples: object, row: int, key: PathKey) -> str:
        calls.append((row, key))
        return f"frames of {row}"

    monkeypatch.setattr(paths, "pin_frames", pin_frames)
    monkeypatch.setattr(cached.models, "_model", lambda run, device: "model")
    for _ in range(2):
        assert cached.models.pin_frames(ask(run, target=2, seed=4), 3, "cpu") == "frames of 3"
    assert cached.models.pin_frames(ask(run, target=2, seed=4), 3, "cpu", compute=False)
    assert calls == [(3, PathKey("pgd", "pixels", "linf", 2, 4))]


def test_the_last_results_alone_are_kept() -> None:
    recent = cached.models._Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1  # used last
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_computing_passes_on_the_steps_and_a_raise_in_them_cancels(
    run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clustcore.pipeline import paths

    def compute_path(
        model: object, samples: object, key: PathKey, on_step: cached.models.OnStep
    ) -> None:
        on_step(1, 2, "PGD step 7/40")

    monkeypatch.setattr(paths, "compute_path", compute_path)
    monkeypatch.setattr(cached.models, "_model", lambda run, device: "model")
    said = []
    cached.models.compute_path(ask(run), "cpu", lambda *step: said.append(step))
    assert said == [(0, 1, "loading the model"), (1, 2, "PGD step 7/40")]

    def cancel(done: int, total: int, sentence: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached.models.compute_path(ask(run), "cpu", cancel)
    cached.models.compute_path(ask(run), "cpu", lambda *step: None)  # the lock is free again


def test_a_transfer_is_worked_out_when_it_is_asked_for_and_then_known(
    run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clustcore.pipeline import paths

    partner = dataclasses.replace(run, name="partner")
    keys = []

    def transfer(
        a: str, b: str, samples: object, key: PathKey, on_step: cached.models.OnStep
    ) -> np.ndarray:
        keys.append((a, b, key))
        on_step(1, 2, "PGD step 7/40")
        return np.array([0.0, 0.25])

    monkeypatch.setattr(paths, "transfer", transfer)
    monkeypatch.setattr(cached.models, "_model", lambda run, device: run.name)
    wanted = ask(run, target=2, seed=4)
    assert cached.models.transfer(wanted, partner, "cpu") is None
    said: list[tuple[int, int, str]] = []
    found = cached.models.transfer(wanted, partner, "cpu", lambda *step: said.append(step))
    assert found is not None
    assert found.tolist() == [0.0, 0.25]
    assert said == [(0, 1, "loading both models"), (1, 2, "PGD step 7/40")]
    assert cached.models.transfer(wanted, partner, "cpu") is found
    untargeted = PathKey("pgd", "pixels", "linf", None, 4)
    assert keys == [(run.name, "partner", untargeted)]


def test_a_device_that_is_not_there_becomes_the_cpu_with_a_word() -> None:
    assert cached.models.check_device("auto") == cached.models.check_device("cpu") == ""
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("there is an Apple GPU here")
    note = cached.models.check_device("mps")
    assert "mps" in note
    assert note.endswith("The CPU does the work instead.")


@pytest.fixture
def learner(digits_run: Path, place: Path) -> cached.runs.Ask:
    """A learned attack on a real run, without an attacker."""
    shutil.copytree(digits_run, place / "d")
    return cached.runs.Ask(runs.find_run("d"), PathKey("alrdc", "embedding", "l2"))


def test_a_fit_cancelled_between_epochs_keeps_nothing(learner: cached.runs.Ask) -> None:
    said = []

    def cancel(done: int, total: int, sentence: str) -> None:
        said.append(sentence)
        if "epoch 3 of 10" in sentence:
            raise KeyboardInterrupt

    assert cached.runs.needs_fit(learner)
    before = sorted(learner.run.folder.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        cached.models.compute_path(learner, "cpu", cancel)
    assert sorted(learner.run.folder.rglob("*")) == before
    assert cached.runs.attacker_state(learner.run, "alrdc") == ""
    n = cached.models.fit_images(learner.run)[0]
    assert said[-2:] == [
        f"fitting the attacker on {n:,} images, train split, epoch {i} of 10" for i in (2, 3)
    ]


def test_one_bar_for_fit_and_path_and_a_fresh_attacker_walks_afresh(
    learner: cached.runs.Ask,
) -> None:
    shares = []
    stamps = [learner.run.path_stamp(learner.key)]
    cached.models.compute_path(learner, "cpu", lambda done, total, _: shares.append(done / total))
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.9 <= shares[-1] <= 1
    assert not cached.runs.needs_fit(learner)
    stamps.append(learner.run.path_stamp(learner.key))
    first = cached.runs.path(learner)
    pin = cached.models.pin_frames(learner, 3, "cpu")
    assert cached.models.pin_frames(learner, 3, "cpu", compute=False) is pin

    from clustcore.pipeline import contents
    from clustcore.pipeline import run as pipeline

    run = pipeline.load_run("d", "cpu")
    contents.fit_attacker(run, cached.images.samples("digits", "train"), seed=1)
    stamps.append(learner.run.path_stamp(learner.key))
    assert len(set(stamps)) == 3
    assert first is not None
    assert cached.runs.path(learner) is None  # what another attacker walked is no longer shown
    assert cached.models.pin_frames(learner, 3, "cpu", compute=False) is None


def test_a_shipped_run_stays_as_it_is_and_each_attacker_walks_its_own_path(
    learner: cached.runs.Ask, tmp_path: Path
) -> None:
    shutil.move(tmp_path / "own" / "d", tmp_path / "shipped" / "d")
    run = runs.find_run("d")
    assert run.shipped
    before = sorted(run.folder.rglob("*"))
    asks = [
        dataclasses.replace(learner, run=run, fit=ALRDCConfig(epochs=2, weight_y=w))
        for w in (40.0, 10.0)
    ]
    found = []
    for each in asks:
        assert cached.runs.needs_fit(each)
        assert not found or cached.runs.other_settings(each)
        cached.models.compute_path(each, "cpu", lambda *step: None)
        assert not cached.runs.needs_fit(each)
        assert cached.runs.attacker_settings(run, "alrdc") == each.fit
        found.append(cached.runs.path(each))
    assert sorted(run.folder.rglob("*")) == before
    assert not np.array_equal(found[0].smallest, found[1].smallest, equal_nan=True)
    # whoever asks for no settings gets the attacker at hand
    assert np.array_equal(
        cached.runs.path(dataclasses.replace(learner, run=run)).smallest,
        found[1].smallest,
        equal_nan=True,
    )
