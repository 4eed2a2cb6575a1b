"""Responses of the layers around Flask: an error as JSON for the API, as a sentence for the dashboard."""

from __future__ import annotations

import json

from app.api_paths import is_api_path
from app.errors import JobQueueError


def refusal(
    error: JobQueueError, path: str, *, retry_after: int | None = None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of the response for ``error``. ``retry_after`` is in seconds."""
    if is_api_path(path):
        content_type = "application/json"
        body = json.dumps({"message": error.message, "code": error.code}).encode() + b"\n"
    else:
        content_type, body = "text/plain; charset=utf-8", f"{error.message}\n".encode()
    headers = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    if retry_after is not None:
        headers.append(("Retry-After", str(retry_after)))
    return error.http_status, headers, body
