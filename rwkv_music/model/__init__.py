"""The RWKV-7 model: sizes, network, state, initial weights, checkpoints, styles, decoder."""

from rwkv_music.model.checkpoint import load_checkpoint, load_model, save_checkpoint
from rwkv_music.model.decoder import Decoder, DecoderState
from rwkv_music.model.initialization import initialize
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.music_model import MusicModel
from rwkv_music.model.official import load_pth, save_pth
from rwkv_music.model.rwkv7 import RWKV7
from rwkv_music.model.state import LayerState, ModelState
from rwkv_music.model.state_exchange import (
    load_state,
    save_state,
    state_from_list,
    state_to_list,
)
from rwkv_music.model.style import Style, fingerprint, load_style, mix_styles, save_style

__all__ = [
    "RWKV7",
    "Decoder",
    "DecoderState",
    "LayerState",
    "ModelConfig",
    "ModelState",
    "MusicModel",
    "Style",
    "fingerprint",
    "initialize",
    "load_checkpoint",
    "load_model",
    "load_pth",
    "load_state",
    "load_style",
    "mix_styles",
    "save_checkpoint",
    "save_pth",
    "save_state",
    "save_style",
    "state_from_list",
    "state_to_list",
]
