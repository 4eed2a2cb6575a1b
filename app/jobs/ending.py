"""How an attempt ended: one type from the handler to the row.

The runner and the child process create an Ending, the outbox passes it on, lifecycle.attempts writes it.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol
from uuid import UUID

from app import clock
from app.errors import UnknownJobType
from app.jobs import backoff, error_groups, events
from app.jobs.backoff import Backoff, Policy
from app.jobs.context import LogLine, Progress, storable
from app.jobs.control_flow import MIN_WAIT_SECONDS, JobTimeout, Permanent, RetryAfter
from app.jobs.registry import PayloadRefused

log = logging.getLogger("app.jobs")

MAX_ERROR_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 20_000
#: Replaces the texts of an Ending that PostgreSQL refused; how the attempt ended stays the same.
STRIPPED = "PostgreSQL can't store what this attempt returned or reported, so it was left out."

COMPLETE = "complete"
#: How an attempt that did not complete ends. ``crash`` is what rescue writes. ``refuse`` ends an
#: attempt that this worker can't run (its code is older or newer than the job): the job goes back to
#: pending, and fails once it has been refused for ``give_up_after`` seconds.
RETRY_LATER, BURY, CANCEL, RELEASE, SNOOZE, CRASH, REFUSE = END_VERBS = (
    "retry_later",
    "bury",
    "cancel",
    "release",
    "snooze",
    "crash",
    "refuse",
)

#: Their text is a sentence for people, shown without the name of the class.
_SENTENCES = (Permanent, RetryAfter, JobTimeout, UnknownJobType, PayloadRefused)
#: What the handler or the kernel decided needs no traceback.
_WITHOUT_TRACEBACK = (Permanent, RetryAfter, UnknownJobType, PayloadRefused)
#: A traceback starts in the handler, after the frames of these modules.
_KERNEL_MODULES = frozenset(
    {
        "app.worker.attempt",
        "app.worker.runner",
        "app.worker.interrupt",
        "app.jobs.registry",
        "app.worker.child.process",
        "app.worker.child.interrupts",
    }
)


class Held(Protocol):
    """A job that a worker holds, with the lease's token."""

    @property
    def id(self) -> UUID: ...
    @property
    def token(self) -> UUID: ...
    @property
    def type(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def limit_name(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class AttemptError:
    """Why an attempt ended."""

    text: str
    class_name: str | None = None  # of the exception, where one ended the attempt
    traceback: str | None = None
    #: Where it failed: with type and class, what errors are grouped by. None: not an error to group.
    place: str | None = None
    is_sentence: bool = True  # text says everything; otherwise people see "ClassName: text"

    @property
    def line(self) -> str:
        """One line for people, as stored in job_attempts.error and jobs.last_error."""
        if self.is_sentence:
            return self.text
        line = f"{self.class_name}: {self.text}" if self.text else f"{self.class_name}"
        return storable(line, MAX_ERROR_CHARACTERS)

    @classmethod
    def of(cls, error: BaseException) -> AttemptError:
        """Everything known about an exception that ended an attempt."""
        name = type(error).__name__
        try:
            text = str(error)
        except BaseException:  # code of handlers, SystemExit included
            text = "(its text can't be read)"
        is_sentence = isinstance(error, _SENTENCES)
        text = storable((text or name) if is_sentence else text, MAX_ERROR_CHARACTERS)
        described = cls(text, storable(name, MAX_ERROR_CHARACTERS), is_sentence=is_sentence)
        if isinstance(error, _WITHOUT_TRACEBACK):
            return replace(described, place=error_groups.without_numbers(described.line))
        start = _handler_frames(error)
        return replace(
            described, traceback=_formatted(error, start), place=_place(error, start, described)
        )

    @classmethod
    def reason(cls, text: str) -> AttemptError | None:
        """The reason that a handler gave with Snooze or Cancel; None without one."""
        return cls(storable(text, MAX_ERROR_CHARACTERS)) if text else None

    @classmethod
    def sentence(cls, text: str, *, class_name: str | None = None) -> AttemptError:
        """An error of which only a sentence is known, grouped by that sentence."""
        text = storable(text, MAX_ERROR_CHARACTERS)
        return cls(text, class_name, place=error_groups.without_numbers(text))


@dataclass(slots=True, eq=False)
class Ending:
    """How an attempt ended. ``verb`` is COMPLETE or one of END_VERBS."""

    job: Held
    verb: str
    result: str = "null"  # JSON
    outcome: str | None = None  # JobAttempt.OUTCOMES; None writes no attempt row
    error: AttemptError | None = None
    delay: float | None = None  # seconds until the job is due again
    progress: Progress | None = None
    lines: Sequence[LogLine] = ()
    max_crashes: int | None = None
    give_up_after: float | None = None  # seconds after the first refusal
    only_expired: bool = False  # written only if the lease is over
    throttles: str | None = (
        None  # control_flow.SCOPES: closes the job's key, or its limit, for ``delay``
    )
    is_stripped: bool = False

    def stripped(self) -> Ending:
        """The same end of the attempt, without what PostgreSQL may have refused to store."""
        is_complete = self.verb == COMPLETE
        return replace(
            self,
            result=json.dumps(STRIPPED) if is_complete else "null",
            error=None if is_complete else AttemptError.sentence(STRIPPED),
            progress=None,
            lines=[(clock.now(), "warning", STRIPPED)],
            is_stripped=True,
        )


def failed(job: Held, error: BaseException, *, policy: Policy | None, default: Backoff) -> Ending:
    """A failed attempt: retried after its wait, or buried if it was the last or ``error`` is Permanent.

    ``policy`` is the backoff of the job's type; ``default`` is used without one, and if it raises.
    """
    events.job_failed(job, error)
    is_last = job.attempt >= job.max_attempts or isinstance(error, Permanent)
    delay = None if is_last else _wait(job, error, policy, default)
    reason = AttemptError.of(error)
    log.info(
        "Job %s (%s) attempt %s of %s %s: %s", job.id, job.type, job.attempt, job.max_attempts,
        "failed for good" if is_last else f"failed, again in {delay:g} s", reason.line,
    )  # fmt: skip
    return Ending(
        job,
        BURY if is_last else RETRY_LATER,
        outcome="timed_out" if isinstance(error, JobTimeout) else "failed",
        error=reason,
        delay=delay,
    )


def refused(job: Held, error: Exception, *, give_up_after: float | None) -> Ending:
    """This worker can't run the job, another one may: → pending, and failed ``give_up_after`` seconds after the first refusal."""
    described = AttemptError.of(error)
    log.warning(
        "Job %s (%s) returned, since this worker can't run it: %s", job.id, job.type, described.line
    )
    reason = AttemptError.sentence(described.line, class_name=described.class_name)
    return Ending(job, REFUSE, outcome="released", error=reason, give_up_after=give_up_after)


def _wait(job: Held, error: BaseException, policy: Policy | None, default: Backoff) -> float:
    if isinstance(error, RetryAfter):
        return max(MIN_WAIT_SECONDS, error.seconds)
    try:
        return backoff.delay(job.attempt, policy or default)
    except BaseException:
        log.exception("The backoff of %s failed; using the default", job.type)
        return backoff.delay(job.attempt, default)


def _handler_frames(error: BaseException) -> TracebackType | None:
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__name__", "") in _KERNEL_MODULES:
        frame = frame.tb_next
    return frame or error.__traceback__


def _formatted(error: BaseException, start: TracebackType | None) -> str | None:
    try:
        text = "".join(traceback.format_exception(type(error), error, start))
    except Exception:
        return None
    if len(text) > MAX_TRACEBACK_CHARACTERS:
        half = MAX_TRACEBACK_CHARACTERS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return storable(text, MAX_TRACEBACK_CHARACTERS + 100)


def _place(error: BaseException, start: TracebackType | None, described: AttemptError) -> str:
    # A timeout is raised wherever the handler happens to be.
    if isinstance(error, JobTimeout):
        return ""
    frames: list[tuple[str, str]] = []
    while start is not None:
        code = start.tb_frame.f_code
        frames.append((code.co_filename, code.co_name))
        start = start.tb_next
    place = error_groups.place_of_frames(frames) if frames else ""
    return (
        storable(place, error_groups.PLACE_CHARACTERS)
        if place
        else error_groups.without_numbers(described.line)
    )
