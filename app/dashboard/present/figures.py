"""The figures of the overview."""

from __future__ import annotations

from dataclasses import dataclass

from app.dashboard.present.format import duration, rate
from app.jobs.statistics.series import RATE_MINUTES
from app.jobs.statistics.summary import Overview


@dataclass(frozen=True)
class Figure:
    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """The count of one view."""

    view: str
    n: int


def figures(overview: Overview) -> list[Figure]:
    """Throughput, latency and backlog, in the order the page shows them."""
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
        return "at the current pace"
    return "" if overview.oldest_due_seconds is None else "not known yet"


def _ms(value: float | None) -> str:
    return duration(None if value is None else value / 1000)
