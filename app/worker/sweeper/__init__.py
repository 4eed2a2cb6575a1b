"""What keeps promises while nobody looks: rescue, audit, promote, expire, fold, mirror, prune.

Each is a function that does one bounded piece of work and returns how much; every consumer runs
them all, an advisory lock in each one's own short transaction elects one, and every statement is
safe if two run anyway.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import clock
from app.broker.client import brief
from app.broker.lanes import lane
from app.broker.ready_set import ReadySet
from app.config import Settings
from app.database import autocommit, elected, id_array
from app.jobs import bulk, lifecycle, pulses, registry
from app.jobs.ids import first_id_at
from app.jobs.publication import REF, ref
from app.jobs.statistics import summary
from app.worker.clock import Clock
from app.worker.sweeper import orphans
from app.worker.sweeper.sharing import KNOWN, Lookout, Sharer

log = logging.getLogger(__name__)

AUDIT_WINDOW = 500
REPUBLISH_BATCH = 1000
#: Jobs due for longer than this and not in the ready set were lost by Redis (or are being claimed).
AUDIT_AGE_SECONDS = 2
NIL = UUID(int=0)

# ------------------------------------------------------------------------------ promote


_STANDING = text(f"""
SELECT {REF} FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) AND status || '' = 'pending'
""")


def promote(engine: Engine, ready: ReadySet, clock: Clock) -> int:
    """Due ids move from the delayed to the ready set; nothing is popped before it is placed."""
    now_ms = clock.now_ms()
    ids = ready.due(now_ms)
    if not ids:
        return 0
    with autocommit(engine) as db:
        rows = db.execute(KNOWN, {"ids": id_array(ids)}).all()
    pending = [row for row in rows if row.is_pending]
    ready.publish([ref(row) for row in pending])
    ready.forget_delayed({row.id for row in rows if not row.is_pending}, due_at_ms=now_ms)
    ready.pass_on(set(ids) - {row.id for row in rows})
    return len(pending)


# --------------------------------------------------------------------- rescue and expire


def rescue(engine: Engine, ready: ReadySet, *, watched: Settings | None = None) -> int:
    """Jobs whose worker fell silent go back to pending, or are buried at their last crash.

    With ``watched`` only leaves a pulse until the database has been observed for a whole lease.
    """
    rows: Sequence[Any] = []
    with elected(engine, "rescue") as db:
        if db is not None and (watched is None or pulses.beat(db, watched)):
            rows = lifecycle.rescue(db)
    for row in rows:
        log.warning(
            "Rescued job %s (%s): its worker fell silent; now %s", row.id, row.type, row.status
        )
    ready.publish([ref(row) for row in rows if row.status == "pending"])
    return len(rows)


def expire(engine: Engine) -> int:
    with elected(engine, "expire") as db:
        return lifecycle.expire(db) if db is not None else 0


def look_for_orphans(engine: Engine, settings: Settings) -> int:
    """Jobs of types that no worker knows are noted, and fail after UNKNOWN_TYPE_HOURS."""
    with elected(engine, "orphans") as db:
        return orphans.look(db, settings) if db is not None else 0


# ------------------------------------------------------------------------------- audit


_QUEUES = text("""
SELECT DISTINCT queue FROM (
    SELECT queue FROM job_counters WHERE status = 'pending' AND n <> 0
    UNION ALL SELECT queue FROM job_counter_deltas WHERE status = 'pending') AS q
WHERE NOT EXISTS (SELECT 1 FROM queues p WHERE p.name = q.queue AND p.paused_at IS NOT NULL)
""")
# Only types that this worker knows: what nobody can run must not hide what somebody can.
_WINDOW = text(f"""
SELECT {REF}, type FROM jobs
WHERE queue = :queue AND type = ANY(CAST(:types AS text[])) AND status = 'pending' AND run_at <= now() - make_interval(secs => :age)
  AND NOT EXISTS (SELECT 1 FROM type_switches t WHERE t.type = jobs.type AND t.paused_at IS NOT NULL)
ORDER BY priority DESC, run_at, id LIMIT :limit
""")
_ALL_PENDING = text(f"""
SELECT {REF} FROM jobs WHERE status = 'pending' ORDER BY queue, priority DESC, run_at, id
""")


def audit(engine: Engine, ready: ReadySet) -> int:
    """Publish again what Redis lost; returns how many ids.

    A server that is not the one everything was published to (flushed, restarted, failed over) gets
    every pending job. Otherwise the first due jobs of each queue, in claim order, are compared with
    its ready set: the cost is bounded however long the backlog.
    """
    with elected(engine, "audit") as db:
        if db is None:
            return 0
        queues = db.scalars(_QUEUES).all()
        ready.mend(queues)
        if not ready.is_epoch_current():
            return _publish_everything(db, ready)
        published = 0
        for queue in queues:
            window = db.execute(
                _WINDOW,
                {
                    "queue": queue,
                    "types": registry.names(),
                    "age": AUDIT_AGE_SECONDS,
                    "limit": AUDIT_WINDOW,
                },
            ).all()
            if window:
                ready.announce([queue])  # its name may be lost while its ready set is whole
            missing = _missing(ready, queue, window)
            if missing:
                # A busy fleet pops and claims a whole window while we look: ask again.
                standing = db.execute(_STANDING, {"ids": id_array(missing)})
                missing &= {row.id for row in standing}
            if missing and len(missing) == len(window) == AUDIT_WINDOW:
                return _publish_everything(db, ready)
            ready.publish([ref(r) for r in window if r.id in missing], only_if_missing=True)
            published += len(missing)
        return published


def _missing(ready: ReadySet, queue: str, window: Sequence[Any]) -> set[UUID]:
    # Another worker may not know the type and have set the job aside, for us among others.
    missing = ready.missing(queue, [row.id for row in window])
    for type_name in {row.type for row in window if row.id in missing}:
        ids = [row.id for row in window if row.id in missing and row.type == type_name]
        missing -= set(ids) - ready.missing(lane(queue, type_name), ids)
    return missing


def _publish_everything(db: Connection, ready: ReadySet) -> int:
    count = 0
    rows = db.execution_options(stream_results=True).execute(_ALL_PENDING)
    for batch in rows.partitions(REPUBLISH_BATCH):
        ready.publish([ref(row) for row in batch], only_if_missing=True)
        count += len(batch)
    ready.set_epoch()
    if count:
        log.warning(
            "Redis did not hold the pending jobs (new, flushed or failed over): "
            "published all %s again",
            count,
        )
    return count


# ------------------------------------------------------------------- fold, mirror, prune


def fold(engine: Engine) -> int:
    with elected(engine, "fold") as db:
        return summary.fold(db) if db is not None else 0


class Pruner:
    """Deletes old completed, cancelled and discarded jobs from the oldest id on."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._days = settings.retention_days
        self._after = NIL
        self._restart_at = 0.0

    def run_once(self) -> int:
        if not self._days:
            return 0
        if time.monotonic() > self._restart_at:
            # Retained rows are passed once an hour, not with every batch.
            self._after, self._restart_at = NIL, time.monotonic() + 3600
        before = first_id_at(clock.now() - timedelta(days=self._days))
        with elected(self._engine, "prune") as db:
            if db is None:
                return 0
            gone = lifecycle.prune(db, after=self._after, before=before, seconds=self._days * 86400)
        if gone:
            self._after = gone[-1]
        return len(gone)


_OLD_ROWS = text("""
WITH keys AS (DELETE FROM job_keys WHERE created_at < now() - interval '24 hours'),
     over AS (DELETE FROM sessions WHERE expires_at < now()),
     gone AS (DELETE FROM workers WHERE COALESCE(stopped_at, heartbeat_at) < now() - interval '1 day')
DELETE FROM dead_letters WHERE closed_at < now() - make_interval(days => 90)
""")


def prune_small_tables(engine: Engine) -> int:
    """Idempotency keys after 24 h, sessions that expired, workers gone for a day, closed dead letters after 90 days."""
    with elected(engine, "prune_small") as db:
        if db is None:
            return 0
        db.execute(_OLD_ROWS)
        bulk.prune(db)
        return summary.prune_series(db)


# By id, which grows with time: the oldest are looked at, however long the table.
_OLD_EVENTS = text("""
WITH oldest AS MATERIALIZED (SELECT id, at FROM audit_events ORDER BY id LIMIT :limit)
DELETE FROM audit_events WHERE id = ANY(ARRAY(
    SELECT id FROM oldest WHERE at < now() - make_interval(secs => :seconds)))
""")


def prune_audit(engine: Engine, settings: Settings) -> int:
    """Audit events older than AUDIT_RETENTION_DAYS, the oldest first."""
    if not settings.audit_retention_days:
        return 0
    with elected(engine, "prune_audit") as db:
        if db is None:
            return 0
        # The table refuses every other DELETE (see its trigger).
        db.execute(text("SELECT set_config('jobqueue.audit_retention', 'on', true)"))
        seconds = settings.audit_retention_days * 86400
        return db.execute(_OLD_EVENTS, {"limit": 1000, "seconds": seconds}).rowcount


def bulk_step(engine: Engine) -> int:
    """One chunk of a bulk action; at a time one worker does one, by the lock on its row."""
    with Session(engine) as session:
        return bulk.step(session)


# ----------------------------------------------------------------------------- schedule


class Sweeper:
    """Runs each duty at its interval; the consumer's scheduler thread calls ``run_due``."""

    def __init__(self, engine: Engine, ready: ReadySet, clock: Clock, settings: Settings) -> None:
        self._ready = ready
        every = settings.sweep_seconds
        pruner = Pruner(engine, settings)
        sharer = Sharer(engine, ready)
        self._duties: list[tuple[str, float, Callable[[], int]]] = [
            ("promote", 0.1, lambda: promote(engine, ready, clock)),
            ("lookout", 0.1, Lookout(engine, ready).run_once),
            ("sign in", min(10.0, 5 * every), sharer.sign_in),
            ("mirror", min(1.0, every), sharer.mirror),
            (
                "rescue",
                pulses.beat_seconds(settings),
                lambda: rescue(engine, ready, watched=settings),
            ),
            ("audit", every, lambda: audit(engine, ready)),
            ("expire", every, lambda: expire(engine)),
            ("orphans", orphans.interval(settings), lambda: look_for_orphans(engine, settings)),
            ("bulk", 0.2, lambda: bulk_step(engine)),
            ("fold", min(1.0, every), lambda: fold(engine)),
            ("prune", 10.0, pruner.run_once),
            ("prune audit", 60.0, lambda: prune_audit(engine, settings)),
            ("prune small tables", 60.0, lambda: prune_small_tables(engine)),
        ]
        self._due_at = dict.fromkeys((name for name, _, _ in self._duties), 0.0)
        self._failing: set[str] = set()

    def run_due(self) -> None:
        """Every duty whose time has come. One that fails is logged once and tried again."""
        for name, interval, duty in self._duties:
            if time.monotonic() < self._due_at[name]:
                continue
            self._due_at[name] = time.monotonic() + interval
            try:
                # A full batch is followed by the next one, so that a backlog shrinks quickly.
                if duty() >= 500 and name != "mirror":
                    self._due_at[name] = 0.0
                self._failing.discard(name)
            except Exception as error:  # whatever a driver raises: the others must go on
                self._report(name, error)

    def hurry(self, name: str) -> None:
        """Let a duty run at the next tick."""
        self._due_at[name] = 0.0

    def _report(self, name: str, error: Exception) -> None:
        # Once, not every tenth of a second, until it works again.
        if name not in self._failing:
            is_expected = isinstance(error, RedisError | SQLAlchemyError | OSError)
            log.warning(
                "The sweeper's %s failed, trying again: %s", name, brief(error),
                exc_info=None if is_expected else error,
            )  # fmt: skip
        self._failing.add(name)
