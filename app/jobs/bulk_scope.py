"""Which jobs a bulk action is about: counted at the preview, frozen there, never more afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, not_, select, text
from sqlalchemy.orm import Session, scoped_session

from app.jobs.models import ALLOWED, DeadLetter, Job
from app.jobs.queries.filters import IS_AHEAD, LAST_ID, JobFilter, conditions

Sessions = Session | scoped_session[Any]
VERBS = ("retry", "run", "cancel", "delete", "discard", "edit")
SAMPLE = 10


@dataclass(frozen=True)
class Scope:
    """The moment of a preview. A job belongs to it if it existed then and has not changed since.

    Judged by the database clock and, against clients whose clock is behind, by the largest id.
    """

    as_of: datetime
    upto: UUID = LAST_ID

    def holds(self) -> ColumnElement[bool]:
        """Every verb and every attempt sets updated_at, so an old one means: as it was then."""
        return and_(Job.id <= self.upto, Job.created_at < self.as_of, Job.updated_at < self.as_of)


class Part(NamedTuple):
    """Jobs of one kind among the matches."""

    type: str
    queue: str
    status: str
    is_ahead: bool  # its run_at lies in the future
    n: int


@dataclass(frozen=True)
class Preview:
    """What each verb would do to the jobs that match now."""

    scope: Scope
    parts: list[Part]
    letters: int  # open dead letters among them
    sample: list[Job] = field(default_factory=list)  # the newest

    @property
    def counts(self) -> dict[str, int]:
        """Verb → how many jobs it applies to."""
        return {verb: sum(part.n for part in self.of(verb)) for verb in VERBS} | {
            "discard": self.letters
        }

    @property
    def restored(self) -> int:
        """How many of those to retry go back to their schedule instead of running at once."""
        return sum(part.n for part in self.of("retry") if part.is_ahead)

    def of(self, verb: str) -> list[Part]:
        """The parts that ``verb`` applies to."""
        return [
            part
            for part in self.parts
            if part.status in ALLOWED[verb] and (verb != "run" or part.is_ahead)
        ]

    def by(self, verb: str, name: str) -> list[tuple[str, int]]:
        """(value, jobs) of the column ``name`` among the jobs of ``verb``, most first."""
        return most_first((getattr(part, name), part.n) for part in self.of(verb))


def most_first(counted: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    sums: Counter[str] = Counter()
    for value, n in counted:
        sums[value] += n
    return sums.most_common()


def take_scope(db: Sessions) -> Scope:
    """This moment, by the transaction's clock."""
    row = db.execute(  # jobs_pkey
        text("SELECT now() AS as_of, (SELECT id FROM jobs ORDER BY id DESC LIMIT 1) AS upto")
    ).one()
    return Scope(row.as_of, row.upto or LAST_ID)


def preview(db: Sessions, filter: JobFilter, scope: Scope | None = None) -> Preview:
    """Counts and the newest matches; bounded by the caller's statement timeout."""
    scope = scope or take_scope(db)
    matches = [*matching(filter), scope.holds()]
    is_ahead = Job.run_at > scope.as_of
    kinds = (Job.type, Job.queue, Job.status, is_ahead)
    rows = db.execute(select(*kinds, func.count()).where(*matches).group_by(*kinds)).all()
    parts = [Part(*row) for row in rows]
    letters = 0
    if any(part.status == "failed" for part in parts):
        counted = select(func.count()).select_from(Job).where(*matches, fits("discard"))
        letters = db.execute(counted).scalar_one()
    sample = db.scalars(select(Job).where(*matches).order_by(Job.id.desc()).limit(SAMPLE)).all()
    return Preview(scope, parts, letters, list(sample))


def matching(filter: JobFilter) -> list[ColumnElement[bool]]:
    """The filter of a list as conditions on jobs."""
    filter = filter.normalized()
    if not filter.can_match:
        return [text("false")]  # type: ignore[list-item]
    low, high = filter.id_range()
    return [Job.id >= low, Job.id <= high, *conditions(filter).values()]


def fits(verb: str) -> ColumnElement[bool]:
    """What ``verb`` applies to."""
    if verb == "discard":
        return (
            select(DeadLetter.id)
            .where(DeadLetter.job_id == Job.id, DeadLetter.closed_at.is_(None))
            .exists()
        )
    if verb == "run":
        return IS_AHEAD
    return Job.status.in_(ALLOWED[verb])


def is_outside(scope: Scope) -> ColumnElement[bool]:
    """Arrived or changed after the preview."""
    return not_(scope.holds())
