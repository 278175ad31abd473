"""Continuation session widget."""
