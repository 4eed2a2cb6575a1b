"""What the overview says. Figures are shared by all tabs; rows are few and read by index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.dashboard import charts, looks
from app.dashboard.example import example
from app.dashboard.format import duration, rate
from app.extensions import db
from app.jobs import queries
from app.jobs.models import VIEWS
from app.jobs.queries import JobFilter
from app.jobs.stats import Overview

ROWS = 6
RATE_MINUTES = 5


@dataclass(frozen=True)
class Tile:
    view: str
    n: int


@dataclass(frozen=True)
class Figure:
    label: str
    value: str
    note: str = ""


def facts(range_name: str) -> dict[str, Any]:
    counts, overview = looks.counts(), looks.overview()
    return {
        "overview": overview,
        "tiles": [Tile(view, counts[view]) for view in VIEWS],
        "figures": figures(overview),
        "chart": charts.ended(looks.history(range_name), range_name),
        "ranges": charts.LABELS,
        "is_fresh": not counts["all"],
        "running": queries.list_jobs(
            db.session, JobFilter(status="processing"), limit=ROWS, is_light=True
        ).items,
        "letters": queries.dead_letters(db.session, limit=ROWS).items,
        "queues": sorted(looks.queues(), key=lambda queue: (-queue.due, queue.name))[:ROWS],
        "workers": [worker for worker in looks.workers() if worker.is_alive][:ROWS],
        "example": example(),
    }


def figures(overview: Overview) -> list[Figure]:
    """Six numbers that together answer "is it fine?"."""
    completed, failed, span = _rates(overview)
    return [
        Figure("Completed a minute", rate(completed), span),
        Figure("Failed a minute", rate(failed), span),
        Figure("Wait, median", _ms(overview.wait_p50_ms), f"p95 {_ms(overview.wait_p95_ms)}"),
        Figure("Run, median", _ms(overview.run_p50_ms), f"p95 {_ms(overview.run_p95_ms)}"),
        Figure(
            "Oldest due",
            duration(overview.oldest_due_seconds),
            "" if overview.oldest_due_seconds else "nothing due",
        ),
        Figure(
            "Time to drain",
            duration(overview.drain_seconds),
            "at this rate" if overview.drain_seconds else "",
        ),
    ]


def _rates(overview: Overview) -> tuple[float, float, str]:
    """Completed and failed a minute, and over which time that is."""
    *earlier, running = overview.per_minute
    recent = earlier[-RATE_MINUTES:]
    completed, failed = (
        sum(getattr(minute, what) for minute in recent) for what in ("completed", "failed")
    )
    # The minute that is still running makes a rate look low; it counts only while it is all there is.
    if not completed + failed and running.completed + running.failed:
        return running.completed, running.failed, "this minute"
    return completed / len(recent), failed / len(recent), f"last {RATE_MINUTES} min"


def _ms(value: float | None) -> str:
    return duration(None if value is None else value / 1000)
