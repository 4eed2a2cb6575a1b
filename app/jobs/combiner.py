"""Group commit: jobs that several threads enqueue at the same time become one statement and one publication.

There is no timer. A thread that finds nobody writing writes its job at once, together with those that wait; what
arrives meanwhile is the next batch, and its first job's thread writes that. A quiet process writes single jobs, a
busy one shares each commit, and a thread that waits holds no connection.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, Semaphore
from typing import Any
from weakref import WeakMethod

from flask import current_app
from sqlalchemy import Engine, Row
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.database import autocommit, is_about_data, sqlstate
from app.database_errors import LOST_RACES
from app.errors import TryAgain
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.lifecycle import Enqueued, NewJob, Prepared
from app.jobs.publication import Ref, ref

MAX_BATCH = 200
MAX_BATCH_CHARACTERS = 4 * 1024 * 1024
#: How long a job that must be written alone waits for others of its kind, as for a connection.
ALONE_SECONDS = 5.0
#: Connections of the pool that jobs written alone leave to the combiner and to reads.
KEPT_CONNECTIONS = 2


def enqueue_committed(new: NewJob) -> Enqueued:
    """∅ → pending in a transaction of its own, committed and published; with the columns of a new row.

    Whatever ``db.session`` holds is neither committed nor read. Raises UnknownJobType, UniqueConflict.
    """
    combiner: Combiner = current_app.extensions["combiner"]
    job = lifecycle.prepare(new)
    enqueued = combiner.enqueue(job)
    if enqueued is None:
        # A session, because behind a pooler a bare connection has a transaction and can't publish after it.
        with combiner.alone(), Session(db.engine) as session, session.begin():
            enqueued = lifecycle.live_or_new(session, job, with_columns=True)
    return enqueued


class WriterEnded(Exception):
    """The thread that was writing this job ended; whether the job was stored is not known."""


class _Entry:
    """A job on its way, and what came of it."""

    __slots__ = ("error", "is_done", "is_writer", "job", "row", "turn")

    def __init__(self, job: Prepared) -> None:
        self.job = job
        self.row: Row[Any] | None = None
        self.error: Exception | None = None
        self.is_done = False
        self.is_writer = False  # its thread writes the next batch
        self.turn = Lock()  # released when the job is done, or its thread is the writer
        self.turn.acquire()


class Combiner:
    """Writes the jobs of all threads of one process. Each batch is written by the thread of its first job."""

    def __init__(
        self, engine: Engine, publish: Callable[[Sequence[Ref]], Any], *, max_alone: int = 1
    ) -> None:
        """``publish`` must not raise. ``max_alone``: how many jobs may be written alone at the same time."""
        self._max_alone = max_alone
        self._engine = engine
        self._publish = publish
        self._start()
        start = WeakMethod(self._start)
        # The child of a fork has no thread but its own: nobody in it is writing, and nobody waits.
        os.register_at_fork(after_in_child=lambda: (start() or _nothing)())

    def _start(self) -> None:
        self._lock = Lock()
        self._waiting: deque[_Entry] = deque()
        self._is_writing = False
        self._alone = Semaphore(self._max_alone)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For writing a job alone, which may wait for a lock. Raises TryAgain after ALONE_SECONDS.

        Without a limit, jobs whose unique key is locked would hold all connections, and no other job could be written.
        """
        turns = self._alone
        if not turns.acquire(timeout=ALONE_SECONDS):
            raise TryAgain
        try:
            yield
        finally:
            turns.release()

    def enqueue(self, job: Prepared) -> Enqueued | None:
        """∅ → pending, committed and published, with the columns of the new row.

        None: nothing was stored, since the job's unique key is live or the job can't be written together with others
        (a value or a lock is in the way). The caller then writes it alone, and learns why.
        """
        entry = _Entry(job)
        with self._lock:
            if self._is_writing:
                self._waiting.append(entry)
            else:
                self._is_writing = entry.is_writer = True
        if not entry.is_writer:
            self._wait(entry)
        if not entry.is_done:
            self._write_batch(entry)
        if entry.error is not None:
            raise entry.error
        return None if entry.row is None else lifecycle.as_enqueued(job, entry.row)

    def _wait(self, entry: _Entry) -> None:
        try:
            entry.turn.acquire()
        except BaseException:  # a signal handler raised it
            self._leave(entry)
            raise

    def _leave(self, entry: _Entry) -> None:
        with self._lock:
            if entry in self._waiting:
                self._waiting.remove(entry)
        if entry.is_writer:
            self._pass_on()

    def _write_batch(self, first: _Entry) -> None:
        batch = [first]
        try:
            with self._lock:
                self._take(batch)
            self._write(batch)
        except Exception as error:
            _fail(batch, error)
        except BaseException:
            # It ends this thread; the others must not wait for it.
            _fail(batch, WriterEnded())
            raise
        finally:
            self._pass_on()
            for entry in batch:
                entry.is_done = True
                entry.turn.release()

    def _take(self, batch: list[_Entry]) -> None:
        size = len(batch[0].job.row)
        while self._waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_CHARACTERS:
            entry = self._waiting.popleft()
            size += len(entry.job.row)
            batch.append(entry)

    def _pass_on(self) -> None:
        """The thread that has waited for the longest writes next."""
        with self._lock:
            if self._waiting:
                entry = self._waiting.popleft()
                entry.is_writer = True
                entry.turn.release()
            else:
                self._is_writing = False

    def _write(self, batch: list[_Entry], only: Sequence[_Entry] | None = None) -> None:
        """Write ``only`` those, by default the whole batch, which grows by the entries that fail with it."""
        entries = batch if only is None else only
        is_connected = False
        try:
            with autocommit(self._engine) as connection:
                is_connected = True
                rows = lifecycle.insert_together(connection, [entry.job for entry in entries])
        except SQLAlchemyError as error:
            if is_about_data(error) or sqlstate(error) in LOST_RACES:
                # A key may be locked for long: only the jobs that have one are written alone.
                plain = [entry for entry in entries if entry.job.new.unique_key is None]
                if 0 < len(plain) < len(entries):
                    self._write(batch, plain)
                return
            if not is_connected:
                # The others would wait just as long to hear the same.
                with self._lock:
                    batch.extend(self._waiting)
                    self._waiting.clear()
            raise
        for entry in entries:
            entry.row = rows.get(entry.job.spec["id"])
        self._publish([ref(entry.row) for entry in entries if entry.row is not None])


def _fail(batch: Sequence[_Entry], error: Exception) -> None:
    for entry in batch:
        # What has a row is committed, whatever happened afterwards.
        if entry.row is None:
            entry.error = error


def _nothing() -> None:
    """In place of a combiner that is gone."""
