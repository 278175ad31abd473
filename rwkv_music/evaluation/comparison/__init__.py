"""Comparison of models on music that they have not seen: `rwkv-music evaluate`."""
