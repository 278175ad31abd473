"""The weights a run begins with, when they are those of another model."""

from collections.abc import Mapping

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, load_model
from rwkv_music.tokenizer.tokenizer import settings_text
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.presets import PRESETS

_IN_WORDS = {"num_layers": "layers", "dim": "channels", "vocab_size": "tokens to choose from"}


def load_initial(source: str, sizes: ModelConfig, settings: Mapping[str, int]) -> RWKV7:
    """A model to begin with.

    Args:
        source: What `load_model` takes: a shipped model's name, a run directory, a file.
        sizes: Of the run's model; dropout may differ.
        settings: Of the corpus's tokenizer. A file that does not tell its own is trusted.

    Raises:
        InputError: If there is no such model, or it does not fit: names the first difference.
    """
    model = load_model(source)
    own = model.tokenizer_settings
    if own is not None and dict(own) != dict(settings):
        raise InputError(
            f"the model {source} reads tokens of {settings_text(own)}, the corpus is made of "
            f"{settings_text(settings)}: prepare the corpus with the model's settings, or leave "
            "--init out"
        )
    given, wanted = model.config.to_dict(), sizes.to_dict()
    for name in ("vocab_size", *wanted):
        if name != "dropout" and given[name] != wanted[name]:
            raise InputError(
                f"the model {source} has {given[name]} {_IN_WORDS.get(name, name)}, the run asks "
                f"for {wanted[name]}: {_remedy(model.config)}"
            )
    return model.network


def _remedy(sizes: ModelConfig) -> str:
    for name in PRESETS:
        preset = TrainingConfig.preset(name, corpus="", out="")
        if (preset.model.num_layers, preset.model.dim) == (sizes.num_layers, sizes.dim):
            return f"choose --preset {name}, or another model"
    return (
        f"give num_layers={sizes.num_layers}, dim={sizes.dim} in a TrainingConfig, or choose "
        "another model"
    )
