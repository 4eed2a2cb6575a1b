"""Duties that keep the queue correct: one file per duty, the timetable says when each one runs.

Each duty is a function that does a bounded amount of work and returns how much it did. Most are needed
once in a deployment and run in the process that leads it (``leader``). That is a hint: an advisory lock in
the duty's own short transaction elects one process, and every statement is safe if two run anyway.
"""

from app.worker.sweeper.timetable import Sweeper

__all__ = ["Sweeper"]
