"""db.session belongs to the attempt: committed when the handler returns, rolled back when it raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.extensions import db
from app.jobs import enqueue, events
from app.worker.outbox import Outbox
from tests.support.racing import in_thread, race

CHILDREN = "SELECT id FROM jobs WHERE tags = '{child}'"


@pytest.fixture(autouse=True)
def orders(rows: Any) -> Iterator[None]:
    """A table of the application's own, with a constraint that is checked at commit only."""
    rows(
        "CREATE TABLE orders (n int, CONSTRAINT uq_orders UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)"
    )
    yield
    rows("DROP TABLE orders")


@pytest.fixture
def count(rows: Any) -> Callable[[], tuple[int, int]]:
    """Committed orders and committed children."""
    return lambda: (rows("SELECT count(*) AS n FROM orders")[0].n, len(rows(CHILDREN)))


def write(n: int = 1) -> UUID:
    """A row of the application and a child job, in one transaction."""
    db.session.execute(text("INSERT INTO orders VALUES (:n)"), {"n": n})
    return enqueue("act", tags=["child"])


def test_a_handler_that_returns_has_its_session_committed(
    run: Any, types: Any, count: Any, ready: Any
) -> None:
    types("writes")(lambda payload: str(write()))

    done = run("writes")

    assert done.status == "completed"
    assert count() == (1, 1)
    assert ready.pop(["default"], 10)[0] == [UUID(done.result).hex]  # published after the commit


def test_the_rows_are_committed_before_the_outcome_is_written(
    kernel: Any, enqueue: Any, types: Any, count: Any, monkeypatch: Any
) -> None:
    seen: list[tuple[int, int]] = []
    put = Outbox.put
    monkeypatch.setattr(Outbox, "put", lambda self, o, **kw: (seen.append(count()), put(self, o, **kw)))  # fmt: skip
    types("writes")(lambda payload: str(write()))
    enqueue("writes")

    in_thread(lambda: kernel.run(kernel.next()))

    assert seen == [(1, 1)]


@pytest.mark.parametrize(
    ("act", "status"),
    [
        ("raise", "pending"),
        ("permanent", "failed"),
        ("cancel", "cancelled"),
        ("snooze", "pending"),
        ("retry after", "pending"),
        ("exit", "pending"),
        ("interrupt", "pending"),
    ],
)
def test_a_handler_that_raises_has_its_session_rolled_back(
    run: Any, types: Any, count: Any, redis: Any, act: str, status: str
) -> None:
    @types("writes")
    def writes(payload: Any, ctx: Any) -> None:
        from tests.support.handlers import ACTS

        write()
        ACTS[act](payload, ctx)

    assert run("writes", {"seconds": 60}).status == status
    assert count() == (0, 0)


def test_an_attempt_that_is_timed_out_has_its_session_rolled_back(
    kernel: Any, enqueue: Any, types: Any, row: Any, count: Any
) -> None:
    is_over = threading.Event()

    @types("writes", timeout=0.2)
    def writes(payload: Any) -> None:
        write()
        until = time.monotonic() + 15
        while time.monotonic() < until:
            pass

    def tick() -> None:
        while not is_over.wait(0.005):
            kernel.runner.throw_timeouts()

    def attempt() -> None:
        try:
            kernel.run(kernel.next())
        finally:
            is_over.set()

    job_id = enqueue("writes")
    race(attempt, tick)

    assert "time limit" in row(job_id).last_error
    assert count() == (0, 0)


def test_what_a_handler_committed_itself_stays(run: Any, types: Any, count: Any) -> None:
    @types("writes")
    def writes(payload: Any) -> None:
        write(1)
        db.session.commit()
        write(2)
        raise ValueError("after the second")

    assert run("writes").status == "pending"
    assert count() == (1, 1)


def test_a_commit_that_fails_is_a_failed_attempt(
    run: Any, types: Any, count: Any, rows: Any, redis: Any
) -> None:
    @types("writes")
    def writes(payload: Any) -> str:
        write(7)
        write(7)
        return "done"

    job = run("writes")

    assert (job.status, job.attempts, job.result) == ("pending", 1, None)
    assert "uq_orders" in job.last_error
    assert [r.outcome for r in rows("SELECT outcome FROM job_attempts")] == ["failed"]
    assert count() == (0, 0)


def test_a_session_left_broken_by_the_handler_is_a_failed_attempt(
    run: Any, types: Any, count: Any
) -> None:
    @types("writes")
    def writes(payload: Any) -> str:
        write()
        try:
            db.session.execute(text("SELECT no_such_column"))
        except Exception:
            return "swallowed"
        return "unreachable"

    assert run("writes").status in ("pending", "completed")
    assert count() == (0, 0)


def test_a_subscriber_that_commits_does_not_commit_the_failed_handlers_rows(
    run: Any, types: Any, count: Any, monkeypatch: Any
) -> None:
    def hook(job: Any, error: BaseException) -> None:
        db.session.execute(text("INSERT INTO orders VALUES (99)"))
        db.session.commit()

    monkeypatch.setattr(events, "on_job_failed", [hook])

    @types("writes")
    def writes(payload: Any) -> None:
        write()
        raise ValueError("boom")

    run("writes")

    assert count() == (1, 0)  # the hook's


def test_the_next_job_of_the_thread_starts_with_a_clean_session(
    kernel: Any, enqueue: Any, types: Any, row: Any, count: Any
) -> None:
    types("leaves")(lambda payload: (write(), 1 / 0))
    types("writes")(lambda payload: (write(2), None)[1])
    first, second = enqueue("leaves"), enqueue("writes")
    jobs = [kernel.next(), kernel.next()]

    in_thread(lambda: [kernel.run(job) for job in jobs])

    assert [row(first).status, row(second).status] == ["pending", "completed"]
    assert count() == (1, 1)
