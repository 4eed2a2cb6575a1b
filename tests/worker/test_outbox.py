"""Outcomes on their way to PostgreSQL: combined, durable, and fenced."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from redis import Redis
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from app.broker.keys import Keys
from app.broker.publisher import Publisher
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.ending import AttemptError, Ending
from app.worker.inbox import Claimed
from app.worker.outbox import SECOND_WRITER_BATCH, Outbox
from tests.support.proxy import Proxy
from tests.support.racing import race
from tests.support.waiting import wait_until

#: JSON texts of Python that PostgreSQL's jsonb refuses.
KEYS = Keys()


UNSTORABLE = {
    "a NUL": '{"text":"a\\u0000b"}',
    "a lone surrogate": '"\\ud800"',
    "a huge number": "1e400000",
    "not JSON at all": '{"a":',
    "a NUL in a key": '{"\\u0000":1}',
}


def completed(job: Claimed, result: str = "null") -> Ending:
    return Ending(job, "complete", result=result)


def failed(job: Claimed, **fields: Any) -> Ending:
    return Ending(
        job,
        lifecycle.RETRY_LATER,
        **{"outcome": "failed", "error": AttemptError("ValueError: boom"), "delay": 60.0, **fields},
    )


@pytest.fixture
def statements(engine: Any) -> Any:
    """The completions sent from here on."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "complete_jobs_2" in statement:
            seen.append(statement)

    event.listen(db.engine, "after_cursor_execute", note)
    yield seen
    event.remove(db.engine, "after_cursor_execute", note)


def test_outcomes_of_all_kinds_are_written_together(
    outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, rows: Any, redis: Redis
) -> None:
    done, bad, worst, later, stopped, unstarted = claim(*enqueue_many(6))
    redis.flushdb()

    outbox.put([
        completed(done, '{"sum":3}'),
        failed(bad),
        Ending(worst, lifecycle.BURY, outcome="failed", error=AttemptError("the end", traceback="Trace")),
        Ending(later, lifecycle.SNOOZE, outcome="snoozed", delay=60.0),
        Ending(stopped, lifecycle.CANCEL, outcome="cancelled", error=AttemptError("nothing to do")),
        Ending(unstarted, lifecycle.RELEASE),
    ])  # fmt: skip

    assert [row(j.id).status for j in (done, bad, worst, later, stopped, unstarted)] == [
        "completed", "pending", "failed", "pending", "cancelled", "pending",
    ]  # fmt: skip
    assert row(done.id).result == {"sum": 3}
    assert [row(j.id).attempts for j in (bad, later, unstarted)] == [1, 0, 0]
    assert [r.reason for r in rows("SELECT reason FROM dead_letters")] == ["the end"]
    found = rows("SELECT outcome FROM job_attempts ORDER BY outcome")
    assert [r.outcome for r in found] == ["cancelled", "failed", "failed", "snoozed"]
    assert redis.zrange(KEYS.ready("default"), 0, -1) == [unstarted.id.hex.encode()]
    assert set(redis.zrange(KEYS.delayed, 0, -1)) == {j.id.hex.encode() for j in (bad, later)}
    assert outbox.completed == 1
    assert outbox.refused == 0


def test_a_dead_letter_is_mirrored_at_the_next_tick(
    engine: Any, app: Any, claim: Any, enqueue_many: Any
) -> None:
    hurried: list[bool] = []
    outbox = Outbox(
        engine=engine,
        publish=app.extensions["publisher"].publish,
        buried=lambda: hurried.append(True),
    )
    first, second = claim(*enqueue_many(2))

    outbox.put([completed(first)])
    assert hurried == []
    outbox.put([Ending(second, lifecycle.BURY, outcome="failed", error=AttemptError("x"))])
    assert hurried == [True]


def test_endings_of_concurrent_threads_are_not_lost(
    outbox: Outbox, claim: Any, enqueue_many: Any, rows: Any
) -> None:
    jobs = claim(*enqueue_many(200))

    def put(some: list[Claimed]) -> None:
        for n, job in enumerate(some):
            outbox.put([failed(job) if n % 10 == 0 else completed(job)])

    race(*[lambda some=jobs[n::5]: put(some) for n in range(5)])

    assert outbox.drain(5)
    counts = {r.status: r.n for r in rows("SELECT status, count(*) AS n FROM jobs GROUP BY 1")}
    assert counts == {"completed": 180, "pending": 20}
    assert outbox.completed == 180
    assert outbox.refused == 0


def test_a_batch_of_both_kinds_holds_no_lock_while_it_waits(
    outbox: Outbox, engine: Any, claim: Any, enqueue_many: Any, row: Any
) -> None:
    """Else it holds the job that completed and waits for the one that failed, and a person's cancel of
    both, which locks in id order, waits for the first: a deadlock."""
    low, high = sorted(claim(*enqueue_many(2)), key=lambda job: job.id)
    with engine.connect() as person:
        person.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": low.id})
        writer = threading.Thread(target=outbox.put, args=[[completed(high), failed(low)]])
        writer.start()
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                       " AND datname = current_database()")  # fmt: skip
        with engine.connect() as observer:
            wait_until(lambda: observer.execute(waiting).scalar() == 1)
        person.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE NOWAIT"), {"id": high.id})
        person.rollback()
    writer.join()
    assert [row(job.id).status for job in (high, low)] == ["completed", "pending"]


def test_endings_added_during_a_write_are_written_in_one_batch(
    outbox: Outbox, claim: Any, enqueue_many: Any, rows: Any, statements: list[str]
) -> None:
    blocked, *others = claim(*enqueue_many(50))
    with db.engine.begin() as other:
        other.exec_driver_sql("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", (str(blocked.id),))
        writer = threading.Thread(target=outbox.put, args=([completed(blocked)],))
        writer.start()
        wait_until(lambda: outbox._writing)
        for job in others:
            outbox.put([completed(job)])  # returns at once: somebody is writing
        assert len(outbox.held()) == 50
    writer.join(10)

    assert len(statements) == 2
    assert rows("SELECT count(*) AS n FROM jobs WHERE status = 'completed'")[0].n == 50


def test_in_a_backlog_a_second_thread_writes_beside_the_first(
    outbox: Outbox, claim: Any, enqueue_many: Any, rows: Any
) -> None:
    blocked, *others = claim(*enqueue_many(SECOND_WRITER_BATCH + 50))
    count = "SELECT count(*) AS n FROM jobs WHERE status = 'completed'"
    with db.engine.begin() as other:
        other.exec_driver_sql("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", (str(blocked.id),))
        writer = threading.Thread(target=outbox.put, args=([completed(blocked)],))
        writer.start()
        wait_until(lambda: outbox._writing)
        for job in others[: SECOND_WRITER_BATCH - 1]:
            outbox.put([completed(job)])
        assert rows(count)[0].n == 0  # too few for a second thread
        outbox.put([completed(job) for job in others[SECOND_WRITER_BATCH - 1 :]])
        assert rows(count)[0].n == len(others)  # this thread has written them
        assert [job.id for job in outbox.held()] == [blocked.id]  # its lease is extended
        assert not outbox.drain(0.01)
    writer.join(10)

    assert rows(count)[0].n == outbox.completed == 1 + len(others)
    assert outbox.drain(1)


def test_two_writers_and_a_person_never_deadlock(
    app: Any, outbox: Outbox, claim: Any, enqueue_many: Any, rows: Any
) -> None:
    jobs = claim(*enqueue_many(1200))
    parts = [jobs[n::4] for n in range(4)]

    def put(part: list[Claimed]) -> None:
        for start in range(0, len(part), 25):
            outbox.put([failed(j) if n % 5 == 0 else completed(j) for n, j in enumerate(part[start : start + 25])])  # fmt: skip

    def cancel() -> None:
        for start in range(0, len(jobs), 100):
            with app.app_context(), Session(db.engine) as session, session.begin():
                lifecycle.cancel(session, [j.id for j in jobs[start : start + 100]][::-1], by="ada")

    race(*[lambda p=part: put(p) for part in parts], cancel)
    assert outbox.drain(10)
    statuses = {r.status: r.n for r in rows("SELECT status, count(*) AS n FROM jobs GROUP BY 1")}
    assert statuses["completed"] == outbox.completed == 960
    assert statuses.get("pending", 0) + statuses.get("cancelled", 0) == 240
    assert outbox.refused == 0


@pytest.mark.parametrize("result", UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_a_result_that_cannot_be_stored_is_left_out_and_affects_no_other(
    outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, rows: Any, result: str
) -> None:
    jobs = claim(*enqueue_many(9))
    bad = jobs[4]

    outbox.put([completed(j, result if j is bad else '"fine"') for j in jobs])

    for job in jobs:
        if job is not bad:
            assert (row(job.id).status, row(job.id).result) == ("completed", "fine")
    assert row(bad.id).status == "completed"
    assert "PostgreSQL can't store" in row(bad.id).result
    assert rows("SELECT * FROM job_attempts") == []
    [line] = rows("SELECT * FROM job_log_lines")
    assert (line.job_id, line.level, line.message) == (bad.id, "warning", row(bad.id).result)
    assert outbox.completed == 9


def test_an_error_that_cannot_be_stored_leaves_the_end_of_its_attempt_as_it_was(
    outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, rows: Any
) -> None:
    snoozed, buried = claim(*enqueue_many(2))

    outbox.put([
        Ending(snoozed, lifecycle.SNOOZE, outcome="snoozed", error=AttemptError("a\0b"), delay=60.0),
        Ending(buried, lifecycle.BURY, outcome="failed", error=AttemptError("fine", "\ud800")),
    ])  # fmt: skip

    assert (row(snoozed.id).status, row(snoozed.id).attempts) == ("pending", 0)
    assert row(buried.id).status == "failed"
    assert "PostgreSQL can't store" in row(buried.id).last_error


def test_an_outcome_that_cannot_be_sent_is_stripped_and_affects_no_other(
    outbox: Outbox, claim: Any, enqueue_many: Any, row: Any
) -> None:
    jobs = claim(*enqueue_many(3))

    outbox.put([completed(jobs[0]), Ending(jobs[1], "complete", progress={"at": object()}),  # type: ignore[dict-item]
                completed(jobs[2])])  # fmt: skip

    assert [row(job.id).status for job in jobs] == ["completed"] * 3


def test_several_bad_results_are_all_found(
    outbox: Outbox, claim: Any, enqueue_many: Any, rows: Any
) -> None:
    jobs = claim(*enqueue_many(20))

    outbox.put([completed(j, UNSTORABLE["a NUL"] if n % 5 == 0 else "1") for n, j in enumerate(jobs)])  # fmt: skip

    counts = {r.status: r.n for r in rows("SELECT status, count(*) AS n FROM jobs GROUP BY 1")}
    assert counts == {"completed": 20}
    assert outbox.completed == 20


def test_an_outcome_that_cannot_be_stored_at_all_does_not_stop_the_writer(
    outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, caplog: Any
) -> None:
    """No code of ours makes one; its lease runs out, and rescue finds it."""
    bad, good = claim(*enqueue_many(2))

    outbox.put([
        failed(bad, outcome="no such outcome"),
        completed(good),
    ])  # fmt: skip

    assert row(bad.id).status == "processing"
    assert row(good.id).status == "completed"
    assert "can't be stored at all" in caplog.text


class TestFence:
    def test_an_outcome_of_a_rescued_attempt_is_refused_counted_and_logged(
        self, outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, rows: Any, caplog: Any
    ) -> None:
        zombie, fine = claim(*enqueue_many(2))
        rows("UPDATE jobs SET leased_until = now() - interval '1 s' WHERE id = :i", i=zombie.id)
        with db.engine.begin() as connection:
            assert len(lifecycle.rescue(connection)) == 1
        before = row(zombie.id)

        with caplog.at_level(logging.WARNING, "app"):
            outbox.put([completed(zombie), completed(fine)])

        assert row(zombie.id) == before
        assert row(fine.id).status == "completed"
        assert outbox.refused == 1
        assert str(zombie.id) in caplog.text
        assert str(fine.id) not in caplog.text

    def test_an_outcome_of_another_lease_is_refused(
        self, outbox: Outbox, claim: Any, enqueue: Any, row: Any
    ) -> None:
        [job] = claim(enqueue())
        job.token = uuid4()

        outbox.put([failed(job)])

        assert row(job.id).status == "processing"
        assert outbox.refused == 1

    def test_an_expired_lease_alone_refuses_nothing(
        self, outbox: Outbox, claim: Any, enqueue: Any, rows: Any, row: Any
    ) -> None:
        [job] = claim(enqueue())
        rows("UPDATE jobs SET leased_until = now() - interval '1 h'")

        outbox.put([completed(job)])

        assert row(job.id).status == "completed"

    def test_completing_wins_over_a_cancel_request_and_failing_does_not(
        self, outbox: Outbox, claim: Any, enqueue_many: Any, session: Any, row: Any
    ) -> None:
        one, two = claim(*enqueue_many(2))
        lifecycle.cancel(session, [one.id, two.id], by="test")
        session.commit()

        outbox.put([completed(one), failed(two)])

        assert row(one.id).status == "completed"
        assert row(two.id).status == "cancelled"


class TestOutage:
    @pytest.fixture
    def outbox(self, cut_engine: Any, app: Any) -> Outbox:
        return Outbox(
            engine=cut_engine, publish=app.extensions["publisher"].publish, buried=lambda: None
        )

    def test_outcomes_are_kept_and_written_when_the_database_is_back(
        self, outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, database_proxy: Proxy
    ) -> None:
        jobs = claim(*enqueue_many(3))
        outbox.put([completed(jobs[0])])
        database_proxy.cut()
        writer = threading.Thread(target=outbox.put, args=([completed(jobs[1])],), daemon=True)
        writer.start()
        wait_until(outbox.held)
        outbox.put([failed(jobs[2])])
        # Their leases must live on.
        assert {j.id for j in outbox.held()} == {jobs[1].id, jobs[2].id}

        database_proxy.mend()

        assert outbox.drain(10)
        assert [row(j.id).status for j in jobs] == ["completed", "completed", "pending"]
        assert outbox.held() == []
        assert outbox.refused == 0

    def test_one_thread_waits_for_the_database_and_no_second_one(
        self, outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, database_proxy: Proxy
    ) -> None:
        first, *others = claim(*enqueue_many(SECOND_WRITER_BATCH + 1))
        database_proxy.cut()
        writer = threading.Thread(target=outbox.put, args=([completed(first)],), daemon=True)
        writer.start()
        wait_until(lambda: outbox._is_failing)

        outbox.put([completed(job) for job in others])  # returns at once

        assert len(outbox.held()) == 1 + len(others)
        database_proxy.mend()
        assert outbox.drain(10)
        assert row(others[-1].id).status == "completed"

    def test_an_outcome_committed_before_the_connection_broke_is_not_refused(
        self, outbox: Outbox, claim: Any, enqueue: Any, row: Any, cut_engine: Any,
        database_proxy: Proxy, caplog: Any,
    ) -> None:  # fmt: skip
        """The answer is lost, not the commit: it is written again, and that is no news."""
        [job] = claim(enqueue())
        cuts: list[bool] = []

        def cut_once(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if not cuts and "complete_jobs_2" in statement:
                cuts.append(True)
                database_proxy.cut()
                database_proxy.mend()
                raise _lost(connection)

        event.listen(cut_engine, "after_cursor_execute", cut_once)

        outbox.put([completed(job)])

        assert cuts
        assert row(job.id).status == "completed"
        assert outbox.refused == 0
        assert "refused" not in caplog.text

    def test_it_gives_up_when_the_process_must_end(
        self, outbox: Outbox, claim: Any, enqueue: Any, row: Any, database_proxy: Proxy
    ) -> None:
        [job] = claim(enqueue())
        database_proxy.cut()
        writer = threading.Thread(target=outbox.put, args=([completed(job)],), daemon=True)
        writer.start()
        wait_until(outbox.held)

        assert not outbox.drain(0.2)
        writer.join(10)

        assert not writer.is_alive()
        assert row(job.id).status == "processing"

    def test_outcomes_are_stored_while_redis_is_unavailable(
        self, engine: Any, app: Any, settings: Any, claim: Any, enqueue: Any, row: Any,
        redis_proxy: Proxy,
    ) -> None:  # fmt: skip
        publisher = Publisher(redis_proxy.url, settings.redis_prefix)
        outbox = Outbox(engine=engine, publish=publisher.publish, buried=lambda: None)
        [job] = claim(enqueue())
        redis_proxy.cut()

        outbox.put([failed(job)])

        assert row(job.id).status == "pending"


def _lost(connection: Any) -> Exception:
    connection.invalidate()
    return psycopg2.OperationalError("server closed the connection unexpectedly")


class TestLogLines:
    def put(self, engine: Any, job: Claimed, first: int, count: int, most: int = 10) -> None:
        box = Outbox(
            engine=engine, publish=lambda refs: True, buried=lambda: None, max_log_lines=most
        )
        at = datetime.now(UTC)
        lines = [(at, "info", f"line {n}") for n in range(first, first + count)]
        box.put([Ending(job, lifecycle.SNOOZE, outcome="snoozed", delay=-1.0, lines=lines)])

    @pytest.mark.parametrize(
        ("batches", "kept"),
        [([3, 3], range(6)), ([10], range(10)), ([6, 6, 6], range(8, 18)), ([25], range(15, 25)), ([10, 25], range(25, 35))],
    )  # fmt: skip
    def test_a_job_keeps_its_newest_lines_whatever_attempt_wrote_them(
        self, engine: Any, claim: Any, enqueue: Any, rows: Any, batches: list[int], kept: range
    ) -> None:
        job_id, other_id = enqueue(), enqueue()
        [other] = claim(other_id)
        self.put(engine, other, 900, 5)
        first = 0
        for count in batches:
            [job] = claim(job_id)
            self.put(engine, job, first, count)
            first += count

        found = rows("SELECT message FROM job_log_lines WHERE job_id = :i ORDER BY id", i=job_id)
        assert [line.message for line in found] == [f"line {n}" for n in kept]
        assert rows("SELECT count(*) AS n FROM job_log_lines")[0].n == 5 + len(kept)

    def test_a_limit_of_zero_keeps_no_lines(
        self, engine: Any, claim: Any, enqueue: Any, rows: Any
    ) -> None:
        self.put(engine, claim(enqueue())[0], 0, 5, most=0)

        assert rows("SELECT * FROM job_log_lines") == []


def test_endings_of_a_process_with_more_jobs_are_written_together(
    outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, statements: list[str]
) -> None:
    ids = enqueue_many(3)
    first, second, last = claim(*ids)

    outbox.put([completed(first)], more_follow=True)
    outbox.put([completed(second)], more_follow=True)
    assert statements == []
    assert [job.id for job in outbox.held()] == ids[:2]
    outbox.put([completed(last)])

    assert len(statements) == 1
    assert [row(i).status for i in ids] == ["completed"] * 3


def test_an_ending_waits_for_others_only_for_a_moment(
    outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, monkeypatch: Any
) -> None:
    first, second = claim(*enqueue_many(2))
    outbox.put([completed(first)], more_follow=True)
    monkeypatch.setattr("app.worker.outbox.LINGER_SECONDS", 0.0)

    outbox.put([completed(second)], more_follow=True)

    assert row(first.id).status == row(second.id).status == "completed"


def test_an_ending_that_no_other_follows_is_written_at_the_next_tick(
    outbox: Outbox, claim: Any, enqueue: Any, row: Any
) -> None:
    [job] = claim(enqueue())
    outbox.put([completed(job)], more_follow=True)
    assert row(job.id).status == "processing"

    outbox.write_late()

    assert outbox.drain(10)
    assert row(job.id).status == "completed"


def test_a_stop_writes_an_ending_that_waits_for_others(
    outbox: Outbox, claim: Any, enqueue: Any, row: Any
) -> None:
    [job] = claim(enqueue())
    outbox.put([completed(job)], more_follow=True)

    assert outbox.drain(10)

    assert row(job.id).status == "completed"


def test_an_ending_is_written_if_no_thread_can_be_started(
    outbox: Outbox, claim: Any, enqueue_many: Any, row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's limit of processes counts threads."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    unstarted, done = claim(*enqueue_many(2))
    monkeypatch.setattr("app.worker.outbox.Thread.start", refuse)
    outbox.put([Ending(unstarted, lifecycle.RELEASE)], is_in_background=True)
    outbox.put([completed(done)])
    assert (row(unstarted.id).status, row(done.id).status) == ("pending", "completed")
