"""A model over many images: what is refused, and what a device without memory does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import clustcore
from clustcore.pipeline.batches import cluster


def test_a_model_in_training_mode_is_judged_as_in_evaluation(mapped, samples):
    expected = cluster(mapped.model, samples.x)
    state = {k: v.clone() for k, v in mapped.model.state_dict().items()}
    mapped.model.train()
    try:
        found = cluster(mapped.model, samples.x)
    finally:
        mapped.model.eval()
    np.testing.assert_array_equal(found.z, expected.z)
    for key, value in mapped.model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_unfit_images_are_said(mapped):
    good = np.zeros((2, 1, 28, 28), np.float32)
    for x, message in [
        (good[0], r"expected shape \(n, 1, 28, 28\), got \(1, 28, 28\)"),
        (np.zeros((2, 3, 32, 32), np.float32), r"got \(2, 3, 32, 32\)"),
        (good + 2, r"expected values in \[0, 1\], got 2 to 2"),
        (good * np.nan, r"expected values in \[0, 1\], got nan"),
        (
            good.astype(np.int32),
            r"expected floating point.* in \[0, 1\], or bytes, got torch.int32",
        ),
        (good[:0], r"expected at least one, got none"),
    ]:
        with pytest.raises(ValueError, match=message):
            clustcore.attack(mapped.model, torch.from_numpy(x), eps=0.1)


def test_a_smaller_batch_when_memory_runs_out(mapped, samples, monkeypatch):
    embed = mapped.model.embed

    def small(x):
        if len(x) > 40:
            raise torch.OutOfMemoryError("no memory left")
        return embed(x)

    expected = cluster(mapped.model, samples.x).labels
    monkeypatch.setattr(mapped.model, "embed", small)
    with pytest.warns(UserWarning, match="out of memory on cpu: going on with batches of"):
        found = cluster(mapped.model, samples.x).labels
    np.testing.assert_array_equal(found, expected)
