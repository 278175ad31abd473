"""MIDI files: read, repair, write."""
