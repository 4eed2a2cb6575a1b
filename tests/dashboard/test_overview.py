"""The figures of the overview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.dashboard.overview_page import figures
from app.jobs.series import Minute
from app.jobs.stats import Overview

START = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


def told(per_minute: list[tuple[int, int]], **facts: Any) -> dict[str, str]:
    minutes = [(0, 0)] * (60 - len(per_minute)) + per_minute
    overview = Overview(
        **{
            "counts": {},
            "per_minute": [
                Minute(START + timedelta(minutes=n), *minute) for n, minute in enumerate(minutes)
            ],
            "wait_p50_ms": None,
            "wait_p95_ms": None,
            "run_p50_ms": None,
            "run_p95_ms": None,
            "oldest_due_seconds": None,
            "drain_seconds": None,
            "failing_types": [],
            **facts,
        }
    )
    return {figure.label: f"{figure.value} {figure.note}".strip() for figure in figures(overview)}


def test_the_running_minute_does_not_pull_the_rate_down() -> None:
    found = told([(100, 0)] * 5 + [(3, 0)])
    assert found["Completed a minute"] == "100 last 5 min"


def test_in_the_first_minute_it_is_all_there_is() -> None:
    found = told([(355, 25)])
    assert found["Completed a minute"] == "355 this minute"
    assert found["Failed a minute"] == "25 this minute"


def test_what_is_not_known_is_a_dash() -> None:
    found = told([])
    assert found["Completed a minute"] == "0 last 5 min"
    assert found["Wait, median"] == "– p95 –"
    assert found["Oldest due"] == "– nothing due"
    assert found["Time to drain"] == "–"


def test_times_are_humane() -> None:
    found = told(
        [], wait_p50_ms=4.2, wait_p95_ms=130.0, oldest_due_seconds=95.0, drain_seconds=12.0
    )
    assert found["Wait, median"] == "4.2 ms p95 130 ms"
    assert found["Oldest due"] == "1 min 35 s"
    assert found["Time to drain"] == "12 s at this rate"
