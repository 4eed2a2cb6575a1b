"""How large a request's body may be: one table, asked before a body is read and again before it is parsed."""

from __future__ import annotations

from flask import Flask, request

from app.config import MIB, Settings

#: A name, a password and where to go next.
SIGN_IN_BYTES = 8 * 1024
#: Every other form: the largest is a new job's, with its payload.
FORM_BYTES = MIB
SIGN_IN_PATH = "/sign-in"
BULK_PATH = "/api/jobs/bulk"


def body_limit(settings: Settings, path: str) -> int:
    """The largest body, in bytes, that a request for ``path`` may have."""
    if path == SIGN_IN_PATH:
        return SIGN_IN_BYTES
    if path == BULK_PATH:
        return settings.max_bulk_bytes
    return settings.max_body_bytes if path.startswith("/api/") else FORM_BYTES


def init_app(app: Flask, settings: Settings) -> None:
    """Forms are cut off by the same table where another server than ours calls the application."""

    @app.before_request
    def limit_the_body() -> None:
        if request.method not in ("GET", "HEAD"):
            request.max_content_length = body_limit(settings, request.path)
