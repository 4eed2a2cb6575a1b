"""The statements of the live path are functions: as their verbs say, planned once, by index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import text

from app.database import id_array
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.lifecycle.admission import ADMIT, STATE, WAITING_KEYS
from app.jobs.lifecycle.attempts import CLAIM, COMPLETE, END
from app.jobs.lifecycle.enqueue import INSERT
from app.jobs.lifecycle.functions import Effect, Function
from app.jobs.lifecycle.tokens import END_LIMITED, TAKE_TOKENS
from tests.factories import pending_job

FUNCTIONS = (INSERT, CLAIM, COMPLETE, END, TAKE_TOKENS, END_LIMITED, STATE, WAITING_KEYS, ADMIT)
PATH = (INSERT, CLAIM, COMPLETE)
STORED = "SELECT prosrc, proconfig, pg_get_function_arguments(oid), pg_get_function_result(oid) FROM pg_proc WHERE proname = :name"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_the_migration_has_made_it_from_the_text_of_its_verb(
    session: Any, function: Function | Effect
) -> None:
    stored = session.execute(text(STORED), {"name": function.name}).one()
    session.execute(text(function.definition))
    # Change it as functions.py says: a new number, and a new migration.
    assert session.execute(text(STORED), {"name": function.name}).one() == stored
    session.rollback()


@pytest.fixture
def planned(database_url: str) -> Iterator[Any]:
    """``planned(call, values)`` runs a function in a session of its own and returns the plans made for it."""
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SET client_min_messages = log; SET debug_print_plan = on")

        def run(function: Function, *values: Any, rows: int = 1) -> list[str]:
            connection.notices.clear()
            marks = ", ".join(["%s"] * len(values))
            cursor.execute(f"SELECT * FROM {function.name}({marks})", values)
            assert cursor.rowcount == rows
            return [notice for notice in connection.notices if "PLANNEDSTMT" in notice]

        yield run


def test_a_session_plans_each_of_them_once_and_reads_no_whole_table(planned: Any) -> None:
    made = []
    for _ in range(7):  # PostgreSQL may change to a kept plan after five calls
        job_id, token = uuid4().hex, uuid4().hex
        row = f'[{{"id": "{job_id}", "queue": "q", "type": "t", "payload": {{}}, "priority": 0, "max_attempts": 1}}]'
        ids = id_array([job_id])
        outcome = f'{{"{job_id}": {{"token": "{token}", "result": 1}}}}'
        made.append(
            planned(INSERT, row, None, False)
            + planned(CLAIM, ids, token, uuid4().hex, 30, True, "{}", True, "{}", "{}")
            + planned(COMPLETE, outcome, ids, rows=0)
        )
    # The first call was made while the table was empty, where reading all of it is the cheapest plan.
    assert "SEQSCAN" not in "".join(made[0])
    # Of each later call only the SELECT around the function is planned.
    assert [len(plans) for plans in made[1:]] == [len(PATH)] * 6


def test_a_claim_is_asynchronous_only_without_a_type_that_runs_once(app: Any, session: Any) -> None:
    for once, expected in (((), "off"), (("sleep",), "off"), (("echo",), "on")):
        job = pending_job(type="echo")
        with db.engine.begin() as connection:
            rows = lifecycle.claim(
                connection,
                [job.id.hex],
                token=uuid4(),
                worker_id=uuid4(),
                lease_seconds=30,
                once=once,
            )
            assert [row.id for row in rows] == [job.id]
            assert connection.scalar(text("SHOW synchronous_commit")) == expected
        with db.engine.connect() as connection:
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"
