"""Piano roll widget."""
