"""Samples, signs of overfitting, and experiment loggers."""
