"""/metrics: what a scrape sees of workers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app import cache
from tests import factories


@pytest.fixture
def scrape(client: Any, session: Any) -> Any:
    """``scrape("jobqueue_workers_alive")``: the value of a metric without labels."""

    def scrape(name: str) -> float:
        cache.forget()
        text = client.get("/metrics").text
        [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    return scrape


@pytest.mark.parametrize(("lease_seconds", "alive"), [(120.0, 2), (30.0, 1)])
def test_a_worker_is_alive_for_as_long_as_its_leases_last(
    app: Any, monkeypatch: Any, scrape: Any, lease_seconds: float, alive: int
) -> None:
    settings = replace(app.extensions["settings"], lease_seconds=lease_seconds)
    monkeypatch.setitem(app.extensions, "settings", settings)
    factories.worker(threads=5)
    factories.worker(threads=3, silent_for=60)

    assert scrape("jobqueue_workers_alive") == alive
    assert scrape("jobqueue_worker_threads") == (8 if alive == 2 else 5)


def test_refused_endings_are_counted(session: Any, scrape: Any) -> None:
    factories.worker(refused=2)
    factories.worker(refused=3, silent_for=600)
    factories.worker(refused=5, silent_for=2 * 3600)  # gone for too long to be listed

    assert scrape("jobqueue_endings_refused") == 5


def test_schedules_and_their_runs_are_counted(session: Any, scrape: Any) -> None:
    late = factories.schedule("late", next_in=-60)
    factories.schedule("active")
    factories.schedule("ended", next_in=None)
    factories.paused_schedule()
    factories.retired_schedule()
    factories.tick(late, outcome="missed", n=12)
    factories.tick(late, ago=30)
    factories.tick(late, ago=90_000)

    for state in ("active", "late", "paused", "retired", "ended"):
        assert scrape(f'jobqueue_schedules{{state="{state}"}}') == 1
    assert 60 <= scrape("jobqueue_schedule_lag_seconds") < 120
    assert scrape('jobqueue_schedule_ticks{outcome="missed"}') == 12
    assert scrape('jobqueue_schedule_ticks{outcome="enqueued"}') == 1
    assert scrape('jobqueue_schedule_ticks{outcome="skipped"}') == 0


def test_without_schedules_nothing_is_late(session: Any, scrape: Any) -> None:
    assert scrape("jobqueue_schedule_lag_seconds") == 0
    factories.schedule()
    assert scrape("jobqueue_schedule_lag_seconds") == 0


def test_limits_tell_what_runs_and_waits(scrape: Any) -> None:
    factories.limit("stripe", paused_at=factories._now())
    factories.processing_job(limit_name="stripe", limit_key="")
    factories.waiting_job()
    factories.waiting_job()

    assert scrape('jobqueue_limit_running{limit="stripe"}') == 1
    assert scrape('jobqueue_limit_waiting{limit="stripe"}') == 2
    assert scrape('jobqueue_limit_stopped{limit="stripe"}') == 1
