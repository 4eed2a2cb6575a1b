"""The security log: a line for each event that matters in an investigation.

Logger ``app.security``: refused requests (401, 403, 429), sign-ins and sign-outs, created and revoked tokens.
Anyone can cause most of these events, so their lines are limited: events above the limit are counted, and the next
line says how many were left out.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import has_request_context, request
from limits import RateLimitItemPerMinute
from limits.strategies import FixedWindowRateLimiter

from app.security.memory_counts import MemoryCounts
from app.security.rate_limits import source_of

log = logging.getLogger("app.security")

#: Lines per minute: for one kind of event from one address, and in total.
PER_ADDRESS = RateLimitItemPerMinute(10, namespace="lines")
IN_TOTAL = RateLimitItemPerMinute(300, namespace="all-lines")
MAX_CHARACTERS = 200

_limiter = FixedWindowRateLimiter(MemoryCounts())
_left_out = 0


def happened(event: str, *, is_suspicious: bool = False, **facts: Any) -> None:
    """Log an event that an authenticated sender, or an operator at a command line, caused. No limit."""
    _write(event, is_suspicious, facts)


def refused(event: str, *, is_suspicious: bool = True, **facts: Any) -> None:
    """Log an event that anyone can cause, within the limits PER_ADDRESS and IN_TOTAL."""
    global _left_out
    source = source_of(request.remote_addr or "") if has_request_context() else ""
    # PER_ADDRESS is tested first and counted last: above the total, an attacker with any number of IPv6 addresses
    # uses no memory.
    if not _limiter.test(PER_ADDRESS, event, source) or not _limiter.hit(IN_TOTAL):
        _left_out += 1
        return
    _limiter.hit(PER_ADDRESS, event, source)
    if _left_out:
        facts["leftOut"], _left_out = _left_out, 0
    _write(event, is_suspicious, facts)


def _write(event: str, is_suspicious: bool, facts: dict[str, Any]) -> None:
    if has_request_context():
        facts |= {
            "address": request.remote_addr or "unknown",
            "method": request.method,
            "path": request.path,
        }
    facts = {name: _short(value) for name, value in facts.items()}
    line = " ".join(f"{name}={_quoted(value)}" for name, value in facts.items())
    level = logging.WARNING if is_suspicious else logging.INFO
    # The facts are in the message for people, and in fields for machines (LOG_FORMAT=json).
    log.log(level, "%s", f"{event} {line}".strip(), extra={"event": event, **facts})


def _short(value: Any) -> Any:
    return value[:MAX_CHARACTERS] if isinstance(value, str) else value


def _quoted(value: Any) -> str:
    # Printable ASCII, so that no name or path can start a new line.
    text = json.dumps(str(value))
    return text if " " in text or "\\" in text or len(text) == 2 else text[1:-1]
