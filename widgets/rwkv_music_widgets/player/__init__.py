"""Player widget."""
