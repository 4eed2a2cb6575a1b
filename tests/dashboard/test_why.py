"""Why a job is not running, as its page tells it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app import cache
from app.dashboard.views.job import why_waiting
from app.jobs import lifecycle, listing, pauses
from app.jobs.lifecycle import NewJob
from tests import factories


@pytest.fixture
def reasons_for(session: Any, redis: Any) -> Any:
    """``reasons_for(queue="mail")``: what is said of a new job."""

    def reasons_for(*, lose: bool = False, **columns: Any) -> list[str]:
        [new] = lifecycle.enqueue(session, [NewJob("echo", {}, **columns)])
        session.commit()
        if lose:
            redis.flushdb()
        cache.forget()
        return why_waiting(listing.get_job(session, new.id))

    return reasons_for


@pytest.fixture
def worker(session: Any) -> Any:
    def worker(*queues: str) -> None:
        session.execute(
            text(
                "INSERT INTO workers (id, host, pid, version, queues, threads, live_threads)"
                " VALUES (gen_random_uuid(), 'h', 1, '0', :queues, 5, 5)"
            ),
            {"queues": list(queues)},
        )
        session.commit()

    return worker


def test_no_worker(reasons_for: Any) -> None:
    assert reasons_for() == ["No workers are running. Start one."]


def test_no_worker_of_its_queue(reasons_for: Any, worker: Any) -> None:
    worker("media")
    assert reasons_for(queue="mail") == [
        "No running worker serves queue mail. Check the QUEUES setting of your workers."
    ]


def test_scheduled_and_paused(reasons_for: Any, worker: Any, session: Any) -> None:
    worker()
    pauses.pause_queue(session, "mail", by="ada")
    pauses.pause_type(session, "echo", by="bob")
    first, second, third = reasons_for(queue="mail", delay_seconds=3600)
    assert first.startswith("Scheduled to start in ")
    assert second == "Queue mail was paused by ada. Resume it on the Queues page."
    assert third == "Job type echo was paused by bob. Resume it on the Job types page."


def test_the_position_in_the_queue(reasons_for: Any, worker: Any) -> None:
    worker()
    assert reasons_for() == ["It is next and starts as soon as a thread is free."]
    assert reasons_for() == ["1 job is ahead of it in queue default, served by 5 threads."]
    assert reasons_for(priority=5) == ["It is next and starts as soon as a thread is free."]


def test_a_job_missing_in_redis(reasons_for: Any, worker: Any) -> None:
    worker()
    [reason] = reasons_for(lose=True)
    assert reason.startswith("The job is not in Redis, or a worker is starting it now.")


def test_the_page_shows_the_reasons(client: Any, session: Any, redis: Any) -> None:
    [new] = lifecycle.enqueue(session, [NewJob("echo", {}, delay_seconds=600)])
    session.commit()
    page = client.get(f"/jobs/{new.id}").text
    assert "Why isn't this job running?" in page
    assert "Scheduled to start in 10 min" in page


def test_no_worker_that_knows_its_type(reasons_for: Any, worker: Any, session: Any) -> None:
    worker()
    session.execute(text("UPDATE workers SET types = '{act}'"))
    session.commit()
    sentence = "No running worker has a handler for echo. Start one that does. Without one, the job fails after 1 d."
    assert reasons_for() == [sentence]
    session.execute(
        text(
            "INSERT INTO type_switches (type, unknown_since) VALUES ('echo', now() - interval '2 h')"
        )
    )
    session.commit()
    assert "has a handler for echo (for 2 h" in reasons_for()[0]
    session.execute(text("UPDATE workers SET types = '{act,echo}'"))
    session.commit()
    assert "has a handler" not in reasons_for()[0]


def test_a_job_that_workers_return(session: Any, worker: Any, redis: Any) -> None:
    worker()
    job = factories.processing_job()
    end = factories.ending(
        job.id, job.lease_token, "refuse", outcome="released",
        error="the payload does not fit greet: payload.nick unknown", error_class="PayloadRefused",
    )  # fmt: skip
    lifecycle.end_attempts(session, [end])
    session.commit()
    cache.forget()
    [reason] = why_waiting(listing.get_job(session, job.id))
    assert (
        "A worker could not run this job and returned it: the payload does not fit greet" in reason
    )
    assert "Next attempt in" in reason


def test_an_expired_job_is_not_next(session: Any, redis: Any, worker: Any) -> None:
    worker()
    job = factories.pending_job(expires_at=datetime.now(UTC) - timedelta(seconds=60))
    cache.forget()
    assert why_waiting(listing.get_job(session, job.id)) == [
        "The job expired before it could start. It is cancelled within seconds."
    ]
