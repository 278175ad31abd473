"""The settings form: a control for every declared setting, and a configuration of their values."""

import ipywidgets as widgets
import pytest
from rwkv_music_widgets import SettingsForm
from rwkv_music_widgets.closing import is_open

from rwkv_music.errors import InputError
from rwkv_music.training import PRESETS, TrainingConfig
from rwkv_music.training.config import training_settings


@pytest.mark.parametrize("preset", PRESETS)
def test_the_form_of_a_preset_makes_the_configuration_of_the_preset(preset: str) -> None:
    form = SettingsForm(preset, corpus="bach", out="runs/x", seed=7)
    assert form.config() == TrainingConfig.preset(preset, corpus="bach", out="runs/x", seed=7)


def test_every_setting_has_a_control_of_its_type_with_its_help() -> None:
    form = SettingsForm()
    assert list(form.controls) == list(training_settings())
    kinds = {bool: widgets.Checkbox, int: widgets.IntText, float: widgets.FloatText}
    for name, declared in training_settings().items():
        control = form.controls[name]
        assert (control.description, control.tooltip) == (name, declared.help)
        if declared.choices:
            assert control.options == declared.choices
        else:
            assert isinstance(control, kinds.get(declared.type, widgets.Text))


def test_a_chosen_preset_changes_its_settings_and_keeps_the_others() -> None:
    form = SettingsForm("tiny", corpus="bach", out="runs/x", seed=7)
    form.preset.value = "5m"
    assert form.config() == TrainingConfig.preset("5m", corpus="bach", out="runs/x", seed=7)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", 0, "`batch_size` must be at least 1, got 0"),
        ("warmup_steps", 1200, "`warmup_steps` must be in [0, steps), got 1200"),
        ("out", " ", "`out` is empty: Run directory to create."),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_and_shown(
    name: str, value: object, message: str
) -> None:
    form = SettingsForm(corpus="bach", out="runs/x")
    form.controls[name].value = value
    with pytest.raises(InputError):
        form.config()
    assert message in form.message_box.text
    form.controls[name].value = training_settings()[name].default or "runs/y"
    form.config()
    assert form.message_box.text == ""


def test_closing_the_form_closes_its_controls() -> None:
    form = SettingsForm()
    controls = list(form.controls.values())
    form.close()
    assert not any(is_open(control) for control in controls)
