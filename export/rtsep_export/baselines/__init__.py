"""Separation without training, to measure against."""
