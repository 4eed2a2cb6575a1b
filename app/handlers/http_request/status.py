"""What a response's status means for the job.

2xx completes the job. 408, 425, 429 and 5xx fail the attempt, and ``Retry-After`` (seconds or a date) sets the wait
before the next one. A 429 with ``Retry-After`` to a job under a limit costs no attempt: it closes the job's key at that
limit for the wait. Any other status fails the job for good: the same request would get the same response.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.handlers.http_request.client import Response
from app.handlers.http_request.result import excerpt
from app.jobs.control_flow import Permanent, RetryAfter, Throttle

MAX_RETRY_AFTER_SECONDS = 86400
#: Retried although they are below 500.
TOO_MANY = 429
RETRIED = (408, 425, TOO_MANY)


class UnexpectedStatus(Exception):
    """The status is an error that may be temporary."""


def check_status(response: Response, request_line: str, *, is_limited: bool = False) -> None:
    """Returns for 2xx. Raises RetryAfter, Throttle, UnexpectedStatus or Permanent.

    ``request_line`` names the request in the message, such as ``GET https://example.com/``. ``is_limited``: whether
    the job is under a limit.
    """
    if 200 <= response.status < 300:
        return
    status = f"{response.status} {response.reason}".strip()
    message = f"{request_line} returned {status}{excerpt(response)}"
    if response.status not in RETRIED and response.status < 500:
        raise Permanent(message)
    wait = retry_after_seconds(response.headers.get("retry-after"), datetime.now(UTC))
    if wait is not None and response.status == TOO_MANY and is_limited:
        raise Throttle(wait, reason=message)
    if wait is not None:
        raise RetryAfter(wait, message)
    raise UnexpectedStatus(message)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """The wait in a Retry-After header, from 1 second to a day; None if it is absent or unreadable."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        wait = float(text[:12])
    else:
        try:
            retry_at = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        if retry_at.tzinfo is None:
            retry_at = retry_at.replace(tzinfo=UTC)
        wait = retry_at.timestamp() - now.timestamp()
    # At least 1 second: with 0, all attempts would be used up within a moment.
    return min(max(wait, 1.0), MAX_RETRY_AFTER_SECONDS)
