"""The program measured beside its peer: ``make bench``, or ``make bench ARGS="drain --rounds 5"``."""
