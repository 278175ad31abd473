"""Reasons for skipping that several tests share: what is missing, and how to get it."""

NO_NATIVE_LIBRARY = (
    "the native CPU library is not built, so there is nothing to compare: install g++ and run "
    "python rwkv_music/native/build.py"
)
NO_TRITON = "Triton is not installed: pip install triton (Linux only)"
NO_JUPYTERLAB = "JupyterLab is not installed: pip install 'rwkv-music[lab]'"
