"""Faults at random against a private system, then a verdict on every job: see ``__main__``."""
