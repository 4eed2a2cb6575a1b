"""How a handler ends an attempt, other than by returning a result or by an ordinary exception.

====================  ==========================================================
return                completed, with the result
any exception         failed attempt: runs again after its backoff, or is buried
``RetryAfter``        failed attempt: runs again after the given wait, or is buried
``Permanent``         buried at once, even if attempts are left
``Snooze``            runs again later; costs no attempt
``Throttle``          the same, and closes its limit, or its key at the limit, meanwhile
``Cancel``            cancelled
====================  ==========================================================

Each survives pickling (``args`` are the constructor's), because an isolated handler raises it in a child process.
"""

from __future__ import annotations

from math import isfinite

from app.jobs.bounds import MAX_WAIT_SECONDS

#: A handler's shorter waits are extended to this, so that a job can't repeat without a pause.
MIN_WAIT_SECONDS = 1.0
#: The reason of a Cancel that a person asked for.
CANCEL_REQUESTED = "a person asked the job to stop"
#: What a Throttle closes: the job's key at its limit, or the limit.
SCOPES = KEY_SCOPE, LIMIT_SCOPE = "key", "limit"


class ControlFlow(Exception):
    """A handler's decision about its job. ``reason`` is one line for people; may be empty."""

    reason: str = ""

    def __str__(self) -> str:
        return self.reason


class Cancel(ControlFlow):
    """→ cancelled. ``ctx.raise_if_cancelled()`` raises it when a person asked."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Permanent(ControlFlow):
    """→ failed at once, with a dead letter: another attempt can't help."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Snooze(ControlFlow):
    """→ pending, due in ``seconds`` (at least 1); costs no attempt. The number of snoozes is not limited."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(seconds, reason)
        self.seconds = checked_wait(seconds)
        self.reason = reason


class Throttle(ControlFlow):
    """→ pending, due in ``seconds`` (at least 1); costs no attempt. Meanwhile no other job of its key starts.

    With ``scope`` "limit", no job under the limit. A job that is under no limit is only snoozed.
    """

    def __init__(self, seconds: float, scope: str = KEY_SCOPE, reason: str = "") -> None:
        super().__init__(seconds, scope, reason)
        if scope not in SCOPES:
            raise ValueError(f"scope is one of {', '.join(SCOPES)}, not {scope!r}")
        self.seconds = checked_wait(seconds)
        self.scope = scope
        self.reason = reason


class RetryAfter(ControlFlow):
    """A failed attempt with its own wait: → pending, due in ``seconds`` (at least 1), or buried if it was the last."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(seconds, reason)
        self.seconds = checked_wait(seconds)
        self.reason = reason


class JobTimeout(Exception):
    """The attempt ran past its time limit: a failed attempt, recorded as timed out.

    The kernel raises it *asynchronously* in the handler's thread (so the constructor takes no required argument),
    and ``ctx.sleep`` raises it at the deadline. It is an Exception, as in other queues, so that ``except Exception``
    clean-up runs; a handler that swallows it runs on without a limit, so such a clause should re-raise it.
    """

    def __init__(self, reason: str = "the attempt ran past its time limit") -> None:
        super().__init__(reason)


def checked_wait(seconds: float) -> float:
    """``seconds`` as a float. Raises ValueError unless it is finite, not negative and at most ten years."""
    wait = float(seconds)
    if not isfinite(wait) or not 0 <= wait <= MAX_WAIT_SECONDS:
        raise ValueError(f"a wait must be 0 to {MAX_WAIT_SECONDS} seconds, not {seconds!r}")
    return wait
