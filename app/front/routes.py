"""What the front knows of the routes: what a request may cost, who asks, and whether it can be anybody's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

from app.security.body_limits import SIGN_IN_PATH, body_limit

__all__ = ["BULK", "QUICK", "READ", "body_limit", "caller", "cost", "is_nobody"]

#: Cheap, whatever it says: a job created, a health check, a cached overview.
QUICK = "quick"
#: May read many rows or megabytes: one at a time for each caller.
READ = "read"
#: Writes many rows.
BULK = "bulk"

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_ID = r"[0-9A-Fa-f-]{36}"
_READS = re.compile(
    rf"/api/jobs|/api/jobs/{_ID}/(?:attempts|log)|/api/dead-letters(?:/.*)?"
    rf"|/jobs|/jobs/(?:all|find|new)|/jobs/{_ID}(?:/.*)?|/dead-letters(?:/.*)?|/failures(?:/.*)?|/audit|/bulk(?:/.*)?"
)
_BULK = re.compile(r"/api/jobs/bulk|/jobs/(?:all|selected)|/failures/[^/]+/[^/]+|/bulk/[0-9]+/stop")


def cost(method: str, path: str) -> str:
    """QUICK, READ or BULK."""
    if method in SAFE_METHODS:
        return READ if method != "OPTIONS" and _READS.fullmatch(path) else QUICK
    return BULK if _BULK.fullmatch(path) else QUICK


def is_nobody(method: str, path: str, environ: dict[str, Any]) -> bool:
    """Whether nothing in the request says who sends it, where the door asks."""
    if path == SIGN_IN_PATH or "HTTP_AUTHORIZATION" in environ:
        return False
    # A change through the API needs a token; the cookie of a session only reads there.
    is_api = path.startswith("/api/") and method not in SAFE_METHODS
    return is_api or "HTTP_COOKIE" not in environ


def caller(environ: dict[str, Any], signed_in_name: Callable[[dict[str, Any]], str | None]) -> str:
    """Who sends this, in one word: the token, the person, or the address.

    ``signed_in_name``: whom the session cookie names, if its signature is right; anybody can make up others.
    """
    if shown := environ.get("HTTP_AUTHORIZATION", "").split():
        return hashlib.sha256(shown[-1].encode()).hexdigest()
    name = signed_in_name(environ) if "HTTP_COOKIE" in environ else None
    return f"person {name}" if name else str(environ["REMOTE_ADDR"])
