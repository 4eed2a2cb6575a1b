"""Idempotency-Key: the same request sent again makes no second job."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.errors import IdempotencyMismatch, ValidationFailed
from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob

HEADER = "Idempotency-Key"
KEPT_HOURS = 24

KEY = re.compile(r"[\x21-\x7e]{1,255}")

# The first of concurrent requests inserts; the others wait here for its commit, then find its row.
# A key older than it is kept counts as new.
_CLAIM = text(f"""
INSERT INTO job_keys (scope, key, body_hash, job_id) VALUES (:scope, :key, :body_hash, :nobody)
ON CONFLICT (scope, key) DO UPDATE
    SET body_hash = excluded.body_hash, job_id = excluded.job_id, created_at = now()
    WHERE job_keys.created_at < now() - interval '{KEPT_HOURS} hours'
RETURNING 1
""")
_FILL = text("UPDATE job_keys SET job_id = :job_id WHERE scope = :scope AND key = :key")
_FIND = text("SELECT body_hash, job_id FROM job_keys WHERE scope = :scope AND key = :key")
_NOBODY = UUID(int=0)


def checked(key: str) -> str:
    """The key itself. Raises ValidationFailed."""
    if not KEY.fullmatch(key):
        raise ValidationFailed(
            {HEADER: ["must be 1 to 255 visible ASCII characters, without spaces."]}
        )
    return key


def enqueue_once(db: Any, new_job: NewJob, *, scope: str, key: str) -> tuple[UUID, bool]:
    """The id of the job and whether it is new; the caller commits.

    ``scope`` separates the keys of different clients. Raises IdempotencyMismatch.
    """
    mine = {"scope": scope, "key": key}
    body_hash = _hash(new_job)
    if db.execute(_CLAIM, {**mine, "body_hash": body_hash, "nobody": _NOBODY}).first():
        (made,) = lifecycle.enqueue(db, [new_job])
        db.execute(_FILL, {**mine, "job_id": made.id})
        return made.id, made.is_new
    found = db.execute(_FIND, mine).one()
    if found.body_hash != body_hash:
        raise IdempotencyMismatch
    return found.job_id, False


def _hash(new_job: NewJob) -> str:
    """Of what the body means, not of its bytes: order of fields and spaces don't matter."""
    told = json.dumps(asdict(new_job), sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()
