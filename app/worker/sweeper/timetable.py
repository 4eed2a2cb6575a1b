"""When each duty of the sweeper runs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.broker.client import RedisError, brief
from app.broker.ready_set import ReadySet
from app.config import Settings
from app.jobs import open_work, pulses
from app.worker.clock import Clock
from app.worker.sweeper import (
    admissions,
    bulk,
    error_groups,
    expire,
    fold,
    limits,
    mirror,
    orphans,
    promote,
    prune,
    reconcile,
    rescue,
    schedules,
)
from app.worker.sweeper.duty import Duty
from app.worker.sweeper.leader import Leader
from app.worker.sweeper.sharing import Offers, Registration

log = logging.getLogger(__name__)

#: How often a duty runs for which the check finds no work, should the check be wrong.
IDLE_SECONDS = 30.0
#: How often a process tries to store the limits of its code, until it could, and the leader looks for former ones.
DECLARE_SECONDS, RETIRE_SECONDS = 5.0, 60.0
#: How often the list of dead letters is checked while its table does not change: Redis may lose it.
LIST_SECONDS = 5.0


class Sweeper:
    """Runs each duty when it is due; the consumer's scheduler thread calls ``run_due``."""

    def __init__(
        self,
        engine: Engine,
        ready: ReadySet,
        clock: Clock,
        settings: Settings,
        *,
        none_due_until: Callable[[], float] = lambda: promote.NEVER,
        tick: Callable[[], None] = lambda: None,
        hint: Callable[[Iterable[str]], None] = lambda hints: None,
    ) -> None:
        """``none_due_until``: until when (monotonic) this process knows that no delayed job is due; ``tick``: has the
        ticks of schedules carried out that are overdue; ``hint``: calls the sources of this process's pacer.
        """
        self._engine = engine
        self._ready = ready
        self._leads = False
        registration = Registration(engine, ready)
        self._leader = Leader(ready, registration.identity, settings)
        every = settings.sweep_seconds
        pruner = prune.Pruner(engine, settings)
        offers = Offers(engine, ready)
        declaration = limits.Declaration(engine)
        declaration_of_schedules = schedules.Declaration(engine)
        admission = admissions.Backstop(engine, ready, hint)
        duties = [
            Duty(
                "promote", promote.LOOK_SECONDS,
                lambda: promote.promote_due_jobs(engine, ready, clock),
                is_of_leader=False,
                due_at=lambda ran_at, leads: promote.next_look(
                    none_due_until(), looked_at=ran_at, leads=leads
                ),
            ),
            Duty(
                "offers", 0.1, lambda: offers.take_own() if registration.others else 0,
                is_of_leader=False,
            ),
            Duty(
                "registration", min(10.0, 5 * every), registration.register, is_of_leader=False
            ),
            Duty("check for work", min(1.0, every), self._check_for_work),
            Duty("epoch", every, self._check_epoch),
            Duty(
                "mirror", min(1.0, every),
                lambda: mirror.mirror_dead_letters(engine, ready, registration.identity()),
                idle_interval=LIST_SECONDS, full=math.inf,
            ),
            Duty(
                "rescue", pulses.beat_seconds(settings),
                lambda: rescue.rescue_jobs(engine, ready, watched=settings),
            ),
            Duty(
                "reconcile", every, lambda: reconcile.reconcile(engine, ready), idle_interval=IDLE_SECONDS
            ),
            Duty("expire", every, lambda: expire.expire_jobs(engine), idle_interval=IDLE_SECONDS),
            Duty(
                "orphans", orphans.interval(settings),
                lambda: orphans.fail_orphans(engine, settings),
            ),
            Duty("bulk", 0.0, lambda: bulk.run_bulk_step(engine), idle_interval=IDLE_SECONDS, full=1),
            Duty("declare limits", DECLARE_SECONDS, declaration.declare, is_of_leader=False),
            Duty("limits", 0.0, lambda: limits.move_jobs(engine), idle_interval=IDLE_SECONDS, full=1),
            Duty("retire limits", RETIRE_SECONDS, lambda: limits.retire_limits(engine)),
            Duty("admissions", min(1.0, every), admission.look, idle_interval=IDLE_SECONDS),
            Duty(
                "fold", min(1.0, every), lambda: fold.fold_counters(engine), idle_interval=IDLE_SECONDS
            ),
            Duty(
                "error groups", min(1.0, every), lambda: error_groups.note_failures(engine),
                idle_interval=IDLE_SECONDS,
            ),
            Duty(
                "declare schedules", schedules.DECLARE_SECONDS, declaration_of_schedules.declare,
                is_of_leader=False,
            ),
            Duty("schedule upkeep", schedules.UPKEEP_SECONDS, schedules.Upkeep(engine).run),
            Duty("schedules", 0.0, lambda: _run(tick), idle_interval=IDLE_SECONDS),
            Duty("prune", 10.0, pruner.prune_jobs),
            Duty("prune audit", 60.0, lambda: prune.prune_audit_events(engine, settings)),
            Duty("prune small tables", 60.0, lambda: prune.prune_small_tables(engine)),
        ]  # fmt: skip
        self._duties = {duty.name: duty for duty in duties}

    @property
    def leads(self) -> bool:
        """Whether this process leads the deployment."""
        return self._leads

    def run_due(self) -> None:
        """Run every duty that is due. A failing one is logged once and tried again."""
        is_healthy = not any(duty.is_failing for duty in self._duties.values())
        self._leads = self._leader.is_ours(is_healthy=is_healthy)
        for duty in self._duties.values():
            if not duty.is_due(time.monotonic(), leads=self._leads):
                continue
            duty.begin(time.monotonic())
            try:
                if duty.run() >= duty.full:
                    duty.is_hurried = True
                duty.is_failing = False
            except Exception as error:  # of any driver: the other duties must go on
                _report(duty, error)

    def pause_seconds(self, tick: float) -> float:
        """How long to wait before the next run: ``tick``, or until a delayed job is due."""
        due_at = self._duties["promote"].next_at(leads=self._leads)
        return min(tick, max(0.0, due_at - time.monotonic()))

    def hurry(self, name: str) -> None:
        """Run the duty ``name`` at the next tick, whether or not this process leads."""
        self._duties[name].is_hurried = True

    def stop(self) -> None:
        """Leave the duties of the leader to another process."""
        self._leader.resign()

    def _check_for_work(self) -> int:
        for name in open_work.duties_with_work(self._engine):
            self._duties[name].has_work = True
        return 0

    def _check_epoch(self) -> int:
        if not self._ready.is_epoch_current():
            self._duties["reconcile"].has_work = True
        return 0


def _run(action: Callable[[], None]) -> int:
    action()
    return 0


def _report(duty: Duty, error: Exception) -> None:
    # Once until it works again, not ten times a second.
    if not duty.is_failing:
        is_expected = isinstance(error, RedisError | SQLAlchemyError | OSError)
        log.warning(
            "The sweeper's %s failed, trying again: %s", duty.name, brief(error),
            exc_info=None if is_expected else error,
        )  # fmt: skip
    duty.is_failing = True
