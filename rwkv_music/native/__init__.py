"""The native CPU library: C++ compiled for several instruction sets, one of them loaded.

Wheels contain it; an installation from source builds it if there is a compiler (`build.py`).
Without it everything runs in PyTorch, slower. Nothing is compiled at first use.
"""

from rwkv_music.native.loading import NativeLibrary, load_library

__all__ = ["NativeLibrary", "load_library"]
