"""The states of error groups: the only code that changes them, apart from the trigger that inserts new groups.

    new ──────▶ known          after NEW_HOURS, or when a person acknowledges it
     ▲ any ──▶ muted           until it fails at GROWTH times the rate it had then: → reopened
       any ──▶ resolved        until it fails again: → reopened
       muted, resolved ──▶ reopened   also by a person; after NEW_HOURS: → known

That a group is known with time is judged when it is read (STATE). Nothing else happens by time: only a failure reopens
a group, so the worker that counts new failures judges their groups (note_failures).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from app.database import Db
from app.errors import JobQueueError
from app.jobs import audit


class ErrorGroupNotFound(JobQueueError):
    """No error group has the fingerprint {fingerprint!r}."""

    http_status, code = 404, "error_group_not_found"


class ErrorGroupUnchanged(JobQueueError):
    """Error group {fingerprint} is {state}; {verb} needs {allowed}."""

    http_status, code = 409, "invalid_transition"


#: What a person does → the state after it, and the states it applies to.
VERBS = {
    "acknowledge": ("known", ("new", "reopened")),
    "mute": ("muted", ("new", "known", "reopened", "resolved")),
    "resolve": ("resolved", ("new", "known", "reopened", "muted")),
    "reopen": ("reopened", ("muted", "resolved")),
}
#: A new or reopened group is known after this time.
NEW_HOURS = 24
#: A muted group reopens when it fails this many times as often as when it was muted.
GROWTH = 2
#: A group without failures is deleted after this time; its hours after HOURS_KEPT.
KEPT_DAYS, HOURS_KEPT = 90, 48
BATCH = 5_000
PRUNE_BATCH = 1_000
#: In the audit log, instead of a person.
NOBODY = "system"

#: The state of an error_groups row ``g``.
STATE = f"""
CASE WHEN g.state IN ('new', 'reopened') AND g.changed_at < now() - interval '{NEW_HOURS} hours'
     THEN 'known' ELSE g.state END
"""
#: Whether note_failures() has anything to do.
HAS_DELTAS = "EXISTS (SELECT FROM error_group_deltas)"

#: At how many failures within an hour a muted group ``g`` reopens.
REOPENS_AT = f"CAST(greatest(2, ceil({GROWTH} * g.muted_per_hour)) AS bigint)"
# ix_job_attempts_fingerprint. At least one, so that a group that was quiet for an hour isn't reopened by one failure.
_RATE = """
greatest(1, (SELECT count(*) FROM job_attempts a WHERE a.fingerprint = g.fingerprint
             AND a.ended_at > now() - interval '1 hour')
            / least(1, greatest(extract(epoch FROM now() - g.first_seen_at), 60) / 3600))
"""
_LOCK = text(
    f"SELECT {STATE} AS state, type FROM error_groups g WHERE fingerprint = :id FOR UPDATE"
)
_CHANGE = text(f"""
UPDATE error_groups g SET state = :state, changed_at = now(), changed_by = :by,
    muted_per_hour = CASE WHEN :state = 'muted' THEN {_RATE} END,
    former_state = CASE WHEN :state = 'reopened' THEN state END,
    former_by = CASE WHEN :state = 'reopened' THEN changed_by END,
    former_at = CASE WHEN :state = 'reopened' THEN changed_at END,
    reopened_version = NULL
WHERE fingerprint = :id RETURNING muted_per_hour
""")


def change(db: Db, fingerprint: str, verb: str, *, by: str) -> None:
    """Acknowledge, mute, resolve or reopen a group (VERBS). Raises ErrorGroupNotFound, ErrorGroupUnchanged."""
    state, applies_to = VERBS[verb]
    row = db.execute(_LOCK, {"id": fingerprint}).first()
    if row is None:
        raise ErrorGroupNotFound(fingerprint=fingerprint)
    if row.state not in applies_to:
        raise ErrorGroupUnchanged(
            fingerprint=fingerprint, state=row.state, verb=verb, allowed=" or ".join(applies_to)
        )
    rate = db.execute(_CHANGE, {"id": fingerprint, "state": state, "by": by}).scalar_one()
    details: dict[str, Any] = {"type": row.type, "from": row.state}
    audit.record(
        db, by, f"error_group.{verb}", fingerprint,
        details if rate is None else details | {"perHour": round(rate, 1)},
    )  # fmt: skip


# Ordered and SKIP LOCKED, as the counters are folded.
_FOLD = text("""
WITH taken AS (
    DELETE FROM error_group_deltas WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM error_group_deltas LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING fingerprint, hour, n),
hours AS (
    INSERT INTO error_group_hours AS h (fingerprint, hour, n)
    SELECT fingerprint, hour, sum(n) FROM taken GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (fingerprint, hour) DO UPDATE SET n = h.n + excluded.n)
SELECT fingerprint, count(*) AS deltas FROM taken GROUP BY 1
""")
# Of each group, the last attempt: ix_job_attempts_fingerprint.
_SEEN = text("""
UPDATE error_groups g SET last_seen_at = last.ended_at
FROM unnest(CAST(:ids AS text[])) AS id (fingerprint)
CROSS JOIN LATERAL (SELECT ended_at FROM job_attempts a WHERE a.fingerprint = id.fingerprint
                    ORDER BY a.ended_at DESC LIMIT 1) AS last
WHERE g.fingerprint = id.fingerprint
""")
_REOPEN = text(f"""
UPDATE error_groups g SET state = 'reopened', changed_at = now(), changed_by = NULL, muted_per_hour = NULL,
    former_state = state, former_by = changed_by, former_at = changed_at,
    reopened_version = (
        SELECT w.version FROM job_attempts a LEFT JOIN workers w ON w.id = a.worker_id
        WHERE a.fingerprint = g.fingerprint ORDER BY a.ended_at DESC LIMIT 1)
WHERE fingerprint = ANY(:ids) AND (
    state = 'resolved' AND EXISTS (
        SELECT FROM job_attempts a WHERE a.fingerprint = g.fingerprint AND a.ended_at > g.changed_at)
    OR state = 'muted' AND (
        SELECT count(*) FROM (
            SELECT FROM job_attempts a
            WHERE a.fingerprint = g.fingerprint AND a.ended_at > now() - interval '1 hour'
            LIMIT {REOPENS_AT}) AS lately) >= {REOPENS_AT})
RETURNING fingerprint, type, former_state
""")


def note_failures(db: Db, *, limit: int = BATCH) -> int:
    """Count the failures that a trigger noted, and reopen groups because of them; returns how many notes it took."""
    rows = db.execute(_FOLD, {"limit": limit}).all()
    if not rows:
        return 0
    ids = sorted(row.fingerprint for row in rows)
    db.execute(_SEEN, {"ids": ids})
    for group in db.execute(_REOPEN, {"ids": ids}).all():
        details = {"type": group.type, "from": group.former_state}
        audit.record(db, NOBODY, "error_group.reopen", group.fingerprint, details)
    return sum(row.deltas for row in rows)


_PRUNE = text("""
WITH hours AS (
    DELETE FROM error_group_hours WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM error_group_hours WHERE hour < now() - make_interval(hours => :hours)
        ORDER BY hour LIMIT :limit))),
old AS MATERIALIZED (
    SELECT fingerprint FROM error_groups WHERE last_seen_at < now() - make_interval(days => :days)
    ORDER BY last_seen_at LIMIT :limit)
DELETE FROM error_groups g WHERE fingerprint IN (SELECT fingerprint FROM old)
    AND NOT EXISTS (SELECT FROM jobs j WHERE j.fingerprint = g.fingerprint)
    AND NOT EXISTS (SELECT FROM job_attempts a WHERE a.fingerprint = g.fingerprint)
""")


def prune(db: Db) -> None:
    """Delete a batch of old hours, and of groups that have not failed for KEPT_DAYS and have no jobs left."""
    db.execute(_PRUNE, {"hours": HOURS_KEPT, "days": KEPT_DAYS, "limit": PRUNE_BATCH})
