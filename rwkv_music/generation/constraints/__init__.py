"""Constraints: hard limits on new music, as masks over the grammar."""
