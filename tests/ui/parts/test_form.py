"""The form: every config can be drawn, and comes back as it is."""

from __future__ import annotations

import dataclasses

import pytest
from streamlit.testing.v1 import AppTest

from clustcore.config import Config, setting
from clustcore.defences import DEFENCES
from clustcore.models import MODELS
from clustcore.registry import lookup
from clustcore.training.epoch import TrainConfig
from clustcore.training.views import AugmentConfig

CONFIGS = {
    "train": TrainConfig,
    "augment": AugmentConfig,
    **{name: lookup(MODELS, name, "model").Config for name in MODELS},
    **{f"defence {name}": lookup(DEFENCES, name, "defence").Config for name in DEFENCES},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Two(Config):
    """Two fields with a check of their own."""

    low: int = setting(1, "the lower one", range=(0, 10))
    high: float = setting(2.0, "the higher one", range=(0, 10), unit="of ten", rare=True)
    how: str = setting("any", "how")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"Two.low: expected at most high, {self.high}, got {self.low}")
        if self.how == "not":
            raise ValueError("these do not go together")


def draw(config: type[Config], **defaults: object) -> AppTest:
    """An app that is nothing but the form; it keeps what the form gave in the session."""

    def app(config, defaults):  # its source is run by itself: no names of this module
        import streamlit as st

        from ui.parts.form import form

        st.session_state["given"] = form(config, "f", defaults)

    return AppTest.from_function(app, kwargs={"config": config, "defaults": defaults}).run()


def given(app: AppTest) -> dict[str, object] | None:
    assert not app.exception
    return app.session_state["given"]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_config_is_drawn_and_comes_back_unchanged(config):
    values = given(draw(config))
    asked = {f.name for f in dataclasses.fields(config)} - {"input_shape"}
    assert values.keys() == asked
    assert config(**values) == config()
    assert {type(values[name]) for name in asked} <= {int, float, bool, str}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_control_tells_its_meaning_and_keeps_to_the_range(config):
    app = draw(config)
    fields = {f"f_{field.name}": field for field in dataclasses.fields(config)}
    for widget in (*app.number_input, *app.selectbox, *app.toggle, *app.text_input):
        field = fields[widget.key]
        assert field.metadata["help"].lower()[:12] in widget.help.lower().replace("\\", "")
        if field.metadata.get("range"):
            assert (widget.min, widget.max) == field.metadata["range"]


def test_a_control_for_each_kind():
    app = draw(TrainConfig)
    assert app.number_input(key="f_lr").step == pytest.approx(1e-4)
    assert app.number_input(key="f_batch").step == 1
    assert app.selectbox(key="f_precision").options == ["auto", "float32", "bfloat16"]
    assert app.selectbox(key="f_device").options == ["auto", "cpu", "cuda", "mps"]
    app.number_input(key="f_lr").set_value(0.01).run()
    assert given(app)["lr"] == 0.01


def test_the_stages_of_drc_stand_in_the_order_of_training():
    shown = [widget.key for widget in draw(CONFIGS["drc"]).number_input]
    stages = [f"f_{name}" for name in ("alone", "taught", "relabelled", "selflabel")]
    assert [key for key in shown if key in stages] == stages


def test_defaults_of_ones_own():
    values = given(draw(TrainConfig, lr=0.5, device="cuda:1", nothing=3))
    assert (values["lr"], values["device"]) == (0.5, "cuda:1")
    assert "nothing" not in values


def test_the_configs_own_check_speaks_at_the_field():
    app = draw(Two)
    app.number_input(key="f_low").set_value(5).run()
    assert given(app) is None
    assert [error.value for error in app.error] == ["expected at most high, 2.0, got 5"]
    app.number_input(key="f_high").set_value(6.0).run()
    assert given(app) == {"low": 5, "high": 6.0, "how": "any"}
    assert not app.error


def test_a_check_of_no_field_speaks_below():
    app = draw(Two)
    app.text_input(key="f_how").set_value("not").run()
    assert given(app) is None
    assert [error.value for error in app.error] == ["these do not go together"]
