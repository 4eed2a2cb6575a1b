"""Commands to try: in the empty states, and on the page of a job."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from flask import request

from app import clock
from app.dashboard.present.format import iso
from app.jobs.models import Job
from app.security import MASK, current, masked


def example() -> str:
    """The first job, against the address the reader is looking at."""
    return _post({"type": "echo", "payload": {"hello": "world"}})


def curl(job: Job) -> str:
    """A command that makes another job like this one, with all its options.

    A secret is a variable of the shell, which refuses to run the command until it is set.
    """
    variables: dict[str, str] = {}
    now = clock.now()
    options = {
        "queue": job.queue,
        "priority": job.priority,
        "maxAttempts": job.max_attempts,
        "timeoutSeconds": job.timeout_seconds,
        "tags": job.tags,
        "uniqueKey": job.unique_key,
        # Times that have passed would be refused, or mean nothing.
        "nextRunAt": job.next_run_at and iso(job.next_run_at),
        "expiresAt": job.expires_at and job.expires_at > now and iso(job.expires_at),
    }
    body = {
        "type": job.type,
        "payload": _without_secrets(job.payload, masked(job.payload), variables),
    }
    return _post(body | {name: value for name, value in options.items() if value}, variables)


def _without_secrets(value: Any, shown: Any, variables: dict[str, str]) -> Any:
    """``value`` with marks instead of secrets; ``variables``: mark → name of the variable.

    ``shown`` is masked(value): of the same shape and order wherever it is not a mask itself.
    """
    if isinstance(value, list) and isinstance(shown, list):
        pairs = zip(value, shown, strict=True)
        return [_without_secrets(inner, seen, variables) for inner, seen in pairs]
    if isinstance(value, dict) and isinstance(shown, dict):
        return {
            key: _mark(key, variables) if seen == MASK else _without_secrets(inner, seen, variables)
            for inner, (key, seen) in zip(value.values(), shown.items(), strict=True)
        }
    return shown


def _mark(key: str, variables: dict[str, str]) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key)
    name = re.sub(r"[^A-Z0-9]+", "_", words.upper().encode("ascii", "replace").decode()).strip("_")
    name = name if re.match("[A-Z]", name) else f"SECRET_{name}".rstrip("_")
    # TOKEN is the one that lets the caller in.
    taken = {"TOKEN", *variables.values()}
    unique = next(
        candidate
        for n in range(1, len(taken) + 2)
        if (candidate := name if n == 1 else f"{name}_{n}") not in taken
    )
    # A private character: JSON leaves it as it is, and no name of ours holds one.
    mark = f"\ue000{unique}\ue000"
    variables[mark] = unique
    return mark


def _post(body: dict[str, Any], variables: Mapping[str, str] | None = None) -> str:
    token = "" if current().is_anybody else '  -H "Authorization: Bearer $TOKEN" \\\n'
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    for mark, name in (variables or {}).items():
        data = data.replace(mark, f"'\"${{{name}:?}}\"'")
    return (
        f"curl -X POST {request.host_url}api/jobs \\\n{token}"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {data}"
    )
