"""The one folder in which this project keeps what it can build again."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The folder for things that can be built again, made when it is missing.

    It is the platform's cache folder for `rwkv-music`; the environment variable `RWKV_MUSIC_CACHE`
    names another one.
    """
    chosen = os.environ.get("RWKV_MUSIC_CACHE")
    folder = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("rwkv-music", False))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
