"""The SQL function enqueue_job: for programs that share the database and speak no Python."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DataError

from app.broker.ready_set import ReadySet
from app.extensions import db
from app.jobs import enqueue
from app.jobs.ids import created_at
from app.jobs.models import Job
from app.worker.sweeper.reconcile import reconcile
from tests import factories


def call(arguments: str, **values: Any) -> Any:
    return db.session.scalar(text(f"SELECT enqueue_job({arguments})"), values)


def test_the_type_is_all_that_is_required(session: Any) -> None:
    id = call("'echo'")
    session.commit()
    job = session.get(Job, id)
    assert (job.status, job.type, job.queue, job.payload) == ("pending", "echo", "default", {})
    assert (job.priority, job.max_attempts, list(job.tags)) == (0, 5, [])
    assert job.run_at <= datetime.now(UTC)


def test_every_argument_reaches_the_row(session: Any) -> None:
    id = call(
        "type => 'echo', payload => '{\"a\": 1}', queue => 'mail', priority => 7, "
        "run_at => now() + interval '1 hour', max_attempts => 2, unique_key => 'k', tags => '{x,y}'"
    )
    session.commit()
    job = session.get(Job, id)
    assert (job.payload, job.queue, job.priority, job.max_attempts) == ({"a": 1}, "mail", 7, 2)
    assert (job.unique_key, list(job.tags)) == ("k", ["x", "y"])
    assert job.run_at > datetime.now(UTC) + timedelta(minutes=59)


def test_it_joins_the_transaction(session: Any) -> None:
    call("'echo'")
    session.rollback()
    assert session.scalar(select(func.count()).select_from(Job)) == 0


def test_its_ids_are_ordered_by_time_among_ours(session: Any) -> None:
    ids = [call("'echo'"), enqueue("echo"), call("'echo'")]
    assert all(id.version == 7 for id in ids)
    assert ids[0] < ids[2]
    # A process knows the database's clock to within the time of a round trip.
    assert abs(created_at(ids[1]) - created_at(ids[0])) < timedelta(seconds=1)
    assert abs(created_at(ids[0]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_unique_key_of_schedules_is_refused(session: Any) -> None:
    with pytest.raises(DataError, match="unique_key must not start with schedule:"):
        call("'echo', unique_key => 'schedule:nightly'")


def test_a_live_unique_key_returns_the_live_job(session: Any) -> None:
    first = call("'echo', unique_key => 'k'")
    assert call("'echo', unique_key => 'k'") == first
    assert session.scalar(select(func.count()).select_from(Job)) == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ("NULL", "type"),
        ("'no spaces'", "type"),
        ("'echo', queue => ''", "queue"),
        ("'echo', payload => '[1]'", "payload"),
        ("'echo', payload => NULL", "payload"),
        ("'echo', priority => 101", "priority"),
        ("'echo', max_attempts => 0", "max_attempts"),
        ("'echo', unique_key => ''", "unique_key"),
        ("'echo', tags => ARRAY['']", "tags"),
    ],
)
def test_an_argument_out_of_bounds_is_named(session: Any, arguments: str, field: str) -> None:
    with pytest.raises(DataError, match=rf"{field} must be"):
        call(arguments)


def test_the_comparison_with_redis_publishes_it(session: Any, redis: Any) -> None:
    ready = ReadySet(redis)
    reconcile(db.engine, ready)  # Redis is known from now on
    id = call("'echo', run_at => now() - interval '10 seconds'")
    session.commit()
    assert reconcile(db.engine, ready) == 1
    assert ready.pop(["default"], 10)[0] == [id.hex]


class TestUnderALimit:
    @pytest.fixture(autouse=True)
    def limit(self, session: Any) -> None:
        factories.limit("stripe", by_field="customer.id", types=("charge",))
        factories.limit("keyed", key_concurrency=1, types=("refund",))
        factories.limit("plain", types=("mail",))

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ("'charge', '{\"customer\": {\"id\": 42}}'", ("stripe", "42", 1)),
            ("'charge', '{\"customer\": {\"id\": 42}}', limit_key => 'a'", ("stripe", "a", 1)),
            ("'charge', '{}', limit_key => 'a'", ("stripe", "a", 1)),
            ("'refund', limit_key => 'a', run_at => now() + interval '1 h'", ("keyed", "a", 3)),
            ("'mail'", ("plain", "", 1)),
            ("'echo'", (None, None, 0)),
        ],
    )
    def test_the_job_waits_there(self, session: Any, arguments: str, expected: Any) -> None:
        job = session.get(Job, call(arguments))
        assert (job.limit_name, job.limit_key, job.hold) == expected

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ("'echo', limit_key => 'a'",
             "limit_key has no use: neither type echo nor queue default is under a limit"),
            ("'charge'", "payload.customer.id is required: limit stripe takes its key from it"),
            ("'charge', '{\"customer\": {\"id\": true}}'",
             "payload.customer.id must be text or a number: limit stripe takes its key from it"),
            ("'charge', '{\"customer\": {\"id\": \"\"}}'",
             "payload.customer.id must be 1 to 200 characters long: limit stripe takes its key from it"),
            ("'refund'",
             "limit_key is required: limit keyed works by key and type refund names no field for it"),
            ("'mail', limit_key => ''", "limit_key must be 1 to 200 characters long"),
        ],
    )  # fmt: skip
    def test_a_key_that_is_missing_or_wrong_is_named(
        self, session: Any, arguments: str, text: str
    ) -> None:
        with pytest.raises(DataError, match=re.escape(text)):
            call(arguments)
