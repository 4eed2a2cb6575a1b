"""What a verb of a person did: the jobs it changed, and why it refused the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from app.database import Db, id_array
from app.errors import InvalidTransition, JobNotFound, JobQueueError, UniqueConflict
from app.jobs.lifecycle.sql import GIVEN
from app.jobs.statuses import LIVE, has_one_of
from app.jobs.verbs import RETRY, VERBS

#: Whether the job ``live`` holds its unique key.
IS_LIVE = has_one_of(LIVE, "live.status")


@dataclass(frozen=True, slots=True)
class Changes:
    """The jobs that a verb changed and, by id, why it refused the others."""

    done: list[UUID]
    refused: dict[UUID, JobQueueError]

    def one(self) -> UUID:
        """The id of the only job given; raises its refusal."""
        for error in self.refused.values():
            raise error
        return self.done[0]


def outcome(db: Db, ids: Sequence[UUID], done: set[UUID], verb: str) -> Changes:
    """Those of ``ids`` that are ``done``, and why not the others."""
    refused = [i for i in ids if i not in done]
    return Changes([i for i in ids if i in done], why_not(db, refused, verb) if refused else {})


_STATE = text(f"""
SELECT id, status, unique_key,
       (SELECT live.id FROM jobs live WHERE live.unique_key = j.unique_key
        AND live.unique_key IS NOT NULL AND {IS_LIVE}) AS live_id
FROM jobs j WHERE {GIVEN}
""")


def why_not(db: Db, ids: Sequence[UUID], verb: str) -> dict[UUID, JobQueueError]:
    """Why ``verb`` did not change these jobs, by id."""
    rows = {row.id: row for row in db.execute(_STATE, {"ids": id_array(ids)})}
    return {i: _refusal(i, rows.get(i), verb) for i in ids}


def _refusal(job_id: UUID, row: Row[Any] | None, verb: str) -> JobQueueError:
    if row is None:
        return JobNotFound(job_id=job_id)
    if verb == "retry" and row.status in RETRY.from_statuses and row.unique_key:
        return UniqueConflict(job_id=job_id, live_id=row.live_id, unique_key=row.unique_key)
    return InvalidTransition(
        job_id=job_id, status=row.status, verb=verb, allowed=VERBS[verb].allowed
    )
