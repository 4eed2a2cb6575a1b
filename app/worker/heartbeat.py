"""Extends the leases of this process, receives cancel requests, and writes its row in ``workers``."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app import __version__
from app.config import Settings
from app.database import autocommit
from app.jobs import lifecycle, pulses, registry, reports
from app.jobs.ending import Held
from app.jobs.limits import declared as declared_limits
from app.jobs.schedules import declared as declared_schedules
from app.json_values import iso
from app.worker.clock import Clock
from app.worker.runner import Runner

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
#: The row of a worker is written at least this often, and more often with a short HEARTBEAT_SECONDS.
ROW_SECONDS = 5.0

_ROW = text("""
INSERT INTO workers (id, host, pid, version, queues, types, threads, live_threads, memory_bytes,
                     running, completed, refused, limits, schedules, stopping_at)
VALUES (:id, :host, :pid, :version, CAST(:queues AS text[]), CAST(:types AS text[]), :threads,
        :live_threads, :memory, CAST(:running AS jsonb), :completed, :refused, CAST(:limits AS text[]),
        CAST(:schedules AS text[]),
        CASE WHEN :is_stopping THEN now() END)
ON CONFLICT (id) DO UPDATE SET live_threads = excluded.live_threads,
    memory_bytes = excluded.memory_bytes, running = excluded.running,
    completed = excluded.completed, refused = excluded.refused, heartbeat_at = now(), threads = excluded.threads,
    stopping_at = COALESCE(workers.stopping_at, excluded.stopping_at)
RETURNING extract(epoch FROM now())::float8 AS now, stop_requested_at IS NOT NULL AS is_stop_requested
""")
_STOPPING = text("UPDATE workers SET stopping_at = COALESCE(stopping_at, now()) WHERE id = :id")
_STOPPED = text("UPDATE workers SET stopped_at = now(), running = '[]' WHERE id = :id")


class Heartbeat(threading.Thread):
    """One daemon thread per process."""

    def __init__(
        self,
        *,
        engine: Engine,
        settings: Settings,
        clock: Clock,
        worker_id: UUID,
        runner: Runner,
        held: Callable[[], Sequence[Held]],
        facts: Callable[[], dict[str, object]],
        stop_requested: Callable[[], None],
    ) -> None:
        super().__init__(name="Heartbeat", daemon=True)
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._worker_id = worker_id
        self._runner = runner
        self._held = held
        self._facts = facts
        self._stop_requested = stop_requested
        self._stop_event = threading.Event()
        self._row_seconds = min(ROW_SECONDS, settings.heartbeat_seconds)
        self._extend_seconds = pulses.extend_seconds(settings)
        self._row_at = self._extended_at = float("-inf")
        self._is_failing = self._is_stopping = False

    def run(self) -> None:
        wait = min(REPORT_SECONDS, self._extend_seconds / 2)
        while not self._stop_event.wait(wait):
            self.beat()

    def beat(self) -> None:
        """One round: extend leases, write the row, store reports. Errors of the database are retried in the next."""
        try:
            with autocommit(self._engine) as db:
                now = time.monotonic()
                # If a row was locked, the next round tries again.
                if now - self._extended_at >= self._extend_seconds and self.extend(db):
                    self._extended_at = now
                if now - self._row_at >= self._row_seconds:
                    self.write_row(db)
                    self._row_at = now
                self.report(db)
            self._is_failing = False
        except SQLAlchemyError as error:
            if not self._is_failing:
                log.warning("Heartbeat failed, trying again: %s", str(error).splitlines()[0])
            self._is_failing = True
        except Exception:
            log.exception("Heartbeat failed, trying again")

    def report(self, db: Connection) -> None:
        """Store the progress and log lines that handlers buffered since the last round."""
        progress, lines = [], []
        for attempt in list(self._runner.attempts.values()):
            latest, new_lines = attempt.context.drain()
            job = attempt.job
            if latest is not None:
                progress.append((job.id, job.token, latest))
            lines += [(job.id, job.attempt, line) for line in new_lines]
        if progress:
            reports.write_progress(db, progress)
        if lines:
            reports.write_lines(db, lines, limit=self._settings.max_log_lines)

    def extend(self, db: Connection) -> bool:
        """Extend each lease of this process whose thread is alive; pass cancel requests on to handlers.

        False when one of them could not be extended.
        """
        attempts = {
            a.job.id: a for a in list(self._runner.attempts.values()) if a.thread.is_alive()
        }
        leases = {job.id: job.token for job in self._held()}
        leases.update({a.job.id: a.job.token for a in attempts.values()})
        if not leases:
            return True
        held = lifecycle.extend(
            db, list(leases.items()), lease_seconds=self._settings.lease_seconds
        )
        for job_id, attempt in attempts.items():
            if held.get(job_id):
                attempt.context.request_cancel()
        return len(held) == len(leases)

    def write_row(self, db: Connection) -> None:
        """Write this process's row in ``workers``, and set the clock from the database."""
        running = [
            {
                "jobId": str(a.job.id),
                "type": a.job.type,
                "attempt": a.job.attempt,
                "since": iso(a.since),
                "isOverdue": a.thrown_at is not None,
            }
            for a in list(self._runner.attempts.values())
        ]
        row = db.execute(
            _ROW,
            {
                "id": self._worker_id,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "version": __version__,
                "queues": list(self._settings.queues),
                "types": registry.names(),
                "limits": declared_limits.names(),
                "schedules": declared_schedules.names(),
                "memory": memory_bytes(),
                "running": json.dumps(running),
                **self._facts(),
            },
        ).one()
        self._clock.set(row.now)
        if row.is_stop_requested and not self._is_stopping:
            self._is_stopping = True
            self._stop_requested()

    def announce_stop(self) -> None:
        """Record in ``workers`` that this process is shutting down, trying until it is written.

        If the process is killed after that, its attempts are released without counting a crash.
        """
        while not self._stop_event.is_set():
            try:
                with autocommit(self._engine) as db:
                    db.execute(_STOPPING, {"id": self._worker_id})
                return
            except SQLAlchemyError:
                self._stop_event.wait(0.2)

    def stop(self) -> None:
        """End the thread and record in ``workers`` that this process has stopped."""
        self._stop_event.set()
        try:
            with autocommit(self._engine) as db:
                db.execute(_STOPPED, {"id": self._worker_id})
        except SQLAlchemyError:
            log.warning("Could not record that this worker stopped; it will be listed as silent")


def memory_bytes() -> int | None:
    """Resident memory of this process; None on systems without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
