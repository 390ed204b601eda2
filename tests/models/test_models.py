"""Every entry of MODELS keeps the contract of `models/base.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from clustcore.models import MODELS
from clustcore.models.base import TrainData, Wrapped, wrap
from clustcore.registry import lookup
from clustcore.training.epoch import TrainConfig
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig
from tests.conftest import make_blobs

TRAINED = sorted(set(MODELS) - {"wrapped"})
SHORT = {
    "alrdc": {
        "autoencode": 6,
        "cluster": 12,
        "width": 4,
        "dim": 4,
        "p_hidden": 64,
        "weight_t": 100.0,
    },
    "drc": {"alone": 6, "width": 4},
    "dec": {"autoencode": 1, "cluster": 1, "width": 4, "dim": 4},
}


class Net(nn.Module):
    """A module of one's own: it knows nothing of the library."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 6))
        self.top = nn.Linear(6, 3)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def scores(self, z: torch.Tensor) -> torch.Tensor:
        return self.top(z)


def make(name: str, shape: tuple[int, int, int] = (1, 28, 28), clusters: int = 3):
    torch.manual_seed(0)
    if name == "wrapped":
        return wrap(Net(), clusters=clusters, input_shape=shape).eval()
    cls = lookup(MODELS, name, "model")
    config = cls.Config(clusters=clusters, input_shape=shape, **SHORT.get(name, {}))
    return cls(config).eval()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_contract(name, blobs):
    model = make(name)
    x = torch.from_numpy(blobs.x[:10]).requires_grad_()
    z = model.embed(x)
    s, p = model.scores(z), model.soft(z)
    assert z.shape == (10, model.dim)
    assert s.shape == p.shape == (10, 3)
    torch.testing.assert_close(p.sum(1), torch.ones(10))
    assert (p >= 0).all()
    assert torch.equal(s.argmax(1), p.argmax(1))
    (gradient,) = torch.autograd.grad(s.max(1).values.sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    if model.has_decoder:
        image = model.decode(z)
        assert image.shape == x.shape
        assert 0 <= float(image.detach().min()) <= float(image.detach().max()) <= 1
    else:
        with pytest.raises(ValueError, match="has no decoder"):
            model.decode(z)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_head_gives_the_scores_up_to_a_common_term(name):
    model = make(name)
    if model.head() is None:
        pytest.skip(f"{name}: its head is not affine")
    if name == "dec":
        nn.init.normal_(model.centroids)
    z = torch.randn(7, model.dim)
    weight, bias = model.head()
    rest = model.scores(z) - (z @ weight.T + bias)
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_weights(name, shape):
    blobs = make_blobs(48, side=shape[1], channels=shape[0])
    x = torch.from_numpy((blobs.x * 255).astype(np.uint8))
    config = TrainConfig(batch=16, device="cpu", seed=3, lr=1e-2)
    weights = []
    for _ in range(2):
        model = make(name, shape)
        train(model, TrainData(x), config, AugmentConfig())
        weights.append(model.state_dict())
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_permuting_labels_changes_no_weight(blobs, tmp_path):
    # the whole way from samples to weights, not the loop alone: labels must not leak in by any door
    import dataclasses

    from clustcore.models.weights import load_model
    from clustcore.pipeline.make import make_run
    from clustcore.runs.plan import Plan

    config = {"clusters": 3, "dim": 4, "width": 4, "autoencode": 4, "cluster": 2}
    plan = Plan("dec", "blobs", config, train={"batch": 16, "device": "cpu"})
    shuffled = dataclasses.replace(blobs, y=np.random.default_rng(1).permutation(blobs.y))
    first = load_model(make_run("a", plan, blobs, folder=tmp_path / "a")).state_dict()
    second = load_model(make_run("b", plan, shuffled, folder=tmp_path / "b")).state_dict()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_wrap_asks_for_what_is_missing():
    with pytest.raises(ValueError, match="expected a method 'embed', got none"):
        wrap(nn.Linear(3, 3), clusters=3, input_shape=(1, 28, 28))
    with pytest.raises(ValueError, match=r"scores: expected shape \(2, 5\), got \(2, 3\)"):
        wrap(Net(), clusters=5, input_shape=(1, 28, 28))


def test_a_card_cannot_name_code_to_run(monkeypatch):
    config = Wrapped.Config(builder="os:getcwd", clusters=3)
    monkeypatch.delenv("DRIFTMAP_BUILDERS", raising=False)
    with pytest.raises(ValueError, match="builder 'os:getcwd' is not allowed here"):
        Wrapped(config)


def test_a_builder_that_is_allowed_is_used(monkeypatch):
    monkeypatch.setenv("DRIFTMAP_BUILDERS", f"other:name,{__name__}:Net")
    model = Wrapped(Wrapped.Config(builder=f"{__name__}:Net", clusters=3))
    assert model.dim == 6


def test_dec_needs_sides_divisible_by_four():
    with pytest.raises(ValueError, match="expected sides divisible by 4, got 30 x 30"):
        make("dec", (1, 30, 30))
