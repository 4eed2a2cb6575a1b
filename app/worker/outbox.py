"""Outcomes on their way to PostgreSQL: whoever ends an attempt writes for everybody (flat combining).

No timer: a quiet process writes each outcome at once, a busy one writes what gathered meanwhile.
Outcomes survive an absent database here, in memory, and are written when it is back.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import Any
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app import clock
from app.database import autocommit
from app.jobs import lifecycle, reports
from app.jobs.context import LogLine, storable
from app.jobs.publication import Ref, ref
from app.worker.inbox import Claimed

log = logging.getLogger(__name__)

MAX_BATCH = 500
MAX_BATCH_BYTES = 8 * 1024 * 1024
#: More than this waiting, and whoever adds one waits too.
MAX_WAITING = 5000
MAX_PAUSE_SECONDS = 2.0
#: Stands for the texts of an outcome that PostgreSQL refused; how the attempt ended stays as it was.
STRIPPED = "PostgreSQL can't store what this attempt returned or reported; it was left out."


@dataclass(slots=True, eq=False)
class Outcome:
    """How an attempt ended. ``verb`` is "complete" or one of lifecycle.END_VERBS."""

    job: Claimed
    verb: str
    result: str = "null"  # JSON
    outcome: str | None = None  # JobAttempt.OUTCOMES; None writes no attempt row
    error: str | None = None
    error_class: str | None = None
    traceback: str | None = None
    delay: float | None = None
    progress: dict[str, Any] | None = None
    lines: Sequence[LogLine] = ()
    max_crashes: int | None = None
    give_up_after: float | None = None  # seconds after the first refusal
    is_stripped: bool = False

    def stripped(self) -> Outcome:
        """The same end of the attempt, without what PostgreSQL may have refused to store."""
        is_complete = self.verb == "complete"
        return replace(
            self,
            result=json.dumps(STRIPPED) if is_complete else "null",
            error=None if is_complete else STRIPPED,
            error_class=None,
            traceback=None,
            progress=None,
            lines=[(clock.now(), "warning", STRIPPED)],
            is_stripped=True,
        )

    def as_end(self) -> dict[str, Any]:
        return {
            "id": self.job.id.hex,
            "token": self.job.token.hex,
            "verb": self.verb,
            "outcome": self.outcome,
            "error": self.error,
            "error_class": self.error_class,
            "traceback": self.traceback,
            "delay": self.delay,
            "progress": self.progress,
            "max_crashes": self.max_crashes,
            "give_up_after": self.give_up_after,
        }


class Outbox:
    def __init__(
        self,
        *,
        engine: Engine,
        publish: Callable[[Sequence[Ref]], Any],
        buried: Callable[[], None],
        max_log_lines: int = 1000,
    ) -> None:
        self._engine = engine
        self._publish = publish
        self._buried = buried
        self._max_log_lines = max_log_lines
        self._condition = Condition()
        self._waiting: deque[Outcome] = deque()
        self._writing: Sequence[Outcome] = ()
        self._is_writing = False
        self._give_up_at = float("inf")  # monotonic
        self.completed = 0
        self.fenced = 0

    def put(self, outcomes: Sequence[Outcome], *, is_in_background: bool = False) -> None:
        """Write ``outcomes``, now or with the batch of the thread that is writing.

        ``is_in_background`` is for callers that must not wait for an absent database.
        """
        if not outcomes:
            return
        with self._condition:
            self._waiting.extend(outcomes)
            if self._is_writing:
                if len(self._waiting) > MAX_WAITING and not is_in_background:
                    self._condition.wait_for(lambda: len(self._waiting) <= MAX_WAITING, 30)
                return
            self._is_writing = True
        if is_in_background:
            Thread(target=self._write_everything, name="Writer", daemon=True).start()
        else:
            self._write_everything()

    def _write_everything(self) -> None:
        while True:
            with self._condition:
                batch = self._take()
                self._writing = batch
                if not batch:
                    self._is_writing = False
                    self._condition.notify_all()
                    return
            try:
                self._write_until_done(batch)
            except Exception:
                # Their leases run out and rescue finds them; the writer must live on.
                log.exception("Could not write %s outcomes", len(batch))

    def _take(self) -> list[Outcome]:
        batch: list[Outcome] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            outcome = self._waiting.popleft()
            size += len(outcome.result) + len(outcome.traceback or "")
            batch.append(outcome)
        return batch

    def _write_until_done(self, batch: Sequence[Outcome]) -> None:
        failures = 0
        while True:
            try:
                self._write(batch, is_replay=failures > 0)
                return
            except SQLAlchemyError as error:
                if _is_about_data(error):
                    self._bisect(batch)
                    return
                failures += 1
                if failures == 1:
                    log.warning("Can't write %s outcomes yet: %s", len(batch), _first_line(error))
                if time.monotonic() > self._give_up_at:
                    raise
                time.sleep(min(MAX_PAUSE_SECONDS, 0.05 * 2 ** min(failures, 8)) * random.random())
            except Exception:
                # A value that can't even be sent: its attempt has ended, and must not run again for that.
                log.exception("Could not write %s outcomes as they are", len(batch))
                self._bisect(batch)
                return

    def _write(self, batch: Sequence[Outcome], *, is_replay: bool) -> None:
        completes = [o for o in batch if o.verb == "complete"]
        ends = [o for o in batch if o.verb != "complete"]
        lined = [o for o in batch if o.lines]
        is_one_statement = bool(completes) + bool(ends) + bool(lined) == 1
        completed: set[UUID] = set()
        ended: Sequence[Any] = ()
        # One statement needs no BEGIN and COMMIT around it.
        transaction = autocommit(self._engine) if is_one_statement else self._engine.begin()
        with transaction as db:
            if not is_one_statement:
                # Each statement below locks in id order; only together, first, is it one order.
                lifecycle.lock(db, [o.job.id.hex for o in batch])
            if lined:
                reports.write_lines(
                    db,
                    [(o.job.id, o.job.attempt, line) for o in lined for line in o.lines],
                    most=self._max_log_lines,
                )
            if completes:
                completed = lifecycle.complete(
                    db,
                    [(o.job.id.hex, o.job.token.hex, o.result, o.progress) for o in completes],
                )
            if ends:
                ended = lifecycle.end_attempts(db, [o.as_end() for o in ends])
        self._after(batch, completed, ended, is_replay)

    def _after(
        self, batch: Sequence[Outcome], completed: set[UUID], ended: Sequence[Any], is_replay: bool
    ) -> None:
        self.completed += len(completed)
        fenced = len(batch) - len(completed) - len(ended)
        if fenced and not is_replay:
            self.fenced += fenced
            held = completed | {row.id for row in ended}
            for outcome in batch:
                if outcome.job.id not in held:
                    log.warning(
                        "Outcome %s of job %s refused: its lease is no longer ours",
                        outcome.verb, outcome.job.id,
                    )  # fmt: skip
        refs = [ref(row) for row in ended if row.status == "pending"]
        if refs:
            self._publish(refs)
        if any(row.status == "failed" for row in ended):
            self._buried()

    def _bisect(self, batch: Sequence[Outcome]) -> None:
        """One row that PostgreSQL can't store must not cost its neighbours their outcome."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._write_until_done(batch[:middle])
            self._write_until_done(batch[middle:])
            return
        bad = batch[0]
        if bad.is_stripped:
            log.error("The outcome of job %s can't be stored at all", bad.job.id)
            return
        log.warning("Job %s (%s): %s", bad.job.id, bad.job.type, STRIPPED)
        self._write_until_done([bad.stripped()])

    def held(self) -> list[Claimed]:
        """Jobs whose outcome is not written yet: their leases must live on."""
        with self._condition:
            return [o.job for o in (*self._waiting, *self._writing)]

    def drain(self, timeout: float) -> bool:
        """Wait until everything is written; False after ``timeout`` seconds."""
        self._give_up_at = time.monotonic() + timeout
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._waiting and not self._is_writing, timeout
            )


def _is_about_data(error: SQLAlchemyError) -> bool:
    """Whether the values are at fault (SQLSTATE 22…, 23…, 54…), not the connection or the moment."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    code = getattr(error.orig, "pgcode", None)
    return code is not None and code[:2] in ("22", "23", "54")


def _first_line(error: Exception) -> str:
    return storable((str(error).strip() or type(error).__name__).splitlines()[0], 300)
