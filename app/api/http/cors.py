"""The headers of every API response, and which browser pages may read it (CORS_ORIGIN)."""

from __future__ import annotations

from flask import Response

from app import request_ids
from app.api_paths import is_api_path
from app.extensions import current_request, current_settings

EXPOSED = "Link, Location, Retry-After, X-Next-Cursor, X-Request-Id"
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-Id"
PREFLIGHT_SECONDS = "600"


def add_headers(response: Response) -> Response:
    """After every request, including refused ones, so that a page can read the reason."""
    request = current_request()
    if not is_api_path(request.path):
        return response
    headers = response.headers
    # add() only appends, which is cheaper for every request than reading the existing headers.
    headers.add("Cache-Control", "no-store")
    headers.add(request_ids.HEADER, request_ids.current())
    # Always: a shared cache must not give one origin's response to another.
    headers.add("Vary", "Origin")
    origin = request.environ.get("HTTP_ORIGIN")
    if origin is None:
        return response
    allowed = current_settings().cors_origins
    if not ("*" in allowed or origin in allowed):
        return response
    headers["Access-Control-Allow-Origin"] = "*" if "*" in allowed else origin
    headers["Access-Control-Expose-Headers"] = EXPOSED
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        headers["Access-Control-Allow-Methods"] = headers.get("Allow", "GET")
        headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
    return response
