"""Sessions: trees of candidates, with undo, branches and one file."""
