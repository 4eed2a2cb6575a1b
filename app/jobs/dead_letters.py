"""The one canonical text of a dead letter: in the Redis list ``job-dlq`` and in the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from app.jobs.models import DeadLetter
from app.json_values import iso


def dead_letter_entry(letter: DeadLetter | Mapping[Any, Any]) -> str:
    """Canonical JSON: ``attempts, failedAt, jobId, payload, reason, type``; sorted, compact, UTF-8.

    Takes the row, or a mapping with its column names as PostgreSQL's to_jsonb() makes it. The same
    letter gives the same bytes, whoever writes it and whenever: the mirror compares and removes by
    them. failedAt is UTC with milliseconds and Z.
    """
    return json.dumps(
        dead_letter_fields(letter), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def dead_letter_fields(letter: DeadLetter | Mapping[Any, Any]) -> dict[str, Any]:
    """What the entry says, as a dict ready for JSON."""
    column = letter.__getitem__ if isinstance(letter, Mapping) else partial(getattr, letter)
    return {
        "jobId": str(column("job_id")),
        "type": column("type"),
        "payload": column("payload"),
        "reason": column("reason"),
        "attempts": column("attempts"),
        "failedAt": iso_milliseconds(column("failed_at")),
    }


def iso_milliseconds(instant: datetime | str) -> str:
    """As ``json_values.iso``; also for ISO text."""
    if isinstance(instant, str):
        instant = datetime.fromisoformat(instant)
    return str(iso(instant))
