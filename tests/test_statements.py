"""Statements that go through the driver behave as those that SQLAlchemy executes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import new_type, register_type
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app import database
from app.database import Statement, autocommit

ECHO = Statement(
    "SELECT CAST(:id AS uuid) AS id, 100 % 7 AS rest, CAST(:names AS text[]) AS names, '{\"a\": 1}'::jsonb AS body",
    ["id", "rest", "names", "body"],
)
#: The oid of PostgreSQL's type.
INTEGER = 23
PID = Statement("SELECT pg_backend_pid() AS pid", ["pid"])


@pytest.fixture
def engine(app: Any) -> Iterator[Engine]:
    engine = database.make_engine(app.extensions["settings"], pool_size=1)
    yield engine
    engine.dispose()


@pytest.fixture
def seen(engine: Engine) -> list[str]:
    """Listeners for its statements, as a tracing library adds them."""
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *values: statements.append(values[2]))
    return statements


def rows(engine: Engine, id: UUID) -> list[Any]:
    with autocommit(engine) as connection:
        return ECHO.rows(connection, {"id": id, "names": ["a", "b"]})


def test_rows_are_the_same_with_and_without_listeners(engine: Engine) -> None:
    id = uuid4()
    [direct] = rows(engine, id)
    assert tuple(direct) == (id, 2, ["a", "b"], {"a": 1})
    assert (direct.id, direct.rest, direct.names, direct.body) == tuple(direct)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *values: statements.append(values[2]))
    [observed] = rows(engine, id)
    assert tuple(observed) == tuple(direct)
    assert (observed.id, observed.body) == (direct.id, direct.body)
    assert len(statements) == 1


def test_a_session_sees_its_own_transaction(engine: Engine) -> None:
    own = Statement("SELECT count(*) AS n FROM pauses WHERE name = :name", ["n"])
    name = uuid4().hex
    with Session(engine) as session:
        session.execute(
            text("INSERT INTO pauses (kind, name) VALUES ('queue', :name)"), {"name": name}
        )
        assert own.rows(session, {"name": name})[0].n == 1
        session.rollback()
        assert own.rows(session, {"name": name})[0].n == 0


def test_the_first_statement_of_a_session_begins_its_transaction(engine: Engine) -> None:
    begun: list[Any] = []
    event.listen(
        engine, "begin", begun.append
    )  # where the statement timeout is set behind a pooler
    with Session(engine) as session:
        PID.rows(session, {})
        assert len(begun) == 1
        assert session.connection().in_transaction()


def raising(code: str) -> Statement:
    return Statement(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$", [])


@pytest.mark.parametrize("is_observed", [False, True])
def test_errors_are_those_of_sqlalchemy(
    engine: Engine, request: pytest.FixtureRequest, is_observed: bool
) -> None:
    if is_observed:
        request.getfixturevalue("seen")
    with autocommit(engine) as connection:
        pid = PID.rows(connection, {})[0].pid
        with pytest.raises(DBAPIError) as caught:
            raising("22P05").rows(connection, {})
        assert database.is_about_data(caught.value)
        assert not caught.value.connection_invalidated
        assert PID.rows(connection, {})[0].pid == pid  # still of use
    with autocommit(engine) as connection:
        with pytest.raises(DBAPIError) as caught:
            raising("25006").rows(connection, {})  # the server became read-only
        assert caught.value.connection_invalidated
    with autocommit(engine) as connection:
        assert PID.rows(connection, {})[0].pid != pid


def test_a_connection_that_broke_is_replaced(engine: Engine) -> None:
    kill = Statement("SELECT pg_terminate_backend(pg_backend_pid()) AS is_done", ["is_done"])
    with autocommit(engine) as connection:
        with pytest.raises(DBAPIError) as caught:
            kill.rows(connection, {})
        assert caught.value.connection_invalidated
    with autocommit(engine) as connection:
        assert PID.rows(connection, {})


def test_a_connection_is_discarded_when_reading_its_response_is_interrupted(engine: Engine) -> None:
    """A timeout is thrown into a handler between any two instructions, also into enqueue()."""

    class Thrown(BaseException):
        pass

    def throw(*_: Any) -> Any:
        raise Thrown

    with suppress(Thrown), autocommit(engine) as connection:
        pid = PID.rows(connection, {})[0].pid
        raw: Any = connection.connection.dbapi_connection
        register_type(new_type((INTEGER,), "THROWN", throw), raw)
        PID.rows(connection, {})
    with autocommit(engine) as connection:
        assert PID.rows(connection, {})[0].pid != pid
