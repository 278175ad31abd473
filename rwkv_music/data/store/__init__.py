"""Token stores: music files encoded once, on disk."""
