"""Which rows of jobs a moment had seen, by the transactions that wrote them.

Timestamps don't tell: now() is when a transaction began, so what is committed after a moment may carry a time from
before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, cast, literal_column, not_, text
from sqlalchemy.orm import Session, scoped_session

#: With more recent transactions than these only the running ones are kept. Then a row that was written inside a savepoint
#: of one of them counts as seen: savepoints have ids of their own, which no snapshot lists.
MOST_XIDS = 500

# A row keeps the last 32 bits of its transaction's id. The distance to the statement's own moment gives the others:
# nothing that the statement can see is younger.
row_xid: ColumnElement[int] = literal_column(
    "((SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint)"
    " - ((age(jobs.xmin)::bigint"
    " - (SELECT age(pg_snapshot_xmax(pg_current_snapshot())::xid)::bigint)) & 4294967295))",
    BigInteger,
)
_NOW = text("""
SELECT pg_snapshot_xmin(s)::text AS ended, pg_snapshot_xmax(s)::text AS next,
       ARRAY(SELECT pg_snapshot_xip(s)::text) AS running
FROM pg_current_snapshot() AS s
""")
_WRITTEN = re.compile(r"(\d{1,18})\.(\d{0,18})\.((?:\d{1,18},)*\d{1,18})?", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """What had been committed. Transactions before ``ended`` had all ended.

    With ``next`` None, ``xids`` are those from there on whose rows were seen; otherwise those that were running, and
    ``next`` is the first that had not begun.
    """

    ended: int
    next: int | None
    xids: tuple[int, ...] = ()

    @property
    def is_quiet(self) -> bool:
        """Whether no transaction before ``next`` was still running."""
        return self.next == self.ended

    def listing(self, xids: list[int]) -> Moment:
        """The same moment, by the recent transactions whose rows were seen; more than MOST_XIDS are not kept."""
        return self if len(xids) > MOST_XIDS else Moment(self.ended, None, tuple(xids))

    def has_seen(self) -> ColumnElement[bool]:
        """Whether a row of jobs is from before."""
        is_listed = row_xid == any_(cast(list(self.xids), ARRAY(BigInteger)))
        if self.next is None:
            return (row_xid < self.ended) | is_listed
        return (row_xid < self.next) & not_(is_listed)

    def __str__(self) -> str:
        """For a form; see parse."""
        return f"{self.ended}.{self.next or ''}.{','.join(map(str, self.xids))}"

    @classmethod
    def parse(cls, written: str) -> Self:
        """Raises ValueError."""
        found = _WRITTEN.fullmatch(written)
        if found is None:
            raise ValueError("not a moment")
        xids = tuple(int(xid) for xid in (found[3] or "").split(",") if xid)
        return cls(int(found[1]), int(found[2]) if found[2] else None, xids)


def now(db: Session | scoped_session[Any]) -> Moment:
    """What is committed at this moment."""
    row = db.execute(_NOW).one()
    return Moment(int(row.ended), int(row.next), tuple(int(xid) for xid in row.running))
