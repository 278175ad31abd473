"""What is asked for: bars, parts, controls and how to sample."""
