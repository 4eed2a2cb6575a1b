"""Limits: how many jobs of some types or queues run at the same time, and how many start in a time."""
