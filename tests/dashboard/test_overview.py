"""The figures of the overview."""

from __future__ import annotations

from typing import Any

from app.dashboard.present.figures import figures
from app.jobs.statistics.series import Pace
from app.jobs.statistics.summary import Overview

IDLE = Pace(0, 0, is_settled=False, is_this_minute=False)


def shown(pace: Pace = IDLE, **facts: Any) -> dict[str, str]:
    overview = Overview(
        **{
            "counts": {}, "per_minute": [], "pace": pace, "wait_p50_ms": None, "wait_p95_ms": None, "run_p50_ms": None,
            "run_p95_ms": None, "oldest_due_seconds": None, "drain_seconds": None, "failing_types": [], **facts,
        }
    )  # fmt: skip
    return {figure.label: f"{figure.value} {figure.note}".strip() for figure in figures(overview)}


def test_a_rate_names_its_window() -> None:
    found = shown(Pace(920.4, 3.2, is_settled=True, is_this_minute=False))
    assert found["Completed/min"] == "920 last 2 min"
    assert found["Failed/min"] == "3.2 last 2 min"
    found = shown(Pace(355, 25, is_settled=False, is_this_minute=True))
    assert found["Completed/min"] == "355 this minute"


def test_unknown_values_are_a_dash() -> None:
    found = shown()
    assert found["Completed/min"] == "0 last 2 min"
    assert found["Median wait"] == "– last 5 min"
    assert found["Longest wait"] == "– nothing ready"
    assert found["Time to drain"] == "–"
    assert shown(oldest_due_seconds=3.0)["Time to drain"] == "– not known yet"


def test_times_are_readable_and_name_their_window() -> None:
    found = shown(wait_p50_ms=4.2, wait_p95_ms=130.0, oldest_due_seconds=95.0, drain_seconds=12.0)
    assert found["Median wait"] == "4.2 ms p95 130 ms · last 5 min"
    assert found["Longest wait"] == "1 min 35 s now"
    assert found["Time to drain"] == "12 s at the current pace"
