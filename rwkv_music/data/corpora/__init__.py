"""Corpora by name: the Bach chorales of music21, token stores and folders of music files."""
