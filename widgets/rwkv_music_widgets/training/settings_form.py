"""Settings form: every training setting as a control, generated from its declaration."""

from typing import Any

import ipywidgets as widgets

from rwkv_music.errors import InputError
from rwkv_music.settings import Setting
from rwkv_music.training import PRESETS, TrainingConfig
from rwkv_music.training.config import group_titles, training_settings
from rwkv_music_widgets.closing import close_tree
from rwkv_music_widgets.key_guard import guard_keys
from rwkv_music_widgets.messages import MessageBox

_LAYOUT = {"width": "95%"}
_STYLE = {"description_width": "14em"}


class SettingsForm(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows the settings of a run by group, and makes a `TrainingConfig` of them.

    Choosing a preset puts its values into the controls. The help of a setting is the tooltip of its
    control.

    Args:
        preset: The preset to start from.
        settings: Settings that differ from the preset, by name.

    Raises:
        InputError: If there is no such preset or setting, or a value is out of range.

    Example:
        >>> form = SettingsForm("tiny", corpus="bach", out="runs/try")
        >>> form.config().run.steps
        40
    """

    def __init__(self, preset: str = "small", **settings: Any) -> None:
        declarations = training_settings()
        required = {name: "" for name, declared in declarations.items() if declared.is_required}
        values = TrainingConfig.preset(preset, **{**required, **settings}).flat()
        self.preset = widgets.Dropdown(
            options=tuple(PRESETS), value=preset, description="preset", style=_STYLE, layout=_LAYOUT
        )
        self.preset.observe(lambda _change: self._show_preset(), names=["value"])
        self.controls = {
            name: _control(declared, values[name]) for name, declared in declarations.items()
        }
        self.message_box = MessageBox()
        groups = [
            widgets.VBox(
                [
                    self.controls[name]
                    for name, setting in declarations.items()
                    if setting.group == group
                ]
            )
            for group in group_titles()
        ]
        titles = [f"{group}: {title}" for group, title in group_titles().items()]
        accordion = widgets.Accordion(groups, titles=titles)
        super().__init__([self.preset, accordion, self.message_box])
        guard_keys(self)

    def settings(self) -> dict[str, Any]:
        """Return the values of all controls, by the names of the settings."""
        values = {name: control.value for name, control in self.controls.items()}
        return {
            name: value.strip() if isinstance(value, str) else value
            for name, value in values.items()
        }

    def config(self) -> TrainingConfig:
        """Return the settings as a configuration.

        Raises:
            InputError: If a setting is missing or out of range; the form shows the message as well.
        """
        self.message_box.clear()
        try:
            values = self.settings()
            for name, declared in training_settings().items():
                if declared.is_required and not values[name]:
                    raise InputError(f"`{name}` is empty: {declared.help}")
            return TrainingConfig(**values)
        except InputError as error:
            self.message_box.show_error(str(error))
            raise

    def close(self) -> None:
        """Close the form and its controls."""
        close_tree(self)

    def _show_preset(self) -> None:
        """Put the values of the chosen preset into the controls; settings it leaves open stay."""
        defaults = {name: declared.default for name, declared in training_settings().items()}
        decided = {name: defaults[name] for values in PRESETS.values() for name in values}
        for name, value in {**decided, **PRESETS[self.preset.value]}.items():
            self.controls[name].value = value


def _control(declared: Setting, value: Any) -> widgets.Widget:
    options: dict[str, Any] = {
        "value": value,
        "description": declared.name,
        "tooltip": declared.help,
        "style": _STYLE,
        "layout": _LAYOUT,
    }
    if declared.choices:
        return widgets.Dropdown(options=declared.choices, **options)
    if declared.type is bool:
        return widgets.Checkbox(**options)
    widget_types = {int: widgets.IntText, float: widgets.FloatText, str: widgets.Text}
    return widget_types[declared.type](**options)
