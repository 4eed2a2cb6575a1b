"""What a handler receives beside its payload. It does no I/O, only buffers.

Two threads share a Context: the handler's, and the worker's heartbeat, which drains it each second and passes on a
cancel request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from threading import Lock
from typing import Any
from uuid import UUID

from app import clock, json_values
from app.config import Settings
from app.jobs.control_flow import CANCEL_REQUESTED, Cancel, JobTimeout

LogLine = tuple[datetime, str, str]  # at, level, message
Progress = dict[str, Any]  # {"percent": 40.0, "note": "…"}

LEVELS = ("debug", "info", "warning", "error")
_ALIASES = {"warn": "warning", "critical": "error", "fatal": "error", "exception": "error"}
MAX_MESSAGE_CHARACTERS = 2000
MAX_NOTE_CHARACTERS = 500
#: An asynchronous JobTimeout is raised between bytecodes, never inside a blocking call, so no call blocks for longer.
SLEEP_SLICE_SECONDS = 0.1


class Context:
    """One attempt, seen from its handler.

    ``payload`` is the job's as stored; ``deadline`` the instant the attempt is timed out, or None; ``settings``
    the process's settings; ``limit`` the name of the limit that the job is under, or None.
    """

    __slots__ = (
        "_ends_at",
        "_is_cancel_requested",
        "_left_out",
        "_lines",
        "_lock",
        "_logged",
        "_progress",
        "attempt",
        "deadline",
        "job_id",
        "limit",
        "max_attempts",
        "payload",
        "queue",
        "settings",
        "tags",
        "type",
    )

    def __init__(
        self,
        *,
        job_id: UUID,
        type: str,
        payload: Mapping[str, Any],
        settings: Settings,
        attempt: int = 1,
        max_attempts: int = 5,
        queue: str = "default",
        tags: Sequence[str] = (),
        timeout_seconds: float | None = None,
        limit: str | None = None,
    ) -> None:
        self.job_id = job_id
        self.limit = limit
        self.type = type
        self.payload = payload
        self.settings = settings
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.queue = queue
        self.tags = tags
        self.deadline: datetime | None = None
        self._ends_at: float | None = (
            None  # the deadline on the monotonic clock, which is never set back
        )
        if timeout_seconds is not None:
            self.deadline = datetime.now(UTC) + timedelta(seconds=timeout_seconds)
            self._ends_at = time.monotonic() + timeout_seconds
        self._is_cancel_requested = False
        self._lock = Lock()
        self._progress: Progress | None = None
        self._lines: list[LogLine] = []
        self._logged = 0
        self._left_out = 0

    # What a handler calls.

    def remaining(self) -> float | None:
        """Seconds until the deadline, 0 when it has passed; None without one."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure of this attempt buries the job."""
        return self.attempt >= self.max_attempts

    @property
    def is_cancel_requested(self) -> bool:
        """Whether a person asked this job to stop; True within 2 s of it. A handler that returns still completes its job."""
        return self._is_cancel_requested

    def raise_if_cancelled(self) -> None:
        """Raise Cancel if a person asked the job to stop. Call it where stopping is safe."""
        if self._is_cancel_requested:
            raise Cancel(CANCEL_REQUESTED)

    def sleep(self, seconds: float) -> None:
        """Wait; raises Cancel as soon as cancel is requested, and JobTimeout at the deadline."""
        until = time.monotonic() + seconds
        while True:
            self.raise_if_cancelled()
            now = time.monotonic()
            if self._ends_at is not None and now >= self._ends_at:
                raise JobTimeout
            if now >= until:
                return
            stop = until if self._ends_at is None else min(until, self._ends_at)
            time.sleep(min(SLEEP_SLICE_SECONDS, stop - now))

    def progress(self, percent: float, note: str = "") -> None:
        """Report the progress, 0…100 (clamped), and what the attempt is doing. The latest report is stored each second."""
        share = float(percent)
        if not isfinite(share):
            raise ValueError(f"progress must be a number from 0 to 100, not {percent!r}")
        progress = {
            "percent": round(min(100.0, max(0.0, share)), 2),
            "note": storable(note, MAX_NOTE_CHARACTERS),
        }
        with self._lock:
            self._progress = progress

    def log(self, message: object, level: str = "info") -> None:
        """Add a line to the job's log, stored within about a second.

        Levels are debug, info, warning and error; any other counts as info, since a log line should never fail
        a job. Lines past ``MAX_LOG_LINES`` are only counted, and the last line says how many were left out.
        """
        line = (clock.now(), _level(level), storable(message, MAX_MESSAGE_CHARACTERS))
        with self._lock:
            if self._logged >= self.settings.max_log_lines:
                self._left_out += 1
            else:
                self._logged += 1
                self._lines.append(line)

    # What the worker calls.

    def request_cancel(self) -> None:
        """Let the handler know that a person asked the job to stop; from any thread, any number of times."""
        self._is_cancel_requested = True

    def receive(self, progress: Progress | None, lines: Sequence[LogLine]) -> None:
        """Add what the context of a child process drained."""
        with self._lock:
            self._progress = progress or self._progress
            self._lines.extend(lines)

    def drain(self, *, is_last: bool = False) -> tuple[Progress | None, list[LogLine]]:
        """Progress (None when unchanged) and log lines since the last drain; each is returned once.

        With ``is_last`` (after the attempt), a line says how many were left out.
        """
        # Most jobs report nothing: checking without the lock is enough, since the last drain comes after the handler.
        if self._progress is None and not self._lines and not (is_last and self._left_out):
            return None, []
        with self._lock:
            progress, self._progress = self._progress, None
            lines, self._lines = self._lines, []
            left_out, self._left_out = (self._left_out, 0) if is_last else (0, self._left_out)
        if left_out:
            rest = "1 more line was" if left_out == 1 else f"{left_out} more lines were"
            lines.append((clock.now(), "warning", f"{rest} left out: MAX_LOG_LINES is reached"))
        return progress, lines


def storable(value: object, max_characters: int) -> str:
    """``value`` as text that PostgreSQL can store, cut at ``max_characters`` with an ellipsis."""
    text = str(value)
    if len(text) > max_characters:
        text = text[: max_characters - 1] + "…"
    return json_values.storable(text)


def _level(level: str) -> str:
    name = str(level).lower()
    name = _ALIASES.get(name, name)
    return name if name in LEVELS else "info"
