"""Side-by-side measurements against named peers. Run them as `python -m benchmarks.NAME`."""
