"""When each duty of the sweeper runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.broker.client import RedisError, brief
from app.broker.ready_set import ReadySet
from app.config import Settings
from app.jobs import pulses
from app.worker.clock import Clock
from app.worker.sweeper import (
    bulk,
    expire,
    fold,
    mirror,
    orphans,
    promote,
    prune,
    reconcile,
    rescue,
)
from app.worker.sweeper.sharing import Offers, Registration

log = logging.getLogger(__name__)

#: A duty that did at least this much has more to do, and runs again at the next tick.
FULL_BATCH = 500


@dataclass(slots=True)
class Duty:
    """One row of the timetable."""

    name: str
    interval: float  # seconds
    run: Callable[[], int]  # does a bounded amount of work; returns how much
    repeats_when_full: bool = True
    due_at: float = 0.0  # monotonic
    is_failing: bool = False


class Sweeper:
    """Runs each duty at its interval; the consumer's scheduler thread calls ``run_due``."""

    def __init__(self, engine: Engine, ready: ReadySet, clock: Clock, settings: Settings) -> None:
        every = settings.sweep_seconds
        pruner = prune.Pruner(engine, settings)
        registration = Registration(engine, ready)
        offers = Offers(engine, ready)
        duties = [
            Duty("promote", 0.1, lambda: promote.promote_due_jobs(engine, ready, clock)),
            Duty("offers", 0.1, offers.take_own),
            Duty("registration", min(10.0, 5 * every), registration.register),
            Duty(
                "mirror", min(1.0, every),
                lambda: mirror.mirror_dead_letters(engine, ready, registration.identity()),
                repeats_when_full=False,
            ),
            Duty(
                "rescue", pulses.beat_seconds(settings),
                lambda: rescue.rescue_jobs(engine, ready, watched=settings),
            ),
            Duty("reconcile", every, lambda: reconcile.reconcile(engine, ready)),
            Duty("expire", every, lambda: expire.expire_jobs(engine)),
            Duty(
                "orphans", orphans.interval(settings),
                lambda: orphans.fail_orphans(engine, settings),
            ),
            Duty("bulk", 0.2, lambda: bulk.run_bulk_step(engine)),
            Duty("fold", min(1.0, every), lambda: fold.fold_counters(engine)),
            Duty("prune", 10.0, pruner.prune_jobs),
            Duty("prune audit", 60.0, lambda: prune.prune_audit_events(engine, settings)),
            Duty("prune small tables", 60.0, lambda: prune.prune_small_tables(engine)),
        ]  # fmt: skip
        self._duties = {duty.name: duty for duty in duties}

    def run_due(self) -> None:
        """Run every duty whose time has come. A failing one is logged once and tried again."""
        for duty in self._duties.values():
            if time.monotonic() < duty.due_at:
                continue
            duty.due_at = time.monotonic() + duty.interval
            try:
                if duty.run() >= FULL_BATCH and duty.repeats_when_full:
                    duty.due_at = 0.0
                duty.is_failing = False
            except Exception as error:  # of any driver: the other duties must go on
                _report(duty, error)

    def hurry(self, name: str) -> None:
        """Run the duty ``name`` at the next tick."""
        self._duties[name].due_at = 0.0


def _report(duty: Duty, error: Exception) -> None:
    # Once until it works again, not ten times a second.
    if not duty.is_failing:
        is_expected = isinstance(error, RedisError | SQLAlchemyError | OSError)
        log.warning(
            "The sweeper's %s failed, trying again: %s", duty.name, brief(error),
            exc_info=None if is_expected else error,
        )  # fmt: skip
    duty.is_failing = True
