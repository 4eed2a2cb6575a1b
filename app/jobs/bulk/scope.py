"""Which jobs a bulk action applies to: those counted in its preview, and none that match later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, and_, any_, cast, func, select, text, true
from sqlalchemy.exc import OperationalError

from app.database import DbSession, sqlstate
from app.jobs import committed
from app.jobs.listing import find_ids, list_jobs
from app.jobs.listing.filters import IS_AHEAD, JobFilter, conditions
from app.jobs.listing.id_ranges import LAST_ID
from app.jobs.models import PENDING, PROCESSING, DeadLetter, Job
from app.jobs.verbs import VERBS

SAMPLE = 10
#: Counting every match may take this long; a search in large payloads takes minutes.
EXACT_MILLISECONDS = 500
#: If it takes longer, this many matches are looked for, for this long.
MAX_MATCHES = 10_000
FIND_SECONDS = 0.5
QUERY_CANCELED = "57014"


@dataclass(frozen=True)
class Scope:
    """The moment of a preview. A job belongs to it if it existed then and has not changed since.

    By the database clock (``as_of``); the largest id excludes jobs of clients whose clock is behind, and ``moment``
    those of transactions that began before the preview and were committed after it.
    """

    as_of: datetime
    upto: UUID = LAST_ID
    moment: committed.Moment | None = None

    def holds(self) -> ColumnElement[bool]:
        """Whether a job belongs to it. Every verb and attempt sets updated_at, so an old one means it has not changed."""
        return and_(self._is_old(), self._is_seen())

    def listing(self, db: DbSession, matches: list[ColumnElement[bool]]) -> Scope:
        """The same scope, exact for these matches: with the recent transactions that wrote their rows."""
        if self.moment is None:
            return self
        is_recent = committed.row_xid >= self.moment.ended
        recent = select(committed.row_xid).where(*matches, self._is_old(), is_recent).distinct()
        xids = (
            [] if self.moment.is_quiet else db.scalars(recent.limit(committed.MAX_XIDS + 1)).all()
        )
        return replace(self, moment=self.moment.listing(list(xids)))

    def _is_old(self) -> ColumnElement[bool]:
        return and_(Job.id <= self.upto, Job.created_at < self.as_of, Job.updated_at < self.as_of)

    def _is_seen(self) -> ColumnElement[bool]:
        # Each heartbeat writes the row of a running job again.
        return (Job.status == PROCESSING) | self.moment.has_seen() if self.moment else true()


class Part(NamedTuple):
    """Matching jobs of one type, queue and status, with the times of the first and the last one."""

    type: str
    queue: str
    status: str
    is_ahead: bool  # its run_at lies in the future
    is_retry: bool
    n: int
    created: tuple[datetime, datetime]
    runs: tuple[datetime, datetime]

    @property
    def view(self) -> str:
        """The status, or scheduled / retrying for the two views of pending."""
        if self.status != PENDING:
            return self.status
        return "retrying" if self.is_retry else "scheduled" if self.is_ahead else PENDING


@dataclass(frozen=True)
class Span:
    """When the first and the last of some jobs were created; or run next, if all of them lie ahead."""

    first: datetime
    last: datetime
    is_ahead: bool


@dataclass(frozen=True)
class Preview:
    """What each verb would do to the jobs that match now."""

    scope: Scope
    parts: list[Part]
    discardable: list[Part] = field(default_factory=list)  # with an open dead letter
    sample: list[Job] = field(default_factory=list)  # the newest
    is_exact: bool = (
        True  # else there are more, and the counts are of the matches that were found in time
    )

    @property
    def counts(self) -> dict[str, int]:
        """Verb → how many jobs it applies to."""
        return {verb: sum(part.n for part in self.of(verb)) for verb in VERBS}

    @property
    def restored(self) -> int:
        """How many of those to retry go back to their schedule instead of running at once."""
        return sum(part.n for part in self.of("retry") if part.is_ahead)

    def of(self, verb: str) -> list[Part]:
        """The parts that ``verb`` applies to."""
        if verb == "discard":
            return self.discardable
        return [
            part
            for part in self.parts
            if part.status in VERBS[verb].from_statuses and (verb != "run" or part.is_ahead)
        ]

    def by(self, verb: str, name: str) -> list[tuple[str, int]]:
        """(value, number of jobs) of type, queue or view among the jobs of ``verb``, largest first."""
        return by_count((getattr(part, name), part.n) for part in self.of(verb))

    def span(self, verb: str) -> Span | None:
        """When the jobs of ``verb`` were created or run next; None without jobs."""
        parts = self.of(verb)
        if not parts:
            return None
        is_ahead = all(part.status == PENDING and part.is_ahead for part in parts)
        times = [part.runs if is_ahead else part.created for part in parts]
        return Span(min(first for first, _ in times), max(last for _, last in times), is_ahead)


def by_count(counted: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The sum of each value, largest first."""
    sums: Counter[str] = Counter()
    for value, n in counted:
        sums[value] += n
    return sums.most_common()


def take_scope(db: DbSession) -> Scope:
    """The scope of a preview made now."""
    row = db.execute(  # jobs_pkey
        text("SELECT now() AS as_of, (SELECT id FROM jobs ORDER BY id DESC LIMIT 1) AS upto")
    ).one()
    return Scope(row.as_of, row.upto or LAST_ID, committed.now(db))


def preview(db: DbSession, filter: JobFilter, scope: Scope | None = None) -> Preview:
    """The newest matches, and counts: of all matches within EXACT_MILLISECONDS, else of those found in time."""
    scope = scope or take_scope(db)
    sample = list_jobs(db, filter, limit=SAMPLE, is_light=True).items
    try:
        with _limited(db, EXACT_MILLISECONDS):
            listed = scope.listing(db, matching(filter))
            parts, discardable = _count(db, listed, [*matching(filter), listed.holds()])
        return Preview(listed, parts, discardable, sample)
    except OperationalError as error:
        if sqlstate(error) != QUERY_CANCELED:
            raise
    ids, is_complete = find_ids(db, filter, limit=MAX_MATCHES, seconds=FIND_SECONDS)
    is_match = Job.id == any_(cast(ids, ARRAY(Uuid)))
    parts, discardable = _count(db, scope, [is_match, scope.holds()])
    return Preview(scope, parts, discardable, sample, is_exact=is_complete)


def _count(
    db: DbSession, scope: Scope, matches: list[ColumnElement[bool]]
) -> tuple[list[Part], list[Part]]:
    """The jobs by kind, and those among them with an open dead letter."""
    parts = _parts(db, scope, matches)
    if not any(part.status == "failed" for part in parts):
        return parts, []
    return parts, _parts(db, scope, [*matches, fits("discard")])


def _parts(db: DbSession, scope: Scope, matches: list[ColumnElement[bool]]) -> list[Part]:
    kinds = (Job.type, Job.queue, Job.status, Job.run_at > scope.as_of, Job.attempts > 0)
    times = [of(column) for column in (Job.created_at, Job.run_at) for of in (func.min, func.max)]
    rows = db.execute(select(*kinds, func.count(), *times).where(*matches).group_by(*kinds)).all()
    return [Part(*row[:6], created=(row[6], row[7]), runs=(row[8], row[9])) for row in rows]


@contextmanager
def _limited(db: DbSession, milliseconds: int) -> Iterator[None]:
    """Limit the time of the statements inside; if one is canceled, the transaction goes on without it."""
    before = db.execute(text("SELECT current_setting('statement_timeout')")).scalar_one()
    with db.begin_nested():
        db.execute(text(f"SET LOCAL statement_timeout = {milliseconds}"))
        yield
        db.execute(
            text("SELECT set_config('statement_timeout', :before, true)"), {"before": before}
        )


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
    return Job.status.in_(VERBS[verb].from_statuses)
