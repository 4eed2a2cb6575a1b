"""Wires one consumer process: inbox → runner → outbox, with heartbeat, ticker and sweeper beside."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from uuid import uuid4

from flask import Flask

from app import database, schema
from app.broker.client import connect
from app.broker.pace import LIMIT, Pace, limit_hint
from app.broker.publisher import Publisher
from app.broker.ready_set import ReadySet
from app.config import Settings
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.ending import Ending
from app.jobs.schedules.tick import HINT
from app.worker import leave, ticks
from app.worker.admissions import Admissions
from app.worker.clock import Clock
from app.worker.heartbeat import Heartbeat
from app.worker.inbox import Claimed, Inbox
from app.worker.outbox import Outbox
from app.worker.pacer import Pacer, Source
from app.worker.runner import Runner
from app.worker.sweeper import Sweeper

log = logging.getLogger(__name__)

TICK_SECONDS = 0.025
#: Longer than any blocking pop.
REDIS_TIMEOUT_SECONDS = 5.0
#: How long other attempts may go on beside a stuck one, as on SIGTERM.
RECYCLE_GRACE_SECONDS = 25.0
#: After the drain time: to write endings, kill children and release unfinished attempts …
FLUSH_SECONDS = 1.0
CHILDREN_SECONDS = 0.5
#: … and for the process to exit, whatever its handlers left running. Platforms wait 30 s in total.
EXIT_SECONDS = 2.8
#: One each for the inbox, the heartbeat, the sweeper and the pacer, two for the outbox, and one for shutting down.
CONNECTIONS = 7
#: EX_SOFTWARE: platforms restart the worker, and monitors see that nobody asked it to stop.
EXIT_STUCK = 70


class Kernel:
    """Everything a consumer process does with jobs. Threads and signals are Huey's."""

    def __init__(self, app: Flask, *, threads: int) -> None:
        self.app = app
        self.settings: Settings = app.extensions["settings"]
        self.worker_id = uuid4()
        self.threads = threads
        self._publisher: Publisher = app.extensions["publisher"]
        client = connect(self.settings.redis_url, timeout_seconds=REDIS_TIMEOUT_SECONDS)
        self.ready = ReadySet(client, self.settings.redis_prefix)
        self.clock = Clock()
        # A pool of its own: handlers may break their sessions or use up their pool without affecting the kernel.
        self.engine = database.make_engine(self.settings, pool_size=CONNECTIONS)
        with app.app_context():
            database.lend(db.engine)
        self.runner = Runner(app, self.settings)
        self.outbox = Outbox(
            engine=self.engine,
            publish=self._publisher.publish,
            buried=lambda: self.sweeper.hurry("mirror"),
            slots_free=lambda limits: self.pacer.hint(map(limit_hint, limits)),
            max_log_lines=self.settings.max_log_lines,
        )
        self.inbox = Inbox(
            ready=self.ready,
            engine=self.engine,
            clock=self.clock,
            worker_id=self.worker_id,
            queues=self.settings.queues,
            lease_seconds=self.settings.lease_seconds,
            threads=threads,
            release=self._release_unstarted,
            max_crashes=self.settings.max_crashes,
        )
        self.sweeper = Sweeper(
            self.engine,
            self.ready,
            self.clock,
            self.settings,
            none_due_until=lambda: self.inbox.none_due_until,
            tick=lambda: self.pacer.hint({HINT}),
            hint=lambda hints: self.pacer.hint(hints),
        )
        self.heartbeat = Heartbeat(
            engine=self.engine,
            settings=self.settings,
            clock=self.clock,
            worker_id=self.worker_id,
            runner=self.runner,
            held=lambda: [*self.inbox.held(), *self.outbox.held()],
            facts=self._facts,
            stop_requested=self._stop_requested,
        )
        self.admissions = Admissions(
            self.engine, self._publisher.publish, alive_seconds=self.settings.lease_seconds
        )
        self.pacer = Pacer(app, Pace(self.ready), self._pacer_sources())
        self._is_stopped = threading.Event()
        self._drain_until = float("-inf")  # monotonic
        self._is_recycling = False
        self._live_threads: set[threading.Thread] = set()

    def start(self) -> None:
        schema.wait_until_ready(self.engine, log)
        self.heartbeat.beat()
        self.heartbeat.start()
        self.pacer.start()
        threading.Thread(target=self._tick, name="Ticker", daemon=True).start()
        count = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        log.info("Worker %s starts: %s, %s", self.worker_id, count, self._queues_text())

    def next(self) -> Claimed | None:
        self._live_threads.add(threading.current_thread())
        return self.inbox.next()

    def run(self, job: Claimed) -> None:
        ending = self.runner.run(job)
        self.inbox.finished()
        self.outbox.put([ending], more_follow=self.inbox.has_more())

    def begin_stop(self, drain_seconds: float | None = None) -> None:
        """Stop claiming, and release the jobs waiting in the inbox.

        With ``drain_seconds``, the process exits at most EXIT_SECONDS after them, whatever is still running.
        """
        if drain_seconds is not None:
            self._drain_until = time.monotonic() + drain_seconds
            leave.within(drain_seconds + EXIT_SECONDS)
        self.inbox.stop()
        threading.Thread(target=self.heartbeat.announce_stop, name="Announcer", daemon=True).start()

    def finish_stop(self) -> None:
        """After the grace period: write endings, release unfinished attempts, record that this worker stopped."""
        if self._is_stopped.is_set():
            return
        self._is_stopped.set()
        self.pacer.stop()
        # If the database is unavailable, keep trying for what is left of the drain time.
        self.outbox.drain(max(FLUSH_SECONDS, self._drain_until - time.monotonic()))
        self.runner.stop_children(CHILDREN_SECONDS)
        attempts = list(self.runner.attempts.values())
        unfinished = [self.runner.give_up(attempt) for attempt in attempts]
        if unfinished:
            plural = "" if len(unfinished) == 1 else "s"
            log.warning("Releasing %s unfinished attempt%s", len(unfinished), plural)
        self.outbox.put(unfinished, is_in_background=True)
        self.outbox.drain(FLUSH_SECONDS)
        self.heartbeat.stop()
        self.engine.dispose()

    def _pacer_sources(self) -> list[Source]:
        scheduled = ticks.Ticks(
            self.engine,
            leads=lambda: self.sweeper.leads,
            hint=lambda name: self._publisher.hint({name}),
            grace_seconds=self.settings.schedule_grace_seconds,
        )
        return [Source(HINT, scheduled.work), Source(LIMIT, self.admissions.work)]

    def _release_unstarted(self, jobs: list[Claimed]) -> None:
        # In the background: the ticker must go on interrupting handlers, and a stop must not wait for the
        # database before the grace period has begun.
        endings = [Ending(job, lifecycle.RELEASE) for job in jobs]
        self.outbox.put(endings, is_in_background=True)

    def _tick(self) -> None:
        while not self._is_stopped.is_set():
            time.sleep(TICK_SECONDS)
            try:
                self.inbox.release_if_idle_elsewhere()
                self.outbox.write_late()
                self.runner.throw_timeouts()
                self._recycle_if_stuck()
            except Exception:
                log.exception("The ticker failed")

    def _recycle_if_stuck(self) -> None:
        if self._is_recycling or not (stuck := self.runner.stuck()):
            return
        self._is_recycling = True
        job = stuck[0].job
        log.error(
            "Job %s (%s) has ignored its timeout for %g s, so its thread is lost. This worker claims no more"
            " jobs, finishes the others it runs and exits, so that the platform starts a new one."
            " With isolate=True, only the process of this job would have been killed.",
            job.id, job.type, self.settings.stuck_seconds,
        )  # fmt: skip
        threading.Thread(target=self._recycle, name="Recycler", daemon=True).start()

    def _recycle(self) -> None:
        self.begin_stop()
        give_up_at = time.monotonic() + RECYCLE_GRACE_SECONDS
        while time.monotonic() < give_up_at:
            if all(a.thrown_at is not None for a in list(self.runner.attempts.values())):
                break
            time.sleep(TICK_SECONDS)
        self.finish_stop()
        logging.shutdown()
        # The lost thread may be in C code, which neither a signal nor an exception interrupts.
        leave.at_once(EXIT_STUCK)

    def _stop_requested(self) -> None:
        log.warning("A user asked this worker to stop; stopping as on SIGTERM")
        os.kill(os.getpid(), signal.SIGTERM)

    def _facts(self) -> dict[str, object]:
        self._live_threads = {t for t in self._live_threads if t.is_alive()}
        return {
            "threads": self.threads,
            "live_threads": len(self._live_threads),
            "completed": self.outbox.completed,
            "refused": self.outbox.refused,
            "is_stopping": self.inbox.is_stopping,
        }

    def _queues_text(self) -> str:
        queues = self.settings.queues
        return f"queues in strict order: {', '.join(queues)}" if queues else "all queues in turn"
