"""PostgreSQL: the server, the migrations, the connections, the clock."""

from __future__ import annotations

import time

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import schema
from app.doctor.finding import CRITICAL, OK, WARNING, Finding
from app.extensions import db

OLDEST_POSTGRESQL = 14
CLOCK_SECONDS = 5.0


def check_server() -> Finding:
    try:
        started = time.perf_counter()
        version = db.session.execute(text("SHOW server_version_num")).scalar_one()
        took_ms = 1000 * (time.perf_counter() - started)
        db.session.rollback()
    except SQLAlchemyError as error:
        first = str(getattr(error, "orig", error)).strip().splitlines()[0]
        return Finding("database", CRITICAL, f"does not respond: {first}")
    major = int(version) // 10_000
    if major < OLDEST_POSTGRESQL:
        message = f"is PostgreSQL {major}; {OLDEST_POSTGRESQL} or newer is needed"
        return Finding("database", CRITICAL, message)
    return Finding("database", OK, f"PostgreSQL {major} responds in {took_ms:.1f} ms")


def check_migrations() -> Finding:
    with db.engine.connect() as connection:
        problem = schema.problem(connection)
        if problem is not None:
            return Finding("migrations", CRITICAL, str(problem))
        return Finding("migrations", OK, f"at {schema.version(connection)}")


_CONNECTIONS = text("""
SELECT current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int AS allowed,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
       (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jobqueue'
            AND datname = current_database()) AS ours,
       (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jobqueue'
            AND datname = current_database() AND state LIKE 'idle in transaction%'
            AND state_change < now() - interval '1 minute') AS forgotten
""")


def check_connections() -> Finding:
    row = db.session.execute(_CONNECTIONS).one()
    message = f"{row.used} of {row.allowed} in use, {row.ours} of them ours"
    if row.forgotten:
        message += (
            f"; {row.forgotten} of ours idle in a transaction for over a minute: a handler left one"
            " open, which keeps PostgreSQL from removing dead rows"
        )
        return Finding("connections", WARNING, message)
    if row.used > 0.8 * row.allowed:
        message += "; raise max_connections, run fewer processes or put PgBouncer in between"
        return Finding("connections", WARNING, message)
    return Finding("connections", OK, message)


def check_clock() -> Finding:
    before = time.time()
    database = db.session.execute(text("SELECT extract(epoch FROM clock_timestamp())::float8"))
    apart = database.scalar_one() - (before + time.time()) / 2
    if abs(apart) > CLOCK_SECONDS:
        message = (
            f"this machine's clock is {abs(apart):.0f} s {'behind' if apart > 0 else 'ahead of'} the"
            " database's; leases and due times follow the database's clock, log lines this machine's"
        )
        return Finding("clock", WARNING, message)
    return Finding("clock", OK, f"within {max(abs(apart), 0.001):.3f} s of the database's")
