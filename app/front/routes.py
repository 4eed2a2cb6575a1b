"""What the front knows about a request before the application runs: its cost, its caller, and whether it has credentials."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

from app.security.body_limits import SIGN_IN_PATH, body_limit

__all__ = ["BULK", "CREATE", "QUICK", "READ", "body_limit", "caller", "cost", "is_anonymous"]

#: Creates a job: many of these are stored together, so many threads may wait for one commit.
CREATE = "create"
#: Always cheap: a health check, a cached overview, a change of one job.
QUICK = "quick"
#: May read many rows or megabytes; each caller runs one at a time.
READ = "read"
#: Writes many rows.
BULK = "bulk"

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_ID = r"[0-9A-Fa-f-]{36}"
_READS = re.compile(
    rf"/api/jobs|/api/jobs/{_ID}/(?:attempts|log)|/api/(?:dead-letters|error-groups)(?:/.*)?|/api/bulk-actions(?:/.*)?"
    r"|/(?:api/)?(?:schedules|limits)(?:/.*)?"
    rf"|/jobs|/jobs/(?:all|find|new)|/jobs/{_ID}(?:/.*)?|/dead-letters(?:/.*)?|/failures(?:/.*)?|/audit|/bulk(?:/.*)?"
)
_BULK = re.compile(
    r"/api/jobs/bulk|/api/bulk-actions(?:/preview|/[0-9]+/(?:cancel|undo))?|/jobs/(?:all|selected)"
    r"|/failures/[^/]+/[^/]+|/bulk/[0-9]+/(?:stop|undo)"
)


def cost(method: str, path: str) -> str:
    """CREATE, QUICK, READ or BULK."""
    if method == "POST" and path == "/api/jobs":
        return CREATE
    if method in SAFE_METHODS:
        return READ if method != "OPTIONS" and _READS.fullmatch(path) else QUICK
    return BULK if _BULK.fullmatch(path) else QUICK


def is_anonymous(method: str, path: str, environ: dict[str, Any]) -> bool:
    """Whether the request has no credentials although it needs some."""
    if path == SIGN_IN_PATH or "HTTP_AUTHORIZATION" in environ:
        return False
    # A change through the API needs a token; a session cookie can only read there.
    is_api = path.startswith("/api/") and method not in SAFE_METHODS
    return is_api or "HTTP_COOKIE" not in environ


def caller(environ: dict[str, Any], signed_in_name: Callable[[dict[str, Any]], str | None]) -> str:
    """A key for the sender: the token's hash, the person's name, or the address.

    ``signed_in_name``: the name in the session cookie if its signature is valid; a forged cookie gets no key of its own.
    """
    if authorization := environ.get("HTTP_AUTHORIZATION", "").split():
        return hashlib.sha256(authorization[-1].encode()).hexdigest()
    name = signed_in_name(environ) if "HTTP_COOKIE" in environ else None
    return f"person {name}" if name else str(environ["REMOTE_ADDR"])
