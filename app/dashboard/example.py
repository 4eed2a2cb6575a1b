"""Commands to try: in the empty states, and on the page of a job."""

from __future__ import annotations

import json
import shlex
from typing import Any

from flask import request

from app.jobs.models import Job
from app.security import current, masked


def example() -> str:
    """The first job, against the address the reader is looking at."""
    return _post({"type": "echo", "payload": {"hello": "world"}})


def curl(job: Job) -> str:
    """A command that makes another job like this one; secrets masked, to be filled in by hand."""
    body = {"type": job.type, "payload": masked(job.payload), "queue": job.queue}
    if job.priority:
        body["priority"] = job.priority
    return _post(body)


def _post(body: dict[str, Any]) -> str:
    token = "" if current().is_anybody else '  -H "Authorization: Bearer $TOKEN" \\\n'
    return (
        f"curl -X POST {request.host_url}api/jobs \\\n{token}"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    )
