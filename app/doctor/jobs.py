"""Jobs: workers, expired leases, counters, and what Redis should know of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from flask import current_app
from sqlalchemy import text

from app.broker.publisher import Publisher
from app.doctor.finding import OK, WARNING, Finding
from app.extensions import db
from app.jobs import dead_letter_mirror, lifecycle, listing, pulses, unknown_types
from app.jobs.holds import AT_LIMIT, FREE, MIN_AGE_SECONDS, QUEUE_PAUSED, TYPE_PAUSED
from app.jobs.publication import REF, Ref, current_publisher, ref
from app.jobs.statistics import summary

BATCH = 1000


def check_workers() -> Finding:
    workers = listing.list_workers(db.session)
    alive = [worker for worker in workers if worker.is_alive]
    silent = [worker for worker in workers if not worker.is_alive and worker.stopped_at is None]
    message = f"{len(alive)} alive"
    if not alive:
        return Finding(
            "workers", WARNING, f"{message}: nothing runs jobs; start the worker of the Procfile"
        )
    if silent:
        message += f", {len(silent)} silent (crashed or frozen): " + ", ".join(
            f"{worker.host} {worker.pid}" for worker in silent
        )
        return Finding("workers", WARNING, message)
    return Finding("workers", OK, message)


_EXPIRED = text(
    "SELECT count(*) FROM jobs WHERE status = 'processing' AND leased_until < now() - interval '10 s'"
)


def check_leases() -> Finding:
    count = db.session.execute(_EXPIRED).scalar_one()
    if not count:
        return Finding("leases", OK, "none expired")
    message = f"{count} jobs are held by workers that are silent, and no sweeper has rescued them"
    return Finding("leases", WARNING, message, _rescue)


def _rescue() -> str:
    # Live workers may have been unable to write: each gets a whole lease to report.
    settings = current_app.extensions["settings"]
    while not pulses.beat(db.session, settings):
        db.session.commit()
        time.sleep(pulses.beat_seconds(settings))
    total = 0
    while True:
        rows = lifecycle.rescue(db.session)
        db.session.commit()
        current_publisher().publish([ref(row) for row in rows if row.status == "pending"])
        total += len(rows)
        if not rows:
            return f"rescued {total} jobs"


def check_counters() -> Finding:
    drift = summary.check(db.session)
    if drift.is_clean:
        return Finding("counters", OK, "exact")
    return Finding("counters", WARNING, f"{len(drift.rows)} differ from the table", _fix_counters)


def _fix_counters() -> str:
    drift = summary.check(db.session, fix=True)
    db.session.commit()
    return f"fixed {len(drift.rows)} counters"


# Jobs of unknown types, those that wait at a limit, and due jobs that are paused, need not be in Redis: what resumes them publishes them.
_PENDING = text(f"""
SELECT {REF} FROM jobs WHERE status = 'pending' AND hold <> {AT_LIMIT}
  AND (run_at > now() OR (run_at <= now() - make_interval(secs => :age)
    AND hold = {FREE} AND {QUEUE_PAUSED.absent("jobs")}
    AND {TYPE_PAUSED.absent("jobs")}))
  AND {unknown_types.is_known("jobs")}
ORDER BY queue, priority DESC, run_at, id
""")


def check_pending(publisher: Publisher) -> Finding:
    missing = sum(len(refs) for refs in _missing(publisher))
    if not missing:
        return Finding("pending jobs", OK, "all known to Redis")
    message = f"{missing} are not in Redis: they start only after a sweeper publishes them again"
    return Finding("pending jobs", WARNING, message, lambda: _publish_missing(publisher))


def _missing(publisher: Publisher) -> Iterator[list[Ref]]:
    with db.engine.connect().execution_options(stream_results=True) as connection:
        rows = connection.execute(_PENDING, {"age": MIN_AGE_SECONDS})
        for batch in rows.partitions(BATCH):
            yield publisher.ready.absent([ref(row) for row in batch])


def _publish_missing(publisher: Publisher) -> str:
    count = 0
    for refs in _missing(publisher):
        if not publisher.publish(refs):
            return f"published {count} jobs again; then Redis refused; try again"
        count += len(refs)
    return f"published {count} jobs again"


def check_dead_letters(publisher: Publisher) -> Finding:
    # Changes not yet mirrored: such a difference disappears without a repair.
    waiting = db.session.execute(text("SELECT count(*) FROM dead_letter_changes")).scalar_one()
    open_ids = {
        str(job_id)
        for job_id in db.session.scalars(
            text("SELECT job_id FROM dead_letters WHERE closed_at IS NULL")
        )
    }
    entries = publisher.ready.dead_letters.entries()
    if entries is None:
        message = "the key job-dlq holds something other than a list"
        return Finding("dead letters", WARNING, message, lambda: _mirror(publisher))
    listed = [_job_id(entry) for entry in entries]
    if set(listed) == open_ids and len(listed) == len(open_ids):
        return Finding("dead letters", OK, f"{len(open_ids)} open, all in the list job-dlq")
    message = f"{len(open_ids)} open, {len(listed)} in the list job-dlq, {waiting} changes pending"
    return Finding("dead letters", WARNING, message, lambda: _mirror(publisher))


def _job_id(entry: bytes) -> str:
    try:
        return str(json.loads(entry)["jobId"])
    except (ValueError, KeyError, TypeError):
        return "not ours"


def _mirror(publisher: Publisher) -> str:
    try:
        return f"wrote {dead_letter_mirror.rebuild(publisher.ready)} entries to job-dlq"
    except dead_letter_mirror.ListOfOthers as error:
        return str(error)
