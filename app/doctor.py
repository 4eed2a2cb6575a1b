"""What ``flask doctor`` looks at: each check answers with findings, and with a repair where there is one.

The sweepers of the workers repair the same things by themselves; this is for when none runs, for
monitors, and for people who want to see it in black and white.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flask import current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import schema
from app.broker.client import brief
from app.extensions import db
from app.jobs import lifecycle, listing, pulses
from app.jobs.deployment import identity
from app.jobs.publication import REF, Contents, ListOfOthers, Ref, Trigger, current_trigger, ref
from app.jobs.statistics import summary

OK, WARNING, CRITICAL = 0, 1, 2
OLDEST_POSTGRESQL = 14
BATCH = 1000
#: Jobs due for longer than this are in the ready set, unless Redis lost them: the audit's age.
AUDIT_AGE_SECONDS = 2
CLOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``repair`` mends it and says what it did."""

    name: str
    level: int
    told: str
    repair: Callable[[], str] | None = None


def examine() -> Iterator[Finding]:
    """Every check in turn; those that need what is away are left out. Raises nothing."""
    found = _database()
    yield found
    trigger = current_trigger()
    redis = _redis(trigger)
    yield redis
    if found.level == CRITICAL:
        return
    schema = _migrations()
    yield schema
    if schema.level == CRITICAL:
        return
    checks: list[Callable[[], Finding]] = [_connections, _clock, _workers, _leases, _counters]
    if redis.level != CRITICAL:
        checks += [
            lambda: _keys(trigger),
            lambda: _pending(trigger),
            lambda: _dead_letters(trigger),
        ]
    for check in checks:
        yield check()
        db.session.rollback()


def _database() -> Finding:
    try:
        started = time.perf_counter()
        version = db.session.execute(text("SHOW server_version_num")).scalar_one()
        took_ms = 1000 * (time.perf_counter() - started)
        db.session.rollback()
    except SQLAlchemyError as error:
        first = str(getattr(error, "orig", error)).strip().splitlines()[0]
        return Finding("database", CRITICAL, f"does not answer: {first}")
    major = int(version) // 10_000
    if major < OLDEST_POSTGRESQL:
        told = f"is PostgreSQL {major}; {OLDEST_POSTGRESQL} or newer is needed"
        return Finding("database", CRITICAL, told)
    return Finding("database", OK, f"PostgreSQL {major} answers in {took_ms:.1f} ms")


def _redis(trigger: Trigger) -> Finding:
    try:
        facts = trigger.facts()
    except Exception as error:
        told = f"does not answer: {brief(error)}; jobs are accepted, and start when it is back"
        return Finding("Redis", CRITICAL, told)
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        told = (
            f"may evict our sets (maxmemory-policy {policy}): jobs then start late;"
            " set it to noeviction"
        )
        return Finding("Redis", WARNING, told)
    return Finding("Redis", OK, f"version {facts.get('redis_version', 'unknown')} answers")


def _migrations() -> Finding:
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


def _connections() -> Finding:
    row = db.session.execute(_CONNECTIONS).one()
    told = f"{row.used} of {row.allowed} in use, {row.ours} of them ours"
    if row.forgotten:
        told += (
            f"; {row.forgotten} of ours idle in a transaction for over a minute: a handler left one"
            " open, which keeps PostgreSQL from tidying up"
        )
        return Finding("connections", WARNING, told)
    if row.used > 0.8 * row.allowed:
        told += "; raise max_connections, run fewer processes or put PgBouncer in between"
        return Finding("connections", WARNING, told)
    return Finding("connections", OK, told)


def _clock() -> Finding:
    before = time.time()
    database = db.session.execute(text("SELECT extract(epoch FROM clock_timestamp())::float8"))
    apart = database.scalar_one() - (before + time.time()) / 2
    if abs(apart) > CLOCK_SECONDS:
        told = (
            f"this machine's clock is {abs(apart):.0f} s {'behind' if apart > 0 else 'ahead of'} the"
            " database's; leases and due times go by the database, log lines do not"
        )
        return Finding("clock", WARNING, told)
    return Finding("clock", OK, f"within {max(abs(apart), 0.001):.3f} s of the database's")


def _workers() -> Finding:
    found = listing.list_workers(db.session)
    alive = [one for one in found if one.is_alive]
    silent = [one for one in found if not one.is_alive and one.stopped_at is None]
    told = f"{len(alive)} alive"
    if not alive:
        return Finding(
            "workers", WARNING, f"{told}: nothing runs jobs; start the Procfile's worker"
        )
    if silent:
        told += f", {len(silent)} silent (died or frozen): " + ", ".join(
            f"{one.host} {one.pid}" for one in silent
        )
        return Finding("workers", WARNING, told)
    return Finding("workers", OK, told)


_EXPIRED = text(
    "SELECT count(*) FROM jobs WHERE status = 'processing' AND leased_until < now() - interval '10 s'"
)


def _leases() -> Finding:
    count = db.session.execute(_EXPIRED).scalar_one()
    if not count:
        return Finding("leases", OK, "none expired")
    told = f"{count} jobs are held by workers that fell silent, and no sweeper took them back"
    return Finding("leases", WARNING, told, _rescue)


def _rescue() -> str:
    # Workers that live may only have been unable to write: each gets a whole lease to say so.
    settings = current_app.extensions["settings"]
    while not pulses.beat(db.session, settings):
        db.session.commit()
        time.sleep(pulses.beat_seconds(settings))
    total = 0
    while True:
        rows = lifecycle.rescue(db.session)
        db.session.commit()
        current_trigger().publish([ref(row) for row in rows if row.status == "pending"])
        total += len(rows)
        if not rows:
            return f"rescued {total} jobs"


def _counters() -> Finding:
    drift = summary.check(db.session)
    if drift.is_clean:
        return Finding("counters", OK, "exact")
    return Finding("counters", WARNING, f"{len(drift.rows)} differ from the table", _fix_counters)


def _fix_counters() -> str:
    drift = summary.check(db.session, fix=True)
    db.session.commit()
    return f"fixed {len(drift.rows)} counters"


def _keys(trigger: Trigger) -> Finding:
    name = "Redis keys"
    try:
        found = trigger.contents()
    except Exception as error:  # whatever the client of Redis raises
        told = f"can't be read: {brief(error)}; README names the rights that Redis must give"
        return Finding(name, CRITICAL, told)
    own = identity(db.session.connection())
    if others := [one for one in found.deployments if one != own]:
        told = (
            f"another deployment uses the same keys (database {', '.join(others)}), so jobs of both may"
            " start late; set REDIS_PREFIX to a different name in each"
        )
        return Finding(name, WARNING, told)
    if found.wrong_types or found.foreign:
        told = (
            f"{len(found.wrong_types)} keys of a foreign type and {found.foreign} foreign members:"
            " something else writes to our keys; set REDIS_PREFIX if it is legitimate"
        )
        return Finding(name, WARNING, told, lambda: f"dropped {trigger.mend()} of them")
    return _strangers(name, found)


def _strangers(name: str, found: Contents) -> Finding:
    known = text("SELECT count(*) FROM jobs WHERE id = ANY(:ids)")
    strangers = len(found.ids) - db.session.execute(known, {"ids": found.ids}).scalar_one()
    if strangers:
        told = (
            f"{strangers} of the first {len(found.ids)} ids are not in this database: deleted jobs, which"
            " workers drop; or another deployment uses the same keys, then set REDIS_PREFIX in each"
        )
        return Finding(name, WARNING, told)
    return Finding(name, OK, "ours alone")


# Jobs of types that no worker knows wait for one outside of Redis.
_PENDING = text(f"""
SELECT {REF}, type FROM jobs WHERE status = 'pending' AND (run_at > now() OR run_at <= now() - make_interval(secs => :age))
  AND NOT EXISTS (SELECT 1 FROM type_switches t WHERE t.type = jobs.type AND t.unknown_since IS NOT NULL)
ORDER BY queue, priority DESC, run_at, id
""")


def _pending(trigger: Trigger) -> Finding:
    missing = sum(len(refs) for refs in _missing(trigger))
    if not missing:
        return Finding("pending jobs", OK, "all known to Redis")
    told = f"{missing} are not in Redis: they would not start before a worker's audit finds them"
    return Finding("pending jobs", WARNING, told, lambda: _publish_missing(trigger))


def _missing(trigger: Trigger) -> Iterator[list[Ref]]:
    with db.engine.connect().execution_options(stream_results=True) as connection:
        rows = connection.execute(_PENDING, {"age": AUDIT_AGE_SECONDS})
        for batch in rows.partitions(BATCH):
            yield trigger.missing([ref(row) for row in batch])


def _publish_missing(trigger: Trigger) -> str:
    count = 0
    for refs in _missing(trigger):
        if not trigger.publish(refs):
            return f"published {count} jobs again; then Redis refused, try once more"
        count += len(refs)
    return f"published {count} jobs again"


def _dead_letters(trigger: Trigger) -> Finding:
    # The log of changes not yet mirrored is the difference that is about to go away by itself.
    waiting = db.session.execute(text("SELECT count(*) FROM dead_letter_changes")).scalar_one()
    open_ids = {
        str(job_id)
        for job_id in db.session.scalars(
            text("SELECT job_id FROM dead_letters WHERE closed_at IS NULL")
        )
    }
    entries = trigger.mirrored_dead_letters()
    if entries is None:
        told = "the key job-dlq holds something else than a list"
        return Finding("dead letters", WARNING, told, lambda: _mirror(trigger))
    listed = [_job_id(entry) for entry in entries]
    if set(listed) == open_ids and len(listed) == len(open_ids):
        return Finding("dead letters", OK, f"{len(open_ids)} open, all in the list job-dlq")
    told = f"{len(open_ids)} open, {len(listed)} in the list job-dlq, {waiting} changes wait"
    return Finding("dead letters", WARNING, told, lambda: _mirror(trigger))


def _job_id(entry: bytes) -> str:
    try:
        return str(json.loads(entry)["jobId"])
    except (ValueError, KeyError, TypeError):
        return "not ours"


def _mirror(trigger: Trigger) -> str:
    try:
        return f"wrote {trigger.mirror_dead_letters(rebuild=True)} entries to job-dlq"
    except ListOfOthers as error:
        return str(error)
