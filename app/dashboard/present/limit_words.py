"""Why a job waits at its limit, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from app.dashboard.present.format import compact, duration
from app.jobs.lifecycle import SCHEDULE_LIMIT
from app.jobs.limits.waiting import Level, LimitWait
from app.jobs.statistics.count import Count


def limit_reasons(wait: LimitWait | None) -> list[str]:
    """Everything at its limit that keeps a job from being started: what stops its key, what stops all, and the slots."""
    return list(_reasons(wait)) if wait else []


def key_name(wait: LimitWait) -> str:
    """The key, for people: customerId 42, or key 42."""
    return f"{wait.by or 'key'} {wait.key}"


def _reasons(wait: LimitWait) -> Iterator[str]:
    if wait.limit == SCHEDULE_LIMIT:
        ahead = f"; {_ahead(wait.ahead, 'run', 'of it')}" if wait.ahead else ""
        yield f"It waits until the run of schedule {wait.key} that started before it has ended{ahead}."
        return
    limit = f"limit {wait.limit}"
    of_key = f"{key_name(wait)} of {limit}"
    for level, name, page in (
        (wait.of_key, of_key, "the page of the limit"),
        (wait.total, limit, "the Limits page"),
    ):
        subject = name[0].upper() + name[1:] if name == limit else _capital(wait, name)
        if level.is_paused:
            by = f" by {level.paused_by}" if level.paused_by else ""
            yield f"{subject} was paused{by}. Resume it on {page}."
        if level.closed_until:
            seconds = _seconds(level.closed_until, wait)
            yield f"{subject} is closed for {seconds}, as a job of it asked for."
    is_full = any(level.is_full for level in wait.levels)
    tokens = list(_tokens(wait))
    if is_full:
        yield f"It waits for a slot of {limit}: {_slots(wait)}; {_ahead(wait.ahead)}."
    yield from tokens
    if not is_full and not tokens:
        slots = _slots(wait)
        yield f"It waits for its turn at {limit}: {f'{slots}; ' if slots else ''}{_ahead(wait.ahead)}."


def _tokens(wait: LimitWait) -> Iterator[str]:
    for level, name in ((wait.of_key, f" for {key_name(wait)}"), (wait.total, "")):
        if level.token_at and level.rate:
            seconds = _seconds(level.token_at, wait)
            yield (
                f"It waits for a token of limit {wait.limit}{name} ({level.rate}):"
                f" the next one is due in {seconds}."
            )


def _slots(wait: LimitWait) -> str:
    """20 of 20 are in use, customerId 42 has 2 of 2"""
    parts = []
    if wait.total.concurrency is not None:
        parts.append(f"{_of(wait.total)} are in use")
    if wait.of_key.concurrency is not None:
        parts.append(f"{key_name(wait)} has {_of(wait.of_key)}")
    return ", ".join(parts)


def _of(level: Level) -> str:
    return f"{level.in_use:,} of {level.concurrency:,}"


def _ahead(ahead: Count, noun: str = "job", of: str = "of this key") -> str:
    if not ahead:
        return "it is the next one of its key"
    count = compact(ahead) if ahead.is_exact else f"more than {compact(int(ahead))}"
    s, are = ("", "is") if ahead == 1 else ("s", "are")
    return f"{count} {noun}{s} {of} {are} ahead"


def _seconds(until: datetime, wait: LimitWait) -> str:
    return duration((until - wait.now).total_seconds())


def _capital(wait: LimitWait, name: str) -> str:
    # A field keeps its spelling: customerId.
    return name if wait.by else f"K{name[1:]}"
