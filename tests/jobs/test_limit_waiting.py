"""What a job waits for at its limit, and the jobs that wait there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.dashboard.present.limit_words import limit_reasons
from app.jobs import listing
from app.jobs.limits import waiting
from app.jobs.listing import JobFilter
from app.jobs.models import LimitKey
from tests import factories


@pytest.fixture
def why(session: Any) -> Any:
    """The reason for programs, and the sentences, of a job that waits."""

    def why(job: Any) -> tuple[str, list[str]]:
        session.commit()
        wait = waiting.limit_wait(session, listing.get_job(session, job.id))
        assert wait is not None
        return wait.reason, limit_reasons(wait)

    return why


def use(n: int, key: str = "", limit: str = "stripe") -> None:
    for _ in range(n):
        factories.processing_job(limit_name=limit, limit_key=key)


def own(session: Any, **columns: Any) -> None:
    session.add(LimitKey(limit_name="stripe", key="42", **columns))


class TestWhy:
    def test_no_slot_is_free(self, session: Any, why: Any) -> None:
        factories.limit(by_field="customerId", concurrency=20, key_concurrency=2)
        use(18)
        use(2, key="42")
        for _ in range(3):
            factories.waiting_job(key="42", due_in=-60)
        reason, sentences = why(factories.waiting_job(key="42"))
        assert reason == "limit"
        [sentence] = sentences
        assert sentence == (
            "It waits for a slot of limit stripe: 20 of 20 are in use, customerId 42 has 2 of 2;"
            " 3 jobs of this key are ahead."
        )

    def test_it_is_the_next_one(self, session: Any, why: Any) -> None:
        factories.limit(concurrency=1)
        use(1)
        factories.waiting_job(key="other", due_in=-60)
        assert why(factories.waiting_job())[1] == [
            "It waits for a slot of limit stripe: 1 of 1 are in use; it is the next one of its key."
        ]

    def test_a_key_of_its_own_number(self, session: Any, why: Any) -> None:
        factories.limit(by_field="customerId", concurrency=None, key_concurrency=2)
        own(session, concurrency=1)
        use(1, key="42")
        assert why(factories.waiting_job(key="42"))[1] == [
            "It waits for a slot of limit stripe: customerId 42 has 1 of 1; it is the next one of its key."
        ]

    def test_a_number_of_an_operator(self, session: Any, why: Any) -> None:
        factories.limit(concurrency=20, override={"concurrency": 1})
        use(1)
        assert "1 of 1 are in use" in why(factories.waiting_job())[1][0]

    def test_its_turn_has_not_come(self, session: Any, why: Any) -> None:
        factories.limit(concurrency=20)
        assert why(factories.waiting_job()) == (
            "limit",
            [
                "It waits for its turn at limit stripe: 0 of 20 are in use; it is the next one of its key."
            ],
        )
        factories.limit("fair", by_field="customerId", concurrency=None)
        assert why(factories.waiting_job(limit="fair"))[1] == [
            "It waits for its turn at limit fair: it is the next one of its key."
        ]

    def test_no_token_is_there(self, session: Any, why: Any) -> None:
        factories.limit(
            concurrency=None, rate_count=1, rate_seconds=10.0, burst=1, tat=factories._now(40)
        )
        reason, [sentence] = why(factories.waiting_job())
        assert reason == "rate"
        assert sentence.startswith(
            "It waits for a token of limit stripe (1 per 10 seconds): the next one is due in "
        )
        assert sentence[-5:] in ("40 s.", "39 s.", "38 s.")

    def test_a_burst_counts(self, session: Any, why: Any) -> None:
        factories.limit(
            concurrency=None, rate_count=1, rate_seconds=10.0, burst=3, tat=factories._now(15)
        )
        assert why(factories.waiting_job())[0] == "limit"

    def test_no_token_of_the_key_is_there(self, session: Any, why: Any) -> None:
        factories.limit(
            by_field="customerId", concurrency=None,
            key_rate_count=1, key_rate_seconds=60.0, key_burst=1,
        )  # fmt: skip
        own(session, tat=factories._now(40))
        reason, [sentence] = why(factories.waiting_job(key="42"))
        assert reason == "rate"
        assert sentence.startswith(
            "It waits for a token of limit stripe for customerId 42 (1 per 60 seconds): the next one is due in "
        )

    def test_the_limit_is_paused(self, session: Any, why: Any) -> None:
        factories.limit(paused_at=factories._now(-60), paused_by="ada")
        reason, sentences = why(factories.waiting_job())
        assert reason == "paused"
        assert sentences[0] == "Limit stripe was paused by ada. Resume it on the Limits page."

    def test_the_key_is_paused(self, session: Any, why: Any) -> None:
        factories.limit()
        own(session, paused_at=factories._now(-60), paused_by="ada")
        reason, sentences = why(factories.waiting_job(key="42"))
        assert reason == "paused"
        assert (
            sentences[0]
            == "Key 42 of limit stripe was paused by ada. Resume it on the page of the limit."
        )

    def test_a_handler_closed_it(self, session: Any, why: Any) -> None:
        factories.limit(blocked_until=factories._now(40))
        reason, sentences = why(factories.waiting_job())
        assert reason == "closed"
        assert sentences[0].startswith("Limit stripe is closed for ")

    def test_a_handler_closed_its_key(self, session: Any, why: Any) -> None:
        factories.limit(by_field="customerId")
        own(session, blocked_until=factories._now(40))
        reason, sentences = why(factories.waiting_job(key="42"))
        assert reason == "closed"
        assert sentences[0].startswith("customerId 42 of limit stripe is closed for ")

    def test_a_run_of_a_schedule_waits_for_the_one_before(self, session: Any, why: Any) -> None:
        use(1, key="nightly", limit="schedule")
        assert why(factories.waiting_job(limit="schedule", key="nightly", due_in=-60)) == (
            "limit",
            ["It waits until the run of schedule nightly that started before it has ended."],
        )
        assert why(factories.waiting_job(limit="schedule", key="nightly"))[1] == [
            "It waits until the run of schedule nightly that started before it has ended; 1 run of it is ahead."
        ]

    def test_other_jobs_wait_for_nothing_there(self, session: Any) -> None:
        factories.limit()
        for job in (
            factories.pending_job(),
            factories.pending_job(limit_name="stripe", limit_key=""),
            factories.scheduled_job(limit_name="stripe", limit_key="", hold=3),
        ):
            assert waiting.limit_wait(session, job) is None


def ids(session: Any, **filter: Any) -> list[Any]:
    return [job.id for job in listing.list_jobs(session, JobFilter(**filter), limit=50).items]


class TestLists:
    @pytest.fixture
    def jobs(self, session: Any) -> dict[str, Any]:
        factories.limit("stripe")
        factories.limit("smtp")
        jobs = {
            "a": factories.waiting_job(key="a"),
            "b": factories.waiting_job(key="b"),
            "smtp": factories.waiting_job(limit="smtp"),
            "admitted": factories.pending_job(limit_name="stripe", limit_key="a"),
            "done": factories.completed_job(limit_name="stripe", limit_key="a"),
            "free": factories.pending_job(),
        }
        return {name: job.id for name, job in jobs.items()}

    def test_by_limit_key_and_waiting(self, session: Any, jobs: dict[str, Any]) -> None:
        def these(*names: str) -> list[Any]:
            return [jobs[name] for name in jobs if name in names][::-1]

        assert ids(session, limit_name="stripe") == these("a", "b", "admitted", "done")
        assert ids(session, limit_name="stripe", limit_key="a") == these("a", "admitted", "done")
        assert ids(session, is_waiting=True) == these("a", "b", "smtp")
        assert ids(session, is_waiting=True, limit_name="stripe") == these("a", "b")
        assert ids(session, is_waiting=True, limit_name="stripe", limit_key="b") == these("b")
        assert ids(session, is_waiting=True, type="other") == []

    def test_many_that_wait_are_walked_in_pages(self, session: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr("app.jobs.listing.few.FEW", 3)
        factories.limit("stripe")
        waits = [factories.waiting_job(key=str(n % 2)).id for n in range(8)]
        factories.pending_job()
        filter = JobFilter(is_waiting=True, limit_name="stripe")
        first = listing.list_jobs(session, filter, limit=5)
        rest = listing.list_jobs(session, filter, limit=5, cursor=first.next_cursor)
        assert [job.id for job in (*first.items, *rest.items)] == waits[::-1]


def test_the_time_of_the_next_token_is_known(session: Any) -> None:
    factories.limit(
        concurrency=None, rate_count=1, rate_seconds=10.0, burst=2, tat=factories._now(40)
    )
    wait = waiting.limit_wait(session, factories.waiting_job())
    assert wait is not None
    assert wait.until is not None
    assert timedelta(seconds=25) < wait.until - wait.now <= timedelta(seconds=30)
