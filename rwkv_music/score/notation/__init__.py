"""What the writers of notation (MusicXML, ABC) share: quantization and voices."""
