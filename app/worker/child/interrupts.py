"""Raises exceptions in a handler that runs in the main thread of a child: by a signal, which also interrupts sleeps in C.

They are raised in the handler or not at all: outside ``call`` a signal does nothing, and inside ``held`` it waits.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app.jobs.control_flow import JobTimeout

T = TypeVar("T")
_NOTHING = object()


class Interrupts:
    """One per child process; created in its main thread."""

    def __init__(self) -> None:
        self._thread = threading.main_thread()
        self._is_armed = False
        self._held = 0
        self._wanted: BaseException | None = None
        self._waiting: BaseException | None = None

    def call(self, fn: Callable[[], T], seconds: float | None) -> T:
        """Return ``fn()``, with JobTimeout raised in it after ``seconds``."""
        value: Any = _NOTHING
        signal.signal(signal.SIGALRM, self._on_signal)
        try:
            try:
                self._is_armed = True
                if seconds is not None:
                    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
                value = fn()
            finally:
                self._disarm()
        except BaseException:
            if value is _NOTHING:
                raise
            # It arrived after ``fn`` had returned: the work is done.
        finally:
            # Again: the exception may have arrived inside the first call.
            self._disarm()
        result: T = value
        return result

    def throw(self, error: BaseException) -> None:
        """Raise ``error`` in the handler, from any thread."""
        self._wanted = error
        if ident := self._thread.ident:
            signal.pthread_kill(ident, signal.SIGALRM)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raise at the end what arrives meanwhile: the worker could not read a message that was half sent."""
        if threading.current_thread() is not self._thread:
            yield
            return
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if not self._held and self._waiting is not None:
            error, self._waiting = self._waiting, None
            if self._is_armed:
                raise error

    def _disarm(self) -> None:
        self._is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_signal(self, *_: object) -> None:
        error, self._wanted = self._wanted or JobTimeout(), None
        if not self._is_armed:
            return
        if self._held:
            self._waiting = error
            return
        raise error
