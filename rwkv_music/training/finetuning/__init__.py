"""Tuning a trained model to a few files."""
