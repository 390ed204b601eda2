"""Batch normalisation's running statistics are those of clean images, whatever the views were."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from clustcore.defences.pgd_at import PGDTraining
from clustcore.models.base import TrainData, Views
from clustcore.models.blocks import batch_norms, batch_statistics
from clustcore.models.dec import DEC
from clustcore.models.drc import DRC
from clustcore.models.drc_stages import sure_labels
from clustcore.training.epoch import TrainConfig, Training, settle
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig
from tests.conftest import make_blobs

STRAY = AugmentConfig(contrast=0.9, scale=0.5)  # views that look little like their images


def pixels(n: int = 64) -> torch.Tensor:
    return torch.from_numpy((make_blobs(n).x * 255).astype(np.uint8))


def dec() -> DEC:
    return DEC(DEC.Config(clusters=3, dim=4, width=4, autoencode=1, cluster=1))


def drc(**config) -> DRC:
    return DRC(DRC.Config(**{"clusters": 3, "width": 4, "alone": 1} | config))


@pytest.mark.parametrize("make", [dec, drc], ids=["dec", "drc"])
def test_after_training_they_are_those_of_the_clean_images(make):
    # the oracle: what reaches each layer when all clean images go through as one batch
    torch.manual_seed(0)
    model, data = make(), TrainData(pixels())
    for stage in (stages := model.stages()):
        stage.clusters = False
    model.stages = lambda: stages
    train(model, data, TrainConfig(batch=64, lr=1e-3, device="cpu"), STRAY)
    layers, seen = batch_norms(model), {}
    assert len(layers) > 1
    for layer in layers:
        layer.register_forward_hook(lambda own, args, _: seen.update({own: args[0].detach()}))
    left = {layer: (layer.running_mean.clone(), layer.running_var.clone()) for layer in layers}
    model.train()
    with torch.no_grad():
        z = model.embed(data.x.float() / 255)
        if model.has_decoder:
            model.decode(z)
    for layer in layers:
        x = seen[layer].double().transpose(0, 1).flatten(1).numpy()
        mean, var = left[layer]
        np.testing.assert_allclose(mean.numpy(), x.mean(1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(var.numpy(), x.var(1, ddof=1), rtol=1e-4, atol=1e-7)


def test_images_in_the_order_of_their_classes_are_measured_mixed():
    # several chunks, whose mean variance misses what lies between chunks: there must be little
    torch.manual_seed(0)
    bright = torch.arange(6).repeat_interleave(40)  # six classes, one after the other
    x = (40 * bright[:, None, None, None] + torch.randint(0, 20, (240, 1, 28, 28))).byte()
    model = drc()
    job = Training(model, TrainData(x), TrainConfig(), STRAY, [model], 40)
    settle(job)
    chunks = [layer.running_var.clone() for layer in batch_norms(model)]
    settle(dataclasses.replace(job, batch=240))  # one chunk
    for some, layer in zip(chunks, batch_norms(model), strict=True):
        torch.testing.assert_close(some, layer.running_var, rtol=0.05, atol=1e-5)


def test_layers_that_no_image_reaches_keep_what_they_have():
    model = drc()
    model.beside = torch.nn.BatchNorm1d(2)
    model.beside.running_mean.fill_(3.0)
    settle(Training(model, TrainData(pixels()), TrainConfig(), STRAY, [model], 16))
    assert (model.beside.running_mean == 3).all()
    assert (model.beside.running_var == 1).all()


def test_a_defence_meets_the_model_with_the_statistics_of_clean_images():
    # with learning off they stay where the starting model has them, whatever the views do
    torch.manual_seed(0)
    model, data = drc(), TrainData(pixels(), torch.arange(64) % 3)
    settle(Training(model, data, TrainConfig(), STRAY, [model], 64))
    guard = PGDTraining(PGDTraining.Config(steps=1), model, None, 0)
    (stage,) = guard.stages(model)
    stage.state = stage.begin(data, 0, {})
    x = data.x.float() / 255
    views = Views(x, 1 - x, 1 - x, torch.arange(64))
    before = [layer.running_mean.clone() for layer in batch_norms(model)]
    stage.loss(views, stage.state)
    for mean, layer in zip(before, batch_norms(model), strict=True):
        torch.testing.assert_close(mean, layer.running_mean, rtol=1e-4, atol=1e-5)


def test_they_follow_as_asked_and_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    layer = torch.nn.BatchNorm1d(3)
    model = torch.nn.Sequential(layer).eval()
    a, b = torch.randn(50, 3) + 4, 2 * torch.randn(70, 3)
    with batch_statistics(model, 0.0):
        out = model(a)
    np.testing.assert_allclose(out.detach().mean(0).numpy(), 0, atol=1e-5)  # normalised by itself
    assert torch.equal(layer.running_mean, torch.zeros(3))
    assert torch.equal(layer.running_var, torch.ones(3))
    with batch_statistics(model, None):
        model(a)
        model(b)
    torch.testing.assert_close(layer.running_mean, (a.mean(0) + b.mean(0)) / 2)
    torch.testing.assert_close(layer.running_var, (a.var(0) + b.var(0)) / 2)
    assert not model.training
    assert layer.momentum == 0.1
    with pytest.raises(KeyError), batch_statistics(model, None):
        raise KeyError
    assert not model.training
    assert layer.momentum == 0.1


def test_what_is_sure_does_not_depend_on_running_statistics_nor_change_them():
    torch.manual_seed(0)
    model, x = drc().train(), pixels().float() / 255
    first = sure_labels(model, x, 0.34)
    assert first[1].sum() > 0
    for layer in batch_norms(model):
        layer.running_mean.fill_(5.0)
    again = sure_labels(model, x, 0.34)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert all((layer.running_mean == 5).all() for layer in batch_norms(model))


def test_a_model_without_them_is_left_alone(monkeypatch):
    model = drc(norm="group")
    asked = []
    monkeypatch.setattr(model, "scores", lambda z: (asked.append(len(z)), model.assign(z))[1])
    job = Training(model, TrainData(pixels()), TrainConfig(), STRAY, [model], 16)
    settle(job)
    assert not asked
