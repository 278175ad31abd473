"""Humdrum files: reader of **kern."""
