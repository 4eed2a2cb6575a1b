"""Limits at which jobs wait are looked at each second, in case a hint was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Engine

from app.broker.pace import limit_hint
from app.broker.ready_set import ReadySet
from app.jobs.limits import backstop
from app.jobs.publication import ref


class Backstop:
    """One round at a time over the limits with waiting jobs. ``hint`` calls this process's pacer."""

    def __init__(
        self, engine: Engine, ready: ReadySet, hint: Callable[[Iterable[str]], None]
    ) -> None:
        self._engine = engine
        self._ready = ready
        self._hint = hint
        self._after = ""

    def look(self) -> int:
        """Hint the limits of the next round; returns how many jobs changed on the way."""
        with self._engine.begin() as db:
            found = backstop.look(db, after=self._after)
        self._after = found.last
        self._hint([limit_hint(name) for name in found.limits])
        self._ready.publish([ref(row) for row in found.released])
        return found.count
