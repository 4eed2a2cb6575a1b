"""Limits that nothing is under, and those that keep jobs waiting because somebody stopped them."""

from __future__ import annotations

from collections.abc import Iterator

from app.doctor.finding import OK, WARNING, Finding
from app.extensions import db
from app.jobs.limits.listing import LimitSummary, list_limits


def check_limits() -> Finding:
    limits = list_limits(db.session)
    problems = [problem for limit in limits for problem in _problems(limit)]
    if problems:
        return Finding("limits", WARNING, "; ".join(problems))
    return Finding("limits", OK, f"{len(limits)} in use" if limits else "none")


def _problems(limit: LimitSummary) -> Iterator[str]:
    if not limit.is_used:
        yield f"no job type or queue is under {limit.name}: attach or delete it"
    if limit.is_paused and limit.waiting:
        by = f" by {limit.paused_by}" if limit.paused_by else ""
        yield f"{limit.name} is paused{by} and {limit.waiting!r} jobs wait: resume it when they may run"
    if limit.blocked_until and limit.waiting:
        until = f"{limit.blocked_until:%Y-%m-%d %H:%M:%S} UTC"
        yield f"{limit.name} was closed by a handler until {until} and {limit.waiting!r} jobs wait"
