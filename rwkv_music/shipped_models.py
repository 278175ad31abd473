"""The models that come with the project; their files lie in `rwkv_music/models`."""

DEFAULT_MODEL = "general"
"""What `load_model()`, the command line and the notebook take unless told otherwise."""
