"""Conversion to and from other libraries' objects: pretty_midi and music21."""
