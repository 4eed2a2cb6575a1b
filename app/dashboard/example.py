"""A command to try, in the empty states."""

from __future__ import annotations

from flask import request


def example() -> str:
    """The first job, against the address the reader is looking at."""
    return (
        f"curl -X POST {request.host_url}api/jobs \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        '  -d \'{"type": "echo", "payload": {"hello": "world"}}\''
    )
