"""Measurements of ml-intern beside the least that could do the same: `python -m ml_intern.benchmarks`."""
