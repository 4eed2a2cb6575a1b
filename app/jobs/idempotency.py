"""Idempotency keys: the same request sent again creates no second job."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.errors import IdempotencyMismatch
from app.jobs import lifecycle
from app.jobs.bounds import IDEMPOTENCY_HOURS
from app.jobs.lifecycle import NewJob

KEY = re.compile(r"[\x21-\x7e]{1,255}")

# The first of concurrent requests inserts; the others wait here for its commit, then find its row.
# A key older than IDEMPOTENCY_HOURS counts as new.
_CLAIM = text(f"""
INSERT INTO job_keys (scope, key, body_hash, job_id) VALUES (:scope, :key, :body_hash, :nobody)
ON CONFLICT (scope, key) DO UPDATE
    SET body_hash = excluded.body_hash, job_id = excluded.job_id, created_at = now()
    WHERE job_keys.created_at < now() - interval '{IDEMPOTENCY_HOURS} hours'
RETURNING 1
""")
_FILL = text("UPDATE job_keys SET job_id = :job_id WHERE scope = :scope AND key = :key")
_FIND = text("SELECT body_hash, job_id FROM job_keys WHERE scope = :scope AND key = :key")
_NOBODY = UUID(int=0)

#: Fields that former releases did not hash: without them, a request that is repeated across a deploy stays the same.
_ADDED = ("limit_key", "limit_name")


def enqueue_once(db: Any, new_job: NewJob, *, scope: str, key: str) -> tuple[UUID, bool]:
    """The id of the job and whether it is new; the caller commits.

    ``scope``: the client, since different clients may choose the same key. Raises IdempotencyMismatch.
    """
    key_of = {"scope": scope, "key": key}
    body_hash = _hash(new_job)
    if db.execute(_CLAIM, {**key_of, "body_hash": body_hash, "nobody": _NOBODY}).first():
        (job,) = lifecycle.enqueue(db, [new_job])
        db.execute(_FILL, {**key_of, "job_id": job.id})
        return job.id, job.is_new
    row = db.execute(_FIND, key_of).one()
    if row.body_hash != body_hash:
        raise IdempotencyMismatch(hours=IDEMPOTENCY_HOURS)
    return row.job_id, False


def _hash(new_job: NewJob) -> str:
    """A hash of the request's content, independent of the order of fields and of white space."""
    facts = asdict(new_job)
    for name in _ADDED:
        if facts[name] is None:
            del facts[name]
    meaning = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(meaning.encode()).hexdigest()
