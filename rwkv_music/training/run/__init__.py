"""The run directory, its checkpoints, and runs in a process of their own."""

from rwkv_music.training.run.directory import FINAL_STATES, RunDirectory

__all__ = ["FINAL_STATES", "RunDirectory"]
