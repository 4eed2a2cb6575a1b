"""When the reader last looked at the failures, kept in a cookie of the browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Response, request

from app import clock

COOKIE = "failures_seen"
#: The pages that show failures: endpoints.
PAGES = ("dashboard.failures", "dashboard.dead_letters")
#: Who never looked sees the failures of this time.
FIRST_LOOK = timedelta(hours=24)
_KEPT_SECONDS = 365 * 86400


def looked(response: Response) -> Response:
    """Note that the reader sees the failures now."""
    response.set_cookie(
        COOKIE, str(int(clock.epoch())), max_age=_KEPT_SECONDS, httponly=True, samesite="Lax", secure=request.is_secure
    )  # fmt: skip
    return response


def looked_at() -> datetime:
    """When the reader saw the failures, to the second; never in the future, and at most FIRST_LOOK ago."""
    now = clock.now().replace(microsecond=0)
    text = request.cookies.get(COOKIE, "")
    seen = int(text) if text.isascii() and text.isdigit() and len(text) <= 11 else 0
    return min(now, max(datetime.fromtimestamp(seen, UTC), now - FIRST_LOOK))
