"""Initial weights from another model."""

from collections.abc import Mapping

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, load_model
from rwkv_music.settings import settings_code
from rwkv_music.tokenizer.tokenizer import settings_text
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.presets import PRESETS

_QUANTITIES = {"num_layers": "layers", "dim": "channels", "vocab_size": "tokens"}


def load_initial(source: str, sizes: ModelConfig, settings: Mapping[str, int]) -> RWKV7:
    """Load the model whose weights a run starts with.

    Args:
        source: As for `load_model`: a shipped model's name, a run directory, a file.
        sizes: Sizes of the run's model; dropout may differ.
        settings: Tokenizer settings of the corpus. A file without tokenizer settings is accepted.

    Raises:
        InputError: If there is no such model, or it does not fit; names the first difference.
    """
    model = load_model(source)
    own = model.tokenizer_settings
    if own is not None and dict(own) != dict(settings):
        raise InputError(
            f"the tokenizer of the model {source} has {settings_text(own)}, that of the corpus "
            f"{settings_text(settings)}: prepare the corpus with the model's settings, or leave "
            "out `init`"
        )
    own_sizes, run_sizes = model.config.to_dict(), sizes.to_dict()
    for name in ("vocab_size", *run_sizes):
        if name != "dropout" and own_sizes[name] != run_sizes[name]:
            raise InputError(
                f"the model {source} has {own_sizes[name]} {_QUANTITIES.get(name, name)}, the run "
                f"{run_sizes[name]}: {_remedy(model.config)}"
            )
    return model.network


def _remedy(sizes: ModelConfig) -> str:
    for name in PRESETS:
        preset = TrainingConfig.preset(name, corpus="", out="")
        if (preset.model.num_layers, preset.model.dim) == (sizes.num_layers, sizes.dim):
            return f"choose {settings_code(preset=name)}, or another model"
    code = settings_code(num_layers=sizes.num_layers, dim=sizes.dim)
    return f"choose {code}, or another model"
