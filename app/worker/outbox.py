"""Endings on their way to PostgreSQL.

There is no timer: an idle process writes each Ending at once, a busy one writes in one batch what
other threads added while it was writing. In a backlog two threads write, so that handlers run and
PostgreSQL works at the same time. Endings are kept in memory while the database is down.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from threading import Condition, Thread
from typing import Any
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.database import autocommit, is_about_data
from app.jobs import lifecycle, reports
from app.jobs.context import storable
from app.jobs.ending import COMPLETE, STRIPPED, Ending, Held
from app.jobs.publication import Ref, ref

log = logging.getLogger(__name__)

MAX_BATCH = 500
MAX_BATCH_BYTES = 8 * 1024 * 1024
#: An Ending waits this long for others, if its process has more jobs to run at once.
LINGER_SECONDS = 0.005
#: With this many waiting, a second thread writes; with fewer, its batches would be too small.
SECOND_WRITER_BATCH = 100
#: While more than this are waiting, a thread that adds one waits as well.
MAX_WAITING = 5000
MAX_PAUSE_SECONDS = 2.0


class Outbox:
    """Writes Endings, publishes the jobs that are pending again, and holds what is not written yet.

    Flat combining: the thread that finds no other writing writes for all threads until nothing is waiting. A
    second one helps while SECOND_WRITER_BATCH are waiting; the two write different jobs, in any order.
    ``buried`` is called after a batch that wrote a dead letter, ``slots_free`` after one with jobs of these limits.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        publish: Callable[[Sequence[Ref]], Any],
        buried: Callable[[], None],
        slots_free: Callable[[set[str]], None] = lambda limits: None,
        max_log_lines: int = 1000,
    ) -> None:
        self._engine = engine
        self._publish = publish
        self._buried = buried
        self._slots_free = slots_free
        self._max_log_lines = max_log_lines
        self._condition = Condition()
        self._waiting: deque[Ending] = deque()
        self._writing: dict[int, Sequence[Ending]] = {}  # by thread id
        self._waiting_since = 0.0  # monotonic
        self._writers = 0
        self._is_failing = False
        self._give_up_at = float("inf")  # monotonic
        self.completed = 0
        self.refused = 0  # endings that were not stored

    def put(
        self,
        endings: Sequence[Ending],
        *,
        is_in_background: bool = False,
        more_follow: bool = False,
    ) -> None:
        """Write ``endings``, now or with the batch of the thread that is writing.

        ``is_in_background`` is for callers that must not wait for an unavailable database. With
        ``more_follow`` they may wait LINGER_SECONDS for others; ``write_late`` writes them if none come.
        """
        if not endings:
            return
        with self._condition:
            now = time.monotonic()
            if not self._waiting:
                self._waiting_since = now
            self._waiting.extend(endings)
            if not self._may_write():
                if len(self._waiting) > MAX_WAITING and not is_in_background:
                    self._condition.wait_for(lambda: len(self._waiting) <= MAX_WAITING, 30)
                return
            if (
                more_follow
                and not self._writers
                and len(self._waiting) < MAX_BATCH
                and now - self._waiting_since < LINGER_SECONDS
            ):
                return
            self._writers += 1
        self._start_writing(is_in_background=is_in_background)

    def _may_write(self) -> bool:
        if not self._writers:
            return True
        # While the database is down, one thread waits for it and the others go on.
        is_backlog = len(self._waiting) >= SECOND_WRITER_BATCH and not self._is_failing
        return is_backlog and self._writers == 1

    def write_late(self) -> None:
        """Write Endings that waited for others in vain. Called each tick."""
        if self._waiting and not self._writers:
            self._write_now()

    def _write_now(self) -> None:
        with self._condition:
            if self._writers or not self._waiting:
                return
            self._writers += 1
        self._start_writing(is_in_background=True)

    def _start_writing(self, *, is_in_background: bool) -> None:
        if not is_in_background:
            self._write_everything()
            return
        try:
            Thread(target=self._write_everything, name="Writer", daemon=True).start()
        except RuntimeError as error:  # the process may have no more threads
            with self._condition:
                self._writers -= 1  # the next tick or the next thread tries again
            log.warning("Can't write endings yet: %s", error)

    def _write_everything(self) -> None:
        ident = threading.get_ident()
        while True:
            with self._condition:
                self._writing.pop(ident, None)
                is_needed = self._writers == 1 or len(self._waiting) >= SECOND_WRITER_BATCH
                batch = self._take() if is_needed else []
                if not batch:
                    self._writers -= 1
                    self._condition.notify_all()
                    return
                self._writing[ident] = batch
            try:
                self._write_until_done(batch)
            except Exception:
                # The jobs are rescued when their leases expire; the writer must go on.
                log.exception("Could not write %s endings", len(batch))

    def _take(self) -> list[Ending]:
        batch: list[Ending] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            ending = self._waiting.popleft()
            error = ending.error
            size += len(ending.result) + (len(error.traceback or "") if error else 0)
            batch.append(ending)
        return batch

    def _write_until_done(self, batch: Sequence[Ending]) -> None:
        failures = 0
        while True:
            try:
                self._write(batch, is_replay=failures > 0)
                self._is_failing = False
                return
            except SQLAlchemyError as error:
                if is_about_data(error):
                    self._bisect(batch)
                    return
                failures += 1
                self._is_failing = True
                if failures == 1:
                    log.warning("Can't write %s endings yet: %s", len(batch), _first_line(error))
                if time.monotonic() > self._give_up_at:
                    raise
                time.sleep(min(MAX_PAUSE_SECONDS, 0.05 * 2 ** min(failures, 8)) * random.random())
            except Exception:
                # A value that can't even be sent: the attempt has ended and must not run again because of it.
                log.exception("Could not write %s endings as they are", len(batch))
                self._bisect(batch)
                return

    def _write(self, batch: Sequence[Ending], *, is_replay: bool) -> None:
        completes = [e for e in batch if e.verb == COMPLETE]
        ends = [e for e in batch if e.verb != COMPLETE]
        lined = [e for e in batch if e.lines]
        is_one_statement = bool(completes) + bool(ends) + bool(lined) == 1
        refused: set[UUID] = set()
        ended: Sequence[Any] = ()
        # One statement needs no BEGIN and COMMIT around it.
        transaction = autocommit(self._engine) if is_one_statement else self._engine.begin()
        with transaction as db:
            if not is_one_statement:
                # Each statement below locks in id order; only together, first, is it one order.
                lifecycle.lock(db, [e.job.id.hex for e in batch])
            if lined:
                reports.write_lines(
                    db,
                    [(e.job.id, e.job.attempt, line) for e in lined for line in e.lines],
                    limit=self._max_log_lines,
                )
            if completes:
                refused = lifecycle.complete(db, completes)
            if ends:
                ended = lifecycle.end_attempts(db, ends)
        fenced = [e for e in completes if e.job.id in refused] if refused else []
        self._count(completed=len(completes) - len(fenced))
        if len(ended) < len(ends):
            written = {row.id for row in ended}
            fenced += [e for e in ends if e.job.id not in written]
        if fenced and not is_replay:
            self._report(fenced)
        self._after(ended)
        if limits := {e.job.limit_name for e in batch if e.job.limit_name is not None}:
            self._slots_free(limits)

    def _count(self, *, completed: int = 0, refused: int = 0) -> None:
        with self._condition:
            self.completed += completed
            self.refused += refused

    def _report(self, fenced: Sequence[Ending]) -> None:
        self._count(refused=len(fenced))
        for ending in fenced:
            log.warning(
                "Ending %s of job %s refused: its lease was lost", ending.verb, ending.job.id
            )

    def _after(self, ended: Sequence[Any]) -> None:
        refs = [ref(row) for row in ended if row.status == "pending"]
        if refs:
            self._publish(refs)
        if any(row.status == "failed" for row in ended):
            self._buried()

    def _bisect(self, batch: Sequence[Ending]) -> None:
        """Write what can be written: one value that PostgreSQL can't store must not affect other jobs."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._write_until_done(batch[:middle])
            self._write_until_done(batch[middle:])
            return
        [ending] = batch
        if ending.is_stripped:
            self._count(refused=1)
            log.error("The ending of job %s can't be stored at all", ending.job.id)
            return
        log.warning("Job %s (%s): %s", ending.job.id, ending.job.type, STRIPPED)
        self._write_until_done([ending.stripped()])

    def held(self) -> list[Held]:
        """Jobs whose Ending is not written yet; their leases must be extended."""
        with self._condition:
            return [e.job for e in chain(self._waiting, *self._writing.values())]

    def drain(self, timeout: float) -> bool:
        """Wait until everything is written; False after ``timeout`` seconds."""
        self._give_up_at = time.monotonic() + timeout
        self._write_now()
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._waiting and not self._writers, timeout
            )


def _first_line(error: Exception) -> str:
    return storable((str(error).strip() or type(error).__name__).splitlines()[0], 300)
