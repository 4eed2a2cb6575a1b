"""What a handler does to its session, or to all connections of its pool, reaches no statement of the kernel."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import text

from app import database
from app.extensions import db
from app.worker.kernel import Kernel
from tests.support.racing import in_thread

POISONS = {
    "search path": "SET search_path TO nowhere",
    "role": "SET ROLE pg_monitor",
    "session user": "SET SESSION AUTHORIZATION pg_monitor",
    "read only": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "isolation": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "statement timeout": "SET statement_timeout = '1ms'",
    "time zone": "SET timezone = 'Asia/Kathmandu'",
    "date style": "SET datestyle = 'German'",
    "temporary table": "CREATE TEMPORARY TABLE jobs (id int)",
    "advisory lock": "SELECT pg_advisory_lock(4711)",
    "listen": "LISTEN news",
}
STATE = text("""
SELECT current_setting('search_path'), current_user::text, session_user::text,
       current_setting('default_transaction_read_only'), current_setting('transaction_isolation'),
       current_setting('statement_timeout'), current_setting('timezone'), current_setting('datestyle'),
       to_regclass('pg_temp.jobs')::text,
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
       (SELECT count(*) FROM pg_listening_channels())
""")


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
def test_neither_the_kernel_nor_the_next_handler_is_affected(
    kernel: Kernel, enqueue: Any, row: Any, types: Any, engine: Any, poison: str
) -> None:
    states: list[Any] = []

    @types("poisons")
    def poisons(payload: Any) -> None:
        db.session.execute(text(poison))
        db.session.commit()

    @types("looks")
    def looks(payload: Any) -> None:
        # Every connection of the handlers' pool, as whichever may be the next one's.
        held = [db.engine.connect() for _ in range(5)]
        states.extend(tuple(one.execute(STATE).one()) for one in held)
        for one in held:
            one.close()

    def run(type: str) -> Any:
        job_id = enqueue(type)
        claimed = kernel.next()
        assert claimed is not None
        in_thread(lambda: kernel.run(claimed))
        kernel.heartbeat.beat()
        kernel.sweeper.run_due()
        return row(job_id)

    assert run("looks").status == "completed"
    clean, states = {*states}, []
    assert run("poisons").status == "completed"
    for _ in range(3):
        assert run("looks").status == "completed"
    assert {*states} == clean


def test_handlers_that_hold_every_connection_do_not_starve_the_kernel(
    make_kernel: Any, enqueue: Any, row: Any, types: Any
) -> None:
    kernel = make_kernel()
    opened, may_end = threading.Event(), threading.Event()

    @types("hoards")
    def hoards(payload: Any) -> None:
        held = [db.engine.connect() for _ in range(db.engine.pool.size())]  # type: ignore[attr-defined]
        opened.set()
        may_end.wait(20)
        for one in held:
            one.close()

    first = enqueue("hoards")
    claimed = kernel.next()
    thread = threading.Thread(target=kernel.run, args=[claimed])
    thread.start()
    try:
        assert opened.wait(10)
        started = time.monotonic()
        assert kernel.next() is None
        kernel.heartbeat.beat()
        kernel.sweeper.run_due()
        assert time.monotonic() - started < 5  # what waiting for a connection takes
    finally:
        may_end.set()
        thread.join(20)
    assert row(first).status == "completed"


def test_a_connection_that_the_server_closed_costs_no_attempt(
    kernel: Kernel, enqueue: Any, row: Any, types: Any, engine: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(database, "PING_AFTER_SECONDS", 0.0)
    pids: list[int] = []

    @types("asks")
    def asks(payload: Any) -> None:
        pids.append(db.session.execute(text("SELECT pg_backend_pid()")).scalar_one())

    for _ in range(2):
        job_id = enqueue("asks")
        claimed = kernel.next()
        in_thread(lambda: kernel.run(claimed))  # noqa: B023
        assert (row(job_id).status, row(job_id).attempts) == ("completed", 1)
        with kernel.engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pids[-1]})
    assert len(set(pids)) == 2
    db.engine.dispose()  # the last one is closed by the server, and the next test should not find out
