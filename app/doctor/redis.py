"""Redis: the server, and who else writes to our keys."""

from __future__ import annotations

from sqlalchemy import text

from app.broker.client import brief
from app.broker.publisher import Publisher
from app.broker.refs import Contents
from app.doctor.finding import CRITICAL, OK, WARNING, Finding
from app.extensions import db
from app.jobs.deployment import identity

#: How many ids of each set in Redis are compared with the database.
SAMPLE = 1000


def check_server(publisher: Publisher) -> Finding:
    try:
        facts = publisher.facts()
    except Exception as error:
        message = f"does not respond: {brief(error)}; jobs are accepted and start when it is back"
        return Finding("Redis", CRITICAL, message)
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        message = (
            f"may evict our sets (maxmemory-policy {policy}): jobs then start late;"
            " set it to noeviction"
        )
        return Finding("Redis", WARNING, message)
    return Finding("Redis", OK, f"version {facts.get('redis_version', 'unknown')} responds")


def check_keys(publisher: Publisher) -> Finding:
    name = "Redis keys"
    try:
        contents = publisher.ready.contents(SAMPLE)
    except Exception as error:  # whatever the client of Redis raises
        message = f"can't be read: {brief(error)}; docs/deployment.md lists the ACL it needs"
        return Finding(name, CRITICAL, message)
    own = identity(db.session.connection())
    if others := [deployment for deployment in contents.deployments if deployment != own]:
        message = (
            f"another deployment uses the same keys (database {', '.join(others)}), so jobs of both may"
            " start late; set REDIS_PREFIX to a different name in each"
        )
        return Finding(name, WARNING, message)
    if contents.wrong_types or contents.foreign:
        message = (
            f"{len(contents.wrong_types)} keys of a foreign type and {contents.foreign} foreign members:"
            " another program writes to our keys; if it must, set REDIS_PREFIX"
        )
        return Finding(
            name, WARNING, message, lambda: f"dropped {publisher.ready.delete_foreign()} of them"
        )
    return _strangers(name, contents)


def _strangers(name: str, contents: Contents) -> Finding:
    known = text("SELECT count(*) FROM jobs WHERE id = ANY(:ids)")
    strangers = len(contents.ids) - db.session.execute(known, {"ids": contents.ids}).scalar_one()
    if strangers:
        message = (
            f"{strangers} of the first {len(contents.ids)} ids are not in this database: deleted jobs, which"
            " workers drop; or another deployment uses the same keys, then set REDIS_PREFIX in each"
        )
        return Finding(name, WARNING, message)
    return Finding(name, OK, "ours alone")
