"""What the overview says. Figures are shared by all tabs; rows are few and read by index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.dashboard import cached_reads
from app.dashboard.present import charts
from app.dashboard.present.curl import example
from app.dashboard.present.format import duration, rate
from app.extensions import db
from app.jobs import listing
from app.jobs.listing import JobFilter
from app.jobs.models import VIEWS
from app.jobs.statistics.series import RATE_MINUTES
from app.jobs.statistics.summary import Overview

ROWS = 6


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
    counts, overview = cached_reads.counts(), cached_reads.overview()
    return {
        "overview": overview,
        "tiles": [Tile(view, counts[view]) for view in VIEWS],
        "figures": figures(overview),
        "chart": charts.ended(cached_reads.history(range_name), range_name),
        "ranges": charts.LABELS,
        "is_fresh": not counts["all"],
        "running": listing.list_jobs(
            db.session, JobFilter(status="processing"), limit=ROWS, is_light=True
        ).items,
        "letters": listing.list_dead_letters(db.session, limit=ROWS).items,
        "queues": sorted(cached_reads.queues(), key=lambda queue: (-queue.due, queue.name))[:ROWS],
        "workers": [worker for worker in cached_reads.workers() if worker.is_alive][:ROWS],
        "example": example(),
    }


def figures(overview: Overview) -> list[Figure]:
    """Six numbers that together answer "is it fine?"."""
    pace = overview.pace
    span = "this minute" if pace.is_this_minute else "last 2 min"
    return [
        Figure("Completed/min", rate(pace.completed), span),
        Figure("Failed/min", rate(pace.failed), span),
        Figure("Median wait", *_latency(overview.wait_p50_ms, overview.wait_p95_ms)),
        Figure("Median run", *_latency(overview.run_p50_ms, overview.run_p95_ms)),
        Figure(
            "Longest wait",
            duration(overview.oldest_due_seconds),
            "now" if overview.oldest_due_seconds is not None else "nothing ready",
        ),
        Figure("Time to drain", duration(overview.drain_seconds), _drain_note(overview)),
    ]


def _latency(median: float | None, p95: float | None) -> tuple[str, str]:
    window = f"last {RATE_MINUTES} min"
    return _ms(median), f"p95 {_ms(p95)} · {window}" if p95 is not None else window


def _drain_note(overview: Overview) -> str:
    if overview.drain_seconds is not None:
        return "at this pace"
    return "" if overview.oldest_due_seconds is None else "not known yet"


def _ms(value: float | None) -> str:
    return duration(None if value is None else value / 1000)
