"""The pacer: does what is due at an instant, or as soon as a hint says so.

Its sources of work are independent of each other: each is called when the time has come that it named itself, and when
a hint arrives for it. Between two calls nothing is asked of PostgreSQL. A second thread waits for hints in Redis, because
Redis tells the time only to a tenth of a second.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.broker.client import RedisError, brief
from app.broker.pace import Pace

log = logging.getLogger(__name__)

#: How long one command waits for hints in Redis; shorter than the client's timeout.
LISTEN_SECONDS = 4.0
#: While Redis does not respond, every source is called this often.
BLIND_SECONDS = 0.5
#: A source that failed is called again after this time.
RETRY_SECONDS = 0.5


@dataclass(slots=True)
class Source:
    """One kind of work."""

    #: Its hints are ``<name>`` or ``<name>:<subject>``.
    name: str
    #: Does a bounded amount of what is due. It gets the subjects of hints ("" stands for a hint without one; empty: its
    #: time has come), and returns after how many seconds it wants to be called again: 0 at once, math.inf after a hint.
    work: Callable[[frozenset[str]], float]
    due_at: float = -math.inf  # monotonic
    is_failing: bool = False


class Pacer:
    """Calls the sources; two daemon threads per process."""

    def __init__(self, app: Flask, pace: Pace, sources: Sequence[Source]) -> None:
        self._app = app
        self._pace = pace
        self._sources = sources
        self._hints: set[str] = set()
        self._condition = threading.Condition()
        self._is_stopped = False

    def start(self) -> None:
        """Start both threads; each source is called at once."""
        threading.Thread(target=self._run, name="Pacer", daemon=True).start()
        threading.Thread(target=self._listen, name="Hints", daemon=True).start()

    def hint(self, hints: Iterable[str]) -> None:
        """Call the sources of these hints now, in this process."""
        with self._condition:
            self._hints |= set(hints)
            self._condition.notify()

    def stop(self) -> None:
        """End both threads; what one of them is doing is finished or, if the process exits before, undone."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()

    def _listen(self) -> None:
        while not self._is_stopped:
            try:
                hints = self._pace.wait(LISTEN_SECONDS)
            except (RedisError, OSError):
                # The inbox reports that Redis is away.
                hints = {source.name for source in self._sources}
                time.sleep(BLIND_SECONDS)
            if hints:
                self.hint(hints)

    def _run(self) -> None:
        self._app.app_context().push()
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._is_stopped or self._hints, self._seconds())
                if self._is_stopped:
                    return
                hints, self._hints = self._hints, set()
            self.run_due(hints)

    def _seconds(self) -> float | None:
        first = min((source.due_at for source in self._sources), default=math.inf)
        seconds = max(0.0, first - time.monotonic())
        return None if seconds > threading.TIMEOUT_MAX else seconds

    def run_due(self, hints: Iterable[str] = ()) -> None:
        """Call each source that has a hint or is due. A failing one is logged once and tried again."""
        parts = [hint.partition(":") for hint in hints]
        for source in self._sources:
            subjects = frozenset(subject for name, _, subject in parts if name == source.name)
            if not subjects and time.monotonic() < source.due_at:
                continue
            try:
                source.due_at = time.monotonic() + source.work(subjects)
                source.is_failing = False
            except Exception as error:  # of any driver: the other sources must go on
                source.due_at = time.monotonic() + RETRY_SECONDS
                _report(source, error)


def _report(source: Source, error: Exception) -> None:
    if not source.is_failing:
        is_expected = isinstance(error, RedisError | SQLAlchemyError | OSError)
        log.warning(
            "The pacer's %s failed, trying again: %s", source.name, brief(error),
            exc_info=None if is_expected else error,
        )  # fmt: skip
    source.is_failing = True
