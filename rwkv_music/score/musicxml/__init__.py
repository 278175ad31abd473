"""MusicXML files: reader and writer."""
