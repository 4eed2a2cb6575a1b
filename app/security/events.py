"""The security log: one line for each thing that an investigation would ask for.

Logger ``app.security``: refusals at the door (401, 403, 429), signing in and out, tokens made and
revoked. Bounded, since strangers cause most of these lines: what exceeds the bounds is counted, and
the next line says how many were left out.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import has_request_context, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from app.security.rate_limits import source_of

log = logging.getLogger("app.security")

#: Lines a minute: of one kind from one address, and from all strangers together.
PER_ADDRESS = RateLimitItemPerMinute(10, namespace="lines")
TOGETHER = RateLimitItemPerMinute(300, namespace="all-lines")
MAX_CHARACTERS = 200

_limiter = FixedWindowRateLimiter(MemoryStorage())
_left_out = 0


def happened(event: str, *, is_bad: bool = False, **facts: Any) -> None:
    """Log one event of somebody who was let in, or of an operator at a command line."""
    _write(event, is_bad, facts)


def refused(event: str, *, is_bad: bool = True, **facts: Any) -> None:
    """Log one event that strangers can cause: at most 10 a minute, kind and address."""
    global _left_out
    source = source_of(request.remote_addr or "") if has_request_context() else ""
    # Looked at before it is counted: addresses without end, as IPv6 has, leave no trace in memory.
    if not _limiter.test(PER_ADDRESS, event, source) or not _limiter.hit(TOGETHER):
        _left_out += 1
        return
    _limiter.hit(PER_ADDRESS, event, source)
    if _left_out:
        facts["leftOut"], _left_out = _left_out, 0
    _write(event, is_bad, facts)


def _write(event: str, is_bad: bool, facts: dict[str, Any]) -> None:
    if has_request_context():
        facts |= {
            "address": request.remote_addr or "unknown",
            "method": request.method,
            "path": request.path,
        }
    facts = {name: _short(value) for name, value in facts.items()}
    line = " ".join(f"{name}={_quoted(value)}" for name, value in facts.items())
    level = logging.WARNING if is_bad else logging.INFO
    # The facts are in the message for people, and as fields for machines (LOG_FORMAT=json).
    log.log(level, "%s", f"{event} {line}".strip(), extra={"event": event, **facts})


def _short(value: Any) -> Any:
    return value[:MAX_CHARACTERS] if isinstance(value, str) else value


def _quoted(value: Any) -> str:
    # Printable ASCII, so that no name or path can begin a line of its own.
    text = json.dumps(str(value))
    return text if " " in text or "\\" in text or len(text) == 2 else text[1:-1]
