"""The native CPU library: one C++ file, compiled for several instruction sets, chosen at load.

Wheels carry it; a source install builds it where a compiler is found (`build.py`). Where it is
missing, everything runs in PyTorch, slower. Nothing is ever compiled at first use.
"""

from rwkv_music.native.loading import NativeLibrary, load_library

__all__ = ["NativeLibrary", "load_library"]
