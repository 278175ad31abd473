"""The cache folder: files that can be rebuilt."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the cache folder, creating it if it does not exist.

    This is the platform's cache folder for `rwkv-music`, or the folder that the environment
    variable `RWKV_MUSIC_CACHE` names.
    """
    chosen = os.environ.get("RWKV_MUSIC_CACHE")
    folder = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("rwkv-music", False))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
