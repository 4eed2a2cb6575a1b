"""Limits of the code are stored, and jobs are moved under limits and out of them."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.jobs.limits import declared, moves


class Declaration:
    """The limits of this process's code, to be stored once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_done = False

    def declare(self) -> int:
        """Store them, unless that is done; workers of a former release postpone a part of it."""
        if not self._is_done:
            with Session(self._engine) as session, session.begin():
                self._is_done = declared.declare(session)
        return 0


def move_jobs(engine: Engine) -> int:
    """One chunk of the jobs that a limit was put on or taken from; returns how many it looked at."""
    with Session(engine) as session:
        return moves.step(session)


def retire_limits(engine: Engine) -> int:
    """Take types out of limits that no live worker's code puts there; returns how many."""
    with Session(engine) as session, session.begin():
        return declared.retire(session)
