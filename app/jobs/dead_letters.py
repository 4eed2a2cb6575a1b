"""The canonical text of a dead letter, in the Redis list ``job-dlq`` and in the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from app.jobs.models import DeadLetter
from app.json_values import iso


def dead_letter_entry(dead_letter: DeadLetter | Mapping[Any, Any]) -> str:
    """Canonical JSON: ``attempts, failedAt, jobId, payload, reason, type``; sorted, compact, UTF-8.

    Takes the row, or a mapping of its column names such as PostgreSQL's to_jsonb() makes. The same
    dead letter always gives the same bytes: the mirror compares and removes entries by them.
    failedAt is UTC with milliseconds and Z.
    """
    return json.dumps(
        dead_letter_fields(dead_letter), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def dead_letter_fields(dead_letter: DeadLetter | Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of the entry, ready for JSON."""
    column = (
        dead_letter.__getitem__
        if isinstance(dead_letter, Mapping)
        else partial(getattr, dead_letter)
    )
    return {
        "jobId": str(column("job_id")),
        "type": column("type"),
        "payload": column("payload"),
        "reason": column("reason"),
        "attempts": column("attempts"),
        "failedAt": iso(_instant(column("failed_at"))),
    }


def _instant(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
