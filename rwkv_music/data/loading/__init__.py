"""From pieces to batches: windows, collation, packing and data loaders."""
