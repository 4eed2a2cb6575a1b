"""Claimed jobs waiting for a thread of this process: one thread pops and claims for all.

How many it pops and when follows the load, see pace.py. Jobs waiting behind slow handlers are released
within about 50 ms.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app import schema
from app.broker.client import RedisError, brief
from app.broker.lanes import Lanes
from app.broker.ready_set import WOKEN, ReadySet
from app.database import autocommit, id_array, require_writable
from app.errors import JobQueueError, SchemaProblem
from app.jobs import lifecycle, registry
from app.jobs.publication import REF, ref
from app.worker.claimed import Claimed as Claimed
from app.worker.clock import Clock
from app.worker.pace import Pace
from app.worker.sources import Sources
from app.worker.sweeper.promote import NEVER, promote_due_jobs

log = logging.getLogger(__name__)

STUCK_SECONDS = 0.050
BLOCK_SECONDS = 1.0
#: Redis ends a blocking pop up to this much later than it was asked to.
LATE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0

# Ids that a claim refused. Jobs that are not due go to the delayed set, those of unknown types to a lane, those that
# lack their limit to it; ids that are not in this database may belong to another deployment; the rest are dropped.
_REFUSED = text(f"""
SELECT {REF}, status = 'pending' AS is_pending, NOT {lifecycle.has_its_limit("jobs")} AS lacks_limit
FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))
""")


class Inbox:
    """Pops ids from Redis, claims their jobs in PostgreSQL and gives them to the process's threads.

    Each of the ``threads`` calls ``next``; the first to find nothing waiting pops and claims for all.
    ``release`` receives the jobs that are claimed and will not run here.
    """

    def __init__(
        self,
        *,
        ready: ReadySet,
        engine: Engine,
        clock: Clock,
        worker_id: UUID,
        queues: Sequence[str],
        lease_seconds: float,
        threads: int,
        release: Callable[[list[Claimed]], None],
        max_crashes: int = 1,
    ) -> None:
        self._ready = ready
        self._lanes = Lanes(ready)
        self._engine = engine
        self._clock = clock
        self._worker_id = worker_id
        self._strict_queues = list(queues)
        self._sources = Sources(ready, self._lanes, queues)
        self._lease_seconds = lease_seconds
        self._pace = Pace(threads)
        self._release = release
        self._max_crashes = max_crashes
        self._condition = Condition()
        self._jobs: deque[Claimed] = deque()
        self._filled_at = 0.0
        self._waiting = 0
        self._is_popping = False
        self._is_stopping = False
        #: Until when (monotonic) this process knows that no delayed job is due; NEVER while no thread waits in Redis.
        self.none_due_until = NEVER
        self._is_quiet = False
        self._failures = 0
        self._reported = ""
        self._unclaimed: list[str] = []

    def next(self) -> Claimed | None:
        """The next job for the calling thread; None after about a second without one."""
        with self._condition:
            if self._is_popping and not self._jobs and not self._is_stopping:
                self._waiting += 1
                self._condition.wait(BLOCK_SECONDS)
                self._waiting -= 1
            if self._is_stopping:
                return None
            left = len(self._jobs)
            if left and (self._is_popping or not self._pace.should_refill(left)):
                return self._jobs.popleft()
            if self._is_popping:
                return None
            self._is_popping = True
        return self._pop_for_all()

    def _pop_for_all(self) -> Claimed | None:
        jobs: list[Claimed] = []
        mine: Claimed | None = None
        try:
            jobs = self._pop_and_claim()
            self._failures = 0
        except Exception as error:  # of any driver: this thread must go on fetching
            self._pause(error)
        finally:
            with self._condition:
                self._is_popping = False
                late = jobs if self._is_stopping else []
                if not late:
                    self._jobs.extend(jobs)
                    self._filled_at = time.monotonic()
                    mine = self._jobs.popleft() if self._jobs else None
                # One thread for each job left, and one to pop next.
                self._condition.notify(len(self._jobs) + 1)
        if late:
            self._release(late)
        return mine

    def _pop_and_claim(self) -> list[Claimed]:
        if self._failures:
            # Check the database first: without it, popped ids could not be claimed.
            require_writable(self._engine)
            schema.check(self._engine)
        if self._unclaimed:
            return self._claim([])
        wanted = self._gather() + self._pace.prefetch()
        sources = self._sources.in_order()
        ids: list[str] = []
        if self._is_quiet:
            # The ready sets were empty a moment ago, and the blocking pop takes what has come since.
            next_due_ms = self._ready.next_due_ms()
        else:
            ids, next_due_ms = self._ready.pop(sources, wanted)
        self._is_quiet = False
        self._pace.popped(len(ids), wanted)
        if not ids:
            seconds = math.inf
            if next_due_ms is not None:
                seconds = (next_due_ms - self._clock.now_ms()) / 1000
            if seconds <= 0.001:
                promote_due_jobs(self._engine, self._ready, self._clock)
                return []
            first = self._wait(sources, seconds)
            if first is None or first == WOKEN:
                self._is_quiet = True
                return []
            # The blocking pop returns one id. The next thread pops those that were published with it.
            self._pace.popped(1, wanted + 1)
            ids = [first]
        return self._claim(ids)

    def _gather(self) -> int:
        """Let jobs arrive, if many do; the number of threads that wait for one then."""
        seconds = self._pace.gather_seconds()
        with self._condition:
            if seconds:
                self._condition.wait_for(lambda: self._is_stopping, seconds)
            return self._waiting + 1

    def _wait(self, sources: list[str], seconds: float) -> str | None:
        # The sweeper promotes what is due; where it does not, the next call here does.
        timeout = min(BLOCK_SECONDS, seconds) + LATE_SECONDS
        self.none_due_until = time.monotonic() + min(timeout + LATE_SECONDS, seconds)
        try:
            first = self._ready.pop_blocking(sources, timeout)
        finally:
            self.none_due_until = NEVER
        if first == WOKEN:
            self._sources.read_again()
        return first

    def _claim(self, ids: list[str]) -> list[Claimed]:
        token = uuid4()
        # Kept until the claim succeeds: Redis no longer has them.
        self._unclaimed = ids = [*self._unclaimed, *ids]
        with autocommit(self._engine) as db:
            rows = lifecycle.claim(
                db,
                ids,
                token=token,
                worker_id=self._worker_id,
                lease_seconds=self._lease_seconds,
                queues=self._strict_queues,
                types=registry.names(),
                once=registry.once_types(self._max_crashes),
            )
            if len(rows) < len(set(ids)):
                self._return_refused(db, set(ids) - {row.id.hex for row in rows})
        self._unclaimed = []
        if rows:
            self._clock.set(rows[0].claimed_at)
        now = time.monotonic()
        claimed = {job.id.hex: job for job in (Claimed.of(row, token, now) for row in rows)}
        # Each id once: it may have been published again between the two pops.
        return [claimed[i] for i in dict.fromkeys(ids) if i in claimed]

    def _return_refused(self, db: Any, ids: set[str]) -> None:
        try:
            rows = db.execute(_REFUSED, {"ids": id_array(ids)}).all()
            self._ready.pass_on(ids - {row.id.hex for row in rows})
            pending = [row for row in rows if row.is_pending]
            self._ready.publish([ref(row) for row in pending if not row.is_due])
            due = [row for row in pending if row.is_due and row.held_by is None]
            limited = lifecycle.assign(db, [row.id for row in due if row.lacks_limit])
            self._ready.publish([ref(row) for row in limited])
            unknown = [r for r in due if not r.lacks_limit and registry.find(r.type) is None]
            self._lanes.set_aside(unknown)
        except (RedisError, SQLAlchemyError, OSError) as error:
            # A sweeper publishes them again.
            log.warning("Could not return %s refused jobs to Redis: %s", len(ids), brief(error))

    def finished(self) -> None:
        """A handler ended: what the rules of the pace count."""
        self._pace.finished()

    def release_if_idle_elsewhere(self) -> None:
        """Release jobs that wait behind slow handlers, so that an idle process can run them. Called each tick."""
        if not self._jobs or time.monotonic() - self._filled_at < STUCK_SECONDS:
            return
        with self._condition:
            jobs = list(self._jobs)
            self._jobs.clear()
        self._release(jobs)

    def has_more(self) -> bool:
        """Whether claimed jobs wait for a thread."""
        return bool(self._jobs)

    def held(self) -> list[Claimed]:
        """The waiting jobs; the heartbeat extends their leases as well."""
        with self._condition:
            return list(self._jobs)

    def stop(self) -> None:
        """Hand out no more jobs, and release the waiting ones."""
        with self._condition:
            self._is_stopping = True
            jobs = list(self._jobs)
            self._jobs.clear()
            self._condition.notify_all()
        self._release(jobs)

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def _pause(self, error: Exception) -> None:
        self._failures += 1
        is_news = isinstance(error, SchemaProblem) and str(error) != self._reported
        if self._failures == 1 or is_news:
            self._reported = str(error)
            is_expected = isinstance(error, RedisError | SQLAlchemyError | OSError | JobQueueError)
            log.warning(
                "Can't fetch jobs, trying again: %s", brief(error),
                exc_info=None if is_expected else error,
            )  # fmt: skip
        # With jitter, so that the workers of a fleet don't retry in step.
        pause = min(MAX_PAUSE_SECONDS, 0.1 * 2 ** min(self._failures, 8)) * random.uniform(0.5, 1)
        with self._condition:
            self._condition.wait_for(lambda: self._is_stopping, pause)
