"""Jobs of several threads in one statement: combined, committed, published, each with its own result."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DataError, OperationalError, SQLAlchemyError

from app import config, create_app, database_errors
from app.api.resources.create_jobs import create_one
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.combiner import KEPT_CONNECTIONS, Combiner, WriterEnded, _Entry
from app.jobs.lifecycle import NewJob
from tests.support.pgbouncer import pgbouncer
from tests.support.proxy import Proxy
from tests.support.racing import in_thread, race
from tests.support.waiting import wait_until

READY = "{jobs}:ready:default"
MANY = 20


@pytest.fixture
def engine(session: Any) -> Any:
    return db.engine


@pytest.fixture
def combiner(app: Any, redis: Any) -> Combiner:
    found: Combiner = app.extensions["combiner"]
    return found


@pytest.fixture
def rows(engine: Any) -> Callable[..., Sequence[Any]]:
    def rows(statement: str) -> Sequence[Any]:
        with engine.begin() as connection:
            return connection.execute(text(statement)).all()  # type: ignore[no-any-return]

    return rows


@pytest.fixture
def inserts(engine: Any) -> Iterator[list[str]]:
    """The statements that inserted jobs from here on."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "insert_jobs_2" in statement:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def gate(database_url: str) -> Iterator[Callable[[], None]]:
    """Inserts wait until this is called."""
    connection = psycopg2.connect(database_url)
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE jobs IN SHARE MODE")
    yield connection.rollback
    connection.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


@pytest.fixture
def create(app: Any, threads: ThreadPoolExecutor) -> Callable[..., Future[Any]]:
    """``create(NewJob(…))``: what a POST does, in a thread of its own; (id, the job, whether it is new)."""

    def run(app: Any, new: NewJob) -> Any:
        with app.test_request_context("/api/jobs"):
            return create_one(new, idempotency_key=None)

    def create(new: NewJob | None = None, *, on: Any = app) -> Future[Any]:
        return threads.submit(run, on, new or NewJob("echo"))

    return create


@pytest.fixture
def behind_a_writer(
    create: Any, combiner: Combiner, gate: Any
) -> Callable[..., tuple[Future[Any], list[Future[Any]]]]:
    """One job whose INSERT waits at the gate, and ``new_jobs`` that wait for it, in their order."""

    def start(
        new_jobs: Sequence[NewJob], *, of: Combiner = combiner, **more: Any
    ) -> tuple[Future[Any], list[Future[Any]]]:
        first = create(**more)
        wait_until(lambda: of._is_writing)
        others = []
        for new in new_jobs:
            others.append(create(new, **more))
            wait_until(lambda: len(of._waiting) == len(others))
        return first, others

    return start


def results(futures: Sequence[Future[Any]]) -> list[Any]:
    return [future.result(20) for future in futures]


def test_what_arrives_while_one_writes_is_one_statement_and_published_in_order(
    behind_a_writer, gate, inserts, redis, rows
):
    first, others = behind_a_writer([NewJob("echo", {"n": n}) for n in range(MANY)])
    gate()
    assert first.result(20)[2]
    created = results(others)

    assert len(inserts) == 2
    assert [job["payload"] for _, job, is_new in created if is_new] == [
        {"n": n} for n in range(MANY)
    ]
    ids = [job_id.hex.encode() for job_id, *_ in created]
    assert redis.zrange(READY, 1, -1) == ids
    stored = rows("SELECT id, (payload->>'n')::int AS n FROM jobs ORDER BY id OFFSET 1")
    assert [(row.id.hex.encode(), row.n) for row in stored] == list(
        zip(ids, range(MANY), strict=True)
    )


def test_a_quiet_process_writes_each_job_at_once(create, inserts, combiner):
    for n in range(3):
        assert create().result(20)[2]
        assert len(inserts) == n + 1
    assert not combiner._is_writing


def test_batches_are_bounded(behind_a_writer, gate, inserts, monkeypatch):
    monkeypatch.setattr("app.jobs.combiner.MAX_BATCH", 5)
    first, others = behind_a_writer([NewJob("echo")] * MANY)
    gate()
    results([first, *others])
    assert len(inserts) == 1 + MANY / 5


def test_large_jobs_are_not_collected_without_bound(behind_a_writer, gate, inserts, monkeypatch):
    monkeypatch.setattr("app.jobs.combiner.MAX_BATCH_CHARACTERS", 10_000)
    first, others = behind_a_writer([NewJob("echo", {"text": "x" * 4_000})] * 9)
    gate()
    results([first, *others])
    assert len(inserts) == 1 + 9 / 3


def test_a_thread_that_waits_holds_no_connection(behind_a_writer, gate, engine):
    checked_out = engine.pool.checkedout()
    first, others = behind_a_writer([NewJob("echo")] * MANY)
    assert engine.pool.checkedout() == checked_out + 1
    gate()
    results([first, *others])
    assert engine.pool.checkedout() == checked_out


def test_one_bad_job_fails_alone(behind_a_writer, gate, rows):
    new_jobs = [NewJob("echo", {"n": n}) for n in range(MANY)]
    new_jobs[7] = NewJob("echo", {"text": "a\0b"})  # validation refuses it; this is the next line
    first, others = behind_a_writer(new_jobs)
    gate()
    bad = others.pop(7)
    assert all(is_new for *_, is_new in results([first, *others]))
    with pytest.raises(DataError) as error:
        bad.result(20)
    assert isinstance(database_errors.meaning(error.value), database_errors.ValueRefused)
    assert rows("SELECT count(*) AS n FROM jobs")[0].n == MANY


def test_of_two_jobs_with_a_unique_key_the_second_is_answered_with_the_first(
    behind_a_writer, gate, inserts, rows
):
    key = {"unique_key": "order-1"}
    _, others = behind_a_writer(
        [NewJob("echo", {"n": 1}, **key), NewJob("echo"), NewJob("echo", {"n": 2}, **key)]
    )
    gate()
    one, plain, two = results(others)
    assert (one[2], plain[2], two[2]) == (True, True, False)
    assert two[0] == one[0]
    assert two[1].payload == {"n": 1}
    assert len(inserts) == 2
    assert rows("SELECT count(*) AS n FROM jobs")[0].n == 3


def test_a_unique_key_held_by_an_open_transaction_delays_its_own_job_only(
    create, combiner, session, inserts
):
    live = lifecycle.enqueue(session, [NewJob("echo", unique_key="held")])[0]  # not committed yet
    inserts.clear()
    with combiner._lock:
        combiner._is_writing = True
    held = create(NewJob("echo", unique_key="held"))
    wait_until(lambda: len(combiner._waiting) == 1)
    others = [create() for _ in range(3)]
    wait_until(lambda: len(combiner._waiting) == 4)
    combiner._pass_on()
    assert all(is_new for *_, is_new in results(others))
    assert create().result(20)[2]
    assert not held.done()
    # The batch gave up, and its plain jobs were written together; the held job and the last one are alone.
    wait_until(lambda: len(inserts) == 4)
    session.commit()
    assert held.result(20)[0] == live.id


def test_processes_that_insert_the_same_keys_in_another_order_do_not_deadlock(app, redis, engine):
    with app.app_context():
        publish = app.extensions["publisher"].publish
        for n in range(20):
            jobs = [lifecycle.prepare(NewJob("echo", unique_key=f"{n}-{key}")) for key in range(20)]
            again = [lifecycle.prepare(job.new) for job in reversed(jobs)]

            def write(batch: Any) -> int:
                entries = _entries(batch)
                Combiner(engine, publish)._write(entries)
                return sum(entry.row is not None for entry in entries)

            counts = race(lambda jobs=jobs: write(jobs), lambda jobs=again: write(jobs))
            assert sum(counts) == 20


def _entries(jobs: Sequence[Any]) -> list[Any]:
    return [_Entry(job) for job in jobs]


def test_a_writer_that_ends_releases_everybody_and_the_next_one_writes(
    behind_a_writer, gate, create, combiner, engine, rows
):
    def end(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        raise SystemExit(1)

    first, others = behind_a_writer([NewJob("echo")] * 5)
    event.listen(engine, "before_cursor_execute", end)
    try:
        gate()
        assert first.result(20)[2]
        with pytest.raises(SystemExit):
            others[0].result(20)
        for other in others[1:]:
            with pytest.raises(WriterEnded):
                other.result(20)
    finally:
        event.remove(engine, "before_cursor_execute", end)
    assert create().result(20)[2]
    assert rows("SELECT count(*) AS n FROM jobs")[0].n == 2


def test_jobs_of_a_writer_that_ends_after_its_commit_are_created(
    app, session, redis, threads, rows
):
    """Whatever happens later: what is committed is answered so."""

    def end(refs: Any) -> None:
        raise SystemExit(1)

    combiner = Combiner(db.engine, end)
    with combiner._lock:
        combiner._is_writing = True
    jobs = [lifecycle.prepare(NewJob("echo")) for _ in range(3)]
    futures = []
    for job in jobs:
        futures.append(threads.submit(combiner.enqueue, job))
        wait_until(lambda: len(combiner._waiting) == len(futures))
    combiner._pass_on()
    with pytest.raises(SystemExit):
        futures[0].result(20)
    assert [future.result(20).is_new for future in futures[1:]] == [True, True]
    assert rows("SELECT count(*) AS n FROM jobs")[0].n == 3
    assert not combiner._is_writing


class Interrupted(BaseException):
    pass


def test_a_thread_that_stops_waiting_leaves_the_others_to_write(
    app, behind_a_writer, gate, combiner, create, rows
):
    """The main thread gets what a signal handler raises, for example in a server whose request ran out of time."""

    def interrupt(*_: Any) -> None:
        raise Interrupted

    first, (second,) = behind_a_writer([NewJob("echo")])
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        main = threading.get_ident()

        def stop_waiting() -> None:
            wait_until(lambda: len(combiner._waiting) == 2)
            signal.pthread_kill(main, signal.SIGUSR1)

        interrupter = threading.Thread(target=stop_waiting)
        interrupter.start()
        with app.test_request_context("/api/jobs"), pytest.raises(Interrupted):
            create_one(NewJob("echo"), idempotency_key=None)
        interrupter.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(combiner._waiting) == 1
    gate()
    results([first, second, create()])
    assert rows("SELECT count(*) AS n FROM jobs")[0].n == 3


def test_a_writer_to_be_that_leaves_passes_its_turn_on(app, combiner, session, redis):
    entry, *_ = _entries([lifecycle.prepare(NewJob("echo"))])
    with combiner._lock:
        combiner._is_writing = True
        combiner._waiting.append(entry)
    combiner._pass_on()
    combiner._leave(entry)
    assert not combiner._is_writing


@pytest.fixture
def proxied(test_env: dict[str, str], redis: Any) -> Iterator[tuple[Any, Proxy]]:
    """An application whose connections to PostgreSQL can be cut."""
    proxy = Proxy(test_env["DATABASE_URL"])
    yield create_app(config.load({**test_env, "DATABASE_URL": proxy.url})), proxy
    proxy.close()


def test_in_an_outage_all_hear_of_it_and_the_next_job_after_it_is_created(
    proxied, behind_a_writer, gate, create, rows
):
    app, proxy = proxied
    combiner = app.extensions["combiner"]
    first, others = behind_a_writer([NewJob("echo")] * 5, of=combiner, on=app)
    proxy.cut()
    for future in (first, *others):
        with pytest.raises(OperationalError) as error:
            future.result(20)
        assert isinstance(database_errors.meaning(error.value), database_errors.DatabaseUnavailable)
    gate()
    proxy.mend()
    assert create(on=app).result(20)[2]


def test_who_waits_while_no_connection_can_be_made_does_not_try_again(
    test_env, redis, create, database_url
):
    """Each of them would wait for the same time-out, one after the other."""
    attempts: list[int] = []
    reached, go_on = threading.Event(), threading.Event()
    app = create_app(config.load({**test_env, "DATABASE_URL": database_url}))
    with app.app_context():

        def refuse(*_: Any) -> None:
            attempts.append(1)
            reached.set()
            go_on.wait(20)
            raise psycopg2.OperationalError("timeout expired")

        event.listen(db.engine, "do_connect", refuse)
    combiner = app.extensions["combiner"]
    first = create(on=app)
    assert reached.wait(20)
    others = [create(on=app) for _ in range(5)]
    wait_until(lambda: len(combiner._waiting) == 5)
    go_on.set()
    for future in (first, *others):
        with pytest.raises(SQLAlchemyError):
            future.result(20)
    assert len(attempts) == 1


def test_who_waits_while_the_plain_jobs_of_a_batch_find_no_connection_is_released(
    test_env, redis, create, session
):
    """The batch fails for a held key, and its plain jobs can't be written because connecting fails."""
    lifecycle.enqueue(session, [NewJob("echo", unique_key="held")])
    app = create_app(config.load(test_env))
    combiner = app.extensions["combiner"]
    refused, go_on = threading.Event(), threading.Event()

    def close(context: Any) -> None:
        context.is_disconnect = True  # the next statement needs a new connection
        event.listen(engine, "do_connect", refuse)

    def refuse(*_: Any) -> None:
        refused.set()
        go_on.wait(20)
        raise psycopg2.OperationalError("timeout expired")

    with app.app_context():
        engine = db.engine
    event.listen(engine, "handle_error", close, once=True)
    with combiner._lock:
        combiner._is_writing = True
    batch = [create(NewJob("echo", unique_key="held"), on=app), create(on=app)]
    wait_until(lambda: len(combiner._waiting) == 2)
    combiner._pass_on()
    assert refused.wait(20)
    later = create(on=app)
    wait_until(lambda: len(combiner._waiting) == 1)
    go_on.set()
    for future in (*batch, later):
        with pytest.raises(OperationalError):
            future.result(20)


def test_keys_held_by_an_open_transaction_leave_connections_to_other_jobs(
    test_env, redis, create, session
):
    lifecycle.enqueue(session, [NewJob("echo", unique_key="held")])
    app = create_app(config.load({**test_env, "DATABASE_POOL_SIZE": "3"}))
    held = [create(NewJob("echo", unique_key="held"), on=app) for _ in range(6)]
    with app.app_context():
        pool = db.engine.pool
    combiner = app.extensions["combiner"]
    wait_until(lambda: pool.checkedout() and not combiner._is_writing and not combiner._waiting)
    assert all(is_new for *_, is_new in results([create(on=app) for _ in range(5)]))
    assert not any(future.done() for future in held)
    # Until the last of them has tried its batch, another one is in use.
    wait_until(lambda: pool.checkedout() == pool.size() - KEPT_CONNECTIONS)
    session.commit()
    assert len({job_id for job_id, *_ in results(held)}) == 1


def test_the_child_of_a_fork_writes_its_own_jobs(app, behind_a_writer, gate, combiner, engine):
    first, others = behind_a_writer([NewJob("echo")] * 3)

    def child() -> int:
        pid = os.fork()
        if pid == 0:
            engine.dispose(close=False)
            is_clean = not combiner._is_writing and not combiner._waiting
            gate_is_not_ours = combiner._lock.acquire(blocking=False)
            os._exit(0 if is_clean and gate_is_not_ours else 1)
        return os.waitpid(pid, 0)[1]

    with combiner._lock:  # held by another thread at the moment of the fork
        assert in_thread(child) == 0
    gate()
    results([first, *others])


def test_behind_a_pooler_a_job_is_committed_and_published(test_env, database_url, redis, rows):
    with pgbouncer(database_url, size=2) as url:
        app = create_app(config.load({**test_env, "DATABASE_URL": url}))
        client = app.test_client()
        created = client.post("/api/jobs", json={"type": "echo", "uniqueKey": "k"})
        again = client.post("/api/jobs", json={"type": "echo", "uniqueKey": "k"})
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
    assert (created.status_code, again.status_code) == (201, 200)
    assert created.json["id"] == again.json["id"]
    assert redis.zcard(READY) == 1


def test_behind_a_pooler_a_job_that_is_written_alone_is_published(
    test_env, database_url, redis, session, create, inserts
):
    lifecycle.enqueue(session, [NewJob("echo", unique_key="held")])
    with pgbouncer(database_url, size=2) as url:
        app = create_app(config.load({**test_env, "DATABASE_URL": url}))
        app.test_client().get(
            "/api/jobs/stats"
        )  # statements have a limit from the first request on
        combiner = app.extensions["combiner"]
        held = create(NewJob("echo", unique_key="held"), on=app)
        wait_until(lambda: combiner._is_writing)
        wait_until(lambda: not combiner._is_writing)
        session.rollback()
        job_id, _, is_new = held.result(20)
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
    assert is_new
    assert redis.zrange(READY, 0, -1) == [job_id.hex.encode()]
