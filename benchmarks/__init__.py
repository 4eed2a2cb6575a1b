"""Benchmarks of this project, compared with similar systems: ``make bench``, or ``make bench ARGS="drain --rounds 5"``."""
