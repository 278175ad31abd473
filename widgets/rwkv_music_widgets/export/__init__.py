"""Export of scores to files, and to a page that needs no notebook."""
