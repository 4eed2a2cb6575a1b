"""Answers of the layers around Flask: an error of ours as JSON for programs, as a sentence for browsers."""

from __future__ import annotations

import json

from app.errors import JobQueueError

_PROGRAMS = ("/api/", "/health", "/metrics")


def refusal(
    error: JobQueueError, path: str, *, retry_after: int | None = None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body that tell ``error`` to who asked for ``path``."""
    if path.startswith(_PROGRAMS):
        kind = "application/json"
        body = json.dumps({"message": error.message, "code": error.code}).encode() + b"\n"
    else:
        kind, body = "text/plain; charset=utf-8", f"{error.message}\n".encode()
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    if retry_after is not None:
        headers.append(("Retry-After", str(retry_after)))
    return error.http_status, headers, body
