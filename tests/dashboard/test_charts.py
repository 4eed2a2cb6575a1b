"""The bars of the overview, and the range one chooses."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy import text

from app.dashboard.present import charts
from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob
from app.jobs.statistics import summary
from app.jobs.statistics.summary import Minute

START = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


def points(*pairs: tuple[int, int]) -> list[Minute]:
    return [Minute(START + timedelta(minutes=i), *pair) for i, pair in enumerate(pairs)]


def test_the_chart_has_a_bar_per_point_with_a_tooltip_and_a_text_equivalent() -> None:
    chart = charts.ended(points((0, 0), (8, 2), (3, 0)), "hour")
    tree = ElementTree.fromstring(str(chart.svg))
    assert [t.text for t in tree.iter("title")] == [
        "10:01 UTC: 8 completed, 2 failed",
        "10:02 UTC: 3 completed, 0 failed",
    ]
    heights = [float(r.get("height")) for r in tree.iter("rect") if r.get("class") != "bar-hit"]
    assert heights == pytest.approx([83.2, 20.8, 31.2])
    assert chart.summary.striptags() == (
        "11 completed and 2 failed in the last hour; peak of 10 in one minute at 10:01 UTC."
    )
    assert '<time datetime="2026-05-04T10:01:00.000Z" data-kind="minute">' in chart.summary
    assert "style=" not in chart.svg


def test_an_empty_chart_says_so() -> None:
    assert charts.ended(points((0, 0)), "day").summary == "Nothing finished in the last 24 hours."


@pytest.mark.parametrize(("value", "top"), [(0, 2), (2, 2), (3, 4), (5, 6), (11, 12), (39, 40), (41, 50), (471, 500), (1234567, 1_600_000)])  # fmt: skip
def test_the_scale_ends_at_a_round_number(value: int, top: int) -> None:
    assert charts.nice(value) == top


def test_half_a_scale_is_a_whole_number_and_at_most_a_third_is_empty() -> None:
    for value in range(2, 20_000):
        top = charts.nice(value)
        assert value <= top
        assert top % 2 == 0
        assert value <= 8 or value > top * 2 / 3 - 1


def test_labels_are_at_round_times_and_fit_the_margin() -> None:
    minutes = [Minute(START + timedelta(minutes=7 + i), 38_000, 0) for i in range(60)]
    svg = charts.ended(minutes, "hour").svg
    assert re.findall(r'chart-tick"[^>]*>([^<]+)<', svg) == ["10:10", "10:20", "10:30", "10:40", "10:50", "11:00"]  # fmt: skip
    assert re.findall(r'text-anchor="end">([^<]+)<', svg) == ["40k", "20k", "0"]


@pytest.mark.parametrize(("name", "back", "length"), [("hour", 30, 60), ("day", 20 * 60, 144), ("week", 6 * 1440, 168)])  # fmt: skip
def test_history_is_exact_over_folded_and_unfolded_counts(
    session: Any, name: str, back: int, length: int
) -> None:
    for columns in ("job_series_deltas (minute, type, outcome, run_bucket, wait_bucket, n)",) * 2:
        session.execute(
            text(
                f"INSERT INTO {columns}"
                " SELECT date_trunc('minute', now()) - make_interval(mins => :back), 'a', outcome, 1, 1, 5"
                " FROM unnest(ARRAY['completed', 'failed', 'retried']) AS outcome"
            ),
            {"back": back},
        )
        if name != "week":
            summary.fold(session)
    found = summary.history(session, name)
    assert len(found) == length
    assert (sum(p.completed for p in found), sum(p.failed for p in found)) == (10, 10)
    assert max(p.completed for p in found) == 10


def test_minutes_from_days_ago_keep_their_resolution(session: Any) -> None:
    session.execute(
        text(
            "INSERT INTO job_series_deltas (minute, type, outcome, run_bucket, wait_bucket, n)"
            " SELECT date_trunc('minute', now()) - make_interval(days => days, mins => 7), 'a', 'completed', 1, 1, days"
            " FROM unnest(ARRAY[1, 6, 8]) AS days"
        )
    )
    summary.fold(session)
    while summary.prune_series(session):
        pass
    kept = session.execute(
        text(
            "SELECT round(extract(epoch FROM date_trunc('minute', now()) - minute) / 60), n"
            " FROM job_minutes ORDER BY 1"
        )
    )
    assert [tuple(map(int, row)) for row in kept] == [(1447, 1), (6 * 1440 + 7, 6)]


@pytest.mark.parametrize("name", ["hour", "day", "week", "nonsense"])
def test_the_page_draws_the_requested_range(
    client: Any, session: Any, redis: Any, name: str
) -> None:
    lifecycle.enqueue(session, [NewJob("echo", {})])
    session.commit()
    page = client.get(f"/?range={name}").text
    title = charts.LABELS.get(name, charts.LABELS["hour"])
    assert f"Finished jobs, {title}" in page
