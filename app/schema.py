"""Whether this code can work with the database: its encoding, its tables, and their version."""

from __future__ import annotations

import functools
import logging
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from alembic.script import ScriptDirectory
from flask import Flask, request
from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import SQLAlchemyError

from app.errors import (
    DatabaseAhead,
    DatabaseBehind,
    DatabaseNotMigrated,
    SchemaProblem,
    TablesTaken,
    WrongEncoding,
)
from app.extensions import db

#: Alembic's own name for it may belong to the application whose database we share.
VERSION_TABLE = "jobqueue_alembic_version"
FORMER_VERSION_TABLE = "alembic_version"
MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
#: One release at a time; the others wait for it.
RELEASE_LOCK = 7061421
#: Endpoints that need no table, or report the problem themselves.
ALWAYS_ANSWERED = frozenset(
    {None, "static", "dashboard.bundle", "dashboard.sign_in", "dashboard.sign_out", "api.health",
     "api.openapi_document", "api.docs_page"}
)  # fmt: skip
#: Between two checks of a worker whose database is not ready.
WAIT_SECONDS = 1.0
#: Created by the first migration; the names that another application most likely has as well.
TABLES = (
    "jobs", "job_attempts", "job_log_lines", "job_keys", "dead_letters", "dead_letter_changes", "workers",
    "queues", "type_switches", "job_counters", "job_series", "job_counter_deltas", "job_series_deltas",
    "audit_events",
)  # fmt: skip

_FACTS = text(f"""
SELECT current_setting('server_encoding') AS encoding, current_schema() AS current,
       trim(split_part(current_setting('search_path'), ',', 1)) AS wanted,
       to_regclass(format('%I.{VERSION_TABLE}', current_schema())) IS NOT NULL AS has_version,
       to_regclass(format('%I.{FORMER_VERSION_TABLE}', current_schema())) IS NOT NULL AS has_former,
       ARRAY(SELECT relname::text FROM pg_class
             WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(:tables)
             ORDER BY array_position(CAST(:tables AS text[]), relname::text)) AS taken
""")


@functools.cache
def _revisions() -> tuple[str, frozenset[str]]:
    """The newest revision of this code, and all revisions it knows."""
    script = ScriptDirectory(str(MIGRATIONS))
    head = script.get_current_head()
    assert head is not None
    return head, frozenset(revision.revision for revision in script.walk_revisions())


#: Former names of columns, indexes and tables. Only processes of the previous release use them; a later
#: migration drops them, and until then no comparison of the models with the database reports them.
FORMER_NAMES = frozenset(
    {
        "jobs.failure",
        "ix_jobs_failure",
        "job_attempts.failure",
        "ix_job_attempts_failure",
        "bulk_actions.told",
        "queues",
        "type_switches.paused_at",
        "type_switches.paused_by",
    }
)


def newest_revision() -> str:
    """The revision this code needs."""
    return _revisions()[0]


def problem(connection: Connection) -> SchemaProblem | None:
    """Why this code can't work with the database, and what to do; None when it can."""
    facts = connection.execute(_FACTS, {"tables": list(TABLES)}).one()
    if facts.encoding != "UTF8":
        return WrongEncoding(encoding=facts.encoding)
    if _absent_schema(facts):
        return DatabaseNotMigrated()
    version = _version(connection, has_own=facts.has_version, has_former=facts.has_former)
    head, known = _revisions()
    if version is None or not facts.taken:
        return DatabaseNotMigrated()
    if version not in known:
        return DatabaseAhead(current=version, wanted=head)
    if version != head or not facts.has_version:
        return DatabaseBehind(current=version, wanted=head)
    return None


def _absent_schema(facts: Row[Any]) -> str | None:
    """The schema that ?schema= names, if it does not exist: our tables would be in the next one of the path."""
    wanted: str = facts.wanted
    is_name = re.fullmatch(r"[a-z_][a-z0-9_]*", wanted)
    return wanted if is_name and wanted != facts.current else None


def version(connection: Connection) -> str | None:
    """The revision the database is at; None before the first migration. Raises DatabaseAhead."""
    facts = connection.execute(_FACTS, {"tables": list(TABLES)}).one()
    if _absent_schema(facts):
        return None
    current = _version(connection, has_own=facts.has_version, has_former=facts.has_former)
    head, known = _revisions()
    if current is not None and current not in known:
        raise DatabaseAhead(current=current, wanted=head)
    return current


def _version(connection: Connection, *, has_own: bool, has_former: bool) -> str | None:
    if has_own:
        return connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    if not has_former:
        return None
    former: str | None = connection.scalar(
        text(f"SELECT max(version_num) FROM {FORMER_VERSION_TABLE}")
    )
    return former if former in _revisions()[1] else None


#: Engines whose database has once been as this code needs it.
_were_current: WeakSet[Engine] = WeakSet()


def check(engine: Engine) -> None:
    """Raise SchemaProblem where this process can't work with the database.

    A process that could goes on after a newer release has migrated the database: migrations only add,
    so that processes of the old release work until the new ones have replaced them.
    """
    with engine.connect() as connection:
        error = problem(connection)
    if error is None:
        _were_current.add(engine)
    elif not (isinstance(error, DatabaseAhead) and engine in _were_current):
        raise error


def refuse_until_ready() -> None:
    """Before each request, until ``check`` has passed once: raise SchemaProblem."""
    if db.engine in _were_current or request.endpoint in ALWAYS_ANSWERED:
        return
    with suppress(SQLAlchemyError):  # code that needs the database reports that it is away
        check(db.engine)


def report(app: Flask, log: logging.Logger) -> None:
    """Log one line if the database is not ready for this code; nothing if it is away."""
    with (
        app.app_context(),
        suppress(SQLAlchemyError),
    ):  # code that needs the database reports that it is away
        try:
            check(db.engine)
        except SchemaProblem as error:
            log.error("%s", error)


def wait_until_ready(engine: Engine, log: logging.Logger) -> None:
    """For workers: return once ``check`` passes, or when the database is away. Logs once why it waits."""
    reported = ""
    while True:
        try:
            check(engine)
        except SchemaProblem as error:
            if str(error) != reported:
                log.error("Waiting: %s", error)
                reported = str(error)
        except SQLAlchemyError:
            return
        else:
            return
        time.sleep(WAIT_SECONDS)


def prepare(connection: Connection) -> None:
    """Before the migrations: refuse a database that can't be used, and rename the version table from its old name.

    Raises WrongEncoding and TablesTaken.
    """
    facts = connection.execute(_FACTS, {"tables": list(TABLES)}).one()
    if facts.encoding != "UTF8":
        raise WrongEncoding(encoding=facts.encoding)
    if schema := _absent_schema(facts):
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        return
    if facts.has_version:
        return
    is_ours = _version(connection, has_own=False, has_former=facts.has_former) is not None
    if is_ours and set(facts.taken) >= {"jobs", "job_attempts", "dead_letters", "workers"}:
        connection.execute(text(f"ALTER TABLE {FORMER_VERSION_TABLE} RENAME TO {VERSION_TABLE}"))
        connection.execute(
            text(
                f"ALTER TABLE {VERSION_TABLE} RENAME CONSTRAINT {FORMER_VERSION_TABLE}_pkc"
                f" TO {VERSION_TABLE}_pkc"
            )
        )
    elif facts.taken:
        raise TablesTaken(names=", ".join(facts.taken))
