"""The pacer's source of work for limits: a pass of admission for each limit that has news or whose time has come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from app.jobs.limits import admission, backstop
from app.jobs.publication import Ref, ref

#: Passes in a row, before other sources of the pacer get their turn.
MAX_PASSES = 20
#: After another process had the lock of a limit; and how often, before the leader's look each second is enough.
BUSY_SECONDS = 0.003
MAX_BUSY = 100


@dataclass(slots=True)
class _Wanted:
    """A limit that needs a pass."""

    circle: admission.Circle | None = None
    not_before: float = -math.inf  # monotonic
    times_busy: int = 0


@dataclass(slots=True)
class _Timer:
    due_at: float  # monotonic
    value: datetime


class Admissions:
    """Runs passes and publishes what they admitted. ``work`` is called by one thread."""

    def __init__(
        self, engine: Engine, publish: Callable[[Sequence[Ref]], Any], *, alive_seconds: float
    ) -> None:
        """``publish`` must not raise. ``alive_seconds``: a worker without a heartbeat for longer is not counted."""
        self._engine = engine
        self._publish = publish
        self._alive_seconds = alive_seconds
        self._wanted: dict[str, _Wanted] = {}
        self._timers: dict[str, _Timer] = {}

    def work(self, subjects: frozenset[str]) -> float:
        """A pass for each limit among ``subjects`` ("": all at which jobs wait); returns seconds until the next."""
        names = set(subjects)
        if "" in names:
            names.remove("")
            with self._engine.begin() as db:
                names.update(backstop.waiting_limits(db))
        for name in names:
            self._wanted[name] = _Wanted()  # what is new may concern keys that a walk has passed
        for _ in range(MAX_PASSES):
            if (wanted := self._next()) is None:
                break
            self._pass(wanted)
        return self._seconds()

    def _next(self) -> str | None:
        now = time.monotonic()
        for name, wanted in self._wanted.items():
            if wanted.not_before <= now:
                return name
        return next((name for name, timer in self._timers.items() if timer.due_at <= now), None)

    def _seconds(self) -> float:
        times = [wanted.not_before for wanted in self._wanted.values()]
        times += [timer.due_at for timer in self._timers.values()]
        return max(0.0, min(times, default=math.inf) - time.monotonic())

    def _pass(self, name: str) -> None:
        wanted = self._wanted.get(name)
        timer = None if wanted else self._timers[name]
        with self._engine.begin() as db:
            done = admission.admit(
                db, name, alive_seconds=self._alive_seconds,
                timer=timer and timer.value, circle=wanted.circle if wanted else None,
            )  # fmt: skip
        if done.admitted:
            self._publish([ref(row) for row in done.admitted])
        if done.is_busy:
            self._was_busy(name, wanted)
            return
        self._wanted.pop(name, None)
        self._timers.pop(name, None)
        if done.is_more:
            self._wanted[name] = _Wanted(done.circle)
        elif done.timer is not None:
            self._timers[name] = _Timer(time.monotonic() + done.wake_in, done.timer)

    def _was_busy(self, name: str, wanted: _Wanted | None) -> None:
        if wanted is None:
            # Another process has made a pass since, and has its own timer.
            del self._timers[name]
            return
        wanted.times_busy += 1
        wanted.not_before = time.monotonic() + BUSY_SECONDS
        if wanted.times_busy > MAX_BUSY:
            del self._wanted[name]
