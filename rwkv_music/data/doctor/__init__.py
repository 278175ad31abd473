"""The data doctor: reports what a folder of music files contains."""
