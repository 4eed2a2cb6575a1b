"""curl commands that readers can copy: in empty lists, and on the pages of jobs and schedules."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.jobs.limits import known
from app.jobs.models import Job, ScheduleRow
from app.jobs.schedules.rules import is_reserved
from app.json_values import iso
from app.security.masking import MASK, masked


@dataclass(frozen=True)
class Server:
    """Where a command sends its job: the address the reader is looking at."""

    url: str  # ends in a slash
    needs_token: bool


def first_job(server: Server) -> str:
    """A command that enqueues a first job."""
    return _send(server, "api/jobs", {"type": "echo", "payload": {"hello": "world"}}, {})


def same_job(server: Server, job: Job, now: datetime) -> str:
    """A command that enqueues a job like ``job``, with all its options.

    Each secret becomes a shell variable, and the shell refuses to run the command until it is set.
    """
    variables: dict[str, str] = {}
    options = {
        "queue": job.queue,
        "priority": job.priority,
        "maxAttempts": job.max_attempts,
        "timeoutSeconds": job.timeout_seconds,
        "tags": job.tags,
        # Where the payload has no key of its own.
        "limitKey": known.kept_key(
            job.limit_key, type=job.type, queue=job.queue, payload=job.payload
        ),
        # The API refuses the keys of schedules.
        "uniqueKey": None if is_reserved(job.unique_key) else job.unique_key,
        # Times in the past would be refused or have no effect.
        "nextRunAt": job.next_run_at and iso(job.next_run_at),
        "expiresAt": job.expires_at and job.expires_at > now and iso(job.expires_at),
    }
    body = {
        "type": job.type,
        "payload": _without_secrets(job.payload, masked(job.payload), variables),
    }
    options = {name: value for name, value in options.items() if value}
    return _send(server, "api/jobs", body | options, variables)


def same_schedule(server: Server, row: ScheduleRow) -> str:
    """A command that creates or replaces a schedule like ``row``, with all its options; secrets as in same_job."""
    variables: dict[str, str] = {}
    options = {
        "cron": row.cron,
        "everySeconds": row.every_seconds,
        "timeZone": row.zone if row.cron is not None else None,
        "endsAt": row.ends_at and iso(row.ends_at),
        "overlap": row.overlap,
        "missed": row.missed,
        "missedWithinSeconds": row.missed_within_seconds,
        "jitterSeconds": row.jitter_seconds,
        "tickField": row.tick_field,
        "queue": row.queue,
        "priority": row.priority,
        "maxAttempts": row.max_attempts,
        "timeoutSeconds": row.timeout_seconds,
        "tags": row.tags,
        "uniqueKey": row.unique_key,
    }
    body = {
        "type": row.type,
        "payload": _without_secrets(row.payload, masked(row.payload), variables),
    }
    options = {name: value for name, value in options.items() if value}
    path = f"api/schedules/{quote(row.name)}"
    return _send(server, path, body | options, variables, method="PUT")


def _without_secrets(value: Any, shown: Any, variables: dict[str, str]) -> Any:
    """``value`` with marks instead of secrets; adds mark → name of its variable to ``variables``.

    ``shown`` is masked(value): it has the same shape and order except where it is a mask.
    """
    if isinstance(value, list) and isinstance(shown, list):
        pairs = zip(value, shown, strict=True)
        return [_without_secrets(inner, visible, variables) for inner, visible in pairs]
    if isinstance(value, dict) and isinstance(shown, dict):
        return {
            key: _mark(key, variables)
            if visible == MASK
            else _without_secrets(inner, visible, variables)
            for inner, (key, visible) in zip(value.values(), shown.items(), strict=True)
        }
    return shown


def _mark(key: str, variables: dict[str, str]) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key)
    name = re.sub(r"[^A-Z0-9]+", "_", words.upper().encode("ascii", "replace").decode()).strip("_")
    name = name if re.match("[A-Z]", name) else f"SECRET_{name}".rstrip("_")
    # TOKEN authenticates the caller.
    taken = {"TOKEN", *variables.values()}
    unique = next(
        candidate
        for n in range(1, len(taken) + 2)
        if (candidate := name if n == 1 else f"{name}_{n}") not in taken
    )
    # A private-use character: JSON leaves it unescaped, and variable names never contain one.
    mark = f"\ue000{unique}\ue000"
    variables[mark] = unique
    return mark


def _send(
    server: Server,
    path: str,
    body: dict[str, Any],
    variables: Mapping[str, str],
    *,
    method: str = "POST",
) -> str:
    token = '  -H "Authorization: Bearer $TOKEN" \\\n' if server.needs_token else ""
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    for mark, name in variables.items():
        data = data.replace(mark, f"'\"${{{name}:?}}\"'")
    return (
        f"curl -X {method} {server.url}{path} \\\n{token}"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {data}"
    )
