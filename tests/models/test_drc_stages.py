"""What DRC can be given beyond its paper: each switch against a slow oracle or a law."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.models import resnet18

from clustcore.defences.inner import embed_all
from clustcore.models import drc_stages
from clustcore.models.base import TrainData, Views
from clustcore.models.blocks import ResNet
from clustcore.models.drc import DRC, contrast
from clustcore.training.epoch import TrainConfig
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig


def make(sharp: float = 1, **config) -> DRC:
    torch.manual_seed(0)
    model = DRC(DRC.Config(**({"clusters": 3, "width": 4, "alone": 1} | config)))
    with torch.no_grad():
        model.assign.weight.mul_(sharp)
        model.assign.bias.zero_()
    return model


def pixels(blobs) -> torch.Tensor:
    return (torch.from_numpy(blobs.x) * 255).round().to(torch.uint8)


def test_further_views_are_averaged_pairs(blobs):
    model = make(views=4, norm="group")
    x = torch.from_numpy(blobs.x[:12])
    others = x.flip(3), x.flip(2), x.flip(2, 3)
    views = Views(x, x, others[0], torch.arange(12), others[1:])
    loss = model.stages()[0].loss(views, {})
    pairs = [contrast(model(x), model(v), model.config.tau_f, True) for v in others]
    torch.testing.assert_close(loss.parts["af"], sum(pairs) / 3)


def test_one_view_more_changes_nothing_where_it_is_the_second_again(blobs):
    x = torch.from_numpy(blobs.x[:12])
    two = make(norm="group").stages()[0].loss(Views(x, x, x.flip(3), torch.arange(12)), {})
    again = Views(x, x, x.flip(3), torch.arange(12), (x.flip(3),))
    torch.testing.assert_close(make(norm="group").stages()[0].loss(again, {}).total, two.total)


def test_the_slow_copy_follows_with_its_decay(blobs):
    model = make(ema=0.9, norm="group")
    stage = model.stages()[0]
    data = TrainData(pixels(blobs))
    state = stage.begin(data, 0, {})
    before = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    x = torch.from_numpy(blobs.x[:12])
    stage.loss(Views(x, x, x, torch.arange(12)), state).total.backward()
    for name, value in before.items():  # 0.9 old + 0.1 (old + 1)
        torch.testing.assert_close(state[f"slow.{name}"], value + 0.1)
    kept = stage.begin(data, 1, state)
    assert {name for name in kept if name.startswith("slow.")} == set(state)


def test_the_slow_copy_sees_the_other_views_and_gets_no_gradient(blobs):
    model = make(ema=0.5, norm="group")
    stage = model.stages()[0]
    state = stage.begin(TrainData(pixels(blobs)), 0, {})
    x = torch.from_numpy(blobs.x[:12])
    loss = stage.loss(Views(x, x, x.flip(3), torch.arange(12)), state)
    # at the start both copies are one, so the loss is that without a slow copy
    plain = make(norm="group").stages()[0].loss(Views(x, x, x.flip(3), torch.arange(12)), {})
    torch.testing.assert_close(loss.total, plain.total)
    loss.total.backward()
    assert all(value.grad is None for value in state.values())


def test_neighbours_are_those_of_a_slow_search(blobs):
    model = make(neighbours=3).eval()
    data = TrainData(pixels(blobs))
    near = drc_stages.begin_near(model, data, 3)["near"]
    with torch.no_grad():
        z = model.embed(data.x.float() / 255)
        p = model.soft(z)
    for i in range(len(z)):
        like = sorted(
            (j for j in range(len(z)) if j != i),
            key=lambda j: -float(torch.cosine_similarity(z[i], z[j], dim=0)),
        )
        torch.testing.assert_close(near[i], p[like[:3]].mean(0))


def test_neighbours_are_the_same_in_smaller_chunks_and_each_image_is_embedded_once(
    blobs, monkeypatch
):
    model = make(neighbours=3).train()
    data = TrainData(pixels(blobs))
    whole = drc_stages.begin_near(model, data, 3)["near"]
    embed, asked = model.embed, []

    def small(x):
        if len(x) > 20:
            raise torch.OutOfMemoryError
        asked.append(len(x))
        return embed(x)

    monkeypatch.setattr(model, "embed", small)
    with pytest.warns(UserWarning, match="out of memory on cpu: going on with batches of"):
        found = drc_stages.begin_near(model, data, 3)["near"]
    torch.testing.assert_close(found, whole)
    assert sum(asked) == 64
    assert model.training
    monkeypatch.setattr(model, "embed", lambda x: small(torch.zeros(21)))
    with (
        pytest.raises(torch.OutOfMemoryError),
        pytest.warns(UserWarning, match="going on with batches of"),
    ):
        embed_all(model, data)
    assert model.training


def test_agreement_is_scans_sum():
    torch.manual_seed(0)
    s, near = torch.randn(6, 4), torch.randn(6, 4).softmax(1)
    expected = 0.0
    for row, other in zip(s.tolist(), near.tolist(), strict=True):
        total = sum(math.exp(v) for v in row)
        expected -= math.log(sum(math.exp(v) / total * q for v, q in zip(row, other, strict=True)))
    assert float(drc_stages.agree(s, near)) == pytest.approx(expected / 6, rel=1e-5)


def test_more_neighbours_than_images_is_said(blobs):
    model = make(neighbours=50)
    with pytest.raises(ValueError, match="neighbours: expected fewer than the 40 images, got 50"):
        model.stages()[0].begin(TrainData(pixels(blobs)[:40]), 0, {})


def test_sure_samples_count_the_same_in_every_cluster(blobs):
    model = make(sharp=20, norm="group")  # an untrained model is sure of nothing
    x = torch.from_numpy(blobs.x)
    told, weights = drc_stages.sure_labels(model, x, 0.5)
    with torch.no_grad():
        p = model.soft(model.embed(x))
    assert torch.equal(told, p.argmax(1))
    assert torch.equal(weights > 0, p.max(1).values >= 0.5)
    totals = torch.stack([weights[told == k].sum() for k in told[weights > 0].unique()])
    torch.testing.assert_close(totals, totals.mean().expand_as(totals))
    assert float(weights[weights > 0].mean()) == pytest.approx(1)


def test_nothing_sure_is_no_loss():
    s = torch.randn(4, 3, requires_grad=True)
    told = torch.zeros(4, dtype=torch.long)
    assert float(drc_stages.weighted(s, told, torch.zeros(4)).detach()) == 0


@pytest.mark.parametrize(
    "switch",
    [
        {"views": 3},
        {"ema": 0.9},
        {"ema": 0.9, "norm": "batch"},  # the slow copy has running statistics of its own
        {"neighbours": 4, "weight_n": 0.1},
        {"alone": 0, "selflabel": 2},
        {"alone": 0, "features": 2},
        {"alone": 1, "heads": "scan", "head_steps": 20, "taught": 0, "relabelled": 1},
        {"alone": 0, "heads": "kmeans", "surest": 2},
        {"alone": 1, "surest": 2, "norm": "batch"},
    ],
    ids=", ".join,
)
def test_every_switch_trains_and_resumes_to_the_same_weights(switch, blobs, tmp_path):
    config = TrainConfig(batch=16, lr=1e-4, device="cpu")
    mild = AugmentConfig(rotate=2.0)
    switch = {"norm": "group", "alone": 2, "sharp": 20} | switch

    def run(model, folder, on_epoch=None):
        data = TrainData(pixels(blobs))
        stages = model.stages()
        for stage in stages:
            stage.clusters = False  # with batch statistics these few steps do find one alone
        model.stages = lambda: stages
        with torch.no_grad():  # logits about 0, so that the first epochs are no collapse
            model.assign.bias.sub_(model(data.x.float() / 255).mean(0))
        train(model, data, config, mild, folder=folder, on_epoch=on_epoch)
        return {name: value.clone() for name, value in model.state_dict().items()}

    def stop(epoch):
        raise KeyboardInterrupt

    whole = run(make(**switch), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(make(**switch), tmp_path / "cut", stop)
    resumed = run(make(**switch), tmp_path / "cut")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value)


def test_the_resnet_is_torchvisions_but_for_its_stem():
    # the same weights in torchvision's own network, whose stem is replaced by hand
    ours = ResNet("resnet18", 3, 32).eval()
    theirs = resnet18(weights=None).eval()
    theirs.conv1, theirs.maxpool, theirs.fc = (
        ours.layers[0],
        torch.nn.Identity(),
        torch.nn.Identity(),
    )
    parts = {"bn1": 1, "layer1": 3, "layer2": 4, "layer3": 5, "layer4": 6}
    for name, index in parts.items():
        getattr(theirs, name).load_state_dict(ours.layers[index].state_dict())
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.dim == 512


def test_wide_images_are_pooled_once():
    assert len(ResNet("resnet18", 3, 96).layers) == len(ResNet("resnet18", 3, 32).layers) + 1
    assert ResNet("resnet34", 1, 64)(torch.rand(2, 1, 64, 64)).shape == (2, 512)


def test_group_normalisation_knows_no_other_sample():
    model = make(norm="group").train()
    x = torch.rand(6, 1, 28, 28)
    torch.testing.assert_close(model(x)[:2], model(x[:2]), rtol=1e-4, atol=1e-5)
