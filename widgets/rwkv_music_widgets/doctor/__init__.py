"""Data doctor widget."""
