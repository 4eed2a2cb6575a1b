"""The messages between a worker and its child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from app.jobs.context import LogLine
from app.jobs.ending import AttemptError, Ending
from app.worker.inbox import Claimed

#: From the child to the worker, as (kind, …): the state of its attempt.
STARTED, REPORT, RETURNED, ENDING, UNUSABLE = (
    "started",
    "report",
    "returned",
    "ending",
    "unusable",
)
#: From the worker to the child.
GO, CANCEL, INTERRUPT = "go", "cancel", "interrupt"


def ending_as_json(ending: Ending) -> dict[str, Any]:
    """An Ending without its job, which the worker knows."""
    values = {
        field.name: getattr(ending, field.name) for field in fields(ending) if field.name != "job"
    }
    error = None if ending.error is None else asdict(ending.error)
    return {**values, "error": error, "lines": lines_as_json(ending.lines)}


def ending_from(job: Claimed, values: dict[str, Any]) -> Ending:
    """The Ending that a child sent, as the worker reads it."""
    error = None if values["error"] is None else AttemptError(**values["error"])
    return Ending(job, **{**values, "error": error, "lines": lines_from(values["lines"])})


def lines_as_json(lines: Sequence[LogLine]) -> list[tuple[str, str, str]]:
    """Log lines for a report or an Ending."""
    return [(at.isoformat(), level, message) for at, level, message in lines]


def lines_from(rows: list[list[str]]) -> list[LogLine]:
    """The log lines of a report or an Ending, as the worker reads them."""
    return [(datetime.fromisoformat(at), level, message) for at, level, message in rows]
