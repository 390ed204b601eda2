"""Configs check themselves; the dial has the strengths that everything shares."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustcore.attacks import ATTACKS
from clustcore.attacks.base import Attack
from clustcore.config import Config, digest, setting
from clustcore.defences import DEFENCES
from clustcore.defences.base import Defence
from clustcore.dial import dial
from clustcore.maps.projection import ProjectionConfig
from clustcore.models import MODELS
from clustcore.models.base import Model
from clustcore.registry import lookup
from clustcore.training.epoch import TrainConfig
from clustcore.training.teacher import TeachConfig
from clustcore.training.views import AugmentConfig
from clustcore.types import Samples

CONFIGS = [AugmentConfig, ProjectionConfig, TeachConfig, TrainConfig]
CONFIGS += [lookup(MODELS, name, "model").Config for name in MODELS]
CONFIGS += [lookup(ATTACKS, name, "attack").Config for name in ATTACKS]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Some(Config):
    """One field of each kind."""

    share: float = setting(0.5, "a share", range=(0, 1))
    kind: str = setting("a", "a kind", choices=("a", "b"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.__qualname__)
def test_every_config_says_what_its_fields_mean_and_survives_json(config):
    made = config()
    for field in dataclasses.fields(config):
        assert field.metadata["help"], field.name
        assert set(field.metadata) == {"help", "range", "choices", "unit", "rare"}
    assert config.from_dict(made.to_dict()) == made
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.new = 1


@pytest.mark.parametrize(
    ("registry", "name"),
    [(r, name) for r in (MODELS, ATTACKS, DEFENCES) for name in r],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_class_says_the_type_of_its_settings(registry, name):
    # without it a checker of types would let any field of `self.config` pass
    cls = lookup(registry, name, "entry")
    bases = [base for one in cls.__mro__ for base in vars(one).get("__orig_bases__", ())]
    (said, *_) = (b for b in bases if typing.get_origin(b) in (Model, Attack, Defence))
    assert typing.get_args(said) == (cls.Config,)


def test_a_value_out_of_range_is_said():
    with pytest.raises(ValueError, match=r"Some.share: expected 0 to 1, got 2"):
        Some(share=2.0)
    with pytest.raises(ValueError, match=r"Some.share: expected a finite number, got nan"):
        Some(share=float("nan"))
    for wrong in (True, "half", None):
        with pytest.raises(ValueError, match=rf"Some.share: expected float, got {wrong!r}"):
            Some(share=wrong)
    with pytest.raises(ValueError, match=r"Some.kind: expected one of a, b, got 'c'"):
        Some(kind="c")
    with pytest.raises(ValueError, match=r"here: unknown field 'other'; known: kind, share"):
        Some.from_dict({"other": 1}, "here")


def test_lookup_names_what_is_known():
    with pytest.raises(ValueError, match="unknown attack 'pdg'; known: alrdc, alrdc-relu, exact"):
        lookup(ATTACKS, "pdg", "attack")


@pytest.mark.parametrize(
    "data", ["mnist", "fashion-mnist", "cifar10", "stl10", "digits", "my folder"]
)
@pytest.mark.parametrize(
    ("space", "norm"), [("pixels", "linf"), ("pixels", "l2"), ("embedding", "l2")]
)
def test_strengths_run_from_0_to_the_end_denser_near_0(data, space, norm):
    scale = dial(data, space, norm)
    assert scale.strengths[0] == 0
    assert scale.strengths[-1] == pytest.approx(scale.end)
    assert (np.diff(scale.strengths, 2) > 0).all()
    assert 0 < scale.default <= scale.end
    assert scale.step * 200 == pytest.approx(scale.end)


def test_the_budgets_of_the_data_sets():
    assert dial("mnist", "pixels", "linf").end == 0.4
    assert dial("fashion-mnist", "pixels", "l2").default == 1.0
    for data in ("cifar10-jpeg", "cifar100-20", "stl10", "imagenet-dogs", "tiny-imagenet"):
        assert dial(data, "pixels", "linf").default == pytest.approx(8 / 255)
    assert dial("mnist", "embedding", "l2").default == 0.3
    with pytest.raises(ValueError, match="unknown space 'sound'; known: pixels, embedding"):
        dial("mnist", "sound", "l2")
    with pytest.raises(ValueError, match="unknown norm 'l7'; known: linf, l2"):
        dial("mnist", "pixels", "l7")


@given(st.dictionaries(st.text(), st.integers()), st.dictionaries(st.text(), st.integers()))
def test_a_digest_depends_on_the_values_and_not_on_their_order(a, b):
    assert digest(a) == digest(dict(reversed(a.items())))
    assert (digest(a) == digest(b)) == (a == b)


def test_taking_rows_keeps_ids():
    x = np.zeros((4, 1, 2, 2), np.float32)
    samples = Samples(x, np.arange(4), np.arange(10, 14), "some")
    taken = samples.take(np.array([3, 1]))
    assert taken.ids.tolist() == [13, 11]
    assert taken.y.tolist() == [3, 1]
