"""The checks of ``flask doctor``: each returns a finding, with a repair where there is one.

The workers' sweepers make the same repairs; this is for times without workers, for monitors, and for
people who want to see the state of the system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from app.doctor import database, jobs, limits, redis, schedules
from app.doctor.finding import CRITICAL, OK, WARNING, Finding
from app.extensions import db
from app.jobs.publication import current_publisher

__all__ = ["CRITICAL", "OK", "WARNING", "Finding", "examine"]


def examine() -> Iterator[Finding]:
    """The finding of each check in turn; skips checks of services that are down. Raises nothing."""
    server = database.check_server()
    yield server
    publisher = current_publisher()
    redis_server = redis.check_server(publisher)
    yield redis_server
    if server.level == CRITICAL:
        return
    migrations = database.check_migrations()
    yield migrations
    if migrations.level == CRITICAL:
        return
    checks: list[Callable[[], Finding]] = [
        database.check_connections, database.check_clock, jobs.check_workers, jobs.check_leases, jobs.check_counters,
        schedules.check_late, schedules.check_missed, limits.check_limits,
    ]  # fmt: skip
    if redis_server.level != CRITICAL:
        checks += [
            partial(redis.check_keys, publisher),
            partial(jobs.check_pending, publisher),
            partial(jobs.check_dead_letters, publisher),
        ]
    for check in checks:
        yield check()
        db.session.rollback()
