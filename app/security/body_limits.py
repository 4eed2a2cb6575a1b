"""The size limits of request bodies, checked before a body is read and again before it is parsed."""

from __future__ import annotations

from flask import Flask

from app.config import MIB, Settings
from app.extensions import current_request

#: A name, a password and the page to return to.
SIGN_IN_BYTES = 8 * 1024
#: All other forms; the largest is the one for a new job, with its payload.
FORM_BYTES = MIB
SIGN_IN_PATH = "/sign-in"
BULK_PATH = "/api/jobs/bulk"


def body_limit(settings: Settings, path: str) -> int:
    """The size limit, in bytes, of the body of a request for ``path``."""
    if path == SIGN_IN_PATH:
        return SIGN_IN_BYTES
    if path == BULK_PATH:
        return settings.max_bulk_bytes
    return settings.max_body_bytes if path.startswith("/api/") else FORM_BYTES


def init_app(app: Flask, settings: Settings) -> None:
    """Apply the limits as well when the application runs under another server than ours."""

    @app.before_request
    def limit_body() -> None:
        request = current_request()
        if request.method not in ("GET", "HEAD"):
            request.max_content_length = body_limit(settings, request.path)
